//! The weights of a folder: one safetensors file, or several and an index. They are mapped, not
//! read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ollm_runtime::gguf::TensorType;
use ollm_runtime::storage::Storage;
use safetensors::{Dtype, SafeTensors};

use super::ImportError;
use super::document::Document;
use super::tensors::Wanted;
use crate::quantize::{Stored, TensorSource};
use crate::{ConvertError, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// All weights of a folder.
pub(super) struct HfCheckpoint {
    folder: PathBuf,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, StoredTensor>,
}

struct Shard {
    path: PathBuf,
    bytes: Storage,
}

struct StoredTensor {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
}

impl HfCheckpoint {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let mut checkpoint = Self { folder: folder.to_owned(), shards: Vec::new(), tensors: BTreeMap::new() };
        if folder.join(INDEX).exists() {
            checkpoint.add_all(&Document::read(&folder.join(INDEX))?)?;
        } else if folder.join(SINGLE).exists() {
            checkpoint.add(folder.join(SINGLE))?;
        } else {
            return Err(ImportError::NoWeights { folder: folder.to_owned() }.into());
        }
        Ok(checkpoint)
    }

    /// Adds the files that an index names; each must have the tensors that it says.
    fn add_all(&mut self, index: &Document) -> Result<()> {
        const MAP: &str = "weight_map";
        let map = index.part(MAP)?.ok_or_else(|| index.missing(MAP))?;
        let entries = map.value.as_object().ok_or_else(|| index.bad(MAP, "a file for each tensor"))?;
        let mut shards = BTreeMap::<&str, Vec<&str>>::new();
        for (tensor, shard) in entries {
            let is_name = |name: &&str| Path::new(name).file_name().is_some_and(|file| file == *name);
            let shard = shard.as_str().filter(is_name).ok_or_else(|| map.bad(tensor, "the name of a file"))?;
            shards.entry(shard).or_default().push(tensor);
        }
        for (shard, tensors) in shards {
            let path = self.folder.join(shard);
            if !path.exists() {
                return Err(ImportError::MissingShard { index: index.path.clone(), shard: shard.to_owned() }.into());
            }
            self.add(path.clone())?;
            let lacking = tensors.into_iter().find(|&tensor| !self.tensors.contains_key(tensor));
            if let Some(tensor) = lacking {
                return Err(ImportError::MissingTensor { path, tensor: tensor.to_owned() }.into());
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let bytes = Storage::open(&path)?;
        let malformed = |source| ConvertError::SafeTensors { path: path.clone(), source };
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(malformed)?;
        let start = size_of::<u64>() + header;
        let shard = self.shards.len();
        for (name, info) in metadata.tensors() {
            let (first, end) = info.data_offsets;
            let tensor =
                StoredTensor { shard, dtype: info.dtype, shape: info.shape.clone(), range: start + first..start + end };
            match self.tensors.entry(name) {
                Entry::Vacant(place) => drop(place.insert(tensor)),
                Entry::Occupied(other) => {
                    let first = self.shards[other.get().shard].path.clone();
                    return Err(
                        ImportError::DuplicateTensor { first, second: path, tensor: other.key().clone() }.into()
                    );
                }
            }
        }
        self.shards.push(Shard { path, bytes });
        Ok(())
    }

    /// The files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path.as_path())
    }

    /// Whether there is a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensors that are wanted, each with the shape that is; what else there is must be
    /// `ignored`.
    pub(super) fn sources(&self, wanted: Vec<Wanted>, ignored: impl Fn(&str) -> bool) -> Result<Vec<TensorSource<'_>>> {
        let sources: Vec<TensorSource<'_>> =
            wanted.into_iter().map(|wanted| self.source(wanted)).collect::<Result<_>>()?;
        let used: HashSet<&str> = sources.iter().map(|source| source.stored.name.as_str()).collect();
        match self.tensors.iter().find(|(name, _)| !ignored(name) && !used.contains(name.as_str())) {
            Some((name, tensor)) => {
                let path = self.shards[tensor.shard].path.clone();
                Err(ImportError::UnexpectedTensor { path, tensor: name.clone() }.into())
            }
            None => Ok(sources),
        }
    }

    fn source(&self, wanted: Wanted) -> Result<TensorSource<'_>> {
        let Wanted { name, gguf, shape, rows, change } = wanted;
        let mut whole = shape.clone();
        if let (Some(rows), Some(count)) = (rows, whole.first_mut()) {
            *count = rows.stored(*count);
        }
        let Some(tensor) = self.tensors.get(&name) else {
            let path = if let [shard] = self.shards.as_slice() { &shard.path } else { &self.folder };
            return Err(ImportError::MissingTensor { path: path.clone(), tensor: name }.into());
        };
        let Shard { path, bytes } = &self.shards[tensor.shard];
        if tensor.shape != whole {
            let (path, found) = (path.clone(), tensor.shape.clone());
            return Err(ImportError::Shape { path, tensor: name, found, expected: whole }.into());
        }
        let dtype = match tensor.dtype {
            Dtype::F32 => TensorType::F32,
            Dtype::F16 => TensorType::F16,
            Dtype::BF16 => TensorType::Bf16,
            found => return Err(ImportError::ElementType { path: path.clone(), tensor: name, found }.into()),
        };
        let dims = shape.iter().rev().map(|&n| n as u64).collect();
        let stored = Stored { path, file: bytes, name, dtype, range: tensor.range.clone() };
        Ok(TensorSource { name: gguf, dims, default: TensorType::F32, stored, rows, change })
    }
}
