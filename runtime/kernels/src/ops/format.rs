//! Unpacking of each [`BlockFormat`] for matmul: the integers of a group, its scale and, for affine
//! formats, its minimum.
//!
//! The byte layouts are those of [`crate::quant`], which is the reference, with the fields of
//! [`PANEL_ROWS`] rows side by side: see [`super::panel`]. Each format is unpacked with vector
//! primitives, once for all instruction sets.

use std::ops::Range;

use crate::cpu::Simd;
use crate::cpu::simd::prefetch;
use crate::quant::{
    BlockFormat, Iq4Nl, Iq4Xs, Mxfp4, Q1_0, Q2_0, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Tq1_0, Tq2_0,
    iq4, mxfp4, tq,
};

use super::activations::BLOCK;

/// Rows whose blocks are interleaved.
pub(super) use crate::quant::PANEL_ROWS;

/// One block of `LANES` interleaved rows.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Narrow field 0 of the first of the rows.
    narrow: *const u8,
    /// 32-bit field 0 of the first of the rows.
    pub(super) words: *const u8,
}

impl Block {
    /// The first block of the rows from `lane` on (of `PANEL_ROWS`) of the panel at `panel`.
    #[inline(always)]
    pub(super) fn first<F: Format>(panel: *const u8, lane: usize) -> Self {
        let words = panel.wrapping_add(F::NARROW.len() * F::NARROW_BYTES * PANEL_ROWS);
        Self { narrow: panel, words }.lane::<F>(lane)
    }

    /// The next block of the same rows.
    #[inline(always)]
    pub(super) fn next<F: Format>(self) -> Self {
        let bytes = F::BYTES * PANEL_ROWS;
        Self { narrow: self.narrow.wrapping_add(bytes), words: self.words.wrapping_add(bytes) }
    }

    /// The same block of the rows from `lane` on, counted from this one's first.
    #[inline(always)]
    pub(super) fn lane<F: Format>(self, lane: usize) -> Self {
        Self { narrow: self.narrow.wrapping_add(F::NARROW_BYTES * lane), words: self.words.wrapping_add(4 * lane) }
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
                let at = self.narrow.wrapping_add(bytes + at);
                if S::PREFETCHES_L1 { prefetch::<true>(at) } else { prefetch::<false>(at) }
            }
        }
    }

    /// Prefetches these bytes from the panel's block on, to L2.
    #[inline(always)]
    pub(super) fn prefetch(self, bytes: Range<usize>) {
        prefetch_lines(self.narrow, bytes);
    }

    /// The narrow field `i`, a half-precision float, widened.
    ///
    /// # Safety
    /// The block is whole and in bounds, and has that field.
    #[inline(always)]
    pub(super) unsafe fn half<S: Simd>(self, isa: S, i: usize) -> S::F32 {
        // SAFETY: passed on from the caller.
        isa.load_f16(unsafe { self.fields::<S, u16>(i) })
    }

    /// The narrow field `i`, an integer of 16 bits, in the first two bytes of each lane.
    ///
    /// # Safety
    /// As [`Block::half`].
    #[inline(always)]
    unsafe fn integer<S: Simd>(self, isa: S, i: usize) -> S::Bytes {
        // SAFETY: passed on from the caller.
        isa.load_u16(unsafe { self.fields::<S, u16>(i) })
    }

    /// The narrow field `i`, an integer of eight bits.
    ///
    /// # Safety
    /// As [`Block::half`].
    #[inline(always)]
    unsafe fn small<S: Simd>(self, isa: S, i: usize) -> S::F32 {
        // SAFETY: passed on from the caller.
        isa.load_u8(unsafe { self.fields::<S, u8>(i) })
    }

    /// The narrow field `i` of each row.
    ///
    /// # Safety
    /// The block is whole and in bounds, and has that field, of type `T`.
    #[inline(always)]
    unsafe fn fields<'a, S: Simd, T>(self, i: usize) -> &'a [T] {
        let at = self.narrow.wrapping_add(i * size_of::<T>() * PANEL_ROWS);
        // SAFETY: the caller vouches for the field; panels and their fields start at even addresses
        // (`Panels`, `Storage`).
        unsafe { std::slice::from_raw_parts(at.cast(), S::LANES) }
    }

    /// The 32-bit field `i`.
    ///
    /// # Safety
    /// As [`Block::half`].
    #[inline(always)]
    pub(super) unsafe fn word<S: Simd>(self, isa: S, i: usize) -> S::Bytes {
        // SAFETY: the caller vouches for the field.
        unsafe { isa.bytes(self.words.add(i * 4 * PANEL_ROWS)) }
    }
}

