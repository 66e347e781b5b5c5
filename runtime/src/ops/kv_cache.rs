//! The KV cache of one layer, in half precision.
//!
//! It grows in chunks, which sequences with a common prefix share (copy on write). A chunk has a
//! quarter of the positions before it that are not shared, 64 to 1024: a short text takes little
//! memory, and a long text is read in long runs, which suit the hardware prefetcher. A sequence
//! that writes to a shared chunk gets a chunk of its own, from the last multiple of 16 positions
//! on.
//!
//! In a chunk, keys are stored in blocks of 16 positions, transposed
//! (`[block][element][position]`), so that a vector holds one element of many positions. Values are
//! stored position by position.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use half::slice::HalfFloatSliceExt as _;

use crate::cpu::Pool;
use crate::memory::{self, OutOfMemory};

use super::Shared;

/// Positions of a block of keys. The row of a value is rounded up to a multiple of it.
pub(super) const POSITION_BLOCK: usize = 16;

/// Positions of a run of keys: chunks have whole runs.
pub(super) const KEY_RUN: usize = 64;

/// Positions of the largest chunk.
const LARGEST: usize = 1024;

/// The shape of the heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHeads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

impl KvHeads {
    pub(super) fn queries_per_head(&self) -> usize {
        self.heads / self.kv_heads
    }

    pub(super) fn value_width(&self) -> usize {
        self.head_dim.next_multiple_of(POSITION_BLOCK)
    }
}

/// The KV cache of one layer, IEEE binary16 bits. A clone shares the chunks.
#[derive(Clone, Debug)]
pub struct LayerKvCache {
    shape: KvHeads,
    runs: Vec<Run>,
}

/// The positions from `start` to the next run, or for the last one to the end of its chunk.
#[derive(Clone, Debug)]
struct Run {
    start: usize,
    chunk: Arc<Chunk>,
}

/// Keys and values of `size` positions.
#[derive(Debug)]
struct Chunk {
    size: usize,
    /// `[kv_heads][size / 16][head_dim][16]`
    keys: Vec<u16>,
    /// `[kv_heads][size][value_width]`
    values: Vec<u16>,
}

impl Chunk {
    fn new(shape: KvHeads, size: usize) -> Result<Self, OutOfMemory> {
        let positions = shape.kv_heads * size;
        let keys = memory::filled(0, positions * shape.head_dim)?;
        Ok(Self { size, keys, values: memory::filled(0, positions * shape.value_width())? })
    }

    /// Reads the key and the value of a position: `[2][kv_heads * head_dim]`.
    fn load(&self, shape: KvHeads, position: usize, bits: &mut [u16]) {
        let (keys, values) = bits.split_at_mut(bits.len() / 2);
        let heads = keys.chunks_exact_mut(shape.head_dim).zip(values.chunks_exact_mut(shape.head_dim));
        for (head, (to_key, to_value)) in heads.enumerate() {
            let (key, value) = places(self.size, shape, head, position);
            to_key.iter_mut().zip(self.keys[key..].iter().step_by(POSITION_BLOCK)).for_each(|(to, &from)| *to = from);
            to_value.copy_from_slice(&self.values[value..][..shape.head_dim]);
        }
    }

    fn writer(&mut self) -> KvWriter {
        KvWriter { size: self.size, keys: Shared::new(&mut self.keys), values: Shared::new(&mut self.values) }
    }
}

/// A chunk whose blocks of positions are written by the tasks of one parallel region.
#[derive(Clone, Copy)]
struct KvWriter {
    size: usize,
    keys: Shared<u16>,
    values: Shared<u16>,
}

impl KvWriter {
    /// Writes the key and the value of a position: `[2][kv_heads * head_dim]`.
    ///
    /// # Safety
    /// The chunk outlives the use, and no other task touches the block of this position meanwhile.
    unsafe fn store(self, shape: KvHeads, position: usize, bits: &[u16]) {
        let (keys, values) = bits.split_at(bits.len() / 2);
        let heads = keys.chunks_exact(shape.head_dim).zip(values.chunks_exact(shape.head_dim));
        for (head, (from_key, from_value)) in heads.enumerate() {
            let (key, value) = places(self.size, shape, head, position);
            // SAFETY: both lie in the block of the position.
            let (to_key, to_value) = unsafe {
                let elements = (shape.head_dim - 1) * POSITION_BLOCK + 1;
                (self.keys.slice(key, elements), self.values.slice(value, shape.head_dim))
            };
            to_key.iter_mut().step_by(POSITION_BLOCK).zip(from_key).for_each(|(to, &from)| *to = from);
            to_value.copy_from_slice(from_value);
        }
    }
}

