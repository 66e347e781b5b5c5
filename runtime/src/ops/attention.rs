//! Causal attention over a cache of keys and values in half precision, with grouped queries (arXiv 2305.13245).
//!
//! A score is one accumulator, summed in the order of the elements of the key; an element of the result is one, summed in the
//! order of the positions. So a query's result depends neither on how the cache is cut into chunks nor on the other queries
//! computed beside it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::{Kernel, Simd};
use crate::memory::{self, OutOfMemory};

use super::cache::{KvLayer, POSITION_BLOCK, Piece};
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
}

/// Queries of a task: enough that claiming it costs nothing.
const TOKENS_PER_TASK: usize = 16;

/// Queries whose scores are computed together: each key is loaded once for all of them.
const TILE: usize = 4;

/// Bytes of the scratch while [`attend`] runs on `threads` threads over `positions` positions.
pub fn attention_bytes(shape: KvHeads, threads: usize, positions: usize) -> usize {
    let floats = positions.saturating_add(POSITION_BLOCK + shape.value_width());
    threads.saturating_mul(TILE * size_of::<f32>()).saturating_mul(floats)
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
pub fn attend<'a>(
    exec: &mut Exec,
    sequences: impl Iterator<Item = Queries<'a>>,
    scoring: Scoring,
    queries: &[f32],
    out: &mut [f32],
) -> Result<(), OutOfMemory> {
    let spans = spans(sequences);
    let Some(shape) = spans.first().map(|span| span.queries.cache.shape()) else { return Ok(()) };
    let (width, group) = (shape.heads * shape.head_dim, shape.queries_per_head() * shape.head_dim);
    let (isa, shared, refused) = (exec.isa, Shared::new(out), AtomicBool::new(false));
    exec.pool.run(spans.len() * shape.kv_heads, |task| {
        let (head, Span { queries: Queries { cache, first, count }, row }) =
            (task % shape.kv_heads, &spans[task / shape.kv_heads]);
        let mut scratch = Vec::new();
        if memory::reserve(&mut scratch, TILE * scratch_of_query(shape, first + count)).is_err() {
            refused.store(true, Ordering::Relaxed);
            return;
        }
        for token in 0..*count {
            let at = (row + token) * width + head * group;
            // SAFETY: each task has its own tokens and heads, and `run` returns before the borrow of `out` ends.
            let out = unsafe { shared.slice(at, group) };
            let (length, queries) = (first + token + 1, &queries[at..at + group]);
            let seen = scoring.window.map_or(0, |window| length.saturating_sub(window))..length;
            isa.dispatch(Attend { cache, scoring, head, seen, queries, scratch: &mut scratch, out });
        }
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

/// Floats of the scores and the sums of a query over `length` positions.
fn scratch_of_query(shape: KvHeads, length: usize) -> usize {
    length.next_multiple_of(POSITION_BLOCK) + shape.value_width()
}

/// The queries of one token that share a key head.
struct Attend<'a> {
    cache: &'a KvLayer,
    scoring: Scoring,
    /// The key head.
    head: usize,
    /// Positions to attend to.
    seen: Range<usize>,
    /// `[queries][head_dim]`
    queries: &'a [f32],
    scratch: &'a mut Vec<f32>,
    /// `[queries][head_dim]`
    out: &'a mut [f32],
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let Self { cache, scoring, head, seen, queries, scratch, out } = self;
        let start = seen.start / POSITION_BLOCK * POSITION_BLOCK;
        let (shape, pieces) = (cache.shape(), cache.pieces(head, start..seen.end));
        let (length, skipped) = (seen.end - start, seen.start - start);
        scratch.resize(TILE * scratch_of_query(shape, length), 0.0);
        let (scores, sums) = scratch.split_at_mut(TILE * length.next_multiple_of(POSITION_BLOCK));
        let size = TILE * shape.head_dim;
        for (queries, out) in queries.chunks(size).zip(out.chunks_mut(size)) {
            let tile = Tile { shape, scoring, length, skipped, queries, scores, sums, out };
            match queries.len() / shape.head_dim {
                1 => tile.run::<S, 1>(isa, pieces.clone()),
                2 => tile.run::<S, 2>(isa, pieces.clone()),
                3 => tile.run::<S, 3>(isa, pieces.clone()),
                _ => tile.run::<S, TILE>(isa, pieces.clone()),
            }
        }
    }
}

/// `Q` queries that share a key head.
struct Tile<'a> {
    shape: KvHeads,
    scoring: Scoring,
    /// Positions to attend to, and those before them in their block.
    length: usize,
    /// The latter.
    skipped: usize,
    /// `[Q][head_dim]`
    queries: &'a [f32],
    /// `[Q][padded]`, where `padded` is the length rounded up to [`POSITION_BLOCK`]; what lies past the length is of no use.
    scores: &'a mut [f32],
    /// `[Q][value_width]`
    sums: &'a mut [f32],
    /// `[Q][head_dim]`
    out: &'a mut [f32],
}

