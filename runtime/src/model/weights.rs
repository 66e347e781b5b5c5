//! Weights: bound by name, checked for type and shape, then views into the file's bytes.

use std::collections::HashSet;
use std::ops::Range;

use crate::gguf::{Gguf, Layout, TensorInfo, TensorType};
use crate::ops::{Matrix, Panels};
use crate::storage::Storage;

use super::{Config, ModelError, PLUGIN_PREFIX};

/// A matrix in a file, checked: `rows` outputs, `cols` inputs. A quantized one that products read is packed, in the file or
/// by [`Tensor::pack`].
#[derive(Debug)]
pub struct Tensor {
    dtype: TensorType,
    layout: Layout,
    rows: usize,
    cols: usize,
    offset: usize,
    size: usize,
    panels: Option<Panels>,
}

impl Tensor {
    /// Finds the matrix `name` of `gguf` and checks that it is `rows` by `cols` and can be read in `file`.
    ///
    /// # Errors
    /// [`ModelError`] if it is missing, has another shape, or is not aligned.
    pub fn bind(gguf: &Gguf, file: &[u8], name: &str, rows: usize, cols: usize) -> Result<Self, ModelError> {
        let info = checked(gguf, name, &[cols as u64, rows as u64])?;
        view(info, file)?;
        let &TensorInfo { dtype, layout, offset, size, .. } = info;
        Ok(Self { dtype, layout, rows, cols, offset, size, panels: None })
    }

    /// Packs the weights for the kernels, if they are quantized, and lets the file's memory go part after part; `file` holds the
    /// bytes the tensor was bound to.
    ///
    /// # Errors
    /// [`ModelError::NoMemoryForWeights`] if there is none.
    pub fn pack(&mut self, file: &Storage) -> Result<(), ModelError> {
        let matrix = self.matrix(file);
        if !matrix.is_ready() {
            let read = |bytes: Range<usize>| file.discard(self.offset + bytes.start..self.offset + bytes.end);
            let panels = Panels::packed(&matrix, read);
            self.panels = Some(panels.ok_or(ModelError::NoMemoryForWeights { bytes: self.size })?);
        }
        Ok(())
    }

    /// Bytes that [`Tensor::pack`] allocates.
    pub fn packed_size(&self) -> usize {
        match self.layout {
            Layout::Rows => Panels::size(self.dtype, self.rows, self.cols).unwrap_or(0),
            Layout::Panels => 0,
        }
    }

    /// Where the weights are in the file.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.size
    }

    /// The weights: packed, or in `file`, the bytes the tensor was bound to.
    ///
    /// # Panics
    /// If `file` is another one.
    pub fn matrix<'a>(&'a self, file: &'a [u8]) -> Matrix<'a> {
        match &self.panels {
            Some(panels) => panels.matrix(),
            None => Matrix::stored(self.layout, self.dtype, self.rows, self.cols, &file[self.range()])
                .expect("bound to these bytes"),
        }
    }

    /// Bytes of the weights.
    pub fn size(&self) -> usize {
        self.size
    }
}

/// The token embedding's name.
const EMBEDDING: &str = "token_embd.weight";

/// Finds the vector `name` of `gguf`, of any float type and `size` elements, and decodes it.
///
/// # Errors
/// [`ModelError`] if it is missing or has another size.
pub fn vector(gguf: &Gguf, file: &[u8], name: &str, size: usize) -> Result<Vec<f32>, ModelError> {
    let info = checked(gguf, name, &[size as u64])?;
    let mut out = vec![0.0; size];
    view(info, file)?.decode(&mut out);
    Ok(out)
}

/// The tensor in `file`, in which it was found.
fn view<'a>(info: &TensorInfo, file: &'a [u8]) -> Result<Matrix<'a>, ModelError> {
    let matrix = Matrix::stored(info.layout, info.dtype, info.rows(), info.cols(), info.bytes(file));
    matrix.ok_or_else(|| ModelError::Misaligned(info.name.clone()))
}

/// The description of the tensor `name`, which must have these dimensions (innermost first).
fn checked<'a>(gguf: &'a Gguf, name: &str, dims: &[u64]) -> Result<&'a TensorInfo, ModelError> {
    let info = gguf.tensor(name).ok_or_else(|| ModelError::MissingTensor(name.to_owned()))?;
    if info.dims == dims {
        return Ok(info);
    }
    Err(ModelError::TensorShape { name: name.to_owned(), found: info.dims.clone(), expected: dims.to_vec() })
}

/// One transformer block. Shapes are output by input.
#[derive(Debug)]
pub struct Layer {
    /// `[hidden]`
    pub attention_norm: Vec<f32>,
    /// Queries: `[heads * head_dim][hidden]`
    pub query: Tensor,
    /// Keys: `[kv_heads * head_dim][hidden]`
    pub key: Tensor,
    /// Values: `[kv_heads * head_dim][hidden]`
    pub value: Tensor,
    /// What is added to queries, keys and values, where the file has it.
    pub query_bias: Option<Vec<f32>>,
    /// See `query_bias`.
    pub key_bias: Option<Vec<f32>>,
    /// See `query_bias`.
    pub value_bias: Option<Vec<f32>>,
    /// Norms of each query and key head, `[head_dim]`: qwen3.
    pub qk_norm: Option<[Vec<f32>; 2]>,
    /// `[hidden][heads * head_dim]`
    pub output: Tensor,
    /// What is added to the output, where the file has it.
    pub output_bias: Option<Vec<f32>>,
    /// What attention gives is normalized by this, `[hidden]`: gemma.
    pub attention_post_norm: Option<Vec<f32>>,
    /// `[hidden]`
    pub ffn_norm: Vec<f32>,
    /// `[ffn][hidden]`
    pub gate: Tensor,
    /// `[ffn][hidden]`
    pub up: Tensor,
    /// `[hidden][ffn]`
    pub down: Tensor,
    /// What the feed-forward layer gives is normalized by this, `[hidden]`: gemma.
    pub ffn_post_norm: Option<Vec<f32>>,
}

