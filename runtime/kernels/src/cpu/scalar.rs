//! The primitives in portable code: the definition of what every other instruction set must give.

use half::{bf16, f16};

use super::isa::Scalar;
use super::simd::Simd;

const LANES: usize = 4;

fn map(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(f)
}

/// `a * b + c`, rounded once. Not `f32::mul_add`: on a processor that may lack the instruction this
/// is `fmaf` of the C library, and that of MinGW-w64 rounds every fifth result wrong.
///
/// In double precision the product of two floats is exact. The sum is rounded to odd (Boldo and
/// Melquiond 2008): of its two neighbours, if it is neither, to the one whose last bit is set. Then
/// rounding it to a float gives the result of rounding once.
#[inline]
fn fma(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What is missing in the sum (Knuth's TwoSum); not a number where the sum is not finite.
    let added = sum - product;
    let rest = (product - (sum - added)) + (c - added);
    let bits = sum.to_bits();
    let is_exact = rest == 0.0 || rest.is_nan();
    let odd = if is_exact || bits & 1 == 1 {
        bits
    } else if (rest > 0.0) == (sum > 0.0) {
        bits + 1
    } else {
        bits - 1
    };
    f64::from_bits(odd) as f32
}

impl Simd for Scalar {
    const LANES: usize = LANES;
    const GEMV_ROWS: usize = 0;
    const GEMM_TILE: usize = 4;
    const HOLDS_BLOCK_SCALES: bool = false;
    const PREFETCHES_L1: bool = true;
    const QUERY_TILE: usize = 4;
    const SCORE_ACCUMULATORS: usize = 8;
    const VALUE_ACCUMULATORS: usize = 8;
    const SIGNED_ZERO: i32 = 0;
    const CENTRED: bool = false;

    type F32 = [f32; LANES];
    type I32 = [i32; LANES];
    type Partial = Self::I32;
    type Bytes = [[u8; 4]; LANES];
    type Registers = ();

    fn splat(self, x: f32) -> Self::F32 {
        [x; LANES]
    }
    fn load(self, from: &[f32]) -> Self::F32 {
        map(|i| from[i])
    }
    fn store(self, x: Self::F32, to: &mut [f32]) {
        to[..LANES].copy_from_slice(&x);
    }
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        map(|i| a[i] + b[i])
    }
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        map(|i| a[i] - b[i])
    }
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        map(|i| a[i] * b[i])
    }
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        map(|i| a[i] / b[i])
    }
    // Not inlined, as `dot4`: the code that every kernel has for this instruction set stays small.
    #[inline(never)]
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        map(|i| fma(a[i], b[i], c[i]))
    }
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        map(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    fn where_above(self, a: Self::F32, b: Self::F32, y: Self::F32) -> Self::F32 {
        map(|i| if a[i] > b[i] { y[i] } else { 0.0 })
    }
    fn abs(self, x: Self::F32) -> Self::F32 {
        x.map(f32::abs)
    }
    fn round(self, x: Self::F32) -> Self::F32 {
        x.map(f32::round_ties_even)
    }
    fn pow2(self, x: Self::F32) -> Self::F32 {
        x.map(|x| f32::from_bits(((x as i32 + 127) << 23) as u32))
    }
    fn sum(self, x: Self::F32) -> f32 {
        (x[0] + x[2]) + (x[1] + x[3])
    }
    fn max_lane(self, x: Self::F32) -> f32 {
        x.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    fn load_f16(self, from: &[u16]) -> Self::F32 {
        map(|i| f16::from_bits(from[i]).to_f32())
    }
    fn load_i8(self, from: &[i8]) -> Self::F32 {
        map(|i| f32::from(from[i]))
    }
    fn load_u8(self, from: &[u8]) -> Self::F32 {
        map(|i| f32::from(from[i]))
    }
    fn load_u16(self, from: &[u16]) -> Self::Bytes {
        std::array::from_fn(|i| u32::from(from[i]).to_le_bytes())
    }
    fn store_f16(self, x: Self::F32, to: &mut [u16]) {
        to[..LANES].copy_from_slice(&x.map(|x| f16::from_f32(x).to_bits()));
    }
    fn load_bf16(self, from: &[u16]) -> Self::F32 {
        map(|i| bf16::from_bits(from[i]).to_f32())
    }
    fn store_i8(self, x: Self::F32, to: &mut [i8]) {
        to[..LANES].copy_from_slice(&x.map(|x| x.round_ties_even() as i8));
    }

    fn splat_i32(self, x: i32) -> Self::I32 {
        [x; LANES]
    }
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        std::array::from_fn(|i| a[i] + b[i])
    }
    fn shift_i32(self, x: Self::I32, shift: u32) -> Self::I32 {
        x.map(|x| x << shift)
    }
    fn to_f32(self, x: Self::I32) -> Self::F32 {
        x.map(|x| x as f32)
    }

    fn run_length(_most: i32) -> usize {
        usize::MAX
    }
    fn begin(self, start: Self::I32) -> Self::I32 {
        start
    }
    fn end(self, _start: Self::I32, run: Self::I32) -> Self::I32 {
        run
    }
    #[inline(never)]
    fn dot4<const SIGNED: bool>(self, acc: Self::I32, weights: Self::Bytes, x: Self::Bytes) -> Self::I32 {
        let product = |lane: usize, i: usize| product::<SIGNED>(weights[lane][i], x[lane][i] as i8);
        std::array::from_fn(|lane| acc[lane] + (0..4).map(|i| product(lane, i)).sum::<i32>())
    }

    unsafe fn bytes(self, from: *const u8) -> Self::Bytes {
        // SAFETY: the caller vouches for the range; bytes have no alignment.
        unsafe { from.cast::<Self::Bytes>().read() }
    }
    fn registers(self) {}
    unsafe fn splat_bytes(self, from: *const i8) -> Self::Bytes {
        // SAFETY: the caller vouches for four readable bytes.
        [unsafe { from.cast::<[u8; 4]>().read() }; LANES]
    }
    unsafe fn store_bytes(self, x: Self::Bytes, to: *mut u8) {
        // SAFETY: the caller vouches for the range; bytes have no alignment.
        unsafe { to.cast::<Self::Bytes>().write(x) }
    }
    fn centre(self, x: Self::Bytes, _zero: u8) -> Self::Bytes {
        x
    }
    fn shift_right(self, x: Self::Bytes, shift: u32, mask: u8) -> Self::Bytes {
        x.map(|lane| lane.map(|x| x >> shift & mask))
    }
    fn shift_left(self, x: Self::Bytes, shift: u32) -> Self::Bytes {
        x.map(|lane| lane.map(|x| x << shift))
    }
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        std::array::from_fn(|lane| std::array::from_fn(|i| a[lane][i] | b[lane][i]))
    }
    fn add_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        std::array::from_fn(|lane| std::array::from_fn(|i| a[lane][i].wrapping_add(b[lane][i])))
    }
    fn is_at_least(self, x: Self::Bytes, limit: u8) -> Self::Bytes {
        x.map(|lane| lane.map(|x| u8::from(x >= limit)))
    }
    fn negate(self, x: Self::Bytes, negative: Self::Bytes) -> Self::Bytes {
        let negate = |x: u8, negative: u8| if negative == 0 { x } else { x.wrapping_neg() };
        std::array::from_fn(|lane| std::array::from_fn(|i| negate(x[lane][i], negative[lane][i])))
    }
    fn lookup(self, table: &[i8; 16], x: Self::Bytes) -> Self::Bytes {
        x.map(|lane| lane.map(|x| table[usize::from(x)].cast_unsigned()))
    }
    unsafe fn gather(self, table: &[u32], index: Self::I32) -> Self::Bytes {
        index.map(|index| table[index as usize].to_le_bytes())
    }
    fn byte_mask(self, x: Self::I32) -> Self::Bytes {
        x.map(|x| std::array::from_fn(|i| if x >> i & 1 == 1 { 0xFF } else { 0 }))
    }
    fn bits(self, x: Self::Bytes, shift: u32, mask: u32) -> Self::I32 {
        x.map(|lane| (u32::from_le_bytes(lane) >> shift & mask).cast_signed())
    }
    fn signed(self, x: Self::Bytes) -> Self::Bytes {
        x
    }
    fn byte<const SIGNED: bool>(self, x: Self::Bytes, i: usize) -> Self::I32 {
        x.map(|lane| if SIGNED { i32::from(lane[i] as i8) } else { i32::from(lane[i]) })
    }
}

