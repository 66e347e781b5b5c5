//! Where the architectures of transformers have their experts: keys of `config.json`, and names of
//! tensors (`models/*/configuration_*.py`, `conversion_mapping.py`, transformers 5).

/// Where an architecture of transformers has its experts.
#[derive(Debug)]
pub(super) struct ExpertKeys {
    /// The keys of their number, of which a file has one, and what it is where it has none.
    pub(super) count: (&'static [&'static str], usize),
    /// `num_experts_per_tok` where it is missing.
    pub(super) used: usize,
    /// The key of their width, and what it is where it is missing; `None` where they are as wide as
    /// the key of the feed-forward network says.
    pub(super) ffn: Option<(&'static str, usize)>,
    /// The key of the width of the shared expert, and what it is where it is missing.
    pub(super) shared: Option<(&'static str, usize)>,
    /// Whether weights are divided by their sum only where `norm_topk_prob` says so.
    pub(super) may_normalize: bool,
    /// Whether it reads `mlp_only_layers` and `decoder_sparse_step`.
    pub(super) may_be_dense: bool,
    /// The names that the router has, in a layer.
    pub(super) router: &'static [&'static str],
    /// What the matrices of one expert are called after its number: gate, up, down.
    pub(super) single: Option<Single>,
    /// The names of the stacked matrices: gate and up, then down.
    pub(super) stacked: &'static [[&'static str; 2]],
}

/// The matrices of one expert: `PREFIX NUMBER . NAME .weight`.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) prefix: &'static str,
    pub(super) names: [&'static str; 3],
}

/// The names of stacked matrices since transformers 5.
const STACKED: [&str; 2] = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"];

pub(super) const QWEN2_MOE: ExpertKeys = ExpertKeys {
    count: (&["num_experts", "num_local_experts"], 60),
    used: 4,
    ffn: Some(("moe_intermediate_size", 1408)),
    shared: Some(("shared_expert_intermediate_size", 5632)),
    may_normalize: true,
    may_be_dense: true,
    router: &["mlp.gate.weight"],
    single: Some(Single { prefix: "mlp.experts.", names: ["gate_proj", "up_proj", "down_proj"] }),
    stacked: &[STACKED],
};

pub(super) const QWEN3_MOE: ExpertKeys = ExpertKeys {
    count: (&["num_experts", "num_local_experts"], 128),
    used: 8,
    ffn: Some(("moe_intermediate_size", 768)),
    shared: None,
    ..QWEN2_MOE
};

pub(super) const OLMOE: ExpertKeys = ExpertKeys {
    count: (&["num_experts", "num_local_experts"], 64),
    used: 8,
    ffn: None,
    shared: None,
    may_be_dense: false,
    ..QWEN2_MOE
};

pub(super) const MIXTRAL: ExpertKeys = ExpertKeys {
    count: (&["num_local_experts", "num_experts"], 8),
    used: 2,
    ffn: None,
    shared: None,
    may_normalize: false,
    may_be_dense: false,
    router: &["block_sparse_moe.gate.weight", "mlp.gate.weight"],
    single: Some(Single { prefix: "block_sparse_moe.experts.", names: ["w1", "w3", "w2"] }),
    stacked: &[STACKED],
};

pub(super) const GRANITE_MOE: ExpertKeys = ExpertKeys {
    count: (&["num_local_experts"], 8),
    used: 2,
    ffn: None,
    shared: None,
    may_normalize: false,
    may_be_dense: false,
    router: &["block_sparse_moe.router.layer.weight", "block_sparse_moe.router.weight"],
    single: None,
    stacked: &[
        ["block_sparse_moe.input_linear.weight", "block_sparse_moe.output_linear.weight"],
        ["block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.experts.down_proj"],
    ],
};

pub(super) const GRANITE_MOE_SHARED: ExpertKeys =
    ExpertKeys { shared: Some(("shared_intermediate_size", 0)), ..GRANITE_MOE };
