//! Tool calls in the text of an answer: where each ends, and what it says.

use serde_json::{Map, Value};

use super::literal::{NamedCall, begins_python_list, brace_calls, python_calls};

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// What names the call, where the model's form has that.
    pub id: Option<String>,
}

/// What the beginning of a text is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More of the text has to come.
    More,
    /// No call.
    Text,
    /// So many bytes are these calls.
    Calls(usize, Vec<ToolCall>),
    /// So many bytes ought to be calls, but are not.
    Malformed(usize, String),
}

type Calls = Result<Vec<ToolCall>, String>;

/// How calls look behind a text that opens them. The flag says that no more text will come. Nothing
/// that is decided changes with more text.
pub(super) type Body = fn(&str, bool) -> Progress;

fn decided(length: usize, calls: Calls) -> Progress {
    match calls {
        Ok(calls) => Progress::Calls(length, calls),
        Err(reason) => Progress::Malformed(length, reason),
    }
}

/// `{"name": .., "arguments": {..}}</tool_call>`: Hermes and Qwen.
pub(super) fn hermes(text: &str, last: bool) -> Progress {
    tagged(text, last, "</tool_call>", &['"'], json_calls)
}

/// `[f(a=1)]<|tool_call_end|>`, or the same in JSON: LFM2.
pub(super) fn lfm2(text: &str, last: bool) -> Progress {
    let json = text.trim_start().trim_start_matches('[').trim_start().starts_with('{');
    let (quotes, parse): (&[char], fn(&str) -> Calls) =
        if json { (&['"'], json_calls) } else { (&['"', '\''], python) };
    tagged(text, last, "<|tool_call_end|>", quotes, parse)
}

/// Python up to the end of a fence: Gemma.
pub(super) fn tool_code(text: &str, last: bool) -> Progress {
    tagged(text, last, "```", &['"', '\''], python)
}

/// `call:f{a:1}<end_function_call>`: `FunctionGemma`.
pub(super) fn braces(text: &str, last: bool) -> Progress {
    tagged(text, last, "<end_function_call>", &[], |text| brace_calls(text).map(named))
}

/// `[{"name": .., "arguments": {..}}]` or `name[ARGS]{..}`: Mistral.
pub(super) fn mistral(text: &str, last: bool) -> Progress {
    let body = text.trim_start();
    let lead = text.len() - body.len();
    if body.starts_with(['[', '{']) {
        return match (balanced(body), last) {
            (Some(end), _) => decided(lead + end, json_calls(&body[..end])),
            (None, false) => Progress::More,
            (None, true) => Progress::Malformed(text.len(), unfinished()),
        };
    }
    match named_arguments(body) {
        Some((end, calls)) => decided(lead + end, calls),
        None if last => Progress::Malformed(text.len(), unfinished()),
        None => Progress::More,
    }
}

/// `name[ARGS]{..}` or `name[CALL_ID]id[ARGS]{..}`, once it is whole.
fn named_arguments(body: &str) -> Option<(usize, Calls)> {
    const ARGUMENTS: &str = "[ARGS]";
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let head = body.find(|c| !is_name(c))?;
    let wrong = |reason: &str| Some((head, Err(reason.to_owned())));
    let (name, rest) = body.split_at(head);
    let tag = |tag: &str| tag.starts_with(rest) || rest.starts_with(tag);
    if name.is_empty() || !(tag(ARGUMENTS) || tag("[CALL_ID]")) {
        return wrong("there should be the name of a tool and [ARGS]");
    }
    let at = body.find(ARGUMENTS)?;
    let id = body[head..at].strip_prefix("[CALL_ID]").map(str::to_owned);
    let start = at + ARGUMENTS.len();
    let json = body[start..].trim_start();
    let lead = body.len() - json.len();
    if !json.is_empty() && !json.starts_with('{') {
        return wrong("there should be a JSON object behind [ARGS]");
    }
    let end = lead + balanced(json)?;
    let arguments = serde_json::from_str(&body[lead..end]);
    let call = arguments.map(|arguments| vec![ToolCall { name: name.to_owned(), arguments, id }]);
    Some((end, call.map_err(|error| error.to_string())))
}

