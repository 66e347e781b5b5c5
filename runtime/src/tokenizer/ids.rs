//! Special tokens that a file names by id.

use super::TokenizerError;
use super::warning::{TokenizerWarning, Warnings};
use crate::gguf::Metadata;

/// The keys of ids with the names that transformers has for the tokens; whether one must be in the
/// vocabulary.
const NAMED: [(&str, &str, bool); 9] = [
    (BOS, "tokenizer.ggml.bos_token_id", true),
    (EOS, "tokenizer.ggml.eos_token_id", true),
    (TURNS[0], "tokenizer.ggml.eot_token_id", true),
    (TURNS[1], "tokenizer.ggml.eom_token_id", true),
    ("unk_token", UNKNOWN, false),
    ("pad_token", "tokenizer.ggml.padding_token_id", false),
    // So it is spelled in GGUF.
    (SEP, "tokenizer.ggml.seperator_token_id", false),
    (CLS, "tokenizer.ggml.cls_token_id", false),
    ("mask_token", "tokenizer.ggml.mask_token_id", false),
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
pub(super) struct NamedTokens([Option<u32>; NAMED.len()]);

impl NamedTokens {
    /// Reads them; of one that matters little, an id that is no token is left out with a warning.
    pub(super) fn read(
        metadata: &Metadata,
        vocabulary: usize,
        warnings: &mut Warnings,
    ) -> Result<Self, TokenizerError> {
        let mut ids = [None; NAMED.len()];
        for (id, (_, key, must)) in ids.iter_mut().zip(NAMED) {
            *id = if must {
                required(metadata, key, vocabulary)?
            } else {
                let id = optional(metadata, key, vocabulary);
                if id.is_none() && metadata.get(key).is_some() {
                    warnings.push(TokenizerWarning::IdIgnored { key, vocabulary });
                }
                id
            };
        }
        Ok(Self(ids))
    }

    pub(super) fn id(&self, name: &str) -> Option<u32> {
        self.iter().find(|&(known, _)| known == name).map(|(_, id)| id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
        NAMED.iter().zip(self.0).filter_map(|(&(name, ..), id)| Some((name, id?)))
    }
}

/// The token for what is unknown, if the file has one.
pub(super) fn unknown(metadata: &Metadata, vocabulary: usize) -> Option<u32> {
    optional(metadata, UNKNOWN, vocabulary)
}

/// The id of a key, which must be a token.
fn required(metadata: &Metadata, key: &'static str, vocabulary: usize) -> Result<Option<u32>, TokenizerError> {
    match metadata.opt_u32(key)? {
        Some(id) if id as usize >= vocabulary => Err(TokenizerError::IdOutOfRange { key, id, vocabulary }),
        id => Ok(id),
    }
}

/// The id of a key that matters little: -1 and what else is no token is none.
fn optional(metadata: &Metadata, key: &'static str, vocabulary: usize) -> Option<u32> {
    metadata.opt_u32(key).ok().flatten().filter(|&id| (id as usize) < vocabulary)
}
