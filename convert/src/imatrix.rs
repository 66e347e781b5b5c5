//! The importance matrix: the mean square of each input of each matrix while the model reads a
//! text.
//!
//! The file is GGUF in the form of llama.cpp's `imatrix` tool, which reads it too: `general.type`
//! is `imatrix`, and for each matrix `NAME` there are `NAME.in_sum2`, the sum of squares of the
//! input of each column, and `NAME.counts`, the number of inputs. The stacked matrices of experts
//! have sums and a count for each expert, of the tokens that passed through it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use ollm_runtime::gguf::{GgufError, TensorInfo, TensorType, Writer};
use ollm_runtime::memory::OutOfMemory;
use ollm_runtime::model::{Model, Part, Role, Scratch, Stage, State, TensorName, TensorSpec, forward, schema};
use ollm_runtime::ops::Exec;
use ollm_runtime::quant;
use ollm_runtime::storage::Storage;

use crate::kind::IMATRIX_TYPE;
use crate::text::{Chunks, exec};
use crate::{ConvertError, FileKind, Opened, Result, check_absent, check_output, expect_kind, open_model};

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

/// Tokens of a chunk; each chunk has a context of its own.
const CHUNK: usize = 512;

/// The importance of the columns of each matrix, by its name: the mean squared input of each; of
/// stacked matrices one after the other.
#[derive(Debug)]
pub struct ImportanceMatrix {
    path: PathBuf,
    means: BTreeMap<String, Vec<f32>>,
}

impl ImportanceMatrix {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is none of these files, or a number in it is not one that importance can be.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = Storage::open(path)?;
        if let Some(tensor) = first_of_old(&bytes) {
            let means = old_means(&bytes).ok_or(ConvertError::BadImatrix { path: path.to_owned(), tensor })?;
            return Ok(Self { path: path.to_owned(), means });
        }
        let file = Opened::of(path, bytes)?;
        expect_kind(path, file.gguf.metadata(), &[FileKind::Imatrix])?;
        let matrix = |tensor: &TensorInfo| {
            let name = tensor.name.strip_suffix(SUMS)?.to_owned();
            let means = means(&file, tensor, &name);
            Some(
                means
                    .map(|means| (name.clone(), means))
                    .ok_or_else(|| ConvertError::BadImatrix { path: path.to_owned(), tensor: name }),
            )
        };
        let means = file.gguf.tensors().iter().filter_map(matrix).collect::<Result<_>>()?;
        Ok(Self { path: path.to_owned(), means })
    }

    /// The importance of the `cols` columns of the matrix `name`, of each of so many `matrices`;
    /// `None` if the file says nothing of it.
    ///
    /// # Errors
    /// [`ConvertError::OtherImatrix`] if it has another number of columns or matrices.
    pub fn of(&self, name: &str, cols: usize, matrices: usize) -> Result<Option<&[f32]>> {
        match self.means.get(name) {
            Some(means) if means.len() != cols * matrices => {
                let cols = cols * matrices;
                let (path, tensor) = (self.path.clone(), name.to_owned());
                Err(ConvertError::OtherImatrix { path, tensor, cols, found: means.len() })
            }
            found => Ok(found.map(Vec::as_slice)),
        }
    }
}

/// The first matrix of a file of the form of [`old_means`]; `None` if it is none.
fn first_of_old(bytes: &[u8]) -> Option<String> {
    let length = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    let name = bytes.get(8..)?.get(..length as usize)?;
    let is_name = name.ends_with(b".weight") && name.iter().all(u8::is_ascii_graphic);
    is_name.then(|| String::from_utf8_lossy(name).into_owned())
}

/// The importance in a file of the form that llama.cpp's `imatrix` wrote before GGUF,
/// `imatrix.dat`; `None` if it is damaged. All numbers have 32 bits:
///
/// ```text
/// entries, then of each: length of the name, the name, calls, values, the values (sums over calls)
/// ```
fn old_means(bytes: &[u8]) -> Option<BTreeMap<String, Vec<f32>>> {
    let mut rest = bytes;
    let take = |rest: &mut &'_ [u8], count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        *rest = left;
        Some(taken.to_vec())
    };
    let size = |rest: &mut &'_ [u8]| {
        let number = i32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
        usize::try_from(number).ok()
    };
    let entries = size(&mut rest)?;
    let mut means = BTreeMap::new();
    for _ in 0..entries {
        let length = size(&mut rest)?;
        let name = String::from_utf8(take(&mut rest, length)?).ok()?;
        let calls = size(&mut rest)?.max(1) as f32;
        let count = size(&mut rest)?;
        let bytes = take(&mut rest, count.checked_mul(4)?)?;
        let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes) / calls).collect();
        if values.is_empty() || values.iter().any(|mean| !mean.is_finite() || *mean < 0.0) {
            return None;
        }
        means.insert(name, values);
    }
    (entries > 0).then_some(means)
}

