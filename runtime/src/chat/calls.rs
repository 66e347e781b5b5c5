//! Tool calls in the text of an answer: where each ends, and what it says.

use serde_json::{Map, Value};

use crate::json::{check_integers, json_from_str};

use super::forms::{Bare, Body, CallForm, NamedBody, TagBody};
use super::literal::{NamedCall, begins_python_list, brace_calls, python_calls};
use super::tools::Tool;

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

/// The 9 letters and digits that name a call, made of a text that names it elsewhere. Templates of
/// Mistral ask for so many.
pub fn call_id(seed: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // FNV-1a, and the last step of SplitMix64 to spread it.
    let hash = seed
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mut rest = hash ^ (hash >> 27);
    let digit = |_| {
        let digit = DIGITS[(rest % 36) as usize];
        rest /= 36;
        char::from(digit)
    };
    (0..9).map(digit).collect()
}

/// The id of a call of a conversation, by the number of calls before it.
pub(crate) fn numbered_id(number: usize) -> String {
    format!("call{:05}", number % 100_000)
}

fn decided(length: usize, calls: Calls) -> Progress {
    match calls {
        Ok(calls) => Progress::Calls(length, calls),
        Err(reason) => Progress::Malformed(length, reason),
    }
}

impl CallForm {
    /// The calls behind the opening text. `last` says that no more text will come. Nothing that is
    /// decided changes with more text.
    pub(super) fn read(&self, text: &str, last: bool, tools: &[Tool]) -> Progress {
        let json = text.trim_start().starts_with('{');
        match &self.body {
            Body::Named(form) => self.ended(text, last, named_body(text, last, form)),
            Body::JsonOrNamed(_, form) if !text.trim_start().starts_with(['[', '{']) => named_body(text, last, form),
            Body::JsonOrNamed(..) => balanced_json(text, last),
            Body::Json(_) if self.close.is_empty() => balanced_json(text, last),
            Body::Json(_) => self.tagged(text, last, &['"'], json_calls),
            Body::Python { .. } if text.trim_start().trim_start_matches('[').trim_start().starts_with('{') => {
                self.tagged(text, last, &['"'], json_calls)
            }
            Body::Python { .. } => self.tagged(text, last, &['"', '\''], python),
            Body::PythonTag => python_tag(text, last),
            Body::Braces { quote } => {
                let parse = |text: &str| brace_calls(text).map(named);
                closed(text, last, self.close, outside_quotes(text, self.close, quote), parse)
            }
            Body::Tags(_) if json => self.tagged(text, last, &['"'], json_calls),
            Body::Tags(form) => self.tags(form, text, last, tools),
        }
    }

    /// Calls with the text that closes them behind their JSON, which may be missing.
    fn ended(&self, text: &str, last: bool, progress: Progress) -> Progress {
        let close = self.close.trim_start();
        match progress {
            Progress::Calls(length, calls) if !close.is_empty() => {
                let rest = text[length..].trim_start();
                match rest.strip_prefix(close) {
                    Some(behind) => Progress::Calls(text.len() - behind.len(), calls),
                    None if close.starts_with(rest) && !last => Progress::More,
                    None => Progress::Calls(length, calls),
                }
            }
            other => other,
        }
    }

    /// A body up to the text that closes it, outside of strings, or up to the next one, where a
    /// model leaves out what closes this.
    fn tagged(&self, text: &str, last: bool, quotes: &[char], parse: fn(&str) -> Calls) -> Progress {
        let [end, next] = [self.close, self.open].map(|mark| outside_strings(text, mark, quotes));
        match next {
            Some(at) if end.is_none_or(|end| at < end) => decided(at, parse(&text[..at])),
            _ => closed(text, last, self.close, end, parse),
        }
    }

    /// Calls whose arguments stand between tags, up to the text that closes them.
    fn tags(&self, form: &TagBody, text: &str, last: bool, tools: &[Tool]) -> Progress {
        let mut reader = TagReader { text, at: 0, form, close: self.close, tools, last };
        match reader.calls() {
            Ok(calls) => Progress::Calls(reader.at, calls),
            Err(Stop::Short) if last => Progress::Malformed(text.len(), unfinished()),
            Err(Stop::Short) => Progress::More,
            Err(Stop::Wrong(reason)) => {
                let close = text[reader.at..].find(self.close).map(|at| reader.at + at + self.close.len());
                match close.or(last.then_some(text.len())) {
                    Some(end) => Progress::Malformed(end, reason),
                    None => Progress::More,
                }
            }
        }
    }
}

