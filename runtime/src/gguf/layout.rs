//! How the rows of a tensor lie in a file: one after the other, or in panels.
//!
//! Panels are this project's own: what a *packed* file holds, for kernels that read it in place. A
//! tensor in panels has a type number that no other reader knows, so that none takes its bytes for
//! rows, and the file says which panels they are: [`LAYOUT_KEY`], [`LAYOUT_VERSION_KEY`].
//! `convert/FORMAT.md` describes them for people.

use ollm_kernels::quant::{Layout, TensorType};

/// The key that names the layout of a packed file's panels.
pub const LAYOUT_KEY: &str = "ollm.packed.layout";

/// The key that holds the version of that layout.
pub const LAYOUT_VERSION_KEY: &str = "ollm.packed.version";

/// The key that holds what `general.alignment` was before the file was packed, if it was there.
pub const PLAIN_ALIGNMENT_KEY: &str = "ollm.packed.plain_alignment";

/// The version of the layout, the value of [`LAYOUT_VERSION_KEY`].
pub const LAYOUT_VERSION: u32 = 1;

/// What `general.alignment` of a file with panels has to be at least: a cache line.
pub const PANEL_ALIGNMENT: u32 = 64;

/// What is added to the number of a type where the tensor is in panels: `OL`, far from the numbers
/// of ggml and of its forks.
pub const PANEL_ID: u32 = 0x4f4c_0000;

/// The number of a type in a file, where the tensor has this layout.
pub(super) const fn type_id(dtype: TensorType, layout: Layout) -> u32 {
    match layout {
        Layout::Rows => dtype.id(),
        Layout::Panels => dtype.id() + PANEL_ID,
    }
}

/// The type and the layout with this number in a file.
pub(super) fn from_type_id(id: u32) -> Option<(TensorType, Layout)> {
    let rows = TensorType::from_id(id).map(|dtype| (dtype, Layout::Rows));
    let packed = || id.checked_sub(PANEL_ID).and_then(TensorType::from_id).filter(|dtype| dtype.is_quantized());
    rows.or_else(|| packed().map(|dtype| (dtype, Layout::Panels)))
}
