//! An answer: its prompt is fed, its tokens become events, and then a message.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::chat::{ChatEvent, ChatParser, Message, Prompt, numbered_id};
use crate::generate::{GenerateOptions, Generated, Reason, ReasoningBudget, Token, generate_on};
use crate::plugin::Selector;
use crate::sampler::Sampler;
use crate::session::{Session, SessionError};

use super::error::ConversationError;
use super::shift::{Dropped, Fitting};
use super::talk::Conversation;

type Result<T, E = ConversationError> = std::result::Result<T, E>;

/// The prompt of an answer, which a session was fed.
#[derive(Debug)]
pub struct Prompted {
    /// Its tokens.
    pub tokens: usize,
    /// How many of them the session had already.
    pub reused: usize,
    /// What the model forgot for it.
    pub dropped: Dropped,
    /// A limit on what the model thinks, if one is set.
    pub reasoning: Option<ReasoningBudget>,
    /// Takes the answer apart.
    pub parser: ChatParser,
}

/// A part of an answer as it comes.
#[derive(Debug)]
pub struct AnswerPart<'a> {
    /// The token that was generated; none for what is left where the answer ends.
    pub token: Option<&'a Token<'a>>,
    /// What is sure with it. A call of a tool has an id in any case, which no other call of the
    /// conversation has.
    pub events: &'a [ChatEvent],
}

impl AnswerPart<'_> {
    /// What the model says in this part, without thoughts and calls.
    pub fn text(&self) -> String {
        self.events.iter().map(|event| if let ChatEvent::Text(text) = event { text } else { "" }).collect()
    }
}

/// An answer, whose message is the last one of the conversation. There is none where it was ended
/// before anything came.
#[derive(Debug)]
pub struct Answer {
    /// Its prompt. What the model forgot in the middle of the answer is in `dropped` too.
    pub prompted: Prompted,
    /// Why it ended, its tokens, and its text as the model wrote it.
    pub generated: Generated,
}

impl Conversation {
    /// Feeds the prompt of the next answer to a session: what it has of it already is not computed
    /// again.
    ///
    /// # Errors
    /// [`ConversationError::NothingToAnswer`], [`ConversationError::TurnTooLong`],
    /// [`ConversationError::ContextFull`], [`ConversationError::Chat`],
    /// [`ConversationError::Tokenizer`]; [`ConversationError::Session`] as
    /// [`Session::feed_prompt`]: after a cancellation the next call goes on from there.
    pub fn feed(&mut self, session: &mut Session) -> Result<Prompted> {
        if self.messages.last().is_none_or(|message| message.role() == "assistant") {
            return Err(ConversationError::NothingToAnswer);
        }
        let Fitting { prompt, tokens, left_out } = self.fit(session.context())?;
        let (parser, reasoning) = (self.parser(&prompt), self.reasoning(&prompt)?);
        let reused = session.feed_prompt(&tokens)?;
        Ok(Prompted { tokens: tokens.len(), reused, dropped: self.forget(left_out), reasoning, parser })
    }

    /// What takes the answer to this prompt apart.
    pub fn parser(&self, prompt: &Prompt) -> ChatParser {
        let format = self.format();
        let in_reasoning = format.reasoning.is_some_and(|marks| marks.is_open_in(prompt.text()));
        ChatParser::new(format, in_reasoning).with_tools(&self.options.variables)
    }

    /// The limit on what the model thinks before the answer to this prompt, if one is set.
    ///
    /// # Errors
    /// [`ConversationError::Tokenizer`].
    pub fn reasoning(&self, prompt: &Prompt) -> Result<Option<ReasoningBudget>> {
        Ok(match (self.options.reasoning_budget, self.format().reasoning) {
            (Some(most), Some(marks)) => Some(ReasoningBudget::new(most, marks, prompt, &self.tokenizer)?),
            _ => None,
        })
    }

