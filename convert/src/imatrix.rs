//! The importance matrix: the mean square of each input of each matrix while the model reads a
//! text.
//!
//! The file is GGUF in the form of llama.cpp's `imatrix` tool, which reads it too: `general.type`
//! is `imatrix`, and for each matrix `NAME` there are `NAME.in_sum2`, the sum of squares of the
//! input of each column, and `NAME.counts`, the number of inputs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use indicatif::ProgressBar;
use ollm_runtime::gguf::{GgufError, TensorInfo, TensorType, Writer};
use ollm_runtime::memory::OutOfMemory;
use ollm_runtime::model::{BATCH, Model, Part, Role, Scratch, Stage, State, TensorName, forward, schema};
use ollm_runtime::ops::Exec;
use ollm_runtime::quant;

use crate::text::{Chunks, exec};
use crate::{ConvertError, Opened, Result, check_absent, check_output};

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";
const TYPE: (&str, &str) = ("general.type", "imatrix");

/// Tokens of a chunk; each chunk has a context of its own.
const CHUNK: usize = 512;

/// The importance of the columns of each matrix, by its name: the mean squared input of each.
#[derive(Debug, Default)]
pub struct ImportanceMatrix(BTreeMap<String, Vec<f32>>);

impl ImportanceMatrix {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is none of these files, or a number in it is not one that importance can be.
    pub fn read(path: &Path) -> Result<Self> {
        let file = Opened::open(path)?;
        if file.gguf.metadata().get(TYPE.0).and_then(|kind| kind.as_str()) != Some(TYPE.1) {
            return Err(ConvertError::NotImatrix { path: path.to_owned() });
        }
        let matrix = |tensor: &TensorInfo| {
            let name = tensor.name.strip_suffix(SUMS)?.to_owned();
            let means = means(&file, tensor, &name);
            Some(means.map(|means| (name.clone(), means)).ok_or(ConvertError::BadImatrix { tensor: name }))
        };
        file.gguf.tensors().iter().filter_map(matrix).collect::<Result<_>>().map(Self)
    }

    /// The importance of the `cols` columns of the matrix `name`; `None` if the file says nothing
    /// of it.
    ///
    /// # Errors
    /// [`ConvertError::OtherImatrix`] if it has another number of columns.
    pub fn of(&self, name: &str, cols: usize) -> Result<Option<&[f32]>> {
        match self.0.get(name) {
            Some(means) if means.len() != cols => {
                Err(ConvertError::OtherImatrix { tensor: name.to_owned(), cols, found: means.len() })
            }
            found => Ok(found.map(Vec::as_slice)),
        }
    }
}

/// The sums over their count, if all of them are numbers that such a quotient can be.
fn means(file: &Opened, sums: &TensorInfo, name: &str) -> Option<Vec<f32>> {
    let count = floats(file, file.gguf.tensor(&format!("{name}{COUNTS}"))?)?;
    let [count] = count[..] else { return None };
    let means: Vec<f32> = floats(file, sums)?.iter().map(|sum| sum / count).collect();
    means.iter().all(|mean| mean.is_finite() && *mean >= 0.0).then_some(means)
}

fn floats(file: &Opened, tensor: &TensorInfo) -> Option<Vec<f32>> {
    let mut out = vec![0.0; tensor.elements()];
    quant::decode(tensor.dtype, tensor.bytes(&file.bytes), &mut out).ok().map(|()| out)
}

/// The extent of the written importance matrix.
#[derive(Debug)]
pub struct ImatrixSummary {
    /// Matrices.
    pub matrices: usize,
    /// Tokens of the text.
    pub tokens: usize,
}

/// Computes and writes the importance matrix: the model reads a text in chunks of 512 tokens.
///
/// # Errors
/// If a file is not what it should be, the text is empty, or the output is there and may not be
/// replaced.
pub fn gather(model: &Path, text: &Path, output: &Path, force: bool, progress: &ProgressBar) -> Result<ImatrixSummary> {
    check_output(output, &[model, text])?;
    check_absent(output, force)?;
    let model = Model::open(model)?;
    let Chunks { each: chunks, tokens, length } = Chunks::read(&model, text, CHUNK)?;
    let mut reader = Collector::new(&model)?;
    progress.set_length(tokens as u64);
    for chunk in &chunks {
        reader.read(chunk)?;
        progress.inc(chunk.len() as u64);
    }
    progress.finish_and_clear();
    let source = text.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut writer = Writer::new();
    describe(&mut writer, source, chunks.len() as u32, length as u32).map_err(ConvertError::Output)?;
    let matrices = reader.put(&mut writer).map_err(ConvertError::Output)?;
    crate::write(writer, output)?;
    Ok(ImatrixSummary { matrices, tokens })
}

