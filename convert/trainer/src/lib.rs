//! Trains OLLM plugins (encoder, decoder, policy) on a frozen backbone, with candle.
//!
//! The backbone runs once, through ollm-runtime; its hidden states at the answer positions are cached. From there on
//! a plugin is a small network on cached vectors, with the frozen head behind it:
//!
//! ```text
//! problems -> backbone -> features -> control (K = 1) -> options, policy, encoder -> plugin.safetensors
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`train`], [`stages`], [`settings`] | the loop, what it trains, what decides the result |
//! | [`eval`], [`coverage`] | held-out scores, beside what the control covers with its own guesses |
//! | [`accuracy`], [`statistics`], [`plot`] | final answers in every way to deploy: a table, its intervals, its picture |
//! | [`reinforce`] | the policy, trained on right answers |
//! | [`rollout`], [`library`], [`answer`] | answers of the deployed model, many at once, and on disk; the numbers that they end with |
//! | [`deploy`] | plugins as the runtime runs them, and what they are compared with |
//! | [`tune`], [`lora`], [`network`], [`merged`] | the baseline: adapters on the whole backbone, through which gradients flow |
//! | [`objective`], [`segments`] | losses on log-probabilities; the tokens that share a latent |
//! | [`optim`], [`patience`] | AdamW and its schedule; early stopping |
//! | [`head`], [`nets`], [`params`] | the frozen head with a closed-form gradient; the plugin's layers; their tensors |
//! | [`features`], [`candidates`], [`records`] | cached hidden states and candidate tokens, and their file |
//! | [`checkpoint`], [`plugin`], [`run`], [`tensor_file`], [`history`] | what a run writes, and its log as a picture |
//! | [`backbone`], [`data`], [`rng`], [`hash`], [`workers`], [`error`] | the model, the text, random numbers, names, threads, errors |

pub mod accuracy;
pub mod answer;
pub mod backbone;
pub mod candidates;
pub mod checkpoint;
pub mod coverage;
pub mod data;
pub mod deploy;
pub mod error;
pub mod eval;
pub mod features;
pub mod hash;
pub mod head;
pub mod history;
pub mod library;
pub mod lora;
pub mod merged;
pub mod nets;
pub mod network;
pub mod objective;
pub mod optim;
mod order;
pub mod params;
pub mod patience;
pub mod plot;
pub mod plugin;
pub mod records;
pub mod reinforce;
pub mod rng;
pub mod rollout;
pub mod run;
pub mod segments;
pub mod settings;
pub mod stages;
pub mod statistics;
pub mod tensor_file;
#[cfg(test)]
mod testing;
pub mod train;
pub mod tune;
pub mod workers;

pub use error::{Error, Result};
