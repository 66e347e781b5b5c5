//! Attention over a KV cache, causal or bidirectional, with grouped queries (GQA, arXiv
//! 2305.13245).
//!
//! Each score is one accumulator, summed in the order of the key's elements. Each element of the
//! result is one accumulator, summed in the order of the positions. So a query's result depends
//! neither on the chunks of the cache nor on the batch. Where 32 elements have a common scale, a
//! score is the sum of the dot products of such groups, each times its scale; and what a value is
//! multiplied by is the weight of its position times the scale.
//!
//! Sequences that share the beginning of their cache (forks of one prompt) meet it together, as the
//! tokens of one sequence would: its keys and values are read once for several of them. Then each
//! meets what is its own.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::Isa;
use crate::memory::{self, OutOfMemory};

use super::kv_cache::KEY_RUN;
use super::kv_type::{Element, GROUP, KvHeads, with_element};
use super::query_tile::{AttentionParams, Queries, QueryTile, TILE, spans};
use super::scores::score;
use super::vector::{soft_cap, softmax, softmax_with_sink};
use super::weighted_values::weighted_values;
use super::{Exec, Shared};

/// Columns of values that a task has at least: a cache line of half-precision values, and what has
/// a common scale.
const LINE: usize = GROUP;

/// Elements of keys from which on it pays to split one tile among all threads.
const LONG: usize = 1 << 16;

/// Bytes of the scratch while [`attend`] runs on `threads` threads over `positions` positions.
pub fn attention_bytes(shape: KvHeads, threads: usize, positions: usize) -> usize {
    threads.saturating_mul(size_of::<f32>()).saturating_mul(scratch_floats(shape, positions))
}

/// Floats of the queries, the scores and the sums of a tile over `positions` positions.
fn scratch_floats(shape: KvHeads, positions: usize) -> usize {
    TILE.saturating_mul(positions.saturating_add(2 * KEY_RUN + 2 * shape.head_dim + shape.value_width()))
}

/// Attention, `out = softmax(score(q k^T)) v`, for the tokens of several sequences, on all threads.
///
/// `queries` and `out` are `[count][heads * head_dim]`, one of `sequences` after the other; all
/// have heads of the same shape and caches of the same type. Each token sees the positions of its
/// sequence that `params` say: in causal attention those up to its own, in bidirectional attention
/// those behind it too, up to the last of the sequence's tokens here.
///
/// # Errors
/// [`OutOfMemory`] if the scores cannot be allocated; then `out` holds no result.
///
/// # Panics
/// If `queries` and `out` are not of one size, a token of `sequences` has no row in them or no
/// position in its cache, or their caches are not of one shape and type.
pub fn attend<'a>(
    exec: &mut Exec,
    sequences: impl Iterator<Item = Queries<'a>>,
    params: AttentionParams<'a>,
    queries: &[f32],
    out: &mut [f32],
) -> Result<(), OutOfMemory> {
    assert_eq!(queries.len(), out.len(), "each query has its result");
    let spans = spans(sequences);
    let members = || spans.iter().flat_map(|span| &span.members).map(|member| &member.queries);
    let Some(layout) = members().next().map(|queries| queries.cache.layout()) else { return Ok(()) };
    let shape = layout.heads;
    for Queries { cache, first, count } in members() {
        assert_eq!(cache.layout(), layout, "the caches of all sequences have one shape and type");
        assert!(first + count <= cache.end(), "a token's position must be in its cache");
    }
    let longest = members().map(|queries| queries.first + queries.count).max().unwrap_or_default();
    let refusal = OutOfMemory { bytes: attention_bytes(shape, 1, longest) };
    let (isa, tasks, out) = (exec.isa, spans.len() * shape.kv_heads, Shared::new(out));
    let scratch = |positions| {
        let mut scratch = Vec::new();
        memory::reserve(&mut scratch, scratch_floats(shape, positions)).map(|()| scratch)
    };
    let tiles = |task| QueryTile::all(isa, &spans[task / shape.kv_heads], task % shape.kv_heads, params);

    // All threads work on one tile after the other if this is faster than whole tiles as tasks: the
    // scores are cut into as many parts as there are threads, the values into cache lines.
    let threads = exec.pool.threads();
    let lines = threads.min(shape.value_width().div_ceil(LINE));
    let is_less = tasks * (threads + lines) < 2 * tasks.div_ceil(threads) * threads * lines;
    if is_less && params.most_seen(longest) * shape.head_dim >= LONG {
        let mut scratch = scratch(longest).map_err(|_| refusal)?;
        for tile in (0..tasks).flat_map(tiles) {
            let mut buffers = TileBuffers::new(&tile, queries, &mut scratch);
            let regions = |count: usize| (4 * threads).min(count);
            buffers.run(isa, &tile, |count, task| {
                let regions = regions(count);
                exec.pool.run(regions, |i| task(i * count / regions..(i + 1) * count / regions));
            });
            buffers.write(&tile, out);
        }
        return Ok(());
    }
    let refused = AtomicBool::new(false);
    exec.pool.run(tasks, |task| match scratch(longest) {
        Ok(mut scratch) => {
            for tile in tiles(task) {
                let mut buffers = TileBuffers::new(&tile, queries, &mut scratch);
                buffers.run(isa, &tile, |count, task| task(0..count));
                buffers.write(&tile, out);
            }
        }
        Err(_) => refused.store(true, Ordering::Relaxed),
    });
    if refused.into_inner() { Err(refusal) } else { Ok(()) }
}

