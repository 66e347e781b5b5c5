//! The source of a tensor's values: the rows of a mapped file, in their order or permuted.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use ollm_runtime::gguf::{TensorInfo, TensorType};
use ollm_runtime::quant::{self, mxfp4};
use ollm_runtime::storage::Storage;

use super::order::Order;
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
    /// Where it is: in one place, or in several that have as many of its rows each.
    pub(crate) stored: Vec<Stored<'a>>,
    /// Which of the stored rows are its own.
    pub(crate) rows: Rows,
    /// What becomes of their order.
    pub(crate) order: Order,
    pub(crate) change: Change,
}

/// Which of the rows that are stored a tensor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rows {
    /// All of them.
    All,
    /// Those of one part of a fused matrix.
    Groups(RowGroups),
    /// So many are stored; each that is missing behind them is the first.
    Padded(usize),
}

impl Rows {
    /// The stored row that is row `i` here.
    pub(crate) fn row(self, i: usize) -> usize {
        match self {
            Self::All => i,
            Self::Groups(groups) => groups.row(i),
            Self::Padded(stored) if i < stored => i,
            Self::Padded(_) => 0,
        }
    }

    /// How many rows are stored, of a tensor of `rows`.
    pub(crate) fn stored(self, rows: usize) -> usize {
        match self {
            Self::All => rows,
            Self::Groups(groups) => groups.stored(rows),
            Self::Padded(stored) => stored,
        }
    }
}

/// Rows of a fused matrix, which are in groups: of each `stride` rows, `count` from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    fn stored(self, rows: usize) -> usize {
        rows / self.count * self.stride
    }
}

/// Where the elements of a tensor are among those that are stored, if they do not follow one
/// another: how many lie between successive ones. Rows may go backwards: their stride wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strides {
    pub(crate) first: usize,
    pub(crate) matrix: usize,
    pub(crate) row: usize,
    pub(crate) column: usize,
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
    /// Numbers of a type of GGUF, in another order.
    Strided(TensorType, Strides),
    /// Blocks of `MXFP4` as transformers has them: neighbours share a byte, and these are the
    /// exponents.
    Mxfp4(&'a [u8]),
    /// As other programs quantize.
    Scaled(Box<Scaled<'a>>),
}

impl Stored<'_> {
    /// Its type, if it is one of GGUF.
    pub(super) fn dtype(&self) -> Option<TensorType> {
        match self.encoding {
            Encoding::Type(dtype) | Encoding::Strided(dtype, _) => Some(dtype),
            Encoding::Mxfp4(_) => Some(TensorType::Mxfp4),
            Encoding::Scaled(_) => None,
        }
    }

    /// The bytes of the file that are row `row` of so many.
    fn row(&self, row: usize, rows: usize) -> Range<usize> {
        let size = self.range.len() / rows;
        let start = self.range.start + row * size;
        start..start + size
    }
}

/// Factors of the rows of a matrix: one of all, then one of each part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RowScales {
    pub(crate) all: f32,
    /// Rows of each part, one after the other; the last has the rest.
    pub(crate) rows: [usize; RowScales::PARTS],
    pub(crate) parts: [f32; RowScales::PARTS],
}

impl RowScales {
    pub(crate) const PARTS: usize = 5;

    /// The factor of the part that has this row.
    fn of(&self, row: usize) -> f32 {
        let mut end = 0;
        let part = self.rows[..Self::PARTS - 1].iter().position(|rows| {
            end += rows;
            row < end
        });
        self.parts[part.unwrap_or(Self::PARTS - 1)]
    }
}

/// What happens to the values on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    None,
    /// 1 is added.
    AddOne,
    /// x becomes `-e^x`.
    NegativeExp,
    /// Rows are multiplied.
    Scale(RowScales),
}

