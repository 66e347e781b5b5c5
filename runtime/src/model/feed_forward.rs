//! The feed-forward network of a layer: dense, or a mixture of experts.

use ollm_kernels::memory::OutOfMemory;
use ollm_kernels::ops::{
    MatmulOp, Matrix, activate, activate_gate, add_scaled, cut_off, for_each_row, gather, matmul, scatter_add, sigmoid,
};

use super::Model;
use super::family::NormPlacement;
use super::name::Role;
use super::pass::{Pass, Place, Stage, add_bias, add_residual, input, multiply};
use super::state::Scratch;
use super::weights::{Dense, Experts, FeedForward, Network, SharedExpert, Stack};

/// Feed-forward network of a layer: `x += network(norm(x))`. Beside attention, the network has the
/// input that attention had.
pub(super) fn feed_forward<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &FeedForward) -> Result<(), E> {
    let config = pass.model.config();
    if config.norms != NormPlacement::Parallel {
        let s = &mut *pass.scratch;
        input(pass.exec, config, weights.norm.as_ref(), &s.x, &mut s.normed);
    }
    let branch = match &weights.network {
        Network::Dense(network) => {
            dense(pass, network, Role::FfnGate)?;
            &mut pass.scratch.normed
        }
        Network::Experts(experts) => {
            mixture(pass, experts)?;
            &mut pass.scratch.query
        }
    };
    add_residual(pass.exec, config, weights.post_norm.as_ref(), branch, &mut pass.scratch.x);
    Ok(())
}

/// A network of all tokens: `n = W_down (act(W_gate n) * W_up n)`, or without a gate `n = W_down
/// act(W_up n)`, where n is [`Scratch::normed`], and `role` that of the first matrix. Small gates
/// are cut off where the layer has sparse ones.
fn dense<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &Dense, role: Role) -> Result<(), E> {
    let Pass { exec, model, layer, parts, scratch: s, watch } = pass;
    let (place, layer) = (Place { model, layer: *layer, parts }, *layer);
    let (config, isa, activation) = (model.config(), exec.isa, model.config().family.activation);
    let ffn = model.matrix(&weights.up.weight).rows();
    s.begin_feed_forward(config, ffn);
    watch(Stage::Input { layer, role, x: &s.normed })?;
    if let Some(gate) = &weights.gate {
        let outputs = [(gate, &mut s.gate), (&weights.up, &mut s.up)];
        multiply(exec, place, &s.normed, &mut s.quantized, outputs)?;
        add_bias(&exec.pool, &mut s.gate, gate.bias.as_deref());
        add_bias(&exec.pool, &mut s.up, weights.up.bias.as_deref());
        if let Some(deviations) = config.layers[layer].gate_cutoff {
            for_each_row(&exec.pool, &mut s.gate, ffn, |_, gate| cut_off(isa, gate, deviations));
        }
        let up = &s.up;
        for_each_row(&exec.pool, &mut s.gate, ffn, |i, gate| activate_gate(isa, activation, gate, &up[i * ffn..]));
    } else {
        multiply(exec, place, &s.normed, &mut s.quantized, [(&weights.up, &mut s.gate)])?;
        add_bias(&exec.pool, &mut s.gate, weights.up.bias.as_deref());
        for_each_row(&exec.pool, &mut s.gate, ffn, |_, x| activate(isa, activation, x));
    }
    watch(Stage::Input { layer, role: weights.down.role, x: &s.gate })?;
    multiply(exec, place, &s.gate, &mut s.quantized, [(&weights.down, &mut s.normed)])?;
    add_bias(&exec.pool, &mut s.normed, weights.down.bias.as_deref());
    Ok(())
}

