//! The scores of attention: dot products of queries and keys.
//!
//! Each score is one accumulator, summed in the order of the key's elements. Where 32 elements have
//! a common scale, it is the sum of the dot products of such groups, each times its scale.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::{Isa, Kernel, Simd};

use super::Shared;
use super::kv_cache::KEY_RUN;
use super::kv_type::{Element, GROUP, POSITION_BLOCK};
use super::query_tile::{QueryTile, TILE, TilePart, with_width};

/// Computes the scores (`[width][padded]`) of a part of a tile, of the runs of keys with these
/// numbers, which no other task has; `queries` are the part's, `[head_dim][width]`.
pub(super) fn score<E: Element>(
    isa: Isa,
    tile: &QueryTile<'_>,
    part: &TilePart<'_>,
    queries: &[f32],
    runs: Range<usize>,
    scores: Shared<f32>,
) {
    isa.dispatch(Score::<E> { tile, part, queries, runs, scores, element: PhantomData });
}

/// The scores of some runs of keys.
struct Score<'a, E> {
    tile: &'a QueryTile<'a>,
    part: &'a TilePart<'a>,
    /// `[head_dim][width]`
    queries: &'a [f32],
    /// Numbers of the runs; no other task has them.
    runs: Range<usize>,
    /// `[width][padded]`
    scores: Shared<f32>,
    element: PhantomData<E>,
}

impl<E: Element> Kernel for Score<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        with_width!(self.part.width, score_keys::<S, E>(isa, &self));
    }
}

#[inline(always)]
fn score_keys<S: Simd, E: Element, const Q: usize>(isa: S, of: &Score<'_, E>) {
    let (part, queries, block_words) = (of.part, of.queries.as_chunks::<Q>().0, of.tile.layout.key_block());
    let positions = part.positions.start + of.runs.start * KEY_RUN..part.positions.start + of.runs.end * KEY_RUN;
    let mut at = positions.start - of.tile.start;
    for keys in part.cache.keys(of.tile.head, positions) {
        let mut runs = keys.chunks_exact(KEY_RUN / POSITION_BLOCK * block_words);
        for run in &mut runs {
            score_run::<S, E, Q, KEY_RUN>(isa, of, queries, at, run);
            at += KEY_RUN;
        }
        // The blocks before another chunk.
        for block in runs.remainder().chunks_exact(block_words) {
            score_run::<S, E, Q, POSITION_BLOCK>(isa, of, queries, at, block);
            at += POSITION_BLOCK;
        }
    }
}

/// The scores of `N` keys, which begin `at` positions after the start.
#[inline(always)]
fn score_run<S: Simd, E: Element, const Q: usize, const N: usize>(
    isa: S,
    of: &Score<'_, E>,
    queries: &[[f32; Q]],
    at: usize,
    blocks: &[u16],
) {
    match const { vectors_at_once::<S>(Q, N) } {
        1 => score_vectors::<S, E, Q, N, 1>(isa, of, queries, at, blocks),
        2 => score_vectors::<S, E, Q, N, 2>(isa, of, queries, at, blocks),
        4 => score_vectors::<S, E, Q, N, 4>(isa, of, queries, at, blocks),
        8 => score_vectors::<S, E, Q, N, 8>(isa, of, queries, at, blocks),
        _ => score_vectors::<S, E, Q, N, 16>(isa, of, queries, at, blocks),
    }
}

/// Vectors of the scores of `queries` queries with `keys` keys that have an accumulator each.
const fn vectors_at_once<S: Simd>(queries: usize, keys: usize) -> usize {
    let (most, vectors) = (S::SCORE_ACCUMULATORS / queries, keys / S::LANES);
    if vectors < most { vectors } else { most }
}

/// The same, `V` vectors of them at once.
#[inline(always)]
fn score_vectors<S: Simd, E: Element, const Q: usize, const N: usize, const V: usize>(
    isa: S,
    of: &Score<'_, E>,
    queries: &[[f32; Q]],
    at: usize,
    blocks: &[u16],
) {
    let (scale, layout, padded) = (isa.splat(of.tile.params.scale), of.tile.layout, of.tile.padded());
    let end = of.part.positions.end - of.tile.start;
    for first in (0..N.min(end.saturating_sub(at))).step_by(V * S::LANES) {
        let lane = |v: usize| (first + v * S::LANES) % POSITION_BLOCK;
        let block = |v: usize| &blocks[(first + v * S::LANES) / POSITION_BLOCK * layout.key_block()..];
        let keys: [_; V] = std::array::from_fn(|v| {
            let keys: &[[E::Stored; POSITION_BLOCK]] = E::view(&block(v)[..layout.key_elements()]).as_chunks().0;
            &keys[..queries.len()]
        });
        let sums = if E::SCALED {
            let scales: [_; V] = std::array::from_fn(|v| &block(v)[layout.key_elements()..layout.key_block()]);
            let mut sums = [[isa.splat(0.0); V]; Q];
            for (group, queries) in queries.chunks(GROUP).enumerate() {
                let keys: [_; V] = std::array::from_fn(|v| &keys[v][group * GROUP..][..queries.len()]);
                let acc = dot_products::<S, E, Q, V>(isa, queries, keys, lane);
                for v in 0..V {
                    let scale = isa.load_f16(&scales[v][group * POSITION_BLOCK + lane(v)..]);
                    for q in 0..Q {
                        sums[q][v] = isa.fma(acc[q][v], scale, sums[q][v]);
                    }
                }
            }
            sums
        } else {
            dot_products::<S, E, Q, V>(isa, queries, keys, lane)
        };
        for q in 0..Q {
            for v in 0..V {
                // SAFETY: this task has the run alone, and is done before the borrow of the scores
                // ends.
                let to = unsafe { of.scores.slice((of.part.row + q) * padded + at + first + v * S::LANES, S::LANES) };
                isa.store(isa.mul(sums[q][v], scale), to);
            }
        }
    }
}

/// The dot products of `Q` queries with the keys from `lane` on, which is a function of the vector,
/// of `V` blocks: of as many elements as the queries have.
#[inline(always)]
fn dot_products<S: Simd, E: Element, const Q: usize, const V: usize>(
    isa: S,
    queries: &[[f32; Q]],
    keys: [&[[E::Stored; POSITION_BLOCK]]; V],
    lane: impl Fn(usize) -> usize,
) -> [[S::F32; V]; Q] {
    let mut acc = [[isa.splat(0.0); V]; Q];
    for (i, queries) in queries.iter().enumerate() {
        for v in 0..V {
            let keys = E::load(isa, &keys[v][i][lane(v)..]);
            for q in 0..Q {
                acc[q][v] = isa.fma(isa.splat(queries[q]), keys, acc[q][v]);
            }
        }
    }
    acc
}
