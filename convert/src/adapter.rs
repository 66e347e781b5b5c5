//! Low-rank adapters (`LoRA`, arXiv 2106.09685): a file of their own, and a backbone with them in
//! its matrices.
//!
//! `W' = W + alpha / r · B A`, A `[r, in]` and B `[out, r]`. A file has the layout of llama.cpp's
//! `convert_lora_to_gguf`: `general.type` is `adapter`, `adapter.type` is `lora`,
//! `adapter.lora.alpha` is alpha, and the factors of matrix `M` are `M.lora_a` and `M.lora_b`.
//! A trainer's checkpoint, `lora.safetensors`, has factors of the same names.
//!
//! What was added is named by a digest, which the adapted backbone has in [`FINETUNE_KEY`]: a
//! plugin that was trained on it fits it, and not the backbone without. The digest is that of the
//! trained factors, whatever type they are stored in.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ollm_runtime::gguf::{Gguf, GgufError, Layout, MAGIC, Metadata, TensorInfo, TensorType, Value, Writer};
use ollm_runtime::model::FINETUNE_KEY;
use ollm_runtime::quant;
use ollm_runtime::storage::Storage;
use rayon::prelude::*;
use safetensors::SafeTensors;

use crate::hash::fnv1a;
use crate::kind::ADAPTER_TYPE;
use crate::quantize::encode;
use crate::{ConvertError, FileKind, Opened, Result, check_absent, check_output, checksum};

/// The file of a trainer's run.
pub const FILE: &str = "lora.safetensors";

const ARCHITECTURE: &str = "general.architecture";
const KIND: (&str, &str) = ("adapter.type", "lora");
const ALPHA: &str = "adapter.lora.alpha";
/// What the factors are called, after their matrix.
const FACTORS: [&str; 2] = [".lora_a", ".lora_b"];

/// The names of the factors A and B of a matrix.
pub fn factor_names(matrix: &str) -> [String; 2] {
    FACTORS.map(|suffix| format!("{matrix}{suffix}"))
}

/// Adapters of some matrices.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// The backbone's `general.architecture`, where it is known.
    architecture: Option<String>,
    alpha: f64,
    pairs: BTreeMap<String, Factors>,
    digest: String,
}

/// A and B of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Rank r.
    pub rank: usize,
    /// A, row-major `[r, in]`.
    pub a: Vec<f32>,
    /// B, row-major `[out, r]`.
    pub b: Vec<f32>,
}

impl Factors {
    /// `[out, in]` of the matrix, if both have whole rows.
    fn shape(&self) -> Option<[usize; 2]> {
        let of = |values: &[f32]| (values.len().is_multiple_of(self.rank)).then(|| values.len() / self.rank);
        if self.rank == 0 { None } else { Some([of(&self.b)?, of(&self.a)?]) }
    }

    /// Adds row `at` of `scale · B A` to `row`.
    fn add_row(&self, at: usize, scale: f32, row: &mut [f32]) {
        for (b, a) in self.b[at * self.rank..][..self.rank].iter().zip(self.a.chunks_exact(row.len())) {
            row.iter_mut().zip(a).for_each(|(value, a)| *value += scale * b * a);
        }
    }
}

impl Adapter {
    /// Adapters with these factors, by the names of their matrices.
    pub fn new(alpha: f64, pairs: BTreeMap<String, Factors>) -> Self {
        let digest = digest(alpha, &pairs);
        Self { architecture: None, alpha, pairs, digest }
    }

    /// The same of backbones of an architecture.
    #[must_use]
    pub fn of(self, architecture: Option<String>) -> Self {
        Self { architecture: architecture.or(self.architecture), ..self }
    }

