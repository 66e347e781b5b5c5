//! Weights: every tensor of the schema in its place.

use super::experts::ExpertsConfig;
use super::name::Role;
use super::tensor::Tensor;

/// One transformer block: what mixes tokens, and what works on each token. Shapes are output by
/// input.
#[derive(Debug)]
pub struct Layer {
    /// How it predicts and corrects the streams of AltUp, if there are such.
    pub altup: Option<AltUpLayer>,
    /// What mixes tokens, as the layer's [`LayerKind`](super::LayerKind) says.
    pub mixer: Mixer,
    /// The low-rank residual of that, if the family has it.
    pub laurel: Option<Laurel>,
    /// The feed-forward network.
    pub feed_forward: FeedForward,
    /// What the layer adds of the per-layer embeddings, if the backbone has them.
    pub per_layer: Option<PerLayerInput>,
    /// The scale of its output, if it has one.
    pub scale: Option<f32>,
}

/// The weights of what mixes tokens: a variant for each [`LayerKind`](super::LayerKind).
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a model has few layers")]
pub enum Mixer {
    /// [`LayerKind::Attention`](super::LayerKind::Attention)
    Attention(Attention),
    /// [`LayerKind::ShortConvolution`](super::LayerKind::ShortConvolution)
    ShortConvolution(ShortConvolution),
    /// [`LayerKind::GatedDeltaNet`](super::LayerKind::GatedDeltaNet)
    DeltaNet(DeltaNet),
    /// [`LayerKind::Mamba2`](super::LayerKind::Mamba2)
    Mamba2(Mamba2),
    /// [`LayerKind::AttentionMamba2`](super::LayerKind::AttentionMamba2)
    AttentionMamba2(Attention, Mamba2),
}

/// The weights of a norm.
#[derive(Debug)]
pub struct Norm {
    /// `[hidden]`
    pub weight: Vec<f32>,
    /// `[hidden]`, where the family has it.
    pub bias: Option<Vec<f32>>,
}

/// The weights of attention.
#[derive(Debug)]
pub struct Attention {
    /// The norm of the input, where the family has it.
    pub norm: Option<Norm>,
    /// Queries: `[heads * head_dim][hidden]`; with the gates behind the queries of each head, where
    /// the family has gates, `[heads][2][head_dim][hidden]`
    pub query: Linear,
    /// Keys and values; `None`: those of another layer.
    pub keys: Option<KeysValues>,
    /// The norm of each query head, `[head_dim]`, or of all of them: the family's `qk_norm`.
    pub query_norm: Option<Vec<f32>>,
    /// The score of nothing of each query head, `[heads]`, where the family has it.
    pub sinks: Option<Vec<f32>>,
    /// `[hidden][heads * head_dim]`
    pub output: Linear,
    /// The norm of the output, where the family has it.
    pub post_norm: Option<Norm>,
}

/// The weights of keys and values.
#[derive(Debug)]
pub struct KeysValues {
    /// Keys: `[kv_heads * head_dim][hidden]`
    pub key: Linear,
    /// Values: `[kv_heads * head_dim][hidden]`; `None`: they are what `key` gives.
    pub value: Option<Linear>,
    /// The norm of each key head, `[head_dim]`, or of all of them.
    pub key_norm: Option<Vec<f32>>,
    /// The norm of each value head, `[head_dim]`: ones, where the family has it.
    pub value_norm: Option<Vec<f32>>,
}

/// The weights of a gated short convolution.
#[derive(Debug)]
pub struct ShortConvolution {
    /// The norm of the input, where the family has it.
    pub norm: Option<Norm>,
    /// The gate of the inputs, that of the outputs, and the inputs: `[3 * hidden][hidden]`
    pub input: Linear,
    /// The weights of the taps, the oldest first: `[taps][hidden]`
    pub kernel: Vec<f32>,
    /// `[hidden][hidden]`
    pub output: Linear,
}

/// The weights of a gated delta net: see [`DeltaNetConfig`](super::DeltaNetConfig).
#[derive(Debug)]
pub struct DeltaNet {
    /// The norm of the input, where the family has it.
    pub norm: Option<Norm>,
    /// Queries, keys and values, one after the other: `[channels][hidden]`
    pub query_key_value: Linear,
    /// The gate of what it gives: `[value heads * head_dim][hidden]`
    pub gate: Linear,
    /// How much each value head forgets, with [`DeltaNet::step`] and [`DeltaNet::scale`]: `[value
    /// heads][hidden]`
    pub decay: Linear,
    /// How far each value head corrects its state: `[value heads][hidden]`
    pub rate: Linear,
    /// `[value heads]`
    pub step: Vec<f32>,
    /// `[value heads]`
    pub scale: Vec<f32>,
    /// The weights of the taps of the convolution, the oldest first: `[taps][channels]`
    pub kernel: Vec<f32>,
    /// The norm of each head of what it gives: `[head_dim]`
    pub output_norm: Vec<f32>,
    /// `[hidden][value heads * head_dim]`
    pub output: Linear,
}

