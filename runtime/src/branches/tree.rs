//! A tree of forks of one session.
//!
//! Branches with the same tokens share a *lane*: one session, evaluated once, however many branches
//! choose from its hidden state. A lane is forked where its branches choose different tokens. So a
//! branch costs nothing before it differs, and each is bit-identical to a session of its own.

use std::collections::HashSet;
use std::sync::Arc;

use crate::generate::StopScanner;
use crate::memory;
use crate::plugin::{HoldUntil, LatentMode, LatentState, PluginError, Selector, draw, most_probable};
use crate::random::Random;
use crate::sampler::{Sampler, SamplerOptions};
use crate::session::{Batch, Canceller, Chosen, Pick, Request, Session, SessionError, StepSource};
use crate::tokenizer::{Detokenizer, Tokenizer};

use super::branch::{Branch, BranchEnd, MAX_BRANCHES};
use super::error::BranchError;
use super::expansion::Expansion;

type Result<T, E = BranchError> = std::result::Result<T, E>;

/// How branches are generated.
#[derive(Clone, Debug)]
pub struct BranchOptions {
    /// How latents are selected where no expansion did; `None` leaves those steps to the backbone.
    pub latents: Option<LatentMode>,
    /// How long latents are held; where a hold ends, a branch is at a boundary. Without latents,
    /// too.
    pub hold: HoldUntil,
    /// How tokens are sampled, and the seed of all choices.
    pub sampling: SamplerOptions,
    /// Texts that end a branch, and are not part of it.
    pub stops: Vec<String>,
    /// Tokens of a branch at most.
    pub limit: usize,
}

/// A tree of forks of one session, which does not move.
///
/// At first there is one branch, without a token, at a boundary. [`Branches::expand`] makes several
/// of one, [`Branches::step`] advances all in one pass over the weights.
///
/// ```no_run
/// # use ollm_runtime::{branches::*, plugin::*, session::Session, tokenizer::Tokenizer};
/// # fn ten(session: &Session, tokenizer: &Tokenizer) -> Result<(), BranchError> {
/// let options = BranchOptions {
///     latents: Some(LatentMode::Policy),
///     hold: HoldUntil::new(Hold::All, TokenEnds::new(tokenizer)),
///     sampling: Default::default(),
///     stops: Vec::new(),
///     limit: 100,
/// };
/// let mut branches = Branches::new(session, options)?;
/// branches.expand(0, Expansion::Latents)?;
/// while branches.step(tokenizer, |_| true)? > 0 {}
/// for branch in branches.all() {
///     println!("{}", branch.text);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Branches {
    options: BranchOptions,
    selector: Option<Selector>,
    /// Has evaluated the text that all branches share.
    root: Session,
    batch: Batch,
    lanes: Vec<Lane>,
    all: Vec<Branch>,
    /// Of each branch.
    choosers: Vec<Chooser>,
    /// Whether values are computed.
    values: bool,
    passes: usize,
    generated: usize,
}

/// A session, and the branches whose tokens it has.
#[derive(Debug)]
struct Lane {
    session: Session,
    members: Vec<usize>,
}

/// How a branch chooses, and what it remembers.
#[derive(Clone, Debug)]
struct Chooser {
    sampler: Sampler,
    latents: LatentState,
    /// The next token, where an expansion chose it.
    forced: Option<Picked>,
    text: Detokenizer,
    stops: StopScanner,
}

/// The next token of a branch.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Picked {
    token: u32,
    logprob: f32,
    latent: Option<usize>,
    /// The policy's probability of the latent, where it was selected for this token.
    selected: Option<f32>,
}

impl Chooser {
    /// Whether the two make the same choices from the same tokens on.
    fn is_like(&self, other: &Self) -> bool {
        let [own, others] = [self.sampler.options(), other.sampler.options()];
        let greedy = own.temperature == 0.0;
        let samplers = *own == SamplerOptions { seed: if greedy { own.seed } else { others.seed }, ..others.clone() };
        samplers && self.latents == other.latents && self.forced == other.forced
    }
}

