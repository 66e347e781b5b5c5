//! What can be wrong with a Hugging Face folder: one variant for each rule.

use std::fmt;
use std::path::PathBuf;

use ollm_runtime::tokenizer::TokenizerError;

use super::architectures;

/// Bytes of a file of a folder, other than weights, at most: the largest tokenizers have some 40
/// million.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// Why a folder could not be imported.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the line on each variant explains its fields")]
pub enum ImportError {
    /// A file is not JSON.
    Json { path: PathBuf, source: serde_json::Error },
    /// A file lacks a key.
    MissingKey { path: PathBuf, key: String },
    /// The value of a key makes no sense, alone or beside another.
    BadValue { path: PathBuf, key: String, value: String, rule: &'static str },
    /// The folder asks for something that is not done here.
    Unsupported { path: PathBuf, key: String, value: String, supported: &'static str },
    /// The family of the model is not known.
    UnknownArchitecture { path: PathBuf, name: String },
    /// The folder has neither `model.safetensors` nor `model.safetensors.index.json`, but perhaps
    /// another file.
    NoWeights { folder: PathBuf, other: Option<String> },
    /// The weights are a file of `PyTorch`'s.
    PyTorch { folder: PathBuf, file: String },
    /// There is no such folder, but perhaps such a model on the Hugging Face hub.
    HubId { path: PathBuf, id: String },
    /// This is a file.
    NotAFolder { path: PathBuf },
    /// A file of the folder is a pipe or a device, which need not come to an end.
    NotAFile { path: PathBuf },
    /// A file of the folder, other than weights, is larger than such files are.
    TooLarge { path: PathBuf, bytes: u64 },
    /// A file holds something else: a pointer, a page.
    Foreign { path: PathBuf, what: &'static str },
    /// A quantized tensor cannot be decoded.
    Quantized { path: PathBuf, tensor: String, reason: String },
    /// The index names a file that is not there.
    MissingShard { index: PathBuf, shard: String },
    /// A tensor is missing; `path` is the file that should have it, or the folder.
    MissingTensor { path: PathBuf, tensor: String },
    /// A tensor is none that the family has.
    UnexpectedTensor { path: PathBuf, tensor: String },
    /// Two files have the same tensor.
    DuplicateTensor { first: PathBuf, second: PathBuf, tensor: String },
    /// A tensor has another shape than the configuration says (row-major).
    Shape { path: PathBuf, tensor: String, found: Vec<usize>, expected: Vec<usize> },
    /// A `tokenizer.model` is none of `SentencePiece`.
    NoSentencePiece { path: PathBuf },
    /// A special token is not in the vocabulary.
    UnknownToken { path: PathBuf, key: String, token: String },
    /// The tokenizer that would be written cannot be used.
    Tokenizer { path: PathBuf, source: TokenizerError },
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { path, source } => write!(f, "{}: not JSON: {source}", path.display()),
            Self::MissingKey { path, key } => write!(f, "{}: key {key:?} is missing", path.display()),
            Self::BadValue { path, key, value, rule } => {
                write!(f, "{}: key {key:?} is {value}, but must be {rule}", path.display())
            }
            Self::Unsupported { path, key, value, supported } => {
                write!(f, "{}: {key:?} is {value}, which is not supported; supported: {supported}", path.display())
            }
            Self::UnknownArchitecture { path, name } => {
                let mut known: Vec<&str> = architectures::ALL.iter().filter_map(|known| known.name).collect();
                // Several architectures of one class follow one another.
                known.dedup();
                let path = path.display();
                write!(f, "{path}: architecture {name:?} is not supported; supported: {}", known.join(", "))
            }
            Self::NoWeights { folder, other } => {
                write!(f, "{}: has no model.safetensors and no model.safetensors.index.json", folder.display())?;
                other.as_ref().map_or(Ok(()), |other| write!(f, ", but {other}"))
            }
            Self::PyTorch { folder, file } => {
                let folder = folder.display();
                write!(
                    f,
                    "{folder}: has no model.safetensors, but {file}, which only PyTorch reads; save it once more: python3 \
                     -c \"from transformers import *; d, o = '{folder}', '{folder}-safetensors'; \
                     AutoModelForCausalLM.from_pretrained(d, dtype='auto').save_pretrained(o); \
                     AutoTokenizer.from_pretrained(d).save_pretrained(o)\""
                )
            }
            Self::HubId { path, id } => write!(
                f,
                "{}: there is no such folder; the model {id} of the Hugging Face Hub is named hf:{id}, which downloads it",
                path.display()
            ),
            Self::NotAFolder { path } => write!(
                f,
                "{}: this is a file; import takes the folder with config.json, the weights and the tokenizer",
                path.display()
            ),
            Self::NotAFile { path } => {
                write!(f, "{}: this is no file but a pipe or a device: import reads a folder of files", path.display())
            }
            Self::TooLarge { path, bytes } => {
                write!(f, "{}: {bytes} bytes, where such a file has {MAX_BYTES} at most", path.display())
            }
            Self::Foreign { path, what } => write!(f, "{}: this is {what}", path.display()),
            Self::Quantized { path, tensor, reason } => {
                write!(f, "{}: tensor {tensor:?} {reason}", path.display())
            }
            Self::MissingShard { index, shard } => {
                write!(f, "{}: names {shard:?}, which is not in the folder: download it again", index.display())
            }
            Self::MissingTensor { path, tensor } => write!(f, "{}: tensor {tensor:?} is missing", path.display()),
            Self::UnexpectedTensor { path, tensor } => {
                write!(f, "{}: tensor {tensor:?} is none that this architecture has", path.display())
            }
            Self::DuplicateTensor { first, second, tensor } => {
                write!(f, "tensor {tensor:?} is in {} and in {}", first.display(), second.display())
            }
            Self::Shape { path, tensor, found, expected } => {
                let path = path.display();
                write!(f, "{path}: tensor {tensor:?} has shape {found:?}, but config.json asks for {expected:?}")
            }
            Self::NoSentencePiece { path } => write!(
                f,
                "{}: is no SentencePiece model, or is cut short; download it again, or save a tokenizer.json",
                path.display()
            ),
            Self::UnknownToken { path, key, token } => {
                write!(f, "{}: {key:?} is {token:?}, which the tokenizer does not have", path.display())
            }
            Self::Tokenizer { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for ImportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json { source, .. } => Some(source),
            Self::Tokenizer { source, .. } => Some(source),
            _ => None,
        }
    }
}
