//! Suggestions: short continuations to choose from, as a keyboard or an editor shows them.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::str::FromStr;

use crate::plugin::{Hold, HoldUntil, LatentMode, TokenEnds};
use crate::sampler::SamplerOptions;
use crate::session::{Session, SessionError};
use crate::tokenizer::{Detokenizer, Tokenizer};

use super::branch::{Branch, BranchEnd, MAX_BRANCHES};
use super::error::{BranchError, failure};
use super::expansion::Expansion;
use super::tree::{BranchOptions, Branches};

/// Where a suggestion ends, if it has not as many tokens as it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// Nowhere.
    #[default]
    Tokens,
    /// At the end of the word.
    Word,
    /// At the end of the line.
    Line,
}

impl Until {
    /// Every end.
    pub const ALL: [Self; 3] = [Self::Tokens, Self::Word, Self::Line];

    /// The name, as [`Until::from_str`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Word => "word",
            Self::Line => "line",
        }
    }

    /// Where the text ends by this rule: bytes. White space in front ends nothing.
    fn end(self, text: &str) -> Option<usize> {
        let ends: fn(char) -> bool = match self {
            Self::Tokens => return None,
            Self::Word => char::is_whitespace,
            Self::Line => |c| c == '\n',
        };
        let begin = text.find(|c: char| !c.is_whitespace())?;
        text[begin..].find(ends).map(|end| begin + end)
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|until| until.name() == text);
        found.ok_or_else(|| format!("{text:?} is no end of a suggestion; there are {}", known()))
    }
}

/// What is suggested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuggestOptions {
    /// Suggestions at most.
    pub count: usize,
    /// Tokens of each at most.
    pub tokens: usize,
    /// Where it ends before.
    pub until: Until,
}

/// A continuation of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// The text.
    pub text: String,
    /// Its tokens; with an end at a word or a line, the last one may have more text.
    pub tokens: Vec<u32>,
    /// The probability of the tokens; with a plugin the sum, over the latents that give them, of
    /// the policy's probability times theirs.
    pub probability: f64,
    /// The latent that adds most to it; `None` of the backbone, and of the mixture.
    pub latent: Option<usize>,
}

/// Branches that are followed beside those that are asked for.
const SPARE: usize = 2;

/// Continuations of a session, which does not move: the most probable first, none the beginning of
/// another. With a plugin each latent continues the text, held for all of it, and branches split
/// where latents choose different tokens; if these are fewer than asked for, and without a plugin,
/// the likeliest first tokens are continued. All keep to the session's constraint. The session's
/// canceller cancels it.
///
/// # Errors
/// [`BranchError::Count`]; [`SessionError::ContextFull`]; as [`Branches::new`],
/// [`Branches::expand`] and [`Branches::step`].
pub fn suggest(
    session: &Session,
    tokenizer: &Tokenizer,
    options: &SuggestOptions,
) -> Result<Vec<Suggestion>, BranchError> {
    suggest_watched(session, tokenizer, options, &mut || ControlFlow::Continue(()))
}

