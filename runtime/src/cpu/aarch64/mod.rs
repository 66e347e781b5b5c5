//! 64-bit Arm: NEON, and NEON with the byte dot product. Both share every primitive but the two products.
//!
//! SAFETY of every block below: the tokens exist only on a processor that has these instructions; what reads or writes
//! memory has a length check above it or takes over its caller's contract.

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, uint8x16_t, vabsq_f32, vaddq_f32, vaddq_s32, vaddvq_f32, vandq_u8, vcombine_s16,
    vcombine_u8, vcvtnq_s32_f32, vcvtq_f32_s32, vdivq_f32, vdup_n_u8, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8,
    vfmaq_f32, vget_high_s8, vget_low_s8, vld1_u8, vld1_u16, vld1q_f32, vld1q_u8, vmaxq_f32, vmaxvq_f32, vmovl_u16,
    vmull_s8, vmulq_f32, vorrq_u8, vpadalq_s16, vpaddq_s32, vqmovn_s16, vqmovn_s32, vreinterpret_s32_s8,
    vreinterpretq_f32_s32, vreinterpretq_f32_u32, vreinterpretq_s8_s32, vreinterpretq_s8_u8, vrndnq_f32, vshlq_n_s32,
    vshlq_n_u32, vshlq_u8, vshrq_n_u8, vst1_lane_s32, vst1q_f32, vst1q_u8, vsubq_f32, vtstq_u8,
};
use std::arch::asm;

use super::isa::{Neon, NeonDot};
use super::simd::{Kernel, MAX_LANES, Simd};

const LANES: usize = 4;

/// `acc` plus the products of four neighbouring bytes a lane, by widening multiplications.
#[inline(always)]
unsafe fn dot_widening(acc: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: see the head of the file.
    unsafe {
        let zero = vdupq_n_s32(0);
        let low = vpadalq_s16(zero, vmull_s8(vget_low_s8(weights), vget_low_s8(x)));
        let high = vpadalq_s16(zero, vmull_s8(vget_high_s8(weights), vget_high_s8(x)));
        vaddq_s32(acc, vpaddq_s32(low, high))
    }
}

