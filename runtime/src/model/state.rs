//! What changes while a model runs: the cache of keys and values, and scratch buffers.

use crate::ops::{KvLayer, POSITION_BLOCK, Quantized, RopeTable};

use super::{Config, ModelError};

/// Tokens that go through the network at once: enough to reuse each weight, few enough for the scratch to stay small.
pub const BATCH: usize = 256;

/// The state of one sequence. `n` below is the number of tokens of the current batch.
#[derive(Debug)]
pub struct State {
    /// Keys and values of each layer.
    pub(super) cache: Vec<KvLayer>,
    /// Positions there is room for.
    pub(super) capacity: usize,
    pub(super) scratch: Scratch,
}

/// Buffers of one batch, kept from call to call.
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
    pub(super) rope: RopeTable,
    pub(super) quantized: Quantized,
}

impl State {
    /// The state of a sequence of at most `capacity` positions.
    ///
    /// # Errors
    /// [`ModelError::OutOfMemory`] if the cache cannot be allocated.
    pub fn new(config: &Config, capacity: usize) -> Result<Self, ModelError> {
        let out_of_memory = || ModelError::OutOfMemory { bytes: Self::cache_bytes(config, capacity) };
        let cache = (0..config.layers).map(|_| KvLayer::new(config.kv_shape(), capacity));
        let cache = cache.collect::<Option<_>>().ok_or_else(out_of_memory)?;
        Ok(Self { cache, capacity, scratch: Scratch::default() })
    }

    /// Bytes of the cache for `capacity` positions.
    pub fn cache_bytes(config: &Config, capacity: usize) -> usize {
        let width = config.head_dim + config.head_dim.next_multiple_of(POSITION_BLOCK);
        let positions = capacity.next_multiple_of(POSITION_BLOCK);
        positions.saturating_mul(config.layers * config.kv_heads * width * size_of::<u16>())
    }

    /// Positions there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The hidden states of the last batch, after the final norm: `[n][hidden]`.
    pub fn hidden(&self) -> &[f32] {
        &self.scratch.x
    }
}
