//! The steps of a session: policy, option set, next token.

use std::sync::Arc;

use ollm_kernels::logits;
use ollm_kernels::memory;
use ollm_kernels::ops::for_each_row;

use crate::clock::Instant;
use crate::plugin::{Selector, check_latent, check_value};
use crate::sampler::Sampler;

use super::choice::{Distribution, OptionView, Pick, Request, Step};
use super::error::SessionError;
use super::latents::{LogitsPlan, StepSource};
use super::sequence::Sequence;
use super::state::Session;

type Result<T, E = SessionError> = std::result::Result<T, E>;

impl Session {
    /// The policy of the next step: the probability of each latent.
    ///
    /// # Errors
    /// [`SessionError::NoPlugin`], [`SessionError::Empty`], or as [`Session::feed`].
    pub fn policy(&mut self) -> Result<&[f32]> {
        self.sequence.plugin()?;
        let mut group = self.alone();
        group.advance();
        group.policies(|_| true);
        group.outcome()?;
        Ok(&self.sequence.step.policy)
    }

    /// The value of the sequence: the probability that the answer will be right, from the hidden
    /// state of the last token.
    ///
    /// # Errors
    /// [`SessionError::NoPlugin`], [`SessionError::NoValue`], [`SessionError::Empty`], or as
    /// [`Session::feed`];
    /// [`PluginError::ValueNotFinite`](crate::plugin::PluginError::ValueNotFinite).
    pub fn value(&mut self) -> Result<f32> {
        let plugin = Arc::clone(self.sequence.plugin()?);
        if !plugin.has_value() {
            return Err(SessionError::NoValue);
        }
        self.hidden()?;
        let Sequence { machine, hidden, .. } = &mut self.sequence;
        let values = plugin.value(&mut machine.exec, hidden)?;
        let value = values.and_then(|values| values.first().copied()).ok_or(SessionError::NoValue)?;
        check_value(value)?;
        Ok(value)
    }

    /// The option set of the current step: for each latent, the policy's probability and the `top`
    /// most probable tokens. Under a [constraint](Session::set_constraint) it has no other tokens
    /// than those that are allowed, with their probabilities among all tokens.
    ///
    /// # Errors
    /// [`SessionError::NoPlugin`], [`SessionError::Empty`], or as [`Session::feed`];
    /// [`SessionError::Logits`] if the model gives no distribution.
    pub fn option_set(&mut self, top: usize) -> Result<Vec<OptionView>> {
        self.policy()?;
        self.expand_options()?;
        let allowed = self.sequence.allowed()?;
        let Sequence { step, machine, model, .. } = &mut self.sequence;
        let vocab = model.config().vocab;
        let mut tops: Vec<_> = step.policy.iter().map(|_| Ok(Vec::new())).collect();
        for_each_row(&machine.exec.pool, &mut tops, 1, |latent, top_tokens| {
            top_tokens[0] = logits::top_m_in(&step.options[latent * vocab..][..vocab], top, allowed.as_ref());
        });
        let views = tops.into_iter().zip(&step.policy).enumerate();
        views.map(|(latent, (top, &policy))| Ok(OptionView { latent, policy, top: top? })).collect()
    }

    /// One decode step: chooses the next token and adds it to the sequence. Without a selector, or
    /// without a plugin, the token is the backbone's.
    ///
    /// # Errors
    /// [`SessionError::ContextFull`] at the end of the context, [`SessionError::Empty`] if nothing
    /// was fed, [`SessionError::Logits`] or [`SessionError::Sampler`] if there is no distribution
    /// to choose from, [`SessionError::Select`] if a callback chooses a latent that does not exist;
    /// [`SessionError::Cancelled`], [`SessionError::MemoryLimit`] or [`SessionError::OutOfMemory`].
    /// No token is added then.
    pub fn step(&mut self, selector: Option<&Selector>, sampler: &mut Sampler) -> Result<Step> {
        self.step_from(selector.map_or(StepSource::Backbone, StepSource::Selector), sampler)
    }

