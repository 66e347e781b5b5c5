//! Special tokens in a text: they are found before anything else is cut.
//!
//! As llama.cpp does it: the longest token text first, wherever it is; what lies between is
//! searched for the next one.

use std::collections::{BTreeMap, BTreeSet};

use crate::memory::{self, OutOfMemory};

/// A token that is found by its text.
#[derive(Debug)]
pub(super) struct Special {
    pub(super) id: u32,
    pub(super) text: String,
    /// Control tokens are found only where the caller asks for special tokens; user-defined ones
    /// always.
    pub(super) control: bool,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextPart<'t> {
    Text(&'t str),
    Token(u32),
}

/// All special tokens of a vocabulary.
#[derive(Debug)]
pub(super) struct Specials {
    /// Longest text first.
    list: Vec<Special>,
    /// Where in the list the texts that begin with a byte are.
    by_first: BTreeMap<u8, Vec<usize>>,
}

impl Specials {
    /// Empty texts are left out: they would be found everywhere.
    pub(super) fn new(mut list: Vec<Special>) -> Self {
        list.retain(|special| !special.text.is_empty());
        list.sort_by_key(|special| (std::cmp::Reverse(special.text.len()), special.id));
        let mut by_first = BTreeMap::<u8, Vec<usize>>::new();
        for (rank, special) in list.iter().enumerate() {
            by_first.entry(special.text.as_bytes()[0]).or_default().push(rank);
        }
        Self { list, by_first }
    }

    /// Cuts `text` at its special tokens, at control tokens only if `control`.
    pub(super) fn partition<'t>(&self, text: &'t str, control: bool) -> Result<Vec<TextPart<'t>>, OutOfMemory> {
        let whole = TextPart::Text(text).nonempty().into_iter().collect();
        let wanted = self.present(text).into_iter().map(|rank| &self.list[rank]).filter(|s| control || !s.control);
        wanted.into_iter().try_fold(whole, |parts: Vec<_>, special| {
            let mut cut = Vec::new();
            parts.into_iter().try_for_each(|part| part.cut(special, &mut cut))?;
            Ok(cut)
        })
    }

    /// The ranks of the specials that occur in `text` at all: of hundreds, hardly any.
    fn present(&self, text: &str) -> BTreeSet<usize> {
        let mut present = BTreeSet::new();
        for (at, byte) in text.bytes().enumerate() {
            for &rank in self.by_first.get(&byte).into_iter().flatten() {
                if text.as_bytes()[at..].starts_with(self.list[rank].text.as_bytes()) {
                    present.insert(rank);
                }
            }
        }
        present
    }
}

impl<'t> TextPart<'t> {
    fn nonempty(self) -> Option<Self> {
        (self != TextPart::Text("")).then_some(self)
    }

    /// Appends what the part falls into.
    fn cut(self, special: &Special, parts: &mut Vec<TextPart<'t>>) -> Result<(), OutOfMemory> {
        let TextPart::Text(text) = self else { return memory::extend(parts, [self].into_iter()) };
        let between = TextPart::Token(special.id);
        for (i, piece) in text.split(&special.text).enumerate() {
            let token = (i > 0).then_some(between);
            memory::extend(parts, token.into_iter().chain(TextPart::Text(piece).nonempty()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specials() -> Specials {
        let special = |id, text: &str, control| Special { id, text: text.to_owned(), control };
        Specials::new(vec![
            special(0, "<s>", true),
            special(1, "<s><s>", true),
            special(2, "bc", false),
            special(3, "abc", true),
            special(4, "", true),
        ])
    }

    #[test]
    fn the_longest_is_found_first() {
        use TextPart::{Text, Token};
        assert_eq!(specials().partition("x<s><s><s>y", true).unwrap(), [Text("x"), Token(1), Token(0), Text("y")]);
        assert_eq!(specials().partition("<s>", true).unwrap(), [Token(0)]);
        assert_eq!(specials().partition("abcbc", true).unwrap(), [Token(3), Token(2)]);
        assert_eq!(specials().partition("", true).unwrap(), []);
    }

    #[test]
    fn control_tokens_stay_text_unless_asked_for() {
        use TextPart::{Text, Token};
        assert_eq!(specials().partition("<s>abc", false).unwrap(), [Text("<s>a"), Token(2)]);
    }
}
