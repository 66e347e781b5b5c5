//! The learned augmented residual layer of attention (LAuReL: Menghani et al. 2024, arXiv
//! 2411.07501), of low rank, as Gemma 3n has it.

use ollm_kernels::memory::OutOfMemory;
use ollm_kernels::ops::{add, for_each_row, scale};

use super::name::Role;
use super::pass::{Pass, Place, Stage, multiply, normalize};
use super::weights::Laurel;

/// After attention: `x = (x + n + norm(W_r W_l n)) / sqrt(2)`, where n is the input that attention
/// had, which is still in [`Scratch::normed`].
pub(super) fn low_rank_residual<E: From<OutOfMemory>>(pass: &mut Pass<'_, '_, E>, weights: &Laurel) -> Result<(), E> {
    let Pass { exec, model, layer, parts, scratch: s, watch } = pass;
    let (place, config) = (Place { model, layer: *layer, parts }, model.config());
    let rank = model.matrix(&weights.left.weight).rows();
    s.begin_gate(config, rank);
    multiply(exec, place, &s.normed, &mut s.quantized, [(&weights.left, &mut s.gate)])?;
    watch(Stage::Input { layer: *layer, role: Role::LaurelRight, x: &s.gate })?;
    multiply(exec, place, &s.gate, &mut s.quantized, [(&weights.right, &mut s.query)])?;
    normalize(exec, config, &weights.post_norm, &mut s.query);
    let (width, normed, low_rank) = (config.hidden, &s.normed, &s.query);
    for_each_row(&exec.pool, &mut s.x, width, |i, x| {
        add(x, &normed[i * width..][..width]);
        add(x, &low_rank[i * width..][..width]);
        scale(x, 0.5_f32.sqrt());
    });
    Ok(())
}
