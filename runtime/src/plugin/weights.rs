//! The plugin: policy, value head, decoder and encoder, bound to their tensors and run on a hidden
//! state. Shapes: d = hidden size, u = width of the decoder, K = number of options. Source: OLLM
//! (arXiv 2604.19087) for the parts (the value head is our decision), `convert/FORMAT.md` for the
//! layers of each kind.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ollm_kernels::memory::{self, OutOfMemory};
use ollm_kernels::ops::{
    Activation, Exec, MatmulOp, Matrix, Quantized, activate, activate_gate, add, matmul, rms_norm, softmax,
};

use crate::gguf::Gguf;
use crate::model::{Model, Tensor, vector};
use crate::storage::Storage;

use super::error::PluginError;
use super::schema::{self, Backbone, DecoderKind, PluginConfig};
use super::select::argmax;

type Result<T, E = PluginError> = std::result::Result<T, E>;

/// A plugin of one backbone, immutable: share it between sessions with [`Arc`].
///
/// ```no_run
/// # fn main() -> ollm_runtime::Result<()> {
/// use std::path::Path;
/// use ollm_runtime::{model::Model, plugin::Plugin};
///
/// let model = Model::open(Path::new("model.gguf"))?;
/// let plugin = Plugin::open(Path::new("plugin.gguf"), &model)?;
/// println!("{} options", plugin.option_count());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Plugin {
    storage: Arc<Storage>,
    spec: PluginConfig,
    decoder: DecoderWeights,
    policy: NormedMlp,
    value: Option<NormedMlp>,
    encoder: EncoderWeights,
}

/// The decoder's weights.
#[derive(Debug)]
struct DecoderWeights {
    /// `[d]`
    norm: Vec<f32>,
    /// `[u][d]`
    gate: Tensor,
    /// `[u][d]`
    up: Tensor,
    /// `[d][u]`
    out: Tensor,
    latents: LatentWeights,
}

/// The parameters of each latent.
#[derive(Debug)]
enum LatentWeights {
    /// Added to the input of the decoder: `[K][d]`
    Embedding(Tensor),
    /// A low-rank addition to its output.
    Delta(DeltaWeights),
}

/// Low-rank deltas, one for each latent.
#[derive(Debug)]
struct DeltaWeights {
    rank: usize,
    /// `[K * rank][d]`
    input: Tensor,
    /// `[K * d][rank]`
    output: Tensor,
}

/// The weights of the policy, and those of the value head.
#[derive(Debug)]
struct NormedMlp {
    /// `[d]`
    norm: Vec<f32>,
    layers: MlpWeights,
}

/// The encoder's weights.
#[derive(Debug)]
struct EncoderWeights {
    /// `[d]`
    norm_hidden: Vec<f32>,
    /// `[d]`
    norm_token: Vec<f32>,
    /// From `2 d`.
    layers: MlpWeights,
}

/// A hidden layer with `SiLU`, and a layer of outputs: K, or one of the value head.
#[derive(Debug)]
struct MlpWeights {
    /// `[width][inputs]`
    input: Tensor,
    /// `[width]`
    input_bias: Vec<f32>,
    /// `[outputs][width]`
    output: Tensor,
    /// `[outputs]`
    output_bias: Vec<f32>,
}

impl Plugin {
    /// Maps the plugin file at `path` and checks that it fits `model`.
    ///
    /// # Errors
    /// [`PluginError`] if the file cannot be read, is not a plugin, or belongs to another backbone.
    pub fn open(path: &Path, model: &Model) -> Result<Self> {
        Self::from_storage(Storage::open(path)?, model)
    }

    /// The plugin in `storage`, checked that it fits `model`.
    ///
    /// # Errors
    /// As [`Plugin::open`].
    pub fn from_storage(storage: Storage, model: &Model) -> Result<Self> {
        let gguf = Gguf::parse(&storage).map_err(PluginError::Gguf)?;
        Self::bind(&gguf, Arc::new(storage), model)
    }

