//! The backbone as a differentiable function of its matrices, in candle.
//!
//! [`Network::forward`] is the forward pass of ollm-runtime on whole sequences, for families of
//! Llama's kind as its [`Config`] describes them; the weights come from any GGUF file
//! that it opens. The backward pass is written out, part by part the mirror image of the way there:
//! candle's own backward pass would compute the gradient of every frozen matrix, and sum into
//! tensors of zeros. [`Network::backward`] tells a [`GradientSink`] of each matrix's inputs and of
//! the gradient of its outputs; the gradient of the matrix, or of what it is made of, follows from
//! these two.
//!
//! ```text
//! tokens -> embed -> L x { x + attention(norm x), x + feed-forward(norm x) } -> rows that are asked for -> norm -> hidden
//! ```

mod attention;
mod feed_forward;
mod parts;

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use ollm_runtime::model::{
    self, Config, LayerKind, Linear, Mixer, Model, NormKind, NormPlacement, QkNorm, Role, TensorName,
};
use ollm_runtime::ops::Activation;

use crate::error::{Error, Result};
use attention::{Attended, Attention};
use feed_forward::{Fed, FeedForward};
use parts::{FrozenMatrix, Norm, PassContext, Rope, causal_mask};

pub use parts::GradientSink;

/// The matrices of a block.
pub const MATRICES: [Role; 7] =
    [Role::Query, Role::Key, Role::Value, Role::AttentionOutput, Role::FfnGate, Role::FfnUp, Role::FfnDown];

/// Sequences that pass through the network one after the other, in one tensor. None sees another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// The tokens of all of them.
    pub tokens: Vec<u32>,
    /// Where each of them lies.
    pub ranges: Vec<Range<usize>>,
    /// The tokens whose hidden states are asked for.
    pub rows: Vec<u32>,
}

impl Sequences {
    /// Appends a sequence; the hidden states from its token `first_row` on are asked for.
    pub fn push(&mut self, tokens: &[u32], first_row: usize) {
        let start = self.tokens.len();
        self.tokens.extend(tokens);
        self.ranges.push(start..self.tokens.len());
        self.rows.extend((start + first_row) as u32..self.tokens.len() as u32);
    }
}

/// The backbone's weights on a device. A clone shares them.
#[derive(Clone)]
pub struct Network {
    config: Config,
    /// `[V, d]`
    embedding: Tensor,
    blocks: Vec<NetworkBlock>,
    norm: Norm,
    dtype: DType,
    /// Whether the backward pass computes each block's activations again.
    checkpointing: bool,
}

#[derive(Clone)]
struct NetworkBlock {
    attention: Attention,
    feed_forward: FeedForward,
}

/// What the backward pass needs of a forward pass.
pub struct Tape {
    context: PassContext,
    blocks: Vec<Saved>,
    /// Input of the last norm. `[rows, d]`
    last: Tensor,
    rows: Tensor,
    tokens: usize,
}

/// What is kept of a block.
enum Saved {
    /// Its activations.
    Activations(Attended, Fed),
    /// Its input `[n, d]`, from which they are computed again.
    Input(Tensor),
}

/// The part that a layer without attention is.
const RECURRENT: &str = "recurrent layers";

/// The part that a layer without keys and values of its own is.
const SHARED: &str = "layers that share keys and values";

/// That the passes below are those of the backbone.
fn check(config: &Config) -> Result<()> {
    let family = &config.family;
    let parts = [
        (!config.causal, "bidirectional attention"),
        (config.layers.iter().any(|layer| layer.kind != LayerKind::Attention), RECURRENT),
        (config.streams.is_some(), "several streams (AltUp)"),
        (family.laurel_rank.is_some(), "low-rank residuals"),
        (config.layers.iter().any(|layer| layer.gate_cutoff.is_some()), "sparse gates"),
        (config.per_layer.is_some(), "per-layer embeddings"),
        (config.layers.iter().any(|layer| layer.kv_source.is_some()), SHARED),
        (family.attention_sinks, "attention sinks"),
        (family.value_norm, "norms of values"),
        (family.layer_scale, "scaled layers"),
        (config.layers.iter().any(|layer| layer.is_sliding), "layers with a sliding window"),
        (family.attention_gate, "attention with gates"),
        (config.norms != NormPlacement::Before, "norms elsewhere than before its layers"),
        (family.norm != NormKind::Rms || family.embedding_norm, "layer norms, or norms of embeddings"),
        (!matches!(family.qk_norm, QkNorm::None | QkNorm::Heads), "other norms of queries and keys than of each head"),
        (family.activation != Activation::Silu || !family.gated, "another activation than SwiGLU"),
        (config.fused_attention || family.fused_gate, "fused matrices"),
        (config.layers.iter().any(|layer| layer.experts.is_some()), "mixtures of experts"),
        (config.attention_softcap.is_some(), "capped scores"),
        (config.query_temperature.is_some(), "queries that grow with their position"),
    ];
    match parts.into_iter().find(|(has, _)| *has) {
        Some((_, part)) => Err(Error::Unsupported { part }),
        None => Ok(()),
    }
}

