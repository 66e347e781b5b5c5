//! A session: one sequence of tokens on a backbone, with or without a plugin. The one place where
//! the parts meet.
//!
//! Several sessions of one model can be decoded together (continuous batching, [`Batch`]): several
//! users, the branches of a search, many samples of one answer. Each is bit-identical to running it
//! alone, for one read of the weights.
//!
//! A call that computes can be [cancelled](Canceller) from another thread, and can fail for want of
//! memory. Either leaves the session at the last complete position: tokens that the call was to add
//! are dropped from there on, those of earlier calls stay, and the next call continues.
//!
//! | file | what it holds |
//! |---|---|
//! | `state` | the session: made, forked, rewound, trimmed |
//! | `feed`, `step`, `score`, `embed`, `batch`, `snapshot` | the operations of sessions: prefill, decode, scoring, embeddings, batched decoding, save and restore |
//! | `prompt_cache` | prompts that need not be computed again |
//! | `group` | the forward pass of one session or several |
//! | `draft`, `ahead`, `ahead_logits` | tokens that are guessed, and what their pass gave |
//! | `choice`, `latents` | latent and token; policy, decoder, head, mixture |
//! | `sequence`, `context_shift` | tokens, KV cache, memory limit; context shift |
//! | `buffers`, `machine`, `pace`, `statistics` | scratch and logits; threads; cancelling and duty cycle; what was done |

mod ahead;
mod ahead_logits;
mod batch;
mod buffers;
mod choice;
mod context_shift;
mod draft;
mod embed;
mod error;
mod feed;
mod group;
mod latents;
mod machine;
mod options;
mod pace;
mod prompt_cache;
mod score;
mod sequence;
mod snapshot;
mod state;
mod statistics;
mod step;

pub use batch::{Batch, Turn};
pub(crate) use choice::{Chosen, Pick, Request};
pub use choice::{Distribution, OptionView, Step};
pub use draft::{Drafter, STRENGTHS};
pub use error::SessionError;
pub(crate) use latents::StepSource;
pub use options::{ContextShift, MemoryNeeded, SessionOptions};
pub use pace::Canceller;
pub use prompt_cache::PromptCache;
pub use score::Scored;
pub use snapshot::SnapshotError;
pub use state::Session;
pub use statistics::Statistics;
