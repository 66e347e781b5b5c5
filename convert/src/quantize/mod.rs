//! A model's matrices in other types: smaller files, with as little damage as their bytes allow.
//!
//! Tensor by tensor, a slab of rows at a time: decoded, checked, encoded on all threads, written. What is in memory does not
//! grow with the model. The scales are searched ([`encode`]) for the least squared error, of each column as much as its mean
//! squared input counts ([`crate::importance`]), if that is known: that is the expected squared error of the product, as far
//! as its inputs are not correlated.

mod blocks;
mod grid;
mod keep;
mod parts;
mod recipe;
pub mod search;

use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use indicatif::ProgressBar;
use ollm_runtime::gguf::{GgufError, Layout, TensorInfo, TensorType, Value, Writer};
use ollm_runtime::quant;
use rayon::prelude::*;

use crate::importance::Importance;
use crate::table::{self, Row};
use crate::{ConvertError, Opened, Result, check_output, checksum};

pub use blocks::encode;
pub use keep::Keep;
pub use recipe::{RECIPES, Recipe};

/// How a model is quantized.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The types.
    pub recipe: &'static Recipe,
    /// A file of [`crate::importance`].
    pub importance: Option<&'a Path>,
    /// Matrices with types of their own; of several patterns that match, the last one counts.
    pub keep: &'a [Keep],
    /// Whether an output that exists is replaced.
    pub force: bool,
}

/// What was written.
#[derive(Debug)]
pub struct Summary {
    /// Each tensor.
    pub tensors: Vec<Row>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Elements that are decoded at a time, at least a row.
const SLAB: usize = 1 << 22;

/// Writes the model `input` with its matrices in the types that `options` say; all else is as it was. `progress` counts
/// bytes of the input.
///
/// # Errors
/// If a file is not what it should be, a value is not finite ([`ConvertError::Row`]) or the output is there
/// ([`ConvertError::OutputExists`]). Then nothing is written.
pub fn quantize(input: &Path, output: &Path, options: &Options<'_>, progress: &ProgressBar) -> Result<Summary> {
    let inputs: Vec<&Path> = [input].into_iter().chain(options.importance).collect();
    check_output(output, &inputs)?;
    crate::check_absent(output, options.force)?;
    let model = Opened::open_plain(input)?;
    let importance = options.importance.map(Importance::read).transpose()?;
    let jobs = plan(&model, options, importance.as_ref())?;
    let summary = Summary { tensors: jobs.iter().map(Job::row).collect(), notes: notes(&jobs, importance.is_some()) };
    progress.set_length(model.gguf.tensors().iter().map(|tensor| tensor.size as u64).sum());

    writer(&model, &jobs, options.recipe, progress)?.write_to(output).map_err(ConvertError::from_output)?;
    progress.finish_and_clear();
    Ok(summary)
}

/// What writes the model with each tensor as its job says.
fn writer<'a>(
    model: &'a Opened,
    jobs: &'a [Job<'_>],
    recipe: &Recipe,
    progress: &'a ProgressBar,
) -> Result<Writer<'a>> {
    let mut writer = Writer::new();
    describe(model, recipe, &mut writer).map_err(ConvertError::Output)?;
    for job in jobs {
        let produce = |out: &mut dyn Write| job.write(model, progress, out);
        let TensorInfo { name, dims, .. } = job.tensor;
        writer.streamed(name, dims, job.dtype, Layout::Rows, produce).map_err(ConvertError::Output)?;
    }
    Ok(writer)
}

/// Every key as it was, but for the two that say how the tensors are stored.
fn describe(model: &Opened, recipe: &Recipe, writer: &mut Writer<'_>) -> std::result::Result<(), GgufError> {
    /// The version of the block formats, `GGML_QNT_VERSION` in ggml.h.
    const VERSION: u32 = 2;
    let new = [("general.file_type", recipe.file_type), ("general.quantization_version", VERSION)];
    for (key, value) in model.keys() {
        let replaced = new.iter().find(|(name, _)| *name == key).map(|&(_, value)| Value::U32(value));
        writer.set(key, replaced.unwrap_or_else(|| value.clone()))?;
    }
    for (key, value) in new.into_iter().filter(|(key, _)| model.gguf.metadata().get(key).is_none()) {
        writer.set(key, value)?;
    }
    checksum::add(writer)
}

/// What happens to one tensor.
struct Job<'a> {
    tensor: &'a TensorInfo,
    /// The type that it gets.
    dtype: TensorType,
    /// The type that it was to get, but for the length of its rows.
    wanted: TensorType,
    /// The importance of each column.
    importance: Option<&'a [f32]>,
}