/// The sums over the counts of their matrices, if all of them are numbers that such a quotient can
/// be. The columns of a matrix that had no input are all as important.
fn means(file: &Opened, sums: &TensorInfo, name: &str) -> Option<Vec<f32>> {
    let counts = floats(file, file.gguf.tensor(&format!("{name}{COUNTS}"))?)?;
    let (sums, several) = (floats(file, sums)?, counts.len() > 1);
    if !sums.len().is_multiple_of(counts.len()) {
        return None;
    }
    let mean = |(sum, &count): (&f32, &f32)| if several && count == 0.0 { 1.0 } else { sum / count };
    let cols = sums.len() / counts.len();
    let each = sums.chunks_exact(cols).zip(&counts);
    let means: Vec<f32> = each.flat_map(|(sums, count)| sums.iter().map(move |sum| mean((sum, count)))).collect();
    means.iter().all(|mean| mean.is_finite() && *mean >= 0.0).then_some(means)
}

fn floats(file: &Opened, tensor: &TensorInfo) -> Option<Vec<f32>> {
    let mut out = vec![0.0; tensor.elements()];
    quant::decode(tensor.dtype, tensor.bytes(&file.bytes), &mut out).ok().map(|()| out)
}

/// The extent of the written importance matrix.
#[derive(Debug)]
pub struct ImatrixSummary {
    /// Matrices that are in it.
    pub matrices: usize,
    /// Matrices of the model that are not in it: the forward pass reports no input of theirs.
    pub without_input: Vec<String>,
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
    let (path, model) = (model, open_model(model)?);
    let Chunks { each: chunks, tokens, length } = Chunks::read(&model, path, text, CHUNK)?;
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
    let (matrices, without_input) = reader.matrices();
    Collector::put(&matrices, &mut writer).map_err(ConvertError::Output)?;
    crate::write(writer, output)?;
    let without_input = without_input.iter().map(TensorName::to_string).collect();
    Ok(ImatrixSummary { matrices: matrices.len(), without_input, tokens })
}

fn describe(writer: &mut Writer<'_>, source: String, chunks: u32, chunk: u32) -> std::result::Result<(), GgufError> {
    writer.set(IMATRIX_TYPE.0, IMATRIX_TYPE.1)?;
    writer.set("imatrix.datasets", vec![source])?;
    writer.set("imatrix.chunk_count", chunks)?;
    writer.set("imatrix.chunk_size", chunk)?;
    Ok(())
}

/// An input of matrices: the layer, the role of the first of them ([`Role::input`]), and the expert
/// whose they are; 0 for those of all tokens.
type Input = (Option<usize>, Role, usize);

/// The sums of squares of an input, of each column, and over how many tokens.
#[derive(Clone, Default)]
struct InputSums {
    squares: Vec<f64>,
    count: usize,
}

/// A matrix, and the sums of its input, or of each of several inputs of one expert.
struct MatrixSums<'a> {
    name: TensorName,
    cols: usize,
    /// None of an expert that no token passed through.
    sums: Vec<Option<&'a InputSums>>,
}

/// A model that reads, and the sums of squares of the inputs of its matrices.
struct Collector<'a> {
    model: &'a Model,
    exec: Exec,
    sums: HashMap<Input, InputSums>,
}

impl<'a> Collector<'a> {
    fn new(model: &'a Model) -> Result<Self> {
        Ok(Self { model, exec: exec()?, sums: HashMap::new() })
    }

