//! `IQ3_S` and `IQ3_XXS`: 256 values, each four a point of a grid with signs; a scale for each 32.
//!
//! `IQ3_S`: indices of nine bits, the ninth in a mask, `x = d (1 + 2 s) v`. `IQ3_XXS`: indices of
//! eight bits; each 32 values have a 32-bit field with the signs of four times eight values, seven
//! bits each, and the scale in its highest four, `x = d (1/2 + s) / 2 v`.

use super::TensorType;
use super::block_format::block_format;
use super::{get_f16, get_u32, grid};

/// Values in a block.
pub const LEN: usize = TensorType::Iq3S.block_len();
/// Values that share a scale.
pub const SUB: usize = 32;
const SUBS: usize = LEN / SUB;
/// Where the scale of the scales is, an f16.
pub const D: usize = 0;
/// Where the indices are, or the low eight bits of them.
pub const QS: usize = D + 2;

/// Bytes of an `IQ3_S` block.
pub const S_BYTES: usize = TensorType::Iq3S.block_bytes();
/// Where the ninth bits are, a byte for each 32 values.
pub const S_QH: usize = QS + LEN / 4;
/// Where the signs are, a bit for each value.
pub const S_SIGNS: usize = S_QH + SUBS;
/// Where the scales are, nibbles.
pub const S_SCALES: usize = S_SIGNS + LEN / 8;
const _: () = assert!(S_SCALES + SUBS / 2 == S_BYTES);

/// Bytes of an `IQ3_XXS` block.
pub const XXS_BYTES: usize = TensorType::Iq3Xxs.block_bytes();
/// Where the signs and scales are, 32 bits for each 32 values.
pub const XXS_SIGNS: usize = QS + LEN / 4;
const _: () = assert!(XXS_SIGNS + 4 * SUBS == XXS_BYTES && LEN == TensorType::Iq3Xxs.block_len());

block_format!(Iq3S, decode_s, _, {
    MOST: i32 = 15,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = QS,
});
block_format!(Iq3Xxs, decode_xxs, _, {
    MOST: i32 = 62,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = QS,
});

/// `x = (d (1 + 2 s)) v`.
pub fn decode_s(block: &[u8; S_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (i, out) in out.chunks_exact_mut(4).enumerate() {
        let sub = i / 8;
        let scale = block[S_SCALES + sub / 2] >> (sub % 2 * 4) & 0xF;
        let ninth = usize::from(block[S_QH + sub] >> (i % 8) & 1);
        let point = grid::IQ3_S[usize::from(block[QS + i]) | ninth << 8];
        let signs = block[S_SIGNS + i / 2] >> (i % 2 * 4);
        grid::put(point, signs, d * f32::from(1 + 2 * scale), out);
    }
}

/// `x = (d (1/2 + s) / 2) v`.
pub fn decode_xxs(block: &[u8; XXS_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (i, out) in out.chunks_exact_mut(4).enumerate() {
        let field = get_u32(block, XXS_SIGNS + i / 8 * 4);
        let scale = d * (0.5 + (field >> 28) as f32) * 0.5;
        let signs = grid::eight_signs(field >> (i / 2 % 4 * 7)) >> (i % 2 * 4);
        grid::put(grid::IQ3_XXS[usize::from(block[QS + i])], signs, scale, out);
    }
}
