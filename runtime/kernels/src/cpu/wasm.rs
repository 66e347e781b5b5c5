//! WebAssembly: 128-bit vectors (`simd128`), also with the relaxed instructions (`relaxed-simd`).
//!
//! A module has the instructions that it was compiled with, or it does not load: there is nothing
//! to detect. `fma` rounds once. Only the relaxed instructions have such a one, and only where the
//! processor has it: who loads a module with `relaxed-simd` checks before that `f32x4.relaxed_madd`
//! rounds once there. A module without them computes it in double precision. The relaxed byte dot
//! product is used where its second operand has seven bits, which makes its result a certain one.

use std::arch::wasm32::{
    f32x4_abs, f32x4_add, f32x4_convert_i32x4, f32x4_convert_u32x4, f32x4_div, f32x4_extract_lane, f32x4_gt, f32x4_mul,
    f32x4_nearest, f32x4_pmax, f32x4_splat, f32x4_sub, i8x16_add, i8x16_narrow_i16x8, i8x16_splat, i8x16_sub,
    i8x16_swizzle, i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i16x8_narrow_i32x4, i32x4_add, i32x4_dot_i16x8,
    i32x4_extend_low_i16x8, i32x4_extract_lane, i32x4_gt, i32x4_mul, i32x4_shl, i32x4_shr, i32x4_shuffle, i32x4_splat,
    i32x4_trunc_sat_f32x4, u8x16_ge, u8x16_splat, u16x8_extend_low_u8x16, u16x8_narrow_i32x4, u32x4,
    u32x4_extend_low_u16x8, u32x4_ge, u32x4_shr, u32x4_splat, v128, v128_and, v128_bitselect, v128_load,
    v128_load32_splat, v128_load32_zero, v128_load64_zero, v128_or, v128_store, v128_store32_lane, v128_store64_lane,
    v128_xor,
};

use super::isa::Simd128;
use super::simd::Simd;

const LANES: usize = 4;

/// `a * b + c`, rounded once.
#[cfg(target_feature = "relaxed-simd")]
#[inline(always)]
fn fma(a: v128, b: v128, c: v128) -> v128 {
    std::arch::wasm32::f32x4_relaxed_madd(a, b, c)
}

/// `a * b + c`, rounded once. In double precision the product of two floats is exact; the sum is
/// rounded there, and once more to a float. That is another result than that of one rounding only
/// where the first one ends in the middle between two floats.
#[cfg(not(target_feature = "relaxed-simd"))]
#[inline(always)]
fn fma(a: v128, b: v128, c: v128) -> v128 {
    use std::arch::wasm32::{f32x4_lt, f64x2_add, f64x2_mul, i64x2_eq, i64x2_splat, v128_any_true};
    let sums = doubled([a, b, c], |[a, b, c]| f64x2_add(f64x2_mul(a, b), c));
    let rounded = floats(sums);
    // A double has 29 digits more than a float.
    let is_middle = sums.map(|sum| i64x2_eq(v128_and(sum, i64x2_splat(0x1FFF_FFFF)), i64x2_splat(0x1000_0000)));
    // Denormal floats have their middles elsewhere, as has the least of the others.
    let is_small = f32x4_lt(f32x4_abs(rounded), f32x4_splat(2.0 * f32::MIN_POSITIVE));
    if v128_any_true(v128_or(v128_or(is_middle[0], is_middle[1]), is_small)) { exact_fma(a, b, c) } else { rounded }
}

/// The same by way of a sum that is rounded to odd (Boldo and Melquiond 2008).
#[cfg(not(target_feature = "relaxed-simd"))]
#[cold]
#[inline(never)]
fn exact_fma(a: v128, b: v128, c: v128) -> v128 {
    floats(doubled([a, b, c], |[a, b, c]| fma_to_odd(a, b, c)))
}

/// `f` of these floats as doubles: of the first two, and of the last two.
#[cfg(not(target_feature = "relaxed-simd"))]
#[inline(always)]
fn doubled(x: [v128; 3], f: impl Fn([v128; 3]) -> v128) -> [v128; 2] {
    use std::arch::wasm32::{f64x2_promote_low_f32x4, i64x2_shuffle};
    let high = x.map(|x| i64x2_shuffle::<1, 1>(x, x));
    [x, high].map(|x| f(x.map(|x| f64x2_promote_low_f32x4(x))))
}

/// Doubles rounded to floats.
#[cfg(not(target_feature = "relaxed-simd"))]
#[inline(always)]
fn floats([low, high]: [v128; 2]) -> v128 {
    use std::arch::wasm32::{f32x4_demote_f64x2_zero, i64x2_shuffle};
    i64x2_shuffle::<0, 2>(f32x4_demote_f64x2_zero(low), f32x4_demote_f64x2_zero(high))
}

