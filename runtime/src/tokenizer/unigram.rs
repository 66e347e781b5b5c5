//! A unigram language model (`tokenizer.ggml.model` = `t5`): of all ways to cut a text into tokens,
//! the one whose scores have the highest sum.
//!
//! As `SentencePiece` finds it (`unigram::Model::EncodeOptimized`), in the same precision: from
//! left to right, the best way to each place in the text is kept (Viterbi). A character that is no
//! token itself may also be unknown, at a score that is lower than all.

use ahash::AHashMap;
use ollm_kernels::memory::{self, OutOfMemory};

use super::TokenizerError;
use super::fallback::Fallback;
use super::prefixes::Prefixes;
use super::special::{Part, ids_of};
use super::vocab::{TokenKind, Vocabulary};
use crate::gguf::Metadata;

/// How much lower than the lowest score that of an unknown character is.
const UNKNOWN_PENALTY: f32 = 10.0;

#[derive(Debug)]
pub(super) struct Unigram {
    /// Each with its score.
    tokens: Prefixes<(u32, f32)>,
    unknown_score: f32,
    fallback: Fallback,
}

/// The best way to a place: where its last token begins, and which one it is, if it is one.
#[derive(Clone, Copy)]
struct Way {
    score: f32,
    start: usize,
    token: Option<u32>,
}

impl Unigram {
    pub(super) fn read(
        metadata: &Metadata,
        vocabulary: &Vocabulary<'_>,
        unknown: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        let scores = metadata.f32s("tokenizer.ggml.scores")?;
        if scores.len() != vocabulary.len() {
            return Err(TokenizerError::ScoreCount { tokens: vocabulary.len(), scores: scores.len() });
        }
        let normal = || vocabulary.iter().zip(scores).filter(|((_, _, kind), _)| *kind == TokenKind::Normal);
        if let Some(((token, ..), _)) = normal().find(|(_, score)| !score.is_finite()) {
            return Err(TokenizerError::BadScore { token });
        }
        let tokens = normal().map(|((id, text, _), &score)| (text.to_owned(), (id, score))).collect();
        let lowest = normal().map(|(_, &score)| score).reduce(f32::min).unwrap_or(0.0);
        let bytes = vocabulary.iter().filter(|(_, _, kind)| *kind == TokenKind::Byte);
        let bytes: AHashMap<&str, u32> = bytes.map(|(id, text, _)| (text, id)).collect();
        let fallback = Fallback::read(|text| bytes.get(text).copied(), unknown)?;
        Ok(Self { tokens: Prefixes::new(tokens), unknown_score: lowest - UNKNOWN_PENALTY, fallback })
    }

    pub(super) fn encode(&self, parts: &[Part<'_>]) -> Result<Vec<u32>, OutOfMemory> {
        ids_of(parts, |text, ids| self.cut(text, ids))
    }

    /// Appends the tokens of a text that has no spaces any more.
    fn cut(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), OutOfMemory> {
        let ways = self.ways(text)?;
        let mut cuts = Vec::new();
        let mut end = text.len();
        while let Some(Way { start, token, .. }) = ways[end] {
            memory::extend(&mut cuts, [(start..end, token)].into_iter())?;
            end = start;
        }
        let mut again = false;
        for (range, token) in cuts.into_iter().rev() {
            match token {
                Some(id) => memory::extend(ids, [id].into_iter())?,
                None => self.fallback.append(&text[range], again, ids)?,
            }
            again = token.is_none();
        }
        Ok(())
    }

    /// The best way to each place in the text but its beginning; none to those inside of
    /// characters.
    fn ways(&self, text: &str) -> Result<Vec<Option<Way>>, OutOfMemory> {
        let mut ways: Vec<Option<Way>> = memory::filled(None, text.len() + 1)?;
        for (start, c) in text.char_indices() {
            let before = ways[start].map_or(0.0, |way| f64::from(way.score));
            let mut offer = |end: usize, token, score: f32| {
                let score = before + f64::from(score);
                if ways[end].is_none_or(|way| score > f64::from(way.score)) {
                    ways[end] = Some(Way { score: score as f32, start, token });
                }
            };
            let mut is_token = false;
            for (length, &(id, score)) in self.tokens.of(&text.as_bytes()[start..]) {
                offer(start + length, Some(id), score);
                is_token |= length == c.len_utf8();
            }
            if !is_token {
                offer(start + c.len_utf8(), None, self.unknown_score);
            }
        }
        Ok(ways)
    }
}
