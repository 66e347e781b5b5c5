//! The normal distribution, with the same bits on every platform: nothing but basic operations.

use std::f64::consts::PI;

/// Standard deviations above the mean at which a share of `share` (above 0, below 1) of normally
/// distributed numbers is below.
pub(super) fn quantile(share: f64) -> f64 {
    if share < 0.5 {
        return -quantile(1.0 - share);
    }
    // Beyond 9 deviations there is nothing that a share of 64 bits could tell.
    let (mut low, mut high) = (0.0, 9.0);
    // Until two neighbours are left.
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if above_mean(middle) < share - 0.5 { low = middle } else { high = middle }
    }
}

/// The share of numbers between the mean and `x` deviations above it: `e^(-x^2/2) / sqrt(2 pi)`
/// times the sum of `x^(2n+1) / (1 * 3 * ... * (2n+1))` (Abramowitz & Stegun 26.2.11), whose terms
/// are all positive.
fn above_mean(x: f64) -> f64 {
    let square = x * x;
    let sum = |first: f64, divisor: fn(f64) -> f64, step: f64| {
        let (mut term, mut sum, mut n) = (first, first, 1.0);
        while term > sum * f64::EPSILON / 4.0 {
            term *= step / divisor(n);
            sum += term;
            n += 1.0;
        }
        sum
    };
    let exponential = sum(1.0, |n| n, square / 2.0);
    sum(x, |n| 2.0 * n + 1.0, square) / exponential / (2.0 * PI).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        for (share, want, tolerance) in [
            (0.5, 0.0, 1e-14),
            (0.75, 0.674_489_750_196_081_7, 1e-14),
            (0.95, 1.644_853_626_951_471_5, 1e-14),
            (0.05, -1.644_853_626_951_471_5, 1e-14),
            (0.999, 3.090_232_306_167_813, 1e-12),
            (1.0 - 1e-9, 5.997_807_019_601_638, 1e-7),
        ] {
            let got = quantile(share);
            assert!((got - want).abs() <= tolerance, "{share}: {got} for {want}");
        }
        assert_eq!((quantile(0.95) as f32).to_bits(), 0x3fd2_8a90);
    }
}
