//! What is known of one branch.

use std::sync::Arc;

use ollm_kernels::memory::{self, OutOfMemory};

use crate::constraint::ConstraintError;
use crate::session::SessionError;

/// Branches that there are at most.
pub const MAX_BRANCHES: usize = 4096;

/// One continuation of the session.
#[derive(Clone, Debug, Default)]
pub struct Branch {
    /// The branch that it was forked from; `None` of the prompt.
    pub parent: Option<usize>,
    /// Tokens that it shares with its parent.
    pub fork: usize,
    /// The generated tokens, without an end token.
    pub tokens: Vec<u32>,
    /// The latent of each token; `None` of backbone, mixture and forced tokens.
    pub latents: Vec<Option<usize>>,
    /// The natural logarithm of each token's probability, before the sampler's filters; 0 of a
    /// token that a constraint forced.
    pub logprobs: Vec<f32>,
    /// The generated text. What may be the beginning of a stop string, or half a character, comes
    /// with a later token.
    pub text: String,
    /// The sum of the natural logarithms of the policy's probabilities of the latents that were
    /// selected.
    pub policy: f64,
    /// The sum of the natural logarithms of the tokens' probabilities, before the sampler's
    /// filters, that of an end token included.
    pub logprob: f64,
    /// Tokens that `logprob` sums over: those that no constraint forced.
    pub scored: usize,
    /// The probability that the answer will be right, as the value head says; `None` where none was
    /// asked.
    pub value: Option<f32>,
    /// What it counts in a vote: 1 at first, with that of branches that were merged into it. Where
    /// it is expanded later, its branches share it.
    pub count: f64,
    /// The policy's probability of all that it stands for.
    pub policy_weight: f64,
    /// Whether it is at a boundary: no latent is held, and it can be expanded.
    pub at_boundary: bool,
    /// How it ended; `None` of an open branch.
    pub end: Option<BranchEnd>,
}

impl Branch {
    /// A copy.
    pub(super) fn copied(&self) -> Result<Self, OutOfMemory> {
        Ok(Self {
            tokens: memory::copied(&self.tokens)?,
            latents: memory::copied(&self.latents)?,
            logprobs: memory::copied(&self.logprobs)?,
            text: memory::text(&self.text)?,
            end: self.end.clone(),
            ..*self
        })
    }

    /// Makes room for one more token.
    pub(super) fn grow(&mut self) -> Result<(), OutOfMemory> {
        memory::grow(&mut self.tokens, 1)?;
        memory::grow(&mut self.latents, 1)?;
        memory::grow(&mut self.logprobs, 1)
    }
}

/// How a branch ended.
#[derive(Clone, Debug)]
pub enum BranchEnd {
    /// By an end token.
    End,
    /// By a stop string.
    Stop,
    /// By the limit of tokens, or the end of the context.
    Length,
    /// It was given up.
    Pruned,
    /// Another branch has the same tokens, and the same to come: this one was merged into that.
    Merged(usize),
    /// By an error of its own.
    Failed(Arc<SessionError>),
}

impl BranchEnd {
    /// One word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::End => "eos",
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Pruned => "pruned",
            Self::Merged(_) => "merged",
            Self::Failed(_) => "error",
        }
    }

    /// Whether the branch has a text that may be an answer, rather than none or half of one.
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::End | Self::Stop | Self::Length)
    }
}

impl BranchEnd {
    /// How a branch ends that meets this error.
    pub(super) fn of(error: &Arc<SessionError>) -> Self {
        match **error {
            SessionError::ContextFull { .. } => Self::Length,
            SessionError::Constraint(ConstraintError::Complete) => Self::End,
            _ => Self::Failed(Arc::clone(error)),
        }
    }
}

impl Branch {
    /// Notes that a latent was selected, which the policy gives this probability.
    pub(super) fn select(&mut self, probability: f32) {
        self.at_boundary = false;
        self.policy += f64::from(probability).ln();
        self.policy_weight *= f64::from(probability);
    }

    /// Whether it is still generated.
    pub const fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// Whether it ended with a text of its own.
    pub fn is_complete(&self) -> bool {
        self.end.as_ref().is_some_and(BranchEnd::is_complete)
    }
}
