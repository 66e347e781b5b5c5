//! Byte-level BPE from the lists of a GGUF file.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use tokenizers::Model as _;
use tokenizers::models::bpe::{BPE, Vocab};

use super::special::{Part, Specials};
use super::split::Pre;
use super::vocab::Vocabulary;
use super::{TokenizerError, bytes};
use crate::gguf::Metadata;

/// Special tokens, then a pre-tokenizer, then merges.
#[derive(Debug)]
pub(super) struct Bpe {
    specials: Specials,
    pre: &'static Pre,
    merges: BPE,
    /// Bytes that no token stands for. They vanish from the text, as they do in llama.cpp, and nothing merges over them.
    absent: [bool; 256],
}

/// The two tokens of a merge.
type Merge = (String, String);

impl Bpe {
    pub(super) fn read(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        let pre = pre_tokenizer(metadata)?;
        let ids = ids(vocabulary);
        let lines = metadata.strings("tokenizer.ggml.merges")?;
        let merges = read_merges(lines, vocabulary.longest())?;
        let absent = std::array::from_fn(|byte| !ids.contains_key(bytes::to_char(byte as u8).to_string().as_str()));
        // The cache of the crate would outlive the tokenizer; each call of `encode` has its own.
        let builder = BPE::builder().vocab_and_merges(ids, merges).ignore_merges(pre.ignore_merges).cache_capacity(0);
        let merges = builder.build().map_err(|error| blame(lines, vocabulary).unwrap_or_else(|| gave_up(error)))?;
        Ok(Self { specials: Specials::new(vocabulary.specials()), pre, merges, absent })
    }

    /// Whether the pre-tokenizer's name implies a BOS token.
    pub(super) fn adds_bos(&self) -> bool {
        self.pre.add_bos
    }

    pub(super) fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let mut encoder = Encoder { bpe: self, ids: Vec::new(), seen: HashMap::new() };
        for part in self.specials.partition(text, special) {
            match part {
                Part::Token(id) => encoder.ids.push(id),
                Part::Text(text) => self.pre.pieces(text).try_for_each(|piece| encoder.piece(piece))?,
            }
        }
        Ok(encoder.ids)
    }
}

/// One call of `encode`. Words repeat, so the tokens of a piece are looked up where they were put before.
struct Encoder<'t, 'b> {
    bpe: &'b Bpe,
    ids: Vec<u32>,
    seen: HashMap<&'t str, Range<usize>>,
}

impl<'t> Encoder<'t, '_> {
    fn piece(&mut self, piece: &'t str) -> Result<(), TokenizerError> {
        if let Some(before) = self.seen.get(piece) {
            self.ids.extend_from_within(before.clone());
            return Ok(());
        }
        let start = self.ids.len();
        for run in piece.as_bytes().split(|&byte| self.bpe.absent[usize::from(byte)]) {
            let run: String = run.iter().map(|&byte| bytes::to_char(byte)).collect();
            self.ids.extend(self.bpe.merges.tokenize(&run).map_err(gave_up)?.iter().map(|token| token.id));
        }
        self.seen.insert(piece, start..self.ids.len());
        Ok(())
    }
}

fn pre_tokenizer(metadata: &Metadata) -> Result<&'static Pre, TokenizerError> {
    let name = metadata.str("tokenizer.ggml.pre")?;
    Pre::named(name).ok_or_else(|| TokenizerError::UnknownPre { pre: name.to_owned() })
}

/// The id of each text. Where two tokens have the same text, the lower id is the one that is written; an empty token is
/// never written.
fn ids(vocabulary: &Vocabulary<'_>) -> Vocab {
    let mut ids = Vocab::with_capacity(vocabulary.len());
    for (id, text, _) in vocabulary.iter().filter(|(_, text, _)| !text.is_empty()) {
        ids.entry(text.to_owned()).or_insert(id);
    }
    ids
}

/// Merges in the order of their rank; of equal ones the first counts. Whether the tokens are there is for the crate to find
/// out, except that it panics on a merge longer than every token.
fn read_merges(lines: &[String], longest: usize) -> Result<Vec<Merge>, TokenizerError> {
    let mut seen = HashSet::with_capacity(lines.len());
    let fresh = lines.iter().map(String::as_str).enumerate().filter(|(_, line)| seen.insert(*line));
    let read = |(index, line)| match split_merge(index, line)? {
        (left, right) if left.len() + right.len() > longest => Err(no_token(index, line, &[left, right].concat())),
        (left, right) => Ok((left.to_owned(), right.to_owned())),
    };
    fresh.map(read).collect()
}

fn split_merge(index: usize, line: &str) -> Result<(&str, &str), TokenizerError> {
    let parts = line.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty());
    parts.ok_or_else(|| TokenizerError::BadMerge { index, merge: line.to_owned() })
}

/// Which merge needs which token that is not there.
fn blame(lines: &[String], vocabulary: &Vocabulary<'_>) -> Option<TokenizerError> {
    let ids = ids(vocabulary);
    lines.iter().enumerate().find_map(|(index, line)| {
        let (left, right) = split_merge(index, line).ok()?;
        let needed = [left.to_owned(), right.to_owned(), [left, right].concat()];
        needed.iter().find(|text| !ids.contains_key(*text)).map(|missing| no_token(index, line, missing))
    })
}

fn no_token(index: usize, merge: &str, missing: &str) -> TokenizerError {
    TokenizerError::MergeOfNoToken { index, merge: merge.to_owned(), missing: missing.to_owned() }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn gave_up(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Encode { reason: error.to_string() }
}
