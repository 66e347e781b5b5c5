//! What can go wrong with branches.

use std::fmt;
use std::sync::Arc;

use ollm_kernels::memory::OutOfMemory;

use crate::plugin::SelectError;
use crate::sampler::SamplerError;
use crate::session::SessionError;

use super::branch::{Branch, BranchEnd};
use super::expansion::Expansion;

/// Why branches cannot do something. They are then as they were before the call.
#[derive(Debug)]
#[non_exhaustive]
pub enum BranchError {
    /// The session cannot do it; a memory limit counts what branches share once.
    Session(SessionError),
    /// Latents are to be expanded, but there is no plugin.
    NoPlugin {
        /// What needs one.
        expansion: Expansion,
    },
    /// Scores or weights by value, but there is no plugin that has a value head.
    NoValue,
    /// A count that is zero, or more branches than there may be.
    Count {
        /// What is counted.
        what: &'static str,
        /// The count.
        count: usize,
        /// The most that there may be.
        most: usize,
    },
    /// More latents are to be expanded than the plugin has.
    Latents {
        /// How many.
        count: usize,
        /// How many there are.
        options: usize,
    },
    /// No branch is left: one failed with this error.
    Failed(Arc<SessionError>),
    /// There is no such branch.
    NoBranch {
        /// Its index.
        branch: usize,
    },
    /// The branch has ended.
    Ended {
        /// Its index.
        branch: usize,
    },
    /// The branch was expanded before, and has taken no step since: what the expansion would choose
    /// is chosen already.
    Chosen {
        /// Its index.
        branch: usize,
        /// What it cannot be expanded into.
        expansion: Expansion,
    },
    /// A session cannot take the place of a branch: it has another model, plugin, instruction set
    /// or context, or its text is not the one that the branches began from.
    Mismatch,
}

impl fmt::Display for BranchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
            Self::NoPlugin { expansion } => {
                write!(
                    f,
                    "{expansion} expands latents, and there is no plugin: expand tokens:N or sample:N:T, or load one"
                )
            }
            Self::NoValue => write!(f, "there is no plugin with a value head (ollm.value.*) to score by"),
            Self::Latents { count, options } => {
                write!(f, "top:{count} expands more latents than the plugin has, which are {options}")
            }
            Self::Count { what, count, most } => {
                write!(f, "{what}: {count}, but must be 1 to {most}: ask for fewer at a time")
            }
            Self::NoBranch { branch } => write!(f, "there is no branch {branch}"),
            Self::Ended { branch } => write!(f, "branch {branch} has ended"),
            Self::Chosen { branch, expansion } => {
                write!(f, "branch {branch} was expanded here before: take a step before {expansion}")
            }
            Self::Mismatch => {
                write!(f, "the session is not where the branches began, or not of their model and plugin")
            }
        }
    }
}

impl std::error::Error for BranchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Session(error) => error.source(),
            _ => None,
        }
    }
}

impl From<SessionError> for BranchError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<SelectError> for BranchError {
    fn from(error: SelectError) -> Self {
        Self::Session(error.into())
    }
}

impl From<SamplerError> for BranchError {
    fn from(error: SamplerError) -> Self {
        Self::Session(error.into())
    }
}

impl From<OutOfMemory> for BranchError {
    fn from(error: OutOfMemory) -> Self {
        Self::Session(error.into())
    }
}

/// The error of the first branch that failed.
pub(super) fn failure(all: &[Branch]) -> Option<BranchError> {
    all.iter().find_map(|branch| match &branch.end {
        Some(BranchEnd::Failed(error)) => Some(BranchError::Failed(Arc::clone(error))),
        _ => None,
    })
}
