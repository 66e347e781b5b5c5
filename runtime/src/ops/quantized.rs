//! Products of quantized weights with quantized activations.
//!
//! The weights are read as panels (see [`super::panel`]), `LANES` rows at once, one float accumulator a row and column: for
//! each group of weights that share a scale, the integer products are summed exactly and then added as
//! `scale * activation scale * sum`, group after group. So a result is the same bits for any number of columns, on every
//! instruction set.
//!
//! A generation step has one column, and is bound by memory: it reads the panels as they are, from as many streams as
//! it works on panels at once. A prompt or an option set has many: a part of a panel is expanded to bytes once
//! (see [`super::expanded`]), and all columns meet it while it is in the cache.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::simd::{MAX_LANES, Words, dots};
use crate::cpu::{Kernel, Simd};

use super::Shared;
use super::activations::{BLOCK, Column, HALF, Quantized};
use super::expanded::{CHUNK, Expanded};
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

    const PRODUCTS: bool = true;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        if self.x.count() > 1 {
            self.many(isa);
        } else if S::ROWS == 8 {
            self.one::<S, 8>(isa);
        } else {
            self.one::<S, 4>(isa);
        }
    }
}

/// A single column.
impl<F: Format> QuantizedGemm<'_, F> {
    /// `R` vectors of rows at once, from panels that lie far apart, so that each walks through memory as a long stream of its
    /// own, which is what the processor's prefetching sees best.
    #[inline(always)]
    fn one<S: Simd, const R: usize>(&self, isa: S) {
        let (panels, vectors) = (&self.panels, PANEL_ROWS / S::LANES);
        let streams = (R / vectors).max(1);
        let length = panels.len().div_ceil(streams);
        let panel = |stream: usize, i: usize| panels.start + stream * length + i;
        for i in 0..length {
            if panel(streams - 1, i) < panels.end {
                let rows = std::array::from_fn(|r| panel(r / vectors, i) * vectors + r % vectors);
                self.rows::<S, R>(isa, rows);
                continue;
            }
            // The last stream is shorter, or there are fewer panels than streams.
            for panel in (0..streams - 1).map(|stream| panel(stream, i)).filter(|&panel| panel < panels.end) {
                for row in 0..vectors {
                    self.rows::<S, 1>(isa, [panel * vectors + row]);
                }
            }
        }
    }

    /// These vectors of rows, group by group.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&self, isa: S, rows: [usize; R]) {
        let x = self.x.column(0);
        let mut blocks: [Block; R] = rows.map(|row| self.block::<S>(row));
        let mut acc = [[isa.splat(0.0)]; R];
        for unit in 0..self.matrix.cols() / F::ELEMENTS {
            // SAFETY: the panels have `cols / ELEMENTS` blocks, of which these are the blocks number `unit`, and the column has
            // `cols` elements.
            unsafe { Self::unit::<S, R>(isa, blocks, unit * F::ELEMENTS, &x, &mut acc) };
            for block in &mut blocks {
                *block = block.next::<F>();
            }
        }
        for (row, [y]) in rows.into_iter().zip(acc) {
            // SAFETY: this task has the panel, and so these rows, alone.
            unsafe { self.write(isa, row * S::LANES, 0, y) };
        }
    }

    /// Adds the products of these blocks with the column's elements from `at` on.
    ///
    /// # Safety
    /// The blocks are whole and in bounds, and the column has these elements.
    #[inline(always)]
    unsafe fn unit<S: Simd, const R: usize>(
        isa: S,
        blocks: [Block; R],
        at: usize,
        x: &Column<'_>,
        acc: &mut [[S::F32; 1]; R],
    ) {
        // Blocks of many groups have much in common that is unpacked once, if there are registers enough.
        let unpacked = F::ELEMENTS > 32 && S::LANES == MAX_LANES;
        // SAFETY: passed on from the caller.
        let mut heads = unsafe { [F::head(isa, blocks[0]); R] };
        for r in 1..R {
            // SAFETY: passed on from the caller.
            heads[r] = unsafe { F::head(isa, blocks[r]) };
        }
        for group in 0..F::ELEMENTS / F::GROUP {
            let at = at + group * F::GROUP;
            for block in blocks.iter().step_by(PANEL_ROWS / S::LANES) {
                block.prefetch_next::<S, F>(group);
            }
            // SAFETY: passed on from the caller.
            unsafe {
                let floats = |block: Block, head: &F::Head<S>| {
                    (F::scale(isa, block, head, group), F::minimum(isa, block, head, group))
                };
                if unpacked {
                    for r in 0..R {
                        let scales = floats(blocks[r], &heads[r]);
                        let acc = std::array::from_mut(&mut acc[r]);
                        Self::group::<S, 1>(isa, [blocks[r]], |_| scales, (group, at), x, acc);
                    }
                } else {
                    let scales = |r: usize| floats(blocks[r], &F::head(isa, blocks[r]));
                    Self::group::<S, R>(isa, blocks, scales, (group, at), x, acc);
                }
            }
        }
    }

    /// Adds the products of group `group` of these blocks with the column's elements from `at` on. `scales` gives the scales
    /// and the minimums of a vector of rows.
    ///
    /// # Safety
    /// The blocks are whole and in bounds, and the column has these elements.
    #[inline(always)]
    unsafe fn group<S: Simd, const R: usize>(
        isa: S,
        blocks: [Block; R],
        scales: impl Fn(usize) -> (S::F32, S::F32),
        (group, at): (usize, usize),
        x: &Column<'_>,
        acc: &mut [[S::F32; 1]; R],
    ) {
        let zero = if F::SIGNED { S::SIGNED_ZERO } else { F::ZERO };
        let weights = blocks.map(|block| Packed { block, group, format: PhantomData::<F> });
        // SAFETY: passed on from the caller.
        unsafe {
            let (start, values) = ([-zero * group_sum::<F>(x, at)], [x.values.as_ptr().add(at)]);
            let sums = if F::SIGNED {
                dots::<S, _, true, R, 1>(isa, F::GROUP / 4, F::MOST, weights, values, start)
            } else {
                dots::<S, _, false, R, 1>(isa, F::GROUP / 4, F::MOST, weights, values, start)
            };
            add_group::<S, F, R, 1>(isa, acc, sums, scales, std::array::from_ref(x), at);
        }
    }
}

