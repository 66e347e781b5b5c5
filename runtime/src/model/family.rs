//! The families of backbones that the forward pass knows. A family is a description, not code
//! elsewhere.

use ollm_kernels::ops::{Activation, RopePairing};

use super::name::Role;

/// The differences between families: everything else is in the metadata or in the tensors.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "what families have does not depend on what else they have")]
pub struct Family {
    /// `general.architecture`.
    pub name: &'static str,
    /// Attention is causal unless the file says otherwise: the model continues texts. If it is
    /// bidirectional, a text is read as a whole, and the model gives its embedding.
    pub causal: bool,
    /// Positions have embeddings of their own, [`Role::PositionEmbedding`].
    pub learned_positions: bool,
    /// Tokens have the embedding of their segment, the first of [`Role::TokenTypes`].
    pub token_types: bool,
    /// Embeddings are normalized before the first layer: [`Role::EmbeddingNorm`].
    pub embedding_norm: bool,
    /// The input of the first attention is the norm of embeddings: it has no norm of its own.
    pub bare_first_attention: bool,
    /// What a head for classification computes, if the file has one.
    pub classifier: ClassifierRule,
    /// Which elements of a head rotate together.
    pub pairing: RopePairing,
    /// The halves of a head do in files with sections of image positions: llama.cpp has no such
    /// rope with another pairing.
    pub halves_with_sections: bool,
    /// Which layers have rope.
    pub rope: RopeLayers,
    /// Queries, keys and values have biases. (Other families may have them, as any matrix of a
    /// layer: they are used when the file has them.)
    pub attention_bias: bool,
    /// Converters write queries, keys and values as one matrix, [`Role::FusedQueryKeyValue`].
    pub fused_attention: bool,
    /// Which norms queries and keys have.
    pub qk_norm: QkNorm,
    /// Each query head has a sink, [`Role::AttentionSinks`].
    pub attention_sinks: bool,
    /// Each value head is normalized, without weights.
    pub value_norm: bool,
    /// Layers with full attention may have no values of their own: then those are the keys as they
    /// are projected, before norm and rope.
    pub keys_as_values: bool,
    /// The hidden state is several streams, of which each layer computes one (AltUp).
    pub altup: bool,
    /// The rank of the low-rank residual of attention (LAuReL), if layers have it: files do not
    /// say.
    pub laurel_rank: Option<usize>,
    /// Some layers have sparse gates.
    pub sparse_gates: bool,
    /// The output of a layer may have a scale, [`Role::LayerScale`].
    pub layer_scale: bool,
    /// What attention gives is multiplied by the sigmoid of a gate, head by head: the matrix of
    /// queries has the rows of each head's gate behind those of its query.
    pub attention_gate: bool,
    /// What a norm computes.
    pub norm: NormKind,
    /// Norms have biases.
    pub norm_bias: bool,
    /// Where the norms of a layer are, unless the file says otherwise.
    pub norms: NormPlacement,
    /// The name of the norm before the feed-forward network.
    pub ffn_norm: Role,
    /// The name of the final norm, if there is one.
    pub output_norm: Option<Role>,
    /// The kind of the layers that are no attention, if there may be such.
    pub recurrent: Option<RecurrentKind>,
    /// The activation function of the feed-forward network.
    pub activation: Activation,
    /// Files may name another activation.
    pub named_activation: bool,
    /// The activation is that of a gate, which multiplies what another matrix gives.
    pub gated: bool,
    /// The gate and what it multiplies are one matrix of the file, [`Role::FfnUp`].
    pub fused_gate: bool,
    /// The mixtures of experts that layers may have, if files ask for them.
    pub experts: Option<ExpertRules>,
    /// Embeddings are multiplied by the root of the hidden size.
    pub scaled_embedding: bool,
    /// `logit_scale` divides the logits, not multiplies them.
    pub divided_logits: bool,
    /// The scales of embeddings, residuals and logits where the file does not say.
    pub scales: Option<DefaultScales>,
    /// The interval of layers with full attention among sliding ones, unless the file says
    /// otherwise; 0: every layer slides.
    pub full_attention_interval: usize,
    /// The first layer of each interval has full attention, not the last one.
    pub full_attention_first: bool,
    /// Whether sliding layers have a rope of their own, without the scaling of the other layers.
    pub sliding_rope: bool,
    /// The base of that rope where the file does not say; `None`: that of the other layers.
    pub sliding_rope_base: Option<f32>,
    /// The scale of attention scores where the file does not say; `None`: 1 over the root of a
    /// head's size.
    pub attention_scale: Option<f32>,
    /// Layers of the one model of the family whose `query_pre_attn_scalar` is its hidden size per
    /// head, not the size of a head.
    pub query_pre_attn_scalar: Option<usize>,
    /// The sliding window where the file does not say, as llama.cpp has it.
    pub sliding_window: Option<usize>,
    /// The soft-cap of attention scores where the file does not say.
    pub attention_softcap: Option<f32>,
    /// The soft-cap of logits where the file does not say.
    pub logit_softcap: Option<f32>,
}

