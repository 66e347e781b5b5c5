//! What a request gives to the model: texts, tokens, or messages.

use std::fmt;

use hyper::StatusCode;
use ollm_runtime::chat::{ChatError, ChatParser, ChatTemplate, Message, Prompt, Variables};
use ollm_runtime::conversation::ToolChoice;
use serde_json::{Value, json};

use crate::chat_input::today;
use crate::serve::error::ApiError;
use crate::serve::service::Service;

use super::answer_schema::AnswerSchema;
use super::fields::Fields;
use super::grammar::AnswerGrammar;
use super::tools::{Calls, Tools};

type Result<T> = std::result::Result<T, ApiError>;

/// Texts of a request at most.
pub(crate) const MAX_TEXTS: usize = 2048;

/// What the model is given, and how its answer is read.
pub(crate) struct ParsedPrompt {
    pub(crate) tokens: Vec<u32>,
    /// Takes the answer apart; none of a plain text.
    pub(crate) parser: Option<ChatParser>,
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
    let token = |value: &Value| {
        let unknown = || match value {
            Value::Number(_) => fields.invalid(name, format!("there are tokens 0 to {}", service.vocabulary - 1)),
            _ => expected(),
        };
        service.token(value).ok_or_else(unknown)
    };
    let one = |value: &Value| -> Result<Vec<u32>> {
        let tokens = match value {
            Value::String(text) => {
                check_length(text, service)?;
                // A prompt may have the tokens of a template that a client has written.
                let mut tokens = service.tokenizer.encode(text, purpose == Purpose::Prompt)?;
                match purpose {
                    Purpose::Prompt => drop(service.tokenizer.begin(&mut tokens)?),
                    Purpose::Whole => service.tokenizer.enclose(&mut tokens)?,
                }
                if tokens.is_empty() && purpose == Purpose::Prompt {
                    // An empty text is the beginning of any text.
                    tokens.extend(service.tokenizer.bos().or_else(|| service.tokenizer.eos()));
                }
                tokens
            }
            Value::Array(tokens) => tokens.iter().map(token).collect::<Result<_>>()?,
            _ => return Err(expected()),
        };
        if tokens.is_empty() { Err(expected()) } else { Ok(tokens) }
    };
    match fields.required(name)? {
        Value::Array(list) if list.len() > MAX_TEXTS && !list[0].is_number() => {
            Err(fields.invalid(name, format!("there are more than {MAX_TEXTS} texts")))
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
    Err(too_long(format_args!("a text has {length} tokens"), context))
}

/// That a prompt leaves room for an answer.
pub(crate) fn check_room(tokens: &[u32], service: &Service) -> Result<()> {
    check_fits(tokens.len(), service.context - 1, "tokens", service)
}

/// That a text may fit the context. One that cannot is not taken apart: that takes longer than all
/// else that is done with it.
pub(crate) fn check_length(text: &str, service: &Service) -> Result<()> {
    check_fits(text.len(), service.text_limit, "bytes", service)
}

fn check_fits(length: usize, limit: usize, unit: &str, service: &Service) -> Result<()> {
    if length <= limit {
        return Ok(());
    }
    Err(too_long(format_args!("the prompt has {length} {unit}, and the answer needs room too"), service.context))
}

/// The context is full. Clients know this error by the words that OpenAI begins it with.
fn too_long(what: impl fmt::Display, context: usize) -> ApiError {
    let message = format!("This model's maximum context length is {context} tokens; {what}: shorten it");
    ApiError::new(StatusCode::BAD_REQUEST, message).with_code("context_length_exceeded")
}

/// The plain text of a completion.
pub(crate) fn plain(fields: &Fields<'_>, service: &Service) -> Result<(Vec<ParsedPrompt>, Option<AnswerGrammar>)> {
    if fields.get("messages").is_some() {
        return Err(fields.invalid("messages", "a completion has a prompt: ask /v1/chat/completions"));
    }
    let texts = texts(fields, "prompt", service, Purpose::Prompt)?;
    let grammar = AnswerSchema::read(fields, "")?.map(AnswerGrammar::Json);
    Ok((texts.into_iter().map(|tokens| ParsedPrompt { tokens, parser: None }).collect(), grammar))
}

/// The messages of a chat, by the model's template.
pub(crate) fn chat(fields: &Fields<'_>, service: &Service) -> Result<(ParsedPrompt, Option<AnswerGrammar>)> {
    if fields.get("prompt").is_some() {
        return Err(fields.invalid("prompt", "there are messages: leave one of the two out"));
    }
    let messages = messages(fields)?;
    check_fits(messages.len(), service.context - 1, "messages", service)?;
    let tools = Tools::read(fields)?;
    let template = service.template()?;
    let variables = variables(fields, &tools, template)?;
    let format = ToolChoice::Auto.format(template, variables.has_tools());
    let prompt = render(&messages, &variables, service)?;
    check_length(prompt.text(), service)?;
    let thinking = format.reasoning.filter(|marks| marks.is_open_in(prompt.text()));
    let mut asked = ParsedPrompt {
        tokens: prompt.tokens(&service.tokenizer)?,
        parser: Some(ChatParser::new(format, thinking.is_some()).with_tools(&variables)),
    };
    let answer = AnswerSchema::read(fields, thinking.map(|marks| marks.close).unwrap_or_default())?;
    if variables.has_tools() {
        let Calls { begun, grammar } = tools.calls(format, &variables, service, answer)?;
        if let Some(trigger) = begun {
            // The answer is begun: a thought is ended, and a call is opened.
            let begun = thinking.map(|marks| marks.end).unwrap_or_default().to_owned() + trigger;
            asked.tokens.extend(service.tokenizer.encode(&begun, true)?);
            // What is begun is no whole part of an answer.
            asked.parser.iter_mut().for_each(|parser| drop(parser.push(&begun)));
        }
        return Ok((asked, grammar.map(|calls| AnswerGrammar::Calls(Box::new(calls)))));
    }
    Ok((asked, answer.map(AnswerGrammar::Json)))
}

/// Who may say something.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

fn messages(fields: &Fields<'_>) -> Result<Vec<Message>> {
    let messages = fields.list("messages")?.filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| fields.invalid("messages", "it must be a list of messages"))?;
    messages.iter().enumerate().map(|(index, value)| message(&format!("messages[{index}]"), value)).collect()
}

fn message(path: &str, value: &Value) -> Result<Message> {
    let mut value = value.clone();
    if value["role"].as_str().is_some_and(|role| !ROLES.contains(&role)) {
        return Err(ApiError::invalid(format!("{path}.role"), format!("it must be one of {}", ROLES.join(", "))));
    }
    let is_assistant = value["role"] == "assistant";
    if value["role"] == "tool" && !value["tool_call_id"].is_string() {
        return Err(ApiError::invalid(
            format!("{path}.tool_call_id"),
            "it must be the id of the call that this answers",
        ));
    }
    for call in value.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        // What has no arguments has none.
        if let Some(arguments) = call.pointer_mut("/function/arguments").filter(|it| it.is_null() || **it == "") {
            *arguments = "{}".into();
        }
    }
    check_calls(path, &value["tool_calls"])?;
    if !value["function_call"].is_null() {
        return Err(ApiError::invalid(format!("{path}.function_call"), "it is not supported: tool_calls are"));
    }
    let parts = value.get_mut("content").and_then(Value::as_array_mut);
    for (index, part) in parts.into_iter().flatten().enumerate() {
        // What the model refused to say is what it said.
        if is_assistant && part["type"] == "refusal" && part["refusal"].is_string() {
            *part = json!({ "type": "text", "text": part["refusal"] });
        }
        if part["type"] != "text" || !part["text"].is_string() {
            let message = "it must be a text: an object with the type text, and a text";
            return Err(ApiError::invalid(format!("{path}.content[{index}]"), message));
        }
    }
    if value.is_object() && value["content"].is_null() {
        match &value["refusal"] {
            Value::String(refusal) if is_assistant => value["content"] = refusal.as_str().into(),
            _ if is_assistant && has_calls(&value) => {}
            _ => return Err(ApiError::invalid(format!("{path}.content"), "it is missing")),
        }
    }
    Message::from_json(value).map_err(|error| match error {
        // The path says which message it is.
        ChatError::Message { reason, .. } => ApiError::invalid(path, reason),
        error => ApiError::from(error).at(path),
    })
}

