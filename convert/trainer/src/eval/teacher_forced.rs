//! `eval`: held-out scores, teacher-forced, with the full head.
//!
//! Each answer token is predicted from the gold tokens before it by the backbone, the control and
//! the option set, the latter in several ways: policy (the most probable latent's first token),
//! mixture (`sum_z pi p`), joint (the most probable pair of latent and token), sampled (a latent
//! drawn from pi; its exact expectation, not a draw) and oracle.

use std::fmt;

use candle_core::{D, DType, Tensor};
use candle_nn::ops::{log_softmax, softmax_last_dim};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::eval::coverage::{self, Estimate};
use crate::features::backbone::Frozen;
use crate::features::head::log_normaliser;
use crate::features::states::{FeatureBatch, Features};
use crate::plugin::file::Loaded;
use crate::plugin::nets::{Control, PluginNet};

/// The pool of [`coverage::threshold`] leaves out probabilities below this: at most 10,000 tokens a
/// position.
const POOL_FLOOR: f32 = 1e-4;

/// The layers that are compared.
pub struct ScoredModels {
    control: Control,
    plugin: PluginNet,
    options: usize,
    reference: Option<PluginNet>,
}

impl ScoredModels {
    /// Binds a run's control and plugin.
    pub fn bind(control: &Loaded, plugin: &Loaded) -> Result<Self> {
        Ok(Self {
            control: Control::bind(&control.spec, &|name| control.tensor(name))?,
            plugin: PluginNet::bind(&plugin.spec, &|name| plugin.tensor(name))?,
            options: plugin.spec.options,
            reference: None,
        })
    }

    /// The same, with another plugin of as many options, that it is compared with.
    pub fn beside(self, reference: &Loaded) -> Result<Self> {
        if reference.spec.options != self.options {
            let reason = format!("has {} options, not {}", reference.spec.options, self.options);
            return Err(Error::Setting { name: "--reference", reason });
        }
        let plugin = PluginNet::bind(&reference.spec, &|name| reference.tensor(name))?;
        Ok(Self { reference: Some(plugin), ..self })
    }
}

/// One number a token for everything that is averaged.
#[derive(Default)]
struct Columns {
    backbone: Vec<f64>,
    control: Vec<f64>,
    policy: Vec<f64>,
    mixture: Vec<f64>,
    joint: Vec<f64>,
    sampled: Vec<f64>,
    oracle: Vec<f64>,
    oracle_likeliest: Vec<f64>,
    distinct: Vec<f64>,
    entropy: Vec<f64>,
    backbone_loss: Vec<f64>,
    control_loss: Vec<f64>,
    mixture_loss: Vec<f64>,
    control_rank: Vec<u32>,
    control_gold: Vec<f32>,
    control_pool: Vec<f32>,
    same_latent: Vec<f64>,
    same_tokens: Vec<f64>,
}

/// The option set of one token, on the host. `[K]` each.
struct OptionSet<'a> {
    /// Each option's most probable token.
    top: &'a [u32],
    /// Its probability.
    top_probability: &'a [f32],
    /// The gold token's log-probability.
    gold: &'a [f32],
    /// log pi(z | h).
    log_policy: &'a [f32],
}

/// Top-1 accuracies.
#[derive(Debug, Serialize)]
pub struct Top1 {
    /// The backbone alone.
    pub backbone: Estimate,
    /// The K = 1 control.
    pub control: Estimate,
    /// First token of the policy's most probable latent.
    pub policy: Estimate,
    /// First token of the mixture.
    pub mixture: Estimate,
    /// Token of the most probable pair of latent and token.
    pub joint: Estimate,
    /// First token of a latent drawn from the policy, in expectation.
    pub sampled: Estimate,
}

/// Cross-entropies, in nats.
#[derive(Debug, Serialize)]
pub struct CrossEntropy {
    /// The backbone alone.
    pub backbone: Estimate,
    /// The K = 1 control.
    pub control: Estimate,
    /// The mixture.
    pub mixture: Estimate,
}

/// The option set as a set of guesses.
#[derive(Debug, Serialize)]
pub struct SetScores {
    /// S: mean number of distinct first tokens.
    pub size: Estimate,
    /// Some option's first token is the gold token.
    pub oracle: Estimate,
    /// It is the first token of the latent that gives it the highest probability.
    pub oracle_likeliest: Estimate,
    /// The control's S most probable tokens hold it.
    pub control_top_m: Estimate,
    /// The control's tokens above a threshold, S on average, hold it.
    pub control_adaptive: Estimate,
}

