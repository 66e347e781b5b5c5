//! `Q4_K`: 256 values of 4 bits; each 32 have a 6-bit scale and a 6-bit minimum, `x = d s q - dmin
//! m`.
//!
//! Each 32 bytes of nibbles hold two sub-blocks: the even one in the low nibbles, the odd one in
//! the high nibbles.

use super::TensorType;
use super::block_format::block_format;
use super::k::{self, Head};

/// Values in a block.
pub const LEN: usize = TensorType::Q4K.block_len();
/// Bytes of a block.
pub const BYTES: usize = TensorType::Q4K.block_bytes();
/// Where the scale of the scales is, an f16.
pub const D: usize = k::D;
/// Where the scale of the minima is, an f16.
pub const DMIN: usize = k::DMIN;
/// Where the packed scales and minima are.
pub const SCALES: usize = k::HEAD_SCALES;
/// Where the nibbles are.
pub const QS: usize = k::HEAD;
const _: () = assert!(LEN == k::LEN && QS + LEN / 2 == BYTES);

block_format!(Q4K, decode, encode, {
    MOST: i32 = 15,
    AFFINE: bool = true,
    NARROW: &'static [usize] = &[D, DMIN],
    WORDS: usize = SCALES,
});

/// `x = (d s) q - (dmin m)`.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    k::decode(block, out, |j, i| block[QS + j / 2 * k::SUB + i] >> (j % 2 * 4) & 0xF);
}

/// Searches a scale and a minimum for each 32 values.
pub fn encode(values: &[f32; LEN]) -> Option<[u8; BYTES]> {
    let (head, levels) = k::fit(values, 15)?;
    pack(&head, &levels)
}

/// The block with this head and these levels (0 to 15); `None` if one of the two scales does not
/// fit 16 bits.
pub fn pack(head: &Head, levels: &[u8; LEN]) -> Option<[u8; BYTES]> {
    let mut block = [0; BYTES];
    head.put(&mut block)?;
    for (i, level) in levels.iter().enumerate() {
        let sub = i / k::SUB;
        block[QS + sub / 2 * k::SUB + i % k::SUB] |= level << (sub % 2 * 4);
    }
    Some(block)
}
