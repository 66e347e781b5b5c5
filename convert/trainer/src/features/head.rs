//! The frozen head: `log p(x | h')` of the gold token for every option, with its gradient but
//! without autograd.
//!
//! Training needs from the head only `log p(x|h') = l_x - lse(l)` with `l = head · h'`. Its
//! gradient with respect to h' is known in closed form, `head[x] - sum_y p(y|h') head[y]`, so the
//! `[B·K, V]` logits need not be kept for a backward pass: they are made, used and dropped chunk by
//! chunk. Where logits have a soft-cap, each row of the head is times the cap's derivative there.
//! `attach` then hands the result to autograd as a constant value whose derivative is that constant
//! *slope*. Every objective is written on top of the `[B, K]` log-probabilities.
//!
//! A batch that carries candidates (see [`crate::features::candidates`]; training on a CPU) is
//! scored over those and a tail, any other over all V tokens. The tail's logit moves with h' along
//! the mean row of the head, `tail + mean(head) · (h' - h)`: otherwise the plugin could raise all
//! candidates against the tail together, which under the full head changes nothing.

use candle_core::{D, Tensor};
use candle_nn::ops::{log_softmax, softmax_last_dim};

use crate::error::{Error, Result};
use crate::features::backbone::{Frozen, LogitHead};
use crate::features::candidates::CandidateBatch;
use crate::features::states::FeatureBatch;

/// The head, and how much of its logits is held at once.
pub struct OutputHead {
    /// What gives them.
    head: LogitHead,
    /// Its mean row. `[d]`.
    mean: Tensor,
    /// Rows of logits made at once.
    rows: usize,
}

/// How far distributions over tokens are from others, and how wide they are, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// The mean KL.
    pub kl: f64,
    /// The mean entropy.
    pub entropy: f64,
}

/// The gold token's log-probability and its derivative.
struct Scores {
    /// log p(x | h'). `[B, K]`.
    value: Tensor,
    /// d value / d h'. `[B, K, d]`.
    slope: Tensor,
}

impl OutputHead {
    /// The head, holding at most about `budget` bytes of logits.
    pub fn new(frozen: &Frozen, budget: usize) -> Result<Self> {
        // Logits and their softmax exist at the same time, in f32.
        let rows = (budget / (frozen.about.backbone.vocab * 8)).max(1);
        Ok(Self { head: frozen.head.clone(), mean: frozen.head.weight.mean(0)?, rows })
    }

    /// log p(x | h'_z) of the batch's gold tokens, differentiable in `options` `[B, K, d]`. -> `[B,
    /// K]`.
    pub fn log_prob(&self, options: &Tensor, batch: &FeatureBatch) -> Result<Tensor> {
        let constant = options.detach().contiguous()?;
        let scores = match &batch.candidates {
            None => self.score_full(&constant, &batch.next)?,
            Some(candidates) => self.score_candidates(&constant, batch, candidates)?,
        };
        attach(options, &scores)
    }

    /// The same without a derivative, always over all tokens: what evaluations look at.
    pub fn full_log_prob(&self, options: &Tensor, next: &Tensor) -> Result<Tensor> {
        let (batch, count, _) = options.dims3()?;
        let value = |logits: &Tensor, gold: &Tensor| {
            let normaliser = log_normaliser(logits, &softmax_last_dim(logits)?)?;
            Ok((logits.gather(&gold.unsqueeze(1)?, 1)?.squeeze(1)? - normaliser)?)
        };
        let values = self.full(options, next, &mut |states, gold| value(&self.head.logits(states)?, gold))?;
        Ok(Tensor::cat(&values, 0)?.reshape((batch, count))?)
    }

    /// How far the next token's distribution at `now` is from that at `first`, both `[N, d]`, over
    /// all tokens: KL(now, first) in nats, the mean over rows; and the entropy of `now`.
    pub fn divergence(&self, now: &Tensor, first: &Tensor) -> Result<Divergence> {
        let count = now.dim(0)?;
        let mut sums = Divergence { kl: 0.0, entropy: 0.0 };
        for start in (0..count).step_by(self.rows) {
            let log_prob = |states: &Tensor| {
                let states = states.narrow(0, start, self.rows.min(count - start))?;
                Ok::<_, Error>(log_softmax(&self.head.logits(&states.detach())?, D::Minus1)?)
            };
            let (now, first) = (log_prob(now)?, log_prob(first)?);
            let expected =
                |value: &Tensor| Ok::<_, Error>(f64::from((now.exp()? * value)?.sum_all()?.to_scalar::<f32>()?));
            sums.kl += expected(&(&now - first)?)?;
            sums.entropy -= expected(&now)?;
        }
        Ok(Divergence { kl: sums.kl / count as f64, entropy: sums.entropy / count as f64 })
    }

