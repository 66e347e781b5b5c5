//! Encoding of rows of weights to blocks of each type, with searched scales.

use ollm_runtime::cpu::simd::MAX_LANES;
use ollm_runtime::cpu::{Isa, Kernel, Simd};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::quant::k::{self, Head};
use ollm_runtime::quant::{
    self, BlockFormat, QuantError, iq4, mxfp4, q1_0, q2_0, q2_k, q3_k, q4, q4_k, q5, q5_k, q6_k, q8_0, tq,
};
use ollm_runtime::with_format;

use super::grid::{Fit, Fits, Grid, Offset, Total, WITH, WITHOUT, least};
use super::parts::{Parts, StoredBlock};

/// Encodes a row of whole blocks so that the sum of `importance[i] (values[i] - stored[i])^2` is
/// small; without importance, all values count the same. Floats are rounded.
///
/// # Errors
/// As [`quant::encode`], which gives the same error for the same values.
///
/// # Panics
/// If there are not as many `importance` as `values`.
pub fn encode(dtype: TensorType, values: &[f32], importance: Option<&[f32]>) -> Result<Vec<u8>, QuantError> {
    let searched = dtype.row_bytes(values.len()).is_some() && values.iter().all(|x| x.is_finite());
    // At eight bits, the greatest weight at the end of the range is as good as what a search finds
    // (QUALITY.md).
    let plain = dtype == TensorType::Q8_0 && importance.is_none();
    if !searched || plain || !quant::is_writable(dtype) {
        return quant::encode(dtype, values);
    }
    let weights = &importance.map_or_else(|| vec![1.0; values.len()], relative);
    assert_eq!(weights.len(), values.len(), "importance is of each value");
    let bytes = with_format!(dtype, F => F::search(values, weights), float => return quant::encode(dtype, values));
    bytes.map_err(|index| QuantError::OutOfRange { dtype, index })
}

/// A block format whose scales are searched.
trait SearchFormat: BlockFormat {
    /// Encodes whole blocks with searched scales, each value as much as its weight counts.
    ///
    /// # Errors
    /// As [`BlockFormat::ENCODE`].
    fn search(values: &[f32], weights: &[f32]) -> Result<Vec<u8>, usize>;
}

/// Formats that are only read, for which nothing is searched.
macro_rules! read_only {
    ($($name:ident)+) => {
        $(impl SearchFormat for quant::$name {
            fn search(_: &[f32], _: &[f32]) -> Result<Vec<u8>, usize> {
                Err(0)
            }
        })+
    };
}

read_only!(Iq3S Iq3Xxs Iq2Xxs Iq2Xs Iq2S Iq1S Iq1M);

/// A format whose block `$block` makes of values and weights.
macro_rules! search_format {
    ($name:ident, |$x:ident, $w:ident| $block:expr) => {
        impl SearchFormat for quant::$name {
            fn search(values: &[f32], weights: &[f32]) -> Result<Vec<u8>, usize> {
                blocks(values, weights, |$x, $w| $block)
            }
        }
    };
}

