//! The block formats of ggml: scalar encode and decode, one file per family.
//!
//! A quantized type is one row: a [`BlockFormat`] in its file, which [`with_format!`] makes of a
//! [`TensorType`]. Kernels (`ops/format.rs`), packing and the converter's search read it.
//!
//! A format stores the elements of a row in blocks of fixed length; [`TensorType`] has their sizes.
//! Decoding is exact: the same operations in the same order as `dequantize_row_*` in ggml-quants.c,
//! bit-identical to it. Encoding is a plain reference: round to nearest for the formats with one
//! scale, a short search of the scales for the K formats, not bit-identical to llama.cpp's. A
//! caller that searches better scales and levels packs them with the `pack` functions.
//!
//! Sources: the block structs in ggml-common.h and the reference functions in ggml-quants.c.

#![forbid(unsafe_code)]

use std::fmt;

use half::f16;

use crate::with_format;

mod block_format;
mod dtype;
pub mod f;
pub mod grid;
pub mod iq1;
pub mod iq2;
pub mod iq3;
pub mod iq4;
pub mod k;
mod layout;
pub mod mxfp4;
pub mod q1_0;
pub mod q2_0;
pub mod q2_k;
pub mod q3_k;
pub mod q4;
pub mod q4_k;
pub mod q5;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
mod signed;
pub mod tq;

pub use block_format::{BlockFormat, Spread};
use block_format::{decode_blocks, encode_blocks};
pub use dtype::TensorType;
pub use iq1::{Iq1M, Iq1S};
pub use iq2::{Iq2S, Iq2Xs, Iq2Xxs};
pub use iq3::{Iq3S, Iq3Xxs};
pub use iq4::{Iq4Nl, Iq4Xs};
pub use layout::{Layout, PANEL_ROWS};
pub use mxfp4::Mxfp4;
pub use q1_0::Q1_0;
pub use q2_0::Q2_0;
pub use q2_k::Q2K;
pub use q3_k::Q3K;
pub use q4::{Q4_0, Q4_1};
pub use q4_k::Q4K;
pub use q5::{Q5_0, Q5_1};
pub use q5_k::Q5K;
pub use q6_k::Q6K;
pub use q8_0::Q8_0;
pub use tq::{Tq1_0, Tq2_0};

/// Why values could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the line on each variant explains its fields")]
pub enum QuantError {
    /// The number of values is not a whole number of blocks.
    Ragged { dtype: TensorType, values: usize },
    /// So many bytes are not the encoding of so many values.
    WrongLength { dtype: TensorType, bytes: usize, values: usize },
    /// The value at this index is infinite or not a number.
    NotFinite { index: usize, value: f32 },
    /// Values of this type are read and not written.
    ReadOnly { dtype: TensorType },
    /// The values of the block from this index on are too large for the 16-bit floats of the
    /// format.
    OutOfRange { dtype: TensorType, index: usize },
}

impl fmt::Display for QuantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ragged { dtype, values } => {
                write!(f, "{values} values are not whole blocks of {}, as {dtype} needs", dtype.block_len())
            }
            Self::WrongLength { dtype, bytes, values } => {
                write!(f, "{bytes} bytes are not the {dtype} encoding of {values} values")
            }
            Self::NotFinite { index, value } => write!(f, "value {index} is {value}: only finite values can be stored"),
            Self::ReadOnly { dtype } => write!(f, "{dtype} is read, not written: use another type"),
            Self::OutOfRange { dtype, index } => {
                write!(f, "the values from index {index} on are too large for {dtype}: store them as F32 or BF16")
            }
        }
    }
}

impl std::error::Error for QuantError {}

/// Decodes `bytes` into exactly as many values as `out` holds.
///
/// # Errors
/// [`QuantError::WrongLength`] if the lengths do not belong together.
pub fn decode(dtype: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    if dtype.row_bytes(out.len()) != Some(bytes.len()) {
        return Err(QuantError::WrongLength { dtype, bytes: bytes.len(), values: out.len() });
    }
    with_format!(dtype, F => F::decode(bytes, out), float => match dtype {
        TensorType::F16 => decode_blocks(bytes, out, f::decode_f16),
        TensorType::Bf16 => decode_blocks(bytes, out, f::decode_bf16),
        _ => decode_blocks(bytes, out, f::decode_f32),
    });
    Ok(())
}

/// Whether values of the type can be written: [`encode`] encodes them.
pub fn is_writable(dtype: TensorType) -> bool {
    with_format!(dtype, F => F::ENCODE.is_some(), float => true)
}

/// Encodes `values`, a whole number of blocks.
///
/// # Errors
/// If the type is only read, a value is not finite or does not fit the format, or the last block is
/// not full.
pub fn encode(dtype: TensorType, values: &[f32]) -> Result<Vec<u8>, QuantError> {
    if !is_writable(dtype) {
        return Err(QuantError::ReadOnly { dtype });
    }
    if dtype.row_bytes(values.len()).is_none() {
        return Err(QuantError::Ragged { dtype, values: values.len() });
    }
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(QuantError::NotFinite { index, value: values[index] });
    }
    let bytes = with_format!(dtype, F => F::ENCODE.map_or(Ok(Vec::new()), |encode| encode(values)), float => match dtype {
        TensorType::F16 => encode_blocks(values, f::encode_f16),
        TensorType::Bf16 => encode_blocks(values, f::encode_bf16),
        _ => encode_blocks(values, f::encode_f32),
    });
    bytes.map_err(|index| QuantError::OutOfRange { dtype, index })
}

/// The 16-bit float at `at`.
fn get_f16(block: &[u8], at: usize) -> f32 {
    f16::from_bits(get_u16(block, at)).to_f32()
}

/// The 16-bit integer at `at`.
fn get_u16(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// The 32-bit integer at `at`.
fn get_u32(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// The 16-bit float nearest to `value`; `None` if the value is too large to be one.
#[inline]
pub fn as_f16(value: f32) -> Option<f32> {
    let rounded = f16::from_f32(value);
    rounded.is_finite().then(|| rounded.to_f32())
}

/// Stores a 16-bit float; `None` if the value is too large to be one.
fn put_f16(block: &mut [u8], at: usize, value: f32) -> Option<()> {
    let rounded = f16::from_f32(value);
    block[at..at + 2].copy_from_slice(&rounded.to_le_bytes());
    rounded.is_finite().then_some(())
}

/// `1 / x`, and 0 for 0: blocks of zeros have the scale 0.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// The value with the largest magnitude, with its sign; the first of them.
fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, &x| if x.abs() > most.abs() { x } else { most })
}

/// The smallest and the largest value.
fn range(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
}

#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;
