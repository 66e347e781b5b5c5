//! The original tokenizer of a model, carried in `tokenizer.huggingface.json`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{
    AddedVocabulary, DecoderWrapper, Model as _, ModelWrapper, OffsetType, PreTokenizer as _, PreTokenizerWrapper,
    Tokenizer,
};

use ollm_kernels::memory;

use super::TokenizerError;
use super::oniguruma;
use super::special::{ControlTokens, Special, Specials, TakesSpaces, TextPart};
use super::vocab::{Spelling, TokenBytes, hex_byte};
use super::warning::Warnings;
use super::wordpiece;
use crate::gguf::Metadata;

/// Memory that the `tokenizers` crate, which cannot be refused memory, takes for a byte of text at
/// most: the text before and after each change with the places of its bytes, and what it notes of
/// each token, in lists that double as they grow. Of tokens of one byte in pieces of one byte, 281
/// bytes were measured.
const BYTES_PER_BYTE: usize = 512;

/// A tokenizer of the `tokenizers` crate.
#[derive(Debug)]
pub(super) struct Json {
    tokenizer: Tokenizer,
    /// The same added tokens, with the special ones left as text.
    plain: AddedVocabulary,
    /// The special ones.
    specials: Specials,
    /// The pre-tokenizer of what is not the beginning of a text, where it is another one.
    inner: Option<PreTokenizerWrapper>,
}

impl Json {
    /// Reads the tokenizer. Ids must be below `limit`.
    pub(super) fn read(json: &str, limit: usize) -> Result<(Self, TokenBytes), TokenizerError> {
        let tokenizer = guarded(|| with_translated_expressions(json.parse()?))?;
        Self::of(tokenizer.map_err(|error| unusable(error.to_string()))?, limit)
    }

    /// Reads the lists of a file, if they are of a `model` that is made of word pieces.
    pub(super) fn of_word_pieces(
        metadata: &Metadata,
        model: &str,
        warnings: &mut Warnings,
    ) -> Option<Result<(Self, TokenBytes), TokenizerError>> {
        (model == wordpiece::MODEL).then(|| Self::of(wordpiece::read(metadata, warnings)?, usize::MAX))
    }

    fn of(tokenizer: Tokenizer, limit: usize) -> Result<(Self, TokenBytes), TokenizerError> {
        let spelling = tokenizer.get_decoder().and_then(spelling).or_else(|| spelling_of_model(tokenizer.get_model()));
        let spelling = spelling.ok_or_else(|| {
            unusable("its decoder is not known; known are byte-level, byte fallback, Metaspace, and WordPiece's")
        })?;
        let table = token_bytes(&tokenizer, spelling, limit)?;
        let mut plain = tokenizer.get_added_vocabulary().clone();
        plain.set_encode_special_tokens(true);
        let specials = specials(&plain);
        let inner = tokenizer.get_pre_tokenizer().and_then(without_prefix);
        Ok((Self { tokenizer, plain, specials, inner }, table))
    }

    /// The texts of special tokens.
    pub(super) fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.specials.control_texts()
    }

    /// The crate knows no ranges: it gets a text whole where all of its special tokens count, and
    /// else what lies between those that do.
    pub(super) fn encode(&self, text: &str, control: ControlTokens<'_>) -> Result<Vec<u32>, TokenizerError> {
        memory::probe(text.len().saturating_mul(BYTES_PER_BYTE))?;
        let added = self.tokenizer.get_added_vocabulary();
        match control {
            ControlTokens::Nowhere => self.piece(text, &self.plain, true),
            ControlTokens::Outside([]) => self.piece(text, added, true),
            ControlTokens::Outside(_) => {
                let parts = self.specials.partition(text, control)?;
                let all = self.specials.partition(text, ControlTokens::everywhere(true))?;
                let token = |part: &TextPart<'_>| if let TextPart::Token(id) = part { Some(*id) } else { None };
                let whole = self.piece(text, added, true)?;
                let tokens = added.get_added_tokens_decoder();
                let is_special = |id: &u32| tokens.get(id).is_some_and(|token| token.special);
                if parts == all && whole.iter().copied().filter(is_special).eq(parts.iter().filter_map(token)) {
                    return Ok(whole);
                }
                self.parts(&parts)
            }
        }
    }

    fn parts(&self, parts: &[TextPart<'_>]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            match part {
                TextPart::Token(id) => ids.push(*id),
                TextPart::Text(text) => ids.extend(self.piece(text, &self.plain, index == 0)?),
            }
        }
        Ok(ids)
    }

    fn piece(&self, text: &str, added: &AddedVocabulary, first: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoded = guarded(|| self.try_piece(text, added, first))?;
        encoded.map_err(|error| TokenizerError::Encode { reason: error.to_string() })
    }

    /// What [`Tokenizer::encode`] does up to the post-processor, which would add BOS.
    fn try_piece(&self, text: &str, added: &AddedVocabulary, first: bool) -> tokenizers::Result<Vec<u32>> {
        let mut pieces = added.extract_and_normalize(self.tokenizer.get_normalizer(), text);
        let inner = self.inner.as_ref().filter(|_| !first);
        if let Some(pre) = inner.or(self.tokenizer.get_pre_tokenizer()) {
            pre.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| self.tokenizer.get_model().tokenize(piece.get()))?;
        Ok(pieces.into_encoding(None, 0, OffsetType::None)?.get_ids().to_vec())
    }
}

