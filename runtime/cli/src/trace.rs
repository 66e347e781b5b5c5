//! `--trace`: a run as a page of its own, with the option set of each token.

use std::path::Path;

use ollm_runtime::Error;
use ollm_runtime::chat::{ChatEvent, Message};
use ollm_runtime::generate::{Generated, Token};
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::explorer;
use crate::failure::{Failure, Result};
use crate::generation::TokenSink;
use crate::show::step_json;

/// Tokens of each option that a trace has.
pub(crate) const DEPTH: usize = 5;

/// Shows tokens as another would, and notes them.
pub(crate) struct Traced<'s> {
    inner: Box<dyn TokenSink + 's>,
    /// Whether the other one shows option sets too.
    shows: bool,
    steps: Vec<Value>,
}

impl<'s> Traced<'s> {
    pub(crate) fn new(inner: Box<dyn TokenSink + 's>, shows: bool) -> Self {
        Self { inner, shows, steps: Vec::new() }
    }

    /// Writes what was noted, behind a prompt.
    pub(crate) fn write(self, path: &Path, model: &Path, prompt: &str) -> Result<()> {
        let shown = json!({ "model": model.file_name().map(|name| name.to_string_lossy()), "prompt": prompt, "steps": self.steps });
        let written = std::fs::write(path, explorer::trace(&shown));
        written.map_err(|source| Failure::Runtime(Error::Io { path: path.to_owned(), source }))
    }
}

impl TokenSink for Traced<'_> {
    fn token(&mut self, tokenizer: &Tokenizer, token: &Token<'_>, events: &[ChatEvent]) -> Result<()> {
        self.steps.push(step_json(tokenizer, token));
        let options = if self.shows { token.options } else { &[] };
        self.inner.token(tokenizer, &Token { options, ..*token }, events)
    }

    fn done(&mut self, done: &Generated, rest: &[ChatEvent], message: Option<&Message>) -> Result<()> {
        self.inner.done(done, rest, message)
    }
}