search_format!(Q8_0, |x, w| {
    let (fit, q) = line::<_, WITHOUT>(Grid::new(-127.0, 127.0, Offset::None), x, w)?;
    q8_0::pack(fit.scale, &q.map(|q| q as i8))
});
search_format!(Q4_0, |x, w| {
    let (fit, q) = line::<_, WITHOUT>(Grid::new(-8.0, 7.0, Offset::None), x, w)?;
    q4::pack_q4_0(fit.scale, &q.map(|q| (q + 8.0) as u8))
});
search_format!(Q5_0, |x, w| {
    let (fit, q) = line::<_, WITHOUT>(Grid::new(-16.0, 15.0, Offset::None), x, w)?;
    q5::pack_q5_0(fit.scale, &q.map(|q| (q + 16.0) as u8))
});
search_format!(Q4_1, |x, w| {
    let (fit, q) = line::<_, WITH>(Grid::new(0.0, 15.0, Offset::Any), x, w)?;
    q4::pack_q4_1(fit.scale, fit.offset, &q.map(|q| q as u8))
});
search_format!(Q5_1, |x, w| {
    let (fit, q) = line::<_, WITH>(Grid::new(0.0, 31.0, Offset::Any), x, w)?;
    q5::pack_q5_1(fit.scale, fit.offset, &q.map(|q| q as u8))
});
search_format!(Q1_0, |x, w| {
    let (fit, q) = line::<_, WITHOUT>(Grid::of(&[-1.0, 1.0]), x, w)?;
    q1_0::pack(fit.scale, &q.map(|q| q > 0.0))
});
search_format!(Q2_0, |x, w| {
    let (fit, q) = line::<_, WITHOUT>(Grid::new(-1.0, 2.0, Offset::None), x, w)?;
    q2_0::pack(fit.scale, &q.map(|q| (q + 1.0) as u8))
});
search_format!(Tq1_0, |x, w| {
    let (fit, q) = line::<_, WITHOUT>(TERNARY, x, w)?;
    tq::pack_tq1_0(fit.scale, &q.map(|q| (q + 1.0) as u8))
});
search_format!(Tq2_0, |x, w| {
    let (fit, q) = line::<_, WITHOUT>(TERNARY, x, w)?;
    tq::pack_tq2_0(fit.scale, &q.map(|q| (q + 1.0) as u8))
});
search_format!(Iq4Nl, |x, w| {
    let (fit, q) = line::<_, WITHOUT>(NON_LINEAR, x, w)?;
    iq4::pack_nl(fit.scale, &q.map(iq4::index))
});
search_format!(Iq4Xs, |x, w| {
    let scales = Multiples::of_scales(-32.0, 31.0);
    let (stored, q) = super_block::<{ iq4::SUB }, 8, 256, WITHOUT>(NON_LINEAR, scales, x, w)?;
    iq4::pack_xs(stored.d, stored.scales.map(|scale| scale as i8), &q.map(iq4::index))
});
search_format!(Mxfp4, |x, w| {
    let e = Isa::widest().dispatch(PowerSearch { x, w });
    Some(mxfp4::pack(e, &x.map(|x| mxfp4::code(x / mxfp4::scale(e)))))
});
search_format!(Q2K, |x, w| {
    let scales = Multiples { scales: (0.0, 15.0), mins: 15.0 };
    let grid = Grid::new(0.0, 3.0, Offset::NotPositive);
    let (stored, q) = super_block::<{ q2_k::SUB }, 16, 256, WITH>(grid, scales, x, w)?;
    let bytes = |multiples: [f32; 16]| multiples.map(|multiple| multiple as u8);
    q2_k::pack(stored.d, stored.dmin, bytes(stored.scales), bytes(stored.mins), &q.map(|q| q as u8))
});
search_format!(Q3K, |x, w| {
    let scales = Multiples::of_scales(-32.0, 31.0);
    let grid = Grid::new(-4.0, 3.0, Offset::None);
    let (stored, q) = super_block::<{ q3_k::SUB }, 16, 256, WITHOUT>(grid, scales, x, w)?;
    q3_k::pack(stored.d, stored.scales.map(|scale| scale as i8), &q.map(|q| (q + 4.0) as u8))
});
search_format!(Q4K, |x, w| {
    let (head, q) = with_minima(15.0, x, w)?;
    q4_k::pack(&head, &q)
});
search_format!(Q5K, |x, w| {
    let (head, q) = with_minima(31.0, x, w)?;
    q5_k::pack(&head, &q)
});
search_format!(Q6K, |x, w| {
    let scales = Multiples::of_scales(-128.0, 127.0);
    let grid = Grid::new(-32.0, 31.0, Offset::None);
    let (stored, q) = super_block::<{ q6_k::SUB }, 16, 256, WITHOUT>(grid, scales, x, w)?;
    q6_k::pack(stored.d, stored.scales.map(|scale| scale as i8), &q.map(|q| (q + 32.0) as u8))
});

/// The grid of types whose values are -1, 0 and 1.
const TERNARY: Grid = Grid::new(-1.0, 1.0, Offset::None);

/// The codebook of `IQ4_NL` and `IQ4_XS`.
const NON_LINEAR: Grid = Grid::of(&[
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
]);

