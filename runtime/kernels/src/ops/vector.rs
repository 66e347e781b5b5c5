//! Operations on single vectors: norms, softmax, soft-cap, sums.

use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Isa, Kernel, PartialSums, Simd};

/// `e^x`, within 2 units in the last place; 0 to infinity are clamped to the range of normal
/// numbers. NaN stays NaN.
///
/// Range reduction to `2^n * e^r`, and the polynomial of Cephes' `expf` (S. Moshier, netlib).
#[inline(always)]
pub(super) fn exp<S: Simd>(isa: S, x: S::F32) -> S::F32 {
    const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // ln 2 in two parts, the first with so few bits that its product with n is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let zero = isa.splat(0.0);
    let x = isa.max(isa.splat(-87.0), x);
    let x = isa.sub(zero, isa.max(isa.splat(-88.0), isa.sub(zero, x)));
    let n = isa.round(isa.mul(x, isa.splat(std::f32::consts::LOG2_E)));
    let r = isa.fma(n, isa.splat(-LN2_HIGH), x);
    let r = isa.fma(n, isa.splat(-LN2_LOW), r);
    let mut p = isa.splat(POLYNOMIAL[0]);
    for &c in &POLYNOMIAL[1..] {
        p = isa.fma(p, r, isa.splat(c));
    }
    let p = isa.fma(isa.mul(r, r), p, isa.add(r, isa.splat(1.0)));
    isa.mul(p, isa.pow2(n))
}

/// Replaces each vector of `$x`, blocks of 16 elements, by the value of `$body`, which sees it as
/// `$v`, its place as `$at` and its number in the block as `$vector`. The last block is padded with
/// `$pad`.
///
/// A macro, since a closure's code would not be compiled for the instruction set of the function
/// around it.
macro_rules! map {
    ($isa:ident: $s:ident, $x:expr, $pad:expr, |$v:ident, $at:ident, $vector:ident| $body:expr) => {{
        for start in (0..$x.len()).step_by(MAX_LANES) {
            let (rest, mut last) = (&mut $x[start..], [$pad; MAX_LANES]);
            let length = rest.len().min(MAX_LANES);
            let block = match rest.first_chunk_mut() {
                Some(block) => block,
                None => {
                    last[..length].copy_from_slice(rest);
                    &mut last
                }
            };
            for $vector in 0..PartialSums::<$s>::VECTORS {
                let lane = $vector * $s::LANES;
                let ($v, $at) = ($isa.load(&block[lane..]), start + lane);
                let _ = $at;
                $isa.store($body, &mut block[lane..]);
            }
            if length < MAX_LANES {
                $x[start..].copy_from_slice(&last[..length]);
            }
        }
    }};
}
pub(super) use map;

/// `x` (at most 16 elements) followed by `pad`.
#[inline(always)]
pub(super) fn padded<T: Copy>(x: &[T], pad: T) -> [T; MAX_LANES] {
    let mut out = [pad; MAX_LANES];
    out[..x.len()].copy_from_slice(x);
    out
}

/// The vector of `x` that starts at `at`, padded with zeros past the end.
#[inline(always)]
pub(super) fn load_at<S: Simd>(isa: S, x: &[f32], at: usize) -> S::F32 {
    match x.get(at..at + S::LANES) {
        Some(chunk) => isa.load(chunk),
        None => isa.load(&padded(x.get(at..).unwrap_or_default(), 0.0)),
    }
}

/// `x = x / sqrt(mean(x^2) + epsilon) * weight`, in place (Zhang & Sennrich 2019, arXiv
/// 1910.07467).
///
/// # Panics
/// If `weight` is shorter than `x`.
pub fn rms_norm(isa: Isa, x: &mut [f32], weight: &[f32], epsilon: f32) {
    assert!(weight.len() >= x.len(), "a norm needs a weight for each element");
    isa.dispatch(RmsNorm { x, weight, epsilon });
}

struct RmsNorm<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    epsilon: f32,
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let mut squares = PartialSums::new(isa);
        map!(isa: S, self.x, 0.0, |x, at, vector| {
            squares.fma(isa, vector, x, x);
            x
        });
        let mean = squares.sum(isa) / self.x.len() as f32;
        let scale = isa.splat(1.0 / (mean + self.epsilon).sqrt());
        map!(isa: S, self.x, 0.0, |x, at, vector| isa.mul(isa.mul(x, scale), load_at(isa, self.weight, at)));
    }
}