/// What a plugin has in common with the one that it is compared with.
#[derive(Debug, Serialize)]
pub struct Agreement {
    /// The policy's most probable latent is the same.
    pub policy: Estimate,
    /// The share of latents whose option has the same first token.
    pub options: Estimate,
}

/// What `eval` reports.
#[derive(Debug, Serialize)]
pub struct EvalReport {
    /// Problems scored.
    pub problems: usize,
    /// Answer tokens scored.
    pub tokens: usize,
    /// Option count K.
    pub option_count: usize,
    /// Top-1 accuracies.
    pub top1: Top1,
    /// Cross-entropies.
    pub cross_entropy: CrossEntropy,
    /// The option set as a set of guesses.
    pub set: SetScores,
    /// Mean entropy of the policy, in nats.
    pub policy_entropy: Estimate,
    /// Agreement with the reference, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
}

/// Scores all rows of `features`, holding at most about `budget` bytes of logits.
pub fn evaluate(
    frozen: &Frozen,
    features: &Features<'_>,
    models: &ScoredModels,
    budget: usize,
    progress: &dyn Fn(usize),
) -> Result<EvalReport> {
    let rows: Vec<u32> = (0..features.len() as u32).collect();
    let mut columns = Columns::default();
    // Logits, probabilities and one intermediate of the option set exist at once.
    let at_once = (budget / (models.options * frozen.about.backbone.vocab * 12)).max(1);
    for part in rows.chunks(at_once) {
        let batch = features.batch(part)?;
        let gold = batch.next.to_vec1::<u32>()?;
        score_backbone(frozen, &batch, &gold, &mut columns)?;
        score_control(frozen, models, &batch, &gold, &mut columns)?;
        score_options(frozen, models, &batch, &gold, &mut columns)?;
        progress(part.len());
    }
    Ok(columns.report(features.bounds(), models.options))
}

/// Distributions over the vocabulary.
struct Distribution {
    /// `[n, V]`.
    probabilities: Tensor,
    /// log p of the gold token. `[n]`.
    gold: Tensor,
}

impl Distribution {
    /// Of states `[n, d]` whose gold tokens are `[n]`.
    fn new(frozen: &Frozen, states: &Tensor, gold: &Tensor) -> Result<Self> {
        let logits = frozen.head.logits(states)?;
        let probabilities = softmax_last_dim(&logits)?;
        let chosen = logits.gather(&gold.unsqueeze(1)?, 1)?.squeeze(1)?;
        Ok(Self { gold: (chosen - log_normaliser(&logits, &probabilities)?)?, probabilities })
    }

    fn top(&self) -> Result<Vec<u32>> {
        Ok(self.probabilities.argmax(D::Minus1)?.to_dtype(DType::U32)?.to_vec1()?)
    }
}

fn hit(guess: u32, gold: u32) -> f64 {
    if guess == gold { 1.0 } else { 0.0 }
}

fn hits<'a>(guesses: &'a [u32], gold: &'a [u32]) -> impl Iterator<Item = f64> + 'a {
    guesses.iter().zip(gold).map(|(&guess, &gold)| hit(guess, gold))
}

fn losses(log_probs: &Tensor) -> Result<Vec<f64>> {
    Ok(log_probs.to_vec1::<f32>()?.into_iter().map(|log_prob| -f64::from(log_prob)).collect())
}

fn score_backbone(frozen: &Frozen, batch: &FeatureBatch, gold: &[u32], columns: &mut Columns) -> Result<()> {
    let backbone = Distribution::new(frozen, &batch.hidden, &batch.next)?;
    columns.backbone.extend(hits(&backbone.top()?, gold));
    columns.backbone_loss.extend(losses(&backbone.gold)?);
    Ok(())
}

fn score_control(
    frozen: &Frozen,
    models: &ScoredModels,
    batch: &FeatureBatch,
    gold: &[u32],
    columns: &mut Columns,
) -> Result<()> {
    let control = Distribution::new(frozen, &models.control.forward(&batch.hidden)?, &batch.next)?;
    columns.control.extend(hits(&control.top()?, gold));
    columns.control_loss.extend(losses(&control.gold)?);
    let probabilities = control.probabilities.flatten_all()?.to_vec1::<f32>()?;
    for (row, &gold) in probabilities.chunks_exact(frozen.about.backbone.vocab).zip(gold) {
        columns.push_control(row, gold);
    }
    Ok(())
}

