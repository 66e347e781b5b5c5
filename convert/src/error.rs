//! What can go wrong in a conversion.

use std::fmt;
use std::path::{Path, PathBuf};

use ollm_console::hub::HubError;
use ollm_runtime::gguf::{GgufError, part_name};
use ollm_runtime::logits::LogitsError;
use ollm_runtime::memory::OutOfMemory;
use ollm_runtime::model::ModelError;
use ollm_runtime::plugin::PluginError;
use ollm_runtime::quant::QuantError;
use ollm_runtime::storage::StorageError;
use safetensors::{Dtype, SafeTensorError};

use crate::import::ImportError;
use crate::kind::FileKind;

/// Why nothing was written.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the line on each variant explains its fields")]
pub enum ConvertError {
    /// A file could not be read.
    Runtime(ollm_runtime::Error),
    /// A file is not well-formed GGUF.
    Gguf { path: PathBuf, source: GgufError },
    /// The output could not be written.
    Output(GgufError),
    /// A checkpoint is not well-formed safetensors.
    SafeTensors { path: PathBuf, source: SafeTensorError },
    /// A checkpoint says nothing about itself.
    NoMetadata { path: PathBuf },
    /// A key of a checkpoint is none that a plugin file has.
    UnknownKey { key: String },
    /// The text of a key is not the number that it should be.
    BadNumber { key: &'static str, text: String },
    /// A key has another value than plugin files have.
    Contradiction { key: &'static str, expected: String, found: String },
    /// The keys or tensors of a plugin are not what they should be.
    Plugin { path: PathBuf, source: PluginError },
    /// A tensor of a checkpoint is not F32.
    NotF32 { tensor: String, found: Dtype },
    /// The values of a tensor cannot be stored.
    Values { tensor: String, source: QuantError },
    /// A file holds something else than what is needed in its place.
    OtherKind { path: PathBuf, found: FileKind, expected: &'static [FileKind] },
    /// A model cannot be run, or its tokenizer not be used.
    Model { path: PathBuf, source: ollm_runtime::Error },
    /// The matrices of a backbone get a type with adapters alone.
    NotAdapters { path: PathBuf },
    /// Nobody says of which architecture the backbone of adapters is.
    NoArchitecture,
    /// Adapters are not what they should be, or do not fit the backbone.
    BadAdapter { path: PathBuf, reason: String },
    /// A GGUF file, where a trainer's checkpoint is needed.
    NotACheckpoint { path: PathBuf },
    /// A backbone holds a plugin already.
    AlreadyMerged { path: PathBuf },
    /// A file is packed, where a plain one is needed.
    Packed { path: PathBuf },
    /// A file is not packed, where a packed one is needed.
    NotPacked { path: PathBuf },
    /// A file has no quantized matrix.
    NothingToPack { path: PathBuf },
    /// The output would replace an input.
    OverwritesInput { path: PathBuf },
    /// Two outputs have one name.
    SameOutput { path: PathBuf },
    /// The output is a device or a folder, or in a folder that is not there.
    NoPlace { path: PathBuf },
    /// Another process writes the output.
    Busy { path: PathBuf },
    /// A file is not the first part of a model.
    NotAPart { path: PathBuf },
    /// A metadata key is one that should not be, or that `verify` would refuse.
    BadKey { path: PathBuf, reason: String },
    /// Several recipes make several files, whose names they give.
    SeveralOutputs { path: PathBuf },
    /// A folder of the Hugging Face Hub cannot be had.
    Hub(HubError),
    /// An output is to be named after an input that is a pipe.
    Nameless { path: PathBuf },
    /// The output is there already.
    OutputExists { path: PathBuf },
    /// A row of a tensor cannot be stored.
    Row { path: PathBuf, tensor: String, row: usize, source: QuantError },
    /// No matrix of the backbone has a name that matches a pattern.
    NoSuchTensor { pattern: String },
    /// No tensor gets a type that an importance matrix has an effect on.
    UnusedImatrix { path: PathBuf },
    /// The importance of a matrix is no list of numbers from 0 up.
    BadImatrix { path: PathBuf, tensor: String },
    /// The importance of a matrix is that of another one.
    OtherImatrix { path: PathBuf, tensor: String, cols: usize, found: usize },
    /// No choice of types makes a file so small.
    TooSmall { size: usize, smallest: usize },
    /// No choice of types that was tried has so small a KL divergence.
    KlNotReached { most: f64, reached: f64 },
    /// A file has the name of a search's measurements, and holds something else.
    NotMeasurements { path: PathBuf },
    /// A text has no tokens.
    NoText { path: PathBuf },
    /// A folder cannot be imported.
    Import(ImportError),
}

impl ConvertError {
    /// Why the model of a file cannot be run. An error of the storage names the file by itself.
    pub(crate) fn model(path: &Path, error: impl Into<ollm_runtime::Error>) -> Self {
        match error.into() {
            storage @ ollm_runtime::Error::Storage(_) => Self::Runtime(storage),
            ollm_runtime::Error::Model(ModelError::Storage(error)) => Self::Runtime(error.into()),
            source => Self::Model { path: path.to_owned(), source },
        }
    }

    /// Why a file could not be written, where the bytes of its tensors were made meanwhile: that
    /// may have failed instead.
    pub(crate) fn from_output(error: GgufError) -> Self {
        match error {
            GgufError::Io { path, source } => match source.downcast::<Self>() {
                Ok(error) => error,
                Err(source) => Self::Output(GgufError::Io { path, source }),
            },
            error => Self::Output(error),
        }
    }

    /// The same of a file that is written to memory.
    pub(crate) fn from_io(source: std::io::Error) -> Self {
        Self::from_output(GgufError::Io { path: PathBuf::from("memory"), source })
    }
}

impl From<HubError> for ConvertError {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl From<ImportError> for ConvertError {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

/// The errors of the runtime's modules are errors of the runtime.
macro_rules! from {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for ConvertError {
            fn from(error: $error) -> Self {
                Self::Runtime(error.into())
            }
        })+
    };
}

from!(ollm_runtime::Error, LogitsError, ModelError, OutOfMemory, StorageError);

/// Names the first part of the model that the file at `path` is another part of, if that is what is
/// wrong.
fn first_part(path: &Path, error: &GgufError) -> String {
    let first = || {
        let &GgufError::Part { number, count } = error else { return None };
        let [own, first] = [number, 1].map(|number| part_name("", number as usize, count as usize));
        let stem = path.file_name()?.to_str()?.strip_suffix(&own)?;
        Some(path.with_file_name(format!("{stem}{first}")))
    };
    first().map_or(String::new(), |first| format!(" (the first part here is {})", first.display()))
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime(error) => error.fmt(f),
            Self::Gguf { path, source } => write!(f, "{}: {source}{}", path.display(), first_part(path, source)),
            Self::Output(source) => write!(f, "cannot write: {source}"),
            Self::NotAdapters { path } => write!(
                f,
                "--type is of matrices that get adapters, and {} has none: leave it out, or see `ollm-convert quantize`",
                path.display()
            ),
            Self::NoArchitecture => f.write_str(
                "the checkpoint does not say what architecture its backbone is of: name it with --architecture",
            ),
            Self::BadAdapter { path, reason } | Self::BadKey { path, reason } => {
                write!(f, "{}: {reason}", path.display())
            }
            Self::SafeTensors { path, source } => write!(f, "{}: not a safetensors file: {source}", path.display()),
            Self::NoMetadata { path } => {
                write!(f, "{}: no __metadata__: a plugin checkpoint holds its ollm.* keys there", path.display())
            }
            Self::UnknownKey { key } => {
                write!(f, "metadata key {key:?} is none that plugin files have (see FORMAT.md): correct or remove it")
            }
            Self::BadNumber { key, text } => write!(f, "metadata key {key}: {text:?} is not the number it should be"),
            Self::Contradiction { key, expected, found } => {
                write!(f, "metadata key {key} is {found:?}, a plugin for this backbone has {expected:?}")
            }
            Self::Plugin { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NotF32 { tensor, found } => write!(f, "tensor {tensor:?} is {found:?}: checkpoints hold F32"),
            Self::Values { tensor, source } => write!(f, "tensor {tensor:?}: {source}"),
            Self::OtherKind { path, found, expected } => {
                let expected: Vec<String> = expected.iter().map(FileKind::to_string).collect();
                write!(f, "{}: is {found}; expected {}", path.display(), expected.join(" or "))
            }
            Self::Model { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NotACheckpoint { path } => {
                write!(f, "{}: is a GGUF file; expected a trainer's checkpoint (plugin.safetensors)", path.display())
            }
            Self::AlreadyMerged { path } => {
                write!(f, "{}: holds a plugin already: merge into the plain backbone", path.display())
            }
            Self::Packed { path } => write!(f, "{}: is packed: use `ollm-convert unpack` first", path.display()),
            Self::NotPacked { path } => write!(f, "{}: is not packed: there is nothing to unpack", path.display()),
            Self::NothingToPack { path } => {
                write!(f, "{}: has no quantized matrix: there is nothing to pack", path.display())
            }
            Self::OverwritesInput { path } => {
                write!(f, "the output would replace the input {}: choose another name", path.display())
            }
            Self::SameOutput { path } => {
                write!(f, "{} cannot be two outputs: name each type, and each file, once", path.display())
            }
            Self::NoPlace { path } => {
                write!(f, "{}: no place for a file: name one in a folder that is there", path.display())
            }
            Self::Busy { path } => {
                write!(f, "{} is being written by another process: wait for it, or name another output", path.display())
            }
            Self::NotAPart { path } => {
                write!(f, "{}: not the first part of a model, NAME-00001-of-00003.gguf", path.display())
            }
            Self::SeveralOutputs { path } => {
                write!(f, "{}: several types make several files: name a folder that is there", path.display())
            }
            Self::Hub(error) => error.fmt(f),
            Self::Nameless { path } => {
                write!(f, "{}: a pipe has no name: name the output with -o FILE", path.display())
            }
            Self::OutputExists { path } => write!(f, "{} exists: --force replaces it", path.display()),
            Self::Row { path, tensor, row, source } => {
                write!(f, "{}: tensor {tensor:?}, row {row}: {source}", path.display())
            }
            Self::NoSuchTensor { pattern } => write!(f, "no matrix that can be quantized has a name like {pattern:?}"),
            Self::UnusedImatrix { path } => write!(
                f,
                "{}: the importance matrix has no effect, as no tensor is quantized: leave out --imatrix",
                path.display()
            ),
            Self::BadImatrix { path, tensor } => write!(
                f,
                "{}: the importance of tensor {tensor:?} is not a list of sums of squares and their count: the file is \
                 damaged or cut off",
                path.display()
            ),
            Self::OtherImatrix { path, tensor, cols, found } => write!(
                f,
                "{}: tensor {tensor:?} has {cols} columns, its importance {found}: is it that of another model?",
                path.display()
            ),
            Self::TooSmall { size, smallest } => {
                write!(f, "no choice of types makes a file of {size} bytes: the smallest has {smallest}")
            }
            Self::KlNotReached { most, reached } => {
                write!(f, "no choice of types was found with a KL of {most} or less: the best has {reached:.6}")
            }
            Self::NotMeasurements { path } => {
                write!(f, "{}: not what a search has measured, which belongs there: move it", path.display())
            }
            Self::NoText { path } => write!(f, "{}: no text", path.display()),
            Self::Import(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConvertError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Runtime(source) | Self::Model { source, .. } => Some(source),
            Self::Gguf { source, .. } | Self::Output(source) => Some(source),
            Self::SafeTensors { source, .. } => Some(source),
            Self::Plugin { source, .. } => Some(source),
            Self::Values { source, .. } | Self::Row { source, .. } => Some(source),
            Self::Import(error) => error.source(),
            _ => None,
        }
    }
}
