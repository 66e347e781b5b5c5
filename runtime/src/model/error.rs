//! What can be wrong with a well-formed GGUF file that should be a backbone.

use std::fmt;

use ollm_kernels::cpu::TooManyThreads;

use crate::gguf::GgufError;
use crate::storage::StorageError;

use super::family::FAMILIES;

/// Why a file cannot be used as a backbone.
#[derive(Debug)]
#[non_exhaustive]
pub enum ModelError {
    /// The bytes of the file cannot be had.
    Storage(StorageError),
    /// The file is not a well-formed GGUF file.
    Gguf(GgufError),
    /// A metadata key is missing or has the wrong type.
    Metadata(GgufError),
    /// `general.architecture` names a family this runtime does not know.
    UnknownArchitecture(String),
    /// A metadata value makes no sense, alone or beside another.
    InvalidValue {
        /// The key.
        key: String,
        /// The value, as text.
        value: String,
        /// What it has to be.
        rule: &'static str,
    },
    /// The file asks for something this runtime does not do.
    Unsupported {
        /// The key that asks for it.
        key: String,
        /// The value, as text.
        value: String,
    },
    /// The file has a key of the family that this runtime does not know, and that may change what
    /// the model computes.
    UnknownKey {
        /// The key.
        key: String,
        /// The value, as text.
        value: String,
    },
    /// A tensor that the family needs is not in the file.
    MissingTensor(String),
    /// A tensor that the family does not have: the network would be another one than the file
    /// means.
    UnexpectedTensor(String),
    /// A tensor has another shape than the metadata say.
    TensorShape {
        /// The tensor.
        name: String,
        /// The dimensions in the file, innermost first.
        found: Vec<u64>,
        /// The dimensions it has to have.
        expected: Vec<u64>,
    },
    /// A tensor of floats starts at an address where floats cannot be read.
    Misaligned(String),
    /// The file is not marked as one of low-rank adapters.
    NoAdapter {
        /// The key of the mark.
        key: &'static str,
        /// What it has to be.
        mark: &'static str,
    },
    /// The adapters are those of a backbone of another architecture.
    OtherArchitecture {
        /// That of the file.
        found: String,
        /// That of the model.
        expected: &'static str,
    },
    /// Adapters of a matrix that the model has not, or that cannot have any.
    NotAdaptable(String),
    /// Memory for the packed weights could not be had.
    NoMemoryForWeights {
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// The weights would take more memory than the caller allows.
    MemoryLimit {
        /// Bytes they take.
        needed: u64,
        /// Bytes they may take.
        limit: u64,
    },
    /// More threads were asked for than there can be.
    TooManyThreads(TooManyThreads),
    /// The caller gave up while the weights were packed.
    Cancelled,
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Gguf(error) | Self::Metadata(error) => error.fmt(f),
            Self::UnknownArchitecture(name) => {
                let known: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
                write!(f, "model architecture {name:?} is not supported; supported: {}", known.join(", "))
            }
            Self::InvalidValue { key, value, rule } => write!(f, "metadata key {key} is {value}, but must be {rule}"),
            Self::Unsupported { key, value } => write!(f, "metadata key {key} is {value}, which is not supported"),
            Self::UnknownKey { key, value } => write!(
                f,
                "metadata key {key} ({value}) is not known here and may change what the model computes: if it does not, \
                 remove it with `ollm-convert set-metadata --remove {key}`"
            ),
            Self::MissingTensor(name) => write!(f, "tensor {name} is missing from the file"),
            Self::UnexpectedTensor(name) => {
                write!(f, "tensor {name} is not part of this architecture; the file needs something not supported here")
            }
            Self::TensorShape { name, found, expected } => {
                write!(f, "tensor {name} has shape {found:?}, but the metadata ask for {expected:?}")
            }
            Self::NoAdapter { key, mark } => {
                write!(f, "the file is no LoRA adapter: metadata key {key} is not {mark:?}")
            }
            Self::OtherArchitecture { found, expected } => {
                write!(f, "the adapters belong to a model of architecture {found:?}, this one is {expected:?}")
            }
            Self::NotAdaptable(name) => write!(
                f,
                "matrix {name} of the adapters is none of the layers' matrices of this model: merge them into the \
                 model with `ollm-convert merge`, if they belong to it"
            ),
            Self::Misaligned(name) => write!(f, "tensor {name} is not aligned: convert the file to alignment 64"),
            Self::NoMemoryForWeights { bytes } => {
                write!(f, "not enough memory for a weight matrix of {bytes} bytes: use a smaller model or quantization")
            }
            Self::MemoryLimit { needed, limit } => {
                write!(f, "the weights need {needed} bytes of memory, but the limit is {limit}")
            }
            Self::TooManyThreads(error) => error.fmt(f),
            Self::Cancelled => write!(f, "loading was cancelled"),
        }
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(error) => error.source(),
            _ => None,
        }
    }
}

impl From<TooManyThreads> for ModelError {
    fn from(error: TooManyThreads) -> Self {
        Self::TooManyThreads(error)
    }
}

impl From<StorageError> for ModelError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<GgufError> for ModelError {
    fn from(error: GgufError) -> Self {
        Self::Metadata(error)
    }
}
