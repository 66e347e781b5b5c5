//! What drafts give: the same greedy answer to a text, without and with them.

use std::path::Path;
use std::time::Instant;

use ollm_runtime::Error;
use ollm_runtime::plugin::Selector;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, Statistics};
use ollm_runtime::tokenizer::Tokenizer;

use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::generate::Timing;

/// Two sessions that answer a text: one drafts.
pub(super) struct Drafts {
    drafting: Session,
    plain: Session,
    prompt: Vec<u32>,
    /// Tokens of an answer at most.
    limit: usize,
}

/// One round: both answers.
pub(super) struct Answers {
    pub(super) plain: Timing,
    pub(super) drafted: Timing,
    /// What the session that drafts has done for its answer.
    pub(super) work: Work,
}

/// Passes of an answer, and its drafts.
#[derive(Clone, Copy, Default)]
pub(super) struct Work {
    pub(super) passes: u64,
    pub(super) drafted: u64,
    pub(super) accepted: u64,
}

impl Drafts {
    /// Takes the session of the engine that drafts, and leaves one that does not. In the file's
    /// text special tokens are read as those.
    pub(super) fn take(engine: &mut Engine, text: &Path, limit: usize) -> Result<Self> {
        let name = || text.display().to_string();
        let content = std::fs::read_to_string(text).map_err(|source| Failure::Text { name: name(), source })?;
        let mut prompt = engine.tokenizer.encode(&content, true)?;
        engine.tokenizer.begin(&mut prompt)?;
        if prompt.is_empty() {
            return Err(Failure::EmptyPrompt);
        }
        // Forks do not draft.
        let (plain, other) = (engine.session.fork()?, engine.session.fork()?);
        Ok(Self { drafting: std::mem::replace(&mut engine.session, other), plain, prompt, limit })
    }

    /// Both answers, which are the same.
    pub(super) fn run(&mut self, tokenizer: &Tokenizer, selector: Option<&Selector>) -> Result<Answers> {
        let (prompt, limit) = (&self.prompt, self.limit);
        let plain = answer(&mut self.plain, prompt, limit, tokenizer, selector)?;
        let before = self.drafting.statistics();
        let drafted = answer(&mut self.drafting, prompt, limit, tokenizer, selector)?;
        Ok(Answers { plain, drafted, work: Work::between(before, self.drafting.statistics()) })
    }
}

impl Work {
    fn between(before: Statistics, after: Statistics) -> Self {
        Self {
            passes: after.passes - before.passes,
            drafted: after.drafted - before.drafted,
            accepted: after.accepted - before.accepted,
        }
    }
}

/// The answer to a prompt, up to its end; the time is that of its steps.
fn answer(
    session: &mut Session,
    prompt: &[u32],
    limit: usize,
    tokenizer: &Tokenizer,
    selector: Option<&Selector>,
) -> Result<Timing> {
    session.rewind(0)?;
    session.feed(prompt)?;
    let mut greedy = Sampler::new(SamplerOptions::default()).map_err(Error::from)?;
    let (start, mut tokens) = (Instant::now(), 0);
    while tokens < limit {
        tokens += 1;
        if tokenizer.is_end(session.step(selector, &mut greedy)?.token) {
            break;
        }
    }
    Ok(Timing { tokens, time: start.elapsed() })
}
