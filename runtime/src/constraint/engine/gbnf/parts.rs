//! What a grammar is made of.

use super::chars::Chars;

/// A part of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// One of several.
    Either(Vec<Part>),
    /// One after the other; none is the empty text.
    Sequence(Vec<Part>),
    /// Again and again, so many times: from, and to if there is a last time.
    Repeat(Box<Part>, u32, Option<u32>),
    /// A text.
    Text(String),
    /// One of these characters.
    Class(Chars),
    /// A rule, by its number.
    Rule(usize),
    /// A lexeme of the grammar's cut, by its number.
    Lexeme(usize),
    /// One of these tokens of the model, or any other one.
    Tokens { ids: Vec<u32>, excluded: bool },
}

impl Part {
    /// The parts that it is made of.
    pub(super) fn parts(&self) -> &[Self] {
        match self {
            Self::Either(parts) | Self::Sequence(parts) => parts,
            Self::Repeat(part, ..) => std::slice::from_ref(part),
            _ => &[],
        }
    }

    /// The same, made of other parts.
    pub(super) fn map(&self, change: impl FnMut(&Self) -> Self) -> Self {
        match self {
            Self::Either(parts) => Self::Either(parts.iter().map(change).collect()),
            Self::Sequence(parts) => Self::Sequence(parts.iter().map(change).collect()),
            Self::Repeat(part, from, to) => {
                let mut change = change;
                Self::Repeat(Box::new(change(part)), *from, *to)
            }
            other => other.clone(),
        }
    }
}

/// The rules of a grammar, and the number of the one that it begins with.
pub(super) struct Rules {
    pub(super) names: Vec<String>,
    pub(super) bodies: Vec<Part>,
    pub(super) root: usize,
}
