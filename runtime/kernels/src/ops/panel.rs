//! Packed weights, the layout that the kernels read: *panels* of [`PANEL_ROWS`] interleaved rows
//! (as ggml's repacked `q4_0x8`).
//!
//! A panel has the blocks of its rows, one after the other along the rows; in each, every field
//! of the block format stands [`PANEL_ROWS`] times side by side, once for each row: first the
//! narrow fields (scales, minimums), then the 32-bit ones (four bytes of a row's weights, as byte
//! dot product instructions need). So a vector of one field is one load, a panel is one stream of
//! memory, and it has as many bytes as the rows had. The last panel is filled up with rows of
//! zeros. A packed file holds the very same bytes: `convert/FORMAT.md` describes them.
//!
//! Fields of single bits, or pairs of them, are not copied as they are but reordered (the fifth
//! bits of `Q5_0` and `Q5_1`, all of `Q1_0` and `Q2_0`): see [`Spread`].

use crate::quant::TensorType;
use crate::quant::{BlockFormat, Spread};
use crate::with_format;

use super::format::PANEL_ROWS;

/// Packs up to [`PANEL_ROWS`] whole rows, `row_bytes` each, into one panel of `PANEL_ROWS *
/// row_bytes` zeroed bytes.
pub(super) fn pack(dtype: TensorType, rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    with_format!(dtype, F => pack_rows::<F>(rows, row_bytes, panel), float => unreachable!("float weights have no panels"));
}

/// Copies row `row` of some blocks of a panel to `out`, as many blocks, in the format's own layout.
pub(super) fn unpack(dtype: TensorType, panel: &[u8], row: usize, out: &mut [u8]) {
    with_format!(dtype, F => unpack_row::<F>(panel, row, out), float => unreachable!("float weights have no panels"));
}

/// For each field of a block of format `F`: its place in the block and its place in a panel's
/// block, by row; its size.
fn fields<F: BlockFormat>() -> impl Iterator<Item = (usize, usize, usize)> {
    let (size, first) = (F::NARROW_BYTES, F::NARROW.len() * F::NARROW_BYTES);
    let narrow = F::NARROW.iter().enumerate().map(move |(i, &at)| (at, i * size * PANEL_ROWS, size));
    let words = (0..(F::BYTES - first) / 4).map(move |i| (F::WORDS + 4 * i, (first + 4 * i) * PANEL_ROWS, 4));
    narrow.chain(words)
}

fn pack_rows<F: BlockFormat>(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
        for (block, packed) in row.chunks_exact(F::BYTES).zip(panel.chunks_exact_mut(F::BYTES * PANEL_ROWS)) {
            for (from, to, size) in fields::<F>() {
                packed[to + r * size..][..size].copy_from_slice(&block[from..from + size]);
            }
            let first = F::NARROW.len() * F::NARROW_BYTES;
            for field in 0..F::SPREAD.fields {
                edit(&mut packed[(first + 4 * field) * PANEL_ROWS + 4 * r..][..4], |bits| F::SPREAD.spread(bits));
            }
        }
    }
}

fn unpack_row<F: BlockFormat>(panel: &[u8], row: usize, out: &mut [u8]) {
    for (block, packed) in out.chunks_exact_mut(F::BYTES).zip(panel.chunks_exact(F::BYTES * PANEL_ROWS)) {
        for (to, from, size) in fields::<F>() {
            block[to..to + size].copy_from_slice(&packed[from + row * size..][..size]);
        }
        for field in 0..F::SPREAD.fields {
            edit(&mut block[F::WORDS + 4 * field..][..4], |bits| F::SPREAD.gather(bits));
        }
    }
}

fn edit(bytes: &mut [u8], change: impl Fn(u32) -> u32) {
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    bytes.copy_from_slice(&change(word).to_le_bytes());
}

impl Spread {
    /// Item `4 i + b` to item `i` of byte `b`.
    fn spread(self, field: u32) -> u32 {
        self.moves().map(|(from, to)| (field >> from & self.mask()) << to).sum()
    }

    /// Item `i` of byte `b` back to item `4 i + b`.
    fn gather(self, field: u32) -> u32 {
        self.moves().map(|(from, to)| (field >> to & self.mask()) << from).sum()
    }

    /// Where the items are in a field, and where they go, in bits.
    fn moves(self) -> impl Iterator<Item = (usize, usize)> {
        (0..32 / self.bits).map(move |item| (item * self.bits, 8 * (item % 4) + item / 4 * self.bits))
    }

    fn mask(self) -> u32 {
        (1 << self.bits) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was() {
        for &dtype in TensorType::ALL {
            if dtype.block_len() == 1 {
                continue;
            }
            let row_bytes = dtype.row_bytes(2 * dtype.block_len()).unwrap();
            for rows in [1, 7, PANEL_ROWS] {
                let bytes: Vec<u8> = (0..rows * row_bytes).map(|i| (i * 37 % 251) as u8).collect();
                let mut panel = vec![0; PANEL_ROWS * row_bytes];
                pack(dtype, &bytes, row_bytes, &mut panel);
                for (row, want) in bytes.chunks_exact(row_bytes).enumerate() {
                    let mut got = vec![0; row_bytes];
                    unpack(dtype, &panel, row, &mut got);
                    assert_eq!(got, want, "{dtype:?} row {row} of {rows}");
                }
            }
        }
    }
}
