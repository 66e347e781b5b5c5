//! Activations quantized to 8 bits in blocks of 32: the right-hand side of every quantized matmul.

use crate::cpu::simd::{MAX_TILE, STRIDE};
use crate::cpu::{Kernel, Simd};
use crate::memory::{self, OutOfMemory};

use super::{Exec, Shared};

/// Elements that share a scale.
pub(super) const BLOCK: usize = STRIDE;
/// Elements of half a block, which have a sum too: the smallest group of weights with its own scale
/// (`Q6_K`) and minimum (`Q2_K`).
pub(super) const HALF: usize = 16;

/// Tokens of padding: those of the largest tile but one.
const PADDING: usize = MAX_TILE - 1;

/// Quantized activation vectors, one for each token: `count` of `size` elements,
/// `x = scale * values`.
///
/// A tile is as many tokens as a kernel works on at once. They lie side by side in it, block after
/// block. Results of the last tile's padding are dropped.
#[derive(Debug, Default)]
pub struct Quantized {
    count: usize,
    size: usize,
    /// Tokens of a tile.
    width: usize,
    /// `[tiles][size / 32][width]`
    values: Vec<Values>,
    /// `[tiles][size / 32][width]`
    scales: Vec<f32>,
    /// `[tiles][size / 32][width]`: sums of the integers, negative, as a zero point is multiplied
    /// by them.
    sums: Vec<i32>,
    /// `[tiles][size / 16][width]`: the same of half blocks.
    half_sums: Vec<i32>,
    /// `[tiles][size / 32][width]`: scale times the sum of the 32 integers, what a weight's minimum
    /// is multiplied by.
    scaled_sums: Vec<f32>,
}

/// A block of one token, in one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Values([i8; BLOCK]);

/// The `C` tokens of a tile, some of which may be padding.
#[derive(Clone, Copy)]
pub(super) struct ActivationTile<'a, const C: usize> {
    values: &'a [[Values; C]],
    scales: &'a [[f32; C]],
    sums: &'a [[i32; C]],
    half_sums: &'a [[i32; C]],
    scaled_sums: &'a [[f32; C]],
}

impl<'a, const C: usize> ActivationTile<'a, C> {
    /// The integers from element `at` on, a multiple of [`HALF`], to the end of their block:
    /// [`STRIDE`] bytes from token to token.
    #[inline(always)]
    pub(super) fn values(&self, at: usize) -> *const i8 {
        self.values.as_ptr().cast::<i8>().wrapping_add(at / BLOCK * C * STRIDE + at % BLOCK)
    }

    /// The scale at element `at` of each token.
    #[inline(always)]
    pub(super) fn scales(&self, at: usize) -> &'a [f32; C] {
        &self.scales[at / BLOCK]
    }

    /// Scale times sum of the block at element `at`, of each token.
    #[inline(always)]
    pub(super) fn scaled_sums(&self, at: usize) -> &'a [f32; C] {
        &self.scaled_sums[at / BLOCK]
    }

    /// The negative sums of the `elements` (16 or 32) integers from `at` on, of each token.
    #[inline(always)]
    pub(super) fn sums(&self, at: usize, elements: usize) -> &'a [i32; C] {
        if elements == HALF { &self.half_sums[at / HALF] } else { &self.sums[at / BLOCK] }
    }
}

