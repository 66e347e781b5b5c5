//! What the metadata of a packed file have to say.

use super::Layout;
use super::error::GgufError;
use super::layout::{LAYOUT_KEY, LAYOUT_VERSION, LAYOUT_VERSION_KEY, PANEL_ALIGNMENT};
use super::metadata::Metadata;

type Result<T> = std::result::Result<T, GgufError>;

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
    use crate::gguf::layout::{from_type_id, type_id};
    use crate::gguf::{ALIGNMENT_KEY, Gguf, PANEL_ID, TensorType, Value, Writer};

    #[test]
    fn numbers_in_files_round_trip_and_floats_have_no_panels() {
        for &dtype in TensorType::ALL {
            assert_eq!(from_type_id(dtype.id()), Some((dtype, Layout::Rows)));
            let panels = from_type_id(type_id(dtype, Layout::Panels));
            assert_eq!(panels, dtype.is_quantized().then_some((dtype, Layout::Panels)), "{dtype}");
        }
        for id in [PANEL_ID, PANEL_ID + 4, 4, u32::MAX] {
            assert_eq!(from_type_id(id), None);
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

    /// A file of one tensor of 5 rows in panels, with these keys and the alignment 64 unless they
    /// name another.
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
