//! Stands in for `json.rs` where the feature `tokenizer-json` is off.

use super::TokenizerError;
use super::special::ControlTokens;
use super::vocab::TokenBytes;
use super::warning::Warnings;
use crate::gguf::Metadata;

/// A tokenizer that there is none of.
#[derive(Debug)]
pub(super) enum Json {}

impl Json {
    /// Refuses.
    pub(super) fn read(_json: &str, _limit: usize) -> Result<(Self, TokenBytes), TokenizerError> {
        let reason = "this build does not read it, and the file has no tokenizer.ggml.tokens".to_owned();
        Err(TokenizerError::Json { reason })
    }

    /// Leaves all models to others.
    pub(super) fn of_word_pieces(
        _metadata: &Metadata,
        _model: &str,
        _warnings: &mut Warnings,
    ) -> Option<Result<(Self, TokenBytes), TokenizerError>> {
        None
    }

    pub(super) fn encode(&self, _text: &str, _control: ControlTokens<'_>) -> Result<Vec<u32>, TokenizerError> {
        match *self {}
    }

    pub(super) fn control_texts(&self) -> std::iter::Empty<&str> {
        match *self {}
    }
}
