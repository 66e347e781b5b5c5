//! N-gram lookup: what followed the same tokens before.

use crate::session::{Drafter, STRENGTHS};

use super::suffix_automaton::SuffixAutomaton;

/// Drafts what followed the longest end of the text that occurred before in it: right where a text
/// is quoted, edited or put into another form.
#[derive(Debug)]
pub struct NgramDrafter {
    automaton: SuffixAutomaton,
    /// The text that the automaton has.
    text: Vec<u32>,
    /// Tokens that the same end must have.
    least: usize,
}

impl NgramDrafter {
    /// Drafts after ends of at least `least` tokens (1 at least) that occurred before.
    pub fn new(least: usize) -> Self {
        Self { automaton: SuffixAutomaton::new(), text: Vec::new(), least: least.max(1) }
    }

    /// Comes to `text`: goes on from what it has, if that is its beginning.
    fn read(&mut self, text: &[u32]) {
        if !text.starts_with(&self.text) {
            self.automaton = SuffixAutomaton::new();
            self.text.clear();
        }
        for &token in &text[self.text.len()..] {
            self.automaton.push(token);
            self.text.push(token);
        }
    }

    /// The length of the end that occurred before, and where what followed it begins.
    fn seen(&self) -> Option<(usize, usize)> {
        self.automaton.seen().filter(|&(length, _)| length >= self.least)
    }
}

impl Default for NgramDrafter {
    /// Two tokens: one alone says little.
    fn default() -> Self {
        Self::new(2)
    }
}

impl Drafter for NgramDrafter {
    /// The longer the end, the stronger: 1, 2, 3, 4, 5 to 8, 9 to 16, 17 to 32, more.
    fn evidence(&mut self, text: &[u32]) -> Option<usize> {
        self.read(text);
        let (length, _) = self.seen()?;
        let strength = if length <= 4 { length - 1 } else { (length - 1).ilog2() as usize + 2 };
        Some(strength.min(STRENGTHS - 1))
    }

    fn draft(&mut self, text: &[u32], count: usize, draft: &mut Vec<u32>) {
        self.read(text);
        let Some((_, start)) = self.seen() else { return };
        // What follows may come to the end of the text: then it repeats itself.
        let period = text.len() - start;
        draft.extend((0..count).map(|i| text[start + i % period]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(drafter: &mut NgramDrafter, text: &[u32], count: usize) -> Option<(usize, Vec<u32>)> {
        let strength = drafter.evidence(text)?;
        let mut tokens = Vec::new();
        drafter.draft(text, count, &mut tokens);
        Some((strength, tokens))
    }

    #[test]
    fn what_followed_the_same_tokens_is_drafted() {
        let mut drafter = NgramDrafter::default();
        assert_eq!(draft(&mut drafter, &[1, 2, 3, 4, 5], 2), None);
        assert_eq!(draft(&mut drafter, &[1, 2, 3, 4, 5, 2], 2), None);
        assert_eq!(draft(&mut drafter, &[1, 2, 3, 4, 5, 2, 3], 2), Some((1, vec![4, 5])));
        // The text was taken back.
        assert_eq!(draft(&mut drafter, &[1, 2, 3, 9, 1, 2], 3), Some((1, vec![3, 9, 1])));
        assert_eq!(draft(&mut drafter, &[], 3), None);
    }

    #[test]
    fn a_text_that_repeats_itself_is_drafted_on_and_on() {
        let text = [1, 2, 1, 2, 1, 2, 1];
        assert_eq!(draft(&mut NgramDrafter::default(), &text, 5), Some((4, vec![2, 1, 2, 1, 2])));
        let (strength, _) = draft(&mut NgramDrafter::new(1), &[7; 100], 1).unwrap();
        assert_eq!(strength, STRENGTHS - 1);
    }
}
