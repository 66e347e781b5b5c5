//! AVX2 + FMA + F16C: eight rows at once.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_GT_OQ, _mm_add_ps, _mm_cvtps_epi32, _mm_cvtss_f32, _mm_loadl_epi64, _mm_loadu_si128,
    _mm_max_ps, _mm_movehl_ps, _mm_packs_epi16, _mm_packs_epi32, _mm_shuffle_ps, _mm_storel_epi64, _mm_storeu_si128,
    _mm256_add_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256,
    _mm256_andnot_ps, _mm256_broadcastsi128_si256, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmp_ps,
    _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtepu16_epi32, _mm256_cvtph_ps,
    _mm256_cvtps_epi32, _mm256_cvtps_ph, _mm256_div_ps, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_i32gather_epi32,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_ps, _mm256_min_epu8,
    _mm256_mul_ps, _mm256_mullo_epi32, _mm256_or_si256, _mm256_round_ps, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_sign_epi8, _mm256_slli_epi32,
    _mm256_sllv_epi32, _mm256_srai_epi32, _mm256_srli_epi32, _mm256_srlv_epi32, _mm256_storeu_ps, _mm256_storeu_si256,
    _mm256_sub_epi8, _mm256_sub_ps, _mm256_subs_epu8, _mm256_xor_si256,
};

use crate::cpu::isa::Avx2;
use crate::cpu::simd::{Simd, dot4s, values};

const LANES: usize = 8;

/// Nearest, ties to even, no exception.
const NEAREST: i32 = 0x08;

/// Sums of two neighbouring products: 16 bits, since unsigned weights are at most 127. Signed ones
/// hand their sign to `x`.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs<const SIGNED: bool>(weights: __m256i, x: __m256i) -> __m256i {
    if SIGNED {
        _mm256_maddubs_epi16(_mm256_sign_epi8(weights, weights), _mm256_sign_epi8(x, weights))
    } else {
        _mm256_maddubs_epi16(weights, x)
    }
}

/// [`Simd::dot4s`], in assembly for the tile of most work: the compiler would load the activations
/// long before they are used, and run out of registers. It begins a run with an addition to 0,
/// which a short one cannot afford.
///
/// # Safety
/// The activations of each token, `STRIDE` bytes after those of the one before, are readable for 4
/// bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn tile<const SIGNED: bool, const R: usize, const C: usize>(
    isa: Avx2,
    runs: &mut [[__m256i; C]; R],
    weights: [__m256i; R],
    x: *const i8,
    length: usize,
) {
    if !SIGNED
        && length > 2
        && let ([first, second], [v, w]) = (&mut runs[..], weights.as_slice())
        && let ([a, b, c], [d, e, f]) = (&mut first[..], &mut second[..])
    {
        let (v, w) = (*v, *w);
        // SAFETY: the instructions are those of the target feature; the caller vouches for what
        // they read.
        unsafe {
            multiply!(
                ymm_reg, x, [a b c d e f], [v w], ["ymm14" "ymm15"],
                "vpbroadcastd ymm14, dword ptr [{x}]",
                "vpmaddubsw ymm15, {v}, ymm14",
                "vpmaddubsw ymm14, {w}, ymm14",
                "vpaddw {a}, {a}, ymm15",
                "vpaddw {d}, {d}, ymm14",
                "vpbroadcastd ymm14, dword ptr [{x} + {stride}]",
                "vpmaddubsw ymm15, {v}, ymm14",
                "vpmaddubsw ymm14, {w}, ymm14",
                "vpaddw {b}, {b}, ymm15",
                "vpaddw {e}, {e}, ymm14",
                "vpbroadcastd ymm14, dword ptr [{x} + 2*{stride}]",
                "vpmaddubsw ymm15, {v}, ymm14",
                "vpmaddubsw ymm14, {w}, ymm14",
                "vpaddw {c}, {c}, ymm15",
                "vpaddw {f}, {f}, ymm14",
            );
        }
    } else {
        // SAFETY: passed on from the caller.
        unsafe { dot4s::<_, SIGNED, R, C>(isa, runs, weights, x) }
    }
}

