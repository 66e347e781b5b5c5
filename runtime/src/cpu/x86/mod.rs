//! x86-64: AVX2, and AVX-512 with the byte dot product.

mod avx2;
mod avx512;