    /// Answers: feeds the prompt, generates, and adds the answer's message. `each` sees every token
    /// and event and may end the answer, and so may the session's
    /// [`Canceller`](crate::session::Canceller): what came until then is the answer. Where the
    /// context gets full, the oldest turns are forgotten and the answer goes on.
    ///
    /// Of `options`, `reasoning` is not used: the budget is a setting of the conversation.
    ///
    /// # Errors
    /// As [`Conversation::feed`] and [`generate`](crate::generate::generate()); the messages are
    /// then as they were.
    pub fn answer(
        &mut self,
        session: &mut Session,
        selector: Option<&Selector>,
        sampler: &mut Sampler,
        options: &GenerateOptions,
        each: &mut dyn FnMut(&AnswerPart<'_>) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let mut prompted = self.feed(session)?;
        let options = GenerateOptions { reasoning: prompted.reasoning.clone(), ..options.clone() };
        let mut events = AnswerEvents::new(prompted.parser.clone(), self.calls_made(), each);
        let constrained = self.calls.clone().map(|calls| (calls, session.constraint().cloned()));
        let generated = match constrained {
            None => self.generate(session, selector, sampler, &options, &mut prompted.dropped, &mut events)?,
            Some((calls, own)) => {
                session.set_constraint(Some(calls))?;
                let generated = self.generate(session, selector, sampler, &options, &mut prompted.dropped, &mut events);
                session.set_constraint(own)?;
                generated?
            }
        };
        let events = events.finish(&generated.rest);
        if !generated.tokens.is_empty() || matches!(generated.reason, Reason::End | Reason::Stop | Reason::Limit) {
            self.messages.push(Message::from_answer(&events));
        }
        Ok(Answer { prompted, generated })
    }

    /// Adds an answer that was found elsewhere, such as in branches of the session, by its text.
    pub fn accept(&mut self, parser: ChatParser, text: &str) -> &Message {
        let mut unseen = |_: &AnswerPart<'_>| ControlFlow::Continue(());
        let events = AnswerEvents::new(parser, self.calls_made(), &mut unseen).finish(text);
        let place = self.messages.len();
        self.messages.push(Message::from_answer(&events));
        &self.messages[place]
    }

    fn generate(
        &mut self,
        session: &mut Session,
        selector: Option<&Selector>,
        sampler: &mut Sampler,
        options: &GenerateOptions,
        dropped: &mut Dropped,
        events: &mut AnswerEvents<'_>,
    ) -> Result<Generated> {
        let tokenizer = Arc::clone(&self.tokenizer);
        let mut failed = None;
        let mut make_room = |session: &mut Session, answer: usize| match self.make_room(session, answer) {
            Ok(more) => {
                *dropped += more;
                Ok(())
            }
            Err(error) => {
                failed = Some(error);
                Err(SessionError::Cancelled)
            }
        };
        let mut each = |token: &Token<'_>| events.push(token.text, Some(token));
        let done = generate_on(session, &tokenizer, selector, sampler, options, &mut make_room, &mut each);
        failed.map_or_else(|| Ok(done?), Err)
    }

    /// Forgets the oldest turns in the middle of an answer of so many tokens, if there are any.
    fn make_room(&mut self, session: &mut Session, answer: usize) -> Result<Dropped> {
        if !self.options.context_shift {
            return Ok(Dropped::default());
        }
        let Ok(Fitting { tokens, left_out, .. }) = self.shifted(session.context(), answer)? else {
            return Ok(Dropped::default());
        };
        session.replace_prompt(&tokens, answer)?;
        Ok(self.forget(left_out))
    }

    /// How many calls of tools there are in the messages.
    fn calls_made(&self) -> usize {
        let calls = self.messages.iter().filter_map(|message| message.get("tool_calls")?.as_array());
        calls.map(Vec::len).sum()
    }
}

/// The events of an answer on their way to who sees them.
struct AnswerEvents<'e> {
    parser: ChatParser,
    /// Calls of tools before the next one.
    calls: usize,
    each: &'e mut dyn FnMut(&AnswerPart<'_>) -> ControlFlow<()>,
    all: Vec<ChatEvent>,
}

impl<'e> AnswerEvents<'e> {
    fn new(parser: ChatParser, calls: usize, each: &'e mut dyn FnMut(&AnswerPart<'_>) -> ControlFlow<()>) -> Self {
        Self { parser, calls, each, all: Vec::new() }
    }

    fn push(&mut self, text: &str, token: Option<&Token<'_>>) -> ControlFlow<()> {
        let events = self.parser.push(text);
        self.show(events, token)
    }

    /// The end of the text; gives all events.
    fn finish(mut self, rest: &str) -> Vec<ChatEvent> {
        let mut events = self.parser.push(rest);
        events.extend(self.parser.finish());
        if !events.is_empty() {
            // The answer has ended: whether it is to go on does not matter any more.
            let _ = self.show(events, None);
        }
        self.all
    }

    /// Shows events, in which each call has an id.
    fn show(&mut self, mut events: Vec<ChatEvent>, token: Option<&Token<'_>>) -> ControlFlow<()> {
        for event in &mut events {
            if let ChatEvent::Call(call) = event {
                call.id.get_or_insert_with(|| numbered_id(self.calls));
                self.calls += 1;
            }
        }
        let flow = (self.each)(&AnswerPart { token, events: &events });
        self.all.append(&mut events);
        flow
    }
}