impl Simd for Avx2 {
    const LANES: usize = LANES;
    const GEMV_ROWS: usize = 4;
    const GEMV_TILES: &'static [usize] = &[3];
    const GEMV_TOKENS: usize = 6;
    const GEMM_TILE: usize = 3;
    const HOLDS_BLOCK_SCALES: bool = false;
    const PREFETCHES_L1: bool = true;
    const QUERY_TILE: usize = 4;
    const SCORE_ACCUMULATORS: usize = 8;
    const VALUE_ACCUMULATORS: usize = 8;
    const SIGNED_ZERO: i32 = 0;
    const CENTRED: bool = false;

    type F32 = __m256;
    type I32 = __m256i;
    /// Sixteen 16-bit integers, two for each lane.
    type Partial = __m256i;
    type Bytes = __m256i;
    type Registers = ();

    values! {
        fn splat(x: f32) -> __m256 { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        assert!(from.len() >= LANES);
        // SAFETY: the token proves the instructions; the length is checked.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, x: __m256, to: &mut [f32]) {
        assert!(to.len() >= LANES);
        // SAFETY: the token proves the instructions; the length is checked.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) }
    }
    values! {
        fn add(a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
        fn sub(a: __m256, b: __m256) -> __m256 { _mm256_sub_ps(a, b) }
        fn mul(a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
        fn div(a: __m256, b: __m256) -> __m256 { _mm256_div_ps(a, b) }
        fn fma(a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fmadd_ps(a, b, c) }
        fn max(a: __m256, b: __m256) -> __m256 { _mm256_max_ps(a, b) }
        fn where_above(a: __m256, b: __m256, y: __m256) -> __m256 { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b), y) }
        fn abs(x: __m256) -> __m256 { _mm256_andnot_ps(_mm256_set1_ps(-0.0), x) }
        fn round(x: __m256) -> __m256 { _mm256_round_ps::<NEAREST>(x) }
        fn pow2(x: __m256) -> __m256 {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
        fn sum(x: __m256) -> f32 {
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ps(x, _mm_shuffle_ps::<1>(x, x)))
        }
        fn max_lane(x: __m256) -> f32 {
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ps(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16]) -> __m256 {
        assert!(from.len() >= LANES);
        // SAFETY: the token proves the instructions; the length is checked.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_i8(self, from: &[i8]) -> __m256 {
        assert!(from.len() >= LANES);
        // SAFETY: the token proves the instructions; the length is checked.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn load_u8(self, from: &[u8]) -> __m256 {
        assert!(from.len() >= LANES);
        // SAFETY: the token proves the instructions; the length is checked.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn load_u16(self, from: &[u16]) -> __m256i {
        assert!(from.len() >= LANES);
        // SAFETY: the token proves the instructions; the length is checked.
        unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_f16(self, x: __m256, to: &mut [u16]) {
        assert!(to.len() >= LANES);
        // SAFETY: the token proves the instructions; the length is checked.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm256_cvtps_ph::<{ NEAREST & 7 }>(x)) }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16]) -> __m256 {
        assert!(from.len() >= LANES);
        // SAFETY: the token proves the instructions; the length is checked.
        unsafe {
            let narrow = _mm_loadu_si128(from.as_ptr().cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(narrow)))
        }
    }
    #[inline(always)]
    fn store_i8(self, x: __m256, to: &mut [i8]) {
        assert!(to.len() >= LANES);
        // SAFETY: the token proves the instructions; the length is checked.
        unsafe {
            let low = _mm_cvtps_epi32(_mm256_castps256_ps128(x));
            let words = _mm_packs_epi32(low, _mm_cvtps_epi32(_mm256_extractf128_ps::<1>(x)));
            _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packs_epi16(words, words));
        }
    }

    values! {
        fn splat_i32(x: i32) -> __m256i { _mm256_set1_epi32(x) }
        fn add_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi32(a, b) }
        fn shift_i32(x: __m256i, shift: u32) -> __m256i { _mm256_sllv_epi32(x, _mm256_set1_epi32(shift as i32)) }
        fn to_f32(x: __m256i) -> __m256 { _mm256_cvtepi32_ps(x) }
    }

