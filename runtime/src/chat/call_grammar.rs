//! A grammar for tool calls in the form of a model's family: arguments follow the tools' schemas.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::error::ChatError;
use super::format::ToolFormat;
use super::forms::{Body, CallForm, JsonBody, NamedBody, TagBody};
use super::message::Variables;
use super::template::ChatTemplate;
use super::tools::{Tool, fields, is_text, resolved};
use crate::json_schema::separators;
use crate::tokenizer::Tokenizer;

/// How deep values outside of JSON follow their schema; what is deeper is any value.
const MAX_LEVELS: usize = 16;

/// What follows the text that opens tool calls. Names of tools, keys and marks are written as
/// models write them; the arguments follow the JSON schema of the tool. Where a form writes texts
/// without quotes of JSON, a text may be any one that does not contain what ends it, or one of
/// those that the schema names: its `pattern` and lengths do not count there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallGrammar {
    /// The text that opens calls.
    pub trigger: &'static str,
    /// A grammar of what follows, in the notation of Lark.
    pub lark: String,
}

impl CallGrammar {
    /// The grammar of the tools in `variables`, for a model that calls them in this form. Not
    /// `parallel`, it is that of one call, where the form has lists of them. None where there are
    /// no tools.
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
        Self::write(format, variables, parallel, template, tokenizer, None)
    }

    /// As [`CallGrammar::new`], for a whole answer: calls, the text that opens them among it, or
    /// JSON that follows the schema `answer`.
    ///
    /// # Errors
    /// As [`CallGrammar::new`].
    pub fn or_json(
        format: ToolFormat,
        variables: &Variables,
        parallel: bool,
        template: &ChatTemplate,
        tokenizer: &Tokenizer,
        answer: &Map<String, Value>,
    ) -> Result<Option<Self>, ChatError> {
        Self::write(format, variables, parallel, template, tokenizer, Some(answer))
    }

    fn write(
        format: ToolFormat,
        variables: &Variables,
        parallel: bool,
        template: &ChatTemplate,
        tokenizer: &Tokenizer,
        answer: Option<&Map<String, Value>>,
    ) -> Result<Option<Self>, ChatError> {
        let tools = Tool::list(variables).collect::<Result<Vec<_>, _>>()?;
        if tools.is_empty() {
            return Ok(None);
        }
        let form = format.constrained(template.source());
        let mut lark = Lark { tokenizer, rules: String::new(), count: 0 };
        let start = match answer {
            None => lark.form(form, &tools, parallel, template.source()),
            Some(answer) => {
                let calls = lark.opened(form, &tools, parallel, template.source());
                format!("{} | {calls}", lark.json(answer))
            }
        };
        Ok(Some(Self { trigger: form.open, lark: format!("start: {start}\n{}", lark.rules) }))
    }
}

/// Rules of a grammar. What makes a part of one gives what stands for it in another rule.
struct Lark<'t> {
    tokenizer: &'t Tokenizer,
    rules: String,
    /// How many rules there are.
    count: usize,
}

/// A text in Lark.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text in a regular expression.
fn pattern(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        let _ = if c.is_ascii_alphanumeric() { write!(out, "{c}") } else { write!(out, "\\x{{{:x}}}", u32::from(c)) };
        out
    })
}

