//! The search of scales, for all types: the scale, and the offset, with the least weighted squared
//! error of values on a grid of levels, whole numbers or those of a codebook.
//!
//! Candidates stretch or shrink the grid around the range of the values. For the levels that a
//! candidate gives, the best scale and offset are those of weighted least squares; so every
//! candidate is refined by turns: levels for the fit, a fit for the levels. (The idea is that of
//! `make_qx_quants` and `make_qkx3_quants` in ggml-quants.c.)
//!
//! A candidate is a lane of a vector, so the sums over the values need no sums over lanes. They are
//! bit-identical on every instruction set, for any number of lanes.

use ollm_runtime::cpu::Simd;

/// Where values may lie: `offset + scale q` for each level `q`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// The lowest level and the highest.
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) offset: Offset,
    /// All levels, rising; none where they are all whole numbers of that range.
    pub(super) codebook: &'static [f32],
}

/// What offsets a grid may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Offset {
    /// 0.
    None,
    /// Any number.
    Any,
    /// 0 or below: formats that store a minimum to subtract.
    NotPositive,
}

/// Where a grid lies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Fit {
    pub(super) scale: f32,
    pub(super) offset: f32,
}

/// `C` of them.
#[derive(Clone, Copy)]
pub(super) struct Fits<const C: usize> {
    pub(super) scale: [f32; C],
    pub(super) offset: [f32; C],
}

/// Weighted sums over values `x` and their levels `q` on each of `C` grids: with those of `w` and
/// `w x`, what least squares need.
#[derive(Clone, Copy)]
pub(super) struct Sums<const C: usize> {
    pub(super) wq: [f32; C],
    pub(super) wqq: [f32; C],
    pub(super) wqx: [f32; C],
}

/// The sums over the values alone.
#[derive(Clone, Copy, Default)]
pub(super) struct Total {
    pub(super) w: f32,
    pub(super) wx: f32,
}

/// How many levels more than there are a candidate lays over the range of the values. What is
/// beyond is cut off: without an offset at one end, the largest magnitude going to the lowest or to
/// the highest level; with one, at both ends in four proportions.
const STEPS: [f32; 8] = [0.0, -0.6, 0.6, 1.2, 1.8, 2.4, 3.0, 3.8];

/// Candidates of a grid without an offset, and with one: for each step, two places or four.
pub(super) const WITHOUT: usize = 2 * STEPS.len();
pub(super) const WITH: usize = 4 * STEPS.len();

/// Rounds of refinement.
const ROUNDS: usize = 2;

impl<const C: usize> Fits<C> {
    pub(super) fn get(&self, candidate: usize) -> Fit {
        Fit { scale: self.scale[candidate], offset: self.offset[candidate] }
    }

    pub(super) fn set(&mut self, candidate: usize, fit: Fit) {
        (self.scale[candidate], self.offset[candidate]) = (fit.scale, fit.offset);
    }
}

impl Total {
    pub(super) fn of<const N: usize>(x: &[f32; N], w: &[f32; N]) -> Self {
        let mut total = Self::default();
        for i in 0..N {
            total.w += w[i];
            total.wx += w[i] * x[i];
        }
        total
    }
}

impl Grid {
    pub(super) const fn new(low: f32, high: f32, offset: Offset) -> Self {
        Self { low, high, offset, codebook: &[] }
    }

    /// The levels of a codebook, rising, without an offset.
    pub(super) const fn of(codebook: &'static [f32]) -> Self {
        Self { low: codebook[0], high: codebook[codebook.len() - 1], offset: Offset::None, codebook }
    }

    /// The mean distance of neighbouring levels.
    fn step(&self) -> f32 {
        if self.codebook.is_empty() { 1.0 } else { (self.high - self.low) / (self.codebook.len() - 1) as f32 }
    }

    /// The fit that puts the range of the values on that of the levels.
    pub(super) fn plain<const N: usize>(&self, x: &[f32; N]) -> Fit {
        self.candidate(self.range(x), 0)
    }

