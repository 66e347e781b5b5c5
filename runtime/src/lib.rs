//! Option-aware language models on CPUs.
//!
//! An OLLM (arXiv 2604.19087) replaces the one next-token distribution of a language model by a
//! *set* of K learned options, indexed by a discrete latent z. This crate reads a frozen backbone
//! and a small plugin (encoder, decoder, policy) from GGUF files and generates text with them:
//!
//! ```text
//! token -> embed -> L blocks -> norm -> h -> policy -> z -> decoder(h, z) -> h' -> head -> logits -> sampler -> token
//! ```
//!
//! The modules are floors: each may import from the ones listed below it, never from its own floor
//! or one above. A test (`tests/tests/architecture.rs`) reads this table and the imports.
//!
//! | floor | what it holds |
//! |---|---|
//! | [`branches`], [`conversation`] | forks of a session in one pass: vote, best of N, beam search, suggestions; messages and answers |
//! | [`draft`] | what guesses the tokens to come |
//! | [`generate`] | steps until an end token, a stop string, a limit or the end of the context |
//! | [`session`] | feed, step, score, fork, save: the one place where the parts meet |
//! | [`plugin`] | the plugin's weights and the ways to select a latent |
//! | [`sampler`], [`chat`] | logits to a token; a conversation to a prompt |
//! | [`constraint`] | grammars that generated text keeps to, and the tokens that they allow |
//! | [`tokenizer`] | text to tokens and back |
//! | [`model`] | configuration, checked weights, state, the forward pass |
//! | [`gguf`] | the file format: parse and write |
//! | [`storage`], [`atomic`] | bytes of a file; atomic replacement of a file |
//! | `nameless`, `clock`, `json_schema` | files, time, JSON schemas |
//! | `json` | JSON with exact integers |
//! | [`logits`], [`ops`], [`cpu`], [`quant`], [`token_set`], [`memory`], [`random`] | what computes: the crate `ollm-kernels`, with floors of its own |
//!
//! Each module has errors of its own. [`Error`] is the roof over them: it gathers the errors of all
//! floors for programs that call several, and no module names it.

pub mod atomic;
pub mod branches;
#[cfg(feature = "chat-template")]
pub mod chat;
mod clock;
pub mod constraint;
#[cfg(feature = "chat-template")]
pub mod conversation;
pub mod draft;
pub mod error;
pub mod generate;
pub mod gguf;
#[cfg(any(feature = "constraints", feature = "chat-template"))]
mod json;
#[cfg(any(feature = "constraints", feature = "chat-template"))]
mod json_schema;
pub mod model;
mod nameless;
pub mod plugin;
pub mod sampler;
pub mod session;
pub mod storage;
pub mod tokenizer;

pub use error::{Error, Result};
pub use ollm_kernels::{cpu, logits, memory, ops, quant, random, token_set, with_format};

/// The Rust program in the README is a program.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
