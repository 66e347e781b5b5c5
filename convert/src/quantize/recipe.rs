//! Which type each tensor gets: the recipes by their names in the ecosystem.
//!
//! A recipe has one type for most matrices and gives more bits to the most sensitive ones: the
//! head, and in the `_S` and `_M` recipes the values and the down projections of some layers. The
//! choices are those of llama.cpp (`llama_tensor_get_type_impl` in llama-quant.cpp), so that files
//! of one name have one size.

use ollm_runtime::gguf::TensorType;
use ollm_runtime::gguf::TensorType::{Bf16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use ollm_runtime::model::{PLUGIN_PREFIX, Role, TensorName, split_layer};

/// A named choice of types.
#[derive(Debug)]
pub struct Recipe {
    /// As on the command line, and in file names.
    pub name: &'static str,
    /// `general.file_type`: `enum llama_ftype` in llama.h.
    pub(crate) file_type: u32,
    /// The type of most matrices.
    base: TensorType,
    /// Where more bits go.
    more: More,
}

/// Which values and down projections get more bits than the others.
#[derive(Clone, Copy, Debug)]
enum More {
    None,
    /// The first layers get this type.
    First(TensorType),
    /// The first and the last eighth, and every third layer between them, get this type.
    Third(TensorType),
    /// The down projections of the first eighth get this type, if there is importance to go by.
    IfImportance(TensorType),
}

const fn recipe(name: &'static str, file_type: u32, base: TensorType, more: More) -> Recipe {
    Recipe { name, file_type, base, more }
}

/// All recipes.
pub const RECIPES: [Recipe; 13] = [
    recipe("F32", 0, F32, More::None),
    recipe("F16", 1, F16, More::None),
    recipe("BF16", 32, Bf16, More::None),
    recipe("Q8_0", 7, Q8_0, More::None),
    recipe("Q4_0", 2, Q4_0, More::IfImportance(Q4_1)),
    recipe("Q4_1", 3, Q4_1, More::None),
    recipe("Q5_0", 8, Q5_0, More::IfImportance(Q5_1)),
    recipe("Q5_1", 9, Q5_1, More::None),
    recipe("Q4_K_S", 14, Q4K, More::First(Q5K)),
    recipe("Q4_K_M", 15, Q4K, More::Third(Q6K)),
    recipe("Q5_K_S", 16, Q5K, More::None),
    recipe("Q5_K_M", 17, Q5K, More::Third(Q6K)),
    recipe("Q6_K", 18, Q6K, More::None),
];

/// What a recipe has to know of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModelFacts {
    /// Transformer blocks.
    pub(super) layers: usize,
    /// Whether the token embeddings are the head too.
    pub(super) tied: bool,
    pub(super) importance: bool,
}

/// Whether a recipe says anything of this tensor: weights of two dimensions or more that are no
/// norm and not a plugin's.
pub(super) fn is_matrix(name: &str, dims: &[u64]) -> bool {
    let excluded = name.contains("_norm.weight") || AS_THEY_ARE.iter().any(|part| name.contains(part));
    dims.len() > 1 && name.ends_with("weight") && !excluded && !name.starts_with(PLUGIN_PREFIX)
}

/// Parts of the names of matrices that stay as they are: they are small, or routes, positions and
/// states that quantization harms most. The list of llama.cpp (`tensor_allows_quantization` in
/// llama-quant.cpp).
const AS_THEY_ARE: &[&str] = &[
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "position_embd.weight",
    "token_types.weight",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    ".patch_embd",
    ".patch_merger",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

impl Recipe {
    /// The type of the matrix `name`, whatever the length of its rows.
    pub(super) fn choose(&self, name: &str, model: ModelFacts) -> TensorType {
        let head = if model.tied { Role::Embedding } else { Role::Head };
        let Some(TensorName { layer, role, is_bias: false }) = TensorName::parse(name) else { return self.base };
        match (layer, role) {
            _ if self.base.block_len() == 1 => self.base,
            (None, role) if role == head => self.head(),
            (Some(layer), Role::Value | Role::FusedQueryKeyValue) => self.values(layer, model),
            (Some(layer), Role::FfnDown | Role::FfnDownExperts) => self.down(layer, model),
            _ => self.base,
        }
    }

    fn head(&self) -> TensorType {
        if self.base == Q8_0 { Q8_0 } else { Q6K }
    }

    fn values(&self, layer: usize, model: ModelFacts) -> TensorType {
        match self.more {
            More::First(more) if layer < 4 => more,
            More::Third(more) if is_third(layer, model.layers) => more,
            _ => self.base,
        }
    }

    fn down(&self, layer: usize, model: ModelFacts) -> TensorType {
        let first = layer < model.layers / 8;
        match self.more {
            More::First(more) if first => more,
            More::IfImportance(more) if first && model.importance => more,
            More::Third(more) if is_third(layer, model.layers) => more,
            _ => self.base,
        }
    }
}

fn is_third(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// The group of a matrix, one role in one third of the layers, with its place among all groups.
pub(super) fn group(name: &str, layers: usize) -> (usize, String) {
    let Some((layer, role)) = split_layer(name) else { return (0, name.to_owned()) };
    let third = 3 * layer / layers.max(1);
    let (first, end) = ((third * layers).div_ceil(3), ((third + 1) * layers).div_ceil(3));
    (1 + third, format!("blk.{first}-{}.{role}", end - 1))
}

/// The recipe whose type most of these weights have.
pub(super) fn nearest(types: &[(TensorType, usize)]) -> &'static Recipe {
    let weights = |recipe: &&Recipe| -> usize {
        types.iter().filter(|(dtype, _)| *dtype == recipe.base).map(|(_, weights)| weights).sum()
    };
    // Of several the first.
    RECIPES.iter().rev().max_by_key(weights).unwrap_or(&RECIPES[0])
}

/// How many layers tensors of these names are of.
pub(super) fn layers<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.filter_map(split_layer).map(|(layer, _)| layer.saturating_add(1)).max().unwrap_or(0)
}