    /// The candidates, refined. The first of them comes from the plain fit.
    #[inline(always)]
    pub(super) fn fits<S: Simd, const N: usize, const C: usize>(
        &self,
        isa: S,
        x: &[f32; N],
        w: &[f32; N],
        total: Total,
    ) -> Fits<C> {
        let (range, mut fits) = (self.range(x), Fits { scale: [0.0; C], offset: [0.0; C] });
        for i in 0..C {
            fits.set(i, self.candidate(range, i));
        }
        for _ in 0..ROUNDS {
            fits = self.refit(total, &self.sums(isa, x, w, &fits), &fits);
        }
        fits
    }

    fn candidate(&self, (bottom, top): (f32, f32), index: usize) -> Fit {
        let levels = self.high - self.low;
        if self.offset == Offset::None {
            let step = STEPS[index / 2] * self.step();
            let level = if index.is_multiple_of(2) { self.low - step } else { self.high + step };
            return Fit { scale: extreme(bottom, top) / level, offset: 0.0 };
        }
        let scale = (top - bottom) / (levels + STEPS[index / 4]);
        let cut = top - bottom - scale * levels;
        Fit { scale, offset: bottom + (index % 4) as f32 / 3.0 * cut }
    }

    /// The smallest and the largest value, as far as the grid's offset can follow them.
    fn range<const N: usize>(&self, x: &[f32; N]) -> (f32, f32) {
        let (bottom, top) = x.iter().fold((x[0], x[0]), |(low, high), &x| (low.min(x), high.max(x)));
        if self.offset == Offset::NotPositive { (bottom.min(0.0), top) } else { (bottom, top) }
    }

    /// The level of each value.
    pub(super) fn levels<const N: usize>(&self, x: &[f32; N], fit: Fit) -> [f32; N] {
        let inverse = inverse(fit.scale);
        x.map(|x| self.level((x - fit.offset) * inverse))
    }

    /// The level nearest to `x`; of two the lower one of a codebook, the even one of whole numbers.
    fn level(&self, x: f32) -> f32 {
        if self.codebook.is_empty() {
            return x.min(self.high).max(self.low).round_ties_even();
        }
        steps(self.codebook).fold(self.low, |level, (middle, step)| if x > middle { level + step } else { level })
    }

    /// The sums for the levels that each fit gives.
    #[inline(always)]
    pub(super) fn sums<S: Simd, const N: usize, const C: usize>(
        &self,
        isa: S,
        x: &[f32; N],
        w: &[f32; N],
        fits: &Fits<C>,
    ) -> Sums<C> {
        let mut sums = Sums { wq: [0.0; C], wqq: [0.0; C], wqx: [0.0; C] };
        for first in (0..C).step_by(S::LANES) {
            let lanes = Lanes::new(isa, self, fits, first);
            let [mut wq, mut wqq, mut wqx] = [isa.splat(0.0); 3];
            for i in 0..N {
                let x = isa.splat(x[i]);
                let q = lanes.level(isa, x);
                let product = isa.mul(isa.splat(w[i]), q);
                wq = isa.add(wq, product);
                wqq = isa.fma(product, q, wqq);
                wqx = isa.fma(product, x, wqx);
            }
            isa.store(wq, &mut sums.wq[first..]);
            isa.store(wqq, &mut sums.wqq[first..]);
            isa.store(wqx, &mut sums.wqx[first..]);
        }
        sums
    }

    /// The weighted squared error of the values as each fit stores them.
    #[inline(always)]
    pub(super) fn errors<S: Simd, const N: usize, const C: usize>(
        &self,
        isa: S,
        x: &[f32; N],
        w: &[f32; N],
        fits: &Fits<C>,
    ) -> [f32; C] {
        let mut errors = [0.0; C];
        for first in (0..C).step_by(S::LANES) {
            let lanes = Lanes::new(isa, self, fits, first);
            let (scale, mut sum) = (isa.load(&fits.scale[first..]), isa.splat(0.0));
            for i in 0..N {
                let x = isa.splat(x[i]);
                let error = isa.sub(isa.fma(scale, lanes.level(isa, x), lanes.offset), x);
                sum = isa.fma(isa.mul(isa.splat(w[i]), error), error, sum);
            }
            isa.store(sum, &mut errors[first..]);
        }
        errors
    }

