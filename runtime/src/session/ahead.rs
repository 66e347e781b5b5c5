//! What is known of the tokens to come: those of a draft, whose pass has been made.

use std::collections::VecDeque;
use std::ops::Range;

use ollm_kernels::memory::{self, OutOfMemory};

use super::latents::LogitsPlan;

/// The drafted tokens that went through the network.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Those that may still be taken.
    pub(super) tokens: VecDeque<u32>,
    /// The hidden state of each, `[tokens][hidden]`, those that were taken included.
    hidden: Vec<f32>,
    /// How many were taken.
    taken: usize,
    pub(super) logits: AheadLogits,
}

/// The logits of the current token and of those after it, which were computed together.
#[derive(Debug, Default)]
pub(super) struct AheadLogits {
    /// Of the current token when they were computed, then of each after it.
    pub(super) plans: Vec<LogitsPlan>,
    /// The rows of all plans: `[rows][vocab]`
    pub(super) rows: Vec<f32>,
    /// The policies of the tokens after the current one, `[tokens][options]`, where they were asked
    /// for.
    pub(super) policies: Vec<f32>,
    /// How many tokens had been taken by then.
    pub(super) first: usize,
}

impl Ahead {
    /// The tokens of a draft, with their hidden states (`[tokens][hidden]`).
    pub(super) fn new(tokens: &[u32], hidden: &[f32]) -> Result<Self, OutOfMemory> {
        let tokens = tokens.iter().copied().collect();
        Ok(Self { tokens, hidden: memory::copied(hidden)?, ..Self::default() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Nothing is ahead any more; its memory is freed.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether `token` is the one that was drafted, whose hidden state is then in `hidden`, and its
    /// policy, where it is known, in `policy`; another one makes what is ahead worthless.
    pub(super) fn take(&mut self, token: u32, hidden: &mut [f32], policy: &mut Vec<f32>) -> bool {
        if self.tokens.pop_front() != Some(token) {
            self.clear();
            return false;
        }
        hidden.copy_from_slice(&self.hidden[self.taken * hidden.len()..][..hidden.len()]);
        policy.clear();
        policy.extend_from_slice(self.logits.policy(self.taken));
        self.taken += 1;
        true
    }

    /// Whether these logits of the current token are known: see [`Ahead::rows`].
    pub(super) fn knows(&self, plan: &LogitsPlan) -> bool {
        self.logits.plans.get(self.taken - self.logits.first) == Some(plan)
    }

    /// The known logits of the current token: `[rows][vocab]`.
    pub(super) fn rows(&self, vocab: usize) -> Range<usize> {
        let (before, from) = self.logits.plans.split_at(self.taken - self.logits.first);
        let start = before.iter().map(LogitsPlan::rows).sum::<usize>() * vocab;
        start..start + from.first().map_or(0, LogitsPlan::rows) * vocab
    }

    /// How many tokens were taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// The hidden states of those that may still be taken: `[tokens][hidden]`.
    pub(super) fn hidden(&self, width: usize) -> &[f32] {
        &self.hidden[self.taken * width..]
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let AheadLogits { rows, policies, .. } = &self.logits;
        (self.hidden.capacity() + rows.capacity() + policies.capacity()) * size_of::<f32>()
    }
}

impl AheadLogits {
    /// The policy of the token that is taken after `taken` others; empty where it is not known.
    fn policy(&self, taken: usize) -> &[f32] {
        let count = self.plans.len().saturating_sub(1);
        let options = self.policies.len().checked_div(count).unwrap_or_default();
        let index = taken.checked_sub(self.first).filter(|&index| index < count);
        index.map_or(&[], |index| &self.policies[index * options..][..options])
    }
}
