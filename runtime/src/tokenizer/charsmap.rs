//! The character map of a `SentencePiece` model (`tokenizer.ggml.precompiled_charsmap`): short
//! texts that become others before anything is cut. At each place of a text the longest one counts.
//!
//! ```text
//! length of the trie in bytes (u32) | trie (u32 each) | replacements, each ended by a zero byte
//! ```
//!
//! All numbers are little-endian. The trie is a double array as `darts-clone` writes it; the value
//! of a text is the place of its replacement.

use std::borrow::Cow;

use ollm_kernels::memory::OutOfMemory;

use super::TokenizerError;
use crate::gguf::{Array, Metadata, Value};

const KEY: &str = "tokenizer.ggml.precompiled_charsmap";

#[derive(Debug, PartialEq)]
pub(super) struct CharsMap {
    trie: Vec<u32>,
    replacements: String,
}

impl CharsMap {
    /// The map of a file, if it has one; a list of bytes, signed or not.
    pub(super) fn read(metadata: &Metadata) -> Result<Option<Self>, TokenizerError> {
        let bytes: Vec<u8> = match metadata.get(KEY) {
            None => return Ok(None),
            Some(Value::Array(Array::U8(bytes))) => bytes.clone(),
            Some(Value::Array(Array::I8(bytes))) => bytes.iter().map(|&byte| byte as u8).collect(),
            Some(_) => return Err(TokenizerError::BadCharsMap),
        };
        let map = (!bytes.is_empty()).then(|| Self::parse(&bytes).ok_or(TokenizerError::BadCharsMap));
        map.transpose()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (trie, replacements) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (units, odd) = trie.as_chunks();
        let whole = !units.is_empty() && odd.is_empty();
        let replacements = String::from_utf8(replacements.to_vec()).ok()?;
        whole.then(|| Self { trie: units.iter().map(|&unit| u32::from_le_bytes(unit)).collect(), replacements })
    }

    /// The text with all that the map knows replaced.
    pub(super) fn apply<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, OutOfMemory> {
        let mut mapped = String::new();
        let mut push = |part: &str| {
            mapped.try_reserve(part.len()).map_err(|_| OutOfMemory { bytes: part.len() })?;
            mapped.push_str(part);
            Ok(())
        };
        let (mut start, mut copied) = (0, 0);
        while let Some(c) = text[start..].chars().next() {
            match self.longest(&text[start..]) {
                Some((length, new)) => {
                    push(&text[copied..start])?;
                    push(new)?;
                    start += length;
                    copied = start;
                }
                None => start += c.len_utf8(),
            }
        }
        if copied == 0 {
            return Ok(Cow::Borrowed(text));
        }
        push(&text[copied..])?;
        Ok(Cow::Owned(mapped))
    }

    /// The length of the longest text that this one begins with, and its replacement.
    fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let mut longest = None;
        let mut node = offset(self.trie[0]);
        for (&byte, length) in text.as_bytes().iter().zip(1..) {
            node ^= usize::from(byte);
            let Some(&unit) = self.trie.get(node) else { break };
            // A byte 0 leads to values and unused units alone.
            if byte == 0 || label(unit) != u32::from(byte) {
                break;
            }
            node ^= offset(unit);
            if has_value(unit) && text.is_char_boundary(length) {
                let new = self.trie.get(node).and_then(|&unit| self.replacement(value(unit)));
                longest = new.map(|new| (length, new)).or(longest);
            }
        }
        longest
    }

    fn replacement(&self, at: usize) -> Option<&str> {
        self.replacements.get(at..)?.split('\0').next()
    }
}

/// Where the children of a node are, beside its own place.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

/// The byte that leads to a node; none for a unit that is a value.
fn label(unit: u32) -> u32 {
    unit & (1 << 31 | 0xff)
}

fn has_value(unit: u32) -> bool {
    unit & (1 << 8) != 0
}

fn value(unit: u32) -> usize {
    (unit & !(1 << 31)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` becomes `xy`, `ab` nothing: the root's children are at 0x100 ^ byte, those of `a` at
    /// 0x200 ^ byte. A text that ends has its value at the place of a byte 0.
    fn map() -> Vec<u8> {
        let mut trie = vec![0_u32; 0x400];
        let at = |offset: u32, label: u8, value: bool| offset << 10 | u32::from(value) << 8 | u32::from(label);
        trie[0] = at(0x100, 0, false);
        // From the place 0x161 to 0x200, and from 0x262 to 0x300.
        trie[0x161] = at(0x161 ^ 0x200, b'a', true);
        trie[0x200] = 1 << 31;
        trie[0x262] = at(0x262 ^ 0x300, b'b', true);
        trie[0x300] = 1 << 31 | 3;
        let bytes = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        [bytes(&[4 * trie.len() as u32]), bytes(&trie), b"xy\0\0".to_vec()].concat()
    }

    #[test]
    fn the_longest_text_is_replaced() {
        let map = CharsMap::parse(&map()).unwrap();
        assert_eq!(map.apply("a-aba é\0ab").unwrap(), "xy-xy é\0");
        assert!(matches!(map.apply("b é").unwrap(), Cow::Borrowed("b é")));
    }

    #[test]
    fn what_is_no_map_is_refused() {
        let good = map();
        for bad in [&good[..3], &good[..4096], &[0, 0, 0, 0, 0], &[3, 0, 0, 0, 1, 2, 3]] {
            assert_eq!(CharsMap::parse(bad), None);
        }
        assert_eq!(CharsMap::parse(&[&good[..], b"\xff"].concat()), None);
    }

    /// Whatever the units are: no place lies outside.
    #[test]
    fn no_trie_is_left() {
        let mut random = ollm_kernels::random::Random::new(1);
        for _ in 0..200 {
            let trie: Vec<u8> = (0..64).flat_map(|_| (random.below(1 << 32) as u32).to_le_bytes()).collect();
            let map = CharsMap::parse(&[&256_u32.to_le_bytes()[..], &trie, "é\0é\0".as_bytes()].concat()).unwrap();
            map.apply("abc é \u{1f389}\0 zz").unwrap();
        }
    }
}
