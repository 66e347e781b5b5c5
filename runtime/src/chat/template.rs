//! The chat template of a model: conversations to text and to tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, Value, escape_formatter};
use ollm_kernels::cpu;
use ollm_kernels::memory;
use serde_json::{Map, Value as Json};

use super::date::Date;
use super::error::{ChatError, KEY, MAX_TEMPLATE};
use super::guard::{self, Guard};
use super::message::{Message, Variables, probes, said};
use super::source::Source;
use super::{args, filters, objects, python, repr};
use crate::gguf::Metadata;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Steps that every rendering may take. One step also pays for 64 bytes.
const BASE_STEPS: usize = 20_000;

/// Steps for each message and each JSON value, on top; and one for each four bytes of text, which
/// pays for 16 copies of it.
const MESSAGE_STEPS: usize = 500;
const VALUE_STEPS: usize = 100;
const BYTES_PER_STEP: usize = 4;

/// More steps for a template that looks back: for each pair of messages, and altogether. They bound
/// what a hostile one costs: a second or two, a gigabyte, eight gigabytes of addresses for the
/// stack.
const PAIR_STEPS: usize = 40;
const MAX_PAIR_STEPS: usize = 15_000_000;

/// Stack for each step. One step can put a list into a list, and what is nested is freed by a
/// recursion, whose depth the engine does not limit.
const STACK_PER_STEP: usize = 512;

/// Copies of a conversation that there must be memory for: the template engine, which cannot be
/// refused memory, has its values and the text that it writes, which doubles as it grows, and there
/// are those with twins.
const COPIES: usize = 12;

/// How deep statements and macros may nest; a macro counts for several.
const MAX_DEPTH: usize = 200;

/// How deep JSON may be nested, as in `serde_json`.
const MAX_NESTING: usize = 128;

/// The variable that gives the template a date, and the function by which it asks for one.
const DATE: &str = "strftime_now";

/// The variable that chooses a template.
pub(crate) const CHOICE: &str = "chat_template";

/// The name of the template that is not chosen by a name.
const DEFAULT: &str = "default";

/// The chat template of a model.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    /// As the engine takes it.
    prepared: Source,
}

/// A conversation as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    text: String,
    plain: Vec<Range<usize>>,
}

impl Prompt {
    /// The text. To make tokens of it, use [`Prompt::tokens`]: the text alone does not tell what is
    /// the template's and what was said.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tokens. What the template wrote may be control tokens; what is said in a message or in a
    /// variable never is, whatever it looks like. No BOS is added: the template writes it where it
    /// wants one.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, TokenizerError> {
        tokenizer.encode_outside(&self.text, &self.plain)
    }
}

impl ChatTemplate {
    /// Reads and compiles the template of a model file (`tokenizer.chat_template`).
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, ChatError> {
        let source = metadata.opt_str(KEY).map_err(ChatError::Metadata)?;
        Self::new(source.ok_or(ChatError::Missing)?)
    }

    /// Reads and compiles one of the named templates of a model file
    /// (`tokenizer.chat_template.NAME`), such as `tool_use`. `default` is the one without a name.
    ///
    /// # Errors
    /// [`ChatError::NoSuchTemplate`] tells which there are; else as
    /// [`ChatTemplate::from_metadata`].
    pub fn named(metadata: &Metadata, name: &str) -> Result<Self, ChatError> {
        let source = metadata.opt_str(&format!("{KEY}.{name}")).map_err(ChatError::Metadata)?;
        match source {
            Some(source) => Self::new(source),
            None if name == DEFAULT => Self::from_metadata(metadata),
            None => Err(ChatError::NoSuchTemplate { name: name.to_owned(), known: Self::names(metadata) }),
        }
    }

    /// The names of the templates of a model file, `default` for the one without a name.
    pub fn names(metadata: &Metadata) -> Vec<String> {
        let name = |key: &str| match key.strip_prefix(KEY)? {
            "" => Some(DEFAULT.to_owned()),
            suffix => suffix.strip_prefix('.').map(str::to_owned),
        };
        metadata.iter().filter_map(|(key, _)| name(key)).collect()
    }

    /// The template that the variable `chat_template` chooses, by the name of one of the file's or
    /// as the text of another one; without the variable that of the file.
    ///
    /// # Errors
    /// As [`ChatTemplate::named`]; [`ChatError::Variable`] if the variable is no text.
    pub fn chosen(metadata: &Metadata, variables: &Variables) -> Result<Self, ChatError> {
        match variables.get(CHOICE) {
            None | Some(Json::Null) => Self::from_metadata(metadata),
            Some(Json::String(source)) if source.contains(['{', '\n']) => Self::new(source),
            Some(Json::String(name)) => Self::named(metadata, name),
            Some(_) => Err(ChatError::Variable {
                name: CHOICE.to_owned(),
                reason: "it is neither the name of a template nor the text of one",
            }),
        }
    }

