//! The frozen backbone as the trainer sees it: a description, two matrices, and hidden states of
//! text.
//!
//! [`BackboneModel`] runs the model through ollm-runtime. Training works on [`Frozen`] (the
//! matrices) and on the traits [`StateSource`] and [`StateReader`] (the hidden states), which tests
//! implement without a model.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use ollm_runtime::chat::{ChatTemplate, Message, Variables};
use ollm_runtime::gguf::{Gguf, TensorInfo};
use ollm_runtime::model::{Model, PLUGIN_PREFIX};
use ollm_runtime::plugin::TokenEnds;
use ollm_runtime::plugin::schema;
use ollm_runtime::session::{Session, SessionError, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

use crate::data::corpus::Problem;
use crate::data::hash::fnv1a;
use crate::error::{Error, Result};

/// Positions of a session unless others are asked for: enough for any grade-school problem, and a
/// small cache for each thread.
pub const CONTEXT: usize = 2048;

/// What the trainer must know of a backbone.
#[derive(Clone, Debug, PartialEq)]
pub struct BackboneDescription {
    /// What identifies it, in any quantization.
    pub backbone: schema::Backbone,
    /// Epsilon of its norms; the plugin's norms use the same.
    pub norm_epsilon: f32,
    /// The soft-cap of its logits, if it has one.
    pub logit_softcap: Option<f32>,
    /// Number of parameters: the plugin's budget is a share of it.
    pub parameters: u64,
    /// Hash of its file, the chat template and the longest text: tells apart what has other hidden
    /// states, as the quantizations of one backbone, or adapters merged into it.
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
    /// What gives the logits.
    pub head: LogitHead,
    /// Token embeddings e(x), for the encoder. `[V, d]`, f32; the head itself where the two are
    /// tied.
    pub embedding: Tensor,
    /// The backbone they belong to.
    pub about: BackboneDescription,
}

/// The output head: a matrix, and the soft-cap of what it gives. All logits of the trainer are
/// computed here.
#[derive(Clone)]
pub struct LogitHead {
    /// Row x gives the logit of token x. `[V, d]`, f32.
    pub weight: Tensor,
    /// Logits are `cap * tanh(logit / cap)`.
    softcap: Option<f64>,
}

impl LogitHead {
    /// The logits of all tokens. `[n, d]` -> `[n, V]`.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor> {
        self.cap(states.matmul(&self.weight.t()?)?)
    }

    /// The logits that are such products, of any shape.
    pub(crate) fn cap(&self, products: Tensor) -> Result<Tensor> {
        match self.softcap {
            Some(cap) => Ok(((products / cap)?.tanh()? * cap)?),
            None => Ok(products),
        }
    }

    /// Derivatives with respect to `logits` -> those with respect to the products that they were
    /// before the cap.
    pub(crate) fn uncap(&self, derivatives: Tensor, logits: &Tensor) -> Result<Tensor> {
        match self.softcap {
            Some(cap) => Ok((derivatives * (1.0 - (logits / cap)?.sqr()?)?)?),
            None => Ok(derivatives),
        }
    }
}

impl Frozen {
    /// Puts row-major `[V, d]` matrices on a device.
    pub fn new(about: BackboneDescription, head: Vec<f32>, embedding: Vec<f32>, device: &Device) -> Result<Self> {
        let shape = (about.backbone.vocab, about.backbone.hidden);
        let tied = head == embedding;
        let head = Tensor::from_vec(head, shape, device)?;
        let embedding = if tied { head.clone() } else { Tensor::from_vec(embedding, shape, device)? };
        let head = LogitHead { weight: head, softcap: about.logit_softcap.map(f64::from) };
        Ok(Self { head, embedding, about })
    }

    /// e(x) of each token. `[B]` -> `[B, d]`.
    pub fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        Ok(self.embedding.index_select(tokens, 0)?)
    }
}

/// How a question becomes a prompt.
enum PromptTemplate {
    /// As a conversation.
    Chat(ChatTemplate),
    /// The turns before, and the question, each with a line break behind it.
    Plain,
}

/// How a backbone is given text.
#[derive(Clone, Debug)]
pub struct TextSettings {
    /// The chat template; none: the model's own.
    pub template: Option<TemplateSource>,
    /// Positions of a session: a problem with a longer text is left out.
    pub max_tokens: usize,
}

/// A template in place of the model's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateSource {
    /// None: for base models.
    Plain,
    /// A chat template's text.
    Chat(String),
}

impl Default for TextSettings {
    fn default() -> Self {
        Self { template: None, max_tokens: CONTEXT }
    }
}

/// A backbone that ollm-runtime runs.
pub struct BackboneModel {
    model: Arc<Model>,
    tokenizer: Tokenizer,
    template: PromptTemplate,
    /// Positions of a session at most.
    max_tokens: usize,
    /// The token that ends the answer's turn.
    end: u32,
    /// Hash of the file, and of how it is given text.
    content: u64,
}

