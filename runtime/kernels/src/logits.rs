//! What logits say: their soft maximum, the probability of a token, the most probable tokens.
//!
//! Every function checks its logits first. A NaN, a positive infinity, or a row without one
//! possible token is an error that names the place, never a silent token 0.

use std::cmp::Ordering;
use std::fmt;

use crate::cpu::{Isa, Kernel, Simd};
use crate::memory::{self, OutOfMemory};
use crate::token_set::TokenSet;

/// Why a row of logits cannot be read as a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogitsError {
    /// There are no logits at all.
    Empty,
    /// The logit of this token is NaN or positive infinity.
    NotFinite {
        /// The token.
        token: usize,
    },
    /// Every logit is negative infinity: no token is possible.
    Impossible,
    /// The token asked for is not in the vocabulary.
    TokenOutOfRange {
        /// The token.
        token: u32,
        /// The number of logits.
        vocabulary: usize,
    },
    /// There is no memory to sort them.
    OutOfMemory(OutOfMemory),
}

impl From<OutOfMemory> for LogitsError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

impl fmt::Display for LogitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "there are no logits to choose from"),
            Self::NotFinite { token } => {
                write!(f, "the logit of token {token} is NaN or infinite: the model file may be damaged")
            }
            Self::Impossible => write!(f, "every logit is negative infinity: no token is possible"),
            Self::TokenOutOfRange { token, vocabulary } => {
                write!(f, "token {token} is not in the vocabulary of {vocabulary} tokens")
            }
            Self::OutOfMemory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LogitsError {}

/// One token and its logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
}

impl Candidate {
    /// Higher logits come first; of equal ones the lower token. Total, because logits are checked
    /// to hold no NaN.
    pub fn order(&self, other: &Self) -> Ordering {
        other.logit.partial_cmp(&self.logit).unwrap_or(Ordering::Equal).then(self.token.cmp(&other.token))
    }
}

/// The candidates of a row of logits, in the order of their tokens.
fn candidates(logits: &[f32]) -> impl Iterator<Item = Candidate> + '_ {
    (0..).zip(logits).map(|(token, &logit)| Candidate { token, logit })
}

/// Fills `pool` with the candidates of a row of logits, in the order of their tokens.
pub fn fill(pool: &mut Vec<Candidate>, logits: &[f32]) -> Result<(), LogitsError> {
    pool.clear();
    memory::reserve(pool, logits.len())?;
    pool.extend(candidates(logits));
    Ok(())
}

/// The most probable token and its logit; of equal ones the lowest token.
pub fn argmax(logits: &[f32]) -> Result<(u32, f32), LogitsError> {
    let max = maximum(logits)?;
    let token = logits.iter().position(|&logit| logit >= max).ok_or(LogitsError::Empty)?;
    Ok((token as u32, max))
}

/// The most probable token of a set and its logit; of equal ones the lowest token.
pub fn argmax_in(logits: &[f32], allowed: Option<&TokenSet>) -> Result<(u32, f32), LogitsError> {
    let Some(allowed) = allowed else { return argmax(logits) };
    let mut best: Option<Candidate> = None;
    for token in allowed.iter() {
        let outside = LogitsError::TokenOutOfRange { token, vocabulary: logits.len() };
        let &logit = logits.get(token as usize).ok_or(outside)?;
        if best.is_none_or(|best| logit > best.logit) {
            best = Some(Candidate { token, logit });
        }
    }
    let best = best.filter(|best| best.logit > f32::NEG_INFINITY).ok_or(LogitsError::Impossible)?;
    Ok((best.token, best.logit))
}

/// The highest logit of a row that is a distribution.
fn maximum(logits: &[f32]) -> Result<f32, LogitsError> {
    let lanes = Isa::widest().dispatch(Maxima(logits));
    if lanes.iter().any(|(_, fine)| !fine) {
        let token = logits.iter().position(|&logit| !is_fine(logit)).unwrap_or_default();
        return Err(LogitsError::NotFinite { token });
    }
    match lanes.iter().map(|(max, _)| *max).fold(f32::NEG_INFINITY, f32::max) {
        _ if logits.is_empty() => Err(LogitsError::Empty),
        f32::NEG_INFINITY => Err(LogitsError::Impossible),
        max => Ok(max),
    }
}

/// How many logits a loop takes at once, so that it becomes vector code.
const LANES: usize = 16;

/// The highest logit of each lane, and whether all of them are fine.
struct Maxima<'a>(&'a [f32]);