    /// Reads an adapter file, or what a trainer's run wrote.
    ///
    /// # Errors
    /// [`ConvertError::BadAdapter`] if it is neither, or a factor is missing.
    pub fn read(path: &Path) -> Result<Self> {
        let path = &file(path);
        let bytes = Storage::open(path)?;
        let adapter = if bytes.starts_with(&MAGIC) { from_gguf(path, &bytes)? } else { from_checkpoint(path, &bytes)? };
        let bad = |reason: String| ConvertError::BadAdapter { path: path.to_owned(), reason };
        if adapter.pairs.is_empty() {
            return Err(bad("it has no factors".into()));
        }
        if !adapter.alpha.is_finite() {
            return Err(bad(format!("{ALPHA} is {}, no number", adapter.alpha)));
        }
        for (matrix, factors) in &adapter.pairs {
            let finite = factors.a.iter().chain(&factors.b).all(|value| value.is_finite());
            if factors.shape().is_none() || !finite {
                return Err(bad(format!("the factors of {matrix} do not belong together, or are no numbers")));
            }
        }
        Ok(adapter)
    }

    /// Writes it as an adapter file. The factors get the type `dtype`, or F16 where their rows are
    /// not whole blocks of that. An output that exists is replaced only if `force`.
    ///
    /// # Errors
    /// [`ConvertError::NoArchitecture`] if that of the backbone is not known.
    pub fn write(&self, dtype: TensorType, output: &Path, force: bool) -> Result<AdapterSummary> {
        check_absent(output, force)?;
        let architecture = self.architecture.as_deref().ok_or(ConvertError::NoArchitecture)?;
        let mut writer = Writer::new();
        let mut bytes = 0;
        let keys: [(&str, Value); 5] = [
            (ADAPTER_TYPE.0, ADAPTER_TYPE.1.into()),
            (KIND.0, KIND.1.into()),
            (ARCHITECTURE, architecture.into()),
            (ALPHA, (self.alpha as f32).into()),
            (FINETUNE_KEY, self.digest.as_str().into()),
        ];
        for (key, value) in keys {
            writer.set(key, value).map_err(ConvertError::Output)?;
        }
        for (matrix, factors) in &self.pairs {
            let [out, input] = factors.shape().unwrap_or_default();
            let shapes = [[factors.rank, input], [out, factors.rank]];
            let named = factor_names(matrix).into_iter().zip(shapes).zip([&factors.a, &factors.b]);
            for ((name, [rows, cols]), values) in named {
                let dtype = if dtype.row_bytes(cols).is_some() { dtype } else { TensorType::F16 };
                let data = encode(dtype, values, None)
                    .map_err(|source| ConvertError::Values { tensor: name.clone(), source })?;
                bytes += data.len();
                writer.tensor(&name, &[cols as u64, rows as u64], dtype, data).map_err(ConvertError::Output)?;
            }
        }
        crate::write(writer, output)?;
        Ok(AdapterSummary { matrices: self.pairs.len(), ranks: self.ranks(), bytes })
    }

    /// That the backbone has the matrices, in the shapes of the adapters.
    ///
    /// # Errors
    /// Says which it has not.
    pub fn check(&self, base: &Gguf) -> std::result::Result<(), String> {
        let found = base.metadata().get(ARCHITECTURE).and_then(Value::as_str);
        if let (Some(own), Some(found)) = (&self.architecture, found)
            && own != found
        {
            return Err(format!("the backbone is of the architecture {found}, its adapters of {own}"));
        }
        for (matrix, factors) in &self.pairs {
            let Some(tensor) = base.tensor(matrix) else { return Err(format!("the backbone has no matrix {matrix}")) };
            let [out, input] = factors.shape().unwrap_or_default();
            if tensor.dims != [input as u64, out as u64] {
                return Err(format!("{matrix} has the shape {:?}, its adapter {:?}", tensor.dims, [input, out]));
            }
        }
        Ok(())
    }

    /// The least and the greatest rank.
    fn ranks(&self) -> [usize; 2] {
        let ranks = || self.pairs.values().map(|factors| factors.rank);
        [ranks().min().unwrap_or(0), ranks().max().unwrap_or(0)]
    }
}

/// What was written.
#[derive(Debug)]
pub struct AdapterSummary {
    matrices: usize,
    ranks: [usize; 2],
    bytes: usize,
}

impl fmt::Display for AdapterSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { matrices, ranks: [least, most], bytes } = self;
        let ranks = if least == most { least.to_string() } else { format!("{least} to {most}") };
        writeln!(f, "adapters of rank {ranks} for {matrices} matrices, {:.2} MB", *bytes as f64 / 1e6)
    }
}

