//! Generation: steps until an end token, a stop string, a limit, or the end of the context.

mod budget;
mod stop;

use std::ops::ControlFlow;

use crate::constraint::{Constraint, ConstraintError};
use crate::plugin::Selector;
use crate::sampler::Sampler;
use crate::session::{OptionView, Session, SessionError, Step};
use crate::tokenizer::{Detokenizer, Tokenizer};
use budget::BudgetTracker;

pub use budget::ReasoningBudget;
pub use stop::StopScanner;

/// When generation ends, and what is shown of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerateOptions {
    /// Tokens at most.
    pub limit: usize,
    /// Texts that end generation and are not part of what is generated.
    pub stops: Vec<String>,
    /// How many tokens of each option are to be seen, if any; needs a plugin.
    pub show: Option<usize>,
    /// How long the model may think before it answers; none: as long as it likes.
    pub reasoning: Option<ReasoningBudget>,
}

/// One generated token.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// The token, its latent, its probability.
    pub step: Step,
    /// The text that is complete with it: not the token's own text where that is half a character,
    /// or may begin a stop string.
    pub text: &'a str,
    /// The most probable tokens of the distribution that it was chosen from, with their natural
    /// log-probabilities: as many as the sampler's
    /// [`logprobs`](crate::sampler::SamplerOptions::logprobs) asks for.
    pub top: &'a [(u32, f32)],
    /// The option set it was chosen from, if that is to be seen.
    pub options: &'a [OptionView],
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// An end token came; it is part of the session, not of the text. Or a constraint is complete
    /// in a model that has no end token.
    End,
    /// A stop string came.
    Stop,
    /// There are as many tokens as asked for.
    Limit,
    /// The context is full.
    ContextFull,
    /// The callback asked for it.
    Callback,
    /// [`Canceller::cancel`](crate::session::Canceller::cancel) was called.
    Cancelled,
}

impl Reason {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::End => "eos",
            Self::Stop => "stop",
            Self::Limit => "length",
            Self::ContextFull => "context",
            Self::Callback => "callback",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What was generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Why it ended.
    pub reason: Reason,
    /// The tokens, without an end token.
    pub tokens: Vec<u32>,
    /// All of the text.
    pub text: String,
    /// The part of the text that came with no token: what had waited for an end that did not come.
    pub rest: String,
    /// Passes over the weights that it took: fewer than tokens where drafts were right.
    pub passes: u64,
    /// Tokens that were drafted: see [`Session::set_drafter`].
    pub drafted: u64,
    /// How many of them were right.
    pub accepted: u64,
}

