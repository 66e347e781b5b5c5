//! Packing and unpacking of tiny files, good and bad.

use std::path::PathBuf;

use crate::common::{Checkpoint, Folder, LOWRANK, backbone, read, spec};
use ollm_convert::plugin::convert;
use ollm_convert::{ConvertError, checksum, inspect, merge, pack};
use ollm_runtime::gguf::{ALIGNMENT_KEY, Gguf, GgufError, Layout, PANEL_ID, PLAIN_ALIGNMENT_KEY, TensorType, Writer};

/// A folder with a backbone, `plain.gguf`, and what is made of it, `packed.gguf`.
fn pair(dtype: TensorType) -> (Folder, PathBuf, PathBuf) {
    let folder = Folder::new();
    let plain = folder.write("plain.gguf", backbone("llama", dtype));
    let packed = folder.join("packed.gguf");
    pack::pack(&plain, &packed, false).unwrap();
    (folder, plain, packed)
}

#[test]
fn matrices_are_in_panels_and_all_else_is_as_it_was() {
    let (_folder, plain, packed) = pair(TensorType::Q5_0);
    let ((plain_bytes, plain), (packed_bytes, packed)) = (read(&plain), read(&packed));
    for tensor in plain.tensors() {
        let other = packed.tensor(&tensor.name).unwrap();
        assert_eq!((other.dtype, &other.dims), (tensor.dtype, &tensor.dims));
        let matrix = tensor.name == "token_embd.weight";
        assert_eq!(other.layout, if matrix { Layout::Panels } else { Layout::Rows });
        assert_eq!(other.bytes(&packed_bytes) == tensor.bytes(&plain_bytes), !matrix, "{}", tensor.name);
    }
    for (key, value) in plain.metadata().iter() {
        assert_eq!(packed.metadata().get(key), Some(value), "{key}");
    }
}

#[test]
fn unpacking_gives_back_every_byte_whatever_the_alignment_was() {
    let folder = Folder::new();
    let [plain, packed, again] = ["plain", "packed", "again"].map(|name| folder.join(name));
    for alignment in [None, Some(8u32.into()), Some(32u64.into()), Some(64u32.into()), Some(4096u32.into())] {
        let mut writer = Writer::new();
        writer.set("general.architecture", "llama").unwrap();
        if let Some(alignment) = alignment.clone() {
            let alignment: ollm_runtime::gguf::Value = alignment;
            writer.set(ALIGNMENT_KEY, alignment).unwrap();
        }
        writer.set("general.name", "after").unwrap();
        writer.tensor("odd", &[3], TensorType::F32, vec![1; 12]).unwrap();
        writer.tensor("vector", &[32], TensorType::Q8_0, vec![2; 34]).unwrap();
        writer.tensor("matrix", &[64, 5], TensorType::Q4_0, (0..180).collect::<Vec<u8>>()).unwrap();
        writer.write_to(&plain).unwrap();
        pack::pack(&plain, &packed, true).unwrap();
        assert!(read(&packed).1.alignment() >= 64);
        pack::unpack(&packed, &again, true).unwrap();
        assert!(read(&plain).0 == read(&again).0, "{alignment:?}");
    }
}

#[test]
fn checksums_are_where_they_were_and_those_of_the_packed_file_go() {
    let (folder, plain, packed) = pair(TensorType::Q4_0);
    let [summed, again] = ["summed", "again"].map(|name| folder.join(name));
    pack::unpack(&packed, &again, false).unwrap();
    assert_eq!(read(&plain).0, read(&again).0);
    let (bytes, gguf) = read(&packed);
    let sums = |gguf: &Gguf| gguf.metadata().get(checksum::KEY).cloned();
    assert!(sums(&gguf).is_some() && sums(&read(&plain).1).is_none());

    // A file that has them, not as its last key.
    let mut writer = Writer::new();
    writer.checksums(checksum::KEY, || Box::new(std::hash::DefaultHasher::new())).unwrap();
    writer.set("general.architecture", "llama").unwrap();
    let matrix = gguf.tensor("token_embd.weight").unwrap();
    let rows = read(&plain).1.tensor("token_embd.weight").unwrap().bytes(&read(&plain).0).to_vec();
    writer.tensor("matrix", &matrix.dims, matrix.dtype, rows).unwrap();
    folder.write("foreign", writer.to_bytes());
    pack::pack(&folder.join("foreign"), &packed, true).unwrap();
    pack::unpack(&packed, &summed, false).unwrap();
    // These are the right ones: packing and unpacking makes them anew, in their place.
    assert_ne!(sums(&read(&summed).1), sums(&read(&folder.join("foreign")).1));
    assert_eq!(read(&summed).1.metadata().iter().next().unwrap().0, checksum::KEY);
    pack::pack(&summed, &packed, true).unwrap();
    pack::unpack(&packed, &again, true).unwrap();
    assert_eq!(read(&summed).0, read(&again).0);
    assert_ne!(bytes, read(&packed).0);
}

#[test]
fn plugin_files_are_packed_too() {
    let folder = Folder::new();
    let checkpoint = folder.write("some.safetensors", Checkpoint::new(&spec(LOWRANK)).bytes());
    let [plain, packed, again] = ["plain.gguf", "packed.gguf", "again.gguf"].map(|name| folder.join(name));
    convert(&checkpoint, &plain, TensorType::Q8_0, false).unwrap();
    let summary = pack::pack(&plain, &packed, false).unwrap();
    // The matrices but those two whose rows are no whole blocks.
    assert_eq!(summary.changed.tensors, 7);
    spec(LOWRANK).check_tensors(&read(&packed).1).unwrap();
    pack::unpack(&packed, &again, false).unwrap();
    assert_eq!(read(&plain).0, read(&again).0);
}