    #[inline(always)]
    fn run_length(most: i32) -> usize {
        (i32::from(i16::MAX) / (2 * 127 * most)) as usize
    }
    values! {
        fn begin(_start: __m256i) -> __m256i { _mm256_setzero_si256() }
    }
    #[inline(always)]
    fn dot4<const SIGNED: bool>(self, run: __m256i, weights: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions, and the operands are values.
        unsafe { _mm256_add_epi16(run, pairs::<SIGNED>(weights, x)) }
    }
    #[inline(always)]
    unsafe fn dot4s<const SIGNED: bool, const R: usize, const C: usize>(
        self,
        runs: &mut [[__m256i; C]; R],
        weights: [__m256i; R],
        x: *const i8,
        length: usize,
    ) {
        // SAFETY: the token proves the instructions; the caller vouches for the activations.
        unsafe { tile::<SIGNED, R, C>(self, runs, weights, x, length) }
    }
    values! {
        fn end(start: __m256i, run: __m256i) -> __m256i { _mm256_add_epi32(start, _mm256_madd_epi16(run, _mm256_set1_epi16(1))) }
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> __m256i {
        // SAFETY: the token proves the instructions; the caller vouches for the range.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    fn registers(self) {}
    #[inline(always)]
    unsafe fn splat_bytes(self, from: *const i8) -> __m256i {
        // SAFETY: the token proves the instructions; the caller vouches for the range.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, x: __m256i, to: *mut u8) {
        // SAFETY: the token proves the instructions; the caller vouches for the range.
        unsafe { _mm256_storeu_si256(to.cast(), x) }
    }
    #[inline(always)]
    fn centre(self, x: __m256i, _zero: u8) -> __m256i {
        x
    }
    values! {
        fn shift_right(x: __m256i, shift: u32, mask: u8) -> __m256i {
            let shifted = _mm256_srlv_epi32(x, _mm256_set1_epi32(shift as i32));
            _mm256_and_si256(shifted, _mm256_set1_epi8(mask as i8))
        }
        fn shift_left(x: __m256i, shift: u32) -> __m256i { _mm256_sllv_epi32(x, _mm256_set1_epi32(shift as i32)) }
        fn or(a: __m256i, b: __m256i) -> __m256i { _mm256_or_si256(a, b) }
        fn add_bytes(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi8(a, b) }
        fn is_at_least(x: __m256i, limit: u8) -> __m256i {
            _mm256_min_epu8(_mm256_subs_epu8(x, _mm256_set1_epi8((limit - 1) as i8)), _mm256_set1_epi8(1))
        }
        fn negate(x: __m256i, negative: __m256i) -> __m256i { _mm256_sub_epi8(_mm256_xor_si256(x, negative), negative) }
        fn byte_mask(x: __m256i) -> __m256i {
            // Bit `i` to bit `8 i`; sums of other places do not carry that far.
            let spread = _mm256_mullo_epi32(x, _mm256_set1_epi32(0x0020_4081));
            let bits = _mm256_and_si256(spread, _mm256_set1_epi8(1));
            _mm256_sub_epi8(_mm256_setzero_si256(), bits)
        }
        fn bits(x: __m256i, shift: u32, mask: u32) -> __m256i {
            let shifted = _mm256_srlv_epi32(x, _mm256_set1_epi32(shift as i32));
            _mm256_and_si256(shifted, _mm256_set1_epi32(mask as i32))
        }
    }
    #[inline(always)]
    fn signed(self, x: __m256i) -> __m256i {
        x
    }
    #[inline(always)]
    fn lookup(self, table: &[i8; 16], x: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions; the table has 16 bytes.
        unsafe { _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), x) }
    }
    #[inline(always)]
    unsafe fn gather(self, table: &[u32], index: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions; the caller vouches for the indices.
        unsafe { _mm256_i32gather_epi32::<4>(table.as_ptr().cast(), index) }
    }
    #[inline(always)]
    fn byte<const SIGNED: bool>(self, x: __m256i, i: usize) -> __m256i {
        // SAFETY: the token proves the instructions, and the operands are values.
        unsafe {
            let top = _mm256_sllv_epi32(x, _mm256_set1_epi32(24 - 8 * i as i32));
            if SIGNED { _mm256_srai_epi32::<24>(top) } else { _mm256_srli_epi32::<24>(top) }
        }
    }
}
