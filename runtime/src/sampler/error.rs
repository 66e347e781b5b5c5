//! Why a sampler could not be made, or could not choose.

use std::fmt;

use ollm_kernels::logits::LogitsError;
use ollm_kernels::memory::OutOfMemory;

use super::filter::Filter;

/// Why a sampler could not be made, or could not choose.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum SamplerError {
    /// A number is out of its range.
    Number {
        /// Which one.
        name: &'static str,
        /// What it is.
        value: f32,
        /// What it has to be.
        range: &'static str,
    },
    /// The bias of a token is NaN or positive infinity.
    Bias {
        /// The token.
        token: u32,
        /// Its bias.
        value: f32,
    },
    /// A filter is twice in the order.
    Twice(Filter),
    /// A filter that has something to do is not in the order.
    Missing(Filter),
    /// The logits are no distribution.
    Logits(LogitsError),
    /// All tokens are banned or suppressed, or all that a constraint allows.
    AllBanned,
    /// The callback has made the logit of this token NaN or positive infinity.
    Edited {
        /// The token.
        token: usize,
    },
}

impl fmt::Display for SamplerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { name, value, range } => write!(f, "{name} must be {range}, not {value}"),
            Self::Bias { token, value } => {
                write!(f, "the logit bias of token {token} must be a number, or negative infinity, not {value}")
            }
            Self::Twice(filter) => write!(f, "{} is twice in the order of filters", filter.name()),
            Self::Missing(filter) => {
                write!(f, "{} is asked for, but not in the order of filters: add it there", filter.name())
            }
            Self::Logits(error) => error.fmt(f),
            Self::AllBanned => {
                write!(
                    f,
                    "every token is banned: the logit bias, the callback or the tokens that the file suppresses leave \
                     none that may come here"
                )
            }
            Self::Edited { token } => {
                write!(f, "the callback has made the logit of token {token} NaN or infinite: -infinity bans a token")
            }
        }
    }
}

impl std::error::Error for SamplerError {}

impl From<LogitsError> for SamplerError {
    fn from(error: LogitsError) -> Self {
        Self::Logits(error)
    }
}

impl From<OutOfMemory> for SamplerError {
    fn from(error: OutOfMemory) -> Self {
        Self::Logits(error.into())
    }
}