impl Tile<'_> {
    #[inline(always)]
    fn run<'p, S: Simd, const Q: usize>(mut self, isa: S, pieces: impl Iterator<Item = Piece<'p>> + Clone) {
        let (padded, width, dim) = (self.padded(), self.shape.value_width(), self.shape.head_dim);
        let mut start = 0;
        for piece in pieces.clone() {
            self.score::<S, Q>(isa, start, &piece);
            start += piece.positions;
        }
        for scores in self.scores[..Q * padded].chunks_exact_mut(padded) {
            let (skipped, seen) = scores[..self.length].split_at_mut(self.skipped);
            skipped.fill(0.0);
            if let Some(cap) = self.scoring.cap {
                SoftCap { x: &mut *seen, cap }.run(isa);
            }
            Softmax { x: seen }.run(isa);
        }
        self.sums.fill(0.0);
        start = 0;
        for piece in pieces {
            self.mix::<S, Q>(isa, start, &piece);
            start += piece.positions;
        }
        for (out, sum) in self.out.chunks_exact_mut(dim).zip(self.sums.chunks_exact(width)) {
            out.copy_from_slice(&sum[..dim]);
        }
    }

    fn padded(&self) -> usize {
        self.length.next_multiple_of(POSITION_BLOCK)
    }

    /// The scores of a piece's positions, which begin at `start`.
    #[inline(always)]
    fn score<S: Simd, const Q: usize>(&mut self, isa: S, start: usize, piece: &Piece<'_>) {
        let blocks = piece.keys.chunks_exact(POSITION_BLOCK * self.shape.head_dim);
        for (position, keys) in (start..self.padded()).step_by(POSITION_BLOCK).zip(blocks) {
            match POSITION_BLOCK / S::LANES {
                1 => self.score_block::<S, Q, 1>(isa, position, keys),
                2 => self.score_block::<S, Q, 2>(isa, position, keys),
                _ => self.score_block::<S, Q, 4>(isa, position, keys),
            }
        }
    }

    /// The scores of a block of keys, which are `V` vectors wide.
    #[inline(always)]
    fn score_block<S: Simd, const Q: usize, const V: usize>(&mut self, isa: S, position: usize, keys: &[u16]) {
        let (padded, dim) = (self.padded(), self.shape.head_dim);
        let scale = isa.splat(self.scoring.scale);
        let queries: [&[f32]; Q] = std::array::from_fn(|q| &self.queries[q * dim..][..dim]);
        let mut acc = [[isa.splat(0.0); V]; Q];
        for (i, keys) in keys.chunks_exact(POSITION_BLOCK).enumerate() {
            for v in 0..V {
                let keys = isa.load_f16(&keys[v * S::LANES..]);
                for q in 0..Q {
                    acc[q][v] = isa.fma(isa.splat(queries[q][i]), keys, acc[q][v]);
                }
            }
        }
        for q in 0..Q {
            for v in 0..V {
                let to = &mut self.scores[q * padded + position + v * S::LANES..];
                isa.store(isa.mul(acc[q][v], scale), to);
            }
        }
    }

    /// Adds the values of a piece's positions, which begin at `start`, weighted by their scores, to the sums.
    #[inline(always)]
    fn mix<S: Simd, const Q: usize>(&mut self, isa: S, start: usize, piece: &Piece<'_>) {
        // As many vectors of a row at once as there are registers for.
        let most = if S::LANES == 8 { 2 } else { 4 };
        let vectors = self.shape.value_width() / S::LANES;
        let mut vector = 0;
        while vector < vectors {
            vector += match most.min(vectors - vector) {
                1 => self.mix_columns::<S, Q, 1>(isa, start, piece, vector),
                2 | 3 => self.mix_columns::<S, Q, 2>(isa, start, piece, vector),
                _ => self.mix_columns::<S, Q, 4>(isa, start, piece, vector),
            };
        }
    }

    /// The same for `V` vectors of each row, from the one numbered `vector`; gives `V`.
    #[inline(always)]
    fn mix_columns<S: Simd, const Q: usize, const V: usize>(
        &mut self,
        isa: S,
        start: usize,
        piece: &Piece<'_>,
        vector: usize,
    ) -> usize {
        let (padded, width, at) = (self.padded(), self.shape.value_width(), vector * S::LANES);
        let weights: [&[f32]; Q] = std::array::from_fn(|q| &self.scores[q * padded + start..][..piece.positions]);
        let mut acc = [[isa.splat(0.0); V]; Q];
        for q in 0..Q {
            for v in 0..V {
                acc[q][v] = isa.load(&self.sums[q * width + at + v * S::LANES..]);
            }
        }
        for (t, row) in piece.values.chunks_exact(width).enumerate() {
            let row = &row[at..at + V * S::LANES];
            for v in 0..V {
                let values = isa.load_f16(&row[v * S::LANES..]);
                for q in 0..Q {
                    acc[q][v] = isa.fma(isa.splat(weights[q][t]), values, acc[q][v]);
                }
            }
        }
        for q in 0..Q {
            for v in 0..V {
                isa.store(acc[q][v], &mut self.sums[q * width + at + v * S::LANES..]);
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
