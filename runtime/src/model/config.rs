//! The shape of a network, read from metadata and checked. A family is a description here, not code elsewhere.

use std::fmt::Display;

use crate::gguf::{Gguf, Metadata};
use crate::ops::{KvHeads, RopePairing};

use super::ModelError;
use super::weights::vector;

/// What distinguishes the families: everything else is in the metadata or in the tensors.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// `general.architecture`.
    pub name: &'static str,
    /// Which elements of a head rotate together.
    pub pairing: RopePairing,
    /// Queries and keys have biases. (Other families may have them: they are used when the file has them.)
    pub attention_bias: bool,
    /// Queries and keys are normalized head by head.
    pub qk_norm: bool,
}

/// The families that the forward pass knows.
pub const FAMILIES: &[Family] = &[
    Family { name: "llama", pairing: RopePairing::Adjacent, attention_bias: false, qk_norm: false },
    Family { name: "qwen2", pairing: RopePairing::Halves, attention_bias: true, qk_norm: false },
    Family { name: "qwen3", pairing: RopePairing::Halves, attention_bias: false, qk_norm: true },
];

/// The shape of a backbone.
#[derive(Clone, Debug)]
pub struct Config {
    /// The family.
    pub family: Family,
    /// Transformer blocks.
    pub layers: usize,
    /// Size of the hidden state.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Positions the model was trained for.
    pub context_length: usize,
    /// The epsilon of every norm.
    pub norm_epsilon: f32,
    /// Radians a position, for each rotated pair of a head.
    pub rope_frequencies: Vec<f32>,
}