impl Branches {
    /// One branch, without a token: a fork of `session`, which has a canceller of its own.
    ///
    /// # Errors
    /// [`SessionError::NoPlugin`] if latents are to be selected without one, what
    /// [`Selector::new`] and [`Sampler::new`] refuse, [`SessionError::OutOfMemory`].
    pub fn new(session: &Session, options: BranchOptions) -> Result<Self> {
        Self::of(session.fork()?, options)
    }

    /// One branch, without a token: `root` itself.
    pub(super) fn of(root: Session, options: BranchOptions) -> Result<Self> {
        let sampler = Sampler::new(options.sampling.clone())?;
        let selector = match &options.latents {
            Some(mode) => {
                let plugin = root.plugin().ok_or(SessionError::NoPlugin)?;
                Some(Selector::new(mode.clone(), options.hold.clone(), plugin.option_count(), options.sampling.seed)?)
            }
            None => None,
        };
        let lane = Lane { session: root.branch()?, members: vec![0] };
        let chooser = Chooser {
            sampler,
            latents: LatentState::default(),
            forced: None,
            text: Detokenizer::new(),
            stops: StopScanner::new(&options.stops),
        };
        let branch = Branch { count: 1.0, policy_weight: 1.0, at_boundary: true, ..Branch::default() };
        Ok(Self {
            options,
            selector,
            root,
            batch: Batch::default(),
            lanes: vec![lane],
            all: vec![branch],
            choosers: vec![chooser],
            values: false,
            passes: 0,
            generated: 0,
        })
    }

    /// All branches, in the order in which they came to be.
    pub fn all(&self) -> &[Branch] {
        &self.all
    }

    /// The branches that are still generated.
    pub fn open(&self) -> impl Iterator<Item = (usize, &Branch)> {
        self.all.iter().enumerate().filter(|(_, branch)| branch.is_open())
    }

    /// The open branches that can be expanded.
    pub(super) fn at_boundary(&self) -> Vec<usize> {
        self.open().filter(|(_, branch)| branch.at_boundary).map(|(index, _)| index).collect()
    }

    /// Passes over the weights so far.
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// Tokens generated so far, of all branches; what several share counts once.
    pub fn generated(&self) -> usize {
        self.generated
    }

    /// Cancels the running step, or the next one, from any thread.
    pub fn canceller(&self) -> Canceller {
        self.root.canceller()
    }

    /// Sets the [duty cycle](Session::set_duty).
    ///
    /// # Errors
    /// [`SessionError::Duty`].
    pub fn set_duty(&mut self, share: f32) -> Result<()> {
        let sessions = self.lanes.iter_mut().map(|lane| &mut lane.session).chain([&mut self.root]);
        Ok(sessions.into_iter().try_for_each(|session| session.set_duty(share))?)
    }

    /// Computes values from now on: of a branch that ends with an end token at once, of others by
    /// [`Branches::evaluate`].
    ///
    /// # Errors
    /// [`BranchError::NoValue`].
    pub fn compute_values(&mut self) -> Result<()> {
        self.values = self.root.plugin().is_some_and(|plugin| plugin.has_value());
        if self.values { Ok(()) } else { Err(BranchError::NoValue) }
    }

    /// Computes the values of branches that are at a boundary, or complete, and have none yet. This
    /// takes the pass that their next step would have taken. Nothing happens unless
    /// [values are computed](Branches::compute_values). A value that is no number stays unknown.
    ///
    /// # Errors
    /// As [`Session::feed`], of the first branch that failed; then no branch has a new value.
    pub fn evaluate(&mut self) -> Result<()> {
        let lacks = |branch: &Branch| branch.value.is_none() && (branch.at_boundary || branch.is_complete());
        if self.values {
            self.advance(lacks)?;
            for Lane { session, members } in &mut self.lanes {
                if members.iter().any(|&member| lacks(&self.all[member])) {
                    let value = known_value(session)?;
                    let lacking = members.iter().filter(|&&member| lacks(&self.all[member])).copied();
                    lacking.collect::<Vec<_>>().into_iter().for_each(|member| self.all[member].value = value);
                }
            }
        }
        Ok(())
    }