    /// The plugin inside the model's own file, if it is a merged one.
    ///
    /// # Errors
    /// As [`Plugin::open`].
    pub fn bundled(model: &Model) -> Result<Option<Self>> {
        let merged = schema::is_present(model.gguf().metadata());
        merged.then(|| Self::bind(model.gguf(), Arc::clone(model.storage()), model)).transpose()
    }

    fn bind(gguf: &Gguf, storage: Arc<Storage>, model: &Model) -> Result<Self> {
        let spec = PluginConfig::from_metadata(gguf.metadata())?;
        spec.backbone.check(&Backbone::of(model.gguf(), model.storage())?)?;
        spec.check_tensors(gguf)?;
        let file = &storage;
        let d = spec.backbone.hidden;
        let decoder = DecoderWeights::bind(gguf, file, &spec)?;
        let policy = NormedMlp::bind(gguf, file, "ollm.policy", [d, spec.policy_width, spec.options])?;
        let value = spec.value_width.map(|width| NormedMlp::bind(gguf, file, "ollm.value", [d, width, 1]));
        let value = value.transpose()?;
        let encoder = EncoderWeights::bind(gguf, file, &spec)?;
        Ok(Self { storage, spec, decoder, policy, value, encoder })
    }

    /// The sizes and kinds.
    pub fn spec(&self) -> &PluginConfig {
        &self.spec
    }

    /// K, the number of options.
    pub fn option_count(&self) -> usize {
        self.spec.options
    }

    /// `pi(z | h)`: the probability of each latent, for each of n hidden states (`[n][d]`):
    /// `[n][K]`. See [`check_policy`].
    pub(crate) fn policy(&self, exec: &mut Exec, hidden: &[f32]) -> Result<Vec<f32>, OutOfMemory> {
        let mut out = self.normed_mlp(exec, hidden, &self.policy)?;
        for row in out.chunks_exact_mut(self.spec.options) {
            softmax(exec.isa, row);
        }
        Ok(out)
    }

    /// Whether the plugin has a value head.
    pub fn has_value(&self) -> bool {
        self.value.is_some()
    }

    /// The value of each of n hidden states (`[n][d]`, after the backbone's final norm): `[n]`, the
    /// probability that the answer will be right. `None` without a value head. NaN where the
    /// weights give no probability: they, or the hidden state, are damaged. Bit-identical for any n
    /// and any number of threads.
    ///
    /// # Errors
    /// If the system has no memory left.
    ///
    /// # Panics
    /// If `hidden` is not a whole number of hidden states.
    pub fn value(&self, exec: &mut Exec, hidden: &[f32]) -> Result<Option<Vec<f32>>, OutOfMemory> {
        assert!(hidden.len().is_multiple_of(self.spec.backbone.hidden), "hidden states are to be whole");
        let Some(head) = &self.value else { return Ok(None) };
        let mut out = self.normed_mlp(exec, hidden, head)?;
        for x in &mut out {
            *x = sigmoid(*x);
        }
        Ok(Some(out))
    }

    /// The MLP of each of the hidden states, normalized: `[n][outputs]`.
    fn normed_mlp(&self, exec: &mut Exec, hidden: &[f32], head: &NormedMlp) -> Result<Vec<f32>, OutOfMemory> {
        let x = self.normed(exec, hidden, &head.norm)?;
        head.layers.run(exec, &self.storage, &x)
    }

    /// The most probable latent of `q(z | h, x)` for each of n hidden states (`[n][d]`) and the
    /// tokens x that follow them; the lowest of several.
    ///
    /// # Errors
    /// [`PluginError::EncoderNotFinite`] if the weights give no distribution.
    pub(crate) fn encode(&self, exec: &mut Exec, model: &Model, hidden: &[f32], tokens: &[u32]) -> Result<Vec<usize>> {
        let (d, encoder, epsilon) = (self.spec.backbone.hidden, &self.encoder, self.spec.norm_epsilon);
        let mut inputs = memory::filled(0.0, 2 * hidden.len())?;
        for ((input, h), &token) in inputs.chunks_exact_mut(2 * d).zip(hidden.chunks_exact(d)).zip(tokens) {
            let (left, right) = input.split_at_mut(d);
            left.copy_from_slice(h);
            model.embed(token, right);
            rms_norm(exec.isa, left, &encoder.norm_hidden, epsilon);
            rms_norm(exec.isa, right, &encoder.norm_token, epsilon);
        }
        let out = encoder.layers.run(exec, &self.storage, &inputs)?;
        if !out.iter().all(|logit| logit.is_finite()) {
            return Err(PluginError::EncoderNotFinite);
        }
        Ok(out.chunks_exact(self.spec.options).map(argmax).collect())
    }

