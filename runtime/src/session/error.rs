//! What a session cannot do.

use std::fmt;

/// What a session cannot do. Unless a function says otherwise, the session is then as it was before the call.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Latents were asked for, but there is no plugin.
    NoPlugin,
    /// A position to go back to that was not reached yet.
    PositionOutOfRange {
        /// The position.
        position: usize,
        /// Positions there are.
        reached: usize,
    },
    /// [`Canceller::cancel`](super::Canceller::cancel) was called.
    Cancelled,
    /// A window that leaves no room to slide: it has to keep less than the context without two positions.
    Window {
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
    /// Sessions that are to go on together, but have another model, plugin or instruction set than the first of them.
    NotAlike,
    /// A share of time that is not above 0 and at most 1.
    Duty,
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
            Self::NoPlugin => write!(f, "latents need a plugin: name a plugin file"),
            Self::PositionOutOfRange { position, reached } => {
                write!(f, "cannot go back to position {position}: the session is at {reached}")
            }
            Self::Cancelled => write!(f, "cancelled"),
            Self::Window { keep, context } => {
                write!(f, "a window that keeps {keep} positions of a context of {context} has no room to slide")
            }
            Self::MemoryLimit { needed, limit } => {
                write!(f, "the session would need {needed} bytes, its limit is {limit}: trim it, or raise the limit")
            }
            Self::NotAlike => {
                write!(
                    f,
                    "sessions that go on together must have the same model, plugin and instruction set: fork them"
                )
            }
            Self::Duty => write!(f, "the share of time must be above 0 and at most 1"),
        }
    }
}

impl std::error::Error for SessionError {}
