//! The messages of a conversation, and what a template is given beside them.

use serde_json::{Map, Value, json};

use crate::json::{check_integers, json_from_str};

use super::error::ChatError;

/// One message of a conversation: a JSON object with a `role`, and with any other fields that the
/// template knows. These are usual:
///
/// | field | value |
/// |---|---|
/// | `role` | `system`, `user`, `assistant`, `tool`, or what else the template knows |
/// | `content` | a string, `null`, or a list of parts such as `{"type": "text", "text": "Hi"}` |
/// | `reasoning_content` | what the assistant thought before its answer |
/// | `tool_calls` | a list of `{"type": "function", "function": {"name": .., "arguments": {..}}}` |
/// | `tool_call_id`, `name` | of a tool's result: the call that it answers, and the tool |
///
/// # Examples
/// ```
/// use ollm_runtime::chat::Message;
/// use serde_json::json;
///
/// let result = Message::new("tool", "21 °C").with("name", json!("weather"));
/// let same = Message::from_json(json!({"role": "tool", "content": "21 °C", "name": "weather"}))?;
/// assert_eq!(result, same);
/// # Ok::<(), ollm_runtime::chat::ChatError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    fields: Map<String, Value>,
}

impl Message {
    /// A message of text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let fields = [("role", role.into()), ("content", content.into())];
        Self { fields: fields.map(|(name, text)| (name.to_owned(), Value::String(text))).into_iter().collect() }
    }

    /// The same message with one more field, or another value of it.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: Value) -> Self {
        self.fields.insert(field.into(), value);
        self
    }

    /// A message from a JSON object. The arguments of a tool call that are a string with a JSON
    /// object in it, as OpenAI's API has them, become that object, as templates expect it.
    ///
    /// # Errors
    /// [`ChatError::Message`], with index 0, if `role` is not a string or `content` not what the
    /// table above says.
    pub fn from_json(value: Value) -> Result<Self, ChatError> {
        Self::read(0, value)
    }

    /// The messages of a JSON text: a list of objects.
    ///
    /// # Errors
    /// [`ChatError::Json`] if it is not a list, [`ChatError::Message`] as [`Message::from_json`].
    pub fn list_from_json(text: &str) -> Result<Vec<Self>, ChatError> {
        Self::some_from_json(text, false)
    }

    /// As [`Message::list_from_json`], where the text may also be one message alone: an object.
    ///
    /// # Errors
    /// As [`Message::list_from_json`].
    pub fn one_or_list_from_json(text: &str) -> Result<Vec<Self>, ChatError> {
        Self::some_from_json(text, true)
    }

    fn some_from_json(text: &str, may_be_one: bool) -> Result<Vec<Self>, ChatError> {
        let wrong = |reason| ChatError::Json { what: "the messages", reason };
        let list = match json_from_str(text).map_err(wrong)? {
            Value::Array(list) => list,
            one @ Value::Object(_) if may_be_one => vec![one],
            _ => return Err(wrong("it is no list of objects".to_owned())),
        };
        list.into_iter().enumerate().map(|(index, value)| Self::read(index, value)).collect()
    }

    fn read(index: usize, value: Value) -> Result<Self, ChatError> {
        let wrong = |reason: &str| ChatError::Message { index, reason: reason.to_owned() };
        let Value::Object(mut fields) = value else { return Err(wrong("it is no JSON object")) };
        if !fields.get("role").is_some_and(Value::is_string) {
            return Err(wrong("its role is no string"));
        }
        let fits = match fields.get("content") {
            None | Some(Value::Null | Value::String(_)) => true,
            Some(Value::Array(parts)) => parts.iter().all(|part| part["type"].is_string()),
            Some(_) => false,
        };
        if !fits {
            return Err(wrong("its content is no string, null or list of parts, each an object with a type"));
        }
        for call in fields.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            let call = if call["function"].is_object() { &mut call["function"] } else { call };
            parse_arguments(call).map_err(|reason| wrong(&reason))?;
        }
        Ok(Self { fields })
    }

    /// Who speaks.
    pub fn role(&self) -> &str {
        self.fields.get("role").and_then(Value::as_str).unwrap_or_default()
    }

    /// A field, if there is one of that name.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field)
    }

    /// All fields.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.fields
    }

    pub(super) fn into_json(self) -> Map<String, Value> {
        self.fields
    }

    /// The same message with another text in its content.
    pub(super) fn said_otherwise(&self) -> Self {
        const TEXTS: [&str; 2] = ["q7f3a", "w9e"];
        let other = |text: &str| {
            let differs = |other: &&str| other.len() != text.len() && !text.starts_with(other);
            TEXTS.into_iter().find(differs).unwrap_or_default()
        };
        let content = match self.get("content") {
            Some(Value::String(text)) => other(text).into(),
            Some(Value::Array(parts)) => {
                let part = |part: &Value| match part["text"].as_str() {
                    Some(text) => {
                        let mut part = part.clone();
                        part["text"] = other(text).into();
                        part
                    }
                    None => part.clone(),
                };
                parts.iter().map(part).collect()
            }
            _ => return self.clone(),
        };
        self.clone().with("content", content)
    }

    /// The parts of the content, if it is a list of them.
    pub(super) fn parts(&self) -> Option<&[Value]> {
        self.fields.get("content").and_then(Value::as_array).map(Vec::as_slice)
    }

    /// The same message with its text as a part; for templates that know parts alone.
    pub(super) fn split(&self) -> Self {
        let Some(Value::String(text)) = self.get("content") else { return self.clone() };
        self.clone().with("content", json!([{ "type": "text", "text": text }]))
    }

    /// The same message with its parts joined to one text, a line break between two; for templates
    /// that do not know parts.
    pub(super) fn joined(&self, index: usize) -> Result<Self, ChatError> {
        let Some(parts) = self.parts() else { return Ok(self.clone()) };
        let text = |part: &Value| part["text"].as_str().filter(|_| part["type"] == "text").map(str::to_owned);
        let refuse = |part: &Value| {
            let reason = format!("a part of type {}: the chat template takes text alone", part["type"]);
            ChatError::Message { index, reason }
        };
        let texts = parts.iter().map(|part| text(part).ok_or_else(|| refuse(part)));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        Ok(self.clone().with("content", texts.join("\n").into()))
    }
}

