//! The architectures of transformers that can be imported, as their code has them
//! (`models/*/configuration_*.py`, `models/*/modeling_*.py`, transformers 5; of `InternLM2` and
//! MiniCPM the code that comes with the weights).

use ollm_runtime::model::Role;
use serde_json::Value;

use super::architecture::{
    Architecture, Defaults, Fusion, HeadKind, LLAMA, MAMBA, NO_BIASES, RecurrentKeys, Requirement, ScaleKeys,
    ShapeKeys, WindowRule,
};
use super::encoder_architectures::{BERT, CAMEMBERT, MODERN_BERT, NOMIC_BERT, ROBERTA, XLM_ROBERTA};
use super::expert_keys;

const ATTENTION_BIASES: [(&str, bool); 3] = [("attention_bias", false), ("attention_bias", false), ("", false)];
const GELU: &[&str] = &["gelu_pytorch_tanh", "gelu_new"];
const GATE_UP: (Role, &str) = (Role::FfnUp, "mlp.gate_up_proj");

const QWEN2: Architecture = Architecture {
    name: Some("Qwen2ForCausalLM"),
    model_type: "qwen2",
    family: "qwen2",
    biases: NO_BIASES,
    window: WindowRule::Optional { first: 28 },
    defaults: Defaults {
        vocab: 151_936,
        ffn: 22_016,
        kv_heads: Some(32),
        context: 32_768,
        window: Some(4096),
        ..LLAMA.defaults
    },
    ..LLAMA
};

const QWEN3: Architecture = Architecture {
    name: Some("Qwen3ForCausalLM"),
    model_type: "qwen3",
    family: "qwen3",
    biases: ATTENTION_BIASES,
    defaults: Defaults { head_dim: Some(128), ..QWEN2.defaults },
    ..QWEN2
};

