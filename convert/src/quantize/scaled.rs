//! Weights of other quantizations than ggml's, decoded row by row: small numbers, each times the
//! scale of its block, as `DeepSeek`'s fp8 (e4m3, blocks of 128 by 128) and the formats of
//! compressed-tensors store them.

use std::borrow::Cow;

use half::{bf16, f16};

/// A matrix of numbers with scales.
pub(crate) struct Scaled<'a> {
    pub(crate) numbers: Numbers,
    /// A scale for each block.
    pub(crate) scales: Grid<'a>,
    /// What is subtracted from the numbers of each block.
    pub(crate) zeros: Option<Zeros<'a>>,
    /// The block of each column, where they are not in order.
    pub(crate) groups: Option<Vec<usize>>,
}

/// How the numbers of a row are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Floats with 4 bits of exponent and 3 of fraction, and no infinity (Micikevicius et al. 2022,
    /// arXiv 2209.05433).
    E4m3,
    /// Floats with 5 bits of exponent and 2 of fraction: the upper half of half precision.
    E5m2,
    I8,
    /// So many bits each, `2^(bits - 1)` too large, one after the other from the lowest bit of
    /// little-endian words of 32 on.
    Packed(usize),
}

/// The type of scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScaleType {
    F32,
    F16,
    Bf16,
}

/// Numbers for blocks of rows and columns, row-major.
pub(crate) struct Grid<'a> {
    pub(crate) kind: ScaleType,
    pub(crate) bytes: Cow<'a, [u8]>,
    pub(crate) cols: usize,
    /// Rows and columns of a block.
    pub(crate) block: [usize; 2],
}

/// What is subtracted, for the blocks of the scales.
pub(crate) struct Zeros<'a> {
    pub(crate) numbers: Numbers,
    pub(crate) bytes: Cow<'a, [u8]>,
    /// The words of a column of packed zeros are those of rows, one below the other.
    pub(crate) cols: usize,
}

impl Numbers {
    /// Number `index` of those in `bytes`, `stride` words apart where they are packed.
    fn read(self, bytes: &[u8], index: usize, stride: usize, first: usize) -> f32 {
        match self {
            Self::E4m3 => e4m3(bytes[index * stride + first]),
            Self::E5m2 => f16::from_bits(u16::from(bytes[index * stride + first]) << 8).to_f32(),
            Self::I8 => f32::from(bytes[index * stride + first].cast_signed()),
            Self::Packed(bits) => {
                let word = |word: usize| {
                    let at = 4 * (word * stride + first);
                    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                };
                let bit = index * bits;
                let pair = u64::from(word(bit / 32)) | u64::from(word(bit / 32 + 1)) << 32;
                let number = (pair >> (bit % 32)) as i64 & ((1 << bits) - 1);
                (number - (1 << (bits - 1))) as f32
            }
        }
    }
}

/// The value of a float of 4 bits of exponent and 3 of fraction; all bits set is NaN.
fn e4m3(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction / 8.0 * 2_f32.powi(-6),
        _ => (1.0 + fraction / 8.0) * 2_f32.powi(exponent - 7),
    };
    if byte & 0x80 == 0 { size } else { -size }
}

impl ScaleType {
    pub(crate) fn size(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    fn read(self, bytes: &[u8], index: usize) -> f32 {
        let b = &bytes[index * self.size()..][..self.size()];
        match self {
            Self::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Self::F16 => f16::from_le_bytes([b[0], b[1]]).to_f32(),
            Self::Bf16 => bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        }
    }

    /// The nearest number of this type: products of the original are such.
    fn round(self, x: f32) -> f32 {
        match self {
            Self::F32 => x,
            Self::F16 => f16::from_f32(x).to_f32(),
            Self::Bf16 => bf16::from_f32(x).to_f32(),
        }
    }
}

impl Scaled<'_> {
    /// Decodes row `row`, whose numbers are `bytes`.
    pub(crate) fn decode(&self, row: usize, bytes: &[u8], values: &mut [f32]) {
        let Grid { kind, bytes: scales, cols, block } = &self.scales;
        for (col, value) in values.iter_mut().enumerate() {
            let group = self.groups.as_ref().map_or(col / block[1], |groups| groups[col]);
            let scale = kind.read(scales, row / block[0] * cols + group);
            let zero = self.zeros.as_ref().map_or(0.0, |zeros| zeros.read(row / block[0], group));
            *value = kind.round((self.numbers.read(bytes, col, 1, 0) - zero) * scale);
        }
    }
}

impl Zeros<'_> {
    fn read(&self, row: usize, col: usize) -> f32 {
        self.numbers.read(&self.bytes, row, self.cols, col)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_are_those_of_the_paper() {
        for (byte, value) in [
            (0, 0.0),
            (1, 2_f32.powi(-9)),
            (7, 0.875 * 2_f32.powi(-6)),
            (8, 2_f32.powi(-6)),
            (0x38, 1.0),
            (0x7e, 448.0),
            (0xfe, -448.0),
        ] {
            assert_eq!(e4m3(byte).to_bits(), value.to_bits(), "{byte:#x}");
        }
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan());
        assert_eq!(Numbers::E5m2.read(&[0x7b], 0, 1, 0).to_bits(), 57_344_f32.to_bits());
    }

    #[test]
    fn packed_numbers_cross_words() {
        // Numbers of 3 bits, -4 to 3, in a row: word 0 ends inside the eleventh.
        let numbers: Vec<i64> = (0..16).map(|i| i * 5 % 8 - 4).collect();
        let bits = numbers.iter().rev().fold(0_u64, |all, n| all << 3 | (n + 4) as u64);
        let read = |i| Numbers::Packed(3).read(&bits.to_le_bytes(), i, 1, 0);
        assert_eq!((0..16).map(read).collect::<Vec<_>>(), numbers.iter().map(|&n| n as f32).collect::<Vec<_>>());
    }
}
