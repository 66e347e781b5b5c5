//! Unpacking of each [`BlockFormat`] for matmul: the integers of a group, its scale and, for affine
//! formats, its minimum.
//!
//! The byte layouts are those of [`crate::quant`], which is the reference, with the fields of
//! [`PANEL_ROWS`] rows side by side: see [`super::panel`]. Each format is unpacked with vector
//! primitives, once for all instruction sets.

use std::ops::Range;

use crate::cpu::Simd;
use crate::cpu::simd::prefetch;
use crate::quant::{BlockFormat, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};

use super::activations::BLOCK;

/// Rows whose blocks are interleaved.
pub(super) use crate::gguf::PANEL_ROWS;

/// One block of `LANES` interleaved rows.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// 16-bit field 0 of the first of the rows.
    halves: *const u8,
    /// 32-bit field 0 of the first of the rows.
    words: *const u8,
}

impl Block {
    /// The first block of the rows from `lane` on (of `PANEL_ROWS`) of the panel at `panel`.
    #[inline(always)]
    pub(super) fn first<F: Format>(panel: *const u8, lane: usize) -> Self {
        let words = panel.wrapping_add(F::HALVES.len() * 2 * PANEL_ROWS);
        Self { halves: panel, words }.lane(lane)
    }

    /// The next block of the same rows.
    #[inline(always)]
    pub(super) fn next<F: Format>(self) -> Self {
        self.skip(F::BYTES * PANEL_ROWS)
    }

    /// The block of the same rows that lies so many bytes behind this one.
    #[inline(always)]
    pub(super) fn skip(self, bytes: usize) -> Self {
        Self { halves: self.halves.wrapping_add(bytes), words: self.words.wrapping_add(bytes) }
    }

    /// The same block of the rows from `lane` on, counted from this one's first.
    #[inline(always)]
    pub(super) fn lane(self, lane: usize) -> Self {
        Self { halves: self.halves.wrapping_add(2 * lane), words: self.words.wrapping_add(4 * lane) }
    }

    /// Prefetches the part of the next block that is as large as step `step` of this one; called
    /// for the first row, for all rows of the panel. Blocks of 256 elements are not read in the
    /// order of their addresses, which the hardware prefetcher does not predict; smaller blocks
    /// are.
    #[inline(always)]
    pub(super) fn prefetch_next<S: Simd, F: Format>(self, step: usize) {
        if F::ELEMENTS > 32 {
            let (bytes, steps) = (F::BYTES * PANEL_ROWS, F::ELEMENTS / F::STEP);
            for at in (bytes * step / steps..bytes * (step + 1) / steps).step_by(64) {
                let at = self.halves.wrapping_add(bytes + at);
                if S::PREFETCHES_L1 { prefetch::<true>(at) } else { prefetch::<false>(at) }
            }
        }
    }

    /// Prefetches these bytes from the panel's block on, to L2.
    #[inline(always)]
    pub(super) fn prefetch(self, bytes: Range<usize>) {
        for at in bytes.step_by(64) {
            prefetch::<false>(self.halves.wrapping_add(at));
        }
    }

    /// The half-precision field `i`, widened.
    ///
    /// # Safety
    /// The block is whole and in bounds, and has that field.
    #[inline(always)]
    unsafe fn half<S: Simd>(self, isa: S, i: usize) -> S::F32 {
        // SAFETY: the caller vouches for the field; panels and their fields start at even addresses
        // (`Panels`, `Storage`).
        isa.load_f16(unsafe { std::slice::from_raw_parts(self.halves.add(i * 2 * PANEL_ROWS).cast(), S::LANES) })
    }

    /// The 32-bit field `i`.
    ///
    /// # Safety
    /// As [`Block::half`].
    #[inline(always)]
    unsafe fn word<S: Simd>(self, isa: S, i: usize) -> S::Bytes {
        // SAFETY: the caller vouches for the field.
        unsafe { isa.bytes(self.words.add(i * 4 * PANEL_ROWS)) }
    }
}

/// How the kernels unpack a block format, with vector primitives: once for all instruction sets.
///
/// # Safety of the functions
/// The block is whole and in bounds; groups and words are among those that a block has.
pub(super) trait Format: BlockFormat {
    /// Elements that meet the activations at once: of a group, or of the part of it that a block of
    /// activations has.
    const STEP: usize = if Self::GROUP < BLOCK { Self::GROUP } else { BLOCK };

    /// The head of a block: the data that the scales of all its groups need.
    type Head<S: Simd>: Copy;

