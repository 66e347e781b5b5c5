//! Search over branches: vote, best of N, beam search.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

use crate::session::Session;
use crate::tokenizer::Tokenizer;

use super::answer::AnswerRule;
use super::branch::{Branch, BranchEnd, MAX_BRANCHES};
use super::error::{BranchError, failure};
use super::expansion::Expansion;
use super::score::{Score, Weight};
use super::tree::{BranchOptions, Branches};

/// How branches are searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Expands once. The answer that has most of the weight wins; it ends as soon as no open branch
    /// can change that.
    #[default]
    Vote,
    /// Expands once. The branch with the best score wins (best of N).
    Best,
    /// Expands at each boundary, and keeps the branches with the best scores (beam search).
    Beam,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Self::Vote, Self::Best, Self::Beam];

    /// The name, as [`Strategy::from_str`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vote => "vote",
            Self::Best => "best",
            Self::Beam => "beam",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|strategy| strategy.name() == text);
        found.ok_or_else(|| format!("{text:?} is no strategy; there are {}", known()))
    }
}

/// What is searched, and how.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// The strategy.
    pub strategy: Strategy,
    /// Into what a branch is expanded.
    pub expansion: Expansion,
    /// Vote and best: branches at most, the most probable ones. Beam: branches that are kept at a
    /// boundary.
    pub width: usize,
    /// Which branch is better.
    pub score: Score,
    /// How much a branch counts for its answer.
    pub weight: Weight,
    /// What the answer of a branch is.
    pub answer: AnswerRule,
    /// How branches are generated, where the search makes them.
    pub branches: BranchOptions,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The branch.
    pub branch: usize,
    /// Its answer, if it has one.
    pub answer: Option<String>,
    /// The share of the weight of all branches that have the same answer: 0 to 1.
    pub confidence: f64,
}

const NO_BRANCH: BranchError = BranchError::Count { what: "branches", count: 0, most: MAX_BRANCHES };

/// Searches the branches of a session, which does not move. `each` sees them after each step, and
/// may end the search, as the session's canceller does.
///
/// # Errors
/// As [`Branches::new`], [`Branches::expand`] and [`Branches::step`]; [`BranchError::NoValue`];
/// [`BranchError::Failed`] if no branch is left.
pub fn search(
    session: &Session,
    tokenizer: &Tokenizer,
    options: &SearchOptions,
    each: &mut dyn FnMut(&Branches) -> ControlFlow<()>,
) -> Result<(Branches, Found), BranchError> {
    let mut branches = Branches::of(session.fork_under_canceller()?, options.branches.clone())?;
    let found = search_in(&mut branches, tokenizer, options, each)?;
    Ok((branches, found))
}

/// Searches on in branches that are there. A vote and best of N expand the first branch, if none
/// was expanded before; a beam expands each at its next boundary.
///
/// # Errors
/// As [`search`], but for [`Branches::new`]. The branches are then where the failed step found
/// them: a second call continues, and finds what the first would have found.
pub fn search_in(
    branches: &mut Branches,
    tokenizer: &Tokenizer,
    options: &SearchOptions,
    each: &mut dyn FnMut(&Branches) -> ControlFlow<()>,
) -> Result<Found, BranchError> {
    if options.width == 0 {
        return Err(NO_BRANCH);
    }
    options.ask_values(branches)?;
    match options.strategy {
        Strategy::Vote | Strategy::Best => once(branches, tokenizer, options, each)?,
        Strategy::Beam => beam(branches, tokenizer, options, each)?,
    }
    let open: Vec<usize> = branches.open().map(|(branch, _)| branch).collect();
    open.into_iter().try_for_each(|branch| branches.prune(branch))?;
    branches.evaluate()?;
    found(branches.all(), options)
}

/// The vote of the branches that are there: nothing is generated. An open branch has no answer.
///
/// # Errors
/// [`BranchError::NoValue`]; as [`Branches::evaluate`]; [`BranchError::Failed`] or
/// [`BranchError::Count`] if no branch has a text.
pub fn vote(branches: &mut Branches, options: &SearchOptions) -> Result<Found, BranchError> {
    options.ask_values(branches)?;
    branches.evaluate()?;
    found(branches.all(), &SearchOptions { strategy: Strategy::Vote, ..options.clone() })
}

impl SearchOptions {
    /// Values are computed if score or weight is made of them.
    fn ask_values(&self, branches: &mut Branches) -> Result<(), BranchError> {
        let asks = matches!(self.score, Score::Value) || self.weight == Weight::Value;
        if asks { branches.compute_values() } else { Ok(()) }
    }
}