/// Importance as multiples of its mean. A column that the text never used counts a little all the
/// same.
fn relative(importance: &[f32]) -> Vec<f32> {
    const FLOOR: f32 = 1e-4;
    let mean = importance.iter().sum::<f32>() / importance.len() as f32;
    let unit = if mean > 0.0 && mean.is_finite() { 1.0 / mean } else { 0.0 };
    importance.iter().map(|x| x * unit + FLOOR).collect()
}

/// Encodes block after block.
fn blocks<const LEN: usize, const BYTES: usize>(
    values: &[f32],
    weights: &[f32],
    encode: impl Fn(&[f32; LEN], &[f32; LEN]) -> Option<[u8; BYTES]>,
) -> Result<Vec<u8>, usize> {
    let ((values, _), (weights, _)) = (values.as_chunks(), weights.as_chunks());
    let mut out = Vec::with_capacity(values.len() * BYTES);
    for (i, (x, w)) in values.iter().zip(weights).enumerate() {
        out.extend_from_slice(&encode(x, w).ok_or(i * LEN)?);
    }
    Ok(out)
}

/// A block with one 16-bit scale, and an offset if the grid has one, found with `C` candidates.
fn line<const LEN: usize, const C: usize>(grid: Grid, x: &[f32; LEN], w: &[f32; LEN]) -> Option<(Fit, [f32; LEN])> {
    let fit = Isa::widest().dispatch(GridSearch::<LEN, C> { grid, x, w })?;
    Some((fit, grid.levels(x, fit)))
}

/// The multiples that the scales of a super-block may be, from the least to the greatest, and the
/// greatest that its minima may be.
struct Multiples {
    scales: (f32, f32),
    mins: f32,
}

impl Multiples {
    /// Those of formats without minima, whose multiples are all 0.
    const fn of_scales(low: f32, high: f32) -> Self {
        Self { scales: (low, high), mins: 1.0 }
    }
}

/// A super-block of `PARTS` parts of `PART` values each, found with `C` candidates for each, and
/// the level of each value.
fn super_block<const PART: usize, const PARTS: usize, const LEN: usize, const C: usize>(
    grid: Grid,
    Multiples { scales, mins }: Multiples,
    x: &[f32; LEN],
    w: &[f32; LEN],
) -> Option<(StoredBlock<PARTS>, [f32; LEN])> {
    let ((x, _), (w, _)) = (x.as_chunks::<PART>(), w.as_chunks::<PART>());
    let stored = Isa::widest().dispatch(Parts::<PART, PARTS, C> { grid, scales, most: mins, x, w })?;
    let mut levels = [0.0; LEN];
    for (j, levels) in levels.as_chunks_mut::<PART>().0.iter_mut().enumerate() {
        *levels = grid.levels(&x[j], stored.fit(j));
    }
    Some((stored, levels))
}

/// A super-block of the formats with minima, with levels from 0 to `top`.
fn with_minima<const LEN: usize>(top: f32, x: &[f32; LEN], w: &[f32; LEN]) -> Option<(Head, [u8; LEN])> {
    let grid = Grid::new(0.0, top, Offset::NotPositive);
    let found =
        super_block::<{ k::SUB }, { k::SUBS }, LEN, WITH>(grid, Multiples { scales: (0.0, 63.0), mins: 63.0 }, x, w)?;
    let (StoredBlock { d, dmin, scales, mins }, q) = found;
    Some((Head { d, dmin, scales: scales.map(|s| s as u8), mins: mins.map(|m| m as u8) }, q.map(|q| q as u8)))
}

/// The search for one grid: the best of the candidates as 16-bit floats hold them, one of which is
/// the plain fit as it is.
struct GridSearch<'a, const LEN: usize, const C: usize> {
    grid: Grid,
    x: &'a [f32; LEN],
    w: &'a [f32; LEN],
}

impl<const LEN: usize, const C: usize> Kernel for GridSearch<'_, LEN, C> {
    type Output = Option<Fit>;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) -> Self::Output {
        let Self { grid, x, w } = self;
        let mut fits: Fits<C> = grid.fits(isa, x, w, Total::of(x, w));
        fits.set(C - 1, grid.plain(x));
        fits = Fits { scale: halves(isa, &fits.scale), offset: halves(isa, &fits.offset) };
        least(&grid.errors(isa, x, w, &fits)).map(|best| fits.get(best))
    }
}

