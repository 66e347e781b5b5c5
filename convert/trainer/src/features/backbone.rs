//! The frozen backbone as the trainer sees it: a description, two matrices, and hidden states of
//! text.
//!
//! [`BackboneModel`] runs the model through ollm-runtime. Training works on [`Frozen`] (the
//! matrices) and on the traits [`StateSource`] and [`StateReader`] (the hidden states), which tests
//! implement without a model.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use ollm_runtime::chat::{ChatTemplate, Message};
use ollm_runtime::gguf::{Gguf, TensorInfo};
use ollm_runtime::model::{Model, PLUGIN_PREFIX};
use ollm_runtime::plugin::TokenEnds;
use ollm_runtime::plugin::schema;
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

use crate::data::corpus::Problem;
use crate::data::hash::fnv1a;
use crate::error::{Error, Result};

/// Positions of a session: a problem with a longer text is left out. Enough for any grade-school
/// problem, and a small cache for each thread.
const CONTEXT: usize = 2048;

/// What the trainer must know of a backbone.
#[derive(Clone, Debug, PartialEq)]
pub struct BackboneDescription {
    /// What identifies it, in any quantization.
    pub backbone: schema::Backbone,
    /// Epsilon of its norms; the plugin's norms use the same.
    pub norm_epsilon: f32,
    /// Number of parameters: the plugin's budget is a share of it.
    pub parameters: u64,
    /// Hash of its file, chat template and weights: tells apart what has other hidden states, as the
    /// quantizations of one backbone, or adapters merged into it.
    pub content: String,
}

impl BackboneDescription {
    /// What identifies the hidden states of this file.
    pub fn identity(&self) -> String {
        format!("{} {}", self.backbone.fingerprint, self.content)
    }
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
pub trait StateSource: Sync {
    /// The problem as the backbone would see it in a chat.
    fn example(&self, problem: &Problem) -> Result<Example>;

    /// A reader for one thread.
    fn reader(&self) -> Result<Box<dyn StateReader + '_>>;

    /// The longest sequence that a reader takes.
    fn context(&self) -> usize;
}

/// Runs one sequence at a time through the backbone.
pub trait StateReader {
    /// Appends the hidden state (after the final norm, hidden f32 each) of every token of a fresh
    /// sequence.
    fn states(&mut self, tokens: &[u32], out: &mut Vec<f32>) -> Result<()>;
}

/// The backbone's matrices that training needs, on the training device.
pub struct Frozen {
    /// Head: row x gives the logit of token x. `[V, d]`, f32.
    pub head: Tensor,
    /// Token embeddings e(x), for the encoder. `[V, d]`, f32; the head itself where the two are
    /// tied.
    pub embedding: Tensor,
    /// The backbone they belong to.
    pub about: BackboneDescription,
}

impl Frozen {
    /// Puts row-major `[V, d]` matrices on a device.
    pub fn new(about: BackboneDescription, head: Vec<f32>, embedding: Vec<f32>, device: &Device) -> Result<Self> {
        let shape = (about.backbone.vocab, about.backbone.hidden);
        let tied = head == embedding;
        let head = Tensor::from_vec(head, shape, device)?;
        let embedding = if tied { head.clone() } else { Tensor::from_vec(embedding, shape, device)? };
        Ok(Self { head, embedding, about })
    }

    /// e(x) of each token. `[B]` -> `[B, d]`.
    pub fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        Ok(self.embedding.index_select(tokens, 0)?)
    }
}

/// A backbone that ollm-runtime runs.
pub struct BackboneModel {
    model: Arc<Model>,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    /// The token that ends the answer's turn.
    end: u32,
    /// Hash of the file.
    content: u64,
}

impl BackboneModel {
    /// Opens a GGUF file, which must have a tokenizer and a chat template, and a head that is a
    /// product alone.
    pub fn open(path: &Path) -> Result<Self> {
        let model = ollm_convert::open_model(path)?;
        if model.config().logit_softcap.is_some() {
            return Err(Error::Unsupported { part: "capped logits" });
        }
        let metadata = model.gguf().metadata();
        let tokenizer = Tokenizer::from_metadata(metadata)?;
        let template = ChatTemplate::from_metadata(metadata)?;
        let end = tokenizer.eos().ok_or_else(|| Error::bad_file(path, "the tokenizer names no end-of-text token"))?;
        let content = fnv1a([&***model.storage()]);
        Ok(Self { model: Arc::new(model), tokenizer, template, end, content })
    }

    /// What the trainer must know of it.
    pub fn describe(&self) -> Result<BackboneDescription> {
        let (config, gguf) = (self.model.config(), self.model.gguf());
        let backbone = schema::Backbone::of(gguf, self.model.storage()).map_err(ollm_runtime::Error::from)?;
        Ok(BackboneDescription {
            backbone,
            norm_epsilon: config.norm_epsilon,
            parameters: own(gguf).map(|tensor| tensor.elements() as u64).sum(),
            content: format!("{:016x}", self.content),
        })
    }

    /// A hash of its file.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// The tokens that end a line or an answer.
    pub fn token_ends(&self) -> TokenEnds {
        TokenEnds::new(&self.tokenizer)
    }

    /// The model that runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A question as tokens, up to where the answer begins.
    pub fn prompt(&self, question: &str) -> Result<Vec<u32>> {
        let prompt = self.template.render(&[Message::new("user", question)], true, &self.tokenizer)?;
        Ok(self.tokenizer.encode(&prompt, true)?)
    }

    /// The head, row-major `[V, d]`.
    pub fn head(&self) -> Vec<f32> {
        self.model.head_weights()
    }

    /// The token embeddings, row-major `[V, d]`.
    pub fn embeddings(&self) -> Vec<f32> {
        self.model.embedding_weights()
    }
}

/// The backbone's tensors, without those of a plugin merged into the file.
fn own(gguf: &Gguf) -> impl Iterator<Item = &TensorInfo> {
    gguf.tensors().iter().filter(|tensor| !tensor.name.starts_with(PLUGIN_PREFIX))
}

impl StateSource for BackboneModel {
    fn example(&self, problem: &Problem) -> Result<Example> {
        let mut tokens = self.prompt(&problem.question)?;
        let answer_start = tokens.len();
        // The answer is data: what looks like a control token in it is text.
        tokens.extend(self.tokenizer.encode(&problem.answer, false)?);
        tokens.push(self.end);
        Ok(Example { tokens, answer_start })
    }

    fn reader(&self) -> Result<Box<dyn StateReader + '_>> {
        let options = SessionOptions { threads: 1, context: self.context(), ..SessionOptions::default() };
        Ok(Box::new(Session::new(Arc::clone(&self.model), None, &options)?))
    }

    fn context(&self) -> usize {
        self.model.config().context_length.min(CONTEXT)
    }
}

impl StateReader for Session {
    fn states(&mut self, tokens: &[u32], out: &mut Vec<f32>) -> Result<()> {
        self.reset();
        Ok(self.hidden_states(tokens, out)?)
    }
}
