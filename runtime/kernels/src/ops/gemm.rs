//! Quantized GEMM: many tokens by unpacked int8 tiles. Formats whose integers are alike share its
//! code; only the unpacking is their own.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::simd::tiles;
use crate::cpu::{Isa, Kernel, Needs, Simd};

use super::activations::Quantized;
use super::format::{Block, Format, Integers, PANEL_ROWS, prefetch_lines};
use super::quantized::PanelRange;
use super::unpacked_tile::{CHUNK, UnpackedTile};

/// Panels that a GEMM unpacks at once, at most: those of the largest tile.
pub(super) const PANELS_PER_GEMM: usize = 2;

/// Quantized matmul of some rows, `Y[rows] = W[rows] X`, for all tokens.
pub(super) struct QuantizedGemm<'a, I> {
    pub(super) panels: PanelRange<'a>,
    pub(super) x: &'a Quantized,
    /// The instruction set that runs this.
    pub(super) isa: Isa,
    pub(super) unpacking: Unpacking,
    pub(super) integers: PhantomData<I>,
}

/// How the panels of a format are unpacked.
#[derive(Clone, Copy)]
pub(super) struct Unpacking {
    /// Unpacks so many elements of the rows of a panel from these blocks on.
    ///
    /// # Safety
    /// The blocks are whole and in bounds.
    fill: unsafe fn(Isa, &mut UnpackedTile, *const u8, usize),
    /// Elements of a block.
    elements: usize,
    /// Bytes of a block, of all rows of a panel.
    block_bytes: usize,
    /// What is subtracted from the integers.
    zero: i32,
}

impl Unpacking {
    pub(super) fn of<F: Format>() -> Self {
        const { assert!(agree::<F, F::Integers>()) };
        Self { fill: fill::<F>, elements: F::ELEMENTS, block_bytes: F::BYTES * PANEL_ROWS, zero: F::ZERO }
    }

    /// Bytes of whole blocks of so many elements of a panel's rows.
    fn bytes(&self, elements: usize) -> usize {
        elements / self.elements * self.block_bytes
    }
}

/// Whether the integers are those of the format.
const fn agree<F: Format, I: Integers>() -> bool {
    F::STEP == I::STEP && F::AFFINE == I::AFFINE && F::SIGNED == I::SIGNED && F::MOST <= I::MOST
}

/// [`Unpacking::fill`]
///
/// # Safety
/// The blocks are whole and in bounds.
unsafe fn fill<F: Format>(isa: Isa, tile: &mut UnpackedTile, blocks: *const u8, elements: usize) {
    isa.dispatch(Fill::<F> { tile, blocks, elements, format: PhantomData });
}

struct Fill<'a, F> {
    tile: &'a mut UnpackedTile,
    /// Whole and in bounds, as many as the elements need.
    blocks: *const u8,
    elements: usize,
    format: PhantomData<F>,
}

impl<F: Format> Kernel for Fill<'_, F> {
    type Output = ();

    const NEEDS: Needs = Needs::Tiles;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        // SAFETY: the caller of `fill` vouches for the blocks.
        unsafe { self.tile.fill::<S, F>(isa, Block::first::<F>(self.blocks, 0), self.elements) }
    }
}

impl<I: Integers> Kernel for QuantizedGemm<'_, I> {
    type Output = ();

    const NEEDS: Needs = Needs::Tiles;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let width = self.x.width();
        // Each instruction set has the code of its own tile only.
        macro_rules! run_tile {
            (gemv $_:tt gemm { $($tokens:literal: $panels:literal, $vectors:literal;)+ }) => {
                match width {
                    $($tokens if const { S::GEMM_TILE == $tokens } => {
                        const { assert!($panels <= PANELS_PER_GEMM) };
                        self.gemm::<S, $panels, $vectors, $tokens>(isa);
                    })+
                    _ => unreachable!("no tile of {width} tokens"),
                }
            };
        }
        tiles!(run_tile);
    }
}

impl<I: Integers> QuantizedGemm<'_, I> {
    /// `R` vectors of rows of `P` neighbouring panels at once by tiles of `C` tokens.
    #[inline(always)]
    fn gemm<S: Simd, const P: usize, const R: usize, const C: usize>(&self, isa: S) {
        let (mut unpacked, registers) = ([const { UnpackedTile::new() }; P], isa.registers());
        let PanelRange { matrix, range, .. } = &self.panels;
        for at in (0..matrix.cols()).step_by(CHUNK) {
            // All panels are multiplied by this part of the activations while it is in L2.
            let part = at..matrix.cols().min(at + CHUNK);
            for first in range.clone().step_by(P) {
                // Past the end, the last panel is used again; those results are dropped.
                let blocks = |panel: usize| {
                    let start = panel.min(range.end - 1) * PANEL_ROWS * matrix.row_bytes();
                    matrix.bytes()[start + self.unpacking.bytes(at)..].as_ptr()
                };
                for (i, tile) in unpacked.iter_mut().enumerate() {
                    // SAFETY: the panel has the blocks of this part of its rows, one after the
                    // other.
                    unsafe { (self.unpacking.fill)(self.isa, tile, blocks(first + i), part.len()) };
                }
                let next: [*const u8; P] = std::array::from_fn(|i| blocks(first + P + i));
                self.all_tiles::<S, R, C>(isa, &registers, &unpacked, first, part.clone(), &next);
            }
        }
    }

    /// All tiles of tokens by a part of the panels from `panel` on. Meanwhile the part after it,
    /// which begins at `next`, is prefetched.
    #[inline(always)]
    fn all_tiles<S: Simd, const R: usize, const C: usize>(
        &self,
        isa: S,
        registers: &S::Registers,
        weights: &[UnpackedTile],
        panel: usize,
        part: Range<usize>,
        next: &[*const u8],
    ) {
        let tiles = self.x.count().div_ceil(C);
        let share = self.unpacking.bytes(part.len()).div_ceil(tiles).next_multiple_of(64);
        for tile in 0..tiles {
            for &next in next {
                prefetch_lines(next, tile * share..(tile + 1) * share);
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
                row if row < self.panels.range.end * PANEL_ROWS => self.panels.lanes::<S>(row),
                _ => 0..0,
            });
            let mut acc = [[isa.splat(0.0); N]; R];
            if part.start > 0 {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (c, acc) in acc.iter_mut().enumerate().take(count) {
                        // SAFETY: this task has the panel, and so these rows, alone, or no lane.
                        *acc = unsafe { self.panels.read(isa, row(r), &lanes[r], token + c) };
                    }
                }
            }
            // SAFETY: the part is unpacked, and the tokens have its elements.
            unsafe {
                let zero = self.unpacking.zero;
                UnpackedTile::add::<S, I, R, C, N>(weights, isa, registers, zero, &mut acc, first, &x, part.clone());
            }
            for (r, acc) in acc.iter().enumerate() {
                for (c, &y) in acc.iter().enumerate().take(count) {
                    // SAFETY: this task has the panel, and so these rows, alone, or no lane.
                    unsafe { self.panels.write(isa, row(r), &lanes[r], token + c, y) };
                }
            }
        }
    }
}
