//! Products of quantized weights with quantized activations.
//!
//! One kernel for a generation step (one column), an option set (a few) and a prompt (many). It reads the weights as panels
//! (see [`super::panel`]), `LANES` rows at once, one float accumulator a row and column: for each group of weights that
//! share a scale, the integer products are summed exactly and then added as `scale * activation scale * sum`, group after
//! group. So a result is the same bits for any number of columns, on every instruction set.
//!
//! A tile is `R` vectors of rows by `C` columns of results in registers. One column goes with many rows: as many streams
//! of memory at once, which is what a generation step is bound by.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Kernel, Simd};

use super::Shared;
use super::activations::{BLOCK, Column, HALF, Quantized};
use super::format::{Block, Format, PANEL_ROWS};
use super::matrix::Matrix;

/// Panels that are walked at once for a single column, at most: more streams of memory give little.
pub(super) const STREAMS: usize = 4;

/// `Y[rows] = W[rows] X` for all columns.
pub(super) struct QuantizedGemm<'a, F> {
    pub(super) matrix: Matrix<'a>,
    pub(super) x: &'a Quantized,
    /// Panels of the matrix; no other task has them.
    pub(super) panels: Range<usize>,
    pub(super) out: Shared<f32>,
    pub(super) format: PhantomData<F>,
}

impl<F: Format> Kernel for QuantizedGemm<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        // One column walks through all of its panels; of many, each takes its turn while a few panels are in the cache.
        let size = if self.x.count() == 1 { self.panels.len() } else { S::TILE * S::LANES / PANEL_ROWS };
        for first in self.panels.clone().step_by(size.max(1)) {
            self.rows(isa, first..self.panels.end.min(first + size));
        }
    }
}

impl<F: Format> QuantizedGemm<'_, F> {
    /// All columns of some panels.
    #[inline(always)]
    fn rows<S: Simd>(&self, isa: S, panels: Range<usize>) {
        let (count, vectors) = (self.x.count(), PANEL_ROWS / S::LANES);
        let vectors = panels.start * vectors..panels.end * vectors;
        let mut column = 0;
        while column < count {
            column += match count - column {
                left if left >= 8 && S::TILE >= 8 => self.columns::<S, 1, 8>(isa, vectors.clone(), column),
                left if left >= 4 && S::TILE >= 8 => self.columns::<S, 2, 4>(isa, vectors.clone(), column),
                left if left >= 4 => self.columns::<S, 1, 4>(isa, vectors.clone(), column),
                left if left >= 2 && S::TILE >= 8 => self.columns::<S, 4, 2>(isa, vectors.clone(), column),
                left if left >= 2 => self.columns::<S, 2, 2>(isa, vectors.clone(), column),
                _ if S::TILE.min(STREAMS * PANEL_ROWS / S::LANES) >= 8 => {
                    self.streams::<S, 8>(isa, panels.clone(), column)
                }
                _ => self.streams::<S, 4>(isa, panels.clone(), column),
            };
        }
    }

    /// `C` columns from `column`, in tiles of `R` vectors of rows; gives `C`.
    #[inline(always)]
    fn columns<S: Simd, const R: usize, const C: usize>(&self, isa: S, vectors: Range<usize>, column: usize) -> usize {
        let x: [Column<'_>; C] = std::array::from_fn(|c| self.x.column(column + c));
        let mut first = vectors.start;
        while first + R <= vectors.end {
            self.tile::<S, R, C>(isa, std::array::from_fn(|r| first + r), &x, column);
            first += R;
        }
        for first in first..vectors.end {
            self.tile::<S, 1, C>(isa, [first], &x, column);
        }
        C
    }

    /// One column: `R` vectors of rows at once, from panels that lie far apart, so that each walks through memory as a long
    /// stream of its own, which is what the processor's prefetching sees best. Gives 1.
    #[inline(always)]
    fn streams<S: Simd, const R: usize>(&self, isa: S, panels: Range<usize>, column: usize) -> usize {
        let (x, vectors) = ([self.x.column(column)], PANEL_ROWS / S::LANES);
        let count = (R / vectors).max(1);
        let length = panels.len().div_ceil(count);
        let panel = |stream: usize, i: usize| panels.start + stream * length + i;
        for i in 0..length {
            if panel(count - 1, i) < panels.end {
                let rows = std::array::from_fn(|r| panel(r / vectors, i) * vectors + r % vectors);
                self.tile::<S, R, 1>(isa, rows, &x, column);
                continue;
            }
            // The last stream is shorter, or there are fewer panels than streams.
            for panel in (0..count - 1).map(|stream| panel(stream, i)).filter(|&panel| panel < panels.end) {
                for row in 0..vectors {
                    self.tile::<S, 1, 1>(isa, [panel * vectors + row], &x, column);
                }
            }
        }
        1
    }

    /// The vectors of rows `rows` by the columns `x`, which are number `column` and following.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(
        &self,
        isa: S,
        rows: [usize; R],
        x: &[Column<'_>; C],
        column: usize,
    ) {
        let mut blocks: [Block; R] = rows.map(|row| self.block::<S>(row));
        let mut acc = [[isa.splat(0.0); C]; R];
        for unit in 0..self.matrix.cols() / F::ELEMENTS {
            for group in 0..F::ELEMENTS / F::GROUP {
                // SAFETY: the panels have `cols / ELEMENTS` blocks, and these are the blocks number `unit`.
                unsafe { add_group::<S, F, R, C>(isa, &mut acc, &blocks, unit, group, x) };
            }
            for block in &mut blocks {
                *block = block.next::<F>();
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            for (c, &y) in acc.iter().enumerate() {
                // SAFETY: this task has the panel, and so these rows, alone.
                unsafe { self.write(isa, rows[r] * S::LANES, column + c, y) };
            }
        }
    }

    /// The first block of vector `vector` of the matrix's rows.
    #[inline(always)]
    fn block<S: Simd>(&self, vector: usize) -> Block {
        let row = vector * S::LANES;
        let start = row / PANEL_ROWS * PANEL_ROWS * self.matrix.row_bytes();
        Block::first::<F>(self.matrix.bytes()[start..].as_ptr(), row % PANEL_ROWS)
    }

    /// Writes the results of the rows from `row` (of the panels) on, of one column; what is not in the matrix is dropped.
    ///
    /// # Safety
    /// No other task writes these rows of this column.
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, isa: S, row: usize, column: usize, y: S::F32) {
        let rows = self.matrix.panel_rows();
        let (start, end) = (row.max(rows.start), (row + S::LANES).min(rows.end));
        if start >= end {
            return;
        }
        // SAFETY: passed on from the caller.
        let to = unsafe { self.out.slice(column * self.matrix.rows() + start - rows.start, end - start) };
        if to.len() == S::LANES {
            isa.store(y, to);
        } else {
            let mut all = [0.0; MAX_LANES];
            isa.store(y, &mut all);
            to.copy_from_slice(&all[start - row..end - row]);
        }
    }
}

