//! Matmul: `Y = X W^T` for weights of any type, several matrices with the same input in one
//! parallel region.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::Isa;
use crate::quant::TensorType;
use crate::with_format;

use super::activations::Quantized;
use super::float::{Bf16, F16, Float};
use super::float_gemm::FloatGemm;
use super::format::{Format, PANEL_ROWS};
use super::gemm::{PANELS_PER_GEMM, QuantizedGemm, Unpacking};
use super::gemv::{PANELS_PER_GEMV, QuantizedGemv};
use super::matrix::Matrix;
use super::quantized::PanelRange;
use super::{Exec, Shared};

/// One matrix of a parallel region and where its results go: `[count][rows]`.
#[derive(Debug)]
pub struct MatmulOp<'a> {
    /// The weights.
    pub matrix: Matrix<'a>,
    /// The results, one token after the other.
    pub out: &'a mut [f32],
}

/// Matmul of each op's matrix with the same activation vectors `x` (`[count][size]`), on all
/// threads: GEMV for one token, GEMM for many.
///
/// Quantized weights use 8-bit activations (`scratch`), float weights the floats themselves.
///
/// # Panics
/// If a matrix has another number of `cols` than `size`, is not ready ([`Matrix::is_ready`]), or
/// an output has another size than `count * rows`.
pub fn matmul(exec: &mut Exec, x: &[f32], size: usize, scratch: &mut Quantized, ops: &mut [MatmulOp<'_>]) {
    let count = x.len() / size;
    for MatmulOp { matrix, out } in ops.iter() {
        assert_eq!(matrix.cols(), size, "an op's matrix must fit its input");
        assert_eq!(out.len(), count * matrix.rows(), "an op's output must fit its matrix");
        assert!(matrix.is_ready(), "an op's quantized matrix must be packed");
    }
    if count == 0 {
        return;
    }
    let tiling = exec.isa.tiling(count, ops.iter().all(|op| is_stream(&op.matrix)));
    if ops.iter().any(|op| !op.matrix.is_float()) {
        scratch.fill(exec, x, size, tiling.width);
    }
    let scratch: &Quantized = scratch;
    let panels: usize = ops.iter().map(|op| panels(&op.matrix)).sum();
    // Tasks are whole rounds of panels, in a GEMV and in a GEMM.
    let round = if count == 1 { PANELS_PER_GEMV } else { PANELS_PER_GEMM };
    let chunk = round * (panels.div_ceil(round) / (exec.pool.threads() * CHUNKS_PER_THREAD)).max(1);
    let tasks: Vec<PanelTask<'_>> = ops.iter_mut().flat_map(|op| tasks(op, chunk)).collect();
    let isa = exec.isa;
    exec.pool.run(tasks.len(), |i| tasks[i].run(isa, x, scratch, tiling.is_gemv));
}

/// The least number of tasks, where there are as many rounds: enough that a slow core does not
/// delay the other threads, few enough that the cost of claiming them does not count.
const CHUNKS_PER_THREAD: usize = 6;

/// Panels of rows (packed weights, 16 rows interleaved): the unit in which work is divided.
fn panels(matrix: &Matrix<'_>) -> usize {
    matrix.panel_rows().end.div_ceil(PANEL_ROWS)
}

/// [`Format::IS_STREAM`]
fn is_stream(matrix: &Matrix<'_>) -> bool {
    with_format!(matrix.dtype(), F => F::IS_STREAM, float => true)
}

/// One task of a region: some panels of one matrix.
struct PanelTask<'a> {
    matrix: Matrix<'a>,
    panels: Range<usize>,
    out: Shared<f32>,
}

fn tasks<'a>(op: &mut MatmulOp<'a>, chunk: usize) -> impl Iterator<Item = PanelTask<'a>> + use<'a> {
    let (matrix, out) = (op.matrix, Shared::new(op.out));
    let panels = panels(&matrix);
    (0..panels).step_by(chunk).map(move |first| PanelTask { matrix, panels: first..panels.min(first + chunk), out })
}

