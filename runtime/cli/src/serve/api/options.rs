//! `/v1/ollm/...`: option sets, searches, suggestions, and the tokens of a prompt.
//!
//! Each takes a `prompt` (a text, or tokens) or `messages`.

use std::sync::Arc;

use ollm_runtime::branches::{
    Branch, BranchEnd, BranchOptions, Branches, Expansion, SuggestOptions, Until, search, suggest_watched,
};
use ollm_runtime::plugin::{Hold, HoldUntil, LatentMode, TokenEnds};
use ollm_runtime::sampler::SamplerOptions;
use ollm_runtime::session::{Session, SessionError};
use serde_json::{Value, json};

use crate::search::document;
use crate::serve::admission::{Place, Waiter};
use crate::serve::body::Read;
use crate::serve::engine::Between;
use crate::serve::error::ApiError;
use crate::serve::reply::{Reply, ReplyExt as _};
use crate::serve::service::Service;
use crate::suggest::suggestions_json;

use super::answer::options_json;
use super::fields::{Fields, parse};
use super::grammar::{self, AnswerGrammar};
use super::latents::{Latents, MAX_SHOWN};
use super::prompt::{self, ParsedPrompt, check_room};
use super::sampling::Sampling;

type Result<T> = std::result::Result<T, ApiError>;

/// Tokens that an option is held for at most.
const MAX_HELD: u64 = 256;

/// What is asked about a prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About {
    /// The tokens themselves.
    Tokens,
    /// The option set behind it, and what each option says when it is held.
    Options,
    /// A search over branches.
    Search,
    /// Short continuations.
    Suggest,
}

/// Answers a request about a prompt.
pub(crate) async fn about(service: Arc<Service>, body: Read, place: Place, what: About) -> Result<Reply> {
    if !matches!(what, About::Tokens) {
        service.check_generates()?;
    }
    let shared = Arc::clone(&service);
    let read = move |_: &Waiter| {
        let body = parse(&body)?;
        let fields = Fields::new(&body);
        shared.check_model(&fields)?;
        if fields.flag("stream")? {
            return Err(fields.invalid("stream", "there is no stream here: the answer comes as a whole"));
        }
        let (asked, grammar) = read_prompt(&fields, &shared)?;
        let question = match what {
            About::Tokens => Question::Answered(tokens(&asked, &shared)),
            About::Options => options(&fields, &shared, &asked)?,
            About::Search => searched(&fields, &shared, &asked)?,
            About::Suggest => suggested(&fields, &shared, &asked)?,
        };
        Ok((asked, question, grammar))
    };
    let (asked, question, grammar) = service.admission.readers.run(read).await?;
    let (answer, most, count) = match question {
        Question::Answered(answer) => return Ok(Reply::json(&answer)),
        Question::Open { answer, most, count } => (answer, most, count),
    };
    let constraint = grammar::compile(&service, grammar).await?;
    let work = move |mut session: Session, between: &mut Between<'_>| {
        session.set_constraint(constraint)?;
        answer(session, between)
    };
    Ok(Reply::json(&service.work(asked.tokens, (most, count), place, work).await?))
}

