//! 64-bit Arm: NEON, NEON with the byte dot product (dotprod), and with int8 matrix multiplication
//! (i8mm). They share every primitive but the byte dot product.

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, uint8x16_t, vabsq_f32, vadd_f32, vaddq_f32, vaddq_s32, vaddq_u8, vandq_u8,
    vandq_u32, vcgeq_u8, vcgtq_f32, vcombine_s8, vcombine_s16, vcvtnq_s32_f32, vcvtq_f32_s32, vcvtq_f32_u32, vdivq_f32,
    vdup_n_s32, vdup_n_u32, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8, vdupq_n_u32, veorq_u8, vfmaq_f32,
    vget_high_f32, vget_high_s8, vget_low_f32, vget_low_s8, vget_low_s16, vget_low_u16, vld1_s8, vld1_u16, vld1q_f32,
    vld1q_s8, vld1q_u8, vld1q_u32, vmaxq_f32, vmaxvq_f32, vmovl_s8, vmovl_s16, vmovl_u8, vmovl_u16, vmull_s8,
    vmulq_f32, vmulq_s32, vorrq_u8, vpadalq_s16, vpaddq_s32, vpadds_f32, vqmovn_s16, vqmovn_s32, vqtbl1q_u8,
    vreinterpret_s8_s32, vreinterpret_s32_s8, vreinterpret_u8_u32, vreinterpretq_f32_s32, vreinterpretq_f32_u32,
    vreinterpretq_s8_u8, vreinterpretq_s32_u32, vreinterpretq_u8_s32, vreinterpretq_u8_u32, vreinterpretq_u32_f32,
    vreinterpretq_u32_u8, vrndnq_f32, vshlq_n_s32, vshlq_n_u32, vshlq_s32, vshlq_u8, vshlq_u32, vshrq_n_s32,
    vshrq_n_u32, vst1_lane_s32, vst1q_f32, vst1q_s32, vst1q_u8, vsubq_f32, vsubq_u8, vuzp1q_s32, vuzp2q_s32,
    vzip1q_u32, vzip2q_u32,
};
use std::arch::asm;

use super::isa::{Neon, NeonDot, NeonI8mm};
use super::simd::{MAX_LANES, STRIDE, Simd, values};

const LANES: usize = 4;

/// The byte dot product, `acc` plus the products of four neighbouring bytes a lane, by widening
/// multiplications.
#[inline(always)]
unsafe fn dot_widening(acc: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: the token proves the instructions, and the operands are values.
    unsafe {
        let zero = vdupq_n_s32(0);
        let low = vpadalq_s16(zero, vmull_s8(vget_low_s8(weights), vget_low_s8(x)));
        let high = vpadalq_s16(zero, vmull_s8(vget_high_s8(weights), vget_high_s8(x)));
        vaddq_s32(acc, vpaddq_s32(low, high))
    }
}

