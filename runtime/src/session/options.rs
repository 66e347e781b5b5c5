//! How a session runs, and what memory it needs for that.

use crate::cpu::{Isa, Workers};
use crate::model::Config;

/// How a session runs. The default takes what the machine and the model offer.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Threads that compute a single step; 0 takes as many as the system has cores for.
    pub threads: usize,
    /// Threads that compute many tokens at once; 0 takes as many as for a step.
    pub prefill_threads: usize,
    /// Positions there is room for; 0 takes what the model was trained for.
    pub context: usize,
    /// The instruction set; `None` takes what [`Isa::select`] finds.
    pub isa: Option<Isa>,
    /// What happens at the end of the context; `None` ends with
    /// [`SessionError::ContextFull`](super::SessionError::ContextFull).
    pub context_shift: Option<ContextShift>,
    /// Bytes that the session may hold for keys, values and scratch; `None` sets no limit. What forks share counts for each.
    pub memory_limit: Option<usize>,
    /// On whose threads the work is done.
    pub workers: Workers,
}

impl SessionOptions {
    /// Positions of a session on such a model.
    pub(super) fn positions(&self, config: &Config) -> usize {
        if self.context == 0 { config.context_length } else { self.context }
    }
}

/// A context shift: how a text goes on that is longer than the context.
///
/// When the context is full, the session forgets tokens: the first `keep` stay, and of the others the most recent half. The
/// keys and values of the tokens that moved are computed again, as if the text had always been the one that is left; so
/// [`Session::tokens`](super::Session::tokens) and [`Session::position`](super::Session::position) speak of that text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextShift {
    /// Tokens at the beginning that are never forgotten, such as the system's turn.
    pub keep: usize,
}

/// Bytes that a session needs when its context is full, beside the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeeded {
    /// Keys and values: proportional to the context.
    pub kv: usize,
    /// Buffers of a batch and logits of a step.
    pub scratch: usize,
}

impl MemoryNeeded {
    /// Both.
    pub fn total(self) -> usize {
        self.kv.saturating_add(self.scratch)
    }
}