    /// `h' = h + d(h, z)` for each of n hidden states (`[n][d]`) and each of its own range of
    /// latents: a row of d for each latent, one hidden state after the other.
    pub(crate) fn decode(
        &self,
        exec: &mut Exec,
        hidden: &[f32],
        latents: &[Range<usize>],
    ) -> Result<Vec<f32>, OutOfMemory> {
        let x = self.normed(exec, hidden, &self.decoder.norm)?;
        let rows: Vec<DecodedRow> =
            (0..).zip(latents).flat_map(|(index, latents)| rows(index, latents.clone())).collect();
        match &self.decoder.latents {
            LatentWeights::Embedding(embedding) => self.decode_embedded(exec, hidden, &x, &rows, embedding),
            LatentWeights::Delta(deltas) => {
                let mut out = self.decode_shared(exec, hidden, &x, &rows)?;
                self.add_deltas(exec, &x, &rows, deltas, &mut out)?;
                Ok(out)
            }
        }
    }

    /// `h + W_o (silu(W_g y) * W_u y)` with `y = x + E[z]`, for each row.
    fn decode_embedded(
        &self,
        exec: &mut Exec,
        hidden: &[f32],
        x: &[f32],
        rows: &[DecodedRow],
        embedding: &Tensor,
    ) -> Result<Vec<f32>, OutOfMemory> {
        let (d, table) = (self.spec.backbone.hidden, embedding.matrix(&self.storage));
        let mut inputs = memory::filled(0.0, rows.len() * d)?;
        for (input, row) in inputs.chunks_exact_mut(d).zip(rows) {
            table.slice(row.latent..row.latent + 1).decode(input);
            add(input, row.of(x, d));
        }
        let mut out = self.correction(exec, &inputs)?;
        out.chunks_exact_mut(d).zip(rows).for_each(|(out, row)| add(out, row.of(hidden, d)));
        Ok(out)
    }

    /// `h + W_o (silu(W_g x) * W_u x)` once for each hidden state, in each of its rows.
    fn decode_shared(
        &self,
        exec: &mut Exec,
        hidden: &[f32],
        x: &[f32],
        rows: &[DecodedRow],
    ) -> Result<Vec<f32>, OutOfMemory> {
        let d = self.spec.backbone.hidden;
        let mut corrected = self.correction(exec, x)?;
        add(&mut corrected, hidden);
        let mut out = memory::filled(0.0, rows.len() * d)?;
        out.chunks_exact_mut(d).zip(rows).for_each(|(out, row)| out.copy_from_slice(row.of(&corrected, d)));
        Ok(out)
    }

    /// Adds the low-rank delta of its latent to each row: one matmul with the inner factors of all
    /// latents, then one with the outer factor of each latent.
    fn add_deltas(
        &self,
        exec: &mut Exec,
        x: &[f32],
        rows: &[DecodedRow],
        deltas: &DeltaWeights,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        let (d, &DeltaWeights { rank, ref input, ref output }) = (self.spec.backbone.hidden, deltas);
        let used = || rows.iter().map(|row| row.latent);
        let (first, end) = (used().min().unwrap_or(0), used().max().map_or(0, |last| last + 1));
        let mut inner = linear(exec, input.matrix(&self.storage).slice(first * rank..end * rank), x)?;
        activate(exec.isa, Activation::Silu, &mut inner);
        for latent in first..end {
            let of_latent = || rows.iter().filter(|row| row.latent == latent);
            let mut inputs = Vec::new();
            memory::reserve(&mut inputs, of_latent().count() * rank)?;
            for row in of_latent() {
                let all = row.of(&inner, (end - first) * rank);
                inputs.extend_from_slice(&all[(latent - first) * rank..][..rank]);
            }
            if inputs.is_empty() {
                continue;
            }
            let deltas = linear(exec, output.matrix(&self.storage).slice(latent * d..(latent + 1) * d), &inputs)?;
            let outs = out.chunks_exact_mut(d).zip(rows).filter(|(_, row)| row.latent == latent);
            outs.zip(deltas.chunks_exact(d)).for_each(|((out, _), delta)| add(out, delta));
        }
        Ok(())
    }

