//! What differs from layer to layer in Gemma 4 (`configuration_gemma4.py` of transformers 5): heads
//! with full attention are of another size, there may be fewer key heads, whose values are the
//! keys; the last layers have the keys and values of others, and may be wider.

use ollm_runtime::gguf::Value;
use ollm_runtime::model::{Role, TensorName};
use serde_json::Map;

use super::document::Document;
use crate::Result;

/// The shapes of the layers.
pub(super) struct LayerShapes {
    /// Elements of a head in layers with full attention.
    pub(super) full_head_dim: usize,
    /// Key heads of each layer.
    kv_heads: Vec<usize>,
    /// The width of each feed-forward network.
    ffn: Vec<usize>,
    /// The first layer that has the keys and values of another.
    first_shared: usize,
    /// Elements that each layer has of a per-layer embedding, or 0.
    per_layer: usize,
    /// Layers with full attention have no values but the keys.
    keys_as_values: bool,
}

/// The shapes that the configuration has in the place of some keys, by layers.
const OVERRIDES: &str = "per_layer_config";

impl LayerShapes {
    /// `common` are the heads, the key heads, the elements of a head, the width, and the elements
    /// of a per-layer embedding where nothing else is said.
    pub(super) fn read(json: &Document, sliding: &[bool], common: [usize; 5]) -> Result<Self> {
        let [heads, kv_heads, head_dim, ffn, per_layer] = common;
        let layers = sliding.len();
        let keys_as_values = json.opt_bool("attention_k_eq_v")?.unwrap_or(false);
        let overrides = json.part(OVERRIDES)?;
        let shapes = if let Some(overrides) = &overrides {
            overridden(json, overrides, sliding, kv_heads, head_dim)?
        } else {
            let head_dim = json.opt_size("global_head_dim")?.unwrap_or(FULL_HEAD_DIM);
            let full = json.opt_size_if(keys_as_values, "num_global_key_value_heads")?.unwrap_or(kv_heads);
            let heads = |&is_sliding: &bool| if is_sliding { kv_heads } else { full };
            (head_dim, sliding.iter().map(heads).collect())
        };
        let (full_head_dim, kv_heads) = shapes;
        let place = if overrides.is_some() { OVERRIDES } else { "num_global_key_value_heads" };
        if kv_heads.iter().any(|count| heads % count != 0) {
            return Err(json.bad(place, "key heads that divide num_attention_heads").into());
        }
        if full_head_dim % 2 != 0 {
            return Err(json.bad("global_head_dim", "even").into());
        }
        let shared = json.opt_count("num_kv_shared_layers")?.unwrap_or(0);
        let first_shared = layers.checked_sub(shared).filter(|&first| first > 0);
        let first_shared = first_shared.ok_or_else(|| json.bad("num_kv_shared_layers", "below num_hidden_layers"))?;
        let is_double = json.opt_bool("use_double_wide_mlp")?.unwrap_or(false);
        let width = |layer: usize| if is_double && layer >= first_shared { 2 * ffn } else { ffn };
        Ok(Self {
            full_head_dim,
            kv_heads,
            ffn: (0..layers).map(width).collect(),
            first_shared,
            per_layer: json.opt_count("hidden_size_per_layer_input")?.unwrap_or(per_layer),
            keys_as_values,
        })
    }

    /// The keys of GGUF. `head_dim`: elements of a head in layers with a window.
    pub(super) fn keys(&self, head_dim: usize) -> Vec<(&'static str, Value)> {
        let number = |n: usize| Value::U32(n as u32);
        vec![
            ("feed_forward_length", one_or_list(&self.ffn)),
            ("attention.head_count_kv", one_or_list(&self.kv_heads)),
            ("attention.key_length", number(self.full_head_dim)),
            ("attention.value_length", number(self.full_head_dim)),
            ("attention.key_length_swa", number(head_dim)),
            ("attention.value_length_swa", number(head_dim)),
            ("attention.shared_kv_layers", number(self.ffn.len() - self.first_shared)),
            ("embedding_length_per_layer_input", number(self.per_layer)),
        ]
    }

    /// Whether this layer has the keys and values of another.
    pub(super) fn is_shared(&self, layer: Option<usize>) -> bool {
        layer.is_some_and(|layer| layer >= self.first_shared)
    }

    /// Whether a checkpoint lacks this tensor, or has it in vain, which a file may leave out.
    pub(super) fn lacks(&self, name: TensorName) -> bool {
        match name.role {
            Role::Value if self.keys_as_values => true,
            Role::Key | Role::Value | Role::KeyNorm => self.is_shared(name.layer),
            _ => false,
        }
    }
}

/// `global_head_dim` where it is missing.
const FULL_HEAD_DIM: usize = 512;

/// Elements of a head with full attention, and the key heads of each layer, as newer configurations
/// have them.
fn overridden(
    json: &Document,
    overrides: &Document,
    sliding: &[bool],
    kv_heads: usize,
    head_dim: usize,
) -> Result<(usize, Vec<usize>)> {
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
    if sliding.iter().zip(&dims).all(is_alike) { Ok((full, heads)) } else { Err(wrong().into()) }
}

/// One number, or, as llama.cpp writes lists, one for each layer.
fn one_or_list(sizes: &[usize]) -> Value {
    if sizes.iter().all(|size| *size == sizes[0]) {
        return Value::U32(sizes[0] as u32);
    }
    sizes.iter().map(|&size| size as i32).collect::<Vec<_>>().into()
}
