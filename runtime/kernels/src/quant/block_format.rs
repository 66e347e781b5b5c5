//! The description of a quantized type: the one row that kernels, packing and the converter read.

use super::TensorType;

/// Encodes whole blocks; the error is the index of a value.
pub(crate) type Encode = fn(&[f32]) -> Result<Vec<u8>, usize>;

/// A block format: the layout of its blocks, what their integers mean, and its reference codec.
///
/// Weights are unsigned or signed integers in groups, each group with a scale and, for some
/// formats, a minimum: `w = scale * (q - ZERO)` or `w = scale * q + minimum`. A format that looks
/// its weights up in a codebook says what the looked-up integers are.
pub trait BlockFormat: 'static {
    /// The type.
    const TYPE: TensorType;
    /// Elements of a block.
    const ELEMENTS: usize = Self::TYPE.block_len();
    /// Bytes of a block.
    const BYTES: usize = Self::TYPE.block_bytes();
    /// Elements that share a scale (and a minimum): 16, 32, or a multiple of 32.
    const GROUP: usize = 32;
    /// What is subtracted from the integers.
    const ZERO: i32 = 0;
    /// The greatest integer; of signed ones, the greatest magnitude.
    const MOST: i32;
    /// Whether a minimum is added.
    const AFFINE: bool = false;
    /// Whether the integers are signed bytes; otherwise they are 0 to 127.
    const SIGNED: bool = false;
    /// Offsets of the narrow fields in a block: scales and minimums for the most part.
    const NARROW: &'static [usize];
    /// Bytes of a narrow field: 2 (floats, or integers), or 1.
    const NARROW_BYTES: usize = 2;
    /// Offset of the 32-bit fields in a block; their number is what is left of the block.
    const WORDS: usize;
    /// The 32-bit fields, from the first on, that hold an item of a few bits of each of the next
    /// elements.
    const SPREAD: Spread = Spread { fields: 0, bits: 1 };
    /// Encodes whole blocks of finite values; `None` for a format that is only read. The error is
    /// the index of the first value of a block whose scale does not fit the format.
    const ENCODE: Option<Encode>;

    /// Decodes whole blocks: the reference. Both have as many blocks.
    fn decode(bytes: &[u8], out: &mut [f32]);
}

/// 32-bit fields whose items are in the order of their elements. Packed weights have them in
/// another one, so that item `i` of byte `b` belongs to element `4 i + b` of the field.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// How many fields, from the first on.
    pub fields: usize,
    /// Bits of an item: 1 or 2.
    pub bits: usize,
}

/// The row of a quantized type: its name here and in [`TensorType`], its codec for one block (`_`
/// where it is not encoded), and the constants that differ from the defaults of [`BlockFormat`].
macro_rules! block_format {
    (@encode _) => { None };
    (@encode $encode:path) => { Some(|values| $crate::quant::block_format::encode_blocks(values, $encode)) };
    ($name:ident, $decode:path, $encode:tt, { $($constant:ident: $type:ty = $value:expr),+ $(,)? }) => {
        #[doc = concat!("[`TensorType::", stringify!($name), "`]")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl $crate::quant::BlockFormat for $name {
            const TYPE: TensorType = TensorType::$name;
            const ENCODE: Option<fn(&[f32]) -> Result<Vec<u8>, usize>> = $crate::quant::block_format::block_format!(@encode $encode);
            $(const $constant: $type = $value;)+

            fn decode(bytes: &[u8], out: &mut [f32]) {
                $crate::quant::block_format::decode_blocks(bytes, out, $decode);
            }
        }
    };
}
pub(super) use block_format;

/// Evaluates `$body` with the type `$format`, the [`BlockFormat`] of `$dtype`; `$float` for types
/// that are not quantized. This is the one list of quantized types: the match is exhaustive, so
/// that a new type has to be in it.
#[macro_export]
macro_rules! with_format {
    ($dtype:expr, $format:ident => $body:expr, float => $float:expr) => {
        $crate::with_format!(@ $dtype, $format, $body, $float, Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2K Q3K Q4K Q5K Q6K
            Iq4Nl Iq4Xs Mxfp4 Tq1_0 Tq2_0 Q1_0 Q2_0 Iq3S Iq3Xxs Iq2Xxs Iq2Xs Iq2S Iq1S Iq1M)
    };
    (@ $dtype:expr, $format:ident, $body:expr, $float:expr, $($name:ident)+) => {
        match $dtype {
            $($crate::quant::TensorType::$name => {
                type $format = $crate::quant::$name;
                $body
            })+
            $crate::quant::TensorType::F32 | $crate::quant::TensorType::F16 | $crate::quant::TensorType::Bf16 => $float,
        }
    };
}

/// Decodes block after block.
pub(super) fn decode_blocks<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let (blocks, _) = bytes.as_chunks();
    let (outs, _) = out.as_chunks_mut();
    blocks.iter().zip(outs).for_each(|(block, out)| decode(block, out));
}

/// Encodes block after block; the error is the index of the first value of a block that does not
/// fit the format.
pub(super) fn encode_blocks<const BYTES: usize, const LEN: usize>(
    values: &[f32],
    encode: impl Fn(&[f32; LEN]) -> Option<[u8; BYTES]>,
) -> Result<Vec<u8>, usize> {
    let (blocks, _) = values.as_chunks();
    let mut out = Vec::with_capacity(blocks.len() * BYTES);
    for (i, block) in blocks.iter().enumerate() {
        out.extend(encode(block).ok_or(i * LEN)?);
    }
    Ok(out)
}
