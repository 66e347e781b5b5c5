//! Conversations to tokens, through the chat template that the model file carries, and what the
//! model answers back to its parts.
//!
//! ```text
//! messages, tools, variables -> template -> Prompt -> tokens
//! text of the answer -> ChatParser -> reasoning, answer, tool calls
//! ```
//!
//! A template is a program (Jinja) from an untrusted file. It runs in minijinja, which has no
//! access to anything outside, on a budget that grows with the conversation: steps, visited items
//! and every byte that it builds are paid from it, and what is too large is refused before it is
//! allocated. A template that fails is an error; nothing falls back to a guess. One gap is the
//! engine's: walking over a list that holds another one twice, many times over, is not paid step by
//! step.
//!
//! The environment is the one of Hugging Face's `apply_chat_template`: `trim_blocks`,
//! `lstrip_blocks`, loop controls, `raise_exception`, the tags `generation`, Jinja's filters,
//! Python's methods and its way to write values. `tests/jinja.json` compares them with it.
//! `strftime_now` is there where the application gives a date (see [`Variables`]): the same
//! conversation is the same text on every day.
//!
//! What is said is data: a message that contains the text of a control token (`<|im_end|>`) does
//! not end its turn by that. See [`Prompt::tokens`].

mod args;
mod call_grammar;
mod calls;
mod date;
mod error;
mod filters;
mod folded;
mod format;
mod forms;
mod guard;
mod literal;
mod macros;
mod message;
mod objects;
mod order;
mod parser;
mod python;
mod repr;
mod source;
mod template;
mod tools;
mod words;

pub use crate::json::json_from_str;

pub use call_grammar::CallGrammar;
pub(crate) use calls::numbered_id;
pub use calls::{ToolCall, call_id};
pub use error::ChatError;
pub use format::{ChatFormat, Reasoning, ToolFormat, UnknownToolFormat};
pub use message::{Message, Variables};
pub use parser::{ChatEvent, ChatParser};
pub(crate) use template::CHOICE as TEMPLATE_CHOICE;
pub use template::{ChatTemplate, Prompt};

#[cfg(test)]
mod tests;
