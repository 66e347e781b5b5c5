//! Super-blocks: the scales and offsets of their parts are themselves whole multiples of two 16-bit floats.

use ollm_runtime::quant::as_f16;

use super::grid::{Fit, Grid, Offset, Sums, inverse};

/// A super-block to be stored: the values of its `PARTS` parts, and their weights.
pub(super) struct Parts<'a, const LEN: usize, const PARTS: usize> {
    /// Of each part.
    pub(super) grid: Grid,
    /// The multiples that a scale may be.
    pub(super) scales: (f32, f32),
    pub(super) x: &'a [[f32; LEN]],
    pub(super) w: &'a [[f32; LEN]],
}

/// How it is stored: part `j` lies on its grid with the scale `d scales[j]` and the offset `-dmin mins[j]`.
#[derive(Clone, Copy)]
pub(super) struct Stored<const PARTS: usize> {
    pub(super) d: f32,
    pub(super) dmin: f32,
    pub(super) scales: [f32; PARTS],
    pub(super) mins: [f32; PARTS],
}

/// The largest multiple that a minimum may be.
const MOST: f32 = 63.0;

/// Rounds by turns: multiples for the two floats, floats for the multiples.
const ROUNDS: usize = 3;

impl<const PARTS: usize> Stored<PARTS> {
    #[inline(always)]
    pub(super) fn fit(&self, part: usize) -> Fit {
        Fit { scale: self.d * self.scales[part], offset: -(self.dmin * self.mins[part]) }
    }
}

impl<const LEN: usize, const PARTS: usize> Parts<'_, LEN, PARTS> {
    /// The best that is found; `None` if a scale does not fit 16 bits.
    #[inline(always)]
    pub(super) fn search(&self) -> Option<Stored<PARTS>> {
        // A loop, since closures that `core` calls are not compiled for the instruction set of the caller.
        let mut fits = [Fit::default(); PARTS];
        for j in 0..PARTS {
            fits[j] = self.grid.fit(&self.x[j], &self.w[j]);
        }
        let (mut d, mut dmin) = (as_f16(self.unit(&fits))?, as_f16(extreme(fits.map(|fit| -fit.offset)) / MOST)?);
        let mut best = self.multiples(d, dmin, &fits);
        for _ in 1..ROUNDS {
            let Some(units) = self.refit(&best.1) else { break };
            (d, dmin) = units;
            let next = self.multiples(d, dmin, &fits);
            if next.0 >= best.0 {
                break;
            }
            best = next;
        }
        Some(best.1)
    }

    /// What makes the largest of the scales the largest multiple.
    fn unit(&self, fits: &[Fit; PARTS]) -> f32 {
        let (low, high) = self.scales;
        extreme(fits.map(|fit| fit.scale)) / if low < 0.0 { low } else { high }
    }

    /// The best multiples of `d` and `dmin` near to `fits`, and their error.
    #[inline(always)]
    fn multiples(&self, d: f32, dmin: f32, fits: &[Fit; PARTS]) -> (f32, Stored<PARTS>) {
        let mut stored = Stored { d, dmin, scales: [0.0; PARTS], mins: [0.0; PARTS] };
        let mut all = 0.0;
        for j in 0..PARTS {
            let (error, multiples) = self.multiple(j, d, dmin, fits[j]);
            (stored.scales[j], stored.mins[j]) = multiples;
            all += error;
        }
        (all, stored)
    }

    /// Those of one part.
    #[inline(always)]
    fn multiple(&self, part: usize, d: f32, dmin: f32, fit: Fit) -> (f32, (f32, f32)) {
        let (x, w) = (&self.x[part], &self.w[part]);
        let nearest = (fit.scale * inverse(d)).round();
        let mut best = (f32::INFINITY, (0.0, 0.0));
        for near in [0, -1, 1] {
            let multiple = (nearest + near as f32).clamp(self.scales.0, self.scales.1);
            let scale = d * multiple;
            let min = match self.grid.offset {
                Offset::None => 0.0,
                _ => (self.min(x, w, Fit { scale, offset: fit.offset }) * inverse(dmin)).round().clamp(0.0, MOST),
            };
            let error = self.grid.error(x, w, Fit { scale, offset: -(dmin * min) });
            if error < best.0 {
                best = (error, (multiple, min));
            }
        }
        best
    }

    /// The best minimum for the scale of `fit` and the levels that it gives.
    #[inline(always)]
    fn min(&self, x: &[f32; LEN], w: &[f32; LEN], fit: Fit) -> f32 {
        let Sums { w, wx, wq, .. } = self.grid.sums(x, w, fit);
        (fit.scale * wq - wx) * inverse(w)
    }

    /// The best two floats for the multiples and the levels that they give: least squares once more, of the values over
    /// multiples times levels and multiples. `None` if 16 bits do not hold them.
    #[inline(always)]
    fn refit(&self, stored: &Stored<PARTS>) -> Option<(f32, f32)> {
        let mut all = Sums { w: 0.0, wx: 0.0, wq: 0.0, wqq: 0.0, wqx: 0.0 };
        for j in 0..PARTS {
            let part = self.grid.sums(&self.x[j], &self.w[j], stored.fit(j));
            let (scale, min) = (stored.scales[j], -stored.mins[j]);
            all.w += min * min * part.w;
            all.wx += min * part.wx;
            all.wq += min * scale * part.wq;
            all.wqq += scale * scale * part.wqq;
            all.wqx += scale * part.wqx;
        }
        let offset = if self.grid.offset == Offset::None { Offset::None } else { Offset::Any };
        let (gain, Fit { scale: d, offset: dmin }) = Grid { offset, ..self.grid }.refit(all);
        let (d, dmin) = (as_f16(d)?, as_f16(dmin)?);
        (gain > 0.0 && dmin >= 0.0).then_some((d, dmin))
    }
}

/// The value with the largest magnitude, with its sign.
fn extreme<const N: usize>(values: [f32; N]) -> f32 {
    values.into_iter().fold(0.0, |most: f32, x| if x.abs() > most.abs() { x } else { most })
}
