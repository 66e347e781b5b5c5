//! From hidden states to the distributions that tokens are chosen from: policy, latent, decoder,
//! head, mixture. Every step, option set and score goes this way, and no other code does.

use std::ops::Range;

use ollm_kernels::cpu::Isa;
use ollm_kernels::logits;
use ollm_kernels::memory::{self, OutOfMemory};
use ollm_kernels::ops::{Quantized, softmax};

use crate::model::{Model, head};
use crate::plugin::{self, LatentState, Plugin, Selector};

use super::error::SessionError;
use super::machine::Machine;

/// Rows of logits that are held at once, unless one session needs more.
pub(super) const ROWS: usize = 64;

/// The source of a step's distribution.
#[derive(Debug)]
pub(crate) enum StepSource<'a> {
    /// The hidden state itself.
    Backbone,
    /// The option of this latent.
    Latent(usize),
    /// The option of the latent that the selector selects.
    Selector(&'a Selector),
}

/// Which logits a hidden state needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogitsPlan {
    /// The logits of the hidden state itself.
    pub(super) backbone: bool,
    /// The logits of these options.
    pub(super) latents: Range<usize>,
    /// Whether the logits of all options are known: none is computed.
    pub(super) are_known: bool,
    /// The latent whose option was selected; `None` of backbone and mixture.
    pub(super) latent: Option<usize>,
}

impl StepSource<'_> {
    /// Selects the latent of the token at `place`, and plans the logits; the `policy` has been
    /// computed where a selector asks for it.
    pub(super) fn plan(
        &self,
        state: &mut LatentState,
        place: u64,
        hidden: &[f32],
        policy: &[f32],
    ) -> Result<LogitsPlan, SessionError> {
        let latent = match self {
            Self::Backbone => return Ok(LogitsPlan { backbone: true, ..LogitsPlan::default() }),
            Self::Latent(latent) => Some(*latent),
            Self::Selector(selector) => selector.select(state, place, hidden, policy)?,
        };
        let latents = latent.map_or(0..policy.len(), |latent| latent..latent + 1);
        Ok(LogitsPlan { backbone: false, latents, are_known: false, latent })
    }

    /// Whether the application selects the latent, and has to be asked.
    pub(super) fn asks_application(&self) -> bool {
        matches!(self, Self::Selector(selector) if selector.asks_application())
    }

    /// Notes which token followed.
    pub(super) fn observe(&self, state: &mut LatentState, token: u32) {
        if let Self::Selector(selector) = self {
            selector.observe(state, token);
        }
    }
}

impl LogitsPlan {
    /// Rows of logits to compute.
    pub(super) fn rows(&self) -> usize {
        usize::from(self.backbone) + self.computed().len()
    }

    /// The options whose logits are to be computed.
    fn computed(&self) -> Range<usize> {
        if self.are_known { 0..0 } else { self.latents.clone() }
    }

    /// Rows of logits and of distributions that are held at once.
    pub(super) fn held_rows(&self) -> usize {
        self.rows().max(1) + usize::from(self.is_mixture())
    }

    pub(super) fn is_mixture(&self) -> bool {
        !self.backbone && self.latent.is_none()
    }

    /// The same plan where the logits of all options, `[options][vocab]`, are known.
    pub(super) fn with_known_options(self) -> Self {
        Self { are_known: true, ..self }
    }

    /// The logits of the distribution that is planned. `rows` are those of the plan, or of all
    /// options where they were known; a mixture is computed in `mixed`.
    pub(super) fn distribution<'l>(
        &self,
        isa: Isa,
        policy: &[f32],
        rows: &'l [f32],
        mixed: &'l mut Vec<f32>,
    ) -> Result<&'l [f32], OutOfMemory> {
        if self.is_mixture() {
            mixture(isa, policy, rows, mixed)?;
            return Ok(mixed);
        }
        match self.latent.filter(|_| self.are_known) {
            Some(latent) => Ok(&rows[latent * (rows.len() / policy.len())..][..rows.len() / policy.len()]),
            None => Ok(rows),
        }
    }
}

/// Cuts plans into portions of at most `most` rows of logits, or of one plan: the range of each
/// portion.
pub(super) fn portions(plans: &[LogitsPlan], most: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let mut rows = 0;
        let fits = |plan: &&LogitsPlan| {
            rows += plan.rows();
            rows <= most
        };
        let count = plans[start..].iter().take_while(fits).count().max(1);
        let portion = start..(start + count).min(plans.len());
        start = portion.end;
        (!portion.is_empty()).then_some(portion)
    })
}

/// The computation of policies and logits: the backbone's head and the plugin, on the threads of a
/// session.
pub(super) struct Latents<'a> {
    pub(super) model: &'a Model,
    pub(super) plugin: Option<&'a Plugin>,
    pub(super) machine: &'a mut Machine,
}

