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
        let merges = read_merges(metadata.strings("tokenizer.ggml.merges")?, &ids)?;
        let absent = std::array::from_fn(|byte| !ids.contains_key(bytes::to_char(byte as u8).to_string().as_str()));
        // The cache of the crate would outlive the tokenizer; each call of `encode` has its own.
        let builder = BPE::builder().vocab_and_merges(ids, merges).ignore_merges(pre.ignore_merges).cache_capacity(0);
        let merges = builder.build().map_err(gave_up)?;
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
    let mut ids = Vocab::new();
    for (id, text, _) in vocabulary.iter().filter(|(_, text, _)| !text.is_empty()) {
        ids.entry(text.to_owned()).or_insert(id);
    }
    ids
}

/// Merges in the order of their rank; of equal ones the first counts.
fn read_merges(lines: &[String], ids: &Vocab) -> Result<Vec<Merge>, TokenizerError> {
    let mut seen = HashSet::with_capacity(lines.len());
    let fresh = lines.iter().enumerate().filter(|(_, line)| seen.insert(line.as_str()));
    fresh.map(|(index, line)| read_merge(index, line, ids)).collect()
}

fn read_merge(index: usize, line: &str, ids: &Vocab) -> Result<Merge, TokenizerError> {
    let bad = || TokenizerError::BadMerge { index, merge: line.to_owned() };
    let (left, right) = line.split_once(' ').filter(|(l, r)| !l.is_empty() && !r.is_empty()).ok_or_else(bad)?;
    let whole = [left, right].concat();
    match [left, right, &whole].into_iter().find(|text| !ids.contains_key(*text)) {
        None => Ok((left.to_owned(), right.to_owned())),
        Some(missing) => {
            Err(TokenizerError::MergeOfNoToken { index, merge: line.to_owned(), missing: missing.to_owned() })
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn gave_up(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Encode { reason: error.to_string() }
}
