//! Bytes of a model file: a memory map of a file or of a part of it, memory of the application, or
//! a copy.

mod borrowed;
mod bytes;
mod error;
mod file;
#[cfg(unix)]
mod joined;
mod options;
#[cfg(test)]
mod tests;

pub use borrowed::Release;
pub use bytes::Storage;
pub use error::StorageError;
pub use file::{is_pipe, open_file, parts};
pub use options::StorageOptions;

type Result<T, E = StorageError> = std::result::Result<T, E>;

/// Where parts of a file begin: at whole pages of every system.
const PART_ALIGNMENT: usize = 1 << 16;
