//! Prefill: given tokens go through the network (feeding).

use crate::memory;

use super::error::SessionError;
use super::state::Session;

type Result<T, E = SessionError> = std::result::Result<T, E>;

impl Session {
    /// Adds `tokens` to the sequence. With a [`ContextShift`](super::ContextShift) there may be any
    /// number of them: the session is then as if they had been fed one by one. The next generated
    /// token begins an answer: no latent is held any more.
    ///
    /// # Errors
    /// [`SessionError::ContextFull`] or [`SessionError::TokenOutOfRange`];
    /// [`SessionError::MemoryLimit`] or [`SessionError::OutOfMemory`]; then nothing has changed.
    /// [`SessionError::Cancelled`]; then [`Session::position`] tells how many tokens were taken.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        self.begin_answer();
        let (shift, held) = (self.sequence.context_shift, self.held());
        let earlier = self.sequence.append(tokens, shift, held)?;
        self.run(earlier, &mut |_| {})
    }

    /// Adds `tokens` to the sequence and appends their hidden states, after the final norm, to
    /// `out`: `[n][hidden]`. No context is shifted here.
    ///
    /// # Errors
    /// As [`Session::feed`]; `out` has the hidden states of the tokens that were taken.
    pub fn hidden_states(&mut self, tokens: &[u32], out: &mut Vec<f32>) -> Result<()> {
        self.sequence.check(tokens)?;
        self.begin_answer();
        // What is pending belongs to earlier calls.
        self.catch_up(&mut |_| {})?;
        memory::grow(out, tokens.len().saturating_mul(self.sequence.config().hidden))?;
        let held = self.held();
        let earlier = self.sequence.append(tokens, None, held)?;
        self.run(earlier, &mut |hidden| out.extend_from_slice(hidden))
    }

    /// The hidden state of the last token, after the final norm: `[hidden]`.
    ///
    /// # Errors
    /// [`SessionError::Empty`], or as [`Session::feed`].
    pub fn hidden(&mut self) -> Result<&[f32]> {
        let mut group = self.alone();
        group.advance();
        group.outcome()?;
        Ok(&self.sequence.hidden)
    }

    /// Evaluates the pending tokens. On failure, drops the new tokens (those after the `earlier`
    /// ones) that were not evaluated.
    fn run(&mut self, earlier: usize, sink: &mut dyn FnMut(&[f32])) -> Result<()> {
        let outcome = self.catch_up(sink);
        if outcome.is_err() {
            self.sequence.drop_pending(earlier);
        }
        outcome
    }

    /// Prefill of the pending tokens, batch by batch; hands each batch's hidden states to `sink`.
    fn catch_up(&mut self, sink: &mut dyn FnMut(&[f32])) -> Result<()> {
        let held = self.held();
        self.sequence.reserve(self.sequence.pending(), held)?;
        while !self.sequence.pending().is_empty() {
            let mut group = self.alone();
            group.pass();
            group.outcome()?;
            sink(self.buffers.scratch.hidden());
        }
        Ok(())
    }
}
