//! The generation loop of the library, driven by the flags, and who shows what it says.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

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

/// Who shows tokens.
pub(crate) trait TokenSink {
    fn token(&mut self, tokenizer: &Tokenizer, token: &Token<'_>) -> Result<()>;
    fn done(&mut self, done: &Generated) -> Result<()>;
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

    /// Continues what the session was fed; tells how long that took.
    pub(crate) fn run(&mut self, engine: &mut Engine, sink: &mut dyn TokenSink) -> Result<(Generated, Duration)> {
        let start = Instant::now();
        let (session, tokenizer) = (&mut engine.session, &engine.tokenizer);
        let mut shown = Ok(());
        let mut each = |token: &Token<'_>| {
            shown = sink.token(tokenizer, token);
            if shown.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let done = generate(session, tokenizer, self.selector.as_ref(), &mut self.sampler, &self.options, &mut each)?;
        let time = start.elapsed();
        shown?;
        sink.done(&done)?;
        Ok((done, time))
    }

    pub(crate) fn sampler(&self) -> &SamplerOptions {
        self.sampler.options()
    }
}
