//! Tools: which are offered, whether one has to be called, and the grammar of calls.

use std::collections::BTreeSet;

use hyper::StatusCode;
use ollm_runtime::chat::{CallGrammar, ChatFormat, ToolFormat, Variables};
use ollm_runtime::constraint::{Constraint, ConstraintError, GrammarCompiler, GrammarKind};
use serde_json::Value;

use crate::output;
use crate::serve::admission::Waiter;
use crate::serve::error::ApiError;
use crate::serve::service::Service;

use super::answer_schema::AnswerSchema;
use super::fields::Fields;
use super::first_choice::check_first;

type Result<T> = std::result::Result<T, ApiError>;

/// What a request says of tools.
#[derive(Debug)]
pub(super) struct Tools {
    /// Those that are offered; none where none is to be called.
    pub(super) offered: Option<Value>,
    /// Those that may be called, where these are some of those that are offered.
    allowed: Option<BTreeSet<String>>,
    /// Whether one has to be called.
    required: bool,
    /// Whether several may be called at once.
    parallel: bool,
}

/// How calls are written: what the answer begins with, and what it keeps to.
pub(super) struct Calls {
    pub(super) begun: Option<&'static str>,
    pub(super) grammar: Option<CallsGrammar>,
}

/// The grammar of calls, before it is compiled.
pub(crate) struct CallsGrammar {
    written: CallGrammar,
    format: ToolFormat,
    /// With the tools that may be called.
    variables: Variables,
    required: bool,
    parallel: bool,
    /// What the answer is that calls nothing, if it is no text.
    answer: Option<AnswerSchema>,
}

impl Tools {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self> {
        let (mode, allowed) = choice(fields)?;
        let listed = fields.list("tools")?.unwrap_or_default();
        check(listed)?;
        let offered = Some(listed).filter(|tools| !tools.is_empty() && mode != Mode::None);
        let named =
            |name: &String| offered.is_some_and(|tools| tools.iter().any(|tool| name_of(tool) == Some(name.as_str())));
        if let Some(unknown) = allowed.iter().flatten().find(|&name| !named(name)) {
            return Err(fields.invalid("tool_choice", format!("there is no tool {unknown:?}")));
        }
        if mode == Mode::Required && offered.is_none() {
            return Err(fields.invalid("tool_choice", "a tool is to be called, and there are no tools"));
        }
        Ok(Self {
            offered: offered.map(|tools| tools.to_vec().into()),
            allowed,
            required: mode == Mode::Required,
            parallel: fields.flag_or("parallel_tool_calls", true)?,
        })
    }

    /// How calls are written in an answer of this form, which is JSON else where that is asked for.
    pub(super) fn calls(
        &self,
        format: ChatFormat,
        variables: &Variables,
        service: &Service,
        answer: Option<AnswerSchema>,
    ) -> Result<Calls> {
        let no_calls = |field: &str| {
            let message = "the chat template shows no form of tool calls: serve with another one (--chat-template \
                           FILE, --template NAME)";
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message).at(field)
        };
        let format = format.tools.ok_or_else(|| no_calls("tools"))?;
        let (required, parallel) = (self.required, self.parallel);
        // What has to call a tool answers with nothing else.
        let answer = answer.filter(|_| !required);
        if answer.is_some() && format == ToolFormat::Harmony {
            let message = "with the tools of this chat template it cannot be had: set tool_choice to none or required";
            return Err(ApiError::invalid("response_format", message));
        }
        let variables = self.allowed(variables)?;
        let written = write(format, &variables, parallel, answer.as_ref(), service);
        let Some(written) = written.map_err(|error| error.at("tools"))? else {
            return if required { Err(no_calls("tool_choice")) } else { Ok(Calls { begun: None, grammar: None }) };
        };
        let begun = required.then_some(written.trigger);
        Ok(Calls { begun, grammar: Some(CallsGrammar { written, format, variables, required, parallel, answer }) })
    }

    /// The variables with the tools that may be called alone.
    fn allowed(&self, variables: &Variables) -> Result<Variables> {
        let (Some(allowed), Some(tools)) = (&self.allowed, self.offered.as_ref().and_then(Value::as_array)) else {
            return Ok(variables.clone());
        };
        let is_allowed = |tool: &&Value| name_of(tool).is_some_and(|name| allowed.contains(name));
        let tools: Vec<Value> = tools.iter().filter(is_allowed).cloned().collect();
        Ok(variables.clone().with("tools", tools.into())?)
    }
}

impl CallsGrammar {
    /// Its text.
    pub(super) fn text(&self) -> &str {
        &self.written.lark
    }

    /// Compiles it. Where the parameters of a tool have a part that cannot be expressed, any JSON
    /// may stand there, unless the tool is `strict`.
    pub(super) fn compile(mut self, service: &Service, waiter: &Waiter) -> Result<Constraint> {
        let compiler = service.compiler()?;
        if let Some(answer) = &self.answer {
            // What is wrong with it is no fault of the tools.
            answer.compile(compiler).map_err(|error| error.at("response_format"))?;
        }
        let mut compiled = compiler.compile(GrammarKind::Lark, self.text());
        if matches!(compiled, Err(ConstraintError::Grammar { .. })) {
            self.widen(service, waiter)?;
            compiled = compiler.compile(GrammarKind::Lark, self.text());
        }
        let (grammar, trigger) = (compiled?, self.written.trigger);
        check_first(&grammar)?;
        Ok(if let Some(answer) = &self.answer {
            answer.follow(&grammar)
        } else if self.required {
            Constraint::new(&grammar)
        } else if self.parallel {
            Constraint::after_each(&grammar, trigger)
        } else {
            Constraint::after(&grammar, trigger)
        })
    }

