//! `Q4_0` and `Q4_1`: 32 values of 4 bits with a scale, and for the latter a minimum.
//!
//! Value `j` of the first half is in the low nibble of byte `j`, value `j + 16` in its high nibble.

use super::TensorType;
use super::block_format::block_format;
use super::{extreme, get_f16, inverse, put_f16, range};

/// Values in a block.
pub const LEN: usize = TensorType::Q4_0.block_len();
const HALF: usize = LEN / 2;
/// Where the scale is, an f16.
pub const D: usize = 0;

/// Bytes of a `Q4_0` block.
pub const Q4_0_BYTES: usize = TensorType::Q4_0.block_bytes();
/// Where the nibbles of `Q4_0` are.
pub const Q4_0_QS: usize = D + 2;
const _: () = assert!(Q4_0_QS + HALF == Q4_0_BYTES);

/// Bytes of a `Q4_1` block.
pub const Q4_1_BYTES: usize = TensorType::Q4_1.block_bytes();
/// Where the minimum of `Q4_1` is, an f16.
pub const Q4_1_M: usize = D + 2;
/// Where the nibbles of `Q4_1` are.
pub const Q4_1_QS: usize = Q4_1_M + 2;
const _: () = assert!(Q4_1_QS + HALF == Q4_1_BYTES && LEN == TensorType::Q4_1.block_len());

block_format!(Q4_0, decode_q4_0, encode_q4_0, {
    ZERO: i32 = 8,
    MOST: i32 = 15,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = Q4_0_QS,
});
block_format!(Q4_1, decode_q4_1, encode_q4_1, {
    MOST: i32 = 15,
    AFFINE: bool = true,
    NARROW: &'static [usize] = &[D, Q4_1_M],
    WORDS: usize = Q4_1_QS,
});

/// `x = d (q - 8)`.
pub fn decode_q4_0(block: &[u8; Q4_0_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    unpack(&block[Q4_0_QS..], out, |q| f32::from(q.cast_signed() - 8) * d);
}

/// `x = d q + m`.
pub fn decode_q4_1(block: &[u8; Q4_1_BYTES], out: &mut [f32; LEN]) {
    let (d, m) = (get_f16(block, D), get_f16(block, Q4_1_M));
    unpack(&block[Q4_1_QS..], out, |q| f32::from(q) * d + m);
}

/// The value with the largest magnitude becomes -8.
pub fn encode_q4_0(values: &[f32; LEN]) -> Option<[u8; Q4_0_BYTES]> {
    let d = extreme(values) / -8.0;
    let id = inverse(d);
    pack_q4_0(d, &values.map(|x| level(x * id + 8.5)))
}

/// The smallest value becomes 0 and the largest 15.
pub fn encode_q4_1(values: &[f32; LEN]) -> Option<[u8; Q4_1_BYTES]> {
    let (low, high) = range(values);
    let d = (high - low) / 15.0;
    let id = inverse(d);
    pack_q4_1(d, low, &values.map(|x| level((x - low) * id + 0.5)))
}

/// The block with scale `d` and these levels (0 to 15); `None` if the scale does not fit 16 bits.
pub fn pack_q4_0(d: f32, levels: &[u8; LEN]) -> Option<[u8; Q4_0_BYTES]> {
    let mut block = [0; Q4_0_BYTES];
    put_f16(&mut block, D, d)?;
    pack(levels, &mut block[Q4_0_QS..]);
    Some(block)
}

/// The block with scale `d`, minimum `m` and these levels (0 to 15); `None` if one of the two does
/// not fit 16 bits.
pub fn pack_q4_1(d: f32, m: f32, levels: &[u8; LEN]) -> Option<[u8; Q4_1_BYTES]> {
    let mut block = [0; Q4_1_BYTES];
    put_f16(&mut block, D, d)?;
    put_f16(&mut block, Q4_1_M, m)?;
    pack(levels, &mut block[Q4_1_QS..]);
    Some(block)
}

/// The cast cuts off the fraction, which together with a half that was added rounds to nearest.
fn level(x: f32) -> u8 {
    (x as u8).min(15)
}

fn unpack(qs: &[u8], out: &mut [f32; LEN], value: impl Fn(u8) -> f32) {
    for (j, &byte) in qs.iter().enumerate() {
        out[j] = value(byte & 0xF);
        out[j + HALF] = value(byte >> 4);
    }
}

fn pack(levels: &[u8; LEN], qs: &mut [u8]) {
    for (j, byte) in qs.iter_mut().enumerate() {
        *byte = levels[j] | levels[j + HALF] << 4;
    }
}
