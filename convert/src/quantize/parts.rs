//! Super-blocks: the scales and offsets of their parts are themselves whole multiples of two 16-bit
//! floats.

use ollm_runtime::cpu::Simd;
use ollm_runtime::quant::as_f16;

use super::grid::{Fit, Fits, Grid, Offset, Sums, Total, inverse, least};

/// A super-block to be stored: the values of its `PARTS` parts, and their weights.
pub(super) struct Parts<'a, const LEN: usize, const PARTS: usize, const C: usize> {
    /// Of each part, searched with `C` candidates.
    pub(super) grid: Grid,
    /// The multiples that a scale may be.
    pub(super) scales: (f32, f32),
    /// The largest multiple that a minimum may be.
    pub(super) most: f32,
    pub(super) x: &'a [[f32; LEN]],
    pub(super) w: &'a [[f32; LEN]],
}

/// How it is stored: part `j` lies on its grid with the scale `d scales[j]` and the offset `-dmin
/// mins[j]`.
#[derive(Clone, Copy)]
pub(super) struct StoredBlock<const PARTS: usize> {
    pub(super) d: f32,
    pub(super) dmin: f32,
    pub(super) scales: [f32; PARTS],
    pub(super) mins: [f32; PARTS],
}

/// Rounds by turns: multiples for the two floats, floats for the multiples.
const ROUNDS: usize = 3;

/// Pairs of multiples that are tried for a part: so many scales, and so many minimums for each.
const PAIRS: usize = 16;

/// What is known of a part: the best fit, and the mean of the levels that it gives.
#[derive(Clone, Copy, Default)]
struct SubBlock {
    fit: Fit,
    level: f32,
    total: Total,
}

/// The sums from which the two floats are fitted: of values over multiples times levels and
/// multiples.
#[derive(Default)]
struct Fitted {
    /// How much of the weighted squares the multiples explain.
    gain: f32,
    total: Total,
    wq: f32,
    wqq: f32,
    wqx: f32,
}

impl<const PARTS: usize> StoredBlock<PARTS> {
    pub(super) fn fit(&self, part: usize) -> Fit {
        Fit { scale: self.d * self.scales[part], offset: -(self.dmin * self.mins[part]) }
    }
}