/// What the engine does with a prompt.
type Answer = Box<dyn FnOnce(Session, &mut Between<'_>) -> Result<Value> + Send>;

/// What was asked.
enum Question {
    /// There was nothing to compute.
    Answered(Value),
    /// Work of the engine, with how many tokens it may have, those of the prompt included, and how
    /// many branches.
    Open { answer: Answer, most: usize, count: usize },
}

fn read_prompt(fields: &Fields<'_>, service: &Service) -> Result<(ParsedPrompt, Option<AnswerGrammar>)> {
    let (asked, grammar) = if fields.get("messages").is_some() {
        prompt::chat(fields, service)?
    } else {
        let (mut texts, grammar) = prompt::plain(fields, service)?;
        match (texts.pop(), texts.is_empty()) {
            (Some(asked), true) => (asked, grammar),
            _ => return Err(fields.invalid("prompt", "it must be one text, or the tokens of one")),
        }
    };
    check_room(&asked.tokens, service)?;
    Ok((asked, grammar))
}

fn tokens(asked: &ParsedPrompt, service: &Service) -> Value {
    let text = |token: &u32| service.tokenizer.decode(&[*token]);
    json!({ "tokens": asked.tokens, "texts": asked.tokens.iter().map(text).collect::<Vec<String>>() })
}

fn options(fields: &Fields<'_>, service: &Arc<Service>, asked: &ParsedPrompt) -> Result<Question> {
    let top = fields.integer("top", 1..=MAX_SHOWN)?.unwrap_or(5);
    let held = fields.integer("held", 0..=MAX_HELD)?.unwrap_or(0);
    let count = service.plugin.as_ref().ok_or(SessionError::NoPlugin)?.option_count();
    let tokenizer = Arc::clone(&service.tokenizer);
    let answer: Answer = Box::new(move |mut session, between| {
        let mut set = options_json(&session.option_set(top)?, &tokenizer);
        if held > 0 {
            let options = BranchOptions {
                latents: Some(LatentMode::Policy),
                hold: HoldUntil::new(Hold::All, TokenEnds::new(&tokenizer)),
                sampling: SamplerOptions::default(),
                stops: Vec::new(),
                limit: held,
            };
            let mut branches = Branches::new(&session, options)?;
            let expanded = branches.expand(0, Expansion::Latents)?;
            while branches.step(&tokenizer, |_| true)? > 0 && between() {}
            for (option, at) in set.as_array_mut().into_iter().flatten().zip(expanded) {
                let branch = unmerged(branches.all(), at);
                option["held"] = json!({ "tokens": branch.tokens, "text": branch.text });
            }
        }
        Ok(json!({ "options": set }))
    });
    Ok(Question::Open { answer, most: asked.tokens.len() + held, count })
}

/// The branch that says what this one would have said.
fn unmerged(all: &[Branch], mut at: usize) -> &Branch {
    while let Some(BranchEnd::Merged(into)) = all[at].end {
        at = into;
    }
    &all[at]
}

fn searched(fields: &Fields<'_>, service: &Arc<Service>, asked: &ParsedPrompt) -> Result<Question> {
    let mut sampling = Sampling::read(fields, service, 0, 1)?;
    if sampling.count > 1 {
        return Err(fields.invalid("n", "a search has one answer"));
    }
    // Options are compared at their best, unless told otherwise.
    if fields.get("temperature").is_none() {
        sampling.options.temperature = 0.0;
    }
    let latents = Latents::of_search(fields, service)?;
    let limit = sampling.limit.unwrap_or(256).min(service.context - asked.tokens.len());
    let options = latents.search(service, latents.strategy.unwrap_or_default(), &sampling, limit);
    let tokenizer = Arc::clone(&service.tokenizer);
    let metrics = Arc::clone(&service.metrics);
    let (most, count) = super::branches_of(service, &asked.tokens, &options);
    let answer: Answer = Box::new(move |session, between| {
        let (branches, found) = search(&session, &tokenizer, &options, &mut |_| super::flow(between()))?;
        metrics.generated.add(branches.generated());
        Ok(document(&branches, &found, &options))
    });
    Ok(Question::Open { answer, most, count })
}

fn suggested(fields: &Fields<'_>, service: &Arc<Service>, asked: &ParsedPrompt) -> Result<Question> {
    let options = SuggestOptions {
        count: fields.integer("count", 1..=64)?.unwrap_or(3),
        tokens: fields.integer("max_tokens", 1..=MAX_HELD)?.unwrap_or(8),
        until: fields.parsed::<Until>("until")?.unwrap_or_default(),
    };
    let tokenizer = Arc::clone(&service.tokenizer);
    // Some more are followed than are given.
    let (most, count) = (asked.tokens.len() + options.tokens, 2 * options.count + 2);
    let answer: Answer = Box::new(move |session, between| {
        let found = suggest_watched(&session, &tokenizer, &options, &mut || super::flow(between()))?;
        Ok(suggestions_json(&found))
    });
    Ok(Question::Open { answer, most, count })
}
