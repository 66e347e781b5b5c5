//! The batched forward pass: the pending tokens of all sessions of a group, in one read of the
//! weights. A single session is a group of one.
//!
//! The step of a single session reads every weight for one token and is memory-bandwidth-bound.
//! Sessions of one model share that read. Positions, keys and values, random choices and errors are
//! each session's own, and its results are bit-identical to those of running it alone.

use std::sync::Arc;

use ollm_kernels::memory::OutOfMemory;

use crate::clock::Instant;
use crate::model::{BATCH, Part, Scratch, Stage, forward};
use crate::plugin::LatentState;

use super::buffers::{BufferBytes, Buffers};
use super::choice::{Chosen, Pick, Request, Step};
use super::draft::Speculation;
use super::error::SessionError;
use super::latents::{LogitsPlan, ROWS, StepSource, append, portions};
use super::pace::{Canceller, Pace};
use super::sequence::Sequence;

type Result<T, E = SessionError> = std::result::Result<T, E>;

/// A session in a [`Group`].
pub(super) struct Member<'s> {
    sequence: &'s mut Sequence,
    /// Bytes of the session's own buffers, where the group's are others.
    own: Option<BufferBytes>,
    /// The error of a failed member, which takes no further part.
    outcome: Result<()>,
    /// Whether nothing is asked of it: it takes no part.
    idle: bool,
}

impl<'s> Member<'s> {
    /// A sequence whose session has buffers of `own`; `None` if they are the group's.
    pub(super) fn new(sequence: &'s mut Sequence, own: Option<BufferBytes>) -> Self {
        Self { sequence, own, outcome: Ok(()), idle: false }
    }
}

impl Member<'_> {
    fn takes_part(&self) -> bool {
        self.outcome.is_ok() && !self.idle
    }
}

/// Sessions in one call.
pub(super) struct Group<'b, 's> {
    buffers: &'b mut Buffers,
    members: Vec<Member<'s>>,
    /// Cancellations that a member has seen.
    cancelled: Vec<Canceller>,
}

impl<'b, 's> Group<'b, 's> {
    pub(super) fn new(buffers: &'b mut Buffers, mut members: Vec<Member<'s>>) -> Self {
        if let Some((first, others)) = members.split_first_mut() {
            for other in others.iter_mut().filter(|other| !first.sequence.can_batch_with(other.sequence)) {
                other.outcome = Err(SessionError::Incompatible);
            }
        }
        Self { buffers, members, cancelled: Vec::new() }
    }

    /// The outcome of each member.
    pub(super) fn outcomes(self) -> impl Iterator<Item = Result<()>> {
        self.members.into_iter().map(|member| member.outcome)
    }

    /// The outcome of the only member.
    pub(super) fn outcome(self) -> Result<()> {
        self.outcomes().collect()
    }

    /// The members that take part, with their indices.
    fn live(&self) -> impl Iterator<Item = (usize, &Sequence)> {
        let live = self.members.iter().enumerate().filter(|(_, member)| member.takes_part());
        live.map(|(i, member)| (i, &*member.sequence))
    }

    /// Does something for each member that takes part, given the bytes of the buffers that its
    /// session holds.
    fn each(&mut self, mut work: impl FnMut(usize, &mut Sequence, BufferBytes) -> Result<()>) {
        for (i, member) in self.members.iter_mut().enumerate().filter(|(_, member)| member.takes_part()) {
            let held = member.own.unwrap_or_else(|| self.buffers.bytes(member.sequence.config()));
            member.outcome = work(i, member.sequence, held);
        }
    }

    /// These members fail with the same error.
    fn fail(&mut self, members: &[usize], error: OutOfMemory) {
        for &i in members {
            self.members[i].outcome = Err(error.into());
        }
    }

