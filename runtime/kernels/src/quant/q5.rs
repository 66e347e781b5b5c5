//! `Q5_0` and `Q5_1`: as `Q4_0` and `Q4_1`, with a fifth bit of each value in a 32-bit mask.

use super::TensorType;
use super::block_format::{Spread, block_format};
use super::{extreme, get_f16, inverse, put_f16, range};

/// Values in a block.
pub const LEN: usize = TensorType::Q5_0.block_len();
const HALF: usize = LEN / 2;
/// Where the scale is, an f16.
pub const D: usize = 0;

/// Bytes of a `Q5_0` block.
pub const Q5_0_BYTES: usize = TensorType::Q5_0.block_bytes();
/// Where the mask of `Q5_0` is: bit `j` is bit 4 of value `j`.
pub const Q5_0_QH: usize = D + 2;
/// Where the nibbles of `Q5_0` are.
pub const Q5_0_QS: usize = Q5_0_QH + 4;
const _: () = assert!(Q5_0_QS + HALF == Q5_0_BYTES);

/// Bytes of a `Q5_1` block.
pub const Q5_1_BYTES: usize = TensorType::Q5_1.block_bytes();
/// Where the minimum of `Q5_1` is, an f16.
pub const Q5_1_M: usize = D + 2;
/// Where the mask of `Q5_1` is.
pub const Q5_1_QH: usize = Q5_1_M + 2;
/// Where the nibbles of `Q5_1` are.
pub const Q5_1_QS: usize = Q5_1_QH + 4;
const _: () = assert!(Q5_1_QS + HALF == Q5_1_BYTES && LEN == TensorType::Q5_1.block_len());

block_format!(Q5_0, decode_q5_0, encode_q5_0, {
    ZERO: i32 = 16,
    MOST: i32 = 31,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = Q5_0_QH,
    SPREAD: Spread = Spread { fields: 1, bits: 1 },
});
block_format!(Q5_1, decode_q5_1, encode_q5_1, {
    MOST: i32 = 31,
    AFFINE: bool = true,
    NARROW: &'static [usize] = &[D, Q5_1_M],
    WORDS: usize = Q5_1_QH,
    SPREAD: Spread = Spread { fields: 1, bits: 1 },
});

/// `x = d (q - 16)`.
pub fn decode_q5_0(block: &[u8; Q5_0_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    unpack(&block[Q5_0_QH..], out, |q| f32::from(q.cast_signed() - 16) * d);
}

/// `x = d q + m`.
pub fn decode_q5_1(block: &[u8; Q5_1_BYTES], out: &mut [f32; LEN]) {
    let (d, m) = (get_f16(block, D), get_f16(block, Q5_1_M));
    unpack(&block[Q5_1_QH..], out, |q| f32::from(q) * d + m);
}

/// The value with the largest magnitude becomes -16.
pub fn encode_q5_0(values: &[f32; LEN]) -> Option<[u8; Q5_0_BYTES]> {
    let d = extreme(values) / -16.0;
    let id = inverse(d);
    pack_q5_0(d, &values.map(|x| level(x * id + 16.5)))
}

/// The smallest value becomes 0 and the largest 31.
pub fn encode_q5_1(values: &[f32; LEN]) -> Option<[u8; Q5_1_BYTES]> {
    let (low, high) = range(values);
    let d = (high - low) / 31.0;
    let id = inverse(d);
    pack_q5_1(d, low, &values.map(|x| level((x - low) * id + 0.5)))
}

/// The block with scale `d` and these levels (0 to 31); `None` if the scale does not fit 16 bits.
pub fn pack_q5_0(d: f32, levels: &[u8; LEN]) -> Option<[u8; Q5_0_BYTES]> {
    let mut block = [0; Q5_0_BYTES];
    put_f16(&mut block, D, d)?;
    pack(levels, &mut block[Q5_0_QH..]);
    Some(block)
}

/// The block with scale `d`, minimum `m` and these levels (0 to 31); `None` if one of the two does
/// not fit 16 bits.
pub fn pack_q5_1(d: f32, m: f32, levels: &[u8; LEN]) -> Option<[u8; Q5_1_BYTES]> {
    let mut block = [0; Q5_1_BYTES];
    put_f16(&mut block, D, d)?;
    put_f16(&mut block, Q5_1_M, m)?;
    pack(levels, &mut block[Q5_1_QH..]);
    Some(block)
}

/// The cast cuts off the fraction, which together with a half that was added rounds to nearest.
fn level(x: f32) -> u8 {
    (x as u8).min(31)
}

/// `bits`: the mask, then the nibbles.
fn unpack(bits: &[u8], out: &mut [f32; LEN], value: impl Fn(u8) -> f32) {
    let mask = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
    let fifth = |j: usize| (mask >> j & 1) as u8 * 16;
    for (j, &byte) in bits[4..].iter().enumerate() {
        out[j] = value(byte & 0xF | fifth(j));
        out[j + HALF] = value(byte >> 4 | fifth(j + HALF));
    }
}

fn pack(levels: &[u8; LEN], bits: &mut [u8]) {
    let mask = levels.iter().rev().fold(0u32, |mask, q| mask << 1 | u32::from(q >> 4));
    bits[..4].copy_from_slice(&mask.to_le_bytes());
    for (j, byte) in bits[4..].iter_mut().enumerate() {
        *byte = levels[j] & 0xF | levels[j + HALF] << 4;
    }
}
