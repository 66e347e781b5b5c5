//! Products of quantized weights with quantized activations.
//!
//! The weights are read as panels (see [`super::panel`]), `LANES` rows at once, one float accumulator a row and column: for
//! each block of activations that share a scale, the integer products are summed exactly, group by group of the weights that
//! share one, and then added, block after block: as `(scale * activation scale) * sum`, and for an affine format then as `minimum *
//! scaled sum`, where a group is as long as a block; else as `activation scale * (scale * sum + scale * sum)`. So a result is the same
//! bits for any number of columns, on every instruction set.
//!
//! A generation step has one column, and is bound by memory: it reads the panels as they are, from as many streams as
//! it works on panels at once. So does, with AVX-512 VNNI, what fits one tile, as an option set of ten. A prompt has many
//! tiles: a part of some neighbouring panels is expanded to bytes (see [`super::expanded`]), and all columns meet it while it is in
//! the cache.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::simd::{MAX_LANES, Words, dots};
use crate::cpu::{Kernel, Simd};

use super::Shared;
use super::activations::{BLOCK, Quantized, Tile};
use super::expanded::{CHUNK, Expanded};
use super::format::{Block, Format, PANEL_ROWS};
use super::matrix::Matrix;

/// Panels that are walked at once for a single column, at most: more streams of memory give little.
pub(super) const STREAMS: usize = 4;

