//! Which type each tensor gets: the recipes by their names in the ecosystem.
//!
//! A recipe has one type for most matrices and gives more bits to the most sensitive ones: the
//! head, and in the `_S` and `_M` recipes the values and the down projections of some layers. The
//! choices are those of llama.cpp (`llama_tensor_get_type_impl` in llama-quant.cpp), so that files
//! of one name have one size.

use ollm_runtime::gguf::TensorType;
use ollm_runtime::gguf::TensorType::{
    Bf16, F16, F32, Iq1M, Iq1S, Iq2S, Iq2Xs, Iq2Xxs, Iq3S, Iq3Xxs, Iq4Nl, Iq4Xs, Mxfp4, Q1_0, Q2_0, Q2K, Q3K, Q4_0,
    Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Tq1_0, Tq2_0,
};
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
    /// Other types of the values (fused queries, keys and values too), of the down projections, and
    /// of the attention's output.
    values: Rules,
    down: Rules,
    output: Rules,
    /// Another type of the experts' matrices.
    experts: Option<TensorType>,
}

/// Types of the matrices of one role; of the rules that hold, the first counts.
type Rules = &'static [(LayerCondition, TensorType)];

/// In which layers, or models, a rule holds.
#[derive(Clone, Copy, Debug)]
enum LayerCondition {
    Always,
    /// The first layers, so many.
    First(usize),
    /// The first of so many equal parts of the layers.
    Part(usize),
    /// The first eighth, if there is importance to go by.
    EighthIfImportance,
    /// The first eighth, if there is none.
    EighthUnlessImportance,
    /// The first and the last eighth, and every third layer between them.
    Third,
    /// Four queries or more share a key: the values are few, and count for more.
    Grouped,
    /// The model has [`EIGHT`] experts.
    EightExperts,
}

/// Beside so many experts, as Mixtral has them, attention is little of the model: llama.cpp gives
/// it more bits. Other numbers of experts change nothing.
const EIGHT: usize = 8;

const fn recipe(name: &'static str, file_type: u32, base: TensorType) -> Recipe {
    Recipe { name, file_type, base, values: &[], down: &[], output: &[], experts: None }
}

impl Recipe {
    const fn values(self, values: Rules) -> Self {
        Self { values, ..self }
    }

    const fn down(self, down: Rules) -> Self {
        Self { down, ..self }
    }

    const fn output(self, output: Rules) -> Self {
        Self { output, ..self }
    }

    const fn experts(self, experts: TensorType) -> Self {
        Self { experts: Some(experts), ..self }
    }
}

/// All recipes.
pub const RECIPES: [Recipe; 22] = [
    recipe("F32", 0, F32),
    recipe("F16", 1, F16),
    recipe("BF16", 32, Bf16),
    recipe("Q8_0", 7, Q8_0),
    recipe("Q4_0", 2, Q4_0).down(&[(LayerCondition::EighthIfImportance, Q4_1)]),
    recipe("Q4_1", 3, Q4_1),
    recipe("Q5_0", 8, Q5_0).down(&[(LayerCondition::EighthIfImportance, Q5_1)]),
    recipe("Q5_1", 9, Q5_1),
    recipe("Q2_K", 10, Q2K)
        .values(&[(LayerCondition::Grouped, Q4K), (LayerCondition::Always, Q3K)])
        .down(&[(LayerCondition::Always, Q3K)])
        .output(&[(LayerCondition::EightExperts, Q5K), (LayerCondition::Always, Q3K)]),
    recipe("Q3_K_S", 11, Q3K).output(&[(LayerCondition::EightExperts, Q5K)]),
    recipe("Q3_K_M", 12, Q3K)
        .values(&[(LayerCondition::First(2), Q5K), (LayerCondition::Always, Q4K)])
        .down(&[(LayerCondition::Part(16), Q5K), (LayerCondition::Always, Q4K)])
        .output(&[(LayerCondition::EightExperts, Q5K), (LayerCondition::Always, Q4K)]),
    recipe("Q3_K_L", 13, Q3K)
        .values(&[(LayerCondition::Always, Q5K)])
        .down(&[(LayerCondition::Always, Q5K)])
        .output(&[(LayerCondition::EightExperts, Q3K), (LayerCondition::Always, Q5K)]),
    recipe("Q4_K_S", 14, Q4K)
        .values(&[(LayerCondition::First(4), Q5K)])
        .down(&[(LayerCondition::Part(8), Q5K)])
        .output(&[(LayerCondition::EightExperts, Q5K)]),
    recipe("Q4_K_M", 15, Q4K)
        .values(&[(LayerCondition::Third, Q6K)])
        .down(&[(LayerCondition::Third, Q6K)])
        .output(&[(LayerCondition::EightExperts, Q5K)]),
    recipe("Q5_K_S", 16, Q5K),
    recipe("Q5_K_M", 17, Q5K).values(&[(LayerCondition::Third, Q6K)]).down(&[(LayerCondition::Third, Q6K)]),
    recipe("Q6_K", 18, Q6K),
    recipe("IQ4_NL", 25, Iq4Nl)
        .values(&[(LayerCondition::Grouped, Q5K)])
        .down(&[(LayerCondition::EighthUnlessImportance, Q5K)])
        .output(&[(LayerCondition::EightExperts, Q5K)]),
    recipe("IQ4_XS", 30, Iq4Xs)
        .values(&[(LayerCondition::Grouped, Q5K)])
        .down(&[(LayerCondition::EighthUnlessImportance, Q5K)])
        .output(&[(LayerCondition::EightExperts, Q5K)]),
    recipe("MXFP4", 38, Mxfp4),
    recipe("MXFP4_MOE", 38, Q8_0).experts(Mxfp4),
    recipe("Q2_0", 41, Q2_0),
];

