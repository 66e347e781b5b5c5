//! The names of a backbone's tensors in GGUF, and what each is in the network. No other place
//! spells one.
//!
//! A tensor of a layer is named `blk.LAYER.STEM.weight` or `.bias`, any other `STEM.weight`, as
//! llama.cpp names them (`gguf-py/gguf/constants.py`); of one role the name ends with the stem.

use std::fmt;

/// One row for each role: its name in code and in GGUF.
macro_rules! roles {
    ($($(#[$doc:meta])+ $role:ident = $stem:literal;)+) => {
        /// What a tensor is in the network. Shapes are row-major, outputs by inputs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Role {
            $($(#[$doc])+ $role,)+
        }

        impl Role {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$role),+];

            /// The name of the role in GGUF, such as `attn_q`.
            pub const fn stem(self) -> &'static str {
                match self {
                    $(Self::$role => $stem,)+
                }
            }
        }
    };
}

roles! {
    /// Token embeddings, `[vocab][hidden]`; also the head where there is no [`Role::Head`].
    Embedding = "token_embd";
    /// What tokens have of their segment, `[types][hidden]`: BERT.
    TokenTypes = "token_types";
    /// What tokens have of their position, `[context][hidden]`: BERT.
    PositionEmbedding = "position_embd";
    /// The output head, `[vocab][hidden]`.
    Head = "output";
    /// What each token adds to each layer, `[vocab][layers * per_layer]`: Gemma 3n and 4.
    PerLayerEmbedding = "per_layer_token_embd";
    /// What gives the same of a token's embedding, `[layers * per_layer][hidden]`.
    PerLayerProjection = "per_layer_model_proj";
    /// The norm of what the projection gives each layer, `[per_layer]`.
    PerLayerProjectionNorm = "per_layer_proj_norm";
    /// What gives the other streams of AltUp of the first, `[streams - 1][hidden][hidden]`: Gemma
    /// 3n.
    AltUpProjections = "altup_proj";
    /// What the other streams are projected by before the sum, `[streams - 1][hidden][hidden]`.
    AltUpUnembeddings = "altup_unembd_proj";
    /// The final norm, `[hidden]`.
    OutputNorm = "output_norm";
    /// The norm of embeddings, `[hidden]`; in LFM2, whose files name it so, the final norm.
    EmbeddingNorm = "token_embd_norm";
    /// The first dense layer behind the pooling of an embedding, `[outputs][inputs]`, as
    /// sentence-transformers count their modules.
    Dense2 = "dense_2";
    /// The second one.
    Dense3 = "dense_3";
    /// The dense layer of a head for classification, `[hidden][hidden]`.
    Classifier = "cls";
    /// The norm behind it, `[hidden]`.
    ClassifierNorm = "cls.norm";
    /// What gives the logits of its labels, `[labels][hidden]`.
    ClassifierOutput = "cls.output";
    /// What each rope frequency is divided by, `[rope pairs]`: Llama 3.1.
    RopeFactors = "rope_freqs";
    /// The same in contexts that are longer than the original one, `[rope pairs]`: `LongRoPE`.
    RopeFactorsLong = "rope_factors_long";
    /// The same in contexts that are not, `[rope pairs]`: `LongRoPE`.
    RopeFactorsShort = "rope_factors_short";
    /// The norm before attention, `[hidden]`.
    AttentionNorm = "attn_norm";
    /// `[heads * head_dim][hidden]`
    Query = "attn_q";
    /// `[kv_heads * head_dim][hidden]`
    Key = "attn_k";
    /// `[kv_heads * head_dim][hidden]`
    Value = "attn_v";
    /// Queries, keys and values in one matrix, `[(heads + 2 * kv_heads) * head_dim][hidden]`: phi3;
    /// of a gated delta net `[(2 * key heads + value heads) * head_dim][hidden]`.
    FusedQueryKeyValue = "attn_qkv";
    /// The norm of each query head, `[head_dim]` or `[heads][head_dim]`, or of all of them,
    /// `[heads * head_dim]`.
    QueryNorm = "attn_q_norm";
    /// The norm of each key head, `[head_dim]` or `[kv_heads][head_dim]`, or of all of them,
    /// `[kv_heads * head_dim]`.
    KeyNorm = "attn_k_norm";
    /// The score of nothing of each query head, `[heads]`: gpt-oss.
    AttentionSinks = "attn_sinks";
    /// `[hidden][heads * head_dim]`
    AttentionOutput = "attn_output";
    /// The two gates and the input of a short convolution, one after the other:
    /// `[3 * hidden][hidden]`.
    ConvolutionInput = "shortconv.in_proj";
    /// The weights of a short convolution's taps, the oldest first, `[hidden][taps]`.
    ConvolutionKernel = "shortconv.conv";
    /// `[hidden][hidden]`
    ConvolutionOutput = "shortconv.out_proj";
    /// The gate of what a gated delta net gives, `[value heads * head_dim][hidden]`.
    DeltaGate = "attn_gate";
    /// How much of its state each value head forgets, before bias and softplus, `[value
    /// heads][hidden]`.
    DeltaDecay = "ssm_alpha";
    /// How far each value head corrects its state, before the sigmoid, `[value heads][hidden]`.
    DeltaRate = "ssm_beta";
    /// Of Mamba 2 the gate, what goes through the convolution (inputs, B and C), and the time
    /// steps, one after the other, `[2 * heads * head_dim + 2 * groups * state + heads][hidden]`.
    SsmInput = "ssm_in";
    /// The bias of time steps, of Mamba 2 or a gated delta net, `[heads]`: the name has no weight.
    SsmStep = "ssm_dt";
    /// What those are multiplied by, negative, `[heads]`, of Mamba 2 `[heads][1]`: the name ends
    /// with the stem.
    SsmScale = "ssm_a";
    /// How much of the inputs Mamba 2 adds to what it gives, `[heads][1]`: the name ends with the
    /// stem.
    SsmSkip = "ssm_d";
    /// The weights of the taps of the convolution, the oldest first, `[channels][taps]`.
    SsmKernel = "ssm_conv1d";
    /// The norm of each head that a gated delta net gives, `[head_dim]`, or of the groups of heads
    /// of Mamba 2, `[groups][heads / groups * head_dim]`.
    SsmNorm = "ssm_norm";
    /// `[hidden][heads * head_dim]`
    SsmOutput = "ssm_out";
    /// The norm of the sum of attention and its input, `[hidden]`.
    AttentionOutputNorm = "attn_output_norm";
    /// The norm after attention, `[hidden]`.
    AttentionPostNorm = "post_attention_norm";
    /// The norm before the feed-forward network, `[hidden]`.
    FfnNorm = "ffn_norm";
    /// The same in files of Falcon H1, where the name ends with the stem.
    BareFfnNorm = "ffn_norm";
    /// `[ffn][hidden]`
    FfnGate = "ffn_gate";
    /// `[ffn][hidden]`; with the gate before it in one matrix, `[2 * ffn][hidden]`.
    FfnUp = "ffn_up";
    /// `[hidden][ffn]`
    FfnDown = "ffn_down";
    /// The router of a mixture of experts, `[experts][hidden]`.
    FfnRouter = "ffn_gate_inp";
    /// What is added to the weights of experts for the choice alone, `[experts]`: the name has no
    /// weight.
    FfnSelectionBias = "exp_probs_b";
    /// The gates of all experts, `[experts][expert ffn][hidden]`.
    FfnGateExperts = "ffn_gate_exps";
    /// `[experts][expert ffn][hidden]`
    FfnUpExperts = "ffn_up_exps";
    /// `[experts][hidden][expert ffn]`
    FfnDownExperts = "ffn_down_exps";
    /// What tells how much of the shared expert is added, `[hidden]`.
    FfnSharedRouter = "ffn_gate_inp_shexp";
    /// The gate of the shared expert, `[shared ffn][hidden]`.
    FfnGateShared = "ffn_gate_shexp";
    /// `[shared ffn][hidden]`
    FfnUpShared = "ffn_up_shexp";
    /// `[hidden][shared ffn]`
    FfnDownShared = "ffn_down_shexp";
    /// The norm after the feed-forward network, `[hidden]`.
    FfnPostNorm = "post_ffw_norm";
    /// The norm of the sum of the feed-forward network and its input, `[hidden]`.
    LayerOutputNorm = "layer_output_norm";
    /// What tells how the streams of AltUp are mixed, `[streams][hidden]`.
    AltUpRouter = "altup_router";
    /// The norm of the router's input, `[hidden]`.
    AltUpRouterNorm = "altup_router_norm";
    /// What gives the coefficients of predictions of what the router gives, `[streams *
    /// streams][streams]`.
    AltUpPrediction = "altup_predict_coef";
    /// What gives the coefficients of corrections, `[streams][streams]`.
    AltUpCorrection = "altup_correct_coef";
    /// What the corrected stream is multiplied by as the input of the per-layer gate, `[hidden]`.
    AltUpCorrectionScale = "altup_correct_scale";
    /// The first matrix of the low-rank residual of attention, `[rank][hidden]`: LAuReL.
    LaurelLeft = "laurel_l";
    /// The second one, `[hidden][rank]`.
    LaurelRight = "laurel_r";
    /// The norm of what they give, `[hidden]`.
    LaurelPostNorm = "laurel_post_norm";
    /// The gate of the layer's per-layer input, `[per_layer][hidden]`.
    PerLayerGate = "inp_gate";
    /// `[hidden][per_layer]`
    PerLayerOutput = "proj";
    /// The norm of what the per-layer input adds, `[hidden]`.
    PerLayerPostNorm = "post_norm";
    /// The scale of the layer's output, `[1]`.
    LayerScale = "layer_output_scale";
}

