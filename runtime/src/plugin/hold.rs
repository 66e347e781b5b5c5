//! How long a selected latent is held.
//!
//! An *answer* begins with the first token that is generated after a feed, a rewind or a restored
//! prompt. It ends with an end token, or with the next feed. A *line* ends after the token whose
//! text has a line feed. A held latent is let go where its hold ends, and always where the answer
//! ends.

use std::fmt;
use std::num::NonZeroU32;
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
    /// For this many tokens.
    Tokens(NonZeroU32),
    /// To the end of the line.
    Line,
    /// For all of the answer.
    All,
}

impl Hold {
    /// How each hold is written, as [`Hold::from_str`] reads it, the shortest first.
    pub const ALL: [&str; 4] = ["token", "tokens:N", "line", "all"];
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token => f.pad("token"),
            Self::Tokens(count) => f.pad(&format!("tokens:{count}")),
            Self::Line => f.pad("line"),
            Self::All => f.pad("all"),
        }
    }
}

impl FromStr for Hold {
    type Err = UnknownHold;

    /// Reads one of [`Hold::ALL`].
    fn from_str(text: &str) -> Result<Self, UnknownHold> {
        let unknown = || UnknownHold(text.to_owned());
        match text.split_once(':') {
            None => match text {
                "token" => Ok(Self::Token),
                "line" => Ok(Self::Line),
                "all" => Ok(Self::All),
                _ => Err(unknown()),
            },
            Some(("tokens", count)) => count.parse().map(Self::Tokens).map_err(|_| unknown()),
            Some(_) => Err(unknown()),
        }
    }
}

/// A text that names no [`Hold`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownHold(pub String);

impl fmt::Display for UnknownHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no time to hold a latent; there are {}", self.0, Hold::ALL.join(", "))
    }
}

impl std::error::Error for UnknownHold {}

/// Where a hold ends in the tokens of a vocabulary.
#[derive(Clone, Debug, Default)]
pub struct HoldUntil {
    hold: Hold,
    ends: TokenEnds,
}

impl HoldUntil {
    /// Where `hold` ends in texts of these tokens.
    pub fn new(hold: Hold, ends: TokenEnds) -> Self {
        Self { hold, ends }
    }

    /// What ends with `token`, the `count`-th (from 1) under the same latent.
    pub(super) fn ends_with(&self, token: u32, count: u32) -> HoldEnd {
        let ends = match (self.hold, self.ends.of(token)) {
            (_, TokenEnd::Answer) => return HoldEnd::Answer,
            (Hold::Token, _) | (Hold::Line, TokenEnd::Line) => true,
            (Hold::Tokens(most), _) => count >= most.get(),
            (Hold::Line | Hold::All, _) => false,
        };
        if ends { HoldEnd::Latent } else { HoldEnd::Nothing }
    }
}

/// In texts of unknown tokens, where no token ends a line or an answer.
impl From<Hold> for HoldUntil {
    fn from(hold: Hold) -> Self {
        Self::new(hold, TokenEnds::default())
    }
}

/// What ends with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldEnd {
    /// The held latent stays.
    Nothing,
    /// The held latent is let go.
    Latent,
    /// The answer, and with it everything that is remembered of it.
    Answer,
}

/// What each token of a vocabulary ends. Clones share the table; the default knows no token.
#[derive(Clone, Debug)]
pub struct TokenEnds(Arc<[TokenEnd]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenEnd {
    None,
    Line,
    Answer,
}

impl TokenEnds {
    /// An end token ends the answer; a token whose text has a line feed, the line.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        let end = |id: u32| match tokenizer.token_bytes(id) {
            _ if tokenizer.is_end(id) => TokenEnd::Answer,
            Some(bytes) if bytes.contains(&b'\n') => TokenEnd::Line,
            _ => TokenEnd::None,
        };
        Self((0..tokenizer.vocab_size() as u32).map(end).collect())
    }

    /// Whether the line ends with the token, because of a line feed or of the end of the answer.
    pub fn ends_line(&self, token: u32) -> bool {
        self.of(token) != TokenEnd::None
    }

    fn of(&self, token: u32) -> TokenEnd {
        self.0.get(token as usize).copied().unwrap_or(TokenEnd::None)
    }

    /// For tests: token 1 ends a line, token 2 the answer.
    #[cfg(test)]
    pub(super) fn for_test() -> Self {
        Self([TokenEnd::None, TokenEnd::Line, TokenEnd::Answer].into())
    }
}

impl Default for TokenEnds {
    fn default() -> Self {
        Self([].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(count: u32) -> Hold {
        Hold::Tokens(NonZeroU32::new(count).unwrap())
    }

    #[test]
    fn every_hold_is_read_as_it_is_written() {
        for hold in [Hold::Token, tokens(1), tokens(8), Hold::Line, Hold::All] {
            assert_eq!(hold.to_string().parse(), Ok(hold));
        }
        for text in ["word", "tokens", "tokens:", "tokens:0", "tokens:-1", "tokens:x", "line:2", ""] {
            let error = text.parse::<Hold>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{text:?} is no time to hold a latent; there are token, tokens:N, line, all")
            );
        }
    }

    #[test]
    fn a_hold_ends_at_its_boundary_and_with_the_answer() {
        let ends = |hold, token, count| HoldUntil::new(hold, TokenEnds::for_test()).ends_with(token, count);
        assert_eq!(ends(Hold::Token, 0, 1), HoldEnd::Latent);
        assert_eq!([1, 2, 3].map(|count| ends(tokens(3), 1, count))[1..], [HoldEnd::Nothing, HoldEnd::Latent]);
        assert_eq!([0, 1, 9].map(|token| ends(Hold::Line, token, 4)), {
            [HoldEnd::Nothing, HoldEnd::Latent, HoldEnd::Nothing]
        });
        assert_eq!(ends(Hold::All, 1, 9), HoldEnd::Nothing);
        for hold in [Hold::Token, tokens(3), Hold::Line, Hold::All] {
            assert_eq!(ends(hold, 2, 1), HoldEnd::Answer);
        }
        assert_eq!(HoldUntil::from(Hold::All).ends_with(2, 1), HoldEnd::Nothing);
    }
}