/// The words of one group of a packed block.
struct Packed<F> {
    block: Block,
    group: usize,
    format: PhantomData<F>,
}

impl<F> Clone for Packed<F> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Packed<F> {}

impl<F: Format> Words for Packed<F> {
    #[inline(always)]
    unsafe fn word<S: Simd>(self, isa: S, word: usize) -> S::Bytes {
        // SAFETY: the caller vouches for the word, and so for the block.
        let weights = unsafe { F::weights(isa, self.block, self.group, word) };
        if F::SIGNED { isa.signed(weights) } else { weights }
    }
}

/// Many columns.
impl<F: Format> QuantizedGemm<'_, F> {
    #[inline(always)]
    fn many<S: Simd>(&self, isa: S) {
        let (mut expanded, _registers) = (Expanded::new(), isa.registers());
        for panel in self.panels.clone() {
            let mut block = self.block::<S>(panel * (PANEL_ROWS / S::LANES));
            for at in (0..self.matrix.cols()).step_by(CHUNK) {
                let part = at..self.matrix.cols().min(at + CHUNK);
                // SAFETY: the panel has the blocks of this part of its columns, one after the other.
                block = unsafe { expanded.fill::<S, F>(isa, block, part.len()) };
                self.columns(isa, &expanded, panel, part);
            }
        }
    }

    /// All columns by a part of a panel, in tiles.
    #[inline(always)]
    fn columns<S: Simd>(&self, isa: S, weights: &Expanded, panel: usize, part: Range<usize>) {
        let (mut column, count) = (0, self.x.count());
        while column < count {
            let at = (panel, column, part.clone());
            column += match count - column {
                _ if S::COLUMNS >= 16 => self.tiles::<S, 1, 16>(isa, weights, at),
                left if left >= 8 && S::COLUMNS >= 8 => self.tiles::<S, 1, 8>(isa, weights, at),
                left if left >= 4 && S::COLUMNS >= 8 => self.tiles::<S, 1, 4>(isa, weights, at),
                left if left >= 4 && S::COLUMNS >= 4 => self.tiles::<S, 2, 4>(isa, weights, at),
                left if left >= 3 && S::COLUMNS < 4 => self.tiles::<S, 2, 3>(isa, weights, at),
                left if left >= 2 && S::COLUMNS >= 8 => self.tiles::<S, 1, 2>(isa, weights, at),
                left if left >= 2 => self.tiles::<S, 2, 2>(isa, weights, at),
                _ if S::COLUMNS >= 8 => self.tiles::<S, 1, 1>(isa, weights, at),
                _ => self.tiles::<S, 2, 1>(isa, weights, at),
            };
        }
    }

    /// The vectors of a panel, `R` at once, by `C` columns, of which those past the last one are padding; gives `C`.
    #[inline(always)]
    fn tiles<S: Simd, const R: usize, const C: usize>(
        &self,
        isa: S,
        weights: &Expanded,
        (panel, column, part): (usize, usize, Range<usize>),
    ) -> usize {
        let x: [Column<'_>; C] = std::array::from_fn(|c| self.x.column(column + c));
        let count = C.min(self.x.count() - column);
        for first in (0..PANEL_ROWS / S::LANES).step_by(R) {
            let row = |r: usize| panel * PANEL_ROWS + (first + r) * S::LANES;
            let mut acc = [[isa.splat(0.0); C]; R];
            if part.start > 0 {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (c, acc) in acc.iter_mut().enumerate().take(count) {
                        // SAFETY: this task has the panel, and so these rows, alone.
                        *acc = unsafe { self.read(isa, row(r), column + c) };
                    }
                }
            }
            for group in 0..part.len() / F::GROUP {
                // SAFETY: the part is expanded, and the columns have its elements.
                unsafe { weights.add_group::<S, F, R, C>(isa, &mut acc, first, group, &x, part.start) };
            }
            for (r, acc) in acc.iter().enumerate() {
                for (c, &y) in acc.iter().enumerate().take(count) {
                    // SAFETY: this task has the panel, and so these rows, alone.
                    unsafe { self.write(isa, row(r), column + c, y) };
                }
            }
        }
        C
    }
}

