//! A chunk of a KV cache: keys and values of some positions of one layer, in blocks of 16.
//!
//! Keys are stored transposed (`[element][position]`), so that a vector holds one element of many
//! positions. Values are stored position by position. The scales of a block, in a type that has
//! them, follow its elements, so that a block is read from one place: `[scale][position]` for
//! both, a vector of scales for many positions.

use crate::memory::{self, OutOfMemory};

use super::Shared;
use super::kv_type::{Element, KvLayout, POSITION_BLOCK, with_element};

/// Keys and values of `size` positions.
#[derive(Debug)]
pub(super) struct Chunk {
    layout: KvLayout,
    pub(super) size: usize,
    /// `[kv_heads][size / 16][key_block]`
    keys: Vec<u16>,
    /// `[kv_heads][size / 16][value_block]`
    values: Vec<u16>,
}

impl Chunk {
    /// Zeros for `size` positions, in whole blocks.
    pub(super) fn new(layout: KvLayout, size: usize) -> Result<Self, OutOfMemory> {
        let blocks = layout.heads.kv_heads * size / POSITION_BLOCK;
        let keys = memory::filled(0, blocks * layout.key_block())?;
        Ok(Self { layout, size, keys, values: memory::filled(0, blocks * layout.value_block())? })
    }

    /// The blocks of keys from `first` to `last`, this one not included, of a head.
    #[inline(always)]
    pub(super) fn keys(&self, head: usize, first: usize, last: usize) -> &[u16] {
        let (start, words) = (head * self.size / POSITION_BLOCK, self.layout.key_block());
        &self.keys[(start + first) * words..(start + last) * words]
    }

    /// The blocks of values from `first` to `last`, this one not included, of a head.
    #[inline(always)]
    pub(super) fn values(&self, head: usize, first: usize, last: usize) -> &[u16] {
        let (start, words) = (head * self.size / POSITION_BLOCK, self.layout.value_block());
        &self.values[(start + first) * words..(start + last) * words]
    }

    /// Reads the rows of the key and the value of a position.
    pub(super) fn load(&self, position: usize, rows: &mut [u16]) {
        with_element!(self.layout.kv_type, E => self.load_elements::<E>(position, rows));
    }

    fn load_elements<E: Element>(&self, position: usize, rows: &mut [u16]) {
        let (block, lane) = (position / POSITION_BLOCK, position % POSITION_BLOCK);
        let (dim, width) = (self.layout.heads.head_dim, self.layout.heads.value_width());
        let elements = self.layout.head_elements();
        rows.fill(0);
        for (head, (key, value)) in heads_mut(self.layout, rows).enumerate() {
            let (from, from_scales) = self.keys(head, block, block + 1).split_at(self.layout.key_elements());
            let (to, scales) = key.split_at_mut(elements);
            copy(E::view(from)[lane..].iter().step_by(POSITION_BLOCK), &mut E::view_mut(to)[..dim]);
            copy(from_scales.iter().skip(lane).step_by(POSITION_BLOCK), scales);
            let (from, from_scales) = self.values(head, block, block + 1).split_at(self.layout.value_elements());
            let (to, scales) = value.split_at_mut(elements);
            E::view_mut(to)[..dim].copy_from_slice(&E::view(from)[lane * width..][..dim]);
            copy(from_scales.iter().skip(lane).step_by(POSITION_BLOCK), scales);
        }
    }

    pub(super) fn writer(&mut self) -> ChunkWriter {
        let (keys, values) = (Shared::new(&mut self.keys), Shared::new(&mut self.values));
        ChunkWriter { layout: self.layout, size: self.size, keys, values }
    }
}

/// A chunk whose blocks of positions are written by the tasks of one parallel region.
#[derive(Clone, Copy)]
pub(super) struct ChunkWriter {
    layout: KvLayout,
    size: usize,
    keys: Shared<u16>,
    values: Shared<u16>,
}

impl ChunkWriter {
    /// Writes the rows of the key and the value of a position.
    ///
    /// # Safety
    /// The chunk outlives the use, and no other task touches the block of this position meanwhile.
    pub(super) unsafe fn store(self, position: usize, rows: &[u16]) {
        // SAFETY: passed on from the caller.
        with_element!(self.layout.kv_type, E => unsafe { self.store_elements::<E>(position, rows) });
    }

    /// # Safety
    /// As [`ChunkWriter::store`].
    unsafe fn store_elements<E: Element>(self, position: usize, rows: &[u16]) {
        let Self { layout, size, .. } = self;
        let (block, lane) = (position / POSITION_BLOCK, position % POSITION_BLOCK);
        let (dim, width, elements) = (layout.heads.head_dim, layout.heads.value_width(), layout.head_elements());
        for (head, (key, value)) in heads(layout, rows).enumerate() {
            let block = head * size / POSITION_BLOCK + block;
            // SAFETY: both are the block of the position.
            let (keys, values) = unsafe {
                let keys = self.keys.slice(block * layout.key_block(), layout.key_block());
                (keys, self.values.slice(block * layout.value_block(), layout.value_block()))
            };
            let ((from, from_scales), (to, scales)) =
                (key.split_at(elements), keys.split_at_mut(layout.key_elements()));
            scatter(&E::view(from)[..dim], E::view_mut(to), lane);
            scatter(from_scales, scales, lane);
            let ((from, from_scales), (to, scales)) =
                (value.split_at(elements), values.split_at_mut(layout.value_elements()));
            E::view_mut(to)[lane * width..][..dim].copy_from_slice(&E::view(from)[..dim]);
            scatter(from_scales, scales, lane);
        }
    }
}

/// The key and the value of each head in the rows of a position.
fn heads(layout: KvLayout, rows: &[u16]) -> impl Iterator<Item = (&[u16], &[u16])> {
    let (keys, values) = rows.split_at(layout.row());
    let width = layout.row() / layout.heads.kv_heads;
    keys.chunks_exact(width).zip(values.chunks_exact(width))
}

/// The key and the value of each head in the rows of a position.
fn heads_mut(layout: KvLayout, rows: &mut [u16]) -> impl Iterator<Item = (&mut [u16], &mut [u16])> {
    let (keys, values) = rows.split_at_mut(layout.row());
    let width = layout.row() / layout.heads.kv_heads;
    keys.chunks_exact_mut(width).zip(values.chunks_exact_mut(width))
}

fn copy<'a, T: Copy + 'a>(from: impl Iterator<Item = &'a T>, to: &mut [T]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
}

/// Copies to `lane` of each 16.
fn scatter<T: Copy>(from: &[T], to: &mut [T], lane: usize) {
    to.iter_mut().skip(lane).step_by(POSITION_BLOCK).zip(from).for_each(|(to, &from)| *to = from);
}