/// The mixture of experts of a family (Shazeer et al. 2017, arXiv 1701.06538).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "what families have does not depend on what else they have")]
pub struct ExpertRules {
    /// The weights of a token's experts are divided by their sum, unless the file says otherwise.
    pub normalized: bool,
    /// Where the file has no width of an expert, that of the feed-forward network is the width of
    /// all that a token passes through, not of each.
    pub shares_ffn: bool,
    /// The router and the matrices of the experts have biases.
    pub biases: bool,
    /// The router may have a bias for the choice alone, [`Role::FfnSelectionBias`].
    pub selection_bias: bool,
    /// The expert that every token has beside those that the router chooses.
    pub shared: SharedRule,
}

/// Which shared expert the layers with experts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedRule {
    /// None.
    None,
    /// One if the file names its width.
    IfSized,
    /// One whose output is multiplied by the sigmoid of a product with the input.
    Gated,
}

/// What a head for classification computes of the hidden states of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassifierRule {
    /// Of the last token: the labels.
    Last,
    /// Of the first token: a dense layer and tanh, if the file has it, then the labels (BERT).
    First,
    /// Of the mean: a dense layer, GELU and a norm, if the file has them, then the labels
    /// (`ModernBERT`).
    Mean,
}

/// Which layers have rope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeLayers {
    /// All of them.
    All,
    /// All but each so-many-th.
    AllBut(usize),
    /// Those with the sliding window; all, where no layer has it.
    Sliding,
    /// All, unless `rope.scaling.finetuned` is false: then none.
    Switched,
    /// None.
    None,
}

/// The kind of recurrent layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecurrentKind {
    /// Gated causal convolutions over a few tokens: the layers without key heads.
    ShortConvolution,
    /// Linear attention by the gated delta rule: the layers that the file lists, or all but each
    /// so-many-th.
    GatedDeltaNet,
    /// Mamba 2: the layers without key heads.
    Mamba2,
    /// Mamba 2 and attention in parallel: all layers.
    AttentionMamba2,
}

impl RecurrentKind {
    /// Whether the layers of this kind are those without key heads.
    pub const fn is_without_keys(self) -> bool {
        matches!(self, Self::ShortConvolution | Self::Mamba2)
    }
}

/// Which norms queries and keys have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// Each head is normalized, before rope.
    Heads,
    /// Each head is normalized, before rope, with weights of its own, if the file has them.
    OwnHeads,
    /// Each head is normalized, after rope.
    RotatedHeads,
    /// All heads of a token are normalized together, before rope.
    Token,
}

/// What a norm computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// The vector over its root mean square.
    Rms,
    /// What differs from the mean, over the standard deviation.
    Layer,
}

/// Where the norms of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlacement {
    /// Before attention and before the feed-forward network.
    Before,
    /// Before and after each of the two.
    Around,
    /// After each of the two: outputs are normalized before they are added.
    After,
    /// One before both, which have the same input.
    Parallel,
    /// After each of the two sums: `x = norm(x + f(x))` (post-norm, as in the first transformers).
    AfterSum,
}

impl Family {
    /// Whether a layer is sliding, where one of each interval has full attention; 0: none has.
    pub const fn slides(&self, layer: usize, interval: usize) -> bool {
        let full = if self.full_attention_first { 0 } else { interval.wrapping_sub(1) };
        interval == 0 || layer % interval != full
    }
}

impl NormPlacement {
    /// Whether the input of attention is normalized.
    pub const fn is_before(self) -> bool {
        !matches!(self, Self::After | Self::AfterSum)
    }

    /// The norms of the output, or of the sum, of attention and of the feed-forward network.
    pub const fn post_norms(self) -> Option<[Role; 2]> {
        match self {
            Self::Before | Self::Parallel => None,
            Self::Around | Self::After => Some([Role::AttentionPostNorm, Role::FfnPostNorm]),
            Self::AfterSum => Some([Role::AttentionOutputNorm, Role::LayerOutputNorm]),
        }
    }
}

/// The scales of a family whose old files do not have them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DefaultScales {
    /// Of embeddings.
    pub embedding: f32,
    /// Of all layers: each has this over the root of their number.
    pub depth: f32,
    /// The hidden size at which logits are not scaled.
    pub base_hidden: f32,
}

