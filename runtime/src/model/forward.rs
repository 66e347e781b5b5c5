//! The forward pass: embed -> blocks -> norm -> hidden states, and the head that turns them into
//! logits.

use crate::cpu::{Isa, Pool};
use crate::memory::{self, OutOfMemory};
use crate::ops::{
    Exec, MatmulOp, Quantized, Queries, RopeTable, activate, activate_gate, add, add_scaled, attend, for_each_row,
    layer_norm, matmul, rms_norm, rotate, soft_cap,
};

use super::Model;
use super::adapter::Adapted;
use super::config::Config;
use super::family::{NormKind, NormPlacement, QkNorm};
use super::name::{Role, TensorName};
use super::state::{Scratch, State};
use super::weights::{Attention, Linear, Mixer, Norm};

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
}

/// The observer of a pass: called at each stage, may end the pass with an error.
pub type Watch<'a, E> = dyn FnMut(Stage<'_>) -> Result<(), E> + 'a;

/// Tokens of one sequence that go through the network.
#[derive(Debug)]
pub struct Part<'a> {
    /// The sequence. It holds what comes before the tokens, and their positions are reserved.
    pub state: &'a mut State,
    /// The tokens, all in the vocabulary.
    pub tokens: &'a [u32],
    /// The position of the first of them.
    pub first: usize,
    /// The adapters of the sequence.
    pub adapters: &'a [Adapted],
}

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

/// `out = W x` for matrices of layer `index` with the input `x`: `[n][cols]`; and what the adapters
/// of each part add.
fn multiply<const N: usize>(
    exec: &mut Exec,
    model: &Model,
    index: usize,
    parts: &[Part<'_>],
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
                let name = TensorName::in_layer(index, *role);
                let out = &mut out[rows.start * matrix.rows()..rows.end * matrix.rows()];
                adapter.add(exec, name, *scale, &x[rows.start * cols..rows.end * cols], scratch, out)?;
            }
        }
    }
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

/// Feed-forward network of a layer: `x += W_down (act(W_gate n) * W_up n)` with `n = norm(x)`, or
/// without a gate `x += W_down act(W_up n)`. Beside attention, `n` is what attention had.
fn feed_forward<E: From<OutOfMemory>>(
    exec: &mut Exec,
    model: &Model,
    index: usize,
    parts: &[Part<'_>],
    s: &mut Scratch,
    watch: &mut Watch<'_, E>,
) -> Result<(), E> {
    let (config, weights) = (model.config(), &model.weights().layers[index].feed_forward);
    let (ffn, activation) = (config.layers[index].ffn, config.family.activation);
    s.begin_feed_forward(config, ffn);
    if config.norms != NormPlacement::Parallel {
        input(exec, config, weights.norm.as_ref(), &s.x, &mut s.normed);
    }
    watch(Stage::Input { layer: index, role: Role::FfnGate, x: &s.normed })?;
    let isa = exec.isa;
    if let Some(gate) = &weights.gate {
        let outputs = [(gate, &mut s.gate), (&weights.up, &mut s.up)];
        multiply(exec, model, index, parts, &s.normed, &mut s.quantized, outputs)?;
        add_bias(&exec.pool, &mut s.gate, gate.bias.as_ref());
        add_bias(&exec.pool, &mut s.up, weights.up.bias.as_ref());
        let up = &s.up;
        for_each_row(&exec.pool, &mut s.gate, ffn, |i, gate| activate_gate(isa, activation, gate, &up[i * ffn..]));
    } else {
        multiply(exec, model, index, parts, &s.normed, &mut s.quantized, [(&weights.up, &mut s.gate)])?;
        add_bias(&exec.pool, &mut s.gate, weights.up.bias.as_ref());
        for_each_row(&exec.pool, &mut s.gate, ffn, |_, x| activate(isa, activation, x));
    }
    watch(Stage::Input { layer: index, role: Role::FfnDown, x: &s.gate })?;
    multiply(exec, model, index, parts, &s.gate, &mut s.quantized, [(&weights.down, &mut s.normed)])?;
    add_bias(&exec.pool, &mut s.normed, weights.down.bias.as_ref());
    add_residual(exec, config, weights.post_norm.as_ref(), &mut s.normed, &mut s.x);
    Ok(())
}

/// `to = norm(from)`, or `from` itself without a norm.
fn input(exec: &Exec, config: &Config, norm: Option<&Norm>, from: &[f32], to: &mut [f32]) {
    let (isa, width) = (exec.isa, config.hidden);
    for_each_row(&exec.pool, to, width, |i, to| {
        to.copy_from_slice(&from[i * width..][..width]);
        if let Some(norm) = norm {
            norm_row(isa, config, norm, to);
        }
    });
}

/// `x += scale * branch`, which is normalized first if there is a norm for it.
fn add_residual(exec: &Exec, config: &Config, norm: Option<&Norm>, branch: &mut [f32], x: &mut [f32]) {
    if let Some(norm) = norm {
        normalize(exec, config, norm, branch);
    }
    let (width, scale, branch) = (config.hidden, config.residual_scale, &*branch);
    for_each_row(&exec.pool, x, width, |i, x| add_scaled(x, &branch[i * width..], scale));
}

/// `x = norm(x)`, row by row.
fn normalize(exec: &Exec, config: &Config, norm: &Norm, x: &mut [f32]) {
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
fn add_bias(pool: &Pool, x: &mut [f32], bias: Option<&Vec<f32>>) {
    if let Some(bias) = bias {
        for_each_row(pool, x, bias.len(), |_, x| add(x, bias));
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