/// The weights of Mamba 2: see [`Mamba2Config`](super::Mamba2Config). The first three are one
/// matrix of the file, [`Role::SsmInput`].
#[derive(Debug)]
pub struct Mamba2 {
    /// The norm of the input; `None` in parallel with attention, whose input it has.
    pub norm: Option<Norm>,
    /// The gate of what it gives: `[heads * head_dim][hidden]`
    pub gate: Linear,
    /// Inputs, B and C, one after the other: `[channels][hidden]`
    pub channels: Linear,
    /// The time steps, before [`Mamba2::step_bias`] and softplus: `[heads][hidden]`
    pub step: Linear,
    /// `[heads]`
    pub step_bias: Vec<f32>,
    /// A, what time steps are multiplied by: `[heads]`
    pub scale: Vec<f32>,
    /// D, how much of the inputs is added to what it gives: `[heads]`
    pub skip: Vec<f32>,
    /// The weights of the taps of the convolution, the oldest first: `[taps][channels]`
    pub kernel: Vec<f32>,
    /// What is added to the outputs of the convolution, `[channels]`, where the file has it.
    pub kernel_bias: Option<Vec<f32>>,
    /// The norm of each group of heads of what it gives, after the gate, where the file has it:
    /// `[groups][heads / groups * head_dim]`
    pub output_norm: Option<Vec<f32>>,
    /// `[hidden][heads * head_dim]`
    pub output: Linear,
}

/// The weights of a feed-forward network.
#[derive(Debug)]
pub struct FeedForward {
    /// The norm of the input, where the family has it.
    pub norm: Option<Norm>,
    /// What is between the norms.
    pub network: Network,
    /// The norm of the output, where the family has it.
    pub post_norm: Option<Norm>,
}

/// What a feed-forward network is.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of each layer, and none moves")]
pub enum Network {
    /// All tokens pass through one network.
    Dense(Dense),
    /// Each token passes through a few of many networks.
    Experts(Experts),
}

/// The matrices of a dense network.
#[derive(Debug)]
pub struct Dense {
    /// `[ffn][hidden]`, where the family has it.
    pub gate: Option<Linear>,
    /// `[ffn][hidden]`
    pub up: Linear,
    /// `[hidden][ffn]`
    pub down: Linear,
}

/// The matrices of a mixture of experts.
#[derive(Debug)]
pub struct Experts {
    /// Its shape.
    pub shape: ExpertsConfig,
    /// What gives the scores of the experts, `[experts][hidden]`.
    pub router: Linear,
    /// What is added to the weights of the experts for the choice alone: `[experts]`.
    pub selection_bias: Option<Vec<f32>>,
    /// `[experts][ffn][hidden]`
    pub gate: Stack,
    /// `[experts][ffn][hidden]`
    pub up: Stack,
    /// `[experts][hidden][ffn]`
    pub down: Stack,
    /// The expert that all tokens pass through.
    pub shared: Option<SharedExpert>,
}

/// One matrix of each expert.
#[derive(Debug)]
pub struct Stack {
    /// The rows of all experts, one expert after the other.
    pub weight: Tensor,
    /// What is added to the outputs of each expert, `[experts][rows]`, where the family has it.
    pub bias: Option<Vec<f32>>,
    /// Rows of an expert.
    pub rows: usize,
}

/// The expert that all tokens pass through.
#[derive(Debug)]
pub struct SharedExpert {
    /// What gives the logit of how much of its output is added, `[1][hidden]`; `None`: all of it.
    pub router: Option<Linear>,
    /// Its network.
    pub network: Dense,
}

/// The per-layer embeddings, and what they are added to.
#[derive(Debug)]
pub struct PerLayerEmbedding {
    /// `[vocab][layers * per_layer]`, never packed by loading: a step reads one row of it.
    pub embedding: Tensor,
    /// `[layers * per_layer][hidden]`
    pub projection: Tensor,
    /// The norm of what the projection gives a layer, `[per_layer]`.
    pub norm: Vec<f32>,
}

