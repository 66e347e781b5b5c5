//! Weight matrices: views of a file's rows, or of packed weights (panels of 16 interleaved rows,
//! which the kernels read).

use std::io::{self, Write};
use std::ops::Range;

use crate::quant;
use crate::quant::{Layout, TensorType};

use super::float::Float;
use super::format::PANEL_ROWS;
use super::panel;

/// A weight matrix: `rows` rows of `cols` elements each.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    dtype: TensorType,
    layout: Layout,
    /// In panels, the row of the first of them that the matrix starts with; otherwise 0.
    first: usize,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

/// Bytes of the largest block.
const MAX_BLOCK: usize = 256;

impl<'a> Matrix<'a> {
    /// The matrix whose rows are in `bytes` one after the other; `None` if their number is not that
    /// of such a matrix, if it is empty, or if the weights are floats at an address that is not
    /// aligned for them.
    pub fn new(dtype: TensorType, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        Self::stored(Layout::Rows, dtype, rows, cols, bytes)
    }

    /// The matrix whose rows are in `bytes` in this layout; `None` as for [`Matrix::new`], or if
    /// panels start at an odd address.
    pub fn stored(layout: Layout, dtype: TensorType, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        let fits = rows > 0 && cols > 0 && layout.size(dtype, rows, cols)? == bytes.len();
        let align = match (layout, dtype) {
            (_, TensorType::F32) => 4,
            (_, TensorType::F16 | TensorType::Bf16) | (Layout::Panels, _) => 2,
            (Layout::Rows, _) => 1,
        };
        let aligned = bytes.as_ptr().addr().is_multiple_of(align);
        let row_bytes = dtype.row_bytes(cols)?;
        (fits && aligned).then_some(Self { dtype, layout, first: 0, rows, cols, row_bytes, bytes })
    }

