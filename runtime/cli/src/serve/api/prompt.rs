//! What a request gives to the model: texts, tokens, or messages.

use std::sync::Arc;

use hyper::StatusCode;
use ollm_runtime::chat::{CallGrammar, ChatParser, Message, Variables};
use ollm_runtime::constraint::{Constraint, GrammarKind};
use ollm_runtime::conversation::ToolChoice;
use serde_json::{Value, json};

use crate::chat_input::today;
use crate::serve::error::ApiError;
use crate::serve::service::Service;

use super::fields::Fields;

type Result<T> = std::result::Result<T, ApiError>;

/// Texts of a request at most.
const MOST_TEXTS: usize = 2048;

/// What the model is given, and how its answer is read.
pub(crate) struct Asked {
    pub(crate) tokens: Vec<u32>,
    /// Takes the answer apart; none of a plain text.
    pub(crate) parser: Option<ChatParser>,
    pub(crate) constraint: Option<Constraint>,
}

/// The texts or token lists of a field: one of them, or a list.
pub(crate) fn texts(fields: &Fields<'_>, name: &str, service: &Service) -> Result<Vec<Vec<u32>>> {
    let expected = || {
        let what =
            "it must be a string, a list of strings, a list of tokens, or a list of such lists, none of them empty";
        fields.invalid(name, what)
    };
    let one = |value: &Value| -> Result<Vec<u32>> {
        let tokens = match value {
            Value::String(text) => {
                let mut tokens = service.tokenizer.encode(text, false)?;
                service.tokenizer.begin(&mut tokens)?;
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

/// That a prompt leaves room for an answer.
pub(crate) fn check_room(tokens: &[u32], service: &Service) -> Result<()> {
    let (length, context) = (tokens.len(), service.context);
    if length < context {
        return Ok(());
    }
    let message =
        format!("the prompt has {length} tokens, and the context has room for {context} with the answer: shorten it");
    Err(ApiError::new(StatusCode::BAD_REQUEST, message).with_code("context_length_exceeded"))
}

/// The plain text of a completion.
pub(crate) fn plain(fields: &Fields<'_>, service: &Service) -> Result<Vec<Asked>> {
    let texts = texts(fields, "prompt", service)?;
    let grammar = response_grammar(fields)?;
    let constraint = grammar.map(|schema| compile(service, GrammarKind::JsonSchema, &schema, "")).transpose()?;
    let asked = |tokens| Asked { tokens, parser: None, constraint: constraint.clone() };
    Ok(texts.into_iter().map(asked).collect())
}

/// Whether tools are called.
#[derive(Debug, PartialEq, Eq)]
enum Calls {
    Never,
    Maybe,
    /// One of all tools, or the one of this name.
    Surely(Option<String>),
}

/// The messages of a chat, by the model's template.
pub(crate) fn chat(fields: &Fields<'_>, service: &Service) -> Result<Asked> {
    let messages = fields.list("messages")?.filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| fields.invalid("messages", "it must be a list of messages"))?;
    let read = |(index, message): (usize, &Value)| {
        let read = Message::from_json(message.clone());
        read.map_err(|error| ApiError::from(error).at(&format!("messages[{index}]")))
    };
    let messages: Vec<Message> = messages.iter().enumerate().map(read).collect::<Result<_>>()?;
    let template = service.template()?;
    let calls = calls(fields)?;
    let mut variables = Variables::new();
    if let Some(given) = fields.object("chat_template_kwargs")? {
        for (name, value) in given.entries().filter(|(name, _)| *name != "chat_template") {
            let with = variables.with(name, value.clone());
            variables = with.map_err(|error| ApiError::from(error).at("chat_template_kwargs"))?;
        }
    }
    if calls != Calls::Never
        && let Some(tools) = fields.get("tools")
    {
        variables = variables.with("tools", tools.clone()).map_err(|error| ApiError::from(error).at("tools"))?;
    }
    if template.needs_date() && variables.get("strftime_now").is_none() {
        variables = variables.with("strftime_now", today().into())?;
    }
    let format = ToolChoice::Auto.format(template, variables.has_tools());
    let prompt = template.render(&messages, &variables, true, &service.tokenizer)?;
    let thinking = format.reasoning.filter(|marks| marks.is_open_in(prompt.text()));
    let mut asked = Asked {
        tokens: prompt.tokens(&service.tokenizer)?,
        parser: Some(ChatParser::new(format, thinking.is_some())),
        constraint: None,
    };
    let schema = response_grammar(fields)?;
    if variables.has_tools() {
        if schema.is_some() {
            return Err(fields.invalid("response_format", "it cannot be had with tools: set tool_choice to none"));
        }
        let name = match &calls {
            Calls::Surely(name) => name.as_deref(),
            _ => None,
        };
        let no_calls = || {
            let message = "the model's chat template shows no form of tool calls";
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message).at("tools")
        };
        let format = format.tools.ok_or_else(no_calls)?;
        let grammar = CallGrammar::new(format, &only(&variables, name)?, template, &service.tokenizer)?;
        match (grammar, &calls) {
            (None, Calls::Surely(_)) => return Err(no_calls().at("tool_choice")),
            (None, _) => {}
            (Some(grammar), Calls::Surely(_)) => {
                // The answer is begun: a thought is ended, and a call is opened.
                let begun = thinking.map(|marks| marks.end).unwrap_or_default().to_owned() + grammar.trigger;
                asked.tokens.extend(service.tokenizer.encode(&begun, true)?);
                // What is begun is no whole part of an answer.
                asked.parser.iter_mut().for_each(|parser| drop(parser.push(&begun)));
                asked.constraint = Some(compile(service, GrammarKind::Lark, &grammar.lark, "")?);
            }
            (Some(grammar), _) => {
                let compiled = service.compiler()?.compile(GrammarKind::Lark, &grammar.lark)?;
                asked.constraint = Some(Constraint::after_each(&compiled, grammar.trigger));
            }
        }
    } else if let Calls::Surely(_) = calls {
        return Err(fields.invalid("tool_choice", "a tool is to be called, and there are no tools"));
    }
    if let Some(schema) = schema {
        let behind = thinking.map(|marks| marks.close).unwrap_or_default();
        asked.constraint = Some(compile(service, GrammarKind::JsonSchema, &schema, behind)?);
    }
    Ok(asked)
}

/// The variables with the tool of that name alone, if one is named.
fn only(variables: &Variables, name: Option<&str>) -> Result<Variables> {
    let Some(name) = name else { return Ok(variables.clone()) };
    let tools = variables.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let named: Vec<Value> = tools.iter().filter(|tool| tool["function"]["name"] == name).cloned().collect();
    if named.is_empty() {
        return Err(ApiError::invalid("tool_choice", format!("there is no tool {name:?}")));
    }
    Ok(variables.clone().with("tools", named.into())?)
}

fn calls(fields: &Fields<'_>) -> Result<Calls> {
    let expected =
        || fields.invalid("tool_choice", "it must be none, auto, required, or an object that names a function");
    match fields.get("tool_choice") {
        None => Ok(Calls::Maybe),
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => Ok(Calls::Never),
            "auto" => Ok(Calls::Maybe),
            "required" => Ok(Calls::Surely(None)),
            _ => Err(expected()),
        },
        Some(choice) => {
            let name = choice["function"]["name"].as_str().ok_or_else(expected)?;
            Ok(Calls::Surely(Some(name.to_owned())))
        }
    }
}

/// The JSON schema that the answer keeps to, if one is asked for.
fn response_grammar(fields: &Fields<'_>) -> Result<Option<String>> {
    let Some(format) = fields.object("response_format")? else { return Ok(None) };
    match format.text("type")? {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(json!({ "type": "object" }).to_string())),
        Some("json_schema") => {
            let schema = format.object("json_schema")?;
            let schema = schema.ok_or_else(|| format.invalid("json_schema", "it is missing"))?;
            Ok(Some(schema.required("schema")?.to_string()))
        }
        _ => Err(format.invalid("type", "it must be text, json_object or json_schema")),
    }
}

/// A constraint that begins behind a text, if there is one.
fn compile(service: &Service, kind: GrammarKind, grammar: &str, behind: &str) -> Result<Constraint> {
    let compiled = service.compiler()?.compile(kind, grammar);
    let compiled = compiled.map_err(|error| ApiError::from(error).at("response_format"))?;
    Ok(if behind.is_empty() { Constraint::new(&compiled) } else { Constraint::after(&Arc::clone(&compiled), behind) })
}
