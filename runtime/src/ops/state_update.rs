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

use crate::cpu::Simd;
use crate::cpu::simd::MAX_LANES;

use super::{Exec, Shared};

/// Vectors that hold the columns of a task, at most.
pub(super) const MAX_VECTORS: usize = MAX_LANES / 4;

/// Partial sums of each column: rows 0, 2, 4 and so on, and the others.
pub(super) const CHAINS: usize = 2;

/// The columns of a row.
pub(super) type Row<S> = [<S as Simd>::F32; MAX_VECTORS];

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

    /// Runs `task` on all threads with each head, the first of each 16 columns, and their part of
    /// `to`, which has that of `from` before.
    ///
    /// # Panics
    /// If a state has another size.
    pub(super) fn for_each_block(
        self,
        exec: &Exec,
        from: &[f32],
        to: &mut [f32],
        task: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) {
        assert_eq!([from.len(), to.len()], [self.width(); 2], "a state of each head");
        let (blocks, size) = (self.columns.div_ceil(MAX_LANES), self.rows * MAX_LANES);
        let states = Shared::new(to);
        exec.pool.run(self.heads * blocks, |i| {
            // SAFETY: each task has a part of the states of its own, and `run` returns before the
            // borrow of `to` ends.
            let state = unsafe { states.slice(i * size, size) };
            state.copy_from_slice(&from[i * size..][..size]);
            task(i / blocks, i % blocks * MAX_LANES, state);
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

/// Writes the columns of a row to `out`, at most 16.
#[inline(always)]
pub(super) fn store<S: Simd>(isa: S, row: Row<S>, out: &mut [f32]) {
    let mut all = [0.0; MAX_LANES];
    for vector in 0..MAX_LANES / S::LANES {
        isa.store(row[vector], &mut all[vector * S::LANES..]);
    }
    out.copy_from_slice(&all[..out.len()]);
}