    /// Rows: the size of the output.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The size of the input (columns).
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
        let (start, end) = (self.first + range.start, self.first + range.end);
        let stored = match self.layout {
            Layout::Rows => start..end,
            Layout::Panels => start / PANEL_ROWS * PANEL_ROWS..end.next_multiple_of(PANEL_ROWS),
        };
        let bytes = &self.bytes[stored.start * self.row_bytes..stored.end * self.row_bytes];
        Self { first: start - stored.start, rows: range.len(), bytes, ..*self }
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
        if self.layout == Layout::Rows {
            return decode(self.bytes, out);
        }
        let (elements, size) = (self.dtype.block_len(), self.dtype.block_bytes());
        let block = &mut [0; MAX_BLOCK][..size];
        for (i, out) in self.panel_rows().zip(out.chunks_exact_mut(self.cols)) {
            let packed = self.panel(i / PANEL_ROWS).chunks_exact(PANEL_ROWS * size);
            for (packed, out) in packed.zip(out.chunks_exact_mut(elements)) {
                panel::unpack(self.dtype, packed, i % PANEL_ROWS, block);
                decode(block, out);
            }
        }
    }

    /// The bytes of the blocks `blocks` of row `row`, as a file stores them in rows whatever the
    /// layout is here; of floats, a block is one weight.
    ///
    /// # Panics
    /// If there are no such ones.
    pub fn blocks(&self, row: usize, blocks: Range<usize>) -> Vec<u8> {
        let size = self.dtype.block_bytes();
        let row = self.first + row;
        if self.layout == Layout::Rows {
            let row = &self.bytes[row * self.row_bytes..(row + 1) * self.row_bytes];
            return row[blocks.start * size..blocks.end * size].to_vec();
        }
        let mut out = vec![0; blocks.len() * size];
        let panel = self.panel(row / PANEL_ROWS);
        let packed = &panel[blocks.start * size * PANEL_ROWS..blocks.end * size * PANEL_ROWS];
        panel::unpack(self.dtype, packed, row % PANEL_ROWS, &mut out);
        out
    }

    /// Packs or unpacks: writes a quantized matrix to `out` in the other layout, as a file stores
    /// it. At most one panel of it is in memory at once.
    ///
    /// # Errors
    /// The errors of `out`.
    ///
    /// # Panics
    /// If the weights are floats, which have no panels.
    pub fn repack(&self, out: &mut dyn Write) -> io::Result<()> {
        assert!(self.dtype.is_quantized(), "float weights have no panels");
        match self.layout {
            Layout::Rows => self.write_panels(out),
            Layout::Panels => self.write_rows(out),
        }
    }

    fn write_panels(&self, out: &mut dyn Write) -> io::Result<()> {
        let size = PANEL_ROWS * self.row_bytes;
        let mut panel = vec![0; size];
        for rows in self.bytes.chunks(size) {
            panel.fill(0);
            panel::pack(self.dtype, rows, self.row_bytes, &mut panel);
            out.write_all(&panel)?;
        }
        Ok(())
    }

    fn write_rows(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut row = vec![0; self.row_bytes];
        for i in self.panel_rows() {
            panel::unpack(self.dtype, self.panel(i / PANEL_ROWS), i % PANEL_ROWS, &mut row);
            out.write_all(&row)?;
        }
        Ok(())
    }

    /// Whether matmul can use the matrix as it is: floats, or packed weights.
    pub fn is_ready(&self) -> bool {
        self.is_float() || self.layout == Layout::Panels
    }

    pub(super) fn is_float(&self) -> bool {
        !self.dtype.is_quantized()
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
        self.first..self.first + self.rows
    }

    fn panel(&self, i: usize) -> &'a [u8] {
        let size = PANEL_ROWS * self.row_bytes;
        &self.bytes[i * size..(i + 1) * size]
    }

    /// The weights as numbers of type `T`, which has the size and at most the alignment of the
    /// matrix's float type.
    pub(super) fn floats<T: Float>(&self) -> &'a [T] {
        // SAFETY: `Float` types are plain numbers, valid for every bit pattern, and `align_to`
        // splits off what is not aligned (nothing: `new` has checked).
        unsafe { self.bytes.align_to().1 }
    }
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct CacheLine([u8; 64]);

/// Bytes of a matrix after which [`Panels::packed`] says that it has read them.
const REPORTED: usize = 1 << 20;

/// A quantized matrix, packed for the kernels.
pub struct Panels {
    dtype: TensorType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    /// The panels, and zeros up to a whole line.
    lines: Vec<CacheLine>,
}

