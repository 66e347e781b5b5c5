//! Bytes of a model file: a memory map or an owned buffer.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// The bytes of one file, immutable and shared.
#[derive(Debug)]
pub struct Storage(Source);

#[derive(Debug)]
enum Source {
    Map(Mmap),
    Owned(Aligned),
}

/// Bytes that start at a multiple of [`ALIGNMENT`], as those of a map do.
#[derive(Debug)]
struct Aligned {
    buffer: Vec<u8>,
    start: usize,
}

/// Enough for every type that is read in place.
const ALIGNMENT: usize = 64;

impl Storage {
    /// Maps the file at `path` into memory, read-only.
    ///
    /// The file must not be truncated or rewritten by anyone while it is mapped: replace model files by renaming a new
    /// one over them, as every tool of this project does.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        // SAFETY: the contract of mmap is that nobody shrinks or changes the file while it is mapped. It is the
        // documented contract of this function; the bytes are only ever read, as plain integers and floats.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self(Source::Map(map)))
    }
}

impl From<Vec<u8>> for Storage {
    /// Takes over `bytes`, moved in place to an aligned start.
    fn from(mut bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        bytes.resize(length + ALIGNMENT, 0);
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        bytes.copy_within(..length, start);
        bytes.truncate(start + length);
        Self(Source::Owned(Aligned { buffer: bytes, start }))
    }
}

impl Deref for Storage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Map(map) => map,
            Source::Owned(Aligned { buffer, start }) => &buffer[*start..],
        }
    }
}
