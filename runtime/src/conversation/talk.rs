//! The messages of a conversation, and its settings.

use std::sync::Arc;

use crate::chat::{CallGrammar, ChatFormat, ChatTemplate, Message, Prompt, TEMPLATE_CHOICE, ToolFormat, Variables};
use crate::constraint::{Constraint, GrammarCompiler, GrammarKind};
use crate::model::Model;
use crate::tokenizer::Tokenizer;

use super::error::ConversationError;

type Result<T, E = ConversationError> = std::result::Result<T, E>;

/// Which calls of tools are read in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// In the form that the chat template shows, if tools are offered.
    #[default]
    Auto,
    /// None: what looks like a call is text.
    Never,
    /// In this form.
    Given(ToolFormat),
}

impl ToolChoice {
    /// The form of an answer by this template, where tools are offered or not.
    pub fn format(self, template: &ChatTemplate, has_tools: bool) -> ChatFormat {
        let shown = template.format();
        let tools = match self {
            Self::Auto => shown.tools.filter(|_| has_tools),
            Self::Never => None,
            Self::Given(format) => Some(format),
        };
        ChatFormat { tools, ..shown }
    }
}

/// The settings of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationOptions {
    /// What the chat template is given beside the messages: `tools` and others.
    pub variables: Variables,
    /// Which calls of tools are read.
    pub tools: ToolChoice,
    /// Tokens that the model may think before each answer; none: as many as it likes.
    pub reasoning_budget: Option<usize>,
    /// Whether the oldest turns are forgotten when the context is full: true by default.
    pub context_shift: bool,
}

impl Default for ConversationOptions {
    fn default() -> Self {
        Self { variables: Variables::new(), tools: ToolChoice::Auto, reasoning_budget: None, context_shift: true }
    }
}

/// Settings that were checked, and the template that they choose, if it is another one.
pub(super) struct CheckedOptions {
    options: ConversationOptions,
    template: Option<ChatTemplate>,
}

/// A conversation with a model.
///
/// A turn is a message of the role `user` and what follows it, up to the next one; messages of the
/// roles `system` and `developer` at the beginning belong to no turn.
///
/// ```no_run
/// # use std::{ops::ControlFlow, sync::Arc};
/// # use ollm_runtime::{chat::*, conversation::*, generate::*, model::Model, sampler::*, session::*, tokenizer::*};
/// # fn talk(model: Arc<Model>, tokenizer: Arc<Tokenizer>) -> ollm_runtime::Result<()> {
/// let mut session = Session::new(Arc::clone(&model), None, &SessionOptions::default())?;
/// let mut sampler = Sampler::new(SamplerOptions::default())?;
/// let mut talk = Conversation::of_model(&model, tokenizer, ConversationOptions::default())?;
/// talk.add(Message::new("user", "Hello!"));
/// let options = GenerateOptions { limit: 64, stops: Vec::new(), show: None, reasoning: None };
/// let answer = talk.answer(&mut session, None, &mut sampler, &options, &mut |part| {
///     print!("{}", part.text());
///     ControlFlow::Continue(())
/// })?;
/// println!("{} of {} tokens were known", answer.prompted.reused, answer.prompted.tokens);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Conversation {
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) template: ChatTemplate,
    /// The model among whose templates the variable `chat_template` chooses; none: there is one
    /// template alone.
    model: Option<Arc<Model>>,
    pub(super) options: ConversationOptions,
    pub(super) messages: Vec<Message>,
    /// Messages behind the system messages that the model has forgotten.
    pub(super) dropped: usize,
    /// What calls of tools keep to, at the beginning of an answer.
    pub(super) calls: Option<Constraint>,
}

impl Conversation {
    /// A conversation without messages, by this template, whatever its variables choose.
    ///
    /// # Errors
    /// [`ConversationError::NoReasoning`].
    pub fn new(template: ChatTemplate, tokenizer: Arc<Tokenizer>, options: ConversationOptions) -> Result<Self> {
        let start = ConversationOptions::default();
        let (messages, model, calls) = (Vec::new(), None, None);
        let mut talk = Self { tokenizer, template, model, options: start, messages, dropped: 0, calls };
        talk.set_options(options)?;
        Ok(talk)
    }

    /// A conversation by the chat template of a model's file, or the one that the variable
    /// `chat_template` chooses: see [`ChatTemplate::chosen`].
    ///
    /// # Errors
    /// [`ConversationError::Chat`]; as [`Conversation::new`].
    pub fn of_model(model: &Arc<Model>, tokenizer: Arc<Tokenizer>, options: ConversationOptions) -> Result<Self> {
        let template = ChatTemplate::chosen(model.gguf().metadata(), &options.variables)?;
        Ok(Self { model: Some(Arc::clone(model)), ..Self::new(template, tokenizer, options)? })
    }

    /// The chat template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The settings.
    pub fn options(&self) -> &ConversationOptions {
        &self.options
    }

    /// Changes the settings. With other tools or another template, calls are free again:
    /// [`Conversation::constrain_calls`] constrains them.
    ///
    /// # Errors
    /// [`ConversationError::NoReasoning`], [`ConversationError::Chat`]; then nothing has changed.
    pub fn set_options(&mut self, options: ConversationOptions) -> Result<()> {
        let checked = self.check(options)?;
        self.apply(checked);
        Ok(())
    }

