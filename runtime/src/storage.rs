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
    Owned(Vec<u8>),
}

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
    fn from(bytes: Vec<u8>) -> Self {
        Self(Source::Owned(bytes))
    }
}

impl Deref for Storage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Map(map) => map,
            Source::Owned(bytes) => bytes,
        }
    }
}
