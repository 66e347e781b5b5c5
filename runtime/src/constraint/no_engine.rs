//! In place of the grammar engine, in builds without it.

use std::convert::Infallible;
use std::sync::Arc;

use ollm_kernels::token_set::TokenSet;

use crate::tokenizer::Tokenizer;

use super::error::ConstraintError;
use super::kind::GrammarKind;

type Result<T, E = ConstraintError> = std::result::Result<T, E>;

/// There is none.
pub(super) struct Engine(Infallible);

/// There is none.
#[derive(Clone, Debug)]
pub(super) struct Parser(Infallible);

impl Engine {
    pub(super) fn new(_: &Arc<Tokenizer>, _: usize) -> Result<Self> {
        Err(ConstraintError::NotBuilt)
    }

    pub(super) fn compile(&self, _: GrammarKind, _: &str) -> Result<Parser> {
        match self.0 {}
    }
}

impl Parser {
    pub(super) fn apart(&self) -> Self {
        match self.0 {}
    }

    pub(super) fn is_complete(&mut self) -> bool {
        match self.0 {}
    }

    pub(super) fn is_at_end(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn forced(&mut self) -> Vec<u32> {
        match self.0 {}
    }

    pub(super) fn allowed(&mut self, _: usize) -> Result<TokenSet> {
        match self.0 {}
    }

    pub(super) fn takes(&mut self, _: u32) -> Result<bool> {
        match self.0 {}
    }

    pub(super) fn accept(&mut self, _: u32) -> Result<()> {
        match self.0 {}
    }
}
