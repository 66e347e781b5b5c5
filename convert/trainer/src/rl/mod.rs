//! `rl`: learning from right answers, in the latent space or, to compare, in that of tokens.
//!
//! What moves and where the gradient comes from:
//!
//! - [`held`]: the policy, one latent an answer. Tokens are greedy, so an answer is a function of
//!   problem and latent; the answers of all K latents give the expected reward and its gradient
//!   exactly, once and for all steps.
//! - [`regression`]: the same answers, without steps: the latent that is expected to earn most by
//!   the state.
//! - [`groups`]: each step draws a group of answers to each of some problems, and an answer counts
//!   as much as it is better than its group. An [`Actor`](groups::Actor) draws and learns:
//!   - [`latents`]: the policy, a latent for each token or line, with greedy tokens,
//!   - [`tokens`]: the control, whose tokens are drawn,
//!   - [`adapters`]: low-rank adapters on the backbone, whose tokens are drawn.
//!
//! The states at which latents and the control choose come with the answers, so that no step runs
//! the backbone for itself.

pub mod adapters;
pub mod groups;
pub mod held;
pub mod latents;
pub mod regression;
pub mod reward;
pub mod task;
pub mod tokens;
