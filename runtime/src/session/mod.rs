//! A session: one sequence of tokens on a backbone, with or without a plugin. The one place where the parts meet.
//!
//! Sessions of one model can go on together, in a [`Batch`]: several users, the branches of a search, many samples of one
//! answer. Each gets what it would have got alone, for one read of the weights.
//!
//! A call that computes can be [cancelled](Canceller) from another thread, and can fail for want of memory. Either leaves the
//! session at the last complete position: what the call was to add is dropped from there on, what earlier calls added stays,
//! and the next call goes on.

mod batch;
mod error;
mod machine;
mod options;
mod pace;
mod score;
mod snapshot;
mod step;
mod window;

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::memory;
use crate::model::{BATCH, Config, Model, Scratch, State};
use crate::ops;
use crate::plugin::Plugin;
use crate::plugin::schema::PluginConfig;

pub use batch::{Batch, Turn};
pub use error::SessionError;
pub use options::{MemoryNeeded, SessionOptions, Window};
pub use pace::Canceller;
pub use score::Scored;
pub use snapshot::SnapshotError;
pub use step::{OptionView, Step};

use machine::{Machine, Threads};
use step::StepCache;

/// One sequence on a model.
#[derive(Debug)]
pub struct Session {
    model: Arc<Model>,
    plugin: Option<Arc<Plugin>>,
    machine: Machine,
    state: State,
    window: Option<Window>,
    memory_limit: Option<usize>,
    /// All tokens so far; the last ones may not have gone through the network yet.
    tokens: Vec<u32>,
    /// Tokens that have gone through the network.
    position: usize,
    /// The hidden state of the last of them, if no token waits: `[hidden]`. Whoever takes tokens away lets the last one left
    /// wait.
    hidden: Vec<f32>,
    step: StepCache,
    /// The buffers for what it does alone.
    batch: Batch,
    /// Bytes of their scratch, while they are lent.
    lent: usize,
}

impl Session {
    /// A session on `model`, whose steps go through `plugin` if there is one.
    ///
    /// # Errors
    /// [`Error::Isa`](crate::Error::Isa), [`Error::Threads`](crate::Error::Threads),
    /// [`Error::Affinity`](crate::Error::Affinity) or [`SessionError::Window`] if what `options` ask for cannot be had.
    pub fn new(model: Arc<Model>, plugin: Option<Arc<Plugin>>, options: &SessionOptions) -> Result<Self> {
        let context = options.positions(model.config());
        if let Some(window) = options.window {
            window.check(context)?;
        }
        Ok(Self {
            machine: Machine::new(options)?,
            state: State::new(model.config(), context),
            hidden: memory::filled(0.0, model.config().hidden)?,
            model,
            plugin,
            window: options.window,
            memory_limit: options.memory_limit,
            tokens: Vec::new(),
            position: 0,
            step: StepCache::default(),
            batch: Batch::default(),
            lent: 0,
        })
    }