/// Prefetches these bytes from an address on, to L2.
#[inline(always)]
pub(super) fn prefetch_lines(from: *const u8, bytes: Range<usize>) {
    for at in bytes.step_by(64) {
        prefetch::<false>(from.wrapping_add(at));
    }
}

/// What the products of weights with activations need to know of the integers of a format.
pub(super) trait Integers: 'static {
    /// As [`Format::STEP`].
    const STEP: usize;
    /// As [`BlockFormat::AFFINE`].
    const AFFINE: bool;
    /// As [`BlockFormat::SIGNED`].
    const SIGNED: bool;
    /// [`BlockFormat::MOST`] or more.
    const MOST: i32;
}

/// [`Integers`] with these constants. Those of several formats are as few as lose nothing: AVX2
/// sums products of integers up to 15 in one run.
pub(super) struct Kind<const STEP: usize, const AFFINE: bool, const SIGNED: bool, const MOST: i32>;

impl<const STEP: usize, const AFFINE: bool, const SIGNED: bool, const MOST: i32> Integers
    for Kind<STEP, AFFINE, SIGNED, MOST>
{
    const STEP: usize = STEP;
    const AFFINE: bool = AFFINE;
    const SIGNED: bool = SIGNED;
    const MOST: i32 = MOST;
}

type Unsigned<const STEP: usize, const MOST: i32> = Kind<STEP, false, false, MOST>;
type Affine<const STEP: usize, const MOST: i32> = Kind<STEP, true, false, MOST>;
pub(super) type Signed<const STEP: usize, const MOST: i32> = Kind<STEP, false, true, MOST>;

/// How the kernels unpack a block format, with vector primitives: once for all instruction sets.
///
/// # Safety of the functions
/// The block is whole and in bounds; groups and words are among those that a block has.
pub(super) trait Format: BlockFormat {
    /// Elements that meet the activations at once: of a group, or of the part of it that a block of
    /// activations has.
    const STEP: usize = if Self::GROUP < BLOCK { Self::GROUP } else { BLOCK };

    /// Whether a GEMV is bound by memory bandwidth, so that it reads several panels at once.
    const IS_STREAM: bool = true;

