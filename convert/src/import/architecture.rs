//! The architectures of transformers that can be imported: the family that each becomes, which keys
//! of its configuration its modeling code reads, and what they are where they are missing
//! (`models/*/configuration_*.py`, `models/*/modeling_*.py`, transformers 5).
//!
//! A key that is not among those is dead, whatever it says: the `sliding_window` of a Llama, the
//! `attention_bias` of a Qwen2.

use ollm_runtime::model::{FAMILIES, Family};

/// How an architecture of transformers differs from its family in GGUF.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "what architectures have does not depend on what else they have")]
pub(super) struct Architecture {
    /// As in `architectures` of `config.json`; none for the text model of a multimodal one.
    pub(super) name: Option<&'static str>,
    /// `model_type` of its configuration.
    pub(super) model_type: &'static str,
    /// `general.architecture`.
    family: &'static str,
    /// What norms multiply by is 1 more than the file says.
    pub(super) norms_from_one: bool,
    /// The key of the activation.
    pub(super) activation: &'static str,
    /// Whether it reads `attention_bias`: biases of all four matrices.
    pub(super) attention_bias: bool,
    /// Whether it reads `mlp_bias`.
    pub(super) mlp_bias: bool,
    /// Whether it reads `query_pre_attn_scalar` and the soft-caps of scores and logits.
    pub(super) scaled_scores: bool,
    /// Where `sliding_window` counts.
    pub(super) window: WindowRule,
    /// Whether `rope_parameters` has a rope for each kind of layers.
    pub(super) rope_by_kind: bool,
    pub(super) defaults: Defaults,
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
    /// Those of `layer_types`, else all but each so-many-th.
    Interleaved { every: usize },
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
    pub(super) norm_epsilon: f64,
    /// The head is the embedding.
    pub(super) tied: bool,
    pub(super) attention_cap: Option<f64>,
    pub(super) logit_cap: Option<f64>,
    pub(super) rope_theta: f64,
}

/// `sliding_window` where it is missing, and `query_pre_attn_scalar`, in all that read them; the
/// base of rope in layers with a window.
pub(super) const WINDOW: usize = 4096;
pub(super) const QUERY_SCALAR: f64 = 256.0;
pub(super) const LOCAL_ROPE_THETA: f64 = 10_000.0;

const LLAMA: Architecture = Architecture {
    name: Some("LlamaForCausalLM"),
    model_type: "llama",
    family: "llama",
    norms_from_one: false,
    activation: "hidden_act",
    attention_bias: true,
    mlp_bias: true,
    scaled_scores: false,
    window: WindowRule::Never,
    rope_by_kind: false,
    defaults: Defaults {
        vocab: 32_000,
        hidden: 4096,
        ffn: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_dim: None,
        context: 2048,
        norm_epsilon: 1e-6,
        tied: false,
        attention_cap: None,
        logit_cap: None,
        rope_theta: 10_000.0,
    },
};

const QWEN2: Architecture = Architecture {
    name: Some("Qwen2ForCausalLM"),
    model_type: "qwen2",
    family: "qwen2",
    attention_bias: false,
    mlp_bias: false,
    window: WindowRule::Optional { first: 28 },
    defaults: Defaults { vocab: 151_936, ffn: 22_016, kv_heads: Some(32), context: 32_768, ..LLAMA.defaults },
    ..LLAMA
};

const QWEN3: Architecture = Architecture {
    name: Some("Qwen3ForCausalLM"),
    model_type: "qwen3",
    family: "qwen3",
    attention_bias: true,
    defaults: Defaults { head_dim: Some(128), ..QWEN2.defaults },
    ..QWEN2
};

const QWEN2_VL: Architecture = Architecture {
    name: None,
    model_type: "qwen2_vl_text",
    window: WindowRule::Optional { first: 80 },
    defaults: Defaults {
        vocab: 152_064,
        hidden: 8192,
        ffn: 29_568,
        layers: 80,
        heads: 64,
        kv_heads: Some(8),
        norm_epsilon: 1e-5,
        rope_theta: 1_000_000.0,
        ..QWEN2.defaults
    },
    ..QWEN2
};

const GEMMA2: Architecture = Architecture {
    name: Some("Gemma2ForCausalLM"),
    model_type: "gemma2",
    family: "gemma2",
    norms_from_one: true,
    activation: "hidden_activation",
    mlp_bias: false,
    scaled_scores: true,
    window: WindowRule::Interleaved { every: 2 },
    defaults: Defaults {
        vocab: 256_000,
        hidden: 2304,
        ffn: 9216,
        layers: 26,
        heads: 8,
        kv_heads: Some(4),
        head_dim: Some(256),
        context: 8192,
        tied: true,
        attention_cap: Some(50.0),
        logit_cap: Some(30.0),
        ..LLAMA.defaults
    },
    ..LLAMA
};

/// All of them.
pub(super) const ALL: [Architecture; 9] = [
    LLAMA,
    Architecture {
        name: Some("MistralForCausalLM"),
        model_type: "mistral",
        attention_bias: false,
        mlp_bias: false,
        window: WindowRule::Always,
        defaults: Defaults { ffn: 14_336, kv_heads: Some(8), context: 131_072, ..LLAMA.defaults },
        ..LLAMA
    },
    QWEN2,
    QWEN3,
    GEMMA2,
    Architecture {
        name: Some("Gemma3ForCausalLM"),
        model_type: "gemma3_text",
        family: "gemma3",
        window: WindowRule::Interleaved { every: 6 },
        rope_by_kind: true,
        defaults: Defaults {
            vocab: 262_208,
            context: 131_072,
            attention_cap: None,
            logit_cap: None,
            rope_theta: 1_000_000.0,
            ..GEMMA2.defaults
        },
        ..GEMMA2
    },
    QWEN2_VL,
    Architecture { model_type: "qwen2_5_vl_text", ..QWEN2_VL },
    Architecture {
        name: None,
        model_type: "qwen3_vl_text",
        window: WindowRule::Never,
        defaults: Defaults { context: 128_000, rope_theta: 500_000.0, ..QWEN3.defaults },
        ..QWEN3
    },
];

/// The text models of multimodal ones whose configuration does not name them: by `model_type`.
const TEXT_MODELS: [(&str, &str); 6] = [
    ("gemma3", "gemma3_text"),
    ("llava", "llama"),
    ("llava_next", "llama"),
    ("qwen2_vl", "qwen2_vl_text"),
    ("qwen2_5_vl", "qwen2_5_vl_text"),
    ("qwen3_vl", "qwen3_vl_text"),
];

impl Architecture {
    /// What the runtime knows of the family.
    pub(super) fn family(&self) -> &'static Family {
        FAMILIES.iter().find(|family| family.name == self.family).expect("every family here is one of the runtime's")
    }

    /// The architecture of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|known| known.name == Some(name))
    }

    /// The architecture whose configuration has this `model_type`.
    pub(super) fn of_type(model_type: &str) -> Option<&'static Self> {
        ALL.iter().find(|known| known.model_type == model_type)
    }

    /// The text model of a multimodal one with this `model_type`.
    pub(super) fn text_of(model_type: &str) -> Option<&'static Self> {
        TEXT_MODELS.iter().find(|(whole, _)| *whole == model_type).and_then(|(_, text)| Self::of_type(text))
    }
}