/// `x = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias`, in place (Ba et al. 2016,
/// arXiv 1607.06450).
///
/// # Panics
/// If `weight` or `bias` is shorter than `x`.
pub fn layer_norm(isa: Isa, x: &mut [f32], weight: &[f32], bias: Option<&[f32]>, epsilon: f32) {
    let shortest = bias.map_or(weight.len(), |bias| bias.len().min(weight.len()));
    assert!(shortest >= x.len(), "a norm needs a weight and a bias for each element");
    isa.dispatch(LayerNorm { x, weight, bias, epsilon });
}

struct LayerNorm<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    epsilon: f32,
}

impl Kernel for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let variance = center(isa, self.x);
        let scale = isa.splat(1.0 / (variance + self.epsilon).sqrt());
        map!(isa: S, self.x, 0.0, |x, at, vector| {
            let x = isa.mul(isa.mul(x, scale), load_at(isa, self.weight, at));
            match self.bias {
                Some(bias) => isa.add(x, load_at(isa, bias, at)),
                None => x,
            }
        });
    }
}

/// Subtracts the mean of `x`, in place, and gives the variance.
#[inline(always)]
fn center<S: Simd>(isa: S, x: &mut [f32]) -> f32 {
    let n = x.len() as f32;
    let mut sum = PartialSums::new(isa);
    map!(isa: S, x, 0.0, |x, at, vector| {
        sum.add(isa, vector, x);
        x
    });
    let mean = sum.sum(isa) / n;
    let mut squares = PartialSums::new(isa);
    // Padded with the mean, which adds nothing to the squares.
    map!(isa: S, x, mean, |x, at, vector| {
        let x = isa.sub(x, isa.splat(mean));
        squares.fma(isa, vector, x, x);
        x
    });
    squares.sum(isa) / n
}

/// The mean of the squares.
pub fn mean_square(isa: Isa, x: &[f32]) -> f32 {
    isa.dispatch(MeanSquare { x })
}

struct MeanSquare<'a> {
    x: &'a [f32],
}

impl Kernel for MeanSquare<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) -> f32 {
        let mut squares = PartialSums::new(isa);
        for start in (0..self.x.len()).step_by(MAX_LANES) {
            for vector in 0..PartialSums::<S>::VECTORS {
                let x = load_at(isa, self.x, start + vector * S::LANES);
                squares.fma(isa, vector, x, x);
            }
        }
        squares.sum(isa) / self.x.len() as f32
    }
}

/// `x = max(0, x - mean(x) - deviations * deviation(x))`, in place: of numbers that are normally
/// distributed a known share stays above 0 (statistical top-k: You et al. 2025, arXiv 2506.06644).
pub fn cut_off(isa: Isa, x: &mut [f32], deviations: f32) {
    isa.dispatch(CutOff { x, deviations });
}

struct CutOff<'a> {
    x: &'a mut [f32],
    deviations: f32,
}

impl Kernel for CutOff<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let variance = center(isa, self.x);
        let (zero, cutoff) = (isa.splat(0.0), isa.splat(self.deviations * variance.sqrt()));
        map!(isa: S, self.x, 0.0, |x, at, vector| isa.max(zero, isa.sub(x, cutoff)));
    }
}

/// `x = 1 / (1 + e^-x)`, in place.
pub fn sigmoid(isa: Isa, x: &mut [f32]) {
    isa.dispatch(Sigmoid { x });
}

struct Sigmoid<'a> {
    x: &'a mut [f32],
}

impl Kernel for Sigmoid<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let (zero, one) = (isa.splat(0.0), isa.splat(1.0));
        map!(isa: S, self.x, 0.0, |x, at, vector| isa.div(one, isa.add(one, exp(isa, isa.sub(zero, x)))));
    }
}

/// `x = cap * tanh(x / cap)`, in place (Bello et al. 2016, arXiv 1611.09940), with an error of some
/// `1e-7 cap`; NaN where x is infinite.
pub fn soft_cap(isa: Isa, x: &mut [f32], cap: f32) {
    isa.dispatch(SoftCap { x, cap });
}

