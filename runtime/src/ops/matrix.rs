//! Weight matrices: views of a file's rows, or of the panels that quantized ones are packed into for the kernels.

use std::ops::Range;

use crate::gguf::TensorType;
use crate::quant;

use super::float::Float;
use super::format::PANEL_ROWS;
use super::panel;

/// A weight matrix: `rows` rows of `cols` elements each.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    dtype: TensorType,
    layout: Layout,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

/// Where a row's bytes are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// One row after the other, as in a file.
    Rows,
    /// In panels; the matrix starts with row `first` of the first of them.
    Panels { first: usize },
}

impl<'a> Matrix<'a> {
    /// The matrix whose rows are in `bytes` one after the other; `None` if their number is not that of such a matrix, if it
    /// is empty, or if the weights are floats at an address that is not aligned for them.
    pub fn new(dtype: TensorType, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        let row_bytes = dtype.row_bytes(cols)?;
        let fits = rows > 0 && cols > 0 && rows.checked_mul(row_bytes)? == bytes.len();
        let align = match dtype {
            TensorType::F32 => 4,
            TensorType::F16 | TensorType::Bf16 => 2,
            _ => 1,
        };
        let aligned = bytes.as_ptr().addr().is_multiple_of(align);
        (fits && aligned).then_some(Self { dtype, layout: Layout::Rows, rows, cols, row_bytes, bytes })
    }

    /// Rows: the size of the output.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the size of the input.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The type of the weights.
    pub fn dtype(&self) -> TensorType {
        self.dtype
    }

    /// The rows `range` as a matrix of their own.
    ///
    /// # Panics
    /// If there are none, or not so many.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.rows, "rows of a matrix out of range");
        let (layout, stored) = match self.layout {
            Layout::Rows => (Layout::Rows, range.clone()),
            Layout::Panels { first } => {
                let start = (first + range.start) / PANEL_ROWS * PANEL_ROWS;
                let end = (first + range.end).next_multiple_of(PANEL_ROWS);
                (Layout::Panels { first: first + range.start - start }, start..end)
            }
        };
        let bytes = &self.bytes[stored.start * self.row_bytes..stored.end * self.row_bytes];
        Self { layout, rows: range.len(), bytes, ..*self }
    }

    /// Decodes all weights to `out`: `[rows][cols]`.
    ///
    /// # Panics
    /// If `out` has another size.
    pub fn decode(&self, out: &mut [f32]) {
        assert_eq!(out.len(), self.rows * self.cols, "decoded weights must have the size of their matrix");
        let decode = |bytes: &[u8], out: &mut [f32]| {
            quant::decode(self.dtype, bytes, out).expect("a matrix has whole blocks, and the output its size");
        };
        match self.layout {
            Layout::Rows => decode(self.bytes, out),
            Layout::Panels { first } => {
                let mut row = vec![0; self.row_bytes];
                for (i, out) in (first..).zip(out.chunks_exact_mut(self.cols)) {
                    panel::unpack(self.dtype, self.panel(i / PANEL_ROWS), i % PANEL_ROWS, &mut row);
                    decode(&row, out);
                }
            }
        }
    }

    /// Whether a product can use the matrix as it is: floats, or panels.
    pub fn is_ready(&self) -> bool {
        self.is_float() || self.layout != Layout::Rows
    }

    pub(super) fn is_float(&self) -> bool {
        self.dtype.block_len() == 1
    }

    /// Bytes of a row.
    pub(super) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// All bytes: rows or panels.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The matrix's rows, counted from the first row of its first panel.
    #[inline(always)]
    pub(super) fn panel_rows(&self) -> Range<usize> {
        match self.layout {
            Layout::Rows => 0..self.rows,
            Layout::Panels { first } => first..first + self.rows,
        }
    }

    fn panel(&self, i: usize) -> &'a [u8] {
        let size = PANEL_ROWS * self.row_bytes;
        &self.bytes[i * size..(i + 1) * size]
    }

    /// The weights as numbers of type `T`, which has the size and at most the alignment of the matrix's float type.
    pub(super) fn floats<T: Float>(&self) -> &'a [T] {
        // SAFETY: `Float` types are plain numbers, valid for every bit pattern, and `align_to` splits off what is not
        // aligned (nothing: `new` has checked).
        unsafe { self.bytes.align_to().1 }
    }
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A quantized matrix, packed for the kernels.
pub struct Panels {
    dtype: TensorType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    /// The panels, and zeros up to a whole line.
    lines: Vec<Line>,
}