/// `acc` plus the products of four neighbouring bytes a lane. Inline assembly, since the intrinsic is not stable.
#[inline(always)]
unsafe fn dot_instruction(mut acc: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: see the head of the file; the instruction touches nothing but its operands.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {acc:v}.4s, {weights:v}.16b, {x:v}.16b",
            acc = inout(vreg) acc, weights = in(vreg) weights, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// The primitives of a NEON token, whose product of bytes is `$dot`.
macro_rules! neon {
    ($token:ty, $dot:ident) => {
        impl Simd for $token {
            const LANES: usize = LANES;
            const COLUMNS: usize = 8;
            const SIGNED_ZERO: i32 = 0;

            type F32 = float32x4_t;
            type I32 = int32x4_t;
            type Bytes = [uint8x16_t; 2];
            type Partial = [int32x4_t; 2];

            #[inline(always)]
            fn enter<K: Kernel>(self, kernel: K) -> K::Output {
                self.enter(kernel)
            }

            #[inline(always)]
            fn splat(self, x: f32) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vdupq_n_f32(x) }
            }
            #[inline(always)]
            fn load(self, from: &[f32]) -> float32x4_t {
                assert!(from.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked.
                unsafe { vld1q_f32(from.as_ptr()) }
            }
            #[inline(always)]
            fn store(self, x: float32x4_t, to: &mut [f32]) {
                assert!(to.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked.
                unsafe { vst1q_f32(to.as_mut_ptr(), x) }
            }
            #[inline(always)]
            fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vaddq_f32(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vsubq_f32(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vmulq_f32(a, b) }
            }
            #[inline(always)]
            fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vdivq_f32(a, b) }
            }
            #[inline(always)]
            fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vfmaq_f32(c, a, b) }
            }
            #[inline(always)]
            fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vmaxq_f32(a, b) }
            }
            #[inline(always)]
            fn abs(self, x: float32x4_t) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vabsq_f32(x) }
            }
            #[inline(always)]
            fn round(self, x: float32x4_t) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vrndnq_f32(x) }
            }
            #[inline(always)]
            fn pow2(self, x: float32x4_t) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtnq_s32_f32(x), vdupq_n_s32(127)))) }
            }
            #[inline(always)]
            fn sum(self, x: float32x4_t) -> f32 {
                // SAFETY: see the head of the file.
                unsafe { vaddvq_f32(x) }
            }
            #[inline(always)]
            fn max_lane(self, x: float32x4_t) -> f32 {
                // SAFETY: see the head of the file.
                unsafe { vmaxvq_f32(x) }
            }
            #[inline(always)]
            fn load_f16(self, from: &[u16]) -> float32x4_t {
                assert!(from.len() >= LANES);
                let wide;
                // SAFETY: see the head of the file; the length is checked. Assembly, since `float16x4_t` is not stable.
                unsafe {
                    let narrow = vld1_u16(from.as_ptr());
                    asm!("fcvtl {wide:v}.4s, {narrow:v}.4h", wide = out(vreg) wide, narrow = in(vreg) narrow,
                        options(pure, nomem, nostack, preserves_flags));
                }
                wide
            }
            #[inline(always)]
            fn store_f16(self, x: float32x4_t, to: &mut [u16]) {
                assert!(to.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked. Assembly, since `float16x4_t` is not stable.
                unsafe {
                    asm!("fcvtn {narrow:v}.4h, {wide:v}.4s", "st1 {{{narrow:v}.4h}}, [{to}]",
                        wide = in(vreg) x, narrow = out(vreg) _, to = in(reg) to.as_mut_ptr(),
                        options(nostack, preserves_flags));
                }
            }
            #[inline(always)]
            fn load_bf16(self, from: &[u16]) -> float32x4_t {
                assert!(from.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked.
                unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(from.as_ptr())))) }
            }
            #[inline(always)]
            fn store_i8(self, x: float32x4_t, to: &mut [i8]) {
                assert!(to.len() >= LANES);
                // SAFETY: see the head of the file; the length is checked.
                unsafe {
                    let words = vqmovn_s32(vcvtnq_s32_f32(x));
                    let bytes = vqmovn_s16(vcombine_s16(words, words));
                    vst1_lane_s32::<0>(to.as_mut_ptr().cast(), vreinterpret_s32_s8(bytes));
                }
            }

            #[inline(always)]
            fn splat_i32(self, x: i32) -> int32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vdupq_n_s32(x) }
            }
            #[inline(always)]
            fn add_i32(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vaddq_s32(a, b) }
            }
            #[inline(always)]
            fn to_f32(self, x: int32x4_t) -> float32x4_t {
                // SAFETY: see the head of the file.
                unsafe { vcvtq_f32_s32(x) }
            }

            #[inline(always)]
            unsafe fn dot4<const SIGNED: bool>(self, acc: int32x4_t, weights: *const u8, x: *const i8) -> int32x4_t {
                // SAFETY: see the head of the file; the caller vouches for both ranges. Unsigned weights are at most
                // 127, so they are the same number as signed bytes.
                unsafe {
                    let x = vreinterpretq_s8_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned()));
                    $dot(acc, vreinterpretq_s8_u8(vld1q_u8(weights)), x)
                }
            }

            #[inline(always)]
            unsafe fn bytes(self, from: *const u8) -> Self::Bytes {
                // SAFETY: see the head of the file; the caller vouches for the range.
                unsafe { [vld1q_u8(from), vld1q_u8(from.add(16))] }
            }
            #[inline(always)]
            unsafe fn nibbles(self, from: *const u8) -> Self::Bytes {
                // SAFETY: see the head of the file; the caller vouches for the range.
                unsafe {
                    let packed = vld1q_u8(from);
                    [vandq_u8(packed, vdupq_n_u8(15)), vshrq_n_u8::<4>(packed)]
                }
            }
            #[inline(always)]
            fn bits(self, bits: u32, value: u8) -> Self::Bytes {
                const OWN_BIT: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
                let own_byte = bits.to_le_bytes();
                // SAFETY: see the head of the file; the table has 8 bytes.
                unsafe {
                    let own_bit = vcombine_u8(vld1_u8(OWN_BIT.as_ptr()), vld1_u8(OWN_BIT.as_ptr()));
                    let first = vcombine_u8(vdup_n_u8(own_byte[0]), vdup_n_u8(own_byte[1]));
                    let last = vcombine_u8(vdup_n_u8(own_byte[2]), vdup_n_u8(own_byte[3]));
                    let value = vdupq_n_u8(value);
                    [vandq_u8(vtstq_u8(first, own_bit), value), vandq_u8(vtstq_u8(last, own_bit), value)]
                }
            }
            #[inline(always)]
            fn shift_right(self, x: Self::Bytes, shift: u32, mask: u8) -> Self::Bytes {
                // SAFETY: see the head of the file.
                unsafe {
                    let (shift, mask) = (vdupq_n_s8(-(shift as i8)), vdupq_n_u8(mask));
                    [vandq_u8(vshlq_u8(x[0], shift), mask), vandq_u8(vshlq_u8(x[1], shift), mask)]
                }
            }
            #[inline(always)]
            fn shift_left(self, x: Self::Bytes, shift: u32) -> Self::Bytes {
                // SAFETY: see the head of the file.
                unsafe {
                    let shift = vdupq_n_s8(shift as i8);
                    [vshlq_u8(x[0], shift), vshlq_u8(x[1], shift)]
                }
            }
            #[inline(always)]
            fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
                // SAFETY: see the head of the file.
                unsafe { [vorrq_u8(a[0], b[0]), vorrq_u8(a[1], b[1])] }
            }
            #[inline(always)]
            fn signed(self, x: Self::Bytes) -> Self::Bytes {
                x
            }
            #[inline(always)]
            fn store_bytes(self, x: Self::Bytes, to: &mut [u8; 32]) {
                // SAFETY: see the head of the file; the array has 32 bytes.
                unsafe {
                    vst1q_u8(to.as_mut_ptr(), x[0]);
                    vst1q_u8(to.as_mut_ptr().add(16), x[1]);
                }
            }
            #[inline(always)]
            fn dot32<const SIGNED: bool>(self, weights: Self::Bytes, x: Self::Bytes) -> Self::Partial {
                // SAFETY: see the head of the file.
                unsafe {
                    let zero = vdupq_n_s32(0);
                    [
                        $dot(zero, vreinterpretq_s8_u8(weights[0]), vreinterpretq_s8_u8(x[0])),
                        $dot(zero, vreinterpretq_s8_u8(weights[1]), vreinterpretq_s8_u8(x[1])),
                    ]
                }
            }
            #[inline(always)]
            fn reduce(self, p: &[Self::Partial; MAX_LANES]) -> [int32x4_t; 2] {
                // SAFETY: see the head of the file.
                unsafe {
                    [
                        vpaddq_s32(vpaddq_s32(p[0][0], p[1][0]), vpaddq_s32(p[2][0], p[3][0])),
                        vpaddq_s32(vpaddq_s32(p[0][1], p[1][1]), vpaddq_s32(p[2][1], p[3][1])),
                    ]
                }
            }
        }
    };
}

neon!(Neon, dot_widening);
neon!(NeonDot, dot_instruction);