struct SoftCap<'a> {
    x: &'a mut [f32],
    cap: f32,
}

impl Kernel for SoftCap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let (one, cap, double) = (isa.splat(1.0), isa.splat(self.cap), isa.splat(2.0 / self.cap));
        map!(isa: S, self.x, 0.0, |x, at, vector| {
            // tanh y = 1 - 2 / (1 + e^2y)
            let rest = isa.div(isa.splat(2.0), isa.add(one, exp(isa, isa.mul(x, double))));
            // Infinite values become NaN instead of the cap, so that errors stay visible.
            isa.fma(x, isa.splat(0.0), isa.mul(cap, isa.sub(one, rest)))
        });
    }
}

/// `x = e^(x - max x) / sum`, in place. NaN anywhere gives NaN.
pub fn softmax(isa: Isa, x: &mut [f32]) {
    isa.dispatch(Softmax { x, sink: None });
}

/// The same of `x` and one number more, which takes its share of the sum (an attention sink: Xiao
/// et al. 2023, arXiv 2309.17453, section 3.2, learned).
pub fn softmax_with_sink(isa: Isa, x: &mut [f32], sink: f32) {
    isa.dispatch(Softmax { x, sink: Some(sink) });
}

struct Softmax<'a> {
    x: &'a mut [f32],
    sink: Option<f32>,
}

/// The first lane, whatever it is.
#[inline(always)]
fn first_lane<S: Simd>(isa: S, x: S::F32) -> f32 {
    let mut lanes = [0.0; MAX_LANES];
    isa.store(x, &mut lanes);
    lanes[0]
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let mut max = isa.splat(self.sink.unwrap_or(f32::NEG_INFINITY));
        map!(isa: S, self.x, f32::NEG_INFINITY, |x, at, vector| {
            max = isa.max(max, x);
            x
        });
        let max = isa.max_lane(max);
        let mut total = PartialSums::new(isa);
        map!(isa: S, self.x, f32::NEG_INFINITY, |x, at, vector| {
            let y = exp(isa, isa.sub(x, isa.splat(max)));
            total.add(isa, vector, y);
            y
        });
        let sink = self.sink.map_or(0.0, |sink| first_lane(isa, exp(isa, isa.splat(sink - max))));
        let total = total.sum(isa) + sink;
        let scale = isa.splat(1.0 / total);
        map!(isa: S, self.x, 0.0, |x, at, vector| isa.mul(x, scale));
    }
}

/// `x = x + scale * y`, in place.
pub fn add_scaled(x: &mut [f32], y: &[f32], scale: f32) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += scale * y;
    }
}

/// `x = factor * x`, in place.
pub fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