    /// The group of step `step` of a block.
    #[inline(always)]
    fn group_of(step: usize) -> usize {
        step * Self::STEP / Self::GROUP
    }

    /// Weights `4 * word..4 * word + 4` of step `step`, of each row.
    unsafe fn weights<S: Simd>(isa: S, block: Block, step: usize, word: usize) -> S::Bytes;

    /// The head of the block, of each row.
    unsafe fn head<S: Simd>(isa: S, block: Block) -> Self::Head<S>;

    /// The scales of group `group`, given the head of the block.
    unsafe fn scale<S: Simd>(isa: S, block: Block, head: &Self::Head<S>, group: usize) -> S::F32;

    /// The minimums of group `group`, of affine formats.
    unsafe fn minimum<S: Simd>(isa: S, _block: Block, _head: &Self::Head<S>, _group: usize) -> S::F32 {
        isa.splat(0.0)
    }
}

/// A format of 32 elements: a scale, perhaps a minimum, and the integers by `$weights`.
macro_rules! simple {
    ($name:ident, |$isa:ident, $block:ident, $word:ident| $weights:expr) => {
        impl Format for $name {
            type Head<S: Simd> = ();

            #[inline(always)]
            unsafe fn head<S: Simd>(_isa: S, _block: Block) {}

            #[inline(always)]
            unsafe fn weights<S: Simd>($isa: S, $block: Block, _step: usize, $word: usize) -> S::Bytes {
                // SAFETY: the caller vouches for the whole block, and the layout stays inside it.
                unsafe { $weights }
            }

            #[inline(always)]
            unsafe fn scale<S: Simd>(isa: S, block: Block, _head: &(), _group: usize) -> S::F32 {
                // SAFETY: the caller vouches for the whole block; every format has a scale.
                unsafe { block.half(isa, 0) }
            }

            #[inline(always)]
            unsafe fn minimum<S: Simd>(isa: S, block: Block, _head: &(), _group: usize) -> S::F32 {
                // SAFETY: the caller vouches for the whole block and asks affine formats only.
                unsafe { block.half(isa, 1) }
            }
        }
    };
}

/// Four bits of elements `4 word..`: low nibbles first, then high ones, from the word fields at
/// `first`.
///
/// # Safety
/// The block is whole and in bounds, and has four such fields.
#[inline(always)]
unsafe fn nibbles<S: Simd>(isa: S, block: Block, first: usize, word: usize) -> S::Bytes {
    // SAFETY: the caller vouches for the fields.
    isa.shift_right(unsafe { block.word(isa, first + word % 4) }, word as u32 / 4 * 4, 15)
}

/// [`nibbles`] of the fields from 1 on, and the fifth bits of field 0.
///
/// # Safety
/// As [`nibbles`].
#[inline(always)]
unsafe fn five_bits<S: Simd>(isa: S, block: Block, word: usize) -> S::Bytes {
    // SAFETY: the caller vouches for the fields.
    let (low, bits) = unsafe { (nibbles(isa, block, 1, word), block.word(isa, 0)) };
    isa.or(low, isa.shift_left(isa.shift_right(bits, word as u32, 1), 4))
}

simple!(Q4_0, |isa, block, word| nibbles(isa, block, 0, word));
simple!(Q4_1, |isa, block, word| nibbles(isa, block, 0, word));
simple!(Q5_0, |isa, block, word| five_bits(isa, block, word));
simple!(Q5_1, |isa, block, word| five_bits(isa, block, word));
simple!(Q8_0, |isa, block, word| block.word(isa, word));

/// The scales of a `Q4_K` or `Q5_K` block, and its minimums.
#[derive(Clone, Copy)]
pub(super) struct PackedScales<S: Simd>([SixBits<S>; 2]);

/// Eight 6-bit integers and the scale that they are multiplied by.
#[derive(Clone, Copy)]
struct SixBits<S: Simd> {
    unit: S::F32,
    /// Those of the lower groups, and of the upper ones, a byte each.
    integers: [S::Bytes; 2],
}

impl<S: Simd> SixBits<S> {
    /// The scales (`kind` 0) or minimums (1) of [`PackedScales::new`].
    ///
    /// # Safety
    /// The block is whole and in bounds.
    #[inline(always)]
    unsafe fn new(isa: S, block: Block, kind: usize) -> Self {
        // SAFETY: the caller vouches for the whole block.
        let (unit, lower, upper) = unsafe { (block.half(isa, kind), block.word(isa, kind), block.word(isa, 2)) };
        let upper = isa.shift_right(upper, 4 * kind as u32, 15);
        let highest = isa.shift_left(isa.shift_right(lower, 6, 3), 4);
        Self { unit, integers: [isa.shift_right(lower, 0, 63), isa.or(upper, highest)] }
    }
}

