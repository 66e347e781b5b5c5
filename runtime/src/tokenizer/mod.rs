//! Text to tokens and back, as the model file says.
//!
//! ```text
//! text -> special tokens cut out -> normalizer -> pieces (pre-tokenizer) -> bytes -> merges -> ids
//! text -> special tokens cut out -> normalizer -> characters -> merges by score -> ids
//! text -> special tokens cut out -> normalizer -> the best way to cut it into unigrams -> ids
//! text -> special tokens cut out -> words -> the longest pieces (WordPiece, feature `tokenizer-json`) -> ids
//! ids -> bytes -> text
//! ```
//!
//! The tokenizer comes from `tokenizer.huggingface.json` where the file carries one (and the build
//! reads it: feature `tokenizer-json`), and else from the lists `tokenizer.ggml.*` (`docs/gguf.md`
//! of the ggml project). From the lists it gives the ids that llama.cpp gives, or those of the
//! published tokenizer where llama.cpp only comes near them: see `split` and `normalizer`. Nothing
//! is guessed in silence: an algorithm or a pre-tokenizer that is not known here is an error, and
//! what else is odd about a file is among the [`Tokenizer::warnings`].

mod bpe;
mod bytes;
mod charsmap;
mod enclosure;
mod error;
mod fallback;
mod form;
mod ids;
#[cfg_attr(not(feature = "tokenizer-json"), path = "no_json.rs")]
mod json;
mod lists;
mod merges;
mod normalizer;
#[cfg(any(test, feature = "tokenizer-json"))]
mod oniguruma;
mod pair;
mod pre;
mod prefixes;
mod special;
mod split;
mod spm;
mod stream;
mod unicode;
mod unigram;
mod vocab;
mod warning;
#[cfg(feature = "tokenizer-json")]
mod wordpiece;

pub use bytes::to_char as byte_letter;
pub use error::TokenizerError;
pub use form::KEY as NORMALIZER_KEY;
pub use pair::TextPair;
pub use pre::usual_pre_tokenizers;
pub use stream::Detokenizer;
pub use warning::TokenizerWarning;

use std::ops::Range;

use ollm_kernels::memory::{self, OutOfMemory};

use crate::gguf::Metadata;
use enclosure::Enclosure;
use ids::NamedTokens;
use json::Json;
use lists::Lists;
use pair::PairRule;
use special::ControlTokens;
use vocab::{END_TEXTS, TokenBytes};
use warning::Warnings;

type Result<T, E = TokenizerError> = std::result::Result<T, E>;

/// The tokenizer of a model.
#[derive(Debug)]
pub struct Tokenizer {
    encoder: Algorithm,
    bytes: TokenBytes,
    named: NamedTokens,
    /// What begins every text, if the file wants something there.
    first: Option<u32>,
    /// What ends a whole text, if the file wants something there.
    last: Option<u32>,
    ends: Vec<u32>,
    pairs: PairRule,
    warnings: Warnings,
}

#[derive(Debug)]
enum Algorithm {
    Lists(Box<Lists>),
    Json(Box<Json>),
}

