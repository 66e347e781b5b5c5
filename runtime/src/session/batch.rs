//! Sessions that go on together: what waits in each of them goes through the network in one pass over the weights.
//!
//! Alone, a step reads every weight for one token; the weights are what it waits for. Sessions of one model share that
//! read. None of them notices: positions, keys and values, random choices, errors are each session's own, and its results
//! have the same bits as if it had been alone.

use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::memory::{self, OutOfMemory};
use crate::model::{BATCH, Part, Scratch, Stage, forward};
use crate::ops::Quantized;
use crate::plugin::{Plugin, Selector};
use crate::sampler::Sampler;

use super::step::mixture;
use super::{Session, SessionError, Step};

/// The buffers that sessions need to go on together, kept from call to call.
///
/// The sessions of a call are of one model, one plugin and one instruction set, such as [forks](Session::fork) are; the
/// threads of the first of them compute. A batch may have other sessions at each call, and any number of them. It rests
/// for the [duty](Session::set_duty) of each, so the smallest one sets its pace.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) scratch: Scratch,
    pub(super) quantized: Quantized,
    /// Logits that sessions choose from: `[rows][vocab]`
    logits: Vec<f32>,
    /// The mixture of the options of a session: `[vocab]`
    mixed: Vec<f32>,
}

/// A session's part in [`Batch::step`].
#[derive(Debug)]
pub struct Turn<'a> {
    /// The session.
    pub session: &'a mut Session,
    /// What selects the latent; `None` leaves the step to the backbone.
    pub selector: Option<&'a mut Selector>,
    /// What chooses the token.
    pub sampler: &'a mut Sampler,
}

/// What a step takes its distribution from.
#[derive(Debug)]
pub(super) enum Way<'a> {
    Backbone,
    Latent(usize),
    Selector(&'a mut Selector),
}

/// What a session chooses by.
struct Choice<'a> {
    way: Way<'a>,
    sampler: &'a mut Sampler,
}

/// Rows of logits that are held at once, unless one session needs more.
const ROWS: usize = 64;

impl Batch {
    /// Makes the hidden state of the last token of each session current: [`Session::hidden`], [`Session::policy`] and
    /// [`Session::option_set`] need no pass of their own then. Sessions for which it is are left as they are.
    ///
    /// What a session fails with is its own: the others go on. Each has the outcome that [`Session::hidden`] would have had.
    pub fn advance(&mut self, sessions: &mut [&mut Session]) -> Vec<Result<()>> {
        let mut group = Group::new(self, sessions.iter_mut().map(|session| &mut **session).collect());
        group.advance();
        group.outcomes
    }

    /// Takes a step of each session, as [`Session::step`] would: their tokens go through the network together, and so do their
    /// hidden states through policy, decoder and head.
    ///
    /// What a session fails with is its own: the others go on. A pass ends early only when all of its sessions are cancelled.
    pub fn step(&mut self, turns: &mut [Turn<'_>]) -> Vec<Result<Step>> {
        let (mut sessions, mut choices) = (Vec::new(), Vec::new());
        for Turn { session, selector, sampler } in turns {
            sessions.push(&mut **session);
            let way = selector.as_deref_mut().map_or(Way::Backbone, Way::Selector);
            choices.push(Choice { way, sampler });
        }
        Group::new(self, sessions).step(&mut choices)
    }

    /// The step of one session.
    pub(super) fn step_alone(&mut self, session: &mut Session, way: Way<'_>, sampler: &mut Sampler) -> Result<Step> {
        Group::new(self, vec![session]).step(&mut [Choice { way, sampler }]).remove(0)
    }

    /// One pass of one session.
    pub(super) fn pass_alone(&mut self, session: &mut Session) -> Result<()> {
        let mut group = Group::new(self, vec![session]);
        group.pass();
        group.outcomes.remove(0)
    }

    /// Bytes of the logits that it holds.
    pub(super) fn logits_bytes(&self) -> usize {
        (self.logits.capacity() + self.mixed.capacity()) * size_of::<f32>()
    }
}

/// Sessions in a call that they share. Whoever fails takes no further part.
struct Group<'b, 's> {
    batch: &'b mut Batch,
    sessions: Vec<&'s mut Session>,
    outcomes: Vec<Result<()>>,
}

impl<'b, 's> Group<'b, 's> {
    fn new(batch: &'b mut Batch, sessions: Vec<&'s mut Session>) -> Self {
        let alike = |session: &&mut Session| match sessions.first() {
            Some(first) if !first.is_like(session) => Err(SessionError::NotAlike.into()),
            _ => Ok(()),
        };
        let outcomes = sessions.iter().map(alike).collect();
        Self { batch, sessions, outcomes }
    }

