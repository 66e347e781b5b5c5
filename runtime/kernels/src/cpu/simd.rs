//! The primitives that the kernels of [`crate::ops`] are written in.
//!
//! A kernel is an algorithm over [`Simd`], written once. An instruction set supplies the
//! primitives, and [`Isa::dispatch`](super::Isa::dispatch) compiles the kernel for each of them.
//!
//! Every operation on `f32` is one IEEE operation (`fma` rounds once), and integer dot products are
//! exact. A float reduction is one of two: an accumulator for each result, or [`PartialSums`], of
//! which there are 16 on every instruction set. So every kernel is bit-identical on every
//! instruction set; the constants of [`Simd`] tune nothing but its speed.

/// The most lanes of any instruction set: the size of stack arrays that hold one value a lane.
pub const MAX_LANES: usize = 16;

/// The stride of the activations of [`Simd::dot4s`] and [`Simd::gemm_tile`]: bytes from one token
/// to the next.
pub const STRIDE: usize = 32;

/// Expands `$with!` with every tile that an instruction set may have: for a GEMV of a few tokens,
/// which reads packed weights as they are, `tokens: vectors of rows`; for a GEMM, which reads
/// unpacked int8 tiles, `tokens: panels, vectors of rows`.
macro_rules! tiles {
    ($with:ident) => {
        $with! { gemv { 3: 2; 5: 1; 8: 1; 10: 1; } gemm { 3: 1, 2; 4: 1, 2; 5: 2, 2; 16: 1, 1; } }
    };
}
pub(crate) use tiles;

macro_rules! largest {
    (gemv { $($gemv:literal: $rows:literal;)+ } gemm { $($gemm:literal: $panels:literal, $vectors:literal;)+ }) => {{
        let (tokens, mut most, mut i) = ([$($gemv,)+ $($gemm),+], 0, 0);
        while i < tokens.len() {
            most = if tokens[i] > most { tokens[i] } else { most };
            i += 1;
        }
        most
    }};
}

/// Tokens of the largest tile of any instruction set.
pub const MAX_TILE: usize = tiles!(largest);

/// An algorithm over the primitives, with its arguments as fields.
///
/// `run` must be `#[inline(always)]`, so that it is compiled inside the function that enables the
/// instruction set.
pub trait Kernel {
    /// What the kernel gives back.
    type Output;

    /// What it needs of an instruction set. It runs on the plainest of those that do not differ in
    /// that: one copy of its code serves them all.
    const NEEDS: Needs = Needs::Vectors;

    /// Runs the kernel with the primitives of `isa`.
    fn run<S: Simd>(self, isa: S) -> Self::Output;
}

/// What a [`Kernel`] needs of an instruction set: each has what those before it have.
#[derive(Clone, Copy, Debug)]
pub enum Needs {
    /// Vectors of floats, integers and bytes.
    Vectors,
    /// Byte dot products: [`Simd::dot4`], [`Simd::dot4s`].
    Products,
    /// GEMM tiles, and weights as they take them: [`Simd::gemm_tile`], [`Simd::pair`],
    /// [`Simd::centre`].
    Tiles,
}

