//! One sequence of tokens: its text, its state, and the results of its current step.

use std::ops::Range;
use std::sync::Arc;

use ollm_kernels::memory;
use ollm_kernels::ops;

use crate::constraint::Constraint;
use crate::model::{Adapted, Config, Model, Scratch, State};
use crate::plugin::Plugin;

use super::ahead::Ahead;
use super::buffers::BufferBytes;
use super::draft::{self, Speculation};
use super::error::SessionError;
use super::latents::ROWS;
use super::machine::Machine;
use super::options::ContextShift;
use super::statistics::Meter;

type Result<T, E = SessionError> = std::result::Result<T, E>;

/// The state of a [`Session`](super::Session), without its buffers.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) model: Arc<Model>,
    pub(super) plugin: Option<Arc<Plugin>>,
    pub(super) machine: Machine,
    pub(super) state: State,
    pub(super) context_shift: Option<ContextShift>,
    pub(super) memory_limit: Option<usize>,
    /// All tokens so far; the last ones may not have gone through the network yet.
    pub(super) tokens: Vec<u32>,
    /// Tokens that have gone through the network.
    pub(super) position: usize,
    /// Those of them that have done so without drafts too. The other ones were drafted and chosen,
    /// and nothing has been asked of what they give.
    pub(super) asked: usize,
    /// The hidden state of the last evaluated token, if no token is pending: `[hidden]`. A method
    /// that removes tokens makes the last remaining token pending.
    pub(super) hidden: Vec<f32>,
    pub(super) step: StepCache,
    /// What generated text keeps to.
    pub(super) constraint: Option<Constraint>,
    /// Tokens that context shifts have dropped.
    pub(super) dropped: u64,
    pub(super) meter: Meter,
    /// What is added to the backbone's matrices.
    pub(super) adapters: Vec<Adapted>,
    /// The position of the first token of the second segment, beyond all tokens if there is none.
    pub(super) second: usize,
    /// What guesses the tokens to come.
    pub(super) speculation: Option<Speculation>,
}

/// The results of the current step that are known.
#[derive(Debug, Default)]
pub(super) struct StepCache {
    /// The policy's probabilities: `[options]`, or empty.
    pub(super) policy: Vec<f32>,
    /// Logits of every option: `[options][vocab]`, or empty.
    pub(super) options: Vec<f32>,
    /// The tokens after it that went through the network before they were chosen.
    pub(super) ahead: Ahead,
}

impl StepCache {
    pub(super) fn clear(&mut self) {
        self.policy.clear();
        self.options.clear();
        self.ahead.clear();
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        (self.policy.capacity() + self.options.capacity()) * size_of::<f32>() + self.ahead.bytes()
    }

    /// Bytes of it and of the logits that a token is chosen from at most, with `options` options (0
    /// without a plugin).
    pub(super) fn bytes_for(vocab: usize, options: usize) -> usize {
        (options + 1).saturating_mul(vocab).saturating_add(options).saturating_mul(size_of::<f32>())
    }
}

impl Sequence {
    /// The shape of the backbone.
    pub(super) fn config(&self) -> &Config {
        self.model.config()
    }

    /// Positions there is room for.
    pub(super) fn context(&self) -> usize {
        self.state.capacity()
    }

    /// The place of the next token: the tokens before it, those that were dropped included. Random
    /// numbers belong to places.
    pub(super) fn place(&self) -> u64 {
        self.dropped.wrapping_add(self.tokens.len() as u64)
    }

    /// The plugin.
    pub(super) fn plugin(&self) -> Result<&Arc<Plugin>> {
        self.plugin.as_ref().ok_or(SessionError::NoPlugin)
    }

    /// The plugin's number of options; 0 without one.
    pub(super) fn options(&self) -> usize {
        self.plugin.as_ref().map_or(0, |plugin| plugin.option_count())
    }

    /// Whether the two can be in one batch.
    pub(super) fn can_batch_with(&self, other: &Self) -> bool {
        let plugins = [self, other].map(|sequence| sequence.plugin.as_ref().map(Arc::as_ptr));
        let isas = [self, other].map(|sequence| sequence.machine.exec.isa.name());
        let kv_types = [self, other].map(|sequence| sequence.state.kv_type());
        Arc::ptr_eq(&self.model, &other.model)
            && plugins[0] == plugins[1]
            && isas[0] == isas[1]
            && kv_types[0] == kv_types[1]
    }