fn product<const SIGNED: bool>(weight: u8, x: i8) -> i32 {
    let weight = if SIGNED { i32::from(weight as i8) } else { i32::from(weight) };
    weight * i32::from(x)
}

#[cfg(test)]
mod tests {
    use super::fma;
    use crate::random::Random;

    /// Integers of 24 bits are floats. Their exact result is an integer, which `as` rounds once.
    #[test]
    fn fma_rounds_once() {
        let mut random = Random::new(1);
        let mut integer = |bits: u32| (random.next_u64() >> (64 - bits)) as i32 - (1 << (bits - 1));
        for round in 0..200_000 {
            let (a, b, c, shift) = (integer(24), integer(24), integer(24), round % 48);
            let exact = i128::from(a) * i128::from(b) + (i128::from(c) << shift);
            let got = fma(a as f32, b as f32, c as f32 * (1_u64 << shift) as f32);
            assert_eq!(got.to_bits(), (exact as f32).to_bits(), "{a} * {b} + ({c} << {shift})");
        }
    }

    #[test]
    fn fma_is_that_of_ieee_at_the_ends_of_the_range() {
        let least = f32::from_bits(1);
        let cases = [
            // The product is in the middle of two floats; c is less than a double has digits for.
            ([1.0 + 1.0 / 4096.0, 1.0 + 1.0 / 4096.0, least], 1.0 + 1.0 / 2048.0 + f32::EPSILON),
            ([1.0 + 1.0 / 4096.0, 1.0 + 1.0 / 4096.0, -least], 1.0 + 1.0 / 2048.0),
            ([3.0 * least, 0.5, 0.0], 2.0 * least),
            ([least, 0.5, 0.0], 0.0),
            ([least, -0.5, 0.0], -0.0),
            ([least, -0.5, -0.0], -0.0),
            ([f32::MAX, 2.0, -f32::MAX], f32::MAX),
            ([f32::MAX, 2.0, 0.0], f32::INFINITY),
            ([f32::MAX, f32::MAX, f32::NEG_INFINITY], f32::NEG_INFINITY),
            ([-0.0, 1.0, -0.0], -0.0),
            ([-0.0, 1.0, 0.0], 0.0),
        ];
        for ([a, b, c], want) in cases {
            assert_eq!(fma(a, b, c).to_bits(), want.to_bits(), "{a:e} * {b:e} + {c:e}");
        }
        assert!(fma(f32::INFINITY, 0.0, 1.0).is_nan() && fma(f32::NAN, 1.0, 1.0).is_nan());
    }
}
