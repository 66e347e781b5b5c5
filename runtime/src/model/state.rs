//! The mutable state of inference: the KV cache of a sequence, and the buffers of a forward pass.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::memory::{self, OutOfMemory};
use crate::ops::{KvType, LayerKvCache, Quantized, RopeTable, Rotation};

use super::config::{Config, LayerConfig};
use super::experts::{ExpertsConfig, Routes};

/// The batch size of prefill, in tokens: enough to reuse each weight, few enough for the scratch to
/// stay small.
pub const BATCH: usize = 256;

/// The KV cache of one sequence, of all layers. Memory is allocated only for reserved positions.
#[derive(Debug)]
pub struct State {
    pub(super) cache: Vec<LayerKvCache>,
    kv_type: KvType,
    /// Positions that there are at most.
    capacity: usize,
    /// Of layers that see all positions, and of those with a window: those of a context of this
    /// capacity.
    pub(super) rotations: Arc<[Rotation; 2]>,
}

/// Buffers of a pass over `n` tokens, of whatever sequences, kept from pass to pass.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Tokens that there is room for.
    room: usize,
    /// The residual stream: `[n][hidden]`
    pub(super) x: Vec<f32>,
    /// `[n][hidden]`
    pub(super) normed: Vec<f32>,
    /// Queries, `[n][heads * head_dim]`; then what attention, or a mixture of experts, adds,
    /// `[n][hidden]`.
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
    /// The inputs of one expert, of those tokens that it has: at most `[n][hidden]`.
    pub(super) gathered: Vec<f32>,
    /// Its outputs.
    pub(super) expert_out: Vec<f32>,
    /// How much of the shared expert's output is added: `[n]`
    pub(super) shared_scales: Vec<f32>,
    /// The experts of each token.
    pub(super) routes: Routes,
    /// What queries are multiplied by, `[n]`, if they have a temperature.
    pub(super) query_scales: Vec<f32>,
    /// Of layers that see all positions, and of those with a window.
    pub(super) ropes: [RopeTable; 2],
    pub(super) quantized: Quantized,
}

impl State {
    /// The state of an empty sequence, which will have `capacity` positions at most, with keys and
    /// values in half precision.
    pub fn new(config: &Config, capacity: usize) -> Self {
        Self::of_type(config, KvType::F16, capacity)
    }

    /// The same, with keys and values of this type.
    pub fn of_type(config: &Config, kv_type: KvType, capacity: usize) -> Self {
        let caches = config.layers.iter().map(|layer| LayerKvCache::new(layer.kv_shape(), kv_type));
        Self { cache: caches.collect(), kv_type, capacity, rotations: Arc::new(config.rotations(capacity)) }
    }

    /// A state with the same keys and values, which the two share until one of them writes.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { cache: self.cache.clone(), rotations: Arc::clone(&self.rotations), ..*self }
    }

    /// Bytes of the state of `positions` positions.
    pub fn bytes_for(config: &Config, kv_type: KvType, positions: usize) -> usize {
        let bytes = config.layers.iter().map(|layer| LayerKvCache::bytes_for(layer.kv_shape(), kv_type, positions));
        bytes.fold(0, usize::saturating_add)
    }

    /// The type of the keys and values.
    pub fn kv_type(&self) -> KvType {
        self.kv_type
    }

    /// Positions that there are at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How heads are rotated in layers that see all positions, and in those with a window.
    pub(crate) fn rotations(&self) -> &[Rotation; 2] {
        &self.rotations
    }

    /// Bytes that this state holds, those it shares included.
    pub fn bytes(&self) -> usize {
        self.cache.iter().map(LayerKvCache::bytes).sum()
    }

    /// Bytes of its chunks that are not among `seen`, which names chunks; they are then.
    pub(crate) fn bytes_unseen(&self, seen: &mut HashSet<usize>) -> usize {
        self.cache.iter().map(|layer| layer.bytes_unseen(seen)).sum()
    }

    /// Bytes that it would hold with `positions`: see [`State::reserve`].
    pub fn bytes_with(&self, positions: Range<usize>) -> usize {
        let missing = |layer: &LayerKvCache| layer.bytes_missing(positions.clone(), self.capacity);
        self.cache.iter().map(|layer| layer.bytes() + missing(layer)).sum()
    }

    /// Reserves memory for `positions`, which follow the stored ones; then
    /// [`forward`](super::forward) can run.
    ///
    /// # Errors
    /// [`OutOfMemory`]; what is stored stays.
    pub fn reserve(&mut self, positions: Range<usize>) -> Result<(), OutOfMemory> {
        let reserved = self.cache.iter_mut().try_for_each(|layer| layer.reserve(positions.clone(), self.capacity));
        if reserved.is_err() {
            self.truncate(positions.start);
        }
        reserved
    }

    /// Frees memory that only positions from `positions` on need.
    pub fn truncate(&mut self, positions: usize) {
        self.cache.iter_mut().for_each(|layer| layer.truncate(positions));
    }

    /// Keys and values of each layer.
    pub(crate) fn cache(&self) -> &[LayerKvCache] {
        &self.cache
    }

    /// Keys and values of each layer, to be restored.
    pub(crate) fn cache_mut(&mut self) -> &mut [LayerKvCache] {
        &mut self.cache
    }
}

