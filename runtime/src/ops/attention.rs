//! Causal attention over a cache of keys and values in half precision, with grouped queries (arXiv 2305.13245).
//!
//! Keys are stored in blocks of 16 positions, transposed (`[block][element][position]`), so that a vector holds one
//! element of many positions and a score is one accumulator, summed in the order of the elements. Values are stored
//! position by position. A query's result does not depend on the other queries computed beside it.

use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;

use crate::cpu::{Kernel, Simd};

use super::vector::Softmax;
use super::{Exec, Shared};

/// Positions of a block of keys; also what the size of a value's row is rounded up to.
pub const POSITION_BLOCK: usize = 16;

/// The shape of the heads.
#[derive(Clone, Copy, Debug)]
pub struct KvHeads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

impl KvHeads {
    fn queries_per_head(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn value_width(&self) -> usize {
        self.head_dim.next_multiple_of(POSITION_BLOCK)
    }
}

/// The cached keys and values of one layer, IEEE binary16 bits.
#[derive(Debug)]
pub struct KvLayer {
    shape: KvHeads,
    /// Positions, a multiple of 16.
    capacity: usize,
    /// `[kv_heads][capacity / 16][head_dim][16]`
    keys: Vec<u16>,
    /// `[kv_heads][capacity][value_width]`
    values: Vec<u16>,
}

impl KvLayer {
    /// Room for `positions` positions, which costs memory only where it is used; `None` if it cannot be had.
    pub fn new(shape: KvHeads, positions: usize) -> Option<Self> {
        let capacity = positions.checked_next_multiple_of(POSITION_BLOCK)?;
        let zeros = |width: usize| zeroed(shape.kv_heads.checked_mul(capacity)?.checked_mul(width)?);
        Some(Self { shape, capacity, keys: zeros(shape.head_dim)?, values: zeros(shape.value_width())? })
    }

    /// Stores the key and the value (`[kv_heads * head_dim]` each) of `position`.
    pub fn store(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let (dim, width) = (self.shape.head_dim, self.shape.value_width());
        let bits = |x: f32| half::f16::from_f32(x).to_bits();
        for head in 0..self.shape.kv_heads {
            let block = head * self.capacity + position / POSITION_BLOCK * POSITION_BLOCK;
            let row = (head * self.capacity + position) * width;
            for i in 0..dim {
                self.keys[block * dim + i * POSITION_BLOCK + position % POSITION_BLOCK] = bits(key[head * dim + i]);
                self.values[row + i] = bits(value[head * dim + i]);
            }
        }
    }