/// Powers of two that are tried for a block of `MXFP4`: that of the plain encoding is the second.
const POWERS: usize = 4;

/// The search for the exponent of a block of `MXFP4`.
struct PowerSearch<'a> {
    x: &'a [f32; mxfp4::LEN],
    w: &'a [f32; mxfp4::LEN],
}

impl Kernel for PowerSearch<'_> {
    type Output = u8;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) -> u8 {
        const GRID: Grid =
            Grid::of(&[-12.0, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]);
        let first = mxfp4::exponent(self.x).saturating_sub(1);
        // As many as fill a vector.
        let mut fits: Fits<MAX_LANES> = Fits { scale: [f32::INFINITY; MAX_LANES], offset: [0.0; MAX_LANES] };
        for i in 0..POWERS {
            fits.scale[i] = mxfp4::scale(first.saturating_add(i as u8));
        }
        first.saturating_add(least(&GRID.errors(isa, self.x, self.w, &fits)).unwrap_or(1) as u8)
    }
}

/// Rounded to 16-bit floats; too large ones are infinite.
#[inline(always)]
fn halves<S: Simd, const C: usize>(isa: S, x: &[f32; C]) -> [f32; C] {
    let (mut halves, mut out) = ([0; C], [0.0; C]);
    for first in (0..C).step_by(S::LANES) {
        isa.store_f16(isa.load(&x[first..]), &mut halves[first..]);
        isa.store(isa.load_f16(&halves[first..]), &mut out[first..]);
    }
    out
}

impl<const PART: usize, const PARTS: usize, const C: usize> Kernel for Parts<'_, PART, PARTS, C> {
    type Output = Option<StoredBlock<PARTS>>;

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) -> Self::Output {
        self.search(isa)
    }
}

#[cfg(test)]
mod tests {
    use ollm_runtime::random::Random;

    use super::*;

    fn searched() -> impl Iterator<Item = TensorType> {
        TensorType::ALL.iter().copied().filter(|&dtype| dtype.is_quantized() && quant::is_writable(dtype))
    }

    /// Types of at most two bits, for models that were trained to have such weights.
    fn is_coarse(dtype: TensorType) -> bool {
        matches!(dtype, TensorType::Q1_0 | TensorType::Q2_0 | TensorType::Tq1_0 | TensorType::Tq2_0)
    }

    /// Numbers with the tails of a Laplace distribution, and importance over three orders of
    /// magnitude.
    fn row(seed: u64, scale: f32) -> (Vec<f32>, Vec<f32>) {
        let mut random = Random::new(seed);
        let mut unit = || random.unit() as f32;
        let values = (0..1024).map(|_| scale * (unit() - 0.5).signum() * (1.0 - unit()).ln()).collect();
        (values, (0..1024).map(|_| 10_f32.powf(3.0 * unit())).collect())
    }

    fn error(dtype: TensorType, values: &[f32], importance: &[f32], bytes: &[u8]) -> f64 {
        let mut stored = vec![0.0; values.len()];
        quant::decode(dtype, bytes, &mut stored).unwrap();
        let square = |x: &f32, y: f32| f64::from(x - y).powi(2);
        values.iter().zip(stored).zip(importance).map(|((x, y), &i)| f64::from(i) * square(x, y)).sum()
    }

