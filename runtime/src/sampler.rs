//! Chooses the next token from logits.
//!
//! The filters run in the order of llama.cpp's default chain: repetition penalty, top-k, top-p,
//! min-p, temperature. So top-p and min-p judge the distribution before the temperature flattens or
//! sharpens it. A temperature of 0 is greedy: the most probable token after the penalty.
//!
//! A random number belongs to a place in a text: it follows from the seed and the number of tokens
//! before it, not from what was drawn earlier. So a rewound, forked or restored text continues as
//! it would have, and the same seed makes the same choices from the same logits on every platform
//! ([`Random`]; the exponential of [`logits`]).

use std::fmt;

use crate::logits::{self, Candidate, LogitsError};
use crate::memory;
use crate::random::Random;
use crate::token_set::TokenSet;

/// How a token is chosen. The default is greedy.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Keeps this many most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the most probable tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keeps the tokens at least this many times as probable as the best one; 0 keeps all.
    pub min_p: f32,
    /// Makes the tokens of the recent history less likely (Keskar et al., CTRL, 2019); 1 changes
    /// nothing.
    pub repeat_penalty: f32,
    /// How many tokens of the history the penalty looks at.
    pub repeat_last_n: usize,
    /// The seed of all choices.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, repeat_last_n: 64, seed: 0 }
    }
}

/// Why a sampler could not be made, or could not choose.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum SamplerError {
    /// The temperature is NaN, negative or infinite.
    Temperature(f32),
    /// `top_p` is not in `0 < p <= 1`.
    TopP(f32),
    /// `min_p` is not in `0 <= p <= 1`.
    MinP(f32),
    /// The repetition penalty is NaN, zero, negative or infinite.
    RepeatPenalty(f32),
    /// The logits are no distribution.
    Logits(LogitsError),
}

impl fmt::Display for SamplerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Temperature(x) => write!(f, "temperature must be a number of at least 0 (0 is greedy), not {x}"),
            Self::TopP(x) => write!(f, "top-p must be above 0 and at most 1, not {x}"),
            Self::MinP(x) => write!(f, "min-p must be at least 0 and at most 1, not {x}"),
            Self::RepeatPenalty(x) => write!(f, "repeat-penalty must be a number above 0 (1 is none), not {x}"),
            Self::Logits(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SamplerError {}

impl From<LogitsError> for SamplerError {
    fn from(error: LogitsError) -> Self {
        Self::Logits(error)
    }
}

/// A chosen token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: u32,
    /// Its natural log-probability under the softmax of the logits as they were given, before any
    /// filter.
    pub logprob: f32,
}

/// Chooses tokens.
#[derive(Debug)]
pub struct Sampler {
    options: SamplerOptions,
    /// The tokens that are still in the running. Kept between calls for its memory only.
    pool: Vec<Candidate>,
    /// Their probabilities relative to the best one's, where they are asked for. Kept in the same
    /// way.
    weights: Vec<f64>,
}

impl Clone for Sampler {
    /// The buffers are not copied: they hold nothing between calls.
    fn clone(&self) -> Self {
        Self { options: self.options.clone(), pool: Vec::new(), weights: Vec::new() }
    }
}

impl Sampler {
    /// A sampler with checked `options`.
    pub fn new(options: SamplerOptions) -> Result<Self, SamplerError> {
        options.check()?;
        Ok(Self { options, pool: Vec::new(), weights: Vec::new() })
    }

    /// The options that this sampler was made with.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Chooses one token of `logits` (one for each token of the vocabulary), given the tokens so
    /// far. `place` is the number of tokens before it, those that a context shift has dropped
    /// included. Where tokens are `allowed`, it is one of these: the filters see no other. Its
    /// log-probability is among all tokens nevertheless.
    pub fn sample(
        &mut self,
        logits: &[f32],
        history: &[u32],
        place: u64,
        allowed: Option<&TokenSet>,
    ) -> Result<Sampled, SamplerError> {
        let sum = logits::log_sum_exp(logits)?;
        let token = self.choose(logits, history, place, allowed)?;
        Ok(Sampled { token, logprob: (f64::from(logits[token as usize]) - sum) as f32 })
    }

    fn choose(
        &mut self,
        logits: &[f32],
        history: &[u32],
        place: u64,
        allowed: Option<&TokenSet>,
    ) -> Result<u32, SamplerError> {
        let recent = self.penalised(history);
        if self.options.temperature == 0.0 && recent.is_empty() {
            return Ok(logits::argmax_in(logits, allowed)?.0);
        }
        logits::fill(&mut self.pool, logits)?;
        self.penalise(recent)?;
        if let Some(allowed) = allowed {
            self.pool.retain(|candidate| allowed.contains(candidate.token));
            if self.max() == f32::NEG_INFINITY {
                return Err(LogitsError::Impossible.into());
            }
        }
        if self.options.temperature == 0.0 {
            return Ok(self.best());
        }
        self.keep_top_k();
        self.keep_top_p()?;
        self.keep_min_p()?;
        Ok(self.draw(place)?)
    }