impl Lark<'_> {
    /// Adds a rule; gives its name.
    fn rule(&mut self, body: &str) -> String {
        self.named("r", "", body)
    }

    fn named(&mut self, prefix: &str, attributes: &str, body: &str) -> String {
        let name = format!("{prefix}_{}", self.count);
        self.count += 1;
        // Writing to a text never fails.
        let _ = writeln!(self.rules, "{name}{attributes}: {body}");
        name
    }

    /// A text as the model writes it: its control tokens, and text elsewhere.
    fn text(&self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let tokens = self.tokenizer.encode(text, true).unwrap_or_default();
        let (mut parts, mut rest) = (Vec::new(), text);
        for token in tokens.into_iter().filter(|&token| self.tokenizer.is_control(token)) {
            let mark = self.tokenizer.decode(&[token]);
            let Some((before, after)) = rest.split_once(&mark) else { continue };
            if !before.is_empty() {
                parts.push(literal(before));
            }
            parts.push(format!("<[{token}]>"));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(literal(rest));
        }
        parts.join(" ")
    }

    fn json(&mut self, schema: &Map<String, Value>) -> String {
        let body = format!("%json {}", spaced(schema.clone()));
        self.rule(&body)
    }

    /// Any text that does not contain `end`, without its white space; then `end`.
    fn free(&mut self, end: &str) -> String {
        let close = self.text(end);
        let mark = pattern(end.trim());
        let body = format!("/(?s:.*)/ & ~/(?s:.*){mark}(?s:.*)/");
        let free = self.named("TEXT", "", &body);
        if close.starts_with('<') {
            // A control token ends the text by itself.
            return format!("{free} {close}");
        }
        let (first, rest) = close.split_once(" <[").map_or((close.as_str(), None), |(text, rest)| (text, Some(rest)));
        let lazy = self.named("text", "[lazy]", &format!("{free} {first}"));
        rest.map_or(lazy.clone(), |rest| format!("{lazy} <[{rest}"))
    }

    /// What follows the opening text of a form.
    fn form(&mut self, form: &CallForm, tools: &[Tool], parallel: bool, template: &str) -> String {
        let calls: Vec<String> = tools.iter().map(|tool| self.call(form, tool, template)).collect();
        let call = self.rule(&calls.join(" | "));
        let close = self.text(form.close);
        match &form.body {
            Body::JsonOrNamed(_, named) if template.contains(named.arguments) => call,
            Body::JsonOrNamed(json, _) => format!("\" \"? {}", self.list(json.list, &call, parallel)),
            Body::Json(json) => format!("{} {close}", self.list(json.list, &call, parallel)),
            Body::Python { brackets: true } => {
                format!("{} {close}", self.list(("[", Some(", "), "]"), &call, parallel))
            }
            Body::Python { brackets: false } => format!("\"\\n\" {call} \"\\n\" {close}"),
            Body::Braces { .. } | Body::Tags(_) | Body::Named(_) => format!("{call} {close}"),
            Body::PythonTag => call,
        }
    }

    /// Calls with the text that opens them.
    fn opened(&mut self, form: &CallForm, tools: &[Tool], parallel: bool, template: &str) -> String {
        // What opens them is the beginning of their JSON: next to other JSON, it is all of one kind.
        if let (Body::Json(json), true) = (&form.body, form.open.starts_with('{')) {
            let calls: Vec<String> = tools.iter().map(|tool| self.json(&schema_of_call(json, tool))).collect();
            return calls.join(" | ");
        }
        let calls = self.form(form, tools, parallel, template);
        let calls = self.rule(&format!("{} {calls}", self.text(form.open)));
        if parallel && !form.close.is_empty() { format!("{calls} (\"\\n\"? {calls})*") } else { calls }
    }

    fn list(&self, (open, between, close): (&str, Option<&str>, &str), call: &str, parallel: bool) -> String {
        let more = match between {
            Some(between) if parallel => format!("({} {call})*", literal(between)),
            _ => String::new(),
        };
        format!("{} {call} {more} {}", self.text(open), self.text(close))
    }

    /// A call of one tool.
    fn call(&mut self, form: &CallForm, tool: &Tool, template: &str) -> String {
        let body = match &form.body {
            Body::JsonOrNamed(_, named) if template.contains(named.arguments) => self.named_call(named, tool),
            Body::Named(named) => self.named_call(named, tool),
            Body::Json(json) | Body::JsonOrNamed(json, _) => self.json_call(json, form.open, tool),
            Body::PythonTag => self.json_call(&JSON_OF_PYTHON_TAG, form.open, tool),
            Body::Python { .. } => self.python_call(tool),
            Body::Braces { quote } => {
                let arguments = self.object(&tool.schema, &tool.schema, quote, MAX_LEVELS);
                format!("{} {arguments}", literal(&format!("call:{}", tool.name)))
            }
            Body::Tags(tags) => self.tags(tags, tool),
        };
        self.rule(&body)
    }

    /// `{"name": "f", "arguments": {..}}`, of which the opening text may be the beginning.
    fn json_call(&mut self, form: &JsonBody, open: &str, tool: &Tool) -> String {
        let key = |key: &str| format!("\"{key}\":");
        let name = format!(" {}, {} ", literal(&tool.name), key(form.arguments));
        let arguments = self.json(&tool.schema);
        let head = match form.number {
            _ if open.ends_with(':') => literal(&name),
            None => literal(&format!("{{{}{name}", key(form.name))),
            Some(number) => {
                let before = literal(&format!("{{{} \"", key(number)));
                format!("{before} /[0-9]{{1,3}}/ {}", literal(&format!("\", {}{name}", key(form.name))))
            }
        };
        format!("{head} {arguments} \"}}\"")
    }

    /// `f[ARGS]{..}`.
    fn named_call(&mut self, form: &NamedBody, tool: &Tool) -> String {
        let heads: Vec<String> = form.heads.iter().map(|head| self.text(head)).collect();
        let head = self.rule(&heads.join(" | "));
        format!("{} {head} {}", literal(&tool.name), self.json(&tool.schema))
    }

    /// `f(a=1, b="x")`.
    fn python_call(&mut self, tool: &Tool) -> String {
        let fields = tool.parameters().map(|(name, schema, required)| {
            let value = match schema["type"].as_str() {
                Some("boolean") => "\"True\" | \"False\"".to_owned(),
                _ => format!("%json {}", spaced(with_definitions(schema, &tool.schema))),
            };
            let value = self.rule(&value);
            (format!("{} {value}", literal(&format!("{name}="))), required)
        });
        let fields: Vec<(String, bool)> = fields.collect();
        format!("{} {} \")\"", literal(&format!("{}(", tool.name)), self.sequence(&fields, "\", \""))
    }

    /// Fields in their order, of which those that are not required may be missing.
    fn sequence(&mut self, fields: &[(String, bool)], separator: &str) -> String {
        let (mut first, mut more) = (self.rule("\"\""), self.rule("\"\""));
        for (field, required) in fields.iter().rev() {
            let skipped = |rest: &str| if *required { String::new() } else { format!(" | {rest}") };
            let begins = format!("{field} {more}{}", skipped(&first));
            let follows = format!("{separator} {field} {more}{}", skipped(&more));
            (first, more) = (self.rule(&begins), self.rule(&follows));
        }
        first
    }

    /// Arguments one by one between tags.
    fn tags(&mut self, form: &TagBody, tool: &Tool) -> String {
        let [open, close] = form.name;
        let name = [self.text(open), literal(&tool.name), self.text(close)].join(" ");
        let parameters: Vec<(String, Value, bool)> =
            tool.parameters().map(|(name, schema, required)| (name.to_owned(), schema.clone(), required)).collect();
        let fields: Vec<(String, bool)> = parameters
            .iter()
            .map(|(name, schema, required)| {
                let key = [self.text(form.key[0]), literal(name), self.text(form.key[1])].join(" ");
                let value = self.tag_value(form.value, schema, tool);
                (self.rule(&format!("{key} {value}")), *required)
            })
            .collect();
        format!("{name} {} {}", self.sequence(&fields, ""), self.text(form.end))
    }

    fn tag_value(&mut self, [open, close]: [&str; 2], schema: &Value, tool: &Tool) -> String {
        let before = self.text(open);
        if let Some(texts) = texts_of(schema, &tool.schema) {
            let texts = texts.into_iter().map(literal).collect::<Vec<_>>().join(" | ");
            return format!("{before} ({texts}) {}", self.text(close));
        }
        if is_text(schema, &tool.schema) {
            return format!("{before} {}", self.free(close));
        }
        let value = self.json(&with_definitions(schema, &tool.schema));
        format!("{before} {value} {}", self.text(close))
    }

    /// `{a:1,b:[..]}`, with this text for the quotes.
    fn object(&mut self, schema: &Map<String, Value>, root: &Map<String, Value>, quote: &str, levels: usize) -> String {
        let parts: Vec<(String, Value, bool)> =
            fields(schema).map(|(name, schema, required)| (name.to_owned(), schema.clone(), required)).collect();
        let each: Vec<(String, bool)> = parts
            .iter()
            .map(|(name, schema, required)| {
                let value = self.braced(schema, root, quote, levels);
                (format!("{} {value}", literal(&format!("{name}:"))), *required)
            })
            .collect();
        format!("\"{{\" {} \"}}\"", self.sequence(&each, "\",\""))
    }

    /// A value outside of JSON, by its schema.
    fn braced(&mut self, schema: &Value, root: &Map<String, Value>, quote: &str, levels: usize) -> String {
        let schema = resolved(schema, root);
        let Some(inner) = levels.checked_sub(1) else { return self.any(quote) };
        let mark = self.text(quote);
        if let Some(values) =
            schema["enum"].as_array().map(Vec::as_slice).or(schema.get("const").map(std::slice::from_ref))
        {
            let value = |value: &Value| match value {
                Value::String(text) => format!("{mark} {} {mark}", literal(text)),
                value => literal(&value.to_string()),
            };
            return self.rule(&values.iter().map(value).collect::<Vec<_>>().join(" | "));
        }
        if let Some(choices) = ["anyOf", "oneOf"].iter().find_map(|key| schema[*key].as_array()) {
            let each: Vec<String> = choices.iter().map(|choice| self.braced(choice, root, quote, inner)).collect();
            return self.rule(&each.join(" | "));
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return self.any(quote),
        };
        let each: Vec<String> = kinds
            .into_iter()
            .map(|kind| match kind {
                "string" => format!("{mark} {}", self.free(quote)),
                "array" => {
                    let item = match schema.get("items") {
                        Some(item) => self.braced(item, root, quote, inner),
                        None => self.any(quote),
                    };
                    let least = schema["minItems"].as_u64().unwrap_or(0);
                    items(&item, usize::try_from(least).unwrap_or(0))
                }
                "object" if schema["properties"].is_object() => {
                    let empty = Map::new();
                    self.object(schema.as_object().unwrap_or(&empty), root, quote, inner)
                }
                "object" => self.any_object(quote),
                kind => {
                    let mut of_kind = with_definitions(schema, root);
                    of_kind.insert("type".to_owned(), kind.into());
                    self.json(&of_kind)
                }
            })
            .collect();
        self.rule(&each.join(" | "))
    }

    fn any_object(&mut self, quote: &str) -> String {
        let value = self.any(quote);
        format!(
            "\"{{\" (/[A-Za-z_][A-Za-z0-9_]*/ \":\" {value} (\",\" /[A-Za-z_][A-Za-z0-9_]*/ \":\" {value})*)? \"}}\""
        )
    }

    /// Any value without structure.
    fn any(&mut self, quote: &str) -> String {
        let text = format!("{} {}", self.text(quote), self.free(quote));
        let scalar = self.json(&Map::from_iter([("type".to_owned(), json!(["number", "boolean", "null"]))]));
        self.rule(&format!("{text} | {scalar}"))
    }
}

