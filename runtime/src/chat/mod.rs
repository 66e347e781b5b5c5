//! Conversations to text, through the chat template that the model file carries.
//!
//! A template is a program (Jinja) from an untrusted file. It runs in minijinja, which has no
//! access to anything outside, on a budget that grows with the conversation: steps, visited items
//! and every byte that it builds are paid from it, and what is too large is refused before it is
//! allocated. A template that fails is an error; nothing falls back to a guess. One gap is the
//! engine's: walking over a list that holds another one twice, many times over, is not paid step by
//! step.
//!
//! The environment is the one of Hugging Face's `apply_chat_template`: `trim_blocks`,
//! `lstrip_blocks`, loop controls, `raise_exception`, and the methods of Python strings that real
//! templates call. One thing is left out on purpose: `strftime_now` is not defined, so that the
//! same conversation is the same text on every day. Templates ask whether it is there and have a
//! date of their own otherwise.

mod python;

use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use crate::gguf::{GgufError, Metadata};
use crate::memory;
use crate::tokenizer::Tokenizer;

/// The key of the template.
const KEY: &str = "tokenizer.chat_template";

/// The longest template that is read, in bytes. The longest in use are around 10 kB.
const MAX_TEMPLATE: usize = 256 << 10;

/// Steps that every rendering may take. One step also pays for 64 bytes.
const BASE_STEPS: usize = 20_000;

/// Steps for each message, on top; and one for each four bytes of a message, which pays for 16
/// copies of it.
const MESSAGE_STEPS: usize = 500;
const BYTES_PER_STEP: usize = 4;

/// Stack for each step. One step can put a list into a list, and what is nested is freed by a
/// recursion, whose depth the engine does not limit.
const STACK_PER_STEP: usize = 512;

/// How deep statements and macros may nest; a macro counts for several.
const MAX_DEPTH: usize = 200;

/// Why there is no text for a conversation.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the line on each variant explains its fields")]
pub enum ChatError {
    /// The model file has no chat template.
    Missing,
    /// The key of the template is not a string.
    Metadata(GgufError),
    /// The template is longer than any sensible one.
    TooLong { bytes: usize },
    /// The template is not valid Jinja.
    Syntax { reason: String },
    /// The template used up its budget of steps and memory.
    Exhausted,
    /// The template refused the conversation.
    Refused { message: String },
    /// The template failed.
    Render { reason: String },
    /// There was no thread to run the template on.
    Thread(std::io::Error),
}

impl fmt::Display for ChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "the model file has no chat template ({KEY}): is it a base model?"),
            Self::Metadata(error) => error.fmt(f),
            Self::TooLong { bytes } => {
                write!(f, "the chat template has {bytes} bytes, {MAX_TEMPLATE} at most are read")
            }
            Self::Syntax { reason } => write!(f, "the chat template is not valid: {reason}"),
            Self::Exhausted => write!(f, "the chat template runs too long or builds too much"),
            Self::Refused { message } => write!(f, "the chat template refuses the conversation: {message}"),
            Self::Render { reason } => write!(f, "the chat template failed: {reason}"),
            Self::Thread(error) => write!(f, "cannot start a thread for the chat template: {error}"),
        }
    }
}

impl std::error::Error for ChatError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Metadata(error) => Some(error),
            Self::Thread(error) => Some(error),
            _ => None,
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// The chat template of a model.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
}

impl ChatTemplate {
    /// Reads and compiles the template of a model file.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, ChatError> {
        let source = metadata.opt_str(KEY).map_err(ChatError::Metadata)?;
        Self::new(source.ok_or(ChatError::Missing)?)
    }

    /// Compiles a template.
    pub fn new(source: &str) -> Result<Self, ChatError> {
        if source.len() > MAX_TEMPLATE {
            return Err(ChatError::TooLong { bytes: source.len() });
        }
        let compiled = environment(0).and_then(|e| e.template_from_str(source).map(drop));
        compiled.map_err(|error| explain(&error))?;
        Ok(Self { source: source.to_owned() })
    }

    /// The text of a conversation. With `add_generation_prompt` it ends where the model's answer
    /// begins.
    ///
    /// The template writes BOS itself where it wants one: encode the text with special tokens, and
    /// add none.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<String, ChatError> {
        let special = |id: Option<u32>| id.map(|id| tokenizer.decode(&[id]));
        let (bos, eos) = (special(tokenizer.bos()), special(tokenizer.eos()));
        let steps = budget(messages);
        let work = || {
            let messages: Vec<Value> = messages.iter().map(as_value).collect();
            let context = context! { messages, add_generation_prompt, bos_token => bos, eos_token => eos };
            environment(steps)?.template_from_str(&self.source)?.render(context)
        };
        with_stack(steps * STACK_PER_STEP, work)?.map_err(|error| explain(&error))
    }
}

fn with_stack<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> Result<T, ChatError> {
    let outcome = memory::with_stack(bytes, work).map_err(ChatError::Thread)?;
    outcome.map_err(|_| ChatError::Render { reason: "the template engine panicked".to_owned() })
}

fn as_value(message: &Message) -> Value {
    context! { role => message.role.as_str(), content => message.content.as_str() }
}

fn budget(messages: &[Message]) -> usize {
    let bytes: usize = messages.iter().map(|message| message.role.len() + message.content.len()).sum();
    BASE_STEPS + MESSAGE_STEPS * messages.len() + bytes / BYTES_PER_STEP
}

fn environment(steps: usize) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(steps as u64));
    environment.set_recursion_limit(MAX_DEPTH);
    // They print nested lists in cubic time, and no chat template needs them.
    environment.remove_filter("pprint");
    environment.remove_global("debug");
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", python::to_json);
    environment.set_unknown_method_callback(python::method);
    Ok(environment)
}

/// What a template said when it refused.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Refusal(message)))
}

/// The cause at the bottom decides: an error inside a macro or a block is wrapped.
fn explain(error: &Error) -> ChatError {
    let causes = || std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |cause| cause.source());
    let kinds = || causes().filter_map(|cause| cause.downcast_ref::<Error>()).map(Error::kind);
    if let Some(Refusal(message)) = causes().find_map(|cause| cause.downcast_ref()) {
        return ChatError::Refused { message: message.clone() };
    }
    if kinds().any(|kind| kind == ErrorKind::OutOfFuel) {
        return ChatError::Exhausted;
    }
    match error.kind() {
        ErrorKind::SyntaxError => ChatError::Syntax { reason: error.to_string() },
        _ => ChatError::Render { reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
