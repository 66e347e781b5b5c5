//! Unpacking of the formats whose weights are points of a grid (see [`super::format`]): indices and
//! signs are a few bits anywhere in a block, and points are gathered from a table.

use crate::cpu::Simd;
use crate::cpu::simd::MAX_LANES;
use crate::quant::{Iq1M, Iq1S, Iq2S, Iq2Xs, Iq2Xxs, Iq3S, Iq3Xxs, grid};

use super::format::{Block, Format, PANEL_ROWS, Signed};

/// A format whose weights are points of a grid: `$weights` gives them, `$integer` the integer of a
/// group that `$scale` makes a scale of, given that of the block.
macro_rules! grid {
    (
        $name:ident, $integers:ty, |$isa:ident, $block:ident, $step:ident, $word:ident| $weights:expr,
        |$group:ident| $integer:expr, |$unit:ident, $float:ident| $scale:expr, unit: $head:expr
    ) => {
        impl Format for $name {
            const IS_STREAM: bool = false;

            type Integers = $integers;
            /// The scale of the scales.
            type Head<S: Simd> = S::F32;

            #[inline(always)]
            unsafe fn head<S: Simd>($isa: S, $block: Block) -> S::F32 {
                // SAFETY: the caller vouches for the whole block.
                unsafe { $head }
            }

            #[inline(always)]
            unsafe fn weights<S: Simd>($isa: S, $block: Block, $step: usize, $word: usize) -> S::Bytes {
                // SAFETY: the caller vouches for the whole block, and the layout stays inside it;
                // an index of so many bits is one of the grid.
                unsafe { $weights }
            }

            #[inline(always)]
            unsafe fn scale<S: Simd>($isa: S, $block: Block, $unit: &S::F32, $group: usize) -> S::F32 {
                // SAFETY: the caller vouches for the whole block, and the layout stays inside it.
                let $float = $isa.to_f32(unsafe { $integer });
                let $unit = *$unit;
                $scale
            }
        }
    };
}

/// `bits` bits of a lane from bit `at` on of the words from `first` on.
///
/// # Safety
/// The block is whole and in bounds, and has these words; no word ends between the bits.
#[inline(always)]
unsafe fn bits<S: Simd>(isa: S, block: Block, first: usize, at: usize, bits: u32) -> S::I32 {
    // SAFETY: the caller vouches for the words.
    isa.bits(unsafe { block.word(isa, first + at / 32) }, at as u32 % 32, (1 << bits) - 1)
}

/// `low + (high << shift)`
#[inline(always)]
fn join<S: Simd>(isa: S, low: S::I32, high: S::I32, shift: u32) -> S::I32 {
    isa.add_i32(low, isa.shift_i32(high, shift))
}

/// Word `half` (of two) of points `index` of a grid.
///
/// # Safety
/// The indices are ones of the grid.
#[inline(always)]
unsafe fn half_point<S: Simd>(isa: S, grid: &[u32], index: S::I32, half: usize) -> S::Bytes {
    // SAFETY: passed on from the caller.
    unsafe { isa.gather(&grid[half..], isa.shift_i32(index, 1)) }
}

/// Bytes with the signs that are four bits from bit `at` on of the words from `first` on.
///
/// # Safety
/// As [`bits`].
#[inline(always)]
unsafe fn four_signs<S: Simd>(isa: S, bytes: S::Bytes, block: Block, first: usize, at: usize) -> S::Bytes {
    // SAFETY: passed on from the caller.
    isa.negate(bytes, isa.byte_mask(unsafe { bits(isa, block, first, at, 4) }))
}

/// Bytes with the signs of half `half` of eight that are seven bits from bit `at` on.
///
/// # Safety
/// As [`bits`].
#[inline(always)]
unsafe fn half_signs<S: Simd>(isa: S, bytes: S::Bytes, block: Block, first: usize, at: usize, half: usize) -> S::Bytes {
    // SAFETY: passed on from the caller; seven bits are an index.
    unsafe {
        if half == 0 {
            four_signs(isa, bytes, block, first, at)
        } else {
            isa.negate(bytes, isa.gather(&grid::NEGATIVE_SECOND, bits(isa, block, first, at, 7)))
        }
    }
}

/// `unit (1/2 + x) factor`
#[inline(always)]
fn half_more<S: Simd>(isa: S, unit: S::F32, x: S::F32, factor: f32) -> S::F32 {
    isa.mul(isa.mul(unit, isa.add(x, isa.splat(0.5))), isa.splat(factor))
}

/// `unit (1 + 2 x) factor`
#[inline(always)]
fn odd<S: Simd>(isa: S, unit: S::F32, x: S::F32, factor: f32) -> S::F32 {
    isa.mul(isa.mul(unit, isa.add(isa.add(x, x), isa.splat(1.0))), isa.splat(factor))
}

// Each four elements have an index, of which the ninth bits are words 16 and 17; the signs are
// words 18..26.
grid!(
    Iq3S,
    Signed<32, 15>,
    |isa, block, step, word| {
        let at = 8 * step + word;
        let index = join(isa, bits(isa, block, 0, 8 * at, 8), bits(isa, block, 16, at, 1), 8);
        four_signs(isa, isa.gather(&grid::IQ3_S, index), block, 18, 4 * at)
    },
    |group| bits(isa, block, 26, 4 * group, 4),
    |unit, x| odd(isa, unit, x, 1.0),
    unit: block.half(isa, 0)
);

