//! Alternating updates (AltUp: Baykal et al. 2023, arXiv 2301.13310), as Gemma 3n has them: the
//! hidden state is several streams, and a layer computes the first alone. Before the layer all
//! streams are predicted by mixing them; what the layer makes of the first prediction corrects all
//! of them.

use ollm_kernels::cpu::Isa;
use ollm_kernels::memory::OutOfMemory;
use ollm_kernels::ops::{Exec, MatmulOp, Matrix, add, add_scaled, for_each_row, matmul, mean_square, scale, soft_cap};

use super::Model;
use super::config::{Config, MAX_STREAMS};
use super::name::Role;
use super::pass::{Pass, Place, Stage, input, multiply, normalize};
use super::state::Scratch;
use super::tensor::Tensor;
use super::weights::{AltUp, AltUpLayer, Norm};

/// Elements of each stream that are mixed at once.
const BLOCK: usize = 64;

/// The least mean square that a stream is divided by.
const MIN_SQUARE: f32 = 1e-5;

/// The streams of the tokens whose embeddings are in [`Scratch::x`]: the first has those, each
/// other `W_i x`, made as long as x.
pub(super) fn begin_streams(exec: &mut Exec, model: &Model, weights: &AltUp, s: &mut Scratch) {
    let (hidden, isa) = (model.config().hidden, exec.isa);
    let count = count(model.config());
    s.begin_streams(count);
    for_each_row(&exec.pool, &mut s.streams, count * hidden, |i, streams| {
        streams[..hidden].copy_from_slice(row(&s.x, i, hidden));
    });
    for stream in 1..count {
        let mut ops = [MatmulOp { matrix: projection(model, &weights.projections, stream), out: &mut s.normed }];
        matmul(exec, &s.x, hidden, &mut s.quantized, &mut ops);
        let (x, projected) = (&s.x, &s.normed);
        for_each_row(&exec.pool, &mut s.streams, count * hidden, |i, streams| {
            let (x, projected) = (row(x, i, hidden), row(projected, i, hidden));
            let stream = &mut streams[stream * hidden..][..hidden];
            stream.copy_from_slice(projected);
            scale(stream, ratio(isa, x, projected));
        });
    }
}

/// Before a layer: `stream_i += sum of C_ij stream_j`, where C is linear in the modalities of the
/// first stream. The first is then the input of the layer.
pub(super) fn predict<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &AltUpLayer) -> Result<(), E> {
    let (hidden, count) = (pass.model.config().hidden, count(pass.model.config()));
    load_active_stream(pass.exec, count, hidden, pass.scratch);
    modalities(pass, weights)?;
    let (exec, s) = (&mut *pass.exec, &mut *pass.scratch);
    let modalities = &s.gate;
    for_each_row(&exec.pool, &mut s.streams, count * hidden, |i, streams| {
        let mut coefficients = [0.0; MAX_STREAMS * MAX_STREAMS];
        let coefficients = &mut coefficients[..count * count];
        combine(&weights.prediction, row(modalities, i, count), coefficients);
        mix(streams, hidden, coefficients);
    });
    load_active_stream(exec, count, hidden, s);
    Ok(())
}

/// After a layer, whose output is x: `stream_i += (1 + c_i) (x - stream_0)`, where c is linear in
/// the modalities of x. Then x is the first stream times a scale, the input of the per-layer gate.
pub(super) fn correct<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &AltUpLayer) -> Result<(), E> {
    let (hidden, count) = (pass.model.config().hidden, count(pass.model.config()));
    modalities(pass, weights)?;
    let (exec, s) = (&mut *pass.exec, &mut *pass.scratch);
    let (modalities, streams) = (&s.gate, &s.streams);
    for_each_row(&exec.pool, &mut s.x, hidden, |i, x| add_scaled(x, row(streams, i, count * hidden), -1.0));
    let innovation = &s.x;
    for_each_row(&exec.pool, &mut s.streams, count * hidden, |i, streams| {
        let mut coefficients = [0.0; MAX_STREAMS];
        let coefficients = &mut coefficients[..count];
        combine(&weights.correction, row(modalities, i, count), coefficients);
        for (stream, coefficient) in streams.chunks_exact_mut(hidden).zip(coefficients) {
            add_scaled(stream, row(innovation, i, hidden), 1.0 + *coefficient);
        }
    });
    load_active_stream(exec, count, hidden, s);
    for_each_row(&exec.pool, &mut s.x, hidden, |_, x| {
        for (x, scale) in x.iter_mut().zip(&weights.correction_scale) {
            *x *= scale;
        }
    });
    Ok(())
}