impl std::fmt::Debug for Panels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Panels").field("dtype", &self.dtype).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Panels {
    /// Bytes of the panels of a quantized matrix of that shape; `None` for floats, which need none,
    /// and on overflow.
    pub fn size(dtype: TensorType, rows: usize, cols: usize) -> Option<usize> {
        let size = Layout::Panels.size(dtype, rows, cols)?;
        dtype.is_quantized().then(|| size.checked_next_multiple_of(size_of::<CacheLine>()))?
    }

    /// Packs the rows of a quantized matrix; `None` if there is no memory for them.
    pub fn new(matrix: &Matrix<'_>) -> Option<Self> {
        Self::packed(matrix, |_| ())
    }

    /// [`Panels::new`] with progress: it reports the bytes of the matrix that it has read, part
    /// after part, and allocates part after part.
    ///
    /// # Panics
    /// If the matrix is one of floats, or packed already.
    pub fn packed(matrix: &Matrix<'_>, mut read: impl FnMut(Range<usize>)) -> Option<Self> {
        assert!(!matrix.is_ready(), "only rows of quantized weights are packed");
        let (dtype, rows, cols, row_bytes) = (matrix.dtype, matrix.rows, matrix.cols, matrix.row_bytes);
        let count = Self::size(dtype, rows, cols)? / size_of::<CacheLine>();
        let mut lines = Vec::new();
        lines.try_reserve_exact(count).ok()?;
        let mut panels = Self { dtype, rows, cols, row_bytes, lines };
        let (size, mut done) = (PANEL_ROWS * row_bytes, 0);
        for (i, rows) in matrix.bytes.chunks(size).enumerate() {
            panels.lines.resize((size * (i + 1)).div_ceil(size_of::<CacheLine>()), CacheLine([0; 64]));
            panel::pack(dtype, rows, row_bytes, &mut panels.bytes_mut()[size * i..size * (i + 1)]);
            let end = size * i + rows.len();
            if end - done >= REPORTED || end == matrix.bytes.len() {
                read(done..end);
                done = end;
            }
        }
        Some(panels)
    }

    /// The matrix.
    pub fn matrix(&self) -> Matrix<'_> {
        let &Self { dtype, rows, cols, row_bytes, ref lines } = self;
        // SAFETY: lines are plain bytes without padding.
        let bytes = unsafe { lines.align_to::<u8>().1 };
        let bytes = &bytes[..rows.next_multiple_of(PANEL_ROWS) * row_bytes];
        Matrix { dtype, layout: Layout::Panels, first: 0, rows, cols, row_bytes, bytes }
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
    fn packing_says_what_it_has_read_part_after_part() {
        let (rows, cols) = (1003, 4096);
        let bytes = vec![0; rows * TensorType::Q4_0.row_bytes(cols).unwrap()];
        let (mut end, mut parts) = (0, 0);
        let panels = Panels::packed(&Matrix::new(TensorType::Q4_0, rows, cols, &bytes).unwrap(), |read| {
            assert_eq!(read.start, end);
            (end, parts) = (read.end, parts + 1);
        });
        assert_eq!((end, parts), (bytes.len(), bytes.len().div_ceil(REPORTED)));
        assert_eq!(panels.unwrap().matrix().rows(), rows);
    }

    #[test]
    fn panels_decode_to_what_the_rows_do_and_so_does_every_slice() {
        for &dtype in TensorType::ALL.iter().filter(|dtype| dtype.is_quantized()) {
            let (rows, cols) = (37, dtype.block_len());
            let bytes = quant::samples::random(dtype, rows, 0.01);
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
    #[test]
    fn a_repacked_matrix_is_what_loading_packs_and_comes_back() {
        for &dtype in TensorType::ALL.iter().filter(|dtype| dtype.is_quantized()) {
            for rows in [1, 16, 37] {
                let cols = 2 * dtype.block_len();
                let size = Layout::Rows.size(dtype, rows, cols).unwrap();
                let bytes: Vec<u8> = (0..size).map(|i| (i * 37 % 251) as u8).collect();
                let plain = Matrix::new(dtype, rows, cols, &bytes).unwrap();
                let mut packed = Vec::new();
                plain.repack(&mut packed).unwrap();
                assert_eq!(packed, Panels::new(&plain).unwrap().matrix().bytes, "{dtype} {rows}");
                let packed = Matrix::stored(Layout::Panels, dtype, rows, cols, &packed).unwrap();
                let mut again = Vec::new();
                packed.repack(&mut again).unwrap();
                assert_eq!(again, bytes, "{dtype} {rows}");
            }
        }
    }

    #[test]
    fn panels_of_the_wrong_size_or_at_an_odd_address_are_none() {
        let bytes = [0_u64; 200];
        // SAFETY: integers are plain bytes.
        let bytes = unsafe { bytes.align_to::<u8>().1 };
        let stored = |range: Range<usize>| Matrix::stored(Layout::Panels, TensorType::Q8_0, 5, 32, &bytes[range]);
        assert!(stored(0..544).is_some() && stored(2..546).is_some());
        assert!(stored(1..545).is_none());
        assert!([0..543, 0..545, 0..170].into_iter().all(|range| stored(range).is_none()));
    }

    #[test]
    fn a_block_fits_its_buffer() {
        assert!(TensorType::ALL.iter().all(|dtype| dtype.block_bytes() <= MAX_BLOCK));
    }
}
