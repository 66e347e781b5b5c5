//! What of a checkpoint's tensor is one of GGUF.

use ollm_runtime::model::Role;

use super::architecture::Fusion;
use crate::quantize::{RowGroups, Rows, Strides};

/// What of a stored tensor another one is.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// These of its rows.
    Rows(Rows),
    /// Some of its elements, or all in another order; and its row-major shape, but for ones.
    Elements { strides: Strides, shape: [usize; 3] },
}

/// Which rows a matrix of GGUF, of so many `rows`, is of one in transformers. A group of query
/// heads has `queries` rows, one head `head`.
pub(super) fn rows_of_fused(fusion: Fusion, role: Role, rows: usize, [queries, head]: [usize; 2]) -> Rows {
    let group = queries + 2 * head;
    let (first, count, stride) = match (fusion, role) {
        (Fusion::Gate, Role::FfnGate | Role::FfnGateShared) => (0, rows, 2 * rows),
        (Fusion::Gate, Role::FfnUp | Role::FfnUpShared) => (rows, rows, 2 * rows),
        (Fusion::KeyHeads, Role::Query) => (0, queries, group),
        (Fusion::KeyHeads, Role::Key) => (queries, head, group),
        (Fusion::KeyHeads, Role::Value) => (queries + head, head, group),
        _ => return Rows::All,
    };
    Rows::Groups(RowGroups { first, count, stride })
}
