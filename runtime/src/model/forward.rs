//! The forward pass: embed -> blocks -> norm -> hidden states, and the head that turns them into
//! logits.

use crate::memory::{self, OutOfMemory};
use crate::ops::{
    Exec, MatmulOp, Quantized, Queries, RopeTable, attend, for_each_row, matmul, rms_norm, rotate, soft_cap,
};

use super::Model;
use super::config::Config;
use super::family::QkNorm;
use super::feed_forward::feed_forward;
use super::name::Role;
use super::pass::{Part, Stage, Watch, add_bias, add_residual, input, multiply, normalize};
use super::state::Scratch;
use super::weights::{Attention, Mixer};

/// The batched forward pass: the tokens of all `parts`, each of a sequence of its own, in one read
/// of the weights. Their hidden states, after the final norm, are then in [`Scratch::hidden`], one
/// part after the other. The result of a part is bit-identical to running it alone.
///
/// `watch` is called at each [`Stage`]; its error ends the pass, whose positions then have to be
/// run again.
///
/// # Errors
/// [`OutOfMemory`], or the error of `watch`.
///
/// # Panics
/// If a token is not in the vocabulary, or a position was not reserved: the session takes care of
/// both.
pub fn forward<E: From<OutOfMemory>>(
    exec: &mut Exec,
    model: &Model,
    parts: &mut [Part<'_>],
    scratch: &mut Scratch,
    watch: &mut Watch<'_, E>,
) -> Result<(), E> {
    let config = model.config();
    let mut tokens = Vec::new();
    memory::reserve(&mut tokens, parts.iter().map(|part| part.tokens.len()).sum())?;
    for part in parts.iter() {
        tokens.extend_from_slice(part.tokens);
    }
    scratch.reserve(config, tokens.len())?;
    scratch.begin(config, tokens.len());
    for (kind, (table, rope)) in scratch.ropes.iter_mut().zip(config.ropes()).enumerate() {
        table.begin(rope.pairs());
        for part in parts.iter() {
            table.extend(&part.state.rotations()[kind], (part.first..).take(part.tokens.len()));
        }
    }
    scratch.query_scales.clear();
    if let Some(temperature) = config.query_temperature {
        let positions = parts.iter().flat_map(|part| (part.first..).take(part.tokens.len()));
        scratch.query_scales.extend(positions.map(|position| temperature.at(position)));
    }
    for_each_row(&exec.pool, &mut scratch.x, config.hidden, |i, x| {
        model.embed(tokens[i], x);
        for x in x {
            *x *= config.embedding_scale;
        }
    });
    for index in 0..config.layers.len() {
        watch(Stage::Layer)?;
        match &model.weights().layers[index].mixer {
            Mixer::Attention(weights) => attention(exec, model, index, weights, parts, scratch, watch)?,
        }
        feed_forward(exec, model, index, parts, scratch, watch)?;
    }
    normalize(exec, config, &model.weights().norm, &mut scratch.x);
    Ok(())
}

/// The logits of `hidden` (`[n][hidden]`): `[n][vocab]`. One matmul, so one read of the head's
/// weights, for any `n`.
pub fn head(exec: &mut Exec, model: &Model, hidden: &[f32], scratch: &mut Quantized, logits: &mut Vec<f32>) {
    let config = model.config();
    logits.resize(hidden.len() / config.hidden * config.vocab, 0.0);
    let matrix = model.matrix(&model.weights().head);
    matmul(exec, hidden, config.hidden, scratch, &mut [MatmulOp { matrix, out: logits }]);
    let isa = exec.isa;
    if config.logit_scale.total_cmp(&1.0).is_ne() {
        for_each_row(&exec.pool, logits, config.vocab, |_, logits| {
            for logit in logits.iter_mut() {
                *logit *= config.logit_scale;
            }
        });
    }
    if let Some(cap) = config.logit_softcap {
        for_each_row(&exec.pool, logits, config.vocab, |_, logits| soft_cap(isa, logits, cap));
    }
}

/// Attention of a layer: `x += W_o attend(rope(W_q n), rope(W_k n), W_v n)` with `n = norm(x)`.
/// Where the norms are, and which layers have rope, is the family's.
fn attention<E: From<OutOfMemory>>(
    exec: &mut Exec,
    model: &Model,
    index: usize,
    weights: &Attention,
    parts: &mut [Part<'_>],
    s: &mut Scratch,
    watch: &mut Watch<'_, E>,
) -> Result<(), E> {
    let (config, shape) = (model.config(), &model.config().layers[index]);
    s.begin_attention(config, shape);
    input(exec, config, weights.norm.as_ref(), &s.x, &mut s.normed);
    watch(Stage::Input { layer: index, role: Role::Query, x: &s.normed })?;
    let outputs = [(&weights.query, &mut s.query), (&weights.key, &mut s.key), (&weights.value, &mut s.value)];
    multiply(exec, model, index, parts, &s.normed, &mut s.quantized, outputs)?;
    add_bias(&exec.pool, &mut s.query, weights.query.bias.as_ref());
    add_bias(&exec.pool, &mut s.key, weights.key.bias.as_ref());
    add_bias(&exec.pool, &mut s.value, weights.value.bias.as_ref());
    let rope = shape.has_rope.then(|| &s.ropes[usize::from(shape.is_sliding)]);
    let heads = |heads, norm, scales| HeadLayout { heads, dim: shape.head_dim, rope, norm, scales };
    let queries = heads(shape.heads, weights.query_norm.as_deref(), s.query_scales.as_slice());
    place_heads(exec, config, queries, &mut s.query);
    place_heads(exec, config, heads(shape.kv_heads, weights.key_norm.as_deref(), &[]), &mut s.key);
    store(exec, parts, index, &s.key, &s.value);
    let queries = parts.iter().map(|part| Queries {
        cache: &part.state.cache[index],
        first: part.first,
        count: part.tokens.len(),
    });
    attend(exec, queries, config.attention_params(shape), &s.query, &mut s.mixed)?;
    s.end_attention();
    watch(Stage::Input { layer: index, role: Role::AttentionOutput, x: &s.mixed })?;
    multiply(exec, model, index, parts, &s.mixed, &mut s.quantized, [(&weights.output, &mut s.query)])?;
    add_bias(&exec.pool, &mut s.query, weights.output.bias.as_ref());
    add_residual(exec, config, weights.post_norm.as_ref(), &mut s.query, &mut s.x);
    Ok(())
}

/// Stores the keys and values of all parts in layer `index`.
fn store(exec: &Exec, parts: &mut [Part<'_>], index: usize, mut keys: &[f32], mut values: &[f32]) {
    let tokens: usize = parts.iter().map(|part| part.tokens.len()).sum();
    let width = keys.len() / tokens.max(1);
    for part in parts {
        let (key, value);
        (key, keys) = keys.split_at(part.tokens.len() * width);
        (value, values) = values.split_at(part.tokens.len() * width);
        part.state.cache[index].store(exec, part.first, key, value);
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
    /// `[dim]` or `[heads * dim]`: see [`QkNorm`].
    norm: Option<&'a [f32]>,
    /// What each token's are multiplied by in the end; empty: 1.
    scales: &'a [f32],
}

/// Norm and rotary embedding of the queries or keys of all tokens.
fn place_heads(exec: &Exec, config: &Config, layout: HeadLayout<'_>, x: &mut [f32]) {
    let HeadLayout { heads, dim, rope, norm, scales } = layout;
    let (isa, epsilon, family) = (exec.isa, config.norm_epsilon, &config.family);
    let norm_if = |kind: QkNorm| norm.filter(|_| family.qk_norm == kind);
    let (token, before, after) = (norm_if(QkNorm::Token), norm_if(QkNorm::Heads), norm_if(QkNorm::RotatedHeads));
    for_each_row(&exec.pool, x, heads * dim, |i, heads| {
        if let Some(weight) = token {
            rms_norm(isa, heads, weight, epsilon);
        }
        for head in heads.chunks_exact_mut(dim) {
            if let Some(weight) = before {
                rms_norm(isa, head, weight, epsilon);
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
