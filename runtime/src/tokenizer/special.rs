//! Special tokens in a text: they are found before anything else is cut.
//!
//! As llama.cpp does it: the longest token text first, wherever it is; what lies between is
//! searched for the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

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

    /// Cuts `text` at its special tokens: at control tokens only where `control` has it so.
    pub(super) fn partition<'t>(
        &self,
        text: &'t str,
        control: ControlTokens<'_>,
    ) -> Result<Vec<TextPart<'t>>, OutOfMemory> {
        let mut parts = vec![(0..text.len(), None)];
        for special in self.present(text).into_iter().map(|rank| &self.list[rank]) {
            let counts = |range: &Range<usize>| !special.control || control.allow(range);
            let mut finer = Vec::new();
            parts.into_iter().try_for_each(|part| cut(text, part, special, counts, &mut finer))?;
            parts = finer;
        }
        let part = |(range, token): Part| token.map_or(TextPart::Text(&text[range]), TextPart::Token);
        let mut all = Vec::new();
        memory::reserve(&mut all, parts.len())?;
        all.extend(parts.into_iter().filter(|(range, token)| token.is_some() || !range.is_empty()).map(part));
        Ok(all)
    }

    /// The texts of control tokens.
    pub(super) fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter(|special| special.control).map(|special| special.text.as_str())
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

/// Where the text of a control token is that token.
#[derive(Clone, Copy, Debug)]
pub(super) enum ControlTokens<'a> {
    /// Nowhere: it is text like any other.
    Nowhere,
    /// Wherever it does not touch these ranges of bytes, which are in order.
    Outside(&'a [Range<usize>]),
}

impl ControlTokens<'_> {
    /// In all of the text, or nowhere.
    pub(super) fn everywhere(special: bool) -> Self {
        if special { Self::Outside(&[]) } else { Self::Nowhere }
    }

    fn allow(self, range: &Range<usize>) -> bool {
        let Self::Outside(plain) = self else { return false };
        let next = plain.partition_point(|plain| plain.end <= range.start);
        plain.get(next).is_none_or(|plain| plain.start >= range.end)
    }
}

/// A range of the text, and the token that it is.
type Part = (Range<usize>, Option<u32>);

/// Cuts a part that is text at each place of `special` that counts, and appends what it falls into.
fn cut(
    text: &str,
    part: Part,
    special: &Special,
    counts: impl Fn(&Range<usize>) -> bool,
    parts: &mut Vec<Part>,
) -> Result<(), OutOfMemory> {
    let (Range { mut start, end }, None) = part else { return memory::extend(parts, [part].into_iter()) };
    let mut from = start;
    while let Some(at) = text[from..end].find(&special.text) {
        let found = from + at..from + at + special.text.len();
        if counts(&found) {
            memory::extend(parts, [(start..found.start, None), (found.clone(), Some(special.id))].into_iter())?;
            (start, from) = (found.end, found.end);
        } else {
            from = found.start + text[found.start..].chars().next().map_or(1, char::len_utf8);
        }
    }
    memory::extend(parts, [(start..end, None)].into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYWHERE: ControlTokens<'_> = ControlTokens::Outside(&[]);

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
        assert_eq!(
            specials().partition("x<s><s><s>y", EVERYWHERE).unwrap(),
            [Text("x"), Token(1), Token(0), Text("y")]
        );
        assert_eq!(specials().partition("<s>", EVERYWHERE).unwrap(), [Token(0)]);
        assert_eq!(specials().partition("abcbc", EVERYWHERE).unwrap(), [Token(3), Token(2)]);
        assert_eq!(specials().partition("", EVERYWHERE).unwrap(), []);
    }

    #[test]
    fn control_tokens_stay_text_unless_asked_for() {
        use TextPart::{Text, Token};
        assert_eq!(specials().partition("<s>abc", ControlTokens::Nowhere).unwrap(), [Text("<s>a"), Token(2)]);
    }

    /// A place that does not count hides none that does, even where the two overlap.
    #[test]
    fn control_tokens_are_found_outside_of_plain_text() {
        use TextPart::{Text, Token};
        let outside = |text: &'static str, plain: Range<usize>| {
            specials().partition(text, ControlTokens::Outside(std::slice::from_ref(&plain))).unwrap()
        };
        assert_eq!(outside("<s>a<s>", 0..1), [Text("<s>a"), Token(0)]);
        assert_eq!(outside("<s><s><s>", 1..2), [Text("<s>"), Token(1)]);
        assert_eq!(outside("<s>", 2..3), [Text("<s>")]);
        assert_eq!([3..4, 0..0].map(|plain| outside("<s>", plain)), [[Token(0)], [Token(0)]]);
        assert_eq!(specials().partition("é<s>", ControlTokens::Outside(&[3..4, 9..12])).unwrap(), [Text("é<s>")]);
    }
}
