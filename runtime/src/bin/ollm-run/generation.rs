//! The generation loop: steps until an end token, a stop string, the limit, or the end of the context.

use std::time::{Duration, Instant};

use ollm_runtime::options::Selector;
use ollm_runtime::sampler::Sampler;
use ollm_runtime::session::{OptionView, SessionError, Step};
use ollm_runtime::tokenizer::Detokenizer;
use ollm_runtime::{Error, sampler};
use serde_json::{Value, json};

use crate::args::{SampleArgs, SelectArgs, ShowArgs, StopArgs};
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::stop::StopScanner;

/// How to generate.
pub(crate) struct Generation {
    pub(crate) selector: Option<Selector>,
    sampler: Sampler,
    limit: usize,
    stops: Vec<String>,
    /// How many tokens of each option are to be seen, if any.
    pub(crate) show: Option<usize>,
}

/// One generated token, as it is shown.
pub(crate) struct Token<'a> {
    pub(crate) step: Step,
    /// The text that is complete with it.
    pub(crate) text: &'a str,
    /// The option set it was chosen from, if it is shown.
    pub(crate) options: &'a [OptionView],
}

/// Who shows tokens.
pub(crate) trait Sink {
    fn token(&mut self, engine: &Engine, token: &Token<'_>) -> Result<()>;
    fn done(&mut self, engine: &Engine, done: &Done) -> Result<()>;
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Eos,
    Length,
    Stop,
}

/// What was generated.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reason: Reason,
    pub(crate) tokens: Vec<u32>,
    /// All of the text.
    pub(crate) text: String,
    /// The part of it that came with no token: what had waited for an end that did not come.
    pub(crate) rest: String,
    pub(crate) time: Duration,
}

impl Reason {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Eos => "eos",
            Self::Length => "length",
            Self::Stop => "stop",
        }
    }
}

impl Done {
    pub(crate) fn to_json(&self) -> Value {
        let mut json = json!({ "done": self.reason.name(), "generated": self.tokens.len() });
        if !self.rest.is_empty() {
            json["text"] = self.rest.as_str().into();
        }
        json
    }
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
        Ok(Self {
            selector: engine.selector(select, sample.seed)?,
            sampler: sample.sampler()?,
            limit: stop.limit,
            stops: stop.stop.clone(),
            show: show.show_options,
        })
    }

    /// Continues what the session was fed.
    pub(crate) fn run(&mut self, engine: &mut Engine, sink: &mut dyn Sink) -> Result<Done> {
        let start = Instant::now();
        let mut text = Text { stream: Detokenizer::new(), stop: StopScanner::new(&self.stops), all: String::new() };
        let mut tokens = Vec::new();
        let reason = loop {
            if tokens.len() == self.limit {
                break Reason::Length;
            }
            let options = self.options(engine)?;
            let Some(step) = self.step(engine)? else { break Reason::Length };
            if engine.tokenizer.is_end(step.token) {
                break Reason::Eos;
            }
            tokens.push(step.token);
            let (piece, stopped) = text.push(engine, step.token);
            sink.token(engine, &Token { step, text: &piece, options: &options })?;
            if stopped {
                break Reason::Stop;
            }
        };
        let rest = if reason == Reason::Stop { String::new() } else { text.finish() };
        let done = Done { reason, tokens, text: text.all, rest, time: start.elapsed() };
        sink.done(engine, &done)?;
        Ok(done)
    }

    /// The option set of the step to come. At the end of the context there is none.
    fn options(&self, engine: &mut Engine) -> Result<Vec<OptionView>> {
        Ok(self.show.map(|top| engine.session.option_set(top)).transpose()?.unwrap_or_default())
    }

    /// One step; `None` at the end of the context.
    fn step(&mut self, engine: &mut Engine) -> Result<Option<Step>> {
        match engine.session.step(self.selector.as_mut(), &mut self.sampler) {
            Ok(step) => Ok(Some(step)),
            Err(Error::Session(SessionError::ContextFull { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn sampler(&self) -> &sampler::SamplerOptions {
        self.sampler.options()
    }
}

/// Text on its way from tokens to the reader.
struct Text {
    stream: Detokenizer,
    stop: StopScanner,
    all: String,
}

impl Text {
    fn push(&mut self, engine: &Engine, token: u32) -> (String, bool) {
        let (piece, stopped) = self.stop.push(&self.stream.push(&engine.tokenizer, token));
        self.all.push_str(&piece);
        (piece, stopped)
    }

    fn finish(&mut self) -> String {
        let (mut rest, stopped) = self.stop.push(&self.stream.finish());
        if !stopped {
            rest.push_str(&self.stop.finish());
        }
        self.all.push_str(&rest);
        rest
    }
}