/// `a * b + c` of doubles whose product is exact. A sum that is not exact is rounded to whichever
/// of its two neighbours is odd.
#[cfg(not(target_feature = "relaxed-simd"))]
#[inline(always)]
fn fma_to_odd(a: v128, b: v128, c: v128) -> v128 {
    use std::arch::wasm32::{
        f64x2_abs, f64x2_add, f64x2_lt, f64x2_mul, f64x2_ne, f64x2_splat, f64x2_sub, i64x2_add, i64x2_eq, i64x2_shr,
        i64x2_splat,
    };
    let product = f64x2_mul(a, b);
    let sum = f64x2_add(product, c);
    // What the sum has lost (Knuth's two-sum).
    let rest = f64x2_sub(sum, product);
    let lost = f64x2_add(f64x2_sub(product, f64x2_sub(sum, rest)), f64x2_sub(c, rest));
    let one = i64x2_splat(1);
    let is_even = i64x2_eq(v128_and(sum, one), i64x2_splat(0));
    let is_finite = f64x2_lt(f64x2_abs(sum), f64x2_splat(f64::INFINITY));
    let moves = v128_and(v128_and(f64x2_ne(lost, f64x2_splat(0.0)), is_even), is_finite);
    // Away from zero where the lost part has the sign of the sum, else towards it.
    let step = v128_or(i64x2_shr(v128_xor(lost, sum), 63), one);
    i64x2_add(sum, v128_and(step, moves))
}

/// `y` where `mask` is set, else `z`.
#[inline(always)]
fn select(mask: v128, y: v128, z: v128) -> v128 {
    v128_bitselect(y, z, mask)
}

impl Simd for Simd128 {
    const LANES: usize = LANES;
    const GEMV_ROWS: usize = 4;
    const GEMM_TILE: usize = 4;
    const HOLDS_BLOCK_SCALES: bool = false;
    const PREFETCHES_L1: bool = true;
    const QUERY_TILE: usize = 4;
    const SCORE_ACCUMULATORS: usize = 8;
    const VALUE_ACCUMULATORS: usize = 8;
    const SIGNED_ZERO: i32 = 0;
    const CENTRED: bool = !cfg!(target_feature = "relaxed-simd");

    type F32 = v128;
    type I32 = v128;
    /// Of each lane the sums of its first two and of its last two products: lanes 0 and 1, lanes 2
    /// and 3; and the sums of relaxed dot products.
    type Partial = [v128; 3];
    type Bytes = v128;
    type Registers = ();

