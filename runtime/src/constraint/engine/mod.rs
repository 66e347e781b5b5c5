//! The grammar engine `llguidance`: a model's tokens as a trie, compiled grammars, masks.

mod gbnf;
mod message;
mod words;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use llguidance::api::{ParserLimits, StopReason, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv};
use llguidance::{Matcher, ParserFactory};
use ollm_kernels::cpu::with_stack;
use ollm_kernels::token_set::TokenSet;

use crate::json_schema;
use crate::tokenizer::Tokenizer;

use super::error::ConstraintError;
use super::kind::GrammarKind;

type Result<T, E = ConstraintError> = std::result::Result<T, E>;

/// Stack that a grammar is compiled on, and for each byte of its text: a rule takes some eight
/// bytes of text, and some kibibytes of stack.
const STACK: usize = 4 << 20;
const STACK_PER_BYTE: usize = 2 << 10;

/// The tokens of a model, for any number of grammars.
pub(super) struct Engine {
    factory: ParserFactory,
    tokenizer: Arc<Tokenizer>,
    /// The control tokens, by their texts.
    controls: HashMap<Vec<u8>, u32>,
}

impl Engine {
    pub(super) fn new(tokenizer: &Arc<Tokenizer>, vocabulary: usize) -> Result<Self> {
        let words: TokEnv = Arc::new(words::Words::new(tokenizer, vocabulary)?);
        let slices = SlicedBiasComputer::general_slices();
        let factory = ParserFactory::new(&words, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| ConstraintError::Vocabulary { reason: error.to_string() })?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        // Of those with the same text, the first.
        let controls = (0..vocabulary as u32).rev().filter(|&id| tokenizer.is_control(id));
        let controls = controls.filter_map(|id| Some((tokenizer.token_bytes(id)?.to_vec(), id))).collect();
        Ok(Self { factory, tokenizer: Arc::clone(tokenizer), controls })
    }

    /// Compiles on a thread of its own: rules that name each other in a long chain need stack.
    pub(super) fn compile(&self, kind: GrammarKind, text: &str) -> Result<Parser> {
        let compiled = with_stack(STACK + text.len() * STACK_PER_BYTE, || self.compile_here(kind, text));
        let compiled = compiled.map_err(|error| ConstraintError::NoThread { reason: error.to_string() })?;
        let panicked = |_| ConstraintError::Grammar { kind: title(kind), reason: "it is too complex".to_owned() };
        compiled.map_err(panicked)?
    }

    fn compile_here(&self, kind: GrammarKind, text: &str) -> Result<Parser> {
        let wrong =
            |reason: String| ConstraintError::Grammar { kind: title(kind), reason: message::told(kind, &reason) };
        let grammar = match kind {
            GrammarKind::JsonSchema => TopLevelGrammar::from_json_schema(json_schema::read(text).map_err(wrong)?),
            GrammarKind::Regex => TopLevelGrammar::from_regex(whole(text)),
            GrammarKind::Lark => TopLevelGrammar::from_lark(text.to_owned()),
            GrammarKind::Gbnf => TopLevelGrammar::from_lark(
                gbnf::to_lark(text, &|text| self.token(text), self.tokenizer.ends()).map_err(wrong)?,
            ),
        };
        let matcher = Matcher::new(self.factory.create_parser(grammar));
        if let Some(reason) = matcher.get_error() {
            return Err(wrong(reason));
        }
        if allows_nothing(&matcher) {
            return Err(wrong("it allows no text".to_owned()));
        }
        Ok(Parser(matcher))
    }

    /// The token that a text is all of: a control token of that text, else what the tokenizer makes
    /// of it.
    fn token(&self, text: &str) -> Option<u32> {
        let control = self.controls.get(text.as_bytes()).copied();
        control.or_else(|| match self.tokenizer.encode(text, false).ok()?[..] {
            [id] => Some(id),
            _ => None,
        })
    }
}

/// Whether no token may come first, and the text may not end either.
fn allows_nothing(matcher: &Matcher) -> bool {
    let mut first = matcher.deep_clone();
    let nothing = StopReason::NoExtensionBias.to_string();
    !first.is_stopped() && first.compute_mask().is_err_and(|error| message::first_line(&error.to_string()) == nothing)
}

/// What a message calls a grammar.
const fn title(kind: GrammarKind) -> &'static str {
    match kind {
        GrammarKind::JsonSchema => "JSON schema",
        GrammarKind::Regex => "regular expression",
        GrammarKind::Lark => "Lark grammar",
        GrammarKind::Gbnf => "GBNF grammar",
    }
}

/// The expression without anchors at its ends: all of the text has to match it anyway.
fn whole(regex: &str) -> &str {
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    let stripped = regex.strip_suffix('$').unwrap_or(regex);
    let backslashes = stripped.bytes().rev().take_while(|&byte| byte == b'\\').count();
    if backslashes.is_multiple_of(2) { stripped } else { regex }
}

/// A place in a grammar. Clones share what the lexer has found out.
#[derive(Clone)]
pub(super) struct Parser(Matcher);

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").finish_non_exhaustive()
    }
}

impl Parser {
    /// A copy that shares nothing.
    pub(super) fn apart(&self) -> Self {
        Self(self.0.deep_clone())
    }

    /// Whether the text may end here.
    pub(super) fn is_complete(&mut self) -> bool {
        self.is_at_end() || self.0.is_accepting().unwrap_or(false)
    }

    /// Whether the text is complete, and nothing can follow.
    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_stopped() && !self.0.is_error()
    }

    /// The tokens that have to come next.
    pub(super) fn forced(&mut self) -> Vec<u32> {
        self.0.compute_ff_tokens()
    }

    /// The tokens that may come next, of a vocabulary of so many.
    pub(super) fn allowed(&mut self, vocabulary: usize) -> Result<TokenSet> {
        let mask = self.0.compute_mask().map_err(|error| stuck(&error))?;
        Ok(TokenSet::of_words(mask.as_slice(), vocabulary)?)
    }

    /// Whether the bytes of a token may come next.
    pub(super) fn takes(&mut self, token: u32) -> Result<bool> {
        Ok(self.0.validate_tokens(&[token]).map_err(|error| stuck(&error))? == 1)
    }

    /// Takes a token that may come next.
    pub(super) fn accept(&mut self, token: u32) -> Result<()> {
        self.0.consume_token(token).map_err(|error| stuck(&error))
    }
}

fn stuck(error: &impl ToString) -> ConstraintError {
    ConstraintError::Stuck { reason: message::first_line(&error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_is_for_the_whole_text() {
        assert_eq!(whole(r"^a|b$"), "a|b");
        assert_eq!(whole(r"a\$"), r"a\$");
        assert_eq!(whole(r"a\\$"), r"a\\");
        assert_eq!(whole(r""), "");
    }
}
