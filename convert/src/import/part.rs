//! What of a checkpoint's tensor is one of GGUF.

use crate::quantize::{Rows, Strides};

/// What of a stored tensor another one is.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// These of its rows.
    Rows(Rows),
    /// Some of its elements, or all in another order; and its row-major shape, but for ones.
    Elements { strides: Strides, shape: [usize; 3] },
}
