//! Accumulation of quantized matmul: the integer dot products of a block are scaled and added to
//! the float accumulators. The rounding is fixed here and nowhere else.

use crate::cpu::Simd;

use super::activations::{ActivationTile, BLOCK};
use super::format::Integers;

/// The zero-point correction with which integer dot products start, of the first `N` of `C` tokens:
/// minus `zero` times the sums of the activations. The weights are stored `zero` (0 or a power of
/// two) too high.
#[inline(always)]
pub(super) fn starts<S: Simd, const C: usize, const N: usize>(isa: S, zero: i32, sums: &[i32; C]) -> [S::I32; N] {
    match zero {
        0 => [isa.splat_i32(0); N],
        _ => std::array::from_fn(|c| isa.shift_i32(isa.splat_i32(sums[c]), zero.trailing_zeros())),
    }
}

/// Scales the integer dot products of one block of activations, at element `at` of the tokens, and
/// adds them to the accumulators. The rounding is fixed here: where a step is a block of
/// activations, `(scale * activation scale) * sum`, and for an affine format then
/// `minimum * scaled sum`; else `activation scale * (scale * sum + scale * sum)`, where an affine
/// format adds `minimum * sum of the activations` after each. Step `i` has the integer `sums(i)`
/// and, of vector `r` of rows, `scale(r, i)` and `minimum(r, i)`.
#[inline(always)]
pub(super) fn add_block<S: Simd, I: Integers, const R: usize, const C: usize, const N: usize>(
    isa: S,
    acc: &mut [[S::F32; N]; R],
    sums: impl Fn(usize) -> [[S::I32; N]; R],
    scale: impl Fn(usize, usize) -> S::F32,
    minimum: impl Fn(usize, usize) -> S::F32,
    x: &ActivationTile<'_, C>,
    at: usize,
) {
    const { assert!(BLOCK.is_multiple_of(I::STEP)) };
    let scales = x.scales(at);
    if I::STEP == BLOCK {
        let sums = sums(0);
        for r in 0..R {
            let scale = scale(r, 0);
            for c in 0..N {
                acc[r][c] = isa.fma(isa.mul(scale, isa.splat(scales[c])), isa.to_f32(sums[r][c]), acc[r][c]);
            }
            if I::AFFINE {
                let (minimum, sums) = (minimum(r, 0), x.scaled_sums(at));
                for c in 0..N {
                    acc[r][c] = isa.fma(minimum, isa.splat(sums[c]), acc[r][c]);
                }
            }
        }
    } else {
        let mut scaled = [[isa.splat(0.0); N]; R];
        for i in 0..BLOCK / I::STEP {
            let sums = sums(i);
            for r in 0..R {
                let scale = scale(r, i);
                for c in 0..N {
                    let sum = isa.to_f32(sums[r][c]);
                    scaled[r][c] = if i == 0 { isa.mul(scale, sum) } else { isa.fma(scale, sum, scaled[r][c]) };
                }
                if I::AFFINE {
                    let (minimum, sums) = (minimum(r, i), x.sums(at + i * I::STEP, I::STEP));
                    for c in 0..N {
                        // The sums are negative.
                        scaled[r][c] = isa.fma(minimum, isa.splat(-sums[c] as f32), scaled[r][c]);
                    }
                }
            }
        }
        for r in 0..R {
            for c in 0..N {
                acc[r][c] = isa.fma(scaled[r][c], isa.splat(scales[c]), acc[r][c]);
            }
        }
    }
}
