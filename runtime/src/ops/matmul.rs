//! Matrix products: `Y = X W^T` for weights of any type, several matrices with the same input in one parallel region.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use crate::cpu::Isa;
use crate::gguf::TensorType;
use crate::quant;

use super::activations::Quantized;
use super::float::{Bf16, F16, Float, FloatGemm};
use super::format::{Format, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::quantized::{Dot, Gemm, Panel};
use super::{Exec, Shared};

/// A weight matrix in the bytes of a file: `rows` rows of `cols` elements each.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    dtype: TensorType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// The matrix in `bytes`; `None` if their number is not that of such a matrix, if it is empty, or if the weights are
    /// floats at an address that is not aligned for them.
    pub fn new(dtype: TensorType, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        let row_bytes = dtype.row_bytes(cols)?;
        let fits = rows > 0 && cols > 0 && rows.checked_mul(row_bytes)? == bytes.len();
        let align = match dtype {
            TensorType::F32 => 4,
            TensorType::F16 | TensorType::Bf16 => 2,
            _ => 1,
        };
        let aligned = bytes.as_ptr().addr().is_multiple_of(align);
        (fits && aligned).then_some(Self { dtype, rows, cols, row_bytes, bytes })
    }

    /// Rows: the size of the output.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the size of the input.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The type of the weights.
    pub fn dtype(&self) -> TensorType {
        self.dtype
    }

    /// The bytes, row after row.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The rows `range` as a matrix of their own.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let bytes = &self.bytes[range.start * self.row_bytes..range.end * self.row_bytes];
        Self { rows: range.len(), bytes, ..*self }
    }

    /// Decodes all weights to `out`: `[rows][cols]`.
    ///
    /// # Panics
    /// If `out` has another size.
    pub fn decode(&self, out: &mut [f32]) {
        quant::decode(self.dtype, self.bytes, out).expect("a matrix has whole blocks, and the output its size");
    }

    fn is_float(&self) -> bool {
        matches!(self.dtype, TensorType::F32 | TensorType::F16 | TensorType::Bf16)
    }

    /// The weights as numbers of type `T`, which has the size and at most the alignment of the matrix's float type.
    fn floats<T: Float>(&self) -> &'a [T] {
        // SAFETY: `Float` types are plain numbers, valid for every bit pattern, and `align_to` splits off what is not
        // aligned (nothing: `new` has checked).
        unsafe { self.bytes.align_to().1 }
    }
}

/// One matrix of a parallel region and where its results go: `[count][rows]`.
#[derive(Debug)]
pub struct Product<'a> {
    /// The weights.
    pub matrix: Matrix<'a>,
    /// The results, one column of the input after the other.
    pub out: &'a mut [f32],
}

/// Multiplies each product's matrix with the same columns `x` (`[count][size]`), on all threads.
///
/// Quantized weights meet 8-bit activations (`scratch`), float weights the floats themselves.
///
/// # Panics
/// If a matrix has another number of columns than `size`, or an output another size than `count * rows`.
pub fn matmul(exec: &mut Exec, x: &[f32], size: usize, scratch: &mut Quantized, products: &mut [Product<'_>]) {
    let count = x.len() / size;
    for product in products.iter() {
        assert_eq!(product.matrix.cols, size, "a product's matrix must fit its input");
        assert_eq!(product.out.len(), count * product.matrix.rows, "a product's output must fit its matrix");
    }
    if products.iter().any(|product| !product.matrix.is_float()) {
        scratch.fill(exec, x, size);
    }
    let scratch: &Quantized = scratch;
    let lanes = exec.isa.lanes();
    let groups: usize = products.iter().map(|product| product.matrix.rows.div_ceil(lanes)).sum();
    let chunk = groups.div_ceil(exec.pool.threads() * CHUNKS_PER_THREAD);
    let jobs: Vec<Job<'_>> = products.iter_mut().flat_map(|product| jobs(product, lanes, chunk)).collect();
    let isa = exec.isa;
    exec.pool.run(jobs.len(), |i| jobs[i].run(isa, x, scratch));
}

/// Enough that a slow core does not hold the others up, few enough that claiming them costs nothing.
const CHUNKS_PER_THREAD: usize = 6;

/// One task of a region: some groups of `LANES` rows of one matrix.
struct Job<'a> {
    matrix: Matrix<'a>,
    groups: Range<usize>,
    out: Shared<f32>,
}

fn jobs<'a>(product: &mut Product<'a>, lanes: usize, chunk: usize) -> impl Iterator<Item = Job<'a>> + use<'a> {
    let (matrix, out) = (product.matrix, Shared::new(product.out));
    let groups = matrix.rows.div_ceil(lanes);
    (0..groups).step_by(chunk).map(move |first| Job { matrix, groups: first..groups.min(first + chunk), out })
}

thread_local! {
    /// The panel of this thread, so that it is allocated once.
    static PANEL: RefCell<Panel> = RefCell::default();
}