impl std::fmt::Debug for Panels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Panels").field("dtype", &self.dtype).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Panels {
    /// Bytes of the panels of a quantized matrix of that shape; `None` for floats, which need none, and on overflow.
    pub fn size(dtype: TensorType, rows: usize, cols: usize) -> Option<usize> {
        let quantized = dtype.block_len() > 1;
        let size = panel::panels_size(rows, dtype.row_bytes(cols)?)?;
        quantized.then(|| size.checked_next_multiple_of(size_of::<Line>()))?
    }

    /// Packs the rows of a quantized matrix; `None` if there is no memory for them.
    ///
    /// # Panics
    /// If the matrix is one of floats, or packed already.
    pub fn new(matrix: &Matrix<'_>) -> Option<Self> {
        assert!(!matrix.is_ready(), "only rows of quantized weights are packed");
        let (dtype, rows, cols, row_bytes) = (matrix.dtype, matrix.rows, matrix.cols, matrix.row_bytes);
        let count = Self::size(dtype, rows, cols)? / size_of::<Line>();
        let mut lines = Vec::new();
        lines.try_reserve_exact(count).ok()?;
        lines.resize(count, Line([0; 64]));
        let mut panels = Self { dtype, rows, cols, row_bytes, lines };
        let sources = matrix.bytes.chunks(PANEL_ROWS * row_bytes);
        for (rows, panel) in sources.zip(panels.bytes_mut().chunks_exact_mut(PANEL_ROWS * row_bytes)) {
            panel::pack(dtype, rows, row_bytes, panel);
        }
        Some(panels)
    }

    /// The matrix.
    pub fn matrix(&self) -> Matrix<'_> {
        let &Self { dtype, rows, cols, row_bytes, ref lines } = self;
        // SAFETY: lines are plain bytes without padding.
        let bytes = unsafe { lines.align_to::<u8>().1 };
        let bytes = &bytes[..rows.next_multiple_of(PANEL_ROWS) * row_bytes];
        Matrix { dtype, layout: Layout::Panels { first: 0 }, rows, cols, row_bytes, bytes }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: lines are plain bytes without padding, valid for every bit pattern.
        unsafe { self.lines.align_to_mut::<u8>().1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_decode_to_what_the_rows_do_and_so_does_every_slice() {
        for &dtype in TensorType::ALL.iter().filter(|dtype| dtype.block_len() > 1) {
            let (rows, cols) = (37, dtype.block_len());
            let values: Vec<f32> = (0..rows * cols).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
            let bytes = quant::encode(dtype, &values).unwrap();
            let plain = Matrix::new(dtype, rows, cols, &bytes).unwrap();
            let panels = Panels::new(&plain).unwrap();
            for range in [0..rows, 0..1, 5..6, 15..17, 16..32, 30..37, 36..37] {
                let (mut want, mut got) = (vec![0.0; range.len() * cols], vec![0.0; range.len() * cols]);
                plain.slice(range.clone()).decode(&mut want);
                panels.matrix().slice(range.clone()).decode(&mut got);
                assert_eq!(got, want, "{dtype:?} {range:?}");
                let mut again = vec![0.0; cols];
                panels.matrix().slice(range.clone()).slice(range.len() - 1..range.len()).decode(&mut again);
                assert_eq!(again, want[want.len() - cols..], "{dtype:?} {range:?}");
            }
        }
    }
}
