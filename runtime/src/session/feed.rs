//! Prefill: given tokens go through the network (feeding).

use std::ops::ControlFlow;

use ollm_kernels::memory;

use crate::clock::Instant;

use super::error::SessionError;
use super::state::Session;

type Result<T, E = SessionError> = std::result::Result<T, E>;

/// Takes each batch's hidden states, `[n][hidden]`, and how many tokens are still to come.
type Sink<'a> = dyn FnMut(&[f32], usize) -> ControlFlow<()> + 'a;

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
        self.feed_watched(tokens, &mut |_| ControlFlow::Continue(()))
    }

    /// As [`Session::feed`]; `watch` is told after each batch how many tokens are still to come,
    /// and may end the feed, as a [`Canceller`](super::Canceller) does.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn feed_watched(&mut self, tokens: &[u32], watch: &mut dyn FnMut(usize) -> ControlFlow<()>) -> Result<()> {
        let begin = Instant::now();
        let (shift, held) = (self.sequence.context_shift, self.held());
        let earlier = self.sequence.append(tokens, shift, held)?;
        let outcome = self.run(earlier, &mut |_, left| watch(left));
        let left = self.sequence.pending().len();
        self.sequence.meter.fed(tokens.len().saturating_sub(left), begin);
        outcome
    }

    /// As [`Session::feed`], but the tokens are computed with what follows: a step, another feed,
    /// or a pass of a batch ([`Batch::step_with_prefill`](super::Batch::step_with_prefill)).
    ///
    /// # Errors
    /// As [`Session::feed`], but for [`SessionError::Cancelled`].
    pub fn append(&mut self, tokens: &[u32]) -> Result<()> {
        let (shift, held) = (self.sequence.context_shift, self.held());
        self.sequence.append(tokens, shift, held)?;
        self.begin_answer();
        Ok(())
    }

    /// Prefix reuse (prompt caching): makes `tokens` the session's text. The longest beginning that
    /// the session's text has in common with them stays, the rest is fed; the session is then as a
    /// new one that was fed `tokens`, to the last bit. Gives how many tokens were reused.
    ///
    /// # Errors
    /// [`SessionError::ContextFull`] or [`SessionError::TokenOutOfRange`]; then nothing has
    /// changed. As [`Session::feed`]; then the session has a beginning of `tokens`.
    pub fn feed_prompt(&mut self, tokens: &[u32]) -> Result<usize> {
        let reused = self.tokens().iter().zip(tokens).take_while(|(own, given)| own == given).count();
        self.sequence.check_at(reused, &tokens[reused..])?;
        self.begin_answer();
        self.rewind(reused)?;
        self.sequence.dropped = 0;
        self.feed(&tokens[reused..])?;
        Ok(reused)
    }

    /// Puts another prompt before the last `answer` tokens, which stay: an answer that was begun
    /// goes on behind it, with its constraint, its held latent and its random numbers. What the new
    /// text has in common with the old one is not computed again; the rest is with the next step.
    ///
    /// # Errors
    /// [`SessionError::PositionOutOfRange`] if there are not so many tokens,
    /// [`SessionError::ContextFull`], [`SessionError::TokenOutOfRange`],
    /// [`SessionError::MemoryLimit`], [`SessionError::OutOfMemory`]; then nothing has changed.
    pub fn replace_prompt(&mut self, prompt: &[u32], answer: usize) -> Result<()> {
        let held = self.held();
        self.sequence.replace_prompt(prompt, answer, held)
    }

    /// Adds `tokens` to the sequence and appends their hidden states, after the final norm, to
    /// `out`: `[n][hidden]`. No context is shifted here. Where attention is bidirectional, `tokens`
    /// are a text of their own, which the session does not keep.
    ///
    /// # Errors
    /// As [`Session::feed`]; `out` has the hidden states of the tokens that were taken.
    pub fn hidden_states(&mut self, tokens: &[u32], out: &mut Vec<f32>) -> Result<()> {
        if !self.sequence.config().causal {
            return self.states_of_text(tokens, out);
        }
        self.sequence.check(tokens)?;
        // What is pending belongs to earlier calls.
        self.catch_up(&mut |_, _| ControlFlow::Continue(()))?;
        memory::grow(out, tokens.len().saturating_mul(self.sequence.config().hidden))?;
        let held = self.held();
        let earlier = self.sequence.append(tokens, None, held)?;
        self.run(earlier, &mut |hidden, _| {
            out.extend_from_slice(hidden);
            ControlFlow::Continue(())
        })
    }

    /// Appends the hidden states of a text, which is read in one pass, to `out`.
    fn states_of_text(&mut self, tokens: &[u32], out: &mut Vec<f32>) -> Result<()> {
        self.sequence.check_at(0, tokens)?;
        self.reset();
        memory::grow(out, tokens.len().saturating_mul(self.sequence.config().hidden))?;
        let held = self.held();
        self.sequence.extend(tokens, held)?;
        let outcome = self.catch_up(&mut |hidden, _| {
            out.extend_from_slice(hidden);
            ControlFlow::Continue(())
        });
        self.reset();
        outcome
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
    /// ones) that were not evaluated. An answer begins, unless none is left.
    fn run(&mut self, earlier: usize, sink: &mut Sink<'_>) -> Result<()> {
        let outcome = self.catch_up(sink);
        if outcome.is_err() {
            self.sequence.drop_pending(earlier);
        }
        if outcome.is_ok() || self.tokens().len() > earlier {
            self.begin_answer();
        }
        outcome
    }

    /// Prefill of the pending tokens, batch by batch.
    fn catch_up(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        let held = self.held();
        self.sequence.reserve(self.sequence.pending(), held)?;
        while !self.sequence.pending().is_empty() {
            let mut group = self.alone();
            group.pass(false);
            group.outcome()?;
            let left = self.sequence.pending().len();
            if sink(self.buffers.scratch.hidden(), left).is_break() && left > 0 {
                return Err(SessionError::Cancelled);
            }
        }
        Ok(())
    }
}
