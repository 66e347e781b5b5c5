//! A file that is read.

use std::path::Path;

use ollm_runtime::gguf::{Gguf, LAYOUT_KEY, TensorInfo, Value};
use ollm_runtime::plugin::schema::FILE_TYPE;
use ollm_runtime::storage::Storage;

use crate::error::ConvertError;

/// A GGUF file: its bytes, and what they say.
pub(crate) struct Opened {
    pub(crate) bytes: Storage,
    pub(crate) gguf: Gguf,
}

impl Opened {
    pub(crate) fn open(path: &Path) -> Result<Self, ConvertError> {
        let bytes = Storage::open(path)?;
        let gguf = Gguf::parse(&bytes).map_err(|source| ConvertError::Gguf { path: path.to_owned(), source })?;
        Ok(Self { bytes, gguf })
    }

    /// Opens a file that must not be a packed one.
    pub(crate) fn open_plain(path: &Path) -> Result<Self, ConvertError> {
        let file = Self::open(path)?;
        if file.is_packed() { Err(ConvertError::Packed { path: path.to_owned() }) } else { Ok(file) }
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

    /// Whether it is a plugin alone.
    pub(crate) fn is_plugin(&self) -> bool {
        let (key, value) = FILE_TYPE[0];
        self.gguf.metadata().get(key).and_then(Value::as_str) == Some(value)
    }
}