/// The weights of what a layer adds of its per-layer input.
#[derive(Debug)]
pub struct PerLayerInput {
    /// `[per_layer][hidden]`
    pub gate: Linear,
    /// `[hidden][per_layer]`
    pub output: Linear,
    /// The norm of the output.
    pub post_norm: Norm,
}

/// The weights of a head for classification: see [`ClassifierRule`](super::ClassifierRule).
#[derive(Debug)]
pub struct Classifier {
    /// `[hidden][hidden]`, where the file has it.
    pub dense: Option<Linear>,
    /// The norm of what that gives, where the file has it.
    pub norm: Option<Norm>,
    /// `[labels][hidden]`
    pub output: Linear,
}

/// What begins and ends the streams of AltUp.
#[derive(Debug)]
pub struct AltUp {
    /// What gives the streams but the first of the first: `[streams - 1][hidden][hidden]`
    pub projections: Tensor,
    /// What they are projected by before all are summed: `[streams - 1][hidden][hidden]`
    pub unembeddings: Tensor,
}

/// How a layer predicts and corrects the streams of AltUp.
#[derive(Debug)]
pub struct AltUpLayer {
    /// `[streams][hidden]`
    pub router: Linear,
    /// The norm of its input.
    pub router_norm: Norm,
    /// `[streams][streams][streams]`: of each prediction and each stream in it, by what the router
    /// gives.
    pub prediction: Vec<f32>,
    /// `[streams][streams]`: of each correction, by what the router gives.
    pub correction: Vec<f32>,
    /// What the corrected stream is multiplied by as the input of the per-layer gate: `[hidden]`
    pub correction_scale: Vec<f32>,
}

/// The weights of the low-rank residual of attention (LAuReL).
#[derive(Debug)]
pub struct Laurel {
    /// `[rank][hidden]`
    pub left: Linear,
    /// `[hidden][rank]`
    pub right: Linear,
    /// The norm of the output.
    pub post_norm: Norm,
}

/// A matrix, and what is added to its outputs.
#[derive(Debug)]
pub struct Linear {
    /// What it is in the network.
    pub role: Role,
    /// The fused matrix of the file that it is a part of, and its first row there.
    pub fused: Option<(Role, usize)>,
    /// `[outputs][inputs]`
    pub weight: Tensor,
    /// `[outputs]`, where the file has it.
    pub bias: Option<Vec<f32>>,
}

impl Layer {
    /// The matrices that all tokens are multiplied with: all but those of single experts.
    pub fn matrices(&self) -> impl Iterator<Item = &Linear> {
        let router = self.altup.iter().map(|it| &it.router);
        let laurel = self.laurel.iter().flat_map(|it| [&it.left, &it.right]);
        let per_layer = self.per_layer.iter().flat_map(|it| [&it.gate, &it.output]);
        let residuals = router.chain(laurel).chain(per_layer);
        self.mixer.matrices().chain(self.feed_forward.network.matrices()).chain(residuals)
    }

    /// The matrices of the layer's experts, stacked.
    pub fn stacks(&self) -> impl Iterator<Item = &Stack> {
        let experts = match &self.feed_forward.network {
            Network::Dense(_) => None,
            Network::Experts(Experts { gate, up, down, .. }) => Some([gate, up, down]),
        };
        experts.into_iter().flatten()
    }

    /// The weights of all of them, to be packed.
    pub(super) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        let mixer = self.mixer.matrices_mut().map(|linear| &mut linear.weight);
        let router = self.altup.iter_mut().map(|it| &mut it.router.weight);
        let laurel = self.laurel.iter_mut().flat_map(|it| [&mut it.left.weight, &mut it.right.weight]);
        let per_layer = self.per_layer.iter_mut().flat_map(|it| [&mut it.gate.weight, &mut it.output.weight]);
        mixer.chain(self.feed_forward.network.tensors_mut()).chain(router).chain(laurel).chain(per_layer)
    }

    /// Bytes of the matrices that a step reads: of experts those of one token.
    pub fn step_bytes(&self) -> u64 {
        let share =
            |experts: &Experts, stack: &Stack| (stack.weight.size() / experts.shape.count * experts.shape.used) as u64;
        let experts: u64 = match &self.feed_forward.network {
            Network::Dense(_) => 0,
            Network::Experts(experts) => self.stacks().map(|stack| share(experts, stack)).sum(),
        };
        self.matrices().map(|linear| linear.weight.size() as u64).sum::<u64>() + experts
    }
}