/// Why a call between tags cannot be read.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// There has to be more text.
    Short,
    Wrong(String),
}

/// Reads calls whose arguments stand between tags.
struct TagReader<'t> {
    text: &'t str,
    at: usize,
    form: &'t TagBody,
    /// What closes the calls.
    close: &'t str,
    tools: &'t [Tool],
    /// Whether no more text will come.
    last: bool,
}

impl<'t> TagReader<'t> {
    /// All calls, and what closes them, which may be missing at the end of the answer.
    fn calls(&mut self) -> Result<Vec<ToolCall>, Stop> {
        let mut calls = vec![self.call()?];
        loop {
            if self.rest().is_empty() && self.last {
                return Ok(calls);
            }
            let opens = !self.form.name[0].is_empty() && self.begins(self.form.name[0]) != Ok(false);
            if !opens {
                self.expect(self.close)?;
                return Ok(calls);
            }
            calls.push(self.call()?);
        }
    }

    /// What is to come, without white space before it.
    fn rest(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        &self.text[self.at..]
    }

    /// Whether a tag, without its white space, is next.
    fn begins(&mut self, tag: &str) -> Result<bool, Stop> {
        let (rest, tag) = (self.rest(), tag.trim());
        if rest.starts_with(tag) {
            return Ok(true);
        }
        if tag.starts_with(rest) { Err(Stop::Short) } else { Ok(false) }
    }

    fn take(&mut self, tag: &str) -> Result<bool, Stop> {
        let found = self.begins(tag)?;
        self.at += if found { tag.trim().len() } else { 0 };
        Ok(found)
    }

    fn expect(&mut self, tag: &str) -> Result<(), Stop> {
        if self.take(tag)? {
            return Ok(());
        }
        Err(Stop::Wrong(format!("there should be {:?} at byte {} of the call", tag.trim(), self.at)))
    }

    /// The name of a tool or of an argument, up to a tag, or to a line's end that stands for one.
    fn name(&mut self, end: &str) -> Result<String, Stop> {
        let (rest, tag) = (self.rest(), end.trim());
        let is_end = |c: char| c == '\n' || (tag.is_empty() && c == '<') || tag.starts_with(c);
        let length = rest.find(is_end).ok_or(Stop::Short)?;
        let name = rest[..length].trim().to_owned();
        if name.is_empty() {
            return Err(Stop::Wrong(format!("there should be a name at byte {} of the call", self.at)));
        }
        self.at += length;
        self.expect(end)?;
        Ok(name)
    }

    fn call(&mut self) -> Result<ToolCall, Stop> {
        let form = self.form;
        self.expect(form.name[0])?;
        let name = self.name(form.name[1])?;
        let tool = self.tools.iter().find(|tool| tool.name == name);
        let mut arguments = Map::new();
        while !self.is_over()? {
            self.expect(form.key[0])?;
            let key = self.name(form.key[1])?;
            let value = self.value(tool, &key)?;
            arguments.insert(key.clone(), Tool::value(tool, &key, value));
        }
        Ok(ToolCall { name, arguments, id: None })
    }

    /// Whether no more argument follows.
    fn is_over(&mut self) -> Result<bool, Stop> {
        let end = self.form.end;
        if end.is_empty() && self.last && self.rest().is_empty() {
            return Ok(true);
        }
        let more = self.begins(self.form.key[0])?;
        if end.is_empty() { Ok(!more) } else { Ok(!more && self.take(end)?) }
    }

