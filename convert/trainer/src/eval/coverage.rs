//! How often a *set* of guesses holds the gold token, and what such a figure is worth.
//!
//! An option set's oracle says how often one of its guesses is right. Any model's most probable
//! tokens cover the gold token more often the more of them there are; so the oracle is reported
//! beside what the control covers with sets of the same mean size S (our decision): its m most
//! probable tokens, and every token above a threshold.

use serde::Serialize;

/// A mean and its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean over tokens.
    pub mean: f64,
    /// Its standard error, with tokens of one problem taken as correlated.
    pub standard_error: f64,
}

impl Estimate {
    /// Mean and cluster-robust standard error of one value a token. `bounds` holds the first token
    /// of each problem, and the number of tokens at the end.
    pub fn of(values: &[f64], bounds: &[usize]) -> Self {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let deviation = |pair: &[usize]| values[pair[0]..pair[1]].iter().map(|value| value - mean).sum::<f64>();
        let squares: f64 = bounds.windows(2).map(|pair| deviation(pair).powi(2)).sum();
        Self { mean, standard_error: squares.sqrt() / count }
    }
}

/// Per token, whether its `size` most probable guesses hold the gold token, which has `rank` tokens
/// above it. A size between two whole numbers takes its share of both.
pub fn top_m(ranks: &[u32], size: f64) -> Vec<f64> {
    let share = size.fract();
    let holds = |rank: u32, size: f64| if f64::from(rank) < size { 1.0 } else { 0.0 };
    ranks.iter().map(|&rank| (1.0 - share) * holds(rank, size.floor()) + share * holds(rank, size.ceil())).collect()
}

/// The probability threshold at which sets have `size` tokens on average: `pool` holds the
/// probabilities of all tokens of all positions, as far down as matters.
pub fn threshold(pool: &mut [f32], positions: usize, size: f64) -> f32 {
    let wanted = (size * positions as f64).round() as usize;
    if wanted == 0 || pool.is_empty() {
        return f32::INFINITY;
    }
    let last = wanted.min(pool.len()) - 1;
    *pool.select_nth_unstable_by(last, |left, right| right.total_cmp(left)).1
}

/// Per token, whether the gold token's probability reaches the threshold.
pub fn adaptive(gold: &[f32], threshold: f32) -> Vec<f64> {
    gold.iter().map(|&p| if p >= threshold { 1.0 } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_by_hand() {
        // Two positions over three tokens: (.7 .2 .1) with gold the second, (.4 .35 .25) with gold
        // the third.
        let (ranks, gold) = ([1, 2], [0.2, 0.25]);
        assert_eq!(top_m(&ranks, 2.0), [1.0, 0.0]);
        assert_eq!(top_m(&ranks, 1.25), [0.25, 0.0]);
        assert_eq!(top_m(&ranks, 2.5), [1.0, 0.5]);
        let mut pool = [0.7, 0.2, 0.1, 0.4, 0.35, 0.25];
        // Four tokens in two sets: .7, .4, .35 and .25.
        let threshold = threshold(&mut pool, 2, 2.0);
        assert!((threshold - 0.25).abs() < 1e-9);
        assert_eq!(adaptive(&gold, threshold), [0.0, 1.0]);
    }

    #[test]
    fn the_standard_error_counts_problems_not_tokens() {
        let values = [1.0, 1.0, 0.0, 0.0];
        let alone = Estimate::of(&values, &[0, 1, 2, 3, 4]);
        assert_eq!(alone, Estimate { mean: 0.5, standard_error: 0.25 });
        // Two problems, each all right or all wrong: as good as two observations.
        let clustered = Estimate::of(&values, &[0, 2, 4]);
        assert!((clustered.standard_error - 0.125f64.sqrt()).abs() < 1e-12);
    }
}