/// A tile with its scratch.
struct TileBuffers<'a> {
    /// Of each part of the tile: `[head_dim][width]`
    queries: &'a mut [f32],
    /// `[width][padded]`; what lies past the positions that a query sees is of no use.
    scores: &'a mut [f32],
    /// `[width][value_width]`
    sums: &'a mut [f32],
}

impl<'a> TileBuffers<'a> {
    /// Those of `tile`, in `scratch`, with its queries, which are among `all`.
    fn new(tile: &QueryTile<'_>, all: &[f32], scratch: &'a mut Vec<f32>) -> Self {
        let (width, dim) = (tile.width(), tile.dim());
        let widths: usize = tile.parts.iter().map(|part| part.width).sum();
        scratch.resize(widths * dim + width * (tile.padded() + tile.value_width()), 0.0);
        let (queries, rest) = scratch.split_at_mut(widths * dim);
        let (scores, sums) = rest.split_at_mut(width * tile.padded());
        let mut left = &mut *queries;
        for part in &tile.parts {
            let own;
            (own, left) = left.split_at_mut(part.width * dim);
            for q in 0..part.width {
                let place = tile.row(part.row + q).0;
                let query = own[q..].iter_mut().step_by(part.width).zip(&all[place..place + dim]);
                query.for_each(|(to, &from)| *to = from);
            }
        }
        sums.fill(0.0);
        Self { queries, scores, sums }
    }

    /// Computes the sums. `run` runs a task over a range, whole or in parts.
    fn run(&mut self, isa: Isa, tile: &QueryTile<'_>, run: impl FnMut(usize, &(dyn Fn(Range<usize>) + Sync))) {
        with_element!(tile.layout.kv_type, E => self.run_elements::<E>(isa, tile, run));
    }

    fn run_elements<E: Element>(
        &mut self,
        isa: Isa,
        tile: &QueryTile<'_>,
        mut run: impl FnMut(usize, &(dyn Fn(Range<usize>) + Sync)),
    ) {
        let (padded, scores, mut left) = (tile.padded(), Shared::new(self.scores), &*self.queries);
        for part in &tile.parts {
            let queries;
            (queries, left) = left.split_at(part.width * tile.dim());
            run(part.runs(), &|runs| score::<E>(isa, tile, part, queries, runs, scores));
        }
        run(tile.rows.len(), &|rows| {
            for row in rows {
                let seen = &tile.rows[row].1;
                // SAFETY: no other part has this row, and this one is done with the scores before
                // the borrow ends.
                let scores = unsafe { scores.slice(row * padded + seen.start - tile.start, seen.len()) };
                if let Some(cap) = tile.params.cap {
                    soft_cap(isa, scores, cap);
                }
                match tile.sink(row) {
                    Some(sink) => softmax_with_sink(isa, scores, sink),
                    None => softmax(isa, scores),
                }
            }
        });
        let (scores, sums) = (&*self.scores, Shared::new(self.sums));
        let width = tile.value_width();
        run(width.div_ceil(LINE), &|lines| {
            let columns = lines.start * LINE..width.min(lines.end * LINE);
            weighted_values::<E>(isa, tile, scores, columns, sums);
        });
    }

