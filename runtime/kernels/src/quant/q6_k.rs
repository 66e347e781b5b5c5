//! `Q6_K`: 256 values of 6 bits; each 16 have an 8-bit scale, `x = d s (q - 32)`.
//!
//! Each half of 128 values is four quarters of 32: value `i` of quarter `j` has its low four bits
//! in byte `i + 32 (j % 2)` of the half's nibbles (low nibble for the first two quarters) and its
//! upper two in bits `2 j` of byte `i` of the half's upper bits.

use super::TensorType;
use super::block_format::block_format;
use super::{as_f16, extreme, get_f16, inverse, put_f16, signed};

/// Values in a block.
pub const LEN: usize = TensorType::Q6K.block_len();
/// Bytes of a block.
pub const BYTES: usize = TensorType::Q6K.block_bytes();
/// Where the lower four bits are.
pub const QL: usize = 0;
/// Where the upper two bits are.
pub const QH: usize = QL + LEN / 2;
/// Where the 16 scales are, signed bytes.
pub const SCALES: usize = QH + LEN / 4;
/// Where the scale of the scales is, an f16.
pub const D: usize = SCALES + LEN / SUB;
const _: () = assert!(D + 2 == BYTES);

/// Values that share a scale.
pub const SUB: usize = 16;
const QUARTER: usize = 32;

/// Where value `i` is: byte and shift of its low bits, byte and shift of its high bits.
fn places(i: usize) -> (usize, usize, usize, usize) {
    let (half, quarter, at) = (i / 128, i / QUARTER % 4, i % QUARTER);
    let low = QL + half * 64 + quarter % 2 * QUARTER + at;
    let high = QH + half * 32 + at;
    (low, quarter / 2 * 4, high, quarter * 2)
}

block_format!(Q6K, decode, encode, {
    GROUP: usize = SUB,
    ZERO: i32 = 32,
    MOST: i32 = 63,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = QL,
});

/// `x = (d s) (q - 32)`.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (i, x) in out.iter_mut().enumerate() {
        let (low, low_shift, high, high_shift) = places(i);
        let q = block[low] >> low_shift & 0xF | (block[high] >> high_shift & 3) << 4;
        let scale = d * f32::from(block[SCALES + i / SUB].cast_signed());
        *x = scale * f32::from(q.cast_signed() - 32);
    }
}

/// Searches a scale for each 16 values; the largest of the scales becomes -128.
pub fn encode(values: &[f32; LEN]) -> Option<[u8; BYTES]> {
    let (subs, _) = values.as_chunks::<SUB>();
    let fits: [f32; LEN / SUB] = std::array::from_fn(|j| signed::fit(&subs[j], -32.0, 31.0));
    let d = as_f16(extreme(&fits) / -128.0)?;
    let scales = fits.map(|scale| (scale * inverse(d)).round() as i8);
    let level = |i: usize| signed::level(values[i], inverse(d * f32::from(scales[i / SUB])), -32.0, 31.0);
    pack(d, scales, &std::array::from_fn(|i| (level(i) + 32.0) as u8))
}

/// The block with scale `d` of the scales, these scales, and these levels (0 to 63, for -32 to 31);
/// `None` if `d` does not fit 16 bits.
pub fn pack(d: f32, scales: [i8; LEN / SUB], levels: &[u8; LEN]) -> Option<[u8; BYTES]> {
    let mut block = [0; BYTES];
    put_f16(&mut block, D, d)?;
    block[SCALES..D].copy_from_slice(&scales.map(i8::cast_unsigned));
    for (i, q) in levels.iter().enumerate() {
        let (low, low_shift, high, high_shift) = places(i);
        block[low] |= (q & 0xF) << low_shift;
        block[high] |= (q >> 4) << high_shift;
    }
    Some(block)
}
