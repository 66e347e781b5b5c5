//! The architectures of Hugging Face that can be imported, and the family that each becomes.

use ollm_runtime::model::{FAMILIES, Family, Role};

/// How an architecture of transformers differs from its family in GGUF.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "what architectures have does not depend on what else they have")]
pub(super) struct Architecture {
    /// As in `architectures` of `config.json`.
    pub(super) name: &'static str,
    /// `general.architecture`.
    family: &'static str,
    /// What norms multiply by is 1 more than the file says.
    pub(super) norms_from_one: bool,
    /// Whether the head is the embedding where the configuration does not say.
    pub(super) tied: bool,
    /// There is a window only if `use_sliding_window` says so.
    pub(super) optional_window: bool,
    /// GGUF says that there is no window.
    pub(super) named_window: bool,
    /// Whether `query_pre_attn_scalar` and the soft-caps of scores and logits count.
    pub(super) scaled_scores: bool,
    /// What scales embeddings, residuals, scores and logits.
    pub(super) scales: ScaleKeys,
    /// The epsilon of norms.
    pub(super) epsilon: &'static str,
    /// The width of the feed-forward network.
    pub(super) ffn: &'static str,
    /// The names that the activation function has.
    pub(super) activations: &'static [&'static str],
    /// The share of a head that is rotated where the configuration does not say.
    pub(super) rotary_share: f64,
    /// Neighbours rotate together in transformers too, where they do in GGUF.
    pub(super) interleaved: bool,
    /// What says whether queries, keys and values, the output of attention, and the feed-forward
    /// network have biases, and whether they have where it does not say.
    pub(super) biases: [(&'static str, bool); 3],
    /// Matrices that transformers has fused and GGUF has not.
    pub(super) fusion: Fusion,
    /// Modules of other names than most architectures have.
    pub(super) modules: &'static [(Role, &'static str)],
    /// The text part of a model that sees or hears.
    pub(super) multimodal: bool,
    /// What `config.json` leaves out.
    pub(super) defaults: &'static [(&'static str, f64)],
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

const NO_BIASES: [(&str, bool); 3] = [("", false); 3];
const USE_BIAS: [(&str, bool); 3] = [("use_bias", false); 3];

const LLAMA: Architecture = Architecture {
    name: "LlamaForCausalLM",
    family: "llama",
    norms_from_one: false,
    tied: false,
    optional_window: false,
    named_window: false,
    scaled_scores: false,
    scales: ScaleKeys::None,
    epsilon: "rms_norm_eps",
    ffn: "intermediate_size",
    activations: &["silu"],
    rotary_share: 1.0,
    interleaved: false,
    biases: [("attention_bias", false), ("attention_bias", false), ("mlp_bias", false)],
    fusion: Fusion::None,
    modules: &[],
    multimodal: false,
    defaults: &[],
};
const QWEN: Architecture = Architecture { optional_window: true, ..LLAMA };
const GEMMA: Architecture =
    Architecture { norms_from_one: true, tied: true, activations: &["gelu_pytorch_tanh"], ..LLAMA };
const GEMMA2: Architecture = Architecture { scaled_scores: true, ..GEMMA };
const GATE_UP: (Role, &str) = (Role::FfnUp, "mlp.gate_up_proj");

