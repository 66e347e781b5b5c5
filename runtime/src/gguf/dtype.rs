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
    0  F32  "F32"  1   4   "32-bit floats.";
    1  F16  "F16"  1   2   "16-bit floats.";
    2  Q4_0 "Q4_0" 32  18  "4 bits, a scale for each 32.";
    3  Q4_1 "Q4_1" 32  20  "4 bits, a scale and a minimum for each 32.";
    6  Q5_0 "Q5_0" 32  22  "5 bits, a scale for each 32.";
    7  Q5_1 "Q5_1" 32  24  "5 bits, a scale and a minimum for each 32.";
    8  Q8_0 "Q8_0" 32  34  "8 bits, a scale for each 32.";
    12 Q4K  "Q4_K" 256 144 "4 bits, 6-bit scales and minima for each 32 in blocks of 256.";
    13 Q5K  "Q5_K" 256 176 "5 bits, 6-bit scales and minima for each 32 in blocks of 256.";
    14 Q6K  "Q6_K" 256 210 "6 bits, 8-bit scales for each 16 in blocks of 256.";
    30 Bf16 "BF16" 1   2   "The upper half of 32-bit floats.";
}

impl TensorType {
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
        // 4 and 5 were removed from ggml; 9 to 11 and 15 up exist there but not here.
        for id in [4, 5, 9, 10, 11, 15, 29, 31, u32::MAX] {
            assert_eq!(TensorType::from_id(id), None);
        }
    }

    #[test]
    fn row_bytes_counts_whole_blocks_only() {
        assert_eq!(TensorType::Q4K.row_bytes(512), Some(288));
        assert_eq!(TensorType::Q4K.row_bytes(500), None);
        assert_eq!(TensorType::Q8_0.row_bytes(0), Some(0));
        assert_eq!(TensorType::F32.row_bytes(usize::MAX), None);
    }
}
