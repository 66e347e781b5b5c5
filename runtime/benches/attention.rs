//! Attention benchmark: what a KV cache of 4,096 positions costs one token, ten forks of one text,
//! and 64 tokens of a prompt, against the roofline of multiplications.
//!
//! `cargo bench -p ollm-runtime --bench attention`, on one thread and every instruction set, in
//! multiply-adds a second. The heads are those of a 1.7B model; `peak` multiplies registers.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use ollm_runtime::cpu::{Isa, Kernel, Pool, Simd};
use ollm_runtime::ops::{AttentionParams, Exec, KvHeads, KvType, LayerKvCache, Queries, attend};

const HEADS: KvHeads = KvHeads { heads: 16, kv_heads: 8, head_dim: 128 };
const POSITIONS: usize = 4096;
/// Positions there may be.
const CONTEXT: usize = 2 * POSITIONS;

fn wave(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect()
}

/// `count` forks of one text, each with as many more tokens.
fn forks(exec: &Exec, kv_type: KvType, count: usize, tokens: usize) -> Vec<LayerKvCache> {
    let width = HEADS.kv_heads * HEADS.head_dim;
    let mut root = LayerKvCache::new(HEADS, kv_type);
    let extend = |cache: &mut LayerKvCache, first, more: usize| {
        cache.reserve(first..first + more, CONTEXT).expect("enough memory");
        cache.store(exec, first, &wave(more * width), &wave(more * width));
    };
    extend(&mut root, 0, POSITIONS);
    let mut forks = vec![root; count];
    for fork in &mut forks {
        extend(fork, POSITIONS, tokens);
    }
    forks
}

fn attention(criterion: &mut Criterion) {
    for isa in Isa::available().into_iter().filter(|isa| isa.name() != "scalar") {
        let mut exec = Exec { isa, pool: Pool::new(1).expect("no thread to start") };
        for kv_type in KvType::ALL {
            let mut group = criterion.benchmark_group(format!("attention/{}/{kv_type}", isa.name()));
            group.throughput(Throughput::Elements(PEAK * isa.lanes() as u64));
            group.bench_function("peak", |bencher| bencher.iter(|| isa.dispatch(Peak)));
            for (name, count, tokens) in [("token", 1, 1), ("forks", 10, 1), ("prompt", 1, 64)] {
                let caches = forks(&exec, kv_type, count, tokens);
                let width = HEADS.heads * HEADS.head_dim;
                let queries = wave(count * tokens * width);
                let mut out = vec![0.0; queries.len()];
                // A score and a value for each query and position.
                group.throughput(Throughput::Elements((2 * queries.len() * (POSITIONS + tokens / 2)) as u64));
                group.bench_function(name, |bencher| {
                    bencher.iter(|| {
                        let all = caches.iter().map(|cache| Queries { cache, first: POSITIONS, count: tokens });
                        let params = AttentionParams::plain(HEADS.head_dim);
                        attend(&mut exec, all, params, &queries, &mut out).expect("enough memory");
                    });
                });
            }
        }
    }
}

/// Multiply-adds of a lane that [`Peak`] does.
const PEAK: u64 = 8 * 4096;

/// Multiply-adds in eight sums.
struct Peak;

impl Kernel for Peak {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) -> f32 {
        let mut sums = [isa.splat(0.0); 8];
        for i in 0..PEAK / 8 {
            let x = isa.splat(i as f32);
            for sum in &mut sums {
                *sum = isa.fma(x, x, *sum);
            }
        }
        sums.into_iter().map(|sum| isa.sum(sum)).sum()
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .measurement_time(std::time::Duration::from_secs(1))
        .warm_up_time(std::time::Duration::from_millis(300));
    targets = attention
}
criterion_main!(benches);
