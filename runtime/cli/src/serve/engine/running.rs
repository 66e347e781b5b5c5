//! A continuation on its way: its session, its text, and what its client has not taken yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ollm_runtime::constraint::ConstraintError;
use ollm_runtime::generate::{Reason, StopScanner};
use ollm_runtime::plugin::Selector;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{OptionView, Session, SessionError, Step, Turn};
use ollm_runtime::tokenizer::{Detokenizer, Tokenizer};
use tokio::sync::mpsc::{Sender, error::TrySendError};

use super::job::{Answer, Choice, Event, TokenEvent};
use crate::serve::memory::Reservation;

/// A continuation on its way.
pub(super) struct Running {
    pub(super) session: Session,
    index: usize,
    selector: Option<Selector>,
    sampler: Sampler,
    text: Detokenizer,
    stop: StopScanner,
    limit: usize,
    pub(super) show: Option<usize>,
    generated: usize,
    events: Sender<Event>,
    /// What the channel had no room for.
    outbox: VecDeque<Event>,
    /// Since when it is stalled: the channel was full, and the client has not taken half of it yet.
    stalled: Option<Instant>,
    ended: bool,
    _kv: Arc<Reservation>,
}

impl Running {
    /// A continuation of what `session` was fed.
    pub(super) fn new(session: Session, answer: &Answer, choice: Choice, kv: Arc<Reservation>) -> Self {
        let Choice { index, selector, sampler } = choice;
        Self {
            session,
            index,
            selector,
            sampler,
            text: Detokenizer::new(),
            stop: StopScanner::new(&answer.stops),
            limit: answer.limit,
            show: answer.show,
            generated: 0,
            events: answer.events.clone(),
            outbox: VecDeque::new(),
            stalled: None,
            ended: false,
            _kv: kv,
        }
    }

    /// What is left of it.
    pub(super) fn into_session(self) -> Session {
        self.session
    }

    /// Whether the next token can be generated.
    pub(super) fn is_ready(&self) -> bool {
        !self.ended && !self.is_stalled()
    }

    /// Whether it waits for its client to take what was generated.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Whether all was said and taken.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.outbox.is_empty()
    }

    /// Whether its client is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether its client is gone, or was stalled for so long.
    pub(super) fn is_lost(&self, patience: Duration) -> bool {
        self.is_gone() || self.stalled.is_some_and(|since| since.elapsed() >= patience)
    }

    /// Hands out what the channel has room for.
    pub(super) fn flush(&mut self) {
        while let Some(event) = self.outbox.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.outbox.push_front(event);
                    self.stalled.get_or_insert_with(Instant::now);
                    return;
                }
                Err(TrySendError::Closed(_)) => self.outbox.clear(),
            }
        }
        if self.events.capacity() * 2 >= self.events.max_capacity() {
            self.stalled = None;
        }
    }

    /// Its part in the next pass.
    pub(super) fn turn(&mut self) -> Result<Turn<'_>, SessionError> {
        let options = self.sampler.options();
        if options.presence_penalty != 0.0 || options.frequency_penalty != 0.0 {
            // OpenAI's penalties are those of generated tokens alone.
            self.sampler = Sampler::new(SamplerOptions { repeat_last_n: self.generated, ..options.clone() })?;
        }
        Ok(Turn { session: &mut self.session, selector: self.selector.as_ref(), sampler: &mut self.sampler })
    }

    /// Takes what the pass gave; whether that was a token.
    pub(super) fn take(
        &mut self,
        step: Result<Step, SessionError>,
        options: Vec<OptionView>,
        tokenizer: &Tokenizer,
    ) -> bool {
        let step = match step {
            Ok(step) if tokenizer.is_end(step.token) => return self.end(Reason::End),
            Ok(step) => step,
            Err(SessionError::ContextFull { .. }) => return self.end(Reason::ContextFull),
            Err(SessionError::Constraint(ConstraintError::Complete)) => return self.end(Reason::End),
            Err(error) => {
                self.ended = true;
                self.outbox.push_back(Event::Failed(error));
                self.flush();
                return false;
            }
        };
        self.generated += 1;
        let complete = self.text.push(tokenizer, step.token);
        let (characters, bytes) = (complete.chars().count(), complete.len());
        let (text, stopped) = self.stop.push(&complete);
        let (index, top) = (self.index, self.sampler.top().to_vec());
        let event = TokenEvent { index, step, text, characters, bytes, top, options };
        self.outbox.push_back(Event::Token(Box::new(event)));
        if stopped {
            self.end(Reason::Stop);
        } else if self.generated >= self.limit {
            self.end(Reason::Limit);
        } else {
            self.flush();
        }
        true
    }

    /// Ends it; no token came with that.
    pub(super) fn end(&mut self, reason: Reason) -> bool {
        self.ended = true;
        let mut rest = String::new();
        if reason != Reason::Stop {
            let (text, stopped) = self.stop.push(&self.text.finish());
            rest = if stopped { text } else { text + &self.stop.finish() };
        }
        self.outbox.push_back(Event::Done { index: self.index, reason, rest });
        self.flush();
        false
    }
}
