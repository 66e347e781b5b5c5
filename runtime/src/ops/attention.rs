//! Causal attention over a cache of keys and values in half precision, with grouped queries (arXiv 2305.13245).
//!
//! A score is one accumulator, summed in the order of the elements of the key; an element of the result is one, summed in the
//! order of the positions. So a query's result depends neither on how the cache is cut into chunks nor on the other queries
//! computed beside it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Kernel, Simd};
use crate::memory::{self, OutOfMemory};

use super::cache::{KEY_RUN, KvLayer, POSITION_BLOCK};
use super::vector::{SoftCap, Softmax};
use super::{Exec, Shared};

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

    pub(super) fn value_width(&self) -> usize {
        self.head_dim.next_multiple_of(POSITION_BLOCK)
    }
}

/// What becomes of the products of a query with the keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    /// What they are multiplied by: scores.
    pub scale: f32,
    /// Scores go through `cap * tanh(score / cap)`.
    pub cap: Option<f32>,
    /// The last so many positions count, the query's own included; without, all do.
    pub window: Option<usize>,
}

impl Scoring {
    /// The usual: `1 / sqrt(head_dim)`, no cap, all positions.
    pub fn plain(head_dim: usize) -> Self {
        Self { scale: 1.0 / (head_dim as f32).sqrt(), cap: None, window: None }
    }

    /// The positions that the token at `position` sees.
    fn seen(&self, position: usize) -> Range<usize> {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))..position + 1
    }
}

/// Tokens of a task: enough that claiming it costs nothing.
const TOKENS_PER_TASK: usize = 16;

/// Queries whose scores are computed together, at most: each key is loaded once for all of them.
const TILE: usize = 8;

/// Bytes of the scratch while [`attend`] runs on `threads` threads over `positions` positions.
pub fn attention_bytes(shape: KvHeads, threads: usize, positions: usize) -> usize {
    threads.saturating_mul(size_of::<f32>()).saturating_mul(scratch_floats(shape, positions))
}

/// Floats of the queries, the scores and the sums of a tile over `positions` positions.
fn scratch_floats(shape: KvHeads, positions: usize) -> usize {
    TILE.saturating_mul(positions.saturating_add(KEY_RUN + shape.head_dim + shape.value_width()))
}

/// Queries of tokens that follow each other in one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// The keys and values of all positions up to the last of them.
    pub cache: &'a KvLayer,
    /// The position of the first.
    pub first: usize,
    /// How many there are.
    pub count: usize,
}

/// What a task has: some of the [`Queries`] of a sequence, from the row `row` on.
struct Span<'a> {
    queries: Queries<'a>,
    row: usize,
}

/// `out = softmax(score(q k^T)) v` for the tokens of several sequences, on all threads.
///
/// `queries` and `out` are `[count][heads * head_dim]`, one of `sequences` after the other; all have heads of the same shape.
/// Each token sees the positions of its sequence up to its own, as far back as the window of `scoring` goes.
///
/// # Errors
/// [`OutOfMemory`] if there is none for the scores; then `out` is of no use.
///
/// # Panics
/// If `queries` and `out` are not of one size, or a token of `sequences` has no row in them or no position in its cache.
pub fn attend<'a>(
    exec: &mut Exec,
    sequences: impl Iterator<Item = Queries<'a>>,
    scoring: Scoring,
    queries: &[f32],
    out: &mut [f32],
) -> Result<(), OutOfMemory> {
    assert_eq!(queries.len(), out.len(), "each query has its result");
    let spans = spans(sequences);
    let Some(shape) = spans.first().map(|span| span.queries.cache.shape()) else { return Ok(()) };
    let (isa, out, refused) = (exec.isa, Shared::new(out), AtomicBool::new(false));
    exec.pool.run(spans.len() * shape.kv_heads, |task| {
        let (head, span) = (task % shape.kv_heads, &spans[task / shape.kv_heads]);
        let mut scratch = Vec::new();
        let positions = span.queries.first + span.queries.count;
        if memory::reserve(&mut scratch, scratch_floats(shape, positions)).is_err() {
            refused.store(true, Ordering::Relaxed);
            return;
        }
        isa.dispatch(Attend { span, scoring, head, queries, scratch, out });
    });
    let longest = spans.iter().map(|span| span.queries.first + span.queries.count).max().unwrap_or_default();
    let bytes = attention_bytes(shape, 1, longest);
    if refused.into_inner() { Err(OutOfMemory { bytes }) } else { Ok(()) }
}