/// Whether a file is one of adapters, rather than a plugin or a model.
///
/// # Errors
/// If it cannot be read.
pub fn is_adapter(path: &Path) -> Result<bool> {
    let bytes = Storage::open(&file(path))?;
    match Gguf::parse(&bytes) {
        Ok(gguf) => Ok(FileKind::of(gguf.metadata()) == FileKind::Adapter),
        Err(_) => Ok(!bytes.starts_with(&MAGIC)),
    }
}

/// Writes `backbone` with the adapters of the file `adapter` in its matrices, which get the type
/// `dtype`, or F16 where their rows are not whole blocks of that; all else stays as it is. An
/// output that exists is replaced only if `force`.
pub fn merge(backbone: &Path, adapter: &Path, output: &Path, dtype: TensorType, force: bool) -> Result<AdapterSummary> {
    check_output(output, &[backbone, &file(adapter)])?;
    check_absent(output, force)?;
    let base = Opened::open_plain(backbone, &[FileKind::Backbone])?;
    let loaded = Adapter::read(adapter)?;
    let mut writer = Writer::new();
    let keys = checksum::other_keys(&base);
    loaded.check(&base.gguf).map_err(|reason| ConvertError::BadAdapter { path: file(adapter), reason })?;
    add_adapted(&mut writer, &base.gguf, &base.bytes, keys, &loaded, dtype).map_err(ConvertError::Output)?;
    crate::write(writer, output)?;
    let bytes = loaded.pairs.keys().filter_map(|name| Some(stored(base.gguf.tensor(name)?, dtype))).sum();
    Ok(AdapterSummary { matrices: loaded.pairs.len(), ranks: loaded.ranks(), bytes })
}

/// Adds to `writer` the keys and tensors of `base`, which is `bytes`, with adapters.
///
/// # Errors
/// What cannot be written. Adapters that do not fit are left out: see [`Adapter::check`].
pub fn add_adapted<'a>(
    writer: &mut Writer<'a>,
    base: &'a Gguf,
    bytes: &'a [u8],
    keys: impl IntoIterator<Item = (&'a str, &'a Value)>,
    adapter: &'a Adapter,
    dtype: TensorType,
) -> std::result::Result<(), GgufError> {
    for (key, value) in keys.into_iter().filter(|(key, _)| ![FINETUNE_KEY, checksum::KEY].contains(key)) {
        writer.set(key, value.clone())?;
    }
    writer.set(FINETUNE_KEY, adapted_digest(base.metadata(), adapter))?;
    for tensor in base.tensors() {
        let TensorInfo { name, dims, .. } = tensor;
        if let Some(factors) = adapter.pairs.get(name) {
            let scale = (adapter.alpha / factors.rank as f64) as f32;
            let dtype = stored_type(tensor, dtype);
            let emit = move |out: &mut dyn Write| emit(tensor, bytes, factors, scale, dtype, out);
            writer.streamed(name, dims, dtype, Layout::Rows, emit)?;
        } else {
            writer.tensor(name, dims, tensor.dtype, tensor.bytes(bytes))?;
        }
    }
    Ok(())
}

/// The type that an adapted matrix gets.
fn stored_type(tensor: &TensorInfo, dtype: TensorType) -> TensorType {
    if dtype.row_bytes(tensor.cols()).is_some() { dtype } else { TensorType::F16 }
}

fn stored(tensor: &TensorInfo, dtype: TensorType) -> usize {
    let row = stored_type(tensor, dtype).row_bytes(tensor.cols()).unwrap_or_default();
    row * (tensor.elements() / tensor.cols().max(1))
}

/// Encodes `W + scale · B A`.
fn emit(
    tensor: &TensorInfo,
    file: &[u8],
    factors: &Factors,
    scale: f32,
    dtype: TensorType,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut values = vec![0.0; tensor.elements()];
    quant::decode(tensor.dtype, tensor.bytes(file), &mut values).map_err(io::Error::other)?;
    let rows: Vec<_> = values
        .par_chunks_mut(tensor.cols())
        .enumerate()
        .map(|(at, row)| {
            factors.add_row(at, scale, row);
            encode(dtype, row, None)
        })
        .collect();
    for row in rows {
        let named = |error| io::Error::other(format!("{}: {error}", tensor.name));
        out.write_all(&row.map_err(named)?)?;
    }
    Ok(())
}

