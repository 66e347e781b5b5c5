//! A step: the next token of each branch, in one pass over the weights, and a lane for each token.

use std::sync::Arc;

use ollm_kernels::memory;

use crate::plugin::LatentState;
use crate::session::{Pick, Request, Session, SessionError};
use crate::tokenizer::Tokenizer;

use super::branch::{Branch, BranchEnd};
use super::error::BranchError;
use super::tree::{Branches, Chooser, Lane, Picked, known_value, pending, source};

type Result<T, E = BranchError> = std::result::Result<T, E>;

impl Branches {
    /// Advances the open branches that `advances` says by a token each, in one pass over the
    /// weights; tells how many there were. Each is then what a session of its own would be. What
    /// goes wrong with one branch ends that branch ([`BranchEnd::Failed`]).
    ///
    /// # Errors
    /// [`SessionError::Cancelled`] and [`SessionError::MemoryLimit`], of all branches; then none
    /// has moved.
    pub fn step(&mut self, tokenizer: &Tokenizer, advances: impl Fn(&Branch) -> bool) -> Result<usize> {
        let going: Vec<bool> = self.all.iter().map(|branch| branch.is_open() && advances(branch)).collect();
        let count = going.iter().filter(|&&going| going).count();
        if count == 0 {
            return Ok(0);
        }
        let is_active = |lane: &&Lane| lane.members.iter().any(|&member| going[member]);
        let missing = self.lanes.iter().filter(is_active).map(|lane| lane.session.kv_bytes_missing(0));
        self.check_memory(missing.fold(0, usize::saturating_add), count)?;
        let mut room = Vec::new();
        memory::reserve(&mut room, self.lanes.len() + count)?;
        self.all.iter_mut().zip(&going).filter(|(_, going)| **going).try_for_each(|(branch, _)| branch.grow())?;
        let before: Vec<LatentState> = self.choosers.iter().map(|chooser| chooser.latents).collect();
        let outcome = self.pick(&going, &before).and_then(|picked| {
            self.value_ends(&picked, tokenizer)?;
            Ok(picked)
        });
        if outcome.is_err() {
            // What was selected for tokens that there are not is forgotten.
            self.choosers.iter_mut().zip(before).for_each(|(chooser, latents)| chooser.latents = latents);
        }
        let picked = outcome?;
        let lanes = std::mem::replace(&mut self.lanes, room);
        for lane in lanes {
            self.split(lane, &picked);
        }
        for (branch, picked) in picked.into_iter().enumerate() {
            match picked {
                Some(Ok(picked)) => self.take(branch, picked, tokenizer),
                Some(Err(end)) => self.close(branch, end),
                None => {}
            }
        }
        self.merge();
        Ok(count)
    }

    /// The next token of each branch that goes, or how it ends; `None` of the others.
    fn pick(&mut self, going: &[bool], before: &[LatentState]) -> Result<Vec<Option<Result<Picked, BranchEnd>>>> {
        let mut lanes: Vec<&mut Lane> =
            self.lanes.iter_mut().filter(|lane| lane.members.iter().any(|&member| going[member])).collect();
        let mut lane_of = vec![0; going.len()];
        for (index, lane) in lanes.iter().enumerate() {
            lane.members.iter().for_each(|&member| lane_of[member] = index);
        }
        let (mut asking, mut requests) = (Vec::new(), Vec::new());
        for (branch, chooser) in self.choosers.iter_mut().enumerate().filter(|(branch, _)| going[*branch]) {
            if chooser.forced.is_none() {
                let (source, pick) = (source(self.selector.as_ref()), Pick::Sampler(&mut chooser.sampler));
                requests.push(Request { member: lane_of[branch], source, latent_state: &mut chooser.latents, pick });
                asking.push(branch);
            }
        }
        let mut sessions: Vec<&mut Session> = lanes.iter_mut().map(|lane| &mut lane.session).collect();
        let waiting = pending(&sessions);
        let outcome = self.batch.choose(&mut sessions, &mut requests);
        let evaluated = waiting.saturating_sub(pending(&sessions));
        self.count_passes(evaluated);
        let failures: Vec<Option<Arc<SessionError>>> =
            outcome.sessions.into_iter().map(|outcome| outcome.err().map(Arc::new)).collect();
        if failures.iter().flatten().any(|error| matches!(**error, SessionError::Cancelled)) {
            return Err(SessionError::Cancelled.into());
        }
        let forced = |(chooser, &going): (&Chooser, &bool)| chooser.forced.filter(|_| going).map(Ok);
        let mut picked: Vec<_> = self.choosers.iter().zip(going).map(forced).collect();
        for (branch, choice) in asking.into_iter().zip(outcome.choices) {
            picked[branch] = Some(match (choice, &failures[lane_of[branch]]) {
                (_, Some(error)) => Err(BranchEnd::of(error)),
                (Some(Err(error)), None) => Err(BranchEnd::of(&Arc::new(error))),
                (Some(Ok(chosen)), None) => {
                    let mut all = Picked::all(&chosen, before[branch], self.choosers[branch].latents);
                    all.next().ok_or_else(|| BranchEnd::of(&Arc::new(SessionError::Empty)))
                }
                (None, None) => Err(BranchEnd::of(&Arc::new(SessionError::Empty))),
            });
        }
        Ok(picked)
    }

