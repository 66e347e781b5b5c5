//! The JSON schema that an answer keeps to.

use std::sync::Arc;

use ollm_runtime::constraint::{Constraint, Grammar, GrammarCompiler, GrammarKind};
use serde_json::{Map, Value, json};

use crate::serve::error::ApiError;

use super::fields::Fields;

type Result<T> = std::result::Result<T, ApiError>;

/// The JSON schema of an answer.
pub(crate) struct AnswerSchema {
    schema: Value,
    /// The text that the answer begins behind; empty: it begins at once.
    behind: &'static str,
}

impl AnswerSchema {
    /// The schema that a request asks for, if there is one. It stands in `json_schema`, as OpenAI
    /// has it, or in the format itself, as others do.
    pub(super) fn read(fields: &Fields<'_>, behind: &'static str) -> Result<Option<Self>> {
        let Some(format) = fields.object("response_format")? else { return Ok(None) };
        let schema = match format.text("type")? {
            Some("text") => return Ok(None),
            Some("json_object") => format.get("schema").cloned().unwrap_or_else(|| json!({ "type": "object" })),
            Some("json_schema") => match format.object("json_schema")? {
                Some(inner) => inner.required("schema")?.clone(),
                None => format.get("schema").ok_or_else(|| format.invalid("json_schema", "it is missing"))?.clone(),
            },
            _ => return Err(format.invalid("type", "it must be text, json_object or json_schema")),
        };
        Ok(Some(Self { schema, behind }))
    }

    /// The schema as an object: one that is true allows all, as an empty one does.
    pub(super) fn schema(&self) -> Map<String, Value> {
        self.schema.as_object().cloned().unwrap_or_default()
    }

    /// Its text.
    pub(super) fn text(&self) -> String {
        self.schema.to_string()
    }

    /// The grammar of the answer alone.
    pub(super) fn compile(&self, compiler: &GrammarCompiler) -> Result<Arc<Grammar>> {
        Ok(compiler.compile(GrammarKind::JsonSchema, &self.text())?)
    }

    /// What an answer follows from its beginning on.
    pub(super) fn follow(&self, grammar: &Arc<Grammar>) -> Constraint {
        if self.behind.is_empty() { Constraint::new(grammar) } else { Constraint::after(grammar, self.behind) }
    }
}