fn score_options(
    frozen: &Frozen,
    models: &ScoredModels,
    batch: &FeatureBatch,
    gold: &[u32],
    columns: &mut Columns,
) -> Result<()> {
    let options = models.plugin.decoder.options(&batch.hidden)?;
    let (tokens, k, d) = options.dims3()?;
    let next = batch.next.unsqueeze(1)?.repeat((1, k))?.flatten_all()?;
    let sets = Distribution::new(frozen, &options.reshape((tokens * k, d))?, &next)?;
    let log_policy = log_softmax(&models.plugin.policy.logits(&batch.hidden)?, D::Minus1)?;
    columns.mixture.extend(hits(&mixture_top(&sets, &log_policy)?, gold));
    let top = sets.top()?;
    let top_probability = sets.probabilities.max(D::Minus1)?.to_vec1::<f32>()?;
    let gold_log_prob = sets.gold.to_vec1::<f32>()?;
    let log_policy = log_policy.flatten_all()?.to_vec1::<f32>()?;
    for (token, &gold) in gold.iter().enumerate() {
        let range = token * k..(token + 1) * k;
        let set = OptionSet {
            top: &top[range.clone()],
            top_probability: &top_probability[range.clone()],
            gold: &gold_log_prob[range.clone()],
            log_policy: &log_policy[range],
        };
        columns.push_options(&set, gold);
    }
    drop(sets);
    if let Some(reference) = &models.reference {
        let latents = |policy: &[f32]| -> Vec<usize> {
            policy.chunks_exact(k).map(|row| argmax(row.iter().copied().map(f64::from))).collect()
        };
        let other = reference.decoder.options(&batch.hidden)?.reshape((tokens * k, d))?;
        let other = Distribution::new(frozen, &other, &next)?.top()?;
        let policy = reference.policy.logits(&batch.hidden)?.flatten_all()?.to_vec1::<f32>()?;
        let same = |(a, b)| f64::from(u8::from(a == b));
        columns.same_latent.extend(latents(&log_policy).into_iter().zip(latents(&policy)).map(same));
        let share = |(a, b): (&[u32], &[u32])| hits(a, b).sum::<f64>() / k as f64;
        columns.same_tokens.extend(top.chunks_exact(k).zip(other.chunks_exact(k)).map(share));
    }
    Ok(())
}

/// First tokens of `sum_z pi(z|h) p(x|h,z)`.
fn mixture_top(sets: &Distribution, log_policy: &Tensor) -> Result<Vec<u32>> {
    let (tokens, k) = log_policy.dims2()?;
    let sets = sets.probabilities.reshape((tokens, k, ()))?;
    let mixture = log_policy.exp()?.unsqueeze(1)?.matmul(&sets)?.squeeze(1)?;
    Ok(mixture.argmax(D::Minus1)?.to_dtype(DType::U32)?.to_vec1()?)
}

impl Columns {
    /// `row` is the control's distribution.
    fn push_control(&mut self, row: &[f32], gold: u32) {
        let reference = row[gold as usize];
        self.control_gold.push(reference);
        self.control_rank.push(row.iter().filter(|&&p| p > reference).count() as u32);
        self.control_pool.extend(row.iter().filter(|&&p| p >= POOL_FLOOR));
    }

    fn push_options(&mut self, set: &OptionSet<'_>, gold: u32) {
        let policy: Vec<f64> = set.log_policy.iter().map(|&log_p| f64::from(log_p).exp()).collect();
        let right: Vec<f64> = set.top.iter().map(|&top| hit(top, gold)).collect();
        let joint = argmax(policy.iter().zip(set.top_probability).map(|(pi, &p)| pi * f64::from(p)));
        self.policy.push(right[argmax(policy.iter().copied())]);
        self.joint.push(right[joint]);
        self.sampled.push(policy.iter().zip(&right).map(|(pi, right)| pi * right).sum());
        self.oracle.push(right.iter().copied().fold(0.0, f64::max));
        self.oracle_likeliest.push(right[argmax(set.gold.iter().copied().map(f64::from))]);
        self.distinct.push(distinct(set.top) as f64);
        self.entropy.push(-policy.iter().zip(set.log_policy).map(|(p, &log_p)| p * f64::from(log_p)).sum::<f64>());
        self.mixture_loss.push(-log_sum_exp(set.log_policy.iter().zip(set.gold).map(|(a, b)| f64::from(a + b))));
    }

