//! The frozen head: `log p(x | h')` of the gold token for every option, with its gradient but
//! without autograd.
//!
//! Training needs from the head only `log p(x|h') = l_x - lse(l)` with `l = head · h'`. Its
//! gradient with respect to h' is known in closed form, `head[x] - sum_y p(y|h') head[y]`, so the
//! `[B·K, V]` logits need not be kept for a backward pass: they are made, used and dropped chunk by
//! chunk. `attach` then hands the result to autograd as a constant value whose derivative is that
//! constant *slope*. Every objective is written on top of the `[B, K]` log-probabilities.
//!
//! Two heads give value and slope: [`OutputHead::Full`] (all V tokens; GPU and evaluation) and
//! [`OutputHead::Candidates`] (see [`crate::features::candidates`]; CPU). In the latter the tail's
//! logit moves with h' along the mean row of the head, `tail + mean(head) · (h' - h)`: otherwise
//! the plugin could raise all candidates against the tail together, which under the full head
//! changes nothing.

use candle_core::{D, Tensor};
use candle_nn::ops::{log_softmax, softmax_last_dim};

use crate::error::Result;
use crate::features::backbone::Frozen;
use crate::features::candidates::CandidateBatch;
use crate::features::states::FeatureBatch;

/// Which tokens the distribution of an option is normalised over while training.
pub enum OutputHead {
    /// All of them.
    Full {
        /// The matrix. `[V, d]`, f32.
        weight: Tensor,
        /// Rows of logits made at once.
        rows: usize,
    },
    /// The candidates of the batch and a tail.
    Candidates {
        /// The matrix. `[V, d]`, f32.
        weight: Tensor,
        /// Its mean row. `[d]`.
        mean: Tensor,
    },
}

/// The gold token's log-probability and its derivative.
struct Scores {
    /// log p(x | h'). `[B, K]`.
    value: Tensor,
    /// d value / d h'. `[B, K, d]`.
    slope: Tensor,
}

impl OutputHead {
    /// The full head, holding at most about `budget` bytes of logits.
    pub fn full(frozen: &Frozen, budget: usize) -> Self {
        // Logits and their softmax exist at the same time, in f32.
        let rows = (budget / (frozen.about.backbone.vocab * 8)).max(1);
        Self::Full { weight: frozen.head.clone(), rows }
    }

    /// The head over candidates; every batch must carry some.
    pub fn candidates(frozen: &Frozen) -> Result<Self> {
        Ok(Self::Candidates { weight: frozen.head.clone(), mean: frozen.head.mean(0)? })
    }

    /// log p(x | h'_z) of the batch's gold tokens, differentiable in `options` `[B, K, d]`. -> `[B,
    /// K]`.
    pub fn log_prob(&self, options: &Tensor, batch: &FeatureBatch) -> Result<Tensor> {
        let constant = options.detach().contiguous()?;
        let scores = match self {
            Self::Full { weight, rows } => score_full(weight, *rows, &constant, &batch.next)?,
            Self::Candidates { weight, mean } => score_candidates(weight, mean, &constant, batch)?,
        };
        attach(options, &scores)
    }
}

impl OutputHead {
    /// Whether the batch's gold token is each option's most probable one: 1 or 0. `[B, K, d]` ->
    /// `[B, K]`.
    pub fn is_first(&self, options: &Tensor, batch: &FeatureBatch) -> Result<Tensor> {
        let options = options.detach().contiguous()?;
        match self {
            Self::Full { weight, rows } => first_full(weight, *rows, &options, &batch.next),
            Self::Candidates { weight, .. } => first_candidates(weight, &options, batch),
        }
    }
}

fn first_full(weight: &Tensor, rows: usize, options: &Tensor, next: &Tensor) -> Result<Tensor> {
    let (batch, count, hidden) = options.dims3()?;
    let (flat, mut top) = (options.reshape((batch * count, hidden))?, Vec::new());
    for start in (0..batch * count).step_by(rows) {
        let part = flat.narrow(0, start, rows.min(batch * count - start))?;
        top.push(part.matmul(&weight.t()?)?.argmax(D::Minus1)?);
    }
    let top = Tensor::cat(&top, 0)?.reshape((batch, count))?;
    Ok(top.broadcast_eq(&next.unsqueeze(1)?)?.to_dtype(options.dtype())?)
}

