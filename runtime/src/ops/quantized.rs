//! Quantized matmul: weights of a block format by 8-bit activations.
//!
//! The weights are packed (see [`super::panel`]): 16 rows interleaved, of which a vector takes
//! `LANES`. Each row and token has one float accumulator. For each block of activations that share
//! a scale, the integer dot products are summed exactly, group by group of the weights that share
//! one. Then the sums are added, block after block (see [`super::accumulate`]). So a result is
//! bit-identical for any number of tokens, on every instruction set.
//!
//! A GEMV (decode: one token) is bound by memory bandwidth: it reads the packed weights as they
//! are, several panels at once, each a long stream. So does, with AVX-512 VNNI, what fits one tile
//! of a few tokens, as an option set of ten. A GEMM (prefill: many tokens) is compute-bound: a part
//! of some neighbouring panels is unpacked to int8 (see [`super::unpacked_tile`]), and all tokens
//! meet it while it is in the cache.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::simd::{MAX_LANES, Words, dots, tiles};
use crate::cpu::{Kernel, Simd};

use super::Shared;
use super::accumulate::{add_block, starts};
use super::activations::{ActivationTile, BLOCK, Quantized};
use super::format::{Block, Format, PANEL_ROWS};
use super::matrix::Matrix;
use super::unpacked_tile::{CHUNK, UnpackedTile};

/// Panels that a GEMV reads at once, at most: more streams of memory add little bandwidth.
pub(super) const PANELS_PER_GEMV: usize = 4;

/// Panels that a GEMM unpacks at once, at most: those of the largest tile.
pub(super) const PANELS_PER_GEMM: usize = 2;

/// The prefetch distance, in bytes, where a few tokens read packed weights as they are: one stream
/// a thread does not reach the memory bandwidth without prefetching.
const AHEAD: usize = 4096;

/// Quantized matmul of some rows, `Y[rows] = W[rows] X`, for all tokens.
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

    const MULTIPLIES_BYTES: bool = true;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let (width, count) = (self.x.width(), self.x.count());
        // Each instruction set has the code of its own tiles only.
        macro_rules! run_tile {
            (gemv { $($few:literal)+ } gemm { $($tokens:literal: $panels:literal, $vectors:literal;)+ }) => {
                match width {
                    1 if const { S::GEMV_ROWS == 8 } => self.gemv::<S, 8, 1>(isa),
                    1 => self.gemv::<S, 4, 1>(isa),
                    $($few if const { is_among(S::GEMV_TILES, $few) } && count <= $few => self.gemv::<S, 1, $few>(isa),)+
                    $($tokens if const { S::GEMM_TILE == $tokens } => {
                        const { assert!($panels <= PANELS_PER_GEMM) };
                        self.gemm::<S, $panels, $vectors, $tokens>(isa);
                    })+
                    _ => unreachable!("no tile of {width} tokens for {count}"),
                }
            };
        }
        tiles!(run_tile);
    }
}

/// Whether an instruction set has a tile of so many tokens.
const fn is_among(tiles: &[usize], tokens: usize) -> bool {
    match tiles {
        [first, rest @ ..] => *first == tokens || is_among(rest, tokens),
        [] => false,
    }
}

