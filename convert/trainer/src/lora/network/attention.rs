//! `y = x + s W_o attend(rope(W_q n), rope(W_k n), W_v n)` with `n = norm(x)`, within each
//! sequence.

use std::ops::Range;

use candle_core::{D, Tensor};
use candle_nn::ops::softmax_last_dim;
use ollm_runtime::ops::KvHeads;

use super::parts::{FrozenMatrix, GradientSink, Norm, PassContext};
use crate::error::Result;

#[derive(Clone)]
pub(super) struct Attention {
    pub(super) shape: KvHeads,
    /// Whether queries and keys are rotated.
    pub(super) has_rope: bool,
    /// What scores are multiplied by.
    pub(super) score_scale: f64,
    /// What is multiplied by this before it is added.
    pub(super) residual_scale: f64,
    pub(super) norm: Norm,
    pub(super) query: FrozenMatrix,
    pub(super) key: FrozenMatrix,
    pub(super) value: FrozenMatrix,
    /// Norms of each query and key head.
    pub(super) qk_norm: Option<[Norm; 2]>,
    pub(super) output: FrozenMatrix,
}

/// What the backward pass needs.
pub(super) struct Attended {
    x: Tensor,
    normed: Tensor,
    /// Queries and keys before their norms, where they have some. `[heads, n, head_dim]`.
    raw: Option<[Tensor; 2]>,
    heads: Heads,
    /// Of each sequence, `[heads, length, length]`.
    probabilities: Vec<Tensor>,
    /// `[n, heads * head_dim]`
    mixed: Tensor,
}

/// Queries (`[heads, n, head_dim]`), keys and values (`[kv_heads, n, head_dim]`), or their
/// gradients.
struct Heads {
    query: Tensor,
    key: Tensor,
    value: Tensor,
}

impl Attention {
    /// `[n, d]` -> `[n, d]`.
    pub(super) fn forward(&self, x: &Tensor, context: &PassContext) -> Result<(Tensor, Attended)> {
        let KvHeads { heads, kv_heads, .. } = self.shape;
        let normed = self.norm.forward(x)?;
        let query = split(&self.query.forward(&normed)?, heads)?;
        let key = split(&self.key.forward(&normed)?, kv_heads)?;
        let value = split(&self.value.forward(&normed)?, kv_heads)?;
        let (query, key, raw) = match &self.qk_norm {
            Some([q, k]) => (q.forward(&query)?, k.forward(&key)?, Some([query, key])),
            None => (query, key, None),
        };
        let place = |heads: Tensor| if self.has_rope { context.rope.forward(&heads) } else { Ok(heads) };
        let heads = Heads { query: (place(query)? * self.score_scale)?, key: place(key)?, value };
        let (mut mixed, mut probabilities) = (Vec::new(), Vec::new());
        for range in &context.ranges {
            let (sequence, mask) = (heads.narrow(range)?, square(&context.mask, range.len())?);
            let (out, probability) = sequence.attend(&mask)?;
            mixed.push(join(&out)?);
            probabilities.push(probability);
        }
        let mixed = cat(mixed, 0)?;
        let y = (x + (self.output.forward(&mixed)? * self.residual_scale)?)?;
        Ok((y, Attended { x: x.clone(), normed, raw, heads, probabilities, mixed }))
    }

    /// The gradient of x from that of y.
    pub(super) fn backward(
        &self,
        saved: Attended,
        gradient: &Tensor,
        context: &PassContext,
        sink: &mut GradientSink<'_>,
    ) -> Result<Tensor> {
        let Attended { x, normed, raw, heads, probabilities, mixed } = saved;
        let back = self.output.backward(&mixed, &(gradient * self.residual_scale)?, sink)?;
        let mut parts = Vec::new();
        for (range, probability) in context.ranges.iter().zip(probabilities) {
            let of = |joined: &Tensor| split(&joined.narrow(0, range.start, range.len())?, self.shape.heads);
            parts.push(heads.narrow(range)?.attend_back(&probability, &of(&mixed)?, &of(&back)?)?);
        }
        let Heads { query, key, value } = Heads::cat(parts)?;
        let place = |heads: Tensor| if self.has_rope { context.rope.backward(&heads) } else { Ok(heads) };
        let (mut query, mut key) = (place((query * self.score_scale)?)?, place(key)?);
        if let (Some([q, k]), Some([raw_query, raw_key])) = (&self.qk_norm, &raw) {
            (query, key) = (q.backward(raw_query, &query)?, k.backward(raw_key, &key)?);
        }
        let back =
            (self.query.backward(&normed, &join(&query)?, sink)? + self.key.backward(&normed, &join(&key)?, sink)?)?;
        let back = (back + self.value.backward(&normed, &join(&value)?, sink)?)?;
        Ok((gradient + self.norm.backward(&x, &back)?)?)
    }
}