impl Network {
    /// Decodes the weights of a backbone. They are of type `dtype`, and so is what is computed;
    /// `embedding` are its token embeddings, `[V, d]`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the backbone has a part that is not computed here: see `check`.
    pub fn new(model: &Model, embedding: &Tensor, dtype: DType) -> Result<Self> {
        check(model.config())?;
        let load = Loader { model, device: embedding.device(), dtype };
        let blocks = (0..model.config().layers.len()).map(|i| load.block(i)).collect::<Result<_>>()?;
        let norm = model.weights().norm.as_ref().ok_or(Error::Unsupported { part: "no final norm" })?;
        let norm = load.norm(norm)?;
        Ok(Self {
            config: model.config().clone(),
            embedding: embedding.clone(),
            blocks,
            norm,
            dtype,
            checkpointing: false,
        })
    }

    /// The same network with gradient checkpointing (Chen et al. 2016, arXiv 1604.06174), or
    /// without: the forward pass keeps each block's input alone, and the backward pass computes the
    /// block's activations again. Less memory for a forward pass more; the same bits.
    #[must_use]
    pub fn with_checkpointing(self, checkpointing: bool) -> Self {
        Self { checkpointing, ..self }
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.embedding.device()
    }

    /// The type of the weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Each matrix with its name.
    pub fn matrices(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.blocks.iter().flat_map(NetworkBlock::matrices).map(|matrix| (matrix.name.as_str(), &matrix.weight))
    }

    /// The same network with other matrices: `weight` makes them of their names and of what they
    /// are.
    pub fn with(&self, mut weight: impl FnMut(&str, &Tensor) -> Result<Tensor>) -> Result<Self> {
        let mut network = self.clone();
        for matrix in network.blocks.iter_mut().flat_map(NetworkBlock::matrices_mut) {
            matrix.weight = weight(&matrix.name, &matrix.weight)?;
        }
        Ok(network)
    }

    /// The hidden states, after the final norm, of the rows that are asked for: `[rows, d]`, f32.
    pub fn forward(&self, sequences: &Sequences) -> Result<(Tensor, Tape)> {
        let device = self.embedding.device();
        let context = self.context(&sequences.ranges)?;
        let tokens = Tensor::new(sequences.tokens.as_slice(), device)?;
        let embedded = self.embedding.index_select(&tokens, 0)?;
        let mut x = (embedded * f64::from(self.config.embedding_scale))?.to_dtype(self.dtype)?;
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let (out, attended, fed) = block.forward(&x, &context)?;
            blocks.push(if self.checkpointing { Saved::Input(x) } else { Saved::Activations(attended, fed) });
            x = out;
        }
        let rows = Tensor::new(sequences.rows.as_slice(), device)?;
        let last = x.index_select(&rows, 0)?;
        let hidden = self.norm.forward(&last)?.to_dtype(DType::F32)?;
        Ok((hidden, Tape { context, blocks, last, rows, tokens: sequences.tokens.len() }))
    }

    /// The backward pass from the gradient of the hidden states, `[rows, d]`.
    pub fn backward(&self, tape: Tape, gradient: &Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        let rows = self.norm.backward(&tape.last, &gradient.to_dtype(self.dtype)?)?;
        let zeros = Tensor::zeros((tape.tokens, self.config.hidden), self.dtype, rows.device())?;
        let mut gradient = zeros.index_add(&tape.rows, &rows, 0)?;
        for (block, saved) in self.blocks.iter().zip(tape.blocks).rev() {
            let (attended, fed) = match saved {
                Saved::Activations(attended, fed) => (attended, fed),
                Saved::Input(x) => {
                    let (_, attended, fed) = block.forward(&x, &tape.context)?;
                    (attended, fed)
                }
            };
            gradient = block.feed_forward.backward(fed, &gradient, sink)?;
            gradient = block.attention.backward(attended, &gradient, &tape.context, sink)?;
        }
        Ok(())
    }

    fn context(&self, ranges: &[Range<usize>]) -> Result<PassContext> {
        let device = self.embedding.device();
        let longest = ranges.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        Ok(PassContext {
            ranges: ranges.to_vec(),
            rope: Rope::new(&self.config, ranges, device, self.dtype)?,
            mask: causal_mask(longest, device, self.dtype)?,
        })
    }
}