/// Expands once, and generates all branches to their ends.
fn once(
    branches: &mut Branches,
    tokenizer: &Tokenizer,
    options: &SearchOptions,
    each: &mut dyn FnMut(&Branches) -> ControlFlow<()>,
) -> Result<(), BranchError> {
    if let (false, Some(&only)) = (branches.is_expanded, branches.at_boundary().first()) {
        branches.check_expansion(options.expansion)?;
        branches.expand(only, options.expansion.at_most(options.width, branches.option_count()))?;
    }
    while branches.step(tokenizer, |_| true)? > 0 {
        let decided = options.strategy == Strategy::Vote && is_decided(branches.all(), options);
        if each(branches).is_break() || decided {
            break;
        }
    }
    Ok(())
}

/// Expands at each boundary, and keeps the best.
fn beam(
    branches: &mut Branches,
    tokenizer: &Tokenizer,
    options: &SearchOptions,
    each: &mut dyn FnMut(&Branches) -> ControlFlow<()>,
) -> Result<(), BranchError> {
    loop {
        expand_all(branches, options.expansion)?;
        while branches.step(tokenizer, |branch| !branch.at_boundary)? > 0 {
            if each(branches).is_break() {
                return Ok(());
            }
        }
        branches.evaluate()?;
        narrow(branches, options)?;
        if branches.open().next().is_none() {
            return Ok(());
        }
        branches.advance(Branch::is_open)?;
        branches.unexpanded = branches.at_boundary().into();
    }
}

/// Expands the branches that have not been expanded at their boundary: all of them, or those that
/// an earlier call left.
fn expand_all(branches: &mut Branches, expansion: Expansion) -> Result<(), BranchError> {
    while let Some(&branch) = branches.unexpanded.front() {
        if branches.open_branch(branch).is_ok_and(|branch| branch.at_boundary) {
            branches.expand_or_end(branch, expansion)?;
        }
        branches.unexpanded.pop_front();
    }
    Ok(())
}

/// Keeps the branches with the best scores; complete ones stay, and take the place of open ones.
fn narrow(branches: &mut Branches, options: &SearchOptions) -> Result<(), BranchError> {
    let all = branches.all();
    let alive: Vec<usize> = (0..all.len()).filter(|&i| all[i].is_open() || all[i].is_complete()).collect();
    if alive.len() <= options.width {
        return Ok(());
    }
    let ranked = ranked(all, &options.score, alive);
    let dropped: Vec<usize> = ranked.into_iter().skip(options.width).filter(|&i| all[i].is_open()).collect();
    dropped.into_iter().try_for_each(|branch| branches.prune(branch))
}

fn is_pruned(branch: &Branch) -> bool {
    matches!(branch.end, Some(BranchEnd::Pruned))
}

/// The better ones first; of equals the earlier. Each is scored once.
fn ranked(all: &[Branch], score: &Score, branches: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut scored: Vec<(usize, f64)> = branches.into_iter().map(|branch| (branch, score.of(&all[branch]))).collect();
    scored.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
    scored.into_iter().map(|(branch, _)| branch).collect()
}

/// The answers of complete branches with their weights, in the order in which they came up.
fn tally(all: &[Branch], options: &SearchOptions) -> Vec<(String, f64)> {
    let mut answers: Vec<(String, f64)> = Vec::new();
    for branch in all.iter().filter(|branch| branch.is_complete()) {
        if let Some(answer) = options.answer.extract(&branch.text) {
            let weight = options.weight.of(branch);
            match answers.iter_mut().find(|(other, _)| *other == answer) {
                Some((_, sum)) => *sum += weight,
                None => answers.push((answer, weight)),
            }
        }
    }
    answers
}

/// Whether no open branch can change which answer wins.
fn is_decided(all: &[Branch], options: &SearchOptions) -> bool {
    // A value that is not known yet may come to 1.
    let unknown = |branch: &Branch| options.weight == Weight::Value && branch.is_complete() && branch.value.is_none();
    let most = |branch: &Branch| if unknown(branch) { branch.count } else { options.weight.of(branch) };
    let open: f64 = all.iter().filter(|branch| branch.is_open() || unknown(branch)).map(most).sum();
    let mut weights: Vec<f64> = tally(all, options).into_iter().map(|(_, weight)| weight).collect();
    weights.sort_by(|a, b| b.total_cmp(a));
    weights.first().is_some_and(|first| *first > weights.get(1).unwrap_or(&0.0) + open)
}