/// Where the key and the value of a head begin in a chunk of `size` positions, of the `position`-th
/// position. The elements of a key are [`POSITION_BLOCK`] apart.
fn places(size: usize, shape: KvHeads, head: usize, position: usize) -> (usize, usize) {
    let (block, lane) = (position / POSITION_BLOCK * POSITION_BLOCK, position % POSITION_BLOCK);
    ((head * size + block) * shape.head_dim + lane, (head * size + position) * shape.value_width())
}

impl Run {
    fn end(&self) -> usize {
        self.start + self.chunk.size
    }

    /// # Panics
    /// If another sequence has this chunk.
    fn writer(&mut self) -> KvWriter {
        Arc::get_mut(&mut self.chunk).expect("a position is reserved before it is stored").writer()
    }

    /// Whether no other sequence has this chunk. If so, none will get it but from this one.
    fn is_own(&self) -> bool {
        Arc::strong_count(&self.chunk) == 1
    }
}

impl LayerKvCache {
    /// An empty cache.
    pub fn new(shape: KvHeads) -> Self {
        Self { shape, runs: Vec::new() }
    }

    /// Bytes of a cache for `positions` positions.
    pub fn bytes_for(shape: KvHeads, positions: usize) -> usize {
        let width = shape.kv_heads * (shape.head_dim + shape.value_width()) * size_of::<u16>();
        positions.checked_next_multiple_of(KEY_RUN).map_or(usize::MAX, |n| n.saturating_mul(width))
    }

    /// Bytes of this cache, those it shares included.
    pub fn bytes(&self) -> usize {
        self.runs.iter().map(|run| Self::bytes_for(self.shape, run.chunk.size)).sum()
    }

    /// Bytes of the chunks that are not among `seen`, by their addresses; they are then.
    pub(crate) fn bytes_unseen(&self, seen: &mut HashSet<usize>) -> usize {
        let unseen = self.runs.iter().filter(|run| seen.insert(Arc::as_ptr(&run.chunk).addr()));
        unseen.map(|run| Self::bytes_for(self.shape, run.chunk.size)).sum()
    }

    /// Bytes that [`LayerKvCache::reserve`] will add.
    pub fn bytes_missing(&self, positions: Range<usize>, most: usize) -> usize {
        self.missing(positions, most).iter().map(|&(_, size)| Self::bytes_for(self.shape, size)).sum()
    }

    /// Starts and sizes of the chunks that are missing for `positions`. Whoever shares a chunk
    /// shares those before it too: if the one at the first position is this cache's own, so are
    /// those after it.
    fn missing(&self, positions: Range<usize>, most: usize) -> Vec<(usize, usize)> {
        let at_first = self.runs.iter().rfind(|run| run.start <= positions.start);
        let mut start = match at_first.filter(|run| positions.start < run.end() && !run.is_own()) {
            Some(_) => positions.start / POSITION_BLOCK * POSITION_BLOCK,
            None => self.end(),
        };
        let mut missing = Vec::new();
        // Chunks grow with the text that this cache has for itself.
        let own = self.runs.iter().find(|run| run.is_own() && run.start < start).map_or(start, |run| run.start);
        while start < positions.end {
            let size = size_at(start - own, start, most);
            missing.push((start, size));
            start += size;
        }
        missing
    }

    /// Reserves memory for `positions`, which follow the stored ones, in chunks of this cache's
    /// own. A fallible allocation. There will never be more than `most` positions.
    ///
    /// # Errors
    /// [`OutOfMemory`]; the stored positions stay.
    pub fn reserve(&mut self, positions: Range<usize>, most: usize) -> Result<(), OutOfMemory> {
        for (start, size) in self.missing(positions.clone(), most) {
            let mut chunk = Chunk::new(self.shape, size)?;
            self.copy(start..positions.start, &mut chunk)?;
            self.truncate(start);
            self.runs.push(Run { start, chunk: Arc::new(chunk) });
        }
        Ok(())
    }