impl Mixer {
    fn matrices(&self) -> impl Iterator<Item = &Linear> {
        match self {
            Self::Attention(attention) => attention.matrices(),
            Self::ShortConvolution(ShortConvolution { input, output, .. }) => vec![input, output],
            Self::DeltaNet(DeltaNet { query_key_value, gate, decay, rate, output, .. }) => {
                vec![query_key_value, gate, decay, rate, output]
            }
            Self::Mamba2(mamba2) => mamba2.matrices(),
            Self::AttentionMamba2(attention, mamba2) => [attention.matrices(), mamba2.matrices()].concat(),
        }
        .into_iter()
    }

    fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        match self {
            Self::Attention(attention) => attention.matrices_mut(),
            Self::ShortConvolution(ShortConvolution { input, output, .. }) => vec![input, output],
            Self::DeltaNet(DeltaNet { query_key_value, gate, decay, rate, output, .. }) => {
                vec![query_key_value, gate, decay, rate, output]
            }
            Self::Mamba2(mamba2) => mamba2.matrices_mut(),
            Self::AttentionMamba2(attention, mamba2) => {
                attention.matrices_mut().into_iter().chain(mamba2.matrices_mut()).collect()
            }
        }
        .into_iter()
    }
}

impl Attention {
    fn matrices(&self) -> Vec<&Linear> {
        let keys = self.keys.iter().flat_map(|keys| [&keys.key].into_iter().chain(&keys.value));
        [&self.query].into_iter().chain(keys).chain([&self.output]).collect()
    }

    fn matrices_mut(&mut self) -> Vec<&mut Linear> {
        let keys = self.keys.iter_mut().flat_map(|keys| [&mut keys.key].into_iter().chain(&mut keys.value));
        [&mut self.query].into_iter().chain(keys).chain([&mut self.output]).collect()
    }
}

impl Mamba2 {
    fn matrices(&self) -> Vec<&Linear> {
        vec![&self.gate, &self.channels, &self.step, &self.output]
    }

    fn matrices_mut(&mut self) -> Vec<&mut Linear> {
        vec![&mut self.gate, &mut self.channels, &mut self.step, &mut self.output]
    }
}

impl Network {
    fn matrices(&self) -> impl Iterator<Item = &Linear> {
        let (dense, routers) = match self {
            Self::Dense(dense) => (Some(dense), [None, None]),
            Self::Experts(Experts { router, shared, .. }) => {
                let shared = shared.as_ref();
                (shared.map(|shared| &shared.network), [Some(router), shared.and_then(|shared| shared.router.as_ref())])
            }
        };
        let parts = dense.map(|Dense { gate, up, down }| [gate.as_ref(), Some(up), Some(down)]);
        routers.into_iter().chain(parts.into_iter().flatten()).flatten()
    }

    fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        let (dense, routers, stacks) = match self {
            Self::Dense(dense) => (Some(dense), [None, None], None),
            Self::Experts(Experts { router, gate, up, down, shared, .. }) => {
                let (network, shared) = match shared {
                    Some(SharedExpert { router, network }) => (Some(network), router.as_mut()),
                    None => (None, None),
                };
                (network, [Some(router), shared], Some([gate, up, down].map(|stack| &mut stack.weight)))
            }
        };
        let parts = dense.map(|Dense { gate, up, down }| [gate.as_mut(), Some(up), Some(down)]);
        let linears = routers.into_iter().chain(parts.into_iter().flatten()).flatten();
        linears.map(|linear| &mut linear.weight).chain(stacks.into_iter().flatten())
    }
}

/// All weights of a backbone.
#[derive(Debug)]
pub struct Weights {
    /// `[vocab][hidden]`, never packed by loading: a step reads one row of it.
    pub embedding: Tensor,
    /// The per-layer embeddings, if there are such.
    pub per_layer: Option<PerLayerEmbedding>,
    /// What begins and ends the streams of AltUp, if there are such.
    pub altup: Option<AltUp>,
    /// What tokens have of their segment, `[1 or 2][hidden]`, where the file has it.
    pub token_types: Option<Vec<f32>>,
    /// What tokens have of their position, `[context][hidden]`, where the family has it.
    pub positions: Option<Vec<f32>>,
    /// The norm of embeddings, where the family has it.
    pub embedding_norm: Option<Norm>,
    /// The transformer blocks.
    pub layers: Vec<Layer>,
    /// The norm of the last hidden state, where the family has it.
    pub norm: Option<Norm>,
    /// The dense layers that an embedding goes through after the pooling.
    pub dense: Vec<Linear>,
    /// The head for classification, where the file has it.
    pub classifier: Option<Classifier>,
    /// `[vocab][hidden]`; the embedding, where they are tied. None where attention is
    /// bidirectional: there is no next token.
    pub head: Option<Tensor>,
}