    fn head(&self, head: usize) -> (&[u16], &[u16]) {
        let (keys, values) = (self.capacity * self.shape.head_dim, self.capacity * self.shape.value_width());
        (&self.keys[head * keys..][..keys], &self.values[head * values..][..values])
    }
}

/// `n` zeros in pages that the system hands out when they are first written, or `None` if it refuses.
#[allow(clippy::same_length_and_capacity, reason = "an allocation of exactly this length, just made")]
fn zeroed(n: usize) -> Option<Vec<u16>> {
    let layout = Layout::array::<u16>(n).ok().filter(|layout| layout.size() > 0)?;
    // SAFETY: the layout is not empty.
    let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
    // SAFETY: the global allocator gave `n` zeroed `u16` of exactly this layout.
    Some(unsafe { Vec::from_raw_parts(start.as_ptr().cast(), n, n) })
}

/// Queries of a task: enough that claiming it costs nothing.
const TOKENS_PER_TASK: usize = 16;

/// `out = softmax(q k^T / sqrt(head_dim)) v` for tokens at positions `first..`, on all threads.
///
/// `queries` and `out` are `[count][heads * head_dim]`; the keys and values of all positions up to the last token are in
/// `cache`. Each token sees the positions up to its own.
pub fn attend(exec: &mut Exec, cache: &KvLayer, first: usize, queries: &[f32], out: &mut [f32]) {
    let shape = cache.shape;
    let width = shape.heads * shape.head_dim;
    let count = queries.len() / width;
    let spans = count.div_ceil(TOKENS_PER_TASK);
    let (isa, shared) = (exec.isa, Shared::new(out));
    exec.pool.run(spans * shape.kv_heads, |task| {
        let (head, span) = (task % shape.kv_heads, task / shape.kv_heads * TOKENS_PER_TASK);
        let mut scores = Vec::new();
        let group = shape.queries_per_head() * shape.head_dim;
        for token in span..count.min(span + TOKENS_PER_TASK) {
            let at = token * width + head * group;
            // SAFETY: each task has its own tokens and heads, and `run` returns before the borrow of `out` ends.
            let out = unsafe { shared.slice(at, group) };
            let length = first + token + 1;
            isa.dispatch(Attend {
                shape,
                length,
                queries: &queries[at..at + group],
                cache: cache.head(head),
                scores: &mut scores,
                out,
            });
        }
    });
}

/// The queries of one token that share a key head.
struct Attend<'a> {
    shape: KvHeads,
    /// Positions to attend to.
    length: usize,
    /// `[queries][head_dim]`
    queries: &'a [f32],
    /// Keys and values of the head.
    cache: (&'a [u16], &'a [u16]),
    scores: &'a mut Vec<f32>,
    /// `[queries][head_dim]`
    out: &'a mut [f32],
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, isa: S) {
        let count = self.shape.queries_per_head();
        let mut query = 0;
        while query < count {
            query += match count - query {
                1 => self.tile::<S, 1>(isa, query),
                2 => self.tile::<S, 2>(isa, query),
                3 => self.tile::<S, 3>(isa, query),
                _ => self.tile::<S, 4>(isa, query),
            };
        }
    }
}

impl Attend<'_> {
    /// `Q` queries from `first`; gives `Q`.
    #[inline(always)]
    fn tile<S: Simd, const Q: usize>(&mut self, isa: S, first: usize) -> usize {
        let padded = self.length.next_multiple_of(POSITION_BLOCK);
        self.scores.resize(Q * padded, 0.0);
        self.scores::<S, Q>(isa, first, padded);
        for scores in self.scores.chunks_exact_mut(padded) {
            Softmax { x: &mut scores[..self.length] }.run(isa);
        }
        self.mix::<S, Q>(isa, first, padded);
        Q
    }

    /// Scores of `Q` queries: `[Q][padded]`; those past the length are of no use.
    #[inline(always)]
    fn scores<S: Simd, const Q: usize>(&mut self, isa: S, first: usize, padded: usize) {
        let dim = self.shape.head_dim;
        let scale = isa.splat(1.0 / (dim as f32).sqrt());
        let queries: [&[f32]; Q] = std::array::from_fn(|q| &self.queries[(first + q) * dim..][..dim]);
        for (block, keys) in self.cache.0.chunks_exact(dim * POSITION_BLOCK).take(padded / POSITION_BLOCK).enumerate() {
            for part in (0..POSITION_BLOCK).step_by(S::LANES) {
                let mut acc = [isa.splat(0.0); Q];
                for (i, keys) in keys.chunks_exact(POSITION_BLOCK).enumerate() {
                    let keys = isa.load_f16(&keys[part..]);
                    for q in 0..Q {
                        acc[q] = isa.fma(isa.splat(queries[q][i]), keys, acc[q]);
                    }
                }
                for q in 0..Q {
                    let at = q * padded + block * POSITION_BLOCK + part;
                    isa.store(isa.mul(acc[q], scale), &mut self.scores[at..at + S::LANES]);
                }
            }
        }
    }

    /// The values, weighted by the scores.
    #[inline(always)]
    fn mix<S: Simd, const Q: usize>(&mut self, isa: S, first: usize, padded: usize) {
        /// Vectors of a value's row that are accumulated at once.
        const VECTORS: usize = 2;
        let (dim, width) = (self.shape.head_dim, self.shape.value_width());
        let weights: [&[f32]; Q] = std::array::from_fn(|q| &self.scores[q * padded..][..self.length]);
        for part in (0..width).step_by(S::LANES * VECTORS) {
            let mut acc = [[isa.splat(0.0); VECTORS]; Q];
            let vectors = VECTORS.min((width - part) / S::LANES);
            for (t, values) in self.cache.1.chunks_exact(width).take(self.length).enumerate() {
                for v in 0..vectors {
                    let values = isa.load_f16(&values[part + v * S::LANES..]);
                    for q in 0..Q {
                        acc[q][v] = isa.fma(isa.splat(weights[q][t]), values, acc[q][v]);
                    }
                }
            }
            for (q, acc) in acc.iter().enumerate() {
                let out = &mut self.out[(first + q) * dim..][..dim];
                for (v, &acc) in acc.iter().enumerate().take(vectors) {
                    store_within(isa, acc, out, part + v * S::LANES);
                }
            }
        }
    }
}

