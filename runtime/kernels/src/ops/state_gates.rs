//! What prepares the inputs of [`DeltaRule`](super::DeltaRule) and
//! [`SelectiveScan`](super::SelectiveScan): unit queries and keys, time steps and decays.

use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Isa, Kernel, PartialSums, Simd};

use super::vector::{exp, load_at, map};

/// `x = x * scale / sqrt(sum(x^2) + epsilon)`, in place.
pub fn l2_norm(isa: Isa, x: &mut [f32], scale: f32, epsilon: f32) {
    isa.dispatch(L2Norm { x, scale, epsilon });
}

struct L2Norm<'a> {
    x: &'a mut [f32],
    scale: f32,
    epsilon: f32,
}

impl Kernel for L2Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let mut squares = PartialSums::new(isa);
        map!(isa: S, self.x, 0.0, |x, at, vector| {
            squares.fma(isa, vector, x, x);
            x
        });
        let scale = isa.splat(self.scale / (squares.sum(isa) + self.epsilon).sqrt());
        map!(isa: S, self.x, 0.0, |x, at, vector| isa.mul(x, scale));
    }
}

/// `x = softplus(x + bias)`, in place: the time step of each head (Gu & Dao 2023, arXiv 2312.00752,
/// section 3).
///
/// # Panics
/// If `bias` is shorter than `x`.
pub fn time_step(isa: Isa, x: &mut [f32], bias: &[f32]) {
    assert!(bias.len() >= x.len(), "a time step needs a bias for each head");
    isa.dispatch(TimeStep { x, bias });
}

struct TimeStep<'a> {
    x: &'a mut [f32],
    bias: &'a [f32],
}

impl Kernel for TimeStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        map!(isa: S, self.x, 0.0, |x, at, vector| softplus(isa, isa.add(x, load_at(isa, self.bias, at))));
    }
}

/// `x = e^(rate * x)`, in place: what a time step leaves of a state, between 0 and 1 where `rate`
/// is negative. At most `e^-87` is `e^-87`.
///
/// # Panics
/// If `rate` is shorter than `x`.
pub fn decay(isa: Isa, x: &mut [f32], rate: &[f32]) {
    assert!(rate.len() >= x.len(), "a decay needs a rate for each head");
    isa.dispatch(Decay { x, rate });
}

struct Decay<'a> {
    x: &'a mut [f32],
    rate: &'a [f32],
}

impl Kernel for Decay<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        map!(isa: S, self.x, 0.0, |x, at, vector| exp(isa, isa.mul(load_at(isa, self.rate, at), x)));
    }
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)`, within some units in the last place; NaN stays NaN.
///
/// With `y = e^-|x|` and `s = y / (2 + y)`, at most a third, `ln(1 + y)` is twice the series
/// `s + s^3 / 3 + s^5 / 5` and so on.
#[inline(always)]
fn softplus<S: Simd>(isa: S, x: S::F32) -> S::F32 {
    const TERMS: [f32; 8] = [1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0];
    let y = exp(isa, isa.sub(isa.splat(0.0), isa.abs(x)));
    let s = isa.div(y, isa.add(isa.splat(2.0), y));
    let square = isa.mul(s, s);
    let mut sum = isa.splat(TERMS[0]);
    for &term in &TERMS[1..] {
        sum = isa.fma(sum, square, isa.splat(term));
    }
    isa.fma(isa.add(s, s), sum, isa.max(isa.splat(0.0), x))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [usize; 6] = [1, 3, 16, 17, 64, 577];

    fn wave(n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * scale).collect()
    }

    #[test]
    fn unit_vectors_are_the_formula_and_the_same_bits_on_every_isa() {
        let scalar = Isa::by_name("scalar").unwrap();
        for n in SIZES {
            let x = wave(n, 3.0);
            let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            let mut expected = x.clone();
            l2_norm(scalar, &mut expected, 0.25, 1e-6);
            for (got, x) in expected.iter().zip(&x) {
                let want = f64::from(*x) * 0.25 / (squares + 1e-6).sqrt();
                assert!((f64::from(*got) - want).abs() < 1e-6, "{n}: {got} for {want}");
            }
            for isa in Isa::available() {
                let mut got = x.clone();
                l2_norm(isa, &mut got, 0.25, 1e-6);
                assert_eq!(got, expected, "{isa:?} {n}");
            }
        }
    }

    #[test]
    fn decays_of_time_steps_are_the_formula_and_the_same_bits_on_every_isa() {
        let scalar = Isa::by_name("scalar").unwrap();
        for (n, scale) in SIZES.into_iter().zip([0.1, 1.0, 5.0, 30.0, 1e-6, 90.0]) {
            let (x, bias) = (wave(n, scale), wave(n, 1.5));
            let rate: Vec<f32> = wave(n, 1.0).iter().map(|x| -1.1 - x).collect();
            let both = |isa, x: &mut [f32]| {
                time_step(isa, x, &bias);
                decay(isa, x, &rate);
            };
            let mut expected = x.clone();
            both(scalar, &mut expected);
            for (i, got) in expected.iter().enumerate() {
                let x = f64::from(x[i] + bias[i]);
                let want = (f64::from(rate[i]) * (x.max(0.0) + (-x.abs()).exp().ln_1p())).exp();
                assert!((f64::from(*got) - want).abs() <= 2e-5 * want + 1e-37, "{n} {i}: {got} for {want}");
            }
            for isa in Isa::available() {
                let mut got = x.clone();
                both(isa, &mut got);
                assert_eq!(got, expected, "{isa:?} {n}");
                got[0] = f32::NAN;
                both(isa, &mut got);
                assert!(got[0].is_nan(), "{isa:?} {n}");
            }
        }
    }
}