/// The digest of a backbone with adapters: theirs, and that which it has already.
fn adapted_digest(base: &Metadata, adapter: &Adapter) -> String {
    match base.get(FINETUNE_KEY).and_then(Value::as_str) {
        Some(before) => hash([before.as_bytes(), adapter.digest.as_bytes()]),
        None => adapter.digest.clone(),
    }
}

/// Names what adapters add: `alpha / r`, and each factor.
fn digest(alpha: f64, pairs: &BTreeMap<String, Factors>) -> String {
    let mut parts: Vec<Vec<u8>> = vec![Vec::new()];
    let scales = pairs.values().map(|factors| alpha / factors.rank as f64);
    // Adapters of one rank have one scale, as the trainer's.
    let mut scales: Vec<u64> = scales.map(f64::to_bits).collect();
    scales.dedup();
    parts.extend(scales.into_iter().map(|bits| bits.to_le_bytes().to_vec()));
    for (matrix, factors) in pairs {
        for (name, values) in factor_names(matrix).into_iter().zip([&factors.a, &factors.b]) {
            parts.push(name.into_bytes());
            parts.push(values.iter().flat_map(|value| value.to_le_bytes()).collect());
        }
    }
    hash(parts.iter().map(Vec::as_slice))
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    format!("fnv1a64:{:016x}", fnv1a(parts))
}

/// The file of a checkpoint, which is that or its folder.
pub fn file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(FILE) } else { path.to_owned() }
}

fn from_gguf(path: &Path, bytes: &Storage) -> Result<Adapter> {
    let gguf = Gguf::parse(bytes).map_err(|source| ConvertError::Gguf { path: path.to_owned(), source })?;
    crate::expect_kind(path, gguf.metadata(), &[FileKind::Adapter])?;
    let bad = |reason: String| ConvertError::BadAdapter { path: path.to_owned(), reason };
    let text = |key: &str| gguf.metadata().get(key).and_then(Value::as_str);
    if text(KIND.0) != Some(KIND.1) {
        return Err(bad(format!("{} is {:?}, not {:?}", KIND.0, text(KIND.0), KIND.1)));
    }
    let alpha = gguf.metadata().get(ALPHA).and_then(Value::as_f32).ok_or_else(|| bad(format!("it has no {ALPHA}")))?;
    let mut factors = BTreeMap::new();
    for tensor in gguf.tensors() {
        let &[cols, rows] = tensor.dims.as_slice() else { return Err(bad(format!("{} is no matrix", tensor.name))) };
        let mut values = vec![0.0; tensor.elements()];
        quant::decode(tensor.dtype, tensor.bytes(bytes), &mut values)
            .map_err(|error| bad(format!("{}: {error}", tensor.name)))?;
        factors.insert(tensor.name.clone(), ([rows as usize, cols as usize], values));
    }
    let architecture = text(ARCHITECTURE).map(str::to_owned);
    let mut adapter = Adapter::new(f64::from(alpha), pairs(factors).map_err(bad)?).of(architecture);
    if let Some(digest) = text(FINETUNE_KEY) {
        digest.clone_into(&mut adapter.digest);
    }
    Ok(adapter)
}

fn from_checkpoint(path: &Path, bytes: &[u8]) -> Result<Adapter> {
    let malformed = |source| ConvertError::SafeTensors { path: path.to_owned(), source };
    let bad = |reason: String| ConvertError::BadAdapter { path: path.to_owned(), reason };
    let tensors = SafeTensors::deserialize(bytes).map_err(malformed)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
    let text = |key: &str| header.metadata().as_ref().and_then(|map| map.get(key).cloned());
    let alpha = text("lora.alpha").and_then(|text| text.parse().ok());
    let alpha: f64 =
        alpha.ok_or_else(|| bad("its metadata have no lora.alpha: it is no checkpoint of adapters".into()))?;
    let mut factors = BTreeMap::new();
    for (name, view) in tensors.tensors() {
        let &[rows, cols] = view.shape() else { return Err(bad(format!("{name} is no matrix"))) };
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(ConvertError::NotF32 { tensor: name, found: view.dtype() });
        }
        let (values, _) = view.data().as_chunks();
        factors.insert(name, ([rows, cols], values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()));
    }
    Ok(Adapter::new(alpha, pairs(factors).map_err(bad)?).of(text("lora.architecture")))
}