    /// A value up to the tag behind it. The tag ends it where another tag follows, so that a value
    /// may contain its text; what is JSON by the schema may contain both in its strings.
    fn value(&mut self, tool: Option<&Tool>, key: &str) -> Result<&'t str, Stop> {
        let [open, close] = self.form.value;
        if !open.trim().is_empty() {
            self.expect(open)?;
        }
        let text = &self.text[self.at..];
        let text = if open.trim().is_empty() { without_line_end(text, open.starts_with('\n'), false) } else { text };
        self.at = self.text.len() - text.len();
        let mut from = match json_length(text) {
            _ if Tool::may_be_text(tool, key) => 0,
            None if !self.last => return Err(Stop::Short),
            length => length.unwrap_or(0),
        };
        loop {
            let found = text[from..].find(close.trim()).map(|at| from + at).ok_or(Stop::Short)?;
            let behind = found + close.trim().len();
            if self.is_tag(text[behind..].trim_start())? {
                self.at += behind;
                return Ok(without_line_end(&text[..found], false, close.starts_with('\n')));
            }
            from = behind;
        }
    }

    /// Whether a text begins with what may follow a value.
    fn is_tag(&self, text: &str) -> Result<bool, Stop> {
        let end = if self.form.end.is_empty() { self.close } else { self.form.end };
        let tags = [self.form.key[0].trim(), end.trim(), self.close];
        if tags.iter().any(|tag| text.starts_with(tag)) || (self.last && text.is_empty()) {
            return Ok(true);
        }
        if tags.iter().any(|tag| tag.starts_with(text)) { Err(Stop::Short) } else { Ok(false) }
    }
}

/// A text without the line break that begins or ends it.
fn without_line_end(text: &str, begins: bool, ends: bool) -> &str {
    let text = text.strip_prefix('\n').filter(|_| begins).unwrap_or(text);
    text.strip_suffix('\n').filter(|_| ends).unwrap_or(text)
}

/// The bytes of the JSON that a text begins with; 0 if it is no object, list or string. None: it
/// has no end.
fn json_length(text: &str) -> Option<usize> {
    let body = text.trim_start();
    let lead = text.len() - body.len();
    match body.chars().next() {
        None => None,
        Some('{' | '[') => balanced(body).map(|length| lead + length),
        Some(_) => Some(0),
    }
}

/// An object or a list of JSON, which ends where its bracket closes.
fn balanced_json(text: &str, last: bool) -> Progress {
    let body = text.trim_start();
    let lead = text.len() - body.len();
    if !body.is_empty() && !body.starts_with(['[', '{']) {
        return Progress::Malformed(lead, "there should be JSON".to_owned());
    }
    match (balanced(body), last) {
        (Some(end), _) => decided(lead + end, json_calls(&body[..end])),
        (None, false) => Progress::More,
        (None, true) => Progress::Malformed(text.len(), unfinished()),
    }
}

/// `name[ARGS]{..}`.
fn named_body(text: &str, last: bool, form: &NamedBody) -> Progress {
    let body = text.trim_start();
    let lead = text.len() - body.len();
    match named_arguments(body, form) {
        Some((end, calls)) => decided(lead + end, calls),
        None if last => Progress::Malformed(text.len(), unfinished()),
        None => Progress::More,
    }
}

/// `name[ARGS]{..}` or `name[CALL_ID]id[ARGS]{..}`, once it is whole.
fn named_arguments(body: &str, form: &NamedBody) -> Option<(usize, Calls)> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let head = body.find(|c| !is_name(c))?;
    let wrong = |reason: String| Some((head, Err(reason)));
    let (name, rest) = body.split_at(head);
    let mut marks = form.heads.iter().copied().chain(form.id);
    if name.is_empty() || !marks.any(|mark| mark.starts_with(rest) || rest.starts_with(mark)) {
        return wrong(format!("there should be the name of a tool and {}", form.arguments));
    }
    let at = body.find(form.arguments)?;
    let id = form.id.and_then(|id| body[head..at].strip_prefix(id)).map(str::to_owned);
    let start = at + form.arguments.len();
    let json = body[start..].trim_start();
    let lead = body.len() - json.len();
    if !json.is_empty() && !json.starts_with('{') {
        return wrong(format!("there should be a JSON object behind {}", form.arguments));
    }
    let end = lead + balanced(json)?;
    let call = arguments_object(&body[lead..end]);
    Some((end, call.map(|arguments| vec![ToolCall { name: name.to_owned(), arguments, id }])))
}