    /// The integers, as products see them.
    type Integers: Integers;

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

/// A format with one scale in a block, perhaps a minimum, and the integers by `$weights`.
macro_rules! simple {
    ($name:ident, $integers:ty, |$isa:ident, $block:ident, $step:pat_param, $word:ident| $weights:expr) => {
        impl Format for $name {
            type Integers = $integers;
            type Head<S: Simd> = ();

            #[inline(always)]
            unsafe fn head<S: Simd>(_isa: S, _block: Block) {}

            #[inline(always)]
            unsafe fn weights<S: Simd>($isa: S, $block: Block, $step: usize, $word: usize) -> S::Bytes {
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

simple!(Q4_0, Unsigned<32, 15>, |isa, block, _, word| nibbles(isa, block, 0, word));
simple!(Q4_1, Affine<32, 15>, |isa, block, _, word| nibbles(isa, block, 0, word));
simple!(Q5_0, Unsigned<32, 31>, |isa, block, _, word| five_bits(isa, block, word));
simple!(Q5_1, Affine<32, 31>, |isa, block, _, word| five_bits(isa, block, word));
simple!(Q8_0, Signed<32, 128>, |isa, block, _, word| block.word(isa, word));
simple!(Iq4Nl, Signed<32, 128>, |isa, block, _, word| isa.lookup(&iq4::VALUES, nibbles(isa, block, 0, word)));

// Bits and pairs of bits are spread: item `word` of each byte. A bit counts twice.
simple!(Q1_0, Unsigned<32, 15>, |isa, block, step, word| isa.shift_left(isa.shift_right(block.word(isa, step), word as u32, 1), 1));
simple!(Q2_0, Unsigned<32, 15>, |isa, block, step, word| {
    isa.shift_right(block.word(isa, 2 * step + word / 4), word as u32 % 4 * 2, 3)
});

simple!(Tq1_0, Unsigned<32, 15>, |isa, block, step, word| {
    let (byte, digit) = tq::place(32 * step + 4 * word);
    let mut rest = block.word(isa, byte / 4);
    for _ in 0..digit {
        rest = isa.add_bytes(rest, isa.add_bytes(rest, rest));
    }
    // The digit above a byte: whether three times it is 256 or more, and 512 or more.
    isa.add_bytes(isa.is_at_least(rest, 86), isa.is_at_least(rest, 171))
});
simple!(Tq2_0, Unsigned<32, 15>, |isa, block, step, word| two_bits(isa, block, 0, step, word));

/// Two bits of each element of a super-block: words `first` to `first + 16` (see `quant::k`).
///
/// # Safety
/// The block is whole and in bounds, and has these fields.
#[inline(always)]
unsafe fn two_bits<S: Simd>(isa: S, block: Block, first: usize, part: usize, word: usize) -> S::Bytes {
    // SAFETY: the caller vouches for the fields.
    isa.shift_right(unsafe { block.word(isa, first + part / 4 * 8 + word) }, part as u32 % 4 * 2, 3)
}

impl Format for Mxfp4 {
    type Integers = Signed<32, 15>;
    type Head<S: Simd> = ();

    #[inline(always)]
    unsafe fn head<S: Simd>(_isa: S, _block: Block) {}

    #[inline(always)]
    unsafe fn weights<S: Simd>(isa: S, block: Block, _step: usize, word: usize) -> S::Bytes {
        // SAFETY: the nibbles are words 0..4.
        isa.lookup(&mxfp4::VALUES, unsafe { nibbles(isa, block, 0, word) })
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(isa: S, block: Block, _head: &(), _group: usize) -> S::F32 {
        // SAFETY: the caller vouches for the whole block.
        let exponent = isa.sub(unsafe { block.small(isa, 0) }, isa.splat(128.0));
        // As the product of two powers: the smallest are below the normal range.
        let half = isa.round(isa.mul(exponent, isa.splat(0.5)));
        isa.mul(isa.pow2(half), isa.pow2(isa.sub(exponent, half)))
    }
}

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
    ($name:ident, $integers:ty, |$isa:ident, $block:ident, $group:ident, $word:ident| $weights:expr) => {
        impl Format for $name {
            type Integers = $integers;
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
affine_k!(Q4K, Affine<32, 15>, |isa, block, group, word| {
    isa.shift_right(block.word(isa, 3 + group / 2 * 8 + word), group as u32 % 2 * 4, 15)
});

// The fifth bits are 8 words, bit `group` of each byte; the nibbles follow as in `Q4_K`.
affine_k!(Q5K, Affine<32, 31>, |isa, block, group, word| {
    let low = isa.shift_right(block.word(isa, 11 + group / 2 * 8 + word), group as u32 % 2 * 4, 15);
    isa.or(low, isa.shift_left(isa.shift_right(block.word(isa, 3 + word), group as u32, 1), 4))
});

impl Format for Q2K {
    type Integers = Affine<16, 15>;
    /// The scale of the scales, and that of the minimums.
    type Head<S: Simd> = [S::F32; 2];

    #[inline(always)]
    unsafe fn head<S: Simd>(isa: S, block: Block) -> [S::F32; 2] {
        // SAFETY: the caller vouches for the whole block.
        unsafe { [block.half(isa, 0), block.half(isa, 1)] }
    }

    #[inline(always)]
    unsafe fn weights<S: Simd>(isa: S, block: Block, group: usize, word: usize) -> S::Bytes {
        // SAFETY: the 2-bit integers are words 4..20.
        unsafe { two_bits(isa, block, 4, group / 2, group % 2 * 4 + word) }
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(isa: S, block: Block, units: &[S::F32; 2], group: usize) -> S::F32 {
        // SAFETY: the scales are the low nibbles of words 0..4.
        let scales = unsafe { block.word(isa, group / 4) };
        isa.mul(units[0], isa.to_f32(isa.bits(scales, group as u32 % 4 * 8, 15)))
    }

    #[inline(always)]
    unsafe fn minimum<S: Simd>(isa: S, block: Block, units: &[S::F32; 2], group: usize) -> S::F32 {
        // SAFETY: the minimums are the high nibbles of words 0..4.
        let minimums = unsafe { block.word(isa, group / 4) };
        let minimum = isa.mul(units[1], isa.to_f32(isa.bits(minimums, group as u32 % 4 * 8 + 4, 15)));
        isa.sub(isa.splat(0.0), minimum)
    }
}

impl Format for Q3K {
    type Integers = Unsigned<16, 15>;
    /// The scale of the scales, which have four bytes in each of four words.
    type Head<S: Simd> = (S::F32, [S::Bytes; 4]);

    #[inline(always)]
    unsafe fn head<S: Simd>(isa: S, block: Block) -> Self::Head<S> {
        // SAFETY: the packed scales are words 24..27.
        let (unit, [low, high, upper]) =
            unsafe { (block.half(isa, 0), [block.word(isa, 24), block.word(isa, 25), block.word(isa, 26)]) };
        let upper = |quarter: u32| isa.shift_left(isa.shift_right(upper, 2 * quarter, 3), 4);
        let scales = [
            isa.or(isa.shift_right(low, 0, 15), upper(0)),
            isa.or(isa.shift_right(high, 0, 15), upper(1)),
            isa.or(isa.shift_right(low, 4, 15), upper(2)),
            isa.or(isa.shift_right(high, 4, 15), upper(3)),
        ];
        (unit, scales)
    }

    #[inline(always)]
    unsafe fn weights<S: Simd>(isa: S, block: Block, group: usize, word: usize) -> S::Bytes {
        let (part, word) = (group / 2, group % 2 * 4 + word);
        // SAFETY: the mask is words 0..8, the 2-bit integers words 8..24.
        let (low, mask) = unsafe { (two_bits(isa, block, 8, part, word), block.word(isa, word)) };
        isa.or(low, isa.shift_left(isa.shift_right(mask, part as u32, 1), 2))
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(isa: S, _block: Block, (unit, scales): &Self::Head<S>, group: usize) -> S::F32 {
        let scale = isa.byte::<false>(scales[group / 4], group % 4);
        isa.mul(*unit, isa.to_f32(isa.add_i32(scale, isa.splat_i32(-32))))
    }
}

impl Format for Q6K {
    type Integers = Unsigned<16, 63>;
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

impl Format for Iq4Xs {
    type Integers = Signed<32, 128>;
    /// The scale of the scales.
    type Head<S: Simd> = S::F32;

    #[inline(always)]
    unsafe fn head<S: Simd>(isa: S, block: Block) -> S::F32 {
        // SAFETY: the caller vouches for the whole block.
        unsafe { block.half(isa, 0) }
    }

    #[inline(always)]
    unsafe fn weights<S: Simd>(isa: S, block: Block, group: usize, word: usize) -> S::Bytes {
        // SAFETY: the indices are words 1..33.
        isa.lookup(&iq4::VALUES, unsafe { nibbles(isa, block, 1 + 4 * group, word) })
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(isa: S, block: Block, unit: &S::F32, group: usize) -> S::F32 {
        // SAFETY: the low four bits of the scales are word 0, the upper two a narrow field.
        let (low, upper) = unsafe { (block.word(isa, 0), block.integer(isa, 1)) };
        let (low, upper) = (isa.bits(low, 4 * group as u32, 15), isa.bits(upper, 2 * group as u32, 3));
        let scale = isa.add_i32(low, isa.shift_i32(upper, 4));
        isa.mul(*unit, isa.to_f32(isa.add_i32(scale, isa.splat_i32(-32))))
    }
}
