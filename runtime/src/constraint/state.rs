//! The place of one sequence in a grammar.

use std::collections::VecDeque;
use std::sync::Arc;

use ollm_kernels::memory;
use ollm_kernels::token_set::TokenSet;

use super::engine::Parser;
use super::error::ConstraintError;
use super::grammar::Grammar;
use super::trigger::Trigger;

type Result<T, E = ConstraintError> = std::result::Result<T, E>;

/// A grammar that one sequence keeps to, and how far it has come.
///
/// It depends on the tokens that it accepted and on nothing else, so that a fork, a replay and
/// other threads give the same. Tokens that the grammar forces (the name of the next field, say)
/// are known before the model computes anything.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use ollm_runtime::{constraint::*, session::Session, tokenizer::Tokenizer};
/// # fn json(session: &mut Session, tokenizer: &Arc<Tokenizer>) -> ollm_runtime::Result<()> {
/// let compiler = GrammarCompiler::new(tokenizer, session.model().config().vocab)?;
/// let grammar = compiler.compile(GrammarKind::JsonSchema, r#"{"type": "object"}"#)?;
/// session.set_constraint(Some(Constraint::new(&grammar)))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Constraint {
    grammar: Arc<Grammar>,
    trigger: Option<Arc<Trigger>>,
    /// Whether it waits for the trigger again behind a complete text.
    repeats: bool,
    /// What it accepted since the beginning.
    tokens: Vec<u32>,
    place: Place,
    /// What may come next, once that is known.
    next: Option<Next>,
}

#[derive(Clone, Debug)]
enum Place {
    /// Before the trigger, behind the end of a text that may begin it.
    Before { tail: Vec<u8> },
    /// In the grammar, with tokens that it forces, where these are known.
    Inside { parser: Box<Parser>, forced: VecDeque<u32> },
    /// Behind an end token.
    Behind,
}

#[derive(Clone, Debug)]
enum Next {
    Any,
    Set(TokenSet),
    Only(u32),
    Nothing,
}

/// The tokens that may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed<'a> {
    /// Any token: the constraint waits for its trigger.
    Any,
    /// The tokens of this set, end tokens among them where the grammar may end here.
    Set(&'a TokenSet),
    /// This token alone; an end token where the grammar is complete and nothing can follow.
    Only(u32),
    /// None: the grammar is complete, and the model has no end token.
    Nothing,
}

impl Constraint {
    /// At the beginning of the grammar.
    pub fn new(grammar: &Arc<Grammar>) -> Self {
        Self::with_trigger(grammar, None, false)
    }

    /// Waits until the text has `trigger`; the next token then begins the grammar. Until then every
    /// token is allowed, but for one that has the end of the trigger and more. A text without the
    /// trigger may end anywhere.
    pub fn after(grammar: &Arc<Grammar>, trigger: &str) -> Self {
        Self::with_trigger(grammar, Trigger::new(grammar, trigger).map(Arc::new), false)
    }

    /// As [`Constraint::after`], each time that the text has `trigger`: where a text of the grammar
    /// is complete and nothing can follow it, every token is allowed until the trigger comes again.
    pub fn after_each(grammar: &Arc<Grammar>, trigger: &str) -> Self {
        let trigger = Trigger::new(grammar, trigger).map(Arc::new);
        let repeats = trigger.is_some();
        Self::with_trigger(grammar, trigger, repeats)
    }

    fn with_trigger(grammar: &Arc<Grammar>, trigger: Option<Arc<Trigger>>, repeats: bool) -> Self {
        let place = begin(grammar, trigger.is_some());
        Self { grammar: Arc::clone(grammar), trigger, repeats, tokens: Vec::new(), place, next: None }
    }

    /// The grammar.
    pub fn grammar(&self) -> &Arc<Grammar> {
        &self.grammar
    }

    /// The tokens that were accepted since the beginning.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Whether the grammar may end here: the text so far is a whole one. Before the trigger it may.
    pub fn is_complete(&mut self) -> bool {
        match &mut self.place {
            Place::Before { .. } | Place::Behind => true,
            Place::Inside { parser, forced } => forced.is_empty() && parser.is_complete(),
        }
    }

    /// Whether it still waits for its trigger.
    pub fn is_waiting(&self) -> bool {
        matches!(self.place, Place::Before { .. })
    }

    /// Whether it has waited for a trigger, which has come.
    pub fn is_triggered(&self) -> bool {
        self.trigger.is_some() && !self.is_waiting()
    }