impl Role {
    /// The first of the matrices with the same input: keys and values share the input of queries,
    /// and so do the first matrix of LAuReL and all of a gated delta net or Mamba 2 but its output;
    /// `up` shares that of `gate`, a shared expert that of the router, and tied embeddings that of
    /// the head. [`Stage::Input`](super::Stage::Input) names the first one.
    #[must_use]
    pub const fn input(self) -> Self {
        match self {
            Self::Key
            | Self::Value
            | Self::FusedQueryKeyValue
            | Self::DeltaGate
            | Self::DeltaDecay
            | Self::DeltaRate
            | Self::SsmInput
            | Self::LaurelLeft => Self::Query,
            Self::FfnUp => Self::FfnGate,
            Self::FfnUpExperts => Self::FfnGateExperts,
            Self::FfnGateShared | Self::FfnUpShared => Self::FfnRouter,
            Self::Embedding => Self::Head,
            role => role,
        }
    }

    /// Whether the name of its tensor ends with the stem.
    const fn is_bare(self) -> bool {
        matches!(self, Self::SsmScale | Self::SsmSkip | Self::BareFfnNorm)
    }
}

/// The name of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorName {
    /// The layer; `None` outside the layers.
    pub layer: Option<usize>,
    /// What it is in the network.
    pub role: Role,
    /// Whether it is the bias that is added to what the role's matrix gives, not the weight.
    pub is_bias: bool,
}

