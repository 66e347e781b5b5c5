//! The suffix automaton of a growing text (Blumer et al. 1985): in constant time a token, the
//! longest end of the text that has occurred before, and where.

use std::collections::HashMap;

/// The start state: the empty text.
const START: usize = 0;

/// Texts that end at the same places.
#[derive(Debug)]
struct State {
    /// The length of the longest of them.
    length: usize,
    /// The state of the longest of its ends that is not among them.
    link: Option<usize>,
    /// Where the last known occurrence ends: the number of tokens up to there.
    end: usize,
}

/// A text, token by token.
#[derive(Debug)]
pub(super) struct SuffixAutomaton {
    states: Vec<State>,
    /// Which state follows a state with a token.
    next: HashMap<(usize, u32), usize>,
    /// The tokens that follow a state.
    following: Vec<Vec<u32>>,
    /// The state of the whole text.
    last: usize,
    tokens: usize,
    /// The longest end that had occurred before the last token came: its length, and where it
    /// ended.
    seen: Option<(usize, usize)>,
}

impl SuffixAutomaton {
    pub(super) fn new() -> Self {
        let start = State { length: 0, link: None, end: 0 };
        let (states, following) = (vec![start], vec![Vec::new()]);
        Self { states, next: HashMap::new(), following, last: START, tokens: 0, seen: None }
    }

    /// The length of the longest end of the text that has occurred before, and the number of tokens
    /// up to the end of that occurrence.
    pub(super) fn seen(&self) -> Option<(usize, usize)> {
        self.seen
    }

    /// Adds a token.
    pub(super) fn push(&mut self, token: u32) {
        self.tokens += 1;
        let new = self.add(State { length: self.tokens, link: Some(START), end: self.tokens });
        let mut at = Some(self.last);
        while let Some(state) = at.filter(|&state| !self.next.contains_key(&(state, token))) {
            self.connect(state, token, new);
            at = self.states[state].link;
        }
        if let Some(state) = at {
            let target = self.next[&(state, token)];
            let length = self.states[state].length + 1;
            let link = if self.states[target].length == length { target } else { self.split(state, token, target) };
            self.states[new].link = Some(link);
        }
        self.last = new;
        let link = self.states[new].link.unwrap_or(START);
        let before = &mut self.states[link];
        self.seen = (before.length > 0).then_some((before.length, before.end));
        before.end = self.tokens;
    }

    fn add(&mut self, state: State) -> usize {
        self.states.push(state);
        self.following.push(Vec::new());
        self.states.len() - 1
    }

    fn connect(&mut self, from: usize, token: u32, to: usize) {
        if self.next.insert((from, token), to).is_none() {
            self.following[from].push(token);
        }
    }

    /// Takes those texts out of `target` that are no longer than those of `state` with `token`:
    /// they have ended at one more place. Gives their state.
    fn split(&mut self, state: usize, token: u32, target: usize) -> usize {
        let State { link, end, .. } = self.states[target];
        let clone = self.add(State { length: self.states[state].length + 1, link, end });
        for token in self.following[target].clone() {
            self.connect(clone, token, self.next[&(target, token)]);
        }
        self.states[target].link = Some(clone);
        let mut at = Some(state);
        while let Some(state) = at.filter(|&state| self.next.get(&(state, token)) == Some(&target)) {
            self.next.insert((state, token), clone);
            at = self.states[state].link;
        }
        clone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ollm_kernels::random::Random;

    /// Against a search through the whole text.
    #[test]
    fn the_longest_end_that_occurred_before_is_found() {
        for (seed, kinds) in [(1, 2), (2, 3), (3, 8), (4, 50)] {
            let (mut automaton, mut text) = (SuffixAutomaton::new(), Vec::new());
            for place in 0..300 {
                let token = Random::at(seed, place).below(kinds) as u32;
                text.push(token);
                automaton.push(token);
                let occurs = |length: usize| {
                    let end = &text[text.len() - length..];
                    text[..text.len() - 1].windows(length).any(|window| window == end)
                };
                let longest = (1..text.len()).take_while(|&length| occurs(length)).last();
                let seen = automaton.seen();
                assert_eq!(seen.map(|(length, _)| length), longest, "{text:?}");
                if let Some((length, end)) = seen {
                    assert!(end < text.len() && text[end - length..end] == text[text.len() - length..], "{text:?}");
                }
            }
        }
    }
}
