//! The tokens that are still in the running, and the filters.

use std::collections::BTreeMap;

use ollm_kernels::logits::{self, Candidate, LogitsError};
use ollm_kernels::memory;
use ollm_kernels::random::Random;
use ollm_kernels::token_set::TokenSet;

use super::options::{DynamicTemperature, Xtc};

/// The candidates. Their order is defined (by token, or sorted), so that draws are reproducible.
#[derive(Debug)]
pub(super) struct Pool {
    candidates: Vec<Candidate>,
    /// Their probabilities relative to the best one's, at the temperature.
    weights: Vec<f64>,
    /// What the logits are divided by.
    temperature: f32,
    /// Whether all tokens are there, each at its place.
    is_whole: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self { candidates: Vec::new(), weights: Vec::new(), temperature: 1.0, is_whole: false }
    }
}

/// Keeps the random numbers of filters apart from those of draws.
const FILTER_STREAM: u64 = 0x5bd1_e995_97f4_a7c5;

impl Pool {
    /// All tokens of a row of logits.
    pub(super) fn fill(&mut self, logits: &[f32]) -> Result<(), LogitsError> {
        (self.temperature, self.is_whole) = (1.0, true);
        logits::fill(&mut self.candidates, logits)
    }

    /// Keeps these tokens alone.
    pub(super) fn allow(&mut self, allowed: &TokenSet) -> Result<(), LogitsError> {
        self.retain(|candidate| allowed.contains(candidate.token));
        if self.max() == f32::NEG_INFINITY { Err(LogitsError::Impossible) } else { Ok(()) }
    }

    /// Changes the logits of tokens that are possible. What leaves the range of f32 stays at its
    /// end: no token becomes impossible, and none comes back.
    pub(super) fn change<T>(
        &mut self,
        changes: &BTreeMap<u32, T>,
        change: impl Fn(f32, &T) -> f32,
    ) -> Result<(), LogitsError> {
        let changed = |candidate: &mut Candidate, by: &T| {
            let logit = change(candidate.logit, by);
            if candidate.logit > f32::NEG_INFINITY && !logit.is_nan() {
                candidate.logit = logit.clamp(f32::MIN, f32::MAX);
            }
        };
        if self.is_whole {
            let vocabulary = self.candidates.len();
            for (&token, by) in changes {
                let outside = LogitsError::TokenOutOfRange { token, vocabulary };
                changed(self.candidates.get_mut(token as usize).ok_or(outside)?, by);
            }
        } else {
            for candidate in &mut self.candidates {
                if let Some(by) = changes.get(&candidate.token) {
                    changed(candidate, by);
                }
            }
        }
        Ok(())
    }

    /// The most probable token; of equal ones the lowest.
    pub(super) fn best(&self) -> u32 {
        self.candidates.iter().min_by(|a, b| a.order(b)).map_or(0, |c| c.token)
    }

    pub(super) fn keep_top_k(&mut self, k: usize) {
        if k > 0 {
            self.keep_best(k);
        }
    }

    /// Sorts only as much of the front as it takes to reach the sum.
    pub(super) fn keep_top_p(&mut self, p: f32) -> Result<(), LogitsError> {
        if p >= 1.0 {
            return Ok(());
        }
        let goal = f64::from(p) * self.weigh()?;
        let (max, temperature) = (self.max(), self.temperature);
        let weight = |c: &Candidate| logits::weight(c.logit, max, temperature);
        let mut sorted = 64;
        while self.candidates.len() > sorted && front_sum(&mut self.candidates, sorted, weight) < goal {
            sorted *= 8;
        }
        self.keep_best(sorted);
        let mut sum = 0.0;
        let reached = self.candidates.iter().position(|c| {
            sum += weight(c);
            sum >= goal
        });
        self.candidates.truncate(reached.map_or(self.candidates.len(), |last| last + 1));
        Ok(())
    }

    pub(super) fn keep_min_p(&mut self, p: f32) -> Result<(), LogitsError> {
        if p > 0.0 {
            self.weigh()?;
            self.keep_weights(|weight| weight >= f64::from(p));
        }
        Ok(())
    }

