//! The families of backbones that the forward pass knows. A family is a description, not code
//! elsewhere.

use crate::ops::RopePairing;

/// The differences between families: everything else is in the metadata or in the tensors.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "what families have does not depend on what else they have")]
pub struct Family {
    /// `general.architecture`.
    pub name: &'static str,
    /// Which elements of a head rotate together.
    pub pairing: RopePairing,
    /// Queries and keys have biases. (Other families may have them: they are used when the file has
    /// them.)
    pub attention_bias: bool,
    /// Queries and keys are normalized head by head.
    pub qk_norm: bool,
    /// Post-norms: the outputs of attention and of the feed-forward network are normalized before
    /// they are added.
    pub post_norms: bool,
    /// The gate goes through GELU, by its approximation with tanh, not `SiLU`.
    pub gelu: bool,
    /// Embeddings are multiplied by the root of the hidden size.
    pub scaled_embedding: bool,
    /// The interval of layers with full attention among sliding ones, unless the file says
    /// otherwise; 0: every layer slides.
    pub full_attention_interval: usize,
    /// Whether sliding layers have a rope of their own.
    pub sliding_rope: bool,
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

/// The first family, and the defaults of the other families.
const LLAMA: Family = Family {
    name: "llama",
    pairing: RopePairing::Adjacent,
    attention_bias: false,
    qk_norm: false,
    post_norms: false,
    gelu: false,
    scaled_embedding: false,
    full_attention_interval: 0,
    sliding_rope: false,
    query_pre_attn_scalar: None,
    sliding_window: None,
    attention_softcap: None,
    logit_softcap: None,
};

/// The defaults of the Gemma families.
const GEMMA: Family =
    Family { pairing: RopePairing::Halves, post_norms: true, gelu: true, scaled_embedding: true, ..LLAMA };

/// The families that the forward pass knows.
pub const FAMILIES: &[Family] = &[
    LLAMA,
    Family { name: "qwen2", pairing: RopePairing::Halves, attention_bias: true, ..LLAMA },
    Family { name: "qwen3", pairing: RopePairing::Halves, qk_norm: true, ..LLAMA },
    Family {
        name: "gemma2",
        full_attention_interval: 2,
        query_pre_attn_scalar: Some(46),
        sliding_window: Some(4096),
        attention_softcap: Some(50.0),
        logit_softcap: Some(30.0),
        ..GEMMA
    },
    Family {
        name: "gemma3",
        qk_norm: true,
        full_attention_interval: 6,
        sliding_rope: true,
        query_pre_attn_scalar: Some(62),
        ..GEMMA
    },
];
