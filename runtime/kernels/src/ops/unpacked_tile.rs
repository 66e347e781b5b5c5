//! An unpacked int8 tile: part of a panel of packed weights, with its weights as bytes and its
//! scales as floats, the same for all formats. A GEMM reads it, so weights are unpacked once for
//! all tokens.

use std::ops::Range;

use crate::cpu::Simd;
use crate::cpu::simd::MAX_LANES;

use super::accumulate::{add_block, starts};
use super::activations::{ActivationTile, BLOCK, HALF};
use super::format::{Block, Format, Integers, PANEL_ROWS};

/// Elements of a row that are unpacked at once, whole blocks: few enough that one panel stays in
/// L1, and two in one of 48 KiB (those of smaller caches read one line of weights for five dot
/// products from L2).
pub(super) const CHUNK: usize = 1024;

/// Numbers of a field, for each row of a panel.
type Field<T, const N: usize> = [[T; PANEL_ROWS]; N];

/// Up to [`CHUNK`] elements of the rows of a panel.
#[repr(C, align(64))]
pub(super) struct UnpackedTile {
    /// Four weights of each row, pair by pair in the order of [`Simd::pair`].
    words: Field<[u8; 4], { CHUNK / 4 }>,
    /// The scale of each step.
    scales: Field<f32, { CHUNK / HALF }>,
    /// The minimum of each step, of affine formats.
    minimums: Field<f32, { CHUNK / HALF }>,
}

impl UnpackedTile {
    pub(super) const fn new() -> Self {
        Self {
            words: [[[0; 4]; PANEL_ROWS]; CHUNK / 4],
            scales: [[0.0; PANEL_ROWS]; CHUNK / HALF],
            minimums: [[0.0; PANEL_ROWS]; CHUNK / HALF],
        }
    }

    /// What is subtracted from the bytes that stand for unpacked integers, of which `zero` is.
    #[inline(always)]
    fn zero<S: Simd, I: Integers>(zero: i32) -> i32 {
        match (S::CENTRED, I::SIGNED, I::AFFINE) {
            (true, ..) | (false, false, true) => 0,
            (false, true, _) => S::SIGNED_ZERO,
            (false, false, false) => zero,
        }
    }

    /// Unpacks `elements` elements of the rows of the panel whose blocks start with `block` (of its
    /// first vector).
    ///
    /// # Safety
    /// The blocks of these elements are whole and in bounds, and no more than [`CHUNK`] elements.
    #[inline(always)]
    pub(super) unsafe fn fill<S: Simd, F: Format>(&mut self, isa: S, mut block: Block, elements: usize) {
        assert!(elements <= CHUNK);
        for unit in 0..elements / F::ELEMENTS {
            for lane in (0..PANEL_ROWS).step_by(S::LANES) {
                let rows = block.lane::<F>(lane);
                // SAFETY: passed on from the caller.
                let head = unsafe { F::head(isa, rows) };
                for step in 0..F::ELEMENTS / F::STEP {
                    let at = unit * (F::ELEMENTS / F::STEP) + step;
                    // SAFETY: passed on from the caller; a step of the part has its place.
                    unsafe { self.step::<S, F>(isa, rows, &head, step, at, lane) };
                }
            }
            block = block.next::<F>();
        }
    }

    /// Unpacks step `step` of a block of the rows from `lane` on to step `at` of the part.
    ///
    /// # Safety
    /// The block is whole and in bounds.
    #[inline(always)]
    unsafe fn step<S: Simd, F: Format>(
        &mut self,
        isa: S,
        block: Block,
        head: &F::Head<S>,
        step: usize,
        at: usize,
        lane: usize,
    ) {
        for word in (0..F::STEP / 4).step_by(2) {
            // SAFETY: the caller vouches for the block.
            let pair = unsafe { [unpack::<S, F>(isa, block, step, word), unpack::<S, F>(isa, block, step, word + 1)] };
            let pair = isa.pair(pair);
            for (i, bytes) in pair.into_iter().enumerate() {
                let to = &mut self.words[at * (F::STEP / 4) + word + i][lane..lane + S::LANES];
                // SAFETY: four bytes for each of `LANES` rows.
                unsafe { isa.store_bytes(bytes, to.as_mut_ptr().cast()) };
            }
        }
        // SAFETY: the caller vouches for the block.
        unsafe {
            isa.store(F::scale(isa, block, head, F::group_of(step)), &mut self.scales[at][lane..]);
            if F::AFFINE {
                isa.store(F::minimum(isa, block, head, F::group_of(step)), &mut self.minimums[at][lane..]);
            }
        }
    }

    /// The GEMM tile: adds to `acc` the dot products of `R` vectors of rows of these neighbouring
    /// panels, from `vector` on, with elements `part` of `N` of the `C` tokens; `zero` is what
    /// unsigned integers stand for 0 with.
    ///
    /// # Safety
    /// This part was unpacked for this instruction set, and the tokens have its elements.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "the operands of one instruction, were there such a one")]
    pub(super) unsafe fn add<S: Simd, I: Integers, const R: usize, const C: usize, const N: usize>(
        panels: &[Self],
        isa: S,
        registers: &S::Registers,
        zero: i32,
        acc: &mut [[S::F32; N]; R],
        vector: usize,
        x: &ActivationTile<'_, C>,
        part: Range<usize>,
    ) {
        let (words, zero) = (I::STEP / 4, Self::zero::<S, I>(zero));
        let lane = |r: usize| (vector + r) * S::LANES % PANEL_ROWS;
        let panel = |r: usize| &panels[(vector + r) * S::LANES / PANEL_ROWS];
        for block in 0..part.len() / BLOCK {
            let (at, first) = (part.start + block * BLOCK, block * (BLOCK / I::STEP));
            add_block::<S, I, R, C, N>(
                isa,
                acc,
                #[inline(always)]
                |i| {
                    let at = at + i * I::STEP;
                    let row = |r: usize| &panel(r).words.as_flattened()[(first + i) * words * PANEL_ROWS + lane(r)..];
                    let (start, values) = (starts::<S, C, N>(isa, zero, x.sums(at, I::STEP)), x.values(at));
                    let rows: [_; R] = std::array::from_fn(|r| row(r).as_ptr().cast());
                    // SAFETY: the caller vouches for the part and for the tokens.
                    unsafe {
                        if I::SIGNED {
                            isa.gemm_tile::<true, R, N>(registers, words, I::MOST, rows, values, start)
                        } else {
                            isa.gemm_tile::<false, R, N>(registers, words, I::MOST, rows, values, start)
                        }
                    }
                },
                #[inline(always)]
                |r, i| isa.load(&panel(r).scales[first + i][lane(r)..]),
                #[inline(always)]
                |r, i| isa.load(&panel(r).minimums[first + i][lane(r)..]),
                x,
                at,
            );
        }
    }
}

/// Word `word` of a step in the form that [`Simd::gemm_tile`] takes.
///
/// # Safety
/// The block is whole and in bounds, and has that word.
#[inline(always)]
unsafe fn unpack<S: Simd, F: Format>(isa: S, block: Block, step: usize, word: usize) -> S::Bytes {
    // SAFETY: passed on from the caller.
    let weights = unsafe { F::weights(isa, block, step, word) };
    match (S::CENTRED, F::SIGNED) {
        (true, true) | (false, false) => weights,
        (true, false) => isa.centre(weights, F::ZERO as u8),
        (false, true) => isa.signed(weights),
    }
}

const _: () = assert!(PANEL_ROWS == MAX_LANES, "the words of a vector are as far apart as `Simd::gemm_tile` has them");
