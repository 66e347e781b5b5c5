//! What is minimised, written on `[B, K]` log-probabilities: the control's cross-entropy and two
//! objectives of an option set.
//!
//! **Prior** (our decision). h does not depend on z, so the posterior is exact: `q(z) ∝ pi(z|h)
//! p(x|h,z)^(1/beta)`. With q held constant the loss is `-E_q[log p] - E_q[log pi]`, plus 0.02
//! times KL(mean q, uniform), through which gradients do flow into p and pi (through a constant it
//! would do nothing). beta is adapted until KL(q, pi) meets its target. The encoder is fitted to q
//! in the same pass.
//!
//! **Prior, held** (our decision). A latent that is held for a segment s (a line, or the whole
//! answer) has the exact posterior `q(z) ∝ pi(z|h_s) prod_t p(x_t|h_t,z)`, with `h_s` the state at
//! the segment's first token; the loss is `-E_q[log p]`, averaged over tokens, and `-E_q[log
//! pi(z|h_s)]`, averaged over segments. Products over segments are so different that one latent
//! would soon win everywhere; so q is balanced over the batch's segments by Sinkhorn's iteration:
//! all latents are used equally often, each where it is relatively best. The exponent 1/beta of the
//! product is adapted as above: without it options that begin alike stay alike, since a balanced q
//! is then nearly uniform.
//!
//! **Paper** (arXiv 2604.19087, section 2.2, from a reader's notes). z is drawn from the encoder by
//! a Gumbel-softmax with straight-through gradients; the loss is `-log p(x|h,z) + |KL(q, uniform) -
//! target|`. The paper says that KL is pulled to 0.2 nats, not how: the absolute difference with
//! weight 1, of the batch's mean KL, is our decision. The policy imitates the encoder in the same
//! pass.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{log_softmax, softmax};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::features::segments::{Hold, Segments};

/// Weight of KL(mean q, uniform), which keeps every latent in use.
const BALANCE_WEIGHT: f64 = 0.02;
/// Weight of the mixture's cross-entropy beside the policy's expected accuracy (our decision).
const MIXTURE_WEIGHT: f64 = 0.1;
/// Where beta stops: products of any text stay finite, and a posterior can be as sharp or flat as
/// anyone can use.
const BETA: (f64, f64) = (1e-3, 1e3);
/// Temperature of the Gumbel-softmax.
const GUMBEL_TEMPERATURE: f64 = 1.0;
/// Sinkhorn's iteration ends when every latent's use is within this share of its part, or after so
/// many rounds.
const SINKHORN_TOLERANCE: f64 = 1e-3;
const SINKHORN_ROUNDS: usize = 200;

/// Which objective trains the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Learned prior, exact posterior.
    Prior,
    /// The paper's: encoder, Gumbel-softmax, KL to uniform.
    Paper,
}

impl Objective {
    /// As in the plugin's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prior => "prior",
            Self::Paper => "paper",
        }
    }

    /// The KL target unless another is asked for: 0.2 nats is the paper's; 0.15 gave our first
    /// experiments an option set of two to three tokens.
    ///
    /// Held latents, which have to part, get 1 nat, or half of ln K where that is less: an even
    /// policy is ln K from a sure posterior.
    pub fn default_target(self, hold: Hold, options: usize) -> f64 {
        match (self, hold) {
            (Self::Prior, Hold::Token) => 0.15,
            (Self::Prior, _) if options > 1 => (0.5 * (options as f64).ln()).min(1.0),
            (Self::Prior, _) => 1.0,
            (Self::Paper, _) => 0.2,
        }
    }
}

/// A batch's loss and what is reported beside it: all of them scalars, means over the batch.
pub struct Terms {
    /// What is minimised.
    pub loss: Tensor,
    /// `-log p(x)` of the mixture; of the drawn option where objective `paper` trains.
    pub cross_entropy: Tensor,
    /// KL(q, pi) of objective `prior`, KL(q, uniform) of objective `paper`.
    pub kl: Tensor,
    /// Entropy of the batch's mean q: ln K when all latents are used equally often.
    pub usage_entropy: Tensor,
    /// Mean entropy of pi.
    pub policy_entropy: Tensor,
    /// How often a latent drawn from the policy has the gold token first; of the policy's own
    /// objective alone.
    pub accuracy: Option<Tensor>,
}