    fn report(mut self, bounds: &[usize], option_count: usize) -> EvalReport {
        let tokens = self.policy.len();
        let estimate = |values: &[f64]| Estimate::of(values, bounds);
        let size = estimate(&self.distinct);
        let threshold = coverage::threshold(&mut self.control_pool, tokens, size.mean);
        EvalReport {
            problems: bounds.windows(2).filter(|pair| pair[0] < pair[1]).count(),
            tokens,
            option_count,
            top1: Top1 {
                backbone: estimate(&self.backbone),
                control: estimate(&self.control),
                policy: estimate(&self.policy),
                mixture: estimate(&self.mixture),
                joint: estimate(&self.joint),
                sampled: estimate(&self.sampled),
            },
            cross_entropy: CrossEntropy {
                backbone: estimate(&self.backbone_loss),
                control: estimate(&self.control_loss),
                mixture: estimate(&self.mixture_loss),
            },
            set: SetScores {
                size,
                oracle: estimate(&self.oracle),
                oracle_likeliest: estimate(&self.oracle_likeliest),
                control_top_m: estimate(&coverage::top_m(&self.control_rank, size.mean)),
                control_adaptive: estimate(&coverage::adaptive(&self.control_gold, threshold)),
            },
            policy_entropy: estimate(&self.entropy),
            agreement: (!self.same_latent.is_empty())
                .then(|| Agreement { policy: estimate(&self.same_latent), options: estimate(&self.same_tokens) }),
        }
    }
}

/// The first index of the largest value.
fn argmax(values: impl Iterator<Item = f64>) -> usize {
    let best = values.enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(index, _)| index)
}

fn distinct(tokens: &[u32]) -> usize {
    tokens.iter().enumerate().filter(|(index, token)| !tokens[..*index].contains(token)).count()
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = values.clone().fold(f64::NEG_INFINITY, f64::max);
    top + values.map(|value| (value - top).exp()).sum::<f64>().ln()
}

impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problems, tokens, option_count, top1, cross_entropy, set, policy_entropy, agreement } = self;
        writeln!(f, "{problems} problems, {tokens} answer tokens, {option_count} options, teacher-forced\n")?;
        let rows = [
            ("top-1: backbone", top1.backbone),
            ("       control (K = 1)", top1.control),
            ("       policy", top1.policy),
            ("       mixture", top1.mixture),
            ("       joint argmax", top1.joint),
            ("       sampled latent", top1.sampled),
            ("cross-entropy: backbone", cross_entropy.backbone),
            ("       control", cross_entropy.control),
            ("       mixture", cross_entropy.mixture),
            ("option set: size S", set.size),
            ("       oracle", set.oracle),
            ("       oracle, likeliest latent", set.oracle_likeliest),
            ("       control's top S", set.control_top_m),
            ("       control above a threshold", set.control_adaptive),
            ("policy entropy (nats)", *policy_entropy),
        ];
        let agreement = agreement.iter().flat_map(|agreement| {
            [
                ("as the reference: policy's latent", agreement.policy),
                ("       options' first tokens", agreement.options),
            ]
        });
        rows.into_iter()
            .chain(agreement)
            .try_for_each(|(name, value)| writeln!(f, "{name:<34} {:>7.4} ± {:.4}", value.mean, value.standard_error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tensor_file::Tensors;
    use crate::plugin::nets::names;
    use crate::testing::assert_close;
    use candle_core::Device;
    use half::f16;
    use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig, tensors as slots};

    #[test]
    fn one_option_set_by_hand() {
        let mut columns = Columns::default();
        let log = |p: [f32; 3]| p.map(f32::ln);
        let set = OptionSet {
            top: &[7, 9, 7],
            top_probability: &[0.3, 0.9, 0.5],
            gold: &log([0.3, 0.05, 0.5]),
            log_policy: &log([0.4, 0.25, 0.35]),
        };
        columns.push_options(&set, 7);
        // pi: first latent, token 7. Pairs: .12, .225, .175, so the second latent's 9. Drawn: right
        // with .75.
        assert_eq!((columns.policy[0], columns.joint[0], columns.oracle[0]), (1.0, 0.0, 1.0));
        assert_eq!((columns.oracle_likeliest[0], columns.distinct[0]), (1.0, 2.0));
        assert_close(columns.sampled[0] as f32, 0.75, 1e-6);
        assert_close(columns.mixture_loss[0] as f32, -(0.4 * 0.3 + 0.25 * 0.05 + 0.35 * 0.5f32).ln(), 1e-6);
        assert_close(columns.entropy[0] as f32, 1.080_519, 1e-5);
    }

    #[test]
    fn the_controls_ranks_and_pool() {
        let mut columns = Columns::default();
        columns.push_control(&[0.1, 0.6, 0.29995, 0.00005], 0);
        assert_eq!((columns.control_rank[0], columns.control_gold[0]), (2, 0.1));
        assert_eq!(columns.control_pool.len(), 3);
    }

    /// Two options whose deltas point at tokens 0 and 1 of a head that is the identity.
    fn hand_made(spec: &PluginConfig) -> Loaded {
        let zeros = |dims: &Vec<usize>| Tensor::zeros(dims.clone(), DType::F32, &Device::Cpu).unwrap();
        let mut tensors: Tensors =
            slots(spec).into_iter().map(|(name, dims)| (name.to_owned(), zeros(&dims))).collect();
        let mut set = |name: &str, values: &[f32]| {
            let dims = tensors[name].shape().clone();
            tensors.insert(name.into(), Tensor::from_slice(values, dims, &Device::Cpu).unwrap());
        };
        set(names::NORM, &[1.0; 3]);
        set(names::POLICY_NORM, &[1.0; 3]);
        set(names::DELTA_IN, &[1.0; 6]);
        set(names::DELTA_OUT, &[5.0, 0.0, 0.0, 0.0, 5.0, 0.0]);
        set("ollm.policy.out.bias", &[0.0, 1.0]);
        Loaded { spec: spec.clone(), tensors }
    }

    #[test]
    fn a_whole_evaluation_by_hand() {
        let identity: Vec<f32> = (0..9).map(|i| if i % 4 == 0 { 1.0 } else { 0.0 }).collect();
        let about = crate::testing::description(3, 3);
        let frozen = Frozen::new(about, identity.clone(), identity, &Device::Cpu).unwrap();
        let decoder = DecoderKind::LowRank { width: 1, rank: 1 };
        let spec = PluginConfig { options: 2, policy_width: 1, encoder_width: 1, ..crate::testing::spec(3, decoder) };
        let loaded = hand_made(&spec);
        let models = ScoredModels::bind(&loaded, &loaded).unwrap();
        // The backbone says token 2 each time; option 0 says 0, option 1 says 1; the policy prefers
        // option 1.
        let states: Vec<f16> = [0.1f32, 0.2, 1.0].repeat(4).into_iter().map(f16::from_f32).collect();
        let features = Features::new(&states, vec![0, 1, 1, 2], 3, vec![0, 2, 4], &Device::Cpu);
        // Its options are told apart, but the policy prefers the other one.
        let mut other = hand_made(&spec);
        other.tensors.insert("ollm.policy.out.bias".into(), Tensor::new(&[1.0f32, 0.0], &Device::Cpu).unwrap());
        let more = Loaded { spec: PluginConfig { options: 3, ..spec.clone() }, tensors: other.tensors.clone() };
        assert!(ScoredModels::bind(&loaded, &loaded).unwrap().beside(&more).is_err());
        let models = models.beside(&other).unwrap();
        for budget in [1, 1 << 20] {
            let report = evaluate(&frozen, &features, &models, budget, &|_| ()).unwrap();
            let agreement = report.agreement.unwrap();
            assert_eq!((agreement.policy.mean, agreement.options.mean), (0.0, 1.0));
            let top1 = &report.top1;
            let means = [top1.backbone, top1.control, top1.policy, top1.mixture, top1.joint].map(|e| e.mean);
            assert_eq!(means.map(|mean| format!("{mean:.2}")), ["0.25", "0.25", "0.50", "0.50", "0.50"]);
            assert_eq!((report.set.size.mean, report.set.oracle.mean, report.tokens), (2.0, 0.75, 4));
            // The control's two first tokens are 2 and 1: three of four.
            assert_eq!((report.set.control_top_m.mean, report.set.control_adaptive.mean), (0.75, 0.75));
            let pi = 1f64.exp() / (1.0 + 1f64.exp());
            assert_close(top1.sampled.mean as f32, (pi * 0.5 + (1.0 - pi) * 0.25) as f32, 1e-6);
        }
    }
}
