//! `IQ2_XXS`, `IQ2_XS` and `IQ2_S`: 256 values, each eight a point of a grid with signs; a 4-bit
//! scale for each 32, or for each 16, `x = d (1/2 + s) / 4 v`.
//!
//! `IQ2_XXS`: each 32 values have four indices of eight bits, then a 32-bit field with the signs of
//! four times eight values, seven bits each, and the scale in its highest four. `IQ2_XS`: each
//! eight values have 16 bits, an index of nine and the signs. `IQ2_S`: indices of ten bits, two of
//! them in a mask.

use super::TensorType;
use super::block_format::block_format;
use super::{get_f16, get_u16, get_u32, grid};

/// Values in a block.
pub const LEN: usize = TensorType::Iq2S.block_len();
/// Where the scale of the scales is, an f16.
pub const D: usize = 0;
/// Where the indices are, or the low bits of them.
pub const QS: usize = D + 2;

/// Bytes of an `IQ2_XXS` block.
pub const XXS_BYTES: usize = TensorType::Iq2Xxs.block_bytes();
const _: () = assert!(QS + LEN / 4 == XXS_BYTES && LEN == TensorType::Iq2Xxs.block_len());

/// Bytes of an `IQ2_XS` block.
pub const XS_BYTES: usize = TensorType::Iq2Xs.block_bytes();
/// Where the scales of `IQ2_XS` are, nibbles.
pub const XS_SCALES: usize = QS + LEN / 4;
const _: () = assert!(XS_SCALES + LEN / 32 == XS_BYTES && LEN == TensorType::Iq2Xs.block_len());

/// Bytes of an `IQ2_S` block.
pub const S_BYTES: usize = TensorType::Iq2S.block_bytes();
/// Where the signs of `IQ2_S` are, a bit for each value.
pub const S_SIGNS: usize = QS + LEN / 8;
/// Where the upper two bits of the indices of `IQ2_S` are, a byte for each 32 values.
pub const S_QH: usize = S_SIGNS + LEN / 8;
/// Where the scales of `IQ2_S` are, nibbles.
pub const S_SCALES: usize = S_QH + LEN / 32;
const _: () = assert!(S_SCALES + LEN / 32 == S_BYTES);

/// The largest value of the grids.
const MOST: i32 = 43;

block_format!(Iq2Xxs, decode_xxs, _, {
    MOST: i32 = MOST,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = QS,
});
block_format!(Iq2Xs, decode_xs, _, {
    GROUP: usize = 16,
    MOST: i32 = MOST,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = QS,
});
block_format!(Iq2S, decode_s, _, {
    GROUP: usize = 16,
    MOST: i32 = MOST,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = QS,
});

/// `x = (d (1/2 + s) / 4) v`.
pub fn decode_xxs(block: &[u8; XXS_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let (part, eighth) = (&block[QS + i / 4 * 8..], i % 4);
        let field = get_u32(part, 4);
        let signs = grid::eight_signs(field >> (7 * eighth));
        put(&grid::IQ2_XXS, usize::from(part[eighth]), signs, scale(d, (field >> 28) as u8), out);
    }
}

/// `x = (d (1/2 + s) / 4) v`.
pub fn decode_xs(block: &[u8; XS_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let field = get_u16(block, QS + 2 * i);
        let signs = grid::eight_signs(u32::from(field >> 9));
        put(&grid::IQ2_XS, usize::from(field & 511), signs, scale(d, nibble(block, XS_SCALES, i / 2)), out);
    }
}

/// `x = (d (1/2 + s) / 4) v`.
pub fn decode_s(block: &[u8; S_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let upper = usize::from(block[S_QH + i / 4] >> (i % 4 * 2) & 3);
        let index = usize::from(block[QS + i]) | upper << 8;
        put(&grid::IQ2_S, index, block[S_SIGNS + i], scale(d, nibble(block, S_SCALES, i / 2)), out);
    }
}

fn scale(d: f32, integer: u8) -> f32 {
    d * (0.5 + f32::from(integer)) * 0.25
}

fn nibble(block: &[u8], at: usize, i: usize) -> u8 {
    block[at + i / 2] >> (i % 2 * 4) & 0xF
}

/// Eight values: point `index` of a grid.
fn put(grid: &[u32], index: usize, signs: u8, scale: f32, out: &mut [f32]) {
    for (half, out) in out.chunks_exact_mut(4).enumerate() {
        grid::put(grid[2 * index + half], signs >> (4 * half), scale, out);
    }
}
