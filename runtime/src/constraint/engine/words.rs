//! The tokens of a model as the engine wants them: bytes of each, in a trie, and the tokens of
//! forced text.

use std::sync::Arc;

use llguidance::toktrie::{INVALID_TOKEN, TokRxInfo, TokTrie, TokenizerEnv};

use crate::constraint::error::ConstraintError;
use crate::tokenizer::Tokenizer;

/// Bytes of a token at most: longer ones are never allowed. The trie takes up to 1,024.
const MAX_BYTES: usize = 512;

/// What marks a control token in the trie, and can begin no text.
const MARK: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

/// Nodes and tokens that a trie has room for.
const MAX_NODES: usize = 1 << 22;

pub(super) struct Words {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

impl Words {
    pub(super) fn new(tokenizer: &Arc<Tokenizer>, vocabulary: usize) -> Result<Self, ConstraintError> {
        let words: Vec<Vec<u8>> = (0..vocabulary as u32).map(|id| word(tokenizer, id)).collect();
        let nodes = nodes(&words);
        if nodes >= MAX_NODES || vocabulary >= MAX_NODES {
            let reason = format!("they make a trie of {nodes} nodes, but {MAX_NODES} are too many");
            return Err(ConstraintError::Vocabulary { reason });
        }
        let ends: Vec<u32> = tokenizer.ends().iter().copied().filter(|&end| (end as usize) < vocabulary).collect();
        let end = ends.first().copied().unwrap_or(INVALID_TOKEN);
        let trie = TokTrie::from(&TokRxInfo::new(vocabulary as u32, end), &words);
        let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(&ends) };
        Ok(Self { trie, tokenizer: Arc::clone(tokenizer) })
    }

    /// The tokens of a text that follows another.
    fn tokens(&self, text: &str) -> Vec<u32> {
        // A tokenizer may put a space in front of a text, but not behind a line feed.
        let beside = format!("\n{text}");
        let found = self.exactly(text, text).or_else(|| self.exactly(&beside, text));
        found.unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
    }

    /// The last tokens of `whole`, those that make up `text`.
    fn exactly(&self, whole: &str, text: &str) -> Option<Vec<u32>> {
        let tokens = self.tokenizer.encode(whole, false).ok()?;
        let (mut start, mut left) = (tokens.len(), text.as_bytes());
        while !left.is_empty() {
            start = start.checked_sub(1)?;
            left = left.strip_suffix(self.trie.token(*tokens.get(start)?)).filter(|rest| rest.len() < left.len())?;
        }
        let same = whole.len() == text.len();
        (!same || start == 0).then(|| tokens[start..].to_vec())
    }
}

impl TokenizerEnv for Words {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<u32> {
        self.trie.tokenize_with_greedy_fallback(text, |text| self.tokens(text))
    }
}

/// What a token adds to a text: nothing for one that is no text of a grammar, its name behind a
/// mark for a control token.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    if bytes.len() > MAX_BYTES || bytes.is_empty() {
        return Vec::new();
    }
    if tokenizer.is_control(id) || tokenizer.is_end(id) {
        return [&[MARK], bytes].concat();
    }
    if bytes[0] == MARK { Vec::new() } else { bytes.to_vec() }
}

/// The nodes of the trie of these words: one for each byte that a word does not share with the
/// word before it in their order, and at least one for each word.
fn nodes(words: &[Vec<u8>]) -> usize {
    let mut sorted: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    sorted.sort_unstable();
    let shared = |pair: &[&[u8]]| pair[0].iter().zip(pair[1]).take_while(|(a, b)| a == b).count();
    let own = |pair: &[&[u8]]| (pair[1].len() - shared(pair)).max(1);
    1 + sorted.first().map_or(0, |first| first.len()) + sorted.windows(2).map(own).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_a_trie_are_counted() {
        let count = |words: &[&str]| nodes(&words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&["abc", "abd", "x"]), 1 + 3 + 1 + 1);
        assert_eq!(count(&["ab", "ab"]), 1 + 2 + 1);
    }
}
