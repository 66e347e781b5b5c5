//! The context shift at turn borders: which turns fit the context.

use std::ops::AddAssign;

use crate::chat::Prompt;

use super::error::ConversationError;
use super::talk::Conversation;

type Result<T, E = ConversationError> = std::result::Result<T, E>;

/// What the model forgot when the context was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Whole turns.
    pub turns: usize,
    /// Their messages.
    pub messages: usize,
}

impl AddAssign for Dropped {
    fn add_assign(&mut self, more: Self) {
        self.turns += more.turns;
        self.messages += more.messages;
    }
}

/// A prompt that leaves room for an answer.
pub(super) struct Fitting {
    pub(super) prompt: Prompt,
    pub(super) tokens: Vec<u32>,
    /// Messages behind the system messages that it leaves out.
    pub(super) left_out: usize,
}

impl Conversation {
    /// The prompt of the next answer in a context of so many positions.
    pub(super) fn fit(&self, context: usize) -> Result<Fitting> {
        let whole = self.tokenized(self.dropped)?;
        let tokens = whole.tokens.len();
        if tokens < context {
            return Ok(whole);
        }
        if !self.options.context_shift {
            return Err(ConversationError::ContextFull { tokens, context });
        }
        match self.shifted(context, 0)? {
            Ok(fitting) => Ok(fitting),
            Err(tokens) => Err(ConversationError::TurnTooLong { tokens, context }),
        }
    }

    /// The prompt without the oldest turns, before an answer of which there are `answer` tokens: as
    /// many turns as fit half of the context, or else the last one alone. If that does not fit, or
    /// there is no other, the tokens that it has.
    pub(super) fn shifted(&self, context: usize, answer: usize) -> Result<Result<Fitting, usize>> {
        let first = self.pinned() + self.dropped;
        let later: Vec<usize> = self.turns().into_iter().filter(|&begin| begin > first).collect();
        let without = |turn: usize| self.tokenized(later[turn] - self.pinned());
        let Some(last) = later.len().checked_sub(1) else { return Ok(Err(self.tokenized(self.dropped)?.tokens.len())) };
        let mut fitting = without(last)?;
        if fitting.tokens.len() + answer >= context {
            return Ok(Err(fitting.tokens.len()));
        }
        let most = (context / 2).max(fitting.tokens.len() + answer);
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = usize::midpoint(low, high);
            let candidate = without(middle)?;
            if candidate.tokens.len() + answer <= most {
                (fitting, high) = (candidate, middle);
            } else {
                low = middle + 1;
            }
        }
        Ok(Ok(fitting))
    }

    /// Forgets what a prompt left out.
    pub(super) fn forget(&mut self, left_out: usize) -> Dropped {
        let (begin, pinned) = (self.pinned() + self.dropped, self.pinned());
        let turns = self.turns().into_iter().filter(|turn| (begin..pinned + left_out).contains(turn)).count();
        let messages = left_out - self.dropped;
        self.dropped = left_out;
        Dropped { turns, messages }
    }

    fn tokenized(&self, left_out: usize) -> Result<Fitting> {
        let prompt = self.render(left_out)?;
        let tokens = prompt.tokens(&self.tokenizer)?;
        Ok(Fitting { prompt, tokens, left_out })
    }
}
