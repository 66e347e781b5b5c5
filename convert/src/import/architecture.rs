//! What an architecture of transformers is: the family that it becomes, which keys of its
//! configuration its modeling code reads, and what they are where they are missing.
//!
//! A key that is not among those is dead, whatever it says: the `sliding_window` of a Llama, the
//! `attention_bias` of a Qwen2. `architectures.rs` and `encoder_architectures.rs` list those that
//! can be imported.

use ollm_runtime::model::{FAMILIES, Family, Role};
use serde_json::{Map, Value};

use super::expert_keys::ExpertKeys;

/// How an architecture of transformers differs from its family in GGUF.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "what architectures have does not depend on what else they have")]
pub(super) struct Architecture {
    /// As in `architectures` of `config.json`; none for the text model of a multimodal one.
    pub(super) name: Option<&'static str>,
    /// `model_type` of its configuration.
    pub(super) model_type: &'static str,
    /// `general.architecture`.
    pub(super) family: &'static str,
    /// What the names of layers begin with in the model, before their numbers.
    pub(super) layers: &'static str,
    /// Keys that older configurations have under other names: the older one, then the newer.
    pub(super) aliases: &'static [(&'static str, &'static str)],
    /// What norms multiply by is 1 more than the file says.
    pub(super) norms_from_one: bool,
    /// The key of the activation.
    pub(super) activation: &'static str,
    /// The names that the activation has.
    pub(super) activations: &'static [&'static str],
    /// The key of the epsilon of norms.
    pub(super) epsilon: &'static str,
    /// The key of the width of the feed-forward network.
    pub(super) ffn: &'static str,
    /// What says whether queries, keys and values, the output of attention, and the feed-forward
    /// network have biases, and whether they have where it does not say.
    pub(super) biases: [(&'static str, bool); 3],
    /// Whether it reads `query_pre_attn_scalar`.
    pub(super) scaled_scores: bool,
    /// Whether it reads the soft-cap of logits.
    pub(super) capped_logits: bool,
    /// Whether it reads the soft-cap of scores.
    pub(super) capped_scores: bool,
    /// What scales embeddings, residuals, scores and logits.
    pub(super) scales: ScaleKeys,
    /// Where `sliding_window` counts.
    pub(super) window: WindowRule,
    /// GGUF says that there is no window.
    pub(super) named_window: bool,
    /// The key of the base of rope in layers with a window, and what it is where it is missing,
    /// where `rope_parameters` has a rope for each kind of layers.
    pub(super) sliding_rope: Option<(&'static str, f64)>,
    /// The share of a head that is rotated where `partial_rotary_factor` is missing; none where
    /// whole heads are, whatever it says.
    pub(super) rotary_share: Option<f64>,
    /// Neighbours rotate together in transformers too, where they do in GGUF.
    pub(super) interleaved: bool,
    /// Whether a rope that is `dynamic` is stretched by `alpha`, if that is there.
    pub(super) alpha: bool,
    /// Whether queries grow by `llama_4_scaling_beta`.
    pub(super) temperature: bool,
    /// Whether it reads `use_parallel_residual`.
    pub(super) parallel: bool,
    /// Whether it reads `qk_layernorm`: each head of queries and keys has a norm of its own.
    pub(super) head_norms: bool,
    /// Whether positions are counted from the one behind `pad_token_id`.
    pub(super) padded_positions: bool,
    /// What says whether the dense layer and the output of a head for classification have biases,
    /// and whether they have where it does not say.
    pub(super) classifier_biases: [(&'static str, bool); 2],
    /// Whether there may be no rope, and `layer_types` and the number of experts have to be there.
    pub(super) hybrid: bool,
    /// The experts of its layers.
    pub(super) experts: Option<&'static ExpertKeys>,
    /// The recurrent layers that it may have, where GGUF has such.
    pub(super) recurrent: RecurrentKeys,
    /// What may differ from layer to layer in shape, where something may.
    pub(super) layer_shapes: Option<ShapeKeys>,
    /// What the names of tensors begin with that belong to parts which are not run.
    pub(super) idle: &'static [&'static str],
    /// What may be true, or a number, in others, and not here.
    pub(super) refused: &'static [&'static str],
    /// What has to hold for a class of this name to be this architecture.
    pub(super) required: &'static [Requirement],
    /// Numbers that the network has here, as a number and as text, and may not be others.
    pub(super) fixed: &'static [(&'static str, f64, &'static str)],
    /// Matrices that transformers has fused and GGUF has not.
    pub(super) fusion: Fusion,
    /// Modules of other names than most architectures have.
    pub(super) modules: &'static [(Role, &'static str)],
    pub(super) defaults: Defaults,
}

/// What tells apart architectures that have one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    /// This key is true.
    IsTrue(&'static str),
    /// Some of `layer_types` are recurrent: by these names.
    Recurrent(&'static [&'static str]),
    /// This key is a number above 0.
    Some(&'static str),
}

impl Requirement {
    /// Whether it holds of a configuration.
    pub(super) fn is_met(self, config: &Value) -> bool {
        match self {
            Self::IsTrue(key) => config[key] == true,
            Self::Recurrent(names) => {
                let mut kinds = config["layer_types"].as_array().into_iter().flatten();
                kinds.any(|kind| kind.as_str().is_some_and(|kind| names.contains(&kind)))
            }
            Self::Some(key) => config[key].as_u64().is_some_and(|count| count > 0),
        }
    }
}

/// The names of layers of Mamba 2, and those of attention among them.
pub(super) const MAMBA: [&str; 2] = ["mamba", "linear_attention"];
pub(super) const ATTENTION: [&str; 2] = ["attention", "full_attention"];

