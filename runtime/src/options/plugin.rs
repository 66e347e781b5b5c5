//! The plugin: policy and decoder, bound to their tensors and run on a hidden state. Shapes: d = hidden size, u = width
//! of the decoder, K = number of options. Source: OLLM (arXiv 2604.19087) for the parts, `convert/FORMAT.md` for the
//! layers of each kind.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::gguf::Gguf;
use crate::model::{Model, Tensor, vector};
use crate::ops::{Exec, Matrix, Product, Quantized, add, matmul, rms_norm, silu, softmax, swiglu};
use crate::storage::Storage;

use super::schema::{self, Backbone, DecoderKind, PluginError, Spec};

/// A plugin of one backbone, immutable: share it between sessions with [`Arc`].
#[derive(Debug)]
pub struct Plugin {
    storage: Arc<Storage>,
    spec: Spec,
    decoder: Decoder,
    policy: Policy,
}

/// The decoder's weights.
#[derive(Debug)]
struct Decoder {
    /// `[d]`
    norm: Vec<f32>,
    /// `[u][d]`
    gate: Tensor,
    /// `[u][d]`
    up: Tensor,
    /// `[d][u]`
    out: Tensor,
    latents: Latents,
}

/// What differs from latent to latent.
#[derive(Debug)]
enum Latents {
    /// Added to the input of the decoder: `[K][d]`
    Embedding(Tensor),
    /// A low-rank addition to its output.
    Delta {
        rank: usize,
        /// `[K * rank][d]`
        input: Tensor,
        /// `[K * d][rank]`
        output: Tensor,
    },
}

/// The policy's weights.
#[derive(Debug)]
struct Policy {
    /// `[d]`
    norm: Vec<f32>,
    /// `[width][d]`
    input: Tensor,
    /// `[width]`
    input_bias: Vec<f32>,
    /// `[K][width]`
    output: Tensor,
    /// `[K]`
    output_bias: Vec<f32>,
}

impl Plugin {
    /// Maps the plugin file at `path` and checks that it fits `model`.
    ///
    /// # Errors
    /// [`Error`](crate::Error) if the file cannot be read, is not a plugin, or belongs to another backbone.
    pub fn open(path: &Path, model: &Model) -> Result<Self> {
        Self::from_storage(Storage::open(path)?, model)
    }

    /// The plugin in `storage`, checked that it fits `model`.
    ///
    /// # Errors
    /// As [`Plugin::open`].
    pub fn from_storage(storage: Storage, model: &Model) -> Result<Self> {
        let gguf = Gguf::parse(&storage)?;
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
        let spec = Spec::from_metadata(gguf.metadata())?;
        spec.backbone.check(&Backbone::of(model.gguf(), model.storage())?)?;
        spec.check_tensors(gguf)?;
        let file: &[u8] = &storage;
        let (decoder, policy) = (Decoder::bind(gguf, file, &spec)?, Policy::bind(gguf, file, &spec)?);
        Ok(Self { storage, spec, decoder, policy })
    }

    /// The sizes and kinds.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// K, the number of options.
    pub fn option_count(&self) -> usize {
        self.spec.options
    }

    /// `pi(z | h)`: the probability of each latent, for a hidden state `h` (`[d]`).
    ///
    /// # Errors
    /// [`PluginError::PolicyNotFinite`] if the weights give no distribution.
    pub(crate) fn policy(&self, exec: &mut Exec, h: &[f32]) -> Result<Vec<f32>> {
        let policy = &self.policy;
        let x = self.normed(exec, h, &policy.norm);
        let mut inner = product(exec, policy.input.matrix(&self.storage), &x);
        add(&mut inner, &policy.input_bias);
        silu(exec.isa, &mut inner);
        let mut out = product(exec, policy.output.matrix(&self.storage), &inner);
        add(&mut out, &policy.output_bias);
        softmax(exec.isa, &mut out);
        if out.iter().all(|p| p.is_finite()) { Ok(out) } else { Err(PluginError::PolicyNotFinite.into()) }
    }

    /// `h' = h + d(h, z)` for one latent: `[d]`.
    pub(crate) fn decode(&self, exec: &mut Exec, h: &[f32], latent: usize) -> Vec<f32> {
        self.decode_latents(exec, h, latent, 1)
    }

    /// `h' = h + d(h, z)` for every latent: `[K][d]`.
    pub(crate) fn decode_all(&self, exec: &mut Exec, h: &[f32]) -> Vec<f32> {
        self.decode_latents(exec, h, 0, self.spec.options)
    }

