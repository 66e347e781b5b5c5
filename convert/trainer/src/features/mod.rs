//! What the frozen backbone gives: its hidden states on the text, their segments and candidates,
//! and its head.

pub mod backbone;
pub mod candidate_cache;
pub mod candidates;
pub mod head;
pub mod rows;
pub mod segments;
pub mod shards;
pub mod states;
pub mod stream;
