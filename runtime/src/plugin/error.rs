//! What can be wrong with a plugin.

use std::fmt;

use ollm_kernels::memory::OutOfMemory;

use crate::gguf::{GgufError, TensorType};
use crate::model::ModelError;
use crate::storage::StorageError;

/// Why a file's plugin cannot be used.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the line on each variant explains its fields")]
pub enum PluginError {
    /// The bytes of the file cannot be had.
    Storage(StorageError),
    /// The file is not a well-formed GGUF file.
    Gguf(GgufError),
    /// A tensor cannot be bound or packed.
    Model(ModelError),
    /// The system has no memory left.
    OutOfMemory(OutOfMemory),
    /// A key is missing or has a value of another type.
    Metadata(GgufError),
    /// The plugin was written for another version of the schema.
    UnsupportedVersion { version: u32, known: u32 },
    /// A layer is of a kind that this version does not know.
    UnknownKind { key: &'static str, found: String, known: &'static [&'static str] },
    /// A number is out of its range.
    OutOfRange { key: &'static str, value: String },
    /// A tensor is not there.
    MissingTensor { tensor: String },
    /// A tensor's name claims that it belongs to the plugin, which has no such tensor.
    UnknownTensor { tensor: String },
    /// A tensor has not the (row-major) shape that the keys say.
    WrongShape { tensor: &'static str, expected: Vec<usize>, found: Vec<usize> },
    /// A vector is not F32.
    WrongType { tensor: &'static str, found: TensorType },
    /// The plugin was trained on another backbone.
    OtherBackbone { key: &'static str, plugin: String, backbone: String },
    /// The policy gave no distribution: its weights, or the hidden state, are damaged.
    PolicyNotFinite,
    /// The encoder gave no distribution: its weights, or the hidden state, are damaged.
    EncoderNotFinite,
    /// The value head gave no probability: its weights, or the hidden state, are damaged.
    ValueNotFinite,
}

impl From<GgufError> for PluginError {
    fn from(error: GgufError) -> Self {
        Self::Metadata(error)
    }
}

impl From<StorageError> for PluginError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<ModelError> for PluginError {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl From<OutOfMemory> for PluginError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Gguf(error) | Self::Metadata(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::OutOfMemory(error) => error.fmt(f),
            Self::UnsupportedVersion { version, known } => {
                write!(f, "plugin version {version} (only {known} is known): use a newer release, or convert it again")
            }
            Self::UnknownKind { key, found, known } => {
                write!(f, "{key} is {found:?}, which this version does not know; it knows {}", known.join(", "))
            }
            Self::OutOfRange { key, value } => write!(f, "{key} is {value}, which is out of its range"),
            Self::MissingTensor { tensor } => write!(f, "tensor {tensor} is missing"),
            Self::UnknownTensor { tensor } => write!(f, "tensor {tensor:?} is none that such a plugin has"),
            Self::WrongShape { tensor, expected, found } => {
                write!(f, "tensor {tensor} has shape {found:?}, the metadata says {expected:?}")
            }
            Self::PolicyNotFinite => write!(f, "the policy gives NaN: the plugin or the backbone may be damaged"),
            Self::EncoderNotFinite => write!(f, "the encoder gives NaN: the plugin or the backbone may be damaged"),
            Self::ValueNotFinite => write!(f, "the value head gives NaN: the plugin or the backbone may be damaged"),
            Self::WrongType { tensor, found } => write!(f, "tensor {tensor} is {found}, vectors must be F32"),
            Self::OtherBackbone { key, plugin, backbone } => {
                write!(
                    f,
                    "the plugin was trained on another backbone: {key} is {plugin:?}, the backbone's is {backbone:?}"
                )
            }
        }
    }
}

impl std::error::Error for PluginError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Gguf(error) | Self::Metadata(error) => Some(error),
            Self::Storage(error) => error.source(),
            Self::Model(error) => error.source(),
            _ => None,
        }
    }
}