    /// Evaluates the last tokens of some branches in one pass, which their next step, or their
    /// expansion, then needs no more.
    ///
    /// # Errors
    /// [`SessionError::MemoryLimit`], of all; as [`Session::feed`], of the first branch that
    /// failed.
    pub fn advance(&mut self, which: impl Fn(&Branch) -> bool) -> Result<()> {
        let is_asked = |lane: &&Lane| lane.members.iter().any(|&member| which(&self.all[member]));
        let missing = self.lanes.iter().filter(is_asked).map(|lane| lane.session.kv_bytes_missing(0));
        self.check_memory(missing.fold(0, usize::saturating_add), 0)?;
        let Self { lanes, all, batch, .. } = self;
        let lanes = lanes.iter_mut().filter(|lane| lane.members.iter().any(|&member| which(&all[member])));
        let mut sessions: Vec<&mut Session> = lanes.map(|lane| &mut lane.session).collect();
        self.passes += usize::from(sessions.iter().any(|session| session.has_pending()));
        batch.advance(&mut sessions).into_iter().collect::<Result<(), _>>()?;
        Ok(())
    }

    /// Bytes of the KV cache of all branches. What they share, with the prompt and with each other,
    /// counts once.
    pub fn kv_bytes(&self) -> usize {
        let mut seen = HashSet::new();
        let sessions = self.lanes.iter().map(|lane| &lane.session).chain([&self.root]);
        sessions.map(|session| session.kv_bytes_unseen(&mut seen)).sum()
    }

    /// A session that has come to where the branch is, as if it had generated the branch's tokens.
    ///
    /// # Errors
    /// [`BranchError::NoBranch`]; [`BranchError::Ended`] of one that was pruned, merged or failed,
    /// whose text is gone; [`SessionError::OutOfMemory`].
    pub fn session(&self, branch: usize) -> Result<Session> {
        self.branch(branch)?;
        Ok(self.lane_of(branch)?.session.fork_as(&self.root, self.choosers[branch].latents)?)
    }

    /// Brings a session to where the branch is, as if it had generated the branch's tokens; nothing
    /// is computed again. Its workers, limits, and canceller stay.
    ///
    /// # Errors
    /// As [`Branches::session`]; [`BranchError::Mismatch`]; [`SessionError::MemoryLimit`] of the
    /// session. It then stays as it was.
    pub fn adopt(&self, branch: usize, session: &mut Session) -> Result<()> {
        self.branch(branch)?;
        let lane = self.lane_of(branch)?;
        if !session.is_at(&self.root) {
            return Err(BranchError::Mismatch);
        }
        Ok(session.advance_to(&lane.session, self.choosers[branch].latents)?)
    }

    /// How branches are generated.
    pub fn options(&self) -> &BranchOptions {
        &self.options
    }

    /// How the tokens of a branch are sampled.
    ///
    /// # Errors
    /// [`BranchError::NoBranch`].
    pub fn sampling(&self, branch: usize) -> Result<&SamplerOptions> {
        self.branch(branch)?;
        Ok(self.choosers[branch].sampler.options())
    }

    fn branch(&self, branch: usize) -> Result<&Branch> {
        self.all.get(branch).ok_or(BranchError::NoBranch { branch })
    }

    fn open_branch(&self, branch: usize) -> Result<&Branch> {
        let found = self.branch(branch)?;
        if found.is_open() { Ok(found) } else { Err(BranchError::Ended { branch }) }
    }

    fn lane_of(&self, branch: usize) -> Result<&Lane> {
        let lane = self.lanes.iter().find(|lane| lane.members.contains(&branch));
        lane.ok_or(BranchError::Ended { branch })
    }

    /// The plugin's number of options; 0 without one.
    pub(super) fn option_count(&self) -> usize {
        self.root.plugin().map_or(0, |plugin| plugin.option_count())
    }

    /// Gives a branch up.
    ///
    /// # Errors
    /// [`BranchError::NoBranch`], [`BranchError::Ended`].
    pub fn prune(&mut self, branch: usize) -> Result<()> {
        self.open_branch(branch)?;
        self.end(branch, BranchEnd::Pruned);
        Ok(())
    }

    /// Ends a branch whose text is all that is wanted.
    pub(super) fn stop(&mut self, branch: usize) -> Result<()> {
        self.open_branch(branch)?;
        self.close(branch, BranchEnd::Stop);
        self.merge();
        Ok(())
    }