/// The candidates of a batch and their rows of the head, `[B, C, d]`.
///
/// # Panics
/// If the features carry none: a candidate head comes with features that do, whatever the user
/// asked for.
fn candidate_rows<'a>(weight: &Tensor, batch: &'a FeatureBatch) -> Result<(&'a CandidateBatch, Tensor)> {
    let candidates = batch.candidates.as_ref().expect("features of a candidate head carry candidates");
    let (tokens, count) = candidates.ids.dims2()?;
    let rows = weight.index_select(&candidates.ids.flatten_all()?, 0)?.reshape((tokens, count, weight.dim(1)?))?;
    Ok((candidates, rows))
}

/// The tail counts for nothing: it is many tokens, each less probable than the candidates.
fn first_candidates(weight: &Tensor, options: &Tensor, batch: &FeatureBatch) -> Result<Tensor> {
    let (candidates, rows) = candidate_rows(weight, batch)?;
    let tokens = rows.dim(0)?;
    let top = options.matmul(&rows.transpose(1, 2)?)?.argmax(D::Minus1)?;
    Ok(top.broadcast_eq(&candidates.gold.reshape((tokens, 1))?)?.to_dtype(options.dtype())?)
}

/// A tensor with the value of `scores` and the derivative `slope` with respect to `options`.
fn attach(options: &Tensor, scores: &Scores) -> Result<Tensor> {
    // (h' - h') is exactly zero, so the value is not touched by rounding.
    let zero = ((options - options.detach())? * &scores.slope)?.sum(D::Minus1)?;
    Ok((&scores.value + zero)?)
}

fn score_full(weight: &Tensor, rows: usize, options: &Tensor, next: &Tensor) -> Result<Scores> {
    let (batch, count, hidden) = options.dims3()?;
    let flat = options.reshape((batch * count, hidden))?;
    let gold = next.unsqueeze(1)?.repeat((1, count))?.flatten_all()?;
    let (mut values, mut slopes) = (Vec::new(), Vec::new());
    for start in (0..batch * count).step_by(rows) {
        let length = rows.min(batch * count - start);
        let (value, slope) = score_rows(weight, &flat.narrow(0, start, length)?, &gold.narrow(0, start, length)?)?;
        values.push(value);
        slopes.push(slope);
    }
    Ok(Scores {
        value: Tensor::cat(&values, 0)?.reshape((batch, count))?,
        slope: Tensor::cat(&slopes, 0)?.reshape((batch, count, hidden))?,
    })
}

/// `[n, d]` states and `[n]` gold tokens -> `[n]` log-probabilities and `[n, d]` slopes.
fn score_rows(weight: &Tensor, states: &Tensor, gold: &Tensor) -> Result<(Tensor, Tensor)> {
    let logits = states.matmul(&weight.t()?)?;
    let probabilities = softmax_last_dim(&logits)?;
    let chosen = logits.gather(&gold.unsqueeze(1)?, 1)?.squeeze(1)?;
    let value = (chosen - log_normaliser(&logits, &probabilities)?)?;
    let slope = (weight.index_select(gold, 0)? - probabilities.matmul(weight)?)?;
    Ok((value, slope))
}

/// log sum exp of each row. The largest probability is at least 1/V, so its logarithm loses
/// nothing: cheaper than a second pass of exponentials over the logits.
pub(crate) fn log_normaliser(logits: &Tensor, probabilities: &Tensor) -> Result<Tensor> {
    Ok((logits.max(D::Minus1)? - probabilities.max(D::Minus1)?.log()?)?)
}

