//! Matmul of float weights (F32, F16, BF16) with float activations.
//!
//! Lanes run along the row. Each of the `LANES` partial sums is one accumulator; they are added up
//! at the end, and the elements past the last whole vector follow as scalars. The order does not
//! depend on the tile, so the result is bit-identical for any number of tokens.

use std::ops::Range;

use crate::cpu::{Kernel, Simd};

use super::Shared;
use super::float::Float;
use super::matrix::Matrix;

/// Rows of a tile.
const ROWS: usize = 4;

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
        let count = self.x.len() / self.matrix.cols();
        for first in self.rows.clone().step_by(ROWS) {
            let whole = first + ROWS <= self.rows.end;
            let mut column = 0;
            while column < count {
                column += match (whole, count - column) {
                    (true, left) if left >= 2 => self.tile::<S, ROWS, 2>(isa, first, column),
                    (true, _) => self.tile::<S, ROWS, 1>(isa, first, column),
                    (false, _) => {
                        (first..self.rows.end).map(|row| self.tile::<S, 1, 1>(isa, row, column)).fold(1, usize::max)
                    }
                };
            }
        }
    }
}

impl<T: Float> FloatGemm<'_, T> {
    /// One tile of `R` rows by `C` tokens; gives `C`.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(&self, isa: S, row: usize, column: usize) -> usize {
        let cols = self.matrix.cols();
        let w: [&[T]; R] = std::array::from_fn(|r| &self.weights[(row + r) * cols..][..cols]);
        let x: [&[f32]; C] = std::array::from_fn(|c| &self.x[(column + c) * cols..][..cols]);
        let whole = cols / S::LANES * S::LANES;
        let mut acc = [[isa.splat(0.0); C]; R];
        for at in (0..whole).step_by(S::LANES) {
            for r in 0..R {
                let weights = T::load(isa, &w[r][at..at + S::LANES]);
                for c in 0..C {
                    acc[r][c] = isa.fma(weights, isa.load(&x[c][at..at + S::LANES]), acc[r][c]);
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                let rest = w[r][whole..].iter().zip(&x[c][whole..]);
                let y = rest.fold(isa.sum(acc[r][c]), |y, (w, x)| w.widen().mul_add(*x, y));
                // SAFETY: this task has the row alone.
                unsafe { self.out.slice((column + c) * self.matrix.rows() + row + r, 1)[0] = y };
            }
        }
        C
    }
}