    /// Reads `tokens` as a text of their own.
    fn read(&mut self, tokens: &[u32]) -> Result<()> {
        let config = self.model.config();
        let (mut state, mut scratch) = (State::new(config, tokens.len()), Scratch::default());
        let batch = config.pass_tokens(tokens.len()).max(1);
        for (i, tokens) in tokens.chunks(batch).enumerate() {
            let first = i * batch;
            state.reserve(first..first + tokens.len())?;
            let mut add = |input: Input, tokens: usize, x: &[f32]| self.sums.entry(input).or_default().add(tokens, x);
            let mut watch = |stage: Stage<'_>| {
                match stage {
                    Stage::Layer => {}
                    Stage::Input { layer, role, x } => add((Some(layer), role, 0), tokens.len(), x),
                    Stage::ExpertInput { layer, role, expert, tokens, x } => {
                        add((Some(layer), role, expert), tokens, x);
                    }
                }
                Ok::<_, OutOfMemory>(())
            };
            let part = Part { state: &mut state, tokens, first, second: usize::MAX, drafted: 0, adapters: &[] };
            forward(&mut self.exec, self.model, &mut [part], &mut scratch, &mut watch)?;
            if config.causal {
                add((None, Role::Head, 0), tokens.len(), scratch.hidden());
            }
        }
        Ok(())
    }

    /// Adds the sums of each matrix to a file.
    fn put(matrices: &[MatrixSums<'_>], writer: &mut Writer<'_>) -> std::result::Result<(), GgufError> {
        let bytes = |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        for MatrixSums { name, cols, sums } in matrices {
            let square = |sums: Option<&InputSums>, col: usize| sums.map_or(0.0, |sums| sums.squares[col] as f32);
            let mut squares = sums.iter().flat_map(|&sums| (0..*cols).map(move |col| square(sums, col)));
            let mut counts = sums.iter().map(|sums| sums.map_or(0.0, |sums| sums.count as f32));
            let matrices = sums.len() as u64;
            let (squares, counts) = (bytes(&mut squares), bytes(&mut counts));
            writer.tensor(&format!("{name}{SUMS}"), &[*cols as u64, matrices], TensorType::F32, squares)?;
            writer.tensor(&format!("{name}{COUNTS}"), &[1, matrices], TensorType::F32, counts)?;
        }
        Ok(())
    }

    /// Each matrix of the file with the sums of its input, and the matrices whose input was not
    /// met; the embedding only where it is the head too.
    fn matrices(&self) -> (Vec<MatrixSums<'_>>, Vec<TensorName>) {
        let is_here = |name: TensorName| self.model.gguf().tensor(&name.to_string()).is_some();
        let tied = !is_here(TensorName::new(Role::Head));
        let specs = schema::tensors(self.model.config()).into_iter().filter(TensorSpec::is_matrix);
        let mut specs: Vec<TensorSpec> = specs.filter(|spec| is_here(spec.name)).collect();
        specs.retain(|spec| match spec.name.role {
            Role::Embedding => tied,
            // A table is multiplied with nothing, and the projections are never quantized.
            Role::PerLayerEmbedding | Role::PerLayerProjection | Role::AltUpProjections | Role::AltUpUnembeddings => {
                false
            }
            _ => true,
        });
        // The head comes last.
        specs.sort_by_key(|spec| spec.name.layer.is_none());
        let (mut met, mut missed) = (Vec::new(), Vec::new());
        for TensorSpec { name, shape, .. } in specs {
            let (matrices, cols) = (shape[..shape.len() - 2].iter().product(), shape[shape.len() - 1]);
            let sums = |expert| self.sums.get(&(name.layer, name.role.input(), expert));
            let sums: Vec<Option<&InputSums>> = (0..matrices).map(sums).collect();
            if sums.iter().any(Option::is_some) {
                met.push(MatrixSums { name, cols, sums });
            } else {
                missed.push(name);
            }
        }
        (met, missed)
    }
}

impl InputSums {
    /// Adds the squares of each column of `x` (`[tokens][cols]`).
    fn add(&mut self, tokens: usize, x: &[f32]) {
        let cols = x.len() / tokens;
        self.squares.resize(cols, 0.0);
        self.count += tokens;
        for row in x.chunks_exact(cols) {
            for (sum, &x) in self.squares.iter_mut().zip(row) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
    }
}

impl fmt::Display for ImatrixSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} matrices, {} tokens", self.matrices, self.tokens)?;
        match self.without_input.as_slice() {
            [] => Ok(()),
            names => writeln!(f, "note: no input was seen, and no importance is known, of {}", names.join(", ")),
        }
    }
}
