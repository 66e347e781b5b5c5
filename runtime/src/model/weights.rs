//! Weights: every tensor of the schema, bound and in its place.

use std::collections::{HashMap, HashSet};

use crate::gguf::Gguf;

use super::config::Config;
use super::error::ModelError;
use super::name::{PLUGIN_PREFIX, Role, TensorName};
use super::schema::{self, TensorSpec};
use super::tensor::{Tensor, vector};

/// One transformer block. Shapes are output by input.
#[derive(Debug)]
pub struct Layer {
    /// `[hidden]`
    pub attention_norm: Vec<f32>,
    /// Queries: `[heads * head_dim][hidden]`
    pub query: Tensor,
    /// Keys: `[kv_heads * head_dim][hidden]`
    pub key: Tensor,
    /// Values: `[kv_heads * head_dim][hidden]`
    pub value: Tensor,
    /// What is added to queries, keys and values, where the file has it.
    pub query_bias: Option<Vec<f32>>,
    /// See `query_bias`.
    pub key_bias: Option<Vec<f32>>,
    /// See `query_bias`.
    pub value_bias: Option<Vec<f32>>,
    /// The norm of each query head, `[head_dim]`: qwen3.
    pub query_norm: Option<Vec<f32>>,
    /// The norm of each key head, `[head_dim]`: qwen3.
    pub key_norm: Option<Vec<f32>>,
    /// `[hidden][heads * head_dim]`
    pub output: Tensor,
    /// What is added to the output, where the file has it.
    pub output_bias: Option<Vec<f32>>,
    /// What attention gives is normalized by this, `[hidden]`: gemma.
    pub attention_post_norm: Option<Vec<f32>>,
    /// `[hidden]`
    pub ffn_norm: Vec<f32>,
    /// `[ffn][hidden]`
    pub gate: Tensor,
    /// `[ffn][hidden]`
    pub up: Tensor,
    /// `[hidden][ffn]`
    pub down: Tensor,
    /// What the feed-forward layer gives is normalized by this, `[hidden]`: gemma.
    pub ffn_post_norm: Option<Vec<f32>>,
}

impl Layer {
    /// The matrices by their roles.
    pub fn matrices(&self) -> [(Role, &Tensor); 7] {
        [
            (Role::Query, &self.query),
            (Role::Key, &self.key),
            (Role::Value, &self.value),
            (Role::AttentionOutput, &self.output),
            (Role::FfnGate, &self.gate),
            (Role::FfnUp, &self.up),
            (Role::FfnDown, &self.down),
        ]
    }

    /// The matrices, to be packed.
    pub(super) fn matrices_mut(&mut self) -> [&mut Tensor; 7] {
        let Self { query, key, value, output, gate, up, down, .. } = self;
        [query, key, value, output, gate, up, down]
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
        let layers = (0..config.layers.len()).map(|layer| bound.layer(layer)).collect::<Result<_, _>>()?;
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

    fn layer(&mut self, index: usize) -> Result<Layer, ModelError> {
        let name = |role| TensorName::in_layer(index, role);
        let [query_bias, key_bias, value_bias, output_bias] =
            [Role::Query, Role::Key, Role::Value, Role::AttentionOutput]
                .map(|role| self.vectors.remove(&name(role).bias()));
        let [query_norm, key_norm, attention_post_norm, ffn_post_norm] =
            [Role::QueryNorm, Role::KeyNorm, Role::AttentionPostNorm, Role::FfnPostNorm]
                .map(|role| self.vectors.remove(&name(role)));
        Ok(Layer {
            attention_norm: self.vector(name(Role::AttentionNorm))?,
            query: self.matrix(name(Role::Query))?,
            key: self.matrix(name(Role::Key))?,
            value: self.matrix(name(Role::Value))?,
            query_bias,
            key_bias,
            value_bias,
            query_norm,
            key_norm,
            output: self.matrix(name(Role::AttentionOutput))?,
            output_bias,
            attention_post_norm,
            ffn_norm: self.vector(name(Role::FfnNorm))?,
            gate: self.matrix(name(Role::FfnGate))?,
            up: self.matrix(name(Role::FfnUp))?,
            down: self.matrix(name(Role::FfnDown))?,
            ffn_post_norm,
        })
    }
}
