//! The chat template of a loaded model with what it is given: prompts, and how answers are read.

use ollm_runtime::chat::{ChatFormat, ChatParser, ChatTemplate, Message, Prompt, Variables};
use ollm_runtime::generate::ReasoningBudget;

use crate::chat_input::ConversationArgs;
use crate::engine::Engine;
use crate::failure::{Failure, Result};

/// The template of a model with what it is given.
pub(crate) struct Conversation {
    template: ChatTemplate,
    variables: Variables,
}

impl Conversation {
    pub(crate) fn new(engine: &Engine, args: &ConversationArgs) -> Result<Self> {
        let template = args.template(engine.metadata())?;
        let variables = args.variables(&template)?;
        Ok(Self { template, variables })
    }

    /// The messages up to where the model's answer begins.
    pub(crate) fn prompt(&self, engine: &Engine, messages: &[Message]) -> Result<Prompt> {
        Ok(self.template.render(messages, &self.variables, true, &engine.tokenizer)?)
    }

    /// The form of an answer: calls of tools are read where tools are offered.
    fn format(&self) -> ChatFormat {
        let format = self.template.format();
        ChatFormat { tools: format.tools.filter(|_| self.variables.has_tools()), ..format }
    }

    /// What takes the answer to this prompt apart.
    pub(crate) fn parser(&self, prompt: &Prompt) -> ChatParser {
        let format = self.format();
        ChatParser::new(format, format.reasoning.is_some_and(|marks| marks.is_open_in(prompt.text())))
    }

    /// The limit on what the model thinks, if one is asked for.
    pub(crate) fn budget(
        &self,
        engine: &Engine,
        tokens: Option<usize>,
        prompt: &Prompt,
    ) -> Result<Option<ReasoningBudget>> {
        let Some(tokens) = tokens else { return Ok(None) };
        let marks = self.format().reasoning.ok_or_else(|| {
            Failure::Usage("--reasoning-budget has no effect: the chat template shows no thoughts".to_owned())
        })?;
        Ok(Some(ReasoningBudget::new(tokens, marks, prompt, &engine.tokenizer)?))
    }
}
