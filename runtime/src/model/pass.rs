//! A pass through the network: its tokens, its stages, and what its layers have in common.

use std::ops::Range;

use ollm_kernels::cpu::{Isa, Pool};
use ollm_kernels::memory::OutOfMemory;
use ollm_kernels::ops::{Exec, MatmulOp, Quantized, add, add_scaled, for_each_row, layer_norm, matmul, rms_norm};

use super::Model;
use super::adapter::Adapted;
use super::config::Config;
use super::family::{NormKind, NormPlacement};
use super::name::{Role, TensorName};
use super::state::{Scratch, State};
use super::weights::{Linear, Norm};

/// Where a pass is.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// The next layer begins.
    Layer,
    /// The next matrices have this input.
    Input {
        /// The layer of the matrices.
        layer: usize,
        /// The first of the matrices: [`Role::input`] of each of them.
        role: Role,
        /// The input: `[n][cols]` of the matrices.
        x: &'a [f32],
    },
    /// The next matrices of one expert have this input, of the tokens that pass through it.
    ExpertInput {
        /// The layer of the matrices.
        layer: usize,
        /// The first of the matrices: [`Role::input`] of each of them.
        role: Role,
        /// The expert.
        expert: usize,
        /// How many tokens those are.
        tokens: usize,
        /// The input: `[tokens][cols]` of the matrices.
        x: &'a [f32],
    },
}

/// The observer of a pass: called at each stage, may end the pass with an error.
pub type Watch<'a, E> = dyn FnMut(Stage<'_>) -> Result<(), E> + 'a;

/// Tokens of one sequence that go through the network.
#[derive(Debug)]
pub struct Part<'a> {
    /// The sequence. It holds what comes before the tokens, and their positions are reserved. A
    /// pass begins where recurrent layers have a checkpoint: see [`State::resumable`].
    pub state: &'a mut State,
    /// The tokens, all in the vocabulary.
    pub tokens: &'a [u32],
    /// The position of the first of them.
    pub first: usize,
    /// The position of the first token of the second segment, beyond all tokens if there is none.
    pub second: usize,
    /// How many of the last tokens may be taken back: recurrent layers have a checkpoint before
    /// each.
    pub drafted: usize,
    /// The adapters of the sequence.
    pub adapters: &'a [Adapted],
}

impl Part<'_> {
    /// Takes a recurrent layer's state, but for its first `skipped` floats, from checkpoint to
    /// checkpoint: `rule` gets the tokens between two, the state before them, and the one after
    /// them, to be filled.
    pub(super) fn advance(
        &mut self,
        layer: usize,
        skipped: usize,
        mut rule: impl FnMut(Range<usize>, &[f32], &mut [f32]),
    ) {
        if self.tokens.is_empty() {
            return;
        }
        let (state, after) = self.state.recurrent(layer, self.first);
        let (mut done, mut state) = (0, &state[skipped..]);
        for (tokens, next) in after {
            let next = &mut next[skipped..];
            rule(done..tokens, state, next);
            (done, state) = (tokens, next);
        }
    }
}

/// A pass in a layer: what runs it, and what goes through.
pub(super) struct Pass<'p, 'a, E> {
    pub(super) exec: &'p mut Exec,
    pub(super) model: &'p Model,
    pub(super) layer: usize,
    pub(super) parts: &'p mut [Part<'a>],
    pub(super) scratch: &'p mut Scratch,
    pub(super) watch: &'p mut Watch<'p, E>,
}

/// The layer of matrices, and the tokens that meet them.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    pub(super) model: &'p Model,
    pub(super) layer: usize,
    pub(super) parts: &'p [Part<'p>],
}

/// `out = W x` for matrices of a layer with the input `x`: `[n][cols]`; and what the adapters of
/// each part add.
pub(super) fn multiply<const N: usize>(
    exec: &mut Exec,
    Place { model, layer, parts }: Place<'_>,
    x: &[f32],
    scratch: &mut Quantized,
    outputs: [(&Linear, &mut Vec<f32>); N],
) -> Result<(), OutOfMemory> {
    let mut outputs = outputs.map(|(linear, out)| (linear.role, model.matrix(&linear.weight), out));
    let cols = outputs.first().map_or(0, |(_, matrix, _)| matrix.cols());
    let mut ops = outputs.each_mut().map(|(_, matrix, out)| MatmulOp { matrix: *matrix, out });
    matmul(exec, x, cols, scratch, &mut ops);
    let mut row = 0;
    for part in parts {
        let rows = row..row + part.tokens.len();
        row = rows.end;
        for (adapter, scale) in part.adapters {
            for (role, matrix, out) in &mut outputs {
                let name = TensorName::in_layer(layer, *role);
                let out = &mut out[rows.start * matrix.rows()..rows.end * matrix.rows()];
                adapter.add(exec, name, *scale, &x[rows.start * cols..rows.end * cols], scratch, out)?;
            }
        }
    }
    Ok(())
}

/// `to = norm(from)`, or `from` itself without a norm.
pub(super) fn input(exec: &Exec, config: &Config, norm: Option<&Norm>, from: &[f32], to: &mut [f32]) {
    let (isa, width) = (exec.isa, config.hidden);
    for_each_row(&exec.pool, to, width, |i, to| {
        to.copy_from_slice(&from[i * width..][..width]);
        if let Some(norm) = norm {
            norm_row(isa, config, norm, to);
        }
    });
}

/// `x += scale * branch`, or with a norm `x += scale * norm(branch)`, or `x = norm(x + scale *
/// branch)`, as the norms of a layer are placed.
pub(super) fn add_residual(exec: &Exec, config: &Config, norm: Option<&Norm>, branch: &mut [f32], x: &mut [f32]) {
    let of_sum = config.norms == NormPlacement::AfterSum;
    if let Some(norm) = norm.filter(|_| !of_sum) {
        normalize(exec, config, norm, branch);
    }
    let (width, scale, branch) = (config.hidden, config.residual_scale, &*branch);
    for_each_row(&exec.pool, x, width, |i, x| add_scaled(x, &branch[i * width..], scale));
    if let Some(norm) = norm.filter(|_| of_sum) {
        normalize(exec, config, norm, x);
    }
}

/// `x = norm(x)`, row by row.
pub(super) fn normalize(exec: &Exec, config: &Config, norm: &Norm, x: &mut [f32]) {
    let isa = exec.isa;
    for_each_row(&exec.pool, x, config.hidden, |_, x| norm_row(isa, config, norm, x));
}

/// `x = norm(x)`.
fn norm_row(isa: Isa, config: &Config, norm: &Norm, x: &mut [f32]) {
    match config.family.norm {
        NormKind::Rms => rms_norm(isa, x, &norm.weight, config.norm_epsilon),
        NormKind::Layer => layer_norm(isa, x, &norm.weight, norm.bias.as_deref(), config.norm_epsilon),
    }
}

/// Adds `bias` to each row of `x`, if there is one.
pub(super) fn add_bias(pool: &Pool, x: &mut [f32], bias: Option<&[f32]>) {
    if let Some(bias) = bias {
        for_each_row(pool, x, bias.len(), |_, x| add(x, bias));
    }
}
