//! Binding: each tensor of the schema goes to its place among the weights.

use std::collections::{HashMap, HashSet};

use ollm_kernels::ops::Matrix;

use crate::gguf::Gguf;

use super::config::{Config, LayerConfig};
use super::error::ModelError;
use super::experts::ExpertsConfig;
use super::layer_kind::{LayerKind, Mamba2Config};
use super::name::{PLUGIN_PREFIX, Role, TensorName, split_layer};
use super::schema::{self, TensorSpec};
use super::tensor::{Tensor, values};
use super::weights::{
    AltUp, AltUpLayer, Attention, Classifier, DeltaNet, Dense, Experts, FeedForward, KeysValues, Laurel, Layer, Linear,
    Mamba2, Mixer, Network, Norm, PerLayerEmbedding, PerLayerInput, SharedExpert, ShortConvolution, Stack, Weights,
};

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
        let mut token_types = bound.vectors.remove(&TensorName::new(Role::TokenTypes));
        if let Some(types) = &mut token_types {
            types.truncate(2 * config.hidden);
        }
        let positions = bound.vectors.remove(&TensorName::new(Role::PositionEmbedding));
        let dense = config.dense.iter().map(|dense| bound.linear(TensorName::new(dense.role)));
        let dense = dense.collect::<Result<_, _>>()?;
        let classifier = config.classifier.as_ref().map(|_| bound.classifier()).transpose()?;
        let per_layer = config.per_layer.map(|_| bound.per_layer_embedding()).transpose()?;
        let altup = config.streams.map(|_| bound.altup()).transpose()?;
        let head = match bound.matrices.remove(&TensorName::new(Role::Head)) {
            Some(head) => head,
            None => embedding.view(),
        };
        let (embedding_norm, head) = (embedding_norm.flatten(), config.causal.then_some(head));
        Ok(Self {
            embedding,
            per_layer,
            altup,
            token_types,
            positions,
            embedding_norm,
            layers,
            norm,
            dense,
            classifier,
            head,
        })
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

    /// A norm that files have to have, without a bias.
    fn plain_norm(&mut self, name: TensorName) -> Result<Norm, ModelError> {
        Ok(Norm { weight: self.vector(name)?, bias: None })
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

    /// The head for classification.
    fn classifier(&mut self) -> Result<Classifier, ModelError> {
        let dense = TensorName::new(Role::Classifier);
        let dense = self.matrices.contains_key(&dense).then(|| self.linear(dense)).transpose()?;
        let norm = self.norm(TensorName::new(Role::ClassifierNorm));
        Ok(Classifier { dense, norm, output: self.linear(TensorName::new(Role::ClassifierOutput))? })
    }

    fn layer(&mut self, index: usize, config: &Config, layer: &LayerConfig) -> Result<Layer, ModelError> {
        let name = |role| TensorName::in_layer(index, role);
        let mixer = match layer.kind {
            LayerKind::Attention => Mixer::Attention(self.attention(&name, config, layer)?),
            LayerKind::ShortConvolution { .. } => Mixer::ShortConvolution(self.short_convolution(&name)?),
            LayerKind::GatedDeltaNet(_) => Mixer::DeltaNet(self.delta_net(&name)?),
            LayerKind::Mamba2(shape) => Mixer::Mamba2(self.mamba2(&name, shape)?),
            LayerKind::AttentionMamba2(shape) => {
                Mixer::AttentionMamba2(self.attention(&name, config, layer)?, self.mamba2(&name, shape)?)
            }
        };
        let network = match layer.experts {
            Some(shape) => Network::Experts(self.experts(&name, config, shape)?),
            None => Network::Dense(self.dense(&name, config, layer.ffn)?),
        };
        let norm = self.norm(name(config.family.ffn_norm));
        let post_norm = config.norms.post_norms().and_then(|[_, post_norm]| self.norm(name(post_norm)));
        let feed_forward = FeedForward { norm, network, post_norm };
        let per_layer = config.per_layer.map(|_| self.per_layer_input(&name)).transpose()?;
        let altup = config.streams.map(|_| self.altup_layer(&name)).transpose()?;
        let laurel = config.family.laurel_rank.map(|_| self.laurel(&name)).transpose()?;
        let scale = self.vectors.remove(&name(Role::LayerScale)).map(|scale| scale[0]);
        Ok(Layer { altup, mixer, laurel, feed_forward, per_layer, scale })
    }

    fn altup(&mut self) -> Result<AltUp, ModelError> {
        Ok(AltUp {
            projections: self.matrix(TensorName::new(Role::AltUpProjections))?,
            unembeddings: self.matrix(TensorName::new(Role::AltUpUnembeddings))?,
        })
    }

    fn altup_layer(&mut self, name: &dyn Fn(Role) -> TensorName) -> Result<AltUpLayer, ModelError> {
        Ok(AltUpLayer {
            router: self.linear(name(Role::AltUpRouter))?,
            router_norm: self.plain_norm(name(Role::AltUpRouterNorm))?,
            prediction: self.vector(name(Role::AltUpPrediction))?,
            correction: self.vector(name(Role::AltUpCorrection))?,
            correction_scale: self.vector(name(Role::AltUpCorrectionScale))?,
        })
    }

    fn laurel(&mut self, name: &dyn Fn(Role) -> TensorName) -> Result<Laurel, ModelError> {
        Ok(Laurel {
            left: self.linear(name(Role::LaurelLeft))?,
            right: self.linear(name(Role::LaurelRight))?,
            post_norm: self.plain_norm(name(Role::LaurelPostNorm))?,
        })
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
            post_norm: self.plain_norm(name(Role::PerLayerPostNorm))?,
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
        let kernel = self.matrix(name(Role::SsmKernel))?;
        Ok(DeltaNet {
            norm: self.norm(name(Role::AttentionNorm)),
            query_key_value: self.linear(name(Role::FusedQueryKeyValue))?,
            gate: self.linear(name(Role::DeltaGate))?,
            decay: self.linear(name(Role::DeltaDecay))?,
            rate: self.linear(name(Role::DeltaRate))?,
            step: self.vector(name(Role::SsmStep).bias())?,
            scale: self.vector(name(Role::SsmScale))?,
            kernel: transposed(&kernel.matrix(self.file)),
            output_norm: self.vector(name(Role::SsmNorm))?,
            output: self.linear(name(Role::SsmOutput))?,
        })
    }

    fn mamba2(&mut self, name: &dyn Fn(Role) -> TensorName, shape: Mamba2Config) -> Result<Mamba2, ModelError> {
        let kernel = self.matrix(name(Role::SsmKernel))?;
        // By what they are in linear attention.
        let parts = [
            (Role::DeltaGate, shape.inner_width()),
            (Role::FusedQueryKeyValue, shape.channels()),
            (Role::DeltaDecay, shape.heads),
        ];
        let [gate, channels, step] = self.parts(name(Role::SsmInput), parts)?;
        Ok(Mamba2 {
            norm: self.norm(name(Role::AttentionNorm)),
            gate,
            channels,
            step,
            step_bias: self.vector(name(Role::SsmStep).bias())?,
            scale: self.vector(name(Role::SsmScale))?,
            skip: self.vector(name(Role::SsmSkip))?,
            kernel: transposed(&kernel.matrix(self.file)),
            kernel_bias: self.vectors.remove(&name(Role::SsmKernel).bias()),
            output_norm: self.vectors.remove(&name(Role::SsmNorm)),
            output: self.linear(name(Role::SsmOutput))?,
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
