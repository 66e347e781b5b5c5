//! The text that a constraint waits for.

use super::grammar::Grammar;

/// Finds a text in what is generated. No token crosses its end: those that would are not allowed,
/// so a grammar always begins at the beginning of a token.
#[derive(Debug)]
pub(super) struct Trigger {
    text: Vec<u8>,
    /// For each length of a beginning of the text: the tokens that continue it to its end and on.
    /// Those for nothing are the ones that have all of it inside.
    crossing: Vec<Vec<u32>>,
}

impl Trigger {
    /// None for an empty text, which is there at once.
    pub(super) fn new(grammar: &Grammar, text: &str) -> Option<Self> {
        let text = text.as_bytes().to_vec();
        let mut crossing = vec![Vec::new(); text.len()];
        for token in 0..grammar.vocabulary() as u32 {
            let bytes = grammar.token_bytes(token);
            // Only what is left of the text and shorter than the token can end inside it.
            for begun in text.len().saturating_sub(bytes.len().saturating_sub(1))..text.len() {
                let crosses = match begun {
                    0 => find(bytes, &text).is_some_and(|end| end < bytes.len()),
                    _ => bytes.starts_with(&text[begun..]),
                };
                if crosses {
                    crossing[begun].push(token);
                }
            }
        }
        (!text.is_empty()).then_some(Self { text, crossing })
    }

    /// Takes the bytes of a token to the `tail` of the text before; whether the trigger is there.
    pub(super) fn push(&self, tail: &mut Vec<u8>, bytes: &[u8]) -> bool {
        tail.extend_from_slice(bytes);
        let found = find(tail, &self.text).is_some();
        tail.drain(..tail.len().saturating_sub(self.text.len() - 1));
        found
    }

    /// The tokens that would cross the end of the trigger behind such a tail.
    pub(super) fn crossing<'t>(&'t self, tail: &'t [u8]) -> impl Iterator<Item = u32> + 't {
        let begun = |&(begun, _): &(usize, _)| tail.ends_with(&self.text[..begun]);
        self.crossing.iter().enumerate().filter(begun).flat_map(|(_, tokens)| tokens).copied()
    }
}

/// Where the first `part` of `text` ends.
fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len().max(1)).position(|window| window == part).map(|at| at + part.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_is_found_across_tokens() {
        let trigger = Trigger { text: b"</a>".to_vec(), crossing: vec![vec![9], vec![], vec![7], vec![7, 8]] };
        let mut tail = Vec::new();
        let found = ["x</", "</", "a", "b</", "a", ">"].map(|text| trigger.push(&mut tail, text.as_bytes()));
        assert_eq!(found, [false, false, false, false, false, true]);
        assert!(trigger.push(&mut Vec::new(), b"so</a>then"));
        let crossing = |tail: &[u8]| trigger.crossing(tail).collect::<Vec<_>>();
        assert_eq!(crossing(b""), [9]);
        assert_eq!(crossing(b"x</"), [9, 7]);
        assert_eq!(crossing(b"</a"), [9, 7, 8]);
    }

    #[test]
    fn a_part_is_found_where_it_ends() {
        assert_eq!(find(b"abab", b"ab"), Some(2));
        assert_eq!(find(b"a", b"ab"), None);
        assert_eq!(find(b"", b"ab"), None);
    }
}
