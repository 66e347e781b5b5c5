//! `IQ1_S` and `IQ1_M`: 256 values, each eight a point of a grid of -1, 0 and 1, all of them an
//! eighth up or down; `x = d (1 + 2 s) (v ± 1/8)` with a 3-bit scale for each 32, or for each 16.
//!
//! Indices have eleven bits, eight of them in a byte of their own. `IQ1_S`: each 32 values have 16
//! bits, three for each index, then the scale, then whether an eighth is taken away. `IQ1_M`: each
//! eight values have four bits, three for the index and whether an eighth is taken away; four times
//! 16 bits have four scales each and a nibble of the scale of the scales.

use super::TensorType;
use super::block_format::block_format;
use super::{get_f16, get_u16, grid};

/// Values in a block.
pub const LEN: usize = TensorType::Iq1S.block_len();

/// Bytes of an `IQ1_S` block.
pub const S_BYTES: usize = TensorType::Iq1S.block_bytes();
/// Where the scale of the scales of `IQ1_S` is, an f16.
pub const S_D: usize = 0;
/// Where the low bits of the indices of `IQ1_S` are.
pub const S_QS: usize = S_D + 2;
/// Where all else of `IQ1_S` is, 16 bits for each 32 values.
pub const S_QH: usize = S_QS + LEN / 8;
const _: () = assert!(S_QH + LEN / 16 == S_BYTES);

/// Bytes of an `IQ1_M` block.
pub const M_BYTES: usize = TensorType::Iq1M.block_bytes();
/// Where the low bits of the indices of `IQ1_M` are.
pub const M_QS: usize = 0;
/// Where the upper bits of the indices of `IQ1_M` and the shifts are, nibbles.
pub const M_QH: usize = M_QS + LEN / 8;
/// Where the scales of `IQ1_M` are.
pub const M_SCALES: usize = M_QH + LEN / 16;
const _: () = assert!(M_SCALES + 8 == M_BYTES && LEN == TensorType::Iq1M.block_len());

// The integers are eighths.
block_format!(Iq1S, decode_s, _, {
    MOST: i32 = 9,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[S_D],
    WORDS: usize = S_QS,
});
block_format!(Iq1M, decode_m, _, {
    GROUP: usize = 16,
    MOST: i32 = 9,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[],
    WORDS: usize = M_QS,
});

/// `x = (d (1 + 2 s)) (v ± 1/8)`.
pub fn decode_s(block: &[u8; S_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, S_D);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let field = get_u16(block, S_QH + i / 4 * 2);
        let upper = usize::from(field >> (i % 4 * 3) & 7);
        let scale = d * f32::from(2 * (field >> 12 & 7) + 1);
        put(usize::from(block[S_QS + i]) | upper << 8, field >> 15 == 1, scale, out);
    }
}

/// `x = (d (1 + 2 s)) (v ± 1/8)`.
pub fn decode_m(block: &[u8; M_BYTES], out: &mut [f32; LEN]) {
    let d = scale_m(block);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let field = block[M_QH + i / 2] >> (i % 2 * 4);
        let upper = usize::from(field & 7);
        let scale = get_u16(block, M_SCALES + i / 8 * 2) >> (i / 2 % 4 * 3) & 7;
        put(usize::from(block[M_QS + i]) | upper << 8, field & 8 != 0, d * f32::from(2 * scale + 1), out);
    }
}

/// The scale of the scales of an `IQ1_M` block: the highest nibbles of its four fields of scales,
/// the lowest first.
fn scale_m(block: &[u8; M_BYTES]) -> f32 {
    let nibble = |i: usize| block[M_SCALES + 2 * i + 1] >> 4;
    get_f16(&[nibble(0) | nibble(1) << 4, nibble(2) | nibble(3) << 4], 0)
}

/// Eight values: point `index` of the grid, an eighth up or down.
fn put(index: usize, down: bool, scale: f32, out: &mut [f32]) {
    let shift = if down { -0.125 } else { 0.125 };
    for (half, out) in out.chunks_exact_mut(4).enumerate() {
        for (x, eighths) in out.iter_mut().zip(grid::IQ1[2 * index + half].to_le_bytes()) {
            *x = scale * (f32::from(eighths.cast_signed()) / 8.0 + shift);
        }
    }
}