impl<S: Simd> PackedScales<S> {
    /// Unpacks them. The 12 packed bytes are words 0 to 2: the lower groups' scales, their
    /// minimums, and four bits of each of the upper groups, whose other two are the highest of the
    /// lower ones.
    ///
    /// # Safety
    /// The block is whole and in bounds.
    #[inline(always)]
    unsafe fn new(isa: S, block: Block) -> Self {
        // SAFETY: passed on from the caller.
        unsafe { Self([SixBits::new(isa, block, 0), SixBits::new(isa, block, 1)]) }
    }

    /// The scales of a group (`kind` 0), or its minimums (1).
    #[inline(always)]
    fn get(&self, isa: S, kind: usize, group: usize) -> S::F32 {
        let SixBits { unit, integers } = &self.0[kind];
        isa.mul(*unit, isa.to_f32(isa.byte::<false>(integers[group / 4], group % 4)))
    }
}

/// A format of 256 elements in 8 groups with packed scales and minimums; `$weights` gives the
/// integers.
macro_rules! affine_k {
    ($name:ident, |$isa:ident, $block:ident, $group:ident, $word:ident| $weights:expr) => {
        impl Format for $name {
            type Head<S: Simd> = PackedScales<S>;

            #[inline(always)]
            unsafe fn head<S: Simd>(isa: S, block: Block) -> PackedScales<S> {
                // SAFETY: passed on from the caller.
                unsafe { PackedScales::new(isa, block) }
            }

            #[inline(always)]
            unsafe fn weights<S: Simd>($isa: S, $block: Block, $group: usize, $word: usize) -> S::Bytes {
                // SAFETY: the caller vouches for the whole block, and the layout stays inside it.
                unsafe { $weights }
            }

            #[inline(always)]
            unsafe fn scale<S: Simd>(isa: S, _block: Block, head: &PackedScales<S>, group: usize) -> S::F32 {
                head.get(isa, 0, group)
            }

            #[inline(always)]
            unsafe fn minimum<S: Simd>(isa: S, _block: Block, head: &PackedScales<S>, group: usize) -> S::F32 {
                isa.sub(isa.splat(0.0), head.get(isa, 1, group))
            }
        }
    };
}

// The nibbles of two groups share 8 words.
affine_k!(Q4K, |isa, block, group, word| {
    isa.shift_right(block.word(isa, 3 + group / 2 * 8 + word), group as u32 % 2 * 4, 15)
});

// The fifth bits are 8 words, bit `group` of each byte; the nibbles follow as in `Q4_K`.
affine_k!(Q5K, |isa, block, group, word| {
    let low = isa.shift_right(block.word(isa, 11 + group / 2 * 8 + word), group as u32 % 2 * 4, 15);
    isa.or(low, isa.shift_left(isa.shift_right(block.word(isa, 3 + word), group as u32, 1), 4))
});

impl Format for Q6K {
    /// The scale of the signed scales.
    type Head<S: Simd> = S::F32;

    #[inline(always)]
    unsafe fn head<S: Simd>(isa: S, block: Block) -> S::F32 {
        // SAFETY: the caller vouches for the whole block.
        unsafe { block.half(isa, 0) }
    }

    #[inline(always)]
    unsafe fn weights<S: Simd>(isa: S, block: Block, group: usize, word: usize) -> S::Bytes {
        // Two halves of 128 elements, each of four parts of two groups: 16 words of nibbles, 8
        // words of upper bits.
        let (half, part, word) = (group / 8, group / 2 % 4, group % 2 * 4 + word);
        // SAFETY: the nibbles are words 0..32, the upper bits words 32..48.
        let (packed, upper) =
            unsafe { (block.word(isa, half * 16 + part % 2 * 8 + word), block.word(isa, 32 + half * 8 + word)) };
        let low = isa.shift_right(packed, part as u32 / 2 * 4, 15);
        isa.or(low, isa.shift_left(isa.shift_right(upper, part as u32 * 2, 3), 4))
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(isa: S, block: Block, unit: &S::F32, group: usize) -> S::F32 {
        // SAFETY: the signed scales are words 48..52.
        let scales = unsafe { block.word(isa, 48 + group / 4) };
        isa.mul(*unit, isa.to_f32(isa.byte::<true>(scales, group % 4)))
    }
}
