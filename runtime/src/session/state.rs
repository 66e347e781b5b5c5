//! A session: made, forked, rewound, trimmed.

use std::collections::HashSet;
use std::sync::Arc;

use ollm_kernels::memory;
use ollm_kernels::ops::{KvType, LayerKvCache};

use crate::constraint::{Constraint, ConstraintError};
use crate::model::{Adapted, Config, Model, Scratch, State};
use crate::plugin::schema::PluginConfig;
use crate::plugin::{LatentState, Plugin};

use super::buffers::{BufferBytes, Buffers};
use super::draft::{Drafter, Speculation};
use super::error::SessionError;
use super::group::{Group, Member};
use super::machine::{Machine, Threads};
use super::options::{MemoryNeeded, SessionOptions};
use super::pace::Canceller;
use super::sequence::{Sequence, StepCache, attention_bytes};
use super::statistics::{Meter, Statistics};

type Result<T, E = SessionError> = std::result::Result<T, E>;

/// One sequence on a model.
///
/// ```no_run
/// # fn main() -> ollm_runtime::Result<()> {
/// use std::{path::Path, sync::Arc};
/// use ollm_runtime::{model::Model, sampler::*, session::*};
///
/// let model = Arc::new(Model::open(Path::new("model.gguf"))?);
/// let mut session = Session::new(model, None, &SessionOptions::default())?;
/// session.feed(&[1, 2, 3])?;
/// let step = session.step(None, &mut Sampler::new(SamplerOptions::default())?)?;
/// # drop(step);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session {
    pub(super) sequence: Sequence,
    /// What is remembered of the latents of the current answer.
    pub(super) latent_state: LatentState,
    /// The buffers of what it computes alone.
    pub(super) buffers: Buffers,
}

impl Session {
    /// A session on `model`, whose steps go through `plugin` if there is one.
    ///
    /// # Errors
    /// [`SessionError::Bidirectional`] if there is a plugin, and nothing that it could choose.
    /// [`SessionError::Isa`], [`SessionError::Threads`], [`SessionError::Affinity`] or
    /// [`SessionError::ContextShift`] if what `options` ask for cannot be had.
    pub fn new(model: Arc<Model>, plugin: Option<Arc<Plugin>>, options: &SessionOptions) -> Result<Self> {
        if plugin.is_some() && !model.config().causal {
            return Err(SessionError::Bidirectional);
        }
        let context = options.positions(model.config());
        if let Some(shift) = options.context_shift {
            shift.check(context)?;
        }
        let state = State::of_type(model.config(), options.kv_type, context);
        let mut session = Self::empty(model, Machine::new(options)?, state)?;
        let sequence = &mut session.sequence;
        (sequence.plugin, sequence.context_shift) = (plugin, options.context_shift);
        sequence.memory_limit = options.memory_limit;
        Ok(session)
    }

    /// A session on another model, on the same workers, with a context of the same size. It works
    /// for this one: it is cancelled with it, and does not rest by itself.
    pub(crate) fn beside(&self, model: Arc<Model>) -> Result<Self> {
        let state = State::of_type(model.config(), self.kv_type(), self.context());
        let mut machine = self.sequence.machine.fork();
        machine.pace = self.sequence.machine.pace.helper();
        Self::empty(model, machine, state)
    }

    /// A session without a plugin, a limit and a text.
    fn empty(model: Arc<Model>, machine: Machine, state: State) -> Result<Self> {
        let sequence = Sequence {
            machine,
            state,
            hidden: memory::filled(0.0, model.config().hidden)?,
            model,
            plugin: None,
            context_shift: None,
            memory_limit: None,
            tokens: Vec::new(),
            position: 0,
            asked: 0,
            step: StepCache::default(),
            constraint: None,
            dropped: 0,
            meter: Meter::default(),
            adapters: Vec::new(),
            second: usize::MAX,
            speculation: None,
        };
        Ok(Self { sequence, latent_state: LatentState::default(), buffers: Buffers::default() })
    }

    /// Forks the session: a second, independent session with the same text, in the middle of the
    /// same answer. The KV cache of the text is shared (copy on write), and so are the states of
    /// recurrent layers. Both sessions share their workers and may be called from different threads
    /// at the same time; each has a [`Canceller`] of its own.
    ///
    /// # Errors
    /// [`SessionError::OutOfMemory`].
    pub fn fork(&self) -> Result<Self> {
        let Sequence { model, plugin, machine, state, context_shift, memory_limit, tokens, position, hidden, .. } =
            &self.sequence;
        let sequence = Sequence {
            model: Arc::clone(model),
            plugin: plugin.clone(),
            machine: machine.fork(),
            state: state.fork(),
            context_shift: *context_shift,
            memory_limit: *memory_limit,
            tokens: memory::copied(tokens)?,
            position: *position,
            asked: self.sequence.asked,
            hidden: memory::copied(hidden)?,
            step: StepCache::default(),
            constraint: self.sequence.constraint.clone(),
            dropped: self.sequence.dropped,
            meter: Meter::default(),
            adapters: self.sequence.adapters.clone(),
            second: usize::MAX,
            speculation: None,
        };
        Ok(Self { sequence, latent_state: self.latent_state, buffers: Buffers::default() })
    }