    /// Compiles a template.
    pub fn new(source: &str) -> Result<Self, ChatError> {
        if source.len() > MAX_TEMPLATE {
            return Err(ChatError::TooLong { bytes: source.len() });
        }
        let prepared = Source::new(source);
        let compiled = environment(0, None).and_then(|e| e.template_from_str(&prepared.text).map(drop));
        compiled.map_err(|error| explain(&error))?;
        Ok(Self { source: source.to_owned(), prepared })
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it calls for a date without asking whether there is one: then the variable
    /// `strftime_now` has to be set.
    pub fn needs_date(&self) -> bool {
        self.source.contains("strftime_now(") && !self.source.contains("strftime_now is")
    }

    /// The conversation as the model reads it. With `add_generation_prompt` it ends where the
    /// model's answer begins.
    ///
    /// Parts of a message are joined to one text where the template does not know parts, and a text
    /// becomes a part where it knows parts alone.
    ///
    /// # Errors
    /// [`ChatError::Dropped`] if the text is the same whatever is said; others say what failed.
    pub fn render(
        &self,
        messages: &[Message],
        variables: &Variables,
        add_generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<Prompt, ChatError> {
        let mut bytes = 0;
        let maps = messages.iter().map(Message::as_json).chain([variables.as_json()]);
        maps.for_each(|map| each_text_of_map(map, &mut |text| bytes += text.len()));
        memory::probe(COPIES * bytes).map_err(ChatError::OutOfMemory)?;
        check_nesting(messages.iter().map(Message::as_json).chain([variables.as_json()]))?;
        let fitted = self.fitted(messages, variables, tokenizer)?;
        let messages: Vec<&Map<String, Json>> = fitted.iter().map(Message::as_json).collect();
        let (text, plain) = self.run_guarded(&messages, variables, add_generation_prompt, tokenizer)?;
        let mut texts = fitted.iter().filter_map(said).peekable();
        if texts.peek().is_some() && !texts.any(|said| text.contains(said)) {
            let other: Vec<Map<String, Json>> =
                fitted.iter().map(|message| message.said_otherwise().into_json()).collect();
            // A template that refuses other texts does not ignore them.
            if self
                .run(other, variables.as_json().clone(), add_generation_prompt, tokenizer)
                .is_ok_and(|other| other == text)
            {
                return Err(ChatError::Dropped);
            }
        }
        Ok(Prompt { text, plain })
    }

    /// The text that the template makes of JSON, and where it is what was said.
    pub(super) fn run_guarded(
        &self,
        messages: &[&Map<String, Json>],
        variables: &Variables,
        add_generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<(String, Vec<Range<usize>>), ChatError> {
        let guard = self.guard(messages, variables, tokenizer)?;
        let messages = messages.iter().map(|message| guarded_map(message, &guard)).collect();
        // Their names are the template's, and a date is no text that is written.
        let value = |(name, value): (&String, &Json)| {
            (name.clone(), if name == DATE { value.clone() } else { guarded(value, &guard) })
        };
        let variables = variables.as_json().iter().map(value).collect();
        let text = self.run_with(guard.twins(), messages, variables, add_generation_prompt, tokenizer)?;
        Ok(guard.unguard(&text))
    }

    /// Twins must occur nowhere in what goes into the rendering.
    fn guard<'t>(
        &'t self,
        messages: &[&Map<String, Json>],
        variables: &Variables,
        tokenizer: &'t Tokenizer,
    ) -> Result<Guard<'t>, ChatError> {
        let mut used = BTreeSet::new();
        let mut note = |text: &str| used.extend(text.chars().filter(|&c| c >= '\u{f0000}'));
        for message in messages {
            each_text_of_map(message, &mut note);
        }
        each_text_of_map(variables.as_json(), &mut note);
        note(&self.source);
        for id in [tokenizer.bos(), tokenizer.eos()].into_iter().flatten() {
            note(&tokenizer.decode(&[id]));
        }
        let full = || ChatError::Render { reason: "the messages use every private character".to_owned() };
        Guard::new(tokenizer.control_texts(), &self.prepared.literals, |c| used.contains(&c)).ok_or_else(full)
    }

    /// The messages with the kind of content that the template writes for their role: it is asked
    /// with conversations of its own. A developer, as OpenAI calls who else is the system, is the
    /// system where the template does not write that name, or writes any name.
    fn fitted(
        &self,
        messages: &[Message],
        variables: &Variables,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<Message>, ChatError> {
        let mut known = BTreeMap::new();
        let mut writes = |role: &str, parts: bool| -> bool {
            *known.entry((role.to_owned(), parts)).or_insert_with(|| self.writes(role, parts, variables, tokenizer))
        };
        let developed = messages.iter().any(|message| message.role() == "developer");
        let mut knows = |role: &str| writes(role, false) || writes(role, true);
        let has_developer = self.source().contains("developer");
        let is_system = developed && !(has_developer && knows("developer")) && knows("system");
        let named = |message: &Message| match message.role() {
            "developer" if is_system => message.clone().with("role", "system".into()),
            _ => message.clone(),
        };
        let fit = |(index, message): (usize, Message)| {
            let role = message.role();
            match message.parts() {
                Some(_) if !writes(role, true) => message.joined(index),
                None if said(&message).is_some() && !writes(role, false) && writes(role, true) => Ok(message.split()),
                _ => Ok(message),
            }
        };
        messages.iter().map(named).enumerate().map(fit).collect()
    }

    /// Whether it writes the text of a message of this role, and not a list of parts as such.
    fn writes(&self, role: &str, parts: bool, variables: &Variables, tokenizer: &Tokenizer) -> bool {
        const TEXT: &str = "probe-7f3a";
        let messages = probes(role, TEXT, parts).iter().map(|message| message.as_json().clone()).collect();
        let written = self.run(messages, variables.as_json().clone(), true, tokenizer);
        let as_such = |text: &String| parts && ["'text':", "\"text\":"].iter().any(|key| text.contains(key));
        written.is_ok_and(|text| text.contains(TEXT) && !as_such(&text))
    }

    /// The text that the template makes of JSON without twins.
    pub(super) fn run(
        &self,
        messages: Vec<Map<String, Json>>,
        variables: Map<String, Json>,
        add_generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<String, ChatError> {
        self.run_with(&[], messages, variables, add_generation_prompt, tokenizer)
    }

    /// The text that the template makes of JSON with these twins.
    fn run_with(
        &self,
        twins: &[(char, char)],
        messages: Vec<Map<String, Json>>,
        mut variables: Map<String, Json>,
        add_generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<String, ChatError> {
        let date = variables.remove(DATE).as_ref().map(read_date).transpose()?;
        variables.remove(CHOICE);
        let maps = || messages.iter().chain([&variables]);
        let steps = BASE_STEPS + MESSAGE_STEPS * messages.len() + maps().map(steps_of_map).sum::<usize>();
        let pairs = messages.len().saturating_mul(messages.len()).saturating_mul(PAIR_STEPS).min(MAX_PAIR_STEPS);
        let mut names = Map::new();
        // Without them templates ask whether they are none, not whether they are defined.
        names.extend(["tools", "documents"].map(|name| (name.to_owned(), Json::Null)));
        let text = |(name, id): (&str, u32)| (name.to_owned(), tokenizer.decode(&[id]).into());
        names.extend(tokenizer.special_tokens().map(text));
        names.extend(variables);
        names.insert("add_generation_prompt".to_owned(), add_generation_prompt.into());
        names.insert("messages".to_owned(), messages.into_iter().map(normalized).collect());
        match self.run_within(steps, &names, date, twins) {
            Err(ChatError::Exhausted) if pairs > 0 => {
                match self.run_within(steps.saturating_add(pairs), &names, date, twins) {
                    // A system that has no addresses for so large a stack.
                    Err(ChatError::Thread(_)) => Err(ChatError::Exhausted),
                    outcome => outcome,
                }
            }
            outcome => outcome,
        }
    }

    fn run_within(
        &self,
        steps: usize,
        names: &Map<String, Json>,
        date: Option<Date>,
        twins: &[(char, char)],
    ) -> Result<String, ChatError> {
        let work = || {
            guard::enter(twins);
            let names: BTreeMap<String, Value> =
                names.iter().map(|(name, value)| (name.clone(), value_of(value))).collect();
            environment(steps, date)?.template_from_str(&self.prepared.text)?.render(names)
        };
        with_stack(steps.saturating_mul(STACK_PER_STEP), work)?.map_err(|error| explain(&error))
    }
}

/// A message as transformers gives it to templates: without fields that are null, and with what was
/// thought under the names that templates look for.
fn normalized(mut message: Map<String, Json>) -> Json {
    message.retain(|_, value| !value.is_null());
    let thought = ["reasoning_content", "thinking", "reasoning"].iter().find_map(|name| message.get(*name)).cloned();
    if let Some(thought) = thought {
        message.entry("thinking").or_insert_with(|| thought.clone());
        message.insert("reasoning_content".to_owned(), thought);
    }
    Json::Object(message)
}

/// Runs `work` on a thread of its own, with this much stack.
fn with_stack<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> Result<T, ChatError> {
    let outcome = cpu::with_stack(bytes, work).map_err(ChatError::Thread)?;
    outcome.map_err(|_| ChatError::Render { reason: "the template engine panicked".to_owned() })
}

fn read_date(value: &Json) -> Result<Date, ChatError> {
    let reason = "it is no date such as \"2026-11-30\" or \"2026-11-30T08:15:00\"";
    let refused = || ChatError::Variable { name: DATE.to_owned(), reason };
    value.as_str().and_then(Date::parse).ok_or_else(refused)
}

/// JSON as the engine has it.
fn value_of(value: &Json) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => list.iter().map(value_of).collect(),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(key, value)| (key.as_str(), value_of(value)))),
    }
}