impl TensorName {
    /// The weight of this role, outside the layers.
    pub const fn new(role: Role) -> Self {
        Self { layer: None, role, is_bias: false }
    }

    /// The weight of this role in a layer.
    pub const fn in_layer(layer: usize, role: Role) -> Self {
        Self { layer: Some(layer), role, is_bias: false }
    }

    /// The bias beside this weight.
    #[must_use]
    pub const fn bias(self) -> Self {
        Self { is_bias: true, ..self }
    }

    /// The name that `name` spells; `None` if it is none of the schema's.
    pub fn parse(name: &str) -> Option<Self> {
        let (layer, rest) = match split_layer(name) {
            Some((layer, rest)) => (Some(layer), rest),
            None => (None, name),
        };
        let of = |stem: &str, bare: bool| {
            Role::ALL.iter().find(|role| role.stem() == stem && role.is_bare() == bare).copied()
        };
        if let Some(role) = of(rest, true) {
            return Some(Self { layer, role, is_bias: false });
        }
        let (stem, kind) = rest.rsplit_once('.')?;
        let name = Self { layer, role: of(stem, false)?, is_bias: kind == "bias" };
        (name.is_bias || kind == "weight").then_some(name)
    }
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(layer) = self.layer {
            write!(f, "{BLOCK}{layer}.")?;
        }
        f.write_str(self.role.stem())?;
        if self.role.is_bare() {
            return Ok(());
        }
        f.write_str(if self.is_bias { ".bias" } else { ".weight" })
    }
}

