//! `/v1/chat/completions` and `/v1/completions`.

use std::sync::Arc;

use ollm_runtime::branches::{SearchOptions, search};
use ollm_runtime::constraint::Constraint;
use ollm_runtime::generate::Reason;
use ollm_runtime::sampler::Sampler;
use ollm_runtime::session::Session;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::search::document;
use crate::serve::admission::Place;
use crate::serve::body::Read;
use crate::serve::engine::{Answer, Between, Choice, Event, Then};
use crate::serve::error::ApiError;
use crate::serve::reply::{Reply, ReplyExt as _};
use crate::serve::service::{Service, now};

use super::answer::{Answering, ResponseInfo, Style};
use super::fields::{Fields, parse};
use super::grammar::{self, AnswerGrammar};
use super::latents::Latents;
use super::prompt::{self, MAX_TEXTS, ParsedPrompt};
use super::sampling::Sampling;

type Result<T> = std::result::Result<T, ApiError>;

/// Events that wait for their client; then its continuation waits.
const EVENTS: usize = 64;

/// Tokens of a completion that does not say how many, as OpenAI has it.
const LIMIT_OF_TEXT: usize = 16;

/// Alternatives of a token at most: in chats, in completions.
const MAX_ALTERNATIVES: u64 = 20;
const MAX_ALTERNATIVES_OF_TEXT: u64 = 5;

