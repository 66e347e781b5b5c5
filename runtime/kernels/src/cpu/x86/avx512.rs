//! AVX-512 with the byte dot product (VNNI): sixteen rows at once. With AMX, a GEMM uses its tiles.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_GT_OQ, _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256, _mm256_storeu_si256,
    _mm512_abs_ps, _mm512_add_epi8, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
    _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_cvtps_epi32, _mm512_cvtps_ph, _mm512_cvtsepi32_epi8, _mm512_div_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_i32gather_epi32, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_min_epu8, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_or_si512,
    _mm512_reduce_add_ps, _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_slli_epi32, _mm512_sllv_epi32, _mm512_srai_epi32,
    _mm512_srli_epi32, _mm512_srlv_epi32, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_sub_epi8, _mm512_sub_ps,
    _mm512_subs_epu8, _mm512_xor_si512,
};
use std::mem::MaybeUninit;

use super::amx::{self, TOKENS, Tiles};
use crate::cpu::isa::{Amx, Avx512Vnni};
use crate::cpu::simd::{Simd, dot4s, values};

const LANES: usize = 16;

/// Nearest, ties to even, no exception.
const NEAREST: i32 = 0x08;

/// One vector of rows by a tile of tokens: each sum, and the number of its token.
///
/// # Safety
/// As `multiply!`.
macro_rules! row {
    ($weights:expr, $x:ident, $($sum:ident $token:literal)+) => {{
        let w = $weights;
        multiply!(
            zmm_reg, $x, [$($sum)+], [w], [],
            $(concat!("vpdpbusd {", stringify!($sum), "}, {w}, dword ptr [{x} + ", $token, "*{stride}]{{1to16}}"),)+
        );
    }};
}

/// [`Simd::dot4s`], in assembly for the tiles of most work: the compiler would load the activations
/// long before they are used, and run out of registers.
///
/// # Safety
/// The activations of each token, `STRIDE` bytes after those of the one before, are readable for 4
/// bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile<const R: usize, const C: usize>(
    isa: Avx512Vnni,
    runs: &mut [[__m512i; C]; R],
    weights: [__m512i; R],
    x: *const i8,
) {
    if let ([runs], [w]) = (&mut runs[..], weights.as_slice())
        && let [a, b, c, d, e, f, g, h, i, j] = &mut runs[..]
    {
        // SAFETY: the caller vouches for the activations.
        unsafe { row!(*w, x, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8 j 9) };
    } else if let ([runs], [w]) = (&mut runs[..], weights.as_slice())
        && let [a, b, c, d, e, f, g, h] = &mut runs[..]
    {
        // SAFETY: as above.
        unsafe { row!(*w, x, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7) };
    } else if let ([first, second], [v, w]) = (&mut runs[..], weights.as_slice())
        && let ([a, b, c, d, e], [f, g, h, i, j]) = (&mut first[..], &mut second[..])
    {
        let (v, w) = (*v, *w);
        // SAFETY: as above.
        unsafe {
            multiply!(
                zmm_reg, x, [a b c d e f g h i j], [v w], ["zmm31"],
                "vpbroadcastd zmm31, dword ptr [{x}]",
                "vpdpbusd {a}, {v}, zmm31",
                "vpdpbusd {f}, {w}, zmm31",
                "vpbroadcastd zmm31, dword ptr [{x} + {stride}]",
                "vpdpbusd {b}, {v}, zmm31",
                "vpdpbusd {g}, {w}, zmm31",
                "vpbroadcastd zmm31, dword ptr [{x} + 2*{stride}]",
                "vpdpbusd {c}, {v}, zmm31",
                "vpdpbusd {h}, {w}, zmm31",
                "vpbroadcastd zmm31, dword ptr [{x} + 3*{stride}]",
                "vpdpbusd {d}, {v}, zmm31",
                "vpdpbusd {i}, {w}, zmm31",
                "vpbroadcastd zmm31, dword ptr [{x} + 4*{stride}]",
                "vpdpbusd {e}, {v}, zmm31",
                "vpdpbusd {j}, {w}, zmm31",
            );
        }
    } else {
        // SAFETY: passed on from the caller.
        unsafe { dot4s::<_, false, R, C>(isa, runs, weights, x) }
    }
}

