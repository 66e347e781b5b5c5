//! Trains OLLM plugins (encoder, decoder, policy) on a frozen backbone, with candle.
//!
//! The backbone runs once, through ollm-runtime; its hidden states at the answer positions are
//! cached. From there on a plugin is a small network on cached vectors, with the frozen head behind
//! it:
//!
//! ```text
//! problems -> backbone -> features -> control (K = 1) -> options, policy, encoder -> plugin.safetensors
//! ```
//!
//! | wing | what it holds |
//! |---|---|
//! | [`data`] | the text, rows and tensors on disk, generated problems, random numbers |
//! | [`ranks`] | the processes of a run: what one computes, and how all get the same sums |
//! | [`features`] | the backbone, its cached hidden states and candidate tokens, its frozen head |
//! | [`plugin`] | the plugin's layers and tensors, its file, and how the runtime runs it |
//! | [`report`] | intervals, plots, and a run's log as a picture |
//! | [`rollout`] | answers of the deployed model: many at once, and cached on disk |
//! | [`eval`] | scores: teacher-forced on held-out text, and of final answers |
//! | [`fit`] | what all training shares: folder, checkpoints, optimizer, early stopping |
//! | [`sft`], [`lora`], [`rl`], [`value`] | what is trained: the plugin, the baseline's adapters, the policy on rewards, the value head |
//!
//! A wing imports only from wings above it.

pub mod data;
pub mod error;
pub mod eval;
pub mod features;
pub mod fit;
pub mod interrupt;
pub mod limits;
pub mod lora;
pub mod plugin;
pub mod ranks;
pub mod report;
pub mod rl;
pub mod rollout;
pub mod sft;
#[cfg(test)]
mod testing;
pub mod value;

pub use error::{Error, Result};