#[test]
fn inspect_shows_the_layout_and_the_same_backbone() {
    let (_folder, plain, packed) = pair(TensorType::Q4_0);
    let (plain, packed) = (inspect::inspect(&plain).unwrap(), inspect::inspect(&packed).unwrap());
    assert!(packed.to_string().contains("panels16") && !plain.to_string().contains("panels16"));
    let (plain, packed) = (plain.json(), packed.json());
    assert_eq!(packed["tensors"][0]["layout"], "panels16");
    assert_eq!(plain["tensors"][0]["layout"], "rows");
    assert_eq!(packed["metadata"]["ollm.packed.version"], 1);
    assert_eq!(packed["backbone"], plain["backbone"]);
}

#[test]
fn the_wrong_kind_of_file_is_refused() {
    let (folder, plain, packed) = pair(TensorType::Q4_0);
    let output = folder.join("out.gguf");
    assert!(matches!(pack::pack(&packed, &output, false), Err(ConvertError::Packed { .. })));
    assert!(matches!(pack::unpack(&plain, &output, false), Err(ConvertError::NotPacked { .. })));
    let floats = folder.write("floats.gguf", backbone("llama", TensorType::F16));
    assert!(matches!(pack::pack(&floats, &output, false), Err(ConvertError::NothingToPack { .. })));
    assert!(
        matches!(merge::merge(&packed, &plain, &output, false), Err(ConvertError::Packed { path }) if path == packed)
    );
    assert!(
        matches!(merge::merge(&plain, &packed, &output, false), Err(ConvertError::Packed { path }) if path == packed)
    );
    for same in [&plain, &folder.join("./plain.gguf")] {
        assert!(matches!(pack::pack(&plain, same, false), Err(ConvertError::OverwritesInput { .. })));
    }
    assert!(matches!(pack::unpack(&packed, &packed, false), Err(ConvertError::OverwritesInput { .. })));
    assert!(!output.exists());
}

#[test]
fn a_plain_alignment_that_is_none_is_refused() {
    let folder = Folder::new();
    let [plain, packed, output] = ["plain", "packed", "output"].map(|name| folder.join(name));
    let mut writer = Writer::new();
    writer.set(ALIGNMENT_KEY, 32_u32).unwrap();
    writer.tensor("matrix", &[32, 5], TensorType::Q8_0, vec![1; 170]).unwrap();
    writer.write_to(&plain).unwrap();
    pack::pack(&plain, &packed, false).unwrap();
    let good = std::fs::read(&packed).unwrap();
    let key = PLAIN_ALIGNMENT_KEY.as_bytes();
    let value = good.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 4;
    for bad in [0_u32, 3, 0x8000_0000] {
        let mut bytes = good.clone();
        bytes[value..value + 4].copy_from_slice(&bad.to_le_bytes());
        std::fs::write(&packed, bytes).unwrap();
        let refused = pack::unpack(&packed, &output, false);
        assert!(matches!(refused, Err(ConvertError::Output(GgufError::BadAlignment { .. }))), "{bad}: {refused:?}");
        assert!(!output.exists());
    }
}

#[test]
fn damaged_packed_files_are_refused() {
    let (_folder, _, packed) = pair(TensorType::Q4_0);
    let (good, gguf) = read(&packed);
    let parse = |at: usize, new: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        Gguf::parse(&bytes).unwrap_err()
    };
    let after =
        |text: &str| good.windows(text.len()).position(|window| window == text.as_bytes()).unwrap() + text.len();
    let future = parse(after("ollm.packed.version") + 4, &2u32.to_le_bytes());
    assert!(matches!(future, GgufError::UnsupportedLayout { version: 2 }), "{future}");
    let other = parse(after("panels16") - 1, b"7");
    assert!(matches!(other, GgufError::UnknownLayout { .. }), "{other}");
    let alignment = parse(after(ALIGNMENT_KEY) + 4, &32u32.to_le_bytes());
    assert!(matches!(alignment, GgufError::PanelAlignment { alignment: 32 }), "{alignment}");
    // Rank and two dimensions follow the name.
    let dtype = after("token_embd.weight") + 4 + 16;
    assert_eq!(good[dtype..dtype + 4], (PANEL_ID + TensorType::Q4_0.id()).to_le_bytes());
    for id in [PANEL_ID, PANEL_ID + 4, PANEL_ID + (1 << 16)] {
        assert!(matches!(parse(dtype, &id.to_le_bytes()), GgufError::UnknownTensorType { .. }), "{id}");
    }
    // One row more is one panel more, in a file that has no place for it.
    let rows = parse(after("token_embd.weight") + 4 + 8, &97u64.to_le_bytes());
    assert!(matches!(rows, GgufError::PastEnd { .. } | GgufError::Overlap { .. }), "{rows}");
    let end = gguf.tensors().iter().map(|tensor| tensor.offset + tensor.size).max().unwrap();
    assert!(matches!(Gguf::parse(&good[..end - 1]), Err(GgufError::PastEnd { .. })));
}