/// A list of at least so many items.
fn items(item: &str, least: usize) -> String {
    let first = format!("{item} {}", format!("\",\" {item} ").repeat(least.saturating_sub(1)));
    let all = format!("{first} (\",\" {item})*");
    if least == 0 { format!("\"[\" ({all})? \"]\"") } else { format!("\"[\" {all} \"]\"") }
}

/// The calls in JSON that may follow a tag of Python.
const JSON_OF_PYTHON_TAG: JsonBody =
    JsonBody { name: "name", arguments: "parameters", number: None, list: ("", None, "") };

/// The texts that a schema names, if it names all of them.
fn texts_of<'s>(schema: &'s Value, root: &'s Map<String, Value>) -> Option<Vec<&'s str>> {
    let schema = resolved(schema, root);
    match (schema.get("const"), schema["enum"].as_array()) {
        (Some(text), _) => Some(vec![text.as_str()?]),
        (None, Some(list)) => list.iter().map(Value::as_str).collect(),
        (None, None) => None,
    }
}

/// The schema of a part, with the definitions of the whole.
fn with_definitions(schema: &Value, root: &Map<String, Value>) -> Map<String, Value> {
    let mut part = schema.as_object().cloned().unwrap_or_default();
    for key in ["$defs", "definitions"] {
        if let Some(definitions) = root.get(key) {
            part.insert(key.to_owned(), definitions.clone());
        }
    }
    part
}

