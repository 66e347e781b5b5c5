//! `lora`: the baseline, low-rank adapters on the whole backbone, through which gradients flow.

pub mod adapters;
pub mod merged;
pub mod network;
pub mod pieces;
pub mod task;
pub mod workers;
