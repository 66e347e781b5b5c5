//! `Q8_0`: 32 signed bytes and a scale, `x = d q`.

use super::TensorType;
use super::block_format::block_format;
use super::{extreme, get_f16, inverse, put_f16};

/// Values in a block, and its bytes.
pub const LEN: usize = TensorType::Q8_0.block_len();
/// Bytes of a block.
pub const BYTES: usize = TensorType::Q8_0.block_bytes();
/// Where the scale is, an f16.
pub const D: usize = 0;
/// Where the 32 signed bytes are.
pub const QS: usize = D + 2;
const _: () = assert!(QS + LEN == BYTES);

block_format!(Q8_0, decode, encode, {
    MOST: i32 = 128,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = QS,
});

/// `x = d q`.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (x, &q) in out.iter_mut().zip(&block[QS..]) {
        *x = f32::from(q.cast_signed()) * d;
    }
}

/// The largest magnitude becomes 127.
pub fn encode(values: &[f32; LEN]) -> Option<[u8; BYTES]> {
    let d = extreme(values).abs() / 127.0;
    let id = inverse(d);
    pack(d, &values.map(|x| (x * id).round() as i8))
}

/// The block with scale `d` and these values; `None` if the scale does not fit 16 bits.
pub fn pack(d: f32, values: &[i8; LEN]) -> Option<[u8; BYTES]> {
    let mut block = [0; BYTES];
    put_f16(&mut block, D, d)?;
    block[QS..].copy_from_slice(&values.map(i8::cast_unsigned));
    Some(block)
}
