//! How much each input of each matrix matters: its mean square while the model reads a text.
//!
//! The file is GGUF in the form of llama.cpp's `imatrix` tool, which reads it too: `general.type` is `imatrix`, and for each
//! matrix `NAME` there are `NAME.in_sum2`, the sum of the squares of each column's input, and `NAME.counts`, of how many
//! inputs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use indicatif::ProgressBar;
use ollm_runtime::cpu::{Isa, Pool};
use ollm_runtime::gguf::{GgufError, TensorInfo, TensorType, Writer};
use ollm_runtime::model::{BATCH, Model, Part, Scratch, Stage, State, forward};
use ollm_runtime::ops::Exec;
use ollm_runtime::quant;
use ollm_runtime::tokenizer::Tokenizer;

use crate::{ConvertError, Opened, Result, check_absent, check_output};

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";
const TYPE: (&str, &str) = ("general.type", "imatrix");

/// Tokens that the model reads at a time, each time afresh.
const CHUNK: usize = 512;

/// The mean squared input of each column, by the name of the matrix.
#[derive(Debug, Default)]
pub struct Importance(BTreeMap<String, Vec<f32>>);

impl Importance {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is none of these files, or a number in it is not one that importance can be.
    pub fn read(path: &Path) -> Result<Self> {
        let file = Opened::open(path)?;
        if file.gguf.metadata().get(TYPE.0).and_then(|kind| kind.as_str()) != Some(TYPE.1) {
            return Err(ConvertError::NotImportance { path: path.to_owned() });
        }
        let matrix = |tensor: &TensorInfo| {
            let name = tensor.name.strip_suffix(SUMS)?.to_owned();
            let means = means(&file, tensor, &name);
            Some(means.map(|means| (name.clone(), means)).ok_or(ConvertError::BadImportance { tensor: name }))
        };
        file.gguf.tensors().iter().filter_map(matrix).collect::<Result<_>>().map(Self)
    }