    /// A second session that begins where this one is, and goes its own way: the keys and values of the text so far are
    /// shared, and copied only where one of the two writes. The two share their threads, and may run on different ones at
    /// the same time; each has a [`Canceller`] of its own.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn fork(&self) -> Result<Self> {
        Ok(Self {
            model: Arc::clone(&self.model),
            plugin: self.plugin.clone(),
            machine: self.machine.fork(),
            state: self.state.fork(),
            window: self.window,
            memory_limit: self.memory_limit,
            tokens: memory::copied(&self.tokens)?,
            position: self.position,
            hidden: memory::copied(&self.hidden)?,
            step: StepCache::default(),
            batch: Batch::default(),
            lent: 0,
        })
    }

    /// Bytes that a session on such a model needs when its context is full: `config` and `plugin` can be read from the
    /// files' metadata alone, before any weights are loaded.
    pub fn memory_needed(config: &Config, plugin: Option<&PluginConfig>, options: &SessionOptions) -> MemoryNeeded {
        let context = options.positions(config);
        let batch = Scratch::bytes_for(config, context.min(BATCH));
        let attention = ops::attention_bytes(config.kv_shape(), Threads::new(options).most(), context);
        let logits = StepCache::bytes_for(config.vocab, plugin.map_or(0, |spec| spec.options));
        let scratch = [batch, attention, logits].into_iter().fold(0, usize::saturating_add);
        MemoryNeeded { kv: State::bytes_for(config, context), scratch }
    }

    /// Bytes that the session holds now, beside the weights. What forks share counts for each of them.
    pub fn memory_used(&self) -> usize {
        self.state.bytes() + self.scratch_bytes() + self.step.bytes() + self.batch.logits_bytes()
    }

    /// Bytes of the buffers of a pass.
    fn scratch_bytes(&self) -> usize {
        self.batch.scratch.bytes(self.model.config()) + self.lent
    }

    /// Gives back what memory is not needed to go on: buffers, and the logits of the current step.
    pub fn trim(&mut self) {
        self.batch = Batch::default();
        self.state.truncate(self.position);
        self.step = StepCache::default();
        self.tokens.shrink_to_fit();
    }

    /// The backbone.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The plugin, if there is one.
    pub fn plugin(&self) -> Option<&Arc<Plugin>> {
        self.plugin.as_ref()
    }

    /// The text so far, fed and generated; in a [`Window`], what is left of it.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The number of [`Session::tokens`].
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// Positions there is room for.
    pub fn context(&self) -> usize {
        self.state.capacity()
    }

    /// The name of the instruction set in use.
    pub fn isa(&self) -> &'static str {
        self.machine.exec.isa.name()
    }

    /// Threads that compute a single step.
    pub fn threads(&self) -> usize {
        self.machine.threads.decode
    }

    /// Threads that compute many tokens at once.
    pub fn prefill_threads(&self) -> usize {
        self.machine.threads.prefill
    }

    /// What cancels this session's work from another thread.
    pub fn canceller(&self) -> Canceller {
        self.machine.pace.canceller.clone()
    }

    /// Lets computing take at most this `share` of the time (above 0; 1, as at first, is no limit), against heat: before
    /// each batch and each step the session rests as long as the work before asks for. A cancellation ends the rest.
    ///
    /// # Errors
    /// [`SessionError::Duty`].
    pub fn set_duty(&mut self, share: f32) -> Result<()> {
        Ok(self.machine.pace.set_duty(share)?)
    }

    /// Forgets every token.
    pub fn reset(&mut self) {
        self.tokens.clear();
        self.position = 0;
        self.state.truncate(0);
        self.step.clear();
    }

    /// Forgets the tokens from `position` on, and goes on from there. Memory that only they needed is given back.
    ///
    /// # Errors
    /// [`SessionError::PositionOutOfRange`] if there are not so many.
    pub fn rewind(&mut self, position: usize) -> Result<()> {
        let reached = self.tokens.len();
        if position > reached {
            return Err(SessionError::PositionOutOfRange { position, reached }.into());
        }
        if position < reached {
            self.tokens.truncate(position);
            // The hidden state of the last token left is gone: it goes through the network once more.
            self.position = self.position.min(position.saturating_sub(1));
            self.state.truncate(self.position);
            self.step.clear();
        }
        Ok(())
    }

    /// Adds `tokens` to the sequence. In a [`Window`] there may be any number of them: the session is then as if they had
    /// been fed one by one.
    ///
    /// # Errors
    /// [`SessionError::ContextFull`] or [`SessionError::TokenOutOfRange`]; [`SessionError::MemoryLimit`] or
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory); then nothing has changed. [`SessionError::Cancelled`]; then
    /// [`Session::position`] tells how many tokens were taken.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        let earlier = self.append(tokens, self.window)?;
        self.run(earlier, &mut |_| Ok(()))
    }

    /// Adds `tokens` to the sequence and appends their hidden states, after the final norm, to `out`: `[n][hidden]`. No
    /// [`Window`] slides here.
    ///
    /// # Errors
    /// As [`Session::feed`]; `out` has the hidden states of the tokens that were taken.
    pub fn hidden_states(&mut self, tokens: &[u32], out: &mut Vec<f32>) -> Result<()> {
        self.check(tokens)?;
        // What is pending belongs to earlier calls.
        self.catch_up(&mut |_| Ok(()))?;
        memory::grow(out, tokens.len().saturating_mul(self.model.config().hidden))?;
        let earlier = self.append(tokens, None)?;
        self.run(earlier, &mut |hidden| {
            out.extend_from_slice(hidden);
            Ok(())
        })
    }

    /// The hidden state of the last token, after the final norm: `[hidden]`.
    ///
    /// # Errors
    /// [`SessionError::Empty`], or as [`Session::feed`].
    pub fn hidden(&mut self) -> Result<&[f32]> {
        self.prepare()?;
        Ok(&self.hidden)
    }

    /// That these are tokens, and that there is room for them.
    fn check(&self, tokens: &[u32]) -> Result<()> {
        let (position, context) = (self.tokens.len(), self.context());
        if tokens.len() > context - position {
            return Err(SessionError::ContextFull { tokens: tokens.len(), position, context }.into());
        }
        self.check_vocabulary(tokens)
    }

    fn check_vocabulary(&self, tokens: &[u32]) -> Result<()> {
        let vocab = self.model.config().vocab;
        match tokens.iter().find(|&&token| token as usize >= vocab) {
            Some(&token) => Err(SessionError::TokenOutOfRange { token, vocab }.into()),
            None => Ok(()),
        }
    }

    /// Appends `tokens`, which are then pending, with memory for all of them; tells how many tokens there were before. If
    /// that fails, nothing has changed.
    fn append(&mut self, tokens: &[u32], window: Option<Window>) -> Result<usize> {
        match window {
            Some(window) if tokens.len() > self.context() - self.tokens.len() => {
                self.check_vocabulary(tokens)?;
                self.slide(window, tokens)
            }
            _ => {
                self.check(tokens)?;
                let (earlier, all) = (self.tokens.len(), self.tokens.len() + tokens.len());
                self.reserve(self.position..all)?;
                memory::reserve(&mut self.tokens, all)?;
                self.tokens.extend_from_slice(tokens);
                Ok(earlier)
            }
        }
    }

    /// Runs what is pending, and drops what could not be of the tokens after the `earlier` ones.
    fn run(&mut self, earlier: usize, sink: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let outcome = self.catch_up(sink);
        if outcome.is_err() {
            self.tokens.truncate(earlier.max(self.position));
            self.state.truncate(self.tokens.len());
        }
        outcome
    }

    /// Runs what is pending through the network, batch by batch, and hands each batch's hidden states to `sink`.
    fn catch_up(&mut self, sink: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        self.reserve(self.position..self.tokens.len())?;
        while self.waiting() > 0 {
            self.alone(Batch::pass_alone)?;
            sink(self.batch.scratch.hidden())?;
        }
        Ok(())
    }

    /// Tokens that have to go through the network.
    fn waiting(&self) -> usize {
        self.tokens.len() - self.position
    }

    /// The first `count` of them did, and the hidden state of the last of these is `hidden`.
    fn arrive(&mut self, count: usize, hidden: &[f32]) {
        self.position += count;
        self.hidden.copy_from_slice(hidden);
        self.step.clear();
    }

    /// Works with the session's own buffers.
    fn alone<T>(&mut self, work: impl FnOnce(&mut Batch, &mut Self) -> T) -> T {
        let mut batch = mem::take(&mut self.batch);
        self.lent = batch.scratch.bytes(self.model.config());
        let result = work(&mut batch, self);
        (self.batch, self.lent) = (batch, 0);
        result
    }

    /// Whether the two can go on together.
    fn is_like(&self, other: &Self) -> bool {
        let plugins = [self, other].map(|session| session.plugin.as_ref().map(Arc::as_ptr));
        Arc::ptr_eq(&self.model, &other.model) && plugins[0] == plugins[1] && self.isa() == other.isa()
    }

    /// Has memory for keys and values of `positions`, and may hold what running them needs.
    fn reserve(&mut self, positions: Range<usize>) -> Result<()> {
        if positions.is_empty() {
            return Ok(());
        }
        let config = self.model.config();
        let scratch = Scratch::bytes_for(config, positions.len().min(BATCH)).max(self.scratch_bytes());
        let attention = ops::attention_bytes(config.kv_shape(), self.machine.threads.most(), positions.end);
        let logits = self.step.bytes() + self.batch.logits_bytes();
        let state = self.state.bytes_with(positions.clone());
        self.allow([scratch, attention, logits].into_iter().fold(state, usize::saturating_add))?;
        Ok(self.state.reserve(positions)?)
    }

    /// That the session may hold so many bytes.
    fn allow(&self, needed: usize) -> Result<()> {
        match self.memory_limit {
            Some(limit) if needed > limit => Err(SessionError::MemoryLimit { needed, limit }.into()),
            _ => Ok(()),
        }
    }

    /// Makes the hidden state of the last token current.
    fn prepare(&mut self) -> Result<()> {
        self.make_ready()?;
        self.catch_up(&mut |_| Ok(()))
    }

    /// Has room and memory for what is pending. A window that is full slides.
    fn make_ready(&mut self) -> Result<()> {
        if self.tokens.is_empty() {
            return Err(SessionError::Empty.into());
        }
        if let Some(window) = self.window.filter(|_| self.tokens.len() == self.context()) {
            self.slide(window, &[])?;
        }
        self.reserve(self.position..self.tokens.len())
    }
}