fn score_candidates(weight: &Tensor, mean: &Tensor, options: &Tensor, batch: &FeatureBatch) -> Result<Scores> {
    let (candidates, rows) = candidate_rows(weight, batch)?;
    let ((tokens, count, _), latents) = (rows.dims3()?, options.dim(1)?);
    let tail = tail_logits(mean, options, &batch.hidden, &candidates.tail)?;
    let logits = Tensor::cat(&[options.matmul(&rows.transpose(1, 2)?)?, tail], 2)?;
    let log_probs = log_softmax(&logits, D::Minus1)?;
    let gold = candidates.gold.reshape((tokens, 1, 1))?.repeat((1, latents, 1))?;
    let value = log_probs.gather(&gold, 2)?.squeeze(2)?;
    let probabilities = log_probs.exp()?;
    let expected = probabilities.narrow(2, 0, count)?.contiguous()?.matmul(&rows)?;
    let expected = (expected + probabilities.narrow(2, count, 1)?.broadcast_mul(mean)?)?;
    let slope = weight.index_select(&batch.next, 0)?.unsqueeze(1)?.broadcast_sub(&expected)?;
    Ok(Scores { value, slope })
}

/// `[B, K, 1]`: the tail under the backbone, moved by mean(head) · (h' - h).
fn tail_logits(mean: &Tensor, options: &Tensor, hidden: &Tensor, tail: &Tensor) -> Result<Tensor> {
    let moved = options.broadcast_sub(&hidden.unsqueeze(1)?)?.broadcast_mul(mean)?.sum_keepdim(D::Minus1)?;
    Ok(moved.broadcast_add(&tail.reshape(((), 1, 1))?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn slopes_agree_with_finite_differences() {
        let frozen = testing::frozen(6, 11);
        let features = testing::features(&frozen, 4);
        let candidates = crate::features::candidate_cache::compute(&frozen, &features, 5).unwrap();
        let features = features.with_candidates(candidates);
        let batch = features.batch(&[0, 1, 2, 3]).unwrap();
        check_gradient(&OutputHead::full(&frozen, 1), &batch);
        check_gradient(&OutputHead::full(&frozen, 1 << 20), &batch);
        check_gradient(&OutputHead::candidates(&frozen).unwrap(), &batch);
    }

    #[test]
    fn all_tokens_as_candidates_are_the_full_head() {
        let frozen = testing::frozen(6, 11);
        let features = testing::features(&frozen, 4);
        let candidates = crate::features::candidate_cache::compute(&frozen, &features, 11).unwrap();
        let batch = features.with_candidates(candidates).batch(&[3, 1]).unwrap();
        let options = testing::normal("options", &[2, 3, 6], 1.0);
        let full = OutputHead::full(&frozen, 1 << 20).log_prob(&options, &batch).unwrap();
        let few = OutputHead::candidates(&frozen).unwrap().log_prob(&options, &batch).unwrap();
        let difference = (full - few).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn an_option_is_right_where_its_likeliest_token_is_the_gold_one() {
        let frozen = testing::frozen(6, 11);
        let features = testing::features(&frozen, 9);
        let candidates = crate::features::candidate_cache::compute(&frozen, &features, 11).unwrap();
        let batch = features.with_candidates(candidates).batch(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        let options = testing::normal("options", &[9, 3, 6], 1.0);
        let flat = options.reshape((27, 6)).unwrap();
        let top = flat.matmul(&frozen.head.t().unwrap()).unwrap().argmax(1).unwrap().to_vec1::<u32>().unwrap();
        let next = batch.next.to_vec1::<u32>().unwrap();
        let want: Vec<f32> = top.iter().enumerate().map(|(i, &t)| f32::from(u8::from(t == next[i / 3]))).collect();
        assert!(want.contains(&1.0) && want.contains(&0.0), "{want:?}");
        for head in
            [OutputHead::full(&frozen, 1), OutputHead::full(&frozen, 1 << 20), OutputHead::candidates(&frozen).unwrap()]
        {
            let got = head.is_first(&options, &batch).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(got, want);
        }
    }

    #[test]
    fn at_the_backbone_itself_few_candidates_are_exact() {
        let frozen = testing::frozen(6, 11);
        let features = testing::features(&frozen, 4);
        let candidates = crate::features::candidate_cache::compute(&frozen, &features, 3).unwrap();
        let batch = features.with_candidates(candidates).batch(&[0, 1, 2, 3]).unwrap();
        let options = batch.hidden.unsqueeze(1).unwrap();
        let full = OutputHead::full(&frozen, 1 << 20).log_prob(&options, &batch).unwrap();
        let few = OutputHead::candidates(&frozen).unwrap().log_prob(&options, &batch).unwrap();
        let difference = (full - few).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-5, "{difference}");
    }
}
