//! How the rows of a tensor lie in a file: one after the other, or in panels.
//!
//! Panels are this project's own: what a *packed* file holds, for kernels that read it in place. A tensor in panels has a
//! type number that no other reader knows, so that none takes its bytes for rows, and the file says which panels they are:
//! [`LAYOUT_KEY`], [`LAYOUT_VERSION_KEY`]. `convert/FORMAT.md` describes them for people.

use std::fmt;

use super::{GgufError, Metadata, Result, TensorType};

/// The key that names the layout of a packed file's panels.
pub const LAYOUT_KEY: &str = "ollm.packed.layout";

/// The key that holds the version of that layout.
pub const LAYOUT_VERSION_KEY: &str = "ollm.packed.version";

/// The key that holds what `general.alignment` was before the file was packed, if it was there.
pub const PLAIN_ALIGNMENT_KEY: &str = "ollm.packed.plain_alignment";

/// The version of the layout, the value of [`LAYOUT_VERSION_KEY`].
pub const LAYOUT_VERSION: u32 = 1;

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;

/// What `general.alignment` of a file with panels has to be at least: a cache line.
pub const PANEL_ALIGNMENT: u32 = 64;

/// What is added to the number of a type where the tensor is in panels: `OL`, far from the numbers of ggml and of its forks.
pub const PANEL_ID: u32 = 0x4f4c_0000;

/// How the rows of a tensor lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// One row after the other, as in every GGUF file.
    Rows,
    /// [`PANEL_ROWS`] rows interleaved, the last panel filled up with zeros. Quantized types only.
    Panels,
}