/// What follows `<|python_tag|>`: a call in JSON, `tool.call(..)` of a tool that is built in, or
/// code for the interpreter, which goes on to the end of the answer. Llama 3.
fn python_tag(text: &str, last: bool) -> Progress {
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

impl Bare {
    /// The calls that begin an answer.
    pub(super) fn read(self, text: &str, last: bool, tools: &[Tool]) -> Progress {
        match self {
            Self::Calls => bare(text, last),
            Self::Fenced => bare_or_fenced(text, last),
            Self::Opened(form) => match text.strip_prefix(form.open) {
                Some(body) => match form.read(body, last, tools) {
                    Progress::Calls(length, calls) => Progress::Calls(form.open.len() + length, calls),
                    Progress::Malformed(length, reason) => Progress::Malformed(form.open.len() + length, reason),
                    other => other,
                },
                None if form.open.starts_with(text) && !last => Progress::More,
                None => Progress::Text,
            },
        }
    }
}

/// An answer that is nothing but calls: `{"name": .., "parameters": {..}}` or `[f(a=1)]`, as
/// Llama 3 and Gemma write them.
fn bare(text: &str, last: bool) -> Progress {
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
fn bare_or_fenced(text: &str, last: bool) -> Progress {
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

/// A body up to the text that closes it, whose place outside of strings is `end`. At the end of the
/// answer the closing text may be missing, or stand in a string that nobody closed.
fn closed(text: &str, last: bool, close: &str, end: Option<usize>, parse: impl Fn(&str) -> Calls) -> Progress {
    match end.or_else(|| text.find(close).filter(|_| last)) {
        Some(at) => decided(at + close.len(), parse(&text[..at])),
        None if last => decided(text.len(), parse(text)),
        None => Progress::More,
    }
}

/// The bytes before the first `part` that does not stand between two `quote`s.
fn outside_quotes(text: &str, part: &str, quote: &str) -> Option<usize> {
    let (mut from, mut inside) = (0, false);
    loop {
        let next = text[from..].find(quote).map(|at| from + at);
        let found = text[from..].find(part).map(|at| from + at).filter(|_| !inside);
        match (found, next) {
            (Some(found), next) if next.is_none_or(|next| found < next) => return Some(found),
            (_, None) => return None,
            (_, Some(next)) => (from, inside) = (next + quote.len(), !inside),
        }
    }
}

/// The bytes before the first `part` that is in no string.
fn outside_strings(text: &str, part: &str, quotes: &[char]) -> Option<usize> {
    text.contains(part).then(|| code(text, quotes).find(|&(at, _)| text[at..].starts_with(part)))?.map(|(at, _)| at)
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

pub(super) fn unfinished() -> String {
    "the answer ends inside the call".to_owned()
}

fn named(calls: Vec<NamedCall>) -> Vec<ToolCall> {
    calls.into_iter().map(|(name, arguments)| ToolCall { name, arguments, id: None }).collect()
}

fn python(text: &str) -> Calls {
    python_calls(text).map(named)
}

fn arguments_object(text: &str) -> Result<Map<String, Value>, String> {
    match json_from_str(text)? {
        Value::Object(arguments) => Ok(arguments),
        _ => Err("the arguments of a call are no JSON object".to_owned()),
    }
}

/// Calls in JSON, or lists of them, one after the other.
fn json_calls(text: &str) -> Calls {
    check_integers(text)?;
    let mut calls = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter() {
        match value.map_err(|error| error.to_string())? {
            Value::Array(list) => calls.extend(list.into_iter().map(json_call).collect::<Result<Vec<_>, _>>()?),
            value => calls.push(json_call(value)?),
        }
    }
    if calls.is_empty() { Err("there is no call".to_owned()) } else { Ok(calls) }
}

/// `{"name": .., "arguments": ..}`, with `parameters` for `arguments` and `tool_name` for `name`
/// too, and inside `function` too.
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
    let name = call.remove("name").or_else(|| call.remove("tool_name"));
    let Some(Value::String(name)) = name else { return Err("a call has no name".to_owned()) };
    let arguments = call.remove("arguments").or_else(|| call.remove("parameters"));
    let arguments = match arguments {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(Value::String(json)) if json.trim().is_empty() => Map::new(),
        Some(Value::String(json)) => arguments_object(&json)?,
        Some(_) => return Err("the arguments of a call are no JSON object".to_owned()),
    };
    Ok(ToolCall { name, arguments, id })
}
