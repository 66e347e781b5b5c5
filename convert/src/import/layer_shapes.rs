//! What differs from layer to layer in Gemma 3n and 4 (`configuration_gemma3n.py`,
//! `configuration_gemma4.py` of transformers 5): the last layers have the keys and values of
//! others; in Gemma 3n the first have sparse gates; in Gemma 4 heads with full attention are of
//! another size, there may be fewer key heads, whose values are the keys, and the last layers may
//! be wider.

use ollm_runtime::gguf::Value;
use ollm_runtime::model::{Role, TensorName};
use serde_json::Map;

use super::architecture::Architecture;
use super::document::Document;
use super::normal::quantile;
use crate::quantize::Rows;
use crate::{ConvertError, Result};

/// The shapes of the layers.
pub(super) struct LayerShapes {
    /// Elements of a head in layers with full attention, where those have heads of their own.
    pub(super) full_head_dim: Option<usize>,
    /// Key heads of each layer.
    kv_heads: Vec<usize>,
    /// The width of each feed-forward network.
    ffn: Vec<usize>,
    /// The first layer that has the keys and values of another.
    first_shared: usize,
    /// Keys and values that are there in vain are left out; llama.cpp wants to find them in Gemma
    /// 3n.
    drops_shared: bool,
    /// Elements that each layer has of a per-layer embedding, or 0.
    per_layer: usize,
    /// Tokens that have a per-layer embedding; others have that of the first.
    per_layer_vocab: usize,
    /// Where the gates of each layer are cut off, in standard deviations over their mean, where
    /// some may be.
    gate_cutoffs: Option<Vec<f32>>,
    /// Layers with full attention have no values but the keys.
    keys_as_values: bool,
}

/// The shapes that the configuration has in the place of some keys, by layers.
const OVERRIDES: &str = "per_layer_config";

impl LayerShapes {
    /// Those of an architecture that may have some; `common` are the heads, the key heads, and the
    /// elements of a head, `ffn` the width of each layer, where nothing else is said.
    pub(super) fn read(
        json: &Document,
        architecture: &Architecture,
        sliding: &[bool],
        common: [usize; 3],
        ffn: &[usize],
    ) -> Result<Option<Self>> {
        let Some(keys) = architecture.layer_shapes else { return Ok(None) };
        let ([heads, kv_heads, head_dim], layers) = (common, sliding.len());
        let own_flag = |key| Ok::<_, ConvertError>(keys.own_heads && json.opt_bool(key)?.unwrap_or(false));
        let keys_as_values = own_flag("attention_k_eq_v")?;
        let overrides = if keys.own_heads { json.part(OVERRIDES)? } else { None };
        let shapes = if !keys.own_heads {
            (None, vec![kv_heads; layers])
        } else if let Some(overrides) = &overrides {
            overridden(json, overrides, sliding, kv_heads, head_dim)?
        } else {
            let head_dim = json.opt_size("global_head_dim")?.unwrap_or(FULL_HEAD_DIM);
            let full = json.opt_size_if(keys_as_values, "num_global_key_value_heads")?.unwrap_or(kv_heads);
            let heads = |&is_sliding: &bool| if is_sliding { kv_heads } else { full };
            (Some(head_dim), sliding.iter().map(heads).collect())
        };
        let (full_head_dim, kv_heads) = shapes;
        let place = if overrides.is_some() { OVERRIDES } else { "num_global_key_value_heads" };
        if kv_heads.iter().any(|count| heads % count != 0) {
            return Err(json.bad(place, "key heads that divide num_attention_heads").into());
        }
        if full_head_dim.is_some_and(|size| size % 2 != 0) {
            return Err(json.bad("global_head_dim", "even").into());
        }
        let shared = json.opt_count("num_kv_shared_layers")?.unwrap_or(keys.shared);
        let first_shared = layers.checked_sub(shared).filter(|&first| first > 0);
        let first_shared = first_shared.ok_or_else(|| json.bad("num_kv_shared_layers", "below num_hidden_layers"))?;
        let is_double = own_flag("use_double_wide_mlp")?;
        let width = |layer: usize| if is_double && layer >= first_shared { 2 * ffn[layer] } else { ffn[layer] };
        let is_sparse = architecture.family().sparse_gates;
        Ok(Some(Self {
            full_head_dim,
            kv_heads,
            ffn: (0..layers).map(width).collect(),
            first_shared,
            drops_shared: keys.own_heads,
            per_layer: json.opt_count("hidden_size_per_layer_input")?.unwrap_or(keys.per_layer),
            per_layer_vocab: json.opt_size("vocab_size_per_layer_input")?.unwrap_or(PER_LAYER_VOCAB),
            gate_cutoffs: is_sparse.then(|| gate_cutoffs(json, layers)).transpose()?,
            keys_as_values,
        }))
    }