    /// Evaluates the pending tokens of all members.
    pub(super) fn advance(&mut self) {
        self.each(|_, sequence, held| sequence.make_ready(held));
        // The pass of a single session has room for a draft; that of several is full.
        let drafts = self.members.len() == 1;
        while self.live().any(|(_, sequence)| !sequence.pending().is_empty()) {
            self.pass(drafts);
        }
        self.each(|_, sequence, _| {
            sequence.asked = sequence.position;
            Ok(())
        });
    }

    /// One pass over the weights, with as many of the pending tokens as a batch takes, and what is
    /// drafted after the last of them. A text of bidirectional attention is in one pass.
    pub(super) fn pass(&mut self, drafts: bool) {
        let whole = self.live().map(|(_, sequence)| sequence.config().pass_tokens(sequence.pending().len()));
        let (mut counts, mut room) = (vec![0; self.members.len()], whole.fold(BATCH, usize::max));
        let (mut cancelled, mut drafting) = (std::mem::take(&mut self.cancelled), None);
        self.each(|i, sequence, held| {
            let pending = sequence.pending().len();
            let mut count = pending.min(room);
            if count > 0 {
                begin(&mut sequence.machine.pace, &mut cancelled)?;
                sequence.meter.pass();
                if drafts && count == pending {
                    drafting = Some(Instant::now());
                    count += sequence.draft(held);
                }
            }
            room -= count;
            counts[i] = count;
            Ok(())
        });
        self.cancelled = cancelled;
        let begin = Instant::now();
        let outcome = run(&mut self.buffers.scratch, &mut self.members, &counts);
        let (mut hidden, width) =
            (self.buffers.scratch.hidden(), self.members.first().map_or(0, |member| member.sequence.hidden.len()));
        for (i, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let member = &mut self.members[i];
            member.sequence.machine.pace.end(drafting.unwrap_or(begin));
            match &outcome {
                Err(error) => member.outcome = Err((*error).into()),
                Ok(cancelled) if cancelled.contains(&i) => member.outcome = Err(SessionError::Cancelled),
                Ok(_) => {
                    member.sequence.commit(&hidden[..count * width]);
                    if let Some(speculation) = &mut member.sequence.speculation {
                        speculation.passed(count, begin.elapsed().as_secs_f64());
                    }
                }
            }
            if let Err(SessionError::Cancelled) = member.outcome {
                self.cancelled.push(member.sequence.machine.pace.canceller.clone());
            }
            hidden = hidden.get(count * width..).unwrap_or_default();
        }
    }

    /// Computes the policy of the members that ask for it and do not know it yet.
    pub(super) fn policies(&mut self, asks: impl Fn(usize) -> bool) {
        let asking = |(i, sequence): &(usize, &Sequence)| asks(*i) && sequence.step.policy.is_empty();
        let asking: Vec<usize> = self.live().filter(asking).map(|(i, _)| i).collect();
        let policies = match self.policies_of(&asking) {
            Ok(policies) => policies,
            Err(error) => return self.fail(&asking, error),
        };
        let mut rows = policies.chunks_exact((policies.len() / asking.len().max(1)).max(1));
        for i in asking {
            let Member { sequence, outcome, .. } = &mut self.members[i];
            *outcome = sequence.set_policy(rows.next().unwrap_or_default());
        }
    }

    fn policies_of(&mut self, asking: &[usize]) -> Result<Vec<f32>, OutOfMemory> {
        let hidden = self.hidden_of(asking)?;
        match self.members.first_mut().filter(|_| !asking.is_empty()) {
            Some(first) => first.sequence.latents().policies(&hidden),
            None => Ok(Vec::new()),
        }
    }

    /// The hidden states of these members: `[n][hidden]`.
    fn hidden_of(&self, members: &[usize]) -> Result<Vec<f32>, OutOfMemory> {
        let mut hidden = Vec::new();
        for &i in members {
            append(&mut hidden, &self.members[i].sequence.hidden)?;
        }
        Ok(hidden)
    }

