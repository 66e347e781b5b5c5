//! Where the text comes from, and which tokens it is.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use ollm_runtime::chat::{ChatTemplate, Message};
use ollm_runtime::tokenizer::Tokenizer;

use crate::args::{PromptArgs, TextArgs};
use crate::engine::Engine;
use crate::failure::{Failure, Result};

impl TextArgs {
    /// The text.
    pub(crate) fn read(&self) -> Result<String> {
        match (&self.prompt, &self.file) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(path)) if path != Path::new("-") => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|source| Failure::Prompt { name: name.clone(), source })?;
                read_utf8(file, name)
            }
            _ if self.file.is_none() && io::stdin().is_terminal() => {
                Err(Failure::Usage("there is no text: give -p TEXT, -f FILE, or pipe one in".to_owned()))
            }
            _ => read_utf8(io::stdin().lock(), "standard input".to_owned()),
        }
    }

    /// The text, which must not be empty.
    pub(crate) fn read_nonempty(&self) -> Result<String> {
        self.read().and_then(|text| if text.is_empty() { Err(Failure::EmptyPrompt) } else { Ok(text) })
    }

    /// The tokens of `text`, as it is, after BOS if the model's file asks for one.
    pub(crate) fn tokens(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
        let tokens = tokenizer.encode(text, self.special)?;
        Ok(tokenizer.add_bos().into_iter().chain(tokens).collect())
    }
}

impl PromptArgs {
    /// The tokens of `text`, which is the user's turn if the flags say so.
    pub(crate) fn tokens(&self, engine: &Engine, text: String) -> Result<Vec<u32>> {
        if !self.chat {
            return self.text.tokens(&engine.tokenizer, &text);
        }
        let mut messages = system_message(self.system.as_ref());
        messages.push(Message::new("user", text));
        chat_tokens(&engine.chat_template()?, &engine.tokenizer, &messages)
    }
}

fn read_utf8(mut source: impl Read, name: String) -> Result<String> {
    let mut bytes = Vec::new();
    if let Err(source) = source.read_to_end(&mut bytes) {
        return Err(Failure::Prompt { name, source });
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Failure::PromptNotUtf8 { name, offset }
    })
}

/// The tokens of a conversation, up to where the model's answer begins.
pub(crate) fn chat_tokens(template: &ChatTemplate, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>> {
    let text = template.render(messages, true, tokenizer)?;
    Ok(tokenizer.encode(&text, true)?)
}

/// The beginning of a conversation: the system prompt, if there is one.
pub(crate) fn system_message(system: Option<&String>) -> Vec<Message> {
    system.map(|text| Message::new("system", text)).into_iter().collect()
}
