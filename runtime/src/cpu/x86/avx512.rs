//! AVX-512 with the byte dot product (VNNI): sixteen rows at once. With AMX, products of many columns go to its tiles.
//!
//! SAFETY of every block below: the tokens exist only on a processor that has these instructions; what reads or writes
//! memory has a length check above it or takes over its caller's contract.

use std::arch::x86_64::{
    __m512, __m512i, _mm_storeu_si128, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_abs_ps, _mm512_add_epi32,
    _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps,
    _mm512_cvtps_epi32, _mm512_cvtps_ph, _mm512_cvtsepi32_epi8, _mm512_div_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_max_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_reduce_add_ps,
    _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32,
    _mm512_sllv_epi32, _mm512_srai_epi32, _mm512_srli_epi32, _mm512_srlv_epi32, _mm512_storeu_ps, _mm512_storeu_si512,
    _mm512_sub_epi8, _mm512_sub_ps, _mm512_xor_si512,
};
use std::mem::MaybeUninit;

use super::amx::{self, COLUMNS, Tiles};
use crate::cpu::isa::{Amx, Avx512Vnni};
use crate::cpu::simd::{Simd, dot4s};

const LANES: usize = 16;

/// Nearest, ties to even, no exception.
const NEAREST: i32 = 0x08;

/// [`Simd::dot4s`], in assembly for the tiles of most work: the compiler would load the columns long before they are used, and run
/// out of registers.
///
/// # Safety
/// Each column, `STRIDE` bytes from the one before, is readable for 4 bytes.
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
        let w = *w;
        // SAFETY: the instructions are those of the target features; the caller vouches for what they read.
        unsafe {
            multiply!(
                zmm_reg, x, [a b c d e f g h i j], [w], [],
                "vpdpbusd {a}, {w}, dword ptr [{x}]{{1to16}}"
                "vpdpbusd {b}, {w}, dword ptr [{x} + {stride}]{{1to16}}"
                "vpdpbusd {c}, {w}, dword ptr [{x} + 2*{stride}]{{1to16}}"
                "vpdpbusd {d}, {w}, dword ptr [{x} + 3*{stride}]{{1to16}}"
                "vpdpbusd {e}, {w}, dword ptr [{x} + 4*{stride}]{{1to16}}"
                "vpdpbusd {f}, {w}, dword ptr [{x} + 5*{stride}]{{1to16}}"
                "vpdpbusd {g}, {w}, dword ptr [{x} + 6*{stride}]{{1to16}}"
                "vpdpbusd {h}, {w}, dword ptr [{x} + 7*{stride}]{{1to16}}"
                "vpdpbusd {i}, {w}, dword ptr [{x} + 8*{stride}]{{1to16}}"
                "vpdpbusd {j}, {w}, dword ptr [{x} + 9*{stride}]{{1to16}}"
            );
        }
    } else if let ([first, second], [v, w]) = (&mut runs[..], weights.as_slice())
        && let ([a, b, c, d, e], [f, g, h, i, j]) = (&mut first[..], &mut second[..])
    {
        let (v, w) = (*v, *w);
        // SAFETY: as above.
        unsafe {
            multiply!(
                zmm_reg, x, [a b c d e f g h i j], [v w], ["zmm31"],
                "vpbroadcastd zmm31, dword ptr [{x}]"
                "vpdpbusd {a}, {v}, zmm31"
                "vpdpbusd {f}, {w}, zmm31"
                "vpbroadcastd zmm31, dword ptr [{x} + {stride}]"
                "vpdpbusd {b}, {v}, zmm31"
                "vpdpbusd {g}, {w}, zmm31"
                "vpbroadcastd zmm31, dword ptr [{x} + 2*{stride}]"
                "vpdpbusd {c}, {v}, zmm31"
                "vpdpbusd {h}, {w}, zmm31"
                "vpbroadcastd zmm31, dword ptr [{x} + 3*{stride}]"
                "vpdpbusd {d}, {v}, zmm31"
                "vpdpbusd {i}, {w}, zmm31"
                "vpbroadcastd zmm31, dword ptr [{x} + 4*{stride}]"
                "vpdpbusd {e}, {v}, zmm31"
                "vpdpbusd {j}, {w}, zmm31"
            );
        }
    } else {
        // SAFETY: passed on from the caller.
        unsafe { dot4s::<_, false, R, C>(isa, runs, weights, x) }
    }
}

