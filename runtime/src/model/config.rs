//! The shape of a network, read from metadata and checked. A family is a description here, not code elsewhere.

use std::fmt::Display;

use crate::gguf::{Array, Gguf, Metadata, Value};
use crate::ops::{KvHeads, RopePairing, Scoring};

use super::ModelError;
use super::weights::vector;

/// What distinguishes the families: everything else is in the metadata or in the tensors.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "what families have does not depend on what else they have")]
pub struct Family {
    /// `general.architecture`.
    pub name: &'static str,
    /// Which elements of a head rotate together.
    pub pairing: RopePairing,
    /// Queries and keys have biases. (Other families may have them: they are used when the file has them.)
    pub attention_bias: bool,
    /// Queries and keys are normalized head by head.
    pub qk_norm: bool,
    /// What attention and the feed-forward layer give is normalized before it is added.
    pub post_norms: bool,
    /// The gate goes through GELU, by its approximation with tanh, not `SiLU`.
    pub gelu: bool,
    /// Embeddings are multiplied by the root of the hidden size.
    pub scaled_embedding: bool,
    /// Where there is a window, each so-many-th layer sees all positions, unless the file says otherwise; 0: none does.
    pub global_every: usize,
    /// Whether layers with a window have a rope of their own.
    pub local_rope: bool,
    /// The model of so many layers divides scores by the root of its hidden size per head, not by that of the head's size.
    pub odd_scale: Option<usize>,
    /// The window where the file does not say, as llama.cpp has it.
    pub window: Option<usize>,
    /// The cap of scores where the file does not say.
    pub attention_cap: Option<f32>,
    /// That of logits.
    pub logit_cap: Option<f32>,
}

/// The first of the families, and what the others have in common with it.
const LLAMA: Family = Family {
    name: "llama",
    pairing: RopePairing::Adjacent,
    attention_bias: false,
    qk_norm: false,
    post_norms: false,
    gelu: false,
    scaled_embedding: false,
    global_every: 0,
    local_rope: false,
    odd_scale: None,
    window: None,
    attention_cap: None,
    logit_cap: None,
};

/// What the Gemma families have in common.
const GEMMA: Family =
    Family { pairing: RopePairing::Halves, post_norms: true, gelu: true, scaled_embedding: true, ..LLAMA };