/// The defaults of families with experts.
const EXPERTS: ExpertRules =
    ExpertRules { normalized: true, shares_ffn: false, biases: false, selection_bias: false, shared: SharedRule::None };

/// The first family, and the defaults of the other families.
const LLAMA: Family = Family {
    name: "llama",
    causal: true,
    learned_positions: false,
    token_types: false,
    embedding_norm: false,
    bare_first_attention: false,
    classifier: ClassifierRule::Last,
    pairing: RopePairing::Adjacent,
    halves_with_sections: false,
    rope: RopeLayers::All,
    attention_bias: false,
    fused_attention: false,
    qk_norm: QkNorm::None,
    attention_sinks: false,
    value_norm: false,
    keys_as_values: false,
    altup: false,
    laurel_rank: None,
    sparse_gates: false,
    layer_scale: false,
    attention_gate: false,
    norm: NormKind::Rms,
    norm_bias: false,
    norms: NormPlacement::Before,
    ffn_norm: Role::FfnNorm,
    output_norm: Some(Role::OutputNorm),
    recurrent: None,
    activation: Activation::Silu,
    named_activation: false,
    gated: true,
    fused_gate: false,
    experts: None,
    scaled_embedding: false,
    divided_logits: false,
    scales: None,
    full_attention_interval: 0,
    full_attention_first: false,
    sliding_rope: false,
    sliding_rope_base: None,
    attention_scale: None,
    query_pre_attn_scalar: None,
    sliding_window: None,
    attention_softcap: None,
    logit_softcap: None,
};

/// The defaults of families whose heads rotate as in transformers.
const HALVES: Family = Family { pairing: RopePairing::Halves, ..LLAMA };

/// The defaults of the Gemma families.
const GEMMA: Family = Family { activation: Activation::Gelu, scaled_embedding: true, ..HALVES };

/// The third Gemma, with the scale of scores of no model alone.
const GEMMA3: Family = Family {
    name: "gemma3",
    norms: NormPlacement::Around,
    qk_norm: QkNorm::Heads,
    full_attention_interval: 6,
    sliding_rope: true,
    sliding_rope_base: Some(10_000.0),
    ..GEMMA
};

/// The defaults of the BERT families.
const BERT: Family = Family {
    name: "bert",
    causal: false,
    learned_positions: true,
    token_types: true,
    embedding_norm: true,
    classifier: ClassifierRule::First,
    rope: RopeLayers::None,
    norms: NormPlacement::AfterSum,
    output_norm: None,
    activation: Activation::GeluErf,
    gated: false,
    ..LAYER_NORM
};

/// The defaults of families with layer norms.
const LAYER_NORM: Family = Family { norm: NormKind::Layer, norm_bias: true, ..HALVES };

/// The defaults of the Granite families.
const GRANITE: Family = Family { name: "granite", rope: RopeLayers::Switched, divided_logits: true, ..LLAMA };

/// The Granite families with experts.
const GRANITE_MOE: Family =
    Family { name: "granitemoe", experts: Some(ExpertRules { shared: SharedRule::IfSized, ..EXPERTS }), ..GRANITE };

/// The defaults of the LFM2 families.
const LFM2: Family = Family {
    name: "lfm2",
    qk_norm: QkNorm::Heads,
    output_norm: Some(Role::EmbeddingNorm),
    recurrent: Some(RecurrentKind::ShortConvolution),
    ..HALVES
};