impl Job<'_> {
    fn run(&self, isa: Isa, x: &[f32], quantized: &Quantized) {
        match self.matrix.dtype {
            TensorType::F32 => self.float::<f32>(isa, x),
            TensorType::F16 => self.float::<F16>(isa, x),
            TensorType::Bf16 => self.float::<Bf16>(isa, x),
            TensorType::Q8_0 => self.quantized::<Q8_0>(isa, quantized),
            TensorType::Q4_0 => self.quantized::<Q4_0>(isa, quantized),
            TensorType::Q4_1 => self.quantized::<Q4_1>(isa, quantized),
            TensorType::Q5_0 => self.quantized::<Q5_0>(isa, quantized),
            TensorType::Q5_1 => self.quantized::<Q5_1>(isa, quantized),
            TensorType::Q4K => self.quantized::<Q4K>(isa, quantized),
            TensorType::Q5K => self.quantized::<Q5K>(isa, quantized),
            TensorType::Q6K => self.quantized::<Q6K>(isa, quantized),
        }
    }

    fn float<T: Float>(&self, isa: Isa, x: &[f32]) {
        let rows = self.groups.start * isa.lanes()..self.matrix.rows.min(self.groups.end * isa.lanes());
        isa.dispatch(FloatGemm { matrix: self.matrix, weights: self.matrix.floats::<T>(), x, rows, out: self.out });
    }

    fn quantized<F: Format>(&self, isa: Isa, x: &Quantized) {
        let (matrix, groups, out) = (self.matrix, self.groups.clone(), self.out);
        if x.count() <= DOT_COLUMNS {
            for column in 0..x.count() {
                let (groups, x) = (groups.clone(), x.column(column));
                isa.dispatch(Dot::<F> { matrix, x, column, groups, out, format: PhantomData });
            }
        } else {
            PANEL.with_borrow_mut(|panel| {
                isa.dispatch(Gemm::<F> { matrix, x, groups, out, panel, format: PhantomData });
            });
        }
    }
}

/// Up to so many columns, unpacking a panel costs more than reading the weights again.
const DOT_COLUMNS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Pool;

    const TYPES: [TensorType; 11] = [
        TensorType::F32,
        TensorType::F16,
        TensorType::Bf16,
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q4_1,
        TensorType::Q5_0,
        TensorType::Q5_1,
        TensorType::Q4K,
        TensorType::Q5K,
        TensorType::Q6K,
    ];

    /// Deterministic numbers of -1 to 1 (a linear congruential generator, constants of Knuth's MMIX).
    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let step = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        };
        (0..n).map(step).collect()
    }

    /// Weights of a type, 16-byte aligned, and what they decode to.
    fn weights(dtype: TensorType, rows: usize, cols: usize, scale: f32) -> (Vec<u128>, usize, Vec<f32>) {
        let values: Vec<f32> = noise(rows * cols, 7).into_iter().map(|x| x * scale).collect();
        let bytes = quant::encode(dtype, &values).unwrap();
        let mut decoded = vec![0.0; values.len()];
        quant::decode(dtype, &bytes, &mut decoded).unwrap();
        let mut aligned = vec![0_u128; bytes.len().div_ceil(16)];
        // SAFETY: any bytes are a valid `u128`, and the buffer is long enough.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), aligned.as_mut_ptr().cast(), bytes.len()) };
        (aligned, bytes.len(), decoded)
    }

    fn product(
        isa: Isa,
        threads: usize,
        dtype: TensorType,
        (aligned, len): (&[u128], usize),
        rows: usize,
        x: &[f32],
        cols: usize,
    ) -> Vec<f32> {
        // SAFETY: `len` bytes of the buffer were written.
        let bytes = unsafe { std::slice::from_raw_parts(aligned.as_ptr().cast(), len) };
        let matrix = Matrix::new(dtype, rows, cols, bytes).unwrap();
        let mut out = vec![f32::NAN; x.len() / cols * rows];
        let mut exec = Exec { isa, pool: Pool::new(threads).unwrap() };
        matmul(&mut exec, x, cols, &mut Quantized::default(), &mut [Product { matrix, out: &mut out }]);
        out
    }

    /// Every kernel against decoded weights in double precision, on every instruction set: ragged sizes, extreme scales.
    #[test]
    fn products_are_what_the_decoded_weights_give() {
        for dtype in TYPES {
            let unit = dtype.block_len();
            for (rows, blocks, scale) in [(1, 1, 1.0), (17, 3, 1e-3), (33, 2, 100.0), (16, 1, 1e-20)] {
                let cols = unit * blocks + if unit == 1 { 37 } else { 0 };
                let (aligned, len, decoded) = weights(dtype, rows, cols, scale);
                for count in [1, 2, 3, 11] {
                    let x = noise(count * cols, 3);
                    for isa in Isa::available() {
                        let got = product(isa, 2, dtype, (&aligned, len), rows, &x, cols);
                        check(&got, &decoded, &x, rows, cols, dtype, isa);
                    }
                }
            }
        }
    }

    fn check(got: &[f32], decoded: &[f32], x: &[f32], rows: usize, cols: usize, dtype: TensorType, isa: Isa) {
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

    /// The promise of the module: the same bits for any number of threads and columns, and for quantized weights on any
    /// instruction set.
    #[test]
    fn bits_do_not_depend_on_threads_columns_or_isa() {
        for dtype in TYPES {
            let (rows, cols) = (53, dtype.block_len().max(32) * 2);
            let (aligned, len, _) = weights(dtype, rows, cols, 1.0);
            let x = noise(13 * cols, 5);
            let reference = product(Isa::by_name("scalar").unwrap(), 1, dtype, (&aligned, len), rows, &x, cols);
            for isa in Isa::available() {
                let all = product(isa, 1, dtype, (&aligned, len), rows, &x, cols);
                if dtype.block_len() > 1 {
                    assert_eq!(all, reference, "{dtype:?} {isa:?}");
                }
                for threads in [2, 3, 8] {
                    assert_eq!(product(isa, threads, dtype, (&aligned, len), rows, &x, cols), all, "{dtype:?} {isa:?}");
                }
                for column in 0..13 {
                    let one = product(isa, 2, dtype, (&aligned, len), rows, &x[column * cols..][..cols], cols);
                    assert_eq!(one, all[column * rows..][..rows], "{dtype:?} {isa:?} column {column}");
                }
            }
        }
    }
}