    /// A step of each member that has a request: there is one for each of the first, in their
    /// order. The members behind them have an outcome alone.
    pub(super) fn step(mut self, requests: &mut [Request<'_>]) -> (Vec<Result<Step>>, Vec<Result<()>>) {
        let begin = Instant::now();
        let before: Vec<LatentState> = requests.iter().map(|request| *request.latent_state).collect();
        let choices = self.choose(requests);
        let prefilled = self.members.split_off(choices.len());
        let step = |member: Member<'_>, chosen: Option<Result<Chosen>>, request: &mut Request<'_>| {
            let Member { sequence, outcome, .. } = member;
            outcome?;
            let Chosen { latent, tokens, forced } = chosen.unwrap_or(Err(SessionError::Empty))?;
            let &(token, logprob) = tokens.first().ok_or(SessionError::Empty)?;
            sequence.accept(token)?;
            sequence.meter.generated(begin);
            request.source.observe(request.latent_state, token);
            Ok(Step { token, latent: latent.map(|(latent, _)| latent), logprob, forced })
        };
        let members = self.members.into_iter().zip(choices).zip(requests.iter_mut().zip(before));
        let steps = members.map(|((member, chosen), (request, before))| {
            let outcome = step(member, chosen, request);
            if outcome.is_err() {
                // What was selected for a token that there is not is forgotten.
                *request.latent_state = before;
            }
            outcome
        });
        (steps.collect(), prefilled.into_iter().map(|member| member.outcome).collect())
    }

    /// The choices that are asked for; no token is added. One is `None` where its member failed:
    /// see [`Group::outcomes`]. Pending tokens of members without a request are evaluated too.
    pub(super) fn choose(&mut self, requests: &mut [Request<'_>]) -> Vec<Option<Result<Chosen>>> {
        let mut choices: Vec<Option<Result<Chosen>>> = requests.iter().map(|_| None).collect();
        for (request, choice) in requests.iter_mut().zip(&mut choices) {
            let sequence = &mut *self.members[request.member].sequence;
            *choice = sequence.check_step(&request.source).and_then(|()| sequence.forced()).transpose();
            if let (Some(Ok(_)), Pick::Sampler(sampler)) = (choice, &mut request.pick) {
                sampler.sample_none();
            }
        }
        for (i, member) in self.members.iter_mut().enumerate() {
            let mut own = requests.iter().zip(&choices).filter(|(request, _)| request.member == i).peekable();
            member.idle = own.peek().is_some() && own.all(|(_, choice)| choice.is_some());
        }
        self.advance();
        let asks = |request: &Request<'_>| matches!(request.source, StepSource::Selector(_));
        self.policies(|member| requests.iter().any(|request| request.member == member && asks(request)));
        let (planned, plans) = self.plan(requests, &mut choices);
        let begin = Instant::now();
        if let ([i], [plan]) = (&planned[..], &plans[..]) {
            choices[*i] = self.pick_ahead(&mut requests[*i], plan);
        }
        let is_open = planned.iter().any(|&i| choices[i].is_none());
        for portion in portions(&plans, ROWS).filter(|_| is_open) {
            let (planned, plans) = (&planned[portion.clone()], &plans[portion]);
            let members: Vec<usize> = planned.iter().map(|&i| requests[i].member).collect();
            match self.logits(&members, plans) {
                Ok(()) => self.pick(planned, plans, requests, &mut choices),
                Err(error) => self.fail(&members, error),
            }
        }
        for &i in &planned {
            let sequence = &mut *self.members[requests[i].member].sequence;
            sequence.machine.pace.end(begin);
            if let Some(speculation) = &mut sequence.speculation {
                speculation.chosen(begin.elapsed().as_secs_f64());
            }
        }
        choices
    }

    /// Picks the tokens of the only request from logits that are computed for a whole draft.
    fn pick_ahead(&mut self, request: &mut Request<'_>, plan: &LogitsPlan) -> Option<Result<Chosen>> {
        let [Member { sequence, own, .. }] = &mut self.members[..] else { return None };
        let held = own.unwrap_or_else(|| self.buffers.bytes(sequence.config()));
        let Buffers { quantized, mixed, .. } = &mut *self.buffers;
        match sequence.rows_ahead(&request.source, *request.latent_state, plan, held, quantized) {
            Ok((_, own)) if own.is_empty() => None,
            Ok((rows, own)) => {
                let chosen = sequence.pick(plan, &rows[own], mixed, &mut request.pick);
                sequence.keep_rows(rows);
                Some(chosen)
            }
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Plans the logits of the requests that are still open: their indices, and the plans.
    fn plan(
        &mut self,
        requests: &mut [Request<'_>],
        choices: &mut [Option<Result<Chosen>>],
    ) -> (Vec<usize>, Vec<LogitsPlan>) {
        let (mut planned, mut plans) = (Vec::new(), Vec::new());
        let mut rows = vec![None; self.members.len()];
        for (i, (request, choice)) in requests.iter_mut().zip(choices).enumerate() {
            let member = &mut self.members[request.member];
            if !member.takes_part() || choice.is_some() {
                continue;
            }
            let Member { sequence, own, outcome, .. } = member;
            let rows = &mut rows[request.member];
            if rows.is_none()
                && let Err(error) = begin(&mut sequence.machine.pace, &mut self.cancelled)
            {
                *outcome = Err(error);
                continue;
            }
            let held = own.unwrap_or_else(|| self.buffers.bytes(sequence.config()));
            match sequence.plan_logits(request, rows.unwrap_or(0), held) {
                Ok(plan) => {
                    *rows = Some(rows.unwrap_or(0) + plan.rows());
                    planned.push(i);
                    plans.push(plan);
                }
                Err(error) => *choice = Some(Err(error)),
            }
        }
        (planned, plans)
    }

    /// Computes the logits that these plans ask for of the hidden states of these members.
    fn logits(&mut self, members: &[usize], plans: &[LogitsPlan]) -> Result<(), OutOfMemory> {
        let hidden = self.hidden_of(members)?;
        let Buffers { quantized, logits, .. } = &mut *self.buffers;
        match self.members.first_mut() {
            Some(first) => first.sequence.latents().logits(&hidden, plans, quantized, logits),
            None => Ok(()),
        }
    }

    /// Picks the tokens of these requests from their logits.
    fn pick(
        &mut self,
        planned: &[usize],
        plans: &[LogitsPlan],
        requests: &mut [Request<'_>],
        choices: &mut [Option<Result<Chosen>>],
    ) {
        let Buffers { logits, mixed, .. } = &mut *self.buffers;
        let mut rows = &logits[..];
        let mut picks: Vec<Picks<'_, '_>> = Vec::with_capacity(self.members.len());
        picks.extend(self.members.iter_mut().map(|member| Picks { sequence: &mut *member.sequence, each: Vec::new() }));
        let mut planned = planned.iter().zip(plans).peekable();
        for (i, (request, choice)) in requests.iter_mut().zip(choices).enumerate() {
            let Some((_, plan)) = planned.next_if(|(next, _)| **next == i) else { continue };
            let picks = &mut picks[request.member];
            let own;
            (own, rows) = rows.split_at(plan.rows() * picks.sequence.config().vocab);
            picks.each.push(Planned { plan, rows: own, pick: &mut request.pick, choice });
        }
        // Who is called back hears it on the thread of the call.
        let (mut here, mut anywhere): (Vec<_>, Vec<_>) =
            picks.into_iter().filter(|picks| !picks.each.is_empty()).partition(Picks::stay_here);
        for picks in &mut here {
            picks.run(mixed);
        }
        if let Some(first) = anywhere.first() {
            let pool = first.sequence.machine.exec.pool.clone();
            pool.for_each(&mut anywhere, |picks| picks.run(&mut Vec::new()));
        }
    }
}

/// What is picked for a member, in the order of its requests.
struct Picks<'p, 'r> {
    sequence: &'p mut Sequence,
    each: Vec<Planned<'p, 'r>>,
}

/// A request whose logits are computed.
struct Planned<'p, 'r> {
    plan: &'p LogitsPlan,
    /// Its rows of logits.
    rows: &'p [f32],
    pick: &'p mut Pick<'r>,
    /// Where the choice goes.
    choice: &'p mut Option<Result<Chosen>>,
}

impl Picks<'_, '_> {
    /// Whether it is done on the thread of the call: it calls back, or mixes options in a buffer
    /// of the size of a row of logits, of which there is one.
    fn stay_here(&self) -> bool {
        self.each.iter().any(|one| one.plan.is_mixture() || one.pick.calls_back())
    }

    fn run(&mut self, mixed: &mut Vec<f32>) {
        for Planned { plan, rows, pick, choice } in &mut self.each {
            **choice = Some(self.sequence.pick(plan, rows, mixed, pick));
        }
    }
}

/// Forward pass of the first `counts` pending tokens of each member. Returns the members that were
/// cancelled meanwhile; if all were, the pass is incomplete.
fn run(scratch: &mut Scratch, members: &mut [Member<'_>], counts: &[usize]) -> Result<Vec<usize>, OutOfMemory> {
    let Some(model) = members.first().map(|member| Arc::clone(&member.sequence.model)) else { return Ok(Vec::new()) };
    let (mut parts, mut paces, mut computing) = (Vec::new(), Vec::new(), None);
    for (i, (member, &count)) in members.iter_mut().zip(counts).enumerate() {
        let Sequence { state, tokens, position, machine, adapters, speculation, second, .. } = &mut *member.sequence;
        computing.get_or_insert((&mut machine.exec, machine.threads));
        if count > 0 {
            let drafted = (*position + count).saturating_sub(tokens.len());
            let with_draft = speculation.as_ref().filter(|_| drafted > 0);
            let tokens = with_draft.map_or(&tokens[*position..], Speculation::tokens);
            let tokens = &tokens[..count];
            parts.push(Part { state, tokens, first: *position, second: *second, drafted, adapters });
            paces.push((i, &mut machine.pace, false));
        }
    }
    let Some((exec, threads)) = computing.filter(|_| !parts.is_empty()) else { return Ok(Vec::new()) };
    exec.pool.set_threads(threads.of(counts.iter().sum()));
    let mut watch = |stage: Stage<'_>| {
        if let Stage::Layer = stage {
            cancel(&mut paces);
        }
        if paces.iter().all(|pace| pace.2) { Err(Stopped::Cancelled) } else { Ok(()) }
    };
    let outcome = forward(exec, &model, &mut parts, scratch, &mut watch);
    if let Err(Stopped::OutOfMemory(error)) = outcome {
        return Err(error);
    }
    Ok(paces.into_iter().filter(|pace| pace.2).map(|(i, ..)| i).collect())
}

/// Waits until the work of a member may begin. Of several that one canceller cancels together, the
/// first sees it; the others do not rest.
fn begin(pace: &mut Pace, cancelled: &mut Vec<Canceller>) -> Result<()> {
    if cancelled.iter().any(|signal| signal.is(&pace.canceller)) {
        return Err(SessionError::Cancelled);
    }
    pace.begin().map(drop).inspect_err(|_| cancelled.push(pace.canceller.clone()))
}

/// Notes which members are cancelled. A signal is seen once, so it counts for all that share it.
fn cancel(paces: &mut [(usize, &mut Pace, bool)]) {
    let raised = paces.iter_mut().filter_map(|(_, pace, _)| pace.check().is_err().then(|| pace.canceller.clone()));
    let raised: Vec<_> = raised.collect();
    for (_, pace, cancelled) in paces {
        *cancelled |= raised.iter().any(|signal| signal.is(&pace.canceller));
    }
}

/// Why a pass is incomplete.
enum Stopped {
    Cancelled,
    OutOfMemory(OutOfMemory),
}

impl From<OutOfMemory> for Stopped {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}
