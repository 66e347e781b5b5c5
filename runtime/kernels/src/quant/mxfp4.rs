//! `MXFP4`: 32 floats of 4 bits (E2M1) and a power of two (E8M0).
//!
//! Source: the OCP Microscaling Formats (MX) specification 1.0, sections 5.3.3 and 5.4.1. The
//! nibbles lie as those of `Q4_0`. Values are doubled, to be whole, and the power is halved: `x =
//! 2^(e - 128) v[q]`. The exponent 255, NaN in the specification, is a number here as in ggml.

use super::TensorType;
use super::block_format::block_format;

/// Values in a block.
pub const LEN: usize = TensorType::Mxfp4.block_len();
const HALF: usize = LEN / 2;
/// Bytes of a block.
pub const BYTES: usize = TensorType::Mxfp4.block_bytes();
/// Where the exponent is.
pub const E: usize = 0;
/// Where the nibbles are.
pub const QS: usize = E + 1;
const _: () = assert!(QS + HALF == BYTES);

/// Twice the value of each nibble: a sign, two bits of exponent, one of mantissa.
pub const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

block_format!(Mxfp4, decode, encode, {
    MOST: i32 = 12,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[E],
    NARROW_BYTES: usize = 1,
    WORDS: usize = QS,
});

/// `2^(e - 128)`, below the range of normal floats too.
pub fn scale(e: u8) -> f32 {
    let bits = if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 };
    f32::from_bits(bits)
}

/// `x = v[q] d`.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = scale(block[E]);
    let value = |q: u8| f32::from(VALUES[usize::from(q)]) * d;
    for (j, &byte) in block[QS..].iter().enumerate() {
        out[j] = value(byte & 0xF);
        out[j + HALF] = value(byte >> 4);
    }
}

/// The largest magnitude gets the largest exponent of its four bits, as section 6.3 of the
/// specification has it.
pub fn encode(values: &[f32; LEN]) -> Option<[u8; BYTES]> {
    let e = exponent(values);
    Some(pack(e, &values.map(|x| code(x / scale(e)))))
}

/// The exponent of [`encode`].
pub fn exponent(values: &[f32; LEN]) -> u8 {
    let most = values.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    ((most.to_bits() >> 23) as u8).saturating_sub(2)
}

/// The block with this exponent and these nibbles.
pub fn pack(e: u8, codes: &[u8; LEN]) -> [u8; BYTES] {
    let mut block = [0; BYTES];
    block[E] = e;
    for (j, byte) in block[QS..].iter_mut().enumerate() {
        *byte = codes[j] | codes[j + HALF] << 4;
    }
    block
}

/// The nibble whose value is nearest to `x`, of two the smaller.
pub fn code(x: f32) -> u8 {
    let above = |pair: &[i8]| 2.0 * x.abs() > f32::from(pair[0]) + f32::from(pair[1]);
    let magnitude = VALUES[..8].windows(2).filter(|pair| above(pair)).count() as u8;
    magnitude | if x < 0.0 && magnitude > 0 { 8 } else { 0 }
}
