//! How the queries of attention are cut into tiles: some queries that share a key head, of the
//! tokens of one sequence or of sequences that share the beginning of their cache.

use std::ops::Range;

use crate::cpu::Isa;

use super::kv_cache::{KEY_RUN, LayerKvCache};
use super::kv_type::{KvLayout, POSITION_BLOCK};

/// The parameters of attention: scale, logit soft-cap, sliding window, sinks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionParams<'a> {
    /// The scale of the scores: dot products of queries and keys are multiplied by it.
    pub scale: f32,
    /// The logit soft-cap: scores go through `cap * tanh(score / cap)`.
    pub cap: Option<f32>,
    /// Causal attention: a query sees its own position and those before it, not those behind it.
    pub causal: bool,
    /// The sliding window; `None`: all positions. A causal query sees the last so many, its own
    /// included; any other sees half as many on either side of its own, as GGUF counts them.
    pub window: Option<usize>,
    /// For each query head a score of nothing, which takes its share of the attention: `[heads]`.
    pub sinks: Option<&'a [f32]>,
}

impl AttentionParams<'_> {
    /// The usual: `1 / sqrt(head_dim)`, no cap, causal, all positions.
    pub fn plain(head_dim: usize) -> Self {
        Self { scale: 1.0 / (head_dim as f32).sqrt(), cap: None, causal: true, window: None, sinks: None }
    }

    /// The positions that the token at `position` sees, of a text that ends at `end`.
    fn seen(&self, position: usize, end: usize) -> Range<usize> {
        match (self.causal, self.window) {
            (true, window) => window.map_or(0, |window| (position + 1).saturating_sub(window))..position + 1,
            (false, None) => 0..end,
            (false, Some(window)) => {
                let side = window / 2;
                position.saturating_sub(side)..end.min(position.saturating_add(side + 1))
            }
        }
    }

    /// How many positions a token sees at most, of a text of `length`.
    pub(super) fn most_seen(&self, length: usize) -> usize {
        self.window.map_or(length, |window| length.min(window.saturating_add(usize::from(!self.causal))))
    }
}

/// Tokens of a task: so many that the cost of claiming a task does not count.
const TOKENS_PER_TASK: usize = 16;

/// The largest query tile of any instruction set: each key is loaded once for all its queries.
pub(super) const TILE: usize = 8;

/// Positions that sequences must share to be computed together.
const SHARED_PREFIX: usize = 2 * KEY_RUN;

/// Queries of successive tokens of one sequence. Where attention is not causal, they are its last
/// ones.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// The keys and values of all positions up to the last of them.
    pub cache: &'a LayerKvCache,
    /// The position of the first.
    pub first: usize,
    /// How many there are.
    pub count: usize,
}

/// What a task computes: [`Queries`] of one sequence, or of several that share their first
/// positions.
pub(super) struct Span<'a> {
    pub(super) members: Vec<SpanMember<'a>>,
    /// Positions that all members share, a multiple of [`POSITION_BLOCK`]; no query is at one of
    /// them.
    pub(super) shared: usize,
}

/// Queries of one sequence in a [`Span`].
pub(super) struct SpanMember<'a> {
    pub(super) queries: Queries<'a>,
    /// The row of the first of them.
    row: usize,
    /// The end of the sequence, of which these may be a part.
    end: usize,
}

/// Cuts the queries of sequences into those of tasks: at most [`TOKENS_PER_TASK`] tokens of one
/// sequence, or of neighbours that share their first positions.
pub(super) fn spans<'a>(sequences: impl Iterator<Item = Queries<'a>>) -> Vec<Span<'a>> {
    let (mut spans, mut row) = (Vec::<Span<'a>>::new(), 0);
    for Queries { cache, first, count } in sequences {
        for start in (0..count).step_by(TOKENS_PER_TASK) {
            let queries = Queries { cache, first: first + start, count: TOKENS_PER_TASK.min(count - start) };
            let member = SpanMember { queries, row: row + start, end: first + count };
            match spans.last_mut().and_then(|span| span.shared_with(&queries).map(|shared| (span, shared))) {
                Some((span, shared)) => {
                    span.members.push(member);
                    span.shared = shared;
                }
                None => spans.push(Span { members: vec![member], shared: 0 }),
            }
        }
        row += count;
    }
    spans
}