    /// The gated feed-forward network `W_o (silu(W_g x) * W_u x)` of each vector of `x` (`[n][d]`).
    fn correction(&self, exec: &mut Exec, x: &[f32]) -> Result<Vec<f32>, OutOfMemory> {
        let (d, decoder) = (self.spec.backbone.hidden, &self.decoder);
        let (gate, up) = (decoder.gate.matrix(&self.storage), decoder.up.matrix(&self.storage));
        let mut quantized = Quantized::default();
        let n = x.len() / d;
        quantized.reserve(n, d.max(gate.rows()))?;
        let (mut gates, mut ups) = (memory::filled(0.0, n * gate.rows())?, memory::filled(0.0, n * up.rows())?);
        let mut ops = [MatmulOp { matrix: gate, out: &mut gates }, MatmulOp { matrix: up, out: &mut ups }];
        matmul(exec, x, d, &mut quantized, &mut ops);
        activate_gate(exec.isa, Activation::Silu, &mut gates, &ups);
        let mut out = memory::filled(0.0, x.len())?;
        let matrix = decoder.out.matrix(&self.storage);
        matmul(exec, &gates, matrix.cols(), &mut quantized, &mut [MatmulOp { matrix, out: &mut out }]);
        Ok(out)
    }

    /// Each of the hidden states, normalized.
    fn normed(&self, exec: &Exec, hidden: &[f32], weight: &[f32]) -> Result<Vec<f32>, OutOfMemory> {
        let mut x = memory::copied(hidden)?;
        x.chunks_exact_mut(weight.len()).for_each(|x| rms_norm(exec.isa, x, weight, self.spec.norm_epsilon));
        Ok(x)
    }
}

/// What the decoder gives for one latent of one hidden state.
struct DecodedRow {
    /// The hidden state's index.
    index: usize,
    latent: usize,
}

impl DecodedRow {
    /// What belongs to its hidden state, in a buffer that has `width` elements for each.
    fn of<'a>(&self, all: &'a [f32], width: usize) -> &'a [f32] {
        &all[self.index * width..][..width]
    }
}

fn rows(index: usize, latents: Range<usize>) -> impl Iterator<Item = DecodedRow> {
    latents.map(move |latent| DecodedRow { index, latent })
}

/// That a row of [`Plugin::policy`] is a distribution.
pub(crate) fn check_policy(policy: &[f32]) -> Result<(), PluginError> {
    if policy.iter().all(|p| p.is_finite()) { Ok(()) } else { Err(PluginError::PolicyNotFinite) }
}

/// That one of the numbers of [`Plugin::value`] is a probability.
pub(crate) fn check_value(value: f32) -> Result<(), PluginError> {
    if value.is_finite() { Ok(()) } else { Err(PluginError::ValueNotFinite) }
}

/// The logistic function; NaN where there is no finite number to take it of.
fn sigmoid(x: f32) -> f32 {
    if x.is_finite() { 1.0 / (1.0 + (-x).exp()) } else { f32::NAN }
}

/// Binds and packs the matrix `name`.
fn packed(gguf: &Gguf, file: &Storage, name: &str, rows: usize, cols: usize) -> Result<Tensor> {
    let mut tensor = Tensor::bind(gguf, file, name, rows, cols)?;
    tensor.pack(file)?;
    Ok(tensor)
}

