//! The result of attention: values, weighted by the scores.
//!
//! Each element of the result is one accumulator, summed in the order of the positions. Where 32
//! elements have a common scale, a value is multiplied by the weight of its position times the
//! scale.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::{Isa, Kernel, Simd};

use super::Shared;
use super::kv_type::{Element, GROUP, POSITION_BLOCK};
use super::query_tile::{QueryTile, TILE, TilePart, with_width};

/// Adds the values that a tile sees, weighted by the scores (`[width][padded]`), to the sums
/// (`[width][value_width]`): these columns, in whole vectors, which no other task has.
pub(super) fn weighted_values<E: Element>(
    isa: Isa,
    tile: &QueryTile<'_>,
    scores: &[f32],
    columns: Range<usize>,
    sums: Shared<f32>,
) {
    isa.dispatch(WeightedValues::<E> { tile, scores, columns, sums, element: PhantomData });
}

/// The weighted sum of values: the values that a tile sees, weighted by the scores; some columns.
struct WeightedValues<'a, E> {
    tile: &'a QueryTile<'a>,
    /// `[width][padded]`
    scores: &'a [f32],
    /// Columns, in whole vectors; no other task has them.
    columns: Range<usize>,
    /// `[width][value_width]`
    sums: Shared<f32>,
    element: PhantomData<E>,
}

impl<E: Element> Kernel for WeightedValues<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        for part in &self.tile.parts {
            let seen = |q: usize| {
                let Range { start, end } = self.tile.row(part.row + q).1.clone();
                start.max(part.positions.start)..end.min(part.positions.end)
            };
            // The positions that all queries see; before and after them, positions that some see.
            let end = (0..part.width).map(|q| seen(q).end).min().unwrap_or_default();
            let start = (0..part.width).map(|q| seen(q).start).max().unwrap_or_default().min(end);
            let before = (0..part.width).map(|q| (q, 1, seen(q).start..start));
            let after = (0..part.width).map(|q| (q, 1, end.max(seen(q).start)..seen(q).end));
            for (q, width, positions) in before.chain([(0, part.width, start..end)]).chain(after) {
                with_width!(width, add_positions::<S, E>(isa, &self, part, part.row + q, positions));
            }
        }
    }
}

/// Adds the values of these positions (none, if they end before they start), weighted by the scores
/// of `Q` queries from `query` on, to those queries' sums.
#[inline(always)]
fn add_positions<S: Simd, E: Element, const Q: usize>(
    isa: S,
    of: &WeightedValues<'_, E>,
    part: &TilePart<'_>,
    query: usize,
    positions: Range<usize>,
) {
    if positions.is_empty() {
        return;
    }
    let mut at = positions.start - of.tile.start;
    for (blocks, positions) in part.cache.values(of.tile.head, positions) {
        let values = Values { query, at, blocks, positions };
        let (mut vector, end) = (of.columns.start / S::LANES, of.columns.end / S::LANES);
        while vector < end {
            vector += match end - vector {
                4.. if const { S::VALUE_ACCUMULATORS / Q >= 4 } => add_vectors::<S, E, Q, 4>(isa, of, &values, vector),
                2.. if const { S::VALUE_ACCUMULATORS / Q >= 2 } => add_vectors::<S, E, Q, 2>(isa, of, &values, vector),
                _ => add_vectors::<S, E, Q, 1>(isa, of, &values, vector),
            };
        }
        at += values.positions.len();
    }
}

/// Values of one chunk.
struct Values<'a> {
    /// The first query.
    query: usize,
    /// Where the score of the first position is.
    at: usize,
    blocks: &'a [u16],
    /// The positions, in these blocks.
    positions: Range<usize>,
}

/// Groups with a scale that [`add_vectors`] meets at most.
const GROUPS: usize = 2;

/// The same for `V` vectors of each value, from the one numbered `vector`; gives `V`.
#[inline(always)]
fn add_vectors<S: Simd, E: Element, const Q: usize, const V: usize>(
    isa: S,
    of: &WeightedValues<'_, E>,
    values: &Values<'_>,
    vector: usize,
) -> usize {
    let (layout, padded, column) = (of.tile.layout, of.tile.padded(), vector * S::LANES);
    let (width, positions) = (of.tile.value_width(), &values.positions);
    // SAFETY: this task has these columns alone, and is done before the borrow of the sums ends.
    let place =
        |q: usize, v: usize| unsafe { of.sums.slice((values.query + q) * width + column + v * S::LANES, S::LANES) };
    // The scores of query `q` from the block before the first position on.
    let scores = |q: usize| &of.scores[(values.query + q) * padded + values.at - positions.start..];
    let mut acc = [[isa.splat(0.0); V]; Q];
    for q in 0..Q {
        for v in 0..V {
            acc[q][v] = isa.load(place(q, v));
        }
    }
    if E::SCALED {
        const { assert!(V * S::LANES <= GROUPS * GROUP) };
        let blocks = values.blocks.chunks_exact(layout.value_block());
        for (start, block) in (0..).step_by(POSITION_BLOCK).zip(blocks) {
            let (rows, scales) = block.split_at(layout.value_elements());
            let mut weights = [[[0.0; POSITION_BLOCK]; GROUPS]; Q];
            for group in 0..(V * S::LANES).div_ceil(GROUP) {
                let scales = &scales[(column / GROUP + group) * POSITION_BLOCK..][..POSITION_BLOCK];
                for lane in (0..POSITION_BLOCK).step_by(S::LANES) {
                    let scales = isa.load_f16(&scales[lane..]);
                    for (q, weights) in weights.iter_mut().enumerate() {
                        let weight = isa.mul(isa.load(&scores(q)[start + lane..]), scales);
                        isa.store(weight, &mut weights[group][lane..]);
                    }
                }
            }
            let lanes = positions.start.max(start) - start..positions.end.min(start + POSITION_BLOCK) - start;
            let weights: [[&[f32]; GROUPS]; Q] =
                std::array::from_fn(|q| std::array::from_fn(|group| &weights[q][group][lanes.clone()]));
            let rows = &E::view(rows)[lanes.start * width..lanes.end * width];
            add_rows::<S, E, Q, V>(isa, &mut acc, &weights, rows, width, column);
        }
    } else {
        let weights: [[&[f32]; GROUPS]; Q] = std::array::from_fn(|q| [&scores(q)[positions.clone()]; GROUPS]);
        let rows = &E::view(values.blocks)[positions.start * width..positions.end * width];
        add_rows::<S, E, Q, V>(isa, &mut acc, &weights, rows, width, column);
    }
    for q in 0..Q {
        for v in 0..V {
            isa.store(acc[q][v], place(q, v));
        }
    }
    V
}

/// Adds `V` vectors, from `column` on, of each of these rows of `width`, times the row's weight
/// for their group of elements.
#[inline(always)]
fn add_rows<S: Simd, E: Element, const Q: usize, const V: usize>(
    isa: S,
    acc: &mut [[S::F32; V]; Q],
    weights: &[[&[f32]; GROUPS]; Q],
    rows: &[E::Stored],
    width: usize,
    column: usize,
) {
    for (t, row) in rows.chunks_exact(width).enumerate() {
        let row = &row[column..column + V * S::LANES];
        for v in 0..V {
            let values = E::load(isa, &row[v * S::LANES..]);
            for q in 0..Q {
                let weight = weights[q][v * S::LANES / GROUP][t];
                acc[q][v] = isa.fma(isa.splat(weight), values, acc[q][v]);
            }
        }
    }
}
