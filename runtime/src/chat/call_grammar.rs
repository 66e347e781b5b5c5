//! A grammar for tool calls in the form of a model's family: arguments follow the tools' schemas.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::error::ChatError;
use super::format::ToolFormat;
use super::message::Variables;
use super::template::ChatTemplate;
use crate::constraint::schema::normalize;
use crate::tokenizer::Tokenizer;

/// What follows the text that opens tool calls. Names of tools, keys and marks are written as
/// models write them; the arguments follow the JSON schema of the tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallGrammar {
    /// The text that opens calls.
    pub trigger: &'static str,
    /// A grammar of what follows, in the notation of Lark.
    pub lark: String,
}

/// A function that a tool is.
struct Function<'t> {
    name: &'t str,
    schema: Map<String, Value>,
}

impl CallGrammar {
    /// The grammar of the tools in `variables`, for a model that calls them in this form. Not
    /// `parallel`, it is that of one call, where the form has lists of them. None where there are
    /// no tools, or where the template shows a form that has no grammar (`<start_function_call>`).
    ///
    /// # Errors
    /// [`ChatError::Variable`] if a tool has no name, or parameters that are no schema.
    pub fn new(
        format: ToolFormat,
        variables: &Variables,
        parallel: bool,
        template: &ChatTemplate,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, ChatError> {
        let tools = variables.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let functions = tools.iter().map(Function::read).collect::<Result<Vec<_>, _>>()?;
        if functions.is_empty() || template.source().contains("<start_function_call>") {
            return Ok(None);
        }
        let mut lark = String::new();
        for (i, function) in functions.iter().enumerate() {
            // Writing to a text never fails.
            let _ = match format {
                ToolFormat::Lfm2 | ToolFormat::Gemma => function.python(i, &mut lark),
                ToolFormat::Mistral if template.source().contains("[ARGS]") => {
                    let mark = mark("[ARGS]", tokenizer);
                    writeln!(lark, "call_{i}: {} {mark} arguments_{i}", literal(function.name))
                        .and_then(|()| function.arguments(i, &mut lark))
                }
                _ => function.json(i, format, &mut lark),
            };
        }
        let calls: Vec<String> = (0..functions.len()).map(|i| format!("call_{i}")).collect();
        let _ = writeln!(lark, "call: {}", calls.join(" | "));
        let list = if parallel { r#"call (", " call)*"# } else { "call" };
        let start = match format {
            ToolFormat::Hermes => format!(r#""\n" call "\n" {}"#, mark("</tool_call>", tokenizer)),
            ToolFormat::Llama3 => "call".to_owned(),
            ToolFormat::Gemma => r#""\n" call "\n```""#.to_owned(),
            ToolFormat::Lfm2 => format!(r#""[" {list} "]" {}"#, mark("<|tool_call_end|>", tokenizer)),
            ToolFormat::Mistral if template.source().contains("[ARGS]") => "call".to_owned(),
            ToolFormat::Mistral => format!(r#"" "? "[" {list} "]""#),
        };
        Ok(Some(Self { trigger: trigger(format), lark: format!("start: {start}\n{lark}") }))
    }
}

/// What opens calls that a grammar is for. Llama 3 has a text of its own for other calls; those in
/// JSON begin with their name.
const fn trigger(format: ToolFormat) -> &'static str {
    match format {
        ToolFormat::Hermes => "<tool_call>",
        ToolFormat::Llama3 => "{\"name\":",
        ToolFormat::Gemma => "```tool_code",
        ToolFormat::Lfm2 => "<|tool_call_start|>",
        ToolFormat::Mistral => "[TOOL_CALLS]",
    }
}

/// A text in Lark.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

/// A mark of the family: a control token where it is one, and text elsewhere.
fn mark(text: &str, tokenizer: &Tokenizer) -> String {
    match tokenizer.encode(text, true).as_deref() {
        Ok(&[token]) if tokenizer.is_control(token) => format!("<[{token}]>"),
        _ => literal(text),
    }
}

impl<'t> Function<'t> {
    /// A tool is a function, or has one in the field of that name.
    fn read(tool: &'t Value) -> Result<Self, ChatError> {
        let wrong = |reason| ChatError::Variable { name: "tools".to_owned(), reason };
        let function = tool.get("function").filter(|function| function.is_object()).unwrap_or(tool);
        let name = function["name"].as_str().filter(|name| !name.is_empty());
        let mut schema: Map<String, Value> = match function.get("parameters") {
            None | Some(Value::Null) => Map::from_iter([("type".to_owned(), "object".into())]),
            Some(Value::Object(schema)) => schema.clone(),
            Some(_) => return Err(wrong("the parameters of a tool are no JSON schema")),
        };
        if schema.contains_key("properties") {
            schema.entry("type").or_insert("object".into());
            schema.entry("additionalProperties").or_insert(false.into());
        }
        let mut schema = Value::Object(schema);
        normalize(&mut schema);
        let Value::Object(schema) = schema else { return Err(wrong("the parameters of a tool are no JSON schema")) };
        Ok(Self { name: name.ok_or_else(|| wrong("a tool has no name"))?, schema })
    }

    /// `{"name": "f", "arguments": {..}}`. Of Llama 3 the text that opens it is the beginning.
    fn json(&self, i: usize, format: ToolFormat, out: &mut String) -> std::fmt::Result {
        let (begin, key) = match format {
            ToolFormat::Llama3 => ("", "parameters"),
            _ => ("{\"name\":", "arguments"),
        };
        let head = format!("{begin} {}, \"{key}\": ", literal(self.name));
        writeln!(out, "call_{i}: {} arguments_{i} \"}}\"", literal(&head))?;
        self.arguments(i, out)
    }

    fn arguments(&self, i: usize, out: &mut String) -> std::fmt::Result {
        writeln!(out, "arguments_{i}: %json {}", spaced(self.schema.clone()))
    }

    /// `f(a=1, b="x")`: the parameters in their order, those that are not required may be missing.
    fn python(&self, i: usize, out: &mut String) -> std::fmt::Result {
        let none = Map::new();
        let parameters = self.schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let required = self.schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        writeln!(out, "call_{i}: {} first_{i}_0 \")\"", literal(&format!("{}(", self.name)))?;
        for (n, (name, schema)) in parameters.iter().enumerate() {
            let value = format!("{} value_{i}_{n} more_{i}_{}", literal(&format!("{name}=")), n + 1);
            for (rule, comma) in [("first", ""), ("more", "\", \" ")] {
                write!(out, "{rule}_{i}_{n}: {comma}{value}")?;
                let skipped = format!(" | {rule}_{i}_{}", n + 1);
                writeln!(out, "{}", if required.iter().any(|required| required == name) { "" } else { &skipped })?;
            }
            match schema["type"].as_str() {
                Some("boolean") => writeln!(out, r#"value_{i}_{n}: "True" | "False""#)?,
                _ => writeln!(out, "value_{i}_{n}: %json {}", spaced(self.part(schema)))?,
            }
        }
        let end = parameters.len();
        writeln!(out, "first_{i}_{end}: \"\"\nmore_{i}_{end}: \"\"")
    }

    /// The schema of a parameter, with the definitions of the whole.
    fn part(&self, schema: &Value) -> Map<String, Value> {
        let mut part = schema.as_object().cloned().unwrap_or_default();
        for key in ["$defs", "definitions"] {
            if let Some(definitions) = self.schema.get(key) {
                part.insert(key.to_owned(), definitions.clone());
            }
        }
        part
    }
}

/// A schema whose JSON has spaces where models write them, unless it says otherwise.
fn spaced(mut schema: Map<String, Value>) -> Value {
    let spaces = json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " });
    schema.entry("x-guidance").or_insert(spaces);
    Value::Object(schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::tests::tokenizer;

    fn grammar(format: ToolFormat, tools: Value) -> Result<Option<CallGrammar>, ChatError> {
        let variables = Variables::new().with("tools", tools).unwrap();
        CallGrammar::new(format, &variables, true, &ChatTemplate::new("x").unwrap(), &tokenizer())
    }

    #[test]
    fn a_grammar_has_the_names_and_schemas_of_the_tools() {
        let tools = json!([{"type": "function", "function": {"name": "f\"x", "parameters": {"properties": {}}}}]);
        let found = grammar(ToolFormat::Hermes, tools.clone()).unwrap().unwrap();
        assert_eq!(found.trigger, "<tool_call>");
        assert!(found.lark.contains(r#""{\"name\": \"f\\\"x\", \"arguments\": " arguments_0 "}""#), "{}", found.lark);
        assert!(found.lark.contains(r#"%json {"properties":{},"type":"object","additionalProperties":false"#));
        let llama = grammar(ToolFormat::Llama3, tools).unwrap().unwrap();
        assert!(llama.lark.contains(r#"call_0: " \"f\\\"x\", \"parameters\": " arguments_0"#), "{}", llama.lark);
    }

    #[test]
    fn what_is_no_tool_is_refused() {
        assert_eq!(grammar(ToolFormat::Hermes, json!([])).unwrap(), None);
        for tools in [json!([{}]), json!([{"name": ""}]), json!([{"name": "f", "parameters": 3}])] {
            assert!(matches!(grammar(ToolFormat::Hermes, tools), Err(ChatError::Variable { .. })));
        }
    }
}