    /// A second branch like this one.
    pub(super) fn copy(&mut self, branch: usize) -> Result<usize> {
        self.open_branch(branch)?;
        Ok(self.copies(branch, 2)?[1])
    }

    /// Makes several branches of one. The first of them is the branch itself; the others follow
    /// those that are there. Branches that will go the same way are merged at once. Tells which
    /// they are; none where the context is full, which ends the branch.
    ///
    /// # Errors
    /// [`BranchError::NoPlugin`], [`BranchError::Count`], [`BranchError::NoBranch`],
    /// [`BranchError::Ended`]; [`SessionError::MemoryLimit`] if there is no memory for a token of
    /// each; and as [`Session::step`]. Then there are as many branches as before.
    pub fn expand(&mut self, branch: usize, expansion: Expansion) -> Result<Vec<usize>> {
        self.open_branch(branch)?;
        if expansion.needs_plugin() && self.root.plugin().is_none() {
            return Err(BranchError::NoPlugin { expansion });
        }
        let count = expansion.count(self.option_count());
        let open = (self.open().count() - 1).saturating_add(count);
        if count == 0 || open > MAX_BRANCHES {
            return Err(BranchError::Count { what: "open branches", count: if count == 0 { 0 } else { open } });
        }
        self.check_memory(self.lane_of(branch)?.session.kv_bytes_missing(1).saturating_mul(count - 1), count)?;
        match expansion {
            Expansion::Latents | Expansion::Top(_) | Expansion::Draw(_) => self.expand_latents(branch, expansion),
            Expansion::Tokens(count) => self.expand_tokens(branch, count),
            Expansion::Sample { count, temperature } => self.expand_samples(branch, count, temperature),
        }
    }

    fn expand_latents(&mut self, branch: usize, expansion: Expansion) -> Result<Vec<usize>> {
        let (seed, lane) = (self.options.sampling.seed, self.lane_index(branch)?);
        let session = &mut self.lanes[lane].session;
        self.passes += usize::from(session.has_pending());
        let (place, policy) = (session.place(), session.policy()?.to_vec());
        let latents: Vec<usize> = match expansion {
            Expansion::Top(count) => most_probable(&policy, count),
            Expansion::Draw(count) => {
                let mut random = Random::new(Random::at(seed, place).next_u64());
                (0..count).map(|_| draw(&policy, 1.0, random.unit())).collect()
            }
            _ => (0..policy.len()).collect(),
        };
        let copies = self.copies(branch, latents.len())?;
        for (&copy, latent) in copies.iter().zip(latents) {
            let (branch, chooser) = (&mut self.all[copy], &mut self.choosers[copy]);
            chooser.latents = chooser.latents.hold(latent);
            let shared = branch.policy_weight;
            branch.select(policy[latent]);
            // What is drawn from the policy has its weight by being drawn.
            branch.policy_weight = match expansion {
                Expansion::Draw(_) => shared,
                _ => shared * copies.len() as f64 * f64::from(policy[latent]),
            };
        }
        self.merge();
        Ok(copies)
    }

    fn expand_tokens(&mut self, branch: usize, count: usize) -> Result<Vec<usize>> {
        let (lane, before) = (self.lane_index(branch)?, self.choosers[branch].latents);
        let session = &mut self.lanes[lane].session;
        let (pending, mut latents) = (session.has_pending(), before);
        let source = source(self.selector.as_ref());
        let request = Request { member: 0, source, latent_state: &mut latents, pick: Pick::Top(count) };
        let mut outcome = self.batch.choose(&mut [session], &mut [request]);
        outcome.sessions.remove(0)?;
        let chosen = match outcome.choices.remove(0).unwrap_or(Err(SessionError::Empty)) {
            Err(SessionError::ContextFull { .. }) => {
                self.close(branch, BranchEnd::Length);
                return Ok(Vec::new());
            }
            chosen => chosen?,
        };
        self.passes += usize::from(pending);
        let copies = self.copies(branch, chosen.tokens.len())?;
        for (&copy, picked) in copies.iter().zip(Picked::all(&chosen, before, latents)) {
            self.choosers[copy] = Chooser { latents, forced: Some(picked), ..self.choosers[copy].clone() };
            self.all[copy].at_boundary = false;
        }
        Ok(copies)
    }

