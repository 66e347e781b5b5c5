//! Operations on single vectors: norms, softmax, activation functions.

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
        let n = self.x.len() as f32;
        let mut sum = PartialSums::new(isa);
        map!(isa: S, self.x, 0.0, |x, at, vector| {
            sum.add(isa, vector, x);
            x
        });
        let mean = sum.sum(isa) / n;
        let mut squares = PartialSums::new(isa);
        // Padded with the mean, which adds nothing to the squares.
        map!(isa: S, self.x, mean, |x, at, vector| {
            let x = isa.sub(x, isa.splat(mean));
            squares.fma(isa, vector, x, x);
            x
        });
        let scale = isa.splat(1.0 / (squares.sum(isa) / n + self.epsilon).sqrt());
        map!(isa: S, self.x, 0.0, |x, at, vector| {
            let x = isa.mul(isa.mul(x, scale), load_at(isa, self.weight, at));
            match self.bias {
                Some(bias) => isa.add(x, load_at(isa, bias, at)),
                None => x,
            }
        });
    }
}

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `silu(x) = x / (1 + e^-x)` (Hendrycks & Gimpel 2016, arXiv 1606.08415, section 4).
    Silu,
    /// `gelu`, by its approximation with tanh (the same, section 2).
    Gelu,
    /// `gelu(x) = x P(X <= x)` of a standard normal X, by the error function (the same, section 2).
    GeluErf,
    /// `max(x, 0)^2` (So et al. 2021, arXiv 2109.08668).
    ReluSquared,
    /// `x / (1 + e^-1.702x)` of x up to 7; what it multiplies is clamped to 7 either way, and 1 is
    /// added to it (`GptOssExperts` in transformers).
    ClampedSwish,
}

/// The slope inside [`Activation::ClampedSwish`], and where it clamps.
const CLAMPED_SWISH_SLOPE: f32 = 1.702;
const CLAMPED_SWISH_LIMIT: f32 = 7.0;

/// `x = activation(x)`, in place.
pub fn activate(isa: Isa, activation: Activation, x: &mut [f32]) {
    isa.dispatch(Activate { activation, x, factors: None });
}

