//! The choice of a step: a latent, and then a token of its distribution.

use ollm_kernels::logits;
use ollm_kernels::memory;
use ollm_kernels::token_set::TokenSet;

use crate::constraint::{Allowed, ConstraintError};
use crate::plugin::{LatentState, check_latent};
use crate::sampler::{Sampler, SamplerError};

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
    /// The latent whose option it comes from; `None` without a plugin, for the mixture, and for a
    /// forced token.
    pub latent: Option<usize>,
    /// Natural logarithm of its probability, before the sampler's filters and among all tokens; 0
    /// of a forced token.
    pub logprob: f32,
    /// Whether the constraint left no other token, or [`Session::step_to`](super::Session::step_to)
    /// gave it: nothing was computed or selected for it, and it goes through the network in one
    /// pass with those that follow.
    pub forced: bool,
}

/// One of the distributions of the next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// The backbone's, as if there were no plugin.
    Backbone,
    /// That of the option of a latent.
    Option(usize),
    /// The mixture of all options, weighted by the policy.
    Mixture,
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

/// A choice that is asked for, of the next token of a member of a group. A member may be asked for
/// several: its hidden state is computed once.
pub(crate) struct Request<'a> {
    /// The index of the member.
    pub(crate) member: usize,
    pub(crate) source: StepSource<'a>,
    pub(crate) latent_state: &'a mut LatentState,
    pub(crate) pick: Pick<'a>,
}

/// Which tokens are picked from a distribution.
pub(crate) enum Pick<'a> {
    /// One, by a sampler.
    Sampler(&'a mut Sampler),
    /// So many of the most probable.
    Top(usize),
}

impl Pick<'_> {
    /// Whether it calls functions of the caller.
    pub(super) fn calls_back(&self) -> bool {
        match self {
            Self::Sampler(sampler) => sampler.options().edit.is_some(),
            Self::Top(_) => false,
        }
    }
}

/// What was chosen of a distribution; nothing has been added to the sequence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chosen {
    /// The latent whose option it is, and the probability that the policy gives it.
    pub(crate) latent: Option<(usize, f32)>,
    /// The tokens, and the natural logarithms of their probabilities before any filter.
    pub(crate) tokens: Vec<(u32, f32)>,
    /// Whether the constraint left no other token, so that nothing was computed.
    pub(crate) forced: bool,
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

    /// The token that has to come next, if the constraint leaves no other, and there is room for it
    /// as it is.
    pub(super) fn forced(&mut self) -> Result<Option<Chosen>> {
        let has_room = self.tokens.len() < self.context() && !self.tokens.is_empty();
        let Some(constraint) = self.constraint.as_mut().filter(|_| has_room) else { return Ok(None) };
        match constraint.allowed()? {
            Allowed::Only(token) => Ok(Some(Chosen { latent: None, tokens: vec![(token, 0.0)], forced: true })),
            Allowed::Nothing => Err(ConstraintError::Complete.into()),
            Allowed::Any | Allowed::Set(_) => Ok(None),
        }
    }

    /// The tokens that may come next; `None` where all may.
    pub(super) fn allowed(&mut self) -> Result<Option<TokenSet>> {
        let vocab = self.config().vocab;
        let constrained = match &mut self.constraint {
            None => None,
            Some(constraint) => match constraint.allowed()? {
                Allowed::Any => None,
                Allowed::Set(set) => Some(set.clone()),
                Allowed::Only(token) => Some(TokenSet::of(&[token], vocab)?),
                Allowed::Nothing => Some(TokenSet::empty(vocab)?),
            },
        };
        let suppressed = &self.config().suppressed;
        if suppressed.is_empty() {
            return Ok(constrained);
        }
        let mut allowed = constrained.map_or_else(|| TokenSet::full(vocab), Ok)?;
        for &token in suppressed {
            allowed.remove(token);
        }
        if allowed.count() == 0 {
            return Err(SamplerError::AllBanned.into());
        }
        Ok(Some(allowed))
    }

    /// Keeps what the policy says of the next step, if that is a distribution.
    pub(super) fn set_policy(&mut self, policy: &[f32]) -> Result<()> {
        check_policy(policy)?;
        memory::reserve(&mut self.step.policy, policy.len())?;
        self.step.policy.extend_from_slice(policy);
        Ok(())
    }

    /// Selects the latent, and plans the logits that are not known yet, in addition to `rows` that
    /// are planned.
    pub(super) fn plan_logits(&self, request: &mut Request<'_>, rows: usize, held: BufferBytes) -> Result<LogitsPlan> {
        let plan = request.source.plan(request.latent_state, self.place(), &self.hidden, &self.step.policy)?;
        let plan = if self.step.options.is_empty() { plan } else { plan.with_known_options() };
        self.check_logits(rows + plan.held_rows(), held)?;
        Ok(plan)
    }

    /// Picks tokens from the `rows` of logits that were planned.
    pub(super) fn pick(
        &mut self,
        plan: &LogitsPlan,
        rows: &[f32],
        mixed: &mut Vec<f32>,
        pick: &mut Pick<'_>,
    ) -> Result<Chosen> {
        let allowed = self.allowed()?;
        let allowed = allowed.as_ref();
        let rows = if plan.rows() == 0 { &self.step.options } else { rows };
        let distribution = plan.distribution(self.machine.exec.isa, &self.step.policy, rows, mixed)?;
        let tokens = match pick {
            Pick::Sampler(sampler) => {
                let sampled = sampler.sample(distribution, &self.tokens, self.place(), allowed)?;
                vec![(sampled.token, sampled.logprob)]
            }
            Pick::Top(count) => {
                let log = |(token, _)| Ok((token, logits::log_softmax_at(distribution, token)?));
                logits::top_m_in(distribution, *count, allowed)?.into_iter().map(log).collect::<Result<_>>()?
            }
        };
        let probability = |latent| (latent, self.step.policy.get(latent).copied().unwrap_or_default());
        Ok(Chosen { latent: plan.latent.map(probability), tokens, forced: false })
    }

    /// Appends a token that was chosen. Where it is the one that was drafted, its pass has been
    /// made.
    pub(super) fn accept(&mut self, token: u32) -> Result<()> {
        memory::grow(&mut self.tokens, 1)?;
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
        }
        self.tokens.push(token);
        if self.step.ahead.is_empty() {
            // The last token of a draft was taken: what is known of it is of no more use.
            self.step.ahead.clear();
            return Ok(());
        }
        let was_right = self.step.ahead.take(token, &mut self.hidden, &mut self.step.policy);
        self.speculation.iter_mut().for_each(|speculation| speculation.observe(was_right));
        if was_right {
            self.position += 1;
            self.step.options.clear();
            self.meter.accepted();
        }
        Ok(())
    }
}
