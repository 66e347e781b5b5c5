//! The plugin's layers (paper.md, "Our layers"), as candle graphs: control, decoder, policy, encoder.
//!
//! A layer is bound from named tensors by a lookup, the same for training (variables) and for a finished plugin, and
//! asks for nothing but the names in [`crate::schema`].

use candle_core::{D, Tensor};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::schema;

/// How an option differs from the control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DecoderKind {
    /// A low-rank delta for each latent on a shared, frozen control.
    LowRank,
    /// A latent's embedding added to the input of one SwiGLU that starts as the control.
    Swiglu,
}

impl DecoderKind {
    /// As in the file: `ollm.decoder.kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LowRank => "lowrank",
            Self::Swiglu => "swiglu",
        }
    }
}

/// The sizes of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Hidden size d.
    pub hidden: usize,
    /// Option count K.
    pub options: usize,
    /// Kind of decoder.
    pub decoder: DecoderKind,
    /// Width u of the SwiGLU.
    pub width: usize,
    /// Rank r of a delta (kind `lowrank`).
    pub rank: usize,
    /// Width of the policy's layer.
    pub policy_width: usize,
    /// Width of the encoder's layer.
    pub encoder_width: usize,
    /// Epsilon of all norms.
    pub norm_epsilon: f32,
}

/// A tensor's name and shape.
pub type Slot = (String, Vec<usize>);

impl Shape {
    /// The control's tensors: a SwiGLU without options.
    pub fn control_slots(&self) -> Vec<Slot> {
        let (d, u) = (self.hidden, self.width);
        vec![
            (schema::DECODER_NORM.into(), vec![d]),
            (schema::DECODER_GATE.into(), vec![u, d]),
            (schema::DECODER_UP.into(), vec![u, d]),
            (schema::DECODER_OUT.into(), vec![d, u]),
        ]
    }

    /// What turns the control into K options.
    pub fn delta_slots(&self) -> Vec<Slot> {
        let (d, k, r) = (self.hidden, self.options, self.rank);
        match self.decoder {
            DecoderKind::Swiglu => vec![(schema::DECODER_EMBED.into(), vec![k, d])],
            DecoderKind::LowRank => vec![
                (schema::DECODER_DELTA_IN.into(), vec![k * r, d]),
                (schema::DECODER_DELTA_OUT.into(), vec![k * d, r]),
            ],
        }
    }

    /// The policy's and the encoder's tensors.
    pub fn selector_slots(&self) -> Vec<Slot> {
        let (d, k) = (self.hidden, self.options);
        let mut slots = vec![
            (schema::POLICY_NORM.into(), vec![d]),
            (schema::ENCODER_NORM_HIDDEN.into(), vec![d]),
            (schema::ENCODER_NORM_TOKEN.into(), vec![d]),
        ];
        slots.extend(mlp_slots(schema::POLICY, d, self.policy_width, k));
        slots.extend(mlp_slots(schema::ENCODER, 2 * d, self.encoder_width, k));
        slots
    }

    /// All tensors of a plugin.
    pub fn slots(&self) -> Vec<Slot> {
        [self.control_slots(), self.delta_slots(), self.selector_slots()].concat()
    }

    /// Number of parameters of a plugin.
    pub fn parameters(&self) -> usize {
        self.slots().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// The SwiGLU width, in steps of 32, with which the plugin comes nearest to `budget` parameters.
    #[must_use]
    pub fn fit_width(self, budget: f64) -> Self {
        let rest = Self { width: 0, ..self.clone() }.parameters() as f64;
        let steps = (budget - rest) / (3 * self.hidden * 32) as f64;
        Self { width: 32 * (steps.round().max(1.0) as usize), ..self }
    }
}

fn mlp_slots(name: &str, from: usize, width: usize, to: usize) -> Vec<Slot> {
    vec![
        (format!("{name}.in.weight"), vec![width, from]),
        (format!("{name}.in.bias"), vec![width]),
        (format!("{name}.out.weight"), vec![to, width]),
        (format!("{name}.out.bias"), vec![to]),
    ]
}

/// Finds a tensor by name; a missing one is an error.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Result<Tensor>;

/// rmsnorm(x) · weight over the last dimension.
fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?.recip()?;
    Ok(x.broadcast_mul(&scale)?.broadcast_mul(weight)?)
}

/// x · weightᵀ. [B, from] -> [B, to].
fn project(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    Ok(x.matmul(&weight.t()?)?)
}

/// The K = 1 plugin: h1(h) = h + `W_o` (silu(`W_g` n) * `W_u` n), n = rmsnorm(h) · norm.
pub struct Control {
    norm: Tensor,
    gate: Tensor,
    up: Tensor,
    out: Tensor,
    epsilon: f32,
}

impl Control {
    /// Binds the SwiGLU's tensors.
    pub fn bind(shape: &Shape, lookup: Lookup<'_>) -> Result<Self> {
        Ok(Self {
            norm: lookup(schema::DECODER_NORM)?,
            gate: lookup(schema::DECODER_GATE)?,
            up: lookup(schema::DECODER_UP)?,
            out: lookup(schema::DECODER_OUT)?,
            epsilon: shape.norm_epsilon,
        })
    }