impl Config {
    /// The sizes by their names, as reports show them.
    pub fn sizes(&self) -> [(&'static str, usize); 8] {
        [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("ffn", self.ffn),
            ("vocabulary", self.vocab),
            ("context", self.context_length),
        ]
    }

    /// Reads and checks the configuration of the backbone in `gguf`, whose bytes are `file`.
    pub fn from_gguf(gguf: &Gguf, file: &[u8]) -> Result<Self, ModelError> {
        let metadata = gguf.metadata();
        let name = metadata.str("general.architecture")?;
        let family = FAMILIES.iter().find(|family| family.name == name);
        let family = *family.ok_or_else(|| ModelError::UnknownArchitecture(name.to_owned()))?;
        let keys = Keys { metadata, family: family.name };
        keys.refuse_experts()?;
        let hidden = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let kv_heads = keys.opt_size("attention.head_count_kv")?.unwrap_or(heads);
        keys.require(
            "attention.head_count_kv",
            kv_heads,
            kv_heads <= heads && heads % kv_heads == 0,
            "a divisor of attention.head_count",
        )?;
        let head_dim = keys.head_dim(hidden, heads)?;
        let mut config = Self {
            family,
            layers: keys.size("block_count")?,
            hidden,
            heads,
            kv_heads,
            head_dim,
            ffn: keys.size("feed_forward_length")?,
            vocab: vocab(gguf)?,
            context_length: keys.size("context_length")?,
            norm_epsilon: keys.epsilon()?,
            rope_frequencies: keys.rope_frequencies(head_dim)?,
        };
        config.divide_by_rope_factors(gguf, file)?;
        Ok(config)
    }

    /// The heads, as attention wants them.
    pub fn kv_shape(&self) -> KvHeads {
        KvHeads { heads: self.heads, kv_heads: self.kv_heads, head_dim: self.head_dim }
    }

    /// Applies `rope_freqs.weight`, by which llama 3.1 files stretch the slow frequencies.
    fn divide_by_rope_factors(&mut self, gguf: &Gguf, file: &[u8]) -> Result<(), ModelError> {
        const NAME: &str = "rope_freqs.weight";
        if gguf.tensor(NAME).is_some() {
            let factors = vector(gguf, file, NAME, self.rope_frequencies.len())?;
            for (frequency, factor) in self.rope_frequencies.iter_mut().zip(factors) {
                *frequency /= factor;
            }
        }
        Ok(())
    }
}

/// The size of the vocabulary is that of the embedding: some files do not name it elsewhere.
fn vocab(gguf: &Gguf) -> Result<usize, ModelError> {
    const NAME: &str = "token_embd.weight";
    let info = gguf.tensor(NAME).ok_or_else(|| ModelError::MissingTensor(NAME.to_owned()))?;
    Ok(info.rows())
}

/// No dimension of any model is near this; products of three stay far from overflow.
const MAX_SIZE: usize = 1 << 20;

/// The keys of a family.
struct Keys<'a> {
    metadata: &'a Metadata,
    family: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family)
    }

    fn require(&self, name: &str, value: impl Display, holds: bool, rule: &'static str) -> Result<(), ModelError> {
        let error = || ModelError::InvalidValue { key: self.key(name), value: value.to_string(), rule };
        holds.then_some(()).ok_or_else(error)
    }

    fn size(&self, name: &str) -> Result<usize, ModelError> {
        let value = self.metadata.u32(&self.key(name))? as usize;
        self.require(
            name,
            value,
            (1..=MAX_SIZE).contains(&value) || name == "context_length" && value > 0,
            "1 to 1048576",
        )?;
        Ok(value)
    }

    fn opt_size(&self, name: &str) -> Result<Option<usize>, ModelError> {
        match self.metadata.get(&self.key(name)) {
            Some(_) => self.size(name).map(Some),
            None => Ok(None),
        }
    }

    fn refuse_experts(&self) -> Result<(), ModelError> {
        let key = self.key("expert_count");
        match self.metadata.opt_u32(&key)? {
            None | Some(0) => Ok(()),
            Some(count) => Err(ModelError::Unsupported { key, value: count.to_string() }),
        }
    }

    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize, ModelError> {
        let size = if let Some(size) = self.opt_size("attention.key_length")? {
            size
        } else {
            let divides = hidden.is_multiple_of(heads);
            self.require("attention.head_count", heads, divides, "a divisor of embedding_length")?;
            hidden / heads
        };
        let value = self.opt_size("attention.value_length")?.unwrap_or(size);
        self.require("attention.value_length", value, value == size, "the same as attention.key_length")?;
        Ok(size)
    }

    fn epsilon(&self) -> Result<f32, ModelError> {
        const NAME: &str = "attention.layer_norm_rms_epsilon";
        let value = self.metadata.f32(&self.key(NAME))?;
        self.require(NAME, value, value.is_finite() && value > 0.0, "a positive number")?;
        Ok(value)
    }

    fn rope_frequencies(&self, head_dim: usize) -> Result<Vec<f32>, ModelError> {
        let base = self.metadata.opt_f32(&self.key("rope.freq_base"))?.unwrap_or(10_000.0);
        self.require("rope.freq_base", base, base.is_finite() && base > 0.0, "a positive number")?;
        let size = self.opt_size("rope.dimension_count")?.unwrap_or(head_dim);
        self.require(
            "rope.dimension_count",
            size,
            size <= head_dim && size % 2 == 0,
            "even and at most the size of a head",
        )?;
        let stretch = f64::from(self.rope_stretch()?);
        let frequency = |i: usize| f64::from(base).powf(-((2 * i) as f64) / size as f64) / stretch;
        Ok((0..size / 2).map(|i| frequency(i) as f32).collect())
    }

    /// The factor of linear position scaling, 1 if there is none.
    fn rope_stretch(&self) -> Result<f32, ModelError> {
        const FACTOR: &str = "rope.scaling.factor";
        let kind = self.metadata.opt_str(&self.key("rope.scaling.type"))?;
        let factor = match kind {
            Some("none") => 1.0,
            None | Some("linear") => self.metadata.opt_f32(&self.key(FACTOR))?.unwrap_or(1.0),
            Some(other) => {
                return Err(ModelError::Unsupported { key: self.key("rope.scaling.type"), value: other.to_owned() });
            }
        };
        self.require(FACTOR, factor, factor.is_finite() && factor > 0.0, "a positive number")?;
        Ok(factor)
    }
}
