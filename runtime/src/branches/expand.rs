//! Expansion: several branches of one.

use std::sync::Arc;

use ollm_kernels::memory;
use ollm_kernels::random::Random;

use crate::constraint::ConstraintError;
use crate::plugin::{draw, most_probable};
use crate::sampler::{Sampler, SamplerOptions};
use crate::session::{Pick, Request, SessionError};

use super::branch::{Branch, BranchEnd, MAX_BRANCHES};
use super::error::BranchError;
use super::expansion::Expansion;
use super::tree::{Branches, Chooser, Picked, source};

type Result<T, E = BranchError> = std::result::Result<T, E>;

impl Chooser {
    /// Whether an expansion has chosen already what this one would choose.
    fn has_chosen(&self, expansion: Expansion) -> bool {
        match expansion {
            Expansion::Latents | Expansion::Top(_) | Expansion::Draw(_) => {
                self.latents.is_unused() || self.forced.is_some()
            }
            Expansion::Tokens(_) => self.forced.is_some(),
            Expansion::Sample { .. } => false,
        }
    }
}

impl Branches {
    /// Makes several branches of one. The first of them is the branch itself; the others follow
    /// those that are there. Branches that will go the same way are merged at once. Tells which
    /// they are; none where the context is full, or a grammar is complete, which ends the branch.
    ///
    /// # Errors
    /// [`BranchError::NoPlugin`], [`BranchError::Latents`], [`BranchError::Count`],
    /// [`BranchError::NoBranch`], [`BranchError::Ended`], [`BranchError::Chosen`];
    /// [`SessionError::MemoryLimit`] if there is no memory for a token of each; and as
    /// [`Session::step`](crate::session::Session::step). Then there are as many branches as before.
    pub fn expand(&mut self, branch: usize, expansion: Expansion) -> Result<Vec<usize>> {
        self.open_branch(branch)?;
        self.check_expansion(expansion)?;
        if self.choosers[branch].has_chosen(expansion) {
            return Err(BranchError::Chosen { branch, expansion });
        }
        let count = expansion.count(self.option_count());
        let open = (self.open().count() - 1).saturating_add(count);
        if count == 0 || open > MAX_BRANCHES {
            let count = if count == 0 { 0 } else { open };
            return Err(BranchError::Count { what: "open branches", count, most: MAX_BRANCHES });
        }
        self.check_memory(self.lane_of(branch)?.session.kv_bytes_missing(1).saturating_mul(count - 1), count)?;
        let copies = match expansion {
            Expansion::Latents | Expansion::Top(_) | Expansion::Draw(_) => self.expand_latents(branch, expansion),
            Expansion::Tokens(count) => self.expand_tokens(branch, count),
            Expansion::Sample { count, temperature } => self.expand_samples(branch, count, temperature),
        }?;
        self.is_expanded = true;
        Ok(copies)
    }

    /// As [`Branches::expand`], but what goes wrong with this branch alone ends it, as in a step.
    pub(super) fn expand_or_end(&mut self, branch: usize, expansion: Expansion) -> Result<()> {
        use SessionError::{Constraint, Logits, Plugin, Select};
        match self.expand(branch, expansion) {
            Err(BranchError::Session(error @ (Plugin(_) | Logits(_) | Select(_) | Constraint(_)))) => {
                self.end(branch, BranchEnd::Failed(Arc::new(error)));
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// That there are such latents, if it expands latents.
    pub(super) fn check_expansion(&self, expansion: Expansion) -> Result<()> {
        match (expansion, self.option_count()) {
            (_, 0) if expansion.needs_plugin() => Err(BranchError::NoPlugin { expansion }),
            (Expansion::Top(count), options) if count > options => Err(BranchError::Latents { count, options }),
            _ => Ok(()),
        }
    }

    /// A second branch like this one.
    pub(super) fn copy(&mut self, branch: usize) -> Result<usize> {
        self.open_branch(branch)?;
        Ok(self.copies(branch, 2)?[1])
    }

    fn expand_latents(&mut self, branch: usize, expansion: Expansion) -> Result<Vec<usize>> {
        let (seed, lane) = (self.options.sampling.seed, self.lane_index(branch)?);
        let session = &mut self.lanes[lane].session;
        let (pending, place) = (session.pending(), session.place());
        let policy = session.policy()?.to_vec();
        self.count_passes(pending);
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
        let (pending, mut latents) = (session.pending(), before);
        let source = source(self.selector.as_ref());
        let request = Request { member: 0, source, latent_state: &mut latents, pick: Pick::Top(count) };
        let mut outcome = self.batch.choose(&mut [session], &mut [request]);
        outcome.sessions.remove(0)?;
        let chosen = match outcome.choices.remove(0).unwrap_or(Err(SessionError::Empty)) {
            Err(error @ (SessionError::ContextFull { .. } | SessionError::Constraint(ConstraintError::Complete))) => {
                self.close(branch, BranchEnd::of(&Arc::new(error)));
                return Ok(Vec::new());
            }
            chosen => chosen?,
        };
        self.count_passes(pending.saturating_sub(self.lanes[lane].session.pending()));
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
        let copy = || Ok(Branch { parent, fork, count: share, policy_weight, ..origin.copied()? });
        let copies: Vec<Branch> = (1..count).map(|_| copy()).collect::<Result<_>>()?;
        memory::grow(&mut self.all, count)?;
        memory::grow(&mut self.choosers, count)?;
        memory::grow(&mut self.lanes[lane].members, count)?;
        (self.all[branch].count, self.all[branch].policy_weight) = (share, policy_weight);
        for (i, copy) in (first..).zip(copies) {
            self.all.push(copy);
            self.choosers.push(self.choosers[branch].clone());
            self.lanes[lane].members.push(i);
        }
        Ok(std::iter::once(branch).chain(first..first + count - 1).collect())
    }
}
