//! A file that is read.

use std::path::Path;

use ollm_runtime::gguf::{Gguf, LAYOUT_KEY, Metadata, TensorInfo};
use ollm_runtime::model::Model;
use ollm_runtime::storage::{Storage, StorageOptions};

use crate::error::ConvertError;
use crate::kind::{FileKind, MODELS};

/// How files are read: what cannot be mapped is a stream.
pub(crate) const FILES: StorageOptions = StorageOptions { copy: false, memory_limit: None, streams: true };

/// A GGUF file: its bytes, and what they say.
pub(crate) struct Opened {
    pub(crate) bytes: Storage,
    pub(crate) gguf: Gguf,
}

impl Opened {
    pub(crate) fn open(path: &Path) -> Result<Self, ConvertError> {
        Self::of(path, FILES.open(path)?)
    }

    /// What these bytes of the file at `path` are.
    pub(crate) fn of(path: &Path, bytes: Storage) -> Result<Self, ConvertError> {
        let gguf = Gguf::of(&bytes).map_err(|source| ConvertError::Gguf { path: path.to_owned(), source })?;
        Ok(Self { bytes, gguf })
    }

    /// Opens a file of one of these kinds, which must not be a packed one.
    pub(crate) fn open_plain(path: &Path, kinds: &'static [FileKind]) -> Result<Self, ConvertError> {
        let file = Self::open(path)?;
        if file.is_packed() {
            return Err(ConvertError::Packed { path: path.to_owned() });
        }
        expect_kind(path, file.gguf.metadata(), kinds)?;
        Ok(file)
    }

    pub(crate) fn is_packed(&self) -> bool {
        self.gguf.metadata().get(LAYOUT_KEY).is_some()
    }

    /// Has `write` take the bytes of a tensor; then they leave memory.
    pub(crate) fn release<T>(&self, tensor: &TensorInfo, write: impl FnOnce(&[u8]) -> T) -> T {
        let bytes = tensor.bytes(&self.bytes);
        let written = write(bytes);
        let start = bytes.as_ptr().addr() - self.bytes.as_ptr().addr();
        self.bytes.discard(start..start + bytes.len());
        written
    }
}

/// Refuses the file at `path`, with this metadata, unless it is of one of these kinds.
///
/// # Errors
/// [`ConvertError::OtherKind`].
pub fn expect_kind(path: &Path, metadata: &Metadata, expected: &'static [FileKind]) -> Result<(), ConvertError> {
    let found = FileKind::of(metadata);
    if expected.contains(&found) {
        return Ok(());
    }
    Err(ConvertError::OtherKind { path: path.to_owned(), found, expected })
}

/// Opens a model; every error names the file.
///
/// # Errors
/// [`ConvertError`] if the file is no model, or one that cannot be run.
pub fn open_model(path: &Path) -> Result<Model, ConvertError> {
    let file = Opened::open(path)?;
    expect_kind(path, file.gguf.metadata(), MODELS)?;
    Model::from_storage(file.bytes).map_err(|error| ConvertError::model(path, error))
}
