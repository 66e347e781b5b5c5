//! The generation loop of the library, driven by the flags, and who shows what it says.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ollm_runtime::chat::{ChatEvent, ChatParser, Message};
use ollm_runtime::conversation::{Answer, AnswerPart, Conversation};
use ollm_runtime::generate::{GenerateOptions, Generated, ReasoningBudget, Token, generate};
use ollm_runtime::plugin::Selector;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::args::{SelectArgs, ShowArgs, StopArgs};
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::sampling::SampleArgs;

/// How to generate.
pub(crate) struct Generation {
    pub(crate) selector: Option<Selector>,
    sampler: Sampler,
    options: GenerateOptions,
}

/// Who shows tokens. In a conversation they come with the parts of the answer that are sure with
/// them; at the end with those that are left, and the message that the answer is.
pub(crate) trait TokenSink {
    fn token(&mut self, tokenizer: &Tokenizer, token: &Token<'_>, events: &[ChatEvent]) -> Result<()>;
    fn done(&mut self, done: &Generated, rest: &[ChatEvent], message: Option<&Message>) -> Result<()>;
}

/// The last object of a stream of them.
pub(crate) fn done_json(done: &Generated) -> Value {
    let mut json = json!({ "done": done.reason.name(), "generated": done.tokens.len(), "passes": done.passes });
    if done.drafted > 0 {
        (json["drafted"], json["accepted"]) = (done.drafted.into(), done.accepted.into());
    }
    if !done.rest.is_empty() {
        json["text"] = done.rest.as_str().into();
    }
    json
}

impl Generation {
    pub(crate) fn new(
        engine: &Engine,
        select: &SelectArgs,
        show: &ShowArgs,
        sample: &SampleArgs,
        stop: &StopArgs,
    ) -> Result<Self> {
        if show.show_options.is_some() && engine.options().is_none() {
            return Err(Failure::NoPlugin { flag: "--show-options" });
        }
        let (limit, stops, show) = (stop.limit, stop.stop.clone(), show.show_options);
        Ok(Self {
            selector: engine.selector(select, sample.seed)?,
            sampler: sample.sampler(&engine.tokenizer)?,
            options: GenerateOptions { limit, stops, show, reasoning: None },
        })
    }

    /// How many tokens of each option are to be seen, if any.
    pub(crate) fn show(&self) -> Option<usize> {
        self.options.show
    }

    /// How long the model may think, from now on.
    pub(crate) fn set_reasoning(&mut self, budget: Option<ReasoningBudget>) {
        self.options.reasoning = budget;
    }

    pub(crate) fn set_show(&mut self, show: Option<usize>) {
        self.options.show = show;
    }

    /// Continues what the session was fed, and takes it apart with a parser, if there is one; tells
    /// how long that took.
    pub(crate) fn run(
        &mut self,
        engine: &mut Engine,
        mut parser: Option<ChatParser>,
        sink: &mut dyn TokenSink,
    ) -> Result<(Generated, Duration)> {
        let start = Instant::now();
        let (session, tokenizer) = (&mut engine.session, &engine.tokenizer);
        let (mut shown, mut all) = (Ok(()), Vec::new());
        let mut each = |token: &Token<'_>| {
            let events = parser.as_mut().map(|parser| parser.push(token.text)).unwrap_or_default();
            shown = sink.token(tokenizer, token, &events);
            all.extend(events);
            if shown.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let done = generate(session, tokenizer, self.selector.as_ref(), &mut self.sampler, &self.options, &mut each)?;
        let time = start.elapsed();
        shown?;
        let rest = parser.as_mut().map(|parser| {
            let mut rest = parser.push(&done.rest);
            rest.extend(parser.finish());
            rest
        });
        let message = rest.as_ref().map(|rest| Message::from_answer(&[&all[..], rest].concat()));
        sink.done(&done, &rest.unwrap_or_default(), message.as_ref())?;
        Ok((done, time))
    }

    /// The next answer of a conversation; tells how long that took.
    pub(crate) fn answer(
        &mut self,
        engine: &mut Engine,
        talk: &mut Conversation,
        sink: &mut dyn TokenSink,
    ) -> Result<(Answer, Duration)> {
        let start = Instant::now();
        let (session, tokenizer, selector) = (&mut engine.session, &engine.tokenizer, self.selector.as_ref());
        let (mut shown, mut rest, before) = (Ok(()), Vec::new(), talk.messages().len());
        let mut each = |part: &AnswerPart<'_>| {
            match part.token {
                Some(token) => shown = sink.token(tokenizer, token, part.events),
                None => rest = part.events.to_vec(),
            }
            if shown.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let answer = talk.answer(session, selector, &mut self.sampler, &self.options, &mut each)?;
        let time = start.elapsed();
        shown?;
        sink.done(&answer.generated, &rest, talk.messages().get(before))?;
        Ok((answer, time))
    }

    pub(crate) fn sampler(&self) -> &SamplerOptions {
        self.sampler.options()
    }
}
