//! Weights: every tensor of the schema, bound and in its place.

use std::collections::{HashMap, HashSet};

use crate::gguf::Gguf;
use crate::ops::Matrix;

use super::config::{Config, LayerConfig};
use super::error::ModelError;
use super::experts::ExpertsConfig;
use super::layer_kind::LayerKind;
use super::name::{PLUGIN_PREFIX, Role, TensorName, split_layer};
use super::schema::{self, TensorSpec};
use super::tensor::{Tensor, values};

/// One transformer block: what mixes tokens, and what works on each token. Shapes are output by
/// input.
#[derive(Debug)]
pub struct Layer {
    /// What mixes tokens, as the layer's [`LayerKind`] says.
    pub mixer: Mixer,
    /// The feed-forward network.
    pub feed_forward: FeedForward,
    /// What the layer adds of the per-layer embeddings, if the backbone has them.
    pub per_layer: Option<PerLayerInput>,
    /// The scale of its output, if it has one.
    pub scale: Option<f32>,
}

/// The weights of what mixes tokens: a variant for each [`LayerKind`].
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a model has few layers")]
pub enum Mixer {
    /// [`LayerKind::Attention`]
    Attention(Attention),
    /// [`LayerKind::ShortConvolution`]
    ShortConvolution(ShortConvolution),
    /// [`LayerKind::GatedDeltaNet`]
    DeltaNet(DeltaNet),
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
        let per_layer = self.per_layer.iter().flat_map(|it| [&it.gate, &it.output]);
        self.mixer.matrices().chain(self.feed_forward.network.matrices()).chain(per_layer)
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
        let per_layer = self.per_layer.iter_mut().flat_map(|it| [&mut it.gate.weight, &mut it.output.weight]);
        mixer.chain(self.feed_forward.network.tensors_mut()).chain(per_layer)
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
            Self::Attention(Attention { query, keys, output, .. }) => {
                let keys = keys.iter().flat_map(|keys| [&keys.key].into_iter().chain(&keys.value));
                [query].into_iter().chain(keys).chain([output]).collect()
            }
            Self::ShortConvolution(ShortConvolution { input, output, .. }) => vec![input, output],
            Self::DeltaNet(DeltaNet { query_key_value, gate, decay, rate, output, .. }) => {
                vec![query_key_value, gate, decay, rate, output]
            }
        }
        .into_iter()
    }

    fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        match self {
            Self::Attention(Attention { query, keys, output, .. }) => {
                let keys = keys.iter_mut().flat_map(|keys| [&mut keys.key].into_iter().chain(&mut keys.value));
                [query].into_iter().chain(keys).chain([output]).collect()
            }
            Self::ShortConvolution(ShortConvolution { input, output, .. }) => vec![input, output],
            Self::DeltaNet(DeltaNet { query_key_value, gate, decay, rate, output, .. }) => {
                vec![query_key_value, gate, decay, rate, output]
            }
        }
        .into_iter()
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
    /// What tokens have of their segment, `[hidden]`, where the file has it.
    pub token_type: Option<Vec<f32>>,
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
    /// `[vocab][hidden]`; the embedding, where they are tied. None where attention is bidirectional:
    /// there is no next token.
    pub head: Option<Tensor>,
}

