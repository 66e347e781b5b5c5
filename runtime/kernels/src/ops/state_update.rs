//! The state of linear attention: for each head a matrix of keys by values, which each token decays
//! and adds the outer product of a key and a value to.
//!
//! ```text
//! S = a S + k v^T        and gives        o = S^T q
//! ```
//!
//! [`DeltaRule`](super::DeltaRule) and [`SelectiveScan`](super::SelectiveScan) differ in what their
//! values are. Columns are independent of each other: 16 of them are one task, whose part of the
//! state stays in L1.

use std::ops::Range;

use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Kernel, Simd};

use super::vector::padded;
use super::{Exec, Shared};

/// Vectors that hold the columns of a task, at most.
pub(super) const MAX_VECTORS: usize = MAX_LANES / 4;

/// Partial sums of each column: rows 0, 2, 4 and so on, and the others.
pub(super) const CHAINS: usize = 2;

/// The columns of a row.
pub(super) type Row<S> = [<S as Simd>::F32; MAX_VECTORS];

/// A task: up to 16 columns of the state of one head, over tokens of a sequence.
pub(super) struct StateBlock<'a, L> {
    /// What the values are.
    pub(super) layer: L,
    pub(super) head: usize,
    /// Its first column.
    first: usize,
    pub(super) tokens: Range<usize>,
    /// `[rows][16]`
    pub(super) state: &'a mut [f32],
    out: Shared<f32>,
}

impl<L> StateBlock<'_, L> {
    /// These columns of a value, followed by zeros.
    #[inline(always)]
    pub(super) fn of(&self, value: &[f32]) -> [f32; MAX_LANES] {
        padded(&value[self.first..value.len().min(self.first + MAX_LANES)], 0.0)
    }

    /// Writes these columns of the output `at`, of as many elements as a value.
    #[inline(always)]
    pub(super) fn store<S: Simd>(&self, isa: S, row: Row<S>, at: usize, elements: usize) {
        let mut all = [0.0; MAX_LANES];
        for vector in 0..MAX_LANES / S::LANES {
            isa.store(row[vector], &mut all[vector * S::LANES..]);
        }
        let width = MAX_LANES.min(elements - self.first);
        // SAFETY: no other task has these columns, and the outputs outlive the region.
        unsafe { self.out.slice(at * elements + self.first, width) }.copy_from_slice(&all[..width]);
    }
}

/// The states of some heads.
#[derive(Clone, Copy)]
pub(super) struct StateShape {
    pub(super) heads: usize,
    /// Elements of a key.
    pub(super) rows: usize,
    /// Elements of a value.
    pub(super) columns: usize,
}

impl StateShape {
    /// Floats of the states: `[heads][blocks of columns][rows][16]`.
    pub(super) fn width(self) -> usize {
        self.heads * self.rows * self.columns.next_multiple_of(MAX_LANES)
    }

    /// Takes the states from `from`, before the first of the tokens, to `to`, after the last: each
    /// block of columns is a task. Outputs go to their places in `out`, `[n][heads * columns]`.
    ///
    /// # Panics
    /// If a state has another size.
    pub(super) fn advance<L: Copy + Sync>(
        self,
        exec: &Exec,
        layer: L,
        tokens: &Range<usize>,
        (from, to): (&[f32], &mut [f32]),
        out: &mut [f32],
    ) where
        for<'s> StateBlock<'s, L>: Kernel<Output = ()>,
    {
        assert_eq!([from.len(), to.len()], [self.width(); 2], "a state of each head");
        let (blocks, size) = (self.columns.div_ceil(MAX_LANES), self.rows * MAX_LANES);
        let (states, out) = (Shared::new(to), Shared::new(out));
        exec.pool.run(self.heads * blocks, |i| {
            // SAFETY: each task has a part of the states of its own, and `run` returns before the
            // borrow of `to` ends.
            let state = unsafe { states.slice(i * size, size) };
            state.copy_from_slice(&from[i * size..][..size]);
            let (head, first) = (i / blocks, i % blocks * MAX_LANES);
            exec.isa.dispatch(StateBlock { layer, head, first, tokens: tokens.clone(), state, out });
        });
    }
}

/// `S = a S + k value^T`; what the new state holds under the query, and, if `NEXT`, under the next
/// key.
#[inline(always)]
pub(super) fn update<S: Simd, const NEXT: bool>(
    isa: S,
    state: &mut [f32],
    decay: S::F32,
    value: Row<S>,
    [key, query, next]: [&[f32]; 3],
) -> (Row<S>, Row<S>) {
    let mut mixed = [[isa.splat(0.0); MAX_VECTORS]; CHAINS];
    let mut recalled = mixed;
    let rows = state.chunks_exact_mut(MAX_LANES).zip(key).zip(query).zip(next);
    for (i, (((row, key), query), next)) in rows.enumerate() {
        let (key, query, next) = (isa.splat(*key), isa.splat(*query), isa.splat(*next));
        for vector in 0..MAX_LANES / S::LANES {
            let row = &mut row[vector * S::LANES..];
            let x = isa.fma(key, value[vector], isa.mul(decay, isa.load(row)));
            isa.store(x, row);
            let sum = &mut mixed[i % CHAINS][vector];
            *sum = isa.fma(x, query, *sum);
            if NEXT {
                let sum = &mut recalled[i % CHAINS][vector];
                *sum = isa.fma(x, next, *sum);
            }
        }
    }
    (total(isa, mixed), total(isa, recalled))
}

#[inline(always)]
pub(super) fn total<S: Simd>(isa: S, [mut even, odd]: [Row<S>; CHAINS]) -> Row<S> {
    for vector in 0..MAX_LANES / S::LANES {
        even[vector] = isa.add(even[vector], odd[vector]);
    }
    even
}
