//! The weights of a folder: one safetensors file, or several and an index. They are mapped, not
//! read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ollm_runtime::gguf::{TensorType, foreign};
use ollm_runtime::model::{Role, TensorName};
use ollm_runtime::storage::Storage;
use safetensors::{Dtype, SafeTensors};

use super::ImportError;
use super::architecture::Architecture;
use super::compressed::{MXFP4, MXFP4_SCALES, PACKED, Quantization, View, mxfp4_scales};
use super::document::Document;
use super::part::Part;
use super::tensors::{self, Names, Origin, Wanted};
use crate::quantize::{Encoding, Rows, Stored, TensorSource};
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
        // A whole file counts, whatever an index says beside it: transformers does so too.
        if folder.join(SINGLE).exists() {
            checkpoint.add(folder.join(SINGLE))?;
        } else if folder.join(INDEX).exists() {
            checkpoint.add_all(&Document::read(&folder.join(INDEX))?)?;
        } else {
            return Err(no_weights(folder).into());
        }
        Ok(checkpoint)
    }

    /// How the tensors of the text model are named among those of a multimodal one.
    pub(super) fn names(&self, architecture: &Architecture) -> Names {
        let embedding = tensors::in_model(architecture, TensorName::new(Role::Embedding));
        let embedding = embedding.as_deref().unwrap_or_default();
        let has = |name: &str| self.tensors.contains_key(name);
        let is_model = |prefix: &&str| {
            let layer = format!("{prefix}{}0.", architecture.layers);
            self.tensors.range(layer.clone()..).next().is_some_and(|(name, _)| name.starts_with(&layer))
        };
        let mut models = self.tensors.keys().filter_map(|name| name.strip_suffix(embedding)).filter(is_model);
        let model = models.next().map_or_else(|| Names::default().model, str::to_owned);
        // Beside the model, or outside all.
        let outer = model.strip_suffix("model.").unwrap_or_default();
        let beside = format!("{outer}{}", Names::default().head);
        let head = if has(&beside) { beside } else { Names::default().head };
        Names { model, head }
    }

    /// Whether the checkpoint has this tensor.
    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether the checkpoint has the matrix of this name, as it is or packed.
    pub(super) fn has_matrix(&self, name: &str) -> bool {
        let module = name.rsplit_once('.').map_or("", |(module, _)| module);
        self.has(name) || self.has(&format!("{module}.{PACKED}"))
    }

    /// Whether the checkpoint has two tensors, of other values or types.
    pub(super) fn has_both(&self, one: &str, other: &str) -> bool {
        let is_other = |(one, other): (View<'_>, View<'_>)| one.dtype != other.dtype || one.bytes != other.bytes;
        self.view(one).zip(self.view(other)).is_some_and(is_other)
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

    /// Adds the weights of a module in a folder of its own; `prefix` is put before their names.
    pub(super) fn add_part(&mut self, folder: &str, prefix: &str) -> Result<()> {
        self.add_named(self.folder.join(folder).join(SINGLE), prefix)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        self.add_named(path, "")
    }

    fn add_named(&mut self, path: PathBuf, prefix: &str) -> Result<()> {
        let bytes = Storage::open(&path)?;
        if let Some(what) = foreign(&bytes) {
            return Err(ImportError::Foreign { path, what }.into());
        }
        let malformed = |source| ConvertError::SafeTensors { path: path.clone(), source };
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(malformed)?;
        let start = size_of::<u64>() + header;
        let shard = self.shards.len();
        for (name, info) in metadata.tensors() {
            let (first, end) = info.data_offsets;
            let tensor =
                StoredTensor { shard, dtype: info.dtype, shape: info.shape.clone(), range: start + first..start + end };
            match self.tensors.entry(format!("{prefix}{name}")) {
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

    /// The tensors that are wanted, each with the shape that is; what else there is must be
    /// `ignored`.
    pub(super) fn sources<'a>(
        &'a self,
        wanted: Vec<Wanted>,
        quantization: &Quantization,
        ignored: impl Fn(&str) -> bool,
    ) -> Result<Vec<TensorSource<'a>>> {
        // In the first place: of such weights something else is missing, too.
        for (name, tensor) in self.tensors.iter().filter(|(name, _)| !ignored(name)) {
            if let Some(reason) = quantization.undeclared(name) {
                let path = self.shards[tensor.shard].path.clone();
                return Err(ImportError::Quantized { path, tensor: name.clone(), reason }.into());
            }
        }
        let sources: Vec<TensorSource<'_>> =
            wanted.into_iter().map(|wanted| self.source(wanted, quantization)).collect::<Result<_>>()?;
        let used: HashSet<&str> =
            sources.iter().flat_map(|source| &source.stored).map(|stored| stored.name.as_str()).collect();
        let modules: HashSet<&str> =
            used.iter().filter_map(|name| name.rsplit_once('.').map(|(module, _)| module)).collect();
        let is_known = |name: &str| {
            used.contains(name) || ignored(name) || quantization.is_beside(name, |module| modules.contains(module))
        };
        match self.tensors.iter().find(|(name, _)| !is_known(name)) {
            Some((name, tensor)) => {
                let path = self.shards[tensor.shard].path.clone();
                Err(ImportError::UnexpectedTensor { path, tensor: name.clone() }.into())
            }
            None => Ok(sources),
        }
    }

    fn view(&self, name: &str) -> Option<View<'_>> {
        let StoredTensor { shard, dtype, shape, range } = self.tensors.get(name)?;
        Some(View { dtype: *dtype, shape, bytes: &self.shards[*shard].bytes[range.clone()] })
    }

    fn source(&self, wanted: Wanted, quantization: &Quantization) -> Result<TensorSource<'_>> {
        let Wanted { mut origins, gguf, shape, order, change } = wanted;
        // What is nowhere is missing in the first place.
        let place = origins.iter().position(|origin| origin.names.iter().any(|name| self.has_matrix(name)));
        let Origin { names, part } = origins.swap_remove(place.unwrap_or(0));
        let mut whole = if names.len() > 1 { shape[1..].to_vec() } else { shape.clone() };
        let rows_at = whole.len().saturating_sub(2);
        let (mut rows, mut strides) = (Rows::All, None);
        match (part, whole.get_mut(rows_at)) {
            (Part::Rows(stored), Some(count)) => {
                *count = stored.stored(*count);
                rows = stored;
            }
            (Part::Elements { strides: apart, shape }, _) => {
                whole = shape.to_vec();
                strides = Some(apart);
            }
            _ => (),
        }
        let stored = |name| {
            let mut stored = self.stored(name, &whole, quantization)?;
            stored.encoding = match (stored.encoding, strides) {
                (encoding, None) => encoding,
                (Encoding::Type(dtype), Some(strides)) => Encoding::Strided(dtype, strides),
                (_, Some(_)) => {
                    let reason = "is quantized, and a part of it is wanted: leave it unquantized".to_owned();
                    return Err(
                        ImportError::Quantized { path: stored.path.to_owned(), tensor: stored.name, reason }.into()
                    );
                }
            };
            Ok(stored)
        };
        let stored = names.into_iter().map(stored).collect::<Result<_>>()?;
        let dims = shape.iter().rev().map(|&n| n as u64).collect();
        Ok(TensorSource { name: gguf, dims, default: TensorType::F32, stored, rows, order, change })
    }

    /// Where the tensor `name` is, which has the shape `whole` but for dimensions of 1.
    fn stored(&self, name: String, whole: &[usize], quantization: &Quantization) -> Result<Stored<'_>> {
        let module = name.rsplit_once('.').map_or("", |(module, _)| module);
        let packed = format!("{module}.{PACKED}");
        let found = self.tensors.get_key_value(&name).or_else(|| self.tensors.get_key_value(&packed));
        let Some((name, tensor)) = found.map(|(found, tensor)| (found.clone(), tensor)) else {
            let path = if let [shard] = self.shards.as_slice() { &shard.path } else { &self.folder };
            return Err(ImportError::MissingTensor { path: path.clone(), tensor: name }.into());
        };
        let Shard { path, bytes } = &self.shards[tensor.shard];
        let dtype = match tensor.dtype {
            Dtype::F32 => Some(TensorType::F32),
            Dtype::F16 => Some(TensorType::F16),
            Dtype::BF16 => Some(TensorType::Bf16),
            _ => None,
        };
        if dtype.is_some() && !without_ones(&tensor.shape).eq(without_ones(whole)) {
            let (path, found, expected) = (path.clone(), tensor.shape.clone(), whole.to_vec());
            return Err(ImportError::Shape { path, tensor: name, found, expected }.into());
        }
        let encoding = if let Some(dtype) = dtype {
            Encoding::Type(dtype)
        } else if let Some(module) = name.strip_suffix(MXFP4) {
            let blocks = View { dtype: tensor.dtype, shape: &tensor.shape, bytes: &bytes[tensor.range.clone()] };
            let scales = self.view(&format!("{module}{MXFP4_SCALES}"));
            let bad = |reason| ImportError::Quantized { path: path.clone(), tensor: name.clone(), reason };
            Encoding::Mxfp4(mxfp4_scales(&blocks, scales, whole).map_err(bad)?)
        } else {
            let weight = View { dtype: tensor.dtype, shape: &tensor.shape, bytes: &bytes[tensor.range.clone()] };
            let beside = |part: &str| self.view(&format!("{module}.{part}"));
            let bad = |reason| ImportError::Quantized { path: path.clone(), tensor: name.clone(), reason };
            Encoding::Scaled(Box::new(quantization.decoder(&weight, whole, beside).map_err(bad)?))
        };
        Ok(Stored { path, file: bytes, name, encoding, range: tensor.range.clone() })
    }
}

/// A shape without its dimensions of 1, which tell nothing: the kernel of a convolution over single
/// channels is `[channels][1][taps]`.
fn without_ones(shape: &[usize]) -> impl Iterator<Item = usize> {
    shape.iter().copied().filter(|&size| size != 1)
}

/// What is in a folder that has no safetensors files of the known names.
fn no_weights(folder: &Path) -> ImportError {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let ends = |ends: &'static [&'static str]| {
        names.iter().find(move |name| ends.iter().any(|end| name.ends_with(end))).cloned()
    };
    let folder = folder.to_owned();
    if let Some(file) = ends(&[".bin", ".bin.index.json", ".pth", ".pt"]) {
        return ImportError::PyTorch { folder, file };
    }
    let other = ends(&[".safetensors", ".gguf", ".msgpack", ".h5", ".onnx"]);
    ImportError::NoWeights { folder, other }
}
