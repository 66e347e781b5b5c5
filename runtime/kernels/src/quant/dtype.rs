//! The element types of tensors: their numbers, names and block sizes, in one table.

use std::fmt;

macro_rules! tensor_types {
    ($($id:literal $variant:ident $name:literal $len:literal $bytes:literal $doc:literal;)*) => {
        /// How the elements of a tensor are stored: `block_len` elements in `block_bytes` bytes,
        /// along a row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum TensorType {
            $(#[doc = $doc] $variant = $id,)*
        }

        impl TensorType {
            /// Every type there is, by rising number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The type with this number, if it is one that the runtime reads.
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name that ggml prints.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Elements in a block.
            pub const fn block_len(self) -> usize {
                match self {
                    $(Self::$variant => $len,)*
                }
            }

            /// Bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self {
                    $(Self::$variant => $bytes,)*
                }
            }
        }
    };
}

// Numbers and sizes: `enum ggml_type` in ggml.h and the block structs in ggml-common.h.
tensor_types! {
    0  F32    "F32"     1   4   "32-bit floats.";
    1  F16    "F16"     1   2   "16-bit floats.";
    2  Q4_0   "Q4_0"    32  18  "4 bits, a scale for each 32.";
    3  Q4_1   "Q4_1"    32  20  "4 bits, a scale and a minimum for each 32.";
    6  Q5_0   "Q5_0"    32  22  "5 bits, a scale for each 32.";
    7  Q5_1   "Q5_1"    32  24  "5 bits, a scale and a minimum for each 32.";
    8  Q8_0   "Q8_0"    32  34  "8 bits, a scale for each 32.";
    10 Q2K    "Q2_K"    256 84  "2 bits, 4-bit scales and minima for each 16 in blocks of 256.";
    11 Q3K    "Q3_K"    256 110 "3 bits, 6-bit scales for each 16 in blocks of 256.";
    12 Q4K    "Q4_K"    256 144 "4 bits, 6-bit scales and minima for each 32 in blocks of 256.";
    13 Q5K    "Q5_K"    256 176 "5 bits, 6-bit scales and minima for each 32 in blocks of 256.";
    14 Q6K    "Q6_K"    256 210 "6 bits, 8-bit scales for each 16 in blocks of 256.";
    16 Iq2Xxs "IQ2_XXS" 256 66  "2.06 bits: a grid of 256 points, 4-bit scales for each 32.";
    17 Iq2Xs  "IQ2_XS"  256 74  "2.31 bits: a grid of 512 points, 4-bit scales for each 16.";
    18 Iq3Xxs "IQ3_XXS" 256 98  "3.06 bits: a grid of 256 points, 4-bit scales for each 32.";
    19 Iq1S   "IQ1_S"   256 50  "1.56 bits: a grid of 2048 points, 3-bit scales for each 32.";
    20 Iq4Nl  "IQ4_NL"  32  18  "4 bits, a codebook of 16 values, a scale for each 32.";
    21 Iq3S   "IQ3_S"   256 110 "3.44 bits: a grid of 512 points, 4-bit scales for each 32.";
    22 Iq2S   "IQ2_S"   256 82  "2.56 bits: a grid of 1024 points, 4-bit scales for each 16.";
    23 Iq4Xs  "IQ4_XS"  256 136 "4 bits, a codebook of 16 values, 6-bit scales for each 32.";
    29 Iq1M   "IQ1_M"   256 56  "1.75 bits: a grid of 2048 points, 3-bit scales for each 16.";
    30 Bf16   "BF16"    1   2   "The upper half of 32-bit floats.";
    34 Tq1_0  "TQ1_0"   256 54  "-1, 0 or 1: five in a byte, a scale for each 256.";
    35 Tq2_0  "TQ2_0"   256 66  "-1, 0 or 1: 2 bits, a scale for each 256.";
    39 Mxfp4  "MXFP4"   32  17  "4-bit floats (E2M1), a power of two for each 32.";
    41 Q1_0   "Q1_0"    128 18  "-1 or 1: a bit, a scale for each 128.";
    42 Q2_0   "Q2_0"    64  18  "-1 to 2: 2 bits, a scale for each 64.";
}

/// Types of ggml that are no weights which the runtime multiplies, and those that ggml has removed.
const OTHERS: &[(u32, &str)] = &[
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (40, "NVFP4"),
];

impl TensorType {
    /// The name of a number that ggml has or had a type for, whether the runtime reads it or not.
    pub fn name_of(id: u32) -> Option<&'static str> {
        let other = || OTHERS.iter().find(|(other, _)| *other == id).map(|&(_, name)| name);
        Self::from_id(id).map(Self::name).or_else(other)
    }

    /// The number that stands for the type in a file.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// Whether elements share a block, and not floats of their own.
    pub const fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    /// Bytes of a row of `cols` elements; `None` if that is not a whole number of blocks, or too
    /// many.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_unknown_ones_are_none() {
        for &dtype in TensorType::ALL {
            assert_eq!(TensorType::from_id(dtype.id()), Some(dtype));
        }
        for (id, name) in OTHERS {
            assert_eq!((TensorType::from_id(*id), TensorType::name_of(*id)), (None, Some(*name)));
        }
        for id in [43, u32::MAX] {
            assert_eq!((TensorType::from_id(id), TensorType::name_of(id)), (None, None));
        }
        assert_eq!(TensorType::name_of(23), Some("IQ4_XS"));
    }

    #[test]
    fn row_bytes_counts_whole_blocks_only() {
        assert_eq!(TensorType::Q4K.row_bytes(512), Some(288));
        assert_eq!(TensorType::Q4K.row_bytes(500), None);
        assert_eq!(TensorType::Q8_0.row_bytes(0), Some(0));
        assert_eq!(TensorType::F32.row_bytes(usize::MAX), None);
    }
}
