//! Quantization: a model's matrices in other types, with a small quantization error for their
//! bytes.
//!
//! Tensor by tensor, a slab of rows at a time: decoded, checked, encoded on all threads, written.
//! What is in memory does not grow with the model. The scales are searched ([`encode`]) for the
//! least squared error, weighted by the importance matrix ([`crate::imatrix`]: the mean squared
//! input of each column), if there is one. This is the expected squared error of the matmul's
//! output, if its inputs are not correlated.

mod blocks;
mod grid;
mod measurements;
mod order;
mod parts;
mod recipe;
mod scaled;
pub mod search;
mod source;
mod type_rule;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use indicatif::ProgressBar;
use ollm_runtime::gguf::{GgufError, Layout, TensorType, Value, Writer};
use ollm_runtime::model::{Role, TensorName};
use rayon::prelude::*;

use crate::imatrix::ImportanceMatrix;
use crate::kind::MODELS;
use crate::table::{self, Row};
use crate::verify::metadata_fault;
use crate::{ConvertError, Opened, Result, check_output, checksum};

pub use blocks::encode;
pub(crate) use order::{HeadGroups, Order};
pub use recipe::{RECIPES, Recipe};
pub(crate) use scaled::{Grid, Numbers, ScaleType, Scaled, Zeros};
pub(crate) use source::{Change, Encoding, RowGroups, RowScales, Rows, Stored, Strides, TensorSource};
pub use type_rule::{Pattern, TypeRule};

/// How a model is quantized.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The types.
    pub recipe: &'static Recipe,
    /// A file of [`crate::imatrix`].
    pub imatrix: Option<&'a Path>,
    /// Matrices with types of their own; of several rules that match, the last one counts.
    pub tensor_types: &'a [TypeRule],
    /// Whether an output that exists is replaced.
    pub force: bool,
}

/// What was written.
#[derive(Debug)]
pub struct QuantizeSummary {
    /// Each tensor.
    pub tensors: Vec<Row>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Bytes of the file.
    pub bytes: usize,
}

/// Elements that are decoded at a time, at least a row.
const SLAB: usize = 1 << 22;

/// Writes the model `input` with its matrices in the types that `options` say; all else is as it
/// was. `progress` counts bytes of the input.
///
/// # Errors
/// If a file is not what it should be, a value is not finite ([`ConvertError::Row`]) or the output
/// is there ([`ConvertError::OutputExists`]). Then nothing is written.
pub fn quantize(input: &Path, output: &Path, options: &Options<'_>, progress: &ProgressBar) -> Result<QuantizeSummary> {
    check_files(&[input], output, options)?;
    let model = open(input)?;
    let (writer, sources) = parts(input, &model, options)?;
    write(sources, writer, output, options, progress)
}

/// What [`quantize`] would write.
///
/// # Errors
/// As there, but for the output.
pub fn dry_run(input: &Path, options: &Options<'_>) -> Result<QuantizeSummary> {
    let model = open(input)?;
    let (writer, sources) = parts(input, &model, options)?;
    let importance = options.imatrix.map(ImportanceMatrix::read).transpose()?;
    let jobs = plan(sources, options, importance.as_ref())?;
    let hidden = ProgressBar::hidden();
    let writer = with_tensors(writer, &jobs, &hidden)?;
    Ok(summary(&jobs, &writer, importance.is_some()))
}

/// A model whose keys and lists of tokens are as `verify` wants them.
fn open(input: &Path) -> Result<Opened> {
    let model = Opened::open_plain(input, MODELS)?;
    match metadata_fault(&model) {
        Some(fault) => {
            let reason = format!("{fault}: `ollm-convert set-metadata` changes and removes keys");
            Err(ConvertError::BadKey { path: input.to_owned(), reason })
        }
        None => Ok(model),
    }
}

/// The keys of the output, and the tensors of the input.
fn parts<'a>(input: &'a Path, model: &'a Opened, options: &Options<'_>) -> Result<(Writer<'a>, Vec<TensorSource<'a>>)> {
    let mut writer = Writer::new();
    describe(model, options.recipe, &mut writer).map_err(ConvertError::Output)?;
    Ok((writer, model.gguf.tensors().iter().map(|tensor| TensorSource::of(input, model, tensor)).collect()))
}

