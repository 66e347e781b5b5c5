//! The gated delta rule: linear attention with a state that forgets, and corrects what it holds
//! (Yang et al. 2024, arXiv 2412.06464, section 3).
//!
//! The state of a head is a matrix `S` of keys by values. A token with query `q`, key `k`, value
//! `v`, decay `a` and rate `b` makes of it
//!
//! ```text
//! S = a S + k (b (v - a S^T k))^T        and gives        o = S^T q
//! ```
//!
//! Tokens go through it one after the other, in one order of sums, so that a sequence has the same
//! bits however it is cut. What a token reads of the state, `S^T k`, is summed while the token
//! before writes it: the state is read and written once for each token.

use std::ops::Range;

use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Kernel, Simd};

use super::Exec;
use super::state_update::{CHAINS, MAX_VECTORS, Row, StateBlock, StateShape, total, update};

/// The gated delta rule over the tokens of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct DeltaRule<'a> {
    /// Heads of queries and keys. Value head `i` has those of head `i` modulo their number.
    pub key_heads: usize,
    /// Heads of values, and of the state.
    pub value_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Queries, keys and values of each token: `[n][(2 * key_heads + value_heads) * head_dim]`.
    pub query_key_value: &'a [f32],
    /// What is left of the state, 0 to 1: `[n][value_heads]`.
    pub decay: &'a [f32],
    /// How far the state is corrected: `[n][value_heads]`.
    pub rate: &'a [f32],
}

impl DeltaRule<'_> {
    /// Floats of the state of so many value heads: `[value_heads][blocks of
    /// columns][head_dim][16]`.
    pub fn state_width(value_heads: usize, head_dim: usize) -> usize {
        StateShape { heads: value_heads, rows: head_dim, columns: head_dim }.width()
    }

    /// The outputs of the tokens `tokens`, at their places in `out`: `[n][value_heads * head_dim]`;
    /// `from` is the state before the first of them, and `to` gets that after the last.
    ///
    /// # Panics
    /// If a buffer has another size than the shape says.
    pub fn run(self, exec: &Exec, tokens: Range<usize>, from: &[f32], to: &mut [f32], out: &mut [f32]) {
        let Self { key_heads, value_heads, head_dim, .. } = self;
        let (n, channels) = (self.rate.len() / value_heads, (2 * key_heads + value_heads) * head_dim);
        assert_eq!(self.query_key_value.len(), n * channels, "queries, keys and values of each token");
        assert_eq!((self.decay.len(), out.len()), (n * value_heads, n * value_heads * head_dim), "of each head");
        let shape = StateShape { heads: value_heads, rows: head_dim, columns: head_dim };
        shape.advance(exec, self, &tokens, (from, to), out);
    }
}

impl StateBlock<'_, DeltaRule<'_>> {
    /// The queries, or keys, of a token.
    fn key_head(&self, token: usize, first: usize) -> &[f32] {
        let DeltaRule { key_heads, value_heads, head_dim, query_key_value, .. } = self.layer;
        let start = token * (2 * key_heads + value_heads) + first + self.head % key_heads;
        &query_key_value[start * head_dim..][..head_dim]
    }

    fn query(&self, token: usize) -> &[f32] {
        self.key_head(token, 0)
    }

    fn key(&self, token: usize) -> &[f32] {
        self.key_head(token, self.layer.key_heads)
    }

    /// These columns of the values of a token.
    fn values(&self, token: usize) -> [f32; MAX_LANES] {
        let DeltaRule { key_heads, value_heads, head_dim, query_key_value, .. } = self.layer;
        let start = token * (2 * key_heads + value_heads) + 2 * key_heads + self.head;
        self.of(&query_key_value[start * head_dim..][..head_dim])
    }
}

impl Kernel for StateBlock<'_, DeltaRule<'_>> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, isa: S) {
        let DeltaRule { value_heads, head_dim, decay, rate, .. } = self.layer;
        let state = std::mem::take(&mut self.state);
        let mut recalled = [isa.splat(0.0); MAX_VECTORS];
        for token in self.tokens.clone() {
            let key = self.key(token);
            if token == self.tokens.start {
                recalled = recall(isa, state, key);
            }
            let at = token * value_heads + self.head;
            let (decay, rate, values) = (isa.splat(decay[at]), isa.splat(rate[at]), self.values(token));
            let mut change = recalled;
            for vector in 0..MAX_LANES / S::LANES {
                let value = isa.load(&values[vector * S::LANES..]);
                change[vector] = isa.mul(isa.sub(value, isa.mul(decay, recalled[vector])), rate);
            }
            let next = if token + 1 < self.tokens.end { Some(self.key(token + 1)) } else { None };
            let mixed;
            (mixed, recalled) = match next {
                Some(next) => update::<S, true>(isa, state, decay, change, [key, self.query(token), next]),
                None => update::<S, false>(isa, state, decay, change, [key, self.query(token), key]),
            };
            self.store(isa, mixed, at, head_dim);
        }
    }
}

