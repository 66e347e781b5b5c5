//! Gated short convolutions: what mixes a token with the few before it (LFM2, arXiv 2511.23404).

use ollm_kernels::memory::OutOfMemory;
use ollm_kernels::ops::{Convolution, Exec, for_each_row};

use super::name::Role;
use super::pass::{Part, Pass, Place, Stage, add_bias, add_residual, input, multiply};
use super::weights::ShortConvolution;

/// The short convolution of a layer: `x += W_o (c * convolution(b * u))` with `(b, c, u) = W_i
/// norm(x)`, element by element. Its state is what the convolution still sees of the tokens before:
/// their last `taps - 1` inputs, `[taps - 1][hidden]`.
pub(super) fn short_convolution<E: From<OutOfMemory>>(
    pass: &mut Pass<'_, '_, E>,
    weights: &ShortConvolution,
) -> Result<(), E> {
    let Pass { exec, model, layer, parts, scratch: s, watch } = pass;
    let (layer, config) = (*layer, model.config());
    s.begin_mixer(config, &config.layers[layer], config.layers[layer].kind);
    input(exec, config, weights.norm.as_ref(), &s.x, &mut s.normed);
    watch(Stage::Input { layer, role: Role::ConvolutionInput, x: &s.normed })?;
    let outputs = [(&weights.input, &mut s.query)];
    multiply(exec, Place { model, layer, parts }, &s.normed, &mut s.quantized, outputs)?;
    add_bias(&exec.pool, &mut s.query, weights.input.bias.as_deref());
    let (hidden, projected) = (config.hidden, &s.query);
    for_each_row(&exec.pool, &mut s.key, hidden, |i, gated| {
        let (gates, inputs) = (&projected[3 * i * hidden..], &projected[(3 * i + 2) * hidden..]);
        for ((gated, gate), input) in gated.iter_mut().zip(gates).zip(inputs) {
            *gated = gate * input;
        }
    });
    convolve(exec, layer, &weights.kernel, hidden, parts, &s.key, &mut s.mixed);
    for_each_row(&exec.pool, &mut s.mixed, hidden, |i, mixed| {
        for (mixed, gate) in mixed.iter_mut().zip(&projected[(3 * i + 1) * hidden..]) {
            *mixed *= gate;
        }
    });
    s.end_mixer();
    watch(Stage::Input { layer, role: Role::ConvolutionOutput, x: &s.mixed })?;
    let outputs = [(&weights.output, &mut s.query)];
    multiply(exec, Place { model, layer, parts }, &s.mixed, &mut s.quantized, outputs)?;
    add_bias(&exec.pool, &mut s.query, weights.output.bias.as_deref());
    add_residual(exec, config, None, &mut s.query, &mut s.x);
    Ok(())
}

/// The convolution of each part's inputs, and its tails after the tokens, with which the states of
/// the layer begin. `inputs` and `out` are `[n][channels]`, one part after the other.
pub(super) fn convolve(
    exec: &Exec,
    layer: usize,
    kernel: &[f32],
    channels: usize,
    parts: &mut [Part<'_>],
    mut inputs: &[f32],
    mut out: &mut [f32],
) {
    for part in parts {
        let (own, own_out);
        (own, inputs) = inputs.split_at(part.tokens.len() * channels);
        (own_out, out) = out.split_at_mut(part.tokens.len() * channels);
        if part.tokens.is_empty() {
            continue;
        }
        let (state, after) = part.state.recurrent(layer, part.first);
        let size = kernel.len() - channels;
        let convolution = Convolution { kernel, tail: &state[..size], inputs: own, channels };
        convolution.run(exec, own_out);
        after.for_each(|(tokens, state)| convolution.tail_after(tokens, &mut state[..size]));
    }
}
