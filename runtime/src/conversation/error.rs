//! What can go wrong in a conversation.

use std::fmt;
use std::io;

use crate::chat::ChatError;
use crate::constraint::ConstraintError;
use crate::session::{SessionError, SnapshotError};
use crate::tokenizer::TokenizerError;

/// The version of saved conversations.
pub(super) const VERSION: u32 = 1;

/// Why a conversation cannot do something. Its messages are then as they were before the call.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConversationError {
    /// There is no message to answer: there is none at all, or the last one is an answer.
    NothingToAnswer,
    /// The system messages and the last turn alone leave no room for an answer.
    TurnTooLong {
        /// Tokens of their prompt.
        tokens: usize,
        /// Positions there are.
        context: usize,
    },
    /// The conversation leaves no room for an answer, and no context is shifted.
    ContextFull {
        /// Tokens of the prompt.
        tokens: usize,
        /// Positions there are.
        context: usize,
    },
    /// A reasoning budget is set, but the chat template shows no thoughts.
    NoReasoning,
    /// Tool calls are to be constrained, but there are no tools, or no calls in a known form.
    NoCalls,
    /// A message to truncate to that is not there.
    MessageOutOfRange {
        /// How many messages were to stay.
        count: usize,
        /// Messages there are.
        messages: usize,
    },
    /// A saved conversation could not be written.
    Write(io::Error),
    /// A saved conversation could not be read, or it ends too early.
    Read(io::Error),
    /// The file does not begin like a saved conversation.
    NotAConversation,
    /// It was saved in another version of the format.
    UnsupportedVersion {
        /// That version.
        version: u32,
    },
    /// The saved conversation is damaged.
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The messages cannot be rendered, or are none.
    Chat(ChatError),
    /// The prompt cannot be tokenized.
    Tokenizer(TokenizerError),
    /// The tools' schemas cannot constrain calls.
    Constraint(ConstraintError),
    /// The session cannot do that.
    Session(SessionError),
    /// The session cannot be saved or restored.
    Snapshot(SnapshotError),
}

impl fmt::Display for ConversationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToAnswer => {
                write!(f, "there is no message to answer: add a user's message or a tool's result")
            }
            Self::TurnTooLong { tokens, context } => write!(
                f,
                "the system messages and the last turn have {tokens} tokens, which leaves no room for an answer in a \
                context of {context}: shorten the message or ask for a larger context"
            ),
            Self::ContextFull { tokens, context } => write!(
                f,
                "the conversation has {tokens} tokens, which leaves no room for an answer in a context of {context}: \
                take back turns, reset it, or let it shift the context"
            ),
            Self::NoReasoning => write!(f, "a reasoning budget has no effect: the chat template shows no thoughts"),
            Self::NoCalls => write!(
                f,
                "tool calls cannot be constrained: the conversation has no tools, or the model calls them in a form \
                that no grammar is known for"
            ),
            Self::MessageOutOfRange { count, messages } => {
                write!(f, "{count} messages cannot stay: there are {messages}")
            }
            Self::Write(source) => write!(f, "the conversation cannot be saved: {source}"),
            Self::Read(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "the saved conversation ends too early: it was cut off")
            }
            Self::Read(source) => write!(f, "the saved conversation cannot be read: {source}"),
            Self::NotAConversation => write!(f, "this is no saved conversation"),
            Self::UnsupportedVersion { version } => write!(
                f,
                "the conversation was saved in version {version} of the format, only {VERSION} is known: start anew"
            ),
            Self::Damaged { what } => write!(f, "the saved conversation is damaged: {what}"),
            Self::Chat(error) => error.fmt(f),
            Self::Tokenizer(error) => error.fmt(f),
            Self::Constraint(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConversationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write(source) | Self::Read(source) => Some(source),
            _ => None,
        }
    }
}

/// The error of a writer.
impl From<io::Error> for ConversationError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// The errors of lower modules become variants of the same name.
macro_rules! from {
    ($($error:ident => $variant:ident),+ $(,)?) => {
        $(impl From<$error> for ConversationError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}

from!(
    ChatError => Chat,
    TokenizerError => Tokenizer,
    ConstraintError => Constraint,
    SessionError => Session,
    SnapshotError => Snapshot,
);