    /// The part of the history that the penalty applies to.
    fn penalised<'h>(&self, history: &'h [u32]) -> &'h [u32] {
        let active = self.options.repeat_penalty.to_bits() != 1.0_f32.to_bits();
        let n = if active { self.options.repeat_last_n } else { 0 };
        &history[history.len().saturating_sub(n)..]
    }

    /// Each distinct recent token once, whichever the sign of its logit: towards "less likely".
    fn penalise(&mut self, recent: &[u32]) -> Result<(), LogitsError> {
        let mut tokens = recent.to_vec();
        tokens.sort_unstable();
        tokens.dedup();
        let vocabulary = self.pool.len();
        for token in tokens {
            let outside = LogitsError::TokenOutOfRange { token, vocabulary };
            let logit = &mut self.pool.get_mut(token as usize).ok_or(outside)?.logit;
            let factor = self.options.repeat_penalty;
            // A penalty below 1 is a reward, which can leave the range of f32: the largest number
            // stands in for it.
            *logit = (if *logit > 0.0 { *logit / factor } else { *logit * factor }).min(f32::MAX);
        }
        Ok(())
    }

    fn best(&self) -> u32 {
        self.pool.iter().min_by(|a, b| a.order(b)).map_or(0, |c| c.token)
    }

    fn keep_top_k(&mut self) {
        if self.options.top_k > 0 {
            logits::keep_best(&mut self.pool, self.options.top_k);
        }
    }

    /// Sorts only as much of the front as it takes to reach the sum.
    fn keep_top_p(&mut self) -> Result<(), LogitsError> {
        if self.options.top_p >= 1.0 {
            return Ok(());
        }
        self.weigh(1.0)?;
        let goal = f64::from(self.options.top_p) * self.weights.iter().sum::<f64>();
        let max = self.max();
        let weight = |c: &Candidate| logits::weight(c.logit, max, 1.0);
        let mut sorted = 64;
        while self.pool.len() > sorted && front_sum(&mut self.pool, sorted, weight) < goal {
            sorted *= 8;
        }
        logits::keep_best(&mut self.pool, sorted);
        let mut sum = 0.0;
        let reached = self.pool.iter().position(|c| {
            sum += weight(c);
            sum >= goal
        });
        self.pool.truncate(reached.map_or(self.pool.len(), |last| last + 1));
        Ok(())
    }

    fn keep_min_p(&mut self) -> Result<(), LogitsError> {
        if self.options.min_p > 0.0 {
            self.weigh(1.0)?;
            let threshold = f64::from(self.options.min_p);
            let mut weights = self.weights.iter();
            self.pool.retain(|_| weights.next().is_some_and(|weight| *weight >= threshold));
        }
        Ok(())
    }

    /// Draws from what is left. The order of the pool is defined (by token, or sorted), so the draw
    /// is reproducible.
    fn draw(&mut self, place: u64) -> Result<u32, LogitsError> {
        self.weigh(self.options.temperature)?;
        let total: f64 = self.weights.iter().sum();
        let mut rest = Random::at(self.options.seed, place).unit() * total;
        let chosen = self.weights.iter().position(|weight| {
            rest -= weight;
            rest < 0.0
        });
        // Rounding may leave a remainder after the last one: then the best one it is.
        Ok(chosen.map_or_else(|| self.best(), |at| self.pool[at].token))
    }

    /// Weighs all candidates, at a temperature.
    fn weigh(&mut self, temperature: f32) -> Result<(), LogitsError> {
        self.weights.clear();
        memory::reserve(&mut self.weights, self.pool.len())?;
        let max = self.max();
        logits::weigh(&self.pool, max, temperature, &mut self.weights);
        Ok(())
    }

    /// The best logit.
    fn max(&self) -> f32 {
        self.pool.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max)
    }
}

fn front_sum(pool: &mut [Candidate], n: usize, weight: impl Fn(&Candidate) -> f64) -> f64 {
    logits::sort_front(pool, n);
    pool[..n].iter().map(weight).sum()
}

