//! Attention: what mixes tokens by their keys and values.

use ollm_kernels::memory::OutOfMemory;
use ollm_kernels::ops::{
    AttentionParams, Exec, Queries, RopeTable, attend, for_each_row, layer_norm, rms_norm, rotate, sigmoid,
};

use super::config::Config;
use super::family::QkNorm;
use super::layer_kind::LayerKind;
use super::name::Role;
use super::pass::{Part, Pass, Place, Stage, add_bias, add_residual, input, multiply};
use super::state::Scratch;
use super::weights::{Attention, KeysValues};

/// Attention of a layer: `x += W_o attend(rope(W_q n), rope(W_k n), W_v n)` with `n = norm(x)`.
/// Where the norms are, which layers have rope, which have the keys and values of another, and
/// whether each head is multiplied by the sigmoid of a gate, is the family's.
pub(super) fn attention<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &Attention) -> Result<(), E> {
    let Pass { exec, model, layer, parts, scratch: s, watch } = pass;
    let (layer, config) = (*layer, model.config());
    let shape = &config.layers[layer];
    s.begin_mixer(config, shape, LayerKind::Attention);
    input(exec, config, weights.norm.as_ref(), &s.x, &mut s.normed);
    watch(Stage::Input { layer, role: Role::Query, x: &s.normed })?;
    project(exec, Place { model, layer, parts }, weights, s)?;
    let is_gated = config.family.attention_gate;
    if is_gated {
        part_gates(exec, shape.head_dim, &mut s.gated, &mut s.query);
    }
    let rope = shape.has_rope.then(|| &s.ropes[usize::from(shape.is_sliding)]);
    let heads = |heads, norm, scales| HeadLayout { heads, dim: shape.head_dim, rope, norm, scales };
    let queries = heads(shape.heads, weights.query_norm.as_deref(), s.query_scales.as_slice());
    place_heads(exec, config, queries, &mut s.query);
    if let Some(keys) = &weights.keys {
        place_heads(exec, config, heads(shape.kv_heads, keys.key_norm.as_deref(), &[]), &mut s.key);
        if let Some(norm) = &keys.value_norm {
            let (isa, epsilon) = (exec.isa, config.norm_epsilon);
            for_each_row(&exec.pool, &mut s.value, shape.head_dim, |_, head| rms_norm(isa, head, norm, epsilon));
        }
        store(exec, parts, layer, &s.key, &s.value);
    }
    let queries = parts.iter().map(|part| Queries {
        cache: part.state.cache(layer),
        first: part.first,
        count: part.tokens.len(),
    });
    let params = AttentionParams { sinks: weights.sinks.as_deref(), ..config.attention_params(shape) };
    attend(exec, queries, params, &s.query, &mut s.mixed)?;
    if is_gated {
        let (dim, gates) = (shape.head_dim, &s.gated);
        for_each_row(&exec.pool, &mut s.mixed, dim, |head, mixed| {
            for (mixed, gate) in mixed.iter_mut().zip(&gates[(2 * head + 1) * dim..]) {
                *mixed *= gate;
            }
        });
    }
    s.end_mixer();
    watch(Stage::Input { layer, role: Role::AttentionOutput, x: &s.mixed })?;
    let place = Place { model, layer, parts };
    multiply(exec, place, &s.mixed, &mut s.quantized, [(&weights.output, &mut s.query)])?;
    add_bias(&exec.pool, &mut s.query, weights.output.bias.as_deref());
    add_residual(exec, config, weights.post_norm.as_ref(), &mut s.query, &mut s.x);
    Ok(())
}