/// A vector instruction set: a copyable token and its primitives.
pub trait Simd: Copy + Send + Sync + 'static {
    /// `f32` and `i32` lanes of a vector: also the rows that a quantized matmul works on at once.
    /// 4, 8 or 16.
    const LANES: usize;
    /// Vectors of rows that a GEMV of one token works on at once: 4, or 0 where it unpacks the
    /// weights first, as a GEMM does.
    const GEMV_ROWS: usize;
    /// Tokens of the tiles of a GEMV of a few tokens, which reads packed weights as they are, the
    /// smallest first: see `tiles!`.
    const GEMV_TILES: &'static [usize] = &[];
    /// Tokens of a GEMV, at most: for more, unpacking the weights first is faster.
    const GEMV_TOKENS: usize = 1;
    /// Tokens of the tile of a GEMM, one of `tiles!`.
    const GEMM_TILE: usize;
    /// Whether there are registers to hold what all scales of a block have in common while the
    /// block is read.
    const HOLDS_BLOCK_SCALES: bool;
    /// Whether a GEMV prefetches to L1; else to L2, where vectors of whole cache lines are faster
    /// than L1 is filled.
    const PREFETCHES_L1: bool;
    /// Whether a dot product takes a word of a vector that has four, so that [`Simd::dot16s`] is
    /// faster. A GEMV then multiplies all vectors of rows at once; else one by one, as there are
    /// fewer registers.
    const TAKES_FOUR_WORDS: bool = false;
    /// Queries that attention computes together, at most: 4 or 8.
    const QUERY_TILE: usize;
    /// Accumulators of scores at once: enough to hide the latency of `fma`, as far as there are
    /// registers. 8 or 16.
    const SCORE_ACCUMULATORS: usize;
    /// Vectors of weighted values at once, as there are registers for: 8 or 16.
    const VALUE_ACCUMULATORS: usize;
    /// What [`Simd::signed`] adds to bytes: the zero point of signed weights in the form that
    /// `dot4` takes.
    const SIGNED_ZERO: i32;
    /// Whether [`Simd::gemm_tile`] takes signed weights, as [`Simd::centre`] makes them, rather
    /// than those that `dot4` takes.
    const CENTRED: bool;

    /// `LANES` floats.
    type F32: Copy;
    /// `LANES` 32-bit integers.
    type I32: Copy;
    /// A run of byte dot products, summed: narrower integers, where those are faster.
    type Partial: Copy;
    /// Four bytes for each lane.
    type Bytes: Copy;
    /// Registers that [`Simd::gemm_tile`] uses while this lives; `()` where it needs no others.
    /// Where it does, a tile has [`Simd::GEMM_TILE`] tokens, no fewer.
    type Registers;

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
    /// `y` where `a > b`, else 0.
    fn where_above(self, a: Self::F32, b: Self::F32, y: Self::F32) -> Self::F32;
    /// The absolute value.
    fn abs(self, x: Self::F32) -> Self::F32;
    /// Rounded to the nearest integer, ties to even.
    fn round(self, x: Self::F32) -> Self::F32;
    /// `2^x` for an integral `x` of -126 to 127.
    fn pow2(self, x: Self::F32) -> Self::F32;
    /// The sum of the lanes: the upper half is added to the lower half until one lane is left.
    fn sum(self, x: Self::F32) -> f32;
    /// The greatest lane.
    fn max_lane(self, x: Self::F32) -> f32;
    /// The first `LANES` half-precision floats (IEEE binary16 bits) of `from`, widened.
    fn load_f16(self, from: &[u16]) -> Self::F32;
    /// The first `LANES` signed bytes of `from`, widened.
    fn load_i8(self, from: &[i8]) -> Self::F32;
    /// The first `LANES` bytes of `from`, widened.
    fn load_u8(self, from: &[u8]) -> Self::F32;
    /// The first `LANES` 16-bit integers of `from`, each in the first two bytes of its lane.
    fn load_u16(self, from: &[u16]) -> Self::Bytes;
    /// Narrows to half precision (nearest, ties to even) and writes to the first `LANES` places of
    /// `to`.
    fn store_f16(self, x: Self::F32, to: &mut [u16]);
    /// The first `LANES` bfloat16 of `from`, widened.
    fn load_bf16(self, from: &[u16]) -> Self::F32;
    /// Rounds to integers (nearest, ties to even), saturated to -128..=127, into the first `LANES`
    /// places of `to`.
    fn store_i8(self, x: Self::F32, to: &mut [i8]);

    /// All lanes `x`.
    fn splat_i32(self, x: i32) -> Self::I32;
    /// `a + b`
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// `x << shift`
    fn shift_i32(self, x: Self::I32, shift: u32) -> Self::I32;
    /// Converted to floats (nearest, ties to even).
    fn to_f32(self, x: Self::I32) -> Self::F32;

    /// Byte products that [`Simd::Partial`] holds the sum of, if no weight is further from 0 than
    /// `most` (at most 128): at least 1.
    fn run_length(most: i32) -> usize;
    /// The start of a run of byte products, to which `start` will be added in the end.
    fn begin(self, start: Self::I32) -> Self::Partial;
    /// The byte dot product: for each lane, that of its four bytes in `weights` and in `x`
    /// (signed), added to `run`.
    ///
    /// Unsigned weights are at most 127. `SIGNED` weights went through [`Simd::signed`], which adds
    /// [`Simd::SIGNED_ZERO`]: the caller takes that back by the sum of `x`.
    fn dot4<const SIGNED: bool>(self, run: Self::Partial, weights: Self::Bytes, x: Self::Bytes) -> Self::Partial;
    /// [`Simd::dot4`] for `R` vectors of weights by `C` tokens, whose next four bytes are at `x`,
    /// [`STRIDE`] bytes apart: one of `length` such products of a run.
    ///
    /// # Safety
    /// Each token is readable for 4 bytes.
    #[inline(always)]
    unsafe fn dot4s<const SIGNED: bool, const R: usize, const C: usize>(
        self,
        runs: &mut [[Self::Partial; C]; R],
        weights: [Self::Bytes; R],
        x: *const i8,
        length: usize,
    ) {
        let _ = length;
        // SAFETY: passed on from the caller.
        unsafe { dot4s::<Self, SIGNED, R, C>(self, runs, weights, x) }
    }
    /// [`Simd::dot4s`] of four words: 16 bytes of each token.
    ///
    /// # Safety
    /// Each token is readable for 16 bytes.
    #[inline(always)]
    unsafe fn dot16s<const SIGNED: bool, const R: usize, const C: usize>(
        self,
        runs: &mut [[Self::Partial; C]; R],
        weights: [[Self::Bytes; R]; 4],
        x: *const i8,
    ) {
        for (word, weights) in weights.into_iter().enumerate() {
            // SAFETY: passed on from the caller.
            unsafe { dot4s::<Self, SIGNED, R, C>(self, runs, weights, x.add(4 * word)) };
        }
    }
    /// `start`, with which the run began, plus its products.
    fn end(self, start: Self::I32, run: Self::Partial) -> Self::I32;

    /// The registers of this thread: the witness that [`Simd::gemm_tile`] takes.
    fn registers(self) -> Self::Registers;
    /// The GEMM tile: for each lane of `R` vectors of rows, the dot products of `4 * words` weights
    /// with the activations of `C` tokens, which are [`STRIDE`] bytes apart, added to `start`.
    ///
    /// The words of a vector are 64 bytes apart, pair by pair in the order of [`Simd::pair`]; no
    /// weight is further from 0 than `most`, and `SIGNED` ones went through [`Simd::signed`],
    /// unless they are all [`Simd::CENTRED`].
    ///
    /// # Safety
    /// Each vector has its words, an even number, at a multiple of `4 * LANES`; each token is
    /// readable for `4 * words` bytes.
    ///
    /// # Panics
    /// If the instruction set has [`Simd::Registers`] and `C` is not [`Simd::GEMM_TILE`].
    #[inline(always)]
    unsafe fn gemm_tile<const SIGNED: bool, const R: usize, const C: usize>(
        self,
        _registers: &Self::Registers,
        words: usize,
        most: i32,
        weights: [*const u8; R],
        x: *const i8,
        start: [Self::I32; C],
    ) -> [[Self::I32; C]; R] {
        // SAFETY: passed on from the caller.
        unsafe { dots::<Self, Strided, SIGNED, R, C>(self, words, most, weights.map(Strided), x, start) }
    }
    /// Two neighbouring words of a vector's rows, in the order in which [`Simd::gemm_tile`] takes
    /// them.
    #[inline(always)]
    fn pair(self, words: [Self::Bytes; 2]) -> [Self::Bytes; 2] {
        words
    }
    /// Bytewise `x - zero`, if the GEMM tile takes such ([`Simd::CENTRED`]).
    fn centre(self, x: Self::Bytes, zero: u8) -> Self::Bytes;

    /// Four bytes for each lane from memory.
    ///
    /// # Safety
    /// `from` is readable for `4 * LANES` bytes.
    unsafe fn bytes(self, from: *const u8) -> Self::Bytes;
    /// The same four bytes for all lanes.
    ///
    /// # Safety
    /// `from` is readable for 4 bytes.
    unsafe fn splat_bytes(self, from: *const i8) -> Self::Bytes;
    /// Writes them to memory.
    ///
    /// # Safety
    /// `to` is writable for `4 * LANES` bytes.
    unsafe fn store_bytes(self, x: Self::Bytes, to: *mut u8);
    /// Bytewise `(x >> shift) & mask`, where `mask` has no bit that a neighbouring byte could
    /// reach.
    fn shift_right(self, x: Self::Bytes, shift: u32, mask: u8) -> Self::Bytes;
    /// Bytewise `x << shift`, where no byte overflows.
    fn shift_left(self, x: Self::Bytes, shift: u32) -> Self::Bytes;
    /// Bytewise `a | b`.
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Bytewise `a + b`, modulo 256.
    fn add_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Bytewise 1 where an unsigned `x` is `limit` (1 to 255) or more, else 0.
    fn is_at_least(self, x: Self::Bytes, limit: u8) -> Self::Bytes;
    /// Bytewise `-x` where `negative` is 0xff, and `x` where it is 0.
    fn negate(self, x: Self::Bytes, negative: Self::Bytes) -> Self::Bytes;
    /// Bytewise `table[x]`, for bytes of 0 to 15.
    fn lookup(self, table: &[i8; 16], x: Self::Bytes) -> Self::Bytes;
    /// `table[index]` for each lane, the lowest byte first.
    ///
    /// # Safety
    /// Each index is one of the table's.
    unsafe fn gather(self, table: &[u32], index: Self::I32) -> Self::Bytes;
    /// Byte `i` of each lane 0xff where bit `i` (0 to 3) of `x` is set, else 0; `x` is 0 to 15.
    fn byte_mask(self, x: Self::I32) -> Self::Bytes;
    /// `(x >> shift) & mask` of the four bytes of each lane as one integer, the lowest first.
    fn bits(self, x: Self::Bytes, shift: u32, mask: u32) -> Self::I32;
    /// Signed bytes in the form that `dot4` takes: `x + SIGNED_ZERO`.
    fn signed(self, x: Self::Bytes) -> Self::Bytes;
    /// Byte `i` (0 to 3) of each lane, widened.
    fn byte<const SIGNED: bool>(self, x: Self::Bytes, i: usize) -> Self::I32;
}

