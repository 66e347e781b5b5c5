//! The adapters of a PEFT folder: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` is factor A of
//! `blk.0.attn_q.weight`. Rows and columns come in the order that the backbone's file has them in.
//! The file has one alpha: what a pattern or rank-stabilized `LoRA` (arXiv 2312.03732) scales
//! otherwise is multiplied into B.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ollm_runtime::gguf::{TensorInfo, TensorType};
use ollm_runtime::model::{Config, LayerKind, Role, TensorName, TensorSpec, schema};
use ollm_runtime::ops::RopePairing;
use ollm_runtime::quant;
use ollm_runtime::storage::Storage;
use safetensors::{Dtype, SafeTensors};

use super::architecture::{Architecture, RecurrentKeys};
use super::document::Document;
use super::lora_config::LoraConfig;
use super::part::rows_of_fused;
use super::recurrent::delta_order;
use super::tensors::{in_class, in_larger, transformers_name};
use crate::adapter::{Adapter, Factors};
use crate::quantize::{Order, Rows};
use crate::{ConvertError, FileKind, Opened, Result, expect_kind};

/// What makes a folder one of adapters.
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Whether this is a folder that PEFT has written.
pub fn is_peft(folder: &Path) -> bool {
    folder.join(CONFIG).exists()
}

/// The files of such a folder that are read.
pub fn peft_files(folder: &Path) -> [PathBuf; 2] {
    [CONFIG, WEIGHTS].map(|name| folder.join(name))
}

/// Adapters of a PEFT folder.
#[derive(Debug)]
pub struct PeftAdapter {
    /// The adapters.
    pub adapter: Adapter,
    /// What is to be said of its configuration.
    pub notes: Vec<String>,
}

/// The adapters in `folder`, for the matrices of `backbone`.
///
/// # Errors
/// [`ConvertError::Import`] or [`ConvertError::BadAdapter`] if the folder is not what it should be,
/// asks for something other than `LoRA`, or is of another backbone.
pub fn peft(folder: &Path, backbone: &Path) -> Result<PeftAdapter> {
    let base = Opened::open(backbone)?;
    expect_kind(backbone, base.gguf.metadata(), &[FileKind::Backbone, FileKind::Merged])?;
    let json = Document::read(&folder.join(CONFIG))?;
    let settings = LoraConfig::read(&json)?;
    let path = folder.join(WEIGHTS);
    let bytes = Storage::open(&path)?;
    let malformed = |source| ConvertError::SafeTensors { path: path.clone(), source };
    let bad = |reason: String| ConvertError::BadAdapter { path: path.clone(), reason };
    let tensors = SafeTensors::deserialize(&bytes).map_err(malformed)?;
    let named = names(&base)?;
    let family = base.gguf.metadata().opt_str("general.architecture").ok().flatten().unwrap_or_default();
    if Architecture::of_family(family).any(|known| known.recurrent == RecurrentKeys::AttentionMamba2) {
        let reason = "is of a model whose multipliers are in the weights of the backbone: merge it in PEFT";
        return Err(bad(reason.to_owned()));
    }
    let mut factors: BTreeMap<&Matrix, [Option<Factor>; 2]> = BTreeMap::new();
    for (name, view) in tensors.tensors() {
        let unknown = || {
            let is_expert = name.contains(".experts.");
            let expert = "a factor of a single expert, which is not read here: merge it in PEFT";
            let module = name.strip_prefix("base_model.model.").unwrap_or(&name);
            let module = module.strip_prefix("model.").unwrap_or(module);
            let is_outer = outer_modules(family).iter().any(|outer| module.starts_with(outer));
            let outer = "of the head or the embedding, which adapters do not change here: merge it in PEFT";
            bad(format!(
                "{name} is {}",
                match (is_expert, is_outer) {
                    (true, _) => expert,
                    (_, true) => outer,
                    _ => "no factor of a matrix that this backbone has",
                }
            ))
        };
        let (module, which) = split(&name).ok_or_else(unknown)?;
        let matrices = named.get(module).ok_or_else(unknown)?;
        let &[rows, cols] = view.shape() else { return Err(bad(format!("{name} is no matrix"))) };
        let values = numbers(view.dtype(), view.data());
        let values = values.ok_or_else(|| bad(format!("{name} is {:?}, not F32, F16 or BF16", view.dtype())))?;
        let rank = if which == 0 { rows } else { cols };
        let (last, others) = matrices.split_last().ok_or_else(unknown)?;
        for matrix in others {
            factors.entry(matrix).or_default()[which] = Some((rank, values.clone()));
        }
        factors.entry(last).or_default()[which] = Some((rank, values));
    }
    let notes = settings.notes(&factors.keys().map(|matrix| matrix.module.as_str()));
    let mut pairs = BTreeMap::new();
    for (matrix, both) in factors {
        let [Some((rank, mut a)), Some((other, b))] = both else {
            return Err(bad(format!("{} lacks a factor", matrix.module)));
        };
        if rank != other || rank == 0 {
            return Err(bad(format!("{}: A has rank {rank}, B {other}", matrix.module)));
        }
        let factor = (settings.scale(&matrix.module, rank) / (settings.alpha / rank as f64)) as f32;
        let mut b: Vec<f32> = b.into_iter().map(|value| value * factor).collect();
        // Of another shape, they are refused below.
        let (cols, rows) = (a.len() / rank, b.len() / rank);
        let info = base.gguf.tensor(&matrix.name);
        let fits = |info: &&TensorInfo| (info.cols(), matrix.rows.stored(info.rows())) == (cols, rows);
        if let Some(info) = info.filter(fits) {
            if matrix.order.moves_columns(2) {
                a = a.chunks(cols).flat_map(|a| (0..cols).map(|i| a[matrix.order.stored(i, cols)])).collect();
            } else {
                let row = |i| matrix.rows.row(matrix.order.stored(i, info.rows()));
                b = (0..info.rows()).flat_map(|i| &b[row(i) * rank..][..rank]).copied().collect();
            }
        }
        pairs.insert(matrix.name.clone(), Factors { rank, a, b });
    }
    if pairs.is_empty() {
        return Err(bad("it has no factors".into()));
    }
    let architecture = base.gguf.metadata().opt_str("general.architecture").ok().flatten();
    let adapter = Adapter::new(settings.alpha, pairs).of(architecture.map(str::to_owned));
    adapter.check(&base.gguf).map_err(bad)?;
    Ok(PeftAdapter { adapter, notes })
}

