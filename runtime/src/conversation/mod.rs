//! A conversation with a model: messages in, a streamed answer out, and the answer is a message.
//!
//! A [`Conversation`] holds the messages and what the chat template is given beside them. The
//! tokens are those of a [`Session`](crate::session::Session), which each call is given:
//!
//! ```text
//! messages -> chat template -> prompt -> session (what is new of it) -> tokens -> events
//!    ^---------------------------- the answer's message <---------------------------'
//! ```
//!
//! - Prefix reuse: of a prompt the session computes what follows the longest beginning that it has
//!   already. A conversation that is fed turn by turn is bit-identical to one that is fed at once.
//! - Context shift at turn borders: when the context is full, the model forgets the oldest whole
//!   turns. System messages at the beginning stay, and so does the last turn.
//! - Tool calls come as events; on request their arguments follow the tools' JSON schemas.
//! - A conversation is saved with its session, and restored to go on with the same bits.
//!
//! | file | what it holds |
//! |---|---|
//! | `talk` | [`Conversation`]: its messages and its settings |
//! | `answer` | the prompt of an answer, and the answer |
//! | `shift` | which turns fit the context |
//! | `file` | save and restore |

mod answer;
mod error;
mod file;
mod shift;
mod talk;

pub use answer::{Answer, AnswerPart, Prompted};
pub use error::ConversationError;
pub use shift::Dropped;
pub use talk::{Conversation, ConversationOptions, ToolChoice};