    /// The standard deviation is that of all logits that are possible.
    pub(super) fn keep_top_n_sigma(&mut self, n: f32) {
        if n <= 0.0 {
            return;
        }
        let possible = || self.candidates.iter().map(|c| f64::from(c.logit)).filter(|logit| logit.is_finite());
        let count = possible().count() as f64;
        let mean = possible().sum::<f64>() / count;
        let variance = possible().map(|logit| (logit - mean) * (logit - mean)).sum::<f64>() / count;
        let least = f64::from(self.max()) - f64::from(n) * variance.sqrt();
        self.retain(|c| f64::from(c.logit) >= least);
    }

    /// The surprise of a token and the entropy, its mean, have the logarithm of the sum of all
    /// weights in common: it cancels.
    pub(super) fn keep_typical(&mut self, p: f32) -> Result<(), LogitsError> {
        if p >= 1.0 {
            return Ok(());
        }
        let total = self.weigh()?;
        let (max, weights) = (self.max(), &self.weights);
        let below = |c: &Candidate| f64::from(max) - f64::from(c.logit);
        let surprises = self.candidates.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
        let mean = surprises.map(|(c, weight)| below(c) * weight).sum::<f64>() / total;
        let mut order: Vec<(f64, u32, f64)> = Vec::new();
        memory::reserve(&mut order, self.candidates.len())?;
        order
            .extend(self.candidates.iter().zip(weights).map(|(c, weight)| ((below(c) - mean).abs(), c.token, *weight)));
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (goal, mut sum) = (f64::from(p) * total, 0.0);
        let reached = order.iter().position(|(_, _, weight)| {
            sum += weight;
            sum >= goal
        });
        let last = order[reached.unwrap_or(order.len() - 1)];
        self.retain(|c| (below(c) - mean).abs().total_cmp(&last.0).then(c.token.cmp(&last.1)).is_le());
        Ok(())
    }

    /// Leaves out all but the least probable of the tokens that reach the threshold.
    pub(super) fn exclude_top(&mut self, xtc: Xtc, seed: u64, place: u64) -> Result<(), LogitsError> {
        if Random::at(seed ^ FILTER_STREAM, place).unit() >= f64::from(xtc.probability) {
            return Ok(());
        }
        let least = f64::from(xtc.threshold) * self.weigh()?;
        let reach = || self.candidates.iter().zip(&self.weights).filter(|(_, weight)| **weight >= least);
        let last = reach().map(|(c, _)| *c).max_by(Candidate::order);
        if let Some(last) = last.filter(|_| reach().count() > 1) {
            self.retain(|c| c.order(&last).is_ge());
        }
        Ok(())
    }

    /// The temperature of all that follows.
    pub(super) fn set_temperature(
        &mut self,
        temperature: f32,
        dynamic: Option<DynamicTemperature>,
    ) -> Result<(), LogitsError> {
        let Some(DynamicTemperature { range, exponent }) = dynamic else {
            self.temperature = temperature;
            return Ok(());
        };
        let (low, high) = ((temperature - range).max(0.0), temperature + range);
        let most = logits::ln(self.candidates.len() as f64);
        let share = if most > 0.0 { (self.entropy()? / most).clamp(0.0, 1.0) } else { 0.0 };
        // share^exponent
        let power = if share > 0.0 { logits::exp(f64::from(exponent) * logits::ln(share)) } else { 0.0 };
        let between = f64::from(low) + f64::from(high - low) * power;
        // Near 0 it is greedy, and a division would leave no numbers.
        self.temperature = (between as f32).max(f32::MIN_POSITIVE);
        Ok(())
    }

    /// Keeps the tokens whose surprise is at most `bound` bits, and the best one.
    pub(super) fn keep_unsurprising(&mut self, bound: f64) -> Result<(), LogitsError> {
        // -log2(weight / total) <= bound
        let least = self.weigh()? * logits::exp(-bound.max(0.0) * std::f64::consts::LN_2);
        self.keep_weights(|weight| weight >= least.min(1.0));
        Ok(())
    }

    /// The surprise of a token that is in the running, in bits.
    pub(super) fn surprise(&mut self, token: u32) -> Result<f64, LogitsError> {
        let total = self.weigh()?;
        let found = self.candidates.iter().zip(&self.weights).find(|(c, _)| c.token == token);
        let weight = found.map_or(1.0, |(_, weight)| *weight);
        Ok((logits::ln(total) - logits::ln(weight)) / std::f64::consts::LN_2)
    }

