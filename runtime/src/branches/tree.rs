//! A tree of forks of one session.
//!
//! Branches with the same tokens share a *lane*: one session, evaluated once, however many branches
//! choose from its hidden state. A lane is forked where its branches choose different tokens. So a
//! branch costs nothing before it differs, and each is bit-identical to a session of its own.

use std::collections::{HashSet, VecDeque};

use crate::generate::StopScanner;
use crate::model::BATCH;
use crate::plugin::{HoldUntil, LatentMode, LatentState, PluginError, Selector};
use crate::sampler::{Sampler, SamplerOptions};
use crate::session::{Batch, Canceller, Chosen, Session, SessionError, StepSource};
use crate::tokenizer::Detokenizer;

use super::branch::{Branch, BranchEnd};
use super::error::BranchError;

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
    pub(super) options: BranchOptions,
    pub(super) selector: Option<Selector>,
    /// Has evaluated the text that all branches share.
    pub(super) root: Session,
    pub(super) batch: Batch,
    pub(super) lanes: Vec<Lane>,
    pub(super) all: Vec<Branch>,
    /// Of each branch.
    pub(super) choosers: Vec<Chooser>,
    /// Whether values are computed.
    pub(super) values: bool,
    /// Whether a branch was ever expanded.
    pub(super) is_expanded: bool,
    /// The branches that a beam search has still to expand at their boundary.
    pub(super) unexpanded: VecDeque<usize>,
    pub(super) passes: usize,
    pub(super) generated: usize,
}

/// A session, and the branches whose tokens it has.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) session: Session,
    pub(super) members: Vec<usize>,
}

/// How a branch chooses, and what it remembers.
#[derive(Clone, Debug)]
pub(super) struct Chooser {
    pub(super) sampler: Sampler,
    pub(super) latents: LatentState,
    /// The next token, where an expansion chose it.
    pub(super) forced: Option<Picked>,
    pub(super) text: Detokenizer,
    pub(super) stops: StopScanner,
}

/// The next token of a branch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Picked {
    pub(super) token: u32,
    pub(super) logprob: f32,
    pub(super) latent: Option<usize>,
    /// The policy's probability of the latent, where it was selected for this token.
    pub(super) selected: Option<f32>,
    /// Whether a constraint left no other token.
    pub(super) forced: bool,
}

impl Chooser {
    /// Whether the two make the same choices from the same tokens on.
    fn is_like(&self, other: &Self) -> bool {
        self.sampler.is_like(&other.sampler) && self.latents == other.latents && self.forced == other.forced
    }
}

