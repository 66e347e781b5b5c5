//! Checksums: files that this crate writes carry one for each tensor, so that damage is found and
//! the tensor named.
//!
//! They are XXH64 hashes with seed 0 of the tensors' bytes, as those of llama.cpp's `gguf-hash
//! --xxh64`. The key is one that other readers pass over.

use std::hash::Hasher;

use ollm_runtime::gguf::{Array, GgufError, TensorInfo, Value, Writer};
use rayon::prelude::*;
use twox_hash::XxHash64;

use crate::opened::Opened;

/// The key: an array of u64, one for each tensor in the order of the file.
pub const KEY: &str = "ollm.checksum.xxh64";

/// Has the writer add the checksums of what it writes, here among its keys.
pub(crate) fn add(writer: &mut Writer<'_>) -> Result<(), GgufError> {
    writer.checksums(KEY, || -> Box<dyn Hasher> { Box::new(XxHash64::with_seed(0)) }).map(drop)
}

/// The keys that another file may have too: all but the checksums.
pub(crate) fn other_keys(file: &Opened) -> impl Iterator<Item = (&str, &Value)> {
    file.gguf.metadata().iter().filter(|(key, _)| *key != KEY)
}

/// The tensors whose bytes are not those that their checksums are of; `None` if the file has no
/// checksums, or not as many as tensors. What was read leaves memory again.
pub(crate) fn damaged(file: &Opened) -> Option<Vec<&TensorInfo>> {
    let Value::Array(Array::U64(sums)) = file.gguf.metadata().get(KEY)? else { return None };
    let differs =
        |&(tensor, &sum): &(&TensorInfo, &u64)| file.release(tensor, |bytes| XxHash64::oneshot(0, bytes)) != sum;
    let tensors = file.gguf.tensors();
    let found = tensors.par_iter().zip(sums).filter(differs).map(|(tensor, _)| tensor).collect();
    (sums.len() == tensors.len()).then_some(found)
}
