//! The tools that a model is offered: their names, and the JSON schemas of their parameters.

use serde_json::{Map, Value};

use crate::json::json_from_str;
use crate::json_schema::prepare;

use super::error::ChatError;
use super::message::Variables;

/// How deep references of a schema are followed.
const MAX_REFERENCES: usize = 16;

/// A function that a tool is.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) name: String,
    /// That of its parameters.
    pub(super) schema: Map<String, Value>,
}

impl Tool {
    /// A tool is a function, or has one in the field of that name.
    pub(super) fn read(tool: &Value) -> Result<Self, ChatError> {
        let wrong = |reason| ChatError::Variable { name: "tools".to_owned(), reason };
        let function = tool.get("function").filter(|function| function.is_object()).unwrap_or(tool);
        let name = function["name"].as_str().filter(|name| !name.is_empty());
        let mut schema: Map<String, Value> = match function.get("parameters") {
            // It has no arguments.
            None | Some(Value::Null) => Map::from_iter([("properties".to_owned(), Map::new().into())]),
            Some(Value::Object(schema)) => schema.clone(),
            Some(_) => return Err(wrong("the parameters of a tool are no JSON schema")),
        };
        if schema.contains_key("properties") || schema.is_empty() {
            schema.entry("type").or_insert("object".into());
        }
        if schema.contains_key("properties") {
            schema.entry("additionalProperties").or_insert(false.into());
        }
        let mut schema = Value::Object(schema);
        prepare(&mut schema);
        let Value::Object(schema) = schema else { return Err(wrong("the parameters of a tool are no JSON schema")) };
        Ok(Self { name: name.ok_or_else(|| wrong("a tool has no name"))?.to_owned(), schema })
    }

    /// The tools of a conversation.
    pub(super) fn list(variables: &Variables) -> impl Iterator<Item = Result<Self, ChatError>> {
        variables.get("tools").and_then(Value::as_array).into_iter().flatten().map(Self::read)
    }

    /// The parameters with their schemas, and whether they are required.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&str, &Value, bool)> {
        fields(&self.schema)
    }

    /// What an argument is that was written without quotes: JSON, unless it is a text by the schema
    /// or reads as none. Python's words count where the schema has such a value.
    pub(super) fn value(tool: Option<&Self>, parameter: &str, text: &str) -> Value {
        let schema = tool.and_then(|tool| tool.schema.get("properties")?.get(parameter));
        let kinds = schema.zip(tool).map(|(schema, tool)| kinds(schema, &tool.schema, MAX_REFERENCES));
        let kinds = kinds.unwrap_or_default();
        let fits = |value: &Value| match value {
            Value::String(_) => false,
            value => kinds.is_empty() || kinds.iter().any(|kind| is_kind(value, kind)),
        };
        let word = match text.trim() {
            _ if kinds.is_empty() => None,
            "True" => Some(true.into()),
            "False" => Some(false.into()),
            "None" => Some(Value::Null),
            _ => None,
        };
        let value = word.or_else(|| json_from_str(text).ok()).filter(fits);
        value.unwrap_or_else(|| text.into())
    }

    /// Whether a parameter may be a text.
    pub(super) fn may_be_text(tool: Option<&Self>, parameter: &str) -> bool {
        let schema = tool.and_then(|tool| Some((tool.schema.get("properties")?.get(parameter)?, tool)));
        schema.is_none_or(|(schema, tool)| is_text(schema, &tool.schema))
    }
}

/// The fields of an object with their schemas, and whether they are required.
pub(super) fn fields(schema: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value, bool)> {
    let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties.map(|(name, schema)| (name.as_str(), schema, required.iter().any(|required| required == name)))
}

/// Whether a value of this schema may be a text.
pub(super) fn is_text(schema: &Value, root: &Map<String, Value>) -> bool {
    let kinds = kinds(schema, root, MAX_REFERENCES);
    kinds.is_empty() || kinds.contains(&"string")
}

/// A schema, or what it refers to.
pub(super) fn resolved<'s>(schema: &'s Value, root: &'s Map<String, Value>) -> &'s Value {
    let path = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/"));
    let target = path.and_then(|path| {
        let mut parts = path.split('/');
        let first = root.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    });
    target.unwrap_or(schema)
}

/// The types that values of a schema may have; none: any.
pub(super) fn kinds<'s>(schema: &'s Value, root: &'s Map<String, Value>, levels: usize) -> Vec<&'s str> {
    let schema = resolved(schema, root);
    if let Some(kind) = schema["type"].as_str() {
        return vec![kind];
    }
    if let Some(list) = schema["type"].as_array() {
        return list.iter().filter_map(Value::as_str).collect();
    }
    if let Some(value) = schema.get("const") {
        return vec![kind_of(value)];
    }
    if let Some(list) = schema["enum"].as_array() {
        return list.iter().map(kind_of).collect();
    }
    let choices = ["anyOf", "oneOf"].iter().find_map(|key| schema[*key].as_array());
    let (Some(choices), Some(levels)) = (choices, levels.checked_sub(1)) else { return Vec::new() };
    let each: Vec<Vec<&str>> = choices.iter().map(|choice| kinds(choice, root, levels)).collect();
    if each.iter().any(Vec::is_empty) { Vec::new() } else { each.concat() }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_kind(value: &Value, kind: &str) -> bool {
    kind_of(value) == kind || (kind == "integer" && value.is_number())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_without_quotes_are_what_the_schema_says() {
        let tool = Tool::read(&json!({"name": "f", "parameters": {
            "properties": {
                "s": {"type": "string"}, "i": {"type": "integer"}, "b": {"type": "boolean"},
                "o": {"anyOf": [{"type": "number"}, {"type": "null"}]}, "r": {"$ref": "#/$defs/n"},
                "e": {"enum": ["1", "2"]}, "m": {"type": ["string", "null"]}, "any": {}
            },
            "$defs": {"n": {"type": "array"}}
        }}));
        let tool = tool.unwrap();
        for (name, text, value) in [
            ("s", "5", json!("5")),
            ("s", "\"5\"", json!("\"5\"")),
            ("s", "null", json!("null")),
            ("i", "5", json!(5)),
            ("i", "five", json!("five")),
            ("b", "True", json!(true)),
            ("b", "false", json!(false)),
            ("o", "None", json!(null)),
            ("o", "2.5", json!(2.5)),
            ("r", "[1]", json!([1])),
            ("e", "1", json!("1")),
            ("m", "None", json!(null)),
            ("m", "12", json!("12")),
            ("any", "12", json!(12)),
            ("any", "True", json!("True")),
            ("unknown", "{\"a\": 1}", json!({"a": 1})),
        ] {
            assert_eq!(Tool::value(Some(&tool), name, text), value, "{name} {text}");
        }
        assert_eq!(Tool::value(None, "x", "a b"), json!("a b"));
        assert!(Tool::may_be_text(Some(&tool), "m") && !Tool::may_be_text(Some(&tool), "r"));
    }
}
