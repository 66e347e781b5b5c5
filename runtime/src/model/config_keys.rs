//! What the keys of a family say of its network, each read and checked.

use ollm_kernels::ops::{Activation, RopePairing};

use crate::gguf::{Array, GgufError, Value};

use super::config::{MAX_STREAMS, QueryTemperature};
use super::error::ModelError;
use super::family::{DefaultScales, Family, NormKind, NormPlacement, RecurrentKind, RopeLayers};
use super::keys::{FamilyKeys, MAX_SIZE};
use super::layer_kind::LayerKind;
use super::rope::{Rope, RopeKeys};

/// What the keys of the rope of sliding layers end with.
const SLIDING: &str = "_swa";

impl FamilyKeys<'_> {
    /// Elements of a head in layers that see all positions, and in those with a window.
    pub(super) fn head_dims(&self, hidden: usize, heads: usize) -> Result<[usize; 2], ModelError> {
        let size = if let Some(size) = self.opt_size("attention.key_length")? {
            size
        } else {
            let divides = hidden.is_multiple_of(heads);
            self.require("attention.head_count", heads, divides, "a divisor of embedding_length")?;
            hidden / heads
        };
        let sliding = self.opt_size("attention.key_length_swa")?.unwrap_or(size);
        for (name, size, rule) in [
            ("attention.value_length", size, "the same as attention.key_length"),
            ("attention.value_length_swa", sliding, "the same as attention.key_length_swa"),
        ] {
            let value = self.opt_size(name)?.unwrap_or(size);
            self.require(name, value, value == size, rule)?;
        }
        Ok([size, sliding])
    }

    /// A size of each layer: a list with one for each, or one number; `None` without the key.
    pub(super) fn layer_sizes(&self, name: &str, layers: usize) -> Result<Option<Vec<usize>>, ModelError> {
        let Some(Value::Array(list)) = self.get(name) else {
            return Ok(self.opt_size(name)?.map(|size| vec![size; layers]));
        };
        self.require(name, list.len(), list.len() == layers, "as long as block_count says")?;
        let size = |value: Value| {
            let size = value.as_u32().map(|size| size as usize).filter(|&size| size <= MAX_SIZE);
            let rule = "a list of whole numbers, at most 1048576";
            size.ok_or_else(|| ModelError::InvalidValue { key: self.key(name), value: value.to_string(), rule })
        };
        list.iter().map(size).collect::<Result<_, _>>().map(Some)
    }

    /// A switch of each block: a list with one for each, or one of all; booleans, or 0 and 1.
    /// `None` without the key.
    pub(super) fn layer_switches(&self, name: &str, blocks: usize) -> Result<Option<Vec<bool>>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let wrong = || {
            let (key, found) = (self.key(name), value.describe());
            GgufError::WrongType { key, expected: "a list of booleans", found }
        };
        let switch = |value: &Value| value.as_bool().or_else(|| value.as_u32().filter(|&x| x < 2).map(|x| x == 1));
        let switches: Option<Vec<bool>> = match value {
            Value::Array(list) => list.iter().map(|value| switch(&value)).collect(),
            one => switch(one).map(|on| vec![on; blocks]),
        };
        let switches = switches.ok_or_else(wrong)?;
        self.require(name, switches.len(), switches.len() == blocks, "as long as block_count says")?;
        Ok(Some(switches))
    }

    /// The width of each layer's feed-forward network.
    pub(super) fn ffn_widths(&self, layers: usize) -> Result<Vec<usize>, ModelError> {
        const NAME: &str = "feed_forward_length";
        let widths = self.layer_sizes(NAME, layers)?;
        let widths = widths.ok_or_else(|| GgufError::MissingKey { key: self.key(NAME) })?;
        self.require(NAME, 0, widths.iter().all(|&width| width > 0), "at least 1")?;
        Ok(widths)
    }

    /// The layers whose keys and values the last ones have, as many as the file says: of those
    /// before them the last that is sliding as they are, or is not.
    pub(super) fn kv_sources(&self, sliding: &[bool]) -> Result<Vec<Option<usize>>, ModelError> {
        const NAME: &str = "attention.shared_kv_layers";
        let (layers, shared) = (sliding.len(), self.opt_u32(NAME)?.unwrap_or(0) as usize);
        let own = layers.saturating_sub(shared);
        let source = |layer: usize| sliding[..own].iter().rposition(|&is_sliding| is_sliding == sliding[layer]);
        let sources: Vec<_> = (0..layers).map(|layer| source(layer).filter(|_| layer >= own)).collect();
        let rule = "such that a layer of each kind is before them";
        self.require(NAME, shared, sources[own..].iter().all(Option::is_some), rule)?;
        Ok(sources)
    }

    /// Elements that each layer has of a per-layer embedding; 0 is none.
    pub(super) fn per_layer(&self) -> Result<Option<usize>, ModelError> {
        const NAME: &str = "embedding_length_per_layer_input";
        match self.opt_u32(NAME)? {
            None | Some(0) => Ok(None),
            Some(_) => self.opt_size(NAME),
        }
    }

    /// Streams of the hidden state of AltUp, where the family has it.
    pub(super) fn streams(&self, family: Family) -> Result<Option<usize>, ModelError> {
        const NAME: &str = "altup.num_inputs";
        if !family.altup {
            return Ok(None);
        }
        let streams = self.opt_size(NAME)?.unwrap_or(4);
        self.require(NAME, streams, (2..=MAX_STREAMS).contains(&streams), "2 to 8")?;
        Ok(Some(streams))
    }

    /// Where the gates of each layer are cut off, in standard deviations over their mean; minus
    /// infinity is nowhere.
    pub(super) fn gate_cutoffs(&self, family: Family, layers: usize) -> Result<Vec<Option<f32>>, ModelError> {
        const NAME: &str = "activation_sparsity_scale";
        if !family.sparse_gates {
            return Ok(vec![None; layers]);
        }
        let value = self.get(NAME).ok_or_else(|| GgufError::MissingKey { key: self.key(NAME) })?;
        let Value::Array(Array::F32(list)) = value else {
            let (key, found) = (self.key(NAME), value.describe());
            return Err(GgufError::WrongType { key, expected: "a list of numbers of 32 bits", found }.into());
        };
        self.require(NAME, list.len(), list.len() == layers, "as long as block_count says")?;
        let cutoff = |&x: &f32| {
            self.require(NAME, x, x.is_finite() || x == f32::NEG_INFINITY, "numbers, or minus infinity")?;
            Ok(Some(x).filter(|x| x.is_finite()))
        };
        list.iter().map(cutoff).collect()
    }

    /// Key heads of each layer. 0 is a recurrent layer, where the family has them.
    pub(super) fn kv_heads(&self, family: Family, layers: usize, heads: usize) -> Result<Vec<usize>, ModelError> {
        const NAME: &str = "attention.head_count_kv";
        let counts = self.layer_sizes(NAME, layers)?.unwrap_or_else(|| vec![heads; layers]);
        for &count in &counts {
            let is_recurrent = count == 0 && family.recurrent.is_some_and(RecurrentKind::is_without_keys);
            let divides = count > 0 && count <= heads && heads.is_multiple_of(count);
            self.require(NAME, count, is_recurrent || divides, "a divisor of attention.head_count")?;
        }
        Ok(counts)
    }

    /// The family with the activation function that the file names, as those of `ModernBERT` do.
    pub(super) fn with_activation(&self, family: Family) -> Result<Family, ModelError> {
        const NAME: &str = "hidden_activation";
        if !family.named_activation {
            return Ok(family);
        }
        match self.opt_str(NAME)? {
            None | Some("gelu") => Ok(family),
            Some("silu") => Ok(Family { activation: Activation::Silu, ..family }),
            Some(other) => Err(ModelError::Unsupported { key: self.key(NAME), value: other.to_owned() }),
        }
    }

    /// The family with the pairing that sections of image positions imply, as those of GLM 4.1V do.
    pub(super) fn with_sections(&self, family: Family) -> Family {
        let Some(Value::Array(sections)) = self.get("rope.dimension_sections") else { return family };
        let is_there = |index| sections.get(index).and_then(|size| size.as_u32()).is_some_and(|size| size > 0);
        if family.halves_with_sections && is_there(0) && is_there(1) {
            Family { pairing: RopePairing::Halves, ..family }
        } else {
            family
        }
    }

    pub(super) fn epsilon(&self, family: Family) -> Result<f32, ModelError> {
        let name = match family.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        };
        self.opt_positive(name)?.ok_or_else(|| GgufError::MissingKey { key: self.key(name) }.into())
    }

    /// Where the norms of a layer are.
    pub(super) fn norms(&self, family: Family) -> Result<NormPlacement, ModelError> {
        match self.opt_bool("use_parallel_residual")? {
            Some(true) => Ok(NormPlacement::Parallel),
            _ => Ok(family.norms),
        }
    }

    /// The scales of embeddings, residuals and logits.
    pub(super) fn scales(&self, family: Family, hidden: usize, layers: usize) -> Result<[f32; 3], ModelError> {
        let (size, layers) = (hidden as f32, layers as f32);
        let missing = match family.scales {
            Some(DefaultScales { embedding, depth, base_hidden }) => {
                [embedding, depth / layers.sqrt(), size / base_hidden]
            }
            None => [if family.scaled_embedding { size.sqrt() } else { 1.0 }, 1.0, 1.0],
        };
        // 0 is none, as llama.cpp has it.
        let read = |name, missing| match self.opt_float(name)? {
            Some(0.0) => Ok(1.0),
            _ => Ok::<_, ModelError>(self.opt_positive(name)?.unwrap_or(missing)),
        };
        let logits = read("logit_scale", missing[2])?;
        Ok([
            read("embedding_scale", missing[0])?,
            read("residual_scale", missing[1])?,
            if family.divided_logits { 1.0 / logits } else { logits },
        ])
    }

    /// How queries grow with their position; a scale of 0 is not at all.
    pub(super) fn query_temperature(&self) -> Result<Option<QueryTemperature>, ModelError> {
        const SCALE: &str = "attention.temperature_scale";
        const LENGTH: &str = "rope.scaling.original_context_length";
        let scale = self.opt_float(SCALE)?.unwrap_or(0.0);
        self.require(SCALE, scale, (0.0..=1e3).contains(&scale), "0 to 1000")?;
        if scale == 0.0 {
            return Ok(None);
        }
        let missing = || GgufError::MissingKey { key: self.key(LENGTH) };
        let length = self.opt_positions(LENGTH)?.ok_or_else(missing)?;
        Ok(Some(QueryTemperature { scale, length }))
    }

    /// Which layers have rope, by which of them are sliding: a list, or the family's rule.
    pub(super) fn rope_layers(
        &self,
        family: Family,
        sliding: &[bool],
        window: Option<usize>,
    ) -> Result<Vec<bool>, ModelError> {
        const NAME: &str = "attention.rope_pattern";
        const SWITCH: &str = "rope.scaling.finetuned";
        let layers = sliding.len();
        if let Some(ropes) = self.layer_switches(NAME, layers)? {
            return Ok(ropes);
        }
        let switch = self.opt_bool(SWITCH)?.unwrap_or(true);
        let has_rope = |layer: usize| match family.rope {
            RopeLayers::All => true,
            RopeLayers::AllBut(every) => layer % every != every - 1,
            RopeLayers::Sliding => sliding[layer] || window.is_none(),
            RopeLayers::Switched => switch,
            RopeLayers::None => false,
        };
        Ok((0..layers).map(has_rope).collect())
    }

    /// Whether attention is causal; the layers mix tokens in these ways.
    pub(super) fn causal(&self, family: Family, kinds: &[LayerKind]) -> Result<bool, ModelError> {
        const NAME: &str = "attention.causal";
        let causal = self.opt_bool(NAME)?.unwrap_or(family.causal);
        let is_recurrent = kinds.iter().any(|kind| *kind != LayerKind::Attention);
        self.require(NAME, causal, causal || !is_recurrent, "true, as its recurrent layers are")?;
        Ok(causal)
    }

    /// A soft-cap; 0 is none, and one that is missing is the family's.
    pub(super) fn softcap(&self, name: &str, missing: Option<f32>) -> Result<Option<f32>, ModelError> {
        match self.opt_float(name)? {
            None => Ok(missing),
            Some(0.0) => Ok(None),
            Some(cap) => {
                // Scores far below the cap would lose precision.
                self.require(name, cap, (1.0..=10_000.0).contains(&cap), "0, for none, or 1 to 10000")?;
                Ok(Some(cap))
            }
        }
    }

    /// The positions that sliding layers see; 0 is all, and a number that is missing is the
    /// family's.
    pub(super) fn sliding_window(&self, family: Family) -> Result<Option<usize>, ModelError> {
        let window = self.opt_u32("attention.sliding_window")?;
        let window = window.map(|window| window as usize).or(family.sliding_window);
        Ok(window.filter(|&window| window > 0))
    }

    pub(super) fn attention_scale(
        &self,
        family: Family,
        layers: usize,
        head: usize,
        share: usize,
    ) -> Result<f32, ModelError> {
        let is_share = family.query_pre_attn_scalar == Some(layers);
        self.require("attention.head_count", share, !is_share || share > 0, "at most embedding_length")?;
        let size = if is_share { share } else { head };
        let missing = family.attention_scale.unwrap_or(1.0 / (size as f32).sqrt());
        Ok(self.opt_positive("attention.scale")?.unwrap_or(missing))
    }

    /// Which layers are sliding: a list, or every layer but each so-many-th.
    pub(super) fn sliding_layers(
        &self,
        family: Family,
        layers: usize,
        window: Option<usize>,
    ) -> Result<Vec<bool>, ModelError> {
        const NAME: &str = "attention.sliding_window_pattern";
        let every = match self.get(NAME) {
            Some(Value::Array(_)) => {
                let sliding = self.layer_switches(NAME, layers)?.unwrap_or_default();
                return Ok(sliding.into_iter().map(|sliding| sliding && window.is_some()).collect());
            }
            Some(_) => self.opt_u32(NAME)?.unwrap_or(0) as usize,
            None => family.full_attention_interval,
        };
        Ok((0..layers).map(|layer| window.is_some() && family.slides(layer, every)).collect())
    }

    /// The rope of layers that see all positions, and that of those with a window.
    pub(super) fn ropes(
        &self,
        family: Family,
        head_dims: [usize; 2],
        context_length: usize,
    ) -> Result<[Rope; 2], ModelError> {
        const BASE: &str = "rope.freq_base";
        const SLIDING_BASE: &str = "rope.freq_base_swa";
        let missing_base = self.opt_positive(BASE)?.unwrap_or(10_000.0);
        let [head_dim, sliding_head_dim] = head_dims;
        let keys = RopeKeys { keys: self, base: BASE, missing_base, suffix: "", head_dim, context_length };
        let missing_base = family.sliding_rope_base.unwrap_or(missing_base);
        // Where it is not one of its own, the scaling is the same.
        let suffix = if family.sliding_rope { SLIDING } else { "" };
        let sliding = RopeKeys { base: SLIDING_BASE, missing_base, suffix, head_dim: sliding_head_dim, ..keys };
        Ok([keys.read()?, sliding.read()?])
    }
}
