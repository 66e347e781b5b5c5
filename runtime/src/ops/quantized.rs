//! Products of quantized weights with quantized activations.
//!
//! Both kernels work on `LANES` rows at once, one float accumulator a row: for each group of weights that share a scale,
//! the integer products are summed exactly and then added as `scale * activation scale * sum`, group after group. So a
//! row's result is the same bits in both kernels, for any number of columns, on every instruction set.
//!
//! - [`Dot`] (one column): reads the rows' blocks straight from the file's layout, several rows' streams at once.
//! - [`Gemm`] (many columns): unpacks the rows into a *panel* once, four bytes of each row side by side, as the
//!   byte-product instructions want them, and runs all columns over it.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Kernel, Simd};

use super::Shared;
use super::activations::{BLOCK, Column, HALF, Quantized};
use super::format::{Format, Rows, Scales};
use super::matmul::Matrix;

/// The zero point of the unpacked integers on an instruction set.
#[inline(always)]
fn zero_point<S: Simd, F: Format>() -> i32 {
    if F::SIGNED { S::SIGNED_ZERO } else { F::ZERO }
}

/// Where each of the `LANES` rows from `first` begins; rows past the end repeat the last one.
#[inline(always)]
fn row_starts<S: Simd>(matrix: &Matrix<'_>, first: usize) -> Rows {
    let stride = matrix.row_bytes();
    let mut rows = [std::ptr::null(); MAX_LANES];
    for (lane, row) in rows.iter_mut().enumerate().take(S::LANES) {
        *row = matrix.bytes()[(first + lane).min(matrix.rows() - 1) * stride..].as_ptr();
    }
    rows
}

/// Moves the pointers of the rows' current block on by one block.
#[inline(always)]
fn next_block<S: Simd, F: Format>(rows: &mut Rows) {
    for row in &mut rows[..S::LANES] {
        *row = row.wrapping_add(F::BYTES);
    }
}

/// Writes the results of rows `first..` for one column; lanes past the last row are dropped.
///
/// # Safety
/// No other task writes these rows of this column.
#[inline(always)]
unsafe fn write<S: Simd>(isa: S, out: Shared<f32>, rows: usize, column: usize, first: usize, y: S::F32) {
    let count = S::LANES.min(rows - first);
    // SAFETY: passed on from the caller.
    let to = unsafe { out.slice(column * rows + first, count) };
    if count == S::LANES {
        isa.store(y, to);
    } else {
        let mut all = [0.0; MAX_LANES];
        isa.store(y, &mut all);
        to.copy_from_slice(&all[..count]);
    }
}

/// `y[rows] = W[rows] x` for one column.
pub(super) struct Dot<'a, F> {
    pub(super) matrix: Matrix<'a>,
    pub(super) x: Column<'a>,
    pub(super) column: usize,
    /// Groups of `LANES` rows; no other task has them.
    pub(super) groups: Range<usize>,
    pub(super) out: Shared<f32>,
    pub(super) format: PhantomData<F>,
}

impl<F: Format> Kernel for Dot<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let mut scales = Scales::ZERO;
        for group in self.groups {
            let first = group * S::LANES;
            let y = dot_group::<S, F>(isa, row_starts::<S>(&self.matrix, first), &self.x, &mut scales);
            // SAFETY: this task has the group alone.
            unsafe { write(isa, self.out, self.matrix.rows(), self.column, first, y) };
        }
    }
}

#[inline(always)]
fn dot_group<S: Simd, F: Format>(isa: S, mut rows: Rows, x: &Column<'_>, scales: &mut Scales) -> S::F32 {
    let mut acc = isa.splat(0.0);
    for unit in 0..x.values.len() / F::ELEMENTS {
        // SAFETY: each row has `len / ELEMENTS` blocks, and the pointers are at block `unit` of theirs.
        unsafe { F::scales(isa, &rows, scales) };
        for part in 0..F::ELEMENTS / BLOCK {
            let block = unit * (F::ELEMENTS / BLOCK) + part;
            // SAFETY: as above; the column has 32 values a block.
            let halves = unsafe { block_products::<S, F>(isa, &rows, part, x.values.as_ptr().add(block * BLOCK)) };
            acc = add_block::<S, F>(isa, acc, halves, scales, part, x, block);
        }
        next_block::<S, F>(&mut rows);
    }
    acc
}