    /// Whether the batch's gold token is each option's most probable one: 1 or 0. `[B, K, d]` ->
    /// `[B, K]`.
    pub fn is_first(&self, options: &Tensor, batch: &FeatureBatch) -> Result<Tensor> {
        let options = options.detach().contiguous()?;
        match &batch.candidates {
            None => self.full_is_first(&options, &batch.next),
            // The tail counts for nothing: it is many tokens, each less probable than the
            // candidates.
            Some(candidates) => {
                let logits = CandidateHead::new(&self.head, candidates)?.logits(&options)?;
                let gold = candidates.gold.unsqueeze(1)?;
                Ok(logits.argmax(D::Minus1)?.broadcast_eq(&gold)?.to_dtype(options.dtype())?)
            }
        }
    }

    /// The same, always over all tokens.
    pub fn full_is_first(&self, options: &Tensor, next: &Tensor) -> Result<Tensor> {
        let (batch, count, _) = options.dims3()?;
        let top = |states: &Tensor, _: &Tensor| Ok(self.head.logits(states)?.argmax(D::Minus1)?);
        let top = Tensor::cat(&self.full(options, next, &mut { top })?, 0)?.reshape((batch, count))?;
        Ok(top.broadcast_eq(&next.unsqueeze(1)?)?.to_dtype(options.dtype())?)
    }

    /// Calls `each` with states `[n, d]` and gold tokens `[n]` of the options, as many as logits
    /// are made of at once.
    fn full<T>(
        &self,
        options: &Tensor,
        next: &Tensor,
        each: &mut dyn FnMut(&Tensor, &Tensor) -> Result<T>,
    ) -> Result<Vec<T>> {
        let (batch, count, hidden) = options.dims3()?;
        let flat = options.detach().contiguous()?.reshape((batch * count, hidden))?;
        let gold = next.unsqueeze(1)?.repeat((1, count))?.flatten_all()?;
        let starts = (0..batch * count).step_by(self.rows);
        let length = |start: usize| self.rows.min(batch * count - start);
        let mut part = |start| each(&flat.narrow(0, start, length(start))?, &gold.narrow(0, start, length(start))?);
        starts.map(&mut part).collect()
    }

    fn score_full(&self, options: &Tensor, next: &Tensor) -> Result<Scores> {
        let (batch, count, hidden) = options.dims3()?;
        let scores = self.full(options, next, &mut |states, gold| score_rows(&self.head, states, gold))?;
        let (values, slopes): (Vec<Tensor>, Vec<Tensor>) = scores.into_iter().unzip();
        Ok(Scores {
            value: Tensor::cat(&values, 0)?.reshape((batch, count))?,
            slope: Tensor::cat(&slopes, 0)?.reshape((batch, count, hidden))?,
        })
    }

    fn score_candidates(&self, options: &Tensor, batch: &FeatureBatch, candidates: &CandidateBatch) -> Result<Scores> {
        let head = CandidateHead::new(&self.head, candidates)?;
        let tail = tail_logits(&self.mean, options, &batch.hidden, &candidates.tail)?;
        let logits = head.logits(options)?;
        let log_probs = log_softmax(&Tensor::cat(&[&logits, &tail], 2)?, D::Minus1)?;
        let (tokens, latents, count) = log_probs.dims3()?;
        let gold = candidates.gold.reshape((tokens, 1, 1))?.repeat((1, latents, 1))?;
        let value = log_probs.gather(&gold, 2)?.squeeze(2)?;
        let probabilities = log_probs.exp()?;
        let expected = head.expected(&self.head.uncap(probabilities.narrow(2, 0, count - 1)?, &logits)?)?;
        let expected = (expected + probabilities.narrow(2, count - 1, 1)?.broadcast_mul(&self.mean)?)?;
        let chosen = logits.contiguous()?.gather(&gold, 2)?;
        let share = self.head.uncap(chosen.ones_like()?, &chosen)?;
        let row = self.head.weight.index_select(&batch.next, 0)?.unsqueeze(1)?;
        let slope = (share.broadcast_mul(&row)? - expected)?;
        Ok(Scores { value, slope })
    }
}

/// The rows of the head that belong to the candidates of a batch.
struct CandidateHead<'a> {
    /// What they are rows of.
    head: &'a LogitHead,
    /// Of those that all tokens share. `[S, d]`
    shared: Tensor,
    /// Of each token's own. `[B, C, d]`
    own: Tensor,
}