impl Tokenizer {
    /// Builds the tokenizer that the metadata of a model file describes.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let lists = metadata.get("tokenizer.ggml.tokens").is_some();
        let mut warnings = Warnings::new();
        let (encoder, bytes) = match metadata.opt_str("tokenizer.huggingface.json")? {
            Some(json) if cfg!(feature = "tokenizer-json") || !lists => read_json(metadata, json)?,
            _ => read_lists(metadata, &mut warnings)?,
        };
        let named = NamedTokens::read(metadata, bytes.len(), &mut warnings);
        let usual = Enclosure::usual(metadata, encoder.adds_bos(), &named)?;
        let [mut first, last] = [usual.first.token(metadata, &named)?, usual.last.token(metadata, &named)?];
        if let (None, Some(bos), true) = (first, named.id(ids::BOS), encoder.needs_bos()) {
            warnings.push(TokenizerWarning::BosNeeded);
            first = Some(bos);
        }
        let separator = named.id(ids::SEP).or_else(|| named.id(ids::EOS));
        let pairs = PairRule::read(metadata, last, separator)?;
        let turns = ids::TURNS.map(|name| named.id(name));
        let mut tokenizer = Self { encoder, bytes, named, first, last, ends: Vec::new(), pairs, warnings };
        tokenizer.ends =
            [tokenizer.eos()].into_iter().chain(turns).flatten().chain(tokenizer.ends_by_text()?).collect();
        Ok(tokenizer)
    }

    /// What is odd about the file's tokenizer, though it can be used.
    pub fn warnings(&self) -> &[TokenizerWarning] {
        &self.warnings
    }

    /// The number of tokens. The model's own vocabulary may be larger, with rows that no text
    /// makes.
    pub fn vocab_size(&self) -> usize {
        self.bytes.len()
    }

    /// The tokens of a text. With `special`, the text of a control token (`<|im_start|>`) becomes
    /// that token; without, it is text like any other. BOS is not added: see
    /// [`Tokenizer::add_bos`].
    ///
    /// # Errors
    /// [`TokenizerError::OutOfMemory`]; [`TokenizerError::Encode`] if a tokenizer of
    /// `tokenizer.huggingface.json` gives up.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        self.encoder.encode(text, ControlTokens::everywhere(special))
    }

    /// As [`Tokenizer::encode`] with special tokens, but the text of a control token that touches
    /// one of the ranges of bytes in `plain` is text like any other. The ranges are in order and
    /// lie at boundaries of characters.
    pub fn encode_outside(&self, text: &str, plain: &[Range<usize>]) -> Result<Vec<u32>> {
        self.encoder.encode(text, ControlTokens::Outside(plain))
    }

    /// The texts that [`Tokenizer::encode`] reads as control tokens, in no order.
    pub fn control_texts(&self) -> impl Iterator<Item = &str> {
        let texts: Box<dyn Iterator<Item = &str>> = match &self.encoder {
            Algorithm::Lists(lists) => Box::new(lists.control_texts()),
            Algorithm::Json(json) => Box::new(json.control_texts()),
        };
        texts
    }

    /// The token that the file wants at the beginning of every text, if it wants one.
    pub fn add_bos(&self) -> Option<u32> {
        self.first
    }

    /// The token that the file wants at the end of a whole text, if it wants one: EOS, or the
    /// separator of word pieces.
    pub fn add_eos(&self) -> Option<u32> {
        self.last
    }

    /// Puts the tokens that the file wants around a whole text before and behind `tokens`, each
    /// unless it is there already. An embedding is of a whole text; one that is to be continued has
    /// [`Tokenizer::begin`] alone.
    ///
    /// # Errors
    /// [`TokenizerError::OutOfMemory`].
    pub fn enclose(&self, tokens: &mut Vec<u32>) -> Result<()> {
        self.begin(tokens)?;
        self.end(tokens)
    }

    /// Puts the token that the file wants at the end of a whole text behind `tokens`, unless it is
    /// there already.
    ///
    /// # Errors
    /// [`TokenizerError::OutOfMemory`].
    pub fn end(&self, tokens: &mut Vec<u32>) -> Result<()> {
        if let Some(last) = self.last.filter(|last| tokens.last() != Some(last)) {
            memory::grow(tokens, 1)?;
            tokens.push(last);
        }
        Ok(())
    }

    /// Puts the token that the file wants at the beginning of every text before `tokens`, unless
    /// the text itself begins with it: two of them are not what a model was trained with. Gives
    /// whether it was there already.
    ///
    /// # Errors
    /// [`TokenizerError::OutOfMemory`].
    pub fn begin(&self, tokens: &mut Vec<u32>) -> Result<bool> {
        let Some(bos) = self.add_bos() else { return Ok(false) };
        if tokens.first() == Some(&bos) {
            return Ok(true);
        }
        memory::grow(tokens, 1)?;
        tokens.insert(0, bos);
        Ok(false)
    }

    /// The token for the beginning of a text.
    pub fn bos(&self) -> Option<u32> {
        self.named.id(ids::BOS)
    }

    /// The token for the end of a text.
    pub fn eos(&self) -> Option<u32> {
        self.named.id(ids::EOS)
    }

    /// The special tokens that the file names by id, by the names that transformers and chat
    /// templates have for them: `bos_token`, `pad_token` and the like.
    pub fn special_tokens(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.named.iter().filter(|(name, _)| !ids::TURNS.contains(name))
    }

    /// The special token of this name, if the file names one by id: one of
    /// [`Tokenizer::special_tokens`], `eot_token` (the end of a turn), `eom_token` (of a message).
    pub fn special(&self, name: &str) -> Option<u32> {
        self.named.id(name)
    }

    /// Whether generation ends at this token: the end of a text or of a turn.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// The tokens that generation ends at.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Whether the token stands for no text: it marks a turn, or the beginning or end of a text.
    pub fn is_control(&self, id: u32) -> bool {
        self.bytes.is_control(id)
    }

    /// The bytes that a token stands for; a control token stands for its name. They need not be
    /// UTF-8 by themselves.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.bytes.get(id)
    }

    /// The tokens whose bytes hold one of these texts, in ascending order.
    pub fn tokens_with(&self, texts: &[&str]) -> Vec<u32> {
        let holds =
            |bytes: &[u8], text: &str| !text.is_empty() && bytes.windows(text.len()).any(|w| w == text.as_bytes());
        let any = |id: &u32| self.token_bytes(*id).is_some_and(|bytes| texts.iter().any(|text| holds(bytes, text)));
        (0..self.vocab_size() as u32).filter(any).collect()
    }

    /// The text of tokens; what is not UTF-8 becomes U+FFFD. Ids past the vocabulary stand for
    /// nothing. [`Tokenizer::try_decode`] is for texts of any length.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.bytes_of(ids).copied().collect::<Vec<u8>>()).into_owned()
    }

    /// [`Tokenizer::decode`] by fallible allocation.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn try_decode(&self, ids: &[u32]) -> Result<String, OutOfMemory> {
        let mut bytes = Vec::new();
        memory::extend(&mut bytes, self.bytes_of(ids).copied())?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(error) => lossy(error.as_bytes()),
        }
    }

    fn bytes_of(&self, ids: &[u32]) -> impl Iterator<Item = &u8> {
        ids.iter().filter_map(|&id| self.token_bytes(id)).flatten()
    }

    /// End tokens that the file does not name by id: those that a special token of that text
    /// encodes.
    fn ends_by_text(&self) -> Result<Vec<u32>> {
        let alone = |text: &str| Ok(<[u32; 1]>::try_from(self.encode(text, true)?).ok().map(|[id]| id));
        // In the harmony format `<|end|>` ends a message; the turn goes on.
        let goes_on = ["<|return|>", "<|call|>"].map(alone).into_iter().collect::<Result<Vec<_>>>()?;
        let goes_on = goes_on.iter().all(Option::is_some);
        let ends = END_TEXTS.into_iter().filter(|&text| !(goes_on && text == "<|end|>"));
        ends.filter_map(|text| alone(text).transpose()).collect()
    }

    /// The tokens of a query and a document, as the model's file wants them: in its template
    /// `rerank`, which is all of the text, or with its special tokens around and between them. The
    /// texts of special tokens in either are text like any other.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn pair(&self, query: &str, document: &str) -> Result<TextPair> {
        if let Some(template) = &self.pairs.template {
            let (text, plain) = pair::filled(template, [query, document]);
            return Ok(TextPair { tokens: self.encode_outside(&text, &plain)?, second: usize::MAX });
        }
        let (first, second) = (self.encode(query, false)?, self.encode(document, false)?);
        let mut tokens = Vec::new();
        memory::reserve(&mut tokens, first.len() + self.pairs.between.len() + second.len() + 2)?;
        tokens.extend(self.add_bos());
        tokens.extend_from_slice(&first);
        tokens.extend_from_slice(&self.pairs.between);
        let start = tokens.len();
        tokens.extend_from_slice(&second);
        tokens.extend(self.add_eos());
        Ok(TextPair { tokens, second: start })
    }
}

