//! The KV cache of one layer.
//!
//! It grows in chunks, which sequences with a common prefix share (copy on write). A chunk has a
//! quarter of the positions before it that are not shared, 64 to 1024: a short text takes little
//! memory, and a long text is read in long runs, which suit the hardware prefetcher. A sequence
//! that writes to a shared chunk gets a chunk of its own, from the last multiple of 16 positions
//! on.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::memory::{self, OutOfMemory};

use super::Exec;
use super::kv_chunk::{Chunk, ChunkWriter};
use super::kv_type::{KvHeads, KvLayout, KvType, POSITION_BLOCK};

/// Positions of a run of keys: chunks have whole runs.
pub(super) const KEY_RUN: usize = 64;

/// Positions of the largest chunk.
const LARGEST: usize = 1024;

/// The KV cache of one layer. A clone shares the chunks.
#[derive(Clone, Debug)]
pub struct LayerKvCache {
    layout: KvLayout,
    runs: Vec<Run>,
}

/// The positions from `start` to the next run, or for the last one to the end of its chunk.
#[derive(Clone, Debug)]
struct Run {
    start: usize,
    chunk: Arc<Chunk>,
}

impl Run {
    fn end(&self) -> usize {
        self.start + self.chunk.size
    }

    /// # Panics
    /// If another sequence has this chunk.
    fn writer(&mut self) -> ChunkWriter {
        Arc::get_mut(&mut self.chunk).expect("a position is reserved before it is stored").writer()
    }

    /// Whether no other sequence has this chunk. If so, none will get it but from this one.
    fn is_own(&self) -> bool {
        Arc::strong_count(&self.chunk) == 1
    }
}

impl LayerKvCache {
    /// An empty cache of heads of this shape.
    pub fn new(heads: KvHeads, kv_type: KvType) -> Self {
        Self { layout: KvLayout { heads, kv_type }, runs: Vec::new() }
    }

    /// Bytes of a cache for `positions` positions.
    pub fn bytes_for(heads: KvHeads, kv_type: KvType, positions: usize) -> usize {
        let layout = KvLayout { heads, kv_type };
        let block = heads.kv_heads * (layout.key_block() + layout.value_block()) * size_of::<u16>();
        let positions = positions.checked_next_multiple_of(KEY_RUN);
        positions.map_or(usize::MAX, |n| (n / POSITION_BLOCK).saturating_mul(block))
    }

    /// Positions that a cache may have reserved when it has stored this many.
    pub fn with_headroom(positions: usize) -> usize {
        let chunk = (positions / 4).clamp(KEY_RUN, LARGEST).next_multiple_of(KEY_RUN);
        positions.saturating_add(chunk + POSITION_BLOCK)
    }

    fn chunk_bytes(&self, positions: usize) -> usize {
        Self::bytes_for(self.layout.heads, self.layout.kv_type, positions)
    }

    /// Bytes of this cache, those it shares included.
    pub fn bytes(&self) -> usize {
        self.runs.iter().map(|run| self.chunk_bytes(run.chunk.size)).sum()
    }

    /// Bytes of the chunks that are not among `seen`, by their addresses; they are then.
    pub fn bytes_unseen(&self, seen: &mut HashSet<usize>) -> usize {
        let unseen = self.runs.iter().filter(|run| seen.insert(Arc::as_ptr(&run.chunk).addr()));
        unseen.map(|run| self.chunk_bytes(run.chunk.size)).sum()
    }