/// The primitives of an AVX-512 token, and `$gemm_tile`: the part of a GEMM tile that differs
/// between tokens.
macro_rules! avx512 {
    ($token:ty, { $($gemm_tile:tt)* }) => {
        impl Simd for $token {
            $($gemm_tile)*

            const LANES: usize = LANES;
            const GEMV_ROWS: usize = 4;
            const HOLDS_BLOCK_SCALES: bool = true;
            const PREFETCHES_L1: bool = false;
            const QUERY_TILE: usize = 8;
            const SCORE_ACCUMULATORS: usize = 8;
            const VALUE_ACCUMULATORS: usize = 16;
            const SIGNED_ZERO: i32 = 128;

            type F32 = __m512;
            type I32 = __m512i;
            type Partial = __m512i;
            type Bytes = __m512i;

            values! {
                fn splat(x: f32) -> __m512 { _mm512_set1_ps(x) }
            }
            #[inline(always)]
            fn load(self, from: &[f32]) -> __m512 {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { _mm512_loadu_ps(from.as_ptr()) }
            }
            #[inline(always)]
            fn store(self, x: __m512, to: &mut [f32]) {
                assert!(to.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
            }
            values! {
                fn add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
                fn sub(a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
                fn mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
                fn div(a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
                fn fma(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
                fn max(a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
                fn where_above(a: __m512, b: __m512, y: __m512) -> __m512 { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y) }
                fn abs(x: __m512) -> __m512 { _mm512_abs_ps(x) }
                fn round(x: __m512) -> __m512 { _mm512_roundscale_ps::<NEAREST>(x) }
                fn pow2(x: __m512) -> __m512 {
                    let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(127));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
                }
                fn sum(x: __m512) -> f32 { _mm512_reduce_add_ps(x) }
                fn max_lane(x: __m512) -> f32 { _mm512_reduce_max_ps(x) }
            }
            #[inline(always)]
            fn load_f16(self, from: &[u16]) -> __m512 {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
            }
            #[inline(always)]
            fn load_i8(self, from: &[i8]) -> __m512 {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
            }
            #[inline(always)]
            fn load_u8(self, from: &[u8]) -> __m512 {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
            }
            #[inline(always)]
            fn load_u16(self, from: &[u16]) -> __m512i {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast())) }
            }
            #[inline(always)]
            fn store_f16(self, x: __m512, to: &mut [u16]) {
                assert!(to.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtps_ph::<NEAREST>(x)) }
            }
            #[inline(always)]
            fn load_bf16(self, from: &[u16]) -> __m512 {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe {
                    let narrow = _mm256_loadu_si256(from.as_ptr().cast());
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow)))
                }
            }
            #[inline(always)]
            fn store_i8(self, x: __m512, to: &mut [i8]) {
                assert!(to.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x))) }
            }

            values! {
                fn splat_i32(x: i32) -> __m512i { _mm512_set1_epi32(x) }
                fn add_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
                fn shift_i32(x: __m512i, shift: u32) -> __m512i { _mm512_sllv_epi32(x, _mm512_set1_epi32(shift as i32)) }
                fn to_f32(x: __m512i) -> __m512 { _mm512_cvtepi32_ps(x) }
            }

            #[inline(always)]
            fn run_length(_most: i32) -> usize {
                usize::MAX
            }
            #[inline(always)]
            fn begin(self, start: __m512i) -> __m512i {
                start
            }
            #[inline(always)]
            fn end(self, _start: __m512i, run: __m512i) -> __m512i {
                run
            }
            #[inline(always)]
            fn dot4<const SIGNED: bool>(self, acc: __m512i, weights: __m512i, x: __m512i) -> __m512i {
                // SAFETY: the token proves the instructions, and the operands are values.
                unsafe { _mm512_dpbusd_epi32(acc, weights, x) }
            }

            #[inline(always)]
            unsafe fn bytes(self, from: *const u8) -> __m512i {
                // SAFETY: the token proves the instructions; the caller vouches for the range.
                unsafe { _mm512_loadu_si512(from.cast()) }
            }
            #[inline(always)]
            unsafe fn splat_bytes(self, from: *const i8) -> __m512i {
                // SAFETY: the token proves the instructions; the caller vouches for the range.
                unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn store_bytes(self, x: __m512i, to: *mut u8) {
                // SAFETY: the token proves the instructions; the caller vouches for the range.
                unsafe { _mm512_storeu_si512(to.cast(), x) }
            }
            values! {
                fn shift_right(x: __m512i, shift: u32, mask: u8) -> __m512i {
                    let shifted = _mm512_srlv_epi32(x, _mm512_set1_epi32(shift as i32));
                    _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8))
                }
                fn shift_left(x: __m512i, shift: u32) -> __m512i { _mm512_sllv_epi32(x, _mm512_set1_epi32(shift as i32)) }
                fn or(a: __m512i, b: __m512i) -> __m512i { _mm512_or_si512(a, b) }
                fn add_bytes(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi8(a, b) }
                fn is_at_least(x: __m512i, limit: u8) -> __m512i {
                    _mm512_min_epu8(_mm512_subs_epu8(x, _mm512_set1_epi8((limit - 1) as i8)), _mm512_set1_epi8(1))
                }
                fn negate(x: __m512i, negative: __m512i) -> __m512i { _mm512_sub_epi8(_mm512_xor_si512(x, negative), negative) }
                fn byte_mask(x: __m512i) -> __m512i {
                    // Bit `i` to bit `8 i`; sums of other places do not carry that far.
                    let spread = _mm512_mullo_epi32(x, _mm512_set1_epi32(0x0020_4081));
                    let bits = _mm512_and_si512(spread, _mm512_set1_epi8(1));
                    _mm512_sub_epi8(_mm512_setzero_si512(), bits)
                }
                fn bits(x: __m512i, shift: u32, mask: u32) -> __m512i {
                    let shifted = _mm512_srlv_epi32(x, _mm512_set1_epi32(shift as i32));
                    _mm512_and_si512(shifted, _mm512_set1_epi32(mask as i32))
                }
                fn signed(x: __m512i) -> __m512i { _mm512_xor_si512(x, _mm512_set1_epi8(-128)) }
            }
            #[inline(always)]
            fn lookup(self, table: &[i8; 16], x: __m512i) -> __m512i {
                // SAFETY: the token proves the instructions; the table has 16 bytes.
                unsafe { _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), x) }
            }
            #[inline(always)]
            unsafe fn gather(self, table: &[u32], index: __m512i) -> __m512i {
                // SAFETY: the token proves the instructions; the caller vouches for the indices.
                unsafe { _mm512_i32gather_epi32::<4>(index, table.as_ptr().cast()) }
            }
            #[inline(always)]
            fn byte<const SIGNED: bool>(self, x: __m512i, i: usize) -> __m512i {
                // SAFETY: the token proves the instructions, and the operands are values.
                unsafe {
                    let top = _mm512_sllv_epi32(x, _mm512_set1_epi32(24 - 8 * i as i32));
                    if SIGNED { _mm512_srai_epi32::<24>(top) } else { _mm512_srli_epi32::<24>(top) }
                }
            }
        }
    };
}