impl SamplerOptions {
    fn check(&self) -> Result<(), SamplerError> {
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let rules = [
            (positive(self.temperature) || self.temperature == 0.0, SamplerError::Temperature(self.temperature)),
            (positive(self.top_p) && self.top_p <= 1.0, SamplerError::TopP(self.top_p)),
            ((0.0..=1.0).contains(&self.min_p), SamplerError::MinP(self.min_p)),
            (positive(self.repeat_penalty), SamplerError::RepeatPenalty(self.repeat_penalty)),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, error)| Err(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> SamplerOptions {
        SamplerOptions { temperature: 1.0, ..SamplerOptions::default() }
    }

    fn sampler(options: SamplerOptions) -> Sampler {
        Sampler::new(options).unwrap()
    }

    /// How often each token is drawn, in 20,000 draws.
    fn frequencies(options: SamplerOptions, logits: &[f32]) -> Vec<f32> {
        let mut sampler = sampler(options);
        let mut counts = vec![0.0; logits.len()];
        for place in 0..20_000 {
            counts[sampler.sample(logits, &[], place, None).unwrap().token as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    /// Logits of the probabilities .4 .3 .2 .1, out of order.
    fn four() -> [f32; 4] {
        [0.2_f32.ln(), 0.4_f32.ln(), 0.1_f32.ln(), 0.3_f32.ln()]
    }

    fn assert_close(got: &[f32], expected: &[f32]) {
        let close = got.len() == expected.len() && got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 0.02);
        assert!(close, "{got:?} is not {expected:?}");
    }

    #[test]
    fn options_out_of_range_name_their_field() {
        let error = |change: fn(&mut SamplerOptions)| {
            let mut options = options();
            change(&mut options);
            Sampler::new(options).err().map(|e| e.to_string()).unwrap_or_default()
        };
        for (field, found) in [
            ("temperature", error(|o| o.temperature = -0.1)),
            ("temperature", error(|o| o.temperature = f32::NAN)),
            ("temperature", error(|o| o.temperature = f32::INFINITY)),
            ("top-p", error(|o| o.top_p = 0.0)),
            ("top-p", error(|o| o.top_p = 1.01)),
            ("top-p", error(|o| o.top_p = f32::NAN)),
            ("min-p", error(|o| o.min_p = -0.1)),
            ("min-p", error(|o| o.min_p = f32::NAN)),
            ("repeat-penalty", error(|o| o.repeat_penalty = 0.0)),
            ("repeat-penalty", error(|o| o.repeat_penalty = f32::NAN)),
        ] {
            assert!(found.starts_with(field), "{field}: {found}");
        }
    }

    #[test]
    fn greedy_takes_the_best_and_the_lowest_of_equals() {
        let mut greedy = sampler(SamplerOptions::default());
        let sampled = greedy.sample(&four(), &[], 0, None).unwrap();
        assert_eq!(sampled.token, 1);
        assert!((sampled.logprob - 0.4_f32.ln()).abs() < 1e-6);
        assert_eq!(greedy.sample(&[1.0, 1.0, 0.0], &[], 1, None).unwrap().token, 0);
    }

    #[test]
    fn temperatures_shape_the_distribution() {
        assert_close(&frequencies(options(), &four()), &[0.2, 0.4, 0.1, 0.3]);
        let sharp = SamplerOptions { temperature: 0.5, ..options() };
        assert_close(&frequencies(sharp, &four()), &[4.0 / 30.0, 16.0 / 30.0, 1.0 / 30.0, 9.0 / 30.0]);
        let frozen = SamplerOptions { temperature: 1e-30, ..options() };
        assert_close(&frequencies(frozen, &four()), &[0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn filters_keep_what_they_should() {
        let top_k = SamplerOptions { top_k: 2, ..options() };
        assert_close(&frequencies(top_k, &four()), &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
        let top_p = SamplerOptions { top_p: 0.6, ..options() };
        assert_close(&frequencies(top_p, &four()), &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
        let min_p = SamplerOptions { min_p: 0.45, ..options() };
        assert_close(&frequencies(min_p, &four()), &[2.0 / 9.0, 4.0 / 9.0, 0.0, 3.0 / 9.0]);
    }

    #[test]
    fn top_p_judges_before_the_temperature() {
        let hot = SamplerOptions { top_p: 0.35, temperature: 100.0, ..options() };
        assert_close(&frequencies(hot, &four()), &[0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn top_p_reaches_far_into_a_flat_vocabulary() {
        let mut half = sampler(SamplerOptions { top_p: 0.5, ..options() });
        let logits = vec![0.0; 2000];
        let highest = (0..300).map(|place| half.sample(&logits, &[], place, None).unwrap().token).max().unwrap();
        assert!((950..1000).contains(&highest), "{highest}");
    }

    #[test]
    fn the_penalty_reaches_back_as_far_as_told() {
        let penalised = |last, history: &[u32]| {
            let options = SamplerOptions { repeat_penalty: 1.5, repeat_last_n: last, ..SamplerOptions::default() };
            sampler(options).sample(&[2.0, 1.9, -1.0], history, 3, None).unwrap()
        };
        assert_eq!(penalised(64, &[0, 0, 2]).token, 1);
        assert_eq!(penalised(1, &[0, 2]).token, 0);
        assert_eq!(penalised(0, &[0]).token, 0);
        let plain = logits::log_softmax_at(&[2.0, 1.9, -1.0], 1).unwrap();
        assert_eq!(penalised(64, &[0]).logprob.to_bits(), plain.to_bits());
    }

    #[test]
    fn a_draw_depends_on_seed_and_place_alone() {
        let logits: Vec<f32> = (0..1000).map(|i| (i % 17) as f32 / 4.0).collect();
        let sampler = |seed| sampler(SamplerOptions { seed, top_p: 0.9, ..options() });
        let at = |sampler: &mut Sampler, place| sampler.sample(&logits, &[], place, None).unwrap().token;
        let (mut one, mut other) = (sampler(3), sampler(4));
        let forwards: Vec<u32> = (0..50).map(|place| at(&mut one, place)).collect();
        let mut backwards: Vec<u32> = (0..50).rev().map(|place| at(&mut one, place)).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        assert_ne!((0..50).map(|place| at(&mut other, place)).collect::<Vec<_>>(), forwards);
    }

    #[test]
    fn bad_logits_and_histories_are_errors() {
        let mut penalty = sampler(SamplerOptions { repeat_penalty: 2.0, ..options() });
        for logits in [&[][..], &[0.0, f32::NAN], &[f32::INFINITY, 0.0], &[f32::NEG_INFINITY; 2]] {
            assert!(matches!(penalty.sample(logits, &[], 0, None), Err(SamplerError::Logits(_))), "{logits:?}");
        }
        let outside = LogitsError::TokenOutOfRange { token: 7, vocabulary: 2 };
        assert_eq!(penalty.sample(&[0.0, 1.0], &[7], 0, None), Err(SamplerError::Logits(outside)));
    }

    #[test]
    fn impossible_tokens_are_never_drawn() {
        let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        assert_close(&frequencies(options(), &logits), &[0.0, 1.0, 0.0]);
    }

    #[test]
    fn only_allowed_tokens_are_drawn_with_the_probability_among_all() {
        let allowed = TokenSet::of(&[0, 3], 4).unwrap();
        let draws = |options: SamplerOptions| {
            let (mut sampler, mut counts) = (sampler(options), vec![0.0; 4]);
            for place in 0..20_000 {
                let sampled = sampler.sample(&four(), &[1], place, Some(&allowed)).unwrap();
                assert!((sampled.logprob - four()[sampled.token as usize]).abs() < 1e-6);
                counts[sampled.token as usize] += 1.0 / 20_000.0;
            }
            counts
        };
        assert_close(&draws(options()), &[0.4, 0.0, 0.0, 0.6]);
        assert_close(&draws(SamplerOptions { top_k: 1, ..options() }), &[0.0, 0.0, 0.0, 1.0]);
        assert_close(&draws(SamplerOptions { top_p: 0.5, ..options() }), &[0.0, 0.0, 0.0, 1.0]);
        assert_close(&draws(SamplerOptions { min_p: 0.7, ..options() }), &[0.0, 0.0, 0.0, 1.0]);
        assert_close(&draws(SamplerOptions { temperature: 0.0, ..options() }), &[0.0, 0.0, 0.0, 1.0]);
        let penalty = SamplerOptions { repeat_penalty: 4.0, temperature: 0.0, ..options() };
        assert_eq!(sampler(penalty).sample(&[1.0, 9.0, 2.0, 3.0], &[3], 0, Some(&allowed)).unwrap().token, 0);
    }

    #[test]
    fn where_nothing_is_allowed_nothing_is_drawn() {
        let logits = [0.0, f32::NEG_INFINITY];
        let mut allowed = TokenSet::empty(2).unwrap();
        for temperature in [0.0, 1.0] {
            let mut sampler = sampler(SamplerOptions { temperature, ..options() });
            for _ in 0..2 {
                let error = sampler.sample(&logits, &[], 0, Some(&allowed)).unwrap_err();
                assert_eq!(error, SamplerError::Logits(LogitsError::Impossible));
                allowed.insert(1);
            }
            allowed.remove(1);
        }
    }
}
