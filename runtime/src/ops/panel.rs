//! Packed weights, the layout that the kernels read: *panels* of [`PANEL_ROWS`] interleaved rows
//! (as ggml's repacked `q4_0x8`).
//!
//! A panel has the blocks of its rows, one after the other along the rows; in each, every field
//! of the block format stands [`PANEL_ROWS`] times side by side, once for each row: first the
//! 16-bit fields (scales, minimums), then the 32-bit ones (four bytes of a row's weights, as byte
//! dot product instructions need). So a vector of one field is one load, a panel is one stream of
//! memory, and it has as many bytes as the rows had. The last panel is filled up with rows of
//! zeros. A packed file holds the very same bytes: `convert/FORMAT.md` describes them.
//!
//! One field is not copied as it is: the fifth bits of `Q5_0` and `Q5_1` are reordered, see
//! [`BlockFormat::FIFTH_BITS`].

use crate::gguf::TensorType;
use crate::quant::BlockFormat;
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
    let halves = F::HALVES.iter().enumerate().map(|(i, &at)| (at, i * 2 * PANEL_ROWS, 2));
    let first = F::HALVES.len() * 2 * PANEL_ROWS;
    let count = (F::BYTES - 2 * F::HALVES.len()) / 4;
    halves.chain((0..count).map(move |i| (F::WORDS + 4 * i, first + i * 4 * PANEL_ROWS, 4)))
}

fn pack_rows<F: BlockFormat>(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
        for (block, packed) in row.chunks_exact(F::BYTES).zip(panel.chunks_exact_mut(F::BYTES * PANEL_ROWS)) {
            for (from, to, size) in fields::<F>() {
                packed[to + r * size..][..size].copy_from_slice(&block[from..from + size]);
            }
            if F::FIFTH_BITS {
                let at = F::HALVES.len() * 2 * PANEL_ROWS + 4 * r;
                edit(&mut packed[at..at + 4], spread);
            }
        }
    }
}

fn unpack_row<F: BlockFormat>(panel: &[u8], row: usize, out: &mut [u8]) {
    for (block, packed) in out.chunks_exact_mut(F::BYTES).zip(panel.chunks_exact(F::BYTES * PANEL_ROWS)) {
        for (to, from, size) in fields::<F>() {
            block[to..to + size].copy_from_slice(&packed[from + row * size..][..size]);
        }
        if F::FIFTH_BITS {
            edit(&mut block[F::WORDS..F::WORDS + 4], gather);
        }
    }
}

fn edit(bytes: &mut [u8], change: fn(u32) -> u32) {
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    bytes.copy_from_slice(&change(word).to_le_bytes());
}

/// Bit `4 i + b` to bit `8 b + i`.
fn spread(bits: u32) -> u32 {
    (0..32).map(|e| (bits >> e & 1) << (8 * (e % 4) + e / 4)).sum()
}

/// Bit `8 b + i` back to bit `4 i + b`.
fn gather(bits: u32) -> u32 {
    (0..32).map(|e| (bits >> (8 * (e % 4) + e / 4) & 1) << e).sum()
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
