//! The original tokenizer of a model, carried in `tokenizer.huggingface.json`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{AddedVocabulary, DecoderWrapper, Model as _, OffsetType, PreTokenizer as _, Tokenizer};

use super::TokenizerError;
use super::vocab::{Spelling, TokenBytes, hex_byte};

/// A tokenizer of the `tokenizers` crate.
#[derive(Debug)]
pub(super) struct Json {
    tokenizer: Tokenizer,
    /// The same added tokens, with the special ones left as text.
    plain: AddedVocabulary,
}

impl Json {
    /// Reads the tokenizer. Ids must be below `limit`.
    pub(super) fn read(json: &str, limit: usize) -> Result<(Self, TokenBytes), TokenizerError> {
        let tokenizer = guarded(|| json.parse::<Tokenizer>())?.map_err(|error| unusable(error.to_string()))?;
        let spelling = tokenizer.get_decoder().and_then(spelling);
        let spelling =
            spelling.ok_or_else(|| unusable("only byte-level tokenizers and byte fallback are supported"))?;
        let table = token_bytes(&tokenizer, spelling, limit)?;
        let mut plain = tokenizer.get_added_vocabulary().clone();
        plain.set_encode_special_tokens(true);
        Ok((Self { tokenizer, plain }, table))
    }

    pub(super) fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoded = guarded(|| self.try_encode(text, special))?;
        encoded.map_err(|error| TokenizerError::Encode { reason: error.to_string() })
    }

    /// What [`Tokenizer::encode`] does up to the post-processor, which would add BOS.
    fn try_encode(&self, text: &str, special: bool) -> tokenizers::Result<Vec<u32>> {
        let added = if special { self.tokenizer.get_added_vocabulary() } else { &self.plain };
        let mut pieces = added.extract_and_normalize(self.tokenizer.get_normalizer(), text);
        if let Some(pre) = self.tokenizer.get_pre_tokenizer() {
            pre.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| self.tokenizer.get_model().tokenize(piece.get()))?;
        Ok(pieces.into_encoding(None, 0, OffsetType::None)?.get_ids().to_vec())
    }
}

/// How normal tokens are written, if their bytes can be known one by one.
fn spelling(decoder: &DecoderWrapper) -> Option<Spelling> {
    match decoder {
        DecoderWrapper::ByteLevel(_) => Some(Spelling::Letters),
        DecoderWrapper::ByteFallback(_) => Some(Spelling::Spaces),
        DecoderWrapper::Sequence(steps) => steps.get_decoders().iter().find_map(spelling),
        _ => None,
    }
}

/// The bytes of every id from 0 to the highest; gaps are empty.
fn token_bytes(tokenizer: &Tokenizer, spelling: Spelling, limit: usize) -> Result<TokenBytes, TokenizerError> {
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    let size = tokenizer.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
    if size == 0 || size > limit {
        return Err(unusable(format!("its highest id makes {size} tokens, where the file has {limit}")));
    }
    let mut table = TokenBytes::default();
    for id in 0..size as u32 {
        let text = tokenizer.id_to_token(id).unwrap_or_default();
        match (added.get(&id), spelling, hex_byte(&text)) {
            (Some(token), ..) if token.special => table.push_control(&text),
            (Some(_), ..) => table.push(text.as_bytes()),
            (None, Spelling::Spaces, Some(byte)) => table.push(&[byte]),
            (None, ..) => table.push_spelled(&text, spelling),
        }
    }
    Ok(table)
}

/// The crate panics on some malformed files (a merge longer than every token, for one): here that
/// is an error.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, TokenizerError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| unusable("malformed: the tokenizers crate panicked on it"))
}

fn unusable(reason: impl Into<String>) -> TokenizerError {
    TokenizerError::Json { reason: reason.into() }
}
