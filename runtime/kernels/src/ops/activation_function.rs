//! Activation functions, and what they gate.

use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Isa, Kernel, PartialSums, Simd};

use super::vector::{exp, load_at, map};

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

#[cfg(test)]
mod tests {
    use super::super::vector::tests::{SIZES, close, wave};
    use super::super::vector::{
        cut_off, layer_norm, mean_square, rms_norm, sigmoid, soft_cap, softmax, softmax_with_sink,
    };
    use super::*;

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

    #[test]
    fn geglu_is_the_formula_on_every_isa_and_at_every_scale() {
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
                activate_gate(isa, Activation::Gelu, &mut got, &vec![f32::NAN; n]);
                assert!(got.iter().all(|x| x.is_nan()), "{isa:?} {n}");
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
        const OTHERS: [Function; 11] = [
            |isa, x, _| cut_off(isa, x, 1.5),
            |isa, x, _| x[0] = mean_square(isa, x),
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
}