    fn expand_samples(&mut self, branch: usize, count: usize, temperature: f32) -> Result<Vec<usize>> {
        let base = self.choosers[branch].sampler.options();
        let seeds = Random::at(base.seed, self.lane_of(branch)?.session.place()).next_u64();
        let sampler = |i: usize| {
            let seed = Random::at(seeds, i as u64).next_u64();
            Sampler::new(SamplerOptions { temperature, seed, ..base.clone() })
        };
        let samplers = (0..count).map(sampler).collect::<Result<Vec<_>, _>>()?;
        let copies = self.copies(branch, count)?;
        for (&copy, sampler) in copies.iter().zip(samplers) {
            self.choosers[copy].sampler = sampler;
            self.all[copy].at_boundary = false;
        }
        Ok(copies)
    }

    /// Makes `count` branches of one, in the same lane; tells which they are. The one that is there
    /// is the first.
    fn copies(&mut self, branch: usize, count: usize) -> Result<Vec<usize>> {
        let lane = self.lane_index(branch)?;
        let origin = &self.all[branch];
        let (parent, fork) =
            if origin.tokens.is_empty() { (origin.parent, 0) } else { (Some(branch), origin.tokens.len()) };
        let first = self.all.len();
        // The first branches count 1 each; later ones share what their origin counts. The policy's
        // probability is always shared.
        let share = if first == 1 { 1.0 } else { origin.count / count as f64 };
        let policy_weight = origin.policy_weight / count as f64;
        let copy = Branch { parent, fork, count: share, policy_weight, ..origin.clone() };
        memory::grow(&mut self.all, count)?;
        memory::grow(&mut self.choosers, count)?;
        memory::grow(&mut self.lanes[lane].members, count)?;
        (self.all[branch].count, self.all[branch].policy_weight) = (share, policy_weight);
        for i in first..first + count - 1 {
            self.all.push(copy.clone());
            self.choosers.push(self.choosers[branch].clone());
            self.lanes[lane].members.push(i);
        }
        Ok(std::iter::once(branch).chain(first..first + count - 1).collect())
    }

    /// Merges branches that have the same tokens and the same to come: the less probable one into
    /// the other, which then stands for both.
    fn merge(&mut self) {
        for lane in 0..self.lanes.len() {
            let members = self.lanes[lane].members.clone();
            for (i, &later) in members.iter().enumerate() {
                let earlier = members[..i].iter().copied().find(|&earlier| self.are_one(earlier, later));
                if let Some(earlier) = earlier {
                    let is_better = self.all[later].logprob > self.all[earlier].logprob;
                    let (kept, merged) = if is_better { (later, earlier) } else { (earlier, later) };
                    let Branch { count, policy_weight, .. } = self.all[merged];
                    self.all[kept].count += count;
                    self.all[kept].policy_weight += policy_weight;
                    self.end(merged, BranchEnd::Merged(kept));
                }
            }
        }
    }

    /// Whether two branches of a lane are the same from here on.
    fn are_one(&self, one: usize, other: usize) -> bool {
        match (&self.all[one].end, &self.all[other].end) {
            (None, None) => self.choosers[one].is_like(&self.choosers[other]),
            (Some(one), Some(other)) => one.is_complete() && other.is_complete(),
            _ => false,
        }
    }

    /// Ends a branch; one that has no complete text leaves its lane.
    fn end(&mut self, branch: usize, end: BranchEnd) {
        if !end.is_complete() {
            self.lanes.iter_mut().for_each(|lane| lane.members.retain(|&member| member != branch));
            self.lanes.retain(|lane| !lane.members.is_empty());
        }
        self.all[branch].end = Some(end);
    }

