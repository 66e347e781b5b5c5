//! `Q2_K`: 256 values of 2 bits; each 16 have a 4-bit scale and a 4-bit minimum, `x = d s q - dmin
//! m`.
//!
//! Each half of 128 values is four quarters of 32: value `i` of quarter `j` is bits `2 j` of byte
//! `i` of the half's 32 bytes.

use super::TensorType;
use super::block_format::block_format;
use super::k::{self, Affine};
use super::{as_f16, extreme, get_f16, put_f16};

/// Values in a block.
pub const LEN: usize = TensorType::Q2K.block_len();
/// Bytes of a block.
pub const BYTES: usize = TensorType::Q2K.block_bytes();
/// Values that share a scale and a minimum.
pub const SUB: usize = 16;
/// Groups of them in a block.
pub const SUBS: usize = LEN / SUB;
/// Where the scales (low nibbles) and minima (high nibbles) are, a byte for each group.
pub const SCALES: usize = 0;
/// Where the 2-bit values are.
pub const QS: usize = SCALES + SUBS;
/// Where the scale of the scales is, an f16.
pub const D: usize = QS + LEN / 4;
/// Where the scale of the minima is, an f16.
pub const DMIN: usize = D + 2;
const _: () = assert!(LEN == k::LEN && DMIN + 2 == BYTES);

/// The largest scale, and the largest minimum.
const TOP: u8 = 15;

block_format!(Q2K, decode, encode, {
    GROUP: usize = SUB,
    MOST: i32 = 3,
    AFFINE: bool = true,
    NARROW: &'static [usize] = &[D, DMIN],
    WORDS: usize = SCALES,
});

/// `x = (d s) q - (dmin m)`.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let (d, dmin) = (get_f16(block, D), get_f16(block, DMIN));
    for (j, out) in out.chunks_exact_mut(SUB).enumerate() {
        let packed = block[SCALES + j];
        let (scale, min) = (d * f32::from(packed & 0xF), dmin * f32::from(packed >> 4));
        for (i, x) in out.iter_mut().enumerate() {
            *x = scale * f32::from(k::two_bits(&block[QS..D], j * SUB + i)) - min;
        }
    }
}

/// Searches a scale and a minimum for each 16 values.
pub fn encode(values: &[f32; LEN]) -> Option<[u8; BYTES]> {
    let (subs, _) = values.as_chunks::<SUB>();
    let fits: [Affine; SUBS] = std::array::from_fn(|j| Affine::fit(&subs[j], 3));
    let unit = |values: [f32; SUBS]| as_f16(extreme(&values) / f32::from(TOP));
    let (d, dmin) = (unit(fits.map(|fit| fit.scale))?, unit(fits.map(|fit| fit.min))?);
    let scales = fits.map(|fit| k::multiple(fit.scale, d, TOP));
    let mins = fits.map(|fit| k::multiple(fit.min, dmin, TOP));
    let stored = |j: usize| Affine { scale: d * f32::from(scales[j]), min: dmin * f32::from(mins[j]) };
    pack(d, dmin, scales, mins, &std::array::from_fn(|i| stored(i / SUB).level(values[i], 3)))
}

/// The block with the scales `d` of the scales and `dmin` of the minima, these (0 to 15 each) and
/// these levels (0 to 3); `None` if one of the two does not fit 16 bits.
pub fn pack(d: f32, dmin: f32, scales: [u8; SUBS], mins: [u8; SUBS], levels: &[u8; LEN]) -> Option<[u8; BYTES]> {
    let mut block = [0; BYTES];
    put_f16(&mut block, D, d)?;
    put_f16(&mut block, DMIN, dmin)?;
    for j in 0..SUBS {
        block[SCALES + j] = scales[j] | mins[j] << 4;
    }
    k::put_two_bits(&mut block[QS..D], levels);
    Some(block)
}
