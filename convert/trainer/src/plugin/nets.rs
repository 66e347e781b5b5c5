//! The plugin's layers (our decision; the paper names their roles only), as candle graphs: control,
//! decoder, policy, encoder.
//!
//! A layer is bound from named tensors by a lookup, the same for training (variables) and for a
//! finished plugin, and asks for nothing but names.

use candle_core::{D, Tensor};
use ollm_runtime::plugin::schema::{self, DecoderKind, PluginConfig};

use crate::error::Result;

/// The share of the backbone's parameters that a plugin has in the paper (1.56 % of a 1.7 B
/// backbone).
pub const PARAMETER_SHARE: f64 = 0.0156;

/// A tensor's name and shape.
pub type TensorSlot = (&'static str, Vec<usize>);

/// The names by which layers are bound; [`schema::tensors`] has their shapes, and knows no others.
pub(crate) mod names {
    pub(crate) const DECODER: &str = "ollm.decoder";
    pub(crate) const NORM: &str = "ollm.decoder.norm.weight";
    pub(crate) const GATE: &str = "ollm.decoder.gate.weight";
    pub(crate) const UP: &str = "ollm.decoder.up.weight";
    pub(crate) const OUT: &str = "ollm.decoder.out.weight";
    pub(crate) const EMBED: &str = "ollm.decoder.embed.weight";
    pub(crate) const DELTA_IN: &str = "ollm.decoder.delta_in.weight";
    pub(crate) const DELTA_OUT: &str = "ollm.decoder.delta_out.weight";
    pub(crate) const ENCODER_NORM_HIDDEN: &str = "ollm.encoder.norm_hidden.weight";
    pub(crate) const ENCODER_NORM_TOKEN: &str = "ollm.encoder.norm_token.weight";
    pub(crate) const ENCODER: &str = "ollm.encoder";
    pub(crate) const POLICY: &str = "ollm.policy";
    #[cfg(test)]
    pub(crate) const POLICY_NORM: &str = "ollm.policy.norm.weight";
    pub(crate) const VALUE: &str = "ollm.value";
}

/// The control's tensors: a SwiGLU without options.
pub fn control_slots(spec: &PluginConfig) -> Vec<TensorSlot> {
    let control = [names::NORM, names::GATE, names::UP, names::OUT];
    schema::tensors(spec).into_iter().filter(|(name, _)| control.contains(name)).collect()
}

/// What turns the control into K options, selected by a policy and an encoder.
pub fn option_slots(spec: &PluginConfig) -> Vec<TensorSlot> {
    let others = [control_slots(spec), value_slots(spec)].concat();
    schema::tensors(spec).into_iter().filter(|slot| !others.contains(slot)).collect()
}

/// The value head's tensors, if the spec has one.
pub fn value_slots(spec: &PluginConfig) -> Vec<TensorSlot> {
    schema::tensors(spec).into_iter().filter(|(name, _)| name.starts_with(names::VALUE)).collect()
}

/// Number of parameters of a plugin.
pub fn parameters(spec: &PluginConfig) -> usize {
    schema::tensors(spec).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// The spec with the SwiGLU width, in steps of 32, at which the plugin comes nearest to `budget`
/// parameters.
pub fn fit_width(spec: &PluginConfig, budget: f64) -> PluginConfig {
    let rest = parameters(&with_width(spec, 0)) as f64;
    let steps = (budget - rest) / (3 * spec.backbone.hidden * 32) as f64;
    with_width(spec, 32 * (steps.round().max(1.0) as usize))
}

fn with_width(spec: &PluginConfig, width: usize) -> PluginConfig {
    let decoder = match spec.decoder {
        DecoderKind::SwiGlu { .. } => DecoderKind::SwiGlu { width },
        DecoderKind::LowRank { rank, .. } => DecoderKind::LowRank { width, rank },
    };
    PluginConfig { decoder, ..spec.clone() }
}

/// Finds a tensor by name; a missing one is an error.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Result<Tensor>;

/// rmsnorm(x) · weight over the last dimension.
fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?.recip()?;
    Ok(x.broadcast_mul(&scale)?.broadcast_mul(weight)?)
}

/// x · weightᵀ. `[B, from]` -> `[B, to]`.
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
    pub fn bind(spec: &PluginConfig, lookup: Lookup<'_>) -> Result<Self> {
        Ok(Self {
            norm: lookup(names::NORM)?,
            gate: lookup(names::GATE)?,
            up: lookup(names::UP)?,
            out: lookup(names::OUT)?,
            epsilon: spec.norm_epsilon,
        })
    }

    /// h1(h). `[B, d]` -> `[B, d]`.
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
pub struct DecoderNet {
    base: Control,
    delta: Delta,
    /// K.
    options: usize,
    /// Whether latent [`CONTROL`] is the control, whatever its delta.
    keeps_control: bool,
}

/// The latent that is the control, where options keep it.
pub const CONTROL: usize = 0;

enum Delta {
    /// `V` `[K·r, d]` and `O` `[K·d, r]`.
    LowRank { down: Tensor, up: Tensor },
    /// `E` `[K, d]`.
    Embed(Tensor),
}

impl DecoderNet {
    /// Binds the decoder of the shape's kind.
    pub fn bind(spec: &PluginConfig, lookup: Lookup<'_>) -> Result<Self> {
        let delta = match spec.decoder {
            DecoderKind::SwiGlu { .. } => Delta::Embed(lookup(names::EMBED)?),
            DecoderKind::LowRank { .. } => {
                Delta::LowRank { down: lookup(names::DELTA_IN)?, up: lookup(names::DELTA_OUT)? }
            }
        };
        Ok(Self { base: Control::bind(spec, lookup)?, delta, options: spec.options, keeps_control: false })
    }

    /// For training options of kind `lowrank` that keep the control among them: its delta has no
    /// effect, and so no gradient.
    #[must_use]
    pub fn keeping_control(self, keeps_control: bool) -> Self {
        Self { keeps_control, ..self }
    }

    /// The option set's hidden states `h'_z`. `[B, d]` -> `[B, K, d]`.
    pub fn options(&self, hidden: &Tensor) -> Result<Tensor> {
        let normed = self.base.normed(hidden)?;
        match &self.delta {
            Delta::LowRank { down, up } => {
                let anchor = (hidden + self.base.bias(&normed)?)?;
                Ok(self.deltas(&normed, down, up)?.broadcast_add(&anchor.unsqueeze(1)?)?)
            }
            Delta::Embed(embed) => {
                let bias = self.base.bias(&self.embedded(&normed, embed)?)?;
                let (batch, d) = hidden.dims2()?;
                Ok(bias.reshape((batch, self.options, d))?.broadcast_add(&hidden.unsqueeze(1)?)?)
            }
        }
    }

    /// `O_z` silu(`V_z` n). `[B, d]` -> `[B, K, d]`.
    fn deltas(&self, normed: &Tensor, down: &Tensor, up: &Tensor) -> Result<Tensor> {
        let ((batch, d), k, r) = (normed.dims2()?, self.options, up.dim(1)?);
        let inner = project(normed, down)?.silu()?.reshape((batch, k, r))?.transpose(0, 1)?.contiguous()?;
        let up = up.reshape((k, d, r))?.transpose(1, 2)?;
        let deltas = inner.matmul(&up)?;
        let deltas = if self.keeps_control {
            let (control, others) =
                (deltas.narrow(0, CONTROL, 1)?.zeros_like()?, deltas.narrow(0, CONTROL + 1, k - 1)?);
            Tensor::cat(&[control, others], 0)?
        } else {
            deltas
        };
        Ok(deltas.transpose(0, 1)?.contiguous()?)
    }

    /// n + E`[z]`. `[B, d]` -> `[B·K, d]`.
    fn embedded(&self, normed: &Tensor, embed: &Tensor) -> Result<Tensor> {
        let (batch, d) = normed.dims2()?;
        Ok(normed.unsqueeze(1)?.broadcast_add(&embed.unsqueeze(0)?)?.reshape((batch * self.options, d))?)
    }
}

/// Linear, silu, linear.
struct MlpNet {
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
}

impl MlpNet {
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

/// An MLP of the normed hidden state.
struct NormedMlp {
    norm: Tensor,
    mlp: MlpNet,
    epsilon: f32,
}

impl NormedMlp {
    fn bind(spec: &PluginConfig, name: &str, lookup: Lookup<'_>) -> Result<Self> {
        let norm = lookup(&format!("{name}.norm.weight"))?;
        Ok(Self { norm, mlp: MlpNet::bind(name, lookup)?, epsilon: spec.norm_epsilon })
    }

    fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        self.mlp.forward(&rms_norm(hidden, &self.norm, self.epsilon)?)
    }
}

/// pi(z | h).
pub struct PolicyNet(NormedMlp);

impl PolicyNet {
    /// Binds the policy's tensors.
    pub fn bind(spec: &PluginConfig, lookup: Lookup<'_>) -> Result<Self> {
        Ok(Self(NormedMlp::bind(spec, names::POLICY, lookup)?))
    }

    /// Logits of the latents. `[B, d]` -> `[B, K]`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.0.forward(hidden)
    }
}