/// JSON whose texts, names of fields among them, have twins.
fn guarded(value: &Json, guard: &Guard<'_>) -> Json {
    match value {
        Json::String(text) => guard.guard(text).into(),
        Json::Array(list) => list.iter().map(|value| guarded(value, guard)).collect(),
        Json::Object(map) => Json::Object(guarded_map(map, guard)),
        other => other.clone(),
    }
}

fn guarded_map(map: &Map<String, Json>, guard: &Guard<'_>) -> Map<String, Json> {
    map.iter().map(|(key, value)| (guard.guard(key), guarded(value, guard))).collect()
}

fn each_text_of_map(map: &Map<String, Json>, see: &mut dyn FnMut(&str)) {
    for (key, value) in map {
        see(key);
        each_text(value, see);
    }
}

fn each_text(value: &Json, see: &mut dyn FnMut(&str)) {
    match value {
        Json::String(text) => see(text),
        Json::Array(list) => list.iter().for_each(|value| each_text(value, see)),
        Json::Object(map) => each_text_of_map(map, see),
        _ => {}
    }
}

fn check_nesting<'a>(maps: impl Iterator<Item = &'a Map<String, Json>>) -> Result<(), ChatError> {
    fn fits(value: &Json, levels: usize) -> bool {
        match value {
            Json::Array(list) => levels > 0 && list.iter().all(|value| fits(value, levels - 1)),
            Json::Object(map) => levels > 0 && map.values().all(|value| fits(value, levels - 1)),
            _ => true,
        }
    }
    if maps.flat_map(Map::values).all(|value| fits(value, MAX_NESTING)) {
        return Ok(());
    }
    Err(ChatError::Render { reason: format!("JSON is nested more than {MAX_NESTING} deep") })
}

