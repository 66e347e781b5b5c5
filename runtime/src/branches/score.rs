//! Which branch is better, and how much a branch counts in a vote.

use std::fmt;
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

impl fmt::Debug for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "Policy",
            Self::LogProb => "LogProb",
            Self::LogProbSum => "LogProbSum",
            Self::Value => "Value",
            Self::Callback(_) => "Callback",
        })
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
    /// The weight of a branch and of those that were merged into it. An open branch has the most
    /// that it can come to.
    pub fn of(self, branch: &Branch) -> f64 {
        match self {
            Self::One => branch.count,
            Self::Policy => branch.policy_weight,
            Self::Value if branch.is_open() => branch.count,
            Self::Value => branch.count * branch.value.map_or(0.0, f64::from),
        }
    }
}