    /// Bytes that [`LayerKvCache::reserve`] will add.
    pub fn bytes_missing(&self, positions: Range<usize>, most: usize) -> usize {
        self.missing(positions, most).iter().map(|&(_, size)| self.chunk_bytes(size)).sum()
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
            let mut chunk = Chunk::new(self.layout, size)?;
            self.copy(start..positions.start, &mut chunk)?;
            self.truncate(start);
            self.runs.push(Run { start, chunk: Arc::new(chunk) });
        }
        Ok(())
    }

    /// Copies what is stored at `positions` to the beginning of `chunk`.
    fn copy(&self, positions: Range<usize>, chunk: &mut Chunk) -> Result<(), OutOfMemory> {
        let mut rows = memory::filled(0, self.position_words())?;
        for (i, position) in positions.enumerate() {
            self.load(position, &mut rows);
            // SAFETY: the chunk is borrowed.
            unsafe { chunk.writer().store(i, &rows) };
        }
        Ok(())
    }

    /// Releases the chunks that hold none of the first `positions` positions.
    pub fn truncate(&mut self, positions: usize) {
        self.runs.truncate(self.runs.partition_point(|run| run.start < positions));
    }

    /// Stores keys and values (`[n][kv_heads * head_dim]` each) of the positions from `first` on,
    /// rounded to the type of the cache, on all threads.
    ///
    /// # Panics
    /// If they were not reserved.
    pub fn store(&mut self, exec: &Exec, first: usize, keys: &[f32], values: &[f32]) {
        let (layout, width) = (self.layout, self.layout.heads.kv_heads * self.layout.heads.head_dim);
        let end = first + keys.len() / width;
        assert!(end <= self.end(), "positions are reserved before they are stored");
        if end == first {
            return;
        }
        let from = self.run_at(first);
        let writers: Vec<_> = self.runs[from..].iter_mut().map(|run| (run.start, run.writer())).collect();
        let blocks = first / POSITION_BLOCK..end.div_ceil(POSITION_BLOCK);
        exec.pool.run(blocks.len(), |i| {
            let block = (blocks.start + i) * POSITION_BLOCK;
            let positions = block.max(first)..(block + POSITION_BLOCK).min(end);
            let index = writers.partition_point(|&(start, _)| start <= positions.start) - 1;
            let (start, writer) = writers[index];
            let mut rows = vec![0; 2 * layout.row()];
            for position in positions {
                let at = (position - first) * width..(position - first + 1) * width;
                let (key, value) = rows.split_at_mut(layout.row());
                layout.round(exec.isa, &keys[at.clone()], key);
                layout.round(exec.isa, &values[at], value);
                // SAFETY: each task has a block of positions, which no chunk shares with another,
                // and `run` returns before the borrow of the chunks ends.
                unsafe { writer.store(position - start, &rows) };
            }
        });
    }

    /// Words of a position as it is loaded and stored: the key, then the value. Of each head they
    /// have the elements, two bytes a word where these are bytes, then the scales.
    pub fn position_words(&self) -> usize {
        2 * self.layout.row()
    }

    /// Stores the key and the value of `position` as they were [loaded](Self::load):
    /// [`LayerKvCache::position_words`].
    ///
    /// # Panics
    /// If it was not reserved.
    pub fn store_bits(&mut self, position: usize, bits: &[u16]) {
        assert!(position < self.end(), "a position is reserved before it is stored");
        let index = self.run_at(position);
        let run = &mut self.runs[index];
        // SAFETY: the chunk is borrowed.
        unsafe { run.writer().store(position - run.start, bits) };
    }

    /// The key and the value of a stored position: [`LayerKvCache::position_words`].
    pub fn load(&self, position: usize, bits: &mut [u16]) {
        let run = &self.runs[self.run_at(position)];
        run.chunk.load(position - run.start, bits);
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

    /// The heads and their type.
    pub(super) fn layout(&self) -> KvLayout {
        self.layout
    }

    /// The keys of these positions of a head, chunk by chunk, in blocks. They begin at a multiple
    /// of [`POSITION_BLOCK`]; what lies past the positions that are stored is of no use.
    #[inline]
    pub(super) fn keys(&self, head: usize, range: Range<usize>) -> impl Iterator<Item = &[u16]> {
        self.pieces(range).map(move |(chunk, positions)| {
            chunk.keys(head, positions.start / POSITION_BLOCK, positions.end / POSITION_BLOCK)
        })
    }

    /// The values of these positions of a head, chunk by chunk: blocks, and the positions in them.
    #[inline]
    pub(super) fn values(&self, head: usize, range: Range<usize>) -> impl Iterator<Item = (&[u16], Range<usize>)> {
        self.pieces(range).map(move |(chunk, positions)| {
            let first = positions.start / POSITION_BLOCK;
            let blocks = chunk.values(head, first, positions.end.div_ceil(POSITION_BLOCK));
            (blocks, positions.start - first * POSITION_BLOCK..positions.end - first * POSITION_BLOCK)
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
    use crate::cpu::{Isa, Pool};
    use crate::ops::kv_type::{Element, F16, Q8_0};

    const SMALL: KvHeads = KvHeads { heads: 2, kv_heads: 2, head_dim: 20 };
    const WIDTH: usize = 40;

    /// Keys or values of `positions`, different for each `seed`.
    fn wave(positions: usize, seed: usize) -> Vec<f32> {
        (0..positions * WIDTH).map(|i| (i * seed % 101) as f32).collect()
    }

    fn cache(kv_type: KvType, positions: usize) -> LayerKvCache {
        let mut cache = LayerKvCache::new(SMALL, kv_type);
        fill(&mut cache, 0..positions, 37);
        cache
    }

    fn exec(threads: usize) -> Exec {
        Exec { isa: Isa::available()[0], pool: Pool::new(threads).unwrap() }
    }

    fn fill(cache: &mut LayerKvCache, positions: Range<usize>, seed: usize) {
        cache.reserve(positions.clone(), 10_000).unwrap();
        cache.store(&exec(2), positions.start, &wave(positions.len(), seed), &wave(positions.len(), seed + 1));
    }

    /// The bits of positions.
    fn bits(cache: &LayerKvCache, positions: Range<usize>) -> Vec<Vec<u16>> {
        let load = |position| {
            let mut bits = vec![0; cache.position_words()];
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
        for (kv_type, width) in [(KvType::F16, (20 + 32) * 2), (KvType::Q8_0, 20 + 2 + 32 + 2)] {
            let mut cache = LayerKvCache::new(SMALL, kv_type);
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
            assert_eq!(bytes, LayerKvCache::bytes_for(SMALL, kv_type, most));
            assert_eq!(LayerKvCache::bytes_for(SMALL, kv_type, 65), 128 * 2 * width);
            assert_eq!(LayerKvCache::bytes_for(SMALL, kv_type, usize::MAX / 2), usize::MAX);
        }
    }

    #[test]
    fn clones_share_chunks_and_go_on_in_their_own() {
        KvType::ALL.into_iter().for_each(clones_of_a_type_share_chunks);
    }

    fn clones_of_a_type_share_chunks(kv_type: KvType) {
        let one = cache(kv_type, 600);
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
        let mut cache = cache(KvType::Q8_0, 600);
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
        for kv_type in KvType::ALL {
            let [mut together, mut single] = [(); 2].map(|()| LayerKvCache::new(SMALL, kv_type));
            for cache in [&mut together, &mut single] {
                cache.reserve(0..340, 1000).unwrap();
            }
            let exec = exec(3);
            together.store(&exec, 7, &keys, &values);
            together.store(&exec, 40, &[], &[]);
            for (i, (key, value)) in keys.chunks_exact(WIDTH).zip(values.chunks_exact(WIDTH)).enumerate() {
                single.store(&exec, 7 + i, key, value);
            }
            assert_eq!(bits(&together, 0..340), bits(&single, 0..340));
        }
    }

    #[test]
    #[should_panic(expected = "reserved")]
    fn positions_that_were_not_reserved_are_refused() {
        let mut cache = cache(KvType::F16, 60);
        cache.store(&exec(2), 60, &wave(5, 3), &wave(5, 3));
    }

    #[test]
    fn pieces_are_the_positions_in_their_order() {
        pieces_of::<F16>(KvType::F16);
        pieces_of::<Q8_0>(KvType::Q8_0);
    }

    fn pieces_of<E: Element<Stored: PartialEq + std::fmt::Debug>>(kv_type: KvType) {
        let one = cache(kv_type, 600);
        let mut two = one.clone();
        fill(&mut two, 130..700, 7);
        let (layout, scales) = (two.layout(), usize::from(E::SCALED));
        let (elements, row) = (layout.head_elements(), layout.row());
        for (start, length) in [(0, 1), (0, 63), (48, 64), (64, 128), (112, 129), (0, 500), (128, 640), (640, 700)] {
            let (mut values, mut value_scales) = (Vec::new(), Vec::new());
            for (blocks, positions) in two.values(1, start..length) {
                for position in positions {
                    let block = blocks.chunks_exact(layout.value_block()).nth(position / POSITION_BLOCK).unwrap();
                    let (rows, scales) = block.split_at(layout.value_elements());
                    values.push(E::view(rows)[position % POSITION_BLOCK * 32..][..20].to_vec());
                    value_scales.push(scales.get(position % POSITION_BLOCK).copied());
                }
            }
            let (first, last) = (start / KEY_RUN * KEY_RUN, length.next_multiple_of(KEY_RUN));
            let blocks: Vec<_> = two.keys(1, first..last).flat_map(|keys| keys.chunks(layout.key_block())).collect();
            assert_eq!((values.len(), blocks.len()), (length - start, (last - first) / POSITION_BLOCK));
            for (position, bits) in (start..length).zip(bits(&two, start..length)) {
                // The second head of two: its key, and its value.
                let (key, value) = (&bits[row / 2..row], &bits[row + row / 2..]);
                assert_eq!(values[position - start], E::view(&value[..elements])[..20]);
                assert_eq!(value_scales[position - start].as_slice(), &value[elements..]);
                let (block, lane) = (blocks[(position - first) / POSITION_BLOCK], position % POSITION_BLOCK);
                let (keys, key_scales) = block.split_at(layout.key_elements());
                let got: Vec<_> = (0..20).map(|i| E::view(keys)[i * POSITION_BLOCK + lane]).collect();
                assert_eq!(got, E::view(&key[..elements])[..20]);
                assert_eq!(key_scales.iter().skip(lane).take(scales).copied().collect::<Vec<_>>(), key[elements..]);
            }
        }
    }

    #[test]
    fn what_is_loaded_can_be_stored() {
        for kv_type in KvType::ALL {
            let cache = cache(kv_type, 70);
            let mut copy = LayerKvCache::new(SMALL, kv_type);
            copy.reserve(0..70, 70).unwrap();
            for (position, bits) in bits(&cache, 0..70).iter().enumerate() {
                copy.store_bits(position, bits);
            }
            assert_eq!(bits(&copy, 0..70), bits(&cache, 0..70));
        }
    }
}