    /// The values of the branches that an end token ends: of the state that it was chosen from.
    fn value_ends(&mut self, picked: &[Option<Result<Picked, BranchEnd>>], tokenizer: &Tokenizer) -> Result<()> {
        let ends = |member: &usize| matches!(&picked[*member], Some(Ok(picked)) if tokenizer.is_end(picked.token));
        for Lane { session, members } in self.lanes.iter_mut().filter(|_| self.values) {
            if members.iter().any(ends) {
                let value = known_value(session)?;
                members.iter().filter(|member| ends(member)).for_each(|&member| self.all[member].value = value);
            }
        }
        Ok(())
    }

    /// Gives each token that members of a lane picked a lane of its own; members that do not go
    /// keep theirs.
    fn split(&mut self, lane: Lane, picked: &[Option<Result<Picked, BranchEnd>>]) {
        let (mut groups, mut staying): (Vec<(u32, Vec<usize>)>, Vec<usize>) = (Vec::new(), Vec::new());
        for member in lane.members {
            match &picked[member] {
                None => staying.push(member),
                Some(Err(end)) if end.is_complete() => staying.push(member),
                Some(Err(_)) => {}
                Some(Ok(Picked { token, .. })) => match groups.iter_mut().find(|(other, _)| other == token) {
                    Some((_, members)) => members.push(member),
                    None => groups.push((*token, vec![member])),
                },
            }
        }
        self.generated += groups.len();
        let last = if staying.is_empty() { groups.pop() } else { None };
        for (token, members) in groups {
            let session = lane.session.branch();
            self.accept(session, token, members);
        }
        match last {
            Some((token, members)) => self.accept(Ok(lane.session), token, members),
            None if staying.is_empty() => {}
            None => self.lanes.push(Lane { session: lane.session, members: staying }),
        }
    }

    /// Makes a lane of a session and the members whose next token it takes.
    fn accept(&mut self, session: Result<Session, SessionError>, token: u32, members: Vec<usize>) {
        match session.and_then(|mut session| session.accept(token).map(|()| session)) {
            Ok(session) => self.lanes.push(Lane { session, members }),
            Err(error) => {
                let end = BranchEnd::of(&Arc::new(error));
                for member in members {
                    self.all[member].end = Some(end.clone());
                }
            }
        }
    }

    /// Notes the next token of a branch.
    fn take(&mut self, branch: usize, picked: Picked, tokenizer: &Tokenizer) {
        let (index, chooser, branch) = (branch, &mut self.choosers[branch], &mut self.all[branch]);
        if !branch.is_open() {
            return;
        }
        chooser.forced = None;
        if let Some(probability) = picked.selected {
            branch.select(probability);
        }
        branch.logprob += f64::from(picked.logprob);
        branch.scored += usize::from(!picked.forced);
        // A token that a constraint forced comes from no latent: a latent that is not used yet
        // stays held.
        if !(picked.forced && chooser.latents.is_unused()) || tokenizer.is_end(picked.token) {
            chooser.latents.observe(&self.options.hold, picked.token);
            branch.at_boundary = chooser.latents.held_tokens == 0;
        }
        if tokenizer.is_end(picked.token) {
            return self.close(index, BranchEnd::End);
        }
        branch.value = None;
        branch.tokens.push(picked.token);
        branch.latents.push(picked.latent);
        branch.logprobs.push(picked.logprob);
        let (piece, stopped) = chooser.stops.push(&chooser.text.push(tokenizer, picked.token));
        branch.text.push_str(&piece);
        if stopped {
            self.end(index, BranchEnd::Stop);
        } else if branch.tokens.len() >= self.options.limit {
            self.close(index, BranchEnd::Length);
        }
    }
}