impl Quantized {
    /// Quantizes the activation vectors `x` (`[count][size]`, `size` a multiple of 32) in tiles of
    /// `width` tokens, on all threads, a tile each.
    pub(super) fn fill(&mut self, exec: &mut Exec, x: &[f32], size: usize, width: usize) {
        assert!(size.is_multiple_of(BLOCK) && x.len().is_multiple_of(size), "activations come in whole blocks");
        let isa = exec.isa;
        (self.count, self.size, self.width) = (x.len() / size, size, width);
        let padded = padded(self.count, size);
        grow(&mut self.values, padded / BLOCK);
        grow(&mut self.scales, padded / BLOCK);
        grow(&mut self.sums, padded / BLOCK);
        grow(&mut self.half_sums, padded / HALF);
        grow(&mut self.scaled_sums, padded / BLOCK);
        let tile = width * size;
        let (values, scales) = (Shared::new(&mut self.values), Shared::new(&mut self.scales));
        let (sums, half_sums) = (Shared::new(&mut self.sums), Shared::new(&mut self.half_sums));
        let scaled_sums = Shared::new(&mut self.scaled_sums);
        exec.pool.run(self.count.div_ceil(width), |i| {
            // SAFETY: each task has its own tile, and `run` returns before the borrows end.
            let (values, scales, sums, half_sums, scaled_sums) = unsafe {
                (
                    values.slice(i * (tile / BLOCK), tile / BLOCK),
                    scales.slice(i * (tile / BLOCK), tile / BLOCK),
                    sums.slice(i * (tile / BLOCK), tile / BLOCK),
                    half_sums.slice(i * (tile / HALF), tile / HALF),
                    scaled_sums.slice(i * (tile / BLOCK), tile / BLOCK),
                )
            };
            let x = &x[i * tile..x.len().min((i + 1) * tile)];
            isa.dispatch(Quantize { x, size, width, values, scales, sums, half_sums, scaled_sums });
        });
    }

    /// Reserves memory for `count` tokens of up to `size` activations, so that filling allocates
    /// nothing. A fallible allocation.
    ///
    /// # Errors
    /// [`OutOfMemory`] if it cannot be had.
    pub fn reserve(&mut self, count: usize, size: usize) -> Result<(), OutOfMemory> {
        let elements = padded(count, size);
        memory::reserve(&mut self.values, elements / BLOCK)?;
        memory::reserve(&mut self.scales, elements / BLOCK)?;
        memory::reserve(&mut self.sums, elements / BLOCK)?;
        memory::reserve(&mut self.half_sums, elements / HALF)?;
        memory::reserve(&mut self.scaled_sums, elements / BLOCK)
    }

    /// Bytes of `count` tokens of `size` quantized activations.
    pub const fn bytes_for(count: usize, size: usize) -> usize {
        let elements = padded(count, size);
        elements.saturating_add(elements / BLOCK * 12 + elements / HALF * 4)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Tokens of a tile.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Tile `i`, which has `C` tokens.
    #[inline(always)]
    pub(super) fn tile<const C: usize>(&self, i: usize) -> ActivationTile<'_, C> {
        assert_eq!(C, self.width, "the tokens of a tile");
        ActivationTile {
            values: blocks(&self.values, i, self.size / BLOCK),
            scales: blocks(&self.scales, i, self.size / BLOCK),
            sums: blocks(&self.sums, i, self.size / BLOCK),
            half_sums: blocks(&self.half_sums, i, self.size / HALF),
            scaled_sums: blocks(&self.scaled_sums, i, self.size / BLOCK),
        }
    }
}

/// The blocks of tile `i`, `len` of them.
#[inline(always)]
fn blocks<T, const C: usize>(all: &[T], i: usize, len: usize) -> &[[T; C]] {
    &all.as_chunks().0[i * len..][..len]
}

/// Elements of `count` tokens with their padding; none for no token.
const fn padded(count: usize, size: usize) -> usize {
    if count == 0 { 0 } else { count.saturating_add(PADDING).saturating_mul(size) }
}

/// Makes the buffer at least `len` long.
fn grow<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}

/// A tile.
struct Quantize<'a> {
    x: &'a [f32],
    size: usize,
    width: usize,
    values: &'a mut [Values],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
    half_sums: &'a mut [i32],
    scaled_sums: &'a mut [f32],
}

impl Kernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        for (token, x) in self.x.chunks_exact(self.size).enumerate() {
            for (b, x) in x.chunks_exact(BLOCK).enumerate() {
                let at = b * self.width + token;
                let Values(values) = &mut self.values[at];
                let (scale, sums) = quantize_block(isa, x, values);
                self.scales[at] = scale;
                let sum = sums[0] + sums[1];
                self.sums[at] = -sum as i32;
                for (half, sum) in sums.into_iter().enumerate() {
                    self.half_sums[(2 * b + half) * self.width + token] = -sum as i32;
                }
                self.scaled_sums[at] = scale * sum;
            }
        }
    }
}

