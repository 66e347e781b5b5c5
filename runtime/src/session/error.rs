//! What can go wrong in a session.

use std::fmt;

use ollm_kernels::cpu::{IsaError, TooManyThreads};
use ollm_kernels::logits::LogitsError;
use ollm_kernels::memory::OutOfMemory;

use crate::constraint::ConstraintError;
use crate::plugin::{PluginError, SelectError};
use crate::sampler::SamplerError;

/// Why a session cannot do something. Unless a function says otherwise, the session is then as it
/// was before the call.
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionError {
    /// The context has no room for these tokens.
    ContextFull {
        /// Tokens that were to be added.
        tokens: usize,
        /// Positions already taken.
        position: usize,
        /// Positions there are.
        context: usize,
    },
    /// A token is not in the vocabulary.
    TokenOutOfRange {
        /// The token.
        token: u32,
        /// The size of the vocabulary.
        vocab: usize,
    },
    /// There is nothing to continue: no token was fed.
    Empty,
    /// The model has bidirectional attention: it reads a text as a whole, and continues none.
    Bidirectional,
    /// Labels were asked for, but the model has no head for classification.
    NoClassifier,
    /// Latents were asked for, but there is no plugin.
    NoPlugin,
    /// A value was asked for, but the plugin has no value head.
    NoValue,
    /// A position to rewind to that was not reached yet.
    PositionOutOfRange {
        /// The position.
        position: usize,
        /// Positions there are.
        reached: usize,
    },
    /// [`Canceller::cancel`](super::Canceller::cancel) was called.
    Cancelled,
    /// A context shift that leaves no room to shift: it has to keep less than the context without
    /// two positions.
    ContextShift {
        /// Positions that were to be kept.
        keep: usize,
        /// Positions there are.
        context: usize,
    },
    /// The session's memory limit does not allow it.
    MemoryLimit {
        /// Bytes that the session would hold.
        needed: usize,
        /// Bytes that it may hold.
        limit: usize,
    },
    /// A session in a batch has another model, plugin, instruction set or KV type than the first of
    /// the batch.
    Incompatible,
    /// Low-rank adapters that were loaded for another model.
    OtherAdapter,
    /// The scale of adapters is no number.
    AdapterScale(f32),
    /// A duty cycle that is not above 0 and at most 1.
    Duty,
    /// More threads were asked for than there can be.
    TooManyThreads(TooManyThreads),
    /// The system could not start a thread.
    Threads(std::io::Error),
    /// The threads could not be bound to processors; [`std::io::ErrorKind::Unsupported`] where the
    /// system cannot do it.
    Affinity(std::io::Error),
    /// The instruction set that was asked for cannot be had.
    Isa(IsaError),
    /// The system has no memory left.
    OutOfMemory(OutOfMemory),
    /// The plugin gives no distribution.
    Plugin(PluginError),
    /// A latent cannot be selected that way.
    Select(SelectError),
    /// The sampler cannot choose a token.
    Sampler(SamplerError),
    /// The logits are no distribution.
    Logits(LogitsError),
    /// The grammar cannot go on, or is of another vocabulary.
    Constraint(ConstraintError),
    /// A model cannot draft for one of another vocabulary.
    DraftVocabulary {
        /// Tokens of the draft model.
        draft: usize,
        /// Tokens of the model.
        model: usize,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContextFull { tokens, position: 0, context } => {
                write!(
                    f,
                    "{tokens} tokens do not fit a context of {context}: shorten the text or ask for a larger context"
                )
            }
            Self::ContextFull { tokens, position, context } => {
                write!(f, "{tokens} more tokens do not fit a context of {context}, of which {position} are taken")
            }
            Self::TokenOutOfRange { token, vocab } => {
                write!(f, "token {token} is not in the vocabulary of {vocab} tokens")
            }
            Self::Empty => write!(f, "there is nothing to continue: the prompt has no tokens"),
            Self::Bidirectional => write!(
                f,
                "the model has bidirectional attention and generates no text: ask it for embeddings \
                 (`ollm-run embed`, POST /v1/embeddings), or use a causal model"
            ),
            Self::NoClassifier => write!(
                f,
                "the model has no head for classification: documents are ranked by a reranker, a file with cls.output \
                 (`ollm-convert import` writes it from a model ForSequenceClassification)"
            ),
            Self::NoPlugin => write!(f, "latents need a plugin: name a plugin file"),
            Self::NoValue => write!(f, "the plugin has no value head: name one that was trained with it"),
            Self::PositionOutOfRange { position, reached } => {
                write!(f, "cannot rewind to position {position}: the session is at {reached}")
            }
            Self::Cancelled => write!(f, "cancelled"),
            Self::ContextShift { keep, context } => {
                write!(f, "a context shift that keeps {keep} tokens of a context of {context} has no room to shift")
            }
            Self::MemoryLimit { needed, limit } => {
                write!(f, "the session would need {needed} bytes, its limit is {limit}: trim it, or raise the limit")
            }
            Self::Incompatible => {
                write!(
                    f,
                    "sessions of one batch must have the same model, plugin, instruction set and KV type: fork them"
                )
            }
            Self::DraftVocabulary { draft, model } => write!(
                f,
                "the draft model has {draft} tokens, the model has {model}: take one with the same vocabulary, which is \
                 often a smaller one of the same family"
            ),
            Self::OtherAdapter => write!(f, "the adapters were loaded for another model: load them for this one"),
            Self::AdapterScale(scale) => write!(f, "the scale of adapters must be a finite number, not {scale}"),
            Self::Duty => write!(f, "the duty cycle must be above 0 and at most 1"),
            Self::TooManyThreads(error) => error.fmt(f),
            Self::Threads(source) => write!(f, "cannot start a thread: {source}"),
            Self::Affinity(source) => write!(f, "cannot bind the threads to these processors: {source}"),
            Self::Isa(error) => error.fmt(f),
            Self::OutOfMemory(error) => error.fmt(f),
            Self::Plugin(error) => error.fmt(f),
            Self::Select(error) => error.fmt(f),
            Self::Sampler(error) => error.fmt(f),
            Self::Logits(error) => error.fmt(f),
            Self::Constraint(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Threads(source) | Self::Affinity(source) => Some(source),
            _ => None,
        }
    }
}

/// The errors of lower modules become variants of the same name.
macro_rules! from {
    ($($error:ident => $variant:ident),+ $(,)?) => {
        $(impl From<$error> for SessionError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}

from!(
    IsaError => Isa,
    TooManyThreads => TooManyThreads,
    OutOfMemory => OutOfMemory,
    PluginError => Plugin,
    SelectError => Select,
    SamplerError => Sampler,
    LogitsError => Logits,
    ConstraintError => Constraint,
);
