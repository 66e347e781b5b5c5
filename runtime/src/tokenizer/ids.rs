//! Special tokens that a file names by id.

use super::TokenizerError;
use super::warning::{TokenizerWarning, Warnings};
use crate::gguf::{GgufError, Metadata};

/// The keys of ids with the names that transformers has for the tokens.
const NAMED: [(&str, &str); 9] = [
    (BOS, "tokenizer.ggml.bos_token_id"),
    (EOS, "tokenizer.ggml.eos_token_id"),
    (TURNS[0], "tokenizer.ggml.eot_token_id"),
    (TURNS[1], "tokenizer.ggml.eom_token_id"),
    ("unk_token", UNKNOWN),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    // So it is spelled in GGUF.
    (SEP, "tokenizer.ggml.seperator_token_id"),
    (CLS, "tokenizer.ggml.cls_token_id"),
    ("mask_token", "tokenizer.ggml.mask_token_id"),
];

pub(super) const BOS: &str = "bos_token";
pub(super) const EOS: &str = "eos_token";
/// What ends a turn and a message, of which templates do not know.
pub(super) const TURNS: [&str; 2] = ["eot_token", "eom_token"];
pub(super) const SEP: &str = "sep_token";
pub(super) const CLS: &str = "cls_token";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";

/// The tokens of [`NAMED`] that a file has.
#[derive(Debug)]
pub(super) struct NamedTokens {
    ids: [Option<u32>; NAMED.len()],
    vocabulary: usize,
}

impl NamedTokens {
    /// Reads them; an id that is no token is left out with a warning.
    pub(super) fn read(metadata: &Metadata, vocabulary: usize, warnings: &mut Warnings) -> Self {
        let ids = NAMED.map(|(_, key)| {
            let id = optional(metadata, key, vocabulary);
            if id.is_none() && metadata.get(key).is_some() {
                warnings.push(TokenizerWarning::IdIgnored { key, vocabulary });
            }
            id
        });
        Self { ids, vocabulary }
    }

    /// Why there is no token of `key`, which the file wants.
    pub(super) fn missing(&self, metadata: &Metadata, key: &'static str) -> TokenizerError {
        match metadata.opt_u32(key) {
            Ok(Some(id)) => TokenizerError::IdOutOfRange { key, id, vocabulary: self.vocabulary },
            Ok(None) => GgufError::MissingKey { key: key.to_owned() }.into(),
            Err(error) => error.into(),
        }
    }

    pub(super) fn id(&self, name: &str) -> Option<u32> {
        self.iter().find(|&(known, _)| known == name).map(|(_, id)| id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
        NAMED.iter().zip(self.ids).filter_map(|(&(name, _), id)| Some((name, id?)))
    }
}

/// The token for what is unknown, if the file has one.
pub(super) fn unknown(metadata: &Metadata, vocabulary: usize) -> Option<u32> {
    optional(metadata, UNKNOWN, vocabulary)
}

/// The id of a key: -1 and what else is no token is none.
fn optional(metadata: &Metadata, key: &'static str, vocabulary: usize) -> Option<u32> {
    metadata.opt_u32(key).ok().flatten().filter(|&id| (id as usize) < vocabulary)
}