    /// A fork that is one of several branches of a text: they are cancelled together, by the signal
    /// of this session, and nobody limits the memory of each.
    pub(crate) fn branch(&self) -> Result<Self> {
        let mut branch = self.fork_under_canceller()?;
        branch.sequence.memory_limit = None;
        Ok(branch)
    }

    /// A fork whose work this session's canceller cancels.
    pub(crate) fn fork_under_canceller(&self) -> Result<Self> {
        let mut fork = self.fork()?;
        fork.sequence.machine.pace = self.sequence.machine.pace.branch();
        Ok(fork)
    }

    /// A fork with the limits of `origin`, in an answer that has come to `latent_state`.
    pub(crate) fn fork_as(&self, origin: &Self, latent_state: LatentState) -> Result<Self> {
        let mut session = self.fork()?;
        session.sequence.memory_limit = origin.sequence.memory_limit;
        session.latent_state = latent_state;
        Ok(session)
    }

    /// Whether `other` has the same model, plugin, instruction set, KV type and context, and the
    /// same text.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        let (own, others) = (&self.sequence, &other.sequence);
        own.can_batch_with(others)
            && own.context() == others.context()
            && own.dropped == others.dropped
            && own.tokens == others.tokens
            && own.has_adapters_of(others)
    }

    /// Comes to where `other` is, which began from the same text, in an answer that has come to
    /// `latent_state`. The KV cache is shared (copy on write).
    pub(crate) fn advance_to(&mut self, other: &Self, latent_state: LatentState) -> Result<()> {
        let Sequence { tokens, hidden, position, dropped, constraint, .. } = &other.sequence;
        let (tokens, hidden, state) = (memory::copied(tokens)?, memory::copied(hidden)?, other.sequence.state.fork());
        let held = self.held();
        self.sequence.check_memory_limit(state.bytes() + held.scratch + held.logits)?;
        (self.sequence.tokens, self.sequence.hidden, self.sequence.state) = (tokens, hidden, state);
        (self.sequence.position, self.sequence.dropped) = (*position, *dropped);
        self.sequence.asked = other.sequence.asked;
        self.sequence.step = StepCache::default();
        self.sequence.constraint.clone_from(constraint);
        self.latent_state = latent_state;
        Ok(())
    }

    /// Appends a token that was chosen.
    pub(crate) fn accept(&mut self, token: u32) -> Result<()> {
        self.sequence.accept(token)
    }

    /// Tokens that wait for their pass through the network.
    pub(crate) fn pending(&self) -> usize {
        self.sequence.pending().len()
    }

    /// That there is room for one more token, or a context to shift.
    pub(crate) fn check_room(&self) -> Result<()> {
        self.sequence.check_room()
    }

    /// The place of the next token: the tokens before it, those that context shifts have dropped
    /// included.
    pub(crate) fn place(&self) -> u64 {
        self.sequence.place()
    }

    /// Bytes that the session may hold.
    pub(crate) fn memory_limit(&self) -> Option<usize> {
        self.sequence.memory_limit
    }

    /// Bytes of the KV cache and of recurrent states that no session that `seen` knows of shares;
    /// it knows this one then.
    pub(crate) fn kv_bytes_unseen(&self, seen: &mut HashSet<usize>) -> usize {
        self.sequence.state.bytes_unseen(seen)
    }

    /// Bytes of the KV cache that `tokens` more tokens will need.
    pub(crate) fn kv_bytes_missing(&self, tokens: usize) -> usize {
        let Sequence { state, position, .. } = &self.sequence;
        state.bytes_with(*position..self.position() + tokens, 0) - state.bytes()
    }

    /// Bytes that a session on such a model needs when its context is full: `config` and `plugin`
    /// can be read from the files' metadata alone, before any weights are loaded.
    pub fn memory_needed(config: &Config, plugin: Option<&PluginConfig>, options: &SessionOptions) -> MemoryNeeded {
        let context = options.positions(config);
        let batch = Scratch::bytes_for(config, config.pass_tokens(context));
        let attention = attention_bytes(config, Threads::new(options).most(), context);
        let logits = StepCache::bytes_for(config.vocab, plugin.map_or(0, |plugin| plugin.options));
        let scratch = [batch, attention, logits].into_iter().fold(0, usize::saturating_add);
        MemoryNeeded { kv: State::bytes_for(config, options.kv_type, context), scratch }
    }

    /// Bytes of KV cache that `count` forks of a session with `shared` tokens come to hold at most,
    /// together, when each has `tokens`.
    pub fn kv_needed(config: &Config, kv_type: KvType, shared: usize, tokens: usize, count: usize) -> usize {
        let of = |tokens| State::bytes_for(config, kv_type, LayerKvCache::with_headroom(tokens));
        let own = of(tokens.saturating_sub(shared)).saturating_mul(count);
        of(shared).saturating_add(own).min(of(tokens.max(shared)).saturating_mul(count))
    }

    /// Bytes of KV cache that these sessions hold together: memory that they share counts once.
    pub fn kv_bytes<'s>(sessions: impl IntoIterator<Item = &'s Self>) -> usize {
        let mut seen = HashSet::new();
        sessions.into_iter().map(|session| session.kv_bytes_unseen(&mut seen)).sum()
    }

    /// Bytes that the session holds now, without the weights. Memory that forks share counts for
    /// each.
    pub fn memory_used(&self) -> usize {
        self.sequence.bytes(self.held())
    }

    /// Frees memory that is not needed to continue: buffers, and the logits of the current step.
    pub fn trim(&mut self) {
        let Sequence { state, position, step, tokens, .. } = &mut self.sequence;
        state.truncate(*position);
        *step = StepCache::default();
        tokens.shrink_to_fit();
        self.buffers = Buffers::default();
    }

    /// The backbone.
    pub fn model(&self) -> &Arc<Model> {
        &self.sequence.model
    }

    /// The plugin, if there is one.
    pub fn plugin(&self) -> Option<&Arc<Plugin>> {
        self.sequence.plugin.as_ref()
    }

    /// The text so far, fed and generated; after a [`ContextShift`](super::ContextShift), what is
    /// left of it.
    pub fn tokens(&self) -> &[u32] {
        &self.sequence.tokens
    }

    /// The number of [`Session::tokens`].
    pub fn position(&self) -> usize {
        self.sequence.tokens.len()
    }

    /// What is remembered of the latents of the current answer: which latent is held, and for how
    /// long it has been.
    pub fn latent_state(&self) -> LatentState {
        self.latent_state
    }

    /// Lets go of a held latent: the next generated token begins an answer, as after a feed. A
    /// [constraint](Session::set_constraint) begins anew.
    pub fn begin_answer(&mut self) {
        self.latent_state = LatentState::default();
        if let Some(constraint) = &mut self.sequence.constraint {
            constraint.reset();
        }
    }

    /// Constrains the text that is generated from here on; `None` leaves it free. Each answer keeps
    /// to the grammar: a feed begins it anew. Steps, option sets, suggestions and branches have no
    /// other tokens than those that it allows. A constraint that has accepted tokens continues from
    /// there: an answer that begins with fed tokens, or a restored one, is constrained like that.
    ///
    /// Forks have the same constraint, each in a state of its own. A rewind takes the constraint
    /// back over the generated tokens. A snapshot has none: set it again, with the tokens of the
    /// answer accepted.
    ///
    /// # Errors
    /// [`ConstraintError::Mismatch`]; the constraint then stays as it was.
    pub fn set_constraint(&mut self, constraint: Option<Constraint>) -> Result<()> {
        if let Some(constraint) = &constraint {
            let (grammar, model) = (constraint.grammar().vocabulary(), self.sequence.config().vocab);
            if grammar != model {
                return Err(ConstraintError::Mismatch { grammar, model }.into());
            }
        }
        self.sequence.constraint = constraint;
        Ok(())
    }

    /// What generated text keeps to.
    pub fn constraint(&self) -> Option<&Constraint> {
        self.sequence.constraint.as_ref()
    }

    /// Sets the low-rank adapters of all that follows; none takes the backbone as it is. The tokens
    /// that are there stay as they were computed: rewind to compute them anew. (What follows the
    /// nearest checkpoint of recurrent layers is computed anew with them.)
    ///
    /// # Errors
    /// [`SessionError::OtherAdapter`] if one was loaded for another model,
    /// [`SessionError::AdapterScale`] if its scale is no number.
    pub fn set_adapters(&mut self, adapters: Vec<Adapted>) -> Result<()> {
        for (adapter, scale) in &adapters {
            if !adapter.fits(self.model()) {
                return Err(SessionError::OtherAdapter);
            }
            if !scale.is_finite() {
                return Err(SessionError::AdapterScale(*scale));
            }
        }
        self.sequence.adapters = adapters;
        self.sequence.take_back_drafts();
        Ok(())
    }

    /// Sets what guesses the tokens to come; `None` guesses none. What it guesses goes through the
    /// network beside the last token, and is of use where the steps choose just that: the steps are
    /// the same, bit for bit, and fewer passes are made. How long drafts are follows from what they
    /// bring. Steps of this session alone draft: batches, branches and forks do not.
    pub fn set_drafter(&mut self, drafter: Option<Box<dyn Drafter>>) {
        self.sequence.step.ahead.clear();
        self.sequence.speculation = drafter.map(Speculation::new);
    }

    /// The low-rank adapters, and how much of each is added.
    pub fn adapters(&self) -> &[Adapted] {
        &self.sequence.adapters
    }

    /// What the session has done.
    pub fn statistics(&self) -> Statistics {
        Statistics { kv_bytes: self.sequence.state.bytes(), ..self.sequence.meter.statistics }
    }

    /// Positions there is room for.
    pub fn context(&self) -> usize {
        self.sequence.context()
    }

    /// The type of the keys and values in the KV cache.
    pub fn kv_type(&self) -> KvType {
        self.sequence.state.kv_type()
    }

    /// The name of the instruction set in use.
    pub fn isa(&self) -> &'static str {
        self.sequence.machine.exec.isa.name()
    }

    /// Threads for decode (a single step).
    pub fn threads(&self) -> usize {
        self.sequence.machine.threads.decode
    }

    /// Threads for prefill (many tokens at once).
    pub fn prefill_threads(&self) -> usize {
        self.sequence.machine.threads.prefill
    }

    /// A canceller, which cancels this session's work from any thread.
    pub fn canceller(&self) -> Canceller {
        self.sequence.machine.pace.canceller.clone()
    }

    /// Sets the duty cycle, against thermal throttling: computing takes at most this `share` of the
    /// time (above 0; 1, as at first, is no limit). Before each batch and each step the session
    /// rests as long as the work before asks for. A cancellation ends the rest.
    ///
    /// # Errors
    /// [`SessionError::Duty`].
    pub fn set_duty(&mut self, share: f32) -> Result<()> {
        self.sequence.machine.pace.set_duty(share)
    }

    /// Forgets every token.
    pub fn reset(&mut self) {
        self.begin_answer();
        let Sequence { tokens, position, asked, state, step, dropped, .. } = &mut self.sequence;
        tokens.clear();
        (*position, *asked) = (0, 0);
        state.truncate(0);
        step.clear();
        *dropped = 0;
    }

    /// Rewinds to `position`: the tokens from there on are forgotten, and their memory is freed.
    /// The next generated token begins an answer: no latent is held any more. Random numbers belong
    /// to places in the text, so the same steps as before give the same tokens. A constraint goes
    /// back as far. A recurrent layer has no state of any position but some
    /// ([`Config::checkpoint_interval`]): the tokens that follow the nearest one go through the
    /// network once more, with the next step or feed.
    ///
    /// # Errors
    /// [`SessionError::PositionOutOfRange`] if there are not so many.
    pub fn rewind(&mut self, position: usize) -> Result<()> {
        let sequence = &mut self.sequence;
        let reached = sequence.tokens.len();
        if position > reached {
            return Err(SessionError::PositionOutOfRange { position, reached });
        }
        if let Some(constraint) = &mut sequence.constraint {
            constraint.rewind(constraint.tokens().len().saturating_sub(reached - position))?;
        }
        self.latent_state = LatentState::default();
        if position < reached {
            sequence.tokens.truncate(position);
            // The hidden state of the last token left is gone: it goes through the network once
            // more.
            sequence.go_back(position.saturating_sub(1));
            sequence.step.clear();
        }
        Ok(())
    }

    /// Bytes of the buffers that the session holds.
    pub(super) fn held(&self) -> BufferBytes {
        self.buffers.bytes(self.sequence.config())
    }

    /// The session as a group of one, with its own buffers.
    pub(super) fn alone(&mut self) -> Group<'_, '_> {
        self.split().0
    }

    /// The session as a group of one, and what it remembers of latents.
    pub(super) fn split(&mut self) -> (Group<'_, '_>, &mut LatentState) {
        let Self { sequence, latent_state, buffers } = self;
        (Group::new(buffers, vec![Member::new(sequence, None)]), latent_state)
    }

    /// The session as a member of a group that has buffers, and what it remembers of latents.
    pub(super) fn in_batch(&mut self) -> (Member<'_>, &mut LatentState) {
        let own = self.held();
        (Member::new(&mut self.sequence, Some(own)), &mut self.latent_state)
    }
}
