//! What becomes of text that is no token, where a vocabulary is written in characters.

use ollm_kernels::memory::{self, OutOfMemory};

use super::TokenizerError;

#[derive(Debug)]
pub(super) enum Fallback {
    /// Its bytes, each of which has a token.
    Bytes(Box<[u32; 256]>),
    /// The unknown token, once for all that stands side by side.
    Unknown(u32),
}

impl Fallback {
    /// `token` finds a token by its text. A vocabulary that has tokens of bytes has all 256, or the
    /// unknown token in place of those that it lacks.
    pub(super) fn read(token: impl Fn(&str) -> Option<u32>, unknown: Option<u32>) -> Result<Self, TokenizerError> {
        let of_byte = |byte: u8| token(&format!("<0x{byte:02X}>"));
        let missing = |byte| TokenizerError::MissingByte { byte };
        if (0..=255).all(|byte| of_byte(byte).is_none()) {
            return unknown.map(Self::Unknown).ok_or(missing(0));
        }
        let mut bytes = Box::new([0; 256]);
        for (byte, id) in (0..=255).zip(bytes.iter_mut()) {
            *id = of_byte(byte).or(unknown).ok_or(missing(byte))?;
        }
        Ok(Self::Bytes(bytes))
    }

    /// Appends the tokens of a text; `again` if what stands before it was none either.
    pub(super) fn append(&self, text: &str, again: bool, ids: &mut Vec<u32>) -> Result<(), OutOfMemory> {
        match self {
            Self::Bytes(tokens) => memory::extend(ids, text.bytes().map(|byte| tokens[usize::from(byte)])),
            Self::Unknown(_) if again => Ok(()),
            Self::Unknown(id) => memory::extend(ids, [*id].into_iter()),
        }
    }
}
