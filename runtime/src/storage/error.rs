//! Why bytes cannot be had.

use std::path::PathBuf;
use std::{fmt, io};

use ollm_kernels::memory::OutOfMemory;

/// Why bytes cannot be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum StorageError {
    /// The file at this path cannot be opened or mapped.
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An open file cannot be mapped into memory or read, or is none.
    File(io::Error),
    /// A part of a file that does not lie inside it.
    Range {
        /// The first byte of the part.
        offset: u64,
        /// Its length.
        length: u64,
        /// The size of the file.
        size: u64,
    },
    /// There is no memory for a copy of the bytes.
    OutOfMemory(OutOfMemory),
    /// A copy of the bytes takes more than
    /// [`StorageOptions::memory_limit`](super::StorageOptions::memory_limit).
    MemoryLimit {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that it may take.
        limit: u64,
    },
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, source } => write!(f, "{}: {source}", path.display()),
            Self::OutOfMemory(error) => error.fmt(f),
            Self::File(source) => write!(f, "the open file cannot be read: {source}"),
            Self::MemoryLimit { needed, limit } => {
                write!(f, "a copy of the file needs {needed} bytes of memory, but the limit is {limit}")
            }
            Self::Range { offset, length, size } => {
                write!(f, "{length} bytes from byte {offset} are not in the file, which has {size}")
            }
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(source) | Self::Open { source, .. } => Some(source),
            Self::Range { .. } | Self::OutOfMemory(_) | Self::MemoryLimit { .. } => None,
        }
    }
}

impl From<OutOfMemory> for StorageError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}
