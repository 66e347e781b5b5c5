//! Quantized GEMV: one token, or some tiles of a few, by packed weights as they are.

use std::marker::PhantomData;

use crate::cpu::simd::{WeightSource, dots, tiles};
use crate::cpu::{Kernel, Needs, Simd};

use super::accumulate::{add_block, starts};
use super::activations::{ActivationTile, BLOCK, Quantized};
use super::format::{Block, Format, PANEL_ROWS};
use super::quantized::PanelRange;

/// Panels that a GEMV reads at once, at most: more streams of memory add little bandwidth.
pub(super) const PANELS_PER_GEMV: usize = 4;

/// The prefetch distance, in bytes, where a few tokens read packed weights as they are: one stream
/// a thread does not reach the memory bandwidth without prefetching.
const AHEAD: usize = 4096;

/// Quantized matmul of some rows, `Y[rows] = W[rows] X`, for all tokens.
pub(super) struct QuantizedGemv<'a, F> {
    pub(super) panels: PanelRange<'a>,
    pub(super) x: &'a Quantized,
    pub(super) format: PhantomData<F>,
}

impl<F: Format> Kernel for QuantizedGemv<'_, F> {
    type Output = ();

    const NEEDS: Needs = Needs::Products;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let width = self.x.width();
        // Each instruction set has the code of its own tiles only.
        macro_rules! run_tile {
            (gemv { $($few:literal: $rows:literal;)+ } gemm $_:tt) => {
                match width {
                    1 if const { S::GEMV_ROWS > 0 && !F::IS_STREAM } => self.gemv::<S, 1, 1>(isa),
                    1 if const { S::GEMV_ROWS == 4 } => self.gemv::<S, 4, 1>(isa),
                    $($few if const { is_among(S::GEMV_TILES, $few) } => self.gemv::<S, $rows, $few>(isa),)+
                    _ => unreachable!("no tile of {width} tokens"),
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

impl<F: Format> QuantizedGemv<'_, F> {
    /// A GEMV of tiles of `C` tokens by `R` vectors of rows at once, from panels that lie far
    /// apart: each is a long stream of memory of its own, which suits the hardware prefetcher. The
    /// first tile brings the rows to the cache, where those after it meet them.
    #[inline(always)]
    fn gemv<S: Simd, const R: usize, const C: usize>(&self, isa: S) {
        let (panels, vectors) = (&self.panels.range, PANEL_ROWS / S::LANES);
        let (streams, at_once) = ((R / vectors).max(1), R.min(vectors));
        let length = panels.len().div_ceil(streams);
        // Where the last stream is shorter, or there are fewer panels than streams, the last panel
        // is read again: it is in L1.
        let panel = |stream: usize, i: usize| (panels.start + stream * length + i).min(panels.end - 1);
        for i in 0..length {
            for first in (0..vectors).step_by(at_once) {
                let rows = std::array::from_fn(|r| panel(r / vectors, i) * vectors + first + r % vectors);
                for tile in 0..self.x.count().div_ceil(C) {
                    self.row_block::<S, R, C>(isa, rows, tile);
                }
            }
        }
    }

    /// These vectors of rows by a tile of tokens, block by block.
    #[inline(always)]
    fn row_block<S: Simd, const R: usize, const C: usize>(&self, isa: S, rows: [usize; R], tile: usize) {
        let x = self.x.tile::<C>(tile);
        // Vectors of the same interleaved rows have one address, and constant offsets from it.
        let of_panel = R.min(PANEL_ROWS / S::LANES);
        let mut blocks: [Block; R] = rows.map(|row| self.block::<S>(row));
        let mut acc = [[isa.splat(0.0); C]; R];
        for block in 0..self.panels.matrix.cols() / F::ELEMENTS {
            for r in 0..R {
                blocks[r] = blocks[r / of_panel * of_panel].lane::<F>(r % of_panel * S::LANES);
            }
            // SAFETY: the panels have `cols / ELEMENTS` blocks, of which these are the blocks
            // number `block`, and the tokens have `cols` elements.
            unsafe { Self::accumulate_block::<S, R, C>(isa, blocks, block * F::ELEMENTS, &x, &mut acc) };
            for r in 0..R {
                blocks[r] = blocks[r].next::<F>();
            }
        }
        for (row, acc) in rows.into_iter().zip(acc) {
            let (row, lanes) = (row * S::LANES, self.panels.lanes::<S>(row * S::LANES));
            for (token, y) in (tile * C..self.x.count()).zip(acc) {
                // SAFETY: this task has the panel, and so these rows, alone.
                unsafe { self.panels.write(isa, row, &lanes, token, y) };
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
            add_block::<S, F::Integers, R, C, C>(
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
                    let weights = blocks.map(|block| Packed { block, step, format: PhantomData::<F> });
                    if S::TAKES_FOUR_WORDS {
                        // SAFETY: passed on from the caller.
                        return unsafe { step_dots::<S, F, R, C>(isa, weights, x.values(at), start) };
                    }
                    let mut sums = [start; R];
                    for r in 0..R {
                        // SAFETY: passed on from the caller.
                        [sums[r]] = unsafe { step_dots::<S, F, 1, C>(isa, [weights[r]], x.values(at), start) };
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

    /// The first block of vector `vector` of the matrix's rows.
    #[inline(always)]
    fn block<S: Simd>(&self, vector: usize) -> Block {
        let (row, matrix) = (vector * S::LANES, &self.panels.matrix);
        let start = row / PANEL_ROWS * PANEL_ROWS * matrix.row_bytes();
        Block::first::<F>(matrix.bytes()[start..].as_ptr(), row % PANEL_ROWS)
    }
}

/// The dot products of a step of these vectors of rows with the activations at `x`.
///
/// # Safety
/// As [`dots`].
#[inline(always)]
unsafe fn step_dots<S: Simd, F: Format, const R: usize, const C: usize>(
    isa: S,
    weights: [Packed<F>; R],
    x: *const i8,
    start: [S::I32; C],
) -> [[S::I32; C]; R] {
    // SAFETY: passed on from the caller.
    unsafe {
        if F::SIGNED {
            dots::<S, _, true, R, C>(isa, F::STEP / 4, F::MOST, weights, x, start)
        } else {
            dots::<S, _, false, R, C>(isa, F::STEP / 4, F::MOST, weights, x, start)
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

impl<F: Format> WeightSource for Packed<F> {
    #[inline(always)]
    unsafe fn word<S: Simd>(self, isa: S, word: usize) -> S::Bytes {
        // SAFETY: the caller vouches for the word, and so for the block.
        let weights = unsafe { F::weights(isa, self.block, self.step, word) };
        if F::SIGNED { isa.signed(weights) } else { weights }
    }
}
