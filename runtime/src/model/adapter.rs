//! Low-rank adapters (`LoRA`, arXiv 2106.09685) beside a backbone: `y = W x + s B A x`, with A
//! `[rank][in]`, B `[out][rank]` and s = scale * alpha / rank. The backbone's weights stay as they
//! are, so sessions of one model may have different adapters, in one batch.
//!
//! A file has the layout of llama.cpp's `convert_lora_to_gguf`: `general.type` is `adapter`,
//! `adapter.type` is `lora`, `adapter.lora.alpha` is alpha, and the factors of matrix `M` are
//! `M.lora_a` and `M.lora_b`.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use ollm_kernels::memory::{self, OutOfMemory};
use ollm_kernels::ops::{Exec, MatmulOp, Quantized, for_each_row, matmul};

use crate::gguf::Gguf;
use crate::storage::Storage;

use super::Model;
use super::error::ModelError;
use super::fingerprint::{self, FINETUNE_KEY};
use super::name::TensorName;
use super::tensor::Tensor;
use super::weights::Linear;

/// What marks a file of adapters.
const MARKS: [(&str, &str); 2] = [("general.type", "adapter"), ("adapter.type", "lora")];
const ALPHA: &str = "adapter.lora.alpha";
/// What the factors are called, after their matrix.
const FACTORS: [&str; 2] = [".lora_a", ".lora_b"];

/// Low-rank adapters of one backbone, immutable: share them between sessions with [`Arc`].
#[derive(Debug)]
pub struct Adapter {
    storage: Storage,
    /// The file of the backbone that they were bound to.
    base: Arc<Storage>,
    factors: HashMap<TensorName, Factors>,
    digest: Option<String>,
    identity: u64,
}

/// The factors of a matrix.
#[derive(Debug)]
struct Factors {
    /// `[rank][in]`
    a: Tensor,
    /// `[out][rank]`
    b: Tensor,
    rank: usize,
    out: usize,
    /// alpha / rank
    scale: f32,
}

/// An adapter of a session, and how much of it is added: 1 is as it was trained.
pub type Adapted = (Arc<Adapter>, f32);

impl Adapter {
    /// Maps the adapter file at `path` and checks that it fits `model`.
    ///
    /// # Errors
    /// [`ModelError`] if the file cannot be read, is no adapter, or belongs to another backbone.
    pub fn open(path: &Path, model: &Model) -> Result<Self, ModelError> {
        Self::from_storage(Storage::open(path)?, model)
    }

    /// The adapter in `storage`, checked that it fits `model`.
    ///
    /// # Errors
    /// As [`Adapter::open`].
    pub fn from_storage(storage: Storage, model: &Model) -> Result<Self, ModelError> {
        let gguf = Gguf::parse(&storage).map_err(ModelError::Gguf)?;
        let metadata = gguf.metadata();
        for (key, mark) in MARKS {
            if metadata.opt_str(key)? != Some(mark) {
                return Err(ModelError::NoAdapter { key, mark });
            }
        }
        if let Some(found) = metadata.opt_str("general.architecture")? {
            let expected = model.config().family.name;
            if found != expected {
                return Err(ModelError::OtherArchitecture { found: found.to_owned(), expected });
            }
        }
        let alpha = metadata.f32(ALPHA)?;
        if !alpha.is_finite() {
            let rule = "a finite number";
            return Err(ModelError::InvalidValue { key: ALPHA.to_owned(), value: alpha.to_string(), rule });
        }
        let factors = bind(&gguf, &storage, model, alpha)?;
        let digest = metadata.opt_str(FINETUNE_KEY)?.map(str::to_owned);
        let identity = fingerprint::hash(fingerprint::OFFSET_BASIS, &storage);
        Ok(Self { storage, base: Arc::clone(model.storage()), factors, digest, identity })
    }

    /// Whether they were loaded for this model.
    pub fn fits(&self, model: &Model) -> bool {
        Arc::ptr_eq(&self.base, model.storage())
    }

    /// What names the adapters' content, where the file tells it.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The hash of the file.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    /// How many matrices are adapted.
    pub fn matrices(&self) -> usize {
        self.factors.len()
    }

    /// Adds `scale B A x` to `out`, row by row, if the matrix is adapted. `x` is `[n][in]`, `out`
    /// `[n][out]`. Bit-identical for any n and any number of threads.
    pub(super) fn add(
        &self,
        exec: &mut Exec,
        matrix: TensorName,
        scale: f32,
        x: &[f32],
        scratch: &mut Quantized,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        let Some(factors) = self.factors.get(&matrix).filter(|_| !out.is_empty()) else { return Ok(()) };
        let n = out.len() / factors.out;
        let (mut low, mut delta) = (memory::filled(0.0, n * factors.rank)?, memory::filled(0.0, out.len())?);
        let a = MatmulOp { matrix: factors.a.matrix(&self.storage), out: &mut low };
        matmul(exec, x, x.len() / n, scratch, &mut [a]);
        let b = MatmulOp { matrix: factors.b.matrix(&self.storage), out: &mut delta };
        matmul(exec, &low, factors.rank, scratch, &mut [b]);
        let scale = scale * factors.scale;
        for_each_row(&exec.pool, out, factors.out, |i, out| {
            out.iter_mut().zip(&delta[i * factors.out..]).for_each(|(out, delta)| *out += scale * delta);
        });
        Ok(())
    }
}

/// Binds all factors; a tensor that is none, or of no matrix that can be adapted, is an error.
fn bind(gguf: &Gguf, storage: &Storage, model: &Model, alpha: f32) -> Result<HashMap<TensorName, Factors>, ModelError> {
    let layers = model.weights().layers.iter().enumerate();
    // By their tensors in the file, of which several may be parts of one.
    let mut matrices: HashMap<TensorName, Vec<(TensorName, &Linear)>> = HashMap::new();
    for (layer, weights) in layers {
        for linear in weights.matrices() {
            let stored = linear.fused.map_or(linear.role, |(role, _)| role);
            let matrix = (TensorName::in_layer(layer, linear.role), linear);
            matrices.entry(TensorName::in_layer(layer, stored)).or_default().push(matrix);
        }
    }
    let strip = |name: &str| FACTORS.iter().find_map(|suffix| name.strip_suffix(suffix)).map(str::to_owned);
    let mut names = BTreeSet::new();
    for tensor in gguf.tensors() {
        let name = strip(&tensor.name).ok_or_else(|| ModelError::UnexpectedTensor(tensor.name.clone()))?;
        names.insert(name);
    }
    let mut all = HashMap::new();
    for text in names {
        let stored = TensorName::parse(&text).and_then(|name| matrices.get(&name));
        let stored = stored.ok_or_else(|| ModelError::NotAdaptable(text.clone()))?;
        let [a_name, b_name] = FACTORS.map(|suffix| format!("{text}{suffix}"));
        let rank = gguf.tensor(&a_name).ok_or_else(|| ModelError::MissingTensor(a_name.clone()))?.rows();
        let rows = stored.iter().map(|(_, linear)| model.matrix(&linear.weight).rows()).sum();
        let b = Tensor::bind(gguf, storage, &b_name, rows, rank)?;
        for (name, linear) in stored {
            let matrix = model.matrix(&linear.weight);
            let (out, first) = (matrix.rows(), linear.fused.map_or(0, |(_, first)| first));
            let factors = Factors {
                a: Tensor::bind(gguf, storage, &a_name, rank, matrix.cols())?,
                b: b.cut(first..first + out),
                rank,
                out,
                scale: alpha / rank as f32,
            };
            all.insert(*name, factors);
        }
    }
    Ok(all)
}
