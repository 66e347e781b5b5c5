//! The K formats in common: super-blocks of 256, packed 6-bit scales and 2-bit values, and the
//! search for good scales.

use super::{as_f16, extreme, get_f16, inverse, put_f16, range};

/// Values in a super-block.
pub(super) const LEN: usize = 256;
/// Values in a sub-block with a minimum (`Q4_K`, `Q5_K`).
pub const SUB: usize = 32;
/// Sub-blocks with a minimum in a super-block.
pub const SUBS: usize = LEN / SUB;
/// Bytes of their packed scales and minima.
pub(super) const SCALES: usize = SUBS * 2 * 6 / 8;

/// Scale and minimum of sub-block `j`. The first four of each are the low six bits of bytes `j` and
/// `j + 4`; the others have their low nibbles together in byte `j + 4` and their upper two bits on
/// top of bytes `j - 4` and `j`.
pub(super) fn scale_min(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        return (packed[j] & 63, packed[j + 4] & 63);
    }
    let scale = packed[j + 4] & 0xF | packed[j - 4] >> 6 << 4;
    let min = packed[j + 4] >> 4 | packed[j] >> 6 << 4;
    (scale, min)
}

/// The inverse of [`scale_min`], for all sub-blocks.
fn pack_scales(scales: [u8; SUBS], mins: [u8; SUBS]) -> [u8; SCALES] {
    std::array::from_fn(|i| match i {
        0..4 => scales[i] | scales[i + 4] >> 4 << 6,
        4..8 => mins[i - 4] | mins[i] >> 4 << 6,
        _ => scales[i - 4] & 0xF | mins[i - 4] << 4,
    })
}

/// The head that `Q4_K` and `Q5_K` share: f16 scale of the scales, f16 scale of the minima, packed
/// scales.
pub(super) const D: usize = 0;
pub(super) const DMIN: usize = D + 2;
pub(super) const HEAD_SCALES: usize = DMIN + 2;
pub(super) const HEAD: usize = HEAD_SCALES + SCALES;

/// Scales and minima of a super-block: those of sub-block `j` are `d scales[j]` and `dmin mins[j]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// The scale of the scales.
    pub d: f32,
    /// The scale of the minima.
    pub dmin: f32,
    /// 0 to 63 each.
    pub scales: [u8; SUBS],
    /// 0 to 63 each.
    pub mins: [u8; SUBS],
}

impl Head {
    /// Writes the head of `block`; `None` if one of the two scales does not fit 16 bits.
    pub(super) fn put(&self, block: &mut [u8]) -> Option<()> {
        put_f16(block, D, self.d)?;
        put_f16(block, DMIN, self.dmin)?;
        block[HEAD_SCALES..HEAD].copy_from_slice(&pack_scales(self.scales, self.mins));
        Some(())
    }
}

/// `x = (d s) q - (dmin m)` for each value of a super-block with this head; `level(j, i)` is the
/// level q of value `i` of sub-block `j`.
pub(super) fn decode(block: &[u8], out: &mut [f32; LEN], level: impl Fn(usize, usize) -> u8) {
    let (d, dmin) = (get_f16(block, D), get_f16(block, DMIN));
    for (j, out) in out.chunks_exact_mut(SUB).enumerate() {
        let (scale, min) = scale_min(&block[HEAD_SCALES..HEAD], j);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (i, x) in out.iter_mut().enumerate() {
            *x = scale * f32::from(level(j, i)) - min;
        }
    }
}

/// Fits scales and minima to a super-block, and gives them and the level (0 to `top`) of each
/// value; `None` if a scale does not fit 16 bits.
pub(super) fn fit(values: &[f32; LEN], top: u8) -> Option<(Head, [u8; LEN])> {
    let (subs, _) = values.as_chunks::<SUB>();
    let fits: [Affine; SUBS] = std::array::from_fn(|j| Affine::fit(&subs[j], top));
    let scales = fits.map(|fit| fit.scale);
    let mins = fits.map(|fit| fit.min);
    let d = as_f16(extreme(&scales) / 63.0)?;
    let dmin = as_f16(extreme(&mins) / 63.0)?;
    let head = Head {
        d,
        dmin,
        scales: scales.map(|scale| multiple(scale, d, 63)),
        mins: mins.map(|min| multiple(min, dmin, 63)),
    };
    let stored = |j: usize| Affine { scale: d * f32::from(head.scales[j]), min: dmin * f32::from(head.mins[j]) };
    Some((head, std::array::from_fn(|i| stored(i / SUB).level(values[i], top))))
}