/// The arguments of a call that are an object of JSON in a text become that object.
fn parse_arguments(call: &mut Value) -> Result<(), String> {
    let Some(text) = call.get("arguments").and_then(Value::as_str) else { return Ok(()) };
    if let Ok(Value::Object(arguments)) = serde_json::from_str(text) {
        check_integers(text)?;
        call["arguments"] = Value::Object(arguments);
    }
    Ok(())
}

/// What a template is given beside the messages: JSON values by name.
///
/// Which names mean something is the template's: `tools` (a list of JSON schemas of functions),
/// `documents`, `enable_thinking` and others. Two are of this library. `chat_template` chooses the
/// template, by the name of one of the model file's or as the text of another: see
/// [`ChatTemplate::chosen`](super::ChatTemplate::chosen). `strftime_now`, a date
/// (`"2026-11-30"`) or a time (`"2026-11-30T08:15:00"`), is the moment that the template's function
/// of that name tells. Without it there is no such function, so that the same conversation is the
/// same text on every day.
///
/// # Examples
/// ```
/// use ollm_runtime::chat::Variables;
/// use serde_json::json;
///
/// let variables = Variables::new().with("enable_thinking", json!(false))?;
/// assert_eq!(variables, Variables::from_json(r#"{"enable_thinking": false}"#)?);
/// # Ok::<(), ollm_runtime::chat::ChatError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    values: Map<String, Value>,
}

impl Variables {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same variables and one more, or with another value.
    ///
    /// # Errors
    /// [`ChatError::Variable`] for a name that the conversation itself has (`messages`,
    /// `add_generation_prompt`), and for `tools` that are neither null nor a list of objects.
    pub fn with(mut self, name: impl Into<String>, value: Value) -> Result<Self, ChatError> {
        let name = name.into();
        let objects = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_object));
        let reason = match name.as_str() {
            "messages" | "add_generation_prompt" => Some("it is the conversation's own"),
            "tools" if !value.is_null() && !objects(&value) => Some("it is no list of JSON objects"),
            _ => None,
        };
        if let Some(reason) = reason {
            return Err(ChatError::Variable { name, reason });
        }
        self.values.insert(name, value);
        Ok(self)
    }

    /// The variables of a JSON text: an object.
    ///
    /// # Errors
    /// [`ChatError::Json`] if it is none; else as [`Variables::with`].
    pub fn from_json(text: &str) -> Result<Self, ChatError> {
        let wrong = |reason| ChatError::Json { what: "the template variables", reason };
        let Value::Object(values) = json_from_str(text).map_err(wrong)? else {
            return Err(wrong("it is no object".to_owned()));
        };
        values.into_iter().try_fold(Self::new(), |variables, (name, value)| variables.with(name, value))
    }

    /// A variable, if there is one of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Whether the model is offered tools.
    pub fn has_tools(&self) -> bool {
        self.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty())
    }

    /// All of them.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.values
    }
}