/// Cuts the queries of sequences into those of tasks.
fn spans<'a>(sequences: impl Iterator<Item = Queries<'a>>) -> Vec<Span<'a>> {
    let (mut spans, mut row) = (Vec::new(), 0);
    for Queries { cache, first, count } in sequences {
        for start in (0..count).step_by(TOKENS_PER_TASK) {
            let queries = Queries { cache, first: first + start, count: TOKENS_PER_TASK.min(count - start) };
            spans.push(Span { queries, row: row + start });
        }
        row += count;
    }
    spans
}

/// The queries of a span that share a key head.
struct Attend<'a> {
    span: &'a Span<'a>,
    scoring: Scoring,
    /// The key head.
    head: usize,
    /// Those of all spans: `[tokens][heads][head_dim]`
    queries: &'a [f32],
    scratch: Vec<f32>,
    /// `[tokens][heads][head_dim]`; no other task has the rows of this one.
    out: Shared<f32>,
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, isa: S) {
        let most = if S::LANES == MAX_LANES { TILE } else { TILE / 2 };
        let count = self.span.queries.count * self.span.queries.cache.shape().queries_per_head();
        for first in (0..count).step_by(most) {
            // Of fewer than a tile has, the last one is computed several times.
            let last = count.min(first + most) - 1;
            match last - first {
                0 => self.tile::<S, 1>(isa, first, last),
                1 => self.tile::<S, 2>(isa, first, last),
                4.. if const { S::LANES == MAX_LANES } => self.tile::<S, TILE>(isa, first, last),
                _ => self.tile::<S, { TILE / 2 }>(isa, first, last),
            }
        }
    }
}

impl Attend<'_> {
    /// The queries number `first` to `last`, at most `Q`.
    #[inline(always)]
    fn tile<S: Simd, const Q: usize>(&mut self, isa: S, first: usize, last: usize) {
        let Queries { cache, first: position, .. } = self.span.queries;
        let shape = cache.shape();
        let (group, dim) = (shape.queries_per_head(), shape.head_dim);
        let rows: [usize; Q] = std::array::from_fn(|q| last.min(first + q));
        let places = rows.map(|row| {
            let token = self.span.row + row / group;
            (token * shape.heads + self.head * group + row % group) * dim
        });
        let seen = rows.map(|row| self.scoring.seen(position + row / group));
        let start = seen[0].start / KEY_RUN * KEY_RUN;
        let length = seen[Q - 1].end - start;
        let padded = length.next_multiple_of(KEY_RUN);
        self.scratch.resize(Q * (padded + dim + shape.value_width()), 0.0);
        let (scores, rest) = self.scratch.split_at_mut(Q * padded);
        let (queries, sums) = rest.split_at_mut(Q * dim);
        let queries = queries.as_chunks_mut::<Q>().0;
        for (q, at) in places.into_iter().enumerate() {
            for (queries, &element) in queries.iter_mut().zip(&self.queries[at..at + dim]) {
                queries[q] = element;
            }
        }
        sums.fill(0.0);
        let mut tile = Tile { cache, head: self.head, start, length, padded, scores, sums };

        tile.score::<S, Q>(isa, queries, self.scoring.scale);
        for (scores, seen) in tile.scores.chunks_exact_mut(padded).zip(&seen) {
            let seen = &mut scores[seen.start - start..seen.end - start];
            if let Some(cap) = self.scoring.cap {
                SoftCap { x: seen, cap }.run(isa);
            }
            Softmax { x: seen }.run(isa);
        }
        // What all of them see, and before and after it what single ones do.
        let all = seen[Q - 1].start.min(seen[0].end)..seen[0].end;
        for (q, seen) in seen.iter().enumerate() {
            tile.mix::<S, 1>(isa, q, seen.start..all.start);
        }
        tile.mix::<S, Q>(isa, 0, all.clone());
        for (q, seen) in seen.iter().enumerate() {
            tile.mix::<S, 1>(isa, q, all.end.max(seen.start)..seen.end);
        }
        for (at, sum) in places.into_iter().zip(tile.sums.chunks_exact(shape.value_width())).take(last - first + 1) {
            // SAFETY: this task has the row alone, and `attend` waits for its tasks before the borrow ends.
            unsafe { self.out.slice(at, dim) }.copy_from_slice(&sum[..dim]);
        }
    }
}