/// The sums of products of the first and of the last 16 weights of a part, for each row.
///
/// # Safety
/// The rows' pointers are at a whole block, `x` is readable for 32 bytes.
#[inline(always)]
unsafe fn block_products<S: Simd, F: Format>(isa: S, rows: &Rows, part: usize, x: *const i8) -> [S::I32; 2] {
    // SAFETY: passed on from the caller.
    unsafe {
        let x = isa.bytes(x.cast());
        let mut partials = [row_products::<S, F>(isa, rows[0], part, x); MAX_LANES];
        for lane in 1..S::LANES {
            partials[lane] = row_products::<S, F>(isa, rows[lane], part, x);
        }
        isa.reduce(&partials)
    }
}

/// The products of one row's part with 32 activations.
///
/// # Safety
/// `row` is at a whole block.
#[inline(always)]
unsafe fn row_products<S: Simd, F: Format>(isa: S, row: *const u8, part: usize, x: S::Bytes) -> S::Partial {
    // SAFETY: passed on from the caller.
    let weights = unsafe { F::unpack(isa, row, part) };
    if F::SIGNED { isa.dot32::<true>(weights, x) } else { isa.dot32::<false>(weights, x) }
}

/// Adds a part's integer sums, one for each 16 weights, to the float accumulators.
#[inline(always)]
fn add_block<S: Simd, F: Format>(
    isa: S,
    acc: S::F32,
    halves: [S::I32; 2],
    scales: &Scales,
    part: usize,
    x: &Column<'_>,
    block: usize,
) -> S::F32 {
    let zero = zero_point::<S, F>();
    if F::GROUP == BLOCK {
        let offset = isa.splat_i32(-zero * (x.sums[2 * block] + x.sums[2 * block + 1]));
        let sum = isa.add_i32(isa.add_i32(halves[0], halves[1]), offset);
        return add_group::<S, F>(isa, acc, sum, &scales.scale[part], &scales.minimum[part % 8], x, block);
    }
    let mut acc = acc;
    for half in 0..2 {
        let sum = isa.add_i32(halves[half], isa.splat_i32(-zero * x.sums[2 * block + half]));
        acc = add_group::<S, F>(isa, acc, sum, &scales.scale[2 * part + half], &[], x, block);
    }
    acc
}

/// `acc + scale * activation scale * sum (+ minimum * activation sum)`: the one place that fixes the rounding.
#[inline(always)]
fn add_group<S: Simd, F: Format>(
    isa: S,
    acc: S::F32,
    sum: S::I32,
    scale: &[f32],
    minimum: &[f32],
    x: &Column<'_>,
    block: usize,
) -> S::F32 {
    let scale = isa.mul(isa.load(scale), isa.splat(x.scales[block]));
    let acc = isa.fma(scale, isa.to_f32(sum), acc);
    if F::AFFINE { isa.fma(isa.load(minimum), isa.splat(x.scaled_sums[block]), acc) } else { acc }
}

/// `LANES` rows unpacked for the byte-product instructions. Kept by each thread from product to product.
#[derive(Default)]
pub(super) struct Panel {
    /// `[size / 4][LANES][4]`
    weights: Vec<u8>,
    /// `[size / GROUP][LANES]`
    scales: Vec<f32>,
    /// `[size / GROUP][LANES]`, of affine formats.
    minimums: Vec<f32>,
}

impl Panel {
    /// Unpacks the rows into the panel.
    #[inline(always)]
    fn fill<S: Simd, F: Format>(&mut self, isa: S, mut rows: Rows, size: usize) {
        self.weights.resize(size * S::LANES, 0);
        self.scales.resize(size / F::GROUP * S::LANES, 0.0);
        self.minimums.resize(size / F::GROUP * S::LANES, 0.0);
        let mut scales = Scales::ZERO;
        let units = self.weights.chunks_exact_mut(F::ELEMENTS * S::LANES);
        for (unit, weights) in units.enumerate() {
            // SAFETY: each row has `size / ELEMENTS` blocks, and the pointers are at block `unit` of theirs.
            unsafe {
                F::scales(isa, &rows, &mut scales);
                for (part, weights) in weights.chunks_exact_mut(BLOCK * S::LANES).enumerate() {
                    interleave::<S, F>(isa, &rows, part, weights);
                }
            }
            for group in 0..F::ELEMENTS / F::GROUP {
                let at = (unit * (F::ELEMENTS / F::GROUP) + group) * S::LANES;
                self.scales[at..at + S::LANES].copy_from_slice(&scales.scale[group][..S::LANES]);
                if F::AFFINE {
                    self.minimums[at..at + S::LANES].copy_from_slice(&scales.minimum[group][..S::LANES]);
                }
            }
            next_block::<S, F>(&mut rows);
        }
    }
}

