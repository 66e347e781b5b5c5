//! Matmul benchmark: each weight type against its roofline (peak bandwidth, peak multiplications),
//! on one thread and every instruction set.
//!
//! `cargo bench -p ollm-runtime --bench matmul`. `step` is a GEMV (one token) of more weights than
//! the caches hold, in bytes of weights a second; compare with `read`, which only reads as many.
//! `prompt` is a matmul of 256 tokens and `options` of ten, in multiply-adds a second; compare with
//! `peak`, which multiplies data in L1. `branches` is `options` with more weights than the caches
//! hold, and `batch` the same of 16 tokens.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

use ollm_runtime::cpu::simd::MAX_LANES;
use ollm_runtime::cpu::{Isa, Kernel, Needs, Pool, Simd};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::ops::{Exec, MatmulOp, Matrix, Panels, Quantized, matmul};
use ollm_runtime::quant;
use ollm_runtime::storage::Storage;

const ROWS: usize = 1024;
const COLS: usize = 2048;
/// How often the rows are repeated for a GEMV, so that the weights exceed the caches.
const REPEATED: usize = 64;
const TYPES: [TensorType; 15] = [
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q8_0,
    TensorType::Q4K,
    TensorType::Q5K,
    TensorType::Q6K,
    TensorType::Q2K,
    TensorType::Q3K,
    TensorType::Iq4Nl,
    TensorType::Iq4Xs,
    TensorType::Mxfp4,
    TensorType::Q2_0,
    TensorType::F16,
];

/// A matrix of `ROWS` rows, `repeated` times one below the other.
struct BenchWeights {
    storage: Storage,
    dtype: TensorType,
    rows: usize,
    panels: Option<Panels>,
}

impl BenchWeights {
    fn new(dtype: TensorType, repeated: usize) -> Self {
        let values: Vec<f32> = (0..ROWS * COLS).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
        let storage = Storage::from(quant::encode(dtype, &values).expect("finite values").repeat(repeated));
        let mut weights = Self { storage, dtype, rows: ROWS * repeated, panels: None };
        let plain = weights.matrix();
        weights.panels = (!plain.is_ready()).then(|| Panels::new(&plain).expect("enough memory"));
        weights
    }

    fn matrix(&self) -> Matrix<'_> {
        let plain = || Matrix::new(self.dtype, self.rows, COLS, &self.storage).expect("a whole matrix");
        self.panels.as_ref().map_or_else(plain, Panels::matrix)
    }
}

fn isas() -> impl Iterator<Item = Isa> {
    Isa::available().into_iter().filter(|isa| isa.name() != "scalar")
}

fn bench_matmul(group: &mut BenchmarkGroup<'_, WallTime>, isa: Isa, weights: &BenchWeights, tokens: usize) {
    let mut exec = Exec { isa, pool: Pool::new(1).expect("no thread to start") };
    let (x, mut out) = (vec![0.5; tokens * COLS], vec![0.0; tokens * weights.rows]);
    let mut scratch = Quantized::default();
    group.bench_function(weights.dtype.name(), |bencher| {
        bencher.iter(|| {
            let mut ops = [MatmulOp { matrix: weights.matrix(), out: &mut out }];
            matmul(&mut exec, &x, COLS, &mut scratch, &mut ops);
        });
    });
}

fn steps(criterion: &mut Criterion) {
    for isa in isas() {
        let mut group = criterion.benchmark_group(format!("step/{}", isa.name()));
        let block = vec![1_u64; (ROWS * REPEATED * COLS) / 2 / 8];
        group.throughput(Throughput::Bytes(8 * block.len() as u64));
        group.bench_function("read", |bencher| bencher.iter(|| isa.dispatch(Read(&block))));
        for dtype in TYPES {
            let weights = BenchWeights::new(dtype, REPEATED);
            group.throughput(Throughput::Bytes(weights.storage.len() as u64));
            bench_matmul(&mut group, isa, &weights, 1);
        }
    }
}

fn batches(criterion: &mut Criterion) {
    for (name, tokens, repeated) in
        [("options", 10, 1), ("branches", 10, REPEATED), ("batch", 16, REPEATED), ("prompt", 256, 1)]
    {
        for isa in isas() {
            let mut group = criterion.benchmark_group(format!("{name}/{}", isa.name()));
            group.throughput(Throughput::Elements(PEAK_DOTS * 4 * isa.lanes() as u64));
            group.bench_function("peak", |bencher| bencher.iter(|| isa.dispatch(Peak)));
            group.throughput(Throughput::Elements((ROWS * repeated * COLS * tokens) as u64));
            for dtype in TYPES {
                bench_matmul(&mut group, isa, &BenchWeights::new(dtype, repeated), tokens);
            }
        }
    }
}

/// Reads a block, a line of each of eight streams in turn.
struct Read<'a>(&'a [u64]);

impl Kernel for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) -> f32 {
        const STREAMS: usize = 8;
        /// Words of a line.
        const LINE: usize = 8;
        let length = self.0.len() / STREAMS / LINE * LINE;
        // SAFETY: the first line of the block.
        let mut all = [unsafe { isa.bytes(self.0.as_ptr().cast()) }; STREAMS];
        for line in (0..length).step_by(LINE) {
            for (stream, all) in all.iter_mut().enumerate() {
                for lane in (0..MAX_LANES).step_by(S::LANES) {
                    // SAFETY: a line of this stream, which ends in the block.
                    let bytes =
                        unsafe { isa.bytes(self.0.as_ptr().add(stream * length + line).cast::<u8>().add(4 * lane)) };
                    *all = isa.or(*all, bytes);
                }
            }
        }
        all.into_iter().map(|bytes| isa.sum(isa.to_f32(isa.byte::<false>(bytes, 0)))).sum()
    }
}

/// Byte dot products of four bytes a lane that [`Peak`] does.
const PEAK_DOTS: u64 = 8 * 4096;

/// Eight cache lines.
#[repr(align(64))]
struct CacheLines([u8; 64 * 8]);

/// Byte dot products of weights in L1, in eight sums: the peak of a compute-bound GEMM.
struct Peak;

impl Kernel for Peak {
    type Output = f32;

    const NEEDS: Needs = Needs::Products;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) -> f32 {
        let bytes = CacheLines([1; 64 * 8]);
        // SAFETY: four bytes can be read.
        let x = unsafe { isa.splat_bytes(bytes.0.as_ptr().cast()) };
        let zero = isa.splat_i32(0);
        let mut sums = [isa.begin(zero); 8];
        for _ in 0..PEAK_DOTS / 8 {
            let weights = black_box(&bytes).0.as_ptr();
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: there are 64 bytes for each sum, as many as the widest instruction set
                // reads.
                *sum = isa.dot4::<false>(*sum, unsafe { isa.bytes(weights.add(64 * i)) }, x);
            }
        }
        sums.into_iter().map(|sum| isa.sum(isa.to_f32(isa.end(zero, sum)))).sum()
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .measurement_time(std::time::Duration::from_millis(500))
        .warm_up_time(std::time::Duration::from_millis(200));
    targets = steps, batches
}
criterion_main!(benches);
