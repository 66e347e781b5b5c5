//! What is known of the tokens to come: those of a draft, whose pass has been made.
//!
//! Their logits are computed together too, in one read of the head's weights, with the latents that
//! will be selected if the draft is right.

use std::collections::VecDeque;
use std::ops::Range;

use crate::memory::{self, OutOfMemory};
use crate::ops::Quantized;
use crate::plugin::LatentState;

use super::buffers::BufferBytes;
use super::group::ROWS;
use super::latents::{LogitsPlan, StepSource, append, check_policy, portions};
use super::sequence::Sequence;

/// The drafted tokens that went through the network.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Those that may still be taken.
    tokens: VecDeque<u32>,
    /// The hidden state of each, `[tokens][hidden]`, those that were taken included.
    hidden: Vec<f32>,
    /// How many were taken.
    taken: usize,
    logits: AheadLogits,
}

/// The logits of the current token and of those after it, which were computed together.
#[derive(Debug, Default)]
struct AheadLogits {
    /// Of the current token when they were computed, then of each after it.
    plans: Vec<LogitsPlan>,
    /// The rows of all plans: `[rows][vocab]`
    rows: Vec<f32>,
    /// The policies of the tokens after the current one, `[tokens][options]`, where they were asked
    /// for.
    policies: Vec<f32>,
    /// How many tokens had been taken by then.
    first: usize,
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

    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.logits.plans.clear();
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
    fn knows(&self, plan: &LogitsPlan) -> bool {
        self.logits.plans.get(self.taken - self.logits.first) == Some(plan)
    }

    /// The known logits of the current token: `[rows][vocab]`.
    fn rows(&self, vocab: usize) -> Range<usize> {
        let (before, from) = self.logits.plans.split_at(self.taken - self.logits.first);
        let start = before.iter().map(LogitsPlan::rows).sum::<usize>() * vocab;
        start..start + from.first().map_or(0, LogitsPlan::rows) * vocab
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

impl Sequence {
    /// The logits of the current token, `[rows][vocab]`, which were computed with those of the
    /// tokens ahead, or are now; empty where there is no draft to compute them with. The latents of
    /// the answer have come to `state` with the selection of the current one. Give them back to
    /// [`Sequence::keep_rows`].
    pub(super) fn rows_ahead(
        &mut self,
        source: &StepSource<'_>,
        state: LatentState,
        plan: &LogitsPlan,
        held: BufferBytes,
        quantized: &mut Quantized,
    ) -> Result<(Vec<f32>, Range<usize>), OutOfMemory> {
        if self.step.ahead.logits.plans.is_empty() && plan.rows() > 0 && !source.asks_application() {
            self.compute_ahead(source, state, plan, held, quantized)?;
        }
        let (vocab, ahead) = (self.config().vocab, &mut self.step.ahead);
        if !ahead.knows(plan) {
            return Ok((Vec::new(), 0..0));
        }
        let rows = ahead.rows(vocab);
        Ok((std::mem::take(&mut ahead.logits.rows), rows))
    }

    /// Takes back what [`Sequence::rows_ahead`] gave.
    pub(super) fn keep_rows(&mut self, rows: Vec<f32>) {
        self.step.ahead.logits.rows = rows;
    }

    /// Computes the logits of the current token and of those ahead, as many as the buffers of a
    /// batch may hold.
    fn compute_ahead(
        &mut self,
        source: &StepSource<'_>,
        mut state: LatentState,
        plan: &LogitsPlan,
        held: BufferBytes,
        quantized: &mut Quantized,
    ) -> Result<(), OutOfMemory> {
        let (mut ahead, width, place) = (std::mem::take(&mut self.step.ahead), self.hidden.len(), self.place());
        let (states, mut plans) = (&ahead.hidden[ahead.taken * width..], vec![plan.clone()]);
        let policies = if let StepSource::Selector(_) = source { self.latents().policies(states)? } else { Vec::new() };
        let options = policies.len().checked_div(ahead.tokens.len()).unwrap_or_default();
        for (i, (&token, hidden)) in ahead.tokens.iter().zip(states.chunks_exact(width)).enumerate() {
            source.observe(&mut state, token);
            let policy = &policies[i * options..][..options];
            let is_known = matches!(source, StepSource::Selector(_)).then(|| check_policy(policy)).transpose();
            match is_known.and_then(|_| source.plan(&mut state, place + 1 + i as u64, hidden, policy)) {
                Ok(plan) => plans.push(plan),
                // The step itself tells, if the draft is right.
                Err(_) => break,
            }
        }
        let fit = portions(&plans, ROWS).next().map_or(0, |portion| portion.end);
        plans.truncate(fit);
        let rows = plans.iter().map(LogitsPlan::rows).sum::<usize>() + usize::from(plan.is_mixture());
        if plans.len() > 1 && self.check_logits(rows, held).is_ok() {
            let mut hidden = memory::copied(&self.hidden)?;
            append(&mut hidden, &states[..(plans.len() - 1) * width])?;
            self.latents().logits(&hidden, &plans, quantized, &mut ahead.logits.rows)?;
            let policies = memory::copied(&policies[..(plans.len() - 1) * options])?;
            ahead.logits = AheadLogits { rows: ahead.logits.rows, plans, policies, first: ahead.taken };
        }
        self.step.ahead = ahead;
        Ok(())
    }
}
