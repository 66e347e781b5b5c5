//! Per-layer embeddings: each token has, beside the embedding that enters the first layer, a small
//! one for every layer (Gemma 3n and 4, `project_per_layer_inputs` in transformers). The table of
//! them is larger than all layers together, and a step reads one row of it: it stays in the file.

use ollm_kernels::memory::OutOfMemory;
use ollm_kernels::ops::{Exec, MatmulOp, activate_gate, add_scaled, for_each_row, matmul, rms_norm, scale};

use super::Model;
use super::altup::add_to_inactive_streams;
use super::name::Role;
use super::pass::{Pass, Place, Stage, add_residual, multiply};
use super::state::Scratch;
use super::weights::{Layer, PerLayerEmbedding, PerLayerInput};

/// What the layers get of the tokens, whose scaled embeddings are in [`Scratch::x`]:
/// `(norm(W x / sqrt(hidden)) + sqrt(per_layer) e) / sqrt(2)`, of each layer its part of `W x` and
/// of the row e of the table.
pub(super) fn per_layer_inputs(
    exec: &mut Exec,
    model: &Model,
    weights: &PerLayerEmbedding,
    tokens: &[u32],
    s: &mut Scratch,
) {
    let (config, isa) = (model.config(), exec.isa);
    let (width, layer_width) = (config.per_layer_width(), weights.norm.len());
    s.begin_per_layer(config);
    for_each_row(&exec.pool, &mut s.up, width, |i, row| model.decode_row(&weights.embedding, tokens[i], row));
    let mut ops = [MatmulOp { matrix: model.matrix(&weights.projection), out: &mut s.per_layer }];
    matmul(exec, &s.x, config.hidden, &mut s.quantized, &mut ops);
    let projected_scale = 1.0 / (config.hidden as f32).sqrt();
    let (embedding_scale, sum_scale) = ((layer_width as f32).sqrt(), 0.5_f32.sqrt());
    let embeddings = &s.up;
    for_each_row(&exec.pool, &mut s.per_layer, width, |i, row| {
        scale(row, projected_scale);
        for layer in row.chunks_exact_mut(layer_width) {
            rms_norm(isa, layer, &weights.norm, config.norm_epsilon);
        }
        add_scaled(row, &embeddings[i * width..][..width], embedding_scale);
        scale(row, sum_scale);
    });
}

/// The end of a layer: `x = scale (x + norm(W_o (act(W_g x) * its per-layer input)))`, as far as it
/// has these. With AltUp the sum is that of the other streams.
pub(super) fn end_layer<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &Layer) -> Result<(), E> {
    if let Some(input) = &weights.per_layer {
        add_input(pass, input)?;
    }
    if let Some(factor) = weights.scale {
        for_each_row(&pass.exec.pool, &mut pass.scratch.x, pass.model.config().hidden, |_, x| scale(x, factor));
    }
    Ok(())
}

fn add_input<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &PerLayerInput) -> Result<(), E> {
    let Pass { exec, model, layer, parts, scratch: s, watch } = pass;
    let (place, config, isa) = (Place { model, layer: *layer, parts }, model.config(), exec.isa);
    let (all, own) = (config.per_layer_width(), model.matrix(&weights.gate.weight).rows());
    s.begin_gate(config, own);
    watch(Stage::Input { layer: place.layer, role: Role::PerLayerGate, x: &s.x })?;
    multiply(exec, place, &s.x, &mut s.quantized, [(&weights.gate, &mut s.gate)])?;
    let (activation, inputs) = (config.family.activation, &s.per_layer);
    for_each_row(&exec.pool, &mut s.gate, own, |i, gate| {
        activate_gate(isa, activation, gate, &inputs[i * all + place.layer * own..]);
    });
    watch(Stage::Input { layer: place.layer, role: Role::PerLayerOutput, x: &s.gate })?;
    multiply(exec, place, &s.gate, &mut s.quantized, [(&weights.output, &mut s.normed)])?;
    if config.streams.is_some() {
        add_to_inactive_streams(exec, config, &weights.post_norm, s);
    } else {
        add_residual(exec, config, Some(&weights.post_norm), &mut s.normed, &mut s.x);
    }
    Ok(())
}
