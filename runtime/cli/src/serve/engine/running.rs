//! A continuation on its way: its session, its text, and what its client has not taken yet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ollm_runtime::constraint::ConstraintError;
use ollm_runtime::generate::{Reason, StopScanner};
use ollm_runtime::plugin::Selector;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{OptionView, Session, SessionError, Step, Turn};
use ollm_runtime::tokenizer::{Detokenizer, Tokenizer};
use tokio::sync::mpsc::{Sender, error::TrySendError};

use super::job::{Answer, Choice, Event, Said};

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
    /// What the channel had no room for; nothing is generated until it has.
    outbox: VecDeque<Event>,
    /// Since when the channel has no room.
    stuck: Option<Instant>,
    ended: bool,
}

impl Running {
    /// A continuation of what `session` was fed.
    pub(super) fn new(session: Session, answer: &Answer, choice: Choice) -> Self {
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
            stuck: None,
            ended: false,
        }
    }

    /// Whether the next token can be generated: the client has taken all of the earlier ones.
    pub(super) fn is_ready(&self) -> bool {
        !self.ended && self.outbox.is_empty()
    }

    /// Whether all was said and taken.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.outbox.is_empty()
    }

    /// Whether its client is gone, or has taken nothing for so long.
    pub(super) fn is_lost(&self, patience: Duration) -> bool {
        self.events.is_closed() || self.stuck.is_some_and(|since| since.elapsed() >= patience)
    }

    /// Hands out what the channel has room for.
    pub(super) fn flush(&mut self) {
        while let Some(event) = self.outbox.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => self.stuck = None,
                Err(TrySendError::Full(event)) => {
                    self.outbox.push_front(event);
                    self.stuck.get_or_insert_with(Instant::now);
                    return;
                }
                Err(TrySendError::Closed(_)) => self.outbox.clear(),
            }
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
        let (text, stopped) = self.stop.push(&self.text.push(tokenizer, step.token));
        let top = self.sampler.top().to_vec();
        self.outbox.push_back(Event::Token(Box::new(Said { index: self.index, step, text, top, options })));
        if stopped {
            self.end(Reason::Stop);
        } else if self.generated >= self.limit {
            self.end(Reason::Limit);
        } else {
            self.flush();
        }
        true
    }

    fn end(&mut self, reason: Reason) -> bool {
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