/// The [`Terms`] as numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// [`Terms::loss`].
    pub objective: f64,
    /// [`Terms::cross_entropy`].
    pub cross_entropy: f64,
    /// [`Terms::kl`].
    pub kl: f64,
    /// [`Terms::usage_entropy`].
    pub usage_entropy: f64,
    /// [`Terms::policy_entropy`].
    pub policy_entropy: f64,
    /// [`Terms::accuracy`].
    pub accuracy: Option<f64>,
}

impl Terms {
    /// The terms on the host, by one transfer.
    pub fn measure(&self) -> Result<Measured> {
        let Self { loss, cross_entropy, kl, usage_entropy, policy_entropy, accuracy } = self;
        let all = [loss, cross_entropy, kl, usage_entropy, policy_entropy].into_iter().chain(accuracy);
        let all = Tensor::stack(&all.map(Tensor::detach).collect::<Vec<_>>(), 0)?.to_vec1::<f32>()?;
        let all: Vec<f64> = all.into_iter().map(f64::from).collect();
        Ok(Measured {
            objective: all[0],
            cross_entropy: all[1],
            kl: all[2],
            usage_entropy: all[3],
            policy_entropy: all[4],
            accuracy: all.get(5).copied(),
        })
    }
}

impl Measured {
    /// As numbers that ranks exchange, behind the number of rows.
    pub(super) fn numbers(&self, rows: usize) -> [f64; 7] {
        let &Self { objective, cross_entropy, kl, usage_entropy, policy_entropy, accuracy } = self;
        let accuracy = accuracy.unwrap_or(f64::NAN);
        [rows as f64, objective, cross_entropy, kl, usage_entropy, policy_entropy, accuracy]
    }

    /// What [`Self::numbers`] made numbers of.
    pub(super) fn of_numbers(numbers: &[f64]) -> (Self, usize) {
        let accuracy = (!numbers[6].is_nan()).then_some(numbers[6]);
        let [objective, cross_entropy, kl, usage_entropy, policy_entropy] = [1, 2, 3, 4, 5].map(|i| numbers[i]);
        (Self { objective, cross_entropy, kl, usage_entropy, policy_entropy, accuracy }, numbers[0] as usize)
    }

    /// The mean of batches, each with its number of rows.
    pub fn mean(batches: &[(Self, usize)]) -> Self {
        let rows: usize = batches.iter().map(|(_, rows)| rows).sum();
        let of = |value: fn(&Self) -> f64| {
            batches.iter().map(|(terms, count)| value(terms) * *count as f64).sum::<f64>() / rows as f64
        };
        let has_accuracy = batches.iter().all(|(terms, _)| terms.accuracy.is_some());
        Self {
            objective: of(|terms| terms.objective),
            cross_entropy: of(|terms| terms.cross_entropy),
            kl: of(|terms| terms.kl),
            usage_entropy: of(|terms| terms.usage_entropy),
            policy_entropy: of(|terms| terms.policy_entropy),
            accuracy: has_accuracy.then(|| of(|terms| terms.accuracy.unwrap_or(0.0))),
        }
    }
}

/// The control's loss. `log_prob` `[B, 1]`.
pub fn cross_entropy(log_prob: &Tensor) -> Result<Terms> {
    let loss = log_prob.mean_all()?.neg()?;
    let zero = loss.detach().zeros_like()?;
    Ok(Terms {
        cross_entropy: loss.detach(),
        loss,
        kl: zero.clone(),
        usage_entropy: zero.clone(),
        policy_entropy: zero,
        accuracy: None,
    })
}

