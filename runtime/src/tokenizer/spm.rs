//! `SentencePiece`-like merging by score, from the lists of a GGUF file (`tokenizer.ggml.model` =
//! `llama`).
//!
//! Spaces become U+2581; then two neighbours become one token where the vocabulary has their text,
//! the one of the highest score first. A character that is no token becomes bytes, each a token, or
//! is unknown. As llama.cpp does it (`llm_tokenizer_spm`).

use std::cmp::Reverse;
use std::ops::Range;

use ahash::AHashMap;
use ollm_kernels::memory::{self, OutOfMemory};

use super::TokenizerError;
use super::fallback::Fallback;
use super::merges::join;
use super::special::{Part, ids_of};
use super::vocab::Vocabulary;
use crate::gguf::Metadata;

/// Merges over all that lies between two special tokens.
#[derive(Debug)]
pub(super) struct Spm {
    tokens: AHashMap<Box<str>, Symbol>,
    fallback: Fallback,
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    id: u32,
    rank: Rank,
}

/// Lower for a higher score.
type Rank = Reverse<i32>;

impl Spm {
    pub(super) fn read(
        metadata: &Metadata,
        vocabulary: &Vocabulary<'_>,
        unknown: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        let scores = metadata.f32s("tokenizer.ggml.scores")?;
        if scores.len() != vocabulary.len() {
            return Err(TokenizerError::ScoreCount { tokens: vocabulary.len(), scores: scores.len() });
        }
        let mut tokens = AHashMap::with_capacity(scores.len());
        for ((id, text, _), &score) in vocabulary.iter().zip(scores) {
            let token = Symbol { id, rank: rank(score).ok_or(TokenizerError::BadScore { token: id })? };
            // Of several with one text the last one counts; control tokens are no part of text.
            if !vocabulary.is_control(id) {
                tokens.insert(Box::from(text), token);
            }
        }
        let fallback = Fallback::read(|text| tokens.get(text).map(|token| token.id), unknown)?;
        Ok(Self { tokens, fallback })
    }

    pub(super) fn encode(&self, parts: &[Part<'_>]) -> Result<Vec<u32>, OutOfMemory> {
        ids_of(parts, |text, ids| self.merge(text, ids))
    }

    /// Appends the tokens of a text that has no spaces any more.
    fn merge(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), OutOfMemory> {
        let characters = text.char_indices().map(|(start, c)| SymbolSpan { start, end: start + c.len_utf8() });
        let merge = |left: SymbolSpan, right: SymbolSpan| {
            let both = SymbolSpan { start: left.start, end: right.end };
            self.tokens.get(&text[both.range()]).map(|token| (token.rank, both))
        };
        let mut again = false;
        for span in join(characters, merge)? {
            let token = self.tokens.get(&text[span.range()]);
            match token {
                Some(token) => memory::extend(ids, [token.id].into_iter())?,
                None => self.fallback.append(&text[span.range()], again, ids)?,
            }
            again = token.is_none();
        }
        Ok(())
    }
}

/// A part of a text.
#[derive(Clone, Copy)]
struct SymbolSpan {
    start: usize,
    end: usize,
}

impl SymbolSpan {
    fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// The bits of a float are ordered as integers are, those of negative ones the other way round.
fn rank(score: f32) -> Option<Rank> {
    let bits = (score + 0.0).to_bits() as i32;
    let ordered = if bits < 0 { i32::MIN - bits } else { bits };
    (!score.is_nan()).then_some(Reverse(ordered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_come_first() {
        let scores = [f32::INFINITY, 2.5, 1.0, 1e-30, 0.0, -1e-30, -1.0, -2.5, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|pair| rank(pair[0]).unwrap() < rank(pair[1]).unwrap()));
        assert_eq!((rank(0.0), rank(f32::NAN)), (rank(-0.0), None));
    }
}