/// The projections of [`Scratch::normed`]: queries, and keys and values where they are the layer's
/// own.
fn project(exec: &mut Exec, place: Place<'_>, weights: &Attention, s: &mut Scratch) -> Result<(), OutOfMemory> {
    let Attention { query, keys, .. } = weights;
    let Scratch { normed, query: own_queries, gated, key: key_heads, value: value_heads, quantized, .. } = s;
    let queries = if place.model.config().family.attention_gate { gated } else { own_queries };
    match keys {
        None => multiply(exec, place, normed, quantized, [(query, &mut *queries)])?,
        Some(KeysValues { key, value: None, .. }) => {
            multiply(exec, place, normed, quantized, [(query, &mut *queries), (key, key_heads)])?;
        }
        Some(KeysValues { key, value: Some(value), .. }) => {
            let outputs = [(query, &mut *queries), (key, key_heads), (value, value_heads)];
            multiply(exec, place, normed, quantized, outputs)?;
        }
    }
    add_bias(&exec.pool, queries, query.bias.as_deref());
    if let Some(KeysValues { key, value, .. }) = keys {
        add_bias(&exec.pool, key_heads, key.bias.as_deref());
        match value {
            Some(value) => add_bias(&exec.pool, value_heads, value.bias.as_deref()),
            None => value_heads.copy_from_slice(key_heads),
        }
    }
    Ok(())
}

/// Parts queries from gates: of `[heads][2][dim]`, the first go to `queries`, `[heads][dim]`; the
/// second stay, and become their sigmoids.
fn part_gates(exec: &Exec, dim: usize, gated: &mut [f32], queries: &mut [f32]) {
    let isa = exec.isa;
    for_each_row(&exec.pool, queries, dim, |head, query| query.copy_from_slice(&gated[2 * head * dim..][..dim]));
    for_each_row(&exec.pool, gated, 2 * dim, |_, pair| sigmoid(isa, &mut pair[dim..]));
}

/// Stores the keys and values of all parts in `layer`.
fn store(exec: &Exec, parts: &mut [Part<'_>], layer: usize, mut keys: &[f32], mut values: &[f32]) {
    let tokens: usize = parts.iter().map(|part| part.tokens.len()).sum();
    let width = keys.len() / tokens.max(1);
    for part in parts {
        let (key, value);
        (key, keys) = keys.split_at(part.tokens.len() * width);
        (value, values) = values.split_at(part.tokens.len() * width);
        part.state.cache_mut(layer).store(exec, part.first, key, value);
    }
}

/// The heads of a token, and what happens to them.
#[derive(Clone, Copy)]
struct HeadLayout<'a> {
    heads: usize,
    /// Elements of a head.
    dim: usize,
    /// Where they are, if they are rotated.
    rope: Option<&'a RopeTable>,
    /// `[dim]`, or `[heads * dim]` of all together or of each head: see [`QkNorm`].
    norm: Option<&'a [f32]>,
    /// What each token's are multiplied by in the end; empty: 1.
    scales: &'a [f32],
}

/// Norm and rotary embedding of the queries or keys of all tokens.
fn place_heads(exec: &Exec, config: &Config, layout: HeadLayout<'_>, x: &mut [f32]) {
    let HeadLayout { heads, dim, rope, norm, scales } = layout;
    let (isa, epsilon, family) = (exec.isa, config.norm_epsilon, &config.family);
    let norm_if = |kind: QkNorm| norm.filter(|_| family.qk_norm == kind);
    let (token, after) = (norm_if(QkNorm::Token), norm_if(QkNorm::RotatedHeads));
    let (before, own) = (norm_if(QkNorm::Heads), norm_if(QkNorm::OwnHeads));
    for_each_row(&exec.pool, x, heads * dim, |i, heads| {
        if let Some(weight) = token {
            rms_norm(isa, heads, weight, epsilon);
        }
        for (head, number) in heads.chunks_exact_mut(dim).zip(0..) {
            if let Some(weight) = before {
                rms_norm(isa, head, weight, epsilon);
            }
            if let Some(weights) = own {
                layer_norm(isa, head, &weights[number * dim..][..dim], None, epsilon);
            }
            if let Some(rope) = rope {
                rotate(head, rope, i, family.pairing);
            }
            if let Some(weight) = after {
                rms_norm(isa, head, weight, epsilon);
            }
        }
        if let Some(scale) = scales.get(i) {
            for x in heads.iter_mut() {
                *x *= scale;
            }
        }
    });
}