/// A conversation whose rendering tells whether a template writes the content of a role: see
/// `template`.
pub(super) fn probes(role: &str, text: &str, parts: bool) -> Vec<Message> {
    let probe = Message::new(role, text);
    let probe = if parts { probe.split() } else { probe };
    let user = || Message::new("user", "x");
    match role {
        "user" => vec![probe],
        "system" | "developer" => vec![probe, if parts { user().split() } else { user() }],
        _ => vec![if parts { user().split() } else { user() }, probe],
    }
}

/// The longest word that is said in a message, if one is.
pub(super) fn said(message: &Message) -> Option<&str> {
    fn longest(text: &str) -> Option<&str> {
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).max_by_key(|word| word.len())
    }
    match message.get("content")? {
        Value::String(text) => longest(text),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| longest(part["text"].as_str()?)).max_by_key(|word| word.len())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(value: Value) -> String {
        Message::from_json(value).unwrap_err().to_string()
    }

    #[test]
    fn integers_of_messages_and_of_arguments_are_of_64_bits() {
        let wide = r#"{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": 99999999999999999999}"}}]}"#;
        for list in [format!("[{wide}]"), "[{\"role\": \"user\", \"n\": 99999999999999999999}]".to_owned()] {
            let error = Message::list_from_json(&list).unwrap_err().to_string();
            assert!(error.contains("99999999999999999999 is an integer of more than 64 bits"), "{error}");
        }
    }

    #[test]
    fn a_message_has_a_role_and_a_content_of_its_kinds() {
        for content in [json!("x"), json!(null), json!([]), json!([{"type": "image", "url": "u"}])] {
            assert!(Message::from_json(json!({"role": "user", "content": content})).is_ok(), "{content}");
        }
        assert_eq!(Message::from_json(json!({"role": "assistant", "x": 1})).unwrap().get("x"), Some(&json!(1)));
        assert!(refused(json!("user")).contains("no JSON object"));
        assert!(refused(json!({"content": "x"})).contains("role"));
        assert!(refused(json!({"role": 1})).contains("role"));
        for content in [json!(1), json!({}), json!(["x"]), json!([{"text": "x"}])] {
            assert!(refused(json!({"role": "user", "content": content})).contains("content"), "{content}");
        }
        let second = Message::list_from_json(r#"[{"role": "user"}, 3]"#).unwrap_err();
        assert!(matches!(second, ChatError::Message { index: 1, .. }));
        assert!(matches!(Message::list_from_json("{}"), Err(ChatError::Json { .. })));
        let one = r#"{"role": "user"}"#;
        assert_eq!(Message::one_or_list_from_json(one).unwrap().len(), 1);
        assert_eq!(Message::one_or_list_from_json(&format!("[{one}, {one}]")).unwrap().len(), 2);
        for text in ["7".to_owned(), format!("{one}, {one}"), format!("{one} {one}")] {
            assert!(matches!(Message::one_or_list_from_json(&text), Err(ChatError::Json { .. })), "{text}");
        }
    }

    #[test]
    fn arguments_become_objects() {
        let message = |arguments: Value| {
            let call = json!({"type": "function", "function": {"name": "f", "arguments": arguments}});
            Message::from_json(json!({"role": "assistant", "tool_calls": [call]})).unwrap()
        };
        assert_eq!(message(json!("{\"a\": 1}")), message(json!({"a": 1})));
        assert_eq!(message(json!("no")).get("tool_calls").unwrap()[0]["function"]["arguments"], "no");
    }

    #[test]
    fn variables_have_names_of_their_own() {
        for (name, value) in [("messages", json!([])), ("tools", json!({})), ("tools", json!([1]))] {
            assert!(matches!(Variables::new().with(name, value), Err(ChatError::Variable { .. })), "{name}");
        }
        assert!(Variables::new().with("tools", json!(null)).is_ok_and(|none| !none.has_tools()));
        assert!(Variables::from_json(r#"{"tools": [{}]}"#).unwrap().has_tools());
        assert!(matches!(Variables::from_json("[]"), Err(ChatError::Json { .. })));
    }
}