    /// h1(h). [B, d] -> [B, d].
    pub fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok((hidden + self.bias(&self.normed(hidden)?)?)?)
    }

    fn normed(&self, hidden: &Tensor) -> Result<Tensor> {
        rms_norm(hidden, &self.norm, self.epsilon)
    }

    fn bias(&self, x: &Tensor) -> Result<Tensor> {
        let inner = (project(x, &self.gate)?.silu()? * project(x, &self.up)?)?;
        project(&inner, &self.out)
    }
}

/// d(h, z) for all z at once.
pub struct Decoder {
    base: Control,
    delta: Delta,
    shape: Shape,
}

enum Delta {
    LowRank { down: Tensor, up: Tensor },
    Embed(Tensor),
}

impl Decoder {
    /// Binds the decoder of the shape's kind.
    pub fn bind(shape: &Shape, lookup: Lookup<'_>) -> Result<Self> {
        let delta = match shape.decoder {
            DecoderKind::Swiglu => Delta::Embed(lookup(schema::DECODER_EMBED)?),
            DecoderKind::LowRank => {
                Delta::LowRank { down: lookup(schema::DECODER_DELTA_IN)?, up: lookup(schema::DECODER_DELTA_OUT)? }
            }
        };
        Ok(Self { base: Control::bind(shape, lookup)?, delta, shape: shape.clone() })
    }

    /// The option set's hidden states `h'_z`. [B, d] -> [B, K, d].
    pub fn options(&self, hidden: &Tensor) -> Result<Tensor> {
        let normed = self.base.normed(hidden)?;
        match &self.delta {
            Delta::LowRank { down, up } => {
                let anchor = (hidden + self.base.bias(&normed)?)?;
                Ok(self.deltas(&normed, down, up)?.broadcast_add(&anchor.unsqueeze(1)?)?)
            }
            Delta::Embed(embed) => {
                let bias = self.base.bias(&self.embedded(&normed, embed)?)?;
                let (batch, k, d) = (hidden.dim(0)?, self.shape.options, self.shape.hidden);
                Ok(bias.reshape((batch, k, d))?.broadcast_add(&hidden.unsqueeze(1)?)?)
            }
        }
    }

    /// `O_z` silu(`V_z` n). [B, d] -> [B, K, d].
    fn deltas(&self, normed: &Tensor, down: &Tensor, up: &Tensor) -> Result<Tensor> {
        let (batch, k, r, d) = (normed.dim(0)?, self.shape.options, self.shape.rank, self.shape.hidden);
        let inner = project(normed, down)?.silu()?.reshape((batch, k, r))?.transpose(0, 1)?.contiguous()?;
        let up = up.reshape((k, d, r))?.transpose(1, 2)?;
        Ok(inner.matmul(&up)?.transpose(0, 1)?.contiguous()?)
    }

    /// n + E[z]. [B, d] -> [B·K, d].
    fn embedded(&self, normed: &Tensor, embed: &Tensor) -> Result<Tensor> {
        let (batch, k, d) = (normed.dim(0)?, self.shape.options, self.shape.hidden);
        Ok(normed.unsqueeze(1)?.broadcast_add(&embed.unsqueeze(0)?)?.reshape((batch * k, d))?)
    }
}

/// Linear, silu, linear.
struct Mlp {
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
}