    /// The best fits for the levels that the sums are of; where there is none, that of before.
    #[inline(always)]
    pub(super) fn refit<const C: usize>(&self, total: Total, sums: &Sums<C>, before: &Fits<C>) -> Fits<C> {
        let (Total { w, wx }, mut fits) = (total, *before);
        for c in 0..C {
            let (wq, wqq, wqx) = (sums.wq[c], sums.wqq[c], sums.wqx[c]);
            let determinant = w * wqq - wq * wq;
            let free = Fit { scale: (w * wqx - wq * wx) / determinant, offset: (wqq * wx - wq * wqx) / determinant };
            let tied = self.offset == Offset::None || (self.offset == Offset::NotPositive && free.offset > 0.0);
            let fit = if tied { Fit { scale: wqx / wqq, offset: 0.0 } } else { free };
            let fine = fit.scale.abs() < f32::INFINITY && fit.offset.abs() < f32::INFINITY;
            fits.scale[c] = if fine { fit.scale } else { before.scale[c] };
            fits.offset[c] = if fine { fit.offset } else { before.offset[c] };
        }
        fits
    }
}

/// Between each level of a codebook and the next one: their middle, and their distance.
#[inline(always)]
fn steps(codebook: &'static [f32]) -> impl Iterator<Item = (f32, f32)> {
    codebook.windows(2).map(|pair| ((pair[0] + pair[1]) * 0.5, pair[1] - pair[0]))
}

/// A vector of grids.
struct Lanes<S: Simd> {
    offset: S::F32,
    /// -1 / scale
    inverse: S::F32,
    low: S::F32,
    /// -high
    high: S::F32,
    pub(super) codebook: &'static [f32],
}

impl<S: Simd> Lanes<S> {
    #[inline(always)]
    fn new<const C: usize>(isa: S, grid: &Grid, fits: &Fits<C>, first: usize) -> Self {
        let mut inverses = [0.0; C];
        for c in 0..C {
            inverses[c] = -inverse(fits.scale[c]);
        }
        Self {
            offset: isa.load(&fits.offset[first..]),
            inverse: isa.load(&inverses[first..]),
            low: isa.splat(grid.low),
            high: isa.splat(-grid.high),
            codebook: grid.codebook,
        }
    }

    /// The level of `x` on each grid. The minimum is the negative of a maximum, since there is no
    /// other.
    #[inline(always)]
    fn level(&self, isa: S, x: S::F32) -> S::F32 {
        if !self.codebook.is_empty() {
            let x = isa.mul(isa.sub(self.offset, x), self.inverse);
            let mut level = self.low;
            for i in 1..self.codebook.len() {
                let (below, above) = (self.codebook[i - 1], self.codebook[i]);
                let middle = isa.splat((below + above) * 0.5);
                level = isa.add(level, isa.where_above(x, middle, isa.splat(above - below)));
            }
            return level;
        }
        let negative = isa.max(isa.mul(isa.sub(x, self.offset), self.inverse), self.high);
        isa.round(isa.max(isa.sub(isa.splat(0.0), negative), self.low))
    }
}

/// The candidate with the least error, which must be a number; of several the first.
pub(super) fn least<const C: usize>(errors: &[f32; C]) -> Option<usize> {
    let mut best = None;
    for (i, &error) in errors.iter().enumerate() {
        if error < best.map_or(f32::INFINITY, |best: usize| errors[best]) {
            best = Some(i);
        }
    }
    best
}

/// `1 / x`, and 0 where that is no number.
#[inline(always)]
pub(super) fn inverse(x: f32) -> f32 {
    let inverse = 1.0 / x;
    if inverse.abs() < f32::INFINITY { inverse } else { 0.0 }
}

fn extreme(bottom: f32, top: f32) -> f32 {
    if -bottom > top { bottom } else { top }
}
