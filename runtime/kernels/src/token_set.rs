//! A token mask: the set of tokens that a step may choose from.

use crate::memory::{self, OutOfMemory};

/// Tokens in one word.
const WORD: usize = u32::BITS as usize;

/// A token mask: a set of tokens of one vocabulary, a bit for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSet {
    words: Vec<u32>,
    vocabulary: usize,
}

impl TokenSet {
    /// No token of a `vocabulary`.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn empty(vocabulary: usize) -> Result<Self, OutOfMemory> {
        Ok(Self { words: memory::filled(0, vocabulary.div_ceil(WORD))?, vocabulary })
    }

    /// All tokens of a `vocabulary`.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn full(vocabulary: usize) -> Result<Self, OutOfMemory> {
        let mut set = Self { words: memory::filled(u32::MAX, vocabulary.div_ceil(WORD))?, vocabulary };
        set.clear_rest();
        Ok(set)
    }

    /// These tokens of a `vocabulary`.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn of(tokens: &[u32], vocabulary: usize) -> Result<Self, OutOfMemory> {
        let mut set = Self::empty(vocabulary)?;
        for &token in tokens {
            set.insert(token);
        }
        Ok(set)
    }

    /// The tokens of a `vocabulary` whose bits are set: token 0 is the lowest bit of the first
    /// word. Missing words have none; bits past the vocabulary do not count.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn of_words(words: &[u32], vocabulary: usize) -> Result<Self, OutOfMemory> {
        let mut set = Self::empty(vocabulary)?;
        set.words.iter_mut().zip(words).for_each(|(to, from)| *to = *from);
        set.clear_rest();
        Ok(set)
    }

    /// The size of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The number of tokens in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the token is in the set.
    pub fn contains(&self, token: u32) -> bool {
        self.words.get(token as usize / WORD).is_some_and(|word| word >> (token as usize % WORD) & 1 == 1)
    }

    /// Adds a token of the vocabulary.
    pub fn insert(&mut self, token: u32) {
        if (token as usize) < self.vocabulary {
            self.words[token as usize / WORD] |= 1 << (token as usize % WORD);
        }
    }

    /// Removes a token.
    pub fn remove(&mut self, token: u32) {
        if let Some(word) = self.words.get_mut(token as usize / WORD) {
            *word &= !(1 << (token as usize % WORD));
        }
    }

    /// The tokens of the set, the lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.wrapping_sub(1);
                (bit < u32::BITS).then_some((at * WORD) as u32 + bit)
            })
        })
    }

    /// The only token of the set; `None` where there is another number of them.
    pub fn only(&self) -> Option<u32> {
        let mut tokens = self.iter();
        tokens.next().filter(|_| tokens.next().is_none())
    }

    fn clear_rest(&mut self) {
        if let Some(last) = self.words.last_mut().filter(|_| !self.vocabulary.is_multiple_of(WORD)) {
            *last &= (1 << (self.vocabulary % WORD)) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        let mut set = TokenSet::of(&[0, 31, 32, 69, 70, 96], 70).unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 31, 32, 69]);
        assert_eq!((set.count(), set.vocabulary(), set.only()), (4, 70, None));
        set.remove(31);
        set.remove(500);
        assert!(set.contains(32) && !set.contains(31) && !set.contains(70) && !set.contains(u32::MAX));
        set.remove(0);
        set.remove(32);
        assert_eq!(set.only(), Some(69));
        set.remove(69);
        assert_eq!((set.only(), set.count()), (None, 0));
    }

    #[test]
    fn no_set_has_more_than_its_vocabulary() {
        for vocabulary in [0, 1, 31, 32, 33, 64, 100] {
            let full = TokenSet::full(vocabulary).unwrap();
            assert_eq!(full.count(), vocabulary);
            assert!(full.iter().eq(0..vocabulary as u32));
            assert_eq!(TokenSet::of_words(&[u32::MAX; 5], vocabulary).unwrap(), full);
        }
        assert_eq!(TokenSet::of_words(&[1], 100).unwrap().only(), Some(0));
    }
}