/// What the values of a map are worth, their texts among them.
fn steps_of_map(map: &Map<String, Json>) -> usize {
    map.iter().map(|(key, value)| key.len() / BYTES_PER_STEP + steps_of(value)).sum()
}

fn steps_of(value: &Json) -> usize {
    VALUE_STEPS
        + match value {
            Json::String(text) => text.len() / BYTES_PER_STEP,
            Json::Array(list) => list.iter().map(steps_of).sum(),
            Json::Object(map) => steps_of_map(map),
            _ => 0,
        }
}

fn environment(steps: usize, date: Option<Date>) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(steps as u64));
    environment.set_recursion_limit(MAX_DEPTH);
    environment.remove_global("debug");
    environment.set_formatter(write_value);
    environment.add_function("raise_exception", raise_exception);
    if let Some(date) = date {
        environment.add_function(DATE, move |arguments: Rest<ValueOrKwargs>| {
            let [format] = args::bind(&arguments.into_values(), ["format"])?;
            args::text(format).map(|format| date.format(&format))
        });
    }
    filters::add(&mut environment);
    objects::add(&mut environment);
    environment.set_unknown_method_callback(python::method);
    Ok(environment)
}

/// Prints a value as Python does, escaped where the template asks for that.
fn write_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if !matches!(state.auto_escape(), AutoEscape::None) && !value.is_safe() {
        let escaped = filters::escaped(&repr::string(state, value)?);
        return out.write_str(escaped.as_str().unwrap_or_default()).map_err(Error::from);
    }
    if matches!(value.kind(), ValueKind::Number | ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) {
        let text = repr::string(state, value)?;
        return out.write_str(&text).map_err(Error::from);
    }
    escape_formatter(out, state, value)
}

/// What a template said when it refused.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Refusal(message)))
}

/// The cause at the bottom decides: an error inside a macro or a block is wrapped.
fn explain(error: &Error) -> ChatError {
    let causes = || std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |cause| cause.source());
    let engine = || causes().filter_map(|cause| cause.downcast_ref::<Error>());
    if let Some(Refusal(message)) = causes().find_map(|cause| cause.downcast_ref()) {
        return ChatError::Refused { message: message.clone() };
    }
    if engine().any(|error| error.kind() == ErrorKind::OutOfFuel) {
        return ChatError::Exhausted;
    }
    let asks = |error: &Error| error.kind() == ErrorKind::UnknownFunction && error.to_string().contains(DATE);
    if engine().any(asks) {
        return ChatError::NoDate;
    }
    match error.kind() {
        ErrorKind::SyntaxError => ChatError::Syntax { reason: error.to_string() },
        _ => ChatError::Render { reason: error.to_string() },
    }
}