    /// Settings that can be had.
    pub(super) fn check(&self, options: ConversationOptions) -> Result<CheckedOptions> {
        let choice = |options: &ConversationOptions| options.variables.get(TEMPLATE_CHOICE).cloned();
        let other = self.model.as_ref().filter(|_| choice(&options) != choice(&self.options));
        let chosen = |model: &Arc<Model>| ChatTemplate::chosen(model.gguf().metadata(), &options.variables);
        let template = other.map(chosen).transpose()?;
        let format = template.as_ref().unwrap_or(&self.template).format();
        if options.reasoning_budget.is_some() && format.reasoning.is_none() {
            return Err(ConversationError::NoReasoning);
        }
        Ok(CheckedOptions { options, template })
    }

    pub(super) fn apply(&mut self, CheckedOptions { options, template }: CheckedOptions) {
        let tools = |options: &ConversationOptions| (options.tools, options.variables.get("tools").cloned());
        if template.is_some() || tools(&options) != tools(&self.options) {
            self.calls = None;
        }
        if let Some(template) = template {
            self.template = template;
        }
        self.options = options;
    }

    /// Makes the arguments of each tool call follow the tool's JSON schema, from the text that
    /// opens calls in the model's form; other text stays free. In an answer this goes before the
    /// session's own constraint. The first call takes as long as compiling the schemas does.
    ///
    /// # Errors
    /// [`ConversationError::NoCalls`], [`ConversationError::Chat`] if a tool has no name,
    /// [`ConversationError::Constraint`]; then nothing has changed.
    pub fn constrain_calls(&mut self, compiler: &GrammarCompiler) -> Result<()> {
        let format = self.format().tools.ok_or(ConversationError::NoCalls)?;
        let grammar = CallGrammar::new(format, &self.options.variables, true, &self.template, &self.tokenizer)?;
        let CallGrammar { trigger, lark } = grammar.ok_or(ConversationError::NoCalls)?;
        self.calls = Some(Constraint::after_each(&compiler.compile(GrammarKind::Lark, &lark)?, trigger));
        Ok(())
    }

    /// Leaves the arguments of tool calls free.
    pub fn free_calls(&mut self) {
        self.calls = None;
    }

    /// Whether [`Conversation::constrain_calls`] is in force.
    pub fn constrains_calls(&self) -> bool {
        self.calls.is_some()
    }

    /// All messages, those that the model has forgotten included.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The messages that the model has forgotten: so many behind the system messages.
    pub fn forgotten(&self) -> &[Message] {
        let pinned = self.pinned();
        &self.messages[pinned..pinned + self.dropped]
    }

    /// Adds a message: what a user says, the result of a tool, or any other.
    pub fn add(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// The system message: it takes the place of those at the beginning; none leaves the
    /// conversation without.
    pub fn set_system(&mut self, message: Option<Message>) {
        let pinned = self.pinned();
        self.messages.splice(..pinned, message);
    }

    /// Forgets all messages but the system messages at the beginning.
    pub fn reset(&mut self) {
        self.messages.truncate(self.pinned());
        self.dropped = 0;
    }

    /// Takes back the last turn: what the user said last and all that followed. Gives those
    /// messages; none if there is no turn.
    pub fn take_back(&mut self) -> Vec<Message> {
        let last = self.turns().last().copied().unwrap_or(self.messages.len());
        let taken = self.messages.split_off(last);
        self.recall();
        taken
    }

    /// Forgets the messages after the first `count`: the last answer, to have another, or all.
    ///
    /// # Errors
    /// [`ConversationError::MessageOutOfRange`].
    pub fn truncate(&mut self, count: usize) -> Result<()> {
        let messages = self.messages.len();
        if count > messages {
            return Err(ConversationError::MessageOutOfRange { count, messages });
        }
        self.messages.truncate(count);
        self.recall();
        Ok(())
    }

    /// What was forgotten is seen again where nothing else is left.
    fn recall(&mut self) {
        if self.pinned() + self.dropped >= self.messages.len() {
            self.dropped = 0;
        }
    }

    /// The prompt of the next answer, of the messages that the model has not forgotten.
    ///
    /// # Errors
    /// [`ConversationError::Chat`].
    pub fn prompt(&self) -> Result<Prompt> {
        self.render(self.dropped)
    }

    /// The form of an answer.
    pub fn format(&self) -> ChatFormat {
        self.options.tools.format(&self.template, self.options.variables.has_tools())
    }

    /// The prompt without the first `dropped` messages behind the system messages.
    pub(super) fn render(&self, dropped: usize) -> Result<Prompt> {
        let pinned = self.pinned();
        let seen: Vec<Message>;
        let messages = if dropped == 0 {
            &self.messages
        } else {
            seen = [&self.messages[..pinned], &self.messages[pinned + dropped..]].concat();
            &seen
        };
        Ok(self.template.render(messages, &self.options.variables, true, &self.tokenizer)?)
    }

    /// How many messages at the beginning belong to no turn.
    pub(super) fn pinned(&self) -> usize {
        pinned(&self.messages)
    }

    /// Where turns begin.
    pub(super) fn turns(&self) -> Vec<usize> {
        let pinned = self.pinned();
        let begins = |&at: &usize| at == pinned || self.messages[at].role() == "user";
        (pinned..self.messages.len()).filter(begins).collect()
    }
}

/// How many messages at the beginning belong to no turn.
pub(super) fn pinned(messages: &[Message]) -> usize {
    messages.iter().take_while(|message| matches!(message.role(), "system" | "developer")).count()
}
