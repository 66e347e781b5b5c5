//! What changes while a model runs: the cache of keys and values, and scratch buffers.

use std::ops::Range;

use crate::memory::{self, OutOfMemory};
use crate::ops::{KvLayer, Quantized, RopeTable};

use super::Config;

/// Tokens that go through the network at once: enough to reuse each weight, few enough for the scratch to stay small.
pub const BATCH: usize = 256;

/// The state of one sequence. It takes memory only for what was reserved.
#[derive(Debug)]
pub struct State {
    /// Keys and values of each layer.
    pub(super) cache: Vec<KvLayer>,
    pub(super) scratch: Scratch,
    /// Positions that there are at most.
    capacity: usize,
    /// Tokens that the scratch has room for.
    batch: usize,
}

/// Buffers of one batch of `n` tokens, kept from call to call.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The residual stream: `[n][hidden]`
    pub(super) x: Vec<f32>,
    /// `[n][hidden]`
    pub(super) normed: Vec<f32>,
    /// `[n][heads * head_dim]`
    pub(super) query: Vec<f32>,
    /// `[n][kv_heads * head_dim]`
    pub(super) key: Vec<f32>,
    /// `[n][kv_heads * head_dim]`
    pub(super) value: Vec<f32>,
    /// `[n][heads * head_dim]`
    pub(super) mixed: Vec<f32>,
    /// `[n][ffn]`
    pub(super) gate: Vec<f32>,
    /// `[n][ffn]`
    pub(super) up: Vec<f32>,
    /// Of layers that see all positions, and of those with a window.
    pub(super) ropes: [RopeTable; 2],
    pub(super) quantized: Quantized,
}

impl State {
    /// The state of an empty sequence, which will have `capacity` positions at most.
    pub fn new(config: &Config, capacity: usize) -> Self {
        let cache = vec![KvLayer::new(config.kv_shape()); config.layers];
        Self { cache, scratch: Scratch::default(), capacity, batch: 0 }
    }

    /// A state with the same keys and values, which the two share until one of them writes.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { cache: self.cache.clone(), scratch: Scratch::default(), capacity: self.capacity, batch: 0 }
    }

    /// Bytes of keys and values of `positions` positions.
    pub fn kv_bytes(config: &Config, positions: usize) -> usize {
        KvLayer::bytes_for(config.kv_shape(), positions).saturating_mul(config.layers)
    }

    /// Bytes of the scratch of a batch of `n` tokens.
    pub fn scratch_bytes(config: &Config, n: usize) -> usize {
        let floats: usize = Scratch::widths(config).iter().sum::<usize>() + 2 * config.ropes().flatten().count();
        n.saturating_mul(floats * size_of::<f32>()).saturating_add(Quantized::bytes_for(n, config.widest()))
    }

    /// Positions that there are at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that this state holds, those it shares included.
    pub fn bytes(&self, config: &Config) -> usize {
        self.cache.iter().map(KvLayer::bytes).sum::<usize>() + Self::scratch_bytes(config, self.batch)
    }

    /// Bytes that it would hold with `positions` and room for `n` tokens at once: see [`State::reserve`].
    pub fn bytes_with(&self, config: &Config, positions: Range<usize>, n: usize) -> usize {
        let missing = |layer: &KvLayer| layer.bytes_missing(positions.clone(), self.capacity);
        let cache = self.cache.iter().map(|layer| layer.bytes() + missing(layer)).sum::<usize>();
        cache + Self::scratch_bytes(config, n.max(self.batch))
    }

    /// Makes room for `positions`, which follow what is stored, and for batches of up to `n` of them; then
    /// [`forward`](super::forward) can run.
    ///
    /// # Errors
    /// [`OutOfMemory`]; what is stored stays.
    pub fn reserve(&mut self, config: &Config, positions: Range<usize>, n: usize) -> Result<(), OutOfMemory> {
        let cached = self.cache.iter_mut().try_for_each(|layer| layer.reserve(positions.clone(), self.capacity));
        let reserved = cached.and_then(|()| self.scratch.reserve(config, n));
        self.batch = self.batch.max(n);
        if reserved.is_err() {
            self.truncate(positions.start);
            self.trim();
        }
        reserved
    }

    /// Lets go of memory that only positions from `positions` on need.
    pub fn truncate(&mut self, positions: usize) {
        self.cache.iter_mut().for_each(|layer| layer.truncate(positions));
    }

    /// Lets go of the scratch.
    pub fn trim(&mut self) {
        (self.scratch, self.batch) = (Scratch::default(), 0);
    }

    /// Keys and values of each layer.
    pub(crate) fn cache(&self) -> &[KvLayer] {
        &self.cache
    }

    /// Keys and values of each layer, to be restored.
    pub(crate) fn cache_mut(&mut self) -> &mut [KvLayer] {
        &mut self.cache
    }

    /// The hidden states of the last batch, after the final norm: `[n][hidden]`.
    pub fn hidden(&self) -> &[f32] {
        &self.scratch.x
    }
}

impl Scratch {
    /// The widths of the buffers of floats, in the order of [`Scratch::buffers`].
    fn widths(config: &Config) -> [usize; 8] {
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        [config.hidden, config.hidden, queries, keys, keys, queries, config.ffn, config.ffn]
    }

    fn buffers(&mut self) -> [&mut Vec<f32>; 8] {
        let Self { x, normed, query, key, value, mixed, gate, up, .. } = self;
        [x, normed, query, key, value, mixed, gate, up]
    }

    fn reserve(&mut self, config: &Config, n: usize) -> Result<(), OutOfMemory> {
        for (buffer, width) in self.buffers().into_iter().zip(Self::widths(config)) {
            memory::reserve(buffer, n * width)?;
        }
        for (rope, frequencies) in self.ropes.iter_mut().zip(config.ropes()) {
            rope.reserve(frequencies.len(), n)?;
        }
        self.quantized.reserve(n, config.widest())
    }

    /// Sizes the buffers for a batch of `n` tokens.
    pub(super) fn begin(&mut self, config: &Config, n: usize) {
        for (buffer, width) in self.buffers().into_iter().zip(Self::widths(config)) {
            buffer.resize(n * width, 0.0);
        }
    }
}

impl Config {
    /// The widest input of a product.
    fn widest(&self) -> usize {
        self.hidden.max(self.heads * self.head_dim).max(self.ffn)
    }
}
