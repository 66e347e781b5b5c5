//! The logits of the tokens ahead: computed together, in one read of the head's weights, with the
//! latents that will be selected if the draft is right.

use std::ops::Range;

use ollm_kernels::memory::{self, OutOfMemory};
use ollm_kernels::ops::Quantized;

use crate::plugin::LatentState;

use super::ahead::AheadLogits;
use super::buffers::BufferBytes;
use super::latents::{LogitsPlan, ROWS, StepSource, append, check_policy, portions};
use super::sequence::Sequence;

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
        let ahead = &self.step.ahead;
        let is_new = !ahead.is_empty() && ahead.logits.plans.is_empty();
        if is_new && plan.rows() > 0 && !source.asks_application() {
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
        let (states, mut plans) = (ahead.hidden(width), vec![plan.clone()]);
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
            let mut rows = std::mem::take(&mut ahead.logits.rows);
            self.latents().logits(&hidden, &plans, quantized, &mut rows)?;
            let policies = memory::copied(&policies[..(plans.len() - 1) * options])?;
            ahead.logits = AheadLogits { plans, rows, policies, first: ahead.taken() };
        }
        self.step.ahead = ahead;
        Ok(())
    }
}
