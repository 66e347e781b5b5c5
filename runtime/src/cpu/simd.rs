//! The primitives that the kernels of [`crate::ops`] are written in.
//!
//! A kernel is an algorithm over [`Simd`], written once. An instruction set supplies the primitives, and
//! [`Isa::dispatch`](super::Isa::dispatch) compiles the kernel for each of them.
//!
//! Every operation on `f32` is one IEEE operation (`fma` rounds once), and byte products are exact integers. A kernel
//! that keeps one accumulator a lane therefore gives the same bits on every instruction set.

/// The most lanes of any instruction set: the size of stack arrays that hold one value a lane.
pub const MAX_LANES: usize = 16;

/// An algorithm over the primitives, with its arguments as fields.
///
/// `run` must be `#[inline(always)]`, so that it is compiled inside the function that enables the instruction set.
pub trait Kernel {
    /// What the kernel gives back.
    type Output;

    /// Runs the kernel with the primitives of `isa`.
    fn run<S: Simd>(self, isa: S) -> Self::Output;
}

/// A vector instruction set: a copyable token and its primitives.
pub trait Simd: Copy + Send + Sync + 'static {
    /// `f32` and `i32` lanes of a vector: also the rows that a quantized product works on at once. Divides 16.
    const LANES: usize;
    /// Vectors of results that a quantized product keeps in registers: a power of two.
    const TILE: usize;
    /// What [`Simd::signed`] adds to bytes: the zero point of signed weights in the form that `dot4` takes.
    const SIGNED_ZERO: i32;

    /// `LANES` floats.
    type F32: Copy;
    /// `LANES` 32-bit integers.
    type I32: Copy;
    /// Sums of a run of byte products: narrower integers, where those are faster.
    type Partial: Copy;
    /// Four bytes for each lane.
    type Bytes: Copy;

    /// Runs `kernel` compiled for this instruction set.
    fn enter<K: Kernel>(self, kernel: K) -> K::Output;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F32;
    /// The first `LANES` floats of `from`, which must have as many.
    fn load(self, from: &[f32]) -> Self::F32;
    /// Writes to the first `LANES` floats of `to`, which must have as many.
    fn store(self, x: Self::F32, to: &mut [f32]);
    /// `a + b`
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The greater of both; NaN when `b` is, unspecified when only `a` is.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The absolute value.
    fn abs(self, x: Self::F32) -> Self::F32;
    /// Rounded to the nearest integer, ties to even.
    fn round(self, x: Self::F32) -> Self::F32;
    /// `2^x` for an integral `x` of -126 to 127.
    fn pow2(self, x: Self::F32) -> Self::F32;
    /// The sum of the lanes, in an order that the instruction set fixes.
    fn sum(self, x: Self::F32) -> f32;
    /// The greatest lane.
    fn max_lane(self, x: Self::F32) -> f32;
    /// The first `LANES` half-precision floats (IEEE binary16 bits) of `from`, widened.
    fn load_f16(self, from: &[u16]) -> Self::F32;
    /// Narrows to half precision (nearest, ties to even) and writes to the first `LANES` places of `to`.
    fn store_f16(self, x: Self::F32, to: &mut [u16]);
    /// The first `LANES` bfloat16 of `from`, widened.
    fn load_bf16(self, from: &[u16]) -> Self::F32;
    /// Rounds to integers (nearest, ties to even), saturated to -128..=127, into the first `LANES` places of `to`.
    fn store_i8(self, x: Self::F32, to: &mut [i8]);

    /// All lanes `x`.
    fn splat_i32(self, x: i32) -> Self::I32;
    /// `a + b`
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Converted to floats (nearest, ties to even).
    fn to_f32(self, x: Self::I32) -> Self::F32;

    /// Byte products that [`Simd::Partial`] holds the sum of, if no weight is further from 0 than `most` (at most 128):
    /// at least 1.
    fn run_length(most: i32) -> usize;
    /// The start of a run of byte products that will be added to `sums`.
    fn begin(self, sums: Self::I32) -> Self::Partial;
    /// For each lane, the product of its four bytes in `weights` with the four of `x`, added to `run`.
    ///
    /// Unsigned weights are at most 127. `SIGNED` weights went through [`Simd::signed`], which adds
    /// [`Simd::SIGNED_ZERO`]: the caller takes that back by the sum of `x`.
    ///
    /// # Safety
    /// `x` is readable for 4 bytes.
    unsafe fn dot4<const SIGNED: bool>(self, run: Self::Partial, weights: Self::Bytes, x: *const i8) -> Self::Partial;
    /// `sums`, with which the run began, plus its products.
    fn end(self, sums: Self::I32, run: Self::Partial) -> Self::I32;

    /// Four bytes for each lane from memory.
    ///
    /// # Safety
    /// `from` is readable for `4 * LANES` bytes.
    unsafe fn bytes(self, from: *const u8) -> Self::Bytes;
    /// Bytewise `(x >> shift) & mask`, where `mask` has no bit that a neighbouring byte could reach.
    fn shift_right(self, x: Self::Bytes, shift: u32, mask: u8) -> Self::Bytes;
    /// Bytewise `x << shift`, where no byte overflows.
    fn shift_left(self, x: Self::Bytes, shift: u32) -> Self::Bytes;
    /// Bytewise `a | b`.
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Signed bytes in the form that `dot4` takes: `x + SIGNED_ZERO`.
    fn signed(self, x: Self::Bytes) -> Self::Bytes;
    /// Byte `i` (0 to 3) of each lane, widened.
    fn byte<const SIGNED: bool>(self, x: Self::Bytes, i: usize) -> Self::I32;
}
