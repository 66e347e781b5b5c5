//! `Q3_K`: 256 values of 3 bits; each 16 have a 6-bit scale, `x = d (s - 32) (q - 4)`.
//!
//! The low two bits are those of `Q2_K`. The third bit of value `i` of the 8 times 32 values is bit
//! `i / 32` of byte `i % 32` of the mask. Scale `j` has its low four bits in byte `j % 8` of the
//! packed scales (the low nibbles first, then the high ones) and its upper two in bits `2 (j / 4)`
//! of byte `8 + j % 4`.

use super::TensorType;
use super::block_format::block_format;
use super::{as_f16, extreme, get_f16, inverse, k, put_f16, signed};

/// Values in a block.
pub const LEN: usize = TensorType::Q3K.block_len();
/// Bytes of a block.
pub const BYTES: usize = TensorType::Q3K.block_bytes();
/// Values that share a scale.
pub const SUB: usize = 16;
/// Groups of them in a block.
pub const SUBS: usize = LEN / SUB;
/// Where the mask of the third bits is.
pub const MASK: usize = 0;
/// Where the low two bits are.
pub const QS: usize = MASK + LEN / 8;
/// Where the packed scales are.
pub const SCALES: usize = QS + LEN / 4;
/// Where the scale of the scales is, an f16.
pub const D: usize = SCALES + SUBS * 6 / 8;
const _: () = assert!(LEN == k::LEN && D + 2 == BYTES);

block_format!(Q3K, decode, encode, {
    GROUP: usize = SUB,
    ZERO: i32 = 4,
    MOST: i32 = 7,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = MASK,
});

/// `x = (d (s - 32)) (q - 4)`.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let (d, packed) = (get_f16(block, D), &block[SCALES..D]);
    for (j, out) in out.chunks_exact_mut(SUB).enumerate() {
        let scale = packed[j % 8] >> (j / 8 * 4) & 0xF | (packed[8 + j % 4] >> (j / 4 * 2) & 3) << 4;
        let scale = d * f32::from(scale.cast_signed() - 32);
        for (i, x) in out.iter_mut().enumerate() {
            let at = j * SUB + i;
            let third = block[MASK + at % 32] >> (at / 32) & 1;
            let q = k::two_bits(&block[QS..SCALES], at) | third << 2;
            *x = scale * f32::from(q.cast_signed() - 4);
        }
    }
}

/// Searches a scale for each 16 values; the largest of the scales becomes -32.
pub fn encode(values: &[f32; LEN]) -> Option<[u8; BYTES]> {
    let (subs, _) = values.as_chunks::<SUB>();
    let fits: [f32; SUBS] = std::array::from_fn(|j| signed::fit(&subs[j], -4.0, 3.0));
    let d = as_f16(extreme(&fits) / -32.0)?;
    let scales = fits.map(|scale| (scale * inverse(d)).round().clamp(-32.0, 31.0) as i8);
    let level = |i: usize| signed::level(values[i], inverse(d * f32::from(scales[i / SUB])), -4.0, 3.0);
    pack(d, scales, &std::array::from_fn(|i| (level(i) + 4.0) as u8))
}

/// The block with scale `d` of the scales, these scales (-32 to 31), and these levels (0 to 7, for
/// -4 to 3); `None` if `d` does not fit 16 bits.
pub fn pack(d: f32, scales: [i8; SUBS], levels: &[u8; LEN]) -> Option<[u8; BYTES]> {
    let mut block = [0; BYTES];
    put_f16(&mut block, D, d)?;
    for (j, scale) in scales.into_iter().enumerate() {
        let scale = (scale + 32).cast_unsigned();
        block[SCALES + j % 8] |= (scale & 0xF) << (j / 8 * 4);
        block[SCALES + 8 + j % 4] |= scale >> 4 << (j / 4 * 2);
    }
    k::put_two_bits(&mut block[QS..SCALES], &levels.map(|q| q & 3));
    for (i, q) in levels.iter().enumerate() {
        block[MASK + i % 32] |= (q >> 2) << (i / 32);
    }
    Some(block)
}