impl Layout {
    /// The name; that of panels is the value of [`LAYOUT_KEY`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Panels => "panels16",
        }
    }

    /// Bytes of `rows` rows of `cols` elements; `None` if a row is not a whole number of blocks, or there are too many bytes.
    pub fn size(self, dtype: TensorType, rows: usize, cols: usize) -> Option<usize> {
        let rows = match self {
            Self::Rows => rows,
            Self::Panels => rows.checked_next_multiple_of(PANEL_ROWS)?,
        };
        dtype.row_bytes(cols)?.checked_mul(rows)
    }

    /// The number of a type in a file, where the tensor has this layout.
    pub(super) const fn type_id(self, dtype: TensorType) -> u32 {
        match self {
            Self::Rows => dtype.id(),
            Self::Panels => dtype.id() + PANEL_ID,
        }
    }

    /// The type and the layout with this number in a file.
    pub(super) fn from_type_id(id: u32) -> Option<(TensorType, Self)> {
        let rows = TensorType::from_id(id).map(|dtype| (dtype, Self::Rows));
        let packed = || id.checked_sub(PANEL_ID).and_then(TensorType::from_id).filter(|dtype| dtype.is_quantized());
        rows.or_else(|| packed().map(|dtype| (dtype, Self::Panels)))
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Checks that the layout which the metadata names, if it names one, is known.
pub(super) fn check_known(metadata: &Metadata) -> Result<()> {
    match metadata.opt_str(LAYOUT_KEY)? {
        Some(layout) if layout != Layout::Panels.name() => {
            return Err(GgufError::UnknownLayout { layout: layout.to_owned() });
        }
        _ => {}
    }
    match metadata.opt_u32(LAYOUT_VERSION_KEY)? {
        Some(version) if version != LAYOUT_VERSION => Err(GgufError::UnsupportedLayout { version }),
        _ => Ok(()),
    }
}

/// Checks that the metadata allow a tensor to have this layout.
pub(super) fn check_allowed(layout: Layout, metadata: &Metadata, alignment: u32) -> Result<()> {
    if layout == Layout::Panels {
        metadata.str(LAYOUT_KEY)?;
        metadata.u32(LAYOUT_VERSION_KEY)?;
        if alignment < PANEL_ALIGNMENT {
            return Err(GgufError::PanelAlignment { alignment });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{ALIGNMENT_KEY, Gguf, Value, Writer};

    #[test]
    fn numbers_in_files_round_trip_and_floats_have_no_panels() {
        for &dtype in TensorType::ALL {
            assert_eq!(Layout::from_type_id(dtype.id()), Some((dtype, Layout::Rows)));
            let panels = Layout::from_type_id(Layout::Panels.type_id(dtype));
            assert_eq!(panels, dtype.is_quantized().then_some((dtype, Layout::Panels)), "{dtype}");
        }
        for id in [PANEL_ID, PANEL_ID + 4, 4, u32::MAX] {
            assert_eq!(Layout::from_type_id(id), None);
        }
    }

    #[test]
    fn panels_are_whole() {
        let size = |rows| Layout::Panels.size(TensorType::Q4_0, rows, 64);
        assert_eq!([1, 16, 17].map(size), [Some(16 * 36), Some(16 * 36), Some(32 * 36)]);
        assert_eq!(size(usize::MAX), None);
        assert_eq!(Layout::Rows.size(TensorType::Q4_0, 17, 64), Some(17 * 36));
        assert_eq!(Layout::Rows.size(TensorType::Q4_0, 1, 33), None);
    }

    /// A file of one tensor of 5 rows in panels, with these keys and the alignment 64 unless they name another.
    fn packed(keys: &[(&str, Value)]) -> Writer<'static> {
        let mut writer = Writer::new();
        for (key, value) in keys {
            writer.set(key, value.clone()).unwrap();
        }
        writer
    }

    fn keys() -> Vec<(&'static str, Value)> {
        vec![
            (ALIGNMENT_KEY, PANEL_ALIGNMENT.into()),
            (LAYOUT_KEY, Layout::Panels.name().into()),
            (LAYOUT_VERSION_KEY, LAYOUT_VERSION.into()),
        ]
    }

    fn add(writer: &mut Writer<'static>) -> Result<()> {
        let size = 16 * 34;
        writer
            .streamed("t", &[32, 5], TensorType::Q8_0, Layout::Panels, move |out| out.write_all(&vec![7; size]))
            .map(|_| ())
    }

    fn file() -> Vec<u8> {
        let mut writer = packed(&keys());
        add(&mut writer).unwrap();
        writer.to_bytes()
    }

    #[test]
    fn a_tensor_in_panels_has_the_bytes_of_whole_panels() {
        let bytes = file();
        let gguf = Gguf::parse(&bytes).unwrap();
        let tensor = gguf.tensor("t").unwrap();
        assert_eq!(
            (tensor.layout, tensor.dtype, tensor.rows(), tensor.size),
            (Layout::Panels, TensorType::Q8_0, 5, 544)
        );
        assert_eq!(tensor.bytes(&bytes), [7; 544]);
        let end = tensor.offset + tensor.size;
        assert!(matches!(Gguf::parse(&bytes[..end - 1]), Err(GgufError::PastEnd { .. })));
    }

    #[test]
    fn panels_without_a_key_or_alignment_are_refused_by_reader_and_writer() {
        for missing in 0..3 {
            let mut some = keys();
            let (key, _) = some.remove(missing);
            let refused = |error: &GgufError| match error {
                GgufError::MissingKey { key: missing } => missing == key,
                GgufError::PanelAlignment { alignment: 32 } => key == ALIGNMENT_KEY,
                _ => false,
            };
            assert!(refused(&add(&mut packed(&some)).unwrap_err()), "{key}");
            // The same length under another name.
            let mut bytes = file();
            let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).unwrap();
            bytes[at] = b'x';
            assert!(refused(&Gguf::parse(&bytes).unwrap_err()), "{key}");
        }
    }

    #[test]
    fn other_layouts_and_versions_are_refused() {
        let mut writer = Writer::new();
        assert!(
            matches!(writer.set(LAYOUT_KEY, "panels32"), Err(GgufError::UnknownLayout { layout }) if layout == "panels32")
        );
        let mut writer = Writer::new();
        let error = writer.set(LAYOUT_VERSION_KEY, 2u32).unwrap_err();
        assert!(matches!(error, GgufError::UnsupportedLayout { version: 2 }));
        let mut bytes = file();
        let at = bytes.windows(8).position(|window| window == b"panels16").unwrap();
        bytes[at + 6] = b'3';
        assert!(matches!(Gguf::parse(&bytes), Err(GgufError::UnknownLayout { .. })));
    }

    #[test]
    fn panels_of_another_size_are_not_written() {
        let path = std::env::temp_dir().join(format!("ollm-layout-{}", std::process::id()));
        for size in [0, 5, 545] {
            let mut writer = packed(&keys());
            let emit = move |out: &mut dyn std::io::Write| out.write_all(&vec![0; size]);
            writer.streamed("t", &[32, 5], TensorType::Q8_0, Layout::Panels, emit).unwrap();
            let refused = writer.write_to(&path).unwrap_err();
            assert!(refused.to_string().contains(&format!("544 bytes, not {size}")), "{refused}");
            assert!(!path.exists());
        }
    }
}
