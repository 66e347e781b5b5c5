//! What a finished plugin is on held-out text, in a few numbers and plain words.
//!
//! All of it comes from the same rows that the evaluations score, by one more pass over them.

use std::fmt;

use candle_core::{D, Tensor};
use candle_nn::ops::log_softmax;
use serde::Serialize;

use crate::error::Result;
use crate::features::head::OutputHead;
use crate::features::states::FeatureBatch;
use crate::plugin::file::Loaded;
use crate::plugin::nets::{Control, DecoderNet, PolicyNet};

/// Below so many nats of [`OptionSummary::distance`] the options are alike (our decision).
const ALIKE: f64 = 0.01;
/// From so many nats on they are apart (our decision).
const APART: f64 = 0.1;
/// A latent with less than this share of an even use is unused (our decision).
const UNUSED: f64 = 0.1;

/// How far the options are from one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionsState {
    /// The gold text hardly tells them apart.
    Alike,
    /// It begins to.
    Parting,
    /// It does.
    Apart,
}

/// A plugin on held-out text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OptionSummary {
    /// Answer tokens that were scored.
    pub tokens: usize,
    /// Mean `-log p(x)` of a token, in nats, without a plugin.
    pub backbone_cross_entropy: f64,
    /// That of the control.
    pub control_cross_entropy: f64,
    /// That of the mixture of all options by the policy.
    pub mixture_cross_entropy: f64,
    /// KL(q, pi) with q the exact posterior of a latent, in nats: the mean over the choices of one.
    pub kl: f64,
    /// The same with an even prior in place of pi, whatever the policy: how far the gold text tells
    /// the options apart, from 0, where all are the same, to ln K.
    pub distance: f64,
    /// What the distance means.
    pub options: OptionsState,
    /// The mean of q over the choices: how often each option is the one that the text was written
    /// with. `[K]`
    pub usage: Vec<f64>,
    /// The mean of pi over the choices. `[K]`
    pub policy_usage: Vec<f64>,
    /// The latents that the text hardly uses.
    pub unused: Vec<usize>,
}

impl OptionSummary {
    /// Of a plugin and the control that it was trained on; none without held-out rows.
    pub fn new(
        plugin: &Loaded,
        control: &Loaded,
        head: &OutputHead,
        batches: impl Iterator<Item = Result<FeatureBatch>>,
    ) -> Result<Option<Self>> {
        let nets = Nets {
            control: Control::bind(&control.spec, &|name| control.tensor(name))?,
            decoder: DecoderNet::bind(&plugin.spec, &|name| plugin.tensor(name))?,
            policy: PolicyNet::bind(&plugin.spec, &|name| plugin.tensor(name))?,
        };
        let mut sums = Sums::new(plugin.spec.options);
        for batch in batches {
            sums.add(&nets, head, &batch?)?;
        }
        Ok((sums.tokens > 0).then(|| sums.summary()))
    }
}

struct Nets {
    control: Control,
    decoder: DecoderNet,
    policy: PolicyNet,
}

/// Sums over tokens and over choices.
struct Sums {
    tokens: usize,
    choices: usize,
    /// `-log p(x)` of backbone, control and mixture.
    cross_entropies: [f64; 3],
    kl: f64,
    distance: f64,
    usage: Vec<f64>,
    policy_usage: Vec<f64>,
}

impl Sums {
    fn new(options: usize) -> Self {
        let usage = vec![0.0; options];
        Self {
            tokens: 0,
            choices: 0,
            cross_entropies: [0.0; 3],
            kl: 0.0,
            distance: 0.0,
            policy_usage: usage.clone(),
            usage,
        }
    }

    fn add(&mut self, nets: &Nets, head: &OutputHead, batch: &FeatureBatch) -> Result<()> {
        let options = nets.decoder.options(&batch.hidden)?;
        let control = nets.control.forward(&batch.hidden)?.unsqueeze(1)?;
        let all = Tensor::cat(&[&batch.hidden.unsqueeze(1)?, &control, &options], 1)?;
        let log_prob = head.full_log_prob(&all, &batch.next)?;
        let single = |column| log_prob.narrow(1, column, 1);
        let log_policy = log_softmax(&nets.policy.logits(&batch.segments.first(&batch.hidden)?)?, D::Minus1)?;
        let likelihood = batch.segments.sum(&log_prob.narrow(1, 2, options.dim(1)?)?.contiguous()?)?;
        let joint = (&log_policy + &likelihood)?;
        let log_q = log_softmax(&joint, D::Minus1)?;
        let q = log_q.exp()?;
        self.tokens += batch.len();
        self.choices += log_q.dim(0)?;
        let mixture = joint.log_sum_exp(D::Minus1)?;
        for (sum, log) in self.cross_entropies.iter_mut().zip([single(0)?, single(1)?, mixture]) {
            *sum -= total(&log)?;
        }
        self.kl += total(&(&q * (&log_q - &log_policy)?)?)?;
        let even = log_softmax(&likelihood, D::Minus1)?;
        self.distance += total(&(even.exp()? * (even + (options.dim(1)? as f64).ln())?)?)?;
        add(&mut self.usage, &q)?;
        add(&mut self.policy_usage, &log_policy.exp()?)
    }

