//! Grammars, compiled for the tokens of a model.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::tokenizer::Tokenizer;

use super::engine::{Engine, Parser};
use super::error::ConstraintError;

type Result<T, E = ConstraintError> = std::result::Result<T, E>;

/// What the text of a grammar is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrammarKind {
    /// JSON schema (draft 2020-12 and earlier ones). Between tokens of JSON there may be one space,
    /// or a line feed with up to 20 spaces or tabs, unless the schema says otherwise under
    /// `x-guidance` (`whitespace_pattern`, `whitespace_flexible`, `item_separator`,
    /// `key_separator`, `coerce_one_of`, `lenient`). A keyword that is not supported is an error
    /// that names it.
    JsonSchema,
    /// A regular expression of the `regex` crate, without look-around, that all of the text
    /// matches; `^` in front and `$` at the end change nothing.
    Regex,
    /// A grammar in Lark's notation, as `llguidance` reads it; it begins with the rule `start`.
    Lark,
    /// A grammar in GBNF, as llama.cpp reads it; it begins with the rule `root`.
    Gbnf,
}

impl GrammarKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::JsonSchema, Self::Regex, Self::Lark, Self::Gbnf];

    /// The name, as [`GrammarKind::from_str`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonSchema => "json-schema",
            Self::Regex => "regex",
            Self::Lark => "lark",
            Self::Gbnf => "gbnf",
        }
    }

    /// The kind of a grammar's text: GBNF, whose rules have `::=`, or else Lark.
    pub fn of_rules(text: &str) -> Self {
        if text.contains("::=") { Self::Gbnf } else { Self::Lark }
    }
}

impl fmt::Display for GrammarKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for GrammarKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("{text:?} is no kind of grammar; there are {}", known()))
    }
}

/// Bytes that the text of a grammar may have.
const MOST_BYTES: usize = 1 << 20;

/// How deep brackets may be in brackets.
const MOST_DEPTH: usize = 100;

/// Compiles grammars for the tokens of one model. Making one takes some 50 ms for a vocabulary of
/// 50,000 tokens; any number of threads share it.
#[derive(Debug)]
pub struct GrammarCompiler {
    engine: Engine,
    tokenizer: Arc<Tokenizer>,
    vocabulary: usize,
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
    /// wrong; [`ConstraintError::TooLong`] of more than a mebibyte, [`ConstraintError::TooDeep`].
    pub fn compile(&self, kind: GrammarKind, text: &str) -> Result<Arc<Grammar>> {
        if text.len() > MOST_BYTES {
            return Err(ConstraintError::TooLong { bytes: text.len(), most: MOST_BYTES });
        }
        if depth(text) > MOST_DEPTH {
            return Err(ConstraintError::TooDeep { most: MOST_DEPTH });
        }
        let parser = self.engine.compile(kind, text)?;
        let tokenizer = Arc::clone(&self.tokenizer);
        Ok(Arc::new(Grammar { parser, tokenizer, vocabulary: self.vocabulary, kind }))
    }
}

/// A grammar, compiled for the tokens of one model. Sequences share it: see
/// [`Constraint`](super::Constraint).
#[derive(Debug)]
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
    fn kinds_are_read_as_they_are_written() {
        for kind in GrammarKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("json".parse::<GrammarKind>().is_err());
        assert_eq!(GrammarKind::of_rules("# x\nroot ::= \"a\""), GrammarKind::Gbnf);
        assert_eq!(GrammarKind::of_rules("start: \"a\""), GrammarKind::Lark);
    }

    #[test]
    fn brackets_are_counted() {
        assert_eq!(depth(""), 0);
        assert_eq!(depth("()[{}]"), 2);
        assert_eq!(depth("))((("), 3);
    }
}
