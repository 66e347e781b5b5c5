//! The source of a tensor's values: the rows of a mapped file, in their order or permuted.

use std::ops::Range;
use std::path::Path;

use ollm_runtime::gguf::{TensorInfo, TensorType};
use ollm_runtime::quant;
use ollm_runtime::storage::Storage;

use super::scaled::Scaled;
use crate::{ConvertError, Opened, Result};

/// A tensor to be written.
pub(crate) struct TensorSource<'a> {
    /// The name that it gets.
    pub(crate) name: String,
    /// Innermost first.
    pub(crate) dims: Vec<u64>,
    /// The type that it gets where a recipe says nothing of it.
    pub(crate) default: TensorType,
    pub(crate) stored: Stored<'a>,
    /// Its rows, of those that are stored; `None`: all of them.
    pub(crate) rows: Option<RowGroups>,
    pub(crate) change: Change,
}

/// Rows of a fused matrix, which are in groups: of each `stride` rows, `count` from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowGroups {
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) stride: usize,
}

impl RowGroups {
    /// The row of the fused matrix that is row `i` here.
    fn row(self, i: usize) -> usize {
        i / self.count * self.stride + self.first + i % self.count
    }

    /// How many rows the fused matrix has, of which `rows` are here.
    pub(crate) fn stored(self, rows: usize) -> usize {
        rows / self.count * self.stride
    }
}

/// Where it is.
pub(crate) struct Stored<'a> {
    pub(crate) path: &'a Path,
    pub(crate) file: &'a Storage,
    /// Its name in the file.
    pub(crate) name: String,
    pub(crate) encoding: Encoding<'a>,
    /// Its bytes in the file.
    pub(crate) range: Range<usize>,
}

/// How its values are stored.
pub(crate) enum Encoding<'a> {
    /// As in GGUF.
    Type(TensorType),
    /// As other programs quantize.
    Scaled(Box<Scaled<'a>>),
}

impl Stored<'_> {
    /// Its type, if it is one of GGUF.
    pub(super) fn dtype(&self) -> Option<TensorType> {
        match self.encoding {
            Encoding::Type(dtype) => Some(dtype),
            Encoding::Scaled(_) => None,
        }
    }
}

/// What happens to the values on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// In each of so many heads, rows i and i + size / 2 become neighbours.
    Interleave {
        heads: usize,
    },
    /// 1 is added.
    AddOne,
}

impl<'a> TensorSource<'a> {
    /// A tensor of a GGUF file, as it is.
    pub(super) fn of(path: &'a Path, model: &'a Opened, tensor: &'a TensorInfo) -> Self {
        let &TensorInfo { ref name, ref dims, dtype, offset, size, .. } = tensor;
        let range = offset..offset + size;
        let encoding = Encoding::Type(dtype);
        let stored = Stored { path, file: &model.bytes, name: name.clone(), encoding, range };
        Self { name: name.clone(), dims: dims.clone(), default: dtype, stored, rows: None, change: Change::None }
    }
}

impl TensorSource<'_> {
    pub(super) fn cols(&self) -> usize {
        self.dims[0] as usize
    }

    pub(super) fn rows(&self) -> usize {
        self.dims[1..].iter().product::<u64>() as usize
    }

    pub(super) fn elements(&self) -> usize {
        self.rows() * self.cols()
    }

    pub(super) fn row_bytes(&self) -> usize {
        let rows = self.rows();
        self.stored.range.len() / self.rows.map_or(rows, |groups| groups.stored(rows))
    }

    /// The bytes of a row, and its values.
    ///
    /// # Errors
    /// [`ConvertError::Row`] if one of them is not finite.
    pub(super) fn row(&self, row: usize) -> Result<(&[u8], Vec<f32>)> {
        let stored = self.stored_row(row);
        let bytes = &self.stored.file[self.stored.range.clone()][stored * self.row_bytes()..][..self.row_bytes()];
        let mut values = vec![0.0; self.cols()];
        match &self.stored.encoding {
            Encoding::Type(dtype) => {
                quant::decode(*dtype, bytes, &mut values).map_err(|source| self.error(row, source))?;
            }
            Encoding::Scaled(scaled) => scaled.decode(stored, bytes, &mut values),
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(self.error(row, quant::QuantError::NotFinite { index, value: values[index] }));
        }
        match self.change {
            Change::AddOne => values.iter_mut().for_each(|value| *value += 1.0),
            Change::Interleave { heads } if self.dims.len() == 1 => {
                values = (0..values.len()).map(|i| values[interleaved(i, values.len() / heads)]).collect();
            }
            Change::Interleave { .. } | Change::None => (),
        }
        Ok((bytes, values))
    }

    /// What is wrong with a row.
    pub(super) fn error(&self, row: usize, source: quant::QuantError) -> ConvertError {
        let (path, tensor) = (self.stored.path.to_owned(), self.stored.name.clone());
        ConvertError::Row { path, tensor, row: self.stored_row(row), source }
    }

    /// Which row of the file is this one.
    fn stored_row(&self, row: usize) -> usize {
        let row = match self.change {
            Change::Interleave { heads } if self.dims.len() > 1 => interleaved(row, self.rows() / heads),
            _ => row,
        };
        self.rows.map_or(row, |groups| groups.row(row))
    }

    /// Bytes of its rows.
    pub(super) fn bytes(&self) -> usize {
        self.row_bytes() * self.rows()
    }

    /// Has the pages of these bytes leave memory; those of fused matrices are still to be read.
    pub(super) fn discard(&self, bytes: Range<usize>) {
        if self.rows.is_some() {
            return;
        }
        let start = self.stored.range.start;
        self.stored.file.discard(start + bytes.start..start + bytes.end);
    }
}

/// What comes to place `i`, in heads of this size: of each pair of places, one of the first half
/// and one of the second.
pub(crate) fn interleaved(i: usize, size: usize) -> usize {
    let place = i % size;
    i - place + place % 2 * (size / 2) + place / 2
}

#[cfg(test)]
mod tests {
    use super::{RowGroups, interleaved};

    #[test]
    fn rows_of_a_fused_matrix_are_in_groups() {
        // Of each 5 rows, the third and the fourth.
        let groups = RowGroups { first: 2, count: 2, stride: 5 };
        assert_eq!((0..4).map(|row| groups.row(row)).collect::<Vec<_>>(), [2, 3, 7, 8]);
        assert_eq!(groups.stored(4), 10);
    }

    #[test]
    fn halves_of_heads_become_neighbours() {
        let order: Vec<usize> = (0..12).map(|i| interleaved(i, 6)).collect();
        assert_eq!(order, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
