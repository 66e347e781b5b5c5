//! The float formats of weights.

use crate::cpu::Simd;

/// A float format of weights.
///
/// # Safety
/// The type is a plain number: every bit pattern is valid, and it has no padding.
pub(super) unsafe trait Float: Copy {
    /// 0
    const ZERO: Self;
    /// The first `LANES` weights, widened.
    fn load<S: Simd>(isa: S, from: &[Self]) -> S::F32;
}

// SAFETY: every bit pattern is a float.
unsafe impl Float for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn load<S: Simd>(isa: S, from: &[Self]) -> S::F32 {
        isa.load(from)
    }
}

/// IEEE binary16 bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct F16(u16);

/// bfloat16 bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Bf16(u16);

/// The bits of half-precision numbers.
macro_rules! half_float {
    ($name:ident, $load:ident) => {
        // SAFETY: a transparent wrapper of `u16`, of which every bit pattern is valid.
        unsafe impl Float for $name {
            const ZERO: Self = Self(0);

            #[inline(always)]
            fn load<S: Simd>(isa: S, from: &[Self]) -> S::F32 {
                // SAFETY: the type is a transparent wrapper of `u16`.
                isa.$load(unsafe { std::slice::from_raw_parts(from.as_ptr().cast(), from.len()) })
            }
        }
    };
}

half_float!(F16, load_f16);
half_float!(Bf16, load_bf16);
