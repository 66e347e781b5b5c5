//! A conversation as the flags describe it: messages, tools, what the chat template is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use ollm_runtime::chat::{ChatError, ChatTemplate, Message, Variables, json_from_str};
use ollm_runtime::gguf::Metadata;
use serde_json::Value;

use crate::failure::{Failure, Result};

/// Which chat template.
#[derive(Debug, Args)]
#[command(next_help_heading = "Conversation")]
pub(crate) struct TemplateArgs {
    /// The chat template in a file, in place of the model's: for a model without one
    #[arg(long, value_name = "FILE", conflicts_with = "template")]
    chat_template: Option<PathBuf>,
    /// One of the model's named chat templates, such as `tool_use`
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
}

impl TemplateArgs {
    /// The template, if a flag names one.
    pub(crate) fn named(&self, metadata: &Metadata) -> Result<Option<ChatTemplate>> {
        match (&self.chat_template, &self.template) {
            (Some(path), _) => ChatTemplate::new(&read(path)?).map(Some).map_err(Failure::in_file(path)),
            (None, Some(name)) => Ok(Some(ChatTemplate::named(metadata, name)?)),
            (None, None) => Ok(None),
        }
    }
}

/// What the chat template is given beside the text.
#[derive(Debug, Args)]
#[command(next_help_heading = "Conversation")]
pub(crate) struct ConversationArgs {
    /// A JSON file with the messages of the conversation so far: a list of objects with role,
    /// content, and what else the chat template knows
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
    /// A JSON file with the tools that the model is offered: a list of their schemas
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    #[command(flatten)]
    template: TemplateArgs,
    #[arg(long = "template-arg", value_name = "NAME=JSON", value_parser = variable)]
    #[arg(help = "A variable of the chat template, such as enable_thinking=false; may be given several times")]
    variables: Vec<(String, Value)>,
}

fn variable(text: &str) -> std::result::Result<(String, Value), String> {
    let (name, json) = text.split_once('=').ok_or("there is no =")?;
    let value = json_from_str(json).map_err(|error| format!("the value is no JSON: {error}"))?;
    Ok((name.to_owned(), value))
}

impl ConversationArgs {
    /// The first flag that is given, if one is.
    pub(crate) fn flag(&self) -> Option<&'static str> {
        let given = [
            ("--messages", self.messages.is_some()),
            ("--tools", self.tools.is_some()),
            ("--chat-template", self.template.chat_template.is_some()),
            ("--template", self.template.template.is_some()),
            ("--template-arg", !self.variables.is_empty()),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }

    /// The template of the flags, or else the one that the variables choose, or the model's.
    pub(crate) fn template(&self, metadata: &Metadata) -> Result<ChatTemplate> {
        if let Some(template) = self.template.named(metadata)? {
            return Ok(template);
        }
        let mut given = self.variables.iter().cloned();
        let variables = given.try_fold(Variables::new(), |all, (name, value)| all.with(name, value))?;
        Ok(ChatTemplate::chosen(metadata, &variables)?)
    }

    /// Whether there are messages.
    pub(crate) fn has_messages(&self) -> bool {
        self.messages.is_some()
    }

    /// The beginning of the conversation: the system prompt, if there is one, and the messages of
    /// the file.
    pub(crate) fn messages(&self, system: Option<&String>) -> Result<Vec<Message>> {
        let mut messages: Vec<Message> = system.map(|text| Message::new("system", text)).into_iter().collect();
        if let Some(path) = &self.messages {
            messages.extend(Message::list_from_json(&read(path)?).map_err(Failure::in_file(path))?);
        }
        Ok(messages)
    }

    /// The variables; a template that cannot do without the date has that of today (UTC).
    pub(crate) fn variables(&self, template: &ChatTemplate) -> Result<Variables> {
        let mut variables = Variables::new();
        if let Some(path) = &self.tools {
            let wrong = |reason| ChatError::Json { what: "the tools", reason };
            let tools = json_from_str(&read(path)?).map_err(wrong).map_err(Failure::in_file(path))?;
            variables = variables.with("tools", tools).map_err(Failure::in_file(path))?;
        }
        for (name, value) in &self.variables {
            variables = variables.with(name, value.clone())?;
        }
        if template.needs_date() && variables.get("strftime_now").is_none() {
            variables = variables.with("strftime_now", today().into())?;
        }
        Ok(variables)
    }
}

fn read(path: &Path) -> Result<String> {
    let refused = |source| Failure::Text { name: path.display().to_string(), source };
    let bytes = fs::read(path).map_err(refused)?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Failure::NotUtf8 { name: path.display().to_string(), offset }
    })
}

/// The date, as `2026-11-30`.
pub(crate) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (mut year, mut day) = (1970, seconds / 86400);
    let leap = |year: u64| u64::from(year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + leap(year) {
        day -= 365 + leap(year);
        year += 1;
    }
    let months = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = |month: usize| months[..month].iter().sum::<u64>();
    let month = (0..12).rev().find(|&month| before(month) <= day).unwrap_or_default();
    format!("{year:04}-{:02}-{:02}", month + 1, day - before(month) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_name_and_json() {
        assert_eq!(variable("a=false"), Ok(("a".to_owned(), false.into())));
        assert_eq!(variable("a=\"b=c\""), Ok(("a".to_owned(), "b=c".into())));
        assert!(variable("a").is_err() && variable("a=b").is_err());
    }

    #[test]
    fn today_is_a_date() {
        let today = today();
        let parts: Vec<usize> = today.split('-').map(|part| part.parse().unwrap()).collect();
        assert!(parts[0] >= 2026 && (1..=12).contains(&parts[1]) && (1..=31).contains(&parts[2]), "{today}");
    }
}