impl Kernel for Maxima<'_> {
    type Output = [(f32, bool); LANES];

    #[inline(always)]
    fn run<S: Simd>(self, _isa: S) -> Self::Output {
        let mut lanes = [(f32::NEG_INFINITY, true); LANES];
        let (whole, rest) = self.0.as_chunks::<LANES>();
        for group in whole {
            raise(&mut lanes, group);
        }
        raise(&mut lanes, rest);
        lanes
    }
}

#[inline(always)]
fn raise(lanes: &mut [(f32, bool); LANES], logits: &[f32]) {
    for ((max, fine), &logit) in lanes.iter_mut().zip(logits) {
        *fine &= is_fine(logit);
        *max = if logit > *max { logit } else { *max };
    }
}

/// Neither NaN nor positive infinity.
fn is_fine(logit: f32) -> bool {
    logit < f32::INFINITY
}

/// `ln(sum(exp(logits)))`: what a logit is reduced by to become a natural log-probability.
pub fn log_sum_exp(logits: &[f32]) -> Result<f64, LogitsError> {
    let max = maximum(logits)?;
    Ok(f64::from(max) + Isa::widest().dispatch(SumExp { logits, max }).ln())
}

/// The probability of a logit relative to that of the highest one, `max`, at a temperature.
#[inline(always)]
pub fn weight(logit: f32, max: f32, temperature: f32) -> f64 {
    exp((f64::from(logit) - f64::from(max)) / f64::from(temperature))
}

/// Appends the weight of each candidate.
pub fn weigh(candidates: &[Candidate], max: f32, temperature: f32, weights: &mut Vec<f64>) {
    Isa::widest().dispatch(Weigh { candidates, max, temperature, out: weights });
}

struct Weigh<'a> {
    candidates: &'a [Candidate],
    max: f32,
    temperature: f32,
    out: &'a mut Vec<f64>,
}

impl Kernel for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _isa: S) {
        let (whole, rest) = self.candidates.as_chunks::<LANES>();
        for group in whole {
            // The logits side by side first: what follows becomes vector code.
            let (mut logits, mut weights) = ([0.0; LANES], [0.0; LANES]);
            for (to, candidate) in logits.iter_mut().zip(group) {
                *to = candidate.logit;
            }
            for (to, logit) in weights.iter_mut().zip(logits) {
                *to = weight(logit, self.max, self.temperature);
            }
            self.out.extend(weights);
        }
        self.out.extend(rest.iter().map(|candidate| weight(candidate.logit, self.max, self.temperature)));
    }
}

/// The natural log-probability of `token` under the softmax of `logits`.
pub fn log_softmax_at(logits: &[f32], token: u32) -> Result<f32, LogitsError> {
    let sum = log_sum_exp(logits)?;
    let logit = logits.get(token as usize).ok_or(LogitsError::TokenOutOfRange { token, vocabulary: logits.len() })?;
    Ok((f64::from(*logit) - sum) as f32)
}

/// The `m` most probable tokens with their probabilities, best first; of equal ones the lowest
/// token first.
pub fn top_m(logits: &[f32], m: usize) -> Result<Vec<(u32, f32)>, LogitsError> {
    top_m_in(logits, m, None)
}

/// The `m` most probable tokens of a set, with their probabilities under the softmax of all logits.
pub fn top_m_in(logits: &[f32], m: usize, allowed: Option<&TokenSet>) -> Result<Vec<(u32, f32)>, LogitsError> {
    let sum = log_sum_exp(logits)?;
    let mut top = match allowed {
        Some(allowed) => pairs(&best_in(logits, m, allowed)?)?,
        None => top_logits(logits, m)?,
    };
    for (_, logit) in &mut top {
        *logit = exp(f64::from(*logit) - sum) as f32;
    }
    Ok(top)
}

/// The `m` tokens of the highest logits with these, best first; of equal ones the lowest token
/// first. The logits are a distribution.
pub fn top_logits(logits: &[f32], m: usize) -> Result<Vec<(u32, f32)>, LogitsError> {
    pairs(&if m <= FEW { few_best(logits, m) } else { many_best(logits, m)? })
}

fn pairs(best: &[Candidate]) -> Result<Vec<(u32, f32)>, LogitsError> {
    let mut top = Vec::new();
    memory::reserve(&mut top, best.len())?;
    top.extend(best.iter().map(|c| (c.token, c.logit)));
    Ok(top)
}

/// Up to here, one pass that keeps a short sorted list is faster than any selection.
const FEW: usize = 64;