/// An instruction of this extension that adds products of bytes to `acc`. Inline assembly, since
/// the intrinsics are not stable.
macro_rules! instruction {
    ($(#[$doc:meta])* $name:ident, $extension:literal, $mnemonic:literal) => {
        $(#[$doc])*
        #[inline(always)]
        unsafe fn $name(mut acc: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
            // SAFETY: the caller has a token that proves the instruction, which touches nothing but
            // its operands.
            unsafe {
                asm!(
                    concat!(".arch_extension ", $extension),
                    concat!($mnemonic, " {acc:v}.4s, {weights:v}.16b, {x:v}.16b"),
                    acc = inout(vreg) acc, weights = in(vreg) weights, x = in(vreg) x,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            acc
        }
    };
}

instruction!(
    /// The products of four neighbouring bytes a lane.
    dot_instruction,
    "dotprod",
    "sdot"
);
instruction!(
    /// The products of two rows of eight bytes with two tokens: row by row.
    multiply_matrices,
    "i8mm",
    "smmla"
);

/// The byte dot product of each lane with one word of `x`, number `WORD` (SDOT by element).
#[inline(always)]
unsafe fn dot_word<const WORD: usize>(mut acc: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: the caller has a token that proves the instruction, which touches nothing but its
    // operands.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {acc:v}.4s, {weights:v}.16b, {x:v}.4b[{word}]",
            acc = inout(vreg) acc, weights = in(vreg) weights, x = in(vreg) x, word = const WORD,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// [`Simd::dot16s`]: four words are one vector, of which SDOT takes one at a time (by element).
macro_rules! four_words {
    () => {
        const TAKES_FOUR_WORDS: bool = true;

        #[inline(always)]
        unsafe fn dot16s<const SIGNED: bool, const R: usize, const C: usize>(
            self,
            runs: &mut [[int32x4_t; C]; R],
            weights: [[uint8x16_t; R]; 4],
            x: *const i8,
        ) {
            for c in 0..C {
                // SAFETY: the token proves the instructions; the caller vouches for the
                // activations.
                unsafe {
                    let x = vld1q_s8(x.add(STRIDE * c));
                    for r in 0..R {
                        let rows = |word: usize| vreinterpretq_s8_u8(weights[word][r]);
                        runs[r][c] = dot_word::<0>(runs[r][c], rows(0), x);
                        runs[r][c] = dot_word::<1>(runs[r][c], rows(1), x);
                        runs[r][c] = dot_word::<2>(runs[r][c], rows(2), x);
                        runs[r][c] = dot_word::<3>(runs[r][c], rows(3), x);
                    }
                }
            }
        }
    };
}

/// The primitives of a NEON token, whose byte dot product is `$dot`; `$own` are those that differ
/// between tokens.
macro_rules! neon {
    ($token:ty, $dot:ident, { $($own:tt)* }) => {
        impl Simd for $token {
            const LANES: usize = LANES;
            const GEMV_ROWS: usize = 4;
            const GEMM_TILE: usize = 4;
            const HOLDS_BLOCK_SCALES: bool = false;
            const PREFETCHES_L1: bool = true;
            const QUERY_TILE: usize = 4;
            const SCORE_ACCUMULATORS: usize = 16;
            const VALUE_ACCUMULATORS: usize = 16;
            const SIGNED_ZERO: i32 = 0;
            const CENTRED: bool = true;

            type F32 = float32x4_t;
            type I32 = int32x4_t;
            type Partial = Self::I32;
            type Bytes = uint8x16_t;
            type Registers = ();

            $($own)*

            values! {
                fn splat(x: f32) -> float32x4_t { vdupq_n_f32(x) }
            }
            #[inline(always)]
            fn load(self, from: &[f32]) -> float32x4_t {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { vld1q_f32(from.as_ptr()) }
            }
            #[inline(always)]
            fn store(self, x: float32x4_t, to: &mut [f32]) {
                assert!(to.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { vst1q_f32(to.as_mut_ptr(), x) }
            }
            values! {
                fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t { vaddq_f32(a, b) }
                fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t { vsubq_f32(a, b) }
                fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t { vmulq_f32(a, b) }
                fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t { vdivq_f32(a, b) }
                fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t { vfmaq_f32(c, a, b) }
                fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t { vmaxq_f32(a, b) }
                fn where_above(a: float32x4_t, b: float32x4_t, y: float32x4_t) -> float32x4_t { vreinterpretq_f32_u32(vandq_u32(vcgtq_f32(a, b), vreinterpretq_u32_f32(y))) }
                fn abs(x: float32x4_t) -> float32x4_t { vabsq_f32(x) }
                fn round(x: float32x4_t) -> float32x4_t { vrndnq_f32(x) }
                fn pow2(x: float32x4_t) -> float32x4_t { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtnq_s32_f32(x), vdupq_n_s32(127)))) }
                fn sum(x: float32x4_t) -> f32 { vpadds_f32(vadd_f32(vget_low_f32(x), vget_high_f32(x))) }
                fn max_lane(x: float32x4_t) -> f32 { vmaxvq_f32(x) }
            }
            #[inline(always)]
            fn load_f16(self, from: &[u16]) -> float32x4_t {
                assert!(from.len() >= LANES);
                let wide;
                // SAFETY: the token proves the instructions; the length is checked. Assembly, since
                // `float16x4_t` is not stable.
                unsafe {
                    let narrow = vld1_u16(from.as_ptr());
                    asm!("fcvtl {wide:v}.4s, {narrow:v}.4h", wide = out(vreg) wide, narrow = in(vreg) narrow,
                        options(pure, nomem, nostack, preserves_flags));
                }
                wide
            }
            #[inline(always)]
            fn load_i8(self, from: &[i8]) -> float32x4_t {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe {
                    let bytes = vreinterpret_s8_s32(vdup_n_s32(from.as_ptr().cast::<i32>().read_unaligned()));
                    vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
                }
            }
            #[inline(always)]
            fn load_u8(self, from: &[u8]) -> float32x4_t {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe {
                    let bytes = vreinterpret_u8_u32(vdup_n_u32(from.as_ptr().cast::<u32>().read_unaligned()));
                    vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))
                }
            }
            #[inline(always)]
            fn load_u16(self, from: &[u16]) -> uint8x16_t {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { vreinterpretq_u8_u32(vmovl_u16(vld1_u16(from.as_ptr()))) }
            }
            #[inline(always)]
            fn store_f16(self, x: float32x4_t, to: &mut [u16]) {
                assert!(to.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked. Assembly, since
                // `float16x4_t` is not stable.
                unsafe {
                    asm!("fcvtn {narrow:v}.4h, {wide:v}.4s", "st1 {{{narrow:v}.4h}}, [{to}]",
                        wide = in(vreg) x, narrow = out(vreg) _, to = in(reg) to.as_mut_ptr(),
                        options(nostack, preserves_flags));
                }
            }
            #[inline(always)]
            fn load_bf16(self, from: &[u16]) -> float32x4_t {
                assert!(from.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(from.as_ptr())))) }
            }
            #[inline(always)]
            fn store_i8(self, x: float32x4_t, to: &mut [i8]) {
                assert!(to.len() >= LANES);
                // SAFETY: the token proves the instructions; the length is checked.
                unsafe {
                    let words = vqmovn_s32(vcvtnq_s32_f32(x));
                    let bytes = vqmovn_s16(vcombine_s16(words, words));
                    vst1_lane_s32::<0>(to.as_mut_ptr().cast(), vreinterpret_s32_s8(bytes));
                }
            }

            values! {
                fn splat_i32(x: i32) -> int32x4_t { vdupq_n_s32(x) }
                fn add_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vaddq_s32(a, b) }
                fn shift_i32(x: int32x4_t, shift: u32) -> int32x4_t { vshlq_s32(x, vdupq_n_s32(shift as i32)) }
                fn to_f32(x: int32x4_t) -> float32x4_t { vcvtq_f32_s32(x) }
            }

            #[inline(always)]
            fn run_length(_most: i32) -> usize {
                usize::MAX
            }
            #[inline(always)]
            fn begin(self, start: int32x4_t) -> int32x4_t {
                start
            }
            #[inline(always)]
            fn end(self, _start: int32x4_t, run: int32x4_t) -> int32x4_t {
                run
            }
            #[inline(always)]
            fn dot4<const SIGNED: bool>(self, acc: int32x4_t, weights: uint8x16_t, x: uint8x16_t) -> int32x4_t {
                // SAFETY: the token proves the instructions, and the operands are values. Unsigned
                // weights are at most 127, so they are the same number as signed bytes.
                unsafe { $dot(acc, vreinterpretq_s8_u8(weights), vreinterpretq_s8_u8(x)) }
            }

            #[inline(always)]
            unsafe fn bytes(self, from: *const u8) -> uint8x16_t {
                // SAFETY: the token proves the instructions; the caller vouches for the range.
                unsafe { vld1q_u8(from) }
            }
            #[inline(always)]
            fn registers(self) {}
            #[inline(always)]
            unsafe fn splat_bytes(self, from: *const i8) -> uint8x16_t {
                // SAFETY: the token proves the instructions; the caller vouches for the range.
                unsafe { vreinterpretq_u8_s32(vdupq_n_s32(from.cast::<i32>().read_unaligned())) }
            }
            #[inline(always)]
            unsafe fn store_bytes(self, x: uint8x16_t, to: *mut u8) {
                // SAFETY: the token proves the instructions; the caller vouches for the range.
                unsafe { vst1q_u8(to, x) }
            }
            values! {
                fn centre(x: uint8x16_t, zero: u8) -> uint8x16_t { vsubq_u8(x, vdupq_n_u8(zero)) }
                fn shift_right(x: uint8x16_t, shift: u32, mask: u8) -> uint8x16_t { vandq_u8(vshlq_u8(x, vdupq_n_s8(-(shift as i8))), vdupq_n_u8(mask)) }
                fn shift_left(x: uint8x16_t, shift: u32) -> uint8x16_t { vshlq_u8(x, vdupq_n_s8(shift as i8)) }
                fn or(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t { vorrq_u8(a, b) }
                fn add_bytes(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t { vaddq_u8(a, b) }
                fn is_at_least(x: uint8x16_t, limit: u8) -> uint8x16_t { vandq_u8(vcgeq_u8(x, vdupq_n_u8(limit)), vdupq_n_u8(1)) }
                fn negate(x: uint8x16_t, negative: uint8x16_t) -> uint8x16_t { vsubq_u8(veorq_u8(x, negative), negative) }
                fn byte_mask(x: int32x4_t) -> uint8x16_t {
                    // Bit `i` to bit `8 i`; sums of other places do not carry that far.
                    let spread = vreinterpretq_u8_s32(vmulq_s32(x, vdupq_n_s32(0x0020_4081)));
                    vsubq_u8(vdupq_n_u8(0), vandq_u8(spread, vdupq_n_u8(1)))
                }
                fn bits(x: uint8x16_t, shift: u32, mask: u32) -> int32x4_t {
                    let shifted = vshlq_u32(vreinterpretq_u32_u8(x), vdupq_n_s32(-(shift as i32)));
                    vreinterpretq_s32_u32(vandq_u32(shifted, vdupq_n_u32(mask)))
                }
            }
            #[inline(always)]
            fn signed(self, x: uint8x16_t) -> uint8x16_t {
                x
            }
            #[inline(always)]
            fn lookup(self, table: &[i8; 16], x: uint8x16_t) -> uint8x16_t {
                // SAFETY: the token proves the instructions; the table has 16 bytes.
                unsafe { vqtbl1q_u8(vld1q_u8(table.as_ptr().cast()), x) }
            }
            #[inline(always)]
            unsafe fn gather(self, table: &[u32], index: int32x4_t) -> uint8x16_t {
                let mut words = [0_i32; LANES];
                // SAFETY: the token proves the instructions; the caller vouches for the indices.
                unsafe {
                    vst1q_s32(words.as_mut_ptr(), index);
                    let words = words.map(|index| *table.get_unchecked(index as usize));
                    vreinterpretq_u8_u32(vld1q_u32(words.as_ptr()))
                }
            }
            #[inline(always)]
            fn byte<const SIGNED: bool>(self, x: uint8x16_t, i: usize) -> int32x4_t {
                // SAFETY: the token proves the instructions, and the operands are values.
                unsafe {
                    let top = vshlq_u32(vreinterpretq_u32_u8(x), vdupq_n_s32(24 - 8 * i as i32));
                    if SIGNED {
                        vshrq_n_s32::<24>(vreinterpretq_s32_u32(top))
                    } else {
                        vreinterpretq_s32_u32(vshrq_n_u32::<24>(top))
                    }
                }
            }
        }
    };
}

