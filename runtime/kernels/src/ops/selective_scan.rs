//! The selective state-space scan of Mamba 2 (Dao & Gu 2024, arXiv 2405.21060, section 3), as
//! linear attention.
//!
//! The state of a head is a matrix `S` of `state_size` by `head_dim`. A token with the input `x`,
//! the time step `t`, the decay `a`, and `B` and `C`, which the heads of a group share, makes of it
//!
//! ```text
//! S = a S + B (t x)^T        and gives        o = S^T C + D x
//! ```
//!
//! Tokens go through it one after the other, in one order of sums, so that a sequence has the same
//! bits however it is cut.

use std::ops::Range;

use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Kernel, Simd};

use super::Exec;
use super::state_update::{MAX_VECTORS, StateBlock, StateShape, update};

/// The scan over the tokens of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct SelectiveScan<'a> {
    /// Heads of inputs, and of the state: a multiple of the groups.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Heads that share B and C are a group, one after the other.
    pub groups: usize,
    /// Elements of B and C of a group.
    pub state_size: usize,
    /// Inputs, then B and C of each token: `[n][heads * head_dim + 2 * groups * state_size]`.
    pub inputs: &'a [f32],
    /// The time step, which inputs are multiplied by: `[n][heads]`.
    pub step: &'a [f32],
    /// What is left of the state, 0 to 1: `[n][heads]`.
    pub decay: &'a [f32],
    /// D, how much of the inputs is added to the outputs: `[heads]`.
    pub skip: &'a [f32],
}

impl SelectiveScan<'_> {
    /// Floats of the state: `[heads][blocks of columns][state_size][16]`.
    pub fn state_width(heads: usize, head_dim: usize, state_size: usize) -> usize {
        StateShape { heads, rows: state_size, columns: head_dim }.width()
    }

    /// The outputs of the tokens `tokens`, at their places in `out`: `[n][heads * head_dim]`;
    /// `from` is the state before the first of them, and `to` gets that after the last.
    ///
    /// # Panics
    /// If a buffer has another size than the shape says.
    pub fn run(self, exec: &Exec, tokens: Range<usize>, from: &[f32], to: &mut [f32], out: &mut [f32]) {
        let Self { heads, head_dim, groups, state_size, .. } = self;
        assert!(heads.is_multiple_of(groups), "groups of as many heads");
        let n = self.step.len() / heads;
        assert_eq!(self.inputs.len(), n * self.channels(), "inputs, B and C of each token");
        assert_eq!((self.decay.len(), out.len()), (n * heads, n * heads * head_dim), "of each head");
        assert_eq!(self.skip.len(), heads, "a D of each head");
        StateShape { heads, rows: state_size, columns: head_dim }.advance(exec, self, &tokens, (from, to), out);
    }

    /// Elements of a token's inputs, B and C.
    fn channels(&self) -> usize {
        self.heads * self.head_dim + 2 * self.groups * self.state_size
    }
}

impl StateBlock<'_, SelectiveScan<'_>> {
    /// B and C of the head's group.
    fn group(&self, token: usize) -> [&[f32]; 2] {
        let SelectiveScan { heads, head_dim, groups, state_size, inputs, .. } = self.layer;
        let group = self.head / (heads / groups);
        let start = token * self.layer.channels() + heads * head_dim;
        [group, groups + group].map(|part| &inputs[start + part * state_size..][..state_size])
    }

    /// These columns of the inputs of a token.
    fn inputs(&self, token: usize) -> [f32; MAX_LANES] {
        let SelectiveScan { head_dim, inputs, .. } = self.layer;
        let start = token * self.layer.channels() + self.head * head_dim;
        self.of(&inputs[start..][..head_dim])
    }
}