    /// As [`Session::step`], from the option of this latent. What the session remembers of latents
    /// stays as it is.
    ///
    /// # Errors
    /// As [`Session::step`]; [`SessionError::NoPlugin`];
    /// [`SelectError::LatentOutOfRange`](crate::plugin::SelectError::LatentOutOfRange).
    pub fn step_with_latent(&mut self, latent: usize, sampler: &mut Sampler) -> Result<Step> {
        self.step_from(StepSource::Latent(latent), sampler)
    }

    /// Adds a token as if a step had chosen it: a constraint and a held latent go on, where a
    /// [`feed`](Session::feed) begins an answer. It goes through the network with the next step.
    ///
    /// # Errors
    /// As [`Session::step`]; [`SessionError::TokenOutOfRange`]. No token is added then.
    pub fn step_to(&mut self, token: u32, selector: Option<&Selector>) -> Result<Step> {
        let (begin, held) = (Instant::now(), self.held());
        let source = selector.map_or(StepSource::Backbone, StepSource::Selector);
        self.sequence.check_step(&source)?;
        self.sequence.check_vocabulary(&[token])?;
        if self.sequence.tokens.len() == self.sequence.context() || self.sequence.tokens.is_empty() {
            self.sequence.make_ready(held)?;
        }
        self.sequence.accept(token)?;
        self.sequence.meter.generated(begin);
        source.observe(&mut self.latent_state, token);
        Ok(Step { token, latent: None, logprob: 0.0, forced: true })
    }

    fn step_from(&mut self, source: StepSource<'_>, sampler: &mut Sampler) -> Result<Step> {
        let (group, latent_state) = self.split();
        let pick = Pick::Sampler(sampler);
        group.step(&mut [Request { member: 0, source, latent_state, pick }]).0.remove(0)
    }

    /// The logits of the next token, one for each token of the vocabulary; those of a mixture are
    /// log-probabilities. The session does not move.
    ///
    /// # Errors
    /// [`SessionError::NoPlugin`], [`SessionError::Empty`],
    /// [`SelectError::LatentOutOfRange`](crate::plugin::SelectError::LatentOutOfRange), or as
    /// [`Session::feed`].
    pub fn logits(&mut self, of: Distribution) -> Result<Vec<f32>> {
        let plan = match of {
            Distribution::Backbone => {
                self.hidden()?;
                LogitsPlan { backbone: true, ..LogitsPlan::default() }
            }
            Distribution::Option(latent) => {
                check_latent(latent, self.sequence.plugin()?.option_count())?;
                self.hidden()?;
                LogitsPlan { latents: latent..latent + 1, latent: Some(latent), ..LogitsPlan::default() }
            }
            Distribution::Mixture => {
                self.policy()?;
                self.expand_options()?;
                LogitsPlan { latents: 0..self.sequence.step.policy.len(), are_known: true, ..LogitsPlan::default() }
            }
        };
        let mut rows = Vec::new();
        if !plan.are_known {
            self.compute(&plan, &mut rows)?;
            return Ok(rows);
        }
        let mut mixed = Vec::new();
        let step = &self.sequence.step;
        plan.distribution(self.sequence.machine.exec.isa, &step.policy, &step.options, &mut mixed)?;
        Ok(mixed)
    }

    /// Computes the logits of all options of the current step, whose policy is known.
    fn expand_options(&mut self) -> Result<()> {
        if self.sequence.step.options.is_empty() {
            let plan = LogitsPlan { latents: 0..self.sequence.step.policy.len(), ..LogitsPlan::default() };
            let mut options = std::mem::take(&mut self.sequence.step.options);
            self.compute(&plan, &mut options)?;
            self.sequence.step.options = options;
        }
        Ok(())
    }

    /// Computes the logits that a plan asks for of the current step.
    fn compute(&mut self, plan: &LogitsPlan, out: &mut Vec<f32>) -> Result<()> {
        let Self { sequence, buffers, .. } = self;
        sequence.check_logits(plan.held_rows(), buffers.bytes(sequence.config()))?;
        sequence.machine.pace.begin()?;
        let begin = Instant::now();
        let hidden = memory::copied(&sequence.hidden)?;
        let outcome = sequence.latents().logits(&hidden, std::slice::from_ref(plan), &mut buffers.quantized, out);
        sequence.machine.pace.end(begin);
        Ok(outcome?)
    }
}