/// The value head: from h, how probable it is that the answer will be right.
pub struct ValueNet(NormedMlp);

impl ValueNet {
    /// Binds the value head's tensors.
    pub fn bind(spec: &PluginConfig, lookup: Lookup<'_>) -> Result<Self> {
        Ok(Self(NormedMlp::bind(spec, names::VALUE, lookup)?))
    }

    /// The logits of the values. `[B, d]` -> `[B]`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.0.forward(hidden)?.squeeze(1)?)
    }
}

/// q(z | h, x): the amortised posterior.
pub struct EncoderNet {
    norm_hidden: Tensor,
    norm_token: Tensor,
    mlp: MlpNet,
    epsilon: f32,
}

impl EncoderNet {
    /// Binds the encoder's tensors.
    pub fn bind(spec: &PluginConfig, lookup: Lookup<'_>) -> Result<Self> {
        Ok(Self {
            norm_hidden: lookup(names::ENCODER_NORM_HIDDEN)?,
            norm_token: lookup(names::ENCODER_NORM_TOKEN)?,
            mlp: MlpNet::bind(names::ENCODER, lookup)?,
            epsilon: spec.norm_epsilon,
        })
    }

    /// Logits of the latents, from h and e(x). `[B, d]`, `[B, d]` -> `[B, K]`.
    pub fn logits(&self, hidden: &Tensor, token: &Tensor) -> Result<Tensor> {
        let hidden = rms_norm(hidden, &self.norm_hidden, self.epsilon)?;
        let token = rms_norm(token, &self.norm_token, self.epsilon)?;
        self.mlp.forward(&Tensor::cat(&[hidden, token], 1)?)
    }
}