/// Adds the products of one group of weights: the one place that fixes the rounding.
///
/// # Safety
/// The blocks are whole and in bounds, and the columns have their elements.
#[inline(always)]
unsafe fn add_group<S: Simd, F: Format, const R: usize, const C: usize>(
    isa: S,
    acc: &mut [[S::F32; C]; R],
    blocks: &[Block; R],
    unit: usize,
    group: usize,
    x: &[Column<'_>; C],
) {
    let zero = if F::SIGNED { S::SIGNED_ZERO } else { F::ZERO };
    let at = unit * F::ELEMENTS + group * F::GROUP;
    let mut sums = [[isa.splat_i32(0); C]; R];
    for c in 0..C {
        let start = isa.splat_i32(-zero * group_sum::<F>(&x[c], at));
        for sums in &mut sums {
            sums[c] = start;
        }
    }
    let words = F::GROUP / 4;
    let run_length = S::run_length(F::MOST).min(words);
    for first in (0..words).step_by(run_length) {
        let mut runs = [[isa.begin(sums[0][0]); C]; R];
        for r in 0..R {
            for c in 0..C {
                runs[r][c] = isa.begin(sums[r][c]);
            }
        }
        for word in first..words.min(first + run_length) {
            for r in 0..R {
                // SAFETY: the caller vouches for the blocks and the columns.
                unsafe {
                    let weights = F::weights(isa, blocks[r], group, word);
                    for c in 0..C {
                        let x = x[c].values.as_ptr().add(at + 4 * word);
                        runs[r][c] = isa.dot4_of::<F>(runs[r][c], weights, x);
                    }
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                sums[r][c] = isa.end(sums[r][c], runs[r][c]);
            }
        }
    }
    for r in 0..R {
        // SAFETY: the caller vouches for the blocks.
        let scale = unsafe { F::scale(isa, blocks[r], group) };
        for c in 0..C {
            let scale = isa.mul(scale, isa.splat(x[c].scales[at / BLOCK]));
            acc[r][c] = isa.fma(scale, isa.to_f32(sums[r][c]), acc[r][c]);
        }
        if F::AFFINE {
            // SAFETY: the caller vouches for the blocks.
            let minimum = unsafe { F::minimum(isa, blocks[r], group) };
            for c in 0..C {
                acc[r][c] = isa.fma(minimum, isa.splat(x[c].scaled_sums[at / BLOCK]), acc[r][c]);
            }
        }
    }
}

/// The sum of a column's integers under the group of weights that starts at `at`.
#[inline(always)]
fn group_sum<F: Format>(x: &Column<'_>, at: usize) -> i32 {
    let first = at / HALF;
    if F::GROUP == HALF { x.sums[first] } else { x.sums[first] + x.sums[first + 1] }
}

/// The byte product with the signedness of a format.
trait Dot4: Simd {
    /// As [`Simd::dot4`].
    ///
    /// # Safety
    /// `x` is readable for 4 bytes.
    #[inline(always)]
    unsafe fn dot4_of<F: Format>(self, run: Self::Partial, weights: Self::Bytes, x: *const i8) -> Self::Partial {
        // SAFETY: passed on from the caller.
        unsafe { if F::SIGNED { self.dot4::<true>(run, weights, x) } else { self.dot4::<false>(run, weights, x) } }
    }
}

impl<S: Simd> Dot4 for S {}