/// The accumulator of a float reduction over the elements of a row: 16 partial sums, in as many
/// vectors as hold them. Partial sum `i` takes the elements `i`, `i + 16`, `i + 32` and so on; a
/// row is padded to whole blocks of 16. At the end the upper half is added to the lower half until
/// one sum is left.
#[derive(Clone, Copy, Debug)]
pub struct PartialSums<S: Simd>([S::F32; MAX_VECTORS]);

/// The most vectors that [`MAX_LANES`] lanes take: those of the shortest vectors, of four lanes.
const MAX_VECTORS: usize = MAX_LANES / 4;

impl<S: Simd> PartialSums<S> {
    /// Vectors in use.
    pub const VECTORS: usize = MAX_LANES / S::LANES;

    /// All zero.
    #[inline(always)]
    pub fn new(isa: S) -> Self {
        const { assert!(Self::VECTORS <= MAX_VECTORS && Self::VECTORS * S::LANES == MAX_LANES) };
        Self([isa.splat(0.0); MAX_VECTORS])
    }

    /// Adds `x`, vector `vector` of a block of 16 elements.
    #[inline(always)]
    pub fn add(&mut self, isa: S, vector: usize, x: S::F32) {
        self.0[vector] = isa.add(self.0[vector], x);
    }

    /// Adds `a * b`, of vector `vector` of a block of 16 elements; rounded once.
    #[inline(always)]
    pub fn fma(&mut self, isa: S, vector: usize, a: S::F32, b: S::F32) {
        self.0[vector] = isa.fma(a, b, self.0[vector]);
    }

