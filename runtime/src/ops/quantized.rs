//! Products of quantized weights with quantized activations.
//!
//! The weights are read as panels (see [`super::panel`]), `LANES` rows at once, one float accumulator a row and column: for
//! each group of weights that share a scale, the integer products are summed exactly and then added as
//! `scale * activation scale * sum`, group after group. So a result is the same bits for any number of columns, on every
//! instruction set.
//!
//! A generation step has one column, and is bound by memory: it reads the panels as they are, from as many streams as
//! it works on panels at once. So does, with AVX-512 VNNI, what fits one tile, as an option set of ten. A prompt has many
//! tiles: a part of a panel is expanded to bytes once (see [`super::expanded`]), and all columns meet it while it is in the
//! cache.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::simd::{MAX_LANES, Words, dots};
use crate::cpu::{Kernel, Simd};

use super::Shared;
use super::activations::{Quantized, Tile};
use super::expanded::{CHUNK, Expanded};
use super::format::{Block, Format, PANEL_ROWS};
use super::matrix::Matrix;

/// Panels that are walked at once for a single column, at most: more streams of memory give little.
pub(super) const STREAMS: usize = 4;

/// How many bytes ahead a panel is asked for where some columns meet it as it is: they leave the memory time, which one stream
/// a thread does not use by itself.
const AHEAD: usize = 4096;

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
        let (width, count) = (self.x.width(), self.x.count());
        // Instruction sets have the code of their own tiles only; as many vectors of rows as there are registers for.
        match width {
            1 if const { S::ROWS == 8 } => self.few::<S, 8, 1>(isa),
            1 => self.few::<S, 4, 1>(isa),
            5 if const { has::<S>(5) } && count <= 5 => self.few::<S, 1, 5>(isa),
            10 if const { has::<S>(10) } && count <= 10 => self.few::<S, 1, 10>(isa),
            _ => self.many(isa),
        }
    }
}

/// Whether an instruction set has tiles of that width.
const fn has<S: Simd>(width: usize) -> bool {
    const fn is_among(tiles: &[usize], width: usize) -> bool {
        match tiles {
            [first, rest @ ..] => *first == width || is_among(rest, width),
            [] => false,
        }
    }
    is_among(S::TILES, width)
}

