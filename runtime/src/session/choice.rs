//! The choice of a step: a latent, and then a token of its distribution.

use crate::memory;
use crate::plugin::check_latent;
use crate::sampler::Sampler;

use super::buffers::BufferBytes;
use super::error::SessionError;
use super::latents::{Latents, LogitsPlan, StepSource, check_policy};
use super::sequence::Sequence;

type Result<T, E = SessionError> = std::result::Result<T, E>;

/// One generated token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The token.
    pub token: u32,
    /// The latent whose option it comes from; `None` without a plugin, and for the mixture.
    pub latent: Option<usize>,
    /// Natural logarithm of its probability, before the sampler's filters.
    pub logprob: f32,
}

/// One option of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct OptionView {
    /// The latent.
    pub latent: usize,
    /// The probability that the policy gives it.
    pub policy: f32,
    /// Its most probable tokens and their probabilities.
    pub top: Vec<(u32, f32)>,
}

/// How a session of a group takes its step.
pub(super) struct Request<'a> {
    pub(super) source: StepSource<'a>,
    pub(super) sampler: &'a mut Sampler,
}

impl Sequence {
    /// Computes policies and logits, on the threads of this session.
    pub(super) fn latents(&mut self) -> Latents<'_> {
        Latents { model: &self.model, plugin: self.plugin.as_deref(), machine: &mut self.machine }
    }

    /// That a step can be taken from `source`.
    pub(super) fn check_step(&self, source: &StepSource<'_>) -> Result<()> {
        match source {
            StepSource::Backbone => {}
            StepSource::Latent(latent) => check_latent(*latent, self.plugin()?.option_count())?,
            StepSource::Selector(_) => drop(self.plugin()?),
        }
        self.check_room()
    }

    /// Keeps what the policy says of the next step, if that is a distribution.
    pub(super) fn set_policy(&mut self, policy: &[f32]) -> Result<()> {
        check_policy(policy)?;
        memory::reserve(&mut self.step.policy, policy.len())?;
        self.step.policy.extend_from_slice(policy);
        Ok(())
    }

    /// Selects the latent, and plans the logits that are not known yet.
    pub(super) fn plan_logits(&mut self, source: &StepSource<'_>, held: BufferBytes) -> Result<LogitsPlan> {
        let place = self.place();
        let plan = source.plan(&mut self.latent_state, place, &self.hidden, &self.step.policy)?;
        let plan = if self.step.options.is_empty() { plan } else { plan.with_known_options() };
        self.check_logits(plan.held_rows(), held)?;
        Ok(plan)
    }

    /// Chooses a token from the `rows` of logits that were planned, and appends it.
    pub(super) fn choose(
        &mut self,
        plan: &LogitsPlan,
        rows: &[f32],
        mixed: &mut Vec<f32>,
        Request { source, sampler }: &mut Request<'_>,
    ) -> Result<Step> {
        let rows = if plan.rows() == 0 { &self.step.options } else { rows };
        let chosen = plan.distribution(self.machine.exec.isa, &self.step.policy, rows, mixed)?;
        memory::grow(&mut self.tokens, 1)?;
        let sampled = sampler.sample(chosen, &self.tokens, self.place())?;
        self.tokens.push(sampled.token);
        source.observe(&mut self.latent_state, sampled.token);
        Ok(Step { token: sampled.token, latent: plan.latent, logprob: sampled.logprob })
    }
}