/// A single tile.
impl<F: Format> QuantizedGemm<'_, F> {
    /// A GEMV of `C` tokens by `R` vectors of rows at once, from panels that lie far apart: each is
    /// a long stream of memory of its own, which suits the hardware prefetcher.
    #[inline(always)]
    fn gemv<S: Simd, const R: usize, const C: usize>(&self, isa: S) {
        let (panels, vectors) = (&self.panels, PANEL_ROWS / S::LANES);
        let (streams, at_once) = ((R / vectors).max(1), R.min(vectors));
        let length = panels.len().div_ceil(streams);
        let panel = |stream: usize, i: usize| panels.start + stream * length + i;
        for i in 0..length {
            if panel(streams - 1, i) < panels.end {
                for first in (0..vectors).step_by(at_once) {
                    let rows = std::array::from_fn(|r| panel(r / vectors, i) * vectors + first + r % vectors);
                    self.row_block::<S, R, C>(isa, rows);
                }
                continue;
            }
            // The last stream is shorter, or there are fewer panels than streams.
            for panel in (0..streams - 1).map(|stream| panel(stream, i)).filter(|&panel| panel < panels.end) {
                for row in 0..vectors {
                    self.row_block::<S, 1, C>(isa, [panel * vectors + row]);
                }
            }
        }
    }

    /// These vectors of rows, block by block.
    #[inline(always)]
    fn row_block<S: Simd, const R: usize, const C: usize>(&self, isa: S, rows: [usize; R]) {
        let x = self.x.tile::<C>(0);
        let mut blocks: [Block; R] = rows.map(|row| self.block::<S>(row));
        let mut acc = [[isa.splat(0.0); C]; R];
        for block in 0..self.matrix.cols() / F::ELEMENTS {
            // SAFETY: the panels have `cols / ELEMENTS` blocks, of which these are the blocks
            // number `block`, and the tokens have `cols` elements.
            unsafe { Self::accumulate_block::<S, R, C>(isa, blocks, block * F::ELEMENTS, &x, &mut acc) };
            for block in &mut blocks {
                *block = block.next::<F>();
            }
        }
        for (row, acc) in rows.into_iter().zip(acc) {
            let (row, lanes) = (row * S::LANES, self.lanes::<S>(row * S::LANES));
            for (token, y) in acc.into_iter().enumerate().take(self.x.count()) {
                // SAFETY: this task has the panel, and so these rows, alone.
                unsafe { self.write(isa, row, &lanes, token, y) };
            }
        }
    }

    /// Adds the dot products of these blocks with the tokens' elements from `at` on.
    ///
    /// # Safety
    /// The blocks are whole and in bounds, and the tokens have these elements.
    #[inline(always)]
    unsafe fn accumulate_block<S: Simd, const R: usize, const C: usize>(
        isa: S,
        blocks: [Block; R],
        at: usize,
        x: &ActivationTile<'_, C>,
        acc: &mut [[S::F32; C]; R],
    ) {
        // The head of a block with many groups is unpacked once, if there are registers enough.
        let unpacked = F::ELEMENTS > 32 && S::HOLDS_BLOCK_SCALES;
        // SAFETY: passed on from the caller.
        let mut heads = unsafe { [F::head(isa, blocks[0]); R] };
        for r in 1..R {
            // SAFETY: passed on from the caller.
            heads[r] = unsafe { F::head(isa, blocks[r]) };
        }
        let zero = if F::SIGNED { S::SIGNED_ZERO } else { F::ZERO };
        for part in 0..F::ELEMENTS / BLOCK {
            let first = part * (BLOCK / F::STEP);
            let at = at + part * BLOCK;
            add_block::<S, F, R, C, C>(
                isa,
                acc,
                #[inline(always)]
                |i| {
                    let (step, at) = (first + i, at + i * F::STEP);
                    for block in blocks.iter().step_by(PANEL_ROWS / S::LANES) {
                        if C == 1 {
                            block.prefetch_next::<S, F>(step);
                        } else {
                            let bytes = F::BYTES * PANEL_ROWS * F::STEP / F::ELEMENTS;
                            block.prefetch(AHEAD + step * bytes..AHEAD + (step + 1) * bytes);
                        }
                    }
                    let start = starts::<S, C, C>(isa, zero, x.sums(at, F::STEP));
                    let mut sums = [start; R];
                    for r in 0..R {
                        let weights = Packed { block: blocks[r], step, format: PhantomData::<F> };
                        // SAFETY: passed on from the caller.
                        [sums[r]] = unsafe {
                            if F::SIGNED {
                                dots::<S, _, true, 1, C>(isa, F::STEP / 4, F::MOST, [weights], x.values(at), start)
                            } else {
                                dots::<S, _, false, 1, C>(isa, F::STEP / 4, F::MOST, [weights], x.values(at), start)
                            }
                        };
                    }
                    sums
                },
                #[inline(always)]
                // SAFETY: passed on from the caller.
                |r, i| unsafe {
                    if unpacked {
                        F::scale(isa, blocks[r], &heads[r], F::group_of(first + i))
                    } else {
                        F::scale(isa, blocks[r], &F::head(isa, blocks[r]), F::group_of(first + i))
                    }
                },
                #[inline(always)]
                // SAFETY: passed on from the caller.
                |r, i| unsafe {
                    if unpacked {
                        F::minimum(isa, blocks[r], &heads[r], F::group_of(first + i))
                    } else {
                        F::minimum(isa, blocks[r], &F::head(isa, blocks[r]), F::group_of(first + i))
                    }
                },
                x,
                at,
            );
        }
    }
}

/// The words of one step of a packed block.
struct Packed<F> {
    block: Block,
    step: usize,
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
        let weights = unsafe { F::weights(isa, self.block, self.step, word) };
        if F::SIGNED { isa.signed(weights) } else { weights }
    }
}

