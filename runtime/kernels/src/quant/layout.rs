//! How the rows of a tensor lie in memory: one after the other, or in panels that kernels read in
//! place.

use std::fmt;

use super::dtype::TensorType;

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;

/// How the rows of a tensor lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// One row after the other, as in every GGUF file.
    Rows,
    /// [`PANEL_ROWS`] rows interleaved, the last panel filled up with zeros. Quantized types only.
    Panels,
}

impl Layout {
    /// The name; that of panels is the value of `ollm.packed.layout` in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Panels => "panels16",
        }
    }

    /// Bytes of `rows` rows of `cols` elements; `None` if a row is not a whole number of blocks, or
    /// there are too many bytes.
    pub fn size(self, dtype: TensorType, rows: usize, cols: usize) -> Option<usize> {
        let rows = match self {
            Self::Rows => rows,
            Self::Panels => rows.checked_next_multiple_of(PANEL_ROWS)?,
        };
        dtype.row_bytes(cols)?.checked_mul(rows)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