/// What a recipe has to know of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModelFacts {
    /// Transformer blocks.
    pub(super) layers: usize,
    /// Whether the token embeddings are the head too.
    pub(super) tied: bool,
    pub(super) importance: bool,
    /// Queries that share a key.
    pub(super) queries_per_key: usize,
    /// Experts of a layer; 0 where there are none.
    pub(super) experts: usize,
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
    /// Whether this is the type of most matrices.
    pub(crate) fn is_mostly(&self, dtype: TensorType) -> bool {
        self.base == dtype
    }

    /// The type of the matrix `name`, whatever the length of its rows.
    pub(super) fn choose(&self, name: &str, model: ModelFacts) -> TensorType {
        let head = if model.tied { Role::Embedding } else { Role::Head };
        if let Some(experts) = self.experts.filter(|_| name.ends_with("_exps.weight")) {
            return experts;
        }
        let Some(TensorName { layer, role, is_bias: false }) = TensorName::parse(name) else { return self.base };
        match (layer, role) {
            _ if self.base.block_len() == 1 => self.base,
            // The table of per-layer embeddings has the type of that of embeddings.
            (None, Role::PerLayerEmbedding) => self.choose(&TensorName::new(Role::Embedding).to_string(), model),
            (None, role) if role == head => self.head(),
            (None, Role::Embedding) if self.base == Q2_0 => Q4K,
            (Some(_), Role::Key | Role::Value | Role::FusedQueryKeyValue) if model.experts == EIGHT => Q8_0,
            (Some(layer), Role::Value | Role::FusedQueryKeyValue) => self.first(self.values, layer, model),
            (Some(layer), Role::FfnDown | Role::FfnDownExperts) => self.first(self.down, layer, model),
            (Some(layer), Role::AttentionOutput) => self.first(self.output, layer, model),
            _ => self.base,
        }
    }

    fn head(&self) -> TensorType {
        if matches!(self.base, Q8_0 | Mxfp4) { Q8_0 } else { Q6K }
    }

    /// The type of the first rule that holds.
    fn first(&self, rules: Rules, layer: usize, model: ModelFacts) -> TensorType {
        rules.iter().find(|(when, _)| when.holds(layer, model)).map_or(self.base, |&(_, dtype)| dtype)
    }
}

