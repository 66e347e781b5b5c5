//! Grammars, compiled for the tokens of a model.

use std::fmt;
use std::sync::Arc;

use crate::tokenizer::Tokenizer;

use super::engine::{Engine, Parser};
use super::error::ConstraintError;
use super::kind::GrammarKind;

type Result<T, E = ConstraintError> = std::result::Result<T, E>;

/// Bytes that the text of a grammar may have.
const MAX_BYTES: usize = 1 << 18;

/// How deep brackets may be in brackets.
const MAX_DEPTH: usize = 100;

/// Compiles grammars for the tokens of one model. Making one takes some 50 ms for a vocabulary of
/// 50,000 tokens; any number of threads share it.
pub struct GrammarCompiler {
    pub(super) engine: Engine,
    tokenizer: Arc<Tokenizer>,
    vocabulary: usize,
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarCompiler").field("vocabulary", &self.vocabulary).finish_non_exhaustive()
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl GrammarCompiler {
    /// For a model with a `vocabulary` of so many tokens
    /// ([`Config::vocab`](crate::model::Config::vocab)), which `tokenizer` knows.
    ///
    /// # Errors
    /// [`ConstraintError::NotBuilt`], [`ConstraintError::Vocabulary`].
    pub fn new(tokenizer: &Arc<Tokenizer>, vocabulary: usize) -> Result<Self> {
        let engine = Engine::new(tokenizer, vocabulary)?;
        Ok(Self { engine, tokenizer: Arc::clone(tokenizer), vocabulary })
    }

    /// Compiles a grammar.
    ///
    /// # Errors
    /// [`ConstraintError::Grammar`] says which feature is not supported, or where the text is
    /// wrong, [`ConstraintError::Schema`] which part of a JSON schema; those of
    /// [`GrammarCompiler::check_size`], [`ConstraintError::NoThread`].
    pub fn compile(&self, kind: GrammarKind, text: &str) -> Result<Arc<Grammar>> {
        Self::check_size(text)?;
        let parser = self.engine.compile(kind, text);
        #[cfg(feature = "constraints")]
        let parser =
            parser.map_err(|error| if kind == GrammarKind::JsonSchema { self.located(text, error) } else { error });
        let tokenizer = Arc::clone(&self.tokenizer);
        Ok(Arc::new(Grammar { parser: parser?, tokenizer, vocabulary: self.vocabulary, kind }))
    }

    /// That a text is not too large to be compiled. It takes no time.
    ///
    /// # Errors
    /// [`ConstraintError::TooLong`] of more than 256 KiB, [`ConstraintError::TooDeep`].
    pub fn check_size(text: &str) -> Result<()> {
        if text.len() > MAX_BYTES {
            return Err(ConstraintError::TooLong { bytes: text.len(), most: MAX_BYTES });
        }
        if depth(text) > MAX_DEPTH {
            return Err(ConstraintError::TooDeep { most: MAX_DEPTH });
        }
        Ok(())
    }
}

/// A grammar, compiled for the tokens of one model. Sequences share it: see
/// [`Constraint`](super::Constraint).
pub struct Grammar {
    /// At the beginning.
    parser: Parser,
    tokenizer: Arc<Tokenizer>,
    vocabulary: usize,
    kind: GrammarKind,
}

impl Grammar {
    /// What it was written in.
    pub fn kind(&self) -> GrammarKind {
        self.kind
    }

    /// The number of tokens of the model that it was compiled for.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    pub(super) fn start(&self) -> Parser {
        self.parser.apart()
    }

    /// The bytes of a token in a text.
    pub(super) fn token_bytes(&self, token: u32) -> &[u8] {
        self.tokenizer.token_bytes(token).unwrap_or_default()
    }

    pub(super) fn is_end(&self, token: u32) -> bool {
        self.tokenizer.is_end(token)
    }

    /// The end token that ends a complete text.
    pub(super) fn end(&self) -> Option<u32> {
        self.tokenizer.ends().iter().copied().find(|&end| (end as usize) < self.vocabulary)
    }
}

/// How deep brackets are in brackets at most, those in texts included.
fn depth(text: &str) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_counted() {
        assert_eq!(depth(""), 0);
        assert_eq!(depth("()[{}]"), 2);
        assert_eq!(depth("))((("), 3);
    }
}