fn few_best(logits: &[f32], m: usize) -> Vec<Candidate> {
    if m == 0 {
        return Vec::new();
    }
    let mut best: Vec<Candidate> = Vec::with_capacity(m + 1);
    for (first, group) in (0..).step_by(LANES).zip(logits.chunks(LANES)) {
        let bar = if best.len() < m { None } else { best.last().map(|last| last.logit) };
        // Of equals the first stays: tokens come in their order.
        let better = |logit: f32| bar.is_none_or(|bar| logit > bar);
        // Without a branch for each logit, so that it becomes vector code.
        if group.iter().fold(false, |any, &logit| any | better(logit)) {
            (first..).zip(group).for_each(|(token, &logit)| insert(&mut best, m, Candidate { token, logit }));
        }
    }
    best
}

/// Puts `candidate`, which comes after those of `best`, in its place among the `m` best.
fn insert(best: &mut Vec<Candidate>, m: usize, candidate: Candidate) {
    if best.len() < m || best.last().is_some_and(|last| candidate.logit > last.logit) {
        let place = best.partition_point(|other| other.order(&candidate).is_lt());
        best.insert(place, candidate);
        best.truncate(m);
    }
}

fn many_best(logits: &[f32], m: usize) -> Result<Vec<Candidate>, LogitsError> {
    let mut best = Vec::new();
    fill(&mut best, logits)?;
    keep_best(&mut best, m);
    Ok(best)
}

fn best_in(logits: &[f32], m: usize, allowed: &TokenSet) -> Result<Vec<Candidate>, LogitsError> {
    let mut best = Vec::new();
    fill(&mut best, logits)?;
    best.retain(|candidate| allowed.contains(candidate.token));
    keep_best(&mut best, m);
    Ok(best)
}

/// Keeps the `n` best candidates, sorted, without sorting the others.
pub fn keep_best(candidates: &mut Vec<Candidate>, n: usize) {
    if n == 0 {
        return candidates.clear();
    }
    sort_front(candidates, n);
    candidates.truncate(n);
}

/// Brings the `n` best candidates to the front, sorted, and leaves the others behind them in some
/// order.
pub fn sort_front(candidates: &mut [Candidate], n: usize) {
    let n = n.min(candidates.len());
    if (1..candidates.len()).contains(&n) {
        candidates.select_nth_unstable_by(n - 1, Candidate::order);
    }
    candidates[..n].sort_unstable_by(Candidate::order);
}

/// `sum(exp(logits - max))`
struct SumExp<'a> {
    logits: &'a [f32],
    max: f32,
}

impl Kernel for SumExp<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _isa: S) -> f64 {
        let weight = |logit: f32| exp(f64::from(logit) - f64::from(self.max));
        let (whole, rest) = self.logits.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for group in whole {
            for (sum, &logit) in sums.iter_mut().zip(group) {
                *sum += weight(logit);
            }
        }
        sums.iter().sum::<f64>() + rest.iter().map(|&logit| weight(logit)).sum::<f64>()
    }
}

/// e^x for x <= 0 in additions and multiplications only, which IEEE 754 defines to the last bit:
/// the choice that a seed makes must not depend on the C library of the platform, as `f64::exp`
/// does. Relative error below 1e-14. Without branches and calls, so that loops over it become
/// vector code.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Adding it leaves no room for a fraction: the sum is rounded to an integer, which its low bits
    // hold.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // What is too small has no weight, nor has what is not a number.
    let alive = f64::from(u8::from(x >= SMALLEST));
    let x = x.max(SMALLEST);
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    // Horner's scheme: |r| <= ln(2) / 2 leaves a remainder of 2e-16.
    let series = TAYLOR.iter().rev().fold(0.0, |sum, c| sum * r + c);
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    series * power * alive
}

/// The natural logarithm of a normal number above 0, as [`exp`] in operations that IEEE 754 defines
/// to the last bit; negative infinity for 0. Relative error of the result below 1e-14, and absolute
/// error below 1e-15 near 1.
pub fn ln(x: f64) -> f64 {
    if x < f64::MIN_POSITIVE {
        return f64::NEG_INFINITY;
    }
    // x = m 2^e with m from sqrt(1/2) to sqrt(2)
    let shifted = x.to_bits().wrapping_sub(std::f64::consts::FRAC_1_SQRT_2.to_bits());
    let e = (shifted as i64) >> 52;
    let m = f64::from_bits(x.to_bits().wrapping_sub((e << 52) as u64));
    // ln m = 2 artanh s
    let s = (m - 1.0) / (m + 1.0);
    let series = (0..12).rev().fold(0.0, |sum, n| sum * s * s + 1.0 / f64::from(2 * n + 1));
    e as f64 * std::f64::consts::LN_2 + 2.0 * s * series
}