    /// Copies what is stored at `positions` to the beginning of `chunk`.
    fn copy(&self, positions: Range<usize>, chunk: &mut Chunk) -> Result<(), OutOfMemory> {
        let mut bits = memory::filled(0, 2 * self.shape.kv_heads * self.shape.head_dim)?;
        for (i, position) in positions.enumerate() {
            self.load(position, &mut bits);
            // SAFETY: the chunk is borrowed.
            unsafe { chunk.writer().store(self.shape, i, &bits) };
        }
        Ok(())
    }

    /// Releases the chunks that hold none of the first `positions` positions.
    pub fn truncate(&mut self, positions: usize) {
        self.runs.truncate(self.runs.partition_point(|run| run.start < positions));
    }

    /// Stores keys and values (`[n][kv_heads * head_dim]` each) of the positions from `first` on,
    /// on all threads.
    ///
    /// # Panics
    /// If they were not reserved.
    pub fn store(&mut self, pool: &Pool, first: usize, keys: &[f32], values: &[f32]) {
        let (shape, width) = (self.shape, self.shape.kv_heads * self.shape.head_dim);
        let end = first + keys.len() / width;
        assert!(end <= self.end(), "positions are reserved before they are stored");
        if end == first {
            return;
        }
        let from = self.run_at(first);
        let writers: Vec<_> = self.runs[from..].iter_mut().map(|run| (run.start, run.writer())).collect();
        let blocks = first / POSITION_BLOCK..end.div_ceil(POSITION_BLOCK);
        pool.run(blocks.len(), |i| {
            let block = (blocks.start + i) * POSITION_BLOCK;
            let positions = block.max(first)..(block + POSITION_BLOCK).min(end);
            let index = writers.partition_point(|&(start, _)| start <= positions.start) - 1;
            let (start, writer) = writers[index];
            let mut rounded = vec![half::f16::ZERO; 2 * width];
            for position in positions {
                let at = (position - first) * width..(position - first + 1) * width;
                rounded[..width].convert_from_f32_slice(&keys[at.clone()]);
                rounded[width..].convert_from_f32_slice(&values[at]);
                // SAFETY: each task has a block of positions, which no chunk shares with another,
                // and `run` returns before the borrow of the chunks ends.
                unsafe { writer.store(shape, position - start, rounded.reinterpret_cast()) };
            }
        });
    }

    /// Stores the key and the value of `position` as they were [loaded](Self::load):
    /// `[2][kv_heads * head_dim]`.
    ///
    /// # Panics
    /// If it was not reserved.
    pub fn store_bits(&mut self, position: usize, bits: &[u16]) {
        assert!(position < self.end(), "a position is reserved before it is stored");
        let index = self.run_at(position);
        let run = &mut self.runs[index];
        // SAFETY: the chunk is borrowed.
        unsafe { run.writer().store(self.shape, position - run.start, bits) };
    }

    /// The key and the value of a stored position: `[2][kv_heads * head_dim]`.
    pub fn load(&self, position: usize, bits: &mut [u16]) {
        let run = &self.runs[self.run_at(position)];
        run.chunk.load(self.shape, position - run.start, bits);
    }

    fn run_at(&self, position: usize) -> usize {
        self.runs.partition_point(|run| run.start <= position) - 1
    }

    /// Positions of the beginning that both have in the same chunks.
    pub(super) fn shared_with(&self, other: &Self) -> usize {
        let pieces = |cache: &Self| {
            let ends = cache.runs.iter().skip(1).map(|next| next.start).chain([cache.end()]);
            ends.zip(&cache.runs).map(|(end, run)| (end, Arc::as_ptr(&run.chunk))).collect::<Vec<_>>()
        };
        let both = pieces(self).into_iter().zip(pieces(other)).take_while(|(own, others)| own.1 == others.1);
        both.map(|(own, others)| own.0.min(others.0)).last().unwrap_or(0)
    }

    /// The end of the positions that are reserved.
    pub(super) fn end(&self) -> usize {
        self.runs.last().map_or(0, Run::end)
    }

    /// The heads.
    pub(super) fn shape(&self) -> KvHeads {
        self.shape
    }

    /// The keys of these positions of a head, chunk by chunk: `[blocks][head_dim][16]`. They begin
    /// at a multiple of [`POSITION_BLOCK`]; what lies past the positions that are stored is of no
    /// use.
    #[inline]
    pub(super) fn keys(&self, head: usize, range: Range<usize>) -> impl Iterator<Item = &[[u16; POSITION_BLOCK]]> {
        let dim = self.shape.head_dim;
        self.pieces(range).map(move |(chunk, positions)| {
            let at = (head * chunk.size + positions.start) / POSITION_BLOCK * dim;
            &chunk.keys.as_chunks().0[at..][..positions.len() / POSITION_BLOCK * dim]
        })
    }

