//! `TQ1_0` and `TQ2_0`: 256 values -1, 0 or 1 with a scale, `x = d (q - 1)`.
//!
//! `TQ2_0` has the 2-bit values of `Q2_K`. `TQ1_0` has five values in a byte, or four in its last
//! ones, as the digits of a fraction in base 3: a byte times three has the first digit above its
//! eight bits and the others in them.

use super::TensorType;
use super::block_format::block_format;
use super::{extreme, get_f16, inverse, k, put_f16};

/// Values in a block.
pub const LEN: usize = TensorType::Tq1_0.block_len();

/// Bytes of a `TQ1_0` block.
pub const TQ1_0_BYTES: usize = TensorType::Tq1_0.block_bytes();
/// Where the digits of `TQ1_0` are.
pub const TQ1_0_QS: usize = 0;
/// Where the scale of `TQ1_0` is, an f16.
pub const TQ1_0_D: usize = TQ1_0_BYTES - 2;

/// Bytes of a `TQ2_0` block.
pub const TQ2_0_BYTES: usize = TensorType::Tq2_0.block_bytes();
/// Where the 2-bit values of `TQ2_0` are.
pub const TQ2_0_QS: usize = 0;
/// Where the scale of `TQ2_0` is, an f16.
pub const TQ2_0_D: usize = TQ2_0_QS + LEN / 4;
const _: () = assert!(TQ2_0_D + 2 == TQ2_0_BYTES && LEN == k::LEN);

block_format!(Tq1_0, decode_tq1_0, encode_tq1_0, {
    GROUP: usize = LEN,
    ZERO: i32 = 1,
    MOST: i32 = 2,
    NARROW: &'static [usize] = &[TQ1_0_D],
    WORDS: usize = TQ1_0_QS,
});
block_format!(Tq2_0, decode_tq2_0, encode_tq2_0, {
    GROUP: usize = LEN,
    ZERO: i32 = 1,
    MOST: i32 = 3,
    NARROW: &'static [usize] = &[TQ2_0_D],
    WORDS: usize = TQ2_0_QS,
});

/// Where value `i` of a `TQ1_0` block is: its byte and the number of its digit. 32 bytes have the
/// first 160 values, 16 the next 80, four the last 16.
pub const fn place(i: usize) -> (usize, usize) {
    let (from, values, bytes) = match i {
        0..160 => (0, 0, 32),
        160..240 => (32, 160, 16),
        _ => (48, 240, 4),
    };
    (from + (i - values) % bytes, (i - values) / bytes)
}

/// `x = (q - 1) d`.
pub fn decode_tq1_0(block: &[u8; TQ1_0_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, TQ1_0_D);
    for (i, x) in out.iter_mut().enumerate() {
        let (byte, digit) = place(i);
        let rest = (0..digit).fold(block[TQ1_0_QS + byte], |rest, _| rest.wrapping_mul(3));
        *x = f32::from(((u16::from(rest) * 3) >> 8) as i8 - 1) * d;
    }
}

/// `x = (q - 1) d`; a 3, which no encoder writes, is a 2.
pub fn decode_tq2_0(block: &[u8; TQ2_0_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, TQ2_0_D);
    for (i, x) in out.iter_mut().enumerate() {
        *x = f32::from(k::two_bits(&block[TQ2_0_QS..TQ2_0_D], i).cast_signed() - 1) * d;
    }
}

/// The scale is the largest magnitude.
pub fn encode_tq1_0(values: &[f32; LEN]) -> Option<[u8; TQ1_0_BYTES]> {
    let d = extreme(values).abs();
    pack_tq1_0(d, &values.map(|x| level(x, d)))
}

/// The scale is the largest magnitude.
pub fn encode_tq2_0(values: &[f32; LEN]) -> Option<[u8; TQ2_0_BYTES]> {
    let d = extreme(values).abs();
    pack_tq2_0(d, &values.map(|x| level(x, d)))
}

fn level(x: f32, d: f32) -> u8 {
    ((x * inverse(d)).round() + 1.0) as u8
}

/// The block with scale `d` and these levels (0 to 2, for -1 to 1); `None` if the scale does not
/// fit 16 bits.
pub fn pack_tq1_0(d: f32, levels: &[u8; LEN]) -> Option<[u8; TQ1_0_BYTES]> {
    let mut block = [0; TQ1_0_BYTES];
    put_f16(&mut block, TQ1_0_D, d)?;
    let mut sums = [0_u16; TQ1_0_D];
    for (i, &level) in levels.iter().enumerate() {
        let (byte, digit) = place(i);
        sums[byte] += u16::from(level) * [81, 27, 9, 3, 1][digit];
    }
    // As a fraction of 3^5, in parts of 256, rounded up.
    for (byte, sum) in block.iter_mut().zip(sums) {
        *byte = (sum * 256).div_ceil(243) as u8;
    }
    Some(block)
}

/// The block with scale `d` and these levels (0 to 2, for -1 to 1); `None` if the scale does not
/// fit 16 bits.
pub fn pack_tq2_0(d: f32, levels: &[u8; LEN]) -> Option<[u8; TQ2_0_BYTES]> {
    let mut block = [0; TQ2_0_BYTES];
    put_f16(&mut block, TQ2_0_D, d)?;
    k::put_two_bits(&mut block[TQ2_0_QS..TQ2_0_D], levels);
    Some(block)
}
