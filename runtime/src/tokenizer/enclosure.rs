//! The tokens that a file wants around a text: before every text, and behind a whole one.

use super::TokenizerError;
use super::ids::{self, NamedTokens};
use crate::gguf::Metadata;

/// The two of them.
pub(super) struct Enclosure {
    pub(super) first: Wanted,
    pub(super) last: Wanted,
}

/// A token that a file may want.
pub(super) struct Wanted {
    /// The key that says whether it does.
    flag: &'static str,
    /// What it does where the key is missing.
    usual: bool,
    /// Which token it is: the first of these that the file has.
    tokens: &'static [&'static str],
    /// The key of the first of these.
    key: &'static str,
}

impl Enclosure {
    /// What it is for a tokenizer of this kind. As llama.cpp has it, word pieces are between CLS
    /// and SEP, and texts of unigrams end with EOS, if there are such tokens.
    pub(super) fn usual(metadata: &Metadata, adds_bos: bool, named: &NamedTokens) -> Result<Self, TokenizerError> {
        const FIRST: Wanted = Wanted {
            flag: "tokenizer.ggml.add_bos_token",
            usual: false,
            tokens: &[ids::BOS],
            key: "tokenizer.ggml.bos_token_id",
        };
        const LAST: Wanted = Wanted {
            flag: "tokenizer.ggml.add_eos_token",
            usual: false,
            tokens: &[ids::EOS],
            key: "tokenizer.ggml.eos_token_id",
        };
        const PIECES: [&[&str]; 2] = [&[ids::CLS, ids::BOS], &[ids::SEP, ids::EOS]];
        let has = |tokens: &[&str]| tokens.iter().any(|name| named.id(name).is_some());
        Ok(match metadata.opt_str("tokenizer.ggml.model")? {
            Some("bert") => Self {
                first: Wanted { usual: has(PIECES[0]), tokens: PIECES[0], ..FIRST },
                last: Wanted { usual: has(PIECES[1]), tokens: PIECES[1], ..LAST },
            },
            model => Self {
                first: Wanted { usual: adds_bos, ..FIRST },
                last: Wanted { usual: model == Some("t5") && has(LAST.tokens), ..LAST },
            },
        })
    }
}

impl Wanted {
    /// The token, if the file wants it; then it must have it.
    pub(super) fn token(&self, metadata: &Metadata, named: &NamedTokens) -> Result<Option<u32>, TokenizerError> {
        if !metadata.opt_bool(self.flag)?.unwrap_or(self.usual) {
            return Ok(None);
        }
        let token = self.tokens.iter().find_map(|name| named.id(name));
        token.map(Some).ok_or_else(|| named.missing(metadata, self.key))
    }
}