impl Heads {
    /// Those of one sequence.
    fn narrow(&self, range: &Range<usize>) -> Result<Self> {
        let narrow = |heads: &Tensor| heads.narrow(1, range.start, range.len())?.contiguous();
        Ok(Self { query: narrow(&self.query)?, key: narrow(&self.key)?, value: narrow(&self.value)? })
    }

    fn cat(parts: Vec<Self>) -> Result<Self> {
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for Self { query, key, value } in parts {
            queries.push(query);
            keys.push(key);
            values.push(value);
        }
        Ok(Self { query: cat(queries, 1)?, key: cat(keys, 1)?, value: cat(values, 1)? })
    }

    /// Mixed values `[heads, length, head_dim]`, and the probabilities `[heads, length, length]`
    /// they are mixed with.
    fn attend(&self, mask: &Tensor) -> Result<(Tensor, Tensor)> {
        let (heads, length, _) = self.query.dims3()?;
        let scores = self.grouped(&self.query)?.matmul(&self.key.t()?)?.reshape((heads, length, length))?;
        let probabilities = softmax_last_dim(&scores.broadcast_add(mask)?)?;
        let mixed = self.grouped(&probabilities)?.matmul(&self.value)?.reshape(self.query.shape())?;
        Ok((mixed, probabilities))
    }

    /// The gradients from that of the mixed values. With `p = softmax(s)`, `ds = p (dp - sum(p
    /// dp))`, and the sum is that of `mixed * gradient`.
    fn attend_back(&self, probabilities: &Tensor, mixed: &Tensor, gradient: &Tensor) -> Result<Self> {
        let grouped = self.grouped(gradient)?;
        let along = grouped.matmul(&self.value.t()?)?.reshape(probabilities.shape())?;
        let mean = (mixed * gradient)?.sum_keepdim(D::Minus1)?;
        let scores = self.grouped(&(along.broadcast_sub(&mean)? * probabilities)?)?;
        Ok(Self {
            query: scores.matmul(&self.key)?.reshape(self.query.shape())?,
            key: scores.t()?.matmul(&self.grouped(&self.query)?)?,
            value: self.grouped(probabilities)?.t()?.matmul(&grouped)?,
        })
    }

    /// The query heads of each key head as rows of one matrix: `[heads, length, m]` -> `[kv_heads,
    /// group * length, m]`.
    fn grouped(&self, x: &Tensor) -> Result<Tensor> {
        let ((heads, length, m), kv_heads) = (x.dims3()?, self.key.dim(0)?);
        Ok(x.reshape((kv_heads, heads / kv_heads * length, m))?)
    }
}

/// `[n, heads * m]` -> `[heads, n, m]`.
fn split(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    Ok(x.reshape((n, heads, width / heads))?.transpose(0, 1)?.contiguous()?)
}

/// `[heads, n, m]` -> `[n, heads * m]`.
fn join(heads: &Tensor) -> Result<Tensor> {
    let (count, n, m) = heads.dims3()?;
    Ok(heads.transpose(0, 1)?.reshape((n, count * m))?)
}

fn cat(mut parts: Vec<Tensor>, dim: usize) -> Result<Tensor> {
    if parts.len() == 1 { Ok(parts.remove(0)) } else { Ok(Tensor::cat(&parts, dim)?) }
}

/// The first rows and columns.
fn square(mask: &Tensor, size: usize) -> Result<Tensor> {
    Ok(mask.narrow(0, 0, size)?.narrow(1, 0, size)?)
}
