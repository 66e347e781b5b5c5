//! Constrained output: generated text keeps to a grammar (structured outputs, guided decoding).
//!
//! A [`GrammarCompiler`] knows the tokens of one model. It compiles a JSON schema, a regular
//! expression, a Lark grammar or a GBNF grammar of llama.cpp to a [`Grammar`], once, and any number
//! of sequences share it. A [`Constraint`] is the place of one sequence in a grammar: which tokens
//! may come next (a token mask, or forced tokens, which are also called fast-forward tokens), and
//! what a token changes. Cloning it is cheap, so each branch has its own.
//!
//! ```text
//! schema, regex, Lark, GBNF -> Grammar -> Constraint -> allowed tokens -> sampler -> token
//!                                             ^----------- accept ----------------'
//! ```
//!
//! The grammar engine is the crate `llguidance`, behind the feature `constraints`. Without it all
//! of this is there, and [`GrammarCompiler::new`] says [`ConstraintError::NotBuilt`].
//!
//! | file | what it holds |
//! |---|---|
//! | `kind` | [`GrammarKind`]: what a grammar is written in |
//! | `grammar` | [`GrammarCompiler`], [`Grammar`] |
//! | `state` | [`Constraint`]: the state of one sequence |
//! | `trigger` | the text that a constraint waits for |
//! | `widen` | which part of a JSON schema the engine cannot read |
//! | `engine` | the one place that knows `llguidance`: tokens as a trie, masks, forced tokens |
//! | `engine/gbnf`, `engine/message` | GBNF to Lark; the engine's messages in the user's terms |

#[cfg_attr(not(feature = "constraints"), path = "no_engine.rs")]
mod engine;
mod error;
mod grammar;
mod kind;
mod state;
mod trigger;
#[cfg(feature = "constraints")]
mod widen;

pub use error::ConstraintError;
pub use grammar::{Grammar, GrammarCompiler};
pub use kind::GrammarKind;
pub use state::{Allowed, Constraint};
