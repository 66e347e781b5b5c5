//! Means with their uncertainty: Wilson's interval for a share of problems, a bootstrap over
//! problems for the mean of several answers to each.

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
        let n = right.len() as f64;
        if right.is_empty() {
            return Self { mean: f64::NAN, low: 0.0, high: 1.0 };
        }
        let p = right.iter().filter(|&&right| right).count() as f64 / n;
        let scale = 1.0 + Z * Z / n;
        let middle = (p + Z * Z / (2.0 * n)) / scale;
        let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        Self { mean: p, low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
    }

    /// The mean over problems of one number for each, by drawing problems anew (Efron's
    /// percentiles). The same numbers and seed give the same interval.
    pub fn bootstrap(values: &[f64], seed: u64) -> Self {
        let n = values.len();
        if n == 0 {
            return Self { mean: f64::NAN, low: f64::NAN, high: f64::NAN };
        }
        let mut rng = Rng::stream(seed, "bootstrap", n as u64);
        let mut resample = || (0..n).map(|_| values[rng.below(n as u64) as usize]).sum::<f64>() / n as f64;
        let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
        means.sort_by(f64::total_cmp);
        let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
        Self { mean: values.iter().sum::<f64>() / n as f64, low: at(0.025), high: at(0.975) }
    }
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
        let certain = Interval::bootstrap(&[0.5; 9], 1);
        assert_eq!((certain.low, certain.high), (0.5, 0.5));
        assert!(Interval::bootstrap(&[], 1).mean.is_nan());
    }
}
