//! Which branch is better, and how much a branch counts in a vote.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::branch::Branch;

/// A number for each branch: the higher, the better.
#[derive(Clone, Default)]
pub enum Score {
    /// The logarithm of the policy's probability of its latents.
    Policy,
    /// The mean of its tokens' log-probabilities.
    #[default]
    LogProb,
    /// The sum of its tokens' log-probabilities, which prefers short texts.
    LogProbSum,
    /// What the value head says.
    Value,
    /// What the application says.
    Callback(Arc<dyn Fn(&Branch) -> f64 + Send + Sync>),
}

impl Score {
    /// The score of a branch; a value that was not computed, and NaN, count as the lowest.
    pub fn of(&self, branch: &Branch) -> f64 {
        let score = match self {
            Self::Policy => branch.policy,
            Self::LogProb => branch.logprob / branch.scored.max(1) as f64,
            Self::LogProbSum => branch.logprob,
            Self::Value => branch.value.map_or(f64::NAN, f64::from),
            Self::Callback(score) => score(branch),
        };
        if score.is_nan() { f64::NEG_INFINITY } else { score }
    }
}

impl Score {
    /// How each score is written, as [`Score::from_str`] reads it; a callback cannot be written.
    pub const ALL: [&str; 4] = ["policy", "logprob", "logprob-sum", "value"];
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Policy => "policy",
            Self::LogProb => "logprob",
            Self::LogProbSum => "logprob-sum",
            Self::Value => "value",
            Self::Callback(_) => "callback",
        })
    }
}

impl fmt::Debug for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Score({self})")
    }
}

impl FromStr for Score {
    type Err = String;

    /// Reads one of [`Score::ALL`].
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "policy" => Ok(Self::Policy),
            "logprob" => Ok(Self::LogProb),
            "logprob-sum" => Ok(Self::LogProbSum),
            "value" => Ok(Self::Value),
            _ => Err(format!("{text:?} is no score; there are {}", Self::ALL.join(", "))),
        }
    }
}

/// How much a branch counts in a vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// Each branch counts 1.
    #[default]
    One,
    /// By the policy's probability of its latents.
    Policy,
    /// By what the value head says.
    Value,
}

impl Weight {
    /// Every weight.
    pub const ALL: [Self; 3] = [Self::One, Self::Policy, Self::Value];

    /// The name, as [`Weight::from_str`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Policy => "policy",
            Self::Value => "value",
        }
    }

    /// The weight of a branch and of those that were merged into it. One that has not come to its
    /// end has the most that it can come to.
    pub fn of(self, branch: &Branch) -> f64 {
        match self {
            Self::One => branch.count,
            Self::Policy => branch.policy_weight,
            Self::Value if !branch.is_complete() => branch.count,
            Self::Value => branch.count * branch.value.map_or(0.0, f64::from),
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|weight| weight.name() == text);
        found.ok_or_else(|| format!("{text:?} is no weight of a vote; there are {}", known()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_weights_are_read_as_they_are_written() {
        for score in Score::ALL {
            assert_eq!(score.parse::<Score>().unwrap().to_string(), score);
        }
        for weight in Weight::ALL {
            assert_eq!(weight.to_string().parse(), Ok(weight));
        }
        assert!("best".parse::<Score>().is_err() && "two".parse::<Weight>().is_err());
    }

    #[test]
    fn what_is_no_number_is_the_lowest_score() {
        let branch = Branch { logprob: -3.0, scored: 2, ..Branch::default() };
        assert_eq!(Score::LogProb.of(&branch).to_bits(), (-1.5_f64).to_bits());
        assert_eq!(Score::Value.of(&branch).to_bits(), f64::NEG_INFINITY.to_bits());
    }
}
