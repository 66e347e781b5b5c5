//! The frozen backbone as the trainer sees it: a description, two matrices, and hidden states of text.
//!
//! [`Backbone`] is the only place that knows ollm-runtime. The rest of the crate works on [`Frozen`] (the matrices) and
//! on the traits [`Source`] and [`Reader`] (the hidden states), which tests implement without a model.

use candle_core::{Device, Tensor};

use crate::data::Problem;
use crate::error::Result;

/// What a plugin must know of its backbone to be refused by any other.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Family, as `general.architecture` says.
    pub architecture: String,
    /// Hidden size d.
    pub hidden: usize,
    /// Vocabulary size V.
    pub vocab: usize,
    /// Epsilon of the backbone's norms; the plugin's norms use the same.
    pub norm_epsilon: f32,
    /// Fingerprint of its tensors.
    pub fingerprint: String,
    /// Number of parameters: the plugin's budget is a share of it.
    pub parameters: u64,
}

/// A problem as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Prompt, answer, end of turn.
    pub tokens: Vec<u32>,
    /// Index of the first answer token: it and all that follow are targets.
    pub answer_start: usize,
}

/// Something that turns problems into tokens and opens readers of hidden states.
pub trait Source: Sync {
    /// The problem as the backbone would see it in a chat.
    fn example(&self, problem: &Problem) -> Result<Example>;

    /// A reader for one thread.
    fn reader(&self) -> Result<Box<dyn Reader + '_>>;

    /// The longest sequence that a reader takes.
    fn context(&self) -> usize;
}

/// Runs one sequence at a time through the backbone.
pub trait Reader {
    /// Appends the hidden state (after the final norm, hidden f32 each) of every token of a fresh sequence.
    fn states(&mut self, tokens: &[u32], out: &mut Vec<f32>) -> Result<()>;
}

/// The backbone's matrices that training needs, on the training device.
pub struct Frozen {
    /// Head: row x gives the logit of token x. [V, d], f32.
    pub head: Tensor,
    /// Token embeddings e(x), for the encoder. [V, d], f32; the head itself where the two are tied.
    pub embedding: Tensor,
    /// The backbone they belong to.
    pub about: Description,
}

impl Frozen {
    /// Puts row-major [V, d] matrices on a device.
    pub fn new(about: Description, head: Vec<f32>, embedding: Vec<f32>, device: &Device) -> Result<Self> {
        let shape = (about.vocab, about.hidden);
        let tied = head == embedding;
        let head = Tensor::from_vec(head, shape, device)?;
        let embedding = if tied { head.clone() } else { Tensor::from_vec(embedding, shape, device)? };
        Ok(Self { head, embedding, about })
    }

    /// e(x) of each token. [B] -> [B, d].
    pub fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        Ok(self.embedding.index_select(tokens, 0)?)
    }
}
