//! One step: option set, choice of a latent, choice of a token.

use std::sync::Arc;

use crate::cpu::Isa;
use crate::error::Result;
use crate::logits;
use crate::memory;
use crate::ops::{for_each_row, softmax};
use crate::plugin::{self, Plugin, Selector};
use crate::sampler::Sampler;

use super::batch::{Wanted, Way};
use super::{Session, SessionError};

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

/// What was computed of the current step.
#[derive(Debug, Default)]
pub(super) struct StepCache {
    /// The policy's probabilities: `[options]`, or empty.
    pub(super) policy: Vec<f32>,
    /// Logits of every option: `[options][vocab]`, or empty.
    pub(super) options: Vec<f32>,
}

impl StepCache {
    pub(super) fn clear(&mut self) {
        self.policy.clear();
        self.options.clear();
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        (self.policy.capacity() + self.options.capacity()) * size_of::<f32>()
    }

    /// Bytes of it and of the logits that a token is chosen from at most, with `options` options (0 without a plugin).
    pub(super) fn bytes_for(vocab: usize, options: usize) -> usize {
        (options + 1).saturating_mul(vocab).saturating_add(options).saturating_mul(size_of::<f32>())
    }
}

impl Session {
    /// What the policy says of the next step: the probability of each latent.
    ///
    /// # Errors
    /// [`SessionError::NoPlugin`], [`SessionError::Empty`], or as [`Session::feed`].
    pub fn policy(&mut self) -> Result<&[f32]> {
        self.prepare_policy()?;
        Ok(&self.step.policy)
    }

    /// The option set of the current step: for each latent, the policy's probability and the `top` most probable tokens.
    ///
    /// # Errors
    /// [`SessionError::NoPlugin`], [`SessionError::Empty`], or as [`Session::feed`]; [`Error::Logits`](crate::Error::Logits)
    /// if the model gives no distribution.
    pub fn option_set(&mut self, top: usize) -> Result<Vec<OptionView>> {
        let plugin = self.prepare_policy()?;
        self.expand_options(&plugin)?;
        let (vocab, options) = (self.model.config().vocab, &self.step.options);
        let mut tops: Vec<_> = (0..plugin.option_count()).map(|_| Ok(Vec::new())).collect();
        for_each_row(&mut self.machine.exec.pool, &mut tops, 1, |latent, place| {
            place[0] = logits::top_m(&options[latent * vocab..][..vocab], top);
        });
        let views = tops.into_iter().zip(&self.step.policy).enumerate();
        views.map(|(latent, (top, &policy))| Ok(OptionView { latent, policy, top: top? })).collect()
    }

    /// Chooses the next token and adds it to the sequence. Without a selector, or without a plugin, it is the backbone's.
    ///
    /// # Errors
    /// [`SessionError::ContextFull`] at the end of the context, [`SessionError::Empty`] if nothing was fed,
    /// [`Error::Logits`](crate::Error::Logits) or [`Error::Sampler`](crate::Error::Sampler) if there is no distribution to
    /// choose from, [`Error::Select`](crate::Error::Select) if a callback chooses a latent that does not exist;
    /// [`SessionError::Cancelled`], [`SessionError::MemoryLimit`] or [`Error::OutOfMemory`](crate::Error::OutOfMemory). No
    /// token is added then.
    pub fn step(&mut self, selector: Option<&mut Selector>, sampler: &mut Sampler) -> Result<Step> {
        self.step_by(selector.map_or(Way::Backbone, Way::Selector), sampler)
    }

    /// As [`Session::step`], from the option of this latent.
    ///
    /// # Errors
    /// As [`Session::step`]; [`SessionError::NoPlugin`];
    /// [`SelectError::LatentOutOfRange`](crate::plugin::SelectError::LatentOutOfRange).
    pub fn step_with_latent(&mut self, latent: usize, sampler: &mut Sampler) -> Result<Step> {
        self.step_by(Way::Latent(latent), sampler)
    }

    fn step_by(&mut self, way: Way<'_>, sampler: &mut Sampler) -> Result<Step> {
        self.check_step(&way)?;
        self.prepare()?;
        self.alone(|batch, session| batch.step_alone(session, way, sampler))
    }

