//! `Q4_0` and `Q4_1`: 32 values of 4 bits with a scale, and for the latter a minimum.
//!
//! Value `j` of the first half is in the low nibble of byte `j`, value `j + 16` in its high nibble.

use super::{extreme, get_f16, inverse, put_f16, range};
use crate::gguf::TensorType;

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
    let mut block = [0; Q4_0_BYTES];
    let d = extreme(values) / -8.0;
    put_f16(&mut block, D, d)?;
    let id = inverse(d);
    pack(values, &mut block[Q4_0_QS..], |x| x * id + 8.5);
    Some(block)
}

/// The smallest value becomes 0 and the largest 15.
pub fn encode_q4_1(values: &[f32; LEN]) -> Option<[u8; Q4_1_BYTES]> {
    let mut block = [0; Q4_1_BYTES];
    let (low, high) = range(values);
    let d = (high - low) / 15.0;
    put_f16(&mut block, D, d)?;
    put_f16(&mut block, Q4_1_M, low)?;
    let id = inverse(d);
    pack(values, &mut block[Q4_1_QS..], |x| (x - low) * id + 0.5);
    Some(block)
}

fn unpack(qs: &[u8], out: &mut [f32; LEN], value: impl Fn(u8) -> f32) {
    for (j, &byte) in qs.iter().enumerate() {
        out[j] = value(byte & 0xF);
        out[j + HALF] = value(byte >> 4);
    }
}

fn pack(values: &[f32; LEN], qs: &mut [u8], level: impl Fn(f32) -> f32) {
    // The cast cuts off the fraction, which together with the 0.5 in `level` rounds to nearest.
    let nibble = |x| (level(x) as u8).min(15);
    for (j, byte) in qs.iter_mut().enumerate() {
        *byte = nibble(values[j]) | nibble(values[j + HALF]) << 4;
    }
}