impl<'a> CandidateHead<'a> {
    fn new(head: &'a LogitHead, candidates: &CandidateBatch) -> Result<Self> {
        let ((tokens, count), weight) = (candidates.ids.dims2()?, &head.weight);
        let own = weight.index_select(&candidates.ids.flatten_all()?, 0)?.reshape((tokens, count, weight.dim(1)?))?;
        Ok(Self { head, shared: weight.index_select(&candidates.shared, 0)?, own })
    }

    /// The logits of shared and own candidates. `[B, K, d]` -> `[B, K, S + C]`.
    fn logits(&self, options: &Tensor) -> Result<Tensor> {
        let (tokens, latents, hidden) = options.dims3()?;
        let flat = options.reshape((tokens * latents, hidden))?;
        let shared = flat.matmul(&self.shared.t()?)?.reshape((tokens, latents, self.shared.dim(0)?))?;
        self.head.cap(Tensor::cat(&[shared, options.matmul(&self.own.transpose(1, 2)?)?], 2)?)
    }

    /// The rows, weighted by probabilities. `[B, K, S + C]` -> `[B, K, d]`.
    fn expected(&self, probabilities: &Tensor) -> Result<Tensor> {
        let (tokens, latents, count) = probabilities.dims3()?;
        let (shared, hidden) = self.shared.dims2()?;
        let of_shared = probabilities.narrow(2, 0, shared)?.contiguous()?.reshape((tokens * latents, shared))?;
        let of_shared = of_shared.matmul(&self.shared)?.reshape((tokens, latents, hidden))?;
        let of_own = probabilities.narrow(2, shared, count - shared)?.contiguous()?.matmul(&self.own)?;
        Ok((of_shared + of_own)?)
    }
}

/// A tensor with the value of `scores` and the derivative `slope` with respect to `options`.
fn attach(options: &Tensor, scores: &Scores) -> Result<Tensor> {
    // (h' - h') is exactly zero, so the value is not touched by rounding.
    let zero = ((options - options.detach())? * &scores.slope)?.sum(D::Minus1)?;
    Ok((&scores.value + zero)?)
}

/// `[n, d]` states and `[n]` gold tokens -> `[n]` log-probabilities and `[n, d]` slopes.
fn score_rows(head: &LogitHead, states: &Tensor, gold: &Tensor) -> Result<(Tensor, Tensor)> {
    let logits = head.logits(states)?;
    let probabilities = softmax_last_dim(&logits)?;
    let chosen = logits.gather(&gold.unsqueeze(1)?, 1)?;
    let value = (chosen.squeeze(1)? - log_normaliser(&logits, &probabilities)?)?;
    let share = head.uncap(chosen.ones_like()?, &chosen)?;
    let expected = head.uncap(probabilities, &logits)?.matmul(&head.weight)?;
    let slope = (share.broadcast_mul(&head.weight.index_select(gold, 0)?)? - expected)?;
    Ok((value, slope))
}

/// log sum exp of each row. The largest probability is at least 1/V, so its logarithm loses
/// nothing: cheaper than a second pass of exponentials over the logits.
pub(crate) fn log_normaliser(logits: &Tensor, probabilities: &Tensor) -> Result<Tensor> {
    Ok((logits.max(D::Minus1)? - probabilities.max(D::Minus1)?.log()?)?)
}