/// Quantizes 32 values to -127..=127; gives their scale, which is NaN if one of them is not finite,
/// and the sums of both halves, which are integers if its values are finite.
#[inline(always)]
fn quantize_block<S: Simd>(isa: S, x: &[f32], values: &mut [i8]) -> (f32, [f32; 2]) {
    let (mut max, mut poison) = (isa.splat(0.0), isa.splat(0.0));
    for x in x.chunks_exact(S::LANES) {
        let x = isa.load(x);
        max = isa.max(max, isa.abs(x));
        // 0 for a finite value, else NaN, so that bad values cannot vanish in the rounding.
        poison = isa.fma(x, isa.splat(0.0), poison);
    }
    let max = isa.max_lane(max);
    let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
    // A maximum so small that its inverse overflows is as good as zero.
    let inverse = isa.splat(if inverse.is_finite() { inverse } else { 0.0 });
    let mut sums = [0.0; 2];
    for ((x, values), sum) in x.chunks_exact(HALF).zip(values.chunks_exact_mut(HALF)).zip(&mut sums) {
        let mut lanes = isa.splat(0.0);
        for (x, values) in x.chunks_exact(S::LANES).zip(values.chunks_exact_mut(S::LANES)) {
            let integers = isa.round(isa.mul(isa.load(x), inverse));
            isa.store_i8(integers, values);
            lanes = isa.add(lanes, integers);
        }
        *sum = isa.sum(lanes);
    }
    (max / 127.0 + isa.sum(poison), sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Isa, Pool};

    fn quantize(isa: Isa, x: &[f32], size: usize) -> Quantized {
        let mut out = Quantized::default();
        let width = isa.tiling(x.len() / size, true).width;
        out.fill(&mut Exec { isa, pool: Pool::new(2).unwrap() }, x, size, width);
        out
    }

    /// One token, in the order of its elements.
    #[derive(Debug, PartialEq)]
    struct Activations {
        values: Vec<i8>,
        scales: Vec<f32>,
        sums: Vec<i32>,
        half_sums: Vec<i32>,
        scaled_sums: Vec<f32>,
    }

    fn read(x: &Quantized, token: usize) -> Activations {
        let (tile, token) = (token / x.width, token % x.width);
        let at = |per: usize| {
            let (width, len) = (x.width, x.size / per);
            (0..len).map(move |block| (tile * len + block) * width + token)
        };
        Activations {
            values: at(BLOCK).flat_map(|at| x.values[at].0).collect(),
            scales: at(BLOCK).map(|at| x.scales[at]).collect(),
            sums: at(BLOCK).map(|at| x.sums[at]).collect(),
            half_sums: at(HALF).map(|at| x.half_sums[at]).collect(),
            scaled_sums: at(BLOCK).map(|at| x.scaled_sums[at]).collect(),
        }
    }

    #[test]
    fn every_isa_gives_the_same_bits_and_half_a_step_at_most() {
        for scale in [1e-35_f32, 1e-20, 1.0, 3e30] {
            let x: Vec<_> = (0..192).map(|i| ((i * 29 % 83) as f32 - 41.0) / 41.0 * scale).collect();
            let want = quantize(Isa::by_name("scalar").unwrap(), &x, 64);
            for isa in Isa::available() {
                let got = quantize(isa, &x, 64);
                for token in 0..3 {
                    assert_eq!(read(&got, token), read(&want, token), "{isa:?}");
                }
            }
            for (i, &x) in x.iter().enumerate() {
                let (token, at) = (read(&want, i / 64), i % 64);
                let step = token.scales[at / BLOCK];
                assert!((f32::from(token.values[at]) * step - x).abs() <= step * 0.51, "{x}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_poisons_its_block() {
        for isa in Isa::available() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = vec![1.0; 64];
                x[40] = bad;
                let got = quantize(isa, &x, 64);
                let scales = read(&got, 0).scales;
                assert!(scales[0].is_finite() && scales[1].is_nan(), "{isa:?} {bad}");
            }
        }
    }
}