/// Matmul: `W x` for each vector of `x`.
fn linear(exec: &mut Exec, matrix: Matrix<'_>, x: &[f32]) -> Result<Vec<f32>, OutOfMemory> {
    let mut out = memory::filled(0.0, x.len() / matrix.cols() * matrix.rows())?;
    let mut quantized = Quantized::default();
    quantized.reserve(x.len() / matrix.cols(), matrix.cols())?;
    matmul(exec, x, matrix.cols(), &mut quantized, &mut [MatmulOp { matrix, out: &mut out }]);
    Ok(out)
}

impl DecoderWeights {
    fn bind(gguf: &Gguf, file: &Storage, spec: &PluginConfig) -> Result<Self> {
        let (d, options) = (spec.backbone.hidden, spec.options);
        let matrix = |name: &str, rows, cols| packed(gguf, file, name, rows, cols);
        let latents = match spec.decoder {
            DecoderKind::SwiGlu { .. } => {
                LatentWeights::Embedding(Tensor::bind(gguf, file, "ollm.decoder.embed.weight", options, d)?)
            }
            DecoderKind::LowRank { rank, .. } => LatentWeights::Delta(DeltaWeights {
                rank,
                input: matrix("ollm.decoder.delta_in.weight", options * rank, d)?,
                output: matrix("ollm.decoder.delta_out.weight", options * d, rank)?,
            }),
        };
        Ok(Self {
            norm: vector(gguf, file, "ollm.decoder.norm.weight", d)?,
            gate: matrix("ollm.decoder.gate.weight", spec.decoder.width(), d)?,
            up: matrix("ollm.decoder.up.weight", spec.decoder.width(), d)?,
            out: matrix("ollm.decoder.out.weight", d, spec.decoder.width())?,
            latents,
        })
    }
}

impl NormedMlp {
    fn bind(gguf: &Gguf, file: &Storage, name: &str, sizes: [usize; 3]) -> Result<Self> {
        let norm = vector(gguf, file, &format!("{name}.norm.weight"), sizes[0])?;
        Ok(Self { norm, layers: MlpWeights::bind(gguf, file, name, sizes)? })
    }
}

impl EncoderWeights {
    fn bind(gguf: &Gguf, file: &Storage, spec: &PluginConfig) -> Result<Self> {
        let d = spec.backbone.hidden;
        Ok(Self {
            norm_hidden: vector(gguf, file, "ollm.encoder.norm_hidden.weight", d)?,
            norm_token: vector(gguf, file, "ollm.encoder.norm_token.weight", d)?,
            layers: MlpWeights::bind(gguf, file, "ollm.encoder", [2 * d, spec.encoder_width, spec.options])?,
        })
    }
}

impl MlpWeights {
    fn bind(gguf: &Gguf, file: &Storage, name: &str, [inputs, width, outputs]: [usize; 3]) -> Result<Self> {
        let name = |part: &str| format!("{name}.{part}");
        Ok(Self {
            input: packed(gguf, file, &name("in.weight"), width, inputs)?,
            input_bias: vector(gguf, file, &name("in.bias"), width)?,
            output: packed(gguf, file, &name("out.weight"), outputs, width)?,
            output_bias: vector(gguf, file, &name("out.bias"), outputs)?,
        })
    }

    /// The MLP `out silu(in x)` of each vector of `x` (`[n][inputs]`): `[n][outputs]`.
    fn run(&self, exec: &mut Exec, storage: &Storage, x: &[f32]) -> Result<Vec<f32>, OutOfMemory> {
        let mut inner = linear(exec, self.input.matrix(storage), x)?;
        inner.chunks_exact_mut(self.input_bias.len()).for_each(|x| add(x, &self.input_bias));
        activate(exec.isa, Activation::Silu, &mut inner);
        let mut out = linear(exec, self.output.matrix(storage), &inner)?;
        out.chunks_exact_mut(self.output_bias.len()).for_each(|x| add(x, &self.output_bias));
        Ok(out)
    }
}
