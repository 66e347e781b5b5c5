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
    /// `norm_topk_prob` where it is missing: weights are divided by their sum; none where they are,
    /// whatever it says.
    pub(super) normalized: Option<bool>,
    /// What says which layers are dense.
    pub(super) dense: DenseKeys,
    /// Weights are sigmoids, with a bias for the choice if `use_expert_bias` says so, and times
    /// `routed_scaling_factor`.
    pub(super) sigmoid: bool,
    /// The names that the router has, in a layer.
    pub(super) router: &'static [&'static str],
    /// What the matrices of one expert are called after its number: gate, up, down.
    pub(super) single: Option<Single>,
    /// The names of the stacked matrices: gate and up, then down.
    pub(super) stacked: &'static [[&'static str; 2]],
    /// Stacked matrices are inputs by outputs, those of gate and up by turns, with biases; or
    /// packed in `MXFP4`, outputs by inputs.
    pub(super) turned: bool,
}

/// What says which layers have no experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DenseKeys {
    /// All have some.
    None,
    /// `mlp_only_layers` and `decoder_sparse_step`.
    Listed,
    /// `num_dense_layers`, and what it is where it is missing: the first layers.
    First(usize),
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
    normalized: Some(false),
    dense: DenseKeys::Listed,
    sigmoid: false,
    router: &["mlp.gate.weight"],
    single: Some(Single { prefix: "mlp.experts.", names: ["gate_proj", "up_proj", "down_proj"] }),
    stacked: &[STACKED],
    turned: false,
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
    dense: DenseKeys::None,
    ..QWEN2_MOE
};

pub(super) const MIXTRAL: ExpertKeys = ExpertKeys {
    count: (&["num_local_experts", "num_experts"], 8),
    used: 2,
    ffn: None,
    shared: None,
    normalized: None,
    dense: DenseKeys::None,
    sigmoid: false,
    router: &["block_sparse_moe.gate.weight", "mlp.gate.weight"],
    single: Some(Single { prefix: "block_sparse_moe.experts.", names: ["w1", "w3", "w2"] }),
    stacked: &[STACKED],
    turned: false,
};

pub(super) const GRANITE_MOE: ExpertKeys = ExpertKeys {
    count: (&["num_local_experts"], 8),
    used: 2,
    ffn: None,
    shared: None,
    normalized: None,
    dense: DenseKeys::None,
    sigmoid: false,
    router: &["block_sparse_moe.router.layer.weight", "block_sparse_moe.router.weight"],
    single: None,
    stacked: &[
        ["block_sparse_moe.input_linear.weight", "block_sparse_moe.output_linear.weight"],
        ["block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.experts.down_proj"],
    ],
    turned: false,
};

pub(super) const GPT_OSS: ExpertKeys = ExpertKeys {
    count: (&["num_local_experts", "num_experts"], 128),
    used: 4,
    ffn: Some(("intermediate_size", 2880)),
    shared: None,
    normalized: None,
    dense: DenseKeys::None,
    sigmoid: false,
    router: &["mlp.router.weight"],
    single: None,
    stacked: &[STACKED],
    turned: true,
};

pub(super) const GRANITE_MOE_SHARED: ExpertKeys =
    ExpertKeys { shared: Some(("shared_intermediate_size", 0)), ..GRANITE_MOE };

pub(super) const GRANITE_MOE_HYBRID: ExpertKeys =
    ExpertKeys { shared: Some(("shared_intermediate_size", 1024)), ..GRANITE_MOE };

pub(super) const LFM2_MOE: ExpertKeys = ExpertKeys {
    count: (&["num_experts"], 32),
    used: 4,
    ffn: Some(("moe_intermediate_size", 1792)),
    shared: None,
    normalized: Some(true),
    dense: DenseKeys::First(2),
    sigmoid: true,
    router: &["feed_forward.gate.weight"],
    single: Some(Single { prefix: "feed_forward.experts.", names: ["w1", "w3", "w2"] }),
    stacked: &[["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"]],
    turned: false,
};
