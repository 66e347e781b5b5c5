//! Sets of characters.

const LAST: u32 = char::MAX as u32;

/// Characters, as ranges from and to, in their order and apart from each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chars(Vec<(u32, u32)>);

impl Chars {
    /// All characters.
    pub(super) fn all() -> Self {
        Self(vec![(0, LAST)])
    }

    pub(super) fn one(c: char) -> Self {
        Self(vec![(c.into(), c.into())])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the characters from `first` to `last`.
    pub(super) fn add(&mut self, first: char, last: char) {
        self.0.push((first.into(), last.into()));
        self.settle();
    }

    /// Adds the characters of another set; whether that changed this one.
    pub(super) fn add_all(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.0.extend(&other.0);
        self.settle();
        *self != before
    }

    /// The characters that are not in the set.
    pub(super) fn others(&self) -> Self {
        let (mut next, mut gaps) = (0, Vec::new());
        for &(first, last) in &self.0 {
            if first > next {
                gaps.push((next, first - 1));
            }
            next = last + 1;
        }
        if next <= LAST {
            gaps.push((next, LAST));
        }
        Self(gaps)
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().any(|a| other.0.iter().any(|b| a.0 <= b.1 && b.0 <= a.1))
    }

    /// As a class of a regular expression.
    pub(super) fn class(&self) -> String {
        let mut class = "[".to_owned();
        // What lies between the surrogates is no character.
        let bounds = |&(first, last): &(u32, u32)| {
            let first = if (0xD800..=0xDFFF).contains(&first) { 0xE000 } else { first };
            let last = if (0xD800..=0xDFFF).contains(&last) { 0xD7FF } else { last };
            (first, last)
        };
        for (first, last) in self.0.iter().map(bounds).filter(|(first, last)| first <= last) {
            class.push_str(&escaped(first));
            if first < last {
                class.push('-');
                class.push_str(&escaped(last));
            }
        }
        class + "]"
    }

    /// Sorts the ranges, and puts those together that touch.
    fn settle(&mut self) {
        self.0.sort_unstable();
        let mut apart: Vec<(u32, u32)> = Vec::new();
        for &(first, last) in &self.0 {
            match apart.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => apart.push((first, last)),
            }
        }
        self.0 = apart;
    }
}

/// A character of a regular expression between slashes.
pub(super) fn escaped(code: u32) -> String {
    match char::from_u32(code) {
        Some(c) if c.is_ascii_alphanumeric() => c.to_string(),
        _ => format!("\\x{{{code:X}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(char, char)]) -> Chars {
        let mut set = Chars::default();
        for &(first, last) in ranges {
            set.add(first, last);
        }
        set
    }

    #[test]
    fn sets_are_kept_in_order() {
        assert_eq!(set(&[('c', 'e'), ('a', 'b'), ('d', 'x')]), set(&[('a', 'x')]));
        assert_eq!(set(&[('a', 'b'), ('d', 'e')]).class(), "[a-bd-e]");
        assert_eq!(set(&[('a', 'a'), ('-', '-')]).class(), "[\\x{2D}a]");
        let others = set(&[('b', 'c')]).others();
        assert_eq!(others.class(), "[\\x{0}-ad-\\x{10FFFF}]");
        assert_eq!(others.others(), set(&[('b', 'c')]));
        assert!(Chars::all().others().is_empty());
        assert!(set(&[('a', 'c')]).meets(&set(&[('c', 'd')])) && !set(&[('a', 'b')]).meets(&set(&[('c', 'd')])));
        assert_eq!(set(&[('\u{D7FF}', '\u{E000}')]).class(), "[\\x{D7FF}-\\x{E000}]");
    }
}
