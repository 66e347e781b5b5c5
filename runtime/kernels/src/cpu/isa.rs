//! Instruction sets as tokens: a value of such a type exists only after the processor was asked, so
//! a kernel that takes one may use its instructions. Each feature list is written once, here.

use super::simd::Kernel;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::simd::Needs;

/// Defines a token: its feature detection, and the dispatch of kernels to its `target_feature`
/// function. `as Other below Tiles`: it is `Other` to kernels that need less than tiles.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $detected:path, [$($feature:tt),+] $(, if $also:expr)? $(, as $base:ident below $need:ident)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(());

        impl $name {
            /// The token, if this processor has every feature of the set.
            pub fn new() -> Option<Self> {
                use $detected as detected;
                ($(detected!($feature))&&+ $(&& $also)?).then_some(Self(()))
            }

            /// Runs `kernel` compiled for this instruction set.
            #[inline]
            pub(super) fn enter<K: Kernel>(self, kernel: K) -> K::Output {
                // A function of its own, whose arrays are on the stack only while it runs.
                #[inline(never)]
                #[target_feature($(enable = $feature),+)]
                unsafe fn with_features<K: Kernel>(isa: $name, kernel: K) -> K::Output {
                    kernel.run(isa)
                }
                $(if const { (K::NEEDS as u8) < Needs::$need as u8 } {
                    // The processor has that set too.
                    return $base(()).enter(kernel);
                })?
                // SAFETY: the token exists only if `new` has found every feature of the list on
                // this processor.
                unsafe { with_features(self, kernel) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX2 with FMA and half-precision conversion (x86-64-v3: Haswell, Zen and later).
    Avx2,
    std::arch::is_x86_feature_detected,
    ["avx2", "fma", "f16c"]
);

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX-512 with the byte dot product (Ice Lake, Zen 4 and later).
    Avx512Vnni,
    std::arch::is_x86_feature_detected,
    ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"]
);

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX-512 with the byte dot product, and AMX, whose tiles multiply many tokens at once
    /// (Sapphire Rapids and later).
    Amx,
    std::arch::is_x86_feature_detected,
    ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"],
    if super::x86::amx_is_permitted(),
    as Avx512Vnni below Tiles
);

#[cfg(target_arch = "aarch64")]
token!(
    /// NEON, which every 64-bit Arm application processor has.
    Neon,
    std::arch::is_aarch64_feature_detected,
    ["neon"]
);

#[cfg(target_arch = "aarch64")]
token!(
    /// NEON with the byte dot product (Cortex-A75/A76, Apple A11 and later).
    NeonDot,
    std::arch::is_aarch64_feature_detected,
    ["neon", "dotprod"],
    as Neon below Products
);

#[cfg(target_arch = "aarch64")]
token!(
    /// NEON with int8 matrix multiplication, i8mm (Cortex-A510/A710, Apple A15 and later).
    NeonI8mm,
    std::arch::is_aarch64_feature_detected,
    ["neon", "dotprod", "i8mm"],
    as NeonDot below Tiles
);

/// 128-bit vectors of WebAssembly. A module that was compiled with them loads only where they are.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[derive(Clone, Copy, Debug)]
pub struct Simd128(());

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
impl Simd128 {
    /// The token: this module has them.
    pub const fn new() -> Option<Self> {
        Some(Self(()))
    }

    #[inline(never)]
    pub(super) fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

/// Portable code: the reference of every other instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
impl Scalar {
    #[inline(never)]
    pub(super) fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}