// Each 32 elements have a word of signs and scale, words 16..24.
grid!(
    Iq3Xxs,
    Signed<32, 63>,
    |isa, block, step, word| {
        let point = isa.gather(&grid::IQ3_XXS, bits(isa, block, 0, 8 * (8 * step + word), 8));
        half_signs(isa, point, block, 16 + step, word / 2 * 7, word % 2)
    },
    |group| bits(isa, block, 16 + group, 28, 4),
    |unit, x| half_more(isa, unit, x, 0.5),
    unit: block.half(isa, 0)
);

// Each 32 elements have a word of four indices, and one of signs and scale.
grid!(
    Iq2Xxs,
    Signed<32, 63>,
    |isa, block, step, word| {
        let index = bits(isa, block, 2 * step, 8 * (word / 2), 8);
        let point = half_point(isa, &grid::IQ2_XXS, index, word % 2);
        half_signs(isa, point, block, 2 * step + 1, word / 2 * 7, word % 2)
    },
    |group| bits(isa, block, 2 * group + 1, 28, 4),
    |unit, x| half_more(isa, unit, x, 0.25),
    unit: block.half(isa, 0)
);

// Each eight elements have half a word of index and signs.
grid!(
    Iq2Xs,
    Signed<16, 63>,
    |isa, block, step, word| {
        let at = 16 * (2 * step + word / 2);
        let point = half_point(isa, &grid::IQ2_XS, bits(isa, block, 0, at, 9), word % 2);
        half_signs(isa, point, block, 0, at + 9, word % 2)
    },
    |group| bits(isa, block, 16, 4 * group, 4),
    |unit, x| half_more(isa, unit, x, 0.25),
    unit: block.half(isa, 0)
);

// Each eight elements have an index, whose upper two bits are words 16 and 17; the signs are words
// 8..16.
grid!(
    Iq2S,
    Signed<16, 63>,
    |isa, block, step, word| {
        let at = 2 * step + word / 2;
        let index = join(isa, bits(isa, block, 0, 8 * at, 8), bits(isa, block, 16, 2 * at, 2), 8);
        four_signs(isa, half_point(isa, &grid::IQ2_S, index, word % 2), block, 8, 4 * (4 * step + word))
    },
    |group| bits(isa, block, 18, 4 * group, 4),
    |unit, x| half_more(isa, unit, x, 0.25),
    unit: block.half(isa, 0)
);

/// Bytes of eighths, one up where the index is 0, one down where it is 1.
const EIGHTHS: [u32; 2] = [0x0101_0101, 0xFFFF_FFFF];

// Each 32 elements have half a word of upper bits, scale and shift, words 8..12.
grid!(
    Iq1S,
    Signed<32, 15>,
    |isa, block, step, word| {
        let (at, eighth) = (16 * step, word / 2);
        let upper = bits(isa, block, 8, at + 3 * eighth, 3);
        let index = join(isa, bits(isa, block, 0, 8 * (4 * step + eighth), 8), upper, 8);
        let shift = isa.gather(&EIGHTHS, bits(isa, block, 8, at + 15, 1));
        isa.add_bytes(half_point(isa, &grid::IQ1, index, word % 2), shift)
    },
    |group| bits(isa, block, 8, 16 * group + 12, 3),
    |unit, x| odd(isa, unit, x, 0.125),
    unit: block.half(isa, 0)
);

// Each eight elements have a nibble of upper bits and shift, words 8..12; the scales are words 12
// and 13.
grid!(
    Iq1M,
    Signed<16, 15>,
    |isa, block, step, word| {
        let at = 2 * step + word / 2;
        let index = join(isa, bits(isa, block, 0, 8 * at, 8), bits(isa, block, 8, 4 * at, 3), 8);
        let shift = isa.gather(&EIGHTHS, bits(isa, block, 8, 4 * at + 3, 1));
        isa.add_bytes(half_point(isa, &grid::IQ1, index, word % 2), shift)
    },
    |group| bits(isa, block, 12, 16 * (group / 4) + 3 * (group % 4), 3),
    |unit, x| odd(isa, unit, x, 0.125),
    unit: scattered_half(isa, block)
);

/// The half-precision float whose nibbles are the highest ones of the four halves of words 12 and
/// 13, the lowest first.
///
/// # Safety
/// The block is whole and in bounds, and has these words.
#[inline(always)]
unsafe fn scattered_half<S: Simd>(isa: S, block: Block) -> S::F32 {
    let mut halves = [0; MAX_LANES];
    // A loop of its own for each lane: it is one in 256 elements.
    for (lane, half) in halves.iter_mut().enumerate().take(S::LANES) {
        let word = |i: usize| {
            let at = block.words.wrapping_add(i * 4 * PANEL_ROWS + 4 * lane);
            // SAFETY: the caller vouches for the words of all rows.
            unsafe { at.cast::<[u8; 4]>().read() }
        };
        let ([_, a, _, b], [_, c, _, d]) = (word(12), word(13));
        *half = u16::from_le_bytes([a >> 4 | b & 0xF0, c >> 4 | d & 0xF0]);
    }
    isa.load_f16(&halves)
}