/// The schema of a call in JSON.
fn schema_of_call(form: &JsonBody, tool: &Tool) -> Map<String, Value> {
    let call = json!({
        "type": "object",
        "properties": { form.name: { "const": tool.name }, form.arguments: tool.schema },
        "required": [form.name, form.arguments],
        "additionalProperties": false,
    });
    with_definitions(&call, &tool.schema)
}

/// A schema whose JSON has spaces where models write them, unless it says otherwise.
fn spaced(mut schema: Map<String, Value>) -> Value {
    schema.entry("x-guidance").or_insert_with(separators);
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
        assert!(found.lark.contains(r#""{\"name\": \"f\\\"x\", \"arguments\": " r_0 "}""#), "{}", found.lark);
        assert!(found.lark.contains(r#"%json {"properties":{},"type":"object","additionalProperties":false"#));
        let llama = grammar(ToolFormat::Llama3, tools).unwrap().unwrap();
        assert!(llama.lark.contains(r#": " \"f\\\"x\", \"parameters\": " r_0"#), "{}", llama.lark);
    }

    #[test]
    fn what_is_no_tool_is_refused() {
        assert_eq!(grammar(ToolFormat::Hermes, json!([])).unwrap(), None);
        for tools in [json!([{}]), json!([{"name": ""}]), json!([{"name": "f", "parameters": 3}])] {
            assert!(matches!(grammar(ToolFormat::Hermes, tools), Err(ChatError::Variable { .. })));
        }
    }
}
