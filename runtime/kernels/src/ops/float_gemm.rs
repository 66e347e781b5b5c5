//! Matmul of float weights (F32, F16, BF16) with float activations.
//!
//! Lanes run along the row. A result is the sum of the 16 [`PartialSums`] of its row, which is
//! padded with zeros. The order does not depend on the tile, so the result is bit-identical for any
//! number of tokens, on every instruction set.

use std::ops::Range;

use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Kernel, PartialSums, Simd};

use super::Shared;
use super::float::Float;
use super::matrix::Matrix;
use super::vector::padded;

/// Matmul of some rows, `Y[rows] = W[rows] X`, for all tokens.
pub(super) struct FloatGemm<'a, T> {
    pub(super) matrix: Matrix<'a>,
    /// `matrix`, as numbers.
    pub(super) weights: &'a [T],
    /// `[count][cols]`
    pub(super) x: &'a [f32],
    /// No other task has these rows.
    pub(super) rows: Range<usize>,
    pub(super) out: Shared<f32>,
}

impl<T: Float> Kernel for FloatGemm<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        // As many sums as there are registers for.
        if const { PartialSums::<S>::VECTORS == 1 } { self.tiles::<S, 4, 2>(isa) } else { self.tiles::<S, 2, 3>(isa) }
    }
}

impl<T: Float> FloatGemm<'_, T> {
    /// All rows by all tokens, in tiles of `R` rows by `C` tokens.
    #[inline(always)]
    fn tiles<S: Simd, const R: usize, const C: usize>(&self, isa: S) {
        let count = self.x.len() / self.matrix.cols();
        for first in self.rows.clone().step_by(R) {
            let mut token = 0;
            while token < count {
                token += match count - token {
                    left if left >= C => self.tile::<S, R, C>(isa, first, token),
                    _ => self.tile::<S, R, 1>(isa, first, token),
                };
            }
        }
    }

    /// One tile of `R` rows, from `first` on, by `C` tokens; gives `C`. Past the end, the last row
    /// is used again.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(&self, isa: S, first: usize, token: usize) -> usize {
        let cols = self.matrix.cols();
        let row = |r: usize| (first + r).min(self.rows.end - 1);
        let w: [&[T]; R] = std::array::from_fn(|r| &self.weights[row(r) * cols..][..cols]);
        let x: [&[f32]; C] = std::array::from_fn(|c| &self.x[(token + c) * cols..][..cols]);
        let whole = cols / MAX_LANES * MAX_LANES;
        let mut sums = [[PartialSums::new(isa); C]; R];
        for at in (0..whole).step_by(MAX_LANES) {
            add(isa, &mut sums, &w.map(|w| &w[at..at + MAX_LANES]), &x.map(|x| &x[at..at + MAX_LANES]));
        }
        if whole < cols {
            let (w, x) = (w.map(|w| padded(&w[whole..], T::ZERO)), x.map(|x| padded(&x[whole..], 0.0)));
            add(isa, &mut sums, &w, &x);
        }
        for r in 0..R {
            for c in 0..C {
                // SAFETY: this task has the row alone.
                unsafe { self.out.slice((token + c) * self.matrix.rows() + row(r), 1)[0] = sums[r][c].sum(isa) };
            }
        }
        C
    }
}

/// Multiplies and adds: a block of 16 elements of `R` rows by those of `C` tokens.
#[inline(always)]
fn add<S: Simd, T: Float, const R: usize, const C: usize>(
    isa: S,
    sums: &mut [[PartialSums<S>; C]; R],
    w: &[impl AsRef<[T]>; R],
    x: &[impl AsRef<[f32]>; C],
) {
    for vector in 0..PartialSums::<S>::VECTORS {
        let lane = vector * S::LANES;
        for r in 0..R {
            let weights = T::load(isa, &w[r].as_ref()[lane..]);
            for c in 0..C {
                sums[r][c].fma(isa, vector, weights, isa.load(&x[c].as_ref()[lane..]));
            }
        }
    }
}
