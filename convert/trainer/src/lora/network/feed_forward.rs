//! `y = x + s W_down (silu(W_gate n) * W_up n)` with `n = norm(x)`.

use candle_core::Tensor;
use candle_nn::ops::sigmoid;

use super::parts::{FrozenMatrix, GradientSink, Norm};
use crate::error::Result;

#[derive(Clone)]
pub(super) struct FeedForward {
    /// What is multiplied by this before it is added.
    pub(super) residual_scale: f64,
    pub(super) norm: Norm,
    pub(super) gate: FrozenMatrix,
    pub(super) up: FrozenMatrix,
    pub(super) down: FrozenMatrix,
}

/// What the backward pass needs.
pub(super) struct Fed {
    x: Tensor,
    normed: Tensor,
    /// `[n, ffn]`
    gate: Tensor,
    up: Tensor,
    /// `silu(gate) * up`
    inner: Tensor,
}

impl FeedForward {
    /// `[n, d]` -> `[n, d]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<(Tensor, Fed)> {
        let normed = self.norm.forward(x)?;
        let (gate, up) = (self.gate.forward(&normed)?, self.up.forward(&normed)?);
        let inner = (gate.silu()? * &up)?;
        let y = (x + (self.down.forward(&inner)? * self.residual_scale)?)?;
        Ok((y, Fed { x: x.clone(), normed, gate, up, inner }))
    }

    /// The gradient of x from that of y.
    pub(super) fn backward(&self, saved: Fed, gradient: &Tensor, sink: &mut GradientSink<'_>) -> Result<Tensor> {
        let Fed { x, normed, gate, up, inner } = saved;
        let back = self.down.backward(&inner, &(gradient * self.residual_scale)?, sink)?;
        let (gate, up) = swiglu_back(&gate, &up, &back)?;
        let back = (self.gate.backward(&normed, &gate, sink)? + self.up.backward(&normed, &up, sink)?)?;
        Ok((gradient + self.norm.backward(&x, &back)?)?)
    }
}

/// The gradients of gate and up from that of `silu(gate) * up`: with `s = sigmoid(gate)`, `silu' =
/// s + silu (1 - s)`.
fn swiglu_back(gate: &Tensor, up: &Tensor, gradient: &Tensor) -> Result<(Tensor, Tensor)> {
    let s = sigmoid(gate)?;
    let silu = (gate * &s)?;
    let slope = (&s + (&silu - (&silu * &s)?)?)?;
    Ok((((gradient * up)? * slope)?, (gradient * silu)?))
}
