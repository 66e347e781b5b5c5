//! One tensor of a file: bound by name, checked for type and shape, then a view into the file's
//! bytes.

use std::ops::Range;

use ollm_kernels::ops::{Matrix, Panels};

use crate::gguf::{Gguf, Layout, TensorInfo, TensorType};
use crate::storage::Storage;

use super::error::ModelError;

/// A matrix in a file, checked: `rows` outputs, `cols` inputs. A quantized matrix that matmul reads
/// is packed, in the file or by [`Tensor::pack`].
#[derive(Debug)]
pub struct Tensor {
    dtype: TensorType,
    layout: Layout,
    /// Its rows, of those that the tensor of the file has.
    rows: Range<usize>,
    /// Rows of the tensor of the file.
    stored_rows: usize,
    cols: usize,
    /// The bytes of the tensor of the file.
    stored: Range<usize>,
    panels: Option<Panels>,
}

/// Linux maps the pages around one that is read, those before it too: the aligned part of this many
/// bytes (`fault_around_bytes`).
const FAULT_AROUND: usize = 64 << 10;

impl Tensor {
    /// Finds the matrix `name` of `gguf` and checks that it is `rows` by `cols` and can be read in
    /// `file`.
    ///
    /// # Errors
    /// [`ModelError`] if it is missing, has another shape, or is not aligned.
    pub fn bind(gguf: &Gguf, file: &[u8], name: &str, rows: usize, cols: usize) -> Result<Self, ModelError> {
        Self::bind_shape(gguf, file, name, &[rows, cols])
    }

    /// The same of a tensor of this row-major shape. A vector is one row; of a stack of matrices
    /// the rows follow one another.
    ///
    /// # Errors
    /// As [`Tensor::bind`].
    pub(super) fn bind_shape(gguf: &Gguf, file: &[u8], name: &str, shape: &[usize]) -> Result<Self, ModelError> {
        let info = checked(gguf, name, &dims(shape))?;
        view(info, file)?;
        let (rows, cols) = (info.rows(), info.cols());
        let &TensorInfo { dtype, layout, offset, size, .. } = info;
        Ok(Self { dtype, layout, rows: 0..rows, stored_rows: rows, cols, stored: offset..offset + size, panels: None })
    }

    /// The same matrix of the file once more, not packed.
    pub(super) fn view(&self) -> Self {
        self.cut(0..self.rows.len())
    }

    /// Some rows as a matrix of their own, not packed: a part of a fused matrix.
    ///
    /// # Panics
    /// If there are not so many.
    pub(super) fn cut(&self, rows: Range<usize>) -> Self {
        assert!(rows.end <= self.rows.len(), "rows of a tensor out of range");
        let rows = self.rows.start + rows.start..self.rows.start + rows.end;
        let &Self { dtype, layout, stored_rows, cols, ref stored, .. } = self;
        Self { dtype, layout, rows, stored_rows, cols, stored: stored.clone(), panels: None }
    }

    /// Packs the weights for the kernels, if they are quantized, and lets the file's memory go part
    /// after part; `file` holds the bytes the tensor was bound to.
    ///
    /// # Errors
    /// [`ModelError::NoMemoryForWeights`] if there is none.
    pub fn pack(&mut self, file: &Storage) -> Result<(), ModelError> {
        let matrix = self.matrix(file);
        if !matrix.is_ready() {
            // In rows, as packed weights are ready.
            let start = self.stored.start + self.row_bytes() * self.rows.start;
            let read = |bytes: Range<usize>| {
                file.discard((start + bytes.start).saturating_sub(FAULT_AROUND)..start + bytes.end);
            };
            let panels = Panels::packed(&matrix, read);
            self.panels = Some(panels.ok_or(ModelError::NoMemoryForWeights { bytes: self.size() })?);
        }
        Ok(())
    }

    /// Bytes that [`Tensor::pack`] allocates.
    pub fn packed_size(&self) -> usize {
        match self.layout {
            Layout::Rows => Panels::size(self.dtype, self.rows.len(), self.cols).unwrap_or(0),
            Layout::Panels => 0,
        }
    }

    /// The weights: packed, or in `file`, the bytes the tensor was bound to.
    ///
    /// # Panics
    /// If `file` is another one.
    pub fn matrix<'a>(&'a self, file: &'a [u8]) -> Matrix<'a> {
        match &self.panels {
            Some(panels) => panels.matrix(),
            None => Matrix::stored(self.layout, self.dtype, self.stored_rows, self.cols, &file[self.stored.clone()])
                .expect("bound to these bytes")
                .slice(self.rows.clone()),
        }
    }

    /// Bytes of the weights.
    pub fn size(&self) -> usize {
        if self.rows.len() == self.stored_rows { self.stored.len() } else { self.row_bytes() * self.rows.len() }
    }

    fn row_bytes(&self) -> usize {
        self.dtype.row_bytes(self.cols).expect("bound with whole blocks")
    }
}

/// Finds the vector `name` of `gguf`, of any float type and `size` elements, and decodes it.
///
/// # Errors
/// [`ModelError`] if it is missing or has another size.
pub fn vector(gguf: &Gguf, file: &[u8], name: &str, size: usize) -> Result<Vec<f32>, ModelError> {
    values(gguf, file, name, &[size])
}

/// The same of a tensor of this row-major shape: its values, row after row.
///
/// # Errors
/// As [`vector`].
pub(super) fn values(gguf: &Gguf, file: &[u8], name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
    let info = checked(gguf, name, &dims(shape))?;
    let mut out = vec![0.0; info.elements()];
    view(info, file)?.decode(&mut out);
    Ok(out)
}

/// A row-major shape as GGUF has it, innermost first.
fn dims(shape: &[usize]) -> Vec<u64> {
    shape.iter().rev().map(|&size| size as u64).collect()
}

/// The dimensions but for the outermost ones of size 1, which ggml leaves out when it writes a file
/// again.
fn without_ones(dims: &[u64]) -> &[u64] {
    let count = dims.iter().rposition(|&size| size != 1).map_or(0, |last| last + 1);
    &dims[..count]
}

/// The tensor in `file`, in which it was found.
fn view<'a>(info: &TensorInfo, file: &'a [u8]) -> Result<Matrix<'a>, ModelError> {
    let matrix = Matrix::stored(info.layout, info.dtype, info.rows(), info.cols(), info.bytes(file));
    matrix.ok_or_else(|| ModelError::Misaligned(info.name.clone()))
}

/// The description of the tensor `name`, which must have these dimensions (innermost first).
fn checked<'a>(gguf: &'a Gguf, name: &str, dims: &[u64]) -> Result<&'a TensorInfo, ModelError> {
    let info = gguf.tensor(name).ok_or_else(|| ModelError::MissingTensor(name.to_owned()))?;
    if without_ones(&info.dims) == without_ones(dims) {
        return Ok(info);
    }
    Err(ModelError::TensorShape { name: name.to_owned(), found: info.dims.clone(), expected: dims.to_vec() })
}