/// log q(z), the exact posterior of one token: normalised `log pi + log p / beta`. `[B, K]`, `[B,
/// K]` -> `[B, K]`.
pub fn log_posterior(log_policy: &Tensor, log_prob: &Tensor, beta: f64) -> Result<Tensor> {
    Ok(log_softmax(&(log_policy + (log_prob / beta)?)?, D::Minus1)?)
}

/// The learned-prior objective. `log_prob`, `policy` and `encoder` (logits) are `[B, K]`.
pub fn prior(log_prob: &Tensor, policy: &Tensor, encoder: &Tensor, beta: f64) -> Result<Terms> {
    let log_policy = log_softmax(policy, D::Minus1)?;
    let log_q = log_posterior(&log_policy, log_prob, beta)?;
    let q = log_q.exp()?.detach();
    let expected = expectation(&q, &(log_prob + &log_policy)?)?;
    let imitation = expectation(&q, &log_softmax(encoder, D::Minus1)?)?;
    let balance = balance(&log_q.exp()?)?;
    Ok(Terms {
        loss: ((balance * BALANCE_WEIGHT)? - (expected + imitation)?)?,
        cross_entropy: mixture_cross_entropy(&log_policy, log_prob)?,
        kl: expectation(&q, &(log_q - &log_policy)?.detach())?,
        usage_entropy: usage_entropy(&q)?,
        policy_entropy: entropy(&log_policy)?,
        accuracy: None,
    })
}

/// The learned-prior objective of latents that are held for segments. `log_prob` and `encoder`
/// (logits) are `[B, K]`, `policy` (logits at the segments' first tokens) is `[S, K]`. The encoder
/// learns its segment's q at each token. `balanced`: for training; held-out text has the posterior
/// as it is.
pub fn held(
    log_prob: &Tensor,
    policy: &Tensor,
    encoder: &Tensor,
    segments: &Segments,
    beta: f64,
    balanced: bool,
) -> Result<Terms> {
    let log_policy = log_softmax(policy, D::Minus1)?;
    let likelihood = segments.sum(&log_prob.detach())?;
    let joint = (log_policy.detach() + &likelihood)?;
    let log_q = if balanced {
        balance_usage(&(log_policy.detach() + (likelihood / beta)?)?)?
    } else {
        log_posterior(&log_policy.detach(), &likelihood, beta)?
    };
    let q = log_q.exp()?;
    let q_of_token = segments.spread(&q)?;
    let expected = expectation(&q_of_token, &(log_prob + log_softmax(encoder, D::Minus1)?)?)?;
    Ok(Terms {
        loss: (expected + expectation(&q, &log_policy)?)?.neg()?,
        cross_entropy: per_token(&joint.log_sum_exp(D::Minus1)?, log_prob)?.neg()?,
        kl: expectation(&q, &(log_q - log_policy.detach())?)?,
        usage_entropy: usage_entropy(&q)?,
        policy_entropy: entropy(&log_policy)?,
        accuracy: None,
    })
}

/// The distributions nearest to softmax(scores) of which all latents have equal parts: `scores +
/// shift[z]`, normalised, by Sinkhorn's iteration in f64 on the host. `[S, K]` -> `[S, K]`,
/// logarithms; not differentiable.
fn balance_usage(scores: &Tensor) -> Result<Tensor> {
    let mut rows: Vec<Vec<f64>> = scores.to_dtype(DType::F64)?.to_vec2()?;
    let (segments, latents) = (rows.len(), rows[0].len());
    let part = (segments as f64 / latents as f64).ln();
    for _ in 0..SINKHORN_ROUNDS {
        normalize(&mut rows);
        let uses: Vec<f64> = (0..latents).map(|z| log_sum_exp(rows.iter().map(|row| row[z])) - part).collect();
        if uses.iter().all(|excess| excess.abs() < SINKHORN_TOLERANCE) {
            break;
        }
        for row in &mut rows {
            row.iter_mut().zip(&uses).for_each(|(score, excess)| *score -= excess);
        }
    }
    normalize(&mut rows);
    let flat: Vec<f64> = rows.concat();
    Ok(Tensor::from_vec(flat, (segments, latents), &Device::Cpu)?
        .to_dtype(scores.dtype())?
        .to_device(scores.device())?)
}