impl Mlp {
    fn bind(name: &str, lookup: Lookup<'_>) -> Result<Self> {
        Ok(Self {
            in_weight: lookup(&format!("{name}.in.weight"))?,
            in_bias: lookup(&format!("{name}.in.bias"))?,
            out_weight: lookup(&format!("{name}.out.weight"))?,
            out_bias: lookup(&format!("{name}.out.bias"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = project(x, &self.in_weight)?.broadcast_add(&self.in_bias)?.silu()?;
        Ok(project(&inner, &self.out_weight)?.broadcast_add(&self.out_bias)?)
    }
}

/// pi(z | h).
pub struct Policy {
    norm: Tensor,
    mlp: Mlp,
    epsilon: f32,
}

impl Policy {
    /// Binds the policy's tensors.
    pub fn bind(shape: &Shape, lookup: Lookup<'_>) -> Result<Self> {
        let norm = lookup(schema::POLICY_NORM)?;
        Ok(Self { norm, mlp: Mlp::bind(schema::POLICY, lookup)?, epsilon: shape.norm_epsilon })
    }

    /// Logits of the latents. [B, d] -> [B, K].
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.mlp.forward(&rms_norm(hidden, &self.norm, self.epsilon)?)
    }
}

/// q(z | h, x): the amortised posterior.
pub struct Encoder {
    norm_hidden: Tensor,
    norm_token: Tensor,
    mlp: Mlp,
    epsilon: f32,
}

impl Encoder {
    /// Binds the encoder's tensors.
    pub fn bind(shape: &Shape, lookup: Lookup<'_>) -> Result<Self> {
        Ok(Self {
            norm_hidden: lookup(schema::ENCODER_NORM_HIDDEN)?,
            norm_token: lookup(schema::ENCODER_NORM_TOKEN)?,
            mlp: Mlp::bind(schema::ENCODER, lookup)?,
            epsilon: shape.norm_epsilon,
        })
    }

    /// Logits of the latents, from h and e(x). [B, d], [B, d] -> [B, K].
    pub fn logits(&self, hidden: &Tensor, token: &Tensor) -> Result<Tensor> {
        let hidden = rms_norm(hidden, &self.norm_hidden, self.epsilon)?;
        let token = rms_norm(token, &self.norm_token, self.epsilon)?;
        self.mlp.forward(&Tensor::cat(&[hidden, token], 1)?)
    }
}

/// Decoder, policy and encoder.
pub struct Plugin {
    /// d(h, z).
    pub decoder: Decoder,
    /// pi(z | h).
    pub policy: Policy,
    /// q(z | h, x).
    pub encoder: Encoder,
}

impl Plugin {
    /// Binds all layers.
    pub fn bind(shape: &Shape, lookup: Lookup<'_>) -> Result<Self> {
        Ok(Self {
            decoder: Decoder::bind(shape, lookup)?,
            policy: Policy::bind(shape, lookup)?,
            encoder: Encoder::bind(shape, lookup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Params;
    use crate::testing::{self, assert_close};

    fn shape(decoder: DecoderKind) -> Shape {
        Shape {
            hidden: 4,
            options: 3,
            decoder,
            width: 8,
            rank: 2,
            policy_width: 5,
            encoder_width: 6,
            norm_epsilon: 1e-5,
        }
    }

    #[test]
    fn the_default_plugin_of_the_135m_backbone_is_its_1_56_percent() {
        let shape = Shape {
            hidden: 576,
            options: 10,
            rank: 32,
            policy_width: 256,
            encoder_width: 256,
            ..shape(DecoderKind::LowRank)
        };
        let shape = shape.fit_width(134_515_008.0 * 0.0156);
        assert_eq!((shape.width, shape.parameters()), (736, 2_090_772));
    }

    /// h'_z computed in plain loops from the same tensors.
    fn lowrank_by_hand(params: &Params, shape: &Shape, hidden: &[f32], z: usize) -> Vec<f32> {
        let get = |name| params.tensor(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let rows = |matrix: &[f32], x: &[f32]| -> Vec<f32> {
            matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
        };
        let silu = |x: f32| x / (1.0 + (-x).exp());
        let mean = hidden.iter().map(|x| x * x).sum::<f32>() / hidden.len() as f32;
        let n: Vec<f32> =
            hidden.iter().zip(get(schema::DECODER_NORM)).map(|(x, w)| x / (mean + 1e-5).sqrt() * w).collect();
        let gate = rows(&get(schema::DECODER_GATE), &n);
        let inner: Vec<f32> = gate.iter().zip(rows(&get(schema::DECODER_UP), &n)).map(|(g, u)| silu(*g) * u).collect();
        let bias = rows(&get(schema::DECODER_OUT), &inner);
        let (d, r) = (shape.hidden, shape.rank);
        let down = get(schema::DECODER_DELTA_IN)[z * r * d..(z + 1) * r * d].to_vec();
        let up = get(schema::DECODER_DELTA_OUT)[z * d * r..(z + 1) * d * r].to_vec();
        let small: Vec<f32> = rows(&down, &n).into_iter().map(silu).collect();
        rows(&up, &small).iter().zip(bias).zip(hidden).map(|((delta, bias), h)| delta + bias + h).collect()
    }

    #[test]
    fn low_rank_options_are_what_the_format_says() {
        let shape = shape(DecoderKind::LowRank);
        let params = testing::random_params(&shape);
        let hidden = testing::normal("hidden", &[2, 4], 1.0);
        let decoder = Decoder::bind(&shape, &|name| params.tensor(name)).unwrap();
        let options = decoder.options(&hidden).unwrap().to_vec3::<f32>().unwrap();
        for (row, hidden) in options.iter().zip(hidden.to_vec2::<f32>().unwrap()) {
            for (z, option) in row.iter().enumerate() {
                let expected = lowrank_by_hand(&params, &shape, &hidden, z);
                option.iter().zip(expected).for_each(|(&left, right)| assert_close(left, right, 1e-5));
            }
        }
    }

    #[test]
    fn a_zero_embedding_is_the_control() {
        let shape = shape(DecoderKind::Swiglu);
        let params = testing::random_params(&shape);
        let lookup = |name: &str| {
            let tensor = params.tensor(name)?;
            Ok(if name == schema::DECODER_EMBED { tensor.zeros_like()? } else { tensor })
        };
        let hidden = testing::normal("hidden", &[2, 4], 1.0);
        let options = Decoder::bind(&shape, &lookup).unwrap().options(&hidden).unwrap();
        let control = Control::bind(&shape, &lookup).unwrap().forward(&hidden).unwrap();
        let control = control.unsqueeze(1).unwrap().broadcast_as((2, 3, 4)).unwrap();
        let difference = (options - control).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-6, "{difference}");
    }
}
