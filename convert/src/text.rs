//! A text that a model reads: in chunks of tokens, each in a context of its own.

use std::path::Path;

use ollm_runtime::cpu::{self, Isa, Pool};
use ollm_runtime::model::Model;
use ollm_runtime::ops::Exec;
use ollm_runtime::tokenizer::Tokenizer;

use crate::{ConvertError, Result};

/// The chunks of a text, each of `length` tokens but the last, and behind the token that begins
/// every text, if there is one.
pub(crate) struct Chunks {
    pub(crate) each: Vec<Vec<u32>>,
    /// Tokens of the text.
    pub(crate) tokens: usize,
    /// Tokens of the text in a chunk.
    pub(crate) length: usize,
}

impl Chunks {
    /// Reads the text, `length` tokens at a time or what the context of the model in the file
    /// `path` holds.
    ///
    /// # Errors
    /// If the text cannot be read, or is empty.
    pub(crate) fn read(model: &Model, path: &Path, text: &Path, length: usize) -> Result<Self> {
        let io = |source| ollm_runtime::Error::Io { path: text.to_owned(), source };
        let read = std::fs::read_to_string(text).map_err(io)?;
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata());
        let tokenizer = tokenizer.map_err(|error| ConvertError::model(path, error))?;
        let tokens = tokenizer.encode(&read, false).map_err(ollm_runtime::Error::from)?;
        if tokens.is_empty() {
            return Err(ConvertError::NoText { path: text.to_owned() });
        }
        let length = length.min(model.config().context_length.saturating_sub(1)).max(1);
        let chunk = |tokens: &[u32]| tokenizer.add_bos().into_iter().chain(tokens.iter().copied()).collect();
        Ok(Self { each: tokens.chunks(length).map(chunk).collect(), tokens: tokens.len(), length })
    }
}

/// The execution context for models: all cores, and the widest instruction set or the requested
/// one.
pub(crate) fn exec() -> Result<Exec> {
    let pool = Pool::new(cpu::cores()).map_err(ollm_runtime::Error::Threads)?;
    Ok(Exec { isa: Isa::select().map_err(ollm_runtime::Error::from)?, pool })
}