    /// Leaves out of the tools' parameters what cannot be expressed.
    fn widen(&mut self, service: &Service, waiter: &Waiter) -> Result<()> {
        let tools = self.variables.get("tools").and_then(Value::as_array).cloned().unwrap_or_default();
        let widened = tools.into_iter().map(|tool| widened(tool, service.compiler()?, waiter));
        let widened = widened.collect::<Result<Vec<Value>>>()?;
        self.variables = self.variables.clone().with("tools", widened.into())?;
        if let Some(written) = write(self.format, &self.variables, self.parallel, self.answer.as_ref(), service)? {
            self.written = written;
        }
        Ok(())
    }
}

/// The grammar of calls, or of an answer that is calls or JSON.
fn write(
    format: ToolFormat,
    variables: &Variables,
    parallel: bool,
    answer: Option<&AnswerSchema>,
    service: &Service,
) -> Result<Option<CallGrammar>> {
    let (template, tokenizer) = (service.template()?, &service.tokenizer);
    let grammar = match answer {
        None => CallGrammar::new(format, variables, parallel, template, tokenizer),
        Some(answer) => CallGrammar::or_json(format, variables, parallel, template, tokenizer, &answer.schema()),
    };
    Ok(grammar?)
}

/// A tool whose parameters have no part that cannot be expressed.
fn widened(mut tool: Value, compiler: &GrammarCompiler, waiter: &Waiter) -> Result<Value> {
    let function = if tool["function"].is_object() { &mut tool["function"] } else { &mut tool };
    let name = function["name"].as_str().unwrap_or_default().to_owned();
    let is_strict = function["strict"] == true;
    let Some(parameters) = function.get_mut("parameters").filter(|parameters| parameters.is_object()) else {
        return Ok(tool);
    };
    let (wider, left_out) = compiler.widen(parameters, &mut || waiter.check().is_ok())?;
    waiter.check()?;
    for part in left_out {
        if is_strict {
            return Err(ApiError::invalid("tools", format!("the parameters of {name:?}, which is strict: {part}")));
        }
        output::warn(&format!("the tool {name:?}: {part}; any JSON may stand there"));
    }
    *parameters = wider;
    Ok(tool)
}

/// Whether a tool is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    None,
    Auto,
    Required,
}

impl Mode {
    fn of(name: &Value) -> Option<Self> {
        match name.as_str()? {
            "none" => Some(Self::None),
            "auto" => Some(Self::Auto),
            "required" => Some(Self::Required),
            _ => None,
        }
    }
}

/// Whether a tool is called, and which are allowed, where these are named.
fn choice(fields: &Fields<'_>) -> Result<(Mode, Option<BTreeSet<String>>)> {
    let expected = || {
        let what = "it must be none, auto, required, an object that names a function, or one of allowed_tools";
        fields.invalid("tool_choice", what)
    };
    let Some(choice) = fields.get("tool_choice") else { return Ok((Mode::Auto, None)) };
    let named = |tools: &[Value]| -> Option<BTreeSet<String>> {
        tools.iter().map(|tool| name_of(tool).map(str::to_owned)).collect()
    };
    let read = match choice["type"].as_str() {
        None => Mode::of(choice).map(|mode| (mode, None)),
        Some("function") => named(std::slice::from_ref(choice)).map(|names| (Mode::Required, Some(names))),
        Some("allowed_tools") => {
            let allowed = &choice["allowed_tools"];
            let names = allowed["tools"].as_array().filter(|tools| !tools.is_empty()).and_then(|tools| named(tools));
            Mode::of(&allowed["mode"]).zip(names).map(|(mode, names)| (mode, Some(names)))
        }
        Some(_) => None,
    };
    read.ok_or_else(expected)
}

/// Characters of the name of a tool at most.
const LONGEST_NAME: usize = 64;

/// That each tool is a function with a name of its own, whose parameters are those of an object.
fn check(tools: &[Value]) -> Result<()> {
    let mut names = BTreeSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let invalid = |field: &str, message: &str| Err(ApiError::invalid(format!("tools[{index}]{field}"), message));
        if !tool.is_object() {
            return invalid("", "it must be an object");
        }
        if !matches!(&tool["type"], Value::Null) && tool["type"] != "function" {
            return invalid(".type", "it must be function: there are no other tools");
        }
        let function = &tool["function"];
        if !function.is_object() {
            return invalid(".function", "it must be an object with a name");
        }
        let is_name = |name: &str| {
            (1..=LONGEST_NAME).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        let Some(name) = name_of(tool).filter(|name| is_name(name)) else {
            return invalid(".function.name", "it must be a string of 1 to 64 letters, digits, _ and -");
        };
        if !names.insert(name) {
            return invalid(".function.name", "another tool has the same");
        }
        let is_of_object = |schema: &Value| match &schema["type"] {
            Value::Null => schema.is_object(),
            kind => kind == "object",
        };
        if let Some(schema) = function.get("parameters").filter(|schema| !schema.is_null() && !is_of_object(schema)) {
            return invalid(".function.parameters", &format!("it must be the JSON schema of an object, not {schema}"));
        }
    }
    Ok(())
}

fn name_of(tool: &Value) -> Option<&str> {
    tool["function"]["name"].as_str()
}