impl<'a> Span<'a> {
    /// Positions that its members and `queries` share, if these are worth a common task.
    fn shared_with(&self, queries: &Queries<'a>) -> Option<usize> {
        let first = &self.members[0].queries;
        let tokens: usize = self.members.iter().map(|member| member.queries.count).sum();
        let before = if self.members.len() == 1 { first.first } else { self.shared };
        let shared = first.cache.shared_with(queries.cache).min(before).min(queries.first);
        let shared = shared / POSITION_BLOCK * POSITION_BLOCK;
        (shared >= SHARED_PREFIX && tokens + queries.count <= TOKENS_PER_TASK).then_some(shared)
    }
}

/// Some queries that share a key head.
pub(super) struct QueryTile<'a> {
    pub(super) head: usize,
    pub(super) params: AttentionParams<'a>,
    /// Where each query is among all of them, and its result among all results, and the positions
    /// that it sees.
    pub(super) rows: Vec<(usize, Range<usize>)>,
    /// The position of the first score, a multiple of [`POSITION_BLOCK`].
    pub(super) start: usize,
    /// How many positions have a score.
    pub(super) length: usize,
    /// The positions that there are, with the rows that see them, each row's in their order.
    pub(super) parts: Vec<TilePart<'a>>,
    pub(super) layout: KvLayout,
}

/// Positions of a cache, and the rows of a tile that may see them.
pub(super) struct TilePart<'a> {
    pub(super) cache: &'a LayerKvCache,
    /// From a multiple of [`POSITION_BLOCK`] on.
    pub(super) positions: Range<usize>,
    /// The first row, and the number of rows: 1, 2, 4 or 8, with the last row of the tile several
    /// times.
    pub(super) row: usize,
    pub(super) width: usize,
}

impl<'a> QueryTile<'a> {
    /// The tiles of a span's queries that share the key head `head`.
    pub(super) fn all(
        isa: Isa,
        span: &Span<'a>,
        head: usize,
        params: AttentionParams<'a>,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let layout = span.members[0].queries.cache.layout();
        let shape = layout.heads;
        let (group, most, shared) = (shape.queries_per_head(), isa.query_tile(), span.shared);
        let mut queries = Vec::new();
        for SpanMember { queries: Queries { cache, first, count }, row, end } in &span.members {
            for query in 0..count * group {
                let place = (row + query / group) * shape.heads + head * group + query % group;
                let seen = params.seen(first + query / group, *end);
                queries.push((*cache, (place * shape.head_dim, seen)));
            }
        }
        let count = queries.len();
        (0..count).step_by(most).map(move |at| {
            let queries = &queries[at..count.min(at + most)];
            let starts = queries.iter().map(|(_, (_, seen))| seen.start);
            let start = starts.min().unwrap_or_default() / POSITION_BLOCK * POSITION_BLOCK;
            let end = queries.iter().map(|(_, (_, seen))| seen.end).max().unwrap_or_default();
            let parts = TilePart::all(queries, start, shared);
            let rows = queries.iter().map(|(_, row)| row.clone()).collect();
            Self { head, params, rows, start, length: end - start, parts, layout }
        })
    }

    /// Queries that are computed: 1, 2, 4 or 8, with the last one several times.
    pub(super) fn width(&self) -> usize {
        self.rows.len().next_power_of_two()
    }

    /// The row of query `q`.
    pub(super) fn row(&self, q: usize) -> &(usize, Range<usize>) {
        &self.rows[q.min(self.rows.len() - 1)]
    }

    /// The sink of a row's head.
    pub(super) fn sink(&self, row: usize) -> Option<f32> {
        let head = self.rows[row].0 / self.dim() % self.layout.heads.heads;
        self.params.sinks.map(|sinks| sinks[head])
    }

    pub(super) fn dim(&self) -> usize {
        self.layout.heads.head_dim
    }

