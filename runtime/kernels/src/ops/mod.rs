//! The operations of a transformer: shapes in, shapes out, no knowledge of models.
//!
//! Each is an algorithm over the [`Simd`](crate::cpu::Simd) primitives, written once.
//! Deterministic: the result of a token in a matmul, or of a query in attention, is bit-identical
//! for any batch size, any number of threads and any instruction set.

mod accumulate;
mod activation_function;
mod activations;
mod attention;
mod convolution;
mod delta_rule;
mod float;
mod float_gemm;
mod format;
mod gather;
mod gemm;
mod gemv;
mod grid_format;
mod kv_cache;
mod kv_chunk;
mod kv_type;
mod matmul;
mod matrix;
mod panel;
mod quantized;
mod query_tile;
mod rope;
mod scores;
mod selective_scan;
mod state_gates;
mod state_update;
mod unpacked_tile;
mod vector;
mod weighted_values;

use crate::cpu::{Isa, Pool};

pub use activation_function::{Activation, activate, activate_gate};
pub use activations::Quantized;
pub use attention::{attend, attention_bytes};
pub use convolution::Convolution;
pub use delta_rule::DeltaRule;
pub use gather::{gather, scatter_add};
pub use kv_cache::LayerKvCache;
pub use kv_type::{KvHeads, KvType, UnknownKvType};
pub use matmul::{MatmulOp, matmul};
pub use matrix::{Matrix, Panels};
pub use query_tile::{AttentionParams, Queries};
pub use rope::{RopePairing, RopeTable, Rotation, rotate};
pub use selective_scan::SelectiveScan;
pub use state_gates::{decay, l2_norm, time_step};
pub use vector::{
    add, add_scaled, cut_off, layer_norm, mean_square, rms_norm, scale, sigmoid, soft_cap, softmax, softmax_with_sink,
};

/// The execution context: an instruction set and the threads.
#[derive(Debug)]
pub struct Exec {
    /// The instruction set of the kernels.
    pub isa: Isa,
    /// The threads.
    pub pool: Pool,
}

/// A buffer whose disjoint parts are written by the tasks of one parallel region.
struct Shared<T>(*mut T, usize);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: the caller of `Shared::slice` promises that no two tasks write to one element.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn new(buffer: &mut [T]) -> Self {
        Self(buffer.as_mut_ptr(), buffer.len())
    }

    /// The part `start..start + len`.
    ///
    /// # Safety
    /// The buffer outlives the use, and no other task touches this part meanwhile.
    unsafe fn slice<'a>(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start <= self.1 && len <= self.1 - start, "part of a shared buffer out of range");
        // SAFETY: in range by the check above; alone and alive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

/// Runs `task` over the rows of `buffer` (`width` wide), on all threads.
pub fn for_each_row<T: Send>(pool: &Pool, buffer: &mut [T], width: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    let rows = Shared::new(buffer);
    pool.run(buffer.len() / width, |i| {
        // SAFETY: each task has its own row, and `run` returns before the borrow of `buffer` ends.
        task(i, unsafe { rows.slice(i * width, width) });
    });
}
