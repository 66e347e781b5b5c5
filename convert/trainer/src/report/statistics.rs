//! Means with their uncertainty: Wilson's interval for a share of problems, a bootstrap over
//! problems for the mean of several answers to each. Two systems on the same problems:
//! `McNemar`'s exact test, and a paired bootstrap.

use serde::Serialize;

use crate::data::rng::Rng;

/// A mean and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The 97.5 % point of the standard normal distribution.
const Z: f64 = 1.959_963_985;

/// Resamples of a bootstrap: its ends are then good to about a tenth of the interval's width.
const RESAMPLES: usize = 2000;

impl Interval {
    /// The share of `right` ones among independent problems (Wilson 1927); nothing is known of no
    /// problem.
    pub fn wilson(right: &[bool]) -> Self {
        let values: Vec<f64> = right.iter().map(|&right| f64::from(u8::from(right))).collect();
        Self::score(&values)
    }

    /// Wilson's interval for numbers from 0 to 1, with their variance in place of `p (1 - p)`. For
    /// numbers that are 0 or 1 it is Wilson's own.
    fn score(values: &[f64]) -> Self {
        let n = values.len() as f64;
        if values.is_empty() {
            return Self { mean: f64::NAN, low: 0.0, high: 1.0 };
        }
        let mean = mean(values);
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        let scale = 1.0 + Z * Z / n;
        let middle = (mean + Z * Z / (2.0 * n)) / scale;
        let half = Z / scale * (variance / n + Z * Z / (4.0 * n * n)).sqrt();
        Self { mean, low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
    }

    /// The mean over problems of one number from 0 to 1 for each, by drawing problems anew (Efron's
    /// percentiles). The same numbers and seed give the same interval.
    ///
    /// Drawn anew, numbers that are all the same say that nothing is uncertain. So the interval
    /// also covers that of Wilson's formula with the numbers' variance in place of `p (1 - p)`: of
    /// n numbers that are all 0 it is Wilson's for 0 of n.
    pub fn bootstrap(values: &[f64], seed: u64) -> Self {
        let least = Self::score(values);
        let means = resampled_means(values, seed);
        let Some((low, high)) = percentiles(&means) else { return least };
        Self { low: low.min(least.low), high: high.max(least.high), ..least }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Means of as many values, drawn anew, in ascending order; none of no value.
fn resampled_means(values: &[f64], seed: u64) -> Vec<f64> {
    let n = values.len();
    if n == 0 {
        return Vec::new();
    }
    let mut rng = Rng::stream(seed, "bootstrap", n as u64);
    let mut resample = || (0..n).map(|_| values[rng.below(n as u64) as usize]).sum::<f64>() / n as f64;
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
    means.sort_by(f64::total_cmp);
    means
}

/// The 2.5 % and the 97.5 % point.
fn percentiles(sorted: &[f64]) -> Option<(f64, f64)> {
    let last = sorted.len().checked_sub(1)?;
    let at = |share: f64| sorted[(last as f64 * share).round() as usize];
    Some((at(0.025), at(0.975)))
}

/// `McNemar`'s exact test (two-sided) of two systems on the same problems: the probability that,
/// were they equally good, the problems that only one of them has right would be divided as
/// unequally as here. `wins` are those of one, `losses` those of the other.
pub fn mcnemar(wins: usize, losses: usize) -> f64 {
    let (few, many) = (wins.min(losses), wins.max(losses));
    if few == many {
        return 1.0;
    }
    // ln of the binomial probability of `few` among all, then the smaller ones by their ratios.
    let choose: f64 = (1..=few).map(|i| ((many + i) as f64 / i as f64).ln()).sum();
    let likeliest = (choose - (few + many) as f64 * std::f64::consts::LN_2).exp();
    let (mut term, mut sum) = (1.0, 1.0);
    for k in (1..=few).rev() {
        term *= k as f64 / (few + many - k + 1) as f64;
        sum += term;
        if term < f64::EPSILON * 1e-3 {
            break;
        }
    }
    (2.0 * likeliest * sum).min(1.0)
}

/// How two systems differ on the same problems.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedDifference {
    /// The mean of the differences.
    pub difference: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Problems on which the difference is positive.
    pub wins: usize,
    /// Problems on which it is negative.
    pub losses: usize,
    /// The probability of a difference as large as this one, in either direction, if there were
    /// none.
    pub p: f64,
}

impl PairedDifference {
    /// By drawing problems anew, with what both systems have on each: of one difference for each
    /// problem, from -1 to 1, or as far as the largest. The same differences and seed give the same
    /// numbers.
    ///
    /// The interval is Efron's percentiles, p twice the smaller share of means that are not above,
    /// or not below, 0. Where few problems differ, a bootstrap is too sure. So the interval reaches
    /// at least `1.96 sqrt(2) / (n + 2)` to either side, as that of Bonett and Price (2012) for
    /// systems that differ nowhere; and p is at least `2^(1 - m)` for m problems that differ, the
    /// least that a sign test could say of them. Of no problem nothing is known.
    pub fn bootstrap(differences: &[f64], seed: u64) -> Self {
        let (wins, losses) = count_signs(differences);
        let means = resampled_means(differences, seed);
        let Some((low, high)) = percentiles(&means) else {
            return Self { difference: f64::NAN, low: -1.0, high: 1.0, wins, losses, p: 1.0 };
        };
        let difference = mean(differences);
        // Prices of tokens may make more of a difference than right and wrong do.
        let most = differences.iter().fold(1.0_f64, |most, difference| most.max(difference.abs()));
        let least = most * Z * std::f64::consts::SQRT_2 / (differences.len() + 2) as f64;
        // A mean of differences that cancel may be some rounding away from 0.
        let beyond = |sign: f64| means.iter().filter(|mean| **mean * sign < 1e-12).count();
        let share = (1 + beyond(1.0).min(beyond(-1.0))) as f64 / (1 + RESAMPLES) as f64;
        let sign_test = 2.0 * 0.5_f64.powi((wins + losses).min(1000) as i32);
        Self {
            difference,
            low: low.min(difference - least).max(-most),
            high: high.max(difference + least).min(most),
            wins,
            losses,
            p: (2.0 * share).max(sign_test).min(1.0),
        }
    }

    /// Of one answer a problem: each difference is -1, 0 or 1. p is that of `McNemar`'s exact
    /// test, the interval is the bootstrap's.
    pub fn mcnemar(differences: &[f64], seed: u64) -> Self {
        let of_all = Self::bootstrap(differences, seed);
        Self { p: mcnemar(of_all.wins, of_all.losses), ..of_all }
    }
}

/// How many are positive, and negative. What is rounding is neither.
fn count_signs(differences: &[f64]) -> (usize, usize) {
    let count = |sign: f64| differences.iter().filter(|difference| **difference * sign > 1e-12).count();
    (count(1.0), count(-1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    fn shares(right: usize, n: usize) -> Vec<bool> {
        (0..n).map(|i| i < right).collect()
    }

    #[test]
    fn wilson_is_the_published_interval() {
        // R: binom::binom.wilson(c(8, 0, 10), c(10, 10, 10)).
        for (right, low, high) in [(8, 0.490_162, 0.943_318), (0, 0.0, 0.277_533), (10, 0.722_467, 1.0)] {
            let got = Interval::wilson(&shares(right, 10));
            assert_close(got.mean as f32, right as f32 / 10.0, 1e-6);
            assert_close(got.low as f32, low, 1e-5);
            assert_close(got.high as f32, high, 1e-5);
        }
        assert!(Interval::wilson(&[]).mean.is_nan());
    }

    #[test]
    fn the_bootstrap_comes_near_the_normal_interval_and_repeats() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 10) / 10.0).collect();
        let got = Interval::bootstrap(&values, 1);
        assert_close(got.mean as f32, 0.45, 1e-6);
        // Standard error: sqrt(0.0825 / 400).
        assert_close(got.low as f32, 0.45 - 0.0281, 4e-3);
        assert_close(got.high as f32, 0.45 + 0.0281, 4e-3);
        assert_eq!(got, Interval::bootstrap(&values, 1));
        assert!(Interval::bootstrap(&[], 1).mean.is_nan());
    }

    #[test]
    fn the_bootstrap_does_not_collapse() {
        for value in [0.0, 1.0] {
            let (got, want) = (Interval::bootstrap(&[value; 10], 1), Interval::wilson(&[value > 0.0; 10]));
            assert_eq!(got, want);
        }
        // By hand: .5 -+ z^2 / (2 (9 + z^2)).
        let same = Interval::bootstrap(&[0.5; 9], 1);
        assert_close(same.low as f32, 0.5 - 0.149_57, 1e-4);
        assert_close(same.high as f32, 0.5 + 0.149_57, 1e-4);
        let mut nearly = [0.0; 100];
        nearly[3] = 0.1;
        let got = Interval::bootstrap(&nearly, 1);
        assert!(got.low < 1e-3 && (0.036..0.04).contains(&got.high), "{got:?}");
    }

    #[test]
    fn mcnemar_is_the_exact_binomial_test() {
        // R: binom.test(c(wins, losses))$p.value.
        for (wins, losses, want) in [
            (33, 11, 0.001_260_033_816),
            (5, 5, 1.0),
            (0, 0, 1.0),
            (1, 0, 1.0),
            (8, 2, 0.109_375),
            (6, 16, 0.052_478_790_283),
            (0, 10, 0.001_953_125),
            (3000, 2800, 0.008_969_436_001),
        ] {
            for (wins, losses) in [(wins, losses), (losses, wins)] {
                let got = mcnemar(wins, losses);
                assert!((got - want).abs() < 1e-10 * want.max(1e-2), "{wins} {losses}: {got}, not {want}");
            }
        }
        let of_many = mcnemar(1_000_000, 1_002_000);
        assert!((of_many - 0.1573).abs() < 1e-3, "{of_many}");
        assert!(mcnemar(5_000_000, 0) < 1e-300 && mcnemar(500, 501) <= 1.0);
    }

    #[test]
    fn the_paired_bootstrap_comes_near_the_normal_test_and_repeats() {
        // Mean .05, variance .25 - .0025, standard error .02487: z 2.01, p .044.
        let differences: Vec<f64> = (0..400).map(|i| if i % 20 < 11 { 0.5 } else { -0.5 }).collect();
        let got = PairedDifference::bootstrap(&differences, 1);
        assert_eq!((got.wins, got.losses), (220, 180));
        assert_close(got.difference as f32, 0.05, 1e-6);
        assert_close(got.low as f32, 0.05 - 0.0487, 5e-3);
        assert_close(got.high as f32, 0.05 + 0.0487, 5e-3);
        assert_close(got.p as f32, 0.044, 0.02);
        assert_eq!(got, PairedDifference::bootstrap(&differences, 1));
        let against: Vec<f64> = differences.iter().map(|difference| -difference).collect();
        let against = PairedDifference::bootstrap(&against, 1);
        assert_eq!((against.wins, against.losses, against.p.to_bits()), (180, 220, got.p.to_bits()));
    }

    #[test]
    fn few_differences_are_not_too_sure() {
        let same = PairedDifference::bootstrap(&[0.0; 98], 1);
        assert_eq!((same.wins, same.losses, same.p.to_bits()), (0, 0, 1.0_f64.to_bits()));
        assert_close(same.high as f32, 0.027_718, 1e-5);
        assert_close(same.low as f32, -0.027_718, 1e-5);
        let three = PairedDifference::bootstrap(&[0.5; 3], 1);
        assert_close(three.p as f32, 0.25, 1e-6);
        assert!(three.low < 0.0 && three.high <= 1.0, "{three:?}");
        let cancel = PairedDifference::bootstrap(&[0.1 + 0.2 - 0.3, 0.0], 1);
        assert_eq!((cancel.wins, cancel.losses), (0, 0));
        let none = PairedDifference::bootstrap(&[], 1);
        assert!(none.difference.is_nan() && none.p >= 1.0);
        // One answer a problem: 33 wins, 11 losses.
        let single: Vec<f64> =
            (0..300).map(|i| [1.0, -1.0, 0.0][usize::from(i >= 33) + usize::from(i >= 44)]).collect();
        let single = PairedDifference::mcnemar(&single, 1);
        assert_eq!((single.wins, single.losses), (33, 11));
        assert_close(single.p as f32, 0.001_26, 1e-5);
        assert_close(single.difference as f32, 22.0 / 300.0, 1e-6);
    }
}
