//! `Q2_0`: 64 values of 2 bits with a scale, `x = d (q - 1)`.

use super::TensorType;
use super::block_format::{Spread, block_format};
use super::{extreme, get_f16, inverse, put_f16};

/// Values in a block.
pub const LEN: usize = TensorType::Q2_0.block_len();
/// Bytes of a block.
pub const BYTES: usize = TensorType::Q2_0.block_bytes();
/// Where the scale is, an f16.
pub const D: usize = 0;
/// Where the 2-bit values are, four in a byte.
pub const QS: usize = D + 2;
const _: () = assert!(QS + LEN / 4 == BYTES);

block_format!(Q2_0, decode, encode, {
    GROUP: usize = LEN,
    ZERO: i32 = 1,
    MOST: i32 = 3,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = QS,
    SPREAD: Spread = Spread { fields: LEN / 16, bits: 2 },
});

/// `x = (q - 1) d`.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (i, x) in out.iter_mut().enumerate() {
        let q = block[QS + i / 4] >> (i % 4 * 2) & 3;
        *x = f32::from(q.cast_signed() - 1) * d;
    }
}

/// The value with the largest magnitude becomes 2, or the largest of a few smaller ones 1: what has
/// the smaller error.
pub fn encode(values: &[f32; LEN]) -> Option<[u8; BYTES]> {
    let most = extreme(values);
    let levels = |d: f32| values.map(|x| (x * inverse(d)).round().clamp(-1.0, 2.0));
    let error = |d: &f32| levels(*d).iter().zip(values).map(|(q, x)| (q * d - x).powi(2)).sum::<f32>();
    let d = [most, -most, most / 2.0].into_iter().min_by(|a, b| error(a).total_cmp(&error(b)))?;
    pack(d, &levels(d).map(|q| (q + 1.0) as u8))
}

/// The block with scale `d` and these levels (0 to 3, for -1 to 2); `None` if the scale does not
/// fit 16 bits.
pub fn pack(d: f32, levels: &[u8; LEN]) -> Option<[u8; BYTES]> {
    let mut block = [0; BYTES];
    put_f16(&mut block, D, d)?;
    for (i, level) in levels.iter().enumerate() {
        block[QS + i / 4] |= level << (i % 4 * 2);
    }
    Some(block)
}
