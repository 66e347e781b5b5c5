//! What a request gives to the model: texts, tokens, or messages.

use hyper::StatusCode;
use ollm_runtime::chat::{ChatParser, ChatTemplate, Message, Variables};
use ollm_runtime::constraint::{Constraint, GrammarKind};
use ollm_runtime::conversation::ToolChoice;
use serde_json::Value;

use crate::chat_input::today;
use crate::serve::error::ApiError;
use crate::serve::service::Service;

use super::fields::Fields;
use super::tools::{Calls, Tools};

type Result<T> = std::result::Result<T, ApiError>;

/// Texts of a request at most.
pub(crate) const MOST_TEXTS: usize = 2048;

/// What the model is given, and how its answer is read.
pub(crate) struct Asked {
    pub(crate) tokens: Vec<u32>,
    /// Takes the answer apart; none of a plain text.
    pub(crate) parser: Option<ChatParser>,
    pub(crate) constraint: Option<Constraint>,
}

/// What the texts of a field are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be continued.
    Prompt,
    /// To be read as a whole.
    Whole,
}

/// The texts or token lists of a field: one of them, or a list.
pub(crate) fn texts(fields: &Fields<'_>, name: &str, service: &Service, purpose: Purpose) -> Result<Vec<Vec<u32>>> {
    let expected = || {
        let what =
            "it must be a string, a list of strings, a list of tokens, or a list of such lists, none of them empty";
        fields.invalid(name, what)
    };
    let one = |value: &Value| -> Result<Vec<u32>> {
        let tokens = match value {
            Value::String(text) => {
                check_length(text, service)?;
                let mut tokens = service.tokenizer.encode(text, false)?;
                match purpose {
                    Purpose::Prompt => drop(service.tokenizer.begin(&mut tokens)?),
                    Purpose::Whole => service.tokenizer.enclose(&mut tokens)?,
                }
                tokens
            }
            Value::Array(tokens) => {
                tokens.iter().map(|token| service.token(token)).collect::<Option<_>>().ok_or_else(expected)?
            }
            _ => return Err(expected()),
        };
        if tokens.is_empty() { Err(expected()) } else { Ok(tokens) }
    };
    match fields.required(name)? {
        Value::Array(list) if list.len() > MOST_TEXTS && !list[0].is_number() => {
            Err(fields.invalid(name, format!("there are more than {MOST_TEXTS} texts")))
        }
        Value::Array(list) if list.is_empty() => Err(expected()),
        Value::Array(list) if !list[0].is_number() => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// That a text that is read as a whole fits the context.
pub(crate) fn check_whole(tokens: &[u32], service: &Service) -> Result<()> {
    let (length, context) = (tokens.len(), service.context);
    if length <= context {
        return Ok(());
    }
    let message = format!("a text has {length} tokens, and the context has room for {context}: shorten it");
    Err(ApiError::new(StatusCode::BAD_REQUEST, message).with_code("context_length_exceeded"))
}

/// That a prompt leaves room for an answer.
pub(crate) fn check_room(tokens: &[u32], service: &Service) -> Result<()> {
    check_fits(tokens.len(), service.context - 1, "tokens", service)
}

/// That a text may fit the context. One that cannot is not taken apart: that takes longer than all
/// else that is done with it.
fn check_length(text: &str, service: &Service) -> Result<()> {
    check_fits(text.len(), service.text_limit, "bytes", service)
}

fn check_fits(length: usize, limit: usize, unit: &str, service: &Service) -> Result<()> {
    if length <= limit {
        return Ok(());
    }
    let context = service.context;
    let message = format!(
        "the prompt has {length} {unit}, and the context has room for {context} tokens with the answer: shorten it"
    );
    Err(ApiError::new(StatusCode::BAD_REQUEST, message).with_code("context_length_exceeded"))
}

/// The plain text of a completion.
pub(crate) fn plain(fields: &Fields<'_>, service: &Service) -> Result<Vec<Asked>> {
    let texts = texts(fields, "prompt", service, Purpose::Prompt)?;
    let grammar = response_grammar(fields)?;
    let constraint = grammar.map(|schema| json(service, &schema, "")).transpose()?;
    let asked = |tokens| Asked { tokens, parser: None, constraint: constraint.clone() };
    Ok(texts.into_iter().map(asked).collect())
}

/// The messages of a chat, by the model's template.
pub(crate) fn chat(fields: &Fields<'_>, service: &Service) -> Result<Asked> {
    let messages = messages(fields)?;
    check_fits(messages.len(), service.context - 1, "messages", service)?;
    let tools = Tools::read(fields)?;
    let template = service.template()?;
    let variables = variables(fields, &tools, template)?;
    let format = ToolChoice::Auto.format(template, variables.has_tools());
    let prompt = template.render(&messages, &variables, true, &service.tokenizer)?;
    check_length(prompt.text(), service)?;
    let thinking = format.reasoning.filter(|marks| marks.is_open_in(prompt.text()));
    let mut asked = Asked {
        tokens: prompt.tokens(&service.tokenizer)?,
        parser: Some(ChatParser::new(format, thinking.is_some()).with_tools(&variables)),
        constraint: None,
    };
    let schema = response_grammar(fields)?;
    if variables.has_tools() {
        if schema.is_some() {
            return Err(fields.invalid("response_format", "it cannot be had with tools: set tool_choice to none"));
        }
        let Calls { begun, constraint } = tools.calls(format, &variables, service)?;
        asked.constraint = constraint;
        if let Some(trigger) = begun {
            // The answer is begun: a thought is ended, and a call is opened.
            let begun = thinking.map(|marks| marks.end).unwrap_or_default().to_owned() + trigger;
            asked.tokens.extend(service.tokenizer.encode(&begun, true)?);
            // What is begun is no whole part of an answer.
            asked.parser.iter_mut().for_each(|parser| drop(parser.push(&begun)));
        }
    } else if let Some(schema) = schema {
        let behind = thinking.map(|marks| marks.close).unwrap_or_default();
        asked.constraint = Some(json(service, &schema, behind)?);
    }
    Ok(asked)
}

fn messages(fields: &Fields<'_>) -> Result<Vec<Message>> {
    let messages = fields.list("messages")?.filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| fields.invalid("messages", "it must be a list of messages"))?;
    let read = |(index, message): (usize, &Value)| {
        let path = format!("messages[{index}]");
        let parts = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        match parts.iter().find(|part| part["type"] != "text" || !part["text"].is_string()) {
            Some(part) => Err(ApiError::invalid(path, format!("a part is no text, but {}", part["type"]))),
            None => Message::from_json(message.clone()).map_err(|error| ApiError::from(error).at(&path)),
        }
    };
    messages.iter().enumerate().map(read).collect()
}

/// What the chat template is given beside the messages.
fn variables(fields: &Fields<'_>, tools: &Tools, template: &ChatTemplate) -> Result<Variables> {
    let mut variables = Variables::new();
    if let Some(given) = fields.object("chat_template_kwargs")? {
        for (name, value) in given.entries().filter(|(name, _)| *name != "chat_template") {
            let with = variables.with(name, value.clone());
            variables = with.map_err(|error| ApiError::from(error).at("chat_template_kwargs"))?;
        }
    }
    if let Some(tools) = &tools.offered {
        variables = variables.with("tools", tools.clone()).map_err(|error| ApiError::from(error).at("tools"))?;
    }
    if template.needs_date() && variables.get("strftime_now").is_none() {
        variables = variables.with("strftime_now", today().into())?;
    }
    Ok(variables)
}

/// The JSON schema that the answer keeps to, if one is asked for.
fn response_grammar(fields: &Fields<'_>) -> Result<Option<String>> {
    let Some(format) = fields.object("response_format")? else { return Ok(None) };
    match format.text("type")? {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(r#"{"type":"object"}"#.to_owned())),
        Some("json_schema") => {
            let schema = format.object("json_schema")?;
            let schema = schema.ok_or_else(|| format.invalid("json_schema", "it is missing"))?;
            Ok(Some(schema.required("schema")?.to_string()))
        }
        _ => Err(format.invalid("type", "it must be text, json_object or json_schema")),
    }
}

/// Keeps an answer to a JSON schema, behind a text, if there is one.
fn json(service: &Service, schema: &str, behind: &str) -> Result<Constraint> {
    let compiled = service.compiler()?.compile(GrammarKind::JsonSchema, schema);
    let compiled = compiled.map_err(|error| ApiError::from(error).at("response_format"))?;
    Ok(if behind.is_empty() { Constraint::new(&compiled) } else { Constraint::after(&compiled, behind) })
}