    /// The values of these positions of a head, in runs of `[positions][value_width]`.
    #[inline]
    pub(super) fn values(&self, head: usize, range: Range<usize>) -> impl Iterator<Item = &[u16]> {
        let width = self.shape.value_width();
        self.pieces(range).map(move |(chunk, positions)| {
            &chunk.values[(head * chunk.size + positions.start) * width..][..positions.len() * width]
        })
    }

    /// The chunks that these positions lie in, and where in them.
    #[inline]
    fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = (&Chunk, Range<usize>)> {
        let ends = self.runs.iter().skip(1).map(|next| next.start).chain(self.runs.last().map(Run::end));
        self.runs.iter().zip(ends).filter_map(move |(run, end)| {
            let (start, end) = (run.start.max(range.start), end.min(range.end));
            (start < end).then(|| (&*run.chunk, start - run.start..end - run.start))
        })
    }
}

/// The size of a chunk that begins at `start`, `own` positions after the first chunk that a cache
/// has for itself, where there are `most` positions.
fn size_at(own: usize, start: usize, most: usize) -> usize {
    let wanted = (own / 4).clamp(KEY_RUN, LARGEST).next_multiple_of(KEY_RUN);
    let left = most.saturating_sub(start).max(1).div_ceil(KEY_RUN).saturating_mul(KEY_RUN);
    wanted.min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: KvHeads = KvHeads { heads: 2, kv_heads: 2, head_dim: 20 };
    const WIDTH: usize = 40;

    /// Keys or values of `positions`, different for each `seed`.
    fn wave(positions: usize, seed: usize) -> Vec<f32> {
        (0..positions * WIDTH).map(|i| (i * seed % 101) as f32).collect()
    }

    fn cache(positions: usize) -> LayerKvCache {
        let mut cache = LayerKvCache::new(SMALL);
        fill(&mut cache, 0..positions, 37);
        cache
    }

    fn fill(cache: &mut LayerKvCache, positions: Range<usize>, seed: usize) {
        cache.reserve(positions.clone(), 10_000).unwrap();
        cache.store(
            &Pool::new(2).unwrap(),
            positions.start,
            &wave(positions.len(), seed),
            &wave(positions.len(), seed + 1),
        );
    }

    /// The bits of positions.
    fn bits(cache: &LayerKvCache, positions: Range<usize>) -> Vec<Vec<u16>> {
        let load = |position| {
            let mut bits = vec![0; 2 * WIDTH];
            cache.load(position, &mut bits);
            bits
        };
        positions.map(load).collect()
    }

    fn layout(cache: &LayerKvCache) -> Vec<(usize, usize)> {
        cache.runs.iter().map(|run| (run.start, run.chunk.size)).collect()
    }

    #[test]
    fn chunks_grow_with_the_text_and_end_with_the_context() {
        let mut cache = LayerKvCache::new(SMALL);
        let most = 1100;
        let mut bytes = 0;
        for position in 0..most {
            bytes += cache.bytes_missing(position..position + 1, most);
            cache.reserve(position..position + 1, most).unwrap();
            assert_eq!(cache.bytes(), bytes);
        }
        let mut expected: Vec<(usize, usize)> = (0..5).map(|i| (64 * i, 64)).collect();
        expected.extend([(320, 128), (448, 128), (576, 192), (768, 192), (960, 192)]);
        assert_eq!(layout(&cache), expected);
        assert_eq!(bytes, LayerKvCache::bytes_for(SMALL, most));
        assert_eq!(LayerKvCache::bytes_for(SMALL, 65), 128 * 2 * (20 + 32) * 2);
        assert_eq!(LayerKvCache::bytes_for(SMALL, usize::MAX), usize::MAX);
    }

    #[test]
    fn clones_share_chunks_and_go_on_in_their_own() {
        let one = cache(600);
        let before = bits(&one, 0..600);
        let mut two = one.clone();
        fill(&mut two, 600..700, 7);
        // 600 is in the middle of the last chunk, which begins at 576.
        assert_eq!(layout(&one).last(), Some(&(576, 192)));
        // Chunks of its own are small again.
        assert_eq!(layout(&two)[7..], [(576, 192), (592, 64), (656, 64)]);
        let shared = |one: &LayerKvCache, two: &LayerKvCache| {
            one.runs.iter().zip(&two.runs).take_while(|(a, b)| Arc::ptr_eq(&a.chunk, &b.chunk)).count()
        };
        assert_eq!((shared(&one, &two), one.runs.len()), (8, 8));
        assert_eq!((bits(&one, 0..600), bits(&two, 0..600)), (before.clone(), before.clone()));
        // In the middle of a shared chunk: the rest of the chunk stays shared.
        let mut three = two.clone();
        three.truncate(500);
        let of_two = bits(&two, 0..700);
        fill(&mut three, 520..540, 13);
        assert_eq!(layout(&three)[6..], [(448, 128), (512, 64)]);
        assert_eq!((shared(&two, &three), bits(&three, 0..520)), (7, of_two[..520].to_vec()));
        assert_eq!(bits(&two, 0..700), of_two);
        // The last owner of a chunk writes in place.
        drop(one);
        let place = Arc::as_ptr(&two.runs[7].chunk);
        fill(&mut two, 580..600, 17);
        assert_eq!(Arc::as_ptr(&two.runs[7].chunk), place);
    }

    #[test]
    fn what_is_rewound_is_written_again_in_place() {
        let mut cache = cache(600);
        let before = bits(&cache, 0..600);
        cache.truncate(100);
        assert_eq!(layout(&cache), [(0, 64), (64, 64)]);
        fill(&mut cache, 100..300, 7);
        assert_eq!(bits(&cache, 0..100), before[..100]);
        assert_ne!(bits(&cache, 100..300), before[100..300]);
        cache.truncate(0);
        assert_eq!(cache.bytes(), 0);
    }

    /// Positions stored together, over the borders of blocks and chunks, are those stored one by
    /// one.
    #[test]
    fn positions_stored_together_are_those_stored_one_by_one() {
        let (keys, values) = (wave(333, 3), wave(333, 5));
        let (mut together, mut single) = (LayerKvCache::new(SMALL), LayerKvCache::new(SMALL));
        for cache in [&mut together, &mut single] {
            cache.reserve(0..340, 1000).unwrap();
        }
        let pool = Pool::new(3).unwrap();
        together.store(&pool, 7, &keys, &values);
        together.store(&pool, 40, &[], &[]);
        for (i, (key, value)) in keys.chunks_exact(WIDTH).zip(values.chunks_exact(WIDTH)).enumerate() {
            single.store(&pool, 7 + i, key, value);
        }
        assert_eq!(bits(&together, 0..340), bits(&single, 0..340));
    }

    #[test]
    #[should_panic(expected = "reserved")]
    fn positions_that_were_not_reserved_are_refused() {
        let mut cache = cache(60);
        cache.store(&Pool::new(2).unwrap(), 60, &wave(5, 3), &wave(5, 3));
    }

    #[test]
    fn pieces_are_the_positions_in_their_order() {
        let one = cache(600);
        let mut two = one.clone();
        fill(&mut two, 130..700, 7);
        for (start, length) in [(0, 1), (0, 63), (48, 64), (64, 128), (112, 129), (0, 500), (128, 640), (640, 700)] {
            let values: Vec<u16> = two.values(1, start..length).flatten().copied().collect();
            let (first, last) = (start / KEY_RUN * KEY_RUN, length.next_multiple_of(KEY_RUN));
            let keys: Vec<_> = two.keys(1, first..last).flatten().collect();
            assert_eq!((values.len(), keys.len()), ((length - start) * 32, (last - first) / POSITION_BLOCK * 20));
            for (position, bits) in (start..length).zip(bits(&two, start..length)) {
                assert_eq!(values[(position - start) * 32..][..20], bits[WIDTH + 20..]);
                let (block, lane) = ((position - first) / POSITION_BLOCK, position % POSITION_BLOCK);
                let key: Vec<u16> = keys[block * 20..][..20].iter().map(|elements| elements[lane]).collect();
                assert_eq!(key, bits[20..WIDTH]);
            }
        }
    }

    #[test]
    fn what_is_loaded_can_be_stored() {
        let cache = cache(70);
        let mut copy = LayerKvCache::new(SMALL);
        copy.reserve(0..70, 70).unwrap();
        for (position, bits) in bits(&cache, 0..70).iter().enumerate() {
            copy.store_bits(position, bits);
        }
        assert_eq!(bits(&copy, 0..70), bits(&cache, 0..70));
    }
}