    /// The importance of the `cols` columns of the matrix `name`; `None` if the file says nothing of it.
    ///
    /// # Errors
    /// [`ConvertError::OtherImportance`] if it has another number of columns.
    pub fn of(&self, name: &str, cols: usize) -> Result<Option<&[f32]>> {
        match self.0.get(name) {
            Some(means) if means.len() != cols => {
                Err(ConvertError::OtherImportance { tensor: name.to_owned(), cols, found: means.len() })
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

/// What was gathered.
#[derive(Debug)]
pub struct Summary {
    /// Matrices.
    pub matrices: usize,
    /// Tokens of the text.
    pub tokens: usize,
}

/// Has the model read a text, in chunks of 512 tokens, and writes the importance of its matrices' columns.
///
/// # Errors
/// If a file is not what it should be, the text is empty, or the output is there and may not be replaced.
pub fn gather(model: &Path, text: &Path, output: &Path, force: bool, progress: &ProgressBar) -> Result<Summary> {
    check_output(output, &[model, text])?;
    check_absent(output, force)?;
    let io = |source| ollm_runtime::Error::Io { path: text.to_owned(), source };
    let read = std::fs::read_to_string(text).map_err(io)?;
    let model = Model::open(model)?;
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).map_err(ollm_runtime::Error::from)?;
    let tokens = tokenizer.encode(&read, false).map_err(ollm_runtime::Error::from)?;
    if tokens.is_empty() {
        return Err(ConvertError::NoText { path: text.to_owned() });
    }
    let mut reader = Reader::new(&model)?;
    let chunk = CHUNK.min(model.config().context_length.saturating_sub(1)).max(1);
    progress.set_length(tokens.len() as u64);
    for tokens in tokens.chunks(chunk) {
        let all: Vec<u32> = tokenizer.add_bos().into_iter().chain(tokens.iter().copied()).collect();
        reader.read(&all)?;
        progress.inc(tokens.len() as u64);
    }
    progress.finish_and_clear();
    let source = text.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut writer = Writer::new();
    describe(&mut writer, source, tokens.len().div_ceil(chunk) as u32, chunk as u32).map_err(ConvertError::Output)?;
    let matrices = reader.put(&mut writer).map_err(ConvertError::Output)?;
    writer.write_to(output).map_err(ConvertError::Output)?;
    Ok(Summary { matrices, tokens: tokens.len() })
}

fn describe(writer: &mut Writer<'_>, source: String, chunks: u32, chunk: u32) -> std::result::Result<(), GgufError> {
    writer.set(TYPE.0, TYPE.1)?;
    writer.set("imatrix.datasets", vec![source])?;
    writer.set("imatrix.chunk_count", chunks)?;
    writer.set("imatrix.chunk_size", chunk)?;
    Ok(())
}

/// The matrices of a layer by their input, in the order of [`Stage::Input`].
const MATRICES: [&[&str]; 4] =
    [&["attn_q", "attn_k", "attn_v"], &["attn_output"], &["ffn_gate", "ffn_up"], &["ffn_down"]];

/// A model that reads, and the sums of the squares of what its matrices meet.
struct Reader<'a> {
    model: &'a Model,
    exec: Exec,
    /// Of each column of each input, layer by layer, then of the head.
    squares: Vec<Vec<f64>>,
    /// Tokens that were read.
    count: usize,
}

impl<'a> Reader<'a> {
    fn new(model: &'a Model) -> Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Pool::new(threads).map_err(ollm_runtime::Error::Threads)?;
        let exec = Exec { isa: Isa::select().map_err(ollm_runtime::Error::from)?, pool };
        let config = model.config();
        let layer = [config.hidden, config.heads * config.head_dim, config.hidden, config.ffn];
        let widths = layer.into_iter().cycle().take(MATRICES.len() * config.layers).chain([config.hidden]);
        Ok(Self { model, exec, squares: widths.map(|width| vec![0.0; width]).collect(), count: 0 })
    }

    /// Reads `tokens` as a text of their own.
    fn read(&mut self, tokens: &[u32]) -> Result<()> {
        let config = self.model.config();
        let (mut state, mut scratch) = (State::new(config, tokens.len()), Scratch::default());
        for (i, batch) in tokens.chunks(BATCH).enumerate() {
            let first = i * BATCH;
            let positions = first..first + batch.len();
            state.reserve(positions).map_err(ollm_runtime::Error::from)?;
            let mut sums = self.squares.iter_mut();
            let mut add = |x: &[f32]| sums.next().into_iter().for_each(|sums| add_squares(sums, x));
            let mut watch = |stage: Stage<'_>| {
                if let Stage::Input(x) = stage {
                    add(x);
                }
                Ok(())
            };
            let part = Part { state: &mut state, tokens: batch, first };
            forward(&mut self.exec, self.model, &mut [part], &mut scratch, &mut watch)?;
            add(scratch.hidden());
        }
        self.count += tokens.len();
        Ok(())
    }

    /// Adds the sums of each matrix to a file, and tells of how many there are.
    fn put(&self, writer: &mut Writer<'_>) -> std::result::Result<usize, GgufError> {
        let head = ["output.weight", "token_embd.weight"];
        let head = head.into_iter().find(|name| self.model.gguf().tensor(name).is_some()).map(str::to_owned);
        let layers = (0..self.model.config().layers).flat_map(|layer| {
            MATRICES.map(|parts| parts.iter().map(|part| format!("blk.{layer}.{part}.weight")).collect::<Vec<_>>())
        });
        let mut matrices = 0;
        for (names, sums) in layers.chain([head.into_iter().collect()]).zip(&self.squares) {
            let bytes: Vec<u8> = sums.iter().flat_map(|&sum| (sum as f32).to_le_bytes()).collect();
            let count = (self.count as f32).to_le_bytes().to_vec();
            for name in &names {
                let dims = [sums.len() as u64, 1];
                writer.tensor(&format!("{name}{SUMS}"), &dims, TensorType::F32, bytes.clone())?;
                writer.tensor(&format!("{name}{COUNTS}"), &[1, 1], TensorType::F32, count.clone())?;
            }
            matrices += names.len();
        }
        Ok(matrices)
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

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} matrices, {} tokens", self.matrices, self.tokens)
    }
}