impl Weights {
    /// Binds every tensor of the [schema]; one that the schema does not have is an error.
    pub fn bind(gguf: &Gguf, file: &[u8], config: &Config) -> Result<Self, ModelError> {
        let specs = schema::tensors(config);
        let mut bound = Bound::new(gguf, file, &specs)?;
        refuse_others(gguf, &specs, config)?;
        let layers = config.layers.iter().enumerate().map(|(index, layer)| bound.layer(index, config, layer));
        let layers = layers.collect::<Result<_, _>>()?;
        let embedding_norm = config.family.embedding_norm.then(|| bound.norm(TensorName::new(Role::EmbeddingNorm)));
        let norm = config.family.output_norm.and_then(|role| bound.norm(TensorName::new(role)));
        let embedding = bound.matrix(TensorName::new(Role::Embedding))?;
        let mut token_type = bound.vectors.remove(&TensorName::new(Role::TokenTypes));
        if let Some(types) = &mut token_type {
            types.truncate(config.hidden);
        }
        let positions = bound.vectors.remove(&TensorName::new(Role::PositionEmbedding));
        let dense = config.dense.iter().map(|dense| bound.linear(TensorName::new(dense.role)));
        let dense = dense.collect::<Result<_, _>>()?;
        let per_layer = config.per_layer.map(|_| bound.per_layer_embedding()).transpose()?;
        let head = match bound.matrices.remove(&TensorName::new(Role::Head)) {
            Some(head) => head,
            None => embedding.view(),
        };
        let (embedding_norm, head) = (embedding_norm.flatten(), config.causal.then_some(head));
        Ok(Self { embedding, per_layer, token_type, positions, embedding_norm, layers, norm, dense, head })
    }
}

/// A tensor of the file that is neither in the schema nor a plugin's, nor in a block for
/// multi-token prediction, means another network than the schema's.
fn refuse_others(gguf: &Gguf, specs: &[TensorSpec], config: &Config) -> Result<(), ModelError> {
    let known: HashSet<TensorName> = specs.iter().map(|spec| spec.name).collect();
    let layers = config.layers.len();
    let idle = layers..layers + config.prediction_layers;
    let is_idle = |name: &str| split_layer(name).is_some_and(|(layer, _)| idle.contains(&layer));
    let is_known = |name: &str| TensorName::parse(name).is_some_and(|name| known.contains(&name)) || is_idle(name);
    let mut names = gguf.tensors().iter().map(|info| &info.name);
    match names.find(|name| !name.starts_with(PLUGIN_PREFIX) && !is_known(name)) {
        Some(name) => Err(ModelError::UnexpectedTensor(name.clone())),
        None => Ok(()),
    }
}

/// The columns of a small matrix, one after the other.
fn transposed(matrix: &Matrix<'_>) -> Vec<f32> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let mut values = vec![0.0; rows * cols];
    matrix.decode(&mut values);
    (0..rows * cols).map(|i| values[i % rows * cols + i / rows]).collect()
}

/// Bound tensors on their way to their places.
struct Bound<'a> {
    file: &'a [u8],
    matrices: HashMap<TensorName, Tensor>,
    vectors: HashMap<TensorName, Vec<f32>>,
}

impl<'a> Bound<'a> {
    /// Binds the tensors of `specs`; those that are optional where the file has them.
    fn new(gguf: &Gguf, file: &'a [u8], specs: &[TensorSpec]) -> Result<Self, ModelError> {
        let mut bound = Self { file, matrices: HashMap::new(), vectors: HashMap::new() };
        for spec in specs {
            let TensorSpec { name, shape, optional } = spec;
            let text = name.to_string();
            if *optional && gguf.tensor(&text).is_none() {
                continue;
            }
            // One row of a matrix.
            let is_matrix = shape.len() > 1 || name.role == Role::FfnSharedRouter;
            if is_matrix && !name.is_bias && !spec.is_table() {
                bound.matrices.insert(*name, Tensor::bind_shape(gguf, file, &text, shape)?);
            } else {
                bound.vectors.insert(*name, values(gguf, file, &text, shape)?);
            }
        }
        Ok(bound)
    }

    fn matrix(&mut self, name: TensorName) -> Result<Tensor, ModelError> {
        self.matrices.remove(&name).ok_or_else(|| ModelError::MissingTensor(name.to_string()))
    }

    fn vector(&mut self, name: TensorName) -> Result<Vec<f32>, ModelError> {
        self.vectors.remove(&name).ok_or_else(|| ModelError::MissingTensor(name.to_string()))
    }

    /// The norm of this name, if the schema has it.
    fn norm(&mut self, name: TensorName) -> Option<Norm> {
        let bias = self.vectors.remove(&name.bias());
        self.vectors.remove(&name).map(|weight| Norm { weight, bias })
    }