const QWEN2_VL: Architecture = Architecture {
    name: None,
    model_type: "qwen2_vl_text",
    family: "qwen2vl",
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

const GEMMA: Architecture = Architecture {
    name: Some("GemmaForCausalLM"),
    model_type: "gemma",
    family: "gemma",
    norms_from_one: true,
    // Its first configurations call the approximation with tanh `gelu`.
    activations: &["gelu_pytorch_tanh", "gelu_new", "gelu"],
    biases: ATTENTION_BIASES,
    refused: &["use_bidirectional_attention"],
    defaults: Defaults {
        vocab: 256_000,
        hidden: 3072,
        ffn: 24_576,
        layers: 28,
        heads: 16,
        kv_heads: Some(16),
        head_dim: Some(256),
        context: 8192,
        tied: true,
        ..LLAMA.defaults
    },
    ..LLAMA
};

const GEMMA2: Architecture = Architecture {
    name: Some("Gemma2ForCausalLM"),
    model_type: "gemma2",
    family: "gemma2",
    activation: "hidden_activation",
    activations: GELU,
    scaled_scores: true,
    capped_logits: true,
    capped_scores: true,
    window: WindowRule::Interleaved { every: 2, read: false },
    defaults: Defaults {
        hidden: 2304,
        ffn: 9216,
        layers: 26,
        heads: 8,
        kv_heads: Some(4),
        window: Some(4096),
        attention_cap: Some(50.0),
        logit_cap: Some(30.0),
        ..GEMMA.defaults
    },
    ..GEMMA
};

const GEMMA3: Architecture = Architecture {
    name: Some("Gemma3ForCausalLM"),
    model_type: "gemma3_text",
    family: "gemma3",
    capped_scores: false,
    window: WindowRule::Interleaved { every: 6, read: true },
    sliding_rope: Some(("rope_local_base_freq", 10_000.0)),
    defaults: Defaults {
        vocab: 262_208,
        context: 131_072,
        attention_cap: None,
        logit_cap: None,
        rope_theta: 1_000_000.0,
        ..GEMMA2.defaults
    },
    ..GEMMA2
};

const GEMMA3N: Architecture = Architecture {
    name: Some("Gemma3nForCausalLM"),
    model_type: "gemma3n_text",
    family: "gemma3n",
    norms_from_one: false,
    scaled_scores: false,
    window: WindowRule::Interleaved { every: 5, read: false },
    layer_shapes: Some(ShapeKeys { per_layer: 256, shared: 15, own_heads: false }),
    // GGUF has no key for it.
    fixed: &[("laurel_rank", 64.0, "64"), ("altup_active_idx", 0.0, "0")],
    defaults: Defaults {
        vocab: 262_400,
        hidden: 2048,
        ffn: 16_384,
        layers: 35,
        kv_heads: Some(2),
        context: 32_768,
        window: Some(512),
        logit_cap: Some(30.0),
        ..GEMMA3.defaults
    },
    ..GEMMA3
};

const GEMMA4: Architecture = Architecture {
    name: Some("Gemma4ForCausalLM"),
    model_type: "gemma4_text",
    family: "gemma4",
    norms_from_one: false,
    scaled_scores: false,
    capped_scores: false,
    window: WindowRule::Interleaved { every: 6, read: false },
    sliding_rope: Some(("", 10_000.0)),
    layer_shapes: Some(ShapeKeys { per_layer: 256, shared: 0, own_heads: true }),
    biases: NO_BIASES,
    refused: &["enable_moe_block", "attention_bias"],
    defaults: Defaults {
        vocab: 262_144,
        layers: 30,
        context: 131_072,
        window: Some(512),
        attention_cap: None,
        logit_cap: None,
        rope: r#"{"full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6}}"#,
        ..GEMMA2.defaults
    },
    ..GEMMA2
};

const GRANITE: Architecture = Architecture {
    name: Some("GraniteForCausalLM"),
    model_type: "granite",
    family: "granite",
    scales: ScaleKeys::Granite,
    ..LLAMA
};

const GRANITE_MOE: Architecture = Architecture {
    name: Some("GraniteMoeForCausalLM"),
    model_type: "granitemoe",
    family: "granitemoe",
    biases: ATTENTION_BIASES,
    experts: Some(&expert_keys::GRANITE_MOE),
    ..GRANITE
};

const GRANITE_MOE_SHARED: Architecture = Architecture {
    name: Some("GraniteMoeSharedForCausalLM"),
    model_type: "granitemoeshared",
    experts: Some(&expert_keys::GRANITE_MOE_SHARED),
    fusion: Fusion::Gate,
    modules: &[
        (Role::FfnGateShared, "shared_mlp.input_linear"),
        (Role::FfnUpShared, "shared_mlp.input_linear"),
        (Role::FfnDownShared, "shared_mlp.output_linear"),
    ],
    ..GRANITE_MOE
};

const GRANITE_HYBRID: &str = "GraniteMoeHybridForCausalLM";

/// Granite 4 without experts, and with attention alone.
const GRANITE_HYBRID_DENSE: Architecture = Architecture {
    name: Some(GRANITE_HYBRID),
    model_type: "granitemoehybrid",
    ffn: "shared_intermediate_size",
    biases: ATTENTION_BIASES,
    hybrid: true,
    fusion: Fusion::Gate,
    modules: &[
        (Role::FfnGate, "shared_mlp.input_linear"),
        (Role::FfnUp, "shared_mlp.input_linear"),
        (Role::FfnDown, "shared_mlp.output_linear"),
    ],
    defaults: Defaults { ffn: 1024, ..GRANITE.defaults },
    ..GRANITE
};

/// Granite 4 with experts, and with attention alone.
const GRANITE_HYBRID_MOE: Architecture = Architecture {
    name: Some(GRANITE_HYBRID),
    model_type: "granitemoehybrid",
    hybrid: true,
    experts: Some(&expert_keys::GRANITE_MOE_HYBRID),
    required: &[HAS_EXPERTS],
    ..GRANITE_MOE_SHARED
};

const HAS_EXPERTS: Requirement = Requirement::Some("num_local_experts");
const HAS_MAMBA: Requirement = Requirement::Recurrent(&MAMBA);

const OLMO2: Architecture = Architecture {
    name: Some("Olmo2ForCausalLM"),
    model_type: "olmo2",
    family: "olmo2",
    biases: ATTENTION_BIASES,
    defaults: Defaults { vocab: 50_304, norm_epsilon: 1e-5, ..LLAMA.defaults },
    ..LLAMA
};

const LFM2: Architecture = Architecture {
    name: Some("Lfm2ForCausalLM"),
    model_type: "lfm2",
    family: "lfm2",
    epsilon: "norm_eps",
    biases: NO_BIASES,
    recurrent: RecurrentKeys::ShortConvolutions { adjusted: true },
    refused: &["conv_bias"],
    modules: &[
        (Role::EmbeddingNorm, "model.embedding_norm"),
        (Role::AttentionNorm, "operator_norm"),
        (Role::QueryNorm, "self_attn.q_layernorm"),
        (Role::KeyNorm, "self_attn.k_layernorm"),
        (Role::AttentionOutput, "self_attn.out_proj"),
        (Role::FfnNorm, "ffn_norm"),
        (Role::FfnGate, "feed_forward.w1"),
        (Role::FfnUp, "feed_forward.w3"),
        (Role::FfnDown, "feed_forward.w2"),
    ],
    defaults: Defaults {
        vocab: 65_536,
        hidden: 2560,
        ffn: 12_288,
        kv_heads: Some(8),
        context: 128_000,
        norm_epsilon: 1e-5,
        tied: true,
        rope_theta: 1_000_000.0,
        ..LLAMA.defaults
    },
    ..LLAMA
};

const FALCON_H1: Architecture = Architecture {
    name: Some("FalconH1ForCausalLM"),
    model_type: "falcon_h1",
    family: "falcon-h1",
    biases: NO_BIASES,
    recurrent: RecurrentKeys::AttentionMamba2,
    refused: &["mamba_proj_bias", "projectors_bias", "attention_bias", "mlp_bias"],
    modules: &[
        (Role::OutputNorm, "model.final_layernorm"),
        (Role::BareFfnNorm, "pre_ff_layernorm"),
        (Role::FfnGate, "feed_forward.gate_proj"),
        (Role::FfnUp, "feed_forward.up_proj"),
        (Role::FfnDown, "feed_forward.down_proj"),
    ],
    defaults: Defaults {
        vocab: 128_000,
        ffn: 14_336,
        kv_heads: Some(8),
        context: 8192,
        norm_epsilon: 1e-5,
        ..LLAMA.defaults
    },
    ..LLAMA
};

/// All of them.
pub(super) static ALL: [Architecture; 52] = [
    LLAMA,
    Architecture {
        name: Some("MistralForCausalLM"),
        model_type: "mistral",
        biases: NO_BIASES,
        window: WindowRule::Always,
        defaults: Defaults { ffn: 14_336, kv_heads: Some(8), context: 131_072, window: Some(4096), ..LLAMA.defaults },
        ..LLAMA
    },
    Architecture {
        name: Some("MixtralForCausalLM"),
        model_type: "mixtral",
        biases: NO_BIASES,
        window: WindowRule::Always,
        experts: Some(&expert_keys::MIXTRAL),
        defaults: Defaults {
            ffn: 14_336,
            kv_heads: Some(8),
            context: 131_072,
            norm_epsilon: 1e-5,
            rope_theta: 1_000_000.0,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    QWEN2,
    Architecture {
        name: Some("Qwen2MoeForCausalLM"),
        model_type: "qwen2_moe",
        family: "qwen2moe",
        biases: [("qkv_bias", true), ("", false), ("", false)],
        window: WindowRule::Never,
        refused: &["use_sliding_window"],
        experts: Some(&expert_keys::QWEN2_MOE),
        defaults: Defaults { hidden: 2048, ffn: 5632, layers: 24, heads: 16, kv_heads: Some(16), ..QWEN2.defaults },
        ..QWEN2
    },
    QWEN3,
    Architecture {
        name: Some("Qwen3MoeForCausalLM"),
        model_type: "qwen3_moe",
        family: "qwen3moe",
        window: WindowRule::Never,
        refused: &["use_sliding_window"],
        experts: Some(&expert_keys::QWEN3_MOE),
        defaults: Defaults { hidden: 2048, ffn: 6144, layers: 24, kv_heads: Some(4), head_dim: None, ..QWEN3.defaults },
        ..QWEN3
    },
    Architecture {
        name: Some("OlmoeForCausalLM"),
        model_type: "olmoe",
        family: "olmoe",
        refused: &["clip_qkv"],
        biases: ATTENTION_BIASES,
        experts: Some(&expert_keys::OLMOE),
        defaults: Defaults {
            vocab: 50_304,
            hidden: 2048,
            ffn: 2048,
            layers: 16,
            heads: 16,
            context: 4096,
            norm_epsilon: 1e-5,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    Architecture {
        name: Some("GptOssForCausalLM"),
        model_type: "gpt_oss",
        family: "gpt-oss",
        fixed: &[("swiglu_alpha", 1.702, "1.702"), ("swiglu_limit", 7.0, "7")],
        biases: [("attention_bias", true), ("attention_bias", true), ("", false)],
        window: WindowRule::Interleaved { every: 2, read: false },
        experts: Some(&expert_keys::GPT_OSS),
        defaults: Defaults {
            vocab: 201_088,
            hidden: 2880,
            ffn: 2880,
            layers: 36,
            heads: 64,
            kv_heads: Some(8),
            head_dim: Some(64),
            context: 131_072,
            window: Some(128),
            norm_epsilon: 1e-5,
            rope_theta: 150_000.0,
            rope: r#"{"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
                "original_max_position_embeddings": 4096}"#,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    GEMMA,
    GEMMA2,
    GEMMA3,
    // A window is that of both sides together, as GGUF has it.
    Architecture {
        name: Some("Gemma3TextModel"),
        family: "gemma-embedding",
        refused: &[],
        required: &[Requirement::IsTrue("use_bidirectional_attention")],
        ..GEMMA3
    },
    GEMMA3N,
    GEMMA4,
    Architecture {
        name: Some("Gemma4UnifiedForCausalLM"),
        model_type: "gemma4_unified_text",
        layer_shapes: Some(ShapeKeys { per_layer: 0, shared: 0, own_heads: true }),
        defaults: Defaults { context: 262_144, window: Some(1024), ..GEMMA4.defaults },
        ..GEMMA4
    },
    QWEN2_VL,
    Architecture { model_type: "qwen2_5_vl_text", ..QWEN2_VL },
    Architecture {
        name: None,
        model_type: "qwen3_vl_text",
        family: "qwen3vl",
        window: WindowRule::Never,
        defaults: Defaults { context: 128_000, rope_theta: 500_000.0, ..QWEN3.defaults },
        ..QWEN3
    },
    Architecture {
        name: Some("Qwen3_5ForCausalLM"),
        model_type: "qwen3_5_text",
        family: "qwen35",
        norms_from_one: true,
        biases: ATTENTION_BIASES,
        rotary_share: Some(0.25),
        recurrent: RecurrentKeys::DeltaNets,
        // Multi-token prediction.
        idle: &["mtp.", "model.visual."],
        modules: &[
            (Role::AttentionPostNorm, "post_attention_layernorm"),
            (Role::FusedQueryKeyValue, "linear_attn.in_proj_qkv"),
        ],
        defaults: Defaults {
            vocab: 248_320,
            ffn: 12_288,
            heads: 16,
            kv_heads: Some(4),
            head_dim: Some(256),
            context: 32_768,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    Architecture {
        name: Some("SmolLM3ForCausalLM"),
        model_type: "smollm3",
        family: "smollm3",
        window: WindowRule::WithoutRope,
        defaults: Defaults {
            vocab: 128_256,
            hidden: 2048,
            layers: 36,
            heads: 16,
            kv_heads: Some(4),
            context: 32_768,
            tied: true,
            rope_theta: 2_000_000.0,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    GRANITE,
    GRANITE_MOE,
    GRANITE_MOE_SHARED,
    Architecture {
        family: "granitehybrid",
        recurrent: RecurrentKeys::Mamba2,
        refused: &["mamba_proj_bias"],
        required: &[HAS_MAMBA, HAS_EXPERTS],
        ..GRANITE_HYBRID_MOE
    },
    Architecture {
        family: "granitehybrid",
        recurrent: RecurrentKeys::Mamba2,
        refused: &["mamba_proj_bias"],
        required: &[HAS_MAMBA],
        ..GRANITE_HYBRID_DENSE
    },
    GRANITE_HYBRID_MOE,
    GRANITE_HYBRID_DENSE,
    Architecture {
        name: Some("Phi3ForCausalLM"),
        model_type: "phi3",
        family: "phi3",
        biases: NO_BIASES,
        window: WindowRule::Always,
        named_window: true,
        rotary_share: Some(1.0),
        modules: &[(Role::FusedQueryKeyValue, "self_attn.qkv_proj"), GATE_UP],
        defaults: Defaults {
            vocab: 32_064,
            hidden: 3072,
            ffn: 8192,
            context: 4096,
            original_context: Some(4096),
            norm_epsilon: 1e-5,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    Architecture {
        name: Some("Ministral3ForCausalLM"),
        model_type: "ministral3",
        family: "mistral3",
        biases: NO_BIASES,
        window: WindowRule::Always,
        temperature: true,
        defaults: Defaults {
            vocab: 131_072,
            ffn: 14_336,
            layers: 34,
            kv_heads: Some(8),
            head_dim: Some(128),
            context: 262_144,
            norm_epsilon: 1e-5,
            rope: r#"{"rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                "original_max_position_embeddings": 16384, "llama_4_scaling_beta": 0.1}"#,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    OLMO2,
    Architecture {
        name: Some("Olmo3ForCausalLM"),
        model_type: "olmo3",
        window: WindowRule::Interleaved { every: 4, read: false },
        sliding_rope: Some(("", 500_000.0)),
        defaults: Defaults { window: Some(4096), rope_theta: 500_000.0, ..OLMO2.defaults },
        ..OLMO2
    },
    Architecture {
        name: Some("Exaone4ForCausalLM"),
        model_type: "exaone4",
        family: "exaone4",
        biases: NO_BIASES,
        window: WindowRule::Interleaved { every: 4, read: true },
        defaults: Defaults {
            vocab: 102_400,
            ffn: 16_384,
            kv_heads: Some(32),
            window: Some(4096),
            norm_epsilon: 1e-5,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    Architecture {
        name: Some("Glm4ForCausalLM"),
        model_type: "glm4",
        family: "glm4",
        rotary_share: Some(0.5),
        interleaved: true,
        biases: [("attention_bias", true), ("", false), ("", false)],
        modules: &[
            (Role::AttentionPostNorm, "post_self_attn_layernorm"),
            (Role::FfnNorm, "post_attention_layernorm"),
            (Role::FfnPostNorm, "post_mlp_layernorm"),
            GATE_UP,
        ],
        defaults: Defaults {
            vocab: 151_552,
            ffn: 13_696,
            layers: 40,
            kv_heads: Some(2),
            head_dim: Some(128),
            context: 131_072,
            norm_epsilon: 1.5625e-7,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    Architecture {
        name: Some("SeedOssForCausalLM"),
        model_type: "seed_oss",
        family: "seed_oss",
        biases: [("attention_bias", true), ("attention_out_bias", false), ("mlp_bias", false)],
        defaults: Defaults {
            vocab: 155_136,
            ffn: 27_648,
            layers: 64,
            heads: 80,
            kv_heads: Some(8),
            head_dim: Some(128),
            context: 524_288,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    Architecture {
        name: Some("HunYuanDenseV1ForCausalLM"),
        model_type: "hunyuan_v1_dense",
        family: "hunyuan-dense",
        biases: ATTENTION_BIASES,
        alpha: true,
        modules: &[(Role::QueryNorm, "self_attn.query_layernorm"), (Role::KeyNorm, "self_attn.key_layernorm")],
        defaults: Defaults { vocab: 290_943, norm_epsilon: 1e-5, ..LLAMA.defaults },
        ..LLAMA
    },
    Architecture {
        name: Some("Ernie4_5ForCausalLM"),
        model_type: "ernie4_5",
        family: "ernie4_5",
        interleaved: true,
        biases: [("use_bias", false); 3],
        defaults: Defaults {
            vocab: 103_424,
            hidden: 1024,
            ffn: 3072,
            layers: 18,
            heads: 16,
            kv_heads: Some(2),
            head_dim: Some(128),
            context: 131_072,
            norm_epsilon: 1e-5,
            tied: true,
            rope_theta: 500_000.0,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    Architecture {
        name: Some("InternLM2ForCausalLM"),
        model_type: "internlm2",
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
        defaults: Defaults { vocab: 103_168, ..LLAMA.defaults },
        ..LLAMA
    },
    Architecture {
        name: Some("MiniCPMForCausalLM"),
        model_type: "minicpm",
        family: "minicpm",
        scales: ScaleKeys::MiniCpm,
        biases: ATTENTION_BIASES,
        defaults: Defaults { tied: true, ..LLAMA.defaults },
        ..LLAMA
    },
    Architecture {
        name: Some("StableLmForCausalLM"),
        model_type: "stablelm",
        family: "stablelm",
        epsilon: "layer_norm_eps",
        rotary_share: Some(0.25),
        parallel: true,
        head_norms: true,
        modules: &[(Role::QueryNorm, "self_attn.q_layernorm"), (Role::KeyNorm, "self_attn.k_layernorm")],
        biases: [("use_qkv_bias", false), ("", false), ("", false)],
        defaults: Defaults {
            vocab: 50_304,
            hidden: 2560,
            ffn: 6912,
            kv_heads: Some(32),
            context: 4096,
            norm_epsilon: 1e-5,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    Architecture {
        name: Some("Starcoder2ForCausalLM"),
        model_type: "starcoder2",
        family: "starcoder2",
        epsilon: "norm_epsilon",
        activations: GELU,
        biases: [("use_bias", true); 3],
        window: WindowRule::Always,
        modules: &[(Role::FfnUp, "mlp.c_fc"), (Role::FfnDown, "mlp.c_proj")],
        defaults: Defaults {
            vocab: 49_152,
            hidden: 3072,
            ffn: 12_288,
            layers: 30,
            heads: 24,
            kv_heads: Some(2),
            context: 4096,
            norm_epsilon: 1e-5,
            tied: true,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    Architecture {
        name: Some("Cohere2ForCausalLM"),
        model_type: "cohere2",
        family: "cohere2",
        scales: ScaleKeys::Logits,
        epsilon: "layer_norm_eps",
        interleaved: true,
        biases: ATTENTION_BIASES,
        window: WindowRule::Interleaved { every: 4, read: true },
        defaults: Defaults {
            vocab: 256_000,
            hidden: 8192,
            ffn: 22_528,
            layers: 40,
            heads: 64,
            context: 8192,
            window: Some(4096),
            norm_epsilon: 1e-5,
            tied: true,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    Architecture {
        name: Some("NemotronForCausalLM"),
        model_type: "nemotron",
        family: "nemotron",
        norms_from_one: true,
        epsilon: "norm_eps",
        activations: &["relu2"],
        rotary_share: Some(0.5),
        defaults: Defaults {
            vocab: 256_000,
            hidden: 6144,
            ffn: 24_576,
            heads: 48,
            context: 4096,
            norm_epsilon: 1e-5,
            ..LLAMA.defaults
        },
        ..LLAMA
    },
    LFM2,
    Architecture {
        name: Some("Lfm2MoeForCausalLM"),
        model_type: "lfm2_moe",
        family: "lfm2moe",
        recurrent: RecurrentKeys::ShortConvolutions { adjusted: false },
        experts: Some(&expert_keys::LFM2_MOE),
        defaults: Defaults { hidden: 2048, ffn: 7168, ..LFM2.defaults },
        ..LFM2
    },
    FALCON_H1,
    BERT,
    NOMIC_BERT,
    ROBERTA,
    XLM_ROBERTA,
    CAMEMBERT,
    MODERN_BERT,
];

/// Other spellings of names, or other classes with the same network: theirs, then the one that is
/// known.
const SPELLINGS: [(&str, &str); 3] = [
    ("Ernie4_5_ForCausalLM", "Ernie4_5ForCausalLM"),
    ("LLaMAForCausalLM", "LlamaForCausalLM"),
    ("Gemma3TextModel", "Gemma3ForCausalLM"),
];

/// The text models of multimodal ones whose configuration does not name them: by `model_type`.
const TEXT_MODELS: [(&str, &str); 11] = [
    ("gemma3", "gemma3_text"),
    ("gemma3n", "gemma3n_text"),
    ("gemma4", "gemma4_text"),
    ("gemma4_unified", "gemma4_unified_text"),
    ("llava", "llama"),
    ("llava_next", "llama"),
    ("mistral3", "mistral"),
    ("qwen2_vl", "qwen2_vl_text"),
    ("qwen2_5_vl", "qwen2_5_vl_text"),
    ("qwen3_vl", "qwen3_vl_text"),
    ("qwen3_5", "qwen3_5_text"),
];

impl Architecture {
    /// The architecture of a class of this name, in one of its spellings, whose requirements a
    /// configuration meets, and the head that the class has. Classes with another head, or without
    /// one, as embedding models are saved, have the name of one that is known, but for the end.
    pub(super) fn named(name: &str, config: &Value) -> Option<(&'static Self, HeadKind)> {
        let spelled = |name: &str| SPELLINGS.iter().find(|(other, _)| *other == name).map_or("", |(_, name)| name);
        let known = |name: &str| ALL.iter().find(|known| known.name == Some(name) && known.is_met(config));
        let named = |name: &str| known(name).or_else(|| known(spelled(name)));
        let other = |kind: HeadKind, end: &str| {
            let stem = name.strip_suffix(end)?;
            let found = ["Model", "ForCausalLM"].iter().find_map(|end| named(&format!("{stem}{end}")));
            found.map(|found| (found, kind))
        };
        let own = named(name).map(|found| (found, HeadKind::Own));
        own.or_else(|| other(HeadKind::None, "Model")).or_else(|| other(HeadKind::Labels, "ForSequenceClassification"))
    }

    /// The architecture of a configuration with this `model_type`, whose requirements it meets.
    pub(super) fn of_type(model_type: &str, config: &Value) -> Option<&'static Self> {
        ALL.iter().find(|known| known.model_type == model_type && known.is_met(config))
    }

    fn is_met(&self, config: &Value) -> bool {
        self.required.iter().all(|requirement| requirement.is_met(config))
    }

    /// The architectures of a family.
    pub(super) fn of_family(family: &str) -> impl Iterator<Item = &'static Self> {
        ALL.iter().filter(move |known| known.family == family)
    }

    /// The text model of a multimodal one with this `model_type`.
    pub(super) fn text_of(model_type: &str, config: &Value) -> Option<&'static Self> {
        let text = TEXT_MODELS.iter().find(|(whole, _)| *whole == model_type);
        text.and_then(|(_, text)| Self::of_type(text, config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_architecture_has_a_family_a_rope_and_a_name_of_its_own() {
        for (i, one) in ALL.iter().enumerate() {
            assert_eq!(one.family().name, one.family);
            one.rope();
            let key = |it: &Architecture| (it.name, it.model_type, it.required);
            let is_same = |other: &Architecture| key(other) == key(one);
            assert!(!ALL[..i].iter().any(is_same), "{}", one.model_type);
        }
        for (whole, text) in TEXT_MODELS {
            assert!(Architecture::of_type(text, &Value::Null).is_some(), "{whole}");
        }
    }
}