    pub(super) fn draw(&mut self, seed: u64, place: u64) -> Result<u32, LogitsError> {
        let mut rest = Random::at(seed, place).unit() * self.weigh()?;
        let chosen = self.weights.iter().position(|weight| {
            rest -= weight;
            rest < 0.0
        });
        // Rounding may leave a remainder after the last one: then the best one it is.
        Ok(chosen.map_or_else(|| self.best(), |at| self.candidates[at].token))
    }

    /// In nats.
    fn entropy(&mut self) -> Result<f64, LogitsError> {
        let total = self.weigh()?;
        let (max, temperature) = (self.max(), f64::from(self.temperature));
        let below = |c: &Candidate| (f64::from(max) - f64::from(c.logit)) / temperature;
        let surprises = self.candidates.iter().zip(&self.weights).filter(|(_, weight)| **weight > 0.0);
        Ok(logits::ln(total) + surprises.map(|(c, weight)| below(c) * weight).sum::<f64>() / total)
    }

    /// Weighs all candidates; the sum of their weights, which is at least 1.
    fn weigh(&mut self) -> Result<f64, LogitsError> {
        self.weights.clear();
        memory::reserve(&mut self.weights, self.candidates.len())?;
        let max = self.max();
        logits::weigh(&self.candidates, max, self.temperature, &mut self.weights);
        Ok(self.weights.iter().sum())
    }

    /// The best logit.
    fn max(&self) -> f32 {
        self.candidates.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max)
    }

    fn keep_best(&mut self, n: usize) {
        self.is_whole = false;
        logits::keep_best(&mut self.candidates, n);
    }

    /// Keeps candidates by their weights, which are known.
    fn keep_weights(&mut self, keep: impl Fn(f64) -> bool) {
        let mut weights = self.weights.iter();
        self.is_whole = false;
        self.candidates.retain(|_| weights.next().is_some_and(|weight| keep(*weight)));
    }

    fn retain(&mut self, keep: impl Fn(&Candidate) -> bool) {
        self.is_whole = false;
        self.candidates.retain(keep);
    }
}

