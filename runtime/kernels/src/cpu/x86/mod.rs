//! x86-64: AVX2, AVX-512 with the byte dot product, and AMX.

/// Multiplies a word of weights by activations of several tokens that are `STRIDE` bytes apart, in
/// assembly: the sums, registers that are read and written; the weights; registers that are used on
/// the way; the instructions, for which `x` is the first token.
///
/// # Safety
/// The processor has the instructions, which read the activations alone and write none.
macro_rules! multiply {
    ($class:ident, $x:ident, [$($sum:ident)+], [$($weights:ident)+], [$($scratch:tt)*], $($line:expr,)+) => {
        std::arch::asm!(
            $($line,)+
            $($sum = inout($class) *$sum,)+
            $($weights = in($class) $weights,)+
            $(out($scratch) _,)*
            x = in(reg) $x,
            stride = const crate::cpu::simd::STRIDE,
            options(pure, readonly, nostack, preserves_flags)
        )
    };
}

mod amx;
mod avx2;
mod avx512;

pub(super) use amx::is_permitted as amx_is_permitted;
