//! Into which branches a branch is expanded.

use std::fmt;
use std::str::FromStr;

/// Into which branches a branch is expanded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expansion {
    /// One for each latent.
    Latents,
    /// One for each of so many latents, those that the policy finds most probable.
    Top(usize),
    /// One for each of so many latents that are drawn from the policy. What is drawn twice counts
    /// twice.
    Draw(usize),
    /// One for each of so many tokens, the most probable ones.
    Tokens(usize),
    /// Samples, each with a seed of its own for its tokens; latents are selected with one seed.
    Sample {
        /// How many.
        count: usize,
        /// The temperature of their tokens, above 0.
        temperature: f32,
    },
}

impl Expansion {
    /// How each expansion is written, as [`Expansion::from_str`] reads it.
    pub const ALL: [&str; 5] = ["latents", "top:N", "draw:N", "tokens:N", "sample:N:T"];

    /// How many branches there will be at most, where the plugin has `options` options.
    pub fn count(self, options: usize) -> usize {
        match self {
            Self::Latents => options,
            Self::Top(count) | Self::Draw(count) | Self::Tokens(count) | Self::Sample { count, .. } => count,
        }
    }

    /// The same with `most` branches at most, the most probable ones.
    pub(super) fn at_most(self, most: usize, options: usize) -> Self {
        match self {
            Self::Latents if most < options => Self::Top(most),
            Self::Latents => self,
            Self::Top(count) => Self::Top(count.min(most)),
            Self::Draw(count) => Self::Draw(count.min(most)),
            Self::Tokens(count) => Self::Tokens(count.min(most)),
            Self::Sample { count, temperature } => Self::Sample { count: count.min(most), temperature },
        }
    }

    /// Whether it expands latents, which need a plugin.
    pub fn needs_plugin(self) -> bool {
        matches!(self, Self::Latents | Self::Top(_) | Self::Draw(_))
    }
}

impl fmt::Display for Expansion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latents => write!(f, "latents"),
            Self::Top(count) => write!(f, "top:{count}"),
            Self::Draw(count) => write!(f, "draw:{count}"),
            Self::Tokens(count) => write!(f, "tokens:{count}"),
            Self::Sample { count, temperature } => write!(f, "sample:{count}:{temperature}"),
        }
    }
}

impl FromStr for Expansion {
    type Err = UnknownExpansion;

    /// Reads one of [`Expansion::ALL`].
    fn from_str(text: &str) -> Result<Self, UnknownExpansion> {
        let unknown = || UnknownExpansion(text.to_owned());
        let count = |n: &str| n.parse::<usize>().ok().filter(|&n| n > 0).ok_or_else(unknown);
        match text.split(':').collect::<Vec<_>>()[..] {
            ["latents"] => Ok(Self::Latents),
            ["top", n] => count(n).map(Self::Top),
            ["draw", n] => count(n).map(Self::Draw),
            ["tokens", n] => count(n).map(Self::Tokens),
            ["sample", n, t] => {
                let temperature = t.parse().ok().filter(|t: &f32| t.is_finite() && *t > 0.0).ok_or_else(unknown)?;
                Ok(Self::Sample { count: count(n)?, temperature })
            }
            _ => Err(unknown()),
        }
    }
}

/// A text that names no [`Expansion`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownExpansion(pub String);

impl fmt::Display for UnknownExpansion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Expansion::ALL.join(", ");
        write!(f, "{:?} is no way to expand; there are {known}, with N from 1 on and T above 0", self.0)
    }
}

impl std::error::Error for UnknownExpansion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expansion_is_read_as_it_is_written() {
        let sample = Expansion::Sample { count: 10, temperature: 0.8 };
        for expansion in [Expansion::Latents, Expansion::Top(3), Expansion::Draw(4), Expansion::Tokens(5), sample] {
            assert_eq!(expansion.to_string().parse(), Ok(expansion));
        }
        for text in
            ["", "latent", "latents:2", "top", "top:0", "top:-1", "top:x", "sample:2", "sample:0:1", "sample:2:0"]
        {
            let error = text.parse::<Expansion>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("{text:?} is no way to expand")), "{error}");
        }
    }
}
