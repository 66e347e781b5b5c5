//! `Q5_K`: as `Q4_K`, with a fifth bit of each value: bit `j` of byte `i` belongs to value `i` of
//! sub-block `j`.

use super::TensorType;
use super::block_format::block_format;
use super::k::{self, Head};

/// Values in a block.
pub const LEN: usize = TensorType::Q5K.block_len();
/// Bytes of a block.
pub const BYTES: usize = TensorType::Q5K.block_bytes();
/// Where the scale of the scales is, an f16.
pub const D: usize = k::D;
/// Where the scale of the minima is, an f16.
pub const DMIN: usize = k::DMIN;
/// Where the packed scales and minima are.
pub const SCALES: usize = k::HEAD_SCALES;
/// Where the fifth bits are.
pub const QH: usize = k::HEAD;
/// Where the nibbles are.
pub const QS: usize = QH + k::SUB;
const _: () = assert!(LEN == k::LEN && QS + LEN / 2 == BYTES && k::SUBS == 8);

block_format!(Q5K, decode, encode, {
    MOST: i32 = 31,
    AFFINE: bool = true,
    NARROW: &'static [usize] = &[D, DMIN],
    WORDS: usize = SCALES,
});

/// `x = (d s) q - (dmin m)`.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    k::decode(block, out, |j, i| {
        let low = block[QS + j / 2 * k::SUB + i] >> (j % 2 * 4) & 0xF;
        low | (block[QH + i] >> j & 1) << 4
    });
}

/// Searches a scale and a minimum for each 32 values.
pub fn encode(values: &[f32; LEN]) -> Option<[u8; BYTES]> {
    let (head, levels) = k::fit(values, 31)?;
    pack(&head, &levels)
}

/// The block with this head and these levels (0 to 31); `None` if one of the two scales does not
/// fit 16 bits.
pub fn pack(head: &Head, levels: &[u8; LEN]) -> Option<[u8; BYTES]> {
    let mut block = [0; BYTES];
    head.put(&mut block)?;
    for (i, level) in levels.iter().enumerate() {
        let (sub, at) = (i / k::SUB, i % k::SUB);
        block[QS + sub / 2 * k::SUB + at] |= (level & 0xF) << (sub % 2 * 4);
        block[QH + at] |= (level >> 4) << sub;
    }
    Some(block)
}