/// `wanted`, or what takes its place where rows of `cols` are not whole blocks of it.
pub(super) fn that_fits(wanted: TensorType, cols: usize) -> TensorType {
    if wanted.row_bytes(cols).is_some() {
        return wanted;
    }
    let smaller = match wanted {
        Q4K => Q5_0,
        Q5K => Q5_1,
        Q6K => Q8_0,
        F32 | F16 | Bf16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 => F16,
    };
    that_fits(smaller, cols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(name: &str, tensor: &str, importance: bool) -> TensorType {
        let recipe = RECIPES.iter().find(|recipe| recipe.name == name).unwrap();
        recipe.choose(tensor, ModelFacts { layers: 16, tied: true, importance })
    }

    #[test]
    fn more_bits_go_where_the_ecosystem_puts_them() {
        for (name, tensor, dtype) in [
            ("Q4_K_M", "blk.5.attn_q.weight", Q4K),
            ("Q4_K_M", "blk.0.attn_v.weight", Q6K),
            ("Q4_K_M", "blk.2.attn_v.weight", Q4K),
            ("Q4_K_M", "blk.4.ffn_down.weight", Q6K),
            ("Q4_K_M", "blk.15.ffn_down.weight", Q6K),
            ("Q4_K_S", "blk.3.attn_v.weight", Q5K),
            ("Q4_K_S", "blk.2.ffn_down.weight", Q4K),
            ("Q5_K_S", "blk.0.ffn_down.weight", Q5K),
            ("Q4_0", "token_embd.weight", Q6K),
            ("Q4_0", "blk.0.ffn_down.weight", Q4_0),
            ("Q8_0", "token_embd.weight", Q8_0),
            ("BF16", "token_embd.weight", Bf16),
        ] {
            assert_eq!(chosen(name, tensor, false), dtype, "{name} {tensor}");
        }
        assert_eq!(chosen("Q5_0", "blk.1.ffn_down.weight", true), Q5_1);
        assert_eq!(chosen("Q5_0", "blk.2.ffn_down.weight", true), Q5_0);
    }

    #[test]
    fn rows_that_are_no_whole_blocks_get_the_next_type() {
        for (wanted, cols, dtype) in
            [(Q4K, 512, Q4K), (Q4K, 576, Q5_0), (Q5K, 96, Q5_1), (Q6K, 32, Q8_0), (Q6K, 33, F16), (F32, 1, F32)]
        {
            assert_eq!(that_fits(wanted, cols), dtype);
        }
    }

    #[test]
    fn norms_vectors_and_plugins_are_left_alone() {
        assert!(is_matrix("blk.0.attn_q.weight", &[64, 64]));
        for part in AS_THEY_ARE {
            assert!(!is_matrix(&format!("blk.0.{}.weight", part.trim_end_matches(".weight")), &[64, 64]), "{part}");
        }
        for (name, dims) in [
            ("blk.0.attn_q.bias", &[64][..]),
            ("blk.0.attn_q_norm.weight", &[64, 2]),
            ("output_norm.weight", &[64]),
            ("ollm.decoder.up.weight", &[64, 64]),
        ] {
            assert!(!is_matrix(name, dims), "{name}");
        }
        assert_eq!(group("token_embd.weight", 30), (0, "token_embd.weight".to_owned()));
        assert_eq!(group("blk.9.attn_q.weight", 30), (1, "blk.0-9.attn_q.weight".to_owned()));
        assert_eq!(group("blk.10.attn_q.weight", 30), (2, "blk.10-19.attn_q.weight".to_owned()));
        assert_eq!(group("blk.1.attn_q.weight", 2), (2, "blk.1-1.attn_q.weight".to_owned()));
        assert_eq!(nearest(&[(Q8_0, 10), (Q4K, 30), (Q5K, 20)]).name, "Q4_K_S");
        assert_eq!(nearest(&[(F32, 1)]).name, "F32");
        assert_eq!(layers(["a", "blk.3.x", "blk.11.y", "blk.z.y"].into_iter()), 12);
    }
}