/// What follows `<|python_tag|>`: a call in JSON, `tool.call(..)` of a tool that is built in, or
/// code for the interpreter, which goes on to the end of the answer. Llama 3.
pub(super) fn python_tag(text: &str, last: bool) -> Progress {
    let body = text.trim();
    let lead = text.len() - text.trim_start().len();
    if body.starts_with('{')
        && let Some(end) = balanced(body)
        && let Ok(calls) = json_calls(&body[..end])
    {
        return Progress::Calls(lead + end, calls);
    }
    if !last {
        return Progress::More;
    }
    if body.is_empty() {
        return Progress::Malformed(text.len(), unfinished());
    }
    let built_in = |calls: Vec<NamedCall>| {
        let call = |(name, arguments): NamedCall| Some((name.strip_suffix(".call")?.to_owned(), arguments));
        calls.into_iter().map(call).collect::<Option<Vec<_>>>()
    };
    let code = || vec![("code_interpreter".to_owned(), Map::from_iter([("code".to_owned(), body.into())]))];
    let calls = python_calls(body).ok().and_then(built_in).unwrap_or_else(code);
    Progress::Calls(text.len(), named(calls))
}

/// An answer that is nothing but calls: `{"name": .., "parameters": {..}}` or `[f(a=1)]`, as Llama 3
/// and Gemma write them.
pub(super) fn bare(text: &str, last: bool) -> Progress {
    match text.chars().next() {
        Some('{') => bare_json(text, last, text),
        Some('[') if text[1..].trim_start().starts_with('{') => bare_json(text, last, text[1..].trim_start()),
        Some('[') => match (begins_python_list(text), balanced_python(text)) {
            (Some(_), None) if !last => Progress::More,
            (None | Some(false), _) => Progress::Text,
            (Some(true), None) => Progress::Malformed(text.len(), unfinished()),
            (Some(true), Some(end)) => decided(end, python(&text[..end])),
        },
        _ => Progress::Text,
    }
}

/// As [`bare`], or the same in a fence of JSON: Gemma.
pub(super) fn bare_or_fenced(text: &str, last: bool) -> Progress {
    const FENCE: &str = "```json";
    if FENCE.starts_with(text) && !text.is_empty() {
        return if last { Progress::Text } else { Progress::More };
    }
    let Some(inside) = text.strip_prefix(FENCE) else { return bare(text, last) };
    let body = inside.trim_start();
    if body.is_empty() {
        return if last { Progress::Text } else { Progress::More };
    }
    let lead = text.len() - body.len();
    match bare(body, last) {
        Progress::Calls(length, calls) => {
            let rest = body[length..].trim_start();
            match rest.strip_prefix("```") {
                Some(rest) => Progress::Calls(text.len() - rest.len(), calls),
                None if "```".starts_with(rest) && !last => Progress::More,
                None => Progress::Calls(lead + length, calls),
            }
        }
        Progress::Malformed(length, reason) => Progress::Malformed(lead + length, reason),
        other => other,
    }
}

/// An object, or a list whose first object begins at `object`. Text that cannot be a call is let go
/// as soon as its first key shows that.
fn bare_json(text: &str, last: bool, object: &str) -> Progress {
    let is_meant = |json: &str| {
        let says = |keys: [&str; 2]| keys.iter().any(|key| json.contains(&format!("\"{key}\"")));
        says(["name", "function"]) && says(["arguments", "parameters"])
    };
    match balanced(text) {
        _ if begins_call(object) == Some(false) => Progress::Text,
        None if !last => Progress::More,
        None if is_meant(text) => Progress::Malformed(text.len(), unfinished()),
        Some(end) if is_meant(&text[..end]) => decided(end, json_calls(&text[..end])),
        _ => Progress::Text,
    }
}