fn describe(writer: &mut Writer<'_>, source: String, chunks: u32, chunk: u32) -> std::result::Result<(), GgufError> {
    writer.set(TYPE.0, TYPE.1)?;
    writer.set("imatrix.datasets", vec![source])?;
    writer.set("imatrix.chunk_count", chunks)?;
    writer.set("imatrix.chunk_size", chunk)?;
    Ok(())
}

/// An input of matrices: the layer, and the role of the first of them ([`Role::input`]).
type Input = (Option<usize>, Role);

/// A model that reads, and the sums of squares of the inputs of its matrices.
struct Collector<'a> {
    model: &'a Model,
    exec: Exec,
    /// Of each column of each input.
    squares: HashMap<Input, Vec<f64>>,
    /// Tokens that were read.
    count: usize,
}

impl<'a> Collector<'a> {
    fn new(model: &'a Model) -> Result<Self> {
        Ok(Self { model, exec: exec()?, squares: HashMap::new(), count: 0 })
    }

    /// Reads `tokens` as a text of their own.
    fn read(&mut self, tokens: &[u32]) -> Result<()> {
        let config = self.model.config();
        let (mut state, mut scratch) = (State::new(config, tokens.len()), Scratch::default());
        for (i, batch) in tokens.chunks(BATCH).enumerate() {
            let first = i * BATCH;
            state.reserve(first..first + batch.len())?;
            let mut add = |input: Input, x: &[f32]| {
                let cols = x.len() / batch.len();
                add_squares(self.squares.entry(input).or_insert_with(|| vec![0.0; cols]), x);
            };
            let mut watch = |stage: Stage<'_>| {
                if let Stage::Input { layer, role, x } = stage {
                    add((Some(layer), role), x);
                }
                Ok::<_, OutOfMemory>(())
            };
            let part = Part { state: &mut state, tokens: batch, first };
            forward(&mut self.exec, self.model, &mut [part], &mut scratch, &mut watch)?;
            add((None, Role::Head), scratch.hidden());
        }
        self.count += tokens.len();
        Ok(())
    }

    /// Adds the sums of each matrix to a file, and tells of how many there are.
    fn put(&self, writer: &mut Writer<'_>) -> std::result::Result<usize, GgufError> {
        let count = (self.count as f32).to_le_bytes().to_vec();
        let mut matrices = 0;
        for (name, sums) in self.matrices() {
            let bytes: Vec<u8> = sums.iter().flat_map(|&sum| (sum as f32).to_le_bytes()).collect();
            let dims = [sums.len() as u64, 1];
            writer.tensor(&format!("{name}{SUMS}"), &dims, TensorType::F32, bytes)?;
            writer.tensor(&format!("{name}{COUNTS}"), &[1, 1], TensorType::F32, count.clone())?;
            matrices += 1;
        }
        Ok(matrices)
    }

    /// Each matrix of the file whose input was met, and the sums of that; the embedding only where
    /// it is the head too.
    fn matrices(&self) -> impl Iterator<Item = (TensorName, &Vec<f64>)> {
        let is_here = |name: TensorName| self.model.gguf().tensor(&name.to_string()).is_some();
        let tied = !is_here(TensorName::new(Role::Head));
        let specs = schema::tensors(self.model.config()).into_iter().filter(|spec| spec.shape.len() > 1);
        let mut names: Vec<TensorName> = specs.map(|spec| spec.name).filter(|&name| is_here(name)).collect();
        names.retain(|name| tied || name.role != Role::Embedding);
        // The head comes last.
        names.sort_by_key(|name| name.layer.is_none());
        names.into_iter().filter_map(|name| Some((name, self.squares.get(&(name.layer, name.role.input()))?)))
    }
}

/// Adds the squares of each column of `x` (`[n][sums]`).
fn add_squares(sums: &mut [f64], x: &[f32]) {
    for row in x.chunks_exact(sums.len()) {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
}

impl fmt::Display for ImatrixSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} matrices, {} tokens", self.matrices, self.tokens)
    }
}
