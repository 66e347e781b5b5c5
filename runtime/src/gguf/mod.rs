//! GGUF v3, the file format of the ggml ecosystem: parse and write.
//!
//! Source: the GGUF specification (`docs/gguf.md` of the ggml project). Everything is little
//! endian.
//!
//! ```text
//! "GGUF" version:u32 tensors:u64 pairs:u64
//! pairs   x { key:string type:u32 value }                      metadata
//! tensors x { name:string rank:u32 dims:[u64] type:u32 offset:u64 }
//! padding up to `general.alignment`, then the data section: each tensor at its offset, padded
//! ```
//!
//! [`Gguf::parse`] works on bytes from anywhere and trusts none of them: whatever the input is, the
//! result is either an error or a list of tensors that lie inside the file and do not overlap, and
//! nothing is allocated that the size of the input does not justify. It holds one rule per variant
//! of [`GgufError`].

#![forbid(unsafe_code)]

mod codec;
mod error;
mod foreign;
mod layout;
mod metadata;
mod packed;
mod parse;
mod parts;
mod value;
mod write;

pub use error::GgufError;
pub use foreign::foreign;
pub use layout::{LAYOUT_KEY, LAYOUT_VERSION, LAYOUT_VERSION_KEY, PANEL_ALIGNMENT, PANEL_ID, PLAIN_ALIGNMENT_KEY};
pub use metadata::Metadata;
pub use ollm_kernels::quant::{Layout, PANEL_ROWS, TensorType};
pub use parse::{Gguf, TensorInfo};
pub use parts::{PART_KEYS, part_name};
pub use value::{Array, Value, ValueType};
pub use write::Writer;

/// The first four bytes of every GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// The version that is written. Version 2, which is read too, differs in nothing but that it has no
/// big-endian files.
pub const VERSION: u32 = 3;

const OLDEST_VERSION: u32 = 2;

/// The alignment of tensor data where the file names none.
pub const DEFAULT_ALIGNMENT: u32 = 32;

/// The key that names another alignment.
pub const ALIGNMENT_KEY: &str = "general.alignment";

type Result<T> = std::result::Result<T, GgufError>;

/// The next multiple of `alignment` (a power of two) at or after `position`; `None` if there is
/// none.
fn align_up(position: u64, alignment: u32) -> Option<u64> {
    position.checked_next_multiple_of(u64::from(alignment))
}