/// `x = x + y`, in place.
pub fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::ops) const SIZES: [usize; 8] = [1, 3, 4, 15, 16, 17, 64, 577];

    pub(in crate::ops) fn wave(n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * scale).collect()
    }

    pub(in crate::ops) fn close(got: &[f32], want: impl Iterator<Item = f64>, tolerance: f64) {
        for (i, (&got, want)) in got.iter().zip(want).enumerate() {
            assert!((f64::from(got) - want).abs() <= tolerance * want.abs().max(1e-3), "{i}: {got} for {want}");
        }
    }

    #[test]
    fn norm_is_the_formula_on_every_isa() {
        for isa in Isa::available() {
            for n in SIZES {
                let (x, weight) = (wave(n, 3.0), wave(n, 2.0));
                let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
                let mut got = x.clone();
                rms_norm(isa, &mut got, &weight, 1e-5);
                let want = x.iter().zip(&weight).map(|(&x, &w)| f64::from(x) * f64::from(w) / (mean + 1e-5).sqrt());
                close(&got, want, 1e-5);
            }
        }
    }

    #[test]
    fn soft_caps_are_the_formula_on_every_isa_and_at_every_scale() {
        for isa in Isa::available() {
            for (n, scale) in SIZES.into_iter().zip([0.1, 1.0, 3.0, 80.0, 1e15, 1e-6, 5.0, 30.0]) {
                let x = wave(n, scale);
                let mut got = x.clone();
                soft_cap(isa, &mut got, 30.0);
                close(&got, x.iter().map(|&x| 30.0 * (f64::from(x) / 30.0).tanh()), 1e-2);
                assert!(got.iter().all(|x| x.abs() <= 30.0), "{isa:?} {scale}");
                let mut bad: Vec<f32> =
                    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().cycle().take(n).collect();
                soft_cap(isa, &mut bad, 30.0);
                assert!(bad.iter().all(|x| x.is_nan()), "{isa:?} {n}");
            }
        }
    }

    #[test]
    fn softmax_is_the_formula_on_every_isa_and_keeps_nan() {
        for isa in Isa::available() {
            for n in SIZES {
                let x = wave(n, 20.0);
                let total: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
                let mut got = x.clone();
                softmax(isa, &mut got);
                close(&got, x.iter().map(|&x| f64::from(x).exp() / total), 1e-4);
                for sink in [-30.0, 1.5, 40.0_f32] {
                    let mut got = x.clone();
                    softmax_with_sink(isa, &mut got, sink);
                    let total = total + f64::from(sink).exp();
                    close(&got, x.iter().map(|&x| f64::from(x).exp() / total), 1e-4);
                }
                let mut bad = x.clone();
                bad[n / 2] = f32::NAN;
                softmax(isa, &mut bad);
                assert!(bad.iter().all(|x| x.is_nan()), "{isa:?} {n}");
                let mut bad = x.clone();
                softmax_with_sink(isa, &mut bad, f32::NAN);
                assert!(bad.iter().all(|x| x.is_nan()), "{isa:?} {n}");
            }
        }
    }

    #[test]
    fn small_gates_are_cut_off_as_the_formula_says_on_every_isa_and_nan_stays() {
        for isa in Isa::available() {
            for (n, deviations) in SIZES.into_iter().flat_map(|n| [(n, 1.644_853_6), (n, -0.5)]) {
                let x: Vec<f32> = wave(n, 3.0).iter().map(|x| x + 0.7).collect();
                let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
                let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
                let cutoff = mean + f64::from(deviations) * variance.sqrt();
                let mut got = x.clone();
                cut_off(isa, &mut got, deviations);
                for (got, x) in got.iter().zip(&x) {
                    let want = (f64::from(*x) - cutoff).max(0.0);
                    assert!((f64::from(*got) - want).abs() < 1e-5, "{isa:?} {n}: {got} for {want}");
                }
                let square = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
                close(&[mean_square(isa, &x)], [square].into_iter(), 1e-5);
                got[n / 2] = f32::NAN;
                cut_off(isa, &mut got, deviations);
                assert!(got.iter().all(|x| x.is_nan()), "{isa:?} {n}");
            }
        }
    }

    #[test]
    fn layer_norm_is_the_formula_on_every_isa_and_keeps_nan() {
        for isa in Isa::available() {
            for n in SIZES {
                let (x, weight, bias) = (wave(n, 3.0), wave(n, 2.0), wave(n, 0.5));
                let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
                let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
                let normed = |i: usize| (f64::from(x[i]) - mean) * f64::from(weight[i]) / (variance + 1e-5).sqrt();
                let mut got = x.clone();
                layer_norm(isa, &mut got, &weight, Some(&bias), 1e-5);
                close(&got, (0..n).map(|i| normed(i) + f64::from(bias[i])), 1e-3);
                let mut got = x.clone();
                layer_norm(isa, &mut got, &weight, None, 1e-5);
                close(&got, (0..n).map(normed), 1e-3);
                got[n / 2] = f32::NAN;
                layer_norm(isa, &mut got, &weight, None, 1e-5);
                assert!(got.iter().all(|x| x.is_nan()), "{isa:?} {n}");
            }
        }
    }

    #[test]
    fn sigmoid_is_the_formula_on_every_isa_and_keeps_nan() {
        for isa in Isa::available() {
            for (n, scale) in SIZES.into_iter().zip([0.1, 1.0, 3.0, 80.0, 1e15, 1e-6, 5.0, 30.0]) {
                let mut got = wave(n, scale);
                got[0] = f32::NAN;
                sigmoid(isa, &mut got);
                assert!(got[0].is_nan(), "{isa:?} {n}");
                let want = wave(n, scale).into_iter().map(|x| 1.0 / (1.0 + f64::from(-x).exp()));
                close(&got[1..], want.skip(1), 1e-5);
            }
        }
    }
}