/// Some queries that share a key head.
struct Tile<'a> {
    cache: &'a KvLayer,
    head: usize,
    /// The position of the first score, a multiple of [`KEY_RUN`].
    start: usize,
    /// How many positions there are.
    length: usize,
    /// The same, rounded up to a multiple of [`KEY_RUN`].
    padded: usize,
    /// `[queries][padded]`; what lies past the positions that a query sees is of no use.
    scores: &'a mut [f32],
    /// `[queries][value_width]`
    sums: &'a mut [f32],
}

impl Tile<'_> {
    /// The scores of all positions; `queries` is `[head_dim][Q]`.
    #[inline(always)]
    fn score<S: Simd, const Q: usize>(&mut self, isa: S, queries: &[[f32; Q]], scale: f32) {
        // As many sums at once as the multipliers need to be busy, and as there are registers for.
        let sums = if S::LANES == 4 { 16 } else { 8 };
        let mut position = 0;
        for keys in self.cache.keys(self.head, self.start..self.start + self.padded) {
            for run in keys.chunks_exact(KEY_RUN / POSITION_BLOCK * queries.len()) {
                match (sums / Q).min(KEY_RUN / S::LANES) {
                    1 => self.score_run::<S, Q, 1>(isa, queries, scale, position, run),
                    2 => self.score_run::<S, Q, 2>(isa, queries, scale, position, run),
                    4 => self.score_run::<S, Q, 4>(isa, queries, scale, position, run),
                    8 => self.score_run::<S, Q, 8>(isa, queries, scale, position, run),
                    _ => self.score_run::<S, Q, 16>(isa, queries, scale, position, run),
                }
                position += KEY_RUN;
            }
        }
    }

    /// The scores of a run of keys, which begins `position` positions after the start, `V` vectors of them at once.
    #[inline(always)]
    fn score_run<S: Simd, const Q: usize, const V: usize>(
        &mut self,
        isa: S,
        queries: &[[f32; Q]],
        scale: f32,
        position: usize,
        keys: &[[u16; POSITION_BLOCK]],
    ) {
        let (scale, dim) = (isa.splat(scale), queries.len());
        for first in (0..KEY_RUN.min(self.length - position)).step_by(V * S::LANES) {
            let lane = |v: usize| (first + v * S::LANES) % POSITION_BLOCK;
            let keys: [_; V] = std::array::from_fn(|v| &keys[(first + v * S::LANES) / POSITION_BLOCK * dim..][..dim]);
            let mut acc = [[isa.splat(0.0); V]; Q];
            for (i, queries) in queries.iter().enumerate() {
                for v in 0..V {
                    let keys = isa.load_f16(&keys[v][i][lane(v)..]);
                    for q in 0..Q {
                        acc[q][v] = isa.fma(isa.splat(queries[q]), keys, acc[q][v]);
                    }
                }
            }
            for q in 0..Q {
                for v in 0..V {
                    let at = q * self.padded + position + first + v * S::LANES;
                    isa.store(isa.mul(acc[q][v], scale), &mut self.scores[at..]);
                }
            }
        }
    }

    /// Adds the values of these positions (none, if they end before they start), weighted by the scores of `Q` queries from `query`
    /// on, to those queries' sums.
    #[inline(always)]
    fn mix<S: Simd, const Q: usize>(&mut self, isa: S, query: usize, positions: Range<usize>) {
        if positions.is_empty() {
            return;
        }
        let vectors = self.cache.shape().value_width() / S::LANES;
        // As many vectors of a row at once as there are registers for.
        let most = (if S::LANES == 8 { 8 } else { 16 } / Q).min(4);
        let mut at = positions.start - self.start;
        for values in self.cache.values(self.head, positions) {
            let mut vector = 0;
            while vector < vectors {
                vector += match most {
                    2 if vectors - vector >= 2 => self.mix_columns::<S, Q, 2>(isa, query, at, values, vector),
                    4 if vectors - vector >= 4 => self.mix_columns::<S, Q, 4>(isa, query, at, values, vector),
                    _ => self.mix_columns::<S, Q, 1>(isa, query, at, values, vector),
                };
            }
            at += values.len() / self.cache.shape().value_width();
        }
    }

    /// The same for `V` vectors of each row of `values`, from the one numbered `vector`; gives `V`.
    #[inline(always)]
    fn mix_columns<S: Simd, const Q: usize, const V: usize>(
        &mut self,
        isa: S,
        query: usize,
        position: usize,
        values: &[u16],
        vector: usize,
    ) -> usize {
        let (padded, width, column) = (self.padded, self.cache.shape().value_width(), vector * S::LANES);
        let count = values.len() / width;
        let weights: [&[f32]; Q] = std::array::from_fn(|q| &self.scores[(query + q) * padded + position..][..count]);
        let place = |q: usize, v: usize| (query + q) * width + column + v * S::LANES;
        let mut acc = [[isa.splat(0.0); V]; Q];
        for q in 0..Q {
            for v in 0..V {
                acc[q][v] = isa.load(&self.sums[place(q, v)..]);
            }
        }
        for (t, row) in values.chunks_exact(width).enumerate() {
            let row = &row[column..column + V * S::LANES];
            for v in 0..V {
                let values = isa.load_f16(&row[v * S::LANES..]);
                for q in 0..Q {
                    acc[q][v] = isa.fma(isa.splat(weights[q][t]), values, acc[q][v]);
                }
            }
        }
        for q in 0..Q {
            for v in 0..V {
                isa.store(acc[q][v], &mut self.sums[place(q, v)..]);
            }
        }
        V
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Isa, Pool};

    fn wave(n: usize, step: usize) -> Vec<f32> {
        (0..n).map(|i| (i * step % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn cache(shape: KvHeads, keys: &[f32], values: &[f32]) -> KvLayer {
        let mut cache = KvLayer::new(shape);
        let positions = keys.len() / (shape.kv_heads * shape.head_dim);
        cache.reserve(0..positions, positions).unwrap();
        cache.store(0, keys, values);
        cache
    }

    fn one(cache: &KvLayer, first: usize, count: usize) -> impl Iterator<Item = Queries<'_>> {
        std::iter::once(Queries { cache, first, count })
    }

    /// The formula in double precision, on the rounded cache.
    fn reference(
        shape: KvHeads,
        scoring: Scoring,
        length: usize,
        query: &[f32],
        keys: &[f32],
        values: &[f32],
    ) -> Vec<f64> {
        let KvHeads { heads, kv_heads, head_dim } = shape;
        let round = |x: f32| f64::from(half::f16::from_f32(x).to_f32());
        let mut out = Vec::new();
        for head in 0..heads {
            let at = |t: usize| t * kv_heads * head_dim + head / (heads / kv_heads) * head_dim;
            let score = |t: usize| {
                let dot: f64 =
                    (0..head_dim).map(|i| f64::from(query[head * head_dim + i]) * round(keys[at(t) + i])).sum();
                let score = dot * f64::from(scoring.scale);
                let capped = scoring.cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                if scoring.window.is_some_and(|window| t + window < length) { 0.0 } else { capped.exp() }
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
        let windows = [None, Some(1), Some(24), Some(70)];
        for ((heads, kv_heads, head_dim), window) in
            [(9, 3, 64), (4, 4, 16), (5, 1, 20), (14, 2, 40)].into_iter().zip(windows)
        {
            let scoring = Scoring { window, cap: window.map(|window| window as f32), ..Scoring::plain(head_dim) };
            let shape = KvHeads { heads, kv_heads, head_dim };
            let (count, kv_width, width) = (101, kv_heads * head_dim, heads * head_dim);
            let (keys, values) = (wave(count * kv_width, 37), wave(count * kv_width, 53));
            let queries = wave(count * width, 29);
            let cache = cache(shape, &keys, &values);
            for isa in Isa::available() {
                let mut exec = Exec { isa, pool: Pool::new(2).unwrap() };
                let mut all = vec![0.0; count * width];
                attend(&mut exec, one(&cache, 0, count), scoring, &queries, &mut all).unwrap();
                for t in 0..count {
                    let query = &queries[t * width..][..width];
                    let want = reference(shape, scoring, t + 1, query, &keys, &values);
                    let got = &all[t * width..][..width];
                    assert!(
                        got.iter().zip(&want).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-5),
                        "{isa:?} {shape:?} {t}"
                    );
                    let mut alone = vec![0.0; width];
                    attend(&mut exec, one(&cache, t, 1), scoring, query, &mut alone).unwrap();
                    assert_eq!(alone, got, "{isa:?} {shape:?} {t}");
                }
                // As the tokens of three sequences that happen to be the same: whole spans, a part of one, a single token.
                let cuts = [(0, 40), (40, 60), (100, 1)].map(|(first, count)| Queries { cache: &cache, first, count });
                let mut parts = vec![0.0; count * width];
                attend(&mut exec, cuts.into_iter(), scoring, &queries, &mut parts).unwrap();
                assert_eq!(parts, all, "{isa:?} {shape:?}");
            }
        }
    }
}