impl Kernel for StateBlock<'_, SelectiveScan<'_>> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, isa: S) {
        let SelectiveScan { heads, head_dim, step, decay, skip, .. } = self.layer;
        let (state, skip) = (std::mem::take(&mut self.state), isa.splat(skip[self.head]));
        for token in self.tokens.clone() {
            let at = token * heads + self.head;
            let ([key, query], inputs) = (self.group(token), self.inputs(token));
            let (step, decay) = (isa.splat(step[at]), isa.splat(decay[at]));
            let mut value = [isa.splat(0.0); MAX_VECTORS];
            for vector in 0..MAX_LANES / S::LANES {
                value[vector] = isa.mul(step, isa.load(&inputs[vector * S::LANES..]));
            }
            let (mut mixed, _) = update::<S, false>(isa, state, decay, value, [key, query, key]);
            for vector in 0..MAX_LANES / S::LANES {
                mixed[vector] = isa.fma(skip, isa.load(&inputs[vector * S::LANES..]), mixed[vector]);
            }
            self.store(isa, mixed, at, head_dim);
        }
    }
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

    /// Heads, their size, groups, and elements of B and C.
    type Shape = [usize; 4];

    struct Case {
        shape: Shape,
        inputs: Vec<f32>,
        step: Vec<f32>,
        decay: Vec<f32>,
        skip: Vec<f32>,
    }

    impl Case {
        fn new(shape: Shape) -> Self {
            let [heads, head_dim, groups, state_size] = shape;
            let [step, decay] = [13, 29].map(|seed| wave(N * heads, seed).iter().map(|x| 0.5 + x / 2.1).collect());
            let inputs = wave(N * (heads * head_dim + 2 * groups * state_size), 37);
            Self { shape, inputs, step, decay, skip: wave(heads, 5) }
        }

        /// The outputs, and the last state, of the tokens in parts of `cut` from the state zero on.
        fn run(&self, isa: Isa, threads: usize, cut: usize) -> (Vec<f32>, Vec<f32>) {
            let [heads, head_dim, groups, state_size] = self.shape;
            let Self { inputs, step, decay, skip, .. } = self;
            let scan = SelectiveScan { heads, head_dim, groups, state_size, inputs, step, decay, skip };
            let exec = Exec { isa, pool: Pool::new(threads).unwrap() };
            let mut state = vec![0.0; SelectiveScan::state_width(heads, head_dim, state_size)];
            let mut out = vec![f32::NAN; N * heads * head_dim];
            for first in (0..N).step_by(cut) {
                let mut after = vec![f32::NAN; state.len()];
                scan.run(&exec, first..N.min(first + cut), &state, &mut after, &mut out);
                state = after;
            }
            (out, state)
        }

        /// The formula, in double precision.
        fn formula(&self) -> Vec<f64> {
            let [heads, head_dim, groups, state_size] = self.shape;
            let (inner, mut out) = (heads * head_dim, Vec::new());
            let mut states = vec![0.0; inner * state_size];
            for token in 0..N {
                let row = &self.inputs[token * (inner + 2 * groups * state_size)..];
                for head in 0..heads {
                    let group = head * groups / heads;
                    let at = token * heads + head;
                    let (step, decay) = (f64::from(self.step[at]), f64::from(self.decay[at]));
                    for column in head * head_dim..(head + 1) * head_dim {
                        let x = f64::from(row[column]);
                        let mut sum = x * f64::from(self.skip[head]);
                        for i in 0..state_size {
                            let [b, c] = [group, groups + group].map(|part| row[inner + part * state_size + i]);
                            let state = &mut states[column * state_size + i];
                            *state = decay * *state + step * x * f64::from(b);
                            sum += *state * f64::from(c);
                        }
                        out.push(sum);
                    }
                }
            }
            out
        }
    }

    #[test]
    fn it_is_the_formula_on_every_isa() {
        for shape in [[1, 16, 1, 16], [6, 8, 2, 24], [2, 33, 2, 5], [3, 64, 1, 128], [4, 1, 4, 1]] {
            let case = Case::new(shape);
            for isa in Isa::available() {
                let (out, _) = case.run(isa, 2, N);
                for (i, (got, want)) in out.iter().zip(case.formula()).enumerate() {
                    let most = 1e-5 * want.abs().max(1.0);
                    assert!((f64::from(*got) - want).abs() < most, "{isa:?} {shape:?} {i}: {got} for {want}");
                }
            }
        }
    }

    #[test]
    fn bits_are_the_same_for_any_cut_threads_and_isa() {
        for shape in [[4, 24, 2, 20], [2, 64, 1, 128]] {
            let case = Case::new(shape);
            let expected = case.run(Isa::by_name("scalar").unwrap(), 1, N);
            for isa in Isa::available() {
                for (threads, cut) in [(1, 1), (3, 2), (2, 4), (2, N)] {
                    assert!(case.run(isa, threads, cut) == expected, "{isa:?}, {threads} threads, {cut} at once");
                }
            }
        }
    }
}