    /// Writes the results, which are among `out`.
    fn write(&self, tile: &QueryTile<'_>, out: Shared<f32>) {
        let dim = tile.dim();
        for (&(place, _), sum) in tile.rows.iter().zip(self.sums.chunks_exact(tile.value_width())) {
            // SAFETY: this task has the tile's rows alone, and `attend` waits for its tasks before
            // the borrow ends.
            unsafe { out.slice(place, dim) }.copy_from_slice(&sum[..dim]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Pool;
    use crate::ops::{KvType, LayerKvCache};

    fn wave(n: usize, step: usize) -> Vec<f32> {
        (0..n).map(|i| (i * step % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn cache(shape: KvHeads, kv_type: KvType, keys: &[f32], values: &[f32]) -> LayerKvCache {
        let mut cache = LayerKvCache::new(shape, kv_type);
        let positions = keys.len() / (shape.kv_heads * shape.head_dim);
        cache.reserve(0..positions, positions).unwrap();
        cache.store(&exec(Isa::available()[0], 2), 0, keys, values);
        cache
    }

    fn exec(isa: Isa, threads: usize) -> Exec {
        Exec { isa, pool: Pool::new(threads).unwrap() }
    }

    /// Keys or values as the cache holds them.
    fn rounded(shape: KvHeads, kv_type: KvType, x: &[f32]) -> Vec<f64> {
        let half = |x: f32| half::f16::from_f32(x).to_f32();
        let round = |group: &[f32]| match kv_type {
            KvType::F16 => group.iter().map(|&x| f64::from(half(x))).collect::<Vec<_>>(),
            KvType::Q8_0 => {
                let scale = half(group.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0);
                let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                group.iter().map(|x| f64::from((x * inverse).round_ties_even()) * f64::from(scale)).collect()
            }
        };
        x.chunks(shape.head_dim).flat_map(|head| head.chunks(32).flat_map(round)).collect()
    }

    fn one(cache: &LayerKvCache, first: usize, count: usize) -> impl Iterator<Item = Queries<'_>> {
        std::iter::once(Queries { cache, first, count })
    }

    /// The formula in double precision, on what the cache holds: the token at `position` of a text
    /// of `length`.
    fn reference(
        shape: KvHeads,
        params: AttentionParams<'_>,
        (position, length): (usize, usize),
        query: &[f32],
        keys: &[f64],
        values: &[f64],
    ) -> Vec<f64> {
        let KvHeads { heads, kv_heads, head_dim } = shape;
        let mut out = Vec::new();
        for head in 0..heads {
            let at = |t: usize| t * kv_heads * head_dim + head / (heads / kv_heads) * head_dim;
            let score = |t: usize| {
                let dot: f64 = (0..head_dim).map(|i| f64::from(query[head * head_dim + i]) * keys[at(t) + i]).sum();
                let score = dot * f64::from(params.scale);
                let capped = params.cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                let is_seen = match params.window {
                    _ if params.causal && t > position => false,
                    Some(window) if params.causal => position - t < window,
                    Some(window) => position.abs_diff(t) <= window / 2,
                    None => true,
                };
                if is_seen { capped.exp() } else { 0.0 }
            };
            let scores: Vec<_> = (0..length).map(score).collect();
            let sink = params.sinks.map_or(0.0, |sinks| f64::from(sinks[head]).exp());
            let total: f64 = scores.iter().sum::<f64>() + sink;
            out.extend((0..head_dim).map(|i| (0..length).map(|t| scores[t] * values[at(t) + i]).sum::<f64>() / total));
        }
        out
    }

    #[test]
    fn attention_is_the_formula_and_each_query_is_independent() {
        let windows = [None, Some(1), Some(24), Some(70)];
        for ((heads, kv_heads, head_dim), window) in
            [(9, 3, 64), (4, 4, 16), (5, 1, 20), (14, 2, 40)].into_iter().zip(windows)
        {
            for kv_type in KvType::ALL {
                attention_is_the_formula(KvHeads { heads, kv_heads, head_dim }, kv_type, window);
            }
        }
    }

    fn attention_is_the_formula(shape: KvHeads, kv_type: KvType, window: Option<usize>) {
        let KvHeads { heads, kv_heads, head_dim } = shape;
        let (cap, sinks) = (window.map(|window| window as f32), wave(heads, 41));
        let sinks = window.map(|_| sinks.as_slice());
        let params = AttentionParams { cap, window, sinks, ..AttentionParams::plain(head_dim) };
        let (count, kv_width, width) = (101, kv_heads * head_dim, heads * head_dim);
        let (keys, values) = (wave(count * kv_width, 37), wave(count * kv_width, 53));
        let queries = wave(count * width, 29);
        let cache = cache(shape, kv_type, &keys, &values);
        let [keys, values] = [keys, values].map(|x| rounded(shape, kv_type, &x));
        let mut first = None;
        for isa in Isa::available() {
            let mut exec = exec(isa, 2);
            let mut all = vec![0.0; count * width];
            attend(&mut exec, one(&cache, 0, count), params, &queries, &mut all).unwrap();
            for t in 0..count {
                let query = &queries[t * width..][..width];
                let want = reference(shape, params, (t, t + 1), query, &keys, &values);
                let got = &all[t * width..][..width];
                assert!(got.iter().zip(&want).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-5), "{isa:?} {shape:?} {t}");
                let mut alone = vec![0.0; width];
                attend(&mut exec, one(&cache, t, 1), params, query, &mut alone).unwrap();
                assert_eq!(alone, got, "{isa:?} {shape:?} {t}");
            }
            // As the tokens of three sequences that happen to be the same: whole spans, a part
            // of one, a single token.
            let cuts = [(0, 40), (40, 60), (100, 1)].map(|(first, count)| Queries { cache: &cache, first, count });
            let mut parts = vec![0.0; count * width];
            attend(&mut exec, cuts.into_iter(), params, &queries, &mut parts).unwrap();
            assert_eq!(parts, all, "{isa:?} {shape:?}");
            assert_eq!(first.get_or_insert_with(|| all.clone()), &all, "{isa:?} {shape:?}");
        }
    }

    /// Each token sees those behind it too, as far as the window goes; alone, beside another text,
    /// on any number of threads.
    #[test]
    fn bidirectional_attention_is_the_formula() {
        let windows = [None, Some(1), Some(24), Some(71)];
        let shapes = [(9, 3, 64), (4, 4, 16), (5, 1, 20), (14, 2, 40)];
        for ((heads, kv_heads, head_dim), window) in shapes.into_iter().zip(windows) {
            let shape = KvHeads { heads, kv_heads, head_dim };
            let params = AttentionParams { causal: false, window, ..AttentionParams::plain(head_dim) };
            for kv_type in KvType::ALL {
                bidirectional_attention(shape, kv_type, params);
            }
        }
    }

    fn bidirectional_attention(shape: KvHeads, kv_type: KvType, params: AttentionParams<'_>) {
        let (count, kv_width, width) = (101, shape.kv_heads * shape.head_dim, shape.heads * shape.head_dim);
        let (keys, values) = (wave(count * kv_width, 37), wave(count * kv_width, 53));
        let queries = wave(count * width, 29);
        let text = cache(shape, kv_type, &keys, &values);
        let other = cache(shape, kv_type, &values[..7 * kv_width], &keys[..7 * kv_width]);
        let [keys, values] = [keys, values].map(|x| rounded(shape, kv_type, &x));
        let mut expected: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            for threads in [1, 3] {
                let mut exec = exec(isa, threads);
                let mut out = vec![0.0; count * width];
                attend(&mut exec, one(&text, 0, count), params, &queries, &mut out).unwrap();
                for t in 0..count {
                    let row = t * width..(t + 1) * width;
                    let want = reference(shape, params, (t, count), &queries[row.clone()], &keys, &values);
                    let close = out[row].iter().zip(&want).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-5);
                    assert!(close, "{isa:?} {shape:?} {kv_type} {t}");
                }
                let sequences = [(&other, 7), (&text, count)];
                let sequences = sequences.map(|(cache, count)| Queries { cache, first: 0, count });
                let both = [&queries[..7 * width], &queries].concat();
                let mut beside = vec![0.0; both.len()];
                attend(&mut exec, sequences.into_iter(), params, &both, &mut beside).unwrap();
                assert_eq!(beside[7 * width..], out, "{isa:?} {shape:?} {kv_type} {threads}");
                assert_eq!(expected.get_or_insert(out.clone()), &out, "{isa:?} {shape:?} {kv_type} {threads}");
            }
        }
    }

    #[test]
    fn all_threads_on_one_tile_give_the_same_bits() {
        for ((heads, kv_heads, head_dim), positions) in [((3, 1, 240), 290), ((6, 3, 128), 520)] {
            for kv_type in KvType::ALL {
                all_threads_on_one_tile(KvHeads { heads, kv_heads, head_dim }, kv_type, positions);
            }
        }
    }

    fn all_threads_on_one_tile(shape: KvHeads, kv_type: KvType, positions: usize) {
        let (kv_width, width) = (shape.kv_heads * shape.head_dim, shape.heads * shape.head_dim);
        let cache = cache(shape, kv_type, &wave(positions * kv_width, 37), &wave(positions * kv_width, 53));
        let masks = [(true, None), (true, Some(positions - 5)), (false, None), (false, Some(positions - 5))];
        for (isa, (causal, window)) in Isa::available().into_iter().flat_map(|isa| masks.map(|mask| (isa, mask))) {
            let plain = AttentionParams { causal, ..AttentionParams::plain(shape.head_dim) };
            let sinks = wave(shape.heads, 41);
            let sinks = window.map(|_| sinks.as_slice());
            let params = AttentionParams { window, cap: window.map(|_| 30.0), sinks, ..plain };
            for (count, more) in [(1, 0), (5, 0), (5, 2)] {
                let scalar = Isa::by_name("scalar").unwrap();
                let queries = wave((count + more) * width, 29);
                let attend = |isa, threads| {
                    let mut out = vec![0.0; queries.len()];
                    let sequences = [(positions - count, count), (positions - 7, more)];
                    let sequences = sequences.map(|(first, count)| Queries { cache: &cache, first, count });
                    attend(&mut exec(isa, threads), sequences.into_iter(), params, &queries, &mut out).unwrap();
                    out
                };
                let whole = attend(scalar, 1);
                for threads in [1, 2, 4] {
                    let same = attend(isa, threads) == whole;
                    assert!(same, "{isa:?} {shape:?} {kv_type} {causal} {window:?} {count} {more} {threads}");
                }
            }
        }
    }

    /// Attention of one token at position 3 of each of these caches.
    fn attend_to(caches: &[LayerKvCache]) {
        let mut exec = exec(Isa::available()[0], 1);
        let queries = vec![0.0; caches.len() * 32];
        let sequences = caches.iter().map(|cache| Queries { cache, first: 3, count: 1 });
        attend(&mut exec, sequences, AttentionParams::plain(16), &queries, &mut queries.clone()).unwrap();
    }

    #[test]
    #[should_panic(expected = "one shape")]
    fn heads_of_two_shapes_are_refused() {
        let shapes = [KvHeads { heads: 2, kv_heads: 1, head_dim: 16 }, KvHeads { heads: 2, kv_heads: 2, head_dim: 16 }];
        let zeros = |shape: KvHeads| vec![0.0; 64 * shape.kv_heads];
        attend_to(&shapes.map(|shape| cache(shape, KvType::F16, &zeros(shape), &zeros(shape))));
    }

    #[test]
    #[should_panic(expected = "one shape and type")]
    fn caches_of_two_types_are_refused() {
        let shape = KvHeads { heads: 2, kv_heads: 1, head_dim: 16 };
        attend_to(&KvType::ALL.map(|kv_type| cache(shape, kv_type, &[0.0; 64], &[0.0; 64])));
    }

    #[test]
    #[should_panic(expected = "in its cache")]
    fn a_position_that_is_not_there_is_refused() {
        attend_to(&[LayerKvCache::new(KvHeads { heads: 2, kv_heads: 1, head_dim: 16 }, KvType::F16)]);
    }

    /// Forks of one text, of different lengths, with several tokens each, beside a text of its own.
    #[test]
    fn sequences_that_share_their_beginning_are_computed_as_if_alone() {
        for ((heads, kv_heads, head_dim), window) in
            [(9, 3, 64), (2, 2, 20), (8, 1, 32), (4, 2, 128)].into_iter().zip([None, Some(150), Some(400), None])
        {
            for kv_type in KvType::ALL {
                sequences_that_share(KvHeads { heads, kv_heads, head_dim }, kv_type, window);
            }
        }
    }

    fn sequences_that_share(shape: KvHeads, kv_type: KvType, window: Option<usize>) {
        let KvHeads { heads, kv_heads, head_dim } = shape;
        let params = AttentionParams { window, ..AttentionParams::plain(head_dim) };
        let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let exec = exec(Isa::available()[0], 2);
        let text = |n: usize, seed: usize| (wave(n * kv_width, 37 + seed), wave(n * kv_width, 53 + seed));
        let (keys, values) = text(333, 0);
        let root = cache(shape, kv_type, &keys, &values);
        let mut caches = Vec::new();
        for (i, more) in [1, 2, 70, 1, 5, 130, 3, 1, 64, 9].into_iter().enumerate() {
            let mut fork = root.clone();
            fork.reserve(333..333 + more, 2000).unwrap();
            let (keys, values) = text(more, 2 * i + 2);
            fork.store(&exec, 333, &keys, &values);
            caches.push((fork, 333 + more));
        }
        let (keys, values) = text(340, 99);
        caches.insert(4, (cache(shape, kv_type, &keys, &values), 340));
        let sequences = || {
            let queries = |(i, (cache, end)): (usize, &(LayerKvCache, usize))| {
                let count = [1, 1, 3, 1, 2][i % 5].min(end - 332);
                (cache.clone(), end - count, count)
            };
            caches.iter().enumerate().map(queries).collect::<Vec<_>>()
        };
        let all = sequences();
        let rows: usize = all.iter().map(|(_, _, count)| count).sum();
        let queries = wave(rows * width, 29);
        assert!(caches[0].0.shared_with(&caches[1].0) >= 320 && caches[0].0.shared_with(&caches[4].0) == 0);
        let mut expected: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            for threads in [1, 3] {
                let mut exec = self::exec(isa, threads);
                let mut together = vec![0.0; queries.len()];
                let parts = all.iter().map(|(cache, first, count)| Queries { cache, first: *first, count: *count });
                attend(&mut exec, parts, params, &queries, &mut together).unwrap();
                let (mut alone, mut row) = (vec![0.0; queries.len()], 0);
                for (cache, first, count) in &all {
                    let own = row * width..(row + count) * width;
                    let part = one(cache, *first, *count);
                    attend(&mut exec, part, params, &queries[own.clone()], &mut alone[own]).unwrap();
                    row += count;
                }
                assert_eq!(together, alone, "{isa:?} {shape:?} {kv_type} {window:?} {threads}");
                assert_eq!(expected.get_or_insert(alone), &together, "{isa:?} {shape:?} {kv_type}");
            }
        }
    }
}