    fn linear(&mut self, name: TensorName) -> Result<Linear, ModelError> {
        let bias = self.vectors.remove(&name.bias());
        Ok(Linear { role: name.role, fused: None, weight: self.matrix(name)?, bias })
    }

    /// The matrices that the rows of a fused one are, one after the other: so many of each role.
    fn parts<const N: usize>(
        &mut self,
        fused: TensorName,
        parts: [(Role, usize); N],
    ) -> Result<[Linear; N], ModelError> {
        let Linear { weight, bias, .. } = self.linear(fused)?;
        let mut first = 0;
        Ok(parts.map(|(role, rows)| {
            let range = first..first + rows;
            first = range.end;
            Linear {
                role,
                fused: Some((fused.role, range.start)),
                bias: bias.as_ref().map(|bias| bias[range.clone()].to_vec()),
                weight: weight.cut(range),
            }
        }))
    }

    fn layer(&mut self, index: usize, config: &Config, layer: &LayerConfig) -> Result<Layer, ModelError> {
        let name = |role| TensorName::in_layer(index, role);
        let mixer = match layer.kind {
            LayerKind::Attention => Mixer::Attention(self.attention(&name, config, layer)?),
            LayerKind::ShortConvolution { .. } => Mixer::ShortConvolution(self.short_convolution(&name)?),
            LayerKind::GatedDeltaNet(_) => Mixer::DeltaNet(self.delta_net(&name)?),
        };
        let network = match layer.experts {
            Some(shape) => Network::Experts(self.experts(&name, config, shape)?),
            None => Network::Dense(self.dense(&name, config, layer.ffn)?),
        };
        let norm = self.norm(name(config.family.ffn_norm));
        let post_norm = config.norms.post_norms().and_then(|[_, post_norm]| self.norm(name(post_norm)));
        let feed_forward = FeedForward { norm, network, post_norm };
        let per_layer = config.per_layer.map(|_| self.per_layer_input(&name)).transpose()?;
        let scale = self.vectors.remove(&name(Role::LayerScale)).map(|scale| scale[0]);
        Ok(Layer { mixer, feed_forward, per_layer, scale })
    }

    fn per_layer_embedding(&mut self) -> Result<PerLayerEmbedding, ModelError> {
        Ok(PerLayerEmbedding {
            embedding: self.matrix(TensorName::new(Role::PerLayerEmbedding))?,
            projection: self.matrix(TensorName::new(Role::PerLayerProjection))?,
            norm: self.vector(TensorName::new(Role::PerLayerProjectionNorm))?,
        })
    }

    fn per_layer_input(&mut self, name: &dyn Fn(Role) -> TensorName) -> Result<PerLayerInput, ModelError> {
        Ok(PerLayerInput {
            gate: self.linear(name(Role::PerLayerGate))?,
            output: self.linear(name(Role::PerLayerOutput))?,
            post_norm: Norm { weight: self.vector(name(Role::PerLayerPostNorm))?, bias: None },
        })
    }

    fn dense(&mut self, name: &dyn Fn(Role) -> TensorName, config: &Config, ffn: usize) -> Result<Dense, ModelError> {
        let family = &config.family;
        let (gate, up) = match (family.gated, family.fused_gate) {
            (true, true) => {
                let [gate, up] = self.parts(name(Role::FfnUp), [(Role::FfnGate, ffn), (Role::FfnUp, ffn)])?;
                (Some(gate), up)
            }
            (true, false) => (Some(self.linear(name(Role::FfnGate))?), self.linear(name(Role::FfnUp))?),
            (false, _) => (None, self.linear(name(Role::FfnUp))?),
        };
        Ok(Dense { gate, up, down: self.linear(name(Role::FfnDown))? })
    }

