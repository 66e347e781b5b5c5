//! The mutable state of inference: KV caches and recurrent states of a sequence, and the buffers of
//! a forward pass.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use ollm_kernels::memory::{self, OutOfMemory};
use ollm_kernels::ops::{KvHeads, KvType, LayerKvCache, Quantized, RopeTable, Rotation};

use super::checkpoints::Checkpoints;
use super::config::{Config, LayerConfig};
use super::experts::{ExpertsConfig, Routes};
use super::layer_kind::LayerKind;

/// The state of one sequence, of all layers. Memory is allocated only for reserved positions.
#[derive(Debug)]
pub struct State {
    pub(super) layers: Vec<LayerState>,
    pub(super) checkpoints: Checkpoints,
    kv_type: KvType,
    /// Positions that there are at most.
    capacity: usize,
    /// Of layers that see all positions, and of those with a window: those of a context of this
    /// capacity.
    pub(super) rotations: Arc<[Rotation; 2]>,
}

/// The state of a layer, as its [`LayerKind`] has it.
#[derive(Clone, Debug)]
pub(super) enum LayerState {
    /// The keys and values of all positions.
    Attention(LayerKvCache),
    /// Those of the layer of this number.
    Shared(usize),
    /// A state of this position alone: which part of a [checkpoint](Checkpoints) is the layer's.
    Recurrent(Range<usize>),
    /// Both the keys and values of all positions and a state of this one.
    Both(LayerKvCache, Range<usize>),
}