/// As [`suggest`]; `watch` is called after each pass, and may end it, as a canceller does.
///
/// # Errors
/// As [`suggest`].
pub fn suggest_watched(
    session: &Session,
    tokenizer: &Tokenizer,
    options: &SuggestOptions,
    watch: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Vec<Suggestion>, BranchError> {
    let &SuggestOptions { count, tokens, until } = options;
    if !(1..=MAX_BRANCHES / 2).contains(&count) {
        return Err(BranchError::Count { what: "suggestions", count, most: MAX_BRANCHES / 2 });
    }
    let held = u32::try_from(tokens).ok().and_then(NonZeroU32::new);
    let held =
        held.ok_or(BranchError::Count { what: "tokens of a suggestion", count: tokens, most: u32::MAX as usize })?;
    session.check_room()?;
    let mut branches = Branches::of(
        session.fork_under_canceller()?,
        BranchOptions {
            latents: session.plugin().map(|_| LatentMode::Mixture),
            hold: HoldUntil::new(Hold::Tokens(held), TokenEnds::new(tokenizer)),
            sampling: SamplerOptions::default(),
            stops: Vec::new(),
            limit: tokens,
        },
    )?;
    let spare = if session.plugin().is_some() {
        let spare = branches.copy(0)?;
        branches.expand(0, Expansion::Latents)?;
        Some(spare)
    } else {
        branches.expand(0, Expansion::Tokens(count + SPARE))?;
        None
    };
    branches.step(tokenizer, |branch| !branch.at_boundary)?;
    if let Some(spare) = spare {
        fill(&mut branches, tokenizer, spare, count)?;
    }
    loop {
        narrow(&mut branches, count + SPARE)?;
        end(&mut branches, until)?;
        if branches.step(tokenizer, |_| true)? == 0 {
            let found = ranked(branches.all(), tokenizer, options);
            return if found.is_empty() { failure(branches.all()).map_or(Ok(found), Err) } else { Ok(found) };
        }
        if watch().is_break() {
            return Err(SessionError::Cancelled.into());
        }
    }
}

/// Continues the likeliest tokens that no latent began with, where these are fewer than `count`.
fn fill(branches: &mut Branches, tokenizer: &Tokenizer, spare: usize, count: usize) -> Result<(), BranchError> {
    let mut begun: Vec<u32> = branches.all().iter().filter_map(|branch| branch.tokens.first().copied()).collect();
    begun.sort_unstable();
    begun.dedup();
    if begun.len() >= count {
        return branches.prune(spare);
    }
    let others = branches.expand(spare, Expansion::Tokens(count + begun.len()))?;
    branches.step(tokenizer, |branch| branch.tokens.is_empty())?;
    for other in others {
        let branch = &branches.all()[other];
        if branch.is_open() && branch.tokens.first().is_some_and(|token| begun.contains(token)) {
            branches.prune(other)?;
        }
    }
    Ok(())
}

/// Keeps the branches with the `most` most probable texts.
fn narrow(branches: &mut Branches, most: usize) -> Result<(), BranchError> {
    let mut texts: Vec<(&[u32], f64)> = Vec::new();
    for branch in branches.all().iter().filter(|branch| branch.is_open() || branch.is_complete()) {
        match texts.iter_mut().find(|(tokens, _)| *tokens == branch.tokens) {
            Some((_, sum)) => *sum += probability(branch),
            None => texts.push((&branch.tokens, probability(branch))),
        }
    }
    texts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let dropped: Vec<Vec<u32>> = texts.iter().skip(most).map(|(tokens, _)| tokens.to_vec()).collect();
    let open = branches.open().filter(|(_, branch)| dropped.contains(&branch.tokens)).map(|(index, _)| index);
    open.collect::<Vec<_>>().into_iter().try_for_each(|branch| branches.prune(branch))
}

/// Ends the branches that have come to the end of the word or line.
fn end(branches: &mut Branches, until: Until) -> Result<(), BranchError> {
    let ended = branches.open().filter(|(_, branch)| until.end(&branch.text).is_some()).map(|(index, _)| index);
    ended.collect::<Vec<_>>().into_iter().try_for_each(|branch| branches.stop(branch))
}

fn probability(branch: &Branch) -> f64 {
    (branch.policy + branch.logprob).exp()
}

/// The texts of the branches that ended, cut to their ends, the most probable first.
fn ranked(all: &[Branch], tokenizer: &Tokenizer, options: &SuggestOptions) -> Vec<Suggestion> {
    let mut found: Vec<(Suggestion, f64)> = Vec::new();
    let merged = |branch: &&Branch| branch.is_complete() || matches!(branch.end, Some(BranchEnd::Merged(_)));
    for branch in all.iter().filter(merged) {
        let text = &branch.text[..options.until.end(&branch.text).unwrap_or(branch.text.len())];
        // Half a character is no text yet.
        let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let tokens = covering(&branch.tokens, text, tokenizer);
        if text.is_empty() || options.until != Until::Tokens && text.trim().is_empty() {
            continue;
        }
        let logprob: f64 = branch.logprobs[..tokens.len()].iter().map(|&logprob| f64::from(logprob)).sum();
        let (own, latent) = ((branch.policy + logprob).exp(), branch.latents.iter().find_map(|latent| *latent));
        match found.iter_mut().find(|(suggestion, _)| suggestion.text == text) {
            Some((suggestion, most)) => {
                suggestion.probability += own;
                if own > *most {
                    (suggestion.latent, *most) = (latent, own);
                }
            }
            None => found.push((Suggestion { text: text.to_owned(), tokens, probability: own, latent }, own)),
        }
    }
    found.sort_by(|(a, _), (b, _)| b.probability.total_cmp(&a.probability));
    let mut ranked: Vec<Suggestion> = Vec::new();
    for (suggestion, _) in found {
        let begins = |a: &Suggestion, b: &Suggestion| b.text.starts_with(&a.text);
        if !ranked.iter().any(|better| begins(better, &suggestion) || begins(&suggestion, better)) {
            ranked.push(suggestion);
        }
    }
    ranked.truncate(options.count);
    ranked
}

/// As many of the tokens as `text`, the beginning of theirs, needs.
fn covering(tokens: &[u32], text: &str, tokenizer: &Tokenizer) -> Vec<u32> {
    let (mut stream, mut length) = (Detokenizer::new(), 0);
    let covers = |&token: &u32| {
        length += stream.push(tokenizer, token).len();
        length >= text.len()
    };
    let count = tokens.iter().position(covers).map_or(tokens.len(), |last| last + 1);
    tokens[..count].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_ends_at_white_space_and_a_line_at_its_feed() {
        assert_eq!(Until::Word.end(" two words"), Some(4));
        assert_eq!(Until::Word.end("  two"), None);
        assert_eq!(Until::Word.end("\n\na\tb"), Some(3));
        assert_eq!(Until::Line.end(" two words\nmore"), Some(10));
        assert_eq!(Until::Line.end("\nmore"), None);
        assert_eq!(Until::Tokens.end("a b\nc"), None);
        assert_eq!(Until::Word.end(""), None);
    }

    #[test]
    fn ends_are_read_as_they_are_written() {
        for until in Until::ALL {
            assert_eq!(until.to_string().parse(), Ok(until));
        }
        assert!("sentence".parse::<Until>().is_err());
    }
}