    /// That a step can be taken that way.
    pub(super) fn check_step(&self, way: &Way<'_>) -> Result<()> {
        if let Way::Latent(_) | Way::Selector(_) = way {
            let plugin = self.plugin.as_ref().ok_or(SessionError::NoPlugin)?;
            if let Way::Latent(latent) = way {
                plugin::check(*latent, plugin.option_count())?;
            }
        }
        self.check_room()
    }

    /// Selects the latent, and tells what has to be computed then.
    pub(super) fn want(&mut self, way: &mut Way<'_>) -> Result<Wanted> {
        let latent = match way {
            Way::Backbone => None,
            Way::Latent(latent) => Some(*latent),
            Way::Selector(selector) => selector.select(&self.hidden, &self.step.policy)?,
        };
        let backbone = matches!(way, Way::Backbone);
        let latents = match latent {
            _ if backbone || !self.step.options.is_empty() => 0..0,
            None => 0..self.step.policy.len(),
            Some(latent) => latent..latent + 1,
        };
        let wanted = Wanted { backbone, latents, latent };
        // A mixture is one more row.
        let mixed = usize::from(!backbone && latent.is_none());
        self.allow_logits(wanted.rows().max(1) + mixed)?;
        Ok(wanted)
    }

    /// That there is room for one more token, or a window to slide.
    fn check_room(&self) -> Result<()> {
        if self.window.is_some() { Ok(()) } else { self.check(&[0]) }
    }

    /// That the session may hold the logits of `rows` distributions.
    fn allow_logits(&self, rows: usize) -> Result<()> {
        let bytes = rows * self.model.config().vocab * size_of::<f32>();
        let logits = self.step.bytes() + self.batch.logits_bytes();
        self.allow(self.memory_used().saturating_sub(logits).saturating_add(bytes))
    }

    /// Makes the hidden state of the last token, and what the policy says of it, current; gives the plugin.
    fn prepare_policy(&mut self) -> Result<Arc<Plugin>> {
        let plugin = self.plugin.clone().ok_or(SessionError::NoPlugin)?;
        self.prepare()?;
        if self.step.policy.is_empty() {
            let policy = plugin.policy(&mut self.machine.exec, &self.hidden)?;
            self.set_policy(&policy)?;
        }
        Ok(plugin)
    }

    /// Keeps what the policy says of the next step, if that is a distribution.
    pub(super) fn set_policy(&mut self, policy: &[f32]) -> Result<()> {
        plugin::check_policy(policy)?;
        memory::reserve(&mut self.step.policy, policy.len())?;
        self.step.policy.extend_from_slice(policy);
        Ok(())
    }

    /// Computes the logits of all options: one product over the head's weights.
    fn expand_options(&mut self, plugin: &Plugin) -> Result<()> {
        if self.step.options.is_empty() {
            self.allow_logits(plugin.option_count() + 1)?;
            let all = 0..plugin.option_count();
            let hidden = plugin.decode(&mut self.machine.exec, &self.hidden, &[all])?;
            let outcome = self.machine.head(&self.model, &hidden, &mut self.batch.quantized, &mut self.step.options);
            if outcome.is_err() {
                self.step.options.clear();
            }
            outcome?;
        }
        Ok(())
    }

    /// Samples from the chosen logits and appends the token.
    pub(super) fn take(&mut self, latent: Option<usize>, logits: &[f32], sampler: &mut Sampler) -> Result<Step> {
        memory::grow(&mut self.tokens, 1)?;
        let sampled = sampler.sample(logits, &self.tokens)?;
        self.tokens.push(sampled.token);
        Ok(Step { token: sampled.token, latent, logprob: sampled.logprob })
    }
}

/// `ln sum_z policy[z] softmax(options[z])`: `[vocab]`.
pub(super) fn mixture(isa: Isa, policy: &[f32], options: &[f32], out: &mut Vec<f32>) -> Result<()> {
    let vocab = options.len() / policy.len();
    out.clear();
    memory::reserve(out, vocab)?;
    out.resize(vocab, 0.0);
    let mut row = memory::filled(0.0, vocab)?;
    for (&weight, logits) in policy.iter().zip(options.chunks_exact(vocab)) {
        row.copy_from_slice(logits);
        softmax(isa, &mut row);
        for (out, p) in out.iter_mut().zip(&row) {
            *out += weight * p;
        }
    }
    for p in out {
        *p = p.ln();
    }
    Ok(())
}