    #[inline(always)]
    fn splat(self, x: f32) -> v128 {
        f32x4_splat(x)
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> v128 {
        assert!(from.len() >= LANES);
        // SAFETY: the length is checked.
        unsafe { v128_load(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store(self, x: v128, to: &mut [f32]) {
        assert!(to.len() >= LANES);
        // SAFETY: the length is checked.
        unsafe { v128_store(to.as_mut_ptr().cast(), x) }
    }
    #[inline(always)]
    fn add(self, a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }
    #[inline(always)]
    fn sub(self, a: v128, b: v128) -> v128 {
        f32x4_sub(a, b)
    }
    #[inline(always)]
    fn mul(self, a: v128, b: v128) -> v128 {
        f32x4_mul(a, b)
    }
    #[inline(always)]
    fn div(self, a: v128, b: v128) -> v128 {
        f32x4_div(a, b)
    }
    #[inline(always)]
    fn fma(self, a: v128, b: v128, c: v128) -> v128 {
        fma(a, b, c)
    }
    #[inline(always)]
    fn max(self, a: v128, b: v128) -> v128 {
        f32x4_pmax(b, a)
    }
    #[inline(always)]
    fn where_above(self, a: v128, b: v128, y: v128) -> v128 {
        v128_and(f32x4_gt(a, b), y)
    }
    #[inline(always)]
    fn abs(self, x: v128) -> v128 {
        f32x4_abs(x)
    }
    #[inline(always)]
    fn round(self, x: v128) -> v128 {
        f32x4_nearest(x)
    }
    #[inline(always)]
    fn pow2(self, x: v128) -> v128 {
        i32x4_shl(i32x4_add(i32x4_trunc_sat_f32x4(x), i32x4_splat(127)), 23)
    }
    #[inline(always)]
    fn sum(self, x: v128) -> f32 {
        let pairs = f32x4_add(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
        f32x4_extract_lane::<0>(pairs) + f32x4_extract_lane::<1>(pairs)
    }
    #[inline(always)]
    fn max_lane(self, x: v128) -> f32 {
        let (a, b) = (f32x4_extract_lane::<0>(x), f32x4_extract_lane::<1>(x));
        a.max(b).max(f32x4_extract_lane::<2>(x)).max(f32x4_extract_lane::<3>(x))
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16]) -> v128 {
        let half = self.load_u16(from);
        // The exponent is that of a number 2^112 times smaller. Infinity and NaN have the greatest
        // one of their own.
        let magnitude = i32x4_shl(v128_and(half, u32x4_splat(0x7FFF)), 13);
        let scaled = f32x4_mul(magnitude, f32x4_splat(f32::from_bits((112 + 127) << 23)));
        let is_special = i32x4_gt(magnitude, i32x4_splat((0x7C00 << 13) - 1));
        let special = v128_and(is_special, u32x4_splat(0x7F80_0000));
        let sign = i32x4_shl(v128_and(half, u32x4_splat(0x8000)), 16);
        v128_or(v128_or(scaled, special), sign)
    }
    #[inline(always)]
    fn load_i8(self, from: &[i8]) -> v128 {
        assert!(from.len() >= LANES);
        // SAFETY: the length is checked.
        let bytes = unsafe { v128_load32_zero(from.as_ptr().cast()) };
        f32x4_convert_i32x4(i32x4_extend_low_i16x8(i16x8_extend_low_i8x16(bytes)))
    }
    #[inline(always)]
    fn load_u8(self, from: &[u8]) -> v128 {
        assert!(from.len() >= LANES);
        // SAFETY: the length is checked.
        let bytes = unsafe { v128_load32_zero(from.as_ptr().cast()) };
        f32x4_convert_u32x4(u32x4_extend_low_u16x8(u16x8_extend_low_u8x16(bytes)))
    }
    #[inline(always)]
    fn load_u16(self, from: &[u16]) -> v128 {
        assert!(from.len() >= LANES);
        // SAFETY: the length is checked.
        u32x4_extend_low_u16x8(unsafe { v128_load64_zero(from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store_f16(self, x: v128, to: &mut [u16]) {
        assert!(to.len() >= LANES);
        let magnitude = v128_and(x, u32x4_splat(0x7FFF_FFFF));
        // Numbers of less than 2^-14: the sum with .5 has the bits of the result at its end,
        // rounded.
        let half = f32x4_splat(0.5);
        let small = i32x4_add(f32x4_add(magnitude, half), i32x4_splat(-(0.5_f32.to_bits() as i32)));
        // Others: a smaller exponent, and what is cut is rounded to even.
        let is_odd = v128_and(u32x4_shr(magnitude, 13), u32x4_splat(1));
        let rounded = i32x4_add(i32x4_add(magnitude, i32x4_splat((-112 << 23) + 0xFFF)), is_odd);
        let normal = u32x4_shr(rounded, 13);
        // From 2^16 on, and NaN, which keeps the bits that there is room for.
        let bits = v128_or(v128_and(u32x4_shr(magnitude, 13), u32x4_splat(0x3FF)), u32x4_splat(0x7E00));
        let large = select(i32x4_gt(magnitude, i32x4_splat(0x7F80_0000)), bits, u32x4_splat(0x7C00));
        let result = select(u32x4_ge(magnitude, u32x4_splat((127 - 14) << 23)), normal, small);
        let result = select(u32x4_ge(magnitude, u32x4_splat((127 + 16) << 23)), large, result);
        let signed = v128_or(result, v128_and(u32x4_shr(x, 16), u32x4_splat(0x8000)));
        // SAFETY: the length is checked.
        unsafe { v128_store64_lane::<0>(u16x8_narrow_i32x4(signed, signed), to.as_mut_ptr().cast()) }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16]) -> v128 {
        i32x4_shl(self.load_u16(from), 16)
    }
    #[inline(always)]
    fn store_i8(self, x: v128, to: &mut [i8]) {
        assert!(to.len() >= LANES);
        let words = i32x4_trunc_sat_f32x4(f32x4_nearest(x));
        let words = i16x8_narrow_i32x4(words, words);
        // SAFETY: the length is checked.
        unsafe { v128_store32_lane::<0>(i8x16_narrow_i16x8(words, words), to.as_mut_ptr().cast()) }
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> v128 {
        i32x4_splat(x)
    }
    #[inline(always)]
    fn add_i32(self, a: v128, b: v128) -> v128 {
        i32x4_add(a, b)
    }
    #[inline(always)]
    fn shift_i32(self, x: v128, shift: u32) -> v128 {
        i32x4_shl(x, shift)
    }
    #[inline(always)]
    fn to_f32(self, x: v128) -> v128 {
        f32x4_convert_i32x4(x)
    }

    #[inline(always)]
    fn run_length(_most: i32) -> usize {
        usize::MAX
    }
    #[inline(always)]
    fn begin(self, _start: v128) -> [v128; 3] {
        [i32x4_splat(0); 3]
    }
    #[inline(always)]
    fn end(self, start: v128, [low, high, relaxed]: [v128; 3]) -> v128 {
        let (first, last) = (i32x4_shuffle::<0, 2, 4, 6>(low, high), i32x4_shuffle::<1, 3, 5, 7>(low, high));
        i32x4_add(i32x4_add(start, relaxed), i32x4_add(first, last))
    }
    #[inline(always)]
    fn dot4<const SIGNED: bool>(self, [low, high, relaxed]: [v128; 3], weights: v128, x: v128) -> [v128; 3] {
        // Unsigned weights are at most 127: for them the relaxed instruction has one result.
        #[cfg(target_feature = "relaxed-simd")]
        if !SIGNED {
            return [low, high, std::arch::wasm32::i32x4_relaxed_dot_i8x16_i7x16_add(x, weights, relaxed)];
        }
        // They are the same numbers as signed bytes.
        let low_products = i32x4_dot_i16x8(i16x8_extend_low_i8x16(weights), i16x8_extend_low_i8x16(x));
        let high_products = i32x4_dot_i16x8(i16x8_extend_high_i8x16(weights), i16x8_extend_high_i8x16(x));
        [i32x4_add(low, low_products), i32x4_add(high, high_products), relaxed]
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> v128 {
        // SAFETY: the caller vouches for the range.
        unsafe { v128_load(from.cast()) }
    }
    #[inline(always)]
    fn registers(self) {}
    #[inline(always)]
    unsafe fn splat_bytes(self, from: *const i8) -> v128 {
        // SAFETY: the caller vouches for the range.
        unsafe { v128_load32_splat(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, x: v128, to: *mut u8) {
        // SAFETY: the caller vouches for the range.
        unsafe { v128_store(to.cast(), x) }
    }
    #[inline(always)]
    fn centre(self, x: v128, zero: u8) -> v128 {
        i8x16_sub(x, u8x16_splat(zero))
    }
    #[inline(always)]
    fn shift_right(self, x: v128, shift: u32, mask: u8) -> v128 {
        v128_and(u32x4_shr(x, shift), u8x16_splat(mask))
    }
    #[inline(always)]
    fn shift_left(self, x: v128, shift: u32) -> v128 {
        i32x4_shl(x, shift)
    }
    #[inline(always)]
    fn or(self, a: v128, b: v128) -> v128 {
        v128_or(a, b)
    }
    #[inline(always)]
    fn add_bytes(self, a: v128, b: v128) -> v128 {
        i8x16_add(a, b)
    }
    #[inline(always)]
    fn is_at_least(self, x: v128, limit: u8) -> v128 {
        v128_and(u8x16_ge(x, u8x16_splat(limit)), i8x16_splat(1))
    }
    #[inline(always)]
    fn negate(self, x: v128, negative: v128) -> v128 {
        i8x16_sub(v128_xor(x, negative), negative)
    }
    #[inline(always)]
    fn lookup(self, table: &[i8; 16], x: v128) -> v128 {
        // SAFETY: the table has 16 bytes.
        i8x16_swizzle(unsafe { v128_load(table.as_ptr().cast()) }, x)
    }
    #[inline(always)]
    unsafe fn gather(self, table: &[u32], index: v128) -> v128 {
        // SAFETY: the caller vouches for the indices.
        let word = |index: i32| unsafe { *table.get_unchecked(index as usize) };
        u32x4(
            word(i32x4_extract_lane::<0>(index)),
            word(i32x4_extract_lane::<1>(index)),
            word(i32x4_extract_lane::<2>(index)),
            word(i32x4_extract_lane::<3>(index)),
        )
    }
    #[inline(always)]
    fn byte_mask(self, x: v128) -> v128 {
        // Bit `i` to bit `8 i`; sums of other places do not carry that far.
        let spread = i32x4_mul(x, i32x4_splat(0x0020_4081));
        i8x16_sub(i8x16_splat(0), v128_and(spread, i8x16_splat(1)))
    }
    #[inline(always)]
    fn bits(self, x: v128, shift: u32, mask: u32) -> v128 {
        v128_and(u32x4_shr(x, shift), u32x4_splat(mask))
    }
    #[inline(always)]
    fn signed(self, x: v128) -> v128 {
        x
    }
    #[inline(always)]
    fn byte<const SIGNED: bool>(self, x: v128, i: usize) -> v128 {
        let top = i32x4_shl(x, 24 - 8 * i as u32);
        if SIGNED { i32x4_shr(top, 24) } else { u32x4_shr(top, 24) }
    }
}
