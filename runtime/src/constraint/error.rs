//! What can go wrong with grammars.

use std::fmt;

use ollm_kernels::memory::OutOfMemory;

/// Why text cannot be constrained that way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConstraintError {
    /// This build has no grammar engine.
    NotBuilt,
    /// The text of a grammar is too long.
    TooLong {
        /// Its bytes.
        bytes: usize,
        /// Bytes that it may have.
        most: usize,
    },
    /// The text of a grammar has brackets in brackets, too deeply.
    TooDeep {
        /// How deep they may be.
        most: usize,
    },
    /// There was no thread to compile the grammar on.
    NoThread {
        /// What the system says.
        reason: String,
    },
    /// The text is no grammar of its kind, or asks for what is not supported.
    Grammar {
        /// The kind.
        kind: &'static str,
        /// What is wrong with it: which feature is not supported, or where it breaks a rule.
        reason: String,
    },
    /// A part of a JSON schema asks for what is not supported, or for what no JSON is.
    Schema {
        /// Where it is, as a JSON pointer: `#/properties/a`.
        path: String,
        /// The keyword that makes it so, if one alone does.
        keyword: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokens of the model cannot be constrained.
    Vocabulary {
        /// What is wrong with them.
        reason: String,
    },
    /// The grammar was compiled for another vocabulary.
    Mismatch {
        /// Tokens of the vocabulary that it was compiled for.
        grammar: usize,
        /// Tokens of the model.
        model: usize,
    },
    /// The grammar does not allow this token here.
    Refused {
        /// The token.
        token: u32,
    },
    /// The grammar is complete and allows no more; the model has no end token to say so.
    Complete,
    /// The grammar cannot go on from here: it is too complex, or no token of the model continues
    /// it.
    Stuck {
        /// What the engine says.
        reason: String,
    },
    /// The system has no memory left.
    OutOfMemory(OutOfMemory),
}

impl fmt::Display for ConstraintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => {
                write!(f, "this build has no grammars: build it with the cargo feature `constraints`")
            }
            Self::TooLong { bytes, most } => write!(f, "the grammar has {bytes} bytes, but may have {most}"),
            Self::TooDeep { most } => write!(f, "the grammar has more than {most} brackets in brackets"),
            Self::NoThread { reason } => write!(f, "cannot start a thread to compile the grammar: {reason}"),
            Self::Grammar { kind, reason } => write!(f, "the {kind} cannot be used: {reason}"),
            Self::Schema { path, keyword, reason } => match keyword {
                Some(keyword) => write!(f, "the JSON schema cannot be used: `{keyword}` at {path}: {reason}"),
                None => write!(f, "the JSON schema cannot be used: {path}: {reason}"),
            },
            Self::Vocabulary { reason } => write!(f, "the model's tokens cannot be constrained: {reason}"),
            Self::Mismatch { grammar, model } => write!(
                f,
                "the grammar was compiled for {grammar} tokens, but the model has {model}: compile it for this model"
            ),
            Self::Refused { token } => write!(f, "the grammar does not allow token {token} here"),
            Self::Complete => write!(f, "the grammar is complete, and the model has no end token"),
            Self::Stuck { reason } => write!(f, "the grammar cannot go on: {reason}"),
            Self::OutOfMemory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConstraintError {}

impl From<OutOfMemory> for ConstraintError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}