/// Buffers of a pass over `n` tokens, of whatever sequences, kept from pass to pass.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Tokens that there is room for.
    room: usize,
    /// The residual stream: `[n][hidden]`; of several the one that a layer computes.
    pub(super) x: Vec<f32>,
    /// All streams of AltUp: `[n][streams][hidden]`
    pub(super) streams: Vec<f32>,
    /// `[n][hidden]`
    pub(super) normed: Vec<f32>,
    /// Queries, `[n][heads * head_dim]`, a convolution's gates and inputs, `[n][3 * hidden]`, or
    /// the channels of a delta net or Mamba 2; then what the mixer, or a mixture of experts, adds,
    /// `[n][hidden]`.
    pub(super) query: Vec<f32>,
    /// Queries and gates as attention with gates has them, `[n][heads][2][head_dim]`, or the gates
    /// of a delta net or Mamba 2, `[n][heads * head_dim]`.
    pub(super) gated: Vec<f32>,
    /// Keys, `[n][kv_heads * head_dim]`, a convolution's gated inputs, `[n][hidden]`, or the decays
    /// of a delta net or Mamba 2, `[n][heads]`.
    pub(super) key: Vec<f32>,
    /// Values, `[n][kv_heads * head_dim]`, the rates of a delta net, or the time steps of Mamba 2,
    /// `[n][heads]`.
    pub(super) value: Vec<f32>,
    /// What attention or a convolution gives: `[n][heads * head_dim]`, `[n][hidden]`, or the
    /// channels of a delta net or Mamba 2.
    pub(super) mixed: Vec<f32>,
    /// `[n][ffn]`, the gate of a per-layer input, `[n][per_layer]`, what a router of AltUp gives,
    /// `[n][streams]`, or the middle of a low-rank residual, `[n][rank]`.
    pub(super) gate: Vec<f32>,
    /// `[n][ffn]`; before the layers the per-layer embeddings, `[n][layers * per_layer]`.
    pub(super) up: Vec<f32>,
    /// What the layers get of the per-layer embeddings: `[n][layers * per_layer]`
    pub(super) per_layer: Vec<f32>,
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
        let mut width = 0;
        let layer = |layer: &LayerConfig| {
            let start = width;
            width += layer.recurrent_width(config.hidden);
            let cache = || LayerKvCache::new(layer.kv_shape(), kv_type);
            match (layer.kind, layer.kv_source) {
                (LayerKind::Attention, None) => LayerState::Attention(cache()),
                (LayerKind::Attention, Some(source)) => LayerState::Shared(source),
                (LayerKind::AttentionMamba2(_), _) => LayerState::Both(cache(), start..width),
                (LayerKind::ShortConvolution { .. } | LayerKind::GatedDeltaNet(_) | LayerKind::Mamba2(_), _) => {
                    LayerState::Recurrent(start..width)
                }
            }
        };
        let layers = config.layers.iter().map(layer).collect();
        let checkpoints = Checkpoints::new(width, config.checkpoint_interval());
        Self { layers, checkpoints, kv_type, capacity, rotations: Arc::new(config.rotations(capacity)) }
    }

    /// A state with the same keys and values, which the two share until one of them writes, and the
    /// same checkpoints.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            layers: self.layers.clone(),
            checkpoints: self.checkpoints.clone(),
            rotations: Arc::clone(&self.rotations),
            ..*self
        }
    }

    /// Bytes of the state of `positions` positions.
    pub fn bytes_for(config: &Config, kv_type: KvType, positions: usize) -> usize {
        let caches = config.kv_shapes().map(|shape| LayerKvCache::bytes_for(shape, kv_type, positions));
        let recurrent = Checkpoints::new(config.recurrent_width(), config.checkpoint_interval());
        caches.chain([recurrent.bytes_for(positions, 0)]).fold(0, usize::saturating_add)
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
        self.caches().map(LayerKvCache::bytes).sum::<usize>() + self.checkpoints.bytes()
    }

    /// Bytes of its chunks and checkpoints that are not among `seen`, which names them; they are
    /// then.
    pub(crate) fn bytes_unseen(&self, seen: &mut HashSet<usize>) -> usize {
        let caches: usize = self.caches().map(|cache| cache.bytes_unseen(seen)).sum();
        caches + self.checkpoints.bytes_unseen(seen)
    }

    /// Bytes that it would hold with `positions`, the last `drafted` of which may be taken back:
    /// see [`State::reserve`].
    pub fn bytes_with(&self, positions: Range<usize>, drafted: usize) -> usize {
        let caches = self.caches().map(|cache| cache.bytes() + cache.bytes_missing(positions.clone(), self.capacity));
        let checkpoints = self.checkpoints.bytes_for(positions.end, drafted).max(self.checkpoints.bytes());
        caches.fold(checkpoints, usize::saturating_add)
    }

    /// Reserves memory for `positions`, which follow the stored ones; then
    /// [`forward`](super::forward) can run.
    ///
    /// # Errors
    /// [`OutOfMemory`]; what is stored stays.
    pub fn reserve(&mut self, positions: Range<usize>) -> Result<(), OutOfMemory> {
        let capacity = self.capacity;
        let reserved = self.caches_mut().try_for_each(|cache| cache.reserve(positions.clone(), capacity));
        if reserved.is_err() {
            self.truncate(positions.start);
        }
        reserved
    }

    /// The last position up to `position` that a pass can begin at: the nearest checkpoint, if
    /// there are recurrent layers.
    pub fn resumable(&self, position: usize) -> usize {
        self.checkpoints.resumable(position)
    }

    /// Frees memory that only positions from `positions` on need.
    pub fn truncate(&mut self, positions: usize) {
        self.caches_mut().for_each(|cache| cache.truncate(positions));
        self.checkpoints.truncate(positions);
    }

    /// The KV caches of the layers that have one of their own.
    pub(crate) fn caches(&self) -> impl Iterator<Item = &LayerKvCache> {
        self.layers.iter().filter_map(|layer| match layer {
            LayerState::Attention(cache) | LayerState::Both(cache, _) => Some(cache),
            LayerState::Shared(_) | LayerState::Recurrent(_) => None,
        })
    }

    /// The same, to be restored.
    pub(crate) fn caches_mut(&mut self) -> impl Iterator<Item = &mut LayerKvCache> {
        self.layers.iter_mut().filter_map(|layer| match layer {
            LayerState::Attention(cache) | LayerState::Both(cache, _) => Some(cache),
            LayerState::Shared(_) | LayerState::Recurrent(_) => None,
        })
    }

    /// The KV cache of a layer of attention, its own or that of another.
    ///
    /// # Panics
    /// If the layer is another one.
    pub(super) fn cache(&self, layer: usize) -> &LayerKvCache {
        match &self.layers[layer] {
            LayerState::Attention(cache) | LayerState::Both(cache, _) => cache,
            LayerState::Shared(source) => self.cache(*source),
            LayerState::Recurrent(_) => panic!("layer {layer} has no KV cache"),
        }
    }

    /// The layer's own, to be written.
    pub(super) fn cache_mut(&mut self, layer: usize) -> &mut LayerKvCache {
        match &mut self.layers[layer] {
            LayerState::Attention(cache) | LayerState::Both(cache, _) => cache,
            LayerState::Shared(_) | LayerState::Recurrent(_) => panic!("layer {layer} has no KV cache of its own"),
        }
    }

    /// A recurrent layer's state at `first`, and those that a pass which has begun there is to
    /// fill: see [`Checkpoints::of_pass`].
    ///
    /// # Panics
    /// If the layer is another one, or no pass has begun there.
    pub(super) fn recurrent(
        &mut self,
        layer: usize,
        first: usize,
    ) -> (&[f32], impl Iterator<Item = (usize, &mut [f32])>) {
        match &self.layers[layer] {
            LayerState::Recurrent(range) | LayerState::Both(_, range) => self.checkpoints.of_pass(first, range.clone()),
            LayerState::Attention(_) | LayerState::Shared(_) => panic!("layer {layer} has no recurrent state"),
        }
    }

    /// The states of recurrent layers.
    pub(crate) fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// The states of recurrent layers, to be restored.
    pub(crate) fn checkpoints_mut(&mut self) -> &mut Checkpoints {
        &mut self.checkpoints
    }
}