    /// The keys of GGUF. `head_dim`: elements of a head in layers with a window.
    pub(super) fn keys(&self, head_dim: usize) -> Vec<(&'static str, Value)> {
        let number = |n: usize| Value::U32(n as u32);
        let full_head_dim = self.full_head_dim.unwrap_or(head_dim);
        let sliding = self.full_head_dim.map(|_| number(head_dim));
        let keys = [
            ("feed_forward_length", Some(one_or_list(&self.ffn))),
            ("attention.head_count_kv", Some(one_or_list(&self.kv_heads))),
            ("attention.key_length", Some(number(full_head_dim))),
            ("attention.value_length", Some(number(full_head_dim))),
            ("attention.key_length_swa", sliding.clone()),
            ("attention.value_length_swa", sliding),
            ("attention.shared_kv_layers", Some(number(self.ffn.len() - self.first_shared))),
            ("embedding_length_per_layer_input", Some(number(self.per_layer))),
            ("activation_sparsity_scale", self.gate_cutoffs.clone().map(Value::from)),
        ];
        keys.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Which rows of the table of per-layer embeddings are stored, of a vocabulary of this size.
    pub(super) fn per_layer_rows(&self, vocab: usize) -> Rows {
        if self.per_layer_vocab < vocab { Rows::Padded(self.per_layer_vocab) } else { Rows::All }
    }

    /// Whether this layer has the keys and values of another.
    pub(super) fn is_shared(&self, layer: Option<usize>) -> bool {
        layer.is_some_and(|layer| layer >= self.first_shared)
    }

    /// Whether a checkpoint lacks this tensor, which a file may leave out, or has it in vain.
    pub(super) fn lacks(&self, name: TensorName) -> bool {
        name.role == Role::Value && self.keys_as_values || self.drops_shared && self.is_needless(name)
    }

    /// Whether this tensor is of keys and values that are those of another layer.
    pub(super) fn is_needless(&self, name: TensorName) -> bool {
        matches!(name.role, Role::Key | Role::Value | Role::KeyNorm) && self.is_shared(name.layer)
    }
}

/// `global_head_dim` where it is missing.
const FULL_HEAD_DIM: usize = 512;

/// `vocab_size_per_layer_input` where it is missing.
const PER_LAYER_VOCAB: usize = 262_144;

/// Where the gates of each layer are cut off: of normally distributed ones the share stays below
/// that `activation_sparsity_pattern` says; 0 is none.
fn gate_cutoffs(json: &Document, layers: usize) -> Result<Vec<f32>> {
    const KEY: &str = "activation_sparsity_pattern";
    // Where nothing is said, the first ten of more layers have sparse gates.
    const SPARSE: usize = 10;
    let shares = match json.opt_list(KEY)? {
        Some(list) => list.iter().map(serde_json::Value::as_f64).collect(),
        None => Some((0..layers).map(|layer| if layers > SPARSE && layer < SPARSE { 0.95 } else { 0.0 }).collect()),
    };
    let shares = shares.filter(|shares: &Vec<f64>| shares.len() == layers);
    let shares = shares.filter(|shares| shares.iter().all(|share| (0.0..1.0).contains(share)));
    let shares = shares.ok_or_else(|| json.bad(KEY, "shares of 0 to 1, one for each layer"))?;
    Ok(shares.into_iter().map(|share| if share > 0.0 { quantile(share) as f32 } else { f32::NEG_INFINITY }).collect())
}

/// Elements of a head with full attention, and the key heads of each layer, as newer configurations
/// have them.
fn overridden(
    json: &Document,
    overrides: &Document,
    sliding: &[bool],
    kv_heads: usize,
    head_dim: usize,
) -> Result<(Option<usize>, Vec<usize>)> {
    const HEAD_DIM: &str = "head_dim";
    const KEY_HEADS: &str = "num_key_value_heads";
    let wrong =
        || json.bad(OVERRIDES, "head_dim and num_key_value_heads of layers, one head_dim for each of layer_types");
    let mut heads = vec![kv_heads; sliding.len()];
    let mut dims = vec![head_dim; sliding.len()];
    for (layer, shape) in overrides.value.as_object().into_iter().flat_map(Map::iter) {
        let layer = layer.parse().ok().filter(|&layer: &usize| layer < sliding.len()).ok_or_else(wrong)?;
        let shape = json.with(shape.as_object().ok_or_else(wrong)?.clone());
        if shape.value.as_object().into_iter().flat_map(Map::keys).any(|key| key != HEAD_DIM && key != KEY_HEADS) {
            return Err(wrong().into());
        }
        heads[layer] = shape.opt_size(KEY_HEADS)?.unwrap_or(kv_heads);
        dims[layer] = shape.opt_size(HEAD_DIM)?.unwrap_or(head_dim);
    }
    let full = sliding.iter().zip(&dims).find(|(is_sliding, _)| !**is_sliding).map_or(head_dim, |(_, dim)| *dim);
    let is_alike = |(is_sliding, dim): (&bool, &usize)| *dim == if *is_sliding { head_dim } else { full };
    if sliding.iter().zip(&dims).all(is_alike) { Ok((Some(full), heads)) } else { Err(wrong().into()) }
}

/// One number, or, as llama.cpp writes lists, one for each layer.
fn one_or_list(sizes: &[usize]) -> Value {
    if sizes.iter().all(|size| *size == sizes[0]) {
        return Value::U32(sizes[0] as u32);
    }
    sizes.iter().map(|&size| size as i32).collect::<Vec<_>>().into()
}