avx512!(Avx512Vnni, {
    const GEMV_TILES: &'static [usize] = &[5, 8, 10];
    const GEMV_TOKENS: usize = 40;
    const GEMM_TILE: usize = 5;
    const CENTRED: bool = false;
    type Registers = ();

    #[inline(always)]
    unsafe fn dot4s<const SIGNED: bool, const R: usize, const C: usize>(
        self,
        runs: &mut [[__m512i; C]; R],
        weights: [__m512i; R],
        x: *const i8,
        _length: usize,
    ) {
        // SAFETY: the token proves the instructions; the caller vouches for the activations.
        unsafe { tile(self, runs, weights, x) }
    }

    #[inline(always)]
    fn registers(self) {}
    #[inline(always)]
    fn centre(self, x: __m512i, _zero: u8) -> __m512i {
        x
    }
});

avx512!(Amx, {
    const GEMM_TILE: usize = TOKENS;
    const CENTRED: bool = true;
    type Registers = Tiles;

    #[inline(always)]
    fn registers(self) -> Tiles {
        Tiles::new(self)
    }
    values! {
        fn centre(x: __m512i, zero: u8) -> __m512i { _mm512_sub_epi8(x, _mm512_set1_epi8(zero as i8)) }
    }
    #[inline(always)]
    unsafe fn gemm_tile<const SIGNED: bool, const R: usize, const C: usize>(
        self,
        _registers: &Tiles,
        words: usize,
        _most: i32,
        weights: [*const u8; R],
        x: *const i8,
        _start: [__m512i; C],
    ) -> [[__m512i; C]; R] {
        assert_eq!(C, TOKENS, "AMX tiles have a fixed number of tokens");
        let mut sums = MaybeUninit::<[[__m512i; C]; R]>::uninit();
        for (r, weights) in weights.into_iter().enumerate() {
            // SAFETY: passed on from the caller; the sums have a line for each token of each
            // vector of rows.
            unsafe {
                let sums = sums.as_mut_ptr().cast::<[__m512i; C]>().add(r);
                amx::gemm_tile(words, weights, x, sums.cast());
            }
        }
        // SAFETY: all of them were written.
        unsafe { sums.assume_init() }
    }
});
