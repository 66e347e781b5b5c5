//! How many numbers a problem has, and how long they are.

use std::fmt;
use std::str::FromStr;

use crate::data::rng::Rng;

/// From a least to a most, both of them included; written `2..4`, or `3` for `3..3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    least: u32,
    most: u32,
}

impl Span {
    /// From `least` to `most`, which is no less.
    pub(super) const fn new(least: u32, most: u32) -> Self {
        assert!(least <= most, "a span goes up");
        Self { least, most }
    }

    /// Whether all of the other span is inside this one.
    pub(super) fn holds(self, other: Self) -> bool {
        self.least <= other.least && other.most <= self.most
    }

    /// One of them, all equally often.
    pub(super) fn draw(self, rng: &mut Rng) -> u32 {
        self.least + rng.below(u64::from(self.most - self.least) + 1) as u32
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.least, self.most)
    }
}

impl FromStr for Span {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let bad = || BadSpan(text.to_owned());
        let number = |text: &str| text.trim().parse().map_err(|_| bad());
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (number(least)?, number(most)?);
        if least <= most { Ok(Self { least, most }) } else { Err(bad()) }
    }
}

/// A text that is no [`Span`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSpan(pub String);

impl fmt::Display for BadSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not A..B, from a least to a most (both included, as in 2..4), nor one number", self.0)
    }
}

impl std::error::Error for BadSpan {}

/// Sizes of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// How many numbers it has.
    pub(super) operands: Span,
    /// How many digits each of them has.
    pub(super) digits: Span,
}

impl Sizes {
    /// A number from 1 up: first how many digits it has, then which of those.
    pub(super) fn number(&self, rng: &mut Rng) -> i64 {
        let least = 10_i64.pow(self.digits.draw(rng) - 1);
        least + rng.below(9 * least as u64) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_as_it_is_written() {
        for (text, written) in [("2..4", "2..4"), ("3", "3..3"), (" 1 .. 9 ", "1..9")] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), written);
        }
        for text in ["", "..", "2..", "..4", "4..2", "2...4", "2..=4", "-1..2", "x", "1..99999999999"] {
            assert_eq!(text.parse::<Span>(), Err(BadSpan(text.into())));
        }
    }

    #[test]
    fn numbers_have_the_digits_that_are_asked_for() {
        let sizes = Sizes { operands: Span::new(2, 2), digits: Span::new(1, 3) };
        let mut seen = [0; 4];
        let mut rng = Rng::stream(0, "sizes", 0);
        for _ in 0..9000 {
            let number = sizes.number(&mut rng);
            assert!((1..=999).contains(&number));
            seen[number.to_string().len()] += 1;
        }
        assert!(seen[1..].iter().all(|count| (2800..3200).contains(count)), "{seen:?}");
    }
}
