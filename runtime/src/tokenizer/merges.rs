//! The merges of BPE: which two neighbours become one token, and in which order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ahash::AHashMap;
use ollm_kernels::memory::{self, OutOfMemory};

use super::TokenizerError;

/// What two tokens become, and how early: the lowest rank first.
#[derive(Clone, Copy, Debug)]
struct Merge {
    rank: u32,
    id: u32,
}

/// All merges, by the two tokens that they join.
#[derive(Debug)]
pub(super) struct Merges(AHashMap<(u32, u32), Merge>);

impl Merges {
    /// Reads lines of two tokens with a space between them, in the order of their rank; of equal
    /// ones the first counts. `ids` has the id of each token; what would make one of `never` is
    /// left out.
    pub(super) fn read(
        lines: &[String],
        ids: &AHashMap<&str, u32>,
        never: impl Fn(u32) -> bool,
    ) -> Result<Self, TokenizerError> {
        let mut merges = AHashMap::with_capacity(lines.len());
        let mut joined = String::new();
        for ((index, line), rank) in lines.iter().enumerate().zip(0..) {
            let (left, right) = split(index, line)?;
            joined.clear();
            joined.extend([left, right]);
            let find = |text: &str| ids.get(text).copied().ok_or_else(|| no_token(index, line, text));
            let pair = (find(left)?, find(right)?);
            merges.entry(pair).or_insert(Merge { rank, id: find(&joined)? });
        }
        merges.retain(|_, merge| !never(merge.id));
        Ok(Self(merges))
    }

    /// Joins what can be joined of `tokens`, the lowest rank first, of equal ones the leftmost.
    pub(super) fn apply(&self, tokens: impl Iterator<Item = u32>) -> Result<impl Iterator<Item = u32>, OutOfMemory> {
        join(tokens, |left, right| self.0.get(&(left, right)).map(|merge| (merge.rank, merge.id)))
    }
}

/// Joins two neighbours as long as `merge` has something for them: the lowest rank first, of equal
/// ones the leftmost.
pub(super) fn join<T: Copy, R: Copy + Ord>(
    tokens: impl Iterator<Item = T>,
    merge: impl Fn(T, T) -> Option<(R, T)>,
) -> Result<impl Iterator<Item = T>, OutOfMemory> {
    let mut chain = Chain::new(tokens)?;
    let find = |chain: &Chain<T>, at| chain.pair(at).and_then(|(left, right)| merge(left, right));
    let entry = |chain: &Chain<T>, at| find(chain, at).map(|(rank, _)| Reverse((rank, at)));
    let mut entries = Vec::new();
    memory::extend(&mut entries, (0..chain.0.len()).filter_map(|at| entry(&chain, at)))?;
    let mut queue = BinaryHeap::from(entries);
    while let Some(Reverse((rank, at))) = queue.pop() {
        // Where a neighbour has changed since, the pair that is there now has an entry of its own.
        if let Some((_, joined)) = find(&chain, at).filter(|&(now, _)| now == rank) {
            chain.join(at, joined);
            queue
                .try_reserve(2)
                .map_err(|_| OutOfMemory { bytes: 2 * queue.len() * size_of::<Reverse<(R, usize)>>() })?;
            queue.extend([chain.0[at].previous, Some(at)].into_iter().flatten().filter_map(|at| entry(&chain, at)));
        }
    }
    Ok(chain.0.into_iter().filter_map(|link| link.token))
}

/// Tokens with their neighbours.
struct Chain<T>(Vec<Link<T>>);

struct Link<T> {
    /// `None` where the token has become part of the one before it.
    token: Option<T>,
    previous: Option<usize>,
    next: Option<usize>,
}

impl<T: Copy> Chain<T> {
    fn new(tokens: impl Iterator<Item = T>) -> Result<Self, OutOfMemory> {
        let link =
            |(at, token): (usize, T)| Link { token: Some(token), previous: at.checked_sub(1), next: Some(at + 1) };
        let mut links = Vec::new();
        memory::extend(&mut links, tokens.enumerate().map(link))?;
        if let Some(last) = links.last_mut() {
            last.next = None;
        }
        Ok(Self(links))
    }

    /// The token at `at` and the one after it.
    fn pair(&self, at: usize) -> Option<(T, T)> {
        let link = &self.0[at];
        Some((link.token?, self.0[link.next?].token?))
    }

    /// Puts `token` in the place of the one at `at` and the one after it.
    fn join(&mut self, at: usize, token: T) {
        let Some(gone) = self.0[at].next else { return };
        let next = self.0[gone].next;
        self.0[gone].token = None;
        self.0[at].token = Some(token);
        self.0[at].next = next;
        if let Some(next) = next {
            self.0[next].previous = Some(at);
        }
    }
}

fn split(index: usize, line: &str) -> Result<(&str, &str), TokenizerError> {
    let parts = line.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty());
    parts.ok_or_else(|| TokenizerError::BadMerge { index, merge: line.to_owned() })
}

fn no_token(index: usize, merge: &str, missing: &str) -> TokenizerError {
    TokenizerError::MergeOfNoToken { index, merge: merge.to_owned(), missing: missing.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four letters, and merges of whatever is there already: random ones, the later the rarer.
    fn random(seed: u64) -> (Merges, Vec<String>) {
        let mut texts: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let mut lines = Vec::new();
        let mut random = ollm_kernels::random::Random::new(seed);
        while texts.len() < 24 {
            let [left, right] = [0, 1].map(|_| texts[random.below(texts.len())].clone());
            let joined = format!("{left}{right}");
            lines.push(format!("{left} {right}"));
            if !texts.contains(&joined) {
                texts.push(joined);
            }
        }
        let ids = texts.iter().map(String::as_str).zip(0..).collect();
        (Merges::read(&lines, &ids, |_| false).unwrap(), texts)
    }

    /// One merge at a time, the whole text searched for each.
    fn naive(merges: &Merges, mut tokens: Vec<u32>) -> Vec<u32> {
        loop {
            let pairs =
                tokens.windows(2).enumerate().filter_map(|(at, pair)| Some((merges.0.get(&(pair[0], pair[1]))?, at)));
            let Some((merge, at)) = pairs.min_by_key(|(merge, at)| (merge.rank, *at)) else { return tokens };
            tokens.splice(at..at + 2, [merge.id]);
        }
    }

    #[test]
    fn merges_are_those_of_the_naive_search() {
        let mut random_text = ollm_kernels::random::Random::new(1);
        for seed in 0..50 {
            let (merges, _) = random(seed);
            for length in [0, 1, 2, 3, 20, 200] {
                let text: Vec<u32> = (0..length).map(|_| random_text.below(4) as u32).collect();
                let got: Vec<u32> = merges.apply(text.iter().copied()).unwrap().collect();
                assert_eq!(got, naive(&merges, text), "{seed}");
            }
        }
    }

    #[test]
    fn merging_keeps_the_text() {
        let (merges, texts) = random(3);
        let text = "abcdabcaabbccddab".repeat(9);
        let letters = text.bytes().map(|byte| u32::from(byte - b'a'));
        let joined: String = merges.apply(letters).unwrap().map(|id| texts[id as usize].as_str()).collect();
        assert_eq!(joined, text);
    }
}
