//! `sft`: the control, the options on top of it, and the policy.

pub mod objective;
pub mod settings;
pub mod stages;
pub mod summary;
pub mod train;