impl BackboneModel {
    /// Opens a GGUF file, which must have a tokenizer, and a chat template unless `text` has
    /// another.
    pub fn open(path: &Path, text: &TextSettings) -> Result<Self> {
        let model = ollm_convert::open_model(path)?;
        if !model.config().causal {
            return Err(ollm_runtime::Error::from(SessionError::Bidirectional).into());
        }
        let metadata = model.gguf().metadata();
        let tokenizer = Tokenizer::from_metadata(metadata)?;
        let template = match &text.template {
            None => PromptTemplate::Chat(ChatTemplate::from_metadata(metadata)?),
            Some(TemplateSource::Chat(source)) => PromptTemplate::Chat(ChatTemplate::new(source)?),
            Some(TemplateSource::Plain) => PromptTemplate::Plain,
        };
        // What is in the file is named by its bytes.
        let named = match &text.template {
            None => "",
            Some(TemplateSource::Chat(source)) => source,
            Some(TemplateSource::Plain) => "plain",
        };
        let end = tokenizer.eos().ok_or_else(|| Error::bad_file(path, "the tokenizer names no end-of-text token"))?;
        let content = fnv1a([&***model.storage(), named.as_bytes(), &text.max_tokens.to_le_bytes()]);
        Ok(Self { model: Arc::new(model), tokenizer, template, max_tokens: text.max_tokens, end, content })
    }

    /// What the trainer must know of it.
    pub fn describe(&self) -> Result<BackboneDescription> {
        let (config, gguf) = (self.model.config(), self.model.gguf());
        let backbone = schema::Backbone::of(gguf, self.model.storage()).map_err(ollm_runtime::Error::from)?;
        Ok(BackboneDescription {
            backbone,
            norm_epsilon: config.norm_epsilon,
            logit_softcap: config.logit_softcap,
            parameters: own(gguf).map(|tensor| tensor.elements() as u64).sum(),
            content: format!("{:016x}", self.content),
        })
    }

    /// A hash of its file, and of how it is given text.
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

    /// The tokens before a problem's answer. A text without a question has the beginning of a text
    /// before it, and no template.
    pub fn prompt(&self, problem: &Problem) -> Result<Vec<u32>> {
        let Problem { before, question, .. } = problem;
        if before.is_empty() && question.is_empty() {
            return Ok(self.begin());
        }
        match &self.template {
            PromptTemplate::Chat(template) => {
                let turns = before.iter().map(|turn| Message::new(turn.role.clone(), turn.content.clone()));
                let turns: Vec<Message> = turns.chain([Message::new("user", question.clone())]).collect();
                let prompt = template.render(&turns, &Variables::new(), true, &self.tokenizer)?;
                Ok(prompt.tokens(&self.tokenizer)?)
            }
            PromptTemplate::Plain => {
                let lines = before.iter().map(|turn| &turn.content).chain([question]);
                let text: String = lines.flat_map(|line| [line.as_str(), "\n"]).collect();
                let mut tokens = self.begin();
                tokens.extend(self.tokenizer.encode(&text, false)?);
                Ok(tokens)
            }
        }
    }

    /// The tokens that a text begins with: one at least, from which the first is predicted.
    fn begin(&self) -> Vec<u32> {
        vec![self.tokenizer.add_bos().or(self.tokenizer.bos()).unwrap_or(self.end)]
    }

    /// The head, row-major `[V, d]`, with the scale of logits in it.
    pub fn head(&self) -> Vec<f32> {
        let (mut weights, scale) = (self.model.head_weights(), self.model.config().logit_scale);
        if scale.total_cmp(&1.0).is_ne() {
            for weight in &mut weights {
                *weight *= scale;
            }
        }
        weights
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
        let mut tokens = self.prompt(problem)?;
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
        self.model.config().context_length.min(self.max_tokens)
    }
}

impl StateReader for Session {
    fn states(&mut self, tokens: &[u32], out: &mut Vec<f32>) -> Result<()> {
        self.reset();
        Ok(self.hidden_states(tokens, out)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// The head gives the logits of every family, those with a scale or a cap of logits too.
    #[test]
    fn the_head_gives_the_logits_of_transformers() {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(goldens.join("tiny.json")).unwrap()).unwrap();
        let text = TextSettings { template: Some(TemplateSource::Plain), ..TextSettings::default() };
        let mut capped = Vec::new();
        for entry in manifest["models"].as_array().unwrap() {
            let name = entry["name"].as_str().unwrap();
            let file = |suffix: &str| goldens.join("tiny").join(format!("{name}.{suffix}"));
            let backbone = BackboneModel::open(&file("gguf"), &text).unwrap();
            let frozen = testing::frozen_of(&backbone);
            capped.extend(frozen.head.softcap.map(|_| name));
            let ids: Vec<u32> = entry["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            let mut states = Vec::new();
            backbone.reader().unwrap().states(&ids, &mut states).unwrap();
            let states = Tensor::from_vec(states, (ids.len(), frozen.about.backbone.hidden), &Device::Cpu).unwrap();
            let bytes = std::fs::read(file("logits.f32")).unwrap();
            let want: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            let logits = frozen.head.logits(&states).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(logits.len(), want.len(), "{name}");
            let off = logits.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 2e-2, "{name}: logits off by {off}");
        }
        assert_eq!(capped, ["gemma2", "gemma4", "gemma4_unified", "gemma3n"]);
    }
}
