//! Byte-level BPE from the lists of a GGUF file.

use std::ops::Range;

use ahash::AHashMap;

use super::merges::Merges;
use super::special::{ControlTokens, Specials, TextPart};
use super::split::Pre;
use super::vocab::Vocabulary;
use super::{TokenizerError, bytes};
use crate::gguf::Metadata;
use crate::memory::{self, OutOfMemory};

/// Special tokens, then a pre-tokenizer, then merges.
#[derive(Debug)]
pub(super) struct Bpe {
    specials: Specials,
    pre: &'static Pre,
    merges: Merges,
    /// The token of each byte. Bytes that have none vanish from the text, as they do in llama.cpp,
    /// and nothing merges over them.
    letters: [Option<u32>; 256],
    /// The tokens that are taken whole, without merges, where the pre-tokenizer has it so.
    whole: AHashMap<String, u32>,
    /// The characters of the longest of them; 0 if there are none.
    longest: usize,
}

impl Bpe {
    pub(super) fn read(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        let pre = pre_tokenizer(metadata)?;
        let ids = ids(vocabulary);
        let merges = Merges::read(metadata.strings("tokenizer.ggml.merges")?, &ids, |id| vocabulary.is_control(id))?;
        let letter = |byte| ids.get(&*bytes::to_char(byte as u8).encode_utf8(&mut [0; 4])).copied();
        let letters = std::array::from_fn(letter);
        let whole = if pre.ignore_merges {
            let words = ids.iter().filter(|&(_, &id)| !vocabulary.is_control(id));
            words.map(|(&text, &id)| (text.to_owned(), id)).collect()
        } else {
            AHashMap::default()
        };
        let longest = whole.keys().map(|text| text.chars().count()).max().unwrap_or(0);
        Ok(Self { specials: Specials::new(vocabulary.specials()), pre, merges, letters, whole, longest })
    }

    /// Whether the pre-tokenizer's name implies a BOS token.
    pub(super) fn adds_bos(&self) -> bool {
        self.pre.add_bos
    }

    pub(super) fn encode(&self, text: &str, control: ControlTokens<'_>) -> Result<Vec<u32>, OutOfMemory> {
        let mut encoder = BpeEncoder { bpe: self, ids: Vec::new(), seen: AHashMap::default() };
        for part in self.specials.partition(text, control)? {
            match part {
                TextPart::Token(id) => encoder.append([id].into_iter())?,
                TextPart::Text(text) => self.pre.pieces(text).try_for_each(|piece| encoder.piece(piece))?,
            }
        }
        Ok(encoder.ids)
    }

    /// The texts of control tokens.
    pub(super) fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.specials.control_texts()
    }

    /// The token whose text is that of these bytes, if such ones are taken whole.
    fn whole(&self, run: &[u8]) -> Option<u32> {
        let text = || run.iter().map(|&byte| bytes::to_char(byte)).collect::<String>();
        if run.len() > self.longest { None } else { self.whole.get(&text()).copied() }
    }
}

/// One call of `encode`. Words repeat, so the tokens of a piece are looked up where they were put
/// before.
struct BpeEncoder<'t, 'b> {
    bpe: &'b Bpe,
    ids: Vec<u32>,
    seen: AHashMap<&'t str, Range<usize>>,
}

impl<'t> BpeEncoder<'t, '_> {
    fn piece(&mut self, piece: &'t str) -> Result<(), OutOfMemory> {
        if let Some(before) = self.seen.get(piece).cloned() {
            memory::grow(&mut self.ids, before.len())?;
            self.ids.extend_from_within(before);
            return Ok(());
        }
        let (bpe, start) = (self.bpe, self.ids.len());
        let token = |byte: u8| bpe.letters[usize::from(byte)];
        for run in piece.as_bytes().split(|&byte| token(byte).is_none()) {
            match bpe.whole(run) {
                Some(id) => self.append([id].into_iter())?,
                None => self.append(bpe.merges.apply(run.iter().filter_map(|&byte| token(byte)))?)?,
            }
        }
        let entry = size_of::<(&str, Range<usize>)>();
        self.seen.try_reserve(1).map_err(|_| OutOfMemory { bytes: 2 * self.seen.len() * entry })?;
        self.seen.insert(piece, start..self.ids.len());
        Ok(())
    }

    fn append(&mut self, ids: impl Iterator<Item = u32>) -> Result<(), OutOfMemory> {
        memory::extend(&mut self.ids, ids)
    }
}

fn pre_tokenizer(metadata: &Metadata) -> Result<&'static Pre, TokenizerError> {
    let name = metadata.str("tokenizer.ggml.pre")?;
    Pre::named(name).ok_or_else(|| TokenizerError::UnknownPre { pre: name.to_owned() })
}

/// The id of each text. Where two tokens have the same text, the lower id is the one that is
/// written; an empty token is never written.
fn ids<'m>(vocabulary: &Vocabulary<'m>) -> AHashMap<&'m str, u32> {
    let mut ids = AHashMap::with_capacity(vocabulary.len());
    for (id, text, _) in vocabulary.iter().filter(|(_, text, _)| !text.is_empty()) {
        ids.entry(text).or_insert(id);
    }
    ids
}