/// A single tile.
impl<F: Format> QuantizedGemm<'_, F> {
    /// The columns by `R` vectors of rows at once, from panels that lie far apart, so that each walks through memory
    /// as a long stream of its own, which is what the processor's prefetching sees best.
    #[inline(always)]
    fn few<S: Simd, const R: usize, const C: usize>(&self, isa: S) {
        let (panels, vectors) = (&self.panels, PANEL_ROWS / S::LANES);
        let (streams, at_once) = ((R / vectors).max(1), R.min(vectors));
        let length = panels.len().div_ceil(streams);
        let panel = |stream: usize, i: usize| panels.start + stream * length + i;
        for i in 0..length {
            if panel(streams - 1, i) < panels.end {
                for first in (0..vectors).step_by(at_once) {
                    let rows = std::array::from_fn(|r| panel(r / vectors, i) * vectors + first + r % vectors);
                    self.rows::<S, R, C>(isa, rows);
                }
                continue;
            }
            // The last stream is shorter, or there are fewer panels than streams.
            for panel in (0..streams - 1).map(|stream| panel(stream, i)).filter(|&panel| panel < panels.end) {
                for row in 0..vectors {
                    self.rows::<S, 1, C>(isa, [panel * vectors + row]);
                }
            }
        }
    }

    /// These vectors of rows, group by group.
    #[inline(always)]
    fn rows<S: Simd, const R: usize, const C: usize>(&self, isa: S, rows: [usize; R]) {
        let x = self.x.tile::<C>(0);
        let mut blocks: [Block; R] = rows.map(|row| self.block::<S>(row));
        let mut acc = [[isa.splat(0.0); C]; R];
        for unit in 0..self.matrix.cols() / F::ELEMENTS {
            // SAFETY: the panels have `cols / ELEMENTS` blocks, of which these are the blocks number `unit`, and the columns have
            // `cols` elements.
            unsafe { Self::unit::<S, R, C>(isa, blocks, unit * F::ELEMENTS, &x, &mut acc) };
            for block in &mut blocks {
                *block = block.next::<F>();
            }
        }
        for (row, acc) in rows.into_iter().zip(acc) {
            for (column, y) in acc.into_iter().enumerate().take(self.x.count()) {
                // SAFETY: this task has the panel, and so these rows, alone.
                unsafe { self.write(isa, row * S::LANES, column, y) };
            }
        }
    }

    /// Adds the products of these blocks with the columns' elements from `at` on.
    ///
    /// # Safety
    /// The blocks are whole and in bounds, and the columns have these elements.
    #[inline(always)]
    unsafe fn unit<S: Simd, const R: usize, const C: usize>(
        isa: S,
        blocks: [Block; R],
        at: usize,
        x: &Tile<'_, C>,
        acc: &mut [[S::F32; C]; R],
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
                if C == 1 {
                    block.prefetch_next::<S, F>(group);
                } else {
                    let bytes = F::BYTES * PANEL_ROWS * F::GROUP / F::ELEMENTS;
                    block.prefetch(AHEAD + group * bytes..AHEAD + (group + 1) * bytes);
                }
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
                        Self::group::<S, 1, C>(isa, [blocks[r]], |_| scales, (group, at), x, acc);
                    }
                } else {
                    let scales = |r: usize| floats(blocks[r], &F::head(isa, blocks[r]));
                    Self::group::<S, R, C>(isa, blocks, scales, (group, at), x, acc);
                }
            }
        }
    }

    /// Adds the products of group `group` of these blocks with the columns' elements from `at` on. `scales` gives the scales
    /// and the minimums of a vector of rows.
    ///
    /// # Safety
    /// The blocks are whole and in bounds, and the columns have these elements.
    #[inline(always)]
    unsafe fn group<S: Simd, const R: usize, const C: usize>(
        isa: S,
        blocks: [Block; R],
        scales: impl Fn(usize) -> (S::F32, S::F32),
        (group, at): (usize, usize),
        x: &Tile<'_, C>,
        acc: &mut [[S::F32; C]; R],
    ) {
        let zero = if F::SIGNED { S::SIGNED_ZERO } else { F::ZERO };
        let weights = blocks.map(|block| Packed { block, group, format: PhantomData::<F> });
        let start = starts::<S, C, C>(isa, zero, x.sums(at, F::GROUP));
        // SAFETY: passed on from the caller.
        let sums = unsafe {
            if F::SIGNED {
                dots::<S, _, true, R, C>(isa, F::GROUP / 4, F::MOST, weights, x.values(at), start)
            } else {
                dots::<S, _, false, R, C>(isa, F::GROUP / 4, F::MOST, weights, x.values(at), start)
            }
        };
        add_group::<S, F, R, C, C>(isa, acc, sums, scales, x, at);
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

/// Many tiles.
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
                self.columns(isa, &expanded, panel, part, block);
            }
        }
    }

    /// All tiles of columns by a part of a panel. Meanwhile the memory brings the part after it, which begins with `next`.
    #[inline(always)]
    fn columns<S: Simd>(&self, isa: S, weights: &Expanded, panel: usize, part: Range<usize>, next: Block) {
        let (width, count) = (self.x.width(), self.x.count());
        let tiles = count.div_ceil(width);
        let share = (part.len() / F::ELEMENTS * F::BYTES * PANEL_ROWS).div_ceil(tiles).next_multiple_of(64);
        for tile in 0..tiles {
            next.prefetch(tile * share..(tile + 1) * share);
            let (at, left) = ((panel, tile, part.clone()), count - tile * width);
            match (width, left) {
                (16, _) if const { has::<S>(16) } => self.tile::<S, 1, 16, 16>(isa, weights, at),
                (10, _) if const { has::<S>(10) } => self.tile::<S, 1, 10, 10>(isa, weights, at),
                (5, _) if const { has::<S>(5) } => self.tile::<S, 1, 5, 5>(isa, weights, at),
                (4, 1..=2) if const { has::<S>(4) } => self.tile::<S, 2, 4, 2>(isa, weights, at),
                (4, _) if const { has::<S>(4) } => self.tile::<S, 2, 4, 4>(isa, weights, at),
                (3, 1) if const { has::<S>(3) } => self.tile::<S, 2, 3, 1>(isa, weights, at),
                (3, 2) if const { has::<S>(3) } => self.tile::<S, 2, 3, 2>(isa, weights, at),
                (3, _) if const { has::<S>(3) } => self.tile::<S, 2, 3, 3>(isa, weights, at),
                _ => unreachable!("no tiles of {width} columns"),
            }
        }
    }

    /// The vectors of a panel, `R` at once, by `N` of the `C` columns of a tile, of which those past the last one are padding.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize, const N: usize>(
        &self,
        isa: S,
        weights: &Expanded,
        (panel, tile, part): (usize, usize, Range<usize>),
    ) {
        let (x, column) = (self.x.tile::<C>(tile), tile * C);
        let count = N.min(self.x.count() - column);
        for first in (0..PANEL_ROWS / S::LANES).step_by(R) {
            let row = |r: usize| panel * PANEL_ROWS + (first + r) * S::LANES;
            let mut acc = [[isa.splat(0.0); N]; R];
            if part.start > 0 {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (c, acc) in acc.iter_mut().enumerate().take(count) {
                        // SAFETY: this task has the panel, and so these rows, alone.
                        *acc = unsafe { self.read(isa, row(r), column + c) };
                    }
                }
            }
            // SAFETY: the part is expanded, and the columns have its elements.
            unsafe { weights.add::<S, F, R, C, N>(isa, &mut acc, first, &x, part.clone()) };
            for (r, acc) in acc.iter().enumerate() {
                for (c, &y) in acc.iter().enumerate().take(count) {
                    // SAFETY: this task has the panel, and so these rows, alone.
                    unsafe { self.write(isa, row(r), column + c, y) };
                }
            }
        }
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