/// [`String::from_utf8_lossy`] by fallible allocation.
fn lossy(bytes: &[u8]) -> Result<String, OutOfMemory> {
    let parts = || {
        let replaced = |invalid: &[u8]| if invalid.is_empty() { "" } else { "\u{fffd}" };
        bytes.utf8_chunks().flat_map(move |chunk| [chunk.valid(), replaced(chunk.invalid())])
    };
    let mut text = String::new();
    let bytes = parts().map(str::len).sum();
    text.try_reserve_exact(bytes).map_err(|_| OutOfMemory { bytes })?;
    text.extend(parts());
    Ok(text)
}

impl Algorithm {
    fn encode(&self, text: &str, control: ControlTokens<'_>) -> Result<Vec<u32>> {
        match self {
            Self::Lists(lists) => Ok(lists.encode(text, control)?),
            Self::Json(json) => json.encode(text, control),
        }
    }

    fn adds_bos(&self) -> bool {
        match self {
            Self::Lists(lists) => lists.adds_bos(),
            Self::Json(_) => false,
        }
    }

    fn needs_bos(&self) -> bool {
        matches!(self, Self::Lists(lists) if lists.needs_bos())
    }
}

fn read_lists(metadata: &Metadata, warnings: &mut Warnings) -> Result<(Algorithm, TokenBytes)> {
    let model = metadata.str("tokenizer.ggml.model")?;
    if let Some(pieces) = Json::of_word_pieces(metadata, model, warnings) {
        return pieces.map(|(json, bytes)| (Algorithm::Json(Box::new(json)), bytes));
    }
    let (lists, bytes) = Lists::read(metadata, model, warnings)?;
    Ok((Algorithm::Lists(Box::new(lists)), bytes))
}

/// The highest id is bounded by the file's own list of tokens, or else by the length of the JSON
/// that names it.
fn read_json(metadata: &Metadata, json: &str) -> Result<(Algorithm, TokenBytes)> {
    let limit = metadata.opt_strings("tokenizer.ggml.tokens")?.map_or(json.len(), <[String]>::len);
    let (json, bytes) = Json::read(json, limit)?;
    Ok((Algorithm::Json(Box::new(json)), bytes))
}

#[cfg(test)]
mod tests;