/// What the state holds under `key`: `S^T k`.
#[inline(always)]
fn recall<S: Simd>(isa: S, state: &[f32], key: &[f32]) -> Row<S> {
    let mut sums = [[isa.splat(0.0); MAX_VECTORS]; CHAINS];
    for (i, (row, key)) in state.chunks_exact(MAX_LANES).zip(key).enumerate() {
        let key = isa.splat(*key);
        for vector in 0..MAX_LANES / S::LANES {
            let sum = &mut sums[i % CHAINS][vector];
            *sum = isa.fma(isa.load(&row[vector * S::LANES..]), key, *sum);
        }
    }
    total(isa, sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Isa, Pool};

    const N: usize = 9;

    /// Numbers of -1 to 1 that repeat late.
    fn wave(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * i + i * seed) % 211) as f32 / 105.0 - 1.0).collect()
    }

    struct Case {
        heads: [usize; 2],
        dim: usize,
        query_key_value: Vec<f32>,
        decay: Vec<f32>,
        rate: Vec<f32>,
    }

    impl Case {
        fn new([key_heads, value_heads]: [usize; 2], dim: usize) -> Self {
            let scale = 1.0 / (dim as f32).sqrt();
            let query_key_value = wave(N * (2 * key_heads + value_heads) * dim, 37).iter().map(|x| x * scale).collect();
            let [decay, rate] =
                [13, 29].map(|seed| wave(N * value_heads, seed).iter().map(|x| 0.5 + x / 2.1).collect());
            Self { heads: [key_heads, value_heads], dim, query_key_value, decay, rate }
        }

        fn rule(&self) -> DeltaRule<'_> {
            let [key_heads, value_heads] = self.heads;
            DeltaRule {
                key_heads,
                value_heads,
                head_dim: self.dim,
                query_key_value: &self.query_key_value,
                decay: &self.decay,
                rate: &self.rate,
            }
        }

        /// The outputs, and the last state, of the tokens in parts of `cut` from the state zero on.
        fn run(&self, isa: Isa, threads: usize, cut: usize) -> (Vec<f32>, Vec<f32>) {
            let exec = Exec { isa, pool: Pool::new(threads).unwrap() };
            let mut state = vec![0.0; DeltaRule::state_width(self.heads[1], self.dim)];
            let mut out = vec![f32::NAN; N * self.heads[1] * self.dim];
            for first in (0..N).step_by(cut) {
                let mut after = vec![f32::NAN; state.len()];
                self.rule().run(&exec, first..N.min(first + cut), &state, &mut after, &mut out);
                state = after;
            }
            (out, state)
        }

        /// The formula, in double precision.
        fn formula(&self) -> Vec<f64> {
            let ([key_heads, value_heads], dim) = (self.heads, self.dim);
            let mut states = vec![0.0; value_heads * dim * dim];
            let mut out = Vec::new();
            for token in 0..N {
                let rows = &self.query_key_value[token * (2 * key_heads + value_heads) * dim..];
                let part = |head: usize, i: usize| f64::from(rows[head * dim + i]);
                for head in 0..value_heads {
                    let state = &mut states[head * dim * dim..][..dim * dim];
                    let at = token * value_heads + head;
                    let (decay, rate) = (f64::from(self.decay[at]), f64::from(self.rate[at]));
                    let (query, key) = (head % key_heads, key_heads + head % key_heads);
                    for x in state.iter_mut() {
                        *x *= decay;
                    }
                    for j in 0..dim {
                        let recalled: f64 = (0..dim).map(|i| state[i * dim + j] * part(key, i)).sum();
                        let change = (part(2 * key_heads + head, j) - recalled) * rate;
                        (0..dim).for_each(|i| state[i * dim + j] += part(key, i) * change);
                        out.push((0..dim).map(|i| state[i * dim + j] * part(query, i)).sum());
                    }
                }
            }
            out
        }
    }

    #[test]
    fn it_is_the_formula_on_every_isa() {
        for (heads, dim) in [([1, 1], 16), ([2, 6], 8), ([2, 2], 33), ([1, 3], 64), ([1, 2], 1)] {
            let case = Case::new(heads, dim);
            for isa in Isa::available() {
                let (out, _) = case.run(isa, 2, N);
                for (i, (got, want)) in out.iter().zip(case.formula()).enumerate() {
                    assert!((f64::from(*got) - want).abs() < 1e-5, "{isa:?} {heads:?} {dim} {i}: {got} for {want}");
                }
            }
        }
    }

    #[test]
    fn bits_are_the_same_for_any_cut_threads_and_isa() {
        for (heads, dim) in [([2, 4], 24), ([1, 2], 128)] {
            let case = Case::new(heads, dim);
            let expected = case.run(Isa::by_name("scalar").unwrap(), 1, N);
            for isa in Isa::available() {
                for (threads, cut) in [(1, 1), (3, 2), (2, 4), (2, N)] {
                    assert!(case.run(isa, threads, cut) == expected, "{isa:?}, {threads} threads, {cut} at once");
                }
            }
        }
    }
}