/// Many tiles.
impl<F: Format> QuantizedGemm<'_, F> {
    /// `R` vectors of rows of `P` neighbouring panels at once by tiles of `C` tokens.
    #[inline(always)]
    fn gemm<S: Simd, const P: usize, const R: usize, const C: usize>(&self, isa: S) {
        let (mut unpacked, registers) = ([const { UnpackedTile::new() }; P], isa.registers());
        let cols = self.matrix.cols();
        for at in (0..cols).step_by(CHUNK) {
            // All panels are multiplied by this part of the activations while it is in L2.
            let part = at..cols.min(at + CHUNK);
            let skipped = at / F::ELEMENTS * F::BYTES * PANEL_ROWS;
            for first in self.panels.clone().step_by(P) {
                // Past the end, the last panel is used again; those results are dropped.
                let block = |panel: usize| {
                    let panel = panel.min(self.panels.end - 1);
                    self.block::<S>(panel * (PANEL_ROWS / S::LANES)).skip(skipped)
                };
                for (i, tile) in unpacked.iter_mut().enumerate() {
                    // SAFETY: the panel has the blocks of this part of its rows, one after the
                    // other.
                    unsafe { tile.fill::<S, F>(isa, block(first + i), part.len()) };
                }
                let next: [Block; P] = std::array::from_fn(|i| block(first + P + i));
                self.all_tiles::<S, R, C>(isa, &registers, &unpacked, first, part.clone(), &next);
            }
        }
    }

    /// All tiles of tokens by a part of the panels from `panel` on. Meanwhile the part after it,
    /// which begins with `next`, is prefetched.
    #[inline(always)]
    fn all_tiles<S: Simd, const R: usize, const C: usize>(
        &self,
        isa: S,
        registers: &S::Registers,
        weights: &[UnpackedTile],
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
            match self.x.count() - tile * C {
                1 if const { C == 3 } => self.tile::<S, R, C, 1>(isa, registers, weights, panel, tile, part.clone()),
                1..=2 if const { C == 3 || C == 4 } => {
                    self.tile::<S, R, C, 2>(isa, registers, weights, panel, tile, part.clone());
                }
                _ => self.tile::<S, R, C, C>(isa, registers, weights, panel, tile, part.clone()),
            }
        }
    }

    /// `R` vectors at once, of the panels from `panel` on, by `N` of the `C` tokens of a tile, of
    /// which those past the last one are padding.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize, const N: usize>(
        &self,
        isa: S,
        registers: &S::Registers,
        weights: &[UnpackedTile],
        panel: usize,
        tile: usize,
        part: Range<usize>,
    ) {
        let (x, token) = (self.x.tile::<C>(tile), tile * C);
        let count = N.min(self.x.count() - token);
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
                        *acc = unsafe { self.read(isa, row(r), &lanes[r], token + c) };
                    }
                }
            }
            // SAFETY: the part is unpacked, and the tokens have its elements.
            unsafe { UnpackedTile::add::<S, F, R, C, N>(weights, isa, registers, &mut acc, first, &x, part.clone()) };
            for (r, acc) in acc.iter().enumerate() {
                for (c, &y) in acc.iter().enumerate().take(count) {
                    // SAFETY: this task has the panel, and so these rows, alone, or no lane.
                    unsafe { self.write(isa, row(r), &lanes[r], token + c, y) };
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

    /// The results of these lanes of the rows from `row` on, of one token.
    ///
    /// # Safety
    /// No other task has these rows of this token.
    #[inline(always)]
    unsafe fn results(&self, row: usize, lanes: &Range<usize>, token: usize) -> &'a mut [f32] {
        if lanes.is_empty() {
            return &mut [];
        }
        let first = token * self.matrix.rows() + row + lanes.start - self.matrix.panel_rows().start;
        // SAFETY: passed on from the caller.
        unsafe { self.out.slice(first, lanes.len()) }
    }

    /// Writes results.
    ///
    /// # Safety
    /// As [`QuantizedGemm::results`].
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, isa: S, row: usize, lanes: &Range<usize>, token: usize, y: S::F32) {
        // SAFETY: passed on from the caller.
        let results = unsafe { self.results(row, lanes, token) };
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
    unsafe fn read<S: Simd>(&self, isa: S, row: usize, lanes: &Range<usize>, token: usize) -> S::F32 {
        // SAFETY: passed on from the caller.
        let results = unsafe { self.results(row, lanes, token) };
        if results.len() == S::LANES {
            isa.load(results)
        } else {
            let mut all = [0.0; MAX_LANES];
            all[lanes.clone()].copy_from_slice(results);
            isa.load(&all)
        }
    }
}
