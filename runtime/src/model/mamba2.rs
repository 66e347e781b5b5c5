//! Mamba 2: a selective state-space model, whose state is a matrix for each head, of whatever
//! length the text is (Granite 4, Falcon H1; Dao & Gu 2024, arXiv 2405.21060).

use ollm_kernels::memory::OutOfMemory;
use ollm_kernels::ops::{
    Activation, Exec, SelectiveScan, activate, activate_gate, decay, for_each_row, rms_norm, time_step,
};

use super::layer_kind::{LayerKind, Mamba2Config};
use super::name::Role;
use super::pass::{Part, Pass, Place, Stage, add_bias, add_residual, input, multiply};
use super::short_convolution::convolve;
use super::state::Scratch;
use super::weights::Mamba2;

/// Mamba 2 of a layer: `x += W_o norm(scan(u, B, C, t) * silu(z))` with `(z, c, t) = W n`, `(u, B,
/// C) = silu(convolution(c))` and `n = norm(x)`. Its state is the tail of the convolution, `[taps -
/// 1][channels]`, then that of the [`SelectiveScan`].
pub(super) fn mamba2<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &Mamba2) -> Result<(), E> {
    let Pass { exec, model, layer, parts, scratch: s, watch } = pass;
    let (layer, config, isa) = (*layer, model.config(), exec.isa);
    let (LayerKind::Mamba2(shape) | LayerKind::AttentionMamba2(shape)) = config.layers[layer].kind else {
        unreachable!("the weights are of its kind")
    };
    s.begin_mixer(config, &config.layers[layer], LayerKind::Mamba2(shape));
    // Attention in parallel with it has run before, and has left its input there.
    if !config.layers[layer].kind.has_attention() {
        input(exec, config, weights.norm.as_ref(), &s.x, &mut s.normed);
        watch(Stage::Input { layer, role: Role::Query, x: &s.normed })?;
    }
    let outputs = [(&weights.gate, &mut s.gated), (&weights.channels, &mut s.query), (&weights.step, &mut s.value)];
    multiply(exec, Place { model, layer, parts }, &s.normed, &mut s.quantized, outputs)?;
    for_each_row(&exec.pool, &mut s.value, shape.heads, |_, x| time_step(isa, x, &weights.step_bias));
    s.key.copy_from_slice(&s.value);
    for_each_row(&exec.pool, &mut s.key, shape.heads, |_, x| decay(isa, x, &weights.scale));
    convolve(exec, layer, &weights.kernel, shape.channels(), parts, &s.query, &mut s.mixed);
    add_bias(&exec.pool, &mut s.mixed, weights.kernel_bias.as_deref());
    for_each_row(&exec.pool, &mut s.mixed, shape.channels(), |_, x| activate(isa, Activation::Silu, x));
    s.query.resize(s.gated.len(), 0.0);
    scan(exec, layer, shape, &weights.skip, parts, s);
    let (width, group) = (shape.inner_width(), shape.inner_width() / shape.groups);
    let given = &s.query;
    for_each_row(&exec.pool, &mut s.gated, width, |i, gate| {
        activate_gate(isa, Activation::Silu, gate, &given[i * width..]);
        let norms = weights.output_norm.iter().flat_map(|norms| norms.chunks_exact(group));
        for (group, norm) in gate.chunks_exact_mut(group).zip(norms) {
            rms_norm(isa, group, norm, config.norm_epsilon);
        }
    });
    s.end_mixer();
    watch(Stage::Input { layer, role: Role::SsmOutput, x: &s.gated })?;
    let place = Place { model, layer, parts };
    multiply(exec, place, &s.gated, &mut s.quantized, [(&weights.output, &mut s.query)])?;
    add_residual(exec, config, None, &mut s.query, &mut s.x);
    Ok(())
}

/// The scan over each part's tokens, from checkpoint to checkpoint: of [`Scratch::mixed`], with
/// decays and time steps in [`Scratch::key`] and [`Scratch::value`], to [`Scratch::query`].
fn scan(exec: &Exec, layer: usize, shape: Mamba2Config, skip: &[f32], parts: &mut [Part<'_>], s: &mut Scratch) {
    let Mamba2Config { heads, head_dim, groups, state_size, .. } = shape;
    let (mut first, channels, width) = (0, shape.channels(), shape.inner_width());
    for part in parts {
        let tokens = first..first + part.tokens.len();
        first = tokens.end;
        let scan = SelectiveScan {
            heads,
            head_dim,
            groups,
            state_size,
            inputs: &s.mixed[tokens.start * channels..tokens.end * channels],
            step: &s.value[tokens.start * heads..tokens.end * heads],
            decay: &s.key[tokens.start * heads..tokens.end * heads],
            skip,
        };
        let out = &mut s.query[tokens.start * width..tokens.end * width];
        part.advance(layer, shape.tail_width(), |tokens, state, next| scan.run(exec, tokens, state, next, out));
    }
}
