//! How long a selected latent is held.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::tokenizer::Tokenizer;

/// How long a selected latent is held, by the same name in files (`ollm.latent.hold`), commands, C
/// and trainer. A plugin names the hold that it was trained for, which is the default at inference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Hold {
    /// For one token.
    #[default]
    Token,
    /// To the end of the line.
    Line,
    /// For all of the answer.
    All,
}

impl Hold {
    /// Every hold, the shortest first.
    pub const ALL: [Self; 3] = [Self::Token, Self::Line, Self::All];

    /// The name, as [`Hold::from_str`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Line => "line",
            Self::All => "all",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Hold {
    type Err = UnknownHold;

    fn from_str(text: &str) -> Result<Self, UnknownHold> {
        let known = Self::ALL.into_iter().find(|hold| hold.name() == text);
        known.ok_or_else(|| UnknownHold(text.to_owned()))
    }
}

/// A text that names no [`Hold`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownHold(pub String);

impl fmt::Display for UnknownHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Hold::ALL.map(Hold::name).join(", ");
        write!(f, "{:?} is no time to hold a latent; there are {known}", self.0)
    }
}

impl std::error::Error for UnknownHold {}

/// What ends a hold: a [`Hold`], with the tokens that end a line where it needs them.
#[derive(Clone, Debug, Default)]
pub enum HoldUntil {
    /// The next token.
    #[default]
    Token,
    /// A token that ends a line.
    Line(LineEnds),
    /// Nothing: the latent is held for all of the answer.
    End,
}

impl HoldUntil {
    /// What ends this hold in texts of `tokenizer`.
    pub fn new(hold: Hold, tokenizer: &Tokenizer) -> Self {
        match hold {
            Hold::Token => Self::Token,
            Hold::Line => Self::Line(LineEnds::new(tokenizer)),
            Hold::All => Self::End,
        }
    }

    /// Whether the hold ends with this token.
    pub fn ends_with(&self, token: u32) -> bool {
        match self {
            Self::Token => true,
            Self::Line(ends) => ends.contains(token),
            Self::End => false,
        }
    }
}

/// The tokens that end a line.
#[derive(Clone, Debug)]
pub struct LineEnds(Arc<[bool]>);

impl LineEnds {
    /// The tokens of `tokenizer` whose text contains a line feed.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        let ends = |id: u32| tokenizer.token_bytes(id).is_some_and(|bytes| bytes.contains(&b'\n'));
        Self((0..tokenizer.vocab_size() as u32).map(ends).collect())
    }

    /// Whether the token ends a line.
    pub fn contains(&self, token: u32) -> bool {
        self.0.get(token as usize).copied().unwrap_or(false)
    }

    /// For tests: whether each token ends a line.
    #[cfg(test)]
    pub(super) fn of(ends: &[bool]) -> Self {
        Self(ends.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hold_is_read_as_it_is_written() {
        for hold in Hold::ALL {
            assert_eq!(hold.to_string().parse(), Ok(hold));
        }
        let error = "word".parse::<Hold>().unwrap_err();
        assert_eq!(error.to_string(), "\"word\" is no time to hold a latent; there are token, line, all");
    }

    #[test]
    fn a_hold_ends_at_its_boundary() {
        let line = HoldUntil::Line(LineEnds::of(&[false, true]));
        assert!(HoldUntil::Token.ends_with(0) && !HoldUntil::End.ends_with(1));
        assert!(line.ends_with(1) && !line.ends_with(0) && !line.ends_with(2));
    }
}