    /// The sessions that take part, with their indices.
    fn live(&self) -> impl Iterator<Item = (usize, &Session)> {
        let all = self.sessions.iter().zip(&self.outcomes).enumerate();
        all.filter(|(_, (_, outcome))| outcome.is_ok()).map(|(i, (session, _))| (i, &**session))
    }

    /// Does something for each session that takes part.
    fn each(&mut self, mut work: impl FnMut(usize, &mut Session) -> Result<()>) {
        for (i, (session, outcome)) in self.sessions.iter_mut().zip(&mut self.outcomes).enumerate() {
            if outcome.is_ok() {
                *outcome = work(i, session);
            }
        }
    }

    /// Runs what waits.
    fn advance(&mut self) {
        self.each(|_, session| session.make_ready());
        while self.live().any(|(_, session)| session.waiting() > 0) {
            self.pass();
        }
    }

    /// One pass over the weights, with as many of the waiting tokens as a batch takes.
    fn pass(&mut self) {
        let (mut counts, mut room) = (vec![0; self.sessions.len()], BATCH);
        self.each(|i, session| {
            let count = session.waiting().min(room);
            if count > 0 {
                session.machine.pace.begin()?;
            }
            room -= count;
            counts[i] = count;
            Ok(())
        });
        let begin = Instant::now();
        let outcome = run(&mut self.batch.scratch, &mut self.sessions, &counts);
        let (mut hidden, width) = (self.batch.scratch.hidden(), self.sessions.first().map_or(0, |s| s.hidden.len()));
        for (i, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.sessions[i].machine.pace.end(begin);
            match &outcome {
                Err(error) => self.outcomes[i] = Err((*error).into()),
                Ok(cancelled) if cancelled.contains(&i) => self.outcomes[i] = Err(SessionError::Cancelled.into()),
                Ok(_) => self.sessions[i].arrive(count, &hidden[(count - 1) * width..count * width]),
            }
            hidden = hidden.get(count * width..).unwrap_or_default();
        }
    }

    /// These sessions fail with the same.
    fn fail(&mut self, sessions: &[usize], error: OutOfMemory) {
        for &i in sessions {
            self.outcomes[i] = Err(error.into());
        }
    }

