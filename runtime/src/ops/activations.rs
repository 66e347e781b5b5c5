//! Activations quantized to 8 bits in blocks of 32: the right-hand side of every product with quantized weights.

use crate::cpu::{Kernel, Simd};
use crate::memory::{self, OutOfMemory};

use super::{Exec, Shared};

/// Elements that share a scale.
pub(super) const BLOCK: usize = 32;
/// Elements that share a sum: the smallest group of weights with a scale of its own (`Q6_K`).
pub(super) const HALF: usize = 16;

/// Columns of padding: those of the widest tile but one.
const PADDING: usize = 15;

/// `count` columns of `size` quantized activations: `x = scale * values`. What is read of the padding behind them is dropped.
#[derive(Debug, Default)]
pub struct Quantized {
    count: usize,
    size: usize,
    /// `[count][size]`
    values: Vec<i8>,
    /// `[count][size / 32]`
    scales: Vec<f32>,
    /// `[count][size / 16]`: sums of the integers.
    sums: Vec<i32>,
    /// `[count][size / 32]`: scale times the sum of the 32 integers, what a weight's minimum is multiplied by.
    scaled_sums: Vec<f32>,
}

/// One column.
#[derive(Clone, Copy)]
pub(super) struct Column<'a> {
    pub(super) values: &'a [i8],
    pub(super) scales: &'a [f32],
    pub(super) sums: &'a [i32],
    pub(super) scaled_sums: &'a [f32],
}

impl Quantized {
    /// Quantizes the columns of `x` (`[count][size]`, `size` a multiple of 32), on all threads.
    pub(super) fn fill(&mut self, exec: &mut Exec, x: &[f32], size: usize) {
        assert!(size.is_multiple_of(BLOCK) && x.len().is_multiple_of(size), "activations come in whole blocks");
        (self.count, self.size) = (x.len() / size, size);
        let padded = padded(self.count, size);
        grow(&mut self.values, padded);
        grow(&mut self.scales, padded / BLOCK);
        grow(&mut self.sums, padded / HALF);
        grow(&mut self.scaled_sums, padded / BLOCK);
        let isa = exec.isa;
        let (values, scales) = (Shared::new(&mut self.values), Shared::new(&mut self.scales));
        let (sums, scaled_sums) = (Shared::new(&mut self.sums), Shared::new(&mut self.scaled_sums));
        exec.pool.run(x.len() / size, |i| {
            // SAFETY: each task has its own column, and `run` returns before the borrows end.
            let (values, scales, sums, scaled_sums) = unsafe {
                (
                    values.slice(i * size, size),
                    scales.slice(i * (size / BLOCK), size / BLOCK),
                    sums.slice(i * (size / HALF), size / HALF),
                    scaled_sums.slice(i * (size / BLOCK), size / BLOCK),
                )
            };
            isa.dispatch(Quantize { x: &x[i * size..][..size], values, scales, sums, scaled_sums });
        });
    }

    /// Makes room for `count` columns of up to `size` activations, so that filling allocates nothing.
    ///
    /// # Errors
    /// [`OutOfMemory`] if it cannot be had.
    pub fn reserve(&mut self, count: usize, size: usize) -> Result<(), OutOfMemory> {
        let elements = padded(count, size);
        memory::reserve(&mut self.values, elements)?;
        memory::reserve(&mut self.scales, elements / BLOCK)?;
        memory::reserve(&mut self.sums, elements / HALF)?;
        memory::reserve(&mut self.scaled_sums, elements / BLOCK)
    }

    /// Bytes of `count` columns of `size` quantized activations.
    pub const fn bytes_for(count: usize, size: usize) -> usize {
        let elements = padded(count, size);
        elements.saturating_add(elements / BLOCK * 8 + elements / HALF * 4)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub(super) fn column(&self, i: usize) -> Column<'_> {
        let part = |per: usize| i * (self.size / per)..(i + 1) * (self.size / per);
        Column {
            values: &self.values[part(1)],
            scales: &self.scales[part(BLOCK)],
            sums: &self.sums[part(HALF)],
            scaled_sums: &self.scaled_sums[part(BLOCK)],
        }
    }
}

/// Elements of `count` columns with their padding; none for no column.
const fn padded(count: usize, size: usize) -> usize {
    if count == 0 { 0 } else { count.saturating_add(PADDING).saturating_mul(size) }
}

/// Makes the buffer at least `len` long.
fn grow<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}

struct Quantize<'a> {
    x: &'a [f32],
    values: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
    scaled_sums: &'a mut [f32],
}

impl Kernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let blocks = self.x.chunks_exact(BLOCK).zip(self.values.chunks_exact_mut(BLOCK));
        for (b, (x, values)) in blocks.enumerate() {
            let scale = quantize_block(isa, x, values);
            let sums = [sum(&values[..HALF]), sum(&values[HALF..])];
            self.scales[b] = scale;
            self.sums[2 * b..2 * b + 2].copy_from_slice(&sums);
            self.scaled_sums[b] = scale * (sums[0] + sums[1]) as f32;
        }
    }
}

#[inline(always)]
fn sum(values: &[i8]) -> i32 {
    values.iter().map(|&q| i32::from(q)).sum()
}

/// Quantizes 32 values to -127..=127 and gives their scale, which is NaN if one of them is not finite.
#[inline(always)]
fn quantize_block<S: Simd>(isa: S, x: &[f32], values: &mut [i8]) -> f32 {
    let (mut max, mut poison) = (isa.splat(0.0), isa.splat(0.0));
    for x in x.chunks_exact(S::LANES) {
        let x = isa.load(x);
        max = isa.max(max, isa.abs(x));
        // 0 for what is finite, NaN for what is not, so that bad values cannot vanish in the rounding.
        poison = isa.fma(x, isa.splat(0.0), poison);
    }
    let max = isa.max_lane(max);
    let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
    // A maximum so small that its inverse overflows is as good as zero.
    let inverse = isa.splat(if inverse.is_finite() { inverse } else { 0.0 });
    for (x, values) in x.chunks_exact(S::LANES).zip(values.chunks_exact_mut(S::LANES)) {
        isa.store_i8(isa.mul(isa.load(x), inverse), values);
    }
    max / 127.0 + isa.sum(poison)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Isa, Pool};

    fn quantize(isa: Isa, x: &[f32], size: usize) -> Quantized {
        let mut out = Quantized::default();
        out.fill(&mut Exec { isa, pool: Pool::new(2).unwrap() }, x, size);
        out
    }

    #[test]
    fn every_isa_gives_the_same_bits_and_half_a_step_at_most() {
        for scale in [1e-35_f32, 1e-20, 1.0, 3e30] {
            let x: Vec<_> = (0..192).map(|i| ((i * 29 % 83) as f32 - 41.0) / 41.0 * scale).collect();
            let want = quantize(Isa::by_name("scalar").unwrap(), &x, 64);
            for isa in Isa::available() {
                let got = quantize(isa, &x, 64);
                assert_eq!(got.values, want.values, "{isa:?}");
                assert_eq!(got.scales, want.scales, "{isa:?}");
                assert_eq!(got.sums, want.sums, "{isa:?}");
                assert_eq!(got.scaled_sums, want.scaled_sums, "{isa:?}");
            }
            for (i, &x) in x.iter().enumerate() {
                let step = want.scales[i / BLOCK];
                assert!((f32::from(want.values[i]) * step - x).abs() <= step * 0.51, "{x}");
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
                assert!(got.scales[0].is_finite() && got.scales[1].is_nan(), "{isa:?} {bad}");
            }
        }
    }
}
