//! `rl`: the policy learns from right answers, in the latent space.
//!
//! Only the policy moves, and the states at which it chose came with the answers, so that no step
//! runs the backbone for itself. How latents are held decides where the gradient comes from:
//!
//! - [`held`]: one latent an answer. Tokens are greedy, so an answer is a function of problem and
//!   latent; the answers of all K latents give the expected reward and its gradient exactly, once
//!   and for all steps.
//! - [`groups`]: a latent for each token or line. Each step draws a group of answers to each of
//!   some problems, and an answer counts as much as it is better than its group.

pub mod groups;
pub mod held;
pub mod reward;
pub mod task;