/// Panels that many columns meet at once, at most.
pub(super) const NEIGHBOURS: usize = 2;

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
            16 if const { has::<S>(16) } => self.many::<S, 1, 1, 16>(isa),
            5 if const { has::<S>(5) } => self.many::<S, NEIGHBOURS, 2, 5>(isa),
            4 if const { has::<S>(4) } => self.many::<S, 1, 2, 4>(isa),
            3 if const { has::<S>(3) } => self.many::<S, 1, 2, 3>(isa),
            _ => unreachable!("no tiles of {width} columns for {count}"),
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

    /// These vectors of rows, block by block.
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
            let (row, lanes) = (row * S::LANES, self.lanes::<S>(row * S::LANES));
            for (column, y) in acc.into_iter().enumerate().take(self.x.count()) {
                // SAFETY: this task has the panel, and so these rows, alone.
                unsafe { self.write(isa, row, &lanes, column, y) };
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
        let zero = if F::SIGNED { S::SIGNED_ZERO } else { F::ZERO };
        for part in 0..F::ELEMENTS / BLOCK {
            let first = part * (BLOCK / F::GROUP);
            let at = at + part * BLOCK;
            add_block::<S, F, R, C, C>(
                isa,
                acc,
                #[inline(always)]
                |i| {
                    let (group, at) = (first + i, at + i * F::GROUP);
                    for block in blocks.iter().step_by(PANEL_ROWS / S::LANES) {
                        if C == 1 {
                            block.prefetch_next::<S, F>(group);
                        } else {
                            let bytes = F::BYTES * PANEL_ROWS * F::GROUP / F::ELEMENTS;
                            block.prefetch(AHEAD + group * bytes..AHEAD + (group + 1) * bytes);
                        }
                    }
                    let start = starts::<S, C, C>(isa, zero, x.sums(at, F::GROUP));
                    let mut sums = [start; R];
                    for r in 0..R {
                        let weights = Packed { block: blocks[r], group, format: PhantomData::<F> };
                        // SAFETY: passed on from the caller.
                        [sums[r]] = unsafe {
                            if F::SIGNED {
                                dots::<S, _, true, 1, C>(isa, F::GROUP / 4, F::MOST, [weights], x.values(at), start)
                            } else {
                                dots::<S, _, false, 1, C>(isa, F::GROUP / 4, F::MOST, [weights], x.values(at), start)
                            }
                        };
                    }
                    sums
                },
                #[inline(always)]
                // SAFETY: passed on from the caller.
                |r, i| unsafe {
                    if unpacked {
                        F::scale(isa, blocks[r], &heads[r], first + i)
                    } else {
                        F::scale(isa, blocks[r], &F::head(isa, blocks[r]), first + i)
                    }
                },
                #[inline(always)]
                // SAFETY: passed on from the caller.
                |r| unsafe {
                    if unpacked {
                        F::minimum(isa, blocks[r], &heads[r], first)
                    } else {
                        F::minimum(isa, blocks[r], &F::head(isa, blocks[r]), first)
                    }
                },
                x,
                at,
            );
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

/// Many tiles.
impl<F: Format> QuantizedGemm<'_, F> {
    /// `R` vectors of rows of `P` neighbouring panels at once by tiles of `C` columns.
    #[inline(always)]
    fn many<S: Simd, const P: usize, const R: usize, const C: usize>(&self, isa: S) {
        let (mut expanded, _registers) = ([const { Expanded::new() }; P], isa.registers());
        let cols = self.matrix.cols();
        for at in (0..cols).step_by(CHUNK) {
            // All panels meet this part of the columns while it is in the second cache.
            let part = at..cols.min(at + CHUNK);
            let skipped = at / F::ELEMENTS * F::BYTES * PANEL_ROWS;
            for first in self.panels.clone().step_by(P) {
                // The last panel stands in for the neighbours that it lacks, whose results are dropped.
                let block = |panel: usize| {
                    let panel = panel.min(self.panels.end - 1);
                    self.block::<S>(panel * (PANEL_ROWS / S::LANES)).skip(skipped)
                };
                for (i, expanded) in expanded.iter_mut().enumerate() {
                    // SAFETY: the panel has the blocks of this part of its columns, one after the other.
                    unsafe { expanded.fill::<S, F>(isa, block(first + i), part.len()) };
                }
                let next: [Block; P] = std::array::from_fn(|i| block(first + P + i));
                self.columns::<S, R, C>(isa, &expanded, first, part.clone(), &next);
            }
        }
    }

    /// All tiles of columns by a part of the panels from `panel` on. Meanwhile the memory brings the part after it, which begins
    /// with `next`.
    #[inline(always)]
    fn columns<S: Simd, const R: usize, const C: usize>(
        &self,
        isa: S,
        weights: &[Expanded],
        panel: usize,
        part: Range<usize>,
        next: &[Block],
    ) {
        let tiles = self.x.count().div_ceil(C);
        let share = (part.len() / F::ELEMENTS * F::BYTES * PANEL_ROWS).div_ceil(tiles).next_multiple_of(64);
        for tile in 0..tiles {
            for next in next {
                next.prefetch(tile * share..(tile + 1) * share);
            }
            let at = (panel, tile, part.clone());
            match self.x.count() - tile * C {
                1 if const { C == 3 } => self.tile::<S, R, C, 1>(isa, weights, at),
                1..=2 if const { C == 3 || C == 4 } => self.tile::<S, R, C, 2>(isa, weights, at),
                _ => self.tile::<S, R, C, C>(isa, weights, at),
            }
        }
    }

    /// `R` vectors at once, of the panels from `panel` on, by `N` of the `C` columns of a tile, of which those past the last one are
    /// padding.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize, const N: usize>(
        &self,
        isa: S,
        weights: &[Expanded],
        (panel, tile, part): (usize, usize, Range<usize>),
    ) {
        let (x, column) = (self.x.tile::<C>(tile), tile * C);
        let count = N.min(self.x.count() - column);
        for first in (0..PANEL_ROWS / S::LANES).step_by(R) {
            let row = |r: usize| panel * PANEL_ROWS + (first + r) * S::LANES;
            let lanes: [Range<usize>; R] = std::array::from_fn(|r| match row(r) {
                row if row < self.panels.end * PANEL_ROWS => self.lanes::<S>(row),
                _ => 0..0,
            });
            let mut acc = [[isa.splat(0.0); N]; R];
            if part.start > 0 {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (c, acc) in acc.iter_mut().enumerate().take(count) {
                        // SAFETY: this task has the panel, and so these rows, alone, or no lane.
                        *acc = unsafe { self.read(isa, row(r), &lanes[r], column + c) };
                    }
                }
            }
            // SAFETY: the part is expanded, and the columns have its elements.
            unsafe { Expanded::add::<S, F, R, C, N>(weights, isa, &mut acc, first, &x, part.clone()) };
            for (r, acc) in acc.iter().enumerate() {
                for (c, &y) in acc.iter().enumerate().take(count) {
                    // SAFETY: this task has the panel, and so these rows, alone, or no lane.
                    unsafe { self.write(isa, row(r), &lanes[r], column + c, y) };
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

    /// Which lanes of the rows from `row` (of the panels) on are in the matrix.
    #[inline(always)]
    fn lanes<S: Simd>(&self, row: usize) -> Range<usize> {
        let rows = self.matrix.panel_rows();
        let lane = |limit: usize| limit.clamp(row, row + S::LANES) - row;
        lane(rows.start)..lane(rows.end)
    }

    /// The results of these lanes of the rows from `row` on, of one column.
    ///
    /// # Safety
    /// No other task has these rows of this column.
    #[inline(always)]
    unsafe fn results(&self, row: usize, lanes: &Range<usize>, column: usize) -> &'a mut [f32] {
        if lanes.is_empty() {
            return &mut [];
        }
        let first = column * self.matrix.rows() + row + lanes.start - self.matrix.panel_rows().start;
        // SAFETY: passed on from the caller.
        unsafe { self.out.slice(first, lanes.len()) }
    }

    /// Writes results.
    ///
    /// # Safety
    /// As [`QuantizedGemm::results`].
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, isa: S, row: usize, lanes: &Range<usize>, column: usize, y: S::F32) {
        // SAFETY: passed on from the caller.
        let results = unsafe { self.results(row, lanes, column) };
        if results.len() == S::LANES {
            isa.store(y, results);
        } else {
            let mut all = [0.0; MAX_LANES];
            isa.store(y, &mut all);
            results.copy_from_slice(&all[lanes.clone()]);
        }
    }

    /// Reads results back; what is not in the matrix is 0.
    ///
    /// # Safety
    /// As [`QuantizedGemm::results`].
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, isa: S, row: usize, lanes: &Range<usize>, column: usize) -> S::F32 {
        // SAFETY: passed on from the caller.
        let results = unsafe { self.results(row, lanes, column) };
        if results.len() == S::LANES {
            isa.load(results)
        } else {
            let mut all = [0.0; MAX_LANES];
            all[lanes.clone()].copy_from_slice(results);
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

/// Adds the products of the weights that meet one block of activations, at `at` in the columns: the one place that fixes the
/// rounding. Their groups `i` have the integer `sums(i)` and, of vector `r` of rows, `scale(r, i)`; an affine format has one group,
/// with `minimum(r)`.
#[inline(always)]
pub(super) fn add_block<S: Simd, F: Format, const R: usize, const C: usize, const N: usize>(
    isa: S,
    acc: &mut [[S::F32; N]; R],
    sums: impl Fn(usize) -> [[S::I32; N]; R],
    scale: impl Fn(usize, usize) -> S::F32,
    minimum: impl Fn(usize) -> S::F32,
    x: &Tile<'_, C>,
    at: usize,
) {
    const { assert!(BLOCK.is_multiple_of(F::GROUP) && (!F::AFFINE || F::GROUP == BLOCK)) };
    let scales = x.scales(at);
    if F::GROUP == BLOCK {
        let sums = sums(0);
        for r in 0..R {
            let scale = scale(r, 0);
            for c in 0..N {
                acc[r][c] = isa.fma(isa.mul(scale, isa.splat(scales[c])), isa.to_f32(sums[r][c]), acc[r][c]);
            }
            if F::AFFINE {
                let (minimum, sums) = (minimum(r), x.scaled_sums(at));
                for c in 0..N {
                    acc[r][c] = isa.fma(minimum, isa.splat(sums[c]), acc[r][c]);
                }
            }
        }
    } else {
        let mut scaled = [[isa.splat(0.0); N]; R];
        for i in 0..BLOCK / F::GROUP {
            let sums = sums(i);
            for r in 0..R {
                let scale = scale(r, i);
                for c in 0..N {
                    let sum = isa.to_f32(sums[r][c]);
                    scaled[r][c] = if i == 0 { isa.mul(scale, sum) } else { isa.fma(scale, sum, scaled[r][c]) };
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