/// Makes each row a distribution.
fn normalize(rows: &mut [Vec<f64>]) {
    for row in rows {
        let total = log_sum_exp(row.iter().copied());
        for score in row {
            *score -= total;
        }
    }
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = values.clone().fold(f64::NEG_INFINITY, f64::max);
    top + values.map(|value| (value - top).exp()).sum::<f64>().ln()
}

/// The policy's own objective, on finished options: `-E_pi[is_first]`, how often a latent drawn
/// from the policy has the gold token first (the exact policy gradient, since a step's rewards are
/// known for every latent), plus 0.1 times the mixture's cross-entropy, so that pi stays a
/// distribution; both a token. `is_first` and `log_prob` are `[B, K]`, `policy` (logits at the
/// segments' first tokens) is `[S, K]`.
pub fn accuracy(is_first: &Tensor, log_prob: &Tensor, policy: &Tensor, segments: &Segments) -> Result<Terms> {
    let log_policy = log_softmax(policy, D::Minus1)?;
    let joint = (&log_policy + segments.sum(&log_prob.detach())?)?;
    let mixture = per_token(&joint.log_sum_exp(D::Minus1)?, log_prob)?.neg()?;
    let policy = log_policy.exp()?;
    let right = per_token(&(&policy * segments.sum(is_first)?)?, is_first)?;
    let loss = ((&mixture * MIXTURE_WEIGHT)? - &right)?;
    Ok(Terms {
        kl: loss.detach().zeros_like()?,
        loss,
        cross_entropy: mixture.detach(),
        usage_entropy: usage_entropy(&policy)?,
        policy_entropy: entropy(&log_policy)?,
        accuracy: Some(right.detach()),
    })
}

/// The paper's objective. `log_prob` `[B, 1]` belongs to the drawn option; `policy` and `encoder`
/// (logits) are `[B, K]`.
pub fn paper(log_prob: &Tensor, policy: &Tensor, encoder: &Tensor, target: f64) -> Result<Terms> {
    let log_policy = log_softmax(policy, D::Minus1)?;
    let log_q = log_softmax(encoder, D::Minus1)?;
    let kl = divergence_from_uniform(&log_q)?;
    let q = log_q.exp()?.detach();
    let reconstruction = log_prob.mean_all()?.neg()?;
    let pull = (&kl - target)?.abs()?;
    Ok(Terms {
        loss: ((&reconstruction + pull)? - expectation(&q, &log_policy)?)?,
        cross_entropy: reconstruction.detach(),
        kl: kl.detach(),
        usage_entropy: usage_entropy(&q)?,
        policy_entropy: entropy(&log_policy)?,
        accuracy: None,
    })
}

/// How a plugin trained by the paper's objective does on held-out text: nothing is drawn, all
/// options `[B, K]` are scored.
pub fn paper_evaluation(log_prob: &Tensor, policy: &Tensor, encoder: &Tensor) -> Result<Terms> {
    let log_policy = log_softmax(policy, D::Minus1)?;
    let log_q = log_softmax(encoder, D::Minus1)?;
    let q = log_q.exp()?;
    Ok(Terms {
        loss: expectation(&q, log_prob)?.neg()?,
        cross_entropy: mixture_cross_entropy(&log_policy, log_prob)?,
        kl: divergence_from_uniform(&log_q)?,
        usage_entropy: usage_entropy(&q)?,
        policy_entropy: entropy(&log_policy)?,
        accuracy: None,
    })
}

/// A one-hot sample of softmax(logits) whose gradient is that of the relaxed sample (Jang, Gu,
/// Poole 2017; the straight-through variant). `gumbel` holds standard Gumbel noise. `[B, K]` ->
/// `[B, K]`.
pub fn straight_through(logits: &Tensor, gumbel: &Tensor) -> Result<Tensor> {
    let soft = softmax(&((logits + gumbel)? / GUMBEL_TEMPERATURE)?, D::Minus1)?;
    let hard = soft.broadcast_eq(&soft.max_keepdim(D::Minus1)?)?.to_dtype(soft.dtype())?;
    Ok(((&hard - soft.detach())? + soft)?)
}