impl Branches {
    /// One branch, without a token: a fork of `session`, which has a canceller of its own. Branches
    /// keep to the session's constraint, each at a place of its own.
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
        let mut branches = Self {
            options,
            selector,
            root,
            batch: Batch::default(),
            lanes: vec![lane],
            all: vec![branch],
            choosers: vec![chooser],
            values: false,
            is_expanded: false,
            unexpanded: VecDeque::new(),
            passes: 0,
            generated: 0,
        };
        if branches.options.limit == 0 {
            branches.close(0, BranchEnd::Length);
        }
        Ok(branches)
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
        if !self.values {
            return Ok(());
        }
        let lacks = |branch: &Branch| branch.value.is_none() && (branch.at_boundary || branch.is_complete());
        self.advance(|branch| lacks(branch) && !matches!(branch.end, Some(BranchEnd::End)))?;
        for Lane { session, members } in &mut self.lanes {
            let lacking: Vec<usize> = members.iter().copied().filter(|&member| lacks(&self.all[member])).collect();
            let Some(&first) = lacking.first() else { continue };
            let text = self.root.place() + self.all[first].tokens.len() as u64;
            let value = if session.place() > text {
                // The state that an end token was chosen from is judged, not the one behind it.
                let mut before = session.branch()?;
                before.rewind(before.position() - 1)?;
                self.passes += 1;
                known_value(&mut before)?
            } else {
                known_value(session)?
            };
            for member in lacking {
                self.all[member].value = value;
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
        let pending = pending(&sessions);
        batch.advance(&mut sessions).into_iter().collect::<Result<(), _>>()?;
        self.count_passes(pending);
        Ok(())
    }

    /// Counts the passes that so many tokens have taken.
    pub(super) fn count_passes(&mut self, tokens: usize) {
        self.passes += tokens.div_ceil(BATCH);
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

    pub(super) fn open_branch(&self, branch: usize) -> Result<&Branch> {
        let found = self.branch(branch)?;
        if found.is_open() { Ok(found) } else { Err(BranchError::Ended { branch }) }
    }

    pub(super) fn lane_of(&self, branch: usize) -> Result<&Lane> {
        Ok(&self.lanes[self.lane_index(branch)?])
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

    /// Merges branches that have the same tokens and the same to come: the less probable one into
    /// the other, which then stands for both.
    pub(super) fn merge(&mut self) {
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
    pub(super) fn end(&mut self, branch: usize, end: BranchEnd) {
        if !end.is_complete() {
            self.lanes.iter_mut().for_each(|lane| lane.members.retain(|&member| member != branch));
            self.lanes.retain(|lane| !lane.members.is_empty());
        }
        self.all[branch].end = Some(end);
    }

    /// That all branches, and `more` bytes of KV cache, are allowed to be held in a step that
    /// computes `rows` distributions.
    pub(super) fn check_memory(&self, more: usize, rows: usize) -> Result<()> {
        let Some(limit) = self.root.memory_limit() else { return Ok(()) };
        // A mixture needs the rows of all options, and its own.
        let mixes = self.options.latents == Some(LatentMode::Mixture);
        let rows = rows.saturating_mul(if mixes { self.option_count() + 1 } else { 1 });
        let scratch = self.batch.bytes_for(&self.root, self.lanes.len(), rows);
        let needed = [more, scratch].into_iter().fold(self.kv_bytes(), usize::saturating_add);
        if needed > limit { Err(SessionError::MemoryLimit { needed, limit }.into()) } else { Ok(()) }
    }

    /// Ends a branch, whose text has all that waited for more.
    pub(super) fn close(&mut self, branch: usize, end: BranchEnd) {
        let (chooser, text) = (&mut self.choosers[branch], &mut self.all[branch].text);
        let (piece, stopped) = chooser.stops.push(&chooser.text.finish());
        text.push_str(&piece);
        if !stopped {
            text.push_str(&chooser.stops.finish());
        }
        self.end(branch, end);
    }

    pub(super) fn lane_index(&self, branch: usize) -> Result<usize> {
        let lane = self.lanes.iter().position(|lane| lane.members.contains(&branch));
        lane.ok_or(BranchError::Ended { branch })
    }
}

/// Tokens of these sessions that wait for their pass through the network.
pub(super) fn pending(sessions: &[&mut Session]) -> usize {
    sessions.iter().map(|session| session.pending()).sum()
}

/// The value of a session; `None` if it is no number.
pub(super) fn known_value(session: &mut Session) -> Result<Option<f32>, SessionError> {
    match session.value() {
        Err(SessionError::Plugin(PluginError::ValueNotFinite)) => Ok(None),
        value => value.map(Some),
    }
}

pub(super) fn source(selector: Option<&Selector>) -> StepSource<'_> {
    selector.map_or(StepSource::Backbone, StepSource::Selector)
}

impl Picked {
    /// The tokens that were chosen, where choosing them changed what is remembered of latents.
    pub(super) fn all(chosen: &Chosen, before: LatentState, after: LatentState) -> impl Iterator<Item = Self> + '_ {
        let &Chosen { latent, ref tokens, forced } = chosen;
        let selected = latent.map(|(_, probability)| probability).filter(|_| after.selected != before.selected);
        let picked = move |&(token, logprob)| Self {
            token,
            logprob,
            latent: latent.map(|(latent, _)| latent),
            selected,
            forced,
        };
        tokens.iter().map(picked)
    }
}
