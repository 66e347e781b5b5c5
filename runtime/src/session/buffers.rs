//! The buffers of a forward pass and of its logits.

use ollm_kernels::ops::Quantized;

use crate::model::{Config, Scratch};

/// Buffers, kept from pass to pass.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) scratch: Scratch,
    pub(super) quantized: Quantized,
    /// Logits that tokens are chosen from: `[rows][vocab]`
    pub(super) logits: Vec<f32>,
    /// The mixture of the options of a session: `[vocab]`
    pub(super) mixed: Vec<f32>,
}

/// Bytes of the buffers that a session holds in addition to its sequence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BufferBytes {
    /// Of a pass through the network.
    pub(super) scratch: usize,
    /// Of logits.
    pub(super) logits: usize,
}

impl Buffers {
    /// Bytes that they hold.
    pub(super) fn bytes(&self, config: &Config) -> BufferBytes {
        let logits = (self.logits.capacity() + self.mixed.capacity()) * size_of::<f32>();
        BufferBytes { scratch: self.scratch.bytes(config), logits }
    }
}