/// A rank and the values of a factor.
type Factor = (usize, Vec<f32>);

/// A matrix of the backbone.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Matrix {
    /// Its name in GGUF.
    name: String,
    /// That of its module in transformers.
    module: String,
    /// Which rows of that module it is.
    rows: Rows,
    /// What becomes of the order of its rows or columns.
    order: Order,
}

/// The matrices of a backbone, by their modules in transformers: one, or the parts of a fused one.
fn names(base: &Opened) -> Result<BTreeMap<String, Vec<Matrix>>> {
    let config = Config::from_gguf(&base.gguf, &base.bytes).map_err(ollm_runtime::Error::from)?;
    let mut names = BTreeMap::<String, Vec<Matrix>>::new();
    for spec in schema::tensors(&config).into_iter().filter(TensorSpec::is_matrix) {
        let Some(layer) = spec.name.layer.map(|layer| &config.layers[layer]) else { continue };
        for architecture in Architecture::of_family(config.family.name) {
            let Some(name) = transformers_name(architecture, spec.name) else { continue };
            let queries = [layer.heads / layer.kv_heads.max(1) * layer.head_dim, layer.head_dim];
            let rows = rows_of_fused(architecture.fusion, spec.name.role, spec.shape[0], queries);
            let moved = config.family.pairing == RopePairing::Adjacent && !architecture.interleaved;
            let order = match (layer.kind, spec.name.role) {
                (_, Role::Query) if moved => Order::Interleaved { heads: layer.heads },
                (_, Role::Key) if moved => Order::Interleaved { heads: layer.kv_heads },
                (LayerKind::GatedDeltaNet(shape), role) => delta_order(shape, role),
                _ => Order::Stored,
            };
            for name in in_larger(&name).chain(in_class(&name)).chain([name.clone()]) {
                let module = name.trim_end_matches(".weight").to_owned();
                let matrix = Matrix { name: spec.name.to_string(), module: module.clone(), rows, order };
                let parts = names.entry(module).or_default();
                // Two architectures of a family may have the same modules.
                parts.retain(|part| part.name != matrix.name);
                parts.push(matrix);
            }
        }
    }
    Ok(names)
}

/// The modules of the head and of embeddings, each with a dot behind it.
fn outer_modules(family: &str) -> Vec<String> {
    let roles = [Role::Head, Role::Embedding, Role::PerLayerEmbedding, Role::Classifier, Role::ClassifierOutput];
    let names = Architecture::of_family(family).flat_map(|architecture| {
        roles.into_iter().filter_map(|role| transformers_name(architecture, TensorName::new(role)))
    });
    names.map(|name| name.trim_start_matches("model.").trim_end_matches("weight").to_owned()).collect()
}

/// The module of a factor, and whether it is A (0) or B (1).
fn split(name: &str) -> Option<(&str, usize)> {
    let name = name.strip_prefix("base_model.model.").unwrap_or(name).strip_suffix(".weight")?;
    let name = name.strip_suffix(".default").unwrap_or(name);
    let factors = [".lora_A", ".lora_B"];
    factors.iter().enumerate().find_map(|(which, suffix)| Some((name.strip_suffix(suffix)?, which)))
}

fn numbers(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    let (dtype, size) = match dtype {
        Dtype::F32 => (TensorType::F32, 4),
        Dtype::F16 => (TensorType::F16, 2),
        Dtype::BF16 => (TensorType::Bf16, 2),
        _ => return None,
    };
    let mut values = vec![0.0; data.len() / size];
    quant::decode(dtype, data, &mut values).ok()?;
    Some(values)
}