    /// A step of each session, by its way.
    fn step(mut self, choices: &mut [Choice<'_>]) -> Vec<Result<Step>> {
        self.each(|i, session| session.check_step(&choices[i].way));
        self.advance();
        self.policies(choices);
        let mut wanted = vec![Wanted::default(); self.sessions.len()];
        self.each(|i, session| {
            wanted[i] = session.want(&mut choices[i].way)?;
            Ok(session.machine.pace.begin().map(drop)?)
        });
        let (begin, live): (_, Vec<usize>) = (Instant::now(), self.live().map(|(i, _)| i).collect());
        let mut steps = vec![Step { token: 0, latent: None, logprob: 0.0 }; self.sessions.len()];
        for portion in portions(&live, &wanted) {
            if let Err(error) = self.logits(portion, &wanted) {
                self.fail(portion, error);
            }
            self.choose(portion, &wanted, choices, &mut steps);
        }
        for i in live {
            self.sessions[i].machine.pace.end(begin);
        }
        self.outcomes.into_iter().zip(steps).map(|(outcome, step)| outcome.map(|()| step)).collect()
    }

    /// Chooses the tokens of a portion from its logits.
    fn choose(&mut self, portion: &[usize], wanted: &[Wanted], choices: &mut [Choice<'_>], steps: &mut [Step]) {
        let mut row = 0;
        for &i in portion {
            if self.outcomes[i].is_ok() {
                match self.batch.choose(self.sessions[i], &wanted[i], row, &mut choices[i]) {
                    Ok(step) => steps[i] = step,
                    Err(error) => self.outcomes[i] = Err(error),
                }
            }
            row += wanted[i].rows();
        }
    }

    /// What the policy says, for the sessions that ask for it and do not know it yet.
    fn policies(&mut self, choices: &[Choice<'_>]) {
        let asks = |&(i, session): &(usize, &Session)| {
            matches!(choices[i].way, Way::Selector(_)) && session.step.policy.is_empty()
        };
        let asking: Vec<usize> = self.live().filter(asks).map(|(i, _)| i).collect();
        let policies = match self.policies_of(&asking) {
            Ok(policies) => policies,
            Err(error) => return self.fail(&asking, error),
        };
        let mut rows = policies.chunks_exact((policies.len() / asking.len().max(1)).max(1));
        for i in asking {
            let policy = rows.next().unwrap_or_default();
            self.outcomes[i] = self.sessions[i].set_policy(policy);
        }
    }

    /// Their rows, one session after the other.
    fn policies_of(&mut self, asking: &[usize]) -> Result<Vec<f32>, OutOfMemory> {
        let mut hidden = Vec::new();
        for &i in asking {
            append(&mut hidden, &self.sessions[i].hidden)?;
        }
        match self.leader() {
            Some((plugin, first)) if !asking.is_empty() => plugin.policy(&mut first.machine.exec, &hidden),
            _ => Ok(hidden),
        }
    }

    /// The plugin, and the session that computes.
    fn leader(&mut self) -> Option<(Arc<Plugin>, &mut Session)> {
        let first = self.sessions.first_mut()?;
        Some((first.plugin.clone()?, first))
    }

    /// Computes the logits that the sessions of a portion want, one session after the other.
    fn logits(&mut self, portion: &[usize], wanted: &[Wanted]) -> Result<(), OutOfMemory> {
        let decoded = self.decode(portion, wanted)?;
        let (mut decoded, mut states) = (&decoded[..], Vec::new());
        for &i in portion {
            let Session { hidden, .. } = &*self.sessions[i];
            if wanted[i].backbone {
                append(&mut states, hidden)?;
            } else {
                let (own, others) = decoded.split_at(wanted[i].latents.len() * hidden.len());
                append(&mut states, own)?;
                decoded = others;
            }
        }
        let Batch { quantized, logits, .. } = &mut *self.batch;
        let Some(first) = self.sessions.first_mut().filter(|_| !states.is_empty()) else { return Ok(()) };
        first.machine.logits(&first.model, &states, quantized, logits)
    }

    /// The hidden states of the options that they want.
    fn decode(&mut self, portion: &[usize], wanted: &[Wanted]) -> Result<Vec<f32>, OutOfMemory> {
        let (mut hidden, mut latents) = (Vec::new(), Vec::new());
        for &i in portion.iter().filter(|&&i| !wanted[i].latents.is_empty()) {
            append(&mut hidden, &self.sessions[i].hidden)?;
            latents.push(wanted[i].latents.clone());
        }
        match self.leader() {
            Some((plugin, first)) if !latents.is_empty() => plugin.decode(&mut first.machine.exec, &hidden, &latents),
            _ => Ok(Vec::new()),
        }
    }
}

/// What a step needs to be computed.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The logits of the hidden state itself.
    pub(super) backbone: bool,
    /// The logits of these options; of none where they are known.
    pub(super) latents: Range<usize>,
    /// The latent that was chosen; `None` of backbone and mixture.
    pub(super) latent: Option<usize>,
}

impl Wanted {
    /// Rows of logits.
    pub(super) fn rows(&self) -> usize {
        usize::from(self.backbone) + self.latents.len()
    }
}

/// Cuts the sessions `live` into portions of at most [`ROWS`] rows of logits, or of one session.
fn portions<'a>(live: &'a [usize], wanted: &'a [Wanted]) -> impl Iterator<Item = &'a [usize]> {
    let mut left = live;
    std::iter::from_fn(move || {
        let mut rows = 0;
        let fits = |i: &&usize| {
            rows += wanted[**i].rows();
            rows <= ROWS
        };
        let count = left.iter().take_while(fits).count().max(1).min(left.len());
        let portion;
        (portion, left) = left.split_at(count);
        (!portion.is_empty()).then_some(portion)
    })
}

/// Appends to a buffer whose memory may be refused.
fn append(buffer: &mut Vec<f32>, more: &[f32]) -> Result<(), OutOfMemory> {
    memory::grow(buffer, more.len())?;
    buffer.extend_from_slice(more);
    Ok(())
}

/// Runs the first `counts` of the waiting tokens of each session through the network. Tells who was cancelled meanwhile;
/// where all were, the pass is incomplete.
fn run(scratch: &mut Scratch, sessions: &mut [&mut Session], counts: &[usize]) -> Result<Vec<usize>, OutOfMemory> {
    let Some(model) = sessions.first().map(|session| Arc::clone(&session.model)) else { return Ok(Vec::new()) };
    let (mut parts, mut paces, mut computing) = (Vec::new(), Vec::new(), None);
    for (i, (session, &count)) in sessions.iter_mut().zip(counts).enumerate() {
        let Session { state, tokens, position, machine, .. } = &mut **session;
        computing.get_or_insert((&mut machine.exec, machine.threads));
        if count > 0 {
            parts.push(Part { state, tokens: &tokens[*position..*position + count], first: *position });
            paces.push((i, &mut machine.pace, false));
        }
    }
    let Some((exec, threads)) = computing.filter(|_| !parts.is_empty()) else { return Ok(Vec::new()) };
    exec.pool.set_threads(threads.of(counts.iter().sum()));
    let mut watch = |stage: Stage<'_>| {
        if let Stage::Layer = stage {
            for (_, pace, cancelled) in &mut paces {
                *cancelled |= pace.check().is_err();
            }
        }
        if paces.iter().all(|pace| pace.2) { Err(SessionError::Cancelled.into()) } else { Ok(()) }
    };
    let outcome = forward(exec, &model, &mut parts, scratch, &mut watch);
    if let Err(Error::OutOfMemory(error)) = outcome {
        return Err(error);
    }
    Ok(paces.into_iter().filter(|pace| pace.2).map(|(i, ..)| i).collect())
}

impl Batch {
    /// Chooses a token from what was computed, from row `row` of the logits on, and adds it to the session.
    fn choose(
        &mut self,
        session: &mut Session,
        wanted: &Wanted,
        row: usize,
        Choice { way, sampler }: &mut Choice<'_>,
    ) -> Result<Step> {
        let vocab = session.model.config().vocab;
        let rows = if wanted.rows() > 0 { &self.logits[row * vocab..][..wanted.rows() * vocab] } else { &[] };
        let known = mem::take(&mut session.step.options);
        let options = if known.is_empty() { rows } else { &known };
        let chosen = match wanted.latent {
            None if wanted.backbone => Ok(rows),
            None => {
                mixture(session.machine.exec.isa, &session.step.policy, options, &mut self.mixed).map(|()| &*self.mixed)
            }
            Some(latent) if wanted.rows() == 0 => Ok(&options[latent * vocab..][..vocab]),
            Some(_) => Ok(rows),
        };
        let step = chosen.and_then(|chosen| session.take(wanted.latent, chosen, sampler));
        session.step.options = known;
        let step = step?;
        if let Way::Selector(selector) = way {
            selector.observe(step.token);
        }
        Ok(step)
    }
}
