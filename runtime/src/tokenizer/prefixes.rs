//! Texts with what they stand for, found where another text begins with them.

use std::ops::Range;

/// A sorted list of texts, none of them empty.
#[derive(Debug)]
pub(super) struct Prefixes<T> {
    list: Vec<(String, T)>,
    /// Where in the list the texts that begin with each byte are.
    by_first: Vec<Range<usize>>,
}

impl<T> Prefixes<T> {
    /// Empty texts are left out: they would be found everywhere. Of equal ones the first counts.
    pub(super) fn new(mut list: Vec<(String, T)>) -> Self {
        list.retain(|(text, _)| !text.is_empty());
        list.sort_by(|(one, _), (two, _)| one.cmp(two));
        let before = |byte: u16| list.partition_point(|(text, _)| u16::from(text.as_bytes()[0]) < byte);
        let by_first = (0..=255).map(|byte| before(byte)..before(byte + 1)).collect();
        Self { list, by_first }
    }

    /// All texts, with what they stand for.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(String, T)> {
        self.list.iter()
    }

    /// Those that `text` begins with, the shortest first, each with its length in bytes. The list
    /// is narrowed byte by byte.
    pub(super) fn of<'s>(&'s self, text: &'s [u8]) -> impl Iterator<Item = (usize, &'s T)> {
        let first = text.first().map_or(0..0, |&byte| self.by_first[usize::from(byte)].clone());
        let (mut list, mut length) = (&self.list[first], 1);
        std::iter::from_fn(move || {
            loop {
                let (first, value) = list.first()?;
                if first.len() == length {
                    // Longer ones go on after it and its equals.
                    list = &list[list.partition_point(|(text, _)| text.len() == length)..];
                    return Some((length, value));
                }
                let byte = *text.get(length)?;
                let at = |(text, _): &(String, T)| text.as_bytes()[length];
                list = &list[list.partition_point(|entry| at(entry) < byte)..];
                list = &list[..list.partition_point(|entry| at(entry) == byte)];
                length += 1;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_texts_that_a_text_begins_with_are_found() {
        let texts = ["ab", "", "a", "abc", "b", "é", "ab", "\u{e8}"];
        let prefixes = Prefixes::new(texts.iter().zip(0..).map(|(text, id)| ((*text).to_owned(), id)).collect());
        let of = |text: &str| prefixes.of(text.as_bytes()).map(|(length, &id)| (length, id)).collect::<Vec<_>>();
        assert_eq!(of("abcd"), [(1, 2), (2, 0), (3, 3)]);
        assert_eq!((of("éa"), of("ê"), of(""), of("c")), (vec![(2, 5)], vec![], vec![], vec![]));
    }
}
