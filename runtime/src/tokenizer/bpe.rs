//! BPE from the lists of a GGUF file: a pre-tokenizer, then merges of bytes or of characters.

use std::ops::Range;

use ahash::AHashMap;
use ollm_kernels::memory::{self, OutOfMemory};

use super::merges::Merges;
use super::pre::{Alphabet, Pre};
use super::special::Part;
use super::vocab::Vocabulary;
use super::{TokenizerError, bytes};
use crate::gguf::Metadata;

/// A pre-tokenizer, then merges.
#[derive(Debug)]
pub(super) struct Bpe {
    pre: &'static Pre,
    merges: Merges,
    symbols: Symbols,
    /// The tokens that are taken whole, without merges, where the pre-tokenizer has it so.
    whole: AHashMap<String, u32>,
    /// The characters of the longest of them; 0 if there are none.
    longest: usize,
}

/// The tokens that merges begin with. Bytes that have none vanish from the text, as they do in
/// llama.cpp.
#[derive(Debug)]
enum Symbols {
    /// The token of each byte; nothing merges over one that has none.
    Bytes([Option<u32>; 256]),
    /// The token of each character, and of each byte of the others.
    Characters(AHashMap<char, u32>, [Option<u32>; 256]),
}

impl Bpe {
    pub(super) fn read(
        metadata: &Metadata,
        vocabulary: &Vocabulary<'_>,
        pre: &'static Pre,
    ) -> Result<Self, TokenizerError> {
        let ids = ids(vocabulary);
        let merges = Merges::read(metadata.strings("tokenizer.ggml.merges")?, &ids, |id| vocabulary.is_control(id))?;
        let words = || ids.iter().map(|(&text, &id)| (text, id)).filter(|&(_, id)| !vocabulary.is_control(id));
        let symbols = match pre.alphabet {
            Alphabet::Bytes => Symbols::Bytes(std::array::from_fn(|byte| {
                ids.get(&*bytes::to_char(byte as u8).encode_utf8(&mut [0; 4])).copied()
            })),
            Alphabet::Characters => Symbols::Characters(
                words().filter_map(|(text, id)| only(text.chars()).map(|c| (c, id))).collect(),
                std::array::from_fn(|byte| ids.get(format!("<0x{byte:02X}>").as_str()).copied()),
            ),
        };
        // As llama.cpp has it for Gemma 4: what has a token for all of its line ends is that token.
        let newlines = |text: &str| pre.alphabet == Alphabet::Characters && text.bytes().all(|byte| byte == b'\n');
        let whole = words().filter(|(text, _)| pre.ignore_merges || newlines(text));
        let whole: AHashMap<String, u32> = whole.map(|(text, id)| (text.to_owned(), id)).collect();
        let longest = whole.keys().map(|text| text.chars().count()).max().unwrap_or(0);
        Ok(Self { pre, merges, symbols, whole, longest })
    }

    /// Whether the pre-tokenizer's name implies a BOS token.
    pub(super) fn adds_bos(&self) -> bool {
        self.pre.add_bos
    }

    /// Whether it implies one whatever the file says.
    pub(super) fn needs_bos(&self) -> bool {
        self.pre.needs_bos
    }

    pub(super) fn encode(&self, parts: &[Part<'_>]) -> Result<Vec<u32>, OutOfMemory> {
        let mut encoder = BpeEncoder { bpe: self, ids: Vec::new(), seen: AHashMap::default() };
        for part in parts {
            match part {
                Part::Token(id) => encoder.append([*id].into_iter())?,
                Part::Text(text) => self.pre.pieces(text).try_for_each(|piece| encoder.piece(piece))?,
            }
        }
        Ok(encoder.ids)
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
        let start = self.ids.len();
        match &self.bpe.symbols {
            Symbols::Bytes(tokens) => self.bytes(piece, tokens)?,
            Symbols::Characters(tokens, bytes) => self.characters(piece, tokens, bytes)?,
        }
        let entry = size_of::<(&str, Range<usize>)>();
        self.seen.try_reserve(1).map_err(|_| OutOfMemory { bytes: 2 * self.seen.len() * entry })?;
        self.seen.insert(piece, start..self.ids.len());
        Ok(())
    }

    fn bytes(&mut self, piece: &str, tokens: &[Option<u32>; 256]) -> Result<(), OutOfMemory> {
        let (bpe, token) = (self.bpe, |byte: u8| tokens[usize::from(byte)]);
        for run in piece.as_bytes().split(|&byte| token(byte).is_none()) {
            match bpe.whole(run) {
                Some(id) => self.append([id].into_iter())?,
                None => self.append(bpe.merges.apply(run.iter().filter_map(|&byte| token(byte)))?)?,
            }
        }
        Ok(())
    }

    fn characters(
        &mut self,
        piece: &str,
        tokens: &AHashMap<char, u32>,
        bytes: &[Option<u32>; 256],
    ) -> Result<(), OutOfMemory> {
        let bpe = self.bpe;
        if let Some(&id) = bpe.whole.get(piece) {
            return self.append([id].into_iter());
        }
        let symbols = piece.chars().flat_map(|c| {
            let token = tokens.get(&c).copied();
            let (mut utf8, fallback) = ([0; 4], token.is_none());
            let length = c.encode_utf8(&mut utf8).len();
            let bytes = utf8.into_iter().take(length).filter_map(|byte| bytes[usize::from(byte)]);
            token.into_iter().chain(bytes.filter(move |_| fallback))
        });
        self.append(bpe.merges.apply(symbols)?)
    }

    fn append(&mut self, ids: impl Iterator<Item = u32>) -> Result<(), OutOfMemory> {
        memory::extend(&mut self.ids, ids)
    }
}

/// The only one, if there is just one.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    all.next().filter(|_| all.next().is_none())
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