    #[test]
    fn a_search_is_never_worse_than_the_plain_encoding() {
        for dtype in searched() {
            for seed in 0..8 {
                let (values, importance) = row(seed, 0.02);
                let ones = vec![1.0; values.len()];
                let plain = quant::encode(dtype, &values).unwrap();
                for (weights, given) in [(&ones, None), (&importance, Some(&importance[..]))] {
                    let found = encode(dtype, &values, given).unwrap();
                    let (found, plain) =
                        (error(dtype, &values, weights, &found), error(dtype, &values, weights, &plain));
                    assert!(found <= plain, "{dtype} {seed}: {found} above {plain}");
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_finds_the_same() {
        let (values, importance) = row(5, 0.02);
        let (x, w): (&[f32; 32], &[f32; 32]) = (values[..32].try_into().unwrap(), importance[..32].try_into().unwrap());
        let grid = Grid::new(0.0, 15.0, Offset::NotPositive);
        let ((parts, _), (weights, _)) = (values[..256].as_chunks::<32>(), importance[..256].as_chunks());
        let found = |isa: Isa| {
            let line = [Grid::new(-8.0, 7.0, Offset::None), NON_LINEAR]
                .map(|grid| isa.dispatch(GridSearch::<32, WITHOUT> { grid, x, w }).unwrap());
            let parts = Parts::<32, 8, WITH> { grid, scales: (0.0, 63.0), most: 63.0, x: parts, w: weights };
            let StoredBlock { d, dmin, scales, mins } = isa.dispatch(parts).unwrap();
            (line, [d, dmin], scales, mins, isa.dispatch(PowerSearch { x, w }))
        };
        for isa in Isa::available() {
            assert_eq!(found(isa), found(Isa::widest()), "{}", isa.name());
        }
    }

    #[test]
    fn importance_takes_error_from_the_columns_that_matter() {
        // Little can be chosen where there are many levels, one, or powers of two for scales.
        let fixed = [TensorType::Q8_0, TensorType::Q1_0, TensorType::Mxfp4];
        for dtype in searched().filter(|dtype| !fixed.contains(dtype)) {
            let (values, importance) = row(3, 1.0);
            let [with, without] = [Some(&importance[..]), None].map(|given| encode(dtype, &values, given).unwrap());
            let error = |bytes| error(dtype, &values, &importance, bytes);
            assert!(error(&with) < 0.97 * error(&without), "{dtype}");
        }
    }

    #[test]
    fn values_on_a_grid_are_stored_as_they_are() {
        let values: Vec<f32> = (0..256).map(|i| ((i * 7) % 16) as f32 * 0.25 - 2.0).collect();
        // Those of 16 levels or more.
        let on_the_grid = |dtype: &TensorType| {
            let other = [TensorType::Mxfp4, TensorType::Iq4Nl, TensorType::Iq4Xs, TensorType::Q2K, TensorType::Q3K];
            !is_coarse(*dtype) && !other.contains(dtype)
        };
        for dtype in searched().filter(on_the_grid) {
            let bytes = encode(dtype, &values, None).unwrap();
            let worst = error(dtype, &values, &[1.0; 256], &bytes) / 256.0;
            assert!(worst < 1e-4, "{dtype}: {worst}");
        }
    }

    #[test]
    fn constants_zeros_and_small_values_stay_close() {
        for dtype in searched() {
            for value in [0.0, 1.0, -1.0, 1e-30, -1e-40, 3e4] {
                for importance in [None, Some(&[0.0; 256][..]), Some(&[1e30; 256])] {
                    let mut stored = [f32::NAN; 256];
                    quant::decode(dtype, &encode(dtype, &[value; 256], importance).unwrap(), &mut stored).unwrap();
                    // Coarse scales: powers of two, and 4 bits with a 16-bit factor near its end.
                    let near = match dtype {
                        TensorType::Mxfp4 => 0.15,
                        TensorType::Q2K => 0.03,
                        _ => 0.01,
                    };
                    let close = |x: &f32| (x - value).abs() <= near * value.abs() + 1e-6;
                    assert!(stored.iter().all(close), "{dtype} of {value}: {}", stored[0]);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_stored_is_the_error_of_the_plain_encoding() {
        for &dtype in TensorType::ALL {
            for value in [f32::NAN, f32::INFINITY, f32::MAX, 1.0] {
                let mut values = [1.0; 256];
                values[77] = value;
                // As text, since NaN is not equal to itself.
                let error = |outcome: Result<Vec<u8>, QuantError>| outcome.err().map(|error| error.to_string());
                assert_eq!(error(encode(dtype, &values, None)), error(quant::encode(dtype, &values)), "{dtype}");
            }
            assert_eq!(encode(dtype, &[1.0; 250], None).is_ok(), dtype.block_len() == 1);
        }
    }
}