    /// That all branches, and `more` bytes of KV cache, are allowed to be held in a step that
    /// computes `rows` distributions.
    fn check_memory(&self, more: usize, rows: usize) -> Result<()> {
        let Some(limit) = self.root.memory_limit() else { return Ok(()) };
        // A mixture needs the rows of all options, and its own.
        let mixes = self.options.latents == Some(LatentMode::Mixture);
        let rows = rows.saturating_mul(if mixes { self.option_count() + 1 } else { 1 });
        let scratch = self.batch.bytes_for(&self.root, self.lanes.len(), rows);
        let needed = [more, scratch].into_iter().fold(self.kv_bytes(), usize::saturating_add);
        if needed > limit { Err(SessionError::MemoryLimit { needed, limit }.into()) } else { Ok(()) }
    }

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
        let picked = self.pick(&going)?;
        self.value_ends(&picked, tokenizer)?;
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
    fn pick(&mut self, going: &[bool]) -> Result<Vec<Option<Result<Picked, BranchEnd>>>> {
        let mut lanes: Vec<&mut Lane> =
            self.lanes.iter_mut().filter(|lane| lane.members.iter().any(|&member| going[member])).collect();
        let mut lane_of = vec![0; going.len()];
        for (index, lane) in lanes.iter().enumerate() {
            lane.members.iter().for_each(|&member| lane_of[member] = index);
        }
        let before: Vec<LatentState> = self.choosers.iter().map(|chooser| chooser.latents).collect();
        let (mut asking, mut requests) = (Vec::new(), Vec::new());
        for (branch, chooser) in self.choosers.iter_mut().enumerate().filter(|(branch, _)| going[*branch]) {
            if chooser.forced.is_none() {
                let (source, pick) = (source(self.selector.as_ref()), Pick::Sampler(&mut chooser.sampler));
                requests.push(Request { member: lane_of[branch], source, latent_state: &mut chooser.latents, pick });
                asking.push(branch);
            }
        }
        let mut sessions: Vec<&mut Session> = lanes.iter_mut().map(|lane| &mut lane.session).collect();
        let pending = sessions.iter().any(|session| session.has_pending());
        let outcome = self.batch.choose(&mut sessions, &mut requests);
        let failures: Vec<Option<Arc<SessionError>>> =
            outcome.sessions.into_iter().map(|outcome| outcome.err().map(Arc::new)).collect();
        if failures.iter().flatten().any(|error| matches!(**error, SessionError::Cancelled)) {
            self.choosers.iter_mut().zip(before).for_each(|(chooser, latents)| chooser.latents = latents);
            return Err(SessionError::Cancelled.into());
        }
        self.passes += usize::from(pending && !asking.is_empty());
        let forced = |(chooser, &going): (&mut Chooser, &bool)| chooser.forced.take_if(|_| going).map(Ok);
        let mut picked: Vec<_> = self.choosers.iter_mut().zip(going).map(forced).collect();
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
        if let Some(probability) = picked.selected {
            branch.select(probability);
        }
        branch.logprob += f64::from(picked.logprob);
        branch.scored += 1;
        chooser.latents.observe(&self.options.hold, picked.token);
        branch.at_boundary = chooser.latents.held_tokens == 0;
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

    /// Ends a branch, whose text has all that waited for more.
    fn close(&mut self, branch: usize, end: BranchEnd) {
        let (chooser, text) = (&mut self.choosers[branch], &mut self.all[branch].text);
        let (piece, stopped) = chooser.stops.push(&chooser.text.finish());
        text.push_str(&piece);
        if !stopped {
            text.push_str(&chooser.stops.finish());
        }
        self.end(branch, end);
    }

    fn lane_index(&self, branch: usize) -> Result<usize> {
        let lane = self.lanes.iter().position(|lane| lane.members.contains(&branch));
        lane.ok_or(BranchError::Ended { branch })
    }
}

/// The value of a session; `None` if it is no number.
fn known_value(session: &mut Session) -> Result<Option<f32>, SessionError> {
    match session.value() {
        Err(SessionError::Plugin(PluginError::ValueNotFinite)) => Ok(None),
        value => value.map(Some),
    }
}

fn source(selector: Option<&Selector>) -> StepSource<'_> {
    selector.map_or(StepSource::Backbone, StepSource::Selector)
}

impl Picked {
    /// The tokens that were chosen, where choosing them changed what is remembered of latents.
    fn all(chosen: &Chosen, before: LatentState, after: LatentState) -> impl Iterator<Item = Self> + '_ {
        let Chosen { latent, tokens } = chosen;
        let selected = latent.map(|(_, probability)| probability).filter(|_| after.selected != before.selected);
        let picked =
            move |&(token, logprob)| Self { token, logprob, latent: latent.map(|(latent, _)| latent), selected };
        tokens.iter().map(picked)
    }
}