/// Adds the norm of [`Scratch::normed`] to the inactive streams: all but the first.
pub(super) fn add_to_inactive_streams(exec: &Exec, config: &Config, norm: &Norm, s: &mut Scratch) {
    let (hidden, count) = (config.hidden, count(config));
    normalize(exec, config, norm, &mut s.normed);
    let branch = &s.normed;
    for_each_row(&exec.pool, &mut s.streams, count * hidden, |i, streams| {
        for stream in streams[hidden..].chunks_exact_mut(hidden) {
            add(stream, row(branch, i, hidden));
        }
    });
}

/// `x`: the mean of the streams, each but the first projected, and made as long as that.
pub(super) fn sum_streams(exec: &mut Exec, model: &Model, weights: &AltUp, s: &mut Scratch) {
    let (hidden, isa) = (model.config().hidden, exec.isa);
    let count = count(model.config());
    load_active_stream(exec, count, hidden, s);
    s.end_mixer();
    for stream in 1..count {
        let streams = &s.streams;
        for_each_row(&exec.pool, &mut s.normed, hidden, |i, to| {
            to.copy_from_slice(&row(streams, i, count * hidden)[stream * hidden..][..hidden]);
        });
        let mut ops = [MatmulOp { matrix: projection(model, &weights.unembeddings, stream), out: &mut s.query }];
        matmul(exec, &s.normed, hidden, &mut s.quantized, &mut ops);
        let (streams, projected) = (&s.streams, &s.query);
        for_each_row(&exec.pool, &mut s.x, hidden, |i, x| {
            let (first, projected) = (&row(streams, i, count * hidden)[..hidden], row(projected, i, hidden));
            add_scaled(x, projected, ratio(isa, first, projected));
        });
    }
    for_each_row(&exec.pool, &mut s.x, hidden, |_, x| scale(x, 1.0 / count as f32));
}

/// The modalities of each row of x, to [`Scratch::gate`]: `tanh(R norm(x) / hidden)`,
/// `[n][streams]`.
fn modalities<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &AltUpLayer) -> Result<(), E> {
    let Pass { exec, model, layer, parts, scratch: s, watch } = pass;
    let (config, isa, count) = (model.config(), exec.isa, count(model.config()));
    input(exec, config, Some(&weights.router_norm), &s.x, &mut s.normed);
    s.begin_gate(config, count);
    watch(Stage::Input { layer: *layer, role: Role::AltUpRouter, x: &s.normed })?;
    let place = Place { model, layer: *layer, parts };
    multiply(exec, place, &s.normed, &mut s.quantized, [(&weights.router, &mut s.gate)])?;
    for_each_row(&exec.pool, &mut s.gate, count, |_, routed| {
        scale(routed, 1.0 / config.hidden as f32);
        soft_cap(isa, routed, 1.0);
    });
    Ok(())
}

/// Streams of a model that has several.
fn count(config: &Config) -> usize {
    config.streams.unwrap_or(1)
}

/// The matrix of a stream: the first has none.
fn projection<'a>(model: &'a Model, stack: &'a Tensor, stream: usize) -> Matrix<'a> {
    let hidden = model.config().hidden;
    model.matrix(stack).slice((stream - 1) * hidden..stream * hidden)
}

/// `x`: the active stream, which is the first.
fn load_active_stream(exec: &Exec, count: usize, hidden: usize, s: &mut Scratch) {
    let streams = &s.streams;
    for_each_row(&exec.pool, &mut s.x, hidden, |i, x| x.copy_from_slice(&row(streams, i, count * hidden)[..hidden]));
}

/// What makes `other` as long as x.
fn ratio(isa: Isa, x: &[f32], other: &[f32]) -> f32 {
    (mean_square(isa, x) / mean_square(isa, other).max(MIN_SQUARE)).sqrt()
}

fn row(x: &[f32], i: usize, width: usize) -> &[f32] {
    &x[i * width..][..width]
}

/// `out = W x` of a few floats.
fn combine(weights: &[f32], x: &[f32], out: &mut [f32]) {
    for (out, weights) in out.iter_mut().zip(weights.chunks_exact(x.len())) {
        *out = weights.iter().zip(x).map(|(weight, x)| weight * x).sum();
    }
}

/// `stream_i += sum of C_ij stream_j`: `streams` are `[count][hidden]`, C is `[count][count]`.
fn mix(streams: &mut [f32], hidden: usize, coefficients: &[f32]) {
    let count = streams.len() / hidden;
    let mut old = [[0.0; BLOCK]; MAX_STREAMS];
    for start in (0..hidden).step_by(BLOCK) {
        let length = BLOCK.min(hidden - start);
        for (old, stream) in old.iter_mut().zip(streams.chunks_exact(hidden)) {
            old[..length].copy_from_slice(&stream[start..][..length]);
        }
        for (stream, row) in streams.chunks_exact_mut(hidden).zip(coefficients.chunks_exact(count)) {
            for (old, &coefficient) in old.iter().zip(row) {
                add_scaled(&mut stream[start..][..length], old, coefficient);
            }
        }
    }
}