/// What the sums of products with weights that stand `zero` (0 or a power of two) too high start with, of the first `N` of `C`
/// columns: minus `zero` times the sums of the activations.
#[inline(always)]
pub(super) fn starts<S: Simd, const C: usize, const N: usize>(isa: S, zero: i32, sums: &[i32; C]) -> [S::I32; N] {
    match zero {
        0 => [isa.splat_i32(0); N],
        _ => std::array::from_fn(|c| isa.shift_i32(isa.splat_i32(sums[c]), zero.trailing_zeros())),
    }
}

/// Adds the products of one group of weights: the one place that fixes the rounding. `scales` gives the scales and the
/// minimums of a vector of rows, `at` is the group's place in the columns.
#[inline(always)]
pub(super) fn add_group<S: Simd, F: Format, const R: usize, const C: usize, const N: usize>(
    isa: S,
    acc: &mut [[S::F32; N]; R],
    sums: [[S::I32; N]; R],
    scales: impl Fn(usize) -> (S::F32, S::F32),
    x: &Tile<'_, C>,
    at: usize,
) {
    for r in 0..R {
        let (scale, minimum) = scales(r);
        let scales = x.scales(at);
        for c in 0..N {
            let scale = isa.mul(scale, isa.splat(scales[c]));
            acc[r][c] = isa.fma(scale, isa.to_f32(sums[r][c]), acc[r][c]);
        }
        if F::AFFINE {
            let sums = x.scaled_sums(at);
            for c in 0..N {
                acc[r][c] = isa.fma(minimum, isa.splat(sums[c]), acc[r][c]);
            }
        }
    }
}
