//! x86-64: AVX2, AVX-512 with the byte dot product, and AMX.

mod amx;
mod avx2;
mod avx512;

pub(super) use amx::is_permitted as amx_is_permitted;