/// Below this e^x leaves the normal range.
const SMALLEST: f64 = -700.0;

/// 1 / n! for n from 0 to 12.
const TAYLOR: [f64; 13] = {
    let mut terms = [1.0; 13];
    let mut n = 1;
    while n < 13 {
        terms[n] = terms[n - 1] / n as f64;
        n += 1;
    }
    terms
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_library() {
        for i in 0..=70_000 {
            let x = -f64::from(i) / 100.0;
            let error = (exp(x) / x.exp() - 1.0).abs();
            assert!(error < 1e-14, "exp({x}) is off by {error:e}");
        }
        assert!([-701.0, f64::NEG_INFINITY, f64::NAN].iter().all(|&x| exp(x) == 0.0));
    }

    #[test]
    fn ln_agrees_with_the_library() {
        for i in 1..=100_000 {
            for x in [f64::from(i) / 50_000.0, f64::from(i) * 1e5, exp(-f64::from(i) / 200.0)] {
                let (got, expected) = (ln(x), x.ln());
                assert!((got - expected).abs() <= 1e-15 + 1e-14 * expected.abs(), "ln({x}) = {got}, not {expected}");
            }
        }
        assert_eq!(ln(1.0).to_bits(), 0);
        assert!(ln(0.0) == f64::NEG_INFINITY);
    }

    #[test]
    fn probabilities_are_those_of_the_softmax() {
        let logits = [1.0_f32, 2.0, 3.0, f32::NEG_INFINITY, 2.0];
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        for (token, &logit) in logits.iter().enumerate() {
            let expected = (f64::from(logit).exp() / sum).ln() as f32;
            let got = log_softmax_at(&logits, token as u32).unwrap();
            assert!(got.to_bits() == expected.to_bits() || (got - expected).abs() < 1e-6, "{token}: {got} {expected}");
        }
    }

    #[test]
    fn the_best_come_first_and_ties_by_token() {
        let logits = [0.5_f32, 2.0, -0.0, 2.0, 0.0];
        let tokens = |m| top_m(&logits, m).unwrap().iter().map(|t| t.0).collect::<Vec<_>>();
        assert_eq!(tokens(0), [0; 0]);
        assert_eq!(tokens(1), [1]);
        assert_eq!(tokens(4), [1, 3, 0, 2]);
        assert_eq!(tokens(9), [1, 3, 0, 2, 4]);
        let total: f32 = top_m(&logits, 5).unwrap().iter().map(|t| t.1).sum();
        assert!((total - 1.0).abs() < 1e-6);
        assert_eq!(argmax(&logits), Ok((1, 2.0)));
    }

    #[test]
    fn few_and_many_agree() {
        let mut random = crate::random::Random::new(1);
        let logits: Vec<f32> = (0..500).map(|_| random.below(100) as f32 / 8.0).collect();
        for m in [0, 1, 2, 5, 64, 499, 500, 600] {
            assert_eq!(few_best(&logits, m), many_best(&logits, m).unwrap(), "{m}");
        }
    }

    #[test]
    fn what_is_no_distribution_is_an_error() {
        let nan = [0.0, f32::NAN];
        let infinite = [f32::INFINITY, 0.0];
        let impossible = [f32::NEG_INFINITY; 3];
        assert_eq!(argmax(&[]), Err(LogitsError::Empty));
        assert_eq!(log_sum_exp(&nan), Err(LogitsError::NotFinite { token: 1 }));
        assert_eq!(top_m(&infinite, 1), Err(LogitsError::NotFinite { token: 0 }));
        assert_eq!(top_m(&impossible, 1), Err(LogitsError::Impossible));
        let outside = LogitsError::TokenOutOfRange { token: 2, vocabulary: 2 };
        assert_eq!(log_softmax_at(&[0.0, 1.0], 2), Err(outside));
    }

    #[test]
    fn a_large_vocabulary_keeps_its_precision() {
        let logits: Vec<f32> = (0..150_000).map(|i| (i % 37) as f32 * -0.5).collect();
        let reference: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum::<f64>().ln();
        assert!((log_sum_exp(&logits).unwrap() - reference).abs() < 1e-10);
    }
}
