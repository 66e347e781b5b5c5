//! The one search: the scale, and the offset, with which weighted values lie best on a grid of whole levels.
//!
//! Candidates stretch or shrink the grid around the range of the values. For the levels that a candidate gives, the best
//! scale and offset are those of weighted least squares; the candidate that then explains most of the weighted square of
//! the values is refined by turns: levels for the fit, a fit for the levels. (The idea is that of `make_qx_quants` and
//! `make_qkx3_quants` in ggml-quants.c.)
//!
//! All of it is plain arithmetic on arrays, eight lanes a sum: the same bits whatever instruction set it is compiled for.

/// Where values may lie: `offset + scale q` for each whole `q` from `low` to `high`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) offset: Offset,
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

/// Weighted sums over values `x` and their levels `q`: what least squares need.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) w: f32,
    pub(super) wx: f32,
    pub(super) wq: f32,
    pub(super) wqq: f32,
    pub(super) wqx: f32,
}

/// How many levels more than there are a candidate lays over the range of the values. What is beyond is cut off: above, on both
/// sides, or below; without an offset, the largest magnitude goes to the lowest or to the highest level.
const STEPS: [f32; 7] = [-0.6, 0.0, 0.6, 1.2, 1.8, 2.5, 3.5];

/// Rounds of refinement.
const ROUNDS: usize = 2;

impl Grid {
    pub(super) const fn new(low: f32, high: f32, offset: Offset) -> Self {
        Self { low, high, offset }
    }

    /// The fit that puts the range of the values on that of the levels.
    #[inline(always)]
    pub(super) fn plain<const N: usize>(&self, x: &[f32; N]) -> Fit {
        let (bottom, top) = self.range(x);
        match self.offset {
            Offset::None => Fit { scale: extreme(bottom, top) / self.low, offset: 0.0 },
            _ => Fit { scale: (top - bottom) / (self.high - self.low), offset: bottom },
        }
    }

    /// The best fit that is found.
    #[inline(always)]
    pub(super) fn fit<const N: usize>(&self, x: &[f32; N], w: &[f32; N]) -> Fit {
        let (range, mut best) = (self.range(x), (0.0, self.plain(x)));
        let anchors = if self.offset == Offset::None { 2 } else { 3 };
        // The rounds of refinement come after the candidates.
        for i in 0..STEPS.len() * anchors + ROUNDS {
            let start = match STEPS.get(i / anchors) {
                Some(&step) => self.candidate(range, step, i % anchors),
                None => best.1,
            };
            let (gain, fit) = self.refit(self.sums(x, w, start));
            if gain > best.0 {
                best = (gain, fit);
            }
        }
        best.1
    }

    #[inline(always)]
    fn candidate(&self, (bottom, top): (f32, f32), step: f32, anchor: usize) -> Fit {
        if self.offset == Offset::None {
            let level = if anchor == 0 { self.low - step } else { self.high + step };
            return Fit { scale: extreme(bottom, top) / level, offset: 0.0 };
        }
        let scale = (top - bottom) / (self.high - self.low + step);
        let cut = top - bottom - scale * (self.high - self.low);
        Fit { scale, offset: bottom + 0.5 * anchor as f32 * cut }
    }

    /// The smallest and the largest value, as far as the grid's offset can follow them.
    #[inline(always)]
    fn range<const N: usize>(&self, x: &[f32; N]) -> (f32, f32) {
        let (bottom, top) = x.iter().fold((x[0], x[0]), |(low, high), &x| (low.min(x), high.max(x)));
        if self.offset == Offset::NotPositive { (bottom.min(0.0), top) } else { (bottom, top) }
    }

    /// The level of each value.
    #[inline(always)]
    pub(super) fn levels<const N: usize>(&self, x: &[f32; N], fit: Fit) -> [f32; N] {
        let inverse = inverse(fit.scale);
        x.map(|x| self.level(x, fit.offset, inverse))
    }

    #[inline(always)]
    fn level(&self, x: f32, offset: f32, inverse: f32) -> f32 {
        /// Floats from here on are whole numbers: adding it rounds, to even.
        const WHOLE: f32 = 1.5 * (1 << 23) as f32;
        let y = (x - offset) * inverse;
        let y = if y > self.low { y } else { self.low };
        let y = if y < self.high { y } else { self.high };
        (y + WHOLE) - WHOLE
    }

    /// The sums for the levels that `fit` gives.
    #[inline(always)]
    pub(super) fn sums<const N: usize>(&self, x: &[f32; N], w: &[f32; N], fit: Fit) -> Sums {
        let inverse = inverse(fit.scale);
        let [w, wx, wq, wqq, wqx] = sum::<N, 5>(|i| {
            let q = self.level(x[i], fit.offset, inverse);
            let (wx, wq) = (w[i] * x[i], w[i] * q);
            [w[i], wx, wq, wq * q, wq * x[i]]
        });
        Sums { w, wx, wq, wqq, wqx }
    }

    /// The best fit for the levels that the sums are of, and how much of the weighted square of the values it explains.
    #[inline(always)]
    pub(super) fn refit(&self, sums: Sums) -> (f32, Fit) {
        let Sums { w, wx, wq, wqq, wqx } = sums;
        let determinant = w * wqq - wq * wq;
        let free = Fit { scale: (w * wqx - wq * wx) / determinant, offset: (wqq * wx - wq * wqx) / determinant };
        let tied = self.offset == Offset::None || (self.offset == Offset::NotPositive && free.offset > 0.0);
        let fit = if tied { Fit { scale: wqx / wqq, offset: 0.0 } } else { free };
        let gain = fit.scale * wqx + fit.offset * wx;
        (if gain.is_finite() && fit.scale.is_finite() { gain } else { 0.0 }, fit)
    }

    /// The weighted squared error of the values as `fit` stores them.
    #[inline(always)]
    pub(super) fn error<const N: usize>(&self, x: &[f32; N], w: &[f32; N], fit: Fit) -> f32 {
        let inverse = inverse(fit.scale);
        let [error] = sum::<N, 1>(|i| {
            let error = fit.scale * self.level(x[i], fit.offset, inverse) + fit.offset - x[i];
            [w[i] * error * error]
        });
        error
    }
}

/// `1 / x`, and 0 of 0.
#[inline(always)]
pub(super) fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

fn extreme(bottom: f32, top: f32) -> f32 {
    if -bottom > top { bottom } else { top }
}

/// `K` sums of `N` terms each, in eight lanes.
#[inline(always)]
fn sum<const N: usize, const K: usize>(term: impl Fn(usize) -> [f32; K]) -> [f32; K] {
    const LANES: usize = 8;
    let mut lanes = [[0.0_f32; LANES]; K];
    for i in (0..N).step_by(LANES) {
        for lane in 0..LANES {
            let terms = term(i + lane);
            for k in 0..K {
                lanes[k][lane] += terms[k];
            }
        }
    }
    lanes.map(|[a, b, c, d, e, f, g, h]| ((a + e) + (c + g)) + ((b + f) + (d + h)))
}