/// `gate = activation(gate) * up`, in place (Shazeer 2020, arXiv 2002.05202).
///
/// # Panics
/// If `up` is shorter than `gate`.
pub fn activate_gate(isa: Isa, activation: Activation, gate: &mut [f32], up: &[f32]) {
    assert!(up.len() >= gate.len(), "a gate needs a value for each element");
    isa.dispatch(Activate { activation, x: gate, factors: Some(up) });
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

// Functions, not closures: those are compiled without the instruction set where they are not
// inlined.

/// `x / (1 + e^-t)`
#[inline(always)]
fn times_sigmoid<S: Simd>(isa: S, x: S::F32, minus_t: S::F32) -> S::F32 {
    isa.div(x, isa.add(isa.splat(1.0), exp(isa, minus_t)))
}

/// The lesser of x and `-minus_most`.
#[inline(always)]
fn at_most<S: Simd>(isa: S, x: S::F32, minus_most: S::F32) -> S::F32 {
    let zero = isa.splat(0.0);
    isa.sub(zero, isa.max(minus_most, isa.sub(zero, x)))
}

/// `gelu(x) = max(x, 0) - |x| P(X > |x|)`; the tail by Abramowitz & Stegun 1964, 7.1.26, with an
/// error of some `1e-7`.
#[inline(always)]
fn gelu_erf<S: Simd>(isa: S, x: S::F32) -> S::F32 {
    // Halves of their coefficients, the last first.
    const POLYNOMIAL: [f32; 5] = [0.530_702_7, -0.726_576_06, 0.710_706_9, -0.142_248_37, 0.127_414_8];
    // Their p, by the root of 2.
    const SLOPE: f32 = 0.231_641_9;
    let (zero, one) = (isa.splat(0.0), isa.splat(1.0));
    let size = isa.max(isa.sub(zero, x), x);
    let t = isa.div(one, isa.fma(size, isa.splat(SLOPE), one));
    let mut p = isa.splat(POLYNOMIAL[0]);
    for &c in &POLYNOMIAL[1..] {
        p = isa.fma(p, t, isa.splat(c));
    }
    let density = exp(isa, isa.mul(isa.mul(x, x), isa.splat(-0.5)));
    let tail = isa.mul(isa.mul(p, t), density);
    isa.sub(isa.max(zero, x), isa.mul(size, tail))
}

struct Activate<'a> {
    activation: Activation,
    x: &'a mut [f32],
    factors: Option<&'a [f32]>,
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let (zero, one) = (isa.splat(0.0), isa.splat(1.0));
        let least = isa.splat(-CLAMPED_SWISH_LIMIT);
        map!(isa: S, self.x, 0.0, |x, at, vector| {
            let y = match self.activation {
                Activation::Silu => times_sigmoid(isa, x, isa.sub(zero, x)),
                // t = 2 sqrt(2 / pi) (x + 0.044715 x^3), which makes `x / 2 * (1 + tanh(t / 2))`
                Activation::Gelu => {
                    let minus_t = isa.fma(isa.mul(x, x), isa.splat(-0.071_354_82), isa.splat(-1.595_769));
                    times_sigmoid(isa, x, isa.mul(x, minus_t))
                }
                Activation::GeluErf => gelu_erf(isa, x),
                Activation::ReluSquared => {
                    let x = isa.max(zero, x);
                    isa.mul(x, x)
                }
                Activation::ClampedSwish => {
                    let x = at_most(isa, x, least);
                    times_sigmoid(isa, x, isa.mul(x, isa.splat(-CLAMPED_SWISH_SLOPE)))
                }
            };
            match self.factors.map(|factors| load_at(isa, factors, at)) {
                Some(up) if self.activation == Activation::ClampedSwish => {
                    isa.mul(y, isa.add(one, isa.max(least, at_most(isa, up, least))))
                }
                Some(up) => isa.mul(y, up),
                None => y,
            }
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
mod tests {
    use super::*;

    const SIZES: [usize; 8] = [1, 3, 4, 15, 16, 17, 64, 577];

    fn wave(n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * scale).collect()
    }

    fn close(got: &[f32], want: impl Iterator<Item = f64>, tolerance: f64) {
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
    fn swiglu_is_the_formula_on_every_isa_and_at_every_scale() {
        for isa in Isa::available() {
            for (n, scale) in SIZES.into_iter().zip([0.1, 1.0, 10.0, 80.0, 1e4, 1e-6, 5.0, 30.0]) {
                let (gate, up) = (wave(n, scale), wave(n, 2.0));
                let mut got = gate.clone();
                activate_gate(isa, Activation::Silu, &mut got, &up);
                let want =
                    gate.iter().zip(&up).map(|(&g, &u)| f64::from(g) / (1.0 + (-f64::from(g)).exp()) * f64::from(u));
                close(&got, want, 1e-5);
            }
        }
    }

    #[test]
    fn clamped_swiglu_is_the_formula_on_every_isa_and_at_every_scale() {
        for isa in Isa::available() {
            for (n, scale) in SIZES.into_iter().zip([0.1, 1.0, 10.0, 80.0, 1e4, 1e-6, 5.0, 30.0]) {
                let (gate, up) = (wave(n, scale), wave(n, 20.0));
                let mut got = gate.clone();
                activate_gate(isa, Activation::ClampedSwish, &mut got, &up);
                let swish = |x: f64| x.min(7.0) / (1.0 + (-1.702 * x.min(7.0)).exp());
                let want = gate.iter().zip(&up);
                close(&got, want.map(|(&g, &u)| swish(g.into()) * (f64::from(u).clamp(-7.0, 7.0) + 1.0)), 1e-5);
                let mut bad = vec![f32::NAN; n];
                activate_gate(isa, Activation::ClampedSwish, &mut got, &bad);
                activate_gate(isa, Activation::ClampedSwish, &mut bad, &up);
                assert!(bad.iter().chain(&got).all(|x| x.is_nan()), "{isa:?} {n}");
            }
        }
    }

    #[test]
    fn geglu_and_soft_caps_are_the_formulas_on_every_isa_and_at_every_scale() {
        for isa in Isa::available() {
            for (n, scale) in SIZES.into_iter().zip([0.1, 1.0, 3.0, 80.0, 1e15, 1e-6, 5.0, 30.0]) {
                let (x, up) = (wave(n, scale), wave(n, 2.0));
                let mut got = x.clone();
                activate_gate(isa, Activation::Gelu, &mut got, &up);
                let gelu = |x: f64| {
                    let t = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                    x / (1.0 + (-2.0 * t).exp())
                };
                close(&got, x.iter().zip(&up).map(|(&x, &u)| gelu(f64::from(x)) * f64::from(u)), 1e-5);
                let mut got = x.clone();
                soft_cap(isa, &mut got, 30.0);
                close(&got, x.iter().map(|&x| 30.0 * (f64::from(x) / 30.0).tanh()), 1e-2);
                assert!(got.iter().all(|x| x.abs() <= 30.0), "{isa:?} {scale}");
                let mut bad: Vec<f32> =
                    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().cycle().take(n).collect();
                soft_cap(isa, &mut bad, 30.0);
                activate_gate(isa, Activation::Gelu, &mut got, &bad);
                assert!(bad.iter().chain(&got).all(|x| x.is_nan()), "{isa:?} {n}");
            }
        }
    }

    /// The formula's integral by Simpson's rule.
    #[test]
    fn gelu_by_the_error_function_is_the_formula_on_every_isa_and_keeps_nan() {
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let gelu = |x: f64| {
            const STEPS: usize = 2000;
            let width = x / STEPS as f64;
            let weight = |i: usize| if i == 0 || i == STEPS { 1.0 } else { f64::from(2 << (i % 2)) };
            let half: f64 = (0..=STEPS).map(|i| weight(i) * density(i as f64 * width)).sum();
            x * (0.5 + half * width / 3.0)
        };
        for isa in Isa::available() {
            for (n, scale) in SIZES.into_iter().zip([0.1, 1.0, 3.0, 20.0, 1e-6, 5.0, 2.0, 9.0]) {
                let (x, up) = (wave(n, scale), wave(n, 2.0));
                let mut got = x.clone();
                activate(isa, Activation::GeluErf, &mut got);
                for (&got, &x) in got.iter().zip(&x) {
                    let want = gelu(x.into());
                    assert!((f64::from(got) - want).abs() < 3e-7 * (1.0 + want.abs()), "{isa:?} {x}: {got} {want}");
                }
                let plain = got.clone();
                let mut gated = x.clone();
                activate_gate(isa, Activation::GeluErf, &mut gated, &up);
                assert!((0..n).all(|i| gated[i].to_bits() == (plain[i] * up[i]).to_bits()), "{isa:?} {n}");
                let mut bad = vec![f32::NAN; n];
                activate(isa, Activation::GeluErf, &mut bad);
                assert!(bad.iter().all(|x| x.is_nan()), "{isa:?} {n}");
                let mut large = vec![1e30, -1e30];
                activate(isa, Activation::GeluErf, &mut large);
                assert_eq!(large, [1e30, 0.0], "{isa:?}");
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

    type Function = fn(Isa, &mut [f32], &[f32]);

    /// Ragged sizes at several scales: one hash (FNV-1a).
    fn hash(isa: Isa, functions: &[Function]) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for function in functions {
            for (n, scale) in (1..70).chain([577, 1000]).zip([1e-6, 0.7, 40.1, 1e4].into_iter().cycle()) {
                let mut x = wave(n, scale);
                function(isa, &mut x, &wave(n, 3.3));
                for byte in x.iter().flat_map(|x| x.to_bits().to_le_bytes()) {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
            }
        }
        hash
    }

    #[test]
    fn bits_are_the_same_on_every_isa_and_platform() {
        const FUNCTIONS: [Function; 6] = [
            |isa, x, y| rms_norm(isa, x, y, 1e-5),
            |isa, x, y| activate_gate(isa, Activation::Silu, x, y),
            |isa, x, y| activate_gate(isa, Activation::Gelu, x, y),
            |isa, x, _| activate(isa, Activation::Silu, x),
            |isa, x, _| soft_cap(isa, x, 30.0),
            |isa, x, _| softmax(isa, x),
        ];
        const OTHERS: [Function; 9] = [
            |isa, x, _| sigmoid(isa, x),
            |isa, x, y| layer_norm(isa, x, y, Some(y), 1e-5),
            |isa, x, y| layer_norm(isa, x, y, None, 1e-5),
            |isa, x, _| activate(isa, Activation::Gelu, x),
            |isa, x, _| activate(isa, Activation::GeluErf, x),
            |isa, x, y| activate_gate(isa, Activation::GeluErf, x, y),
            |isa, x, _| activate(isa, Activation::ReluSquared, x),
            |isa, x, y| activate_gate(isa, Activation::ClampedSwish, x, y),
            |isa, x, _| softmax_with_sink(isa, x, 1.5),
        ];
        let scalar = Isa::by_name("scalar").unwrap();
        for isa in Isa::available() {
            assert_eq!(hash(isa, &FUNCTIONS), 0x2881_28dd_7175_eab2, "{isa:?}");
            assert_eq!(hash(isa, &OTHERS), hash(scalar, &OTHERS), "{isa:?}");
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

    #[test]
    fn squared_relu_is_the_formula_on_every_isa_and_keeps_nan() {
        for isa in Isa::available() {
            for n in SIZES {
                let mut got = wave(n, 3.0);
                got[0] = f32::NAN;
                activate(isa, Activation::ReluSquared, &mut got);
                assert!(got[0].is_nan(), "{isa:?} {n}");
                let want = wave(n, 3.0).into_iter().map(|x| f64::from(x.max(0.0)).powi(2));
                close(&got[1..], want.skip(1), 1e-6);
            }
        }
    }
}
