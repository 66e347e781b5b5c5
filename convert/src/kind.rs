//! What a GGUF file holds.

use std::fmt;

use ollm_runtime::gguf::{Metadata, Value};
use ollm_runtime::plugin::schema::{FILE_TYPE, keys};

/// What marks an importance matrix, as llama.cpp's `imatrix` does.
pub(crate) const IMATRIX_TYPE: (&str, &str) = ("general.type", "imatrix");

/// What marks low-rank adapters, as llama.cpp's `convert_lora_to_gguf` does.
pub(crate) const ADAPTER_TYPE: (&str, &str) = ("general.type", "adapter");

/// What a GGUF file holds, by its `general.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A model without a plugin.
    Backbone,
    /// A backbone and its plugin.
    Merged,
    /// A plugin alone.
    Plugin,
    /// An importance matrix.
    Imatrix,
    /// Low-rank adapters of a backbone.
    Adapter,
    /// Something else: a projector.
    Other,
}

impl FileKind {
    /// What the file with this metadata holds.
    pub fn of(metadata: &Metadata) -> Self {
        let is = |(key, value): &(&str, &str)| metadata.get(key).and_then(Value::as_str) == Some(*value);
        let kind = metadata.get("general.type").and_then(Value::as_str);
        match kind {
            None | Some("model") if metadata.get(keys::VERSION.name).is_some() => Self::Merged,
            None | Some("model") => Self::Backbone,
            _ if FILE_TYPE.iter().all(is) => Self::Plugin,
            _ if is(&IMATRIX_TYPE) => Self::Imatrix,
            _ if is(&ADAPTER_TYPE) => Self::Adapter,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backbone => "a backbone",
            Self::Merged => "a backbone merged with a plugin",
            Self::Plugin => "an OLLM plugin",
            Self::Imatrix => "an importance matrix",
            Self::Adapter => "a LoRA adapter",
            Self::Other => "neither a model, nor an OLLM plugin, nor an importance matrix, nor a LoRA adapter",
        })
    }
}

/// Files that can run as a model.
pub(crate) const MODELS: &[FileKind] = &[FileKind::Backbone, FileKind::Merged];