/// `[B, K, 1]`: the tail under the backbone, moved by mean(head) · (h' - h).
fn tail_logits(mean: &Tensor, options: &Tensor, hidden: &Tensor, tail: &Tensor) -> Result<Tensor> {
    let moved = options.broadcast_sub(&hidden.unsqueeze(1)?)?.broadcast_mul(mean)?.sum_keepdim(D::Minus1)?;
    Ok(moved.broadcast_add(&tail.reshape(((), 1, 1))?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::candidate_cache;
    use crate::features::states::Features;
    use crate::testing::{self, assert_close};
    use candle_core::{Device, Var};

    /// Weights of the `[B, K]` log-probabilities, so that every entry of the gradient is its own
    /// number.
    fn loss(head: &OutputHead, options: &Tensor, batch: &FeatureBatch) -> Tensor {
        let log_prob = head.log_prob(options, batch).unwrap();
        let weights = Tensor::arange(1f32, 1.0 + log_prob.elem_count() as f32, &Device::Cpu).unwrap();
        (log_prob.flatten_all().unwrap() * weights).unwrap().sum_all().unwrap()
    }

    fn check_gradient(head: &OutputHead, batch: &FeatureBatch) {
        let (tokens, hidden) = batch.hidden.dims2().unwrap();
        let start = testing::normal("options", &[tokens, 3, hidden], 0.7);
        let options = Var::from_tensor(&start).unwrap();
        let gradient = loss(head, &options, batch).backward().unwrap().get(&options).unwrap().flatten_all().unwrap();
        let gradient = gradient.to_vec1::<f32>().unwrap();
        let values = start.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for index in (0..values.len()).step_by(5) {
            let at = |delta: f32| {
                let mut moved = values.clone();
                moved[index] += delta;
                let moved = Tensor::from_vec(moved, start.shape(), &Device::Cpu).unwrap();
                loss(head, &moved, batch).to_scalar::<f32>().unwrap()
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert_close(gradient[index], slope, 2e-2 + slope.abs() * 1e-2);
        }
    }

    /// A frozen head, and features of `rows` tokens with so many candidates.
    fn with_candidates(rows: usize, shared: usize, count: usize) -> (Frozen, Features<'static>) {
        with_cap(rows, shared, count, None)
    }

    /// The same with this soft-cap of logits.
    fn with_cap(rows: usize, shared: usize, count: usize, cap: Option<f32>) -> (Frozen, Features<'static>) {
        let frozen = testing::frozen_with_cap(6, 11, cap);
        let features = testing::features(&frozen, rows);
        let candidates = candidate_cache::compute(&frozen, &features, shared, count).unwrap();
        let features = features.with_candidates(candidates);
        (frozen, features)
    }

    fn largest_difference(one: &Tensor, other: &Tensor) -> f32 {
        (one - other).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    }

    #[test]
    fn slopes_agree_with_finite_differences() {
        // A cap low enough to bend the logits, which are some units large.
        for (shared, count, cap) in [(0, 5, None), (2, 4, None), (0, 5, Some(2.0)), (2, 4, Some(2.0))] {
            let (frozen, features) = with_cap(4, shared, count, cap);
            let batch = features.batch(&[0, 1, 2, 3]).unwrap();
            check_gradient(&OutputHead::new(&frozen, 1).unwrap(), &batch);
            let full = FeatureBatch { candidates: None, ..batch };
            check_gradient(&OutputHead::new(&frozen, 1).unwrap(), &full);
            check_gradient(&OutputHead::new(&frozen, 1 << 20).unwrap(), &full);
        }
    }

    #[test]
    fn all_tokens_as_candidates_are_the_full_head() {
        for (shared, cap) in [(0, None), (2, None), (4, None), (2, Some(2.0))] {
            let (frozen, features) = with_cap(4, shared, 11, cap);
            let batch = features.batch(&[3, 1]).unwrap();
            let (head, options) =
                (OutputHead::new(&frozen, 1 << 20).unwrap(), testing::normal("options", &[2, 3, 6], 1.0));
            let full = head.full_log_prob(&options, &batch.next).unwrap();
            let few = head.log_prob(&options, &batch).unwrap();
            assert!(largest_difference(&full, &few) < 1e-5);
        }
    }

    #[test]
    fn an_option_is_right_where_its_likeliest_token_is_the_gold_one() {
        let (frozen, features) = with_candidates(9, 3, 11);
        let batch = features.batch(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        let options = testing::normal("options", &[9, 3, 6], 1.0);
        let flat = options.reshape((27, 6)).unwrap();
        let top = frozen.head.logits(&flat).unwrap().argmax(1).unwrap().to_vec1::<u32>().unwrap();
        let next = batch.next.to_vec1::<u32>().unwrap();
        let want: Vec<f32> = top.iter().enumerate().map(|(i, &t)| f32::from(u8::from(t == next[i / 3]))).collect();
        assert!(want.contains(&1.0) && want.contains(&0.0), "{want:?}");
        for budget in [1, 1 << 20] {
            let head = OutputHead::new(&frozen, budget).unwrap();
            let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(head.is_first(&options, &batch).unwrap()), want);
            assert_eq!(values(head.full_is_first(&options, &batch.next).unwrap()), want);
        }
    }

    #[test]
    fn at_the_backbone_itself_few_candidates_are_exact() {
        for shared in [0, 2] {
            let (frozen, features) = with_candidates(4, shared, 3);
            let batch = features.batch(&[0, 1, 2, 3]).unwrap();
            let (head, options) = (OutputHead::new(&frozen, 1 << 20).unwrap(), batch.hidden.unsqueeze(1).unwrap());
            let full = head.full_log_prob(&options, &batch.next).unwrap();
            let few = head.log_prob(&options, &batch).unwrap();
            assert!(largest_difference(&full, &few) < 1e-5);
        }
    }
}
