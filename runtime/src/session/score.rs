//! Scoring of a given text: the log-probabilities of its tokens, and the latents that the encoder
//! assigns to them.

use std::sync::Arc;

use ollm_kernels::logits;
use ollm_kernels::memory;

use crate::clock::Instant;
use crate::model::BATCH;
use crate::plugin::{LatentState, Plugin, Selector};

use super::error::SessionError;
use super::latents::{LogitsPlan, ROWS, StepSource, check_policy, portions};
use super::state::Session;

type Result<T, E = SessionError> = std::result::Result<T, E>;

/// The score of a token in a given text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Natural logarithm of the token's probability.
    pub logprob: f32,
    /// The token that the model finds most probable there.
    pub top1: u32,
}

/// Positions that are scored at once.
const SCORE_BATCH: usize = ROWS;

impl Session {
    /// Scores a given text on a fresh sequence: the log-probability of each token but the first. As
    /// [`Session::score_next`].
    ///
    /// # Errors
    /// As [`Session::score_next`].
    pub fn score(&mut self, tokens: &[u32], selector: Option<&Selector>, sink: &mut dyn FnMut(Scored)) -> Result<()> {
        if selector.is_some() {
            self.sequence.plugin()?;
        }
        self.sequence.check_at(0, tokens)?;
        self.reset();
        self.score_next(tokens, selector, sink)
    }

    /// Adds `tokens` to the sequence and scores them: the log-probability of each, given those
    /// before it; the first token of a sequence has none.
    ///
    /// With a selector, each token is scored under the option that the selector takes at that
    /// place, where the text is an answer that begins with its first token. Beside what
    /// [`Session::memory_needed`] tells, 64 rows of logits are held at a time: those of 64 tokens,
    /// or of 64 / K in a mixture of K options, and of one at least. No context is shifted here.
    ///
    /// # Errors
    /// As [`Session::step`]; [`SessionError::NoPlugin`]. What was scored by then is part of the
    /// session.
    pub fn score_next(
        &mut self,
        tokens: &[u32],
        selector: Option<&Selector>,
        sink: &mut dyn FnMut(Scored),
    ) -> Result<()> {
        if selector.is_some() {
            self.sequence.plugin()?;
        }
        self.sequence.check_causal()?;
        self.sequence.check(tokens)?;
        let (width, mut state) = (self.sequence.config().hidden, LatentState::default());
        // The hidden state of the token before the batch, if there is one, and those of the batch.
        let mut hidden = if self.tokens().is_empty() { Vec::new() } else { memory::copied(self.hidden()?)? };
        for batch in tokens.chunks(SCORE_BATCH) {
            let unseen = usize::from(hidden.is_empty());
            self.hidden_states(batch, &mut hidden)?;
            let (before, last) = hidden.split_at(hidden.len() - width);
            if let Some(targets) = batch.get(unseen..).filter(|targets| !targets.is_empty()) {
                self.score_batch(before, targets, selector, &mut state, sink)?;
            }
            hidden = memory::copied(last)?;
        }
        Ok(())
    }

    fn score_batch(
        &mut self,
        hidden: &[f32],
        targets: &[u32],
        selector: Option<&Selector>,
        state: &mut LatentState,
        sink: &mut dyn FnMut(Scored),
    ) -> Result<()> {
        let (policies, plans) = self.plan_scores(hidden, targets, selector, state)?;
        let (width, vocab) = (self.sequence.config().hidden, self.sequence.config().vocab);
        let mut policies = policies.chunks_exact((policies.len() / targets.len()).max(1));
        let (mut logits, mut mixed) = (Vec::new(), Vec::new());
        for portion in portions(&plans, ROWS) {
            let (plans, targets) = (&plans[portion.clone()], &targets[portion.clone()]);
            self.score_logits(&hidden[portion.start * width..portion.end * width], plans, &mut logits)?;
            let (isa, mut rows) = (self.sequence.machine.exec.isa, &logits[..]);
            for (plan, &token) in plans.iter().zip(targets) {
                let own;
                (own, rows) = rows.split_at(plan.rows() * vocab);
                let logits = plan.distribution(isa, policies.next().unwrap_or_default(), own, &mut mixed)?;
                sink(Scored { logprob: logits::log_softmax_at(logits, token)?, top1: logits::argmax(logits)?.0 });
            }
        }
        Ok(())
    }

