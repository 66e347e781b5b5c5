//! `Q1_0`: 128 signs and a scale, `x = d` where the bit is set, else `-d`.

use super::TensorType;
use super::block_format::{Spread, block_format};
use super::{get_f16, put_f16};

/// Values in a block.
pub const LEN: usize = TensorType::Q1_0.block_len();
/// Bytes of a block.
pub const BYTES: usize = TensorType::Q1_0.block_bytes();
/// Where the scale is, an f16.
pub const D: usize = 0;
/// Where the bits are, eight in a byte.
pub const QS: usize = D + 2;
const _: () = assert!(QS + LEN / 8 == BYTES);

// The integers are 0 and 2.
block_format!(Q1_0, decode, encode, {
    GROUP: usize = LEN,
    ZERO: i32 = 1,
    MOST: i32 = 2,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = QS,
    SPREAD: Spread = Spread { fields: LEN / 32, bits: 1 },
});

/// `x = d` or `-d`.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (i, x) in out.iter_mut().enumerate() {
        *x = if block[QS + i / 8] >> (i % 8) & 1 == 1 { d } else { -d };
    }
}

/// The scale is the mean magnitude, which has the least squared error.
pub fn encode(values: &[f32; LEN]) -> Option<[u8; BYTES]> {
    let d = values.iter().map(|x| x.abs() / LEN as f32).sum();
    pack(d, &values.map(|x| x >= 0.0))
}

/// The block with scale `d` of these signs (whether a value is positive); `None` if the scale does
/// not fit 16 bits.
pub fn pack(d: f32, positive: &[bool; LEN]) -> Option<[u8; BYTES]> {
    let mut block = [0; BYTES];
    put_f16(&mut block, D, d)?;
    for (i, &bit) in positive.iter().enumerate() {
        block[QS + i / 8] |= u8::from(bit) << (i % 8);
    }
    Some(block)
}
