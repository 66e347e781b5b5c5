//! Word pieces (`tokenizer.ggml.model` = `bert`) from the lists of a GGUF file, as embedding models
//! have them: the `tokenizers` crate does the work.

use ahash::AHashMap;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Tokenizer};

use super::vocab::{SPACE, TokenKind, Vocabulary};
use super::warning::Warnings;
use super::{TokenizerError, ids};
use crate::gguf::Metadata;

/// The value of `tokenizer.ggml.model` that is read here.
pub(super) const MODEL: &str = "bert";

/// Builds the tokenizer of a file.
///
/// llama.cpp's converter writes U+2581 before what begins a word, in place of `##` before what does
/// not.
pub(super) fn read(metadata: &Metadata, warnings: &mut Warnings) -> Result<Tokenizer, TokenizerError> {
    let vocabulary = Vocabulary::read(metadata, warnings)?;
    let text = |text: &str, kind| match text.strip_prefix(SPACE) {
        _ if kind != TokenKind::Normal => text.to_owned(),
        Some(word) => word.to_owned(),
        None => format!("##{text}"),
    };
    let vocab: AHashMap<String, u32> = vocabulary.iter().map(|(id, token, kind)| (text(token, kind), id)).collect();
    let unknown = ids::unknown(metadata, vocabulary.len()).and_then(|id| vocabulary.iter().nth(id as usize));
    let unknown = unknown.map_or("[UNK]", |(_, text, _)| text).to_owned();
    let lowercase = metadata.opt_bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(true);
    let accents = metadata.opt_bool("tokenizer.ggml.normalizer.strip_accents")?;
    let build = || -> tokenizers::Result<Tokenizer> {
        let mut tokenizer = Tokenizer::new(WordPiece::builder().vocab(vocab).unk_token(unknown).build()?);
        tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, accents, lowercase)))?;
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        tokenizer.add_special_tokens(tokens(&vocabulary, true))?;
        tokenizer.add_tokens(tokens(&vocabulary, false))?;
        Ok(tokenizer)
    };
    build().map_err(|error| TokenizerError::Json { reason: error.to_string() })
}

/// The control tokens, or those that are user-defined, which are found by their texts.
fn tokens(vocabulary: &Vocabulary<'_>, control: bool) -> Vec<AddedToken> {
    let wanted = |kind| match kind {
        TokenKind::Control | TokenKind::Unknown => control,
        TokenKind::UserDefined => !control,
        _ => false,
    };
    let found = vocabulary.iter().filter(|(_, text, kind)| wanted(*kind) && !text.is_empty());
    found.map(|(_, text, _)| AddedToken::from(text, control).normalized(false)).collect()
}