/// With the expressions of the normalizer and the pre-tokenizer as this crate's engine reads them.
fn with_translated_expressions(mut tokenizer: Tokenizer) -> tokenizers::Result<Tokenizer> {
    if let Some(normalizer) = tokenizer.get_normalizer().map(translated).transpose()?.flatten() {
        tokenizer.with_normalizer(Some(normalizer))?;
    }
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer().map(translated).transpose()?.flatten() {
        tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    }
    Ok(tokenizer)
}

/// A part of a tokenizer with its expressions translated, if that changes one.
fn translated<T: Serialize + DeserializeOwned>(part: &T) -> tokenizers::Result<Option<T>> {
    let mut value = serde_json::to_value(part)?;
    Ok(if translate(&mut value) { Some(serde_json::from_value(value)?) } else { None })
}

/// Translates every expression in a value, and says whether that changed one.
fn translate(value: &mut Value) -> bool {
    match value {
        Value::Object(map) => map.iter_mut().fold(false, |changed, (key, value)| match value {
            Value::String(expression) if key == "Regex" => {
                let before = std::mem::replace(expression, oniguruma::translated(expression));
                changed || before != *expression
            }
            value => changed | translate(value),
        }),
        Value::Array(values) => values.iter_mut().fold(false, |changed, value| changed | translate(value)),
        _ => false,
    }
}

/// The special tokens, to be found by their texts.
fn specials(added: &AddedVocabulary) -> Specials {
    let special = added.get_added_tokens_decoder().iter().filter(|(_, token)| token.special);
    let special = special.map(|(&id, token)| {
        let takes = TakesSpaces { before: token.lstrip, behind: token.rstrip };
        Special { id, text: token.content.clone(), control: true, takes }
    });
    Specials::new(special.collect())
}

/// A pre-tokenizer that puts a space before the beginning of a text alone, without that space.
fn without_prefix(pre: &PreTokenizerWrapper) -> Option<PreTokenizerWrapper> {
    match pre {
        PreTokenizerWrapper::Metaspace(pre) if pre.get_prepend_scheme() == PrependScheme::First => {
            let mut inner = pre.clone();
            inner.set_prepend_scheme(PrependScheme::Never);
            Some(PreTokenizerWrapper::Metaspace(inner))
        }
        _ => None,
    }
}

/// How normal tokens are written, if their bytes can be known one by one.
fn spelling(decoder: &DecoderWrapper) -> Option<Spelling> {
    match decoder {
        DecoderWrapper::ByteLevel(_) => Some(Spelling::Letters),
        DecoderWrapper::ByteFallback(_) | DecoderWrapper::Metaspace(_) => Some(Spelling::Spaces),
        DecoderWrapper::WordPiece(_) => Some(Spelling::Words),
        DecoderWrapper::Sequence(steps) => steps.get_decoders().iter().find_map(spelling),
        _ => None,
    }
}

/// How the tokens of a model are written that needs no decoder to say so.
fn spelling_of_model(model: &ModelWrapper) -> Option<Spelling> {
    match model {
        ModelWrapper::WordPiece(_) => Some(Spelling::Words),
        ModelWrapper::WordLevel(_) => Some(Spelling::WholeWords),
        ModelWrapper::Unigram(_) => Some(Spelling::Spaces),
        ModelWrapper::BPE(_) => None,
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
            // Decoders of spaces and bytes are for these too; other spellings are the model's.
            (_, Spelling::Spaces, Some(byte)) => table.push(&[byte]),
            (Some(_), Spelling::Spaces, None) | (None, ..) => table.push_spelled(&text, spelling),
            (Some(_), ..) => table.push(text.as_bytes()),
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