impl<'a, F: Format> QuantizedGemm<'a, F> {
    /// The first block of vector `vector` of the matrix's rows.
    #[inline(always)]
    fn block<S: Simd>(&self, vector: usize) -> Block {
        let row = vector * S::LANES;
        let start = row / PANEL_ROWS * PANEL_ROWS * self.matrix.row_bytes();
        Block::first::<F>(self.matrix.bytes()[start..].as_ptr(), row % PANEL_ROWS)
    }

    /// The results of the rows from `row` (of the panels) on, of one column, and which of the lanes they are; the other rows
    /// are not in the matrix.
    ///
    /// # Safety
    /// No other task has these rows of this column.
    #[inline(always)]
    unsafe fn results<S: Simd>(&self, row: usize, column: usize) -> (&'a mut [f32], Range<usize>) {
        let rows = self.matrix.panel_rows();
        let (start, end) = (row.max(rows.start), (row + S::LANES).min(rows.end));
        if start >= end {
            return (&mut [], 0..0);
        }
        // SAFETY: passed on from the caller.
        let results = unsafe { self.out.slice(column * self.matrix.rows() + start - rows.start, end - start) };
        (results, start - row..end - row)
    }

    /// Writes results; what is not in the matrix is dropped.
    ///
    /// # Safety
    /// As [`QuantizedGemm::results`].
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, isa: S, row: usize, column: usize, y: S::F32) {
        // SAFETY: passed on from the caller.
        let (results, lanes) = unsafe { self.results::<S>(row, column) };
        if results.len() == S::LANES {
            isa.store(y, results);
        } else {
            let mut all = [0.0; MAX_LANES];
            isa.store(y, &mut all);
            results.copy_from_slice(&all[lanes]);
        }
    }

    /// Reads results back; what is not in the matrix is 0.
    ///
    /// # Safety
    /// As [`QuantizedGemm::results`].
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, isa: S, row: usize, column: usize) -> S::F32 {
        // SAFETY: passed on from the caller.
        let (results, lanes) = unsafe { self.results::<S>(row, column) };
        if results.len() == S::LANES {
            isa.load(results)
        } else {
            let mut all = [0.0; MAX_LANES];
            all[lanes].copy_from_slice(results);
            isa.load(&all)
        }
    }
}

/// Adds the products of one group of weights: the one place that fixes the rounding. `scales` gives the scales and the
/// minimums of a vector of rows, `at` is the group's place in the columns.
#[inline(always)]
pub(super) fn add_group<S: Simd, F: Format, const R: usize, const C: usize>(
    isa: S,
    acc: &mut [[S::F32; C]; R],
    sums: [[S::I32; C]; R],
    scales: impl Fn(usize) -> (S::F32, S::F32),
    x: &[Column<'_>; C],
    at: usize,
) {
    for r in 0..R {
        let (scale, minimum) = scales(r);
        for c in 0..C {
            let scale = isa.mul(scale, isa.splat(x[c].scales[at / BLOCK]));
            acc[r][c] = isa.fma(scale, isa.to_f32(sums[r][c]), acc[r][c]);
        }
        if F::AFFINE {
            for c in 0..C {
                acc[r][c] = isa.fma(minimum, isa.splat(x[c].scaled_sums[at / BLOCK]), acc[r][c]);
            }
        }
    }
}

/// The sum of a column's integers under the group of weights that starts at `at`.
#[inline(always)]
pub(super) fn group_sum<F: Format>(x: &Column<'_>, at: usize) -> i32 {
    let first = at / HALF;
    if F::GROUP == HALF { x.sums[first] } else { x.sums[first] + x.sums[first + 1] }
}