/// What is found among branches.
fn found(all: &[Branch], options: &SearchOptions) -> Result<Found, BranchError> {
    let counts = |branch: &Branch| branch.is_open() || branch.is_complete() || is_pruned(branch);
    let those = |with: &dyn Fn(&Branch) -> bool| (0..all.len()).filter(|&i| with(&all[i])).collect::<Vec<_>>();
    let mut candidates = those(&Branch::is_complete);
    if candidates.is_empty() {
        candidates = those(&counts);
    }
    let mut candidates = ranked(all, &options.score, candidates);
    let answer_of =
        |branch: usize| Some(&all[branch]).filter(|b| b.is_complete()).and_then(|b| options.answer.extract(&b.text));
    let answers = tally(all, options);
    if options.strategy == Strategy::Vote {
        let most = answers.iter().map(|(_, weight)| *weight).fold(f64::NEG_INFINITY, f64::max);
        // Of answers with equal weight, that of the better branch.
        let wins = |answer: &String| answers.iter().any(|(other, weight)| other == answer && *weight >= most);
        let winner = candidates.iter().position(|&branch| answer_of(branch).as_ref().is_some_and(wins));
        candidates.drain(..winner.unwrap_or(0));
    }
    let &branch = candidates.first().ok_or_else(|| failure(all).unwrap_or(NO_BRANCH))?;
    let answer = answer_of(branch);
    // What is open or was pruned has a say, but no answer.
    let total: f64 = all.iter().filter(|branch| counts(branch)).map(|branch| options.weight.of(branch)).sum();
    let own = answers.iter().find(|(other, _)| Some(other) == answer.as_ref()).map_or(0.0, |(_, weight)| *weight);
    Ok(Found { branch, answer, confidence: if total > 0.0 { own / total } else { 0.0 } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Hold, HoldUntil};

    fn options(strategy: Strategy) -> SearchOptions {
        SearchOptions {
            strategy,
            expansion: Expansion::Latents,
            width: 10,
            score: Score::LogProbSum,
            weight: Weight::One,
            answer: AnswerRule::Number,
            branches: BranchOptions {
                latents: None,
                hold: HoldUntil::from(Hold::All),
                sampling: crate::sampler::SamplerOptions::default(),
                stops: Vec::new(),
                limit: 10,
            },
        }
    }

    fn branch(text: &str, logprob: f64, end: Option<BranchEnd>) -> Branch {
        Branch { text: text.into(), logprob, scored: 1, count: 1.0, policy_weight: 0.1, end, ..Branch::default() }
    }

    fn ended(text: &str, logprob: f64) -> Branch {
        branch(text, logprob, Some(BranchEnd::End))
    }

    #[test]
    fn a_vote_is_won_by_weight_and_ties_by_score() {
        let vote = options(Strategy::Vote);
        let all = [ended("1", -1.0), ended("so 2", -5.0), ended("2", -3.0), ended("none", -0.1)];
        let won = found(&all, &vote).unwrap();
        assert_eq!(won, Found { branch: 2, answer: Some("2".into()), confidence: 0.5 });
        let tie = found(&all[..2], &vote).unwrap();
        assert_eq!((tie.branch, tie.confidence), (0, 0.5));
        let none = found(&all[3..], &vote).unwrap();
        assert_eq!(none, Found { branch: 0, answer: None, confidence: 0.0 });
        let best = found(&all, &options(Strategy::Best)).unwrap();
        assert_eq!((best.branch, best.answer), (3, None));
        let weighted = SearchOptions { weight: Weight::Policy, ..vote };
        let mut all = all.to_vec();
        all[0].policy_weight = 0.7;
        assert!((found(&all, &weighted).unwrap().confidence - 0.7).abs() < 1e-9);
    }

    #[test]
    fn a_vote_is_decided_when_no_open_branch_can_change_it() {
        let vote = options(Strategy::Vote);
        let mut all = vec![ended("1", -1.0), ended("1", -1.0), ended("2", -1.0), branch("", 0.0, None)];
        assert!(!is_decided(&all, &vote));
        all.push(ended("1", -2.0));
        assert!(is_decided(&all, &vote));
        all[3].count = 2.0;
        assert!(!is_decided(&all, &vote));
        assert!(!is_decided(&all[3..4], &vote));
    }

    #[test]
    fn a_search_that_was_ended_early_gives_what_there_is() {
        let all = [branch("a", -2.0, Some(BranchEnd::Pruned)), branch("b", -1.0, Some(BranchEnd::Pruned))];
        assert_eq!(found(&all, &options(Strategy::Best)).unwrap().branch, 1);
        let error = std::sync::Arc::new(crate::session::SessionError::Empty);
        let failed = [branch("a", -2.0, Some(BranchEnd::Failed(error)))];
        assert!(matches!(found(&failed, &options(Strategy::Vote)), Err(BranchError::Failed(_))));
    }

    #[test]
    fn strategies_are_read_as_they_are_written() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        assert_eq!("mcts".parse::<Strategy>().unwrap_err(), "\"mcts\" is no strategy; there are vote, best, beam");
    }
}
