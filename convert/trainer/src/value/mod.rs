//! `value`: the value head, the probability that an answer will be right, from the hidden state at
//! its end or at the end of one of its lines.

pub mod examples;
pub mod metrics;
pub mod task;