neon!(Neon, dot_widening, {});
neon!(NeonDot, dot_instruction, {
    four_words!();
});
neon!(NeonI8mm, dot_instruction, {
    four_words!();
    /// Eight bytes of two rows, and of the next two.
    #[inline(always)]
    fn pair(self, [first, second]: [uint8x16_t; 2]) -> [uint8x16_t; 2] {
        // SAFETY: the token proves the instructions, and the operands are values.
        unsafe {
            let [first, second] = [vreinterpretq_u32_u8(first), vreinterpretq_u32_u8(second)];
            [vreinterpretq_u8_u32(vzip1q_u32(first, second)), vreinterpretq_u8_u32(vzip2q_u32(first, second))]
        }
    }
    /// Two tokens at once.
    #[inline(always)]
    unsafe fn gemm_tile<const SIGNED: bool, const R: usize, const C: usize>(
        self,
        _registers: &(),
        words: usize,
        _most: i32,
        weights: [*const u8; R],
        x: *const i8,
        _start: [int32x4_t; C],
    ) -> [[int32x4_t; C]; R] {
        assert!(C.is_multiple_of(2), "tokens are multiplied by twos");
        let mut sums = [[self.splat_i32(0); C]; R];
        // Rows 0 and 1, rows 2 and 3 of each vector by each pair of tokens, the first of which is
        // even.
        let mut squares = [[[self.splat_i32(0); 2]; C]; R];
        for word in (0..words).step_by(2) {
            // SAFETY: the token proves the instructions; the caller vouches for the words and the
            // activations.
            unsafe {
                let rows: [[_; 2]; R] = std::array::from_fn(|r| {
                    [0, 1].map(|i| vld1q_s8(weights[r].add(4 * MAX_LANES * (word + i)).cast()))
                });
                for c in (0..C).step_by(2) {
                    let activations = |c: usize| vld1_s8(x.add(STRIDE * c + 4 * word));
                    let both = vcombine_s8(activations(c), activations(c + 1));
                    for r in 0..R {
                        for half in 0..2 {
                            squares[r][c][half] = multiply_matrices(squares[r][c][half], rows[r][half], both);
                        }
                    }
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                let [low, high] = squares[r][c / 2 * 2];
                // SAFETY: the token proves the instructions, and the operands are values.
                sums[r][c] = unsafe { if c % 2 == 0 { vuzp1q_s32(low, high) } else { vuzp2q_s32(low, high) } };
            }
        }
        sums
    }
});
