//! What can be wrong with a GGUF file: one variant for each rule.

use std::fmt;
use std::path::PathBuf;

use super::{LAYOUT_VERSION, Layout, PANEL_ALIGNMENT, TensorType, VERSION};

/// Why a file could not be read or written. Offsets count bytes from the start of the file.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the line on each variant explains its fields")]
pub enum GgufError {
    /// The file has no bytes.
    Empty,
    /// The file does not begin with `GGUF`.
    NotGguf { magic: [u8; 4] },
    /// The file is of a kind that is known, but no GGUF.
    Foreign { what: &'static str },
    /// The file is a part of a model that was cut in `count`, and the others are missing; `number`
    /// counts from 1.
    Part { number: u32, count: u32 },
    /// The parts of a model do not belong together.
    OtherPart { number: u32, reason: &'static str },
    /// The file was written for big-endian machines.
    BigEndian,
    /// The version of the container is not the one that is read.
    UnsupportedVersion { version: u32 },
    /// The file ends inside a value at `offset`, `wanted` bytes long, with `left` bytes to go.
    Truncated { offset: usize, wanted: u64, left: usize },
    /// A count is larger than the rest of the file could hold.
    TooMany { what: &'static str, count: u64, limit: u64, offset: usize },
    /// A string is not UTF-8.
    BadUtf8 { offset: usize },
    /// A key or the name of a tensor is empty.
    EmptyName { what: &'static str, offset: usize },
    /// The name of a tensor is too long for other readers (writing only).
    LongName { tensor: String, limit: usize },
    /// A metadata value has a type number that the specification does not know.
    UnknownValueType { id: u32, offset: usize },
    /// A boolean is neither 0 nor 1.
    BadBool { value: u8, offset: usize },
    /// Arrays are nested too deep.
    TooDeep { offset: usize, limit: usize },
    /// A key is there twice.
    DuplicateKey { key: String },
    /// A key that is needed is not there.
    MissingKey { key: String },
    /// The value of a key has another type than the reader needs, or does not fit it.
    WrongType { key: String, expected: &'static str, found: String },
    /// `general.alignment` is not a power of two in a sensible range.
    BadAlignment { alignment: u32 },
    /// Two tensors have the same name.
    DuplicateTensor { tensor: String },
    /// A tensor does not have one to four dimensions.
    BadRank { tensor: String, rank: u64 },
    /// A dimension of a tensor is 0.
    ZeroDimension { tensor: String },
    /// The number of elements of a tensor, or its size in bytes, does not fit an address.
    TooLarge { tensor: String },
    /// The type number of a tensor is not one that is read.
    UnknownTensorType { tensor: String, id: u32 },
    /// A packed file names a layout that is not known.
    UnknownLayout { layout: String },
    /// A packed file has another version of the layout than the one that is read.
    UnsupportedLayout { version: u32 },
    /// The alignment of a packed file is too small for panels.
    PanelAlignment { alignment: u32 },
    /// The rows of a tensor are not a whole number of blocks.
    RaggedRow { tensor: String, cols: usize, dtype: TensorType },
    /// The offset of a tensor (in the data section) is not aligned.
    Misaligned { tensor: String, offset: u64, alignment: u32 },
    /// A tensor reaches past the end of the file, or its offset (in the data section) does not fit
    /// an address.
    PastEnd { tensor: String, offset: u64, size: usize, file: usize },
    /// Two tensors share bytes.
    Overlap { first: String, second: String },
    /// The data section has a hole, larger than padding, before a tensor.
    Hole { tensor: String, bytes: usize },
    /// The data of a tensor is not as long as its dimensions say (writing only).
    WrongSize { tensor: String, expected: usize, found: usize },
    /// The file could not be written.
    Io { path: PathBuf, source: std::io::Error },
}

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty"),
            Self::NotGguf { magic: [0, 0, 0, 0] } => {
                f.write_str("not a GGUF file: it begins with zero bytes (an unfinished download?)")
            }
            Self::NotGguf { magic } => write!(f, "not a GGUF file: it begins with \"{}\"", magic.escape_ascii()),
            Self::Foreign { what } => write!(f, "not a GGUF file: this is {what}"),
            Self::Part { number, count } => write!(
                f,
                "part {number} of {count} of a model: name the first part, NAME-00001-of-{count:05}.gguf, with the \
                 others beside it, or make them one file with `ollm-convert join`"
            ),
            Self::OtherPart { number, reason } => write!(f, "part {number} of the model {reason}"),
            Self::BigEndian => f.write_str("a big-endian GGUF file: convert it again for little-endian machines"),
            Self::UnsupportedVersion { version } => {
                write!(
                    f,
                    "GGUF version {version} (only 2 and {VERSION} are read): convert it again with a current tool"
                )
            }
            Self::Truncated { offset, wanted, left } => {
                write!(f, "cut off: {wanted} bytes wanted at offset {offset}, {left} left in the file")
            }
            Self::TooMany { what, count, limit, offset } => {
                write!(f, "{count} {what} at offset {offset}, where the file has room for {limit} at most")
            }
            Self::BadUtf8 { offset } => write!(f, "the string at offset {offset} is not UTF-8"),
            Self::EmptyName { what, offset } => write!(f, "the {what} at offset {offset} is empty"),
            Self::LongName { tensor, limit } => {
                write!(f, "tensor {tensor:?}: the name is {} bytes long, {limit} at most are allowed", tensor.len())
            }
            Self::UnknownValueType { id, offset } => {
                write!(f, "unknown metadata value type {id} at offset {offset} (0 to 12 are known)")
            }
            Self::BadBool { value, offset } => write!(f, "the bool at offset {offset} is {value}, not 0 or 1"),
            Self::TooDeep { offset, limit } => {
                write!(f, "arrays nest more than {limit} deep at offset {offset}")
            }
            Self::DuplicateKey { key } => write!(f, "metadata key {key:?} is there twice"),
            Self::MissingKey { key } => write!(f, "metadata key {key:?} is missing"),
            Self::WrongType { key, expected, found } => {
                write!(f, "metadata key {key:?}: expected {expected}, found {found}")
            }
            Self::BadAlignment { alignment } => {
                write!(f, "general.alignment is {alignment}: it must be a power of two from 8 to 65536")
            }
            Self::DuplicateTensor { tensor } => write!(f, "tensor {tensor:?} is there twice"),
            Self::BadRank { tensor, rank } => write!(f, "tensor {tensor:?} has {rank} dimensions, not 1 to 4"),
            Self::ZeroDimension { tensor } => write!(f, "tensor {tensor:?} has a dimension of 0"),
            Self::TooLarge { tensor } => write!(f, "tensor {tensor:?} is larger than the address space"),
            Self::UnknownTensorType { tensor, id } => {
                write!(f, "tensor {tensor:?} has type ")?;
                match TensorType::name_of(*id) {
                    Some(name) => write!(f, "{name} ({id})")?,
                    None => write!(f, "number {id}")?,
                }
                write!(f, ", which is not supported: requantize the model to one of")?;
                TensorType::ALL.iter().try_for_each(|dtype| write!(f, " {dtype}"))
            }
            Self::UnknownLayout { layout } => {
                write!(
                    f,
                    "the weights are packed as {layout:?}, only {:?} is known: pack the plain file again",
                    Layout::Panels.name()
                )
            }
            Self::UnsupportedLayout { version } => write!(
                f,
                "the weights are packed in version {version}, only {LAYOUT_VERSION} is known: pack the plain file again"
            ),
            Self::PanelAlignment { alignment } => write!(
                f,
                "packed weights in a file of alignment {alignment}, {PANEL_ALIGNMENT} is needed: pack the plain file again"
            ),
            Self::RaggedRow { tensor, cols, dtype } => {
                let block = dtype.block_len();
                write!(f, "tensor {tensor:?}: rows of {cols} are not whole blocks of {block}, as {dtype} needs")
            }
            Self::Misaligned { tensor, offset, alignment } => {
                write!(f, "tensor {tensor:?}: data offset {offset} is not a multiple of the alignment {alignment}")
            }
            Self::PastEnd { tensor, offset, size, file } => {
                write!(
                    f,
                    "tensor {tensor:?}: {size} bytes at data offset {offset} reach past the file of {file} bytes"
                )?;
                f.write_str(" (an unfinished download?)")
            }
            Self::Overlap { first, second } => write!(f, "tensors {first:?} and {second:?} overlap"),
            Self::Hole { tensor, bytes } => {
                write!(f, "{bytes} bytes before tensor {tensor:?} belong to no tensor")
            }
            Self::WrongSize { tensor, expected, found } => {
                write!(f, "tensor {tensor:?}: {found} bytes of data where its dimensions need {expected}")
            }
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for GgufError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_not_read_is_named() {
        let error = |id| GgufError::UnknownTensorType { tensor: "t".to_owned(), id }.to_string();
        assert!(error(40).starts_with("tensor \"t\" has type NVFP4 (40), which is not supported: "));
        assert!(error(99).starts_with("tensor \"t\" has type number 99, which is not supported: "));
    }
}