/// Writes the lanes of `x` that lie inside `to`, from `at`.
#[inline(always)]
fn store_within<S: Simd>(isa: S, x: S::F32, to: &mut [f32], at: usize) {
    if at + S::LANES <= to.len() {
        isa.store(x, &mut to[at..]);
    } else if at < to.len() {
        let mut all = [0.0; POSITION_BLOCK];
        isa.store(x, &mut all);
        let left = to.len() - at;
        to[at..].copy_from_slice(&all[..left]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Isa, Pool};

    fn wave(n: usize, step: usize) -> Vec<f32> {
        (0..n).map(|i| (i * step % 101) as f32 / 50.0 - 1.0).collect()
    }

    /// The formula in double precision, on the rounded cache.
    fn reference(shape: KvHeads, length: usize, query: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
        let KvHeads { heads, kv_heads, head_dim } = shape;
        let round = |x: f32| f64::from(half::f16::from_f32(x).to_f32());
        let mut out = Vec::new();
        for head in 0..heads {
            let at = |t: usize| t * kv_heads * head_dim + head / (heads / kv_heads) * head_dim;
            let score = |t: usize| {
                let dot: f64 =
                    (0..head_dim).map(|i| f64::from(query[head * head_dim + i]) * round(keys[at(t) + i])).sum();
                (dot / (head_dim as f64).sqrt()).exp()
            };
            let scores: Vec<_> = (0..length).map(score).collect();
            let total: f64 = scores.iter().sum();
            out.extend(
                (0..head_dim).map(|i| (0..length).map(|t| scores[t] * round(values[at(t) + i])).sum::<f64>() / total),
            );
        }
        out
    }

    #[test]
    fn attention_is_the_formula_and_each_query_stands_alone() {
        for (heads, kv_heads, head_dim) in [(9, 3, 64), (4, 4, 16), (5, 1, 20), (14, 2, 40)] {
            let shape = KvHeads { heads, kv_heads, head_dim };
            let (count, kv_width, width) = (37, kv_heads * head_dim, heads * head_dim);
            let (keys, values) = (wave(count * kv_width, 37), wave(count * kv_width, 53));
            let queries = wave(count * width, 29);
            let mut cache = KvLayer::new(shape, count).unwrap();
            for t in 0..count {
                cache.store(t, &keys[t * kv_width..], &values[t * kv_width..]);
            }
            for isa in Isa::available() {
                let mut exec = Exec { isa, pool: Pool::new(2).unwrap() };
                let mut all = vec![0.0; count * width];
                attend(&mut exec, &cache, 0, &queries, &mut all);
                for t in 0..count {
                    let query = &queries[t * width..][..width];
                    let want = reference(shape, t + 1, query, &keys, &values);
                    let got = &all[t * width..][..width];
                    assert!(
                        got.iter().zip(&want).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-5),
                        "{isa:?} {shape:?} {t}"
                    );
                    let mut alone = vec![0.0; width];
                    attend(&mut exec, &cache, t, query, &mut alone);
                    assert_eq!(alone, got, "{isa:?} {shape:?} {t}");
                }
            }
        }
    }
}
