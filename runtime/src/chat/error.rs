//! Why there is no text for a conversation.

use std::fmt;

use ollm_kernels::memory::OutOfMemory;

use crate::gguf::GgufError;

/// The key of the template.
pub(super) const KEY: &str = "tokenizer.chat_template";

/// The longest template that is read, in bytes. The longest in use are around 20 kB.
pub(super) const MAX_TEMPLATE: usize = 256 << 10;

/// Why there is no text for a conversation.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the line on each variant explains its fields")]
pub enum ChatError {
    /// The model file has no chat template.
    Missing,
    /// The model file has no chat template of that name; `known` are those that it has.
    NoSuchTemplate { name: String, known: Vec<String> },
    /// The key of the template is not a string.
    Metadata(GgufError),
    /// The template is longer than any sensible one.
    TooLong { bytes: usize },
    /// The template is not valid Jinja.
    Syntax { reason: String },
    /// A text is not the JSON that it should be; `what` names it.
    Json { what: &'static str, reason: String },
    /// A message is not one; the first has index 0.
    Message { index: usize, reason: String },
    /// A template variable cannot have that name or that value.
    Variable { name: String, reason: &'static str },
    /// The template asks for the date, and none was given.
    NoDate,
    /// The template makes the same text whatever is said in the messages.
    Dropped,
    /// The template used up its budget of steps and memory.
    Exhausted,
    /// The template refused the conversation.
    Refused { message: String },
    /// The template failed.
    Render { reason: String },
    /// There was no thread to run the template on.
    Thread(std::io::Error),
    /// The system has no memory left for so long a conversation.
    OutOfMemory(OutOfMemory),
}

impl fmt::Display for ChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(
                f,
                "the model file has no chat template ({KEY}): is it a base model? If it is not, give the template of its \
                family: --chat-template FILE of ollm-run, the template variable chat_template, or ChatTemplate::new"
            ),
            Self::NoSuchTemplate { name, known } if known.is_empty() => {
                write!(f, "the model file has no chat template {name:?}, and no other one")
            }
            Self::NoSuchTemplate { name, known } => {
                write!(f, "the model file has no chat template {name:?}: it has {}", known.join(", "))
            }
            Self::Metadata(error) => error.fmt(f),
            Self::TooLong { bytes } => {
                write!(f, "the chat template has {bytes} bytes, {MAX_TEMPLATE} at most are read")
            }
            Self::Syntax { reason } => write!(f, "the chat template is not valid: {reason}"),
            Self::Json { what, reason } => write!(f, "{what}: {reason}"),
            Self::Message { index, reason } => write!(f, "message {index}: {reason}"),
            Self::Variable { name, reason } => write!(f, "the template variable {name:?}: {reason}"),
            Self::NoDate => write!(
                f,
                "the chat template asks for the date: set the template variable strftime_now to one, such as \
                \"2026-11-30\""
            ),
            Self::Dropped => write!(
                f,
                "the chat template drops all messages: it may know other roles, or content of another kind (a text, a \
                list of parts)"
            ),
            Self::Exhausted => write!(f, "the chat template runs too long or builds too much"),
            Self::Refused { message } => write!(f, "the chat template refuses the conversation: {message}"),
            Self::Render { reason } => write!(f, "the chat template failed: {reason}"),
            Self::OutOfMemory(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "cannot start a thread for the chat template: {error}"),
        }
    }
}

impl From<OutOfMemory> for ChatError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
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