fn front_sum(candidates: &mut [Candidate], n: usize, weight: impl Fn(&Candidate) -> f64) -> f64 {
    logits::sort_front(candidates, n);
    candidates[..n].iter().map(weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept tokens, in their order.
    fn kept(pool: &Pool) -> Vec<u32> {
        let mut tokens: Vec<u32> = pool.candidates.iter().map(|c| c.token).collect();
        tokens.sort_unstable();
        tokens
    }

    /// What a filter keeps of many small distributions, beside what a plain program keeps, which is
    /// given the probabilities, best first: how many of them, from which on.
    fn compare(filter: impl Fn(&mut Pool), reference: impl Fn(&[f64], &[f64]) -> Vec<usize>) {
        let random = &mut Random::new(11);
        for _ in 0..300 {
            let n = 2 + random.below(14);
            let logits: Vec<f32> = (0..n).map(|_| (random.unit() * 6.0 - 3.0) as f32).collect();
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            let sorted: Vec<f64> = order.iter().map(|&i| f64::from(logits[i])).collect();
            let total: f64 = sorted.iter().map(|l| l.exp()).sum();
            let probabilities: Vec<f64> = sorted.iter().map(|l| l.exp() / total).collect();
            let mut expected: Vec<u32> =
                reference(&probabilities, &sorted).into_iter().map(|rank| order[rank] as u32).collect();
            expected.sort_unstable();
            let mut pool = Pool::default();
            pool.fill(&logits).unwrap();
            filter(&mut pool);
            assert_eq!(kept(&pool), expected, "{logits:?}");
        }
    }

    /// The ranks whose probabilities reach a sum, taken in this order.
    fn reach(order: impl IntoIterator<Item = usize>, probabilities: &[f64], goal: f64) -> Vec<usize> {
        let (mut taken, mut sum) = (Vec::new(), 0.0);
        for rank in order {
            taken.push(rank);
            sum += probabilities[rank];
            if sum >= goal {
                break;
            }
        }
        taken
    }

    #[test]
    fn top_p_min_p_and_top_k_keep_what_a_plain_program_keeps() {
        compare(|pool| pool.keep_top_p(0.7).unwrap(), |p, _| reach(0..p.len(), p, 0.7));
        compare(|pool| pool.keep_min_p(0.2).unwrap(), |p, _| (0..p.len()).filter(|&i| p[i] >= 0.2 * p[0]).collect());
        compare(|pool| pool.keep_top_k(3), |p, _| (0..p.len().min(3)).collect());
    }

    #[test]
    fn typical_keeps_what_a_plain_program_keeps() {
        let reference = |p: &[f64], _: &[f64]| {
            let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
            let mut order: Vec<usize> = (0..p.len()).collect();
            order.sort_by(|&a, &b| (-p[a].ln() - entropy).abs().total_cmp(&(-p[b].ln() - entropy).abs()));
            reach(order, p, 0.6)
        };
        compare(|pool| pool.keep_typical(0.6).unwrap(), reference);
    }

    #[test]
    fn top_n_sigma_keeps_what_a_plain_program_keeps_at_any_temperature() {
        let reference = |_: &[f64], logits: &[f64]| {
            let mean = logits.iter().sum::<f64>() / logits.len() as f64;
            let variance = logits.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / logits.len() as f64;
            (0..logits.len()).filter(|&i| logits[i] >= logits[0] - 0.8 * variance.sqrt()).collect()
        };
        compare(|pool| pool.keep_top_n_sigma(0.8), reference);
        let hot = |pool: &mut Pool| {
            pool.set_temperature(3.0, None).unwrap();
            pool.keep_top_n_sigma(0.8);
        };
        compare(hot, reference);
        // Banned tokens are no part of the deviation.
        let mut pool = Pool::default();
        pool.fill(&[1.0, f32::NEG_INFINITY, 0.9, -1.0]).unwrap();
        pool.keep_top_n_sigma(1.0);
        assert_eq!(kept(&pool), [0, 2]);
    }

    #[test]
    fn xtc_leaves_the_least_of_the_probable() {
        let xtc = |probability| Xtc { probability, threshold: 0.15 };
        let reference = |p: &[f64], _: &[f64]| {
            let probable = p.iter().filter(|p| **p >= 0.15).count();
            (probable.saturating_sub(1)..p.len()).collect()
        };
        compare(|pool| pool.exclude_top(xtc(1.0), 1, 2).unwrap(), reference);
        compare(|pool| pool.exclude_top(xtc(0.0), 1, 2).unwrap(), |p, _| (0..p.len()).collect());
        let applied = |place| {
            let mut pool = Pool::default();
            pool.fill(&[0.0, 0.0]).unwrap();
            pool.exclude_top(xtc(0.3), 5, place).unwrap();
            pool.candidates.len() == 1
        };
        let share = (0..10_000).filter(|&place| applied(place)).count();
        assert!((2_800..3_200).contains(&share), "{share}");
    }

    #[test]
    fn the_temperature_follows_the_entropy() {
        let dynamic = Some(DynamicTemperature { range: 0.5, exponent: 1.5 });
        let random = &mut Random::new(3);
        for _ in 0..200 {
            let logits: Vec<f32> = (0..9).map(|_| (random.unit() * 8.0) as f32).collect();
            let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            let p = logits.iter().map(|l| f64::from(*l).exp() / total);
            let entropy: f64 = p.map(|p| -p * p.ln()).sum();
            let expected = 0.5 + (entropy / 9.0_f64.ln()).powf(1.5);
            let mut pool = Pool::default();
            pool.fill(&logits).unwrap();
            pool.set_temperature(1.0, dynamic).unwrap();
            assert!((f64::from(pool.temperature) - expected).abs() < 1e-6, "{} {expected}", pool.temperature);
        }
        let mut flat = Pool::default();
        flat.fill(&[2.0; 7]).unwrap();
        flat.set_temperature(0.3, dynamic).unwrap();
        assert!((flat.temperature - 0.8).abs() < 1e-6);
        // Sure of one token: 0.3 - 0.5 is no temperature.
        let mut sure = Pool::default();
        sure.fill(&[2.0, f32::NEG_INFINITY]).unwrap();
        sure.set_temperature(0.3, dynamic).unwrap();
        assert_eq!(sure.draw(1, 1), Ok(0));
    }

    #[test]
    fn a_filter_behind_the_temperature_judges_what_it_made() {
        let mut pool = Pool::default();
        pool.fill(&[0.4_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln(), 0.1_f32.ln()]).unwrap();
        pool.set_temperature(0.5, None).unwrap();
        // .16 .09 .04 .01 of .3
        pool.keep_top_p(0.8).unwrap();
        assert_eq!(kept(&pool), [0, 1]);
    }
}