impl LayerCondition {
    fn holds(self, layer: usize, model: ModelFacts) -> bool {
        let ModelFacts { layers, importance, queries_per_key, experts, .. } = model;
        match self {
            Self::Always => true,
            Self::First(count) => layer < count,
            Self::Part(parts) => layer < layers / parts,
            Self::EighthIfImportance => importance && layer < layers / 8,
            Self::EighthUnlessImportance => !importance && layer < layers / 8,
            Self::Third => is_third(layer, layers),
            Self::Grouped => queries_per_key >= 4,
            Self::EightExperts => experts == EIGHT,
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
        Iq4Xs | Iq3S | Iq3Xxs | Iq2Xxs | Iq2Xs | Iq2S | Iq1S | Iq1M => Iq4Nl,
        Q2K | Q3K | Q1_0 | Q2_0 | Tq1_0 | Tq2_0 => Q4_0,
        F32 | F16 | Bf16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Iq4Nl | Mxfp4 => F16,
    };
    that_fits(smaller, cols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(name: &str, tensor: &str, importance: bool) -> TensorType {
        let recipe = RECIPES.iter().find(|recipe| recipe.name == name).unwrap();
        recipe.choose(tensor, ModelFacts { layers: 16, tied: true, importance, queries_per_key: 4, experts: 0 })
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
            ("Q2_K", "blk.9.attn_v.weight", Q4K),
            ("Q2_K", "blk.9.attn_output.weight", Q3K),
            ("Q2_K", "blk.9.ffn_down.weight", Q3K),
            ("Q2_K", "blk.9.ffn_up.weight", Q2K),
            ("Q3_K_S", "blk.0.attn_v.weight", Q3K),
            ("Q3_K_M", "blk.1.attn_v.weight", Q5K),
            ("Q3_K_M", "blk.2.attn_v.weight", Q4K),
            ("Q3_K_M", "blk.0.ffn_down.weight", Q5K),
            ("Q3_K_M", "blk.1.ffn_down.weight", Q4K),
            ("Q3_K_M", "blk.1.attn_output.weight", Q4K),
            ("Q3_K_L", "blk.9.ffn_down.weight", Q5K),
            ("IQ4_XS", "blk.1.ffn_down.weight", Q5K),
            ("IQ4_XS", "blk.2.ffn_down.weight", Iq4Xs),
            ("IQ4_NL", "blk.2.attn_v.weight", Q5K),
            ("MXFP4", "token_embd.weight", Q8_0),
            ("MXFP4", "blk.2.attn_v.weight", Mxfp4),
            ("MXFP4_MOE", "blk.2.attn_v.weight", Q8_0),
            ("MXFP4_MOE", "blk.2.ffn_up_exps.weight", Mxfp4),
            ("Q2_0", "token_embd.weight", Q6K),
            ("Q4_K_M", "per_layer_token_embd.weight", Q6K),
            ("Q4_K_M", "blk.0.inp_gate.weight", Q4K),
        ] {
            assert_eq!(chosen(name, tensor, false), dtype, "{name} {tensor}");
        }
        assert_eq!(chosen("Q5_0", "blk.1.ffn_down.weight", true), Q5_1);
        assert_eq!(chosen("Q5_0", "blk.2.ffn_down.weight", true), Q5_0);
        assert_eq!(chosen("IQ4_XS", "blk.1.ffn_down.weight", true), Iq4Xs);
        let facts = ModelFacts { layers: 16, tied: false, importance: false, queries_per_key: 1, experts: 0 };
        let chosen =
            |name: &str, tensor: &str| RECIPES.iter().find(|recipe| recipe.name == name).unwrap().choose(tensor, facts);
        assert_eq!(chosen("Q2_K", "blk.9.attn_v.weight"), Q3K);
        assert_eq!(chosen("IQ4_XS", "blk.9.attn_v.weight"), Iq4Xs);
        assert_eq!(chosen("Q2_0", "token_embd.weight"), Q4K);
        assert_eq!(chosen("Q2_0", "output.weight"), Q6K);
        assert_eq!(chosen("Q2_0", "per_layer_token_embd.weight"), Q4K);
        assert_eq!(chosen("Q4_K_M", "per_layer_token_embd.weight"), Q4K);
    }

    #[test]
    fn attention_beside_eight_experts_has_more_bits() {
        for (name, tensor, of_eight, of_nine) in [
            ("Q4_K_M", "blk.2.attn_k.weight", Q8_0, Q4K),
            ("Q4_K_M", "blk.2.attn_v.weight", Q8_0, Q4K),
            ("Q4_0", "blk.2.attn_qkv.weight", Q8_0, Q4_0),
            ("Q4_K_M", "blk.2.attn_q.weight", Q4K, Q4K),
            ("Q4_K_M", "blk.2.attn_output.weight", Q5K, Q4K),
            ("Q2_K", "blk.2.attn_output.weight", Q5K, Q3K),
            ("Q3_K_L", "blk.2.attn_output.weight", Q3K, Q5K),
            ("Q5_K_M", "blk.2.attn_output.weight", Q5K, Q5K),
            ("IQ4_XS", "blk.2.attn_output.weight", Q5K, Iq4Xs),
            ("F16", "blk.2.attn_k.weight", F16, F16),
        ] {
            let recipe = RECIPES.iter().find(|recipe| recipe.name == name).unwrap();
            for (experts, dtype) in [(8, of_eight), (9, of_nine)] {
                let facts = ModelFacts { layers: 16, tied: false, importance: false, queries_per_key: 1, experts };
                assert_eq!(recipe.choose(tensor, facts), dtype, "{name} {tensor}, {experts} experts");
            }
        }
    }

    #[test]
    fn rows_that_are_no_whole_blocks_get_the_next_type() {
        for (wanted, cols, dtype) in [
            (Q4K, 512, Q4K),
            (Q4K, 576, Q5_0),
            (Q5K, 96, Q5_1),
            (Q6K, 32, Q8_0),
            (Q6K, 33, F16),
            (F32, 1, F32),
            (Iq4Xs, 96, Iq4Nl),
            (Q2_0, 96, Q4_0),
            (Mxfp4, 33, F16),
        ] {
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