    /// The sum of all.
    #[inline(always)]
    pub fn sum(mut self, isa: S) -> f32 {
        let mut vectors = Self::VECTORS;
        while vectors > 1 {
            vectors /= 2;
            for i in 0..vectors {
                self.0[i] = isa.add(self.0[i], self.0[i + vectors]);
            }
        }
        isa.sum(self.0[0])
    }
}

/// Where the weights of a vector of rows are.
pub trait WeightSource: Copy {
    /// Word `word` of each row.
    ///
    /// # Safety
    /// The vector has that word.
    unsafe fn word<S: Simd>(self, isa: S, word: usize) -> S::Bytes;
}

/// Words that are 64 bytes apart, from that of the first row on.
#[derive(Clone, Copy)]
pub(super) struct Strided(pub(super) *const u8);

impl WeightSource for Strided {
    #[inline(always)]
    unsafe fn word<S: Simd>(self, isa: S, word: usize) -> S::Bytes {
        // SAFETY: the caller vouches for the word.
        unsafe { isa.bytes(self.0.add(4 * MAX_LANES * word)) }
    }
}

/// [`Simd::dot4s`] one by one.
///
/// # Safety
/// As [`Simd::dot4s`].
#[inline(always)]
pub unsafe fn dot4s<S: Simd, const SIGNED: bool, const R: usize, const C: usize>(
    isa: S,
    runs: &mut [[S::Partial; C]; R],
    weights: [S::Bytes; R],
    x: *const i8,
) {
    for c in 0..C {
        // SAFETY: the caller vouches for the activations.
        let x = unsafe { isa.splat_bytes(x.add(STRIDE * c)) };
        for r in 0..R {
            runs[r][c] = isa.dot4::<SIGNED>(runs[r][c], weights[r], x);
        }
    }
}