    /// Whether both have the same adapters.
    pub(super) fn has_adapters_of(&self, other: &Self) -> bool {
        let same =
            |(one, other): (&Adapted, &Adapted)| Arc::ptr_eq(&one.0, &other.0) && one.1.to_bits() == other.1.to_bits();
        self.adapters.len() == other.adapters.len() && self.adapters.iter().zip(&other.adapters).all(same)
    }

    /// That these are tokens, and that there is room for them.
    pub(super) fn check(&self, tokens: &[u32]) -> Result<()> {
        self.check_at(self.tokens.len(), tokens)
    }

    /// That these are tokens, and that there is room for them from `position` on.
    pub(super) fn check_at(&self, position: usize, tokens: &[u32]) -> Result<()> {
        let context = self.context();
        if tokens.len() > context - position {
            return Err(SessionError::ContextFull { tokens: tokens.len(), position, context });
        }
        self.check_vocabulary(tokens)
    }

    /// That the model continues texts.
    pub(super) fn check_causal(&self) -> Result<()> {
        if self.config().causal { Ok(()) } else { Err(SessionError::Bidirectional) }
    }

    pub(super) fn check_vocabulary(&self, tokens: &[u32]) -> Result<()> {
        let vocab = self.config().vocab;
        match tokens.iter().find(|&&token| token as usize >= vocab) {
            Some(&token) => Err(SessionError::TokenOutOfRange { token, vocab }),
            None => Ok(()),
        }
    }

    /// That there is room for one more token, or a context to shift.
    pub(super) fn check_room(&self) -> Result<()> {
        if self.context_shift.is_some() { Ok(()) } else { self.check(&[0]) }
    }

    /// Appends `tokens`, which are then pending, with memory for all of them; tells how many tokens
    /// there were before. If that fails, nothing has changed.
    pub(super) fn append(
        &mut self,
        tokens: &[u32],
        context_shift: Option<ContextShift>,
        held: BufferBytes,
    ) -> Result<usize> {
        self.check_causal()?;
        self.step.ahead.clear();
        match context_shift {
            Some(shift) if tokens.len() > self.context() - self.tokens.len() => {
                self.check_vocabulary(tokens)?;
                self.shift(shift, tokens, held)
            }
            _ => {
                self.check(tokens)?;
                self.extend(tokens, held)
            }
        }
    }

    /// Appends `tokens`, for which there is room in the context.
    pub(super) fn extend(&mut self, tokens: &[u32], held: BufferBytes) -> Result<usize> {
        let (earlier, all) = (self.tokens.len(), self.tokens.len() + tokens.len());
        self.reserve(self.position..all, held)?;
        memory::reserve(&mut self.tokens, all)?;
        self.tokens.extend_from_slice(tokens);
        Ok(earlier)
    }

    /// Drops the pending tokens after the `earlier` ones.
    pub(super) fn drop_pending(&mut self, earlier: usize) {
        self.tokens.truncate(earlier.max(self.position));
        self.state.truncate(self.tokens.len());
    }

    /// Reserves context and memory for the pending tokens, with a context shift if the context is
    /// full.
    pub(super) fn make_ready(&mut self, held: BufferBytes) -> Result<()> {
        self.check_causal()?;
        if self.tokens.is_empty() {
            return Err(SessionError::Empty);
        }
        if let Some(shift) = self.context_shift.filter(|_| self.tokens.len() == self.context()) {
            self.shift(shift, &[], held)?;
        }
        self.reserve(self.pending(), held)
    }

    /// Drafts what may follow the pending tokens, if there is memory for it; tells how many tokens
    /// that are.
    pub(super) fn draft(&mut self, held: BufferBytes) -> usize {
        if self.speculation.is_none() || !self.has_room_to_draft(held) {
            return 0;
        }
        let (pending, room, vocab) = (self.pending(), self.context() - self.tokens.len(), self.config().vocab);
        let Some(speculation) = &mut self.speculation else { return 0 };
        let drafted = speculation.draft(&self.tokens, pending.len(), room, vocab);
        let positions = pending.start..pending.end + drafted;
        let has_memory = drafted == 0 || self.reserve_with_draft(positions, drafted, held).is_ok();
        if has_memory { drafted } else { 0 }
    }