/// The multiple of `unit` nearest to `x`, at most `most`.
pub(super) fn multiple(x: f32, unit: f32, most: u8) -> u8 {
    ((x * inverse(unit)).round() as u8).min(most)
}

/// Where value `i` of a super-block is in its 2-bit values, byte and shift: each half of 128 values
/// is four quarters of 32, of which quarter `j` is bits `2 j` of the half's 32 bytes.
fn place(i: usize) -> (usize, usize) {
    (i / 128 * 32 + i % 32, i / 32 % 4 * 2)
}

/// Value `i` of a super-block's 2-bit values (`Q2_K`, `Q3_K`, `TQ2_0`).
pub(super) fn two_bits(packed: &[u8], i: usize) -> u8 {
    let (byte, shift) = place(i);
    packed[byte] >> shift & 3
}

/// Writes the 2-bit values (0 to 3) of a super-block to zeroed bytes.
pub(super) fn put_two_bits(packed: &mut [u8], levels: &[u8; LEN]) {
    for (i, level) in levels.iter().enumerate() {
        let (byte, shift) = place(i);
        packed[byte] |= level << shift;
    }
}

/// How the levels of a sub-block stand for values: `x = scale q - min`, neither of them negative.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) scale: f32,
    pub(super) min: f32,
}

impl Affine {
    /// The best of a few candidates: the span of the values over slightly more or fewer steps than
    /// there are levels, each followed by a least-squares fit to the levels that it gives. The
    /// idea, the range of the search and the weights (large values matter more) are those of
    /// `make_qkx2_quants` in ggml-quants.c.
    pub(super) fn fit<const N: usize>(values: &[f32; N], top: u8) -> Self {
        let (low, high) = range(values);
        let min = -low.min(0.0);
        let span = high + min;
        let first = Self { scale: span / f32::from(top), min };
        let rms = (values.iter().map(|x| x * x).sum::<f32>() / N as f32).sqrt();
        let weights = values.map(|x| rms + x.abs());
        let steps = (-10..=10).map(|i| f32::from(top) + 0.1 * i as f32);
        let candidates = steps.filter_map(|steps| Self { scale: span / steps, min }.refit(values, &weights, top));
        let error = |fit: &Self| fit.error(values, &weights, top);
        candidates.fold(first, |best, next| if error(&next) < error(&best) { next } else { best })
    }

    pub(super) fn level(self, x: f32, top: u8) -> u8 {
        (((x + self.min) * inverse(self.scale)).round() as u8).min(top)
    }

    /// The weighted least-squares solution for the levels that `self` gives; `None` if all levels
    /// are equal.
    fn refit<const N: usize>(self, values: &[f32; N], weights: &[f32; N], top: u8) -> Option<Self> {
        let (mut w0, mut wq, mut wqq, mut wx, mut wqx) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (&x, &w) in values.iter().zip(weights) {
            let q = f32::from(self.level(x, top));
            w0 += w;
            wq += w * q;
            wqq += w * q * q;
            wx += w * x;
            wqx += w * q * x;
        }
        let determinant = w0 * wqq - wq * wq;
        let scale = (w0 * wqx - wq * wx) / determinant;
        let min = (wq * wqx - wqq * wx) / determinant;
        let fit = if min < 0.0 { Self { scale: wqx / wqq, min: 0.0 } } else { Self { scale, min } };
        (determinant > 0.0 && fit.scale > 0.0).then_some(fit)
    }

    fn error<const N: usize>(self, values: &[f32; N], weights: &[f32; N], top: u8) -> f32 {
        let decoded = |x| f32::from(self.level(x, top)) * self.scale - self.min;
        values.iter().zip(weights).map(|(&x, w)| w * (decoded(x) - x).powi(2)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_survive_packing() {
        let scales = [63, 0, 1, 32, 15, 16, 48, 63];
        let mins = [0, 63, 31, 5, 63, 17, 1, 40];
        let packed = pack_scales(scales, mins);
        for j in 0..SUBS {
            assert_eq!(scale_min(&packed, j), (scales[j], mins[j]));
        }
    }

    #[test]
    fn a_fit_finds_an_exact_grid() {
        let values: [f32; SUB] = std::array::from_fn(|i| (i % 16) as f32 * 0.25 - 1.0);
        let fit = Affine::fit(&values, 15);
        assert!((fit.scale - 0.25).abs() < 1e-6 && (fit.min - 1.0).abs() < 1e-5);
    }
}