impl Scratch {
    /// The widths of the buffers of floats, in the order of [`Scratch::buffers`].
    fn widths(config: &Config) -> [usize; 14] {
        let MixerWidths { projected, gated, key, value, mixed } = config.mixer_widths();
        let (hidden, ffn) = (config.hidden, config.most(LayerConfig::ffn_width));
        let per_layer = config.per_layer_width();
        let streams = config.streams.unwrap_or(0);
        let rank = config.family.laurel_rank.unwrap_or(0);
        let gate = ffn.max(config.per_layer.unwrap_or(0)).max(streams).max(rank);
        let up = per_layer.max(if config.family.gated { ffn } else { 0 });
        let expert = if config.experts().next().is_some() { hidden } else { 0 };
        let shared = usize::from(config.experts().any(|experts| experts.shared.is_some()));
        let [streams, query] = [streams * hidden, projected.max(hidden)];
        [hidden, streams, hidden, query, gated, key, value, mixed, gate, up, per_layer, expert, expert, shared]
    }

    fn buffers(&mut self) -> [&mut Vec<f32>; 14] {
        let Self { x, streams, normed, query, gated, key, value, mixed, gate, up, per_layer, .. } = self;
        let Self { gathered, expert_out, shared_scales, .. } = self;
        [x, streams, normed, query, gated, key, value, mixed, gate, up, per_layer, gathered, expert_out, shared_scales]
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

    /// Sizes the buffers of a layer's mixer, of this kind, for the tokens of [`Scratch::begin`].
    pub(super) fn begin_mixer(&mut self, config: &Config, layer: &LayerConfig, kind: LayerKind) {
        let (n, widths) = (self.x.len() / config.hidden, MixerWidths::of(kind, layer, config));
        let MixerWidths { projected, gated, key, value, mixed } = widths;
        let buffers = [&mut self.query, &mut self.gated, &mut self.key, &mut self.value, &mut self.mixed];
        for (buffer, width) in buffers.into_iter().zip([projected, gated, key, value, mixed]) {
            buffer.resize(n * width, 0.0);
        }
    }

    /// Sizes the buffer of queries for what the mixer adds.
    pub(super) fn end_mixer(&mut self) {
        self.query.resize(self.x.len(), 0.0);
    }

    /// Sizes the buffers of a feed-forward network of this width for the tokens of
    /// [`Scratch::begin`].
    pub(super) fn begin_feed_forward(&mut self, config: &Config, ffn: usize) {
        let n = self.x.len() / config.hidden;
        self.gate.resize(n * ffn, 0.0);
        self.up.resize(if config.family.gated { n * ffn } else { 0 }, 0.0);
    }

    /// Sizes the buffers of the per-layer embeddings for the tokens of [`Scratch::begin`].
    pub(super) fn begin_per_layer(&mut self, config: &Config) {
        let n = self.x.len() / config.hidden;
        self.up.resize(n * config.per_layer_width(), 0.0);
        self.per_layer.resize(n * config.per_layer_width(), 0.0);
    }

    /// Sizes the buffer of gates, so many for each of the tokens of [`Scratch::begin`].
    pub(super) fn begin_gate(&mut self, config: &Config, width: usize) {
        self.gate.resize(self.x.len() / config.hidden * width, 0.0);
    }

    /// Sizes the buffer of so many streams for the tokens of [`Scratch::begin`].
    pub(super) fn begin_streams(&mut self, streams: usize) {
        self.streams.resize(self.x.len() * streams, 0.0);
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

/// Floats of a token in the buffers of a mixer.
#[derive(Clone, Copy, Default)]
struct MixerWidths {
    projected: usize,
    gated: usize,
    key: usize,
    value: usize,
    mixed: usize,
}

impl MixerWidths {
    /// Those of a kind of mixer in a layer; of several that run one after the other the most.
    fn of(kind: LayerKind, layer: &LayerConfig, config: &Config) -> Self {
        let (queries, hidden) = (layer.query_width(), config.hidden);
        let keys = if layer.kv_source.is_none() { layer.key_width() } else { 0 };
        match kind {
            LayerKind::Attention => {
                let gated = if config.family.attention_gate { config.projected_queries(layer) } else { 0 };
                Self { projected: queries, gated, key: keys, value: keys, mixed: queries }
            }
            LayerKind::ShortConvolution { .. } => {
                Self { projected: 3 * hidden, gated: 0, key: hidden, value: 0, mixed: hidden }
            }
            LayerKind::GatedDeltaNet(shape) => {
                let (channels, heads) = (shape.channels(), shape.value_heads);
                Self { projected: channels, gated: shape.value_width(), key: heads, value: heads, mixed: channels }
            }
            LayerKind::Mamba2(shape) => {
                let (channels, heads) = (shape.channels(), shape.heads);
                Self { projected: channels, gated: shape.inner_width(), key: heads, value: heads, mixed: channels }
            }
            LayerKind::AttentionMamba2(shape) => {
                let kinds = [LayerKind::Attention, LayerKind::Mamba2(shape)];
                kinds.map(|kind| Self::of(kind, layer, config)).into_iter().fold(Self::default(), Self::most)
            }
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            projected: self.projected.max(other.projected),
            gated: self.gated.max(other.gated),
            key: self.key.max(other.key),
            value: self.value.max(other.value),
            mixed: self.mixed.max(other.mixed),
        }
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

    /// Floats of a token in the buffers of any mixer.
    fn mixer_widths(&self) -> MixerWidths {
        let all = self.layers.iter().map(|layer| MixerWidths::of(layer.kind, layer, self));
        all.fold(MixerWidths::default(), MixerWidths::most)
    }

    /// Elements of a token's per-layer embedding, of all layers.
    pub(super) fn per_layer_width(&self) -> usize {
        self.per_layer.map_or(0, |per_layer| per_layer * self.layers.len())
    }

    /// Floats of the states of all recurrent layers.
    pub(super) fn recurrent_width(&self) -> usize {
        self.layers.iter().map(|layer| layer.recurrent_width(self.hidden)).sum()
    }

    /// The shapes of the KV caches of the layers that have one of their own.
    pub(crate) fn kv_shapes(&self) -> impl Iterator<Item = KvHeads> {
        let own = |layer: &&LayerConfig| layer.kind.has_attention() && layer.kv_source.is_none();
        self.layers.iter().filter(own).map(LayerConfig::kv_shape)
    }

    /// The positions from one regular checkpoint of the recurrent layers to the next: as many as
    /// have keys and values of a checkpoint's size, so that checkpoints never take more memory than
    /// those; 64 to 2048.
    pub fn checkpoint_interval(&self) -> usize {
        const LEAST: usize = 64;
        let kv = self.kv_shapes().map(|shape| LayerKvCache::bytes_for(shape, KvType::F16, LEAST)).sum::<usize>();
        let state = self.recurrent_width() * size_of::<f32>();
        state.div_ceil(kv.max(1)).saturating_mul(LEAST).clamp(LEAST, 2048)
    }

    /// The widest input of a matmul.
    fn widest(&self) -> usize {
        let (per_layer, rank) = (self.per_layer.unwrap_or(0), self.family.laurel_rank.unwrap_or(0));
        self.most(|layer| layer.widest(self.hidden)).max(per_layer).max(rank)
    }
}