/// Writes one part (32 weights) of each row to the panel, four bytes of each row side by side.
///
/// # Safety
/// The rows' pointers are at a whole block.
#[inline(always)]
unsafe fn interleave<S: Simd, F: Format>(isa: S, rows: &Rows, part: usize, to: &mut [u8]) {
    for lane in 0..S::LANES {
        let mut bytes = [0; BLOCK];
        // SAFETY: passed on from the caller.
        isa.store_bytes(unsafe { F::unpack(isa, rows[lane], part) }, &mut bytes);
        for (four, to) in bytes.chunks_exact(4).zip(to.chunks_exact_mut(4 * S::LANES)) {
            to[4 * lane..4 * lane + 4].copy_from_slice(four);
        }
    }
}

/// `Y[rows] = W[rows] X` for all columns.
pub(super) struct Gemm<'a, F> {
    pub(super) matrix: Matrix<'a>,
    pub(super) x: &'a Quantized,
    /// Groups of `LANES` rows; no other task has them.
    pub(super) groups: Range<usize>,
    pub(super) out: Shared<f32>,
    pub(super) panel: &'a mut Panel,
    pub(super) format: PhantomData<F>,
}

impl<F: Format> Kernel for Gemm<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, isa: S) {
        let columns: Vec<Column<'_>> = (0..self.x.count()).map(|i| self.x.column(i)).collect();
        for group in self.groups.clone() {
            let first = group * S::LANES;
            self.panel.fill::<S, F>(isa, row_starts::<S>(&self.matrix, first), self.matrix.cols());
            let mut column = 0;
            while column < columns.len() {
                let x = &columns[column..];
                column += match x.len() {
                    left if left >= 8 && S::COLUMNS >= 8 => self.tile::<S, 8>(isa, first, x, column),
                    left if left >= 4 => self.tile::<S, 4>(isa, first, x, column),
                    left if left >= 2 => self.tile::<S, 2>(isa, first, x, column),
                    _ => self.tile::<S, 1>(isa, first, x, column),
                };
            }
        }
    }
}

impl<F: Format> Gemm<'_, F> {
    /// One panel by the first `C` columns of `x`, whose results go to `column..`; gives `C`.
    #[inline(always)]
    fn tile<S: Simd, const C: usize>(&mut self, isa: S, first: usize, x: &[Column<'_>], column: usize) -> usize {
        let x = &x[..C];
        let mut acc = [isa.splat(0.0); C];
        let (group_bytes, zero) = (F::GROUP * S::LANES, zero_point::<S, F>());
        for group in 0..self.matrix.cols() / F::GROUP {
            let mut sum = [isa.splat_i32(0); C];
            for c in 0..C {
                sum[c] = isa.splat_i32(-zero * group_sum::<F>(&x[c], group));
            }
            let weights = &self.panel.weights[group * group_bytes..][..group_bytes];
            for i in 0..F::GROUP / 4 {
                for c in 0..C {
                    // SAFETY: the slice of the group and the column's values both reach past position `i`.
                    sum[c] = unsafe {
                        let weights = weights.as_ptr().add(i * 4 * S::LANES);
                        let x = x[c].values.as_ptr().add(group * F::GROUP + i * 4);
                        if F::SIGNED {
                            isa.dot4::<true>(sum[c], weights, x)
                        } else {
                            isa.dot4::<false>(sum[c], weights, x)
                        }
                    };
                }
            }
            let at = group * S::LANES..(group + 1) * S::LANES;
            let (scale, minimum) = (&self.panel.scales[at.clone()], &self.panel.minimums[at]);
            for c in 0..C {
                acc[c] = add_group::<S, F>(isa, acc[c], sum[c], scale, minimum, &x[c], group * F::GROUP / BLOCK);
            }
        }
        for c in 0..C {
            // SAFETY: this task has the group alone.
            unsafe { write(isa, self.out, self.matrix.rows(), column + c, first, acc[c]) };
        }
        C
    }
}

/// The sum of a column's integers under one group of weights.
#[inline(always)]
fn group_sum<F: Format>(x: &Column<'_>, group: usize) -> i32 {
    if F::GROUP == HALF { x.sums[group] } else { x.sums[2 * group] + x.sums[2 * group + 1] }
}
