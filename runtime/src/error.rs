//! The roof over the errors: one enum that gathers the typed errors of all modules, for programs.
//! No module below names it.

use std::fmt;
use std::path::PathBuf;

use ollm_kernels::cpu::IsaError;
use ollm_kernels::logits::LogitsError;
use ollm_kernels::memory::OutOfMemory;

use crate::branches::{AnswerRuleError, BranchError};
#[cfg(feature = "chat-template")]
use crate::chat::ChatError;
use crate::constraint::ConstraintError;
#[cfg(feature = "chat-template")]
use crate::conversation::ConversationError;
use crate::gguf::GgufError;
use crate::model::ModelError;
use crate::plugin::{PluginError, SelectError};
use crate::sampler::SamplerError;
use crate::session::{SessionError, SnapshotError};
use crate::storage::StorageError;
use crate::tokenizer::TokenizerError;

/// A result with the error of any module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Each message says what, where and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system could not start a thread.
    Threads(std::io::Error),
    /// The threads could not be bound to processors; [`std::io::ErrorKind::Unsupported`] where the
    /// system cannot do it.
    Affinity(std::io::Error),
    /// The system has no memory left.
    OutOfMemory(OutOfMemory),
    /// The bytes of a file cannot be had.
    Storage(StorageError),
    /// The instruction set that was asked for cannot be had.
    Isa(IsaError),
    /// The file is not a well-formed GGUF file.
    Gguf(GgufError),
    /// The GGUF file is not a backbone that can be run.
    Model(ModelError),
    /// The file is not a plugin that fits.
    Plugin(PluginError),
    /// Latents cannot be selected that way.
    Select(SelectError),
    /// The sampler cannot work that way.
    Sampler(SamplerError),
    /// The logits are not a distribution.
    Logits(LogitsError),
    /// Text cannot be constrained that way.
    Constraint(ConstraintError),
    /// The session cannot do that now.
    Session(SessionError),
    /// A saved session cannot be written, read, or restored here.
    Snapshot(SnapshotError),
    /// Branches cannot do that.
    Branch(BranchError),
    /// The text is no rule for answers.
    AnswerRule(AnswerRuleError),
    /// The model file has no tokenizer that can be used, or the text cannot be tokenized.
    Tokenizer(TokenizerError),
    /// The conversation has no text.
    #[cfg(feature = "chat-template")]
    Chat(ChatError),
    /// The conversation cannot do that.
    #[cfg(feature = "chat-template")]
    Conversation(ConversationError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Threads(source) => write!(f, "cannot start a thread: {source}"),
            Self::Affinity(source) => write!(f, "cannot bind the threads to these processors: {source}"),
            Self::OutOfMemory(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
            Self::Isa(error) => error.fmt(f),
            Self::Gguf(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::Plugin(error) => error.fmt(f),
            Self::Select(error) => error.fmt(f),
            Self::Sampler(error) => error.fmt(f),
            Self::Logits(error) => error.fmt(f),
            Self::Constraint(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::Branch(error) => error.fmt(f),
            Self::AnswerRule(error) => error.fmt(f),
            Self::Tokenizer(error) => error.fmt(f),
            #[cfg(feature = "chat-template")]
            Self::Chat(error) => error.fmt(f),
            #[cfg(feature = "chat-template")]
            Self::Conversation(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Threads(source) | Self::Affinity(source) => Some(source),
            _ => None,
        }
    }
}

/// The errors of the modules become variants of the same name.
macro_rules! from {
    ($($error:ident => $variant:ident),+ $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}

from!(
    OutOfMemory => OutOfMemory,
    IsaError => Isa,
    GgufError => Gguf,
    SelectError => Select,
    AnswerRuleError => AnswerRule,
);

// What a module passes on from another is the same error here, whichever way it came.

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Open { path, source } => Self::Io { path, source },
            StorageError::OutOfMemory(error) => error.into(),
            error => Self::Storage(error),
        }
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Storage(error) => error.into(),
            ModelError::Gguf(error) => error.into(),
            error => Self::Model(error),
        }
    }
}

impl From<PluginError> for Error {
    fn from(error: PluginError) -> Self {
        match error {
            PluginError::Storage(error) => error.into(),
            PluginError::Gguf(error) => error.into(),
            PluginError::Model(error) => error.into(),
            PluginError::OutOfMemory(error) => error.into(),
            error => Self::Plugin(error),
        }
    }
}

impl From<LogitsError> for Error {
    fn from(error: LogitsError) -> Self {
        if let LogitsError::OutOfMemory(error) = error { error.into() } else { Self::Logits(error) }
    }
}

impl From<ConstraintError> for Error {
    fn from(error: ConstraintError) -> Self {
        if let ConstraintError::OutOfMemory(error) = error { error.into() } else { Self::Constraint(error) }
    }
}

impl From<SamplerError> for Error {
    fn from(error: SamplerError) -> Self {
        match error {
            SamplerError::Logits(LogitsError::OutOfMemory(error)) => error.into(),
            error => Self::Sampler(error),
        }
    }
}

impl From<TokenizerError> for Error {
    fn from(error: TokenizerError) -> Self {
        match error {
            TokenizerError::OutOfMemory(error) => error.into(),
            error => Self::Tokenizer(error),
        }
    }
}

#[cfg(feature = "chat-template")]
impl From<ChatError> for Error {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::OutOfMemory(error) => error.into(),
            error => Self::Chat(error),
        }
    }
}

#[cfg(feature = "chat-template")]
impl From<ConversationError> for Error {
    fn from(error: ConversationError) -> Self {
        match error {
            ConversationError::Chat(error) => error.into(),
            ConversationError::Tokenizer(error) => error.into(),
            ConversationError::Constraint(error) => error.into(),
            ConversationError::Session(error) => error.into(),
            ConversationError::Snapshot(error) => error.into(),
            error => Self::Conversation(error),
        }
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Threads(source) => Self::Threads(source),
            SessionError::Affinity(source) => Self::Affinity(source),
            SessionError::Isa(error) => error.into(),
            SessionError::OutOfMemory(error) => error.into(),
            SessionError::Plugin(error) => error.into(),
            SessionError::Select(error) => error.into(),
            SessionError::Sampler(error) => error.into(),
            SessionError::Logits(error) => error.into(),
            SessionError::Constraint(error) => error.into(),
            error => Self::Session(error),
        }
    }
}

impl From<BranchError> for Error {
    fn from(error: BranchError) -> Self {
        match error {
            BranchError::Session(error) => error.into(),
            error => Self::Branch(error),
        }
    }
}

impl From<SnapshotError> for Error {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::OutOfMemory(error) => error.into(),
            SnapshotError::Session(error) => error.into(),
            error => Self::Snapshot(error),
        }
    }
}
