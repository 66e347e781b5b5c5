//! Weights: every tensor of the schema, bound and in its place.

use std::collections::{HashMap, HashSet};

use crate::gguf::Gguf;

use super::config::{Config, LayerKind};
use super::error::ModelError;
use super::name::{PLUGIN_PREFIX, Role, TensorName};
use super::schema::{self, TensorSpec};
use super::tensor::{Tensor, vector};

/// One transformer block: what mixes tokens, and what works on each token. Shapes are output by
/// input.
#[derive(Debug)]
pub struct Layer {
    /// What mixes tokens, as the layer's [`LayerKind`] says.
    pub mixer: Mixer,
    /// The feed-forward network.
    pub feed_forward: FeedForward,
}

/// The weights of what mixes tokens: a variant for each [`LayerKind`].
#[derive(Debug)]
pub enum Mixer {
    /// [`LayerKind::Attention`]
    Attention(Attention),
}

/// The weights of attention.
#[derive(Debug)]
pub struct Attention {
    /// `[hidden]`
    pub norm: Vec<f32>,
    /// Queries: `[heads * head_dim][hidden]`
    pub query: Linear,
    /// Keys: `[kv_heads * head_dim][hidden]`
    pub key: Linear,
    /// Values: `[kv_heads * head_dim][hidden]`
    pub value: Linear,
    /// The norm of each query head, `[head_dim]`: qwen3.
    pub query_norm: Option<Vec<f32>>,
    /// The norm of each key head, `[head_dim]`: qwen3.
    pub key_norm: Option<Vec<f32>>,
    /// `[hidden][heads * head_dim]`
    pub output: Linear,
    /// What attention gives is normalized by this, `[hidden]`: gemma.
    pub post_norm: Option<Vec<f32>>,
}

/// The weights of a gated feed-forward network.
#[derive(Debug)]
pub struct FeedForward {
    /// `[hidden]`
    pub norm: Vec<f32>,
    /// `[ffn][hidden]`
    pub gate: Linear,
    /// `[ffn][hidden]`
    pub up: Linear,
    /// `[hidden][ffn]`
    pub down: Linear,
    /// What the network gives is normalized by this, `[hidden]`: gemma.
    pub post_norm: Option<Vec<f32>>,
}

/// A matrix, and what is added to its outputs.
#[derive(Debug)]
pub struct Linear {
    /// What it is in the network.
    pub role: Role,
    /// `[outputs][inputs]`
    pub weight: Tensor,
    /// `[outputs]`, where the file has it.
    pub bias: Option<Vec<f32>>,
}

impl Layer {
    /// The matrices.
    pub fn matrices(&self) -> impl Iterator<Item = &Linear> {
        let Mixer::Attention(Attention { query, key, value, output, .. }) = &self.mixer;
        let FeedForward { gate, up, down, .. } = &self.feed_forward;
        [query, key, value, output, gate, up, down].into_iter()
    }

    /// The matrices, to be packed.
    pub(super) fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let Mixer::Attention(Attention { query, key, value, output, .. }) = &mut self.mixer;
        let FeedForward { gate, up, down, .. } = &mut self.feed_forward;
        [query, key, value, output, gate, up, down].into_iter()
    }
}

/// All weights of a backbone.
#[derive(Debug)]
pub struct Weights {
    /// `[vocab][hidden]`, never packed by loading: a step reads one row of it.
    pub embedding: Tensor,
    /// The transformer blocks.
    pub layers: Vec<Layer>,
    /// `[hidden]`
    pub norm: Vec<f32>,
    /// `[vocab][hidden]`; the embedding, where they are tied.
    pub head: Tensor,
}

impl Weights {
    /// Binds every tensor of the [schema]; one that the schema does not have is an error.
    pub fn bind(gguf: &Gguf, file: &[u8], config: &Config) -> Result<Self, ModelError> {
        let specs = schema::tensors(config);
        let mut bound = Bound::new(gguf, file, &specs)?;
        refuse_others(gguf, &specs)?;
        let layers = config.layers.iter().enumerate().map(|(index, layer)| bound.layer(index, layer.kind));
        let layers = layers.collect::<Result<_, _>>()?;
        let norm = bound.vector(TensorName::new(Role::OutputNorm))?;
        let embedding = bound.matrix(TensorName::new(Role::Embedding))?;
        let head = match bound.matrices.remove(&TensorName::new(Role::Head)) {
            Some(head) => head,
            None => embedding.view(),
        };
        Ok(Self { embedding, layers, norm, head })
    }
}

/// A tensor of the file that is neither in the schema nor a plugin's means another network than the
/// schema's.
fn refuse_others(gguf: &Gguf, specs: &[TensorSpec]) -> Result<(), ModelError> {
    let known: HashSet<TensorName> = specs.iter().map(|spec| spec.name).collect();
    let is_known = |name: &str| TensorName::parse(name).is_some_and(|name| known.contains(&name));
    let mut names = gguf.tensors().iter().map(|info| &info.name);
    match names.find(|name| !name.starts_with(PLUGIN_PREFIX) && !is_known(name)) {
        Some(name) => Err(ModelError::UnexpectedTensor(name.clone())),
        None => Ok(()),
    }
}

/// Bound tensors on their way to their places.
#[derive(Default)]
struct Bound {
    matrices: HashMap<TensorName, Tensor>,
    vectors: HashMap<TensorName, Vec<f32>>,
}

impl Bound {
    /// Binds the tensors of `specs`; those that are optional where the file has them.
    fn new(gguf: &Gguf, file: &[u8], specs: &[TensorSpec]) -> Result<Self, ModelError> {
        let mut bound = Self::default();
        for TensorSpec { name, shape, optional } in specs {
            let text = name.to_string();
            if *optional && gguf.tensor(&text).is_none() {
                continue;
            }
            match shape[..] {
                [size] => drop(bound.vectors.insert(*name, vector(gguf, file, &text, size)?)),
                [rows, cols] => drop(bound.matrices.insert(*name, Tensor::bind(gguf, file, &text, rows, cols)?)),
                _ => return Err(ModelError::UnexpectedTensor(text)),
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

    fn linear(&mut self, name: TensorName) -> Result<Linear, ModelError> {
        let bias = self.vectors.remove(&name.bias());
        Ok(Linear { role: name.role, weight: self.matrix(name)?, bias })
    }

    fn layer(&mut self, index: usize, kind: LayerKind) -> Result<Layer, ModelError> {
        let name = |role| TensorName::in_layer(index, role);
        let mixer = match kind {
            LayerKind::Attention => Mixer::Attention(Attention {
                norm: self.vector(name(Role::AttentionNorm))?,
                query: self.linear(name(Role::Query))?,
                key: self.linear(name(Role::Key))?,
                value: self.linear(name(Role::Value))?,
                query_norm: self.vectors.remove(&name(Role::QueryNorm)),
                key_norm: self.vectors.remove(&name(Role::KeyNorm)),
                output: self.linear(name(Role::AttentionOutput))?,
                post_norm: self.vectors.remove(&name(Role::AttentionPostNorm)),
            }),
        };
        let feed_forward = FeedForward {
            norm: self.vector(name(Role::FfnNorm))?,
            gate: self.linear(name(Role::FfnGate))?,
            up: self.linear(name(Role::FfnUp))?,
            down: self.linear(name(Role::FfnDown))?,
            post_norm: self.vectors.remove(&name(Role::FfnPostNorm)),
        };
        Ok(Layer { mixer, feed_forward })
    }
}