/// What the names of a plugin's tensors and keys begin with: they stand beside the backbone's in a
/// merged file.
pub const PLUGIN_PREFIX: &str = "ollm.";

/// What the name of a layer's tensor begins with.
const BLOCK: &str = "blk.";

/// The layer of the tensor `name`, of this family or any other, and the rest of the name; `None`
/// outside the layers.
pub fn split_layer(name: &str) -> Option<(usize, &str)> {
    let (layer, rest) = name.strip_prefix(BLOCK)?.split_once('.')?;
    // A number has one spelling here: `blk.00.` and `blk.+0.` are other names than `blk.0.`.
    let is_plain = layer.bytes().all(|byte| byte.is_ascii_digit()) && (layer == "0" || !layer.starts_with('0'));
    Some((layer.parse().ok().filter(|_| is_plain)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_ecosystem_and_can_be_read_back() {
        let names = [
            (TensorName::new(Role::Embedding), "token_embd.weight"),
            (TensorName::new(Role::Head), "output.weight"),
            (TensorName::new(Role::OutputNorm), "output_norm.weight"),
            (TensorName::in_layer(0, Role::Query), "blk.0.attn_q.weight"),
            (TensorName::in_layer(11, Role::Key).bias(), "blk.11.attn_k.bias"),
            (TensorName::in_layer(2, Role::FfnPostNorm), "blk.2.post_ffw_norm.weight"),
            (TensorName::in_layer(0, Role::ConvolutionKernel), "blk.0.shortconv.conv.weight"),
            (TensorName::in_layer(0, Role::SsmScale), "blk.0.ssm_a"),
            (TensorName::in_layer(7, Role::SsmSkip), "blk.7.ssm_d"),
            (TensorName::in_layer(7, Role::FfnNorm), "blk.7.ffn_norm.weight"),
            (TensorName::in_layer(7, Role::BareFfnNorm), "blk.7.ffn_norm"),
            (TensorName::in_layer(0, Role::SsmStep).bias(), "blk.0.ssm_dt.bias"),
        ];
        for (name, text) in names {
            assert_eq!(name.to_string(), text);
            assert_eq!(TensorName::parse(text), Some(name));
        }
        for &role in Role::ALL {
            let name = TensorName::in_layer(3, role);
            assert_eq!(TensorName::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn what_is_no_name_of_the_schema_is_none() {
        for text in ["", "weight", "attn_q", "blk.x.attn_q.weight", "blk.0.attn_z.weight", "blk.0.attn_q.scale"] {
            assert_eq!(TensorName::parse(text), None, "{text}");
        }
        for text in ["blk.0.ssm_a.weight", "blk.0.ssm_norm", "ssm"] {
            assert_eq!(TensorName::parse(text), None, "{text}");
        }
        for layer in ["00", "+0", "01", "-1", " 1", ""] {
            assert_eq!(TensorName::parse(&format!("blk.{layer}.attn_q.weight")), None, "{layer}");
        }
        assert_eq!(split_layer("blk.7.ssm_conv1d.weight"), Some((7, "ssm_conv1d.weight")));
        assert_eq!(split_layer("output.weight"), None);
    }

    #[test]
    fn matrices_that_share_an_input_name_the_same_one() {
        assert_eq!([Role::Query, Role::Key, Role::Value, Role::FusedQueryKeyValue].map(Role::input), [Role::Query; 4]);
        let recurrent = [Role::DeltaGate, Role::DeltaDecay, Role::DeltaRate, Role::SsmInput];
        assert_eq!(recurrent.map(Role::input), [Role::Query; 4]);
        assert_eq!(Role::LaurelLeft.input(), Role::Query);
        assert_eq!([Role::FfnGate, Role::FfnUp].map(Role::input), [Role::FfnGate; 2]);
        assert_eq!([Role::FfnGateExperts, Role::FfnUpExperts].map(Role::input), [Role::FfnGateExperts; 2]);
        let routed = [Role::FfnRouter, Role::FfnGateShared, Role::FfnUpShared];
        assert_eq!(routed.map(Role::input), [Role::FfnRouter; 3]);
        assert_eq!([Role::Embedding, Role::Head].map(Role::input), [Role::Head; 2]);
        assert_eq!([Role::AttentionOutput, Role::FfnDown].map(Role::input), [Role::AttentionOutput, Role::FfnDown]);
    }
}
