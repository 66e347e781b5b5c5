//! Why a tokenizer could not be built, or could not encode.

use std::fmt;

use ollm_kernels::memory::OutOfMemory;

use super::{form, pre};
use crate::gguf::GgufError;

/// The values of `tokenizer.ggml.model` that are read from lists.
pub(super) const MODELS: [&str; 4] = ["gpt2", "llama", "gemma4", "t5"];

/// Why a tokenizer could not be built from a model file, or could not encode a text.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the line on each variant explains its fields")]
pub enum TokenizerError {
    /// A key of the file is missing or has the wrong type.
    Metadata(GgufError),
    /// `tokenizer.ggml.model` names an algorithm that is not supported.
    UnknownModel { model: String },
    /// `tokenizer.ggml.pre` names a pre-tokenizer that is not supported.
    UnknownPre { pre: String },
    /// `ollm.tokenizer.normalizer` names a normalization form that is not known.
    UnknownNormalizer { name: String },
    /// `tokenizer.ggml.precompiled_charsmap` is no character map.
    BadCharsMap,
    /// There are no tokens.
    NoTokens,
    /// The list of token types is not as long as the list of tokens.
    TypeCount { tokens: usize, types: usize },
    /// A token has a type that the specification does not know.
    UnknownType { token: u32, kind: i32 },
    /// The list of scores is not as long as the list of tokens.
    ScoreCount { tokens: usize, scores: usize },
    /// The score of a token is not a number.
    BadScore { token: u32 },
    /// A byte has no token, nor has what is unknown.
    MissingByte { byte: u8 },
    /// A token of type byte is not written `<0xHH>`.
    BadByteToken { token: u32, text: String },
    /// A merge is not two tokens with a space between them.
    BadMerge { index: usize, merge: String },
    /// A merge needs a token that the vocabulary does not have.
    MergeOfNoToken { index: usize, merge: String, missing: String },
    /// A special id of the file is not in the vocabulary.
    IdOutOfRange { key: &'static str, id: u32, vocabulary: usize },
    /// `tokenizer.chat_template.rerank` has no place for one of the texts.
    BadRerankTemplate { missing: &'static str },
    /// `tokenizer.huggingface.json` cannot be used.
    Json { reason: String },
    /// The tokenizer gave up on a text.
    Encode { reason: String },
    /// The system has no memory left for so long a text.
    OutOfMemory(OutOfMemory),
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(error) => write!(f, "tokenizer: {error}"),
            Self::UnknownModel { model } => {
                write!(f, "tokenizer.ggml.model {model:?} is not supported, only {}", MODELS.join(", "))
            }
            Self::UnknownPre { pre } => {
                let known: Vec<&str> = pre::known().collect();
                write!(f, "tokenizer.ggml.pre {pre:?} is not supported, only {}", known.join(", "))
            }
            Self::UnknownNormalizer { name } => {
                let known = form::NAMES.map(|(known, _)| known);
                write!(f, "{} {name:?} is not supported, only {}", form::KEY, known.join(", "))
            }
            Self::BadCharsMap => {
                write!(f, "tokenizer.ggml.precompiled_charsmap is no character map of SentencePiece")
            }
            Self::NoTokens => write!(f, "tokenizer.ggml.tokens is empty"),
            Self::TypeCount { tokens, types } => {
                write!(f, "tokenizer.ggml.token_type has {types} entries for {tokens} tokens")
            }
            Self::UnknownType { token, kind } => {
                write!(f, "tokenizer.ggml.token_type: token {token} has type {kind}, not one of 1 to 6")
            }
            Self::ScoreCount { tokens, scores } => {
                write!(f, "tokenizer.ggml.scores has {scores} entries for {tokens} tokens")
            }
            Self::BadScore { token } => write!(f, "tokenizer.ggml.scores: that of token {token} is not a number"),
            Self::MissingByte { byte } => {
                write!(f, "byte 0x{byte:02X} has no token, and there is no tokenizer.ggml.unknown_token_id")
            }
            Self::BadByteToken { token, text } => write!(f, "byte token {token} is {text:?}, not <0x00> to <0xFF>"),
            Self::BadMerge { index, merge } => write!(f, "merge {index} is {merge:?}, not two tokens and a space"),
            Self::MergeOfNoToken { index, merge, missing } => {
                write!(f, "merge {index} is {merge:?}, but {missing:?} is no token")
            }
            Self::IdOutOfRange { key, id, vocabulary } => {
                write!(f, "{key} is {id}, but there are {vocabulary} tokens")
            }
            Self::BadRerankTemplate { missing } => {
                write!(f, "tokenizer.chat_template.rerank has no {missing}: all texts would be the same there")
            }
            Self::Json { reason } => write!(f, "tokenizer.huggingface.json: {reason}"),
            Self::OutOfMemory(error) => error.fmt(f),
            Self::Encode { reason } => write!(f, "the text cannot be tokenized: {reason}"),
        }
    }
}

impl std::error::Error for TokenizerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Metadata(error) => Some(error),
            _ => None,
        }
    }
}

impl From<OutOfMemory> for TokenizerError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

impl From<GgufError> for TokenizerError {
    fn from(error: GgufError) -> Self {
        Self::Metadata(error)
    }
}