    /// `h'` for `count` latents from `first`: `[count][d]`.
    fn decode_latents(&self, exec: &mut Exec, h: &[f32], first: usize, count: usize) -> Vec<f32> {
        let x = self.normed(exec, h, &self.decoder.norm);
        match &self.decoder.latents {
            Latents::Embedding(embedding) => {
                let rows = embedding.matrix(&self.storage).slice(first..first + count);
                let mut inputs = vec![0.0; count * h.len()];
                rows.decode(&mut inputs);
                inputs.chunks_exact_mut(h.len()).for_each(|input| add(input, &x));
                self.corrected(exec, h, &inputs)
            }
            Latents::Delta { rank, input, output } => {
                let mut out = self.corrected(exec, h, &x).repeat(count);
                let input = input.matrix(&self.storage).slice(first * rank..(first + count) * rank);
                let mut inner = product(exec, input, &x);
                silu(exec.isa, &mut inner);
                let rows = out.chunks_exact_mut(h.len()).zip(inner.chunks_exact(*rank));
                for (latent, (row, inner)) in (first..).zip(rows) {
                    let output = output.matrix(&self.storage).slice(latent * h.len()..(latent + 1) * h.len());
                    add(row, &product(exec, output, inner));
                }
                out
            }
        }
    }

    /// `h + W_o (silu(W_g x) * W_u x)` for each of `inputs` (`[n][d]`).
    fn corrected(&self, exec: &mut Exec, h: &[f32], inputs: &[f32]) -> Vec<f32> {
        let decoder = &self.decoder;
        let (gate, up) = (decoder.gate.matrix(&self.storage), decoder.up.matrix(&self.storage));
        let mut quantized = Quantized::default();
        let n = inputs.len() / h.len();
        let (mut gates, mut ups) = (vec![0.0; n * gate.rows()], vec![0.0; n * up.rows()]);
        let mut products = [Product { matrix: gate, out: &mut gates }, Product { matrix: up, out: &mut ups }];
        matmul(exec, inputs, h.len(), &mut quantized, &mut products);
        swiglu(exec.isa, &mut gates, &ups);
        let mut out = vec![0.0; inputs.len()];
        let matrix = decoder.out.matrix(&self.storage);
        matmul(exec, &gates, matrix.cols(), &mut quantized, &mut [Product { matrix, out: &mut out }]);
        out.chunks_exact_mut(h.len()).for_each(|out| add(out, h));
        out
    }

    fn normed(&self, exec: &Exec, h: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut x = h.to_vec();
        rms_norm(exec.isa, &mut x, weight, self.spec.norm_epsilon);
        x
    }
}

/// `W x` for one column.
fn product(exec: &mut Exec, matrix: Matrix<'_>, x: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; matrix.rows()];
    matmul(exec, x, x.len(), &mut Quantized::default(), &mut [Product { matrix, out: &mut out }]);
    out
}

impl Decoder {
    fn bind(gguf: &Gguf, file: &[u8], spec: &Spec) -> Result<Self> {
        let (d, options) = (spec.backbone.hidden, spec.options);
        let matrix = |name: &str, rows, cols| Tensor::bind(gguf, file, name, rows, cols);
        let latents = match spec.decoder {
            DecoderKind::SwiGlu { .. } => Latents::Embedding(matrix("ollm.decoder.embed.weight", options, d)?),
            DecoderKind::LowRank { rank, .. } => Latents::Delta {
                rank,
                input: matrix("ollm.decoder.delta_in.weight", options * rank, d)?,
                output: matrix("ollm.decoder.delta_out.weight", options * d, rank)?,
            },
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

impl Policy {
    fn bind(gguf: &Gguf, file: &[u8], spec: &Spec) -> Result<Self> {
        let (d, width, options) = (spec.backbone.hidden, spec.policy_width, spec.options);
        Ok(Self {
            norm: vector(gguf, file, "ollm.policy.norm.weight", d)?,
            input: Tensor::bind(gguf, file, "ollm.policy.in.weight", width, d)?,
            input_bias: vector(gguf, file, "ollm.policy.in.bias", width)?,
            output: Tensor::bind(gguf, file, "ollm.policy.out.weight", options, width)?,
            output_bias: vector(gguf, file, "ollm.policy.out.bias", options)?,
        })
    }
}