impl<'a> TensorSource<'a> {
    /// A tensor of a GGUF file, as it is.
    pub(super) fn of(path: &'a Path, model: &'a Opened, tensor: &'a TensorInfo) -> Self {
        let &TensorInfo { ref name, ref dims, dtype, offset, size, .. } = tensor;
        let range = offset..offset + size;
        let encoding = Encoding::Type(dtype);
        let stored = Stored { path, file: &model.bytes, name: name.clone(), encoding, range };
        Self {
            name: name.clone(),
            dims: dims.clone(),
            default: dtype,
            stored: vec![stored],
            rows: Rows::All,
            order: Order::Stored,
            change: Change::None,
        }
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

    /// How many matrices it is, which have as many rows each.
    pub(super) fn matrices(&self) -> usize {
        self.dims.get(2..).unwrap_or_default().iter().product::<u64>() as usize
    }

    /// Its type, if all of it has one, and that is one of GGUF.
    pub(super) fn dtype(&self) -> Option<TensorType> {
        let dtype = self.stored.first()?.dtype();
        dtype.filter(|_| self.stored.iter().all(|stored| stored.dtype() == dtype))
    }

    /// Whether it is stored in blocks of quantized weights, of any type.
    pub(super) fn is_quantized(&self) -> bool {
        self.stored.iter().any(|stored| stored.dtype().is_none_or(TensorType::is_quantized))
    }

    /// Rows that are stored in one place.
    fn stored_rows(&self) -> usize {
        self.rows.stored(self.rows()) / self.stored.len()
    }

    /// The bytes of a row, and its values.
    ///
    /// # Errors
    /// [`ConvertError::Row`] if one of them is not finite.
    pub(super) fn row(&self, row: usize) -> Result<(Cow<'_, [u8]>, Vec<f32>)> {
        let (stored, place) = self.place(row);
        let bytes = || &stored.file[stored.row(place, self.stored_rows())];
        let mut values = vec![0.0; self.cols()];
        let bytes = match &stored.encoding {
            Encoding::Type(_) => Cow::Borrowed(bytes()),
            Encoding::Strided(dtype, strides) => Cow::Owned(self.gathered(stored, place, *dtype, *strides)),
            Encoding::Mxfp4(exponents) => {
                let blocks = values.len() / TensorType::Mxfp4.block_len();
                Cow::Owned(mxfp4_blocks(bytes(), &exponents[place * blocks..]))
            }
            Encoding::Scaled(scaled) => {
                scaled.decode(place, bytes(), &mut values);
                Cow::Borrowed(bytes())
            }
        };
        if let Some(dtype) = stored.dtype() {
            quant::decode(dtype, &bytes, &mut values).map_err(|source| self.error(row, source))?;
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(self.error(row, quant::QuantError::NotFinite { index, value: values[index] }));
        }
        if self.order.moves_columns(self.dims.len()) {
            values = (0..values.len()).map(|i| values[self.order.stored(i, values.len())]).collect();
        }
        match self.change {
            Change::AddOne => values.iter_mut().for_each(|value| *value += 1.0),
            Change::NegativeExp => values.iter_mut().for_each(|value| *value = -value.exp()),
            Change::Scale(scales) => {
                let part = scales.of(row);
                for value in &mut values {
                    *value *= scales.all;
                    *value *= part;
                }
            }
            Change::None => (),
        }
        Ok((bytes, values))
    }

    /// The bytes of a row whose elements lie apart.
    fn gathered(&self, stored: &Stored<'_>, row: usize, dtype: TensorType, strides: Strides) -> Vec<u8> {
        let (rows, size) = (self.rows() / self.matrices(), dtype.block_bytes());
        let within = strides.first.wrapping_add((row % rows).wrapping_mul(strides.row));
        let first = within + row / rows * strides.matrix;
        let file = &stored.file[stored.range.clone()];
        (0..self.cols()).flat_map(|col| file[(first + col * strides.column) * size..][..size].iter().copied()).collect()
    }

    /// The type that it keeps whatever the recipe says: blocks that training has made.
    pub(super) fn kept(&self) -> Option<TensorType> {
        let is_kept = self.stored.iter().all(|stored| matches!(stored.encoding, Encoding::Mxfp4(_)));
        self.dtype().filter(|_| is_kept)
    }

    /// What is wrong with a row.
    pub(super) fn error(&self, row: usize, source: quant::QuantError) -> ConvertError {
        let (stored, row) = self.place(row);
        ConvertError::Row { path: stored.path.to_owned(), tensor: stored.name.clone(), row, source }
    }

    /// Where a row is, and which row it is there.
    fn place(&self, row: usize) -> (&Stored<'_>, usize) {
        let is_moved = !self.order.moves_columns(self.dims.len());
        let row = if is_moved { self.order.stored(row, self.rows()) } else { row };
        let row = self.rows.row(row);
        let rows = self.stored_rows();
        (&self.stored[row / rows], row % rows)
    }

    /// Bytes of some of its rows, about.
    pub(super) fn bytes(&self, rows: Range<usize>) -> usize {
        let stored: usize = self.stored.iter().map(|stored| stored.range.len()).sum();
        stored / (self.stored_rows() * self.stored.len()) * rows.len()
    }

    /// Has the pages of these rows leave memory; those of fused and of turned matrices are still to
    /// be read.
    pub(super) fn discard(&self, rows: Range<usize>) {
        let is_apart = |stored: &Stored<'_>| matches!(stored.encoding, Encoding::Strided(..));
        if matches!(self.rows, Rows::Groups(_)) || self.stored.iter().any(is_apart) {
            return;
        }
        let each = self.stored_rows();
        for (i, stored) in self.stored.iter().enumerate() {
            let first = i * each;
            let part = rows.start.clamp(first, first + each)..rows.end.clamp(first, first + each);
            if !part.is_empty() {
                let (first, last) = (stored.row(part.start - first, each), stored.row(part.end - 1 - first, each));
                stored.file.discard(first.start..last.end);
            }
        }
    }
}

/// Blocks of `MXFP4` as GGUF has them: the exponent, then bytes of the elements j and j + 16, where
/// `bytes` have 2j and 2j + 1.
fn mxfp4_blocks(bytes: &[u8], exponents: &[u8]) -> Vec<u8> {
    let blocks = bytes.as_chunks::<{ mxfp4::LEN / 2 }>().0.iter().zip(exponents);
    let block = |(pairs, &exponent): (&[u8; mxfp4::LEN / 2], &u8)| {
        mxfp4::pack(exponent, &std::array::from_fn(|i| pairs[i / 2] >> (i % 2 * 4) & 0xF))
    };
    blocks.flat_map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::{RowGroups, Rows};

    #[test]
    fn rows_of_a_fused_matrix_are_in_groups() {
        // Of each 5 rows, the third and the fourth.
        let groups = RowGroups { first: 2, count: 2, stride: 5 };
        assert_eq!((0..4).map(|row| groups.row(row)).collect::<Vec<_>>(), [2, 3, 7, 8]);
        assert_eq!(groups.stored(4), 10);
    }

    #[test]
    fn rows_that_are_missing_are_the_first() {
        let rows = Rows::Padded(2);
        assert_eq!((0..4).map(|row| rows.row(row)).collect::<Vec<_>>(), [0, 1, 0, 0]);
        assert_eq!(rows.stored(4), 2);
    }
}
