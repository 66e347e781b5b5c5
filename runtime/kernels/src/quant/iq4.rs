//! `IQ4_NL` and `IQ4_XS`: 4-bit indices of a codebook, 32 of which have a scale.
//!
//! A block of 32 is that of `Q4_0`, `x = d v[q]`. `IQ4_XS` has 256 values, whose 32 have a 6-bit
//! scale each, `x = d (s - 32) v[q]`: scale `j` has its low four bits in nibble `j` of the low
//! bits, and its upper two in bits `2 j` of a 16-bit field.

use super::TensorType;
use super::block_format::block_format;
use super::{as_f16, extreme, get_f16, inverse, put_f16, signed};

/// The codebook, `kvalues_iq4nl` in ggml-common.h: denser near 0.
pub const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Values that share a scale.
pub const SUB: usize = TensorType::Iq4Nl.block_len();
const HALF: usize = SUB / 2;
/// Where the scale is, an f16.
pub const D: usize = 0;

/// Bytes of an `IQ4_NL` block.
pub const NL_BYTES: usize = TensorType::Iq4Nl.block_bytes();
/// Where the indices of `IQ4_NL` are.
pub const NL_QS: usize = D + 2;
const _: () = assert!(NL_QS + HALF == NL_BYTES);

/// Values in an `IQ4_XS` block.
pub const LEN: usize = TensorType::Iq4Xs.block_len();
/// Bytes of an `IQ4_XS` block.
pub const XS_BYTES: usize = TensorType::Iq4Xs.block_bytes();
/// Scales of an `IQ4_XS` block.
pub const SUBS: usize = LEN / SUB;
/// Where the upper bits of the scales are, 16 bits.
pub const SCALES_H: usize = D + 2;
/// Where the low bits of the scales are.
pub const SCALES_L: usize = SCALES_H + 2;
/// Where the indices of `IQ4_XS` are.
pub const XS_QS: usize = SCALES_L + SUBS / 2;
const _: () = assert!(XS_QS + LEN / 2 == XS_BYTES);

block_format!(Iq4Nl, decode_nl, encode_nl, {
    MOST: i32 = 127,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[D],
    WORDS: usize = NL_QS,
});
block_format!(Iq4Xs, decode_xs, encode_xs, {
    MOST: i32 = 127,
    SIGNED: bool = true,
    NARROW: &'static [usize] = &[D, SCALES_H],
    WORDS: usize = SCALES_L,
});

/// `x = d v[q]`.
pub fn decode_nl(block: &[u8; NL_BYTES], out: &mut [f32; SUB]) {
    unpack(&block[NL_QS..], get_f16(block, D), out);
}

/// `x = (d (s - 32)) v[q]`.
pub fn decode_xs(block: &[u8; XS_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    let upper = u16::from_le_bytes([block[SCALES_H], block[SCALES_H + 1]]);
    for (j, out) in out.chunks_exact_mut(SUB).enumerate() {
        let scale = block[SCALES_L + j / 2] >> (j % 2 * 4) & 0xF | ((upper >> (2 * j) & 3) as u8) << 4;
        unpack(&block[XS_QS + j * HALF..][..HALF], d * f32::from(scale.cast_signed() - 32), out);
    }
}

/// Searches the scale.
pub fn encode_nl(values: &[f32; SUB]) -> Option<[u8; NL_BYTES]> {
    let d = fit(values);
    let id = inverse(as_f16(d)?);
    pack_nl(d, &values.map(|x| index(x * id)))
}

/// Searches a scale for each 32 values; the largest of them becomes -32.
pub fn encode_xs(values: &[f32; LEN]) -> Option<[u8; XS_BYTES]> {
    let (subs, _) = values.as_chunks::<SUB>();
    let fits: [f32; SUBS] = std::array::from_fn(|j| fit(&subs[j]));
    let d = as_f16(extreme(&fits) / -32.0)?;
    let scales = fits.map(|scale| (scale * inverse(d)).round().clamp(-32.0, 31.0) as i8);
    let level = |i: usize| index(values[i] * inverse(d * f32::from(scales[i / SUB])));
    pack_xs(d, scales, &std::array::from_fn(level))
}

/// The block with scale `d` and these indices; `None` if the scale does not fit 16 bits.
pub fn pack_nl(d: f32, indices: &[u8; SUB]) -> Option<[u8; NL_BYTES]> {
    let mut block = [0; NL_BYTES];
    put_f16(&mut block, D, d)?;
    pack(indices, &mut block[NL_QS..]);
    Some(block)
}

/// The block with scale `d` of the scales, these scales (-32 to 31) and indices; `None` if `d` does
/// not fit 16 bits.
pub fn pack_xs(d: f32, scales: [i8; SUBS], indices: &[u8; LEN]) -> Option<[u8; XS_BYTES]> {
    let mut block = [0; XS_BYTES];
    put_f16(&mut block, D, d)?;
    for (j, scale) in scales.into_iter().enumerate() {
        let scale = (scale + 32).cast_unsigned();
        block[SCALES_L + j / 2] |= (scale & 0xF) << (j % 2 * 4);
        block[SCALES_H + j / 4] |= scale >> 4 << (j % 4 * 2);
    }
    for (indices, qs) in indices.chunks_exact(SUB).zip(block[XS_QS..].chunks_exact_mut(HALF)) {
        pack(indices, qs);
    }
    Some(block)
}

/// The index of the value of the codebook that is nearest to `x`.
pub fn index(x: f32) -> u8 {
    let above = |pair: &[i8]| 2.0 * x > f32::from(pair[0]) + f32::from(pair[1]);
    VALUES.windows(2).filter(|pair| above(pair)).count() as u8
}

/// The best scale that is found.
fn fit(values: &[f32; SUB]) -> f32 {
    signed::search(values, f32::from(VALUES[0]), 1.6, |x| f32::from(VALUES[usize::from(index(x))]))
}

fn unpack(qs: &[u8], d: f32, out: &mut [f32]) {
    let value = |q: u8| d * f32::from(VALUES[usize::from(q)]);
    for (j, &byte) in qs.iter().enumerate() {
        out[j] = value(byte & 0xF);
        out[j + HALF] = value(byte >> 4);
    }
}

fn pack(indices: &[u8], qs: &mut [u8]) {
    for (j, byte) in qs.iter_mut().enumerate() {
        *byte = indices[j] | indices[j + HALF] << 4;
    }
}