fn summary(jobs: &[TensorJob<'_>], writer: &Writer<'_>, importance: bool) -> QuantizeSummary {
    let tensors = jobs.iter().map(TensorJob::row).collect();
    QuantizeSummary { tensors, notes: notes(jobs, importance), bytes: writer.size() }
}

/// Refuses an output that is there or is one of these inputs.
pub(crate) fn check_files(inputs: &[&Path], output: &Path, options: &Options<'_>) -> Result<()> {
    let inputs: Vec<&Path> = inputs.iter().copied().chain(options.imatrix).collect();
    check_output(output, &inputs)?;
    crate::check_absent(output, options.force)
}

/// Writes what `writer` has so far, and the tensors.
pub(crate) fn write(
    sources: Vec<TensorSource<'_>>,
    writer: Writer<'_>,
    output: &Path,
    options: &Options<'_>,
    progress: &ProgressBar,
) -> Result<QuantizeSummary> {
    let importance = options.imatrix.map(ImportanceMatrix::read).transpose()?;
    let jobs = plan(sources, options, importance.as_ref())?;
    if let Some(path) = options.imatrix.filter(|_| !jobs.iter().any(TensorJob::is_quantized)) {
        return Err(ConvertError::UnusedImatrix { path: path.to_owned() });
    }
    progress.set_length(jobs.iter().map(|job| job.source.bytes(0..job.source.rows()) as u64).sum());
    let writer = with_tensors(writer, &jobs, progress)?;
    let summary = summary(&jobs, &writer, importance.is_some());
    crate::write_all(&[(writer, output)])?;
    progress.finish_and_clear();
    Ok(summary)
}

/// What writes the tensors too, each as its job says, and their checksums.
fn with_tensors<'a>(
    mut writer: Writer<'a>,
    jobs: &'a [TensorJob<'_>],
    progress: &'a ProgressBar,
) -> Result<Writer<'a>> {
    for job in jobs {
        let produce = |out: &mut dyn Write| job.write(progress, out);
        let TensorSource { name, dims, .. } = &job.source;
        writer.streamed(name, dims, job.dtype, Layout::Rows, produce).map_err(ConvertError::Output)?;
    }
    checksum::add(&mut writer).map_err(ConvertError::Output)?;
    Ok(writer)
}

/// The keys that say how the tensors are stored.
pub(crate) fn storage_keys(recipe: &Recipe) -> [(&'static str, u32); 2] {
    /// The version of the block formats, `GGML_QNT_VERSION` in ggml.h.
    const VERSION: u32 = 2;
    [("general.file_type", recipe.file_type), ("general.quantization_version", VERSION)]
}

/// Every key as it was, but for the two that say how the tensors are stored.
fn describe(model: &Opened, recipe: &Recipe, writer: &mut Writer<'_>) -> std::result::Result<(), GgufError> {
    let new = storage_keys(recipe);
    for (key, value) in checksum::other_keys(model) {
        let replaced = new.iter().find(|(name, _)| *name == key).map(|&(_, value)| Value::U32(value));
        writer.set(key, replaced.unwrap_or_else(|| value.clone()))?;
    }
    for (key, value) in new.into_iter().filter(|(key, _)| model.gguf.metadata().get(key).is_none()) {
        writer.set(key, value)?;
    }
    Ok(())
}

/// What happens to one tensor.
struct TensorJob<'a> {
    source: TensorSource<'a>,
    /// The type that it gets.
    dtype: TensorType,
    /// The type that it was to get, but for the length of its rows.
    wanted: TensorType,
    /// The importance of each column, of one matrix after the other.
    importance: Option<&'a [f32]>,
}

fn plan<'a>(
    sources: Vec<TensorSource<'a>>,
    options: &Options<'_>,
    importance: Option<&'a ImportanceMatrix>,
) -> Result<Vec<TensorJob<'a>>> {
    let names = || sources.iter().map(|source| source.name.as_str());
    let matrix = |source: &TensorSource<'_>| recipe::is_matrix(&source.name, &source.dims);
    let matrices = || sources.iter().filter(|source| matrix(source));
    let tied = !names().any(|name| TensorName::parse(name) == Some(TensorName::new(Role::Head)));
    let is_idle = |rule: &&TypeRule| !matrices().any(|source| rule.matches(&source.name, tied));
    if let Some(rule) = options.tensor_types.iter().find(is_idle) {
        return Err(ConvertError::NoSuchTensor { pattern: rule.pattern.to_string() });
    }
    let shape = recipe::ModelFacts {
        layers: recipe::layers(names()),
        tied,
        importance: importance.is_some(),
        queries_per_key: queries_per_key(&sources),
        experts: experts(&sources),
    };
    let job = |source: TensorSource<'a>| {
        let matrix = matrix(&source);
        let ruled =
            options.tensor_types.iter().rfind(|rule| matrix && rule.matches(&source.name, tied)).map(|rule| rule.dtype);
        let of_recipe = || if matrix { options.recipe.choose(&source.name, shape) } else { source.default };
        let chosen = || source.kept().unwrap_or_else(of_recipe);
        let (wanted, cols) = (ruled.unwrap_or_else(chosen), source.cols());
        let importance = importance.map_or(Ok(None), |all| all.of(&source.name, cols, source.matrices()))?;
        Ok(TensorJob { source, dtype: recipe::that_fits(wanted, cols), wanted, importance })
    };
    sources.into_iter().map(job).collect()
}