impl Layer {
    /// The matrices.
    pub fn matrices(&self) -> [&Tensor; 7] {
        [&self.query, &self.key, &self.value, &self.output, &self.gate, &self.up, &self.down]
    }

    /// The matrices, to be packed.
    pub(super) fn matrices_mut(&mut self) -> [&mut Tensor; 7] {
        let Self { query, key, value, output, gate, up, down, .. } = self;
        [query, key, value, output, gate, up, down]
    }
}

/// All weights of a backbone.
#[derive(Debug)]
pub struct Weights {
    /// `[vocab][hidden]`, never packed by loading: a step reads one row of it.
    pub embedding: Tensor,
    /// The transformer blocks.
    pub layers: Vec<Layer>,
    /// `[hidden]`
    pub norm: Vec<f32>,
    /// `[vocab][hidden]`; the embedding, where they are tied.
    pub head: Tensor,
}

impl Weights {
    /// Binds every weight that `config` asks for; a tensor that nothing asks for is an error.
    pub fn bind(gguf: &Gguf, file: &[u8], config: &Config) -> Result<Self, ModelError> {
        let mut binder = Binder { gguf, file, used: HashSet::from(["rope_freqs.weight".to_owned()]) };
        let (hidden, vocab) = (config.hidden, config.vocab);
        let embedding = binder.matrix(EMBEDDING, vocab, hidden)?;
        let layers = (0..config.layers).map(|i| binder.layer(i, config)).collect::<Result<_, _>>()?;
        let norm = binder.vector("output_norm.weight", hidden)?;
        let tied = gguf.tensor("output.weight").is_none();
        let head = binder.matrix(if tied { EMBEDDING } else { "output.weight" }, vocab, hidden)?;
        binder.nothing_left()?;
        Ok(Self { embedding, layers, norm, head })
    }
}

/// Binds tensors and remembers which.
struct Binder<'a> {
    gguf: &'a Gguf,
    file: &'a [u8],
    used: HashSet<String>,
}

impl Binder<'_> {
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Tensor, ModelError> {
        self.used.insert(name.to_owned());
        Tensor::bind(self.gguf, self.file, name, rows, cols)
    }

    fn vector(&mut self, name: &str, size: usize) -> Result<Vec<f32>, ModelError> {
        self.used.insert(name.to_owned());
        vector(self.gguf, self.file, name, size)
    }

    /// A vector that the file may leave out unless it is `required`.
    fn opt_vector(&mut self, name: &str, size: usize, required: bool) -> Result<Option<Vec<f32>>, ModelError> {
        let wanted = required || self.gguf.tensor(name).is_some();
        wanted.then(|| self.vector(name, size)).transpose()
    }

    fn layer(&mut self, index: usize, config: &Config) -> Result<Layer, ModelError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let &Config { hidden, ffn, head_dim, family, .. } = config;
        let (queries, keys) = (config.heads * head_dim, config.kv_heads * head_dim);
        let mut head_norm = |part| self.vector(&name(part), head_dim);
        let qk_norm = if family.qk_norm {
            Some([head_norm("attn_q_norm.weight")?, head_norm("attn_k_norm.weight")?])
        } else {
            None
        };
        let mut post_norm = |part| family.post_norms.then(|| self.vector(&name(part), hidden)).transpose();
        let attention_post_norm = post_norm("post_attention_norm.weight")?;
        let ffn_post_norm = post_norm("post_ffw_norm.weight")?;
        Ok(Layer {
            attention_post_norm,
            ffn_post_norm,
            attention_norm: self.vector(&name("attn_norm.weight"), hidden)?,
            query: self.matrix(&name("attn_q.weight"), queries, hidden)?,
            key: self.matrix(&name("attn_k.weight"), keys, hidden)?,
            value: self.matrix(&name("attn_v.weight"), keys, hidden)?,
            query_bias: self.opt_vector(&name("attn_q.bias"), queries, family.attention_bias)?,
            key_bias: self.opt_vector(&name("attn_k.bias"), keys, family.attention_bias)?,
            value_bias: self.opt_vector(&name("attn_v.bias"), keys, family.attention_bias)?,
            qk_norm,
            output: self.matrix(&name("attn_output.weight"), hidden, queries)?,
            output_bias: self.opt_vector(&name("attn_output.bias"), hidden, false)?,
            ffn_norm: self.vector(&name("ffn_norm.weight"), hidden)?,
            gate: self.matrix(&name("ffn_gate.weight"), ffn, hidden)?,
            up: self.matrix(&name("ffn_up.weight"), ffn, hidden)?,
            down: self.matrix(&name("ffn_down.weight"), hidden, ffn)?,
        })
    }

    fn nothing_left(&self) -> Result<(), ModelError> {
        let foreign = |info: &&TensorInfo| !self.used.contains(&info.name) && !info.name.starts_with(PLUGIN_PREFIX);
        match self.gguf.tensors().iter().find(foreign) {
            Some(info) => Err(ModelError::UnexpectedTensor(info.name.clone())),
            None => Ok(()),
        }
    }
}