    /// Whether the memory limit has room for drafts beside a full context: no step then fails for
    /// what a draft holds.
    fn has_room_to_draft(&self, held: BufferBytes) -> bool {
        let (config, context) = (self.config(), self.context());
        let rows = (ROWS.max(self.options()) + 1).saturating_mul(config.vocab);
        let floats = rows.saturating_add(draft::LONGEST.saturating_mul(config.hidden));
        let needed = [
            State::bytes_for(config, self.state.kv_type(), context),
            Scratch::bytes_for(config, draft::LONGEST_PASS).max(held.scratch),
            attention_bytes(config, self.machine.threads.most(), context),
            StepCache::bytes_for(config.vocab, self.options()).max(held.logits),
            floats.saturating_mul(size_of::<f32>()),
        ];
        self.check_memory_limit(needed.into_iter().fold(0, usize::saturating_add)).is_ok()
    }

    /// Positions of the tokens that have to go through the network.
    pub(super) fn pending(&self) -> Range<usize> {
        self.position..self.tokens.len()
    }

    /// The first of the pending tokens went through the network, and after them those of a draft:
    /// their hidden states are `hidden`, `[tokens][hidden]`.
    pub(super) fn commit(&mut self, hidden: &[f32]) {
        let (width, pending) = (self.hidden.len(), self.pending().len());
        let count = pending.min(hidden.len() / width);
        let (own, drafted) = hidden.split_at(count * width);
        self.hidden.copy_from_slice(&own[own.len() - width..]);
        self.position += count;
        self.asked = self.position;
        self.step.clear();
        if let Some(speculation) = self.speculation.as_ref().filter(|_| !drafted.is_empty()) {
            self.meter.drafted(drafted.len() / width);
            // Without memory nothing is ahead.
            self.step.ahead = Ahead::new(&speculation.tokens()[pending..], drafted).unwrap_or_default();
        }
    }

    /// Bytes that the session holds now, without the weights.
    pub(super) fn bytes(&self, held: BufferBytes) -> usize {
        self.state.bytes() + held.scratch + self.step.bytes() + held.logits
    }

    /// Goes back to `position`, or to the nearest place before it that a pass can begin at: the
    /// tokens from there on are pending.
    pub(super) fn go_back(&mut self, position: usize) {
        self.position = self.state.resumable(self.position.min(position));
        self.asked = self.asked.min(self.position);
        self.state.truncate(self.position);
    }

    /// Takes back what drafts have computed and nothing was asked of: it is pending, as it is
    /// without drafts.
    pub(super) fn take_back_drafts(&mut self) {
        self.step.ahead.clear();
        if self.asked < self.position {
            self.go_back(self.asked);
            self.step.clear();
        }
    }

    /// Reserves the KV cache of `positions`, if the memory limit allows it and the scratch of their
    /// pass.
    pub(super) fn reserve(&mut self, positions: Range<usize>, held: BufferBytes) -> Result<()> {
        self.reserve_with_draft(positions, 0, held)
    }

    /// The same; the last `drafted` of them may be taken back.
    fn reserve_with_draft(&mut self, positions: Range<usize>, drafted: usize, held: BufferBytes) -> Result<()> {
        if positions.is_empty() {
            return Ok(());
        }
        let config = self.model.config();
        let scratch = Scratch::bytes_for(config, config.pass_tokens(positions.len())).max(held.scratch);
        let attention = attention_bytes(config, self.machine.threads.most(), positions.end);
        let logits = self.step.bytes() + held.logits;
        let state = self.state.bytes_with(positions.clone(), drafted);
        self.check_memory_limit([scratch, attention, logits].into_iter().fold(state, usize::saturating_add))?;
        Ok(self.state.reserve(positions)?)
    }

    /// That the session may hold the logits of `rows` distributions, in place of those that it
    /// holds.
    pub(super) fn check_logits(&self, rows: usize, held: BufferBytes) -> Result<()> {
        let logits = rows.saturating_mul(self.config().vocab).saturating_mul(size_of::<f32>());
        let others = self.state.bytes() + held.scratch;
        self.check_memory_limit(others.saturating_add(logits))
    }

    /// That the session may hold so many bytes.
    pub(super) fn check_memory_limit(&self, needed: usize) -> Result<()> {
        match self.memory_limit {
            Some(limit) if needed > limit => Err(SessionError::MemoryLimit { needed, limit }),
            _ => Ok(()),
        }
    }
}

/// Bytes that attention over `positions` needs on so many threads.
pub(super) fn attention_bytes(config: &Config, threads: usize, positions: usize) -> usize {
    config.kv_shapes().map(|shape| ops::attention_bytes(shape, threads, positions)).max().unwrap_or(0)
}