/// The families that the forward pass knows.
pub const FAMILIES: &[Family] = &[
    // With experts it is Mixtral.
    Family { experts: Some(EXPERTS), ..LLAMA },
    Family { name: "qwen2", attention_bias: true, ..HALVES },
    Family { name: "qwen2vl", attention_bias: true, ..HALVES },
    Family { name: "qwen3", qk_norm: QkNorm::Heads, ..HALVES },
    Family { name: "qwen3vl", qk_norm: QkNorm::Heads, ..HALVES },
    Family {
        name: "qwen35",
        qk_norm: QkNorm::Heads,
        attention_gate: true,
        ffn_norm: Role::AttentionPostNorm,
        recurrent: Some(RecurrentKind::GatedDeltaNet),
        ..HALVES
    },
    Family {
        name: "qwen2moe",
        experts: Some(ExpertRules { normalized: false, shares_ffn: true, shared: SharedRule::Gated, ..EXPERTS }),
        ..HALVES
    },
    Family {
        name: "qwen3moe",
        qk_norm: QkNorm::Heads,
        experts: Some(ExpertRules { shares_ffn: true, ..EXPERTS }),
        ..HALVES
    },
    Family {
        name: "olmoe",
        qk_norm: QkNorm::Token,
        experts: Some(ExpertRules { normalized: false, ..EXPERTS }),
        ..HALVES
    },
    Family {
        name: "gpt-oss",
        attention_bias: true,
        attention_sinks: true,
        ffn_norm: Role::AttentionPostNorm,
        activation: Activation::ClampedSwish,
        full_attention_interval: 2,
        // Softmax of the chosen experts alone.
        experts: Some(ExpertRules { biases: true, ..EXPERTS }),
        ..HALVES
    },
    Family { name: "gemma", ..GEMMA },
    Family {
        name: "gemma2",
        norms: NormPlacement::Around,
        full_attention_interval: 2,
        query_pre_attn_scalar: Some(46),
        sliding_window: Some(4096),
        attention_softcap: Some(50.0),
        logit_softcap: Some(30.0),
        ..GEMMA
    },
    Family { query_pre_attn_scalar: Some(62), ..GEMMA3 },
    Family { name: "gemma-embedding", causal: false, ..GEMMA3 },
    Family {
        name: "gemma3n",
        value_norm: true,
        altup: true,
        laurel_rank: Some(64),
        sparse_gates: true,
        full_attention_interval: 5,
        attention_scale: Some(1.0),
        logit_softcap: Some(30.0),
        ..GEMMA3
    },
    Family {
        name: "gemma4",
        norms: NormPlacement::Around,
        qk_norm: QkNorm::Heads,
        value_norm: true,
        keys_as_values: true,
        layer_scale: true,
        full_attention_interval: 6,
        sliding_rope: true,
        sliding_rope_base: Some(10_000.0),
        attention_scale: Some(1.0),
        ..GEMMA
    },
    Family { name: "smollm3", rope: RopeLayers::AllBut(4), ..LLAMA },
    GRANITE,
    Family { rope: RopeLayers::All, ..GRANITE_MOE },
    Family { name: "granitehybrid", recurrent: Some(RecurrentKind::Mamba2), ..GRANITE_MOE },
    Family { name: "phi3", fused_attention: true, fused_gate: true, ..HALVES },
    Family { name: "mistral3", ..LLAMA },
    Family {
        name: "olmo2",
        norms: NormPlacement::After,
        qk_norm: QkNorm::Token,
        full_attention_interval: 4,
        sliding_rope: true,
        ..HALVES
    },
    Family {
        name: "exaone4",
        norms: NormPlacement::After,
        qk_norm: QkNorm::Heads,
        rope: RopeLayers::Sliding,
        full_attention_interval: 4,
        ..HALVES
    },
    Family { name: "glm4", norms: NormPlacement::Around, fused_gate: true, halves_with_sections: true, ..LLAMA },
    Family { name: "seed_oss", ffn_norm: Role::AttentionPostNorm, ..HALVES },
    Family { name: "hunyuan-dense", qk_norm: QkNorm::RotatedHeads, ..HALVES },
    Family { name: "ernie4_5", ..LLAMA },
    Family { name: "internlm2", ..LLAMA },
    Family {
        name: "minicpm",
        divided_logits: true,
        scales: Some(DefaultScales { embedding: 12.0, depth: 1.4, base_hidden: 256.0 }),
        ..LLAMA
    },
    Family { name: "stablelm", qk_norm: QkNorm::OwnHeads, ..LAYER_NORM },
    Family { name: "starcoder2", activation: Activation::Gelu, gated: false, ..LAYER_NORM },
    Family { name: "nemotron", activation: Activation::ReluSquared, gated: false, ..LAYER_NORM },
    Family {
        name: "cohere2",
        norm: NormKind::Layer,
        norms: NormPlacement::Parallel,
        rope: RopeLayers::Sliding,
        full_attention_interval: 4,
        ..LLAMA
    },
    LFM2,
    Family { name: "lfm2moe", experts: Some(ExpertRules { selection_bias: true, ..EXPERTS }), ..LFM2 },
    Family {
        name: "falcon-h1",
        ffn_norm: Role::BareFfnNorm,
        recurrent: Some(RecurrentKind::AttentionMamba2),
        ..HALVES
    },
    BERT,
    Family {
        name: "nomic-bert",
        learned_positions: false,
        rope: RopeLayers::All,
        fused_attention: true,
        activation: Activation::Silu,
        gated: true,
        ..BERT
    },
    Family {
        name: "modern-bert",
        causal: false,
        embedding_norm: true,
        bare_first_attention: true,
        classifier: ClassifierRule::Mean,
        fused_attention: true,
        fused_gate: true,
        norm: NormKind::Layer,
        activation: Activation::GeluErf,
        named_activation: true,
        full_attention_interval: 3,
        full_attention_first: true,
        sliding_rope: true,
        sliding_rope_base: Some(10_000.0),
        ..HALVES
    },
];
