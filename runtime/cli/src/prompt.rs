//! Where the text comes from, and which tokens it is.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use ollm_runtime::chat::{ChatParser, Message};
use ollm_runtime::generate::ReasoningBudget;
use ollm_runtime::tokenizer::Tokenizer;

use crate::args::{PromptArgs, TextArgs};
use crate::conversation;
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::output;

impl TextArgs {
    /// The text.
    pub(crate) fn read(&self) -> Result<String> {
        match (&self.prompt, &self.file) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(path)) if path != Path::new("-") => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|source| Failure::Text { name: name.clone(), source })?;
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
        let mut tokens = tokenizer.encode(text, self.special)?;
        if tokenizer.begin(&mut tokens)? {
            output::warn("the text begins with BOS, which the model's file adds: it is there once");
        }
        Ok(tokens)
    }

    /// The tokens of `text`, of which there must be some: BOS alone will do.
    pub(crate) fn prompt(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
        self.tokens(tokenizer, text).and_then(|all| if all.is_empty() { Err(Failure::EmptyPrompt) } else { Ok(all) })
    }
}

/// What is fed, and how its answer is read.
pub(crate) struct Fed {
    pub(crate) tokens: Vec<u32>,
    /// Takes the answer apart, if it is one of a conversation.
    pub(crate) parser: Option<ChatParser>,
    pub(crate) reasoning: Option<ReasoningBudget>,
}

impl PromptArgs {
    /// The text; none if the messages of a file are all of the conversation.
    pub(crate) fn read(&self) -> Result<Option<String>> {
        if let Some(flag) = self.conversation.flag().filter(|_| !self.chat) {
            return Err(Failure::Usage(format!("{flag} is for a conversation: add --chat")));
        }
        let nothing = self.text.prompt.is_none() && self.text.file.is_none();
        if nothing && self.conversation.has_messages() {
            return Ok(None);
        }
        if self.chat { self.text.read_nonempty().map(Some) } else { self.text.read().map(Some) }
    }

    /// The tokens of a text, which is the user's turn if the flags say so; `budget` is for what the
    /// model thinks.
    pub(crate) fn fed(&self, engine: &Engine, text: Option<String>, budget: Option<usize>) -> Result<Fed> {
        if !self.chat {
            if budget.is_some() {
                return Err(Failure::Usage("--reasoning-budget is for a conversation: add --chat".to_owned()));
            }
            let tokens = self.text.prompt(&engine.tokenizer, &text.unwrap_or_default())?;
            return Ok(Fed { tokens, parser: None, reasoning: None });
        }
        let mut talk = conversation::open(engine, &self.conversation, budget)?;
        let messages = self.conversation.messages(self.system.as_ref())?;
        messages.into_iter().chain(text.map(|text| Message::new("user", text))).for_each(|message| talk.add(message));
        let prompt = talk.prompt()?;
        Ok(Fed {
            tokens: prompt.tokens(&engine.tokenizer)?,
            parser: Some(talk.parser(&prompt)),
            reasoning: talk.reasoning(&prompt)?,
        })
    }
}

fn read_utf8(mut source: impl Read, name: String) -> Result<String> {
    let mut bytes = Vec::new();
    if let Err(source) = source.read_to_end(&mut bytes) {
        return Err(Failure::Text { name, source });
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Failure::NotUtf8 { name, offset }
    })
}