/// Decoder, policy and encoder.
pub struct PluginNet {
    /// d(h, z).
    pub decoder: DecoderNet,
    /// pi(z | h).
    pub policy: PolicyNet,
    /// q(z | h, x).
    pub encoder: EncoderNet,
}

impl PluginNet {
    /// Binds all layers.
    pub fn bind(spec: &PluginConfig, lookup: Lookup<'_>) -> Result<Self> {
        Ok(Self {
            decoder: DecoderNet::bind(spec, lookup)?,
            policy: PolicyNet::bind(spec, lookup)?,
            encoder: EncoderNet::bind(spec, lookup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::params::Params;
    use crate::testing::{self, assert_close};

    #[test]
    fn the_default_plugin_of_the_135m_backbone_is_its_1_56_percent() {
        let decoder = DecoderKind::LowRank { width: 0, rank: 32 };
        let spec = PluginConfig { options: 10, policy_width: 256, encoder_width: 256, ..testing::spec(576, decoder) };
        let spec = fit_width(&spec, 134_515_008.0 * 0.0156);
        assert_eq!((spec.decoder.width(), parameters(&spec)), (736, 2_090_772));
    }

    /// h'_z computed in plain loops from the same tensors.
    fn lowrank_by_hand(params: &Params, spec: &PluginConfig, hidden: &[f32], z: usize) -> Vec<f32> {
        let get = |name| params.tensor(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let rows = |matrix: &[f32], x: &[f32]| -> Vec<f32> {
            matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
        };
        let silu = |x: f32| x / (1.0 + (-x).exp());
        let mean = hidden.iter().map(|x| x * x).sum::<f32>() / hidden.len() as f32;
        let n: Vec<f32> = hidden.iter().zip(get(names::NORM)).map(|(x, w)| x / (mean + 1e-5).sqrt() * w).collect();
        let gate = rows(&get(names::GATE), &n);
        let inner: Vec<f32> = gate.iter().zip(rows(&get(names::UP), &n)).map(|(g, u)| silu(*g) * u).collect();
        let bias = rows(&get(names::OUT), &inner);
        let DecoderKind::LowRank { rank: r, .. } = spec.decoder else { panic!("{:?}", spec.decoder) };
        let d = spec.backbone.hidden;
        let down = get(names::DELTA_IN)[z * r * d..(z + 1) * r * d].to_vec();
        let up = get(names::DELTA_OUT)[z * d * r..(z + 1) * d * r].to_vec();
        let small: Vec<f32> = rows(&down, &n).into_iter().map(silu).collect();
        rows(&up, &small).iter().zip(bias).zip(hidden).map(|((delta, bias), h)| delta + bias + h).collect()
    }

    #[test]
    fn low_rank_options_are_what_the_format_says() {
        let spec = testing::spec(4, DecoderKind::LowRank { width: 8, rank: 2 });
        let params = testing::random_params(&spec);
        let hidden = testing::normal("hidden", &[2, 4], 1.0);
        let decoder = DecoderNet::bind(&spec, &|name| params.tensor(name)).unwrap();
        let options = decoder.options(&hidden).unwrap().to_vec3::<f32>().unwrap();
        for (row, hidden) in options.iter().zip(hidden.to_vec2::<f32>().unwrap()) {
            for (z, option) in row.iter().enumerate() {
                let expected = lowrank_by_hand(&params, &spec, &hidden, z);
                option.iter().zip(expected).for_each(|(&left, right)| assert_close(left, right, 1e-5));
            }
        }
    }

    #[test]
    fn a_zero_embedding_is_the_control() {
        let spec = testing::spec(4, DecoderKind::SwiGlu { width: 8 });
        let params = testing::random_params(&spec);
        let lookup = |name: &str| {
            let tensor = params.tensor(name)?;
            Ok(if name == names::EMBED { tensor.zeros_like()? } else { tensor })
        };
        let hidden = testing::normal("hidden", &[2, 4], 1.0);
        let options = DecoderNet::bind(&spec, &lookup).unwrap().options(&hidden).unwrap();
        let control = Control::bind(&spec, &lookup).unwrap().forward(&hidden).unwrap();
        let control = control.unsqueeze(1).unwrap().broadcast_as((2, 3, 4)).unwrap();
        let difference = (options - control).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-6, "{difference}");
    }
}