/// Experts of a layer: the matrices that are stacked.
fn experts(sources: &[TensorSource<'_>]) -> usize {
    let stacks = sources.iter().filter(|source| source.name.ends_with("_exps.weight"));
    stacks.map(TensorSource::matrices).max().unwrap_or(0)
}

/// Queries that share a key, as the rows of their projections have it; 1 where they are fused.
fn queries_per_key(sources: &[TensorSource<'_>]) -> usize {
    let rows = |role| {
        let is_matrix = |source: &&TensorSource<'_>| {
            let name = TensorName::parse(&source.name);
            name.is_some_and(|name| name.role == role && !name.is_bias)
        };
        sources.iter().find(is_matrix).map(TensorSource::rows)
    };
    let (queries, keys) = (rows(Role::Query).unwrap_or(1), rows(Role::Key).unwrap_or(1));
    (queries / keys.max(1)).max(1)
}

/// What the user should know: matrices that could not get their type, that were quantized before,
/// that lack importance.
fn notes(jobs: &[TensorJob<'_>], importance: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |what: &dyn Fn(&TensorJob<'_>) -> Option<String>| {
        let mut counted: Vec<(String, usize)> = Vec::new();
        for text in jobs.iter().filter_map(what) {
            match counted.iter_mut().find(|(known, _)| *known == text) {
                Some((_, count)) => *count += 1,
                None => counted.push((text, 1)),
            }
        }
        notes.extend(counted.into_iter().map(|(text, count)| format!("{count} tensors {text}")));
    };
    note(&|job| {
        let (dtype, wanted, cols) = (job.dtype, job.wanted, job.source.cols());
        (dtype != wanted).then(|| format!("are {dtype}: rows of {cols} are not whole blocks of {wanted}"))
    });
    note(&|job| {
        let before = match job.source.dtype() {
            Some(dtype) => dtype.is_quantized().then(|| dtype.to_string()),
            None => job.source.is_quantized().then(|| "quantized".to_owned()),
        };
        let lossy = before.filter(|_| job.dtype.is_quantized() && job.changes());
        lossy.map(|before| format!("were {before} already: their errors add up"))
    });
    note(&|job| {
        let lacks = importance && job.changes() && job.dtype.block_len() > 1 && job.importance.is_none();
        lacks.then(|| "are quantized without the importance matrix: it says nothing of them".to_owned())
    });
    notes
}

impl TensorJob<'_> {
    fn changes(&self) -> bool {
        self.source.dtype() != Some(self.dtype)
    }

    /// Whether its values are encoded in a quantized type.
    fn is_quantized(&self) -> bool {
        self.changes() && self.dtype.is_quantized()
    }

    fn row(&self) -> Row {
        let TensorSource { name, dims, .. } = &self.source;
        let shape: Vec<usize> = dims.iter().rev().map(|&n| n as usize).collect();
        let bytes = self.dtype.row_bytes(shape.iter().product()).unwrap_or(0);
        Row { name: name.clone(), shape, dtype: self.dtype, layout: Layout::Rows, bytes }
    }

    /// Writes the tensor slab by slab.
    fn write(&self, progress: &ProgressBar, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.source.rows();
        let slab = (SLAB / self.source.cols()).max(1);
        for first in (0..rows).step_by(slab) {
            let rows = first..rows.min(first + slab);
            let encoded: Vec<Result<Vec<u8>>> = rows.clone().into_par_iter().map(|row| self.encode(row)).collect();
            for row in encoded {
                out.write_all(&row.map_err(io::Error::other)?)?;
            }
            progress.inc(self.source.bytes(rows.clone()) as u64);
            self.source.discard(rows);
        }
        Ok(())
    }

    fn encode(&self, row: usize) -> Result<Vec<u8>> {
        let (bytes, values) = self.source.row(row)?;
        if self.dtype.is_quantized() && !self.changes() {
            return Ok(bytes.to_vec());
        }
        encode(self.dtype, &values, self.importance_of(row)).map_err(|source| self.source.error(row, source))
    }

    /// The importance of the columns of a row.
    fn importance_of(&self, row: usize) -> Option<&[f32]> {
        let (cols, rows) = (self.source.cols(), self.source.rows() / self.source.matrices());
        self.importance.map(|all| &all[row / rows * cols..][..cols])
    }
}

impl QuantizeSummary {
    /// The tensors as a table.
    pub fn table(&self) -> impl fmt::Display {
        fmt::from_fn(|f| table::tensors(f, &self.tensors))
    }
}

impl fmt::Display for QuantizeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::totals(f, &self.tensors)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