    pub(super) fn value_width(&self) -> usize {
        self.layout.heads.value_width()
    }

    /// The length, and as many scores more as the last run may have.
    pub(super) fn padded(&self) -> usize {
        self.length.next_multiple_of(POSITION_BLOCK) + KEY_RUN
    }
}

impl<'a> TilePart<'a> {
    /// The parts of a tile whose scores begin at `start`, where the first `shared` positions of all
    /// caches are the same.
    fn all(queries: &[(&'a LayerKvCache, (usize, Range<usize>))], start: usize, shared: usize) -> Vec<Self> {
        let end = |rows: &[(_, (_, Range<usize>))]| rows.iter().map(|(_, (_, seen))| seen.end).max().unwrap_or(start);
        let same = |a: &(&LayerKvCache, _), b: &(&LayerKvCache, _)| std::ptr::eq(a.0, b.0);
        let (cache, width) = (queries[0].0, queries.len().next_power_of_two());
        if queries.iter().all(|query| same(query, &queries[0])) {
            return vec![Self { cache, positions: start..end(queries), row: 0, width }];
        }
        let mut parts = vec![Self { cache, positions: start..shared.max(start), row: 0, width }];
        let mut row = 0;
        for own in queries.chunk_by(same) {
            let positions = shared.max(start)..end(own);
            let mut left = own.len();
            while left > 0 {
                // Whole powers of two: no row is computed that belongs to another cache.
                let width = 1 << left.ilog2();
                parts.push(Self { cache: own[0].0, positions: positions.clone(), row, width });
                (row, left) = (row + width, left - width);
            }
        }
        parts
    }

    /// Runs of keys.
    pub(super) fn runs(&self) -> usize {
        self.positions.len().div_ceil(KEY_RUN)
    }
}

/// Runs `$kernel::<S, E, Q>` for `Q` of this width: 1, 2, 4 or 8, as far as `S` has registers.
macro_rules! with_width {
    ($width:expr, $kernel:ident :: <$isa:ident, $element:ident>($($argument:expr),*)) => {
        match $width {
            1 => $kernel::<$isa, $element, 1>($($argument),*),
            2 => $kernel::<$isa, $element, 2>($($argument),*),
            TILE if const { $isa::QUERY_TILE == TILE } => $kernel::<$isa, $element, TILE>($($argument),*),
            _ => $kernel::<$isa, $element, { TILE / 2 }>($($argument),*),
        }
    };
}
pub(super) use with_width;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{KvHeads, KvType};

    /// Ten forks at one place read their text once for several of them, in few tasks.
    #[test]
    fn forks_are_one_span_and_their_tails_have_parts_of_their_own() {
        let shape = KvHeads { heads: 4, kv_heads: 2, head_dim: 16 };
        let mut root = LayerKvCache::new(shape, KvType::F16);
        root.reserve(0..256, 1000).unwrap();
        let mut forks = vec![root; 10];
        for fork in &mut forks {
            fork.reserve(256..257, 1000).unwrap();
        }
        let spans = spans(forks.iter().map(|cache| Queries { cache, first: 256, count: 1 }));
        assert_eq!((spans.len(), spans[0].members.len(), spans[0].shared), (1, 10, 256));
        let tiles: Vec<_> =
            QueryTile::all(Isa::by_name("scalar").unwrap(), &spans[0], 1, AttentionParams::plain(16)).collect();
        assert_eq!(tiles.iter().map(|tile| tile.rows.len()).sum::<usize>(), 20);
        for tile in &tiles {
            let (shared, own): (Vec<_>, Vec<_>) = tile.parts.iter().partition(|part| part.positions.start < 256);
            let rows = |parts: &[&TilePart<'_>]| parts.iter().map(|part| part.width).sum::<usize>();
            assert!(shared.iter().all(|part| part.positions == (0..256)));
            assert!(own.iter().all(|part| part.positions == (256..257)));
            assert_eq!((rows(&shared), rows(&own)), (tile.width(), tile.rows.len()));
        }
    }
}