/// [`Simd::gemm_tile`] by way of [`Simd::dot4`], of weights wherever they are.
///
/// # Safety
/// Each vector has `words` words; each token, [`STRIDE`] bytes from the one before, is readable
/// for `4 * words` bytes.
#[inline(always)]
pub unsafe fn dots<S: Simd, W: WeightSource, const SIGNED: bool, const R: usize, const C: usize>(
    isa: S,
    words: usize,
    most: i32,
    weights: [W; R],
    x: *const i8,
    start: [S::I32; C],
) -> [[S::I32; C]; R] {
    let run_length = S::run_length(most).min(words);
    let mut sums = [[isa.splat_i32(0); C]; R];
    for first in (0..words).step_by(run_length) {
        let start = |c: usize| if first == 0 { start[c] } else { isa.splat_i32(0) };
        let mut runs: [[S::Partial; C]; R] = [std::array::from_fn(|c| isa.begin(start(c))); R];
        let rows = |word: usize| {
            // SAFETY: the caller vouches for the words.
            let mut bytes = unsafe { [weights[0].word(isa, word); R] };
            for r in 1..R {
                // SAFETY: the caller vouches for the words.
                bytes[r] = unsafe { weights[r].word(isa, word) };
            }
            bytes
        };
        let end = words.min(first + run_length);
        // SAFETY: the caller vouches for the activations.
        let mut four = |word: usize| unsafe {
            let four = [rows(word), rows(word + 1), rows(word + 2), rows(word + 3)];
            isa.dot16s::<SIGNED, R, C>(&mut runs, four, x.add(4 * word));
        };
        // Not a loop: the compiler does not unroll one of this size.
        match end - first {
            4 if S::TAKES_FOUR_WORDS => four(first),
            8 if S::TAKES_FOUR_WORDS => {
                four(first);
                four(first + 4);
            }
            _ => {
                for word in first..end {
                    // SAFETY: the caller vouches for the activations.
                    unsafe { isa.dot4s::<SIGNED, R, C>(&mut runs, rows(word), x.add(4 * word), run_length) };
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                let run = isa.end(start(c), runs[r][c]);
                sums[r][c] = if first == 0 { run } else { isa.add_i32(sums[r][c], run) };
            }
        }
    }
    sums
}

/// Prefetches the cache line at `at` to L1 or to L2 (64-bit Arm: to L1); any address will do.
#[inline(always)]
pub fn prefetch<const L1: bool>(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every 64-bit x86 processor has the instructions, which fault on no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        if L1 { _mm_prefetch::<_MM_HINT_T0>(at.cast()) } else { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the instruction faults on no address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// Primitives of an instruction set that are intrinsics on values alone.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! values {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty $body:block)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($argument: $type),*) -> $result {
                // SAFETY: the token `self` exists only on a processor that has these instructions,
                // which touch nothing but their operands.
                unsafe { $body }
            }
        )+
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use values;
