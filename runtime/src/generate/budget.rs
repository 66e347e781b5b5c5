//! A limit on what a model thinks before it answers.

/// Ends a model's thought after some tokens: those that end it are fed as if the model had written
/// them, and the model goes on to answer. See `chat::Reasoning` for the marks of a family.
///
/// A thought is what follows `open` at the beginning of the answer, or all of its beginning where
/// the prompt is inside a thought already, up to `close`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasoningBudget {
    /// Tokens of a thought at most; 0 allows none.
    pub tokens: usize,
    /// The text that begins a thought.
    pub open: String,
    /// The text that ends it.
    pub close: String,
    /// What is fed to end it: the tokens of `close`, with the white space that the model writes
    /// around it.
    pub end: Vec<u32>,
    /// Whether the prompt ends inside a thought.
    pub in_reasoning: bool,
}

#[cfg(feature = "chat-template")]
impl ReasoningBudget {
    /// The budget for the answer to a prompt, with the marks of the model's family.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`](crate::tokenizer::Tokenizer::encode).
    pub fn new(
        tokens: usize,
        marks: crate::chat::Reasoning,
        prompt: &crate::chat::Prompt,
        tokenizer: &crate::tokenizer::Tokenizer,
    ) -> Result<Self, crate::tokenizer::TokenizerError> {
        // Apart, so that no token crosses the end of `close`, behind which a grammar may begin.
        let behind = marks.end.find(marks.close).map_or(0, |at| at + marks.close.len());
        let (close, space) = marks.end.split_at(behind);
        let mut end = tokenizer.encode(close, true)?;
        end.extend(tokenizer.encode(space, true)?);
        Ok(Self {
            tokens,
            open: marks.open.to_owned(),
            close: marks.close.to_owned(),
            end,
            in_reasoning: marks.is_open_in(prompt.text()),
        })
    }
}

/// Where an answer is in its thought.
#[derive(Debug)]
pub(super) struct BudgetTracker<'b> {
    budget: &'b ReasoningBudget,
    state: State,
    /// Text that is not decided: where the thought may begin, or its end that may begin `close`.
    held: String,
    used: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Thinking,
    Answering,
}

impl<'b> BudgetTracker<'b> {
    pub(super) fn new(budget: &'b ReasoningBudget) -> Self {
        let state = if budget.in_reasoning { State::Thinking } else { State::Start };
        Self { budget, state, held: String::new(), used: 0 }
    }

    /// Takes the text of one token.
    pub(super) fn push(&mut self, text: &str) {
        let ReasoningBudget { open, close, .. } = self.budget;
        self.held.push_str(text);
        if self.state == State::Start {
            let body = self.held.trim_start();
            if let Some(rest) = body.strip_prefix(open.as_str()) {
                self.held = rest.to_owned();
                self.state = State::Thinking;
                return;
            }
            if !open.starts_with(body) {
                self.state = State::Answering;
            }
        } else if self.state == State::Thinking {
            self.used += 1;
            if self.held.contains(close.as_str()) {
                self.state = State::Answering;
            }
            let keep = self.held.char_indices().map(|(at, _)| at).rev().nth(close.chars().count());
            self.held.drain(..keep.unwrap_or(0));
        }
    }

    /// The tokens that have to end the thought now, if it is as long as it may be; only once.
    pub(super) fn end(&mut self) -> Option<&'b [u32]> {
        let over = self.state == State::Thinking && self.used >= self.budget.tokens;
        over.then(|| {
            self.state = State::Answering;
            self.budget.end.as_slice()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many of the pieces the thought is ended, if it is.
    fn ended(tokens: usize, in_reasoning: bool, pieces: &[&str]) -> Option<usize> {
        let [open, close] = ["<think>", "</think>"].map(str::to_owned);
        let budget = ReasoningBudget { tokens, open, close, end: vec![7], in_reasoning };
        let mut tracker = BudgetTracker::new(&budget);
        let at = (0..=pieces.len()).find(|&at| {
            let over = tracker.end() == Some(&[7][..]);
            if !over && at < pieces.len() {
                tracker.push(pieces[at]);
            }
            over
        });
        assert_eq!(at.and_then(|_| tracker.end()), None);
        at
    }

    #[test]
    fn a_thought_is_ended_after_its_tokens() {
        assert_eq!(ended(2, false, &["<think>", "a", "b", "c"]), Some(3));
        assert_eq!(ended(2, false, &["\n<th", "ink>", "é", "b", "c"]), Some(4));
        assert_eq!(ended(0, false, &["<think>", "a"]), Some(1));
        assert_eq!(ended(2, true, &["a", "b", "c"]), Some(2));
        assert_eq!(ended(0, true, &["a"]), Some(0));
    }

    #[test]
    fn what_is_no_thought_goes_on() {
        assert_eq!(ended(1, false, &["a", "<think>", "b", "c"]), None);
        assert_eq!(ended(0, false, &["a", "b"]), None);
        assert_eq!(ended(3, false, &["<think>", "é</", "think>", "b", "c", "d"]), None);
        assert_eq!(ended(3, true, &["a</think", ">", "b", "c", "d"]), None);
    }
}
