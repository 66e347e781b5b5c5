//! The forward pass: embed -> blocks -> norm -> hidden states, and the head that turns them into
//! logits.

use ollm_kernels::memory::{self, OutOfMemory};
use ollm_kernels::ops::{Exec, MatmulOp, Quantized, add, for_each_row, matmul, scale, soft_cap};

use super::Model;
use super::altup::{begin_streams, correct, predict, sum_streams};
use super::attention::attention;
use super::delta_net::delta_net;
use super::feed_forward::feed_forward;
use super::laurel::low_rank_residual;
use super::mamba2::mamba2;
use super::pass::{Part, Pass, Stage, Watch, normalize};
use super::per_layer::{end_layer, per_layer_inputs};
use super::short_convolution::short_convolution;
use super::state::Scratch;
use super::weights::{Layer, Mixer};

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
/// If a token is not in the vocabulary, a position was not reserved or has no embedding where it
/// needs one, or recurrent layers have no checkpoint where a part begins: the session takes care of
/// all of these.
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
    for Part { state, tokens, first, drafted, .. } in parts.iter_mut() {
        state.checkpoints.begin(*first, tokens.len(), *drafted)?;
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
    embed(exec, model, &tokens, parts, scratch);
    if let Some(weights) = &model.weights().per_layer {
        per_layer_inputs(exec, model, weights, &tokens, scratch);
    }
    if let Some(weights) = &model.weights().altup {
        begin_streams(exec, model, weights, scratch);
    }
    let mut pass = Pass { exec, model, layer: 0, parts, scratch, watch };
    for (index, layer) in model.weights().layers.iter().enumerate() {
        pass.layer = index;
        forward_layer(&mut pass, layer)?;
    }
    let Pass { exec, scratch, .. } = pass;
    if let Some(weights) = &model.weights().altup {
        sum_streams(exec, model, weights, scratch);
    }
    if let Some(norm) = &model.weights().norm {
        normalize(exec, config, norm, &mut scratch.x);
    }
    Ok(())
}

/// A layer: what mixes tokens, then the feed-forward network, and what the family has around them.
fn forward_layer<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, layer: &Layer) -> Result<(), E> {
    (pass.watch)(Stage::Layer)?;
    if let Some(weights) = &layer.altup {
        predict(pass, weights)?;
    }
    match &layer.mixer {
        Mixer::Attention(weights) => attention(pass, weights)?,
        Mixer::ShortConvolution(weights) => short_convolution(pass, weights)?,
        Mixer::DeltaNet(weights) => delta_net(pass, weights)?,
        Mixer::Mamba2(weights) => mamba2(pass, weights)?,
        Mixer::AttentionMamba2(weights, recurrent) => {
            attention(pass, weights)?;
            mamba2(pass, recurrent)?;
        }
    }
    if let Some(weights) = &layer.laurel {
        low_rank_residual(pass, weights)?;
    }
    feed_forward(pass, &layer.feed_forward)?;
    if let Some(weights) = &layer.altup {
        correct(pass, weights)?;
    }
    end_layer(pass, layer)
}

/// The input of the first layer: `norm(scale * e(token) + e(segment) + e(position))`, as far as the
/// family has these.
fn embed(exec: &Exec, model: &Model, tokens: &[u32], parts: &[Part<'_>], s: &mut Scratch) {
    let (config, weights, hidden) = (model.config(), model.weights(), model.config().hidden);
    for_each_row(&exec.pool, &mut s.x, hidden, |i, x| {
        model.embed(tokens[i], x);
        scale(x, config.embedding_scale);
    });
    if let Some(segments) = &weights.token_types {
        let is_second =
            parts.iter().flat_map(|part| (part.first..).take(part.tokens.len()).map(|at| at >= part.second));
        for (x, is_second) in s.x.chunks_exact_mut(hidden).zip(is_second) {
            // A file may have one kind of segments.
            let kind = usize::from(is_second).min(segments.len() / hidden - 1);
            add(x, &segments[kind * hidden..][..hidden]);
        }
    }
    if let Some(table) = &weights.positions {
        let positions = parts.iter().flat_map(|part| (part.first..).take(part.tokens.len()));
        for (x, position) in s.x.chunks_exact_mut(hidden).zip(positions) {
            add(x, &table[position * hidden..][..hidden]);
        }
    }
    if let Some(norm) = &weights.embedding_norm {
        normalize(exec, config, norm, &mut s.x);
    }
}

/// The logits of `hidden` (`[n][hidden]`): `[n][vocab]`. One matmul, so one read of the head's
/// weights, for any `n`.
///
/// # Panics
/// If the model has no head: sessions ask no logits of models with bidirectional attention.
pub fn head(exec: &mut Exec, model: &Model, hidden: &[f32], scratch: &mut Quantized, logits: &mut Vec<f32>) {
    let config = model.config();
    logits.resize(hidden.len() / config.hidden * config.vocab, 0.0);
    let matrix = model.matrix(model.weights().head.as_ref().expect("a model of causal attention has a head"));
    matmul(exec, hidden, config.hidden, scratch, &mut [MatmulOp { matrix, out: logits }]);
    let isa = exec.isa;
    if config.logit_scale.total_cmp(&1.0).is_ne() {
        for_each_row(&exec.pool, logits, config.vocab, |_, logits| scale(logits, config.logit_scale));
    }
    if let Some(cap) = config.logit_softcap {
        for_each_row(&exec.pool, logits, config.vocab, |_, logits| soft_cap(isa, logits, cap));
    }
}