fn plan<'a>(model: &'a Opened, options: &Options<'_>, importance: Option<&'a Importance>) -> Result<Vec<Job<'a>>> {
    let names = || model.gguf.tensors().iter().map(|tensor| tensor.name.as_str());
    if let Some(keep) = options.keep.iter().find(|keep| !names().any(|name| keep.matches(name))) {
        return Err(ConvertError::NoSuchTensor { pattern: keep.pattern.clone() });
    }
    let shape = recipe::Model {
        layers: recipe::layers(names()),
        tied: model.gguf.tensor("output.weight").is_none(),
        importance: importance.is_some(),
    };
    let job = |tensor: &'a TensorInfo| {
        let kept = options.keep.iter().rfind(|keep| keep.matches(&tensor.name)).map(|keep| keep.dtype);
        let matrix = recipe::is_matrix(&tensor.name, &tensor.dims);
        let chosen = || if matrix { options.recipe.choose(&tensor.name, shape) } else { tensor.dtype };
        let (wanted, cols) = (kept.unwrap_or_else(chosen), tensor.cols());
        let importance = importance.map_or(Ok(None), |all| all.of(&tensor.name, cols))?;
        Ok(Job { tensor, dtype: recipe::that_fits(wanted, cols), wanted, importance })
    };
    model.gguf.tensors().iter().map(job).collect()
}

/// What the user should know: matrices that could not get their type, that were quantized before, that lack importance.
fn notes(jobs: &[Job<'_>], importance: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |what: &dyn Fn(&Job<'_>) -> Option<String>| {
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
        let (dtype, wanted, cols) = (job.dtype, job.wanted, job.tensor.cols());
        (dtype != wanted).then(|| format!("are {dtype}: rows of {cols} are not whole blocks of {wanted}"))
    });
    note(&|job| {
        let lossy = job.tensor.dtype.is_quantized() && job.dtype.is_quantized() && job.changes();
        lossy.then(|| format!("were {} already: their errors add up", job.tensor.dtype))
    });
    note(&|job| {
        let lacks = importance && job.changes() && job.dtype.block_len() > 1 && job.importance.is_none();
        lacks.then(|| "are quantized without importance: the file says nothing of them".to_owned())
    });
    notes
}

impl Job<'_> {
    fn changes(&self) -> bool {
        self.dtype != self.tensor.dtype
    }

    fn row(&self) -> Row {
        let bytes = self.dtype.row_bytes(self.tensor.elements()).unwrap_or(0);
        Row {
            name: self.tensor.name.clone(),
            shape: self.tensor.shape(),
            dtype: self.dtype,
            layout: Layout::Rows,
            bytes,
        }
    }

    /// Writes the tensor slab by slab.
    fn write(&self, model: &Opened, progress: &ProgressBar, out: &mut dyn Write) -> io::Result<()> {
        let (rows, cols) = (self.tensor.rows(), self.tensor.cols());
        let row_bytes = self.tensor.size / rows;
        let slab = (SLAB / cols).max(1);
        for first in (0..rows).step_by(slab) {
            let rows = first..rows.min(first + slab);
            let encoded: Vec<Result<Vec<u8>>> =
                rows.clone().into_par_iter().map(|row| self.encode(&model.bytes, row, row_bytes)).collect();
            for row in encoded {
                out.write_all(&row.map_err(io::Error::other)?)?;
            }
            let done = rows.start * row_bytes..rows.end * row_bytes;
            progress.inc(done.len() as u64);
            self.discard(model, done);
        }
        Ok(())
    }

    /// Has the pages of these bytes of the tensor leave memory.
    fn discard(&self, model: &Opened, bytes: Range<usize>) {
        model.bytes.discard(self.tensor.offset + bytes.start..self.tensor.offset + bytes.end);
    }

    fn encode(&self, file: &[u8], row: usize, row_bytes: usize) -> Result<Vec<u8>> {
        let error = |source| ConvertError::Row { tensor: self.tensor.name.clone(), row, source };
        let bytes = &self.tensor.bytes(file)[row * row_bytes..][..row_bytes];
        let mut values = vec![0.0; self.tensor.cols()];
        quant::decode(self.tensor.dtype, bytes, &mut values).map_err(error)?;
        if self.changes() {
            return encode(self.dtype, &values, self.importance).map_err(error);
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(error(quant::QuantError::NotFinite { index, value: values[index] })),
            None => Ok(bytes.to_vec()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::totals(f, &self.tensors)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