/// Fields of OpenAI's that would make another answer of it: the value that makes none, and what
/// there is in their place.
const UNSUPPORTED: [(&str, &str, &str); 8] = [
    ("functions", "[]", "it is not supported: tools are"),
    ("function_call", r#""none""#, "it is not supported: tool_choice is"),
    ("suffix", r#""""#, "it is not supported"),
    ("echo", "false", "it is not supported: /v1/ollm/tokenize gives the tokens of a prompt"),
    ("best_of", "1", "it is not supported: ollm.strategy is"),
    ("modalities", r#"["text"]"#, "there is text alone"),
    ("audio", "null", "there is text alone"),
    ("web_search_options", "null", "it is not supported: tools are"),
];

/// A request that was read.
struct Prepared {
    prompts: Vec<ParsedPrompt>,
    sampling: Sampling,
    latents: Latents,
    told: ResponseInfo,
}

/// Answers a request.
pub(crate) async fn generate(service: Arc<Service>, body: Read, place: Place, style: Style) -> Result<Reply> {
    service.check_generates()?;
    let shared = Arc::clone(&service);
    let (prepared, grammar) = service.admission.readers.run(move |_| prepare(&shared, &body, style)).await?;
    let constraint = grammar::compile(&service, grammar).await?;
    if prepared.latents.strategy.is_some() {
        return searched(&service, prepared, constraint, place).await;
    }
    let stream = prepared.told.stream;
    let (events, mut heard) = mpsc::channel(EVENTS);
    let mut answering = submit(&service, prepared, constraint.as_ref(), &events, place)?;
    drop(events);
    // What fails before the first token has a status of its own.
    let first = heard.recv().await.ok_or_else(ApiError::stopped)?;
    if let Event::Failed(error) = first {
        return Err(error.into());
    }
    if stream {
        return Ok(Reply::events(answering, heard, first, &service.metrics));
    }
    answering.take(first)?;
    while !answering.is_over() {
        answering.take(heard.recv().await.ok_or_else(ApiError::stopped)?)?;
    }
    Ok(Reply::json(&answering.whole()))
}

fn prepare(service: &Service, body: &[u8], style: Style) -> Result<(Prepared, Option<AnswerGrammar>)> {
    let body = parse(body)?;
    let fields = Fields::new(&body);
    service.check_model(&fields)?;
    check_supported(&fields)?;
    let alternatives = match style {
        Style::Chat => {
            let alternatives = fields.integer("top_logprobs", 0..=MAX_ALTERNATIVES)?;
            let told = fields.flag("logprobs")?;
            if alternatives.is_some_and(|count| count > 0) && !told {
                return Err(fields.invalid("top_logprobs", "logprobs must be true then"));
            }
            told.then(|| alternatives.unwrap_or(0))
        }
        Style::Text => fields.integer("logprobs", 0..=MAX_ALTERNATIVES_OF_TEXT)?,
    };
    let fewest = u64::from(style == Style::Chat);
    let mut sampling = Sampling::read(&fields, service, alternatives.unwrap_or(0), fewest)?;
    if style == Style::Text {
        sampling.limit.get_or_insert(LIMIT_OF_TEXT);
    }
    Sampler::new(sampling.options.clone())?;
    let latents = Latents::read(&fields, service)?;
    if latents.strategy.is_some() && alternatives.is_some() {
        return Err(fields.invalid("logprobs", "a search tells none: leave ollm.strategy out, or this"));
    }
    let (prompts, grammar) = match style {
        Style::Chat => prompt::chat(&fields, service).map(|(asked, grammar)| (vec![asked], grammar))?,
        Style::Text => prompt::plain(&fields, service)?,
    };
    prompts.iter().try_for_each(|asked| prompt::check_room(&asked.tokens, service))?;
    if prompts.len() * sampling.count > MAX_TEXTS {
        return Err(fields.invalid("n", format!("{} prompts have more than {MAX_TEXTS} choices so", prompts.len())));
    }
    let stream = fields.flag("stream")?;
    if !stream {
        let tokens = sampling.limit.map_or(service.context, |limit| limit.min(service.context));
        latents.check_shown(service, prompts.len() * sampling.count * tokens)?;
    }
    let stream_options = fields.object("stream_options")?;
    if stream_options.is_some() && !stream {
        return Err(fields.invalid("stream_options", "stream must be true then"));
    }
    let told = ResponseInfo {
        style,
        id: service.next_id(style.id()),
        created: now(),
        model: service.name.clone(),
        prompt_tokens: prompts.iter().map(|asked| asked.tokens.len()).sum(),
        logprobs: alternatives.is_some(),
        latents: latents.told,
        stream,
        stream_usage: stream_options.map_or(Ok(false), |options| options.flag("include_usage"))?,
        tokenizer: Arc::clone(&service.tokenizer),
    };
    Ok((Prepared { prompts, sampling, latents, told }, grammar))
}

fn check_supported(fields: &Fields<'_>) -> Result<()> {
    let asks =
        |name: &str, harmless: &str| fields.get(name).is_some_and(|value| value.to_string().as_str() != harmless);
    let asked = UNSUPPORTED.into_iter().find(|(name, harmless, _)| asks(name, harmless));
    asked.map_or(Ok(()), |(name, _, why)| Err(fields.invalid(name, why)))
}

/// Gives the prompts to the engine.
fn submit(
    service: &Service,
    prepared: Prepared,
    constraint: Option<&Constraint>,
    events: &mpsc::Sender<Event>,
    place: Place,
) -> Result<Answering> {
    let Prepared { prompts, sampling, latents, told } = prepared;
    let (mut jobs, mut parsers) = (Vec::new(), Vec::new());
    let limit = sampling.limit.unwrap_or(service.context);
    for ParsedPrompt { tokens, parser } in prompts {
        let mut choices = Vec::with_capacity(sampling.count);
        for number in 0..sampling.count {
            let mut options = sampling.options.clone();
            options.seed = options.seed.wrapping_add(number as u64);
            choices.push(Choice {
                index: parsers.len(),
                selector: latents.selector(service, options.seed)?,
                sampler: Sampler::new(options)?,
            });
            parsers.push(parser.clone());
        }
        let answer = Answer {
            choices,
            constraint: constraint.cloned(),
            limit,
            stops: sampling.stops.clone(),
            show: latents.show,
            events: events.clone(),
        };
        let most = tokens.len().saturating_add(limit);
        jobs.push(service.job(tokens, Then::Answer(answer), most, sampling.count));
    }
    service.submit(jobs, place)?;
    Ok(Answering::new(told, parsers))
}

/// Answers by a search over branches. Its text comes at once, when it is found.
async fn searched(
    service: &Arc<Service>,
    prepared: Prepared,
    constraint: Option<Constraint>,
    place: Place,
) -> Result<Reply> {
    let Prepared { mut prompts, sampling, latents, told } = prepared;
    let (Some(strategy), Some(asked), true) =
        (latents.strategy, prompts.pop(), prompts.is_empty() && sampling.count == 1)
    else {
        return Err(ApiError::invalid("ollm.strategy", "a search has one prompt and one answer"));
    };
    let limit = sampling.limit.unwrap_or(service.context).min(service.context - asked.tokens.len());
    let options = latents.search(service, strategy, &sampling, limit);
    let ParsedPrompt { tokens, parser } = asked;
    let (text, generated, reason, document) = find(service, tokens, constraint, options, place).await?;
    let stream = told.stream;
    let mut answering = Answering::new(ResponseInfo { latents: false, logprobs: false, ..told }, vec![parser]);
    answering.count(generated);
    let mut chunks = answering.begin();
    chunks.extend(answering.take(Event::Done { index: 0, reason, rest: text })?);
    if stream {
        chunks.extend(answering.end());
        if let Some(first) = chunks.first_mut() {
            first["ollm"] = document;
        }
        return Ok(Reply::chunks(&chunks));
    }
    let mut whole = answering.whole();
    whole["ollm"] = document;
    Ok(Reply::json(&whole))
}

/// What a search finds: the text, how many tokens were generated, how it ended, and all of it.
type Found = (String, usize, Reason, Value);

/// Searches behind a prompt.
async fn find(
    service: &Arc<Service>,
    prompt: Vec<u32>,
    constraint: Option<Constraint>,
    options: SearchOptions,
    place: Place,
) -> Result<Found> {
    let tokenizer = Arc::clone(&service.tokenizer);
    let metrics = Arc::clone(&service.metrics);
    let (most, count) = super::branches_of(service, &prompt, &options);
    let work = move |mut session: Session, between: &mut Between<'_>| {
        session.set_constraint(constraint)?;
        let (branches, found) = search(&session, &tokenizer, &options, &mut |_| super::flow(between()))?;
        metrics.generated.add(branches.generated());
        let best = &branches.all()[found.branch];
        let reason =
            if best.end.as_ref().is_some_and(|end| end.name() == "length") { Reason::Limit } else { Reason::End };
        Ok((best.text.clone(), branches.generated(), reason, document(&branches, &found, &options)))
    };
    service.work(prompt, (most, count), place, work).await
}