impl<const LEN: usize, const PARTS: usize, const C: usize> Parts<'_, LEN, PARTS, C> {
    /// The best that is found; `None` if a scale does not fit 16 bits.
    #[inline(always)]
    pub(super) fn search<S: Simd>(&self, isa: S) -> Option<StoredBlock<PARTS>> {
        // A loop, since closures that `core` calls are not compiled for the instruction set of the
        // caller.
        let mut parts = [SubBlock::default(); PARTS];
        for j in 0..PARTS {
            parts[j] = self.part(isa, j);
        }
        let (mut d, mut dmin) =
            (as_f16(self.unit(&parts))?, as_f16(extreme(parts.map(|p| -p.fit.offset)) / self.most)?);
        let mut best = self.multiples(isa, d, dmin, &parts);
        for _ in 1..ROUNDS {
            let Some(units) = self.refit(&best.0) else { break };
            (d, dmin) = units;
            let next = self.multiples(isa, d, dmin, &parts);
            if next.0.gain <= best.0.gain {
                break;
            }
            best = next;
        }
        Some(best.1)
    }

    #[inline(always)]
    fn part<S: Simd>(&self, isa: S, part: usize) -> SubBlock {
        let (x, w) = (&self.x[part], &self.w[part]);
        let total = Total::of(x, w);
        let fits: Fits<C> = self.grid.fits(isa, x, w, total);
        let best = least(&self.grid.errors(isa, x, w, &fits)).unwrap_or(0);
        let fit = fits.get(best);
        let mut level = 0.0;
        for (q, w) in self.grid.levels(x, fit).iter().zip(w) {
            level += q * w;
        }
        SubBlock { fit, level: level * inverse(total.w), total }
    }

    /// What makes the largest of the scales the largest multiple.
    fn unit(&self, parts: &[SubBlock; PARTS]) -> f32 {
        let (low, high) = self.scales;
        extreme(parts.map(|part| part.fit.scale)) / if low < 0.0 { low } else { high }
    }

    /// The best multiples of `d` and `dmin`, and the sums for them.
    #[inline(always)]
    fn multiples<S: Simd>(&self, isa: S, d: f32, dmin: f32, parts: &[SubBlock; PARTS]) -> (Fitted, StoredBlock<PARTS>) {
        let mut stored = StoredBlock { d, dmin, scales: [0.0; PARTS], mins: [0.0; PARTS] };
        let mut fitted = Fitted::default();
        for j in 0..PARTS {
            let (scales, mins, fits) = self.pairs(d, dmin, parts[j]);
            let sums = self.grid.sums(isa, &self.x[j], &self.w[j], &fits);
            let gains = gains(parts[j].total, &sums, &fits);
            let best = least(&gains.map(|gain| -gain)).unwrap_or(0);
            (stored.scales[j], stored.mins[j]) = (scales[best], mins[best]);
            fitted.add(gains[best], parts[j].total, &sums, best, scales[best], -mins[best]);
        }
        (fitted, stored)
    }

    /// Multiples near to the fit of a part, and the fits that they are. A larger scale needs a
    /// larger minimum, as much as the levels are on average.
    #[inline(always)]
    fn pairs(&self, d: f32, dmin: f32, part: SubBlock) -> ([f32; PAIRS], [f32; PAIRS], Fits<PAIRS>) {
        let (mut scales, mut mins) = ([0.0; PAIRS], [0.0; PAIRS]);
        let mut fits = Fits { scale: [0.0; PAIRS], offset: [0.0; PAIRS] };
        let each = if self.grid.offset == Offset::None { 1 } else { 4 };
        let near = (PAIRS / each / 2) as f32 - 1.0;
        let first = (part.fit.scale * inverse(d)).floor() - near;
        for i in 0..PAIRS {
            let scale = (first + (i / each) as f32).clamp(self.scales.0, self.scales.1);
            let min = (d * scale - part.fit.scale) * part.level - part.fit.offset;
            let min = (min * inverse(dmin)).floor() - 1.0 + (i % each) as f32;
            let min = if each == 1 { 0.0 } else { min.clamp(0.0, self.most) };
            (scales[i], mins[i]) = (scale, min);
            (fits.scale[i], fits.offset[i]) = (d * scale, -(dmin * min));
        }
        (scales, mins, fits)
    }

    /// The best two floats for the multiples and the levels that they give: least squares once
    /// more. `None` if 16 bits do not hold them.
    fn refit(&self, fitted: &Fitted) -> Option<(f32, f32)> {
        let offset = if self.grid.offset == Offset::None { Offset::None } else { Offset::Any };
        let sums = Sums { wq: [fitted.wq], wqq: [fitted.wqq], wqx: [fitted.wqx] };
        let before = Fits { scale: [f32::NAN], offset: [f32::NAN] };
        let Fit { scale: d, offset: dmin } = Grid { offset, ..self.grid }.refit(fitted.total, &sums, &before).get(0);
        let (d, dmin) = (as_f16(d)?, as_f16(dmin)?);
        (dmin >= 0.0).then_some((d, dmin))
    }
}

impl Fitted {
    /// Adds a part, whose levels are multiplied by `scale` and whose ones by `min`.
    fn add<const C: usize>(&mut self, gain: f32, total: Total, sums: &Sums<C>, candidate: usize, scale: f32, min: f32) {
        self.gain += gain;
        self.total.w += min * min * total.w;
        self.total.wx += min * total.wx;
        self.wq += min * scale * sums.wq[candidate];
        self.wqq += scale * scale * sums.wqq[candidate];
        self.wqx += scale * sums.wqx[candidate];
    }
}

/// How much of the weighted square of the values each fit explains.
#[inline(always)]
fn gains<const C: usize>(total: Total, sums: &Sums<C>, fits: &Fits<C>) -> [f32; C] {
    let mut gains = [0.0; C];
    for c in 0..C {
        let (scale, offset) = (fits.scale[c], fits.offset[c]);
        let of_scale = scale * (2.0 * sums.wqx[c] - scale * sums.wqq[c]);
        gains[c] = of_scale + offset * (2.0 * (total.wx - scale * sums.wq[c]) - offset * total.w);
    }
    gains
}

/// The value with the largest magnitude, with its sign.
fn extreme<const N: usize>(values: [f32; N]) -> f32 {
    values.into_iter().fold(0.0, |most: f32, x| if x.abs() > most.abs() { x } else { most })
}