    fn summary(self) -> OptionSummary {
        let (tokens, choices) = (self.tokens as f64, self.choices as f64);
        let share = |usage: Vec<f64>| usage.into_iter().map(|sum| sum / choices).collect::<Vec<f64>>();
        let (usage, policy_usage) = (share(self.usage), share(self.policy_usage));
        let even = (usage.len() as f64).recip();
        let distance = self.distance / choices;
        let [backbone, control, mixture] = self.cross_entropies.map(|sum| sum / tokens);
        OptionSummary {
            tokens: self.tokens,
            backbone_cross_entropy: backbone,
            control_cross_entropy: control,
            mixture_cross_entropy: mixture,
            kl: self.kl / choices,
            distance,
            options: match distance {
                distance if distance < ALIKE => OptionsState::Alike,
                distance if distance < APART => OptionsState::Parting,
                _ => OptionsState::Apart,
            },
            unused: (0..usage.len()).filter(|&z| usage[z] < UNUSED * even).collect(),
            usage,
            policy_usage,
        }
    }
}

fn total(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.sum_all()?.to_scalar::<f32>()?))
}

/// Adds the sum of the rows `[N, K]`.
fn add(sums: &mut [f64], rows: &Tensor) -> Result<()> {
    let more = rows.sum(0)?.to_vec1::<f32>()?;
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += f64::from(more));
    Ok(())
}

impl fmt::Display for OptionSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, backbone_cross_entropy, control_cross_entropy, mixture_cross_entropy, distance, .. } = self;
        write!(
            f,
            "on {tokens} held-out answer tokens, cross-entropy: backbone {backbone_cross_entropy:.3}, control \
             {control_cross_entropy:.3}, mixture of the options {mixture_cross_entropy:.3}"
        )?;
        if self.usage.len() < 2 {
            return Ok(());
        }
        let state = match self.options {
            OptionsState::Alike => "are still alike: train longer, or with a higher --kl-target",
            OptionsState::Parting => "are parting",
            OptionsState::Apart => "are apart",
        };
        let usage: Vec<String> = self.usage.iter().map(|share| format!("{share:.2}")).collect();
        write!(
            f,
            "\nthe options {state} (the text tells them apart by {distance:.3} nats a choice); used: {}",
            usage.join(" ")
        )?;
        if self.unused.is_empty() {
            return Ok(());
        }
        let unused: Vec<String> = self.unused.iter().map(usize::to_string).collect();
        write!(f, "; hardly used: {}", unused.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::deploy;
    use crate::plugin::nets::names;
    use crate::testing::{self, assert_close};
    use ollm_runtime::plugin::schema::DecoderKind;

    fn summary(plugin: &Loaded) -> OptionSummary {
        let frozen = testing::frozen(8, 12);
        let features = testing::features(&frozen, 64);
        let head = OutputHead::new(&frozen, 1 << 20).unwrap();
        let batches = [0..40, 40..64].map(|rows: std::ops::Range<u32>| features.batch(&rows.collect::<Vec<_>>()));
        OptionSummary::new(plugin, &deploy::control(plugin).unwrap(), &head, batches.into_iter()).unwrap().unwrap()
    }

    fn plugin() -> Loaded {
        let spec = testing::spec(8, DecoderKind::LowRank { width: 8, rank: 2 });
        Loaded { tensors: testing::random_params(&spec).tensors(), spec }
    }

    #[test]
    fn options_without_a_difference_are_alike_and_the_control() {
        let mut same = plugin();
        let zeros = same.tensors[names::DELTA_OUT].zeros_like().unwrap();
        same.tensors.insert(names::DELTA_OUT.into(), zeros);
        let found = summary(&same);
        assert_eq!((found.tokens, found.options), (64, OptionsState::Alike));
        assert_close(found.mixture_cross_entropy as f32, found.control_cross_entropy as f32, 1e-4);
        assert!((found.backbone_cross_entropy - found.control_cross_entropy).abs() > 1e-3);
        assert!(
            found.kl.abs() < 1e-5 && found.distance.abs() < 1e-5 && found.to_string().contains("still alike"),
            "{found}"
        );
    }

    #[test]
    fn options_that_differ_are_apart_and_one_that_nobody_chooses_is_unused() {
        let mut large = plugin();
        let scaled = (&large.tensors[names::DELTA_OUT] * 8.0).unwrap();
        large.tensors.insert(names::DELTA_OUT.into(), scaled);
        let found = summary(&deploy::constant_policy(&large, &[0.5, 0.5, 1e-6]).unwrap());
        assert_eq!((found.options, found.unused.as_slice()), (OptionsState::Apart, &[2][..]), "{found}");
        // The policy decides how often options are used, not how far they are from one another.
        let even = summary(&large);
        assert!((even.distance - found.distance).abs() < 1e-6 && (even.kl - found.kl).abs() > 1e-3);
        for usage in [&found.usage, &found.policy_usage] {
            assert_close(usage.iter().sum::<f64>() as f32, 1.0, 1e-4);
        }
        assert_close(found.policy_usage[0] as f32, 0.5, 1e-3);
        assert!(found.to_string().contains("hardly used: 2"), "{found}");
    }

    #[test]
    fn without_held_out_text_there_is_nothing_to_say() {
        let (plugin, frozen) = (plugin(), testing::frozen(8, 12));
        let head = OutputHead::new(&frozen, 1 << 20).unwrap();
        let control = deploy::control(&plugin).unwrap();
        assert_eq!(OptionSummary::new(&plugin, &control, &head, std::iter::empty()).unwrap(), None);
    }
}
