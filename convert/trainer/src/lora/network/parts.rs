//! Products, norms and the rotary embedding, each with its backward pass.

use std::ops::Range;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::{rope, rope_i};
use ollm_runtime::model::Config;
use ollm_runtime::ops::{RopePairing, Rotation};

use crate::error::Result;

/// Is told of a matrix's name, its inputs `[n, in]` and the gradient of its outputs `[n, out]`.
pub type GradientSink<'a> = dyn FnMut(&str, &Tensor, &Tensor) -> Result<()> + 'a;

/// What all blocks share of a pass.
pub(super) struct PassContext {
    pub(super) ranges: Vec<Range<usize>>,
    pub(super) rope: Rope,
    /// `[longest, longest]`
    pub(super) mask: Tensor,
}

/// `y = W x + b`.
#[derive(Clone)]
pub(super) struct FrozenMatrix {
    /// As in the file.
    pub(super) name: String,
    /// `[out, in]`
    pub(super) weight: Tensor,
    /// `[out]`
    pub(super) bias: Option<Tensor>,
}

impl FrozenMatrix {
    /// `[n, in]` -> `[n, out]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }

    /// The gradient of `x` `[n, in]` from that of `y` `[n, out]`.
    pub(super) fn backward(&self, x: &Tensor, gradient: &Tensor, sink: &mut GradientSink<'_>) -> Result<Tensor> {
        sink(&self.name, x, gradient)?;
        Ok(gradient.matmul(&self.weight)?)
    }
}

/// `y = x r(x) w`, `r(x) = 1 / sqrt(mean(x²) + epsilon)`, over the last dimension.
#[derive(Clone)]
pub(super) struct Norm {
    pub(super) weight: Tensor,
    pub(super) epsilon: f32,
}

impl Norm {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(rms_norm(x, &self.weight, self.epsilon)?)
    }

    /// `r g w - x r³ mean(x g w)`, for the gradient g of y.
    pub(super) fn backward(&self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let weighted = gradient.broadcast_mul(&self.weight)?;
        let r = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(self.epsilon))?.sqrt()?.recip()?;
        let along = ((x * &weighted)?.mean_keepdim(D::Minus1)? * r.sqr()?)?;
        Ok((weighted - x.broadcast_mul(&along)?)?.broadcast_mul(&r)?)
    }
}

/// Angles of the tokens of a pass.
pub(super) struct Rope {
    pairing: RopePairing,
    /// `[n, size / 2]`
    cos: Tensor,
    sin: Tensor,
    negative_sin: Tensor,
}

impl Rope {
    pub(super) fn new(config: &Config, ranges: &[Range<usize>], device: &Device, dtype: DType) -> Result<Self> {
        let Rotation { frequencies, magnitude } = config.rope.rotation(config.context_length);
        let frequencies = &frequencies;
        let positions = ranges.iter().flat_map(|range| 0..range.len());
        let angles: Vec<f32> =
            positions.flat_map(|at| frequencies.iter().map(move |frequency| at as f32 * frequency)).collect();
        let shape = (angles.len() / frequencies.len(), frequencies.len());
        let angles = Tensor::from_vec(angles, shape, device)?;
        let sized = |table: Tensor| (table * f64::from(magnitude))?.to_dtype(dtype);
        let (cos, sin) = (sized(angles.cos()?)?, sized(angles.sin()?)?);
        Ok(Self { pairing: config.family.pairing, cos, negative_sin: sin.neg()?, sin })
    }

    /// Rotates heads. `[heads, n, head_dim]`.
    pub(super) fn forward(&self, heads: &Tensor) -> Result<Tensor> {
        self.rotate(heads, &self.sin)
    }

    /// A rotation's transpose turns back.
    pub(super) fn backward(&self, gradient: &Tensor) -> Result<Tensor> {
        self.rotate(gradient, &self.negative_sin)
    }

    fn rotate(&self, heads: &Tensor, sin: &Tensor) -> Result<Tensor> {
        let (size, head_dim) = (2 * sin.dim(1)?, heads.dim(2)?);
        if size < head_dim {
            let turned = self.rotate(&heads.narrow(2, 0, size)?.contiguous()?, sin)?;
            return Ok(Tensor::cat(&[turned, heads.narrow(2, size, head_dim - size)?], 2)?);
        }
        let heads = heads.unsqueeze(0)?;
        let turned = match self.pairing {
            RopePairing::Adjacent => rope_i(&heads, &self.cos, sin)?,
            RopePairing::Halves => rope(&heads, &self.cos, sin)?,
        };
        Ok(turned.squeeze(0)?)
    }
}

/// What is added to scores: 0 where the key (column) is not after the query (row), minus infinity
/// elsewhere.
pub(super) fn causal_mask(size: usize, device: &Device, dtype: DType) -> Result<Tensor> {
    let value = |query: usize, key: usize| if key <= query { 0.0 } else { f32::NEG_INFINITY };
    let values: Vec<f32> = (0..size).flat_map(|query| (0..size).map(move |key| value(query, key))).collect();
    Ok(Tensor::from_vec(values, (size, size), device)?.to_dtype(dtype)?)
}
