//! Branches: several continuations of one session, decoded in one batch, and what is made of them.
//!
//! The options of an OLLM are there to be selected *or searched*. A step of ten sequences costs
//! little more than a step of one, as decode is memory-bandwidth-bound; so ten answers are cheap,
//! and the right one is among them more often. Branches also work without a plugin: they then
//! expand the likeliest tokens, or samples.
//!
//! | file | what it holds |
//! |---|---|
//! | `tree` | [`Branches`]: forks of a session, merged and pruned |
//! | `expand`, `step` | several branches of one; the next token of each |
//! | `branch` | [`Branch`]: what is known of one |
//! | `expansion` | [`Expansion`]: into which branches a branch is expanded |
//! | `score`, `answer` | [`Score`], [`Weight`]; [`AnswerRule`]: the final answer of a text |
//! | `search` | [`search`]: vote, best of N, beam search |
//! | `suggest` | [`suggest`]: short continuations to choose from |

mod answer;
mod branch;
mod error;
mod expand;
mod expansion;
mod number;
mod score;
mod search;
mod step;
mod suggest;
mod tree;

pub use answer::{AnswerRule, AnswerRuleError};
pub use branch::{Branch, BranchEnd, MAX_BRANCHES};
pub use error::BranchError;
pub use expansion::{Expansion, UnknownExpansion};
pub use score::{Score, Weight};
pub use search::{Found, SearchOptions, Strategy, search, search_in, vote};
pub use suggest::{SuggestOptions, Suggestion, Until, suggest, suggest_watched};
pub use tree::{BranchOptions, Branches};