/// Whether the first key of an object is one of a call's; none if that is not to be seen yet.
fn begins_call(object: &str) -> Option<bool> {
    const KEYS: [&str; 6] = ["name", "type", "function", "parameters", "arguments", "id"];
    let inside = object.strip_prefix('{')?.trim_start();
    let key = match inside.chars().next()? {
        '"' => &inside[1..],
        _ => return Some(false),
    };
    match key.split_once('"') {
        Some((key, _)) => Some(KEYS.contains(&key)),
        None if KEYS.iter().any(|known| known.starts_with(key)) => None,
        None => Some(false),
    }
}

/// A body up to a text that closes it, outside of strings. At the end of the answer the closing text
/// may be missing, or stand in a string that nobody closed.
fn tagged(text: &str, last: bool, close: &str, quotes: &[char], parse: fn(&str) -> Calls) -> Progress {
    let first = text.find(close);
    let end = first.and_then(|_| outside_strings(text, close, quotes));
    match end.or(first.filter(|_| last)) {
        Some(at) => decided(at + close.len(), parse(&text[..at])),
        None if last => decided(text.len(), parse(text)),
        None => Progress::More,
    }
}

/// The bytes before the first `part` that is in no string.
fn outside_strings(text: &str, part: &str, quotes: &[char]) -> Option<usize> {
    code(text, quotes).find(|&(at, _)| text[at..].starts_with(part)).map(|(at, _)| at)
}

/// The bytes up to the bracket that closes the first one, in JSON.
fn balanced(text: &str) -> Option<usize> {
    close_of_first(text, &['"'])
}

fn balanced_python(text: &str) -> Option<usize> {
    close_of_first(text, &['"', '\''])
}

fn close_of_first(text: &str, quotes: &[char]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in code(text, quotes) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth <= 1 => return Some(at + 1),
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The characters that are in no string, with their places.
fn code<'t>(text: &'t str, quotes: &'t [char]) -> impl Iterator<Item = (usize, char)> + 't {
    let (mut open, mut escaped) = (None, false);
    text.char_indices().filter(move |&(_, c)| {
        match open {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(quote) if c == quote => open = None,
            Some(_) => {}
            None if quotes.contains(&c) => open = Some(c),
            None => return true,
        }
        false
    })
}

fn unfinished() -> String {
    "the answer ends inside the call".to_owned()
}

fn named(calls: Vec<NamedCall>) -> Vec<ToolCall> {
    calls.into_iter().map(|(name, arguments)| ToolCall { name, arguments, id: None }).collect()
}

fn python(text: &str) -> Calls {
    python_calls(text).map(named)
}

/// A call in JSON, or a list of them.
fn json_calls(text: &str) -> Calls {
    match serde_json::from_str(text).map_err(|error| error.to_string())? {
        Value::Array(list) if list.is_empty() => Err("there is no call".to_owned()),
        Value::Array(list) => list.into_iter().map(json_call).collect(),
        value => Ok(vec![json_call(value)?]),
    }
}

/// `{"name": .., "arguments": ..}`, with `parameters` for `arguments` too, and inside `function` too.
fn json_call(value: Value) -> Result<ToolCall, String> {
    let Value::Object(mut call) = value else { return Err("a call is no JSON object".to_owned()) };
    let id = call.get("id").and_then(Value::as_str).map(str::to_owned);
    match call.remove("function") {
        Some(Value::Object(function)) => call = function,
        Some(name) => {
            call.insert("name".to_owned(), name);
        }
        None => {}
    }
    let Some(Value::String(name)) = call.remove("name") else { return Err("a call has no name".to_owned()) };
    let arguments = call.remove("arguments").or_else(|| call.remove("parameters"));
    let arguments = match arguments {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(Value::String(json)) => serde_json::from_str(&json).map_err(|error| error.to_string())?,
        Some(_) => return Err("the arguments of a call are no JSON object".to_owned()),
    };
    Ok(ToolCall { name, arguments, id })
}