/// The primitives of an AVX-512 token, and `$products`: what its products of many columns differ in.
macro_rules! avx512 {
    ($token:ty, { $($products:tt)* }) => {
        impl Simd for $token {
            $($products)*

            const LANES: usize = LANES;
            const ROWS: usize = 4;
            const SIGNED_ZERO: i32 = 128;

            type F32 = __m512;
            type I32 = __m512i;
            type Partial = __m512i;
            type Bytes = __m512i;

            #[inline(always)]
            fn splat(self, x: f32) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_set1_ps(x) }
            }
            #[inline(always)]
            fn load(self, from: &[f32]) -> __m512 {
                assert!(from.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked.
                unsafe { _mm512_loadu_ps(from.as_ptr()) }
            }
            #[inline(always)]
            fn store(self, x: __m512, to: &mut [f32]) {
                assert!(to.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked.
                unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
            }
            #[inline(always)]
            fn add(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_add_ps(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_sub_ps(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_mul_ps(a, b) }
            }
            #[inline(always)]
            fn div(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_div_ps(a, b) }
            }
            #[inline(always)]
            fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_fmadd_ps(a, b, c) }
            }
            #[inline(always)]
            fn max(self, a: __m512, b: __m512) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_max_ps(a, b) }
            }
            #[inline(always)]
            fn abs(self, x: __m512) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_abs_ps(x) }
            }
            #[inline(always)]
            fn round(self, x: __m512) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_roundscale_ps::<NEAREST>(x) }
            }
            #[inline(always)]
            fn pow2(self, x: __m512) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe {
                    let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(127));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
                }
            }
            #[inline(always)]
            fn sum(self, x: __m512) -> f32 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_reduce_add_ps(x) }
            }
            #[inline(always)]
            fn max_lane(self, x: __m512) -> f32 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_reduce_max_ps(x) }
            }
            #[inline(always)]
            fn load_f16(self, from: &[u16]) -> __m512 {
                assert!(from.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked.
                unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
            }
            #[inline(always)]
            fn store_f16(self, x: __m512, to: &mut [u16]) {
                assert!(to.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked.
                unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtps_ph::<NEAREST>(x)) }
            }
            #[inline(always)]
            fn load_bf16(self, from: &[u16]) -> __m512 {
                assert!(from.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked.
                unsafe {
                    let narrow = _mm256_loadu_si256(from.as_ptr().cast());
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow)))
                }
            }
            #[inline(always)]
            fn store_i8(self, x: __m512, to: &mut [i8]) {
                assert!(to.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked.
                unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x))) }
            }

            #[inline(always)]
            fn splat_i32(self, x: i32) -> __m512i {
                // SAFETY: see the head of the file.
                unsafe { _mm512_set1_epi32(x) }
            }
            #[inline(always)]
            fn add_i32(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: see the head of the file.
                unsafe { _mm512_add_epi32(a, b) }
            }
            #[inline(always)]
            fn shift_i32(self, x: __m512i, shift: u32) -> __m512i {
                // SAFETY: see the head of the file.
                unsafe { _mm512_sllv_epi32(x, _mm512_set1_epi32(shift as i32)) }
            }
            #[inline(always)]
            fn to_f32(self, x: __m512i) -> __m512 {
                // SAFETY: see the head of the file.
                unsafe { _mm512_cvtepi32_ps(x) }
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
                // SAFETY: see the head of the file.
                unsafe { _mm512_dpbusd_epi32(acc, weights, x) }
            }

            #[inline(always)]
            unsafe fn bytes(self, from: *const u8) -> __m512i {
                // SAFETY: see the head of the file; the caller vouches for the range.
                unsafe { _mm512_loadu_si512(from.cast()) }
            }
            #[inline(always)]
            unsafe fn splat_bytes(self, from: *const i8) -> __m512i {
                // SAFETY: see the head of the file; the caller vouches for the range.
                unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn store_bytes(self, x: __m512i, to: *mut u8) {
                // SAFETY: see the head of the file; the caller vouches for the range.
                unsafe { _mm512_storeu_si512(to.cast(), x) }
            }
            #[inline(always)]
            fn shift_right(self, x: __m512i, shift: u32, mask: u8) -> __m512i {
                // SAFETY: see the head of the file.
                unsafe {
                    let shifted = _mm512_srlv_epi32(x, _mm512_set1_epi32(shift as i32));
                    _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8))
                }
            }
            #[inline(always)]
            fn shift_left(self, x: __m512i, shift: u32) -> __m512i {
                // SAFETY: see the head of the file.
                unsafe { _mm512_sllv_epi32(x, _mm512_set1_epi32(shift as i32)) }
            }
            #[inline(always)]
            fn or(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: see the head of the file.
                unsafe { _mm512_or_si512(a, b) }
            }
            #[inline(always)]
            fn signed(self, x: __m512i) -> __m512i {
                // SAFETY: see the head of the file.
                unsafe { _mm512_xor_si512(x, _mm512_set1_epi8(-128)) }
            }
            #[inline(always)]
            fn byte<const SIGNED: bool>(self, x: __m512i, i: usize) -> __m512i {
                // SAFETY: see the head of the file.
                unsafe {
                    let top = _mm512_sllv_epi32(x, _mm512_set1_epi32(24 - 8 * i as i32));
                    if SIGNED { _mm512_srai_epi32::<24>(top) } else { _mm512_srli_epi32::<24>(top) }
                }
            }
        }
    };
}

avx512!(Avx512Vnni, {
    const TILES: &'static [usize] = &[5, 10];
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
        // SAFETY: see the head of the file; the caller vouches for the columns.
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
    const TILES: &'static [usize] = &[COLUMNS];
    const CENTRED: bool = true;
    type Registers = Tiles;

    #[inline(always)]
    fn registers(self) -> Tiles {
        Tiles::new(self)
    }
    #[inline(always)]
    fn centre(self, x: __m512i, zero: u8) -> __m512i {
        // SAFETY: see the head of the file.
        unsafe { _mm512_sub_epi8(x, _mm512_set1_epi8(zero as i8)) }
    }
    #[inline(always)]
    unsafe fn products<const SIGNED: bool, const R: usize, const C: usize>(
        self,
        words: usize,
        _most: i32,
        weights: [*const u8; R],
        x: *const i8,
        _start: [__m512i; C],
    ) -> [[__m512i; C]; R] {
        assert_eq!(C, COLUMNS, "a tile has a fixed number of columns");
        let mut sums = MaybeUninit::<[[__m512i; C]; R]>::uninit();
        for (r, weights) in weights.into_iter().enumerate() {
            // SAFETY: passed on from the caller; the sums have a line for each column of each vector of rows.
            unsafe {
                let sums = sums.as_mut_ptr().cast::<[__m512i; C]>().add(r);
                amx::products(words, weights, x, sums.cast());
            }
        }
        // SAFETY: all of them were written.
        unsafe { sums.assume_init() }
    }
});
