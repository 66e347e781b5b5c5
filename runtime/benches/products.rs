//! The products of each weight type: one column (a generation step), ten (an option set) and 256 (a prompt).
//!
//! `cargo bench -p ollm-runtime --bench products`: elements are multiply-additions, so Gelem/s is GMAC/s of one thread.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use ollm_runtime::cpu::{Isa, Pool};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::ops::{Exec, Matrix, Panels, Product, Quantized, matmul};
use ollm_runtime::quant;
use ollm_runtime::storage::Storage;

const ROWS: usize = 1536;
const COLS: usize = 2048;
const TYPES: [TensorType; 6] =
    [TensorType::Q4_0, TensorType::Q4_1, TensorType::Q8_0, TensorType::Q4K, TensorType::Q6K, TensorType::F16];

fn products(criterion: &mut Criterion) {
    let values: Vec<f32> = (0..ROWS * COLS).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    for dtype in TYPES {
        let storage = Storage::from(quant::encode(dtype, &values).expect("finite values"));
        let rows = Matrix::new(dtype, ROWS, COLS, &storage).expect("a whole matrix");
        let panels = (!rows.is_ready()).then(|| Panels::new(&rows).expect("enough memory"));
        let matrix = panels.as_ref().map_or(rows, Panels::matrix);
        for isa in Isa::available().into_iter().filter(|isa| isa.name() != "scalar") {
            let mut group = criterion.benchmark_group(format!("{}/{}", dtype.name(), isa.name()));
            for columns in [1, 10, 256] {
                let mut exec = Exec { isa, pool: Pool::new(1).expect("no thread to start") };
                let (x, mut out) = (vec![0.5; columns * COLS], vec![0.0; columns * ROWS]);
                let mut scratch = Quantized::default();
                group.throughput(Throughput::Elements((ROWS * COLS * columns) as u64));
                group.bench_function(BenchmarkId::from_parameter(columns), |bencher| {
                    bencher.iter(|| {
                        matmul(&mut exec, &x, COLS, &mut scratch, &mut [Product { matrix, out: &mut out }]);
                    });
                });
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_millis(500)).warm_up_time(std::time::Duration::from_millis(200));
    targets = products
}
criterion_main!(benches);
