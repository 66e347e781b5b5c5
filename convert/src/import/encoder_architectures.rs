//! The architectures of transformers with embeddings alone: attention is bidirectional.

use ollm_runtime::model::Role;

use super::architecture::{Architecture, Defaults, LLAMA, NO_BIASES, WindowRule};

/// The modules of BERT, with those of the head for classification: the dense layer, the output.
const fn bert_modules([dense, output]: [&'static str; 2]) -> [(Role, &'static str); 14] {
    [
        (Role::Embedding, "model.embeddings.word_embeddings"),
        (Role::TokenTypes, "model.embeddings.token_type_embeddings"),
        (Role::PositionEmbedding, "model.embeddings.position_embeddings"),
        (Role::EmbeddingNorm, "model.embeddings.LayerNorm"),
        (Role::Query, "attention.self.query"),
        (Role::Key, "attention.self.key"),
        (Role::Value, "attention.self.value"),
        (Role::AttentionOutput, "attention.output.dense"),
        (Role::AttentionOutputNorm, "attention.output.LayerNorm"),
        (Role::FfnUp, "intermediate.dense"),
        (Role::FfnDown, "output.dense"),
        (Role::LayerOutputNorm, "output.LayerNorm"),
        (Role::Classifier, dense),
        (Role::ClassifierOutput, output),
    ]
}

pub(super) const BERT: Architecture = Architecture {
    name: Some("BertModel"),
    model_type: "bert",
    family: "bert",
    layers: "encoder.layer.",
    // Both are the exact one.
    activations: &["gelu", "gelu_python"],
    epsilon: "layer_norm_eps",
    biases: [("", true); 3],
    idle: &["pooler.", "embeddings.position_ids", "cls."],
    refused: &["is_decoder", "add_cross_attention"],
    modules: &bert_modules(["model.pooler.dense", "classifier"]),
    classifier_biases: [("", true); 2],
    defaults: Defaults {
        vocab: 30_522,
        hidden: 768,
        ffn: 3072,
        layers: 12,
        heads: 12,
        context: 512,
        norm_epsilon: 1e-12,
        tied: true,
        ..LLAMA.defaults
    },
    ..LLAMA
};

pub(super) const NOMIC_BERT: Architecture = Architecture {
    name: Some("NomicBertModel"),
    model_type: "nomic_bert",
    family: "nomic-bert",
    layers: "encoder.layers.",
    // Of the code that came with its first weights, which its checkpoints keep the names of.
    aliases: &[
        ("n_embd", "hidden_size"),
        ("n_inner", "intermediate_size"),
        ("n_layer", "num_hidden_layers"),
        ("n_head", "num_attention_heads"),
        ("max_trained_positions", "max_position_embeddings"),
        ("layer_norm_epsilon", "layer_norm_eps"),
        ("activation_function", "hidden_act"),
        ("rotary_emb_base", "rope_theta"),
    ],
    activations: &["silu", "swish", "swiglu"],
    biases: NO_BIASES,
    refused: &[
        "moe_every_n_layers",
        "prenorm",
        "parallel_block",
        "rotary_emb_interleaved",
        "rotary_emb_scale_base",
        "qkv_proj_bias",
        "mlp_fc1_bias",
        "mlp_fc2_bias",
        "use_rms_norm",
    ],
    fixed: &[("rotary_emb_fraction", 1.0, "1")],
    modules: &[
        (Role::Embedding, "model.embeddings.word_embeddings"),
        (Role::TokenTypes, "model.embeddings.token_type_embeddings"),
        (Role::EmbeddingNorm, "model.emb_ln"),
        (Role::FusedQueryKeyValue, "attn.Wqkv"),
        (Role::AttentionOutput, "attn.out_proj"),
        (Role::AttentionOutputNorm, "norm1"),
        (Role::FfnGate, "mlp.fc12"),
        (Role::FfnUp, "mlp.fc11"),
        (Role::FfnDown, "mlp.fc2"),
        (Role::LayerOutputNorm, "norm2"),
    ],
    defaults: Defaults { vocab: 30_528, context: 2048, rope_theta: 1000.0, ..BERT.defaults },
    ..BERT
};

pub(super) const ROBERTA: Architecture = Architecture {
    name: Some("RobertaModel"),
    model_type: "roberta",
    padded_positions: true,
    idle: &["pooler.", "embeddings.position_ids", "lm_head."],
    modules: &bert_modules(["classifier.dense", "classifier.out_proj"]),
    defaults: Defaults { vocab: 50_265, ..BERT.defaults },
    ..BERT
};

pub(super) const XLM_ROBERTA: Architecture =
    Architecture { name: Some("XLMRobertaModel"), model_type: "xlm-roberta", ..ROBERTA };

pub(super) const CAMEMBERT: Architecture =
    Architecture { name: Some("CamembertModel"), model_type: "camembert", ..ROBERTA };

/// Its window is that of both sides together, in GGUF too.
pub(super) const MODERN_BERT: Architecture = Architecture {
    name: Some("ModernBertModel"),
    model_type: "modernbert",
    family: "modern-bert",
    aliases: &[("local_attention", "sliding_window"), ("global_rope_theta", "rope_theta")],
    activation: "hidden_activation",
    activations: &["gelu", "silu"],
    epsilon: "norm_eps",
    biases: [("attention_bias", false), ("attention_bias", false), ("mlp_bias", false)],
    window: WindowRule::AfterFirst { every: 3 },
    sliding_rope: Some(("local_rope_theta", 10_000.0)),
    idle: &["head.", "decoder."],
    refused: &["norm_bias"],
    modules: &[
        (Role::Embedding, "model.embeddings.tok_embeddings"),
        (Role::EmbeddingNorm, "model.embeddings.norm"),
        (Role::AttentionNorm, "attn_norm"),
        (Role::FusedQueryKeyValue, "attn.Wqkv"),
        (Role::AttentionOutput, "attn.Wo"),
        (Role::FfnNorm, "mlp_norm"),
        (Role::FfnUp, "mlp.Wi"),
        (Role::FfnDown, "mlp.Wo"),
        (Role::OutputNorm, "model.final_norm"),
        (Role::Classifier, "head.dense"),
        (Role::ClassifierNorm, "head.norm"),
        (Role::ClassifierOutput, "classifier"),
    ],
    classifier_biases: [("classifier_bias", false), ("", true)],
    defaults: Defaults {
        vocab: 50_368,
        hidden: 768,
        ffn: 1152,
        layers: 22,
        heads: 12,
        context: 8192,
        window: Some(128),
        norm_epsilon: 1e-5,
        tied: true,
        rope_theta: 160_000.0,
        ..LLAMA.defaults
    },
    ..LLAMA
};