impl PanelTask<'_> {
    fn run(&self, isa: Isa, x: &[f32], quantized: &Quantized, is_gemv: bool) {
        with_format!(self.matrix.dtype(), F => self.quantized::<F>(isa, quantized, is_gemv), float => match self.matrix.dtype() {
            TensorType::F16 => self.float::<F16>(isa, x),
            TensorType::Bf16 => self.float::<Bf16>(isa, x),
            _ => self.float::<f32>(isa, x),
        });
    }

    fn float<T: Float>(&self, isa: Isa, x: &[f32]) {
        let rows = self.panels.start * PANEL_ROWS..self.matrix.rows().min(self.panels.end * PANEL_ROWS);
        isa.dispatch(FloatGemm { matrix: self.matrix, weights: self.matrix.floats::<T>(), x, rows, out: self.out });
    }

    fn quantized<F: Format>(&self, isa: Isa, x: &Quantized, is_gemv: bool) {
        let panels = PanelRange { matrix: self.matrix, range: self.panels.clone(), out: self.out };
        if is_gemv {
            isa.dispatch(QuantizedGemv::<F> { panels, x, format: PhantomData });
        } else {
            let unpacking = Unpacking::of::<F>();
            isa.dispatch(QuantizedGemm::<F::Integers> { panels, x, isa, unpacking, integers: PhantomData });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Pool;
    use crate::ops::Panels;
    use crate::quant::{self, samples};

    /// Deterministic numbers of -1 to 1 (a linear congruential generator, constants of Knuth's
    /// MMIX).
    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let step = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        };
        (0..n).map(step).collect()
    }

    /// Weights of a type, 16-byte aligned.
    struct Weights {
        dtype: TensorType,
        rows: usize,
        cols: usize,
        aligned: Vec<u128>,
        len: usize,
    }

    impl Weights {
        fn new(dtype: TensorType, rows: usize, cols: usize, bytes: &[u8]) -> Self {
            let mut aligned = vec![0_u128; bytes.len().div_ceil(16)];
            // SAFETY: any bytes are a valid `u128`, and the buffer is long enough.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), aligned.as_mut_ptr().cast(), bytes.len()) };
            Self { dtype, rows, cols, aligned, len: bytes.len() }
        }

        fn random(dtype: TensorType, rows: usize, cols: usize, scale: f32) -> Self {
            let values: Vec<f32> = noise(rows * cols, 7).into_iter().map(|x| x * scale).collect();
            let bytes = if quant::is_writable(dtype) {
                quant::encode(dtype, &values).unwrap()
            } else {
                samples::random(dtype, rows * cols / dtype.block_len(), scale)
            };
            Self::new(dtype, rows, cols, &bytes)
        }

        fn bytes(&self) -> &[u8] {
            // SAFETY: `len` bytes of the buffer were written.
            unsafe { std::slice::from_raw_parts(self.aligned.as_ptr().cast(), self.len) }
        }

        fn decoded(&self) -> Vec<f32> {
            let mut decoded = vec![0.0; self.rows * self.cols];
            quant::decode(self.dtype, self.bytes(), &mut decoded).unwrap();
            decoded
        }

        fn matrix(&self) -> Matrix<'_> {
            Matrix::new(self.dtype, self.rows, self.cols, self.bytes()).unwrap()
        }
    }

    fn op(isa: Isa, threads: usize, weights: &Weights, x: &[f32]) -> Vec<f32> {
        let plain = weights.matrix();
        let panels = (!plain.is_ready()).then(|| Panels::new(&plain).unwrap());
        let matrix = panels.as_ref().map_or(plain, Panels::matrix);
        let mut out = vec![f32::NAN; x.len() / weights.cols * weights.rows];
        let mut exec = Exec { isa, pool: Pool::new(threads).unwrap() };
        matmul(&mut exec, x, weights.cols, &mut Quantized::default(), &mut [MatmulOp { matrix, out: &mut out }]);
        out
    }

    /// Every kernel against decoded weights in double precision, on every instruction set: ragged
    /// sizes, extreme scales.
    #[test]
    fn matmul_is_that_of_the_decoded_weights() {
        for &dtype in TensorType::ALL {
            let unit = dtype.block_len();
            for (rows, blocks, scale) in [(1, 1, 1.0), (17, 3, 1e-3), (33, 2, 100.0), (16, 1, 1e-20)] {
                let cols = unit * blocks + if unit == 1 { 37 } else { 0 };
                let weights = Weights::random(dtype, rows, cols, scale);
                let decoded = weights.decoded();
                for count in [1, 2, 3, 11] {
                    let x = noise(count * cols, 3);
                    for isa in Isa::available() {
                        let got = op(isa, 2, &weights, &x);
                        check(&got, &decoded, &x, &weights, isa);
                    }
                }
            }
        }
    }

    fn check(got: &[f32], decoded: &[f32], x: &[f32], weights: &Weights, isa: Isa) {
        let &Weights { dtype, rows, cols, .. } = weights;
        for (i, &got) in got.iter().enumerate() {
            let (w, x) = (&decoded[i % rows * cols..][..cols], &x[i / rows * cols..][..cols]);
            let terms = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
            let (want, size) = terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()));
            // 8-bit activations are off by half a step of 1/127 at most, on average by far less.
            let tolerance =
                if matches!(dtype, TensorType::F32 | TensorType::F16 | TensorType::Bf16) { 1e-5 } else { 6e-3 };
            assert!((f64::from(got) - want).abs() <= tolerance * size, "{dtype:?} {isa:?} {i}: {got} for {want}");
        }
    }

    /// Blocks of one byte over and over, scales of 1, and activations at their limit: sums are as
    /// large as they can be, and the same on every instruction set.
    #[test]
    fn the_largest_sums_fit() {
        for dtype in TensorType::ALL.iter().copied().filter(|dtype| dtype.block_len() > 1) {
            let (rows, cols) = (16, dtype.block_len());
            for fill in [0xff, 0x80, 0x7f, 0x00] {
                let mut block = vec![fill; dtype.block_bytes()];
                samples::set_scales(dtype, &mut block, 1.0);
                let weights = Weights::new(dtype, rows, cols, &block.repeat(rows));
                let decoded = weights.decoded();
                for sign in [1.0, -1.0] {
                    let x = vec![sign; 5 * cols];
                    let want: f32 = decoded[..cols].iter().sum::<f32>() * sign;
                    for isa in Isa::available() {
                        let got = op(isa, 1, &weights, &x);
                        let close = |y: &f32| (y - want).abs() <= 1e-5 * want.abs().max(1.0);
                        assert!(got.iter().all(close), "{dtype:?} {isa:?} {fill:#x} {sign}: {got:?} for {want}");
                    }
                }
            }
        }
    }

    /// Deterministic: bit-identical for any number of threads and tokens, on any instruction set.
    #[test]
    fn bits_do_not_depend_on_threads_tokens_or_isa() {
        const COUNT: usize = 19;
        for &dtype in TensorType::ALL {
            let (rows, cols) = (53, if dtype.block_len() == 1 { 77 } else { dtype.block_len() * 2 });
            let weights = Weights::random(dtype, rows, cols, 1.0);
            let x = noise(COUNT * cols, 5);
            let reference = op(Isa::by_name("scalar").unwrap(), 1, &weights, &x);
            for isa in Isa::available() {
                let all = op(isa, 1, &weights, &x);
                assert_eq!(all, reference, "{dtype:?} {isa:?}");
                for threads in [2, 3, 8] {
                    assert_eq!(op(isa, threads, &weights, &x), all, "{dtype:?} {isa:?}");
                }
                for token in 0..COUNT {
                    let one = op(isa, 2, &weights, &x[token * cols..][..cols]);
                    assert_eq!(one, all[token * rows..][..rows], "{dtype:?} {isa:?} token {token}");
                }
                // Each width of tiles, one tile and several, whole and not.
                for count in 2..COUNT {
                    let some = op(isa, 2, &weights, &x[..count * cols]);
                    assert_eq!(some, all[..count * rows], "{dtype:?} {isa:?} {count} tokens");
                }
            }
        }
    }

    /// Rows longer than an unpacked tile, with reused activation buffers: a GEMM is bit-identical
    /// to the GEMVs of its tokens.
    #[test]
    fn long_rows_and_used_scratch_change_no_bit() {
        let (rows, cols, isas) = (37, 1024 + 256, Isa::available());
        let x = noise(47 * cols, 9);
        for &dtype in TensorType::ALL.iter().filter(|dtype| dtype.block_len() > 1) {
            let weights = Weights::random(dtype, rows, cols, 1.0);
            let panels = Panels::new(&weights.matrix()).unwrap();
            for &isa in &isas {
                let mut exec = Exec { isa, pool: Pool::new(2).unwrap() };
                let mut scratch = Quantized::default();
                let mut run = |x: &[f32]| {
                    let mut out = vec![f32::NAN; x.len() / cols * rows];
                    let mut ops = [MatmulOp { matrix: panels.matrix(), out: &mut out }];
                    matmul(&mut exec, x, cols, &mut scratch, &mut ops);
                    out
                };
                let alone: Vec<f32> = x.chunks_exact(cols).flat_map(&mut run).collect();
                run(&vec![f32::NAN; x.len()]);
                for count in [47, 3, 20, 0, 33, 40, 1, 41, 7] {
                    assert_eq!(run(&x[..count * cols]), alone[..count * rows], "{dtype:?} {isa:?} {count} tokens");
                }
            }
        }
    }

    /// Some rows of a packed matrix, from the middle of a panel to the middle of another: the rows
    /// of the whole.
    #[test]
    fn some_rows_are_those_of_the_whole() {
        let (rows, cols) = (53, 1024 + 256);
        for &dtype in TensorType::ALL.iter().filter(|dtype| dtype.block_len() > 1) {
            let weights = Weights::random(dtype, rows, cols, 1.0);
            let panels = Panels::new(&weights.matrix()).unwrap();
            for isa in Isa::available() {
                let mut exec = Exec { isa, pool: Pool::new(2).unwrap() };
                for count in [1, 4, 10, 12] {
                    let x = noise(count * cols, 3);
                    let mut run = |matrix: Matrix<'_>| {
                        let mut out = vec![f32::NAN; count * matrix.rows()];
                        let mut ops = [MatmulOp { matrix, out: &mut out }];
                        matmul(&mut exec, &x, cols, &mut Quantized::default(), &mut ops);
                        out
                    };
                    let whole = run(panels.matrix());
                    for range in [3..41, 18..20, 16..53, 5..16] {
                        let want: Vec<f32> =
                            whole.chunks_exact(rows).flat_map(|token| token[range.clone()].to_vec()).collect();
                        let got = run(panels.matrix().slice(range.clone()));
                        assert_eq!(got, want, "{dtype:?} {isa:?} {count} tokens, rows {range:?}");
                    }
                }
            }
        }
    }
}
