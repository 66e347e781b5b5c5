//! Gated delta nets: linear attention, whose state is a matrix for each head, of whatever length
//! the text is (Qwen3-Next, Qwen3.5; Yang et al. 2024, arXiv 2412.06464).

use ollm_kernels::memory::OutOfMemory;
use ollm_kernels::ops::{
    Activation, DeltaRule, Exec, activate, activate_gate, decay, for_each_row, l2_norm, rms_norm, sigmoid, time_step,
};

use super::layer_kind::{DeltaNetConfig, LayerKind};
use super::name::Role;
use super::pass::{Part, Pass, Place, Stage, add_bias, add_residual, input, multiply};
use super::short_convolution::convolve;
use super::state::Scratch;
use super::weights::DeltaNet;

/// What keeps the lengths of queries and keys above 0: that of transformers' `l2norm`, whatever the
/// model's norms have.
const L2_EPSILON: f32 = 1e-6;

/// The gated delta net of a layer: `x += W_o (norm(delta(q, k, v)) * silu(W_z n))` with
/// `(q, k, v) = silu(convolution(W n))` and `n = norm(x)`; queries and keys are unit vectors, and
/// the decay and the rate of each head follow from n too. Its state is the tail of the convolution,
/// `[taps - 1][channels]`, then that of the [`DeltaRule`].
pub(super) fn delta_net<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &DeltaNet) -> Result<(), E> {
    let Pass { exec, model, layer, parts, scratch: s, watch } = pass;
    let (layer, config, isa) = (*layer, model.config(), exec.isa);
    let LayerKind::GatedDeltaNet(shape) = config.layers[layer].kind else {
        unreachable!("the weights are of its kind")
    };
    s.begin_mixer(config, &config.layers[layer], config.layers[layer].kind);
    input(exec, config, weights.norm.as_ref(), &s.x, &mut s.normed);
    watch(Stage::Input { layer, role: Role::Query, x: &s.normed })?;
    let outputs = [
        (&weights.query_key_value, &mut s.query),
        (&weights.gate, &mut s.gated),
        (&weights.decay, &mut s.key),
        (&weights.rate, &mut s.value),
    ];
    multiply(exec, Place { model, layer, parts }, &s.normed, &mut s.quantized, outputs)?;
    add_bias(&exec.pool, &mut s.query, weights.query_key_value.bias.as_deref());
    add_bias(&exec.pool, &mut s.gated, weights.gate.bias.as_deref());
    add_bias(&exec.pool, &mut s.key, weights.decay.bias.as_deref());
    add_bias(&exec.pool, &mut s.value, weights.rate.bias.as_deref());
    for_each_row(&exec.pool, &mut s.key, shape.value_heads, |_, x| {
        time_step(isa, x, &weights.step);
        decay(isa, x, &weights.scale);
    });
    for_each_row(&exec.pool, &mut s.value, shape.value_heads, |_, x| sigmoid(isa, x));
    convolve(exec, layer, &weights.kernel, shape.channels(), parts, &s.query, &mut s.mixed);
    for_each_row(&exec.pool, &mut s.mixed, shape.channels(), |_, x| {
        activate(isa, Activation::Silu, x);
        let (queries, rest) = x.split_at_mut(shape.key_width());
        let scale = 1.0 / (shape.head_dim as f32).sqrt();
        for (heads, scale) in [(queries, scale), (&mut rest[..shape.key_width()], 1.0)] {
            for head in heads.chunks_exact_mut(shape.head_dim) {
                l2_norm(isa, head, scale, L2_EPSILON);
            }
        }
    });
    s.query.resize(s.gated.len(), 0.0);
    mix(exec, layer, shape, parts, s);
    for_each_row(&exec.pool, &mut s.query, shape.head_dim, |_, head| {
        rms_norm(isa, head, &weights.output_norm, config.norm_epsilon);
    });
    let (width, heads) = (shape.value_width(), &s.query);
    for_each_row(&exec.pool, &mut s.gated, width, |i, gate| {
        activate_gate(isa, Activation::Silu, gate, &heads[i * width..]);
    });
    s.end_mixer();
    watch(Stage::Input { layer, role: Role::SsmOutput, x: &s.gated })?;
    let place = Place { model, layer, parts };
    multiply(exec, place, &s.gated, &mut s.quantized, [(&weights.output, &mut s.query)])?;
    add_bias(&exec.pool, &mut s.query, weights.output.bias.as_deref());
    add_residual(exec, config, None, &mut s.query, &mut s.x);
    Ok(())
}

/// The delta rule over each part's tokens, from checkpoint to checkpoint: of [`Scratch::mixed`],
/// with decays and rates in [`Scratch::key`] and [`Scratch::value`], to [`Scratch::query`].
fn mix(exec: &Exec, layer: usize, shape: DeltaNetConfig, parts: &mut [Part<'_>], s: &mut Scratch) {
    let DeltaNetConfig { key_heads, value_heads, head_dim, .. } = shape;
    let (mut first, channels, width) = (0, shape.channels(), shape.value_width());
    for part in parts {
        let tokens = first..first + part.tokens.len();
        first = tokens.end;
        let rule = DeltaRule {
            key_heads,
            value_heads,
            head_dim,
            query_key_value: &s.mixed[tokens.start * channels..tokens.end * channels],
            decay: &s.key[tokens.start * value_heads..tokens.end * value_heads],
            rate: &s.value[tokens.start * value_heads..tokens.end * value_heads],
        };
        let out = &mut s.query[tokens.start * width..tokens.end * width];
        part.advance(layer, shape.tail_width(), |tokens, state, next| rule.run(exec, tokens, state, next, out));
    }
}