/// The factors by their matrices.
fn pairs(
    mut factors: BTreeMap<String, ([usize; 2], Vec<f32>)>,
) -> std::result::Result<BTreeMap<String, Factors>, String> {
    let mut pairs = BTreeMap::new();
    while let Some((name, ([rank, _], a))) = factors.pop_first() {
        let matrix = name.strip_suffix(FACTORS[0]).ok_or_else(|| format!("{name} is no factor of an adapter"))?;
        let [_, other] = factor_names(matrix);
        let ([_, cols], b) = factors.remove(&other).ok_or_else(|| format!("{other} is missing"))?;
        if cols != rank {
            return Err(format!("{name} has rank {rank}, {other} {cols}"));
        }
        pairs.insert(matrix.to_owned(), Factors { rank, a, b });
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(rank: usize, [out, input]: [usize; 2]) -> Factors {
        let values = |n: usize, seed: usize| (0..n).map(|i| ((i * 7 + seed) % 11) as f32 * 0.125 - 0.5).collect();
        Factors { rank, a: values(rank * input, 1), b: values(out * rank, 5) }
    }

    fn adapter() -> Adapter {
        let pairs = [("blk.0.attn_q.weight", factors(3, [4, 32])), ("blk.0.ffn_up.weight", factors(3, [2, 64]))];
        Adapter::new(6.0, pairs.map(|(name, factors)| (name.to_owned(), factors)).into()).of(Some("llama".into()))
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ollm-adapter-{}-{name}.gguf", std::process::id()))
    }

    fn base(dims: [u64; 2]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.set(ARCHITECTURE, "llama").unwrap().set(FINETUNE_KEY, "earlier").unwrap();
        for (name, dims) in [("blk.0.attn_q.weight", dims), ("blk.0.ffn_up.weight", [64, 2]), ("other.weight", [32, 2])]
        {
            let values: Vec<f32> = (0..dims[0] * dims[1]).map(|i| i as f32 * 0.0625 - 3.0).collect();
            writer.tensor(name, &dims, TensorType::F32, quant::encode(TensorType::F32, &values).unwrap()).unwrap();
        }
        writer.to_bytes()
    }

    fn decoded(gguf: &Gguf, bytes: &[u8], name: &str) -> Vec<f32> {
        let tensor = gguf.tensor(name).unwrap();
        let mut values = vec![0.0; tensor.elements()];
        quant::decode(tensor.dtype, tensor.bytes(bytes), &mut values).unwrap();
        values
    }

    #[test]
    fn a_file_comes_back_with_the_digest_of_what_was_trained() {
        let (adapter, file) = (adapter(), path("back"));
        // Fixed: files that were made of it have it.
        assert_eq!(adapter.digest, "fnv1a64:a2a94d2cd88ed7fc");
        let unknown = Adapter { architecture: None, ..adapter.clone() };
        assert!(matches!(unknown.write(TensorType::F32, &file, true), Err(ConvertError::NoArchitecture)));
        let summary = adapter.write(TensorType::F32, &file, true).unwrap();
        assert_eq!(summary.to_string().split(',').next(), Some("adapters of rank 3 for 2 matrices"));
        assert_eq!(Adapter::read(&file).unwrap(), adapter);
        assert!(is_adapter(&file).unwrap());
        assert!(matches!(adapter.write(TensorType::F32, &file, false), Err(ConvertError::OutputExists { .. })));
        // A is stored in blocks, and B, whose rows are short, in F16; the name of it all stays.
        adapter.write(TensorType::Q8_0, &file, true).unwrap();
        let read = Adapter::read(&file).unwrap();
        assert!(read != adapter && read.digest == adapter.digest);
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.004);
        for (name, factors) in &adapter.pairs {
            let got = &read.pairs[name];
            assert!(got.rank == 3 && near(&got.a, &factors.a) && got.b == factors.b);
        }
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn an_adapted_backbone_has_the_product_in_its_matrices_and_another_digest() {
        let (adapter, [backbone, file, output]) = (adapter(), ["base", "adapter", "adapted"].map(path));
        std::fs::write(&backbone, base([32, 4])).unwrap();
        adapter.write(TensorType::F32, &file, true).unwrap();
        merge(&backbone, &file, &output, TensorType::F32, true).unwrap();
        let (before, after) = (std::fs::read(&backbone).unwrap(), std::fs::read(&output).unwrap());
        let (old, new) = (Gguf::parse(&before).unwrap(), Gguf::parse(&after).unwrap());
        for (name, Factors { rank, a, b }) in &adapter.pairs {
            let (want, got) = (decoded(&old, &before, name), decoded(&new, &after, name));
            let input = a.len() / rank;
            for (at, (want, got)) in want.iter().zip(&got).enumerate() {
                let (row, col) = (at / input, at % input);
                let added: f32 = (0..*rank).map(|r| b[row * rank + r] * a[r * input + col]).sum();
                assert!((want + 2.0 * added - got).abs() < 1e-4, "{name} {at}");
            }
        }
        assert_eq!(decoded(&new, &after, "other.weight"), decoded(&old, &before, "other.weight"));
        let digest = new.metadata().get(FINETUNE_KEY).and_then(Value::as_str).unwrap();
        assert!(digest.starts_with("fnv1a64:") && digest != adapter.digest);
        for file in [backbone, file, output] {
            std::fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn adapters_that_do_not_fit_or_are_none_are_refused_and_nothing_is_written() {
        let [backbone, file, output] = ["small", "refused", "nothing"].map(path);
        std::fs::write(&backbone, base([32, 5])).unwrap();
        adapter().write(TensorType::F32, &file, true).unwrap();
        let refused = |expected: &str| {
            let error = merge(&backbone, &file, &output, TensorType::F32, false).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!output.exists());
        };
        refused("blk.0.attn_q.weight has the shape [32, 5], its adapter [32, 4]");
        adapter().of(Some("qwen3".into())).write(TensorType::F32, &file, true).unwrap();
        refused("of the architecture llama, its adapters of qwen3");
        let write = |keys: &[(&str, Value)], tensors: &[(&str, [u64; 2])]| {
            let mut writer = Writer::new();
            for (key, value) in keys {
                writer.set(key, value.clone()).unwrap();
            }
            for (name, dims) in tensors {
                let values = vec![0.5; (dims[0] * dims[1]) as usize];
                writer.tensor(name, dims, TensorType::F32, quant::encode(TensorType::F32, &values).unwrap()).unwrap();
            }
            std::fs::write(&file, writer.to_bytes()).unwrap();
        };
        let keys: [(&str, Value); 3] =
            [("general.type", "adapter".into()), (KIND.0, KIND.1.into()), (ALPHA, 4.0f32.into())];
        let [a, b] = [("m.lora_a", [8, 2]), ("m.lora_b", [2, 6])];
        write(&keys[..1], &[a, b]);
        refused("adapter.type");
        write(&keys[..2], &[a, b]);
        refused("no adapter.lora.alpha");
        write(&keys, &[]);
        refused("no factors");
        write(&keys, &[a]);
        refused("m.lora_b is missing");
        write(&keys, &[b]);
        refused("m.lora_b is no factor");
        write(&keys, &[a, ("m.lora_b", [3, 6])]);
        refused("rank 2");
        write(&keys, &[a, b]);
        refused("no matrix m");
        write(&[("general.type", "mmproj".into())], &[]);
        assert!(!is_adapter(&file).unwrap());
        std::fs::write(&file, "{}").unwrap();
        refused("not a safetensors file");
        for file in [backbone, file] {
            std::fs::remove_file(file).unwrap();
        }
    }
}