/// The families that the forward pass knows.
pub const FAMILIES: &[Family] = &[
    LLAMA,
    Family { name: "qwen2", pairing: RopePairing::Halves, attention_bias: true, ..LLAMA },
    Family { name: "qwen3", pairing: RopePairing::Halves, qk_norm: true, ..LLAMA },
    Family {
        name: "gemma2",
        global_every: 2,
        odd_scale: Some(46),
        window: Some(4096),
        attention_cap: Some(50.0),
        logit_cap: Some(30.0),
        ..GEMMA
    },
    Family { name: "gemma3", qk_norm: true, global_every: 6, local_rope: true, odd_scale: Some(62), ..GEMMA },
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
    /// What embeddings are multiplied by.
    pub embedding_scale: f32,
    /// Radians a position, for each rotated pair of a head.
    pub rope_frequencies: Vec<f32>,
    /// The same in layers with a window, as many.
    pub local_frequencies: Vec<f32>,
    /// Positions that the layers with a window see, if there are such layers.
    pub window: Option<usize>,
    /// Which layers have the window.
    pub local: Vec<bool>,
    /// What scores are multiplied by.
    pub attention_scale: f32,
    /// Scores go through `cap * tanh(score / cap)`.
    pub attention_cap: Option<f32>,
    /// So do logits.
    pub logit_cap: Option<f32>,
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
        let layers = keys.size("block_count")?;
        let window = keys.window(family)?;
        let mut config = Self {
            family,
            layers,
            hidden,
            heads,
            kv_heads,
            head_dim,
            ffn: keys.size("feed_forward_length")?,
            vocab: vocab(gguf)?,
            context_length: keys.size("context_length")?,
            norm_epsilon: keys.epsilon()?,
            embedding_scale: if family.scaled_embedding { (hidden as f32).sqrt() } else { 1.0 },
            rope_frequencies: keys.rope_frequencies(head_dim)?,
            local_frequencies: keys.local_frequencies(family, head_dim)?,
            window,
            local: keys.local(family, layers, window)?,
            attention_scale: keys.attention_scale(family, layers, head_dim, hidden / heads)?,
            attention_cap: keys.cap("attn_logit_softcapping", family.attention_cap)?,
            logit_cap: keys.cap("final_logit_softcapping", family.logit_cap)?,
        };
        config.divide_by_rope_factors(gguf, file)?;
        Ok(config)
    }

    /// The heads, as attention wants them.
    pub fn kv_shape(&self) -> KvHeads {
        KvHeads { heads: self.heads, kv_heads: self.kv_heads, head_dim: self.head_dim }
    }

    /// The frequencies of layers that see all positions, and of those with a window, if there are such.
    pub fn ropes(&self) -> impl Iterator<Item = &[f32]> {
        let local = self.window.map(|_| self.local_frequencies.as_slice());
        [self.rope_frequencies.as_slice()].into_iter().chain(local)
    }

    /// What becomes of the scores of a layer.
    pub fn scoring(&self, layer: usize) -> Scoring {
        let window = self.window.filter(|_| self.local[layer]);
        Scoring { scale: self.attention_scale, cap: self.attention_cap, window }
    }

    /// Applies `rope_freqs.weight`, by which llama 3.1 files stretch the slow frequencies.
    fn divide_by_rope_factors(&mut self, gguf: &Gguf, file: &[u8]) -> Result<(), ModelError> {
        const NAME: &str = "rope_freqs.weight";
        if gguf.tensor(NAME).is_some() {
            let factors = vector(gguf, file, NAME, self.rope_frequencies.len())?;
            for (frequency, factor) in self.rope_frequencies.iter_mut().zip(&factors) {
                *frequency /= factor;
            }
            if !self.family.local_rope {
                self.local_frequencies.clone_from(&self.rope_frequencies);
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

    /// A positive number that may be missing.
    fn opt_positive(&self, name: &str) -> Result<Option<f32>, ModelError> {
        let value = self.metadata.opt_f32(&self.key(name))?;
        if let Some(value) = value {
            self.require(name, value, value.is_finite() && value > 0.0, "a positive number")?;
        }
        Ok(value)
    }

    /// A cap; 0 is none, and one that is missing is the family's.
    fn cap(&self, name: &str, missing: Option<f32>) -> Result<Option<f32>, ModelError> {
        match self.metadata.opt_f32(&self.key(name))? {
            None => Ok(missing),
            Some(0.0) => Ok(None),
            Some(cap) => {
                // What is far below a cap would lose its digits to it.
                self.require(name, cap, (1.0..=10_000.0).contains(&cap), "0, for none, or 1 to 10000")?;
                Ok(Some(cap))
            }
        }
    }

    /// The positions that layers with a window see; 0 is all, and a number that is missing is the family's.
    fn window(&self, family: Family) -> Result<Option<usize>, ModelError> {
        let window = self.metadata.opt_u32(&self.key("attention.sliding_window"))?;
        let window = window.map(|window| window as usize).or(family.window);
        Ok(window.filter(|&window| window > 0))
    }

    fn attention_scale(&self, family: Family, layers: usize, head: usize, share: usize) -> Result<f32, ModelError> {
        let odd = family.odd_scale == Some(layers);
        self.require("attention.head_count", share, !odd || share > 0, "at most embedding_length")?;
        let size = if odd { share } else { head };
        Ok(self.opt_positive("attention.scale")?.unwrap_or(1.0 / (size as f32).sqrt()))
    }

    /// Which layers have the window: a list, or every layer but each so-many-th.
    fn local(&self, family: Family, layers: usize, window: Option<usize>) -> Result<Vec<bool>, ModelError> {
        const NAME: &str = "attention.sliding_window_pattern";
        let every = match self.metadata.get(&self.key(NAME)) {
            Some(Value::Array(Array::Bool(local))) => {
                self.require(NAME, local.len(), local.len() == layers, "as long as block_count says")?;
                return Ok(local.iter().map(|&local| local && window.is_some()).collect());
            }
            Some(_) => self.metadata.u32(&self.key(NAME))? as usize,
            None => family.global_every,
        };
        let is_global = |layer: usize| every > 0 && layer % every == every - 1;
        Ok((0..layers).map(|layer| window.is_some() && !is_global(layer)).collect())
    }

    fn rope_frequencies(&self, head_dim: usize) -> Result<Vec<f32>, ModelError> {
        let base = self.opt_positive("rope.freq_base")?.unwrap_or(10_000.0);
        let stretch = f64::from(self.rope_stretch()?);
        Ok(self.frequencies(base, head_dim)?.map(|frequency| (frequency / stretch) as f32).collect())
    }

    fn local_frequencies(&self, family: Family, head_dim: usize) -> Result<Vec<f32>, ModelError> {
        if !family.local_rope {
            return self.rope_frequencies(head_dim);
        }
        let base = self.opt_positive("rope.freq_base_swa")?.unwrap_or(10_000.0);
        Ok(self.frequencies(base, head_dim)?.map(|frequency| frequency as f32).collect())
    }

    /// Radians a position, for each rotated pair of a head.
    fn frequencies(&self, base: f32, head_dim: usize) -> Result<impl Iterator<Item = f64> + use<>, ModelError> {
        let size = self.opt_size("rope.dimension_count")?.unwrap_or(head_dim);
        self.require(
            "rope.dimension_count",
            size,
            size <= head_dim && size % 2 == 0,
            "even and at most the size of a head",
        )?;
        Ok((0..size / 2).map(move |i| f64::from(base).powf(-((2 * i) as f64) / size as f64)))
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
