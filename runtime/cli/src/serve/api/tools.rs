//! Tools: which are offered, whether one has to be called, and the grammar of calls.

use std::collections::BTreeSet;

use hyper::StatusCode;
use ollm_runtime::chat::{CallGrammar, ChatFormat, Variables};
use ollm_runtime::constraint::{Constraint, GrammarKind};
use serde_json::Value;

use crate::serve::error::ApiError;
use crate::serve::service::Service;

use super::fields::Fields;

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
    pub(super) constraint: Option<Constraint>,
}

impl Tools {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self> {
        let (mode, allowed) = choice(fields)?;
        let offered = fields.list("tools")?.filter(|tools| !tools.is_empty() && mode != Mode::None);
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

    /// How calls are written in an answer of this form.
    pub(super) fn calls(&self, format: ChatFormat, variables: &Variables, service: &Service) -> Result<Calls> {
        let no_calls = |field: &str| {
            let message = "the model's chat template shows no form of tool calls";
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message).at(field)
        };
        let format = format.tools.ok_or_else(|| no_calls("tools"))?;
        let wrong = |error| ApiError::from(error).at("tools");
        let variables = self.allowed(variables)?;
        let grammar = CallGrammar::new(format, &variables, self.parallel, service.template()?, &service.tokenizer);
        let Some(CallGrammar { trigger, lark }) = grammar.map_err(wrong)? else {
            return if self.required {
                Err(no_calls("tool_choice"))
            } else {
                Ok(Calls { begun: None, constraint: None })
            };
        };
        let grammar = service.compiler()?.compile(GrammarKind::Lark, &lark);
        let grammar = grammar.map_err(|error| ApiError::from(error).at("tools"))?;
        let constraint = if self.required {
            Constraint::new(&grammar)
        } else if self.parallel {
            Constraint::after_each(&grammar, trigger)
        } else {
            Constraint::after(&grammar, trigger)
        };
        Ok(Calls { begun: self.required.then_some(trigger), constraint: Some(constraint) })
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

fn name_of(tool: &Value) -> Option<&str> {
    tool["function"]["name"].as_str()
}