/// A mixture of experts: `q = sum of weight(e) * expert_e(n)` over the experts of each token, where
/// n is [`Scratch::normed`] and q [`Scratch::query`]; then the shared expert, which all tokens
/// have.
///
/// Expert after expert, in the order of their numbers, has its tokens in one matmul: its matrices
/// are read once, those of an expert without tokens never. Each token's sum has this order, so its
/// bits do not depend on what else is in the pass.
fn mixture<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &Experts) -> Result<(), E> {
    let Pass { exec, model, layer, parts, scratch: s, watch } = pass;
    let (place, shape) = (Place { model, layer: *layer, parts }, &weights.shape);
    s.begin_experts(model.config(), shape);
    watch(Stage::Input { layer: *layer, role: Role::FfnRouter, x: &s.normed })?;
    multiply(exec, place, &s.normed, &mut s.quantized, [(&weights.router, &mut s.routes.scores)])?;
    add_bias(&exec.pool, &mut s.routes.scores, weights.router.bias.as_deref());
    s.routes.choose(exec, shape, weights.selection_bias.as_deref());
    for expert in 0..shape.count {
        one_expert(pass, weights, expert)?;
    }
    if let Some(shared) = &weights.shared {
        shared_expert(pass, shared)?;
    }
    Ok(())
}

/// The tokens of one expert, if it has any.
fn one_expert<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &Experts, expert: usize) -> Result<(), E> {
    let Pass { exec, model, layer, scratch: s, watch, .. } = pass;
    let layer = *layer;
    let (config, isa, ffn) = (model.config(), exec.isa, weights.shape.ffn);
    let (hidden, activation) = (config.hidden, config.family.activation);
    let count = s.routes.of(expert).0.len();
    if count == 0 {
        return Ok(());
    }
    s.begin_expert(config, ffn, count);
    let Scratch { normed, query, gate, up, routes, gathered, expert_out, quantized, .. } = &mut **s;
    let (tokens, scales) = routes.of(expert);
    gather(&exec.pool, normed, hidden, tokens, gathered);
    watch(Stage::ExpertInput { layer, role: Role::FfnGateExperts, expert, tokens: count, x: gathered })?;
    let mut ops = [
        MatmulOp { matrix: weights.gate.of(model, expert), out: gate },
        MatmulOp { matrix: weights.up.of(model, expert), out: up },
    ];
    matmul(exec, gathered, hidden, quantized, &mut ops);
    add_bias(&exec.pool, gate, weights.gate.bias_of(expert));
    add_bias(&exec.pool, up, weights.up.bias_of(expert));
    for_each_row(&exec.pool, gate, ffn, |i, gate| activate_gate(isa, activation, gate, &up[i * ffn..]));
    watch(Stage::ExpertInput { layer, role: Role::FfnDownExperts, expert, tokens: count, x: gate })?;
    matmul(exec, gate, ffn, quantized, &mut [MatmulOp { matrix: weights.down.of(model, expert), out: expert_out }]);
    add_bias(&exec.pool, expert_out, weights.down.bias_of(expert));
    scatter_add(&exec.pool, query, hidden, tokens, scales, expert_out);
    Ok(())
}

/// The expert that all tokens have: `q += sigmoid(router n) * network(n)`, or without a router
/// `q += network(n)`.
fn shared_expert<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &SharedExpert) -> Result<(), E> {
    let Pass { exec, model, layer, parts, scratch: s, .. } = pass;
    let (place, isa) = (Place { model, layer: *layer, parts }, exec.isa);
    let hidden = model.config().hidden;
    s.shared_scales.clear();
    s.shared_scales.resize(s.x.len() / hidden, 1.0);
    if let Some(router) = &weights.router {
        multiply(exec, place, &s.normed, &mut s.quantized, [(router, &mut s.shared_scales)])?;
        sigmoid(isa, &mut s.shared_scales);
    }
    dense(pass, &weights.network, Role::FfnRouter)?;
    let Scratch { normed, query, shared_scales, .. } = &mut *pass.scratch;
    for_each_row(&pass.exec.pool, query, hidden, |i, sum| {
        add_scaled(sum, &normed[i * hidden..][..hidden], shared_scales[i]);
    });
    Ok(())
}

impl Stack {
    /// The matrix of an expert.
    fn of<'a>(&'a self, model: &'a Model, expert: usize) -> Matrix<'a> {
        model.matrix(&self.weight).slice(expert * self.rows..(expert + 1) * self.rows)
    }

    /// What is added to its outputs.
    fn bias_of(&self, expert: usize) -> Option<&[f32]> {
        self.bias.as_ref().map(|bias| &bias[expert * self.rows..(expert + 1) * self.rows])
    }
}