/// Continues what `session` was fed, token by token; `each` sees every token and may end it.
/// Without a selector, or without a plugin, the backbone generates alone.
///
/// # Errors
/// As [`Session::step`], except for the end of the context and for a cancellation, which are
/// reasons. The tokens so far are then in the session; text that still waited, for the rest of a
/// character or of a stop string, was given to nobody.
pub fn generate(
    session: &mut Session,
    tokenizer: &Tokenizer,
    selector: Option<&Selector>,
    sampler: &mut Sampler,
    options: &GenerateOptions,
    each: &mut dyn FnMut(&Token<'_>) -> ControlFlow<()>,
) -> Result<Generated, SessionError> {
    generate_on(session, tokenizer, selector, sampler, options, &mut |_, _| Ok(()), each)
}

/// Makes room in a session whose context is full, for an answer of so many tokens to go on
/// ([`Session::replace_prompt`]); or leaves it as it is.
pub type MakeRoom<'m> = dyn FnMut(&mut Session, usize) -> Result<(), SessionError> + 'm;

/// As [`generate`]; where the context is full, `make_room` is asked for more.
///
/// # Errors
/// As [`generate`], and those of `make_room`.
pub fn generate_on(
    session: &mut Session,
    tokenizer: &Tokenizer,
    selector: Option<&Selector>,
    sampler: &mut Sampler,
    options: &GenerateOptions,
    make_room: &mut MakeRoom<'_>,
    each: &mut dyn FnMut(&Token<'_>) -> ControlFlow<()>,
) -> Result<Generated, SessionError> {
    let mut text = GeneratedText::new(tokenizer, &options.stops);
    let mut budget = options.reasoning.as_ref().map(BudgetTracker::new);
    let mut forced: &[u32] = &[];
    let mut tokens = Vec::new();
    let before = session.statistics();
    let reason = loop {
        if tokens.len() >= options.limit {
            break Reason::Limit;
        }
        if session.position() == session.context() {
            make_room(session, tokens.len())?;
        }
        forced = budget.as_mut().and_then(BudgetTracker::end).unwrap_or(forced);
        let next = match forced.split_off_first() {
            Some(&token) => match force(session, token, selector, sampler).transpose() {
                Some(forced) => forced,
                None => continue,
            },
            None => next(session, selector, sampler, options.show),
        };
        let (step, shown) = match next {
            Ok(next) => next,
            Err(SessionError::ContextFull { .. }) => break Reason::ContextFull,
            Err(SessionError::Cancelled) => break Reason::Cancelled,
            Err(SessionError::Constraint(ConstraintError::Complete)) => break Reason::End,
            Err(error) => return Err(error),
        };
        if tokenizer.is_end(step.token) {
            break Reason::End;
        }
        tokens.push(step.token);
        let decoded = text.decode(step.token);
        if let Some(budget) = &mut budget {
            budget.push(&decoded);
        }
        let (piece, stopped) = text.push(&decoded);
        let flow = each(&Token { step, text: &piece, top: sampler.top(), options: &shown });
        if stopped {
            break Reason::Stop;
        }
        if flow.is_break() {
            break Reason::Callback;
        }
    };
    let rest = if reason == Reason::Stop { String::new() } else { text.finish() };
    let after = session.statistics();
    Ok(Generated {
        reason,
        tokens,
        text: text.all,
        rest,
        passes: after.passes - before.passes,
        drafted: after.drafted - before.drafted,
        accepted: after.accepted - before.accepted,
    })
}

/// The option set of the step to come, if it is to be seen, and the step.
fn next(
    session: &mut Session,
    selector: Option<&Selector>,
    sampler: &mut Sampler,
    show: Option<usize>,
) -> Result<(Step, Vec<OptionView>), SessionError> {
    let shown = show.map(|top| session.option_set(top)).transpose()?.unwrap_or_default();
    Ok((session.step(selector, sampler)?, shown))
}

/// Adds a token as if it had been generated: with a probability of 1, from no latent. Where the
/// constraint does not allow it, the answer that it constrains begins behind it; where its grammar
/// has begun behind a trigger, the token is left out.
fn force(
    session: &mut Session,
    token: u32,
    selector: Option<&Selector>,
    sampler: &mut Sampler,
) -> Result<Option<(Step, Vec<OptionView>)>, SessionError> {
    sampler.sample_none();
    let step = match session.step_to(token, selector) {
        Err(SessionError::Constraint(ConstraintError::Refused { .. })) => {
            if session.constraint().is_some_and(Constraint::is_triggered) {
                return Ok(None);
            }
            session.feed(&[token])?;
            Step { token, latent: None, logprob: 0.0, forced: true }
        }
        outcome => outcome?,
    };
    Ok(Some((step, Vec::new())))
}

/// Text on its way from tokens to the reader.
struct GeneratedText<'t> {
    tokenizer: &'t Tokenizer,
    stream: Detokenizer,
    stop: StopScanner,
    all: String,
}

impl<'t> GeneratedText<'t> {
    fn new(tokenizer: &'t Tokenizer, stops: &[String]) -> Self {
        Self { tokenizer, stream: Detokenizer::new(), stop: StopScanner::new(stops), all: String::new() }
    }

    /// The text that is complete with this token.
    fn decode(&mut self, token: u32) -> String {
        self.stream.push(self.tokenizer, token)
    }

    /// The text that is sure with this one, and whether a stop string ends it.
    fn push(&mut self, decoded: &str) -> (String, bool) {
        let (piece, stopped) = self.stop.push(decoded);
        self.all.push_str(&piece);
        (piece, stopped)
    }

    /// What still waited.
    fn finish(&mut self) -> String {
        let (mut rest, stopped) = self.stop.push(&self.stream.finish());
        if !stopped {
            rest.push_str(&self.stop.finish());
        }
        self.all.push_str(&rest);
        rest
    }
}
