//! Quantized matmul: weights of a block format by 8-bit activations.
//!
//! The weights are packed (see [`super::panel`]): 16 rows interleaved, of which a vector takes
//! `LANES`. Each row and token has one float accumulator. For each block of activations that share
//! a scale, the integer dot products are summed exactly, group by group of the weights that share
//! one. Then the sums are added, block after block (see [`super::accumulate`]). So a result is
//! bit-identical for any number of tokens, on every instruction set.
//!
//! A GEMV (decode: one token) is bound by memory bandwidth: it reads the packed weights as they
//! are, several panels at once, each a long stream ([`super::gemv`]). So does, with AVX-512 VNNI,
//! what fits a few tiles of a few tokens, as an option set of ten or a batch of sequences. A GEMM
//! (prefill: many tokens) is compute-bound: a part of some neighbouring panels is unpacked to int8
//! (see [`super::unpacked_tile`]), and all tokens meet it while it is in the cache
//! ([`super::gemm`]).

use std::ops::Range;

use crate::cpu::Simd;
use crate::cpu::simd::MAX_LANES;

use super::Shared;
use super::matrix::Matrix;

/// Some panels of a packed matrix, and where the results of their rows go: `[count][rows]`.
#[derive(Clone)]
pub(super) struct PanelRange<'a> {
    pub(super) matrix: Matrix<'a>,
    /// Panels of the matrix; no other task has them.
    pub(super) range: Range<usize>,
    pub(super) out: Shared<f32>,
}

impl<'a> PanelRange<'a> {
    /// Which lanes of the rows from `row` (of the panels) on are in the matrix.
    #[inline(always)]
    pub(super) fn lanes<S: Simd>(&self, row: usize) -> Range<usize> {
        let rows = self.matrix.panel_rows();
        let lane = |limit: usize| limit.clamp(row, row + S::LANES) - row;
        lane(rows.start)..lane(rows.end)
    }

    /// The results of these lanes of the rows from `row` on, of one token.
    ///
    /// # Safety
    /// No other task has these rows of this token.
    #[inline(always)]
    unsafe fn results(&self, row: usize, lanes: Range<usize>, token: usize) -> &'a mut [f32] {
        let first = token * self.matrix.rows() + row + lanes.start - self.matrix.panel_rows().start;
        // SAFETY: passed on from the caller.
        unsafe { self.out.slice(first, lanes.len()) }
    }

    /// Writes results.
    ///
    /// # Safety
    /// As [`PanelRange::results`].
    #[inline(always)]
    pub(super) unsafe fn write<S: Simd>(&self, isa: S, row: usize, lanes: &Range<usize>, token: usize, y: S::F32) {
        if lanes.len() == S::LANES {
            // SAFETY: passed on from the caller.
            isa.store(y, unsafe { self.results(row, 0..S::LANES, token) });
        } else {
            let mut all = [0.0; MAX_LANES];
            isa.store(y, &mut all);
            // SAFETY: passed on from the caller.
            unsafe { self.write_some(row, lanes, token, &all) };
        }
    }

    /// Writes the results of the lanes that are in the matrix: of the first or the last rows.
    ///
    /// # Safety
    /// As [`PanelRange::results`].
    #[cold]
    unsafe fn write_some(&self, row: usize, lanes: &Range<usize>, token: usize, all: &[f32; MAX_LANES]) {
        if !lanes.is_empty() {
            // SAFETY: passed on from the caller.
            unsafe { self.results(row, lanes.clone(), token) }.copy_from_slice(&all[lanes.clone()]);
        }
    }

    /// Reads results back; what is not in the matrix is 0.
    ///
    /// # Safety
    /// As [`PanelRange::results`].
    #[inline(always)]
    pub(super) unsafe fn read<S: Simd>(&self, isa: S, row: usize, lanes: &Range<usize>, token: usize) -> S::F32 {
        if lanes.len() == S::LANES {
            // SAFETY: passed on from the caller.
            isa.load(unsafe { self.results(row, 0..S::LANES, token) })
        } else {
            // SAFETY: passed on from the caller.
            isa.load(&unsafe { self.read_some(row, lanes, token) })
        }
    }

    /// Reads back the results of the lanes that are in the matrix, the others 0.
    ///
    /// # Safety
    /// As [`PanelRange::results`].
    #[cold]
    unsafe fn read_some(&self, row: usize, lanes: &Range<usize>, token: usize) -> [f32; MAX_LANES] {
        let mut all = [0.0; MAX_LANES];
        if !lanes.is_empty() {
            // SAFETY: passed on from the caller.
            all[lanes.clone()].copy_from_slice(unsafe { self.results(row, lanes.clone(), token) });
        }
        all
    }
}