impl Latents<'_> {
    /// The policy's probabilities for each of n hidden states (`[n][hidden]`): `[n][options]`, or
    /// empty without a plugin. Each row has to pass [`check_policy`].
    pub(super) fn policies(&mut self, hidden: &[f32]) -> Result<Vec<f32>, OutOfMemory> {
        self.plugin.map_or_else(|| Ok(Vec::new()), |plugin| plugin.policy(&mut self.machine.exec, hidden))
    }

    /// The logits that `plans` ask for of their hidden states (`[plans][hidden]`): `[rows][vocab]`
    /// in `out`, one plan after the other. One read of the head's weights.
    pub(super) fn logits(
        &mut self,
        hidden: &[f32],
        plans: &[LogitsPlan],
        quantized: &mut Quantized,
        out: &mut Vec<f32>,
    ) -> Result<(), OutOfMemory> {
        let states = self.decode(hidden, plans)?;
        let (config, n) = (self.model.config(), states.len() / self.model.config().hidden);
        out.clear();
        if n == 0 {
            return Ok(());
        }
        quantized.reserve(n, config.hidden)?;
        memory::reserve(out, n * config.vocab)?;
        self.machine.exec.pool.set_threads(self.machine.threads.of(n));
        head(&mut self.machine.exec, self.model, &states, quantized, out);
        Ok(())
    }

    /// The hidden states whose logits `plans` ask for: `[rows][hidden]`.
    fn decode(&mut self, hidden: &[f32], plans: &[LogitsPlan]) -> Result<Vec<f32>, OutOfMemory> {
        let width = self.model.config().hidden;
        let states = || hidden.chunks_exact(width).zip(plans);
        let (mut decoding, mut latents) = (Vec::new(), Vec::new());
        for (state, plan) in states().filter(|(_, plan)| !plan.computed().is_empty()) {
            append(&mut decoding, state)?;
            latents.push(plan.computed());
        }
        let decoded = match self.plugin {
            Some(plugin) if !latents.is_empty() => plugin.decode(&mut self.machine.exec, &decoding, &latents)?,
            _ => Vec::new(),
        };
        let (mut decoded, mut out) = (&decoded[..], Vec::new());
        for (state, plan) in states() {
            if plan.backbone {
                append(&mut out, state)?;
            }
            let own;
            (own, decoded) = decoded.split_at(plan.computed().len() * width);
            append(&mut out, own)?;
        }
        Ok(out)
    }
}

/// Appends to a buffer by fallible allocation.
pub(super) fn append(buffer: &mut Vec<f32>, more: &[f32]) -> Result<(), OutOfMemory> {
    memory::grow(buffer, more.len())?;
    buffer.extend_from_slice(more);
    Ok(())
}

/// That a row of [`Latents::policies`] is a distribution.
pub(super) fn check_policy(policy: &[f32]) -> Result<(), SessionError> {
    Ok(plugin::check_policy(policy)?)
}

/// `ln sum_z policy[z] softmax(options[z])`: `[vocab]`.
fn mixture(isa: Isa, policy: &[f32], options: &[f32], out: &mut Vec<f32>) -> Result<(), OutOfMemory> {
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
        *p = logits::ln(f64::from(*p)) as f32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(backbone: bool, latents: Range<usize>, latent: Option<usize>) -> LogitsPlan {
        LogitsPlan { backbone, latents, are_known: false, latent }
    }

    #[test]
    fn portions_hold_no_more_rows_than_asked_or_one_plan() {
        let plans = [0..1, 0..3, 0..9, 0..0, 0..2].map(|latents| plan(false, latents, None));
        assert_eq!(portions(&plans, 4).collect::<Vec<_>>(), [0..2, 2..3, 3..5]);
        assert_eq!(portions(&[], 4).count(), 0);
    }

    #[test]
    fn a_distribution_is_taken_from_the_rows_of_its_plan_or_from_the_known_options() {
        let (isa, policy, mut mixed) = (Isa::widest(), [0.25, 0.75], Vec::new());
        let options = [0.0_f32, 1.0, 2.0, 3.0];
        let mut take =
            |plan: LogitsPlan, rows: &[f32]| plan.distribution(isa, &policy, rows, &mut mixed).unwrap().to_vec();
        assert_eq!(take(plan(true, 0..0, None), &[5.0, 6.0]), [5.0, 6.0]);
        assert_eq!(take(plan(false, 1..2, Some(1)), &[2.0, 3.0]), [2.0, 3.0]);
        assert_eq!(take(plan(false, 1..2, Some(1)).with_known_options(), &options), [2.0, 3.0]);
        let mix = take(plan(false, 0..2, None), &options);
        assert_eq!(mix, take(plan(false, 0..2, None).with_known_options(), &options));
        assert!((mix.iter().map(|p| p.exp()).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
