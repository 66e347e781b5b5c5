//! Special tokens that a file names by id.

use super::TokenizerError;
use super::warning::{TokenizerWarning, Warnings};
use crate::gguf::Metadata;

pub(super) const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
pub(super) const PADDING: &str = "tokenizer.ggml.padding_token_id";

/// The id of a key, which must be a token.
pub(super) fn required(
    metadata: &Metadata,
    key: &'static str,
    vocabulary: usize,
) -> Result<Option<u32>, TokenizerError> {
    match metadata.opt_u32(key)? {
        Some(id) if id as usize >= vocabulary => Err(TokenizerError::IdOutOfRange { key, id, vocabulary }),
        id => Ok(id),
    }
}

/// The id of a key that matters little: -1 and what else is no token is none.
pub(super) fn optional(
    metadata: &Metadata,
    key: &'static str,
    vocabulary: usize,
    warnings: &mut Warnings,
) -> Option<u32> {
    match metadata.opt_u32(key) {
        Ok(None) => None,
        Ok(Some(id)) if (id as usize) < vocabulary => Some(id),
        _ => {
            warnings.push(TokenizerWarning::IdIgnored { key, vocabulary });
            None
        }
    }
}