impl Scratch {
    /// The widths of the buffers of floats, in the order of [`Scratch::buffers`].
    fn widths(config: &Config) -> [usize; 11] {
        let (queries, keys) = (config.most(LayerConfig::query_width), config.most(LayerConfig::key_width));
        let ffn = config.most(LayerConfig::ffn_width);
        let up = if config.family.gated { ffn } else { 0 };
        let expert = if config.experts().next().is_some() { config.hidden } else { 0 };
        let shared = usize::from(config.experts().any(|experts| experts.shared.is_some()));
        let (hidden, attention) = (config.hidden, queries.max(config.hidden));
        [hidden, hidden, attention, keys, keys, queries, ffn, up, expert, expert, shared]
    }

    fn buffers(&mut self) -> [&mut Vec<f32>; 11] {
        let Self { x, normed, query, key, value, mixed, gate, up, gathered, expert_out, shared_scales, .. } = self;
        [x, normed, query, key, value, mixed, gate, up, gathered, expert_out, shared_scales]
    }

    /// Bytes of the buffers of a pass over `n` tokens.
    pub fn bytes_for(config: &Config, n: usize) -> usize {
        let floats: usize = Self::widths(config).iter().sum::<usize>()
            + 2 * config.ropes().map(super::rope::Rope::pairs).sum::<usize>();
        let routes = config.largest_experts().map_or(0, |experts| Routes::bytes_for(&experts, n));
        let quantized = Quantized::bytes_for(n, config.widest());
        n.saturating_mul(floats * size_of::<f32>()).saturating_add(quantized).saturating_add(routes)
    }

    /// Bytes that it holds.
    pub fn bytes(&self, config: &Config) -> usize {
        Self::bytes_for(config, self.room)
    }

    /// Bytes that it would hold with room for `n` tokens.
    pub fn bytes_with(&self, config: &Config, n: usize) -> usize {
        Self::bytes_for(config, n.max(self.room))
    }

    /// Makes room for `n` tokens.
    ///
    /// # Errors
    /// [`OutOfMemory`]; then it holds nothing.
    pub fn reserve(&mut self, config: &Config, n: usize) -> Result<(), OutOfMemory> {
        let reserved = self.reserve_buffers(config, n);
        if reserved.is_err() {
            *self = Self::default();
        } else {
            self.room = self.room.max(n);
        }
        reserved
    }

    fn reserve_buffers(&mut self, config: &Config, n: usize) -> Result<(), OutOfMemory> {
        for (buffer, width) in self.buffers().into_iter().zip(Self::widths(config)) {
            memory::reserve(buffer, n * width)?;
        }
        for (table, rope) in self.ropes.iter_mut().zip(config.ropes()) {
            table.reserve(rope.pairs(), n)?;
        }
        memory::reserve(&mut self.query_scales, config.query_temperature.map_or(0, |_| n))?;
        if let Some(experts) = config.largest_experts() {
            self.routes.reserve(&experts, n)?;
        }
        self.quantized.reserve(n, config.widest())
    }

    /// The hidden states of the last pass, after the final norm: `[n][hidden]`.
    pub fn hidden(&self) -> &[f32] {
        &self.x
    }

    /// Sizes the buffers that all layers share for `n` tokens; [`Scratch::reserve`] has made room.
    pub(super) fn begin(&mut self, config: &Config, n: usize) {
        self.x.resize(n * config.hidden, 0.0);
        self.normed.resize(n * config.hidden, 0.0);
    }

    /// Sizes the buffers of a layer's attention for the tokens of [`Scratch::begin`].
    pub(super) fn begin_attention(&mut self, config: &Config, layer: &LayerConfig) {
        let (n, queries, keys) = (self.x.len() / config.hidden, layer.query_width(), layer.key_width());
        let Self { query, key, value, mixed, .. } = self;
        for (buffer, width) in [(query, queries), (key, keys), (value, keys), (mixed, queries)] {
            buffer.resize(n * width, 0.0);
        }
    }

    /// Sizes the buffer of queries for what attention adds.
    pub(super) fn end_attention(&mut self) {
        self.query.resize(self.x.len(), 0.0);
    }

    /// Sizes the buffers of a feed-forward network of this width for the tokens of
    /// [`Scratch::begin`].
    pub(super) fn begin_feed_forward(&mut self, config: &Config, ffn: usize) {
        let n = self.x.len() / config.hidden;
        self.gate.resize(n * ffn, 0.0);
        self.up.resize(if config.family.gated { n * ffn } else { 0 }, 0.0);
    }

    /// Sizes the buffers of the layer's experts for the tokens of [`Scratch::begin`]; nothing is
    /// added yet.
    pub(super) fn begin_experts(&mut self, config: &Config, experts: &ExpertsConfig) {
        let n = self.x.len() / config.hidden;
        self.routes.scores.resize(n * experts.count, 0.0);
        self.query.clear();
        self.query.resize(self.x.len(), 0.0);
    }

    /// Sizes the buffers of one expert of this width for `n` tokens.
    pub(super) fn begin_expert(&mut self, config: &Config, ffn: usize, n: usize) {
        self.gate.resize(n * ffn, 0.0);
        self.up.resize(n * ffn, 0.0);
        self.gathered.resize(n * config.hidden, 0.0);
        self.expert_out.resize(n * config.hidden, 0.0);
    }
}

impl Config {
    /// The mixtures of experts of all layers that have them.
    fn experts(&self) -> impl Iterator<Item = ExpertsConfig> {
        self.layers.iter().filter_map(|layer| layer.experts)
    }

    /// As many experts as any layer has, and as many of a token.
    fn largest_experts(&self) -> Option<ExpertsConfig> {
        self.experts().reduce(|a, b| ExpertsConfig { count: a.count.max(b.count), used: a.used.max(b.used), ..a })
    }

    /// The widest input of a matmul.
    fn widest(&self) -> usize {
        self.hidden.max(self.most(LayerConfig::widest))
    }
}