impl NetworkBlock {
    /// `[n, d]` -> `[n, d]`.
    fn forward(&self, x: &Tensor, context: &PassContext) -> Result<(Tensor, Attended, Fed)> {
        let (mid, attended) = self.attention.forward(x, context)?;
        let (out, fed) = self.feed_forward.forward(&mid)?;
        Ok((out, attended, fed))
    }

    fn matrices(&self) -> [&FrozenMatrix; 7] {
        let (a, f) = (&self.attention, &self.feed_forward);
        [&a.query, &a.key, &a.value, &a.output, &f.gate, &f.up, &f.down]
    }

    fn matrices_mut(&mut self) -> [&mut FrozenMatrix; 7] {
        let (a, f) = (&mut self.attention, &mut self.feed_forward);
        [&mut a.query, &mut a.key, &mut a.value, &mut a.output, &mut f.gate, &mut f.up, &mut f.down]
    }
}

/// Decodes weights onto a device.
struct Loader<'a> {
    model: &'a Model,
    device: &'a Device,
    dtype: DType,
}

impl Loader<'_> {
    fn block(&self, index: usize) -> Result<NetworkBlock> {
        let layer = &self.model.weights().layers[index];
        let Mixer::Attention(attention) = &layer.mixer else {
            return Err(Error::Unsupported { part: RECURRENT });
        };
        let frozen = |linear: &Linear| -> Result<FrozenMatrix> {
            Ok(FrozenMatrix {
                name: TensorName::in_layer(index, linear.role).to_string(),
                weight: self.matrix(&linear.weight)?,
                bias: linear.bias.as_ref().map(|bias| self.vector(bias)).transpose()?,
            })
        };
        let shared = || Error::Unsupported { part: SHARED };
        let keys = attention.keys.as_ref().ok_or_else(shared)?;
        let value = keys.value.as_ref().ok_or_else(shared)?;
        let qk_norm = match (&attention.query_norm, &keys.key_norm) {
            (Some(query), Some(key)) => Some([self.norm_of(query)?, self.norm_of(key)?]),
            _ => None,
        };
        let config = self.model.config();
        let (shape, residual_scale) = (&config.layers[index], f64::from(config.residual_scale));
        let weights = &layer.feed_forward;
        // `check` has seen that the family has them.
        let missing = || Error::Unsupported { part: "no gate or no norm" };
        let model::Network::Dense(network) = &weights.network else {
            return Err(Error::Unsupported { part: "mixtures of experts" });
        };
        Ok(NetworkBlock {
            attention: Attention {
                shape: shape.kv_shape(),
                has_rope: shape.has_rope,
                score_scale: f64::from(config.attention_scale),
                residual_scale,
                norm: self.norm(attention.norm.as_ref().ok_or_else(missing)?)?,
                query: frozen(&attention.query)?,
                key: frozen(&keys.key)?,
                value: frozen(value)?,
                qk_norm,
                output: frozen(&attention.output)?,
            },
            feed_forward: FeedForward {
                residual_scale,
                norm: self.norm(weights.norm.as_ref().ok_or_else(missing)?)?,
                gate: frozen(network.gate.as_ref().ok_or_else(missing)?)?,
                up: frozen(&network.up)?,
                down: frozen(&network.down)?,
            },
        })
    }

    fn matrix(&self, tensor: &ollm_runtime::model::Tensor) -> Result<Tensor> {
        let matrix = self.model.matrix(tensor);
        let mut values = vec![0.0; matrix.rows() * matrix.cols()];
        matrix.decode(&mut values);
        Ok(Tensor::from_vec(values, (matrix.rows(), matrix.cols()), self.device)?.to_dtype(self.dtype)?)
    }

    fn vector(&self, values: &[f32]) -> Result<Tensor> {
        Ok(Tensor::new(values, self.device)?.to_dtype(self.dtype)?)
    }

    fn norm(&self, norm: &model::Norm) -> Result<Norm> {
        self.norm_of(&norm.weight)
    }

    fn norm_of(&self, weight: &[f32]) -> Result<Norm> {
        Ok(Norm { weight: self.vector(weight)?, epsilon: self.model.config().norm_epsilon })
    }
}

#[cfg(test)]
mod tests;