    fn experts(
        &mut self,
        name: &dyn Fn(Role) -> TensorName,
        config: &Config,
        shape: ExpertsConfig,
    ) -> Result<Experts, ModelError> {
        let mut stack = |role, rows| {
            let bias = self.vectors.remove(&name(role).bias());
            Ok::<_, ModelError>(Stack { weight: self.matrix(name(role))?, bias, rows })
        };
        let (gate, up) = (stack(Role::FfnGateExperts, shape.ffn)?, stack(Role::FfnUpExperts, shape.ffn)?);
        let down = stack(Role::FfnDownExperts, config.hidden)?;
        let shared = match shape.shared {
            Some(shared) => Some(SharedExpert {
                router: if shared.gated { Some(self.linear(name(Role::FfnSharedRouter))?) } else { None },
                network: Dense {
                    gate: Some(self.linear(name(Role::FfnGateShared))?),
                    up: self.linear(name(Role::FfnUpShared))?,
                    down: self.linear(name(Role::FfnDownShared))?,
                },
            }),
            None => None,
        };
        let selection_bias = self.vectors.remove(&name(Role::FfnSelectionBias).bias());
        Ok(Experts { shape, router: self.linear(name(Role::FfnRouter))?, selection_bias, gate, up, down, shared })
    }

    fn short_convolution(&mut self, name: &dyn Fn(Role) -> TensorName) -> Result<ShortConvolution, ModelError> {
        let kernel = self.matrix(name(Role::ConvolutionKernel))?;
        Ok(ShortConvolution {
            norm: self.norm(name(Role::AttentionNorm)),
            input: self.linear(name(Role::ConvolutionInput))?,
            kernel: transposed(&kernel.matrix(self.file)),
            output: self.linear(name(Role::ConvolutionOutput))?,
        })
    }

    fn delta_net(&mut self, name: &dyn Fn(Role) -> TensorName) -> Result<DeltaNet, ModelError> {
        let kernel = self.matrix(name(Role::DeltaKernel))?;
        Ok(DeltaNet {
            norm: self.norm(name(Role::AttentionNorm)),
            query_key_value: self.linear(name(Role::FusedQueryKeyValue))?,
            gate: self.linear(name(Role::DeltaGate))?,
            decay: self.linear(name(Role::DeltaDecay))?,
            rate: self.linear(name(Role::DeltaRate))?,
            step: self.vector(name(Role::DeltaStep).bias())?,
            scale: self.vector(name(Role::DeltaScale))?,
            kernel: transposed(&kernel.matrix(self.file)),
            output_norm: self.vector(name(Role::DeltaNorm))?,
            output: self.linear(name(Role::DeltaOutput))?,
        })
    }

    fn attention(
        &mut self,
        name: &dyn Fn(Role) -> TensorName,
        config: &Config,
        layer: &LayerConfig,
    ) -> Result<Attention, ModelError> {
        let (queries, keys) = (config.projected_queries(layer), layer.key_width());
        let (query, keys) = if layer.kv_source.is_some() {
            (self.linear(name(Role::Query))?, None)
        } else if config.fused_attention {
            let parts = [(Role::Query, queries), (Role::Key, keys), (Role::Value, keys)];
            let [query, key, value] = self.parts(name(Role::FusedQueryKeyValue), parts)?;
            (query, Some((key, Some(value))))
        } else {
            let [query, key] = [Role::Query, Role::Key].map(|role| self.linear(name(role)));
            let value = name(Role::Value);
            let has_value = self.matrices.contains_key(&value);
            (query?, Some((key?, has_value.then(|| self.linear(value)).transpose()?)))
        };
        let keys = keys.map(|(key, value)| KeysValues {
            key,
            value,
            key_norm: self.vectors.remove(&name(Role::KeyNorm)),
            value_norm: config.family.value_norm.then(|| vec![1.0; layer.head_dim]),
        });
        Ok(Attention {
            norm: self.norm(name(Role::AttentionNorm)),
            query,
            keys,
            query_norm: self.vectors.remove(&name(Role::QueryNorm)),
            sinks: self.vectors.remove(&name(Role::AttentionSinks)),
            output: self.linear(name(Role::AttentionOutput))?,
            post_norm: config.norms.post_norms().and_then(|[post_norm, _]| self.norm(name(post_norm))),
        })
    }
}