    /// The policy of each hidden state, and the plan of the logits that each needs.
    fn plan_scores(
        &mut self,
        hidden: &[f32],
        targets: &[u32],
        selector: Option<&Selector>,
        latents: &mut LatentState,
    ) -> Result<(Vec<f32>, Vec<LogitsPlan>)> {
        let first = self.sequence.place() - targets.len() as u64;
        let Some(selector) = selector else {
            let plan = StepSource::Backbone.plan(latents, first, &[], &[])?;
            return Ok((Vec::new(), vec![plan; targets.len()]));
        };
        let policies = self.sequence.latents().policies(hidden)?;
        let (states, rows) = (hidden.chunks_exact(hidden.len() / targets.len()), policies.len() / targets.len());
        let (source, mut plans) = (StepSource::Selector(selector), Vec::new());
        for (((state, policy), &target), place) in states.zip(policies.chunks_exact(rows)).zip(targets).zip(first..) {
            check_policy(policy)?;
            plans.push(source.plan(latents, place, state, policy)?);
            source.observe(latents, target);
        }
        Ok((policies, plans))
    }

    /// The logits that a portion of a text needs.
    fn score_logits(&mut self, hidden: &[f32], plans: &[LogitsPlan], out: &mut Vec<f32>) -> Result<()> {
        let Self { sequence, buffers, .. } = self;
        let mixed = usize::from(plans.iter().any(LogitsPlan::is_mixture));
        let rows = plans.iter().map(LogitsPlan::rows).sum::<usize>() + mixed;
        let logits = rows.saturating_mul(sequence.config().vocab).saturating_mul(size_of::<f32>());
        let held = sequence.bytes(buffers.bytes(sequence.config()));
        sequence.check_memory_limit(held.saturating_add(logits))?;
        sequence.machine.pace.begin()?;
        let begin = Instant::now();
        let outcome = sequence.latents().logits(hidden, plans, &mut buffers.quantized, out);
        sequence.machine.pace.end(begin);
        Ok(outcome?)
    }

    /// Adds `tokens` to the sequence and tells which latent the plugin's encoder assigns to each:
    /// the most probable one of `q(z | h, x)`, where x is the token and h the hidden state of the
    /// token before. The first token of a sequence has none. No context is shifted here.
    ///
    /// # Errors
    /// As [`Session::feed`]; [`SessionError::NoPlugin`];
    /// [`PluginError::EncoderNotFinite`](crate::plugin::PluginError::EncoderNotFinite). No token is
    /// added then.
    pub fn encode_latents(&mut self, tokens: &[u32]) -> Result<Vec<Option<usize>>> {
        let plugin = Arc::clone(self.sequence.plugin()?);
        self.sequence.check(tokens)?;
        let start = self.position();
        let encoded = self.encode(&plugin, tokens);
        if encoded.is_err() {
            self.rewind(start.min(self.position()))?;
        }
        encoded
    }

    fn encode(&mut self, plugin: &Plugin, tokens: &[u32]) -> Result<Vec<Option<usize>>> {
        let mut latents = Vec::new();
        memory::reserve(&mut latents, tokens.len())?;
        let (width, mut hidden) = (self.sequence.config().hidden, Vec::new());
        if let Some((&first, _)) = tokens.split_first().filter(|_| self.tokens().is_empty()) {
            self.hidden_states(&[first], &mut hidden)?;
            latents.push(None);
        } else {
            hidden.extend_from_slice(self.hidden()?);
        }
        for batch in tokens[latents.len()..].chunks(BATCH) {
            self.hidden_states(batch, &mut hidden)?;
            let (before, last) = hidden.split_at(hidden.len() - width);
            let encoded = plugin.encode(&mut self.sequence.machine.exec, &self.sequence.model, before, batch)?;
            latents.extend(encoded.into_iter().map(Some));
            let last = last.to_vec();
            hidden.clear();
            hidden.extend(last);
        }
        Ok(latents)
    }
}
