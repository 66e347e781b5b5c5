//! The context shift: which tokens stay when the context is full.

use ollm_kernels::memory;

use super::buffers::BufferBytes;
use super::error::SessionError;
use super::options::ContextShift;
use super::sequence::Sequence;

impl ContextShift {
    /// That there is room to shift in `context` positions.
    pub(super) fn check(self, context: usize) -> Result<(), SessionError> {
        let fits = self.keep.checked_add(2).is_some_and(|least| least <= context);
        if fits { Ok(()) } else { Err(SessionError::ContextShift { keep: self.keep, context }) }
    }
}

/// A text that is shifted, before it is the session's.
struct ShiftedText {
    tokens: Vec<u32>,
    /// How many of them are from before.
    earlier: usize,
    /// How many tokens were dropped.
    dropped: u64,
}

impl ShiftedText {
    /// Forgets half of what comes after the first `keep` tokens.
    fn shift(&mut self, keep: usize) {
        let end = self.tokens.len() - (self.tokens.len() - keep) / 2;
        self.dropped += (end - keep) as u64;
        self.tokens.drain(keep..end);
        self.earlier = self.earlier.min(keep) + self.earlier.saturating_sub(end);
    }

    /// Adds `tokens` as if one by one; where there is no room, and none follows, it shifts all the
    /// same.
    fn push(&mut self, mut tokens: &[u32], keep: usize, context: usize) {
        loop {
            if self.tokens.len() == context {
                self.shift(keep);
            }
            let (now, later) = tokens.split_at(tokens.len().min(context - self.tokens.len()));
            self.tokens.extend_from_slice(now);
            if later.is_empty() {
                return;
            }
            tokens = later;
        }
    }
}

impl Sequence {
    /// A context shift: adds `tokens` to a text that has no room for them, or makes room in a full
    /// text. Moved tokens are then pending. Returns how many tokens are from before.
    pub(super) fn shift(
        &mut self,
        ContextShift { keep }: ContextShift,
        tokens: &[u32],
        held: BufferBytes,
    ) -> Result<usize, SessionError> {
        let mut text = ShiftedText { tokens: Vec::new(), earlier: self.tokens.len(), dropped: 0 };
        memory::reserve(&mut text.tokens, self.context().min(self.tokens.len() + tokens.len()))?;
        text.tokens.extend_from_slice(&self.tokens);
        text.push(tokens, keep, self.context());
        self.change_tokens(text.tokens, keep, held)?;
        self.dropped = self.dropped.wrapping_add(text.dropped);
        Ok(text.earlier)
    }

    /// Puts `prompt` before the last `answer` tokens. The place of the next token stays.
    pub(super) fn replace_prompt(
        &mut self,
        prompt: &[u32],
        answer: usize,
        held: BufferBytes,
    ) -> Result<(), SessionError> {
        self.check_causal()?;
        let reached = self.tokens.len();
        let begin =
            reached.checked_sub(answer).ok_or(SessionError::PositionOutOfRange { position: answer, reached })?;
        self.check_at(answer, prompt)?;
        let place = self.place();
        let mut tokens = Vec::new();
        memory::reserve(&mut tokens, prompt.len() + answer)?;
        tokens.extend_from_slice(prompt);
        tokens.extend_from_slice(&self.tokens[begin..]);
        let common = self.tokens.iter().zip(&tokens).take_while(|(old, new)| old == new).count();
        self.change_tokens(tokens, common, held)?;
        self.dropped = place.wrapping_sub(self.tokens.len() as u64);
        Ok(())
    }

    /// Makes `tokens` the text, whose first `common` ones are the old text's. The others are then
    /// pending.
    fn change_tokens(&mut self, tokens: Vec<u32>, common: usize, held: BufferBytes) -> Result<(), SessionError> {
        // The last token that stays is evaluated again: it may become the last token of the text.
        let position = self.state.resumable(self.position.min(common.saturating_sub(1)));
        if let Err(error) = self.reserve(position..tokens.len(), held) {
            // Without memory, what was behind that position may be gone: it is evaluated again.
            if let SessionError::OutOfMemory(_) = error {
                self.go_back(position);
                self.step.clear();
            }
            return Err(error);
        }
        (self.tokens, self.position, self.asked) = (tokens, position, position);
        self.state.truncate(self.tokens.len());
        self.step.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(before: usize, added: usize, keep: usize, context: usize) -> ShiftedText {
        let mut text = ShiftedText { tokens: (0..before as u32).collect(), earlier: before, dropped: 0 };
        let added: Vec<u32> = (before as u32..(before + added) as u32).collect();
        text.push(&added, keep, context);
        text
    }

    #[test]
    fn the_first_stay_and_the_most_recent_half_of_the_rest() {
        let text = push(10, 0, 2, 10);
        assert_eq!((text.tokens, text.earlier, text.dropped), (vec![0, 1, 6, 7, 8, 9], 6, 4));
        let text = push(9, 3, 2, 10);
        assert_eq!((text.tokens, text.earlier), (vec![0, 1, 6, 7, 8, 9, 10, 11], 5));
        let text = push(1, 24, 2, 10);
        assert_eq!((text.tokens[..4].to_vec(), text.earlier), (vec![0, 1, 18, 19], 1));
    }

    #[test]
    fn many_at_once_are_one_after_the_other() {
        for (keep, context) in [(0, 2), (3, 5), (2, 10), (4, 17)] {
            let mut one_by_one = ShiftedText { tokens: Vec::new(), earlier: 0, dropped: 0 };
            for token in 0..100 {
                one_by_one.push(&[token], keep, context);
                assert_eq!(push(0, token as usize + 1, keep, context).tokens, one_by_one.tokens);
            }
        }
    }

    #[test]
    fn a_context_shift_needs_room() {
        ContextShift { keep: 8 }.check(10).unwrap();
        for keep in [9, 10, usize::MAX] {
            let error = ContextShift { keep }.check(10).unwrap_err();
            assert!(matches!(error, SessionError::ContextShift { context: 10, .. }), "{error}");
        }
    }
}