/// The next beta, of 0.001 to 1000: log beta moves up while KL is above its target, down while it
/// is below, at most 0.05 a step.
pub fn adapt(beta: f64, kl: f64, target: f64) -> f64 {
    let size = 0.05 * ((kl - target).abs() / target).min(1.0);
    (beta.ln() + size * (kl - target).signum()).exp().clamp(BETA.0, BETA.1)
}

/// mean over the batch of sum over z of weight · value.
fn expectation(weight: &Tensor, value: &Tensor) -> Result<Tensor> {
    Ok((weight * value)?.sum(D::Minus1)?.mean_all()?)
}

/// The sum of all values, divided by the number of rows of `rows` `[B, K]`.
fn per_token(values: &Tensor, rows: &Tensor) -> Result<Tensor> {
    Ok((values.sum_all()? / rows.dim(0)? as f64)?)
}

/// `-log sum_z pi(z|h) p(x|h,z)`, averaged.
fn mixture_cross_entropy(log_policy: &Tensor, log_prob: &Tensor) -> Result<Tensor> {
    Ok((log_policy + log_prob)?.detach().log_sum_exp(D::Minus1)?.mean_all()?.neg()?)
}

fn entropy(log_p: &Tensor) -> Result<Tensor> {
    let log_p = log_p.detach();
    Ok(expectation(&log_p.exp()?, &log_p)?.neg()?)
}

/// Mean KL of a distribution of K latents from uniform.
fn divergence_from_uniform(log_q: &Tensor) -> Result<Tensor> {
    Ok((expectation(&log_q.exp()?, log_q)? + (log_q.dim(D::Minus1)? as f64).ln())?)
}

/// KL(mean q, uniform), differentiable.
fn balance(q: &Tensor) -> Result<Tensor> {
    let mean = q.mean(0)?;
    // A latent that is never used must not make 0 · log 0.
    let log_mean = (&mean + 1e-12)?.log()?;
    Ok(((mean * log_mean)?.sum_all()? + (q.dim(D::Minus1)? as f64).ln())?)
}

