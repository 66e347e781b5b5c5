//! The options of a session, and the memory that it needs.

use ollm_kernels::cpu::{Isa, Workers};
use ollm_kernels::ops::KvType;

use crate::model::Config;

/// How a session runs. The default takes what the machine and the model offer.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Threads for decode (a single step), at most
    /// [`MAX_THREADS`](ollm_kernels::cpu::MAX_THREADS); 0 takes as many as the system has cores for.
    pub threads: usize,
    /// Threads for prefill (many tokens at once), as many at most; 0 takes as many as for a step.
    pub prefill_threads: usize,
    /// Context size in positions; 0 takes the context that the model was trained for.
    pub context: usize,
    /// The instruction set; `None` takes what [`Isa::select`] finds.
    pub isa: Option<Isa>,
    /// The context shift of a full context; `None` ends with
    /// [`SessionError::ContextFull`](super::SessionError::ContextFull).
    pub context_shift: Option<ContextShift>,
    /// Memory limit: bytes of KV cache and scratch; `None` sets no limit. Memory that forks share
    /// counts for each.
    pub memory_limit: Option<usize>,
    /// The type of the keys and values in the KV cache: [`KvType::Q8_0`] takes half the memory.
    pub kv_type: KvType,
    /// The workers: threads of the library or of the application.
    pub workers: Workers,
}

impl SessionOptions {
    /// Positions of a session on such a model. Where each has an embedding, there are no others.
    pub(super) fn positions(&self, config: &Config) -> usize {
        let most = if config.family.learned_positions { config.context_length } else { usize::MAX };
        if self.context == 0 { config.context_length } else { self.context.min(most) }
    }
}

/// A context shift: generation continues when the context is full.
///
/// The session then forgets tokens: the first `keep` stay, and the more recent half of the rest.
/// The keys and values of the moved tokens are computed again, as if the remaining text had been
/// fed from the start; [`Session::tokens`](super::Session::tokens) and
/// [`Session::position`](super::Session::position) are those of the remaining text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextShift {
    /// Tokens at the beginning that are never forgotten, such as the system prompt.
    pub keep: usize,
}

/// Bytes that a session needs when its context is full, without the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeeded {
    /// The KV cache and the states of recurrent layers: proportional to the context.
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