/// The head of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadKind {
    /// That of its architecture.
    Own,
    /// None.
    None,
    /// One for the labels of a text.
    Labels,
}

/// Which keys tell of the shapes of layers, and what they are where they are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShapeKeys {
    /// `hidden_size_per_layer_input`.
    pub(super) per_layer: usize,
    /// `num_kv_shared_layers`.
    pub(super) shared: usize,
    /// Layers with full attention may have heads of their own, and those that share keys and values
    /// may be wider; the last layer has full attention.
    pub(super) own_heads: bool,
}

/// Which recurrent layers there may be, and what says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecurrentKeys {
    /// There are none.
    None,
    /// Short convolutions; whether the width of the feed-forward network is to be adjusted.
    ShortConvolutions { adjusted: bool },
    /// Gated delta nets, and attention whose heads have gates.
    DeltaNets,
    /// Mamba 2.
    Mamba2,
    /// Mamba 2 and attention in parallel, with multipliers.
    AttentionMamba2,
}

impl RecurrentKeys {
    /// The module of a recurrent layer with a state-space model or a delta net.
    pub(super) const fn module(self) -> &'static str {
        match self {
            Self::Mamba2 | Self::AttentionMamba2 => "mamba",
            Self::None | Self::ShortConvolutions { .. } | Self::DeltaNets => "linear_attn",
        }
    }
}

/// Where the scales of a network are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScaleKeys {
    /// There are none.
    None,
    /// `embedding_multiplier`, `residual_multiplier`, `attention_multiplier`, `logits_scaling`.
    Granite,
    /// `scale_emb`, `scale_depth` of all layers, `dim_model_base`.
    MiniCpm,
    /// `logit_scale`.
    Logits,
}

/// Matrices that transformers has fused and GGUF has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fusion {
    /// There are none.
    None,
    /// The gate, then what it multiplies.
    Gate,
    /// Of each key head its queries, its key and its value.
    KeyHeads,
}

/// Which layers have the sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowRule {
    /// None, whatever the configuration says.
    Never,
    /// All of them.
    Always,
    /// If `use_sliding_window` says so: those of `layer_types`, else those from `max_window_layers`
    /// on, or from this one.
    Optional { first: usize },
    /// Those of `layer_types`; without such, those without rope if `use_sliding_window` says so.
    WithoutRope,
    /// Those of `layer_types`, else all but each so-many-th, of which `sliding_window_pattern` may
    /// say another number if it is read.
    Interleaved { every: usize, read: bool },
    /// Those of `layer_types`, else all but each so-many-th, from the first on, of which
    /// `global_attn_every_n_layers` may say another number.
    AfterFirst { every: usize },
}

/// What keys are where they are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) vocab: usize,
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// `None`: as many as heads.
    pub(super) kv_heads: Option<usize>,
    /// `None`: the hidden size by the heads.
    pub(super) head_dim: Option<usize>,
    pub(super) context: usize,
    /// `original_max_position_embeddings` beside the parameters of rope; `None`: what they say.
    pub(super) original_context: Option<usize>,
    pub(super) window: Option<usize>,
    pub(super) norm_epsilon: f64,
    /// The head is the embedding.
    pub(super) tied: bool,
    pub(super) attention_cap: Option<f64>,
    pub(super) logit_cap: Option<f64>,
    pub(super) rope_theta: f64,
    /// `rope_parameters`, in JSON.
    pub(super) rope: &'static str,
}

/// `query_pre_attn_scalar` where it is missing, and `logit_scale`, in all that read them.
pub(super) const QUERY_SCALAR: f64 = 256.0;
pub(super) const LOGIT_SCALE: f64 = 0.0625;

impl Architecture {
    /// What the runtime knows of the family.
    pub(super) fn family(&self) -> &'static Family {
        FAMILIES.iter().find(|family| family.name == self.family).expect("every family here is one of the runtime's")
    }

    /// `rope_parameters` where it is missing.
    pub(super) fn rope(&self) -> Map<String, Value> {
        serde_json::from_str(self.defaults.rope).expect("the ropes here are objects of JSON")
    }
}

/// The keys of no biases.
pub(super) const NO_BIASES: [(&str, bool); 3] = [("", false); 3];

/// What the others are told apart from.
pub(super) const LLAMA: Architecture = Architecture {
    name: Some("LlamaForCausalLM"),
    model_type: "llama",
    family: "llama",
    layers: "layers.",
    aliases: &[],
    norms_from_one: false,
    activation: "hidden_act",
    activations: &["silu", "swish"],
    epsilon: "rms_norm_eps",
    ffn: "intermediate_size",
    biases: [("attention_bias", false), ("attention_bias", false), ("mlp_bias", false)],
    scaled_scores: false,
    capped_logits: false,
    capped_scores: false,
    scales: ScaleKeys::None,
    window: WindowRule::Never,
    named_window: false,
    sliding_rope: None,
    rotary_share: None,
    interleaved: false,
    alpha: false,
    temperature: false,
    parallel: false,
    head_norms: false,
    padded_positions: false,
    classifier_biases: [("", false); 2],
    hybrid: false,
    experts: None,
    recurrent: RecurrentKeys::None,
    layer_shapes: None,
    idle: &[],
    refused: &[],
    required: &[],
    fixed: &[],
    fusion: Fusion::None,
    modules: &[],
    defaults: Defaults {
        vocab: 32_000,
        hidden: 4096,
        ffn: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_dim: None,
        context: 2048,
        original_context: None,
        window: None,
        norm_epsilon: 1e-6,
        tied: false,
        attention_cap: None,
        logit_cap: None,
        rope_theta: 10_000.0,
        rope: "{}",
    },
};