/// All of them.
pub(super) const ALL: [Architecture; 30] = [
    LLAMA,
    Architecture { name: "MistralForCausalLM", ..LLAMA },
    Architecture { name: "Qwen2ForCausalLM", family: "qwen2", ..QWEN },
    Architecture { name: "Qwen2VLForConditionalGeneration", family: "qwen2vl", multimodal: true, ..QWEN },
    Architecture { name: "Qwen2_5_VLForConditionalGeneration", family: "qwen2vl", multimodal: true, ..QWEN },
    Architecture { name: "Qwen3ForCausalLM", family: "qwen3", ..QWEN },
    Architecture { name: "Qwen3VLForConditionalGeneration", family: "qwen3vl", multimodal: true, ..QWEN },
    // Its first configurations call the approximation with tanh `gelu`.
    Architecture { name: "GemmaForCausalLM", family: "gemma", activations: &["gelu_pytorch_tanh", "gelu"], ..GEMMA },
    Architecture { name: "Gemma2ForCausalLM", family: "gemma2", ..GEMMA2 },
    Architecture { name: "Gemma3ForCausalLM", family: "gemma3", ..GEMMA2 },
    Architecture {
        name: "Gemma3ForConditionalGeneration",
        family: "gemma3",
        multimodal: true,
        // `Gemma3TextConfig` in transformers.
        defaults: &[
            ("vocab_size", 262_208.0),
            ("num_attention_heads", 8.0),
            ("num_key_value_heads", 4.0),
            ("head_dim", 256.0),
            ("max_position_embeddings", 131_072.0),
            ("rms_norm_eps", 1e-6),
            ("rope_theta", 1e6),
            ("rope_local_base_freq", 1e4),
            ("query_pre_attn_scalar", 256.0),
        ],
        ..GEMMA2
    },
    Architecture { name: "SmolLM3ForCausalLM", family: "smollm3", tied: true, optional_window: true, ..LLAMA },
    Architecture { name: "GraniteForCausalLM", family: "granite", scales: ScaleKeys::Granite, ..LLAMA },
    // Granite 4 without recurrent layers and experts.
    Architecture {
        name: "GraniteMoeHybridForCausalLM",
        family: "granite",
        scales: ScaleKeys::Granite,
        ffn: "shared_intermediate_size",
        fusion: Fusion::Gate,
        modules: &[
            (Role::FfnGate, "shared_mlp.input_linear"),
            (Role::FfnUp, "shared_mlp.input_linear"),
            (Role::FfnDown, "shared_mlp.output_linear"),
        ],
        ..LLAMA
    },
    Architecture {
        name: "Phi3ForCausalLM",
        family: "phi3",
        named_window: true,
        modules: &[(Role::FusedQueryKeyValue, "self_attn.qkv_proj"), GATE_UP],
        ..LLAMA
    },
    Architecture { name: "Ministral3ForCausalLM", family: "mistral3", ..LLAMA },
    Architecture { name: "Mistral3ForConditionalGeneration", family: "mistral3", multimodal: true, ..LLAMA },
    Architecture { name: "Olmo2ForCausalLM", family: "olmo2", ..LLAMA },
    Architecture { name: "Olmo3ForCausalLM", family: "olmo2", ..LLAMA },
    Architecture { name: "Exaone4ForCausalLM", family: "exaone4", ..LLAMA },
    Architecture {
        name: "Glm4ForCausalLM",
        family: "glm4",
        rotary_share: 0.5,
        interleaved: true,
        biases: [("attention_bias", false), ("", false), ("", false)],
        modules: &[
            (Role::AttentionPostNorm, "post_self_attn_layernorm"),
            (Role::FfnNorm, "post_attention_layernorm"),
            (Role::FfnPostNorm, "post_mlp_layernorm"),
            GATE_UP,
        ],
        ..LLAMA
    },
    Architecture {
        name: "SeedOssForCausalLM",
        family: "seed_oss",
        biases: [("attention_bias", true), ("attention_out_bias", false), ("mlp_bias", false)],
        ..LLAMA
    },
    Architecture {
        name: "HunYuanDenseV1ForCausalLM",
        family: "hunyuan-dense",
        modules: &[(Role::QueryNorm, "self_attn.query_layernorm"), (Role::KeyNorm, "self_attn.key_layernorm")],
        ..LLAMA
    },
    Architecture {
        name: "Ernie4_5ForCausalLM",
        family: "ernie4_5",
        tied: true,
        interleaved: true,
        biases: USE_BIAS,
        ..LLAMA
    },
    Architecture {
        name: "InternLM2ForCausalLM",
        family: "internlm2",
        biases: NO_BIASES,
        fusion: Fusion::KeyHeads,
        modules: &[
            (Role::Embedding, "model.tok_embeddings"),
            (Role::Head, "output"),
            (Role::AttentionNorm, "attention_norm"),
            (Role::Query, "attention.wqkv"),
            (Role::Key, "attention.wqkv"),
            (Role::Value, "attention.wqkv"),
            (Role::AttentionOutput, "attention.wo"),
            (Role::FfnNorm, "ffn_norm"),
            (Role::FfnGate, "feed_forward.w1"),
            (Role::FfnUp, "feed_forward.w3"),
            (Role::FfnDown, "feed_forward.w2"),
        ],
        ..LLAMA
    },
    Architecture {
        name: "MiniCPMForCausalLM",
        family: "minicpm",
        tied: true,
        scales: ScaleKeys::MiniCpm,
        biases: NO_BIASES,
        ..LLAMA
    },
    Architecture {
        name: "StableLmForCausalLM",
        family: "stablelm",
        epsilon: "layer_norm_eps",
        rotary_share: 0.25,
        biases: [("use_qkv_bias", false), ("", false), ("", false)],
        ..LLAMA
    },
    Architecture {
        name: "Starcoder2ForCausalLM",
        family: "starcoder2",
        tied: true,
        epsilon: "norm_epsilon",
        activations: &["gelu_pytorch_tanh"],
        biases: [("use_bias", true); 3],
        modules: &[(Role::FfnUp, "mlp.c_fc"), (Role::FfnDown, "mlp.c_proj")],
        ..LLAMA
    },
    Architecture {
        name: "Cohere2ForCausalLM",
        family: "cohere2",
        tied: true,
        scales: ScaleKeys::Logits,
        epsilon: "layer_norm_eps",
        interleaved: true,
        ..LLAMA
    },
    Architecture {
        name: "NemotronForCausalLM",
        family: "nemotron",
        norms_from_one: true,
        epsilon: "norm_eps",
        activations: &["relu2"],
        rotary_share: 0.5,
        ..LLAMA
    },
];

impl Architecture {
    /// What the runtime knows of the family.
    pub(super) fn family(&self) -> &'static Family {
        FAMILIES.iter().find(|family| family.name == self.family).expect("every family here is one of the runtime's")
    }

    /// Whether this matrix of GGUF is a part of one in transformers.
    pub(super) fn splits(&self, role: Role) -> bool {
        match self.fusion {
            Fusion::None => false,
            Fusion::Gate => matches!(role, Role::FfnGate | Role::FfnUp),
            Fusion::KeyHeads => matches!(role, Role::Query | Role::Key | Role::Value),
        }
    }

    /// The architectures of a family.
    pub(super) fn of(family: &str) -> impl Iterator<Item = &'static Self> {
        ALL.iter().filter(move |architecture| architecture.family == family)
    }
}
