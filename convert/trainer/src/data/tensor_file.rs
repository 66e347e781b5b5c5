//! Safetensors files with metadata: written atomically, and the same bytes for the same content.
//!
//! The safetensors crate keeps metadata in a hash map, whose order changes from run to run; so the
//! header (eight bytes of length, then JSON) is written here, in the order of the names, and the
//! crate's validating reader is used to read.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ollm_runtime::atomic;
use ollm_runtime::gguf::MAGIC;
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};

use crate::data::hash::fnv1a;
use crate::error::{Error, Result};

/// Tensors by name, in the order of their names.
pub type Tensors = BTreeMap<String, Tensor>;

/// The strings of `__metadata__`.
pub type FileMetadata = BTreeMap<String, String>;

/// The fields of a struct as JSON, in the order of their names: the order of `serde_json` depends
/// on what else was built with it, and a checkpoint must agree with a run of any build.
///
/// # Panics
/// If it is no struct of numbers, text and lists.
pub fn sorted_json(value: &impl serde::Serialize) -> String {
    let fields: BTreeMap<String, Value> =
        serde_json::to_value(value).and_then(serde_json::from_value).expect("a struct of numbers, text and lists");
    json!(fields).to_string()
}

/// Writes f32 tensors and metadata: to a temporary file beside `path`, then renamed, so that `path`
/// is never half written. A NaN is not written: what was there stays, the last good state.
pub fn save(path: &Path, tensors: &Tensors, metadata: &FileMetadata) -> Result<()> {
    for (name, tensor) in tensors {
        if !values(tensor)?.iter().all(|value| value.is_finite()) {
            return Err(Error::NonFinite { what: format!("tensor {name}") });
        }
    }
    let bytes = encode(tensors, metadata)?;
    write_atomically(path, &bytes)
}

/// Writes a file so that `path` holds the old or the new content, whatever happens.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic::write(path, |out| out.write_all(bytes)).map_err(Error::io(path))
}

/// Reads tensors onto a device, and the metadata.
pub fn load(path: &Path, device: &Device) -> Result<(Tensors, FileMetadata)> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    if bytes.starts_with(&MAGIC) {
        return Err(Error::bad_file(path, "is a GGUF file; expected a checkpoint (safetensors) of a run"));
    }
    let bad = |error: safetensors::SafeTensorError| Error::bad_file(path, error.to_string());
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(bad)?;
    let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok((decode(&bytes, device)?, metadata))
}

/// Tensors as one message of bytes, for other processes.
pub fn to_message(tensors: &Tensors) -> Result<Vec<u8>> {
    Ok(safetensors::serialize(tensors, None).map_err(candle_core::Error::from)?)
}

/// The tensors of a file or message.
pub fn decode(bytes: &[u8], device: &Device) -> Result<Tensors> {
    Ok(candle_core::safetensors::load_buffer(bytes, device)?.into_iter().collect())
}

/// A hash of some tensors' names and values, in hexadecimal.
pub fn hash(tensors: &Tensors, names: impl Iterator<Item = impl AsRef<str>>) -> Result<String> {
    let mut parts = Vec::new();
    for name in names {
        let missing = || candle_core::Error::CannotFindTensor { path: name.as_ref().into() };
        let values = values(tensors.get(name.as_ref()).ok_or_else(missing)?)?;
        parts.push(name.as_ref().as_bytes().to_vec());
        parts.push(values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }
    Ok(format!("{:016x}", fnv1a(parts.iter().map(Vec::as_slice))))
}

fn encode(tensors: &Tensors, metadata: &FileMetadata) -> Result<Vec<u8>> {
    let mut header = header(tensors, metadata).to_string();
    // Data starts at a multiple of eight bytes, as the format recommends.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    for tensor in tensors.values() {
        bytes.extend(values(tensor)?.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok(bytes)
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

fn header(tensors: &Tensors, metadata: &FileMetadata) -> Value {
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), json!(metadata));
    let mut start = 0;
    for (name, tensor) in tensors {
        let end = start + tensor.elem_count() * 4;
        entries.insert(name.clone(), json!({"data_offsets": [start, end], "dtype": "F32", "shape": tensor.dims()}));
        start = end;
    }
    Value::Object(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn fields_are_written_in_the_order_of_their_names() {
        #[derive(serde::Serialize)]
        struct Unsorted {
            b: f64,
            a: Vec<u32>,
        }
        assert_eq!(sorted_json(&Unsorted { b: 0.1, a: vec![2, 1] }), "{\"a\":[2,1],\"b\":0.1}");
    }

    #[test]
    fn tensors_and_metadata_come_back() {
        let folder = testing::folder("tensor-file");
        std::fs::create_dir_all(&folder).unwrap();
        let tensors: Tensors = [("b", vec![2, 3]), ("a", vec![5])]
            .map(|(name, dims)| (name.into(), testing::normal(name, &dims, 1.0)))
            .into();
        let metadata = FileMetadata::from([("k".into(), "v \"quoted\"".into())]);
        let path = folder.join("x.safetensors");
        save(&path, &tensors, &metadata).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (read, read_metadata) = load(&path, &Device::Cpu).unwrap();
        assert_eq!(read_metadata, metadata);
        for (name, tensor) in &tensors {
            assert_eq!(values(&read[name]).unwrap(), values(tensor).unwrap());
        }
        save(&path, &read, &read_metadata).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(load(&path, &Device::Cpu), Err(Error::BadFile { .. })));
        std::fs::write(&path, "GGUF and more").unwrap();
        let refused = load(&path, &Device::Cpu).unwrap_err();
        assert!(refused.to_string().contains("is a GGUF file"), "{refused}");
    }
}