fn usage_entropy(q: &Tensor) -> Result<Tensor> {
    let latents = q.dim(D::Minus1)? as f64;
    Ok((balance(&q.detach())?.neg()? + latents.ln())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, assert_close};
    use candle_core::Var;

    fn tensor<const N: usize>(values: &[[f32; 2]; N]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    fn scalar(tensor: &Tensor) -> f32 {
        tensor.to_scalar().unwrap()
    }

    #[test]
    fn with_one_latent_both_objectives_are_cross_entropy() {
        let log_prob = Tensor::new(&[[-0.5f32], [-2.0], [-1.1]], &Device::Cpu).unwrap();
        let logits = log_prob.zeros_like().unwrap();
        let expected = scalar(&cross_entropy(&log_prob).unwrap().loss);
        assert_close(expected, 1.2, 1e-6);
        let prior = prior(&log_prob, &logits, &logits, 0.3).unwrap();
        assert_close(scalar(&prior.loss), expected, 1e-6);
        assert_close(scalar(&prior.cross_entropy), expected, 1e-6);
        let paper = paper(&log_prob, &logits, &logits, 0.0).unwrap();
        assert_close(scalar(&paper.loss), expected, 1e-6);
    }

    #[test]
    fn the_posterior_is_bayes_rule() {
        // pi = (1/4, 3/4), p = (8/10, 1/10): the joint is (.2, .075), so q = (8/11, 3/11).
        let log_policy = tensor(&[[0.25, 0.75]]).log().unwrap();
        let log_prob = tensor(&[[0.8, 0.1]]).log().unwrap();
        let q = log_posterior(&log_policy, &log_prob, 1.0).unwrap().exp().unwrap().to_vec2::<f32>().unwrap();
        assert_close(q[0][0], 8.0 / 11.0, 1e-6);
        // With beta = 1/2 the likelihood counts twice: (.16, .0075).
        let q = log_posterior(&log_policy, &log_prob, 0.5).unwrap().exp().unwrap().to_vec2::<f32>().unwrap();
        assert_close(q[0][0], 0.16 / 0.1675, 1e-6);
    }

    #[test]
    fn the_terms_of_the_prior_objective_by_hand() {
        let policy = tensor(&[[0.25, 0.75]]).log().unwrap();
        let log_prob = tensor(&[[0.8, 0.1]]).log().unwrap();
        let encoder = tensor(&[[0.0, 0.0]]);
        let terms = prior(&log_prob, &policy, &encoder, 1.0).unwrap();
        let q = [8.0 / 11.0, 3.0 / 11.0f32];
        let kl = q[0] * (q[0] / 0.25).ln() + q[1] * (q[1] / 0.75).ln();
        let usage = -(q[0] * q[0].ln() + q[1] * q[1].ln());
        let expected = q[0] * 0.2f32.ln() + q[1] * 0.075f32.ln();
        let ln2 = 2f32.ln();
        assert_close(scalar(&terms.cross_entropy), -0.275f32.ln(), 1e-6);
        assert_close(scalar(&terms.kl), kl, 1e-6);
        assert_close(scalar(&terms.usage_entropy), usage, 1e-6);
        assert_close(scalar(&terms.policy_entropy), 0.562_335_2, 1e-6);
        assert_close(scalar(&terms.loss), -expected + ln2 + 0.02 * (ln2 - usage), 1e-6);
    }

    #[test]
    fn the_policys_objective_by_hand() {
        let policy = tensor(&[[0.25, 0.75], [0.5, 0.5]]).log().unwrap();
        let log_prob = tensor(&[[0.8, 0.1], [0.2, 0.4]]).log().unwrap();
        let is_first = tensor(&[[1.0, 0.0], [1.0, 1.0]]);
        let terms = accuracy(&is_first, &log_prob, &policy, &Segments::tokens()).unwrap();
        let mixture = -(0.275f32.ln() + 0.3f32.ln()) / 2.0;
        assert_close(scalar(&terms.cross_entropy), mixture, 1e-6);
        assert_close(scalar(&terms.loss), 0.1 * mixture - 0.625, 1e-6);
    }

    /// Two segments, of two tokens and of one, two latents.
    fn three_tokens() -> (Tensor, Tensor, Segments) {
        let log_prob = tensor(&[[0.8, 0.1], [0.5, 0.25], [0.2, 0.4]]).log().unwrap();
        let policy = tensor(&[[0.25, 0.75], [0.5, 0.5]]).log().unwrap();
        (log_prob, policy, Segments::new(&[2, 1], &Device::Cpu).unwrap())
    }

    #[test]
    fn the_terms_of_held_latents_by_hand() {
        let (log_prob, policy, segments) = three_tokens();
        let encoder = tensor(&[[0.0, 0.0]; 3]);
        let terms = held(&log_prob, &policy, &encoder, &segments, 1.0, false).unwrap();
        // The joint is (.25 · .8 · .5, .75 · .1 · .25) = (.1, .01875) and (.1, .2).
        let q = [[0.1 / 0.11875, 0.01875 / 0.11875], [1.0 / 3.0, 2.0 / 3.0f32]];
        let tokens = [(0, [0.8, 0.1]), (0, [0.5, 0.25]), (1, [0.2, 0.4f32])];
        let expected: f32 = tokens.iter().map(|(s, p)| q[*s][0] * p[0].ln() + q[*s][1] * p[1].ln()).sum::<f32>() / 3.0;
        let pi = [[0.25, 0.75], [0.5, 0.5f32]];
        let each = |f: &dyn Fn(usize, usize) -> f32| -> f32 { (0..4).map(|i| f(i / 2, i % 2)).sum::<f32>() / 2.0 };
        let prior = each(&|s, z| q[s][z] * pi[s][z].ln());
        assert_close(scalar(&terms.loss), -expected - prior + 2f32.ln(), 1e-6);
        assert_close(scalar(&terms.cross_entropy), -(0.11875f32.ln() + 0.3f32.ln()) / 3.0, 1e-6);
        assert_close(scalar(&terms.kl), each(&|s, z| q[s][z] * (q[s][z] / pi[s][z]).ln()), 1e-6);
        let mean = [0, 1].map(|z| f32::midpoint(q[0][z], q[1][z]));
        assert_close(scalar(&terms.usage_entropy), -mean.iter().map(|m| m * m.ln()).sum::<f32>(), 1e-6);
    }

    #[test]
    fn held_for_a_token_the_loss_is_that_of_the_prior_without_its_balance() {
        let log_prob = testing::normal("log-prob", &[4, 3], 1.0);
        let (policy, encoder) = (testing::normal("policy", &[4, 3], 1.0), testing::normal("encoder", &[4, 3], 1.0));
        let held = held(&log_prob, &policy, &encoder, &Segments::tokens(), 1.0, false).unwrap();
        let prior = prior(&log_prob, &policy, &encoder, 1.0).unwrap();
        let balance = BALANCE_WEIGHT * (3f64.ln() - f64::from(scalar(&prior.usage_entropy)));
        assert_close(scalar(&held.loss), scalar(&prior.loss) - balance as f32, 1e-5);
        for (held, prior) in [(held.kl, prior.kl), (held.cross_entropy, prior.cross_entropy)] {
            assert_close(scalar(&held), scalar(&prior), 1e-5);
        }
    }

    #[test]
    fn the_gradient_of_held_latents_is_that_of_the_segments_mixture() {
        // With q held constant: d(-E_q[log p]) = d(-log sum_z pi prod p), summed over segments,
        // divided by the tokens.
        let (segments, scale) = (Segments::new(&[3, 1], &Device::Cpu).unwrap(), 0.7);
        let log_prob = Var::from_tensor(&testing::normal("log-prob", &[4, 3], scale)).unwrap();
        let policy = testing::normal("policy", &[2, 3], scale);
        let encoder = policy.zeros_like().unwrap();
        let encoder = segments.spread(&encoder).unwrap();
        let ours = held(log_prob.as_tensor(), &policy, &encoder, &segments, 1.0, false).unwrap().loss;
        let log_policy = log_softmax(&policy, D::Minus1).unwrap();
        let sums = Tensor::cat(
            &[log_prob.narrow(0, 0, 3).unwrap().sum_keepdim(0).unwrap(), log_prob.narrow(0, 3, 1).unwrap()],
            0,
        );
        let evidence = (log_policy + sums.unwrap()).unwrap().log_sum_exp(D::Minus1).unwrap().sum_all().unwrap();
        let mixture = (evidence / -4.0).unwrap();
        let gradient = |loss: &Tensor| loss.backward().unwrap().get(&log_prob).unwrap().flatten_all().unwrap();
        let difference = (gradient(&ours) - gradient(&mixture)).unwrap().abs().unwrap().max(0).unwrap();
        assert!(scalar(&difference) < 1e-6);
    }

    #[test]
    fn balanced_latents_are_used_equally_often_where_they_are_relatively_best() {
        // Latent 0 is best everywhere, by far; latent 1 is its nearest rival in the last two
        // segments.
        let scores = tensor(&[[0.0, -90.0], [-5.0, -80.0], [3.0, -20.0], [0.0, -25.0]]);
        let q = balance_usage(&scores).unwrap().exp().unwrap().to_vec2::<f32>().unwrap();
        for (row, latent) in q.iter().zip([0, 0, 1, 1]) {
            assert_close(row.iter().sum(), 1.0, 1e-6);
            assert!(row[latent] > 0.9, "{q:?}");
        }
        let even = balance_usage(&testing::normal("scores", &[40, 5], 30.0)).unwrap().exp().unwrap();
        assert_close(scalar(&usage_entropy(&even).unwrap()), 5f32.ln(), 1e-3);
        // Scores that are balanced already stay what they are.
        let same = balance_usage(&tensor(&[[1.0, 0.0], [0.0, 1.0]])).unwrap().to_vec2::<f32>().unwrap();
        assert_close(same[0][0] - same[0][1], 1.0, 1e-5);
    }

    #[test]
    fn the_policys_objective_of_segments_by_hand() {
        let (log_prob, policy, segments) = three_tokens();
        let is_first = tensor(&[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        let terms = accuracy(&is_first, &log_prob, &policy, &segments).unwrap();
        let mixture = -(0.11875f32.ln() + 0.3f32.ln()) / 3.0;
        assert_close(scalar(&terms.cross_entropy), mixture, 1e-6);
        // pi has 2 tokens right with probability 1/4, and 1 with 1/2.
        assert_close(scalar(&terms.loss), 0.1 * mixture - (0.25 * 2.0 + 0.5) / 3.0, 1e-6);
    }

    #[test]
    fn without_balance_the_gradient_at_beta_one_is_that_of_the_mixture() {
        // d(-log sum pi p) = -E_q[d log pi + d log p]: the identity behind holding q constant.
        let policy = Var::from_tensor(&testing::normal("policy", &[3, 4], 1.0)).unwrap();
        let log_prob = testing::normal("log-prob", &[3, 4], 1.0);
        let log_policy = log_softmax(policy.as_tensor(), D::Minus1).unwrap();
        let q = log_posterior(&log_policy, &log_prob, 1.0).unwrap().exp().unwrap().detach();
        let ours = expectation(&q, &(&log_policy + &log_prob).unwrap()).unwrap();
        let mixture = (&log_policy + &log_prob).unwrap().log_sum_exp(D::Minus1).unwrap().mean_all().unwrap();
        let gradient = |loss: &Tensor| loss.backward().unwrap().get(&policy).unwrap().flatten_all().unwrap();
        let difference = (gradient(&ours) - gradient(&mixture)).unwrap().abs().unwrap().max(0).unwrap();
        assert!(scalar(&difference) < 1e-6);
    }

    #[test]
    fn the_drawn_latent_is_one_hot_with_a_soft_gradient() {
        let logits = Var::from_tensor(&tensor(&[[0.3, 0.1], [0.0, 2.0]])).unwrap();
        let noise = tensor(&[[0.0, 1.0], [0.0, 0.0]]);
        let drawn = straight_through(logits.as_tensor(), &noise).unwrap();
        assert_eq!(drawn.to_vec2::<f32>().unwrap(), [[0.0, 1.0], [0.0, 1.0]]);
        let gradients = drawn.narrow(1, 0, 1).unwrap().sum_all().unwrap().backward().unwrap();
        let soft = 1.0 / (1.0 + 0.8f32.exp());
        assert_close(gradients.get(&logits).unwrap().to_vec2::<f32>().unwrap()[0][0], soft * (1.0 - soft), 1e-6);
    }

    #[test]
    fn beta_rises_above_the_target_and_falls_below_it() {
        assert!((adapt(0.9, 10.0, 0.15).ln() - (0.9f64.ln() + 0.05)).abs() < 1e-12);
        assert!((adapt(0.9, 0.0, 0.15).ln() - (0.9f64.ln() - 0.05)).abs() < 1e-12);
        assert!((adapt(0.9, 0.15, 0.15) - 0.9).abs() < 1e-12);
    }

    #[test]
    fn beta_stays_where_products_are_finite() {
        let mut beta = 1.0;
        for _ in 0..5000 {
            beta = adapt(beta, 0.1, 5.0);
        }
        assert!((beta - BETA.0).abs() < 1e-12);
        for _ in 0..5000 {
            beta = adapt(beta, 5.0, 0.1);
        }
        assert!((beta - BETA.1).abs() < 1e-9);
    }
}
