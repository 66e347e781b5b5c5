//! The search of a scale for values on signed levels: the K formats without minima, and codebooks.

use super::extreme;

/// The whole level nearest to `x` over a scale.
pub(super) fn level(x: f32, inverse_scale: f32, low: f32, high: f32) -> f32 {
    (x * inverse_scale).round().clamp(low, high)
}

/// The best scale for whole levels from `low` (negative) to `high`.
pub(super) fn fit<const N: usize>(values: &[f32; N], low: f32, high: f32) -> f32 {
    search(values, low, 0.1, |x| x.round().clamp(low, high))
}

/// The best of a few scales near the one that makes the largest magnitude `low`, up to nine times
/// `step` beside it, each followed by a least-squares fit to the levels that it gives (`nearest` to
/// a value over the scale); large values matter more. The idea is that of `make_qx_quants` in
/// ggml-quants.c.
pub(super) fn search<const N: usize>(values: &[f32; N], low: f32, step: f32, nearest: impl Fn(f32) -> f32) -> f32 {
    let most = extreme(values);
    if most == 0.0 {
        return 0.0;
    }
    // Relative values, so that no power of them leaves the range of a float.
    let values = values.map(|x| x / most);
    let scored = (-9..=9).filter_map(|i| score(&values, low - step * i as f32, &nearest));
    most * scored.fold((0.0, 0.0), |best, next| if next.0 > best.0 { next } else { best }).1
}

/// How much of the (weighted) square of the values the levels explain, and their least-squares
/// scale.
fn score<const N: usize>(values: &[f32; N], inverse_scale: f32, nearest: &impl Fn(f32) -> f32) -> Option<(f32, f32)> {
    let (mut xq, mut qq) = (0.0, 0.0);
    for &x in values {
        let q = nearest(x * inverse_scale);
        xq += x * x * x * q;
        qq += x * x * q * q;
    }
    (qq > 0.0).then(|| (xq * xq / qq, xq / qq))
}