    /// The tokens that may come next.
    ///
    /// # Errors
    /// [`ConstraintError::Stuck`], [`ConstraintError::OutOfMemory`].
    pub fn allowed(&mut self) -> Result<Allowed<'_>> {
        if self.next.is_none() {
            self.next = Some(self.find_next()?);
        }
        Ok(match &self.next {
            None | Some(Next::Any) => Allowed::Any,
            Some(Next::Set(set)) => Allowed::Set(set),
            Some(Next::Only(token)) => Allowed::Only(*token),
            Some(Next::Nothing) => Allowed::Nothing,
        })
    }

    /// Takes the next token: one that is allowed, or another with bytes that the grammar takes, as
    /// where a given text is cut into other tokens.
    ///
    /// # Errors
    /// [`ConstraintError::Refused`], [`ConstraintError::OutOfMemory`]; it then stays as it was.
    /// [`ConstraintError::Stuck`].
    pub fn accept(&mut self, token: u32) -> Result<()> {
        memory::grow(&mut self.tokens, 1)?;
        let is_allowed = match self.allowed()? {
            Allowed::Any => true,
            Allowed::Only(only) => only == token,
            Allowed::Set(set) => set.contains(token),
            Allowed::Nothing => return Err(ConstraintError::Complete),
        };
        self.advance(token, is_allowed)?;
        self.tokens.push(token);
        self.next = None;
        Ok(())
    }

    /// Goes back to the beginning.
    pub fn reset(&mut self) {
        self.tokens.clear();
        self.place = begin(&self.grammar, self.trigger.is_some());
        self.next = None;
    }

    /// Goes back to where it had accepted `count` tokens, or stays where it has not so many.
    ///
    /// # Errors
    /// As [`Constraint::accept`]; it then stays as it was.
    pub fn rewind(&mut self, count: usize) -> Result<()> {
        if count < self.tokens.len() {
            let mut earlier = Self::with_trigger(&self.grammar, self.trigger.clone(), self.repeats);
            self.tokens[..count].iter().try_for_each(|&token| earlier.accept(token))?;
            *self = earlier;
        }
        Ok(())
    }

    fn find_next(&mut self) -> Result<Next> {
        match &mut self.place {
            Place::Before { tail } => {
                let crossing = || self.trigger.iter().flat_map(|trigger| trigger.crossing(tail));
                if crossing().next().is_none() {
                    return Ok(Next::Any);
                }
                let mut set = TokenSet::full(self.grammar.vocabulary())?;
                crossing().for_each(|token| set.remove(token));
                Ok(Next::Set(set))
            }
            Place::Inside { parser, forced } => {
                if forced.is_empty() && !parser.is_at_end() {
                    forced.extend(parser.forced());
                }
                if let Some(&token) = forced.front() {
                    return Ok(Next::Only(token));
                }
                if parser.is_at_end() && self.repeats {
                    self.place = begin(&self.grammar, true);
                    return self.find_next();
                }
                if parser.is_at_end() {
                    return Ok(only_end(&self.grammar));
                }
                let set = parser.allowed(self.grammar.vocabulary())?;
                Ok(set.only().map_or(Next::Set(set), Next::Only))
            }
            Place::Behind => Ok(only_end(&self.grammar)),
        }
    }

    /// Moves over a token.
    fn advance(&mut self, token: u32, is_allowed: bool) -> Result<()> {
        let is_end = self.grammar.is_end(token);
        match &mut self.place {
            Place::Inside { parser, forced } if !is_allowed && !is_end => {
                if !parser.takes(token)? {
                    return Err(ConstraintError::Refused { token });
                }
                parser.accept(token)?;
                forced.clear();
            }
            _ if !is_allowed => return Err(ConstraintError::Refused { token }),
            _ if is_end => self.place = Place::Behind,
            Place::Before { tail } => {
                let bytes = self.grammar.token_bytes(token);
                if self.trigger.as_ref().is_none_or(|trigger| trigger.push(tail, bytes)) {
                    self.place = begin(&self.grammar, false);
                }
            }
            Place::Inside { parser, forced } => {
                parser.accept(token)?;
                forced.pop_front();
            }
            Place::Behind => {}
        }
        Ok(())
    }
}

fn begin(grammar: &Grammar, waits: bool) -> Place {
    if waits {
        Place::Before { tail: Vec::new() }
    } else {
        Place::Inside { parser: Box::new(grammar.start()), forced: VecDeque::new() }
    }
}

fn only_end(grammar: &Grammar) -> Next {
    grammar.end().map_or(Next::Nothing, Next::Only)
}