/// That the calls of an earlier answer are calls: each has an id, and a function with a name and
/// arguments.
fn check_calls(path: &str, calls: &Value) -> Result<()> {
    let invalid = |field: &str, message: &str| Err(ApiError::invalid(format!("{path}.tool_calls{field}"), message));
    let calls = match calls {
        Value::Null => return Ok(()),
        Value::Array(calls) => calls,
        _ => return invalid("", "it must be a list of calls"),
    };
    for (index, call) in calls.iter().enumerate() {
        let function = &call["function"];
        // The text need not be JSON: a model wrote it, and an app sends back what it was told.
        let is_told = matches!(function["arguments"], Value::String(_) | Value::Object(_));
        let fields = [
            ("", call.is_object(), "it must be an object"),
            (".id", call["id"].is_string(), "it must be a string"),
            (".type", call["type"].is_null() || call["type"] == "function", "it must be function"),
            (".function", function.is_object(), "it must be an object with a name and arguments"),
            (".function.name", function["name"].is_string(), "it must be a string"),
            (".function.arguments", is_told, "it must be a text"),
        ];
        if let Some((field, _, message)) = fields.into_iter().find(|(_, is_right, _)| !is_right) {
            return invalid(&format!("[{index}]{field}"), message);
        }
    }
    Ok(())
}

/// Whether a message calls tools: then it need not say anything.
fn has_calls(message: &Value) -> bool {
    message["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty())
}

/// The prompt of a conversation. A template that cannot write a message that says nothing, and
/// calls tools, is given an empty text.
fn render(messages: &[Message], variables: &Variables, service: &Service) -> Result<Prompt> {
    let template = service.template()?;
    let render = |messages: &[Message]| template.render(messages, variables, true, &service.tokenizer);
    let says_nothing = |message: &Message| message.get("content").is_none_or(Value::is_null);
    render(messages).or_else(|error| {
        if !messages.iter().any(says_nothing) {
            return Err(error.into());
        }
        let text = |message: &Message| {
            if says_nothing(message) { message.clone().with("content", "".into()) } else { message.clone() }
        };
        let texts: Vec<Message> = messages.iter().map(text).collect();
        Ok(render(&texts)?)
    })
}

/// What the chat template is given beside the messages.
fn variables(fields: &Fields<'_>, tools: &Tools, template: &ChatTemplate) -> Result<Variables> {
    let mut variables = Variables::new();
    for name in ["reasoning_effort", "verbosity"] {
        if let Some(value) = fields.text(name)? {
            variables = variables.with(name, value.into())?;
        }
    }
    if let Some(given) = fields.object("chat_template_kwargs")? {
        for (name, value) in given.entries() {
            if name == "chat_template" {
                return Err(given.invalid(name, "the template is the server's: --chat-template FILE, --template NAME"));
            }
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
