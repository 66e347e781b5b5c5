//! The conversation that the flags describe, with the chat template of a loaded model.

use ollm_runtime::conversation::{Conversation, ConversationError, ConversationOptions};

use crate::chat_input::ConversationArgs;
use crate::engine::Engine;
use crate::failure::{Failure, Result};

/// A conversation without messages, whose thoughts have a budget, if one is given.
pub(crate) fn open(engine: &Engine, args: &ConversationArgs, budget: Option<usize>) -> Result<Conversation> {
    let template = args.template(engine.metadata())?;
    let variables = args.variables(&template)?;
    let options = ConversationOptions { variables, reasoning_budget: budget, ..ConversationOptions::default() };
    Conversation::new(template, engine.tokenizer.clone(), options).map_err(|error| match error {
        ConversationError::NoReasoning => Failure::Usage(format!("--reasoning-budget: {error}")),
        error => error.into(),
    })
}
