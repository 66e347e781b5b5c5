//! The element types of a KV cache: how wide an element is, which elements have a common scale, and
//! how keys and values are rounded. Storage, snapshots, memory estimates and kernels all read it
//! here.

use std::fmt;
use std::str::FromStr;

use half::f16;
use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};

use crate::cpu::{Isa, Kernel, Simd};

/// Positions of a block, of keys or of values. The row of a value is rounded up to a multiple of
/// it.
pub(super) const POSITION_BLOCK: usize = 16;

/// Elements of a head that have a common scale, in a type with scales.
pub(super) const GROUP: usize = 32;

/// The element type of a KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// IEEE binary16: 2 bytes an element.
    #[default]
    F16,
    /// ggml's `Q8_0`: 32 elements of a head as signed bytes with a binary16 scale, `x = d q`, which
    /// is 34 bytes for 32 elements. The last block of a head may be shorter.
    Q8_0,
}

impl KvType {
    /// All, the most exact first.
    pub const ALL: [Self; 2] = [Self::F16, Self::Q8_0];

    /// The name, as the shell and JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Bytes of an element.
    fn element_bytes(self) -> usize {
        match self {
            Self::F16 => size_of::<u16>(),
            Self::Q8_0 => size_of::<i8>(),
        }
    }

    /// Whether each [`GROUP`] of elements has a scale.
    fn is_scaled(self) -> bool {
        match self {
            Self::F16 => F16::SCALED,
            Self::Q8_0 => Q8_0::SCALED,
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(text: &str) -> Result<Self, UnknownKvType> {
        Self::ALL.into_iter().find(|kv_type| kv_type.name() == text).ok_or_else(|| UnknownKvType(text.to_owned()))
    }
}

/// A text that names no [`KvType`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKvType(String);

impl fmt::Display for UnknownKvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no type of a KV cache: {}", self.0, KvType::ALL.map(KvType::name).join(" or "))
    }
}

impl std::error::Error for UnknownKvType {}

/// The shape of the heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHeads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

impl KvHeads {
    pub(super) fn queries_per_head(&self) -> usize {
        self.heads / self.kv_heads
    }

    pub(super) fn value_width(&self) -> usize {
        self.head_dim.next_multiple_of(POSITION_BLOCK)
    }
}

/// Heads of an element type. Storage is in words of 16 bits: two bytes, or one half-precision
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KvLayout {
    pub(super) heads: KvHeads,
    pub(super) kv_type: KvType,
}

impl KvLayout {
    /// Scales of the key, and as many of the value, of a head.
    fn scales(&self) -> usize {
        if self.kv_type.is_scaled() { self.heads.head_dim.div_ceil(GROUP) } else { 0 }
    }

    fn words(&self, elements: usize) -> usize {
        (elements * self.kv_type.element_bytes()).div_ceil(size_of::<u16>())
    }

    /// Words of the elements of a block of keys: `[head_dim][16]`.
    pub(super) fn key_elements(&self) -> usize {
        self.words(self.heads.head_dim * POSITION_BLOCK)
    }

    /// Words of the elements of a block of values: `[16][value_width]`.
    pub(super) fn value_elements(&self) -> usize {
        self.words(self.heads.value_width() * POSITION_BLOCK)
    }

    /// Words of a block of keys: the elements, then the scales, `[scales][16]`.
    pub(super) fn key_block(&self) -> usize {
        self.key_elements() + self.scales() * POSITION_BLOCK
    }

    /// Words of a block of values: the elements, then the scales, `[scales][16]`.
    pub(super) fn value_block(&self) -> usize {
        self.value_elements() + self.scales() * POSITION_BLOCK
    }

    /// Words of the elements of a head in a row.
    pub(super) fn head_elements(&self) -> usize {
        self.words(self.heads.head_dim)
    }

    /// Words of a row, which is the key or the value of a position: of each head the elements, then
    /// the scales.
    pub(super) fn row(&self) -> usize {
        self.heads.kv_heads * (self.head_elements() + self.scales())
    }

    /// Rounds the key or the value of a position (`[kv_heads * head_dim]`) to a row.
    pub(super) fn round(&self, isa: Isa, from: &[f32], row: &mut [u16]) {
        match self.kv_type {
            KvType::F16 => row.reinterpret_cast_mut::<f16>().convert_from_f32_slice(from),
            KvType::Q8_0 => isa.dispatch(Quantize { layout: *self, from, row }),
        }
    }
}

/// An element type as kernels and copies see it.
pub(super) trait Element: Copy + Send + Sync {
    /// An element in memory.
    type Stored: Copy;
    /// Whether each [`GROUP`] of elements has a scale, in half precision.
    const SCALED: bool;

    /// The elements of these words.
    fn view(words: &[u16]) -> &[Self::Stored];
    /// The elements of these words.
    fn view_mut(words: &mut [u16]) -> &mut [Self::Stored];
    /// The first `S::LANES` elements of `from`, widened, without their scale.
    fn load<S: Simd>(isa: S, from: &[Self::Stored]) -> S::F32;
}

/// [`KvType::F16`]
#[derive(Clone, Copy)]
pub(super) struct F16;

impl Element for F16 {
    type Stored = u16;
    const SCALED: bool = false;

    #[inline(always)]
    fn view(words: &[u16]) -> &[u16] {
        words
    }
    #[inline(always)]
    fn view_mut(words: &mut [u16]) -> &mut [u16] {
        words
    }
    #[inline(always)]
    fn load<S: Simd>(isa: S, from: &[u16]) -> S::F32 {
        isa.load_f16(from)
    }
}

/// [`KvType::Q8_0`]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the format")]
pub(super) struct Q8_0;

impl Element for Q8_0 {
    type Stored = i8;
    const SCALED: bool = true;

    #[inline(always)]
    fn view(words: &[u16]) -> &[i8] {
        // SAFETY: a word is two bytes, which have no alignment and are any numbers.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
    }
    #[inline(always)]
    fn view_mut(words: &mut [u16]) -> &mut [i8] {
        // SAFETY: as above, and the words are borrowed as long as the bytes.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
    }
    #[inline(always)]
    fn load<S: Simd>(isa: S, from: &[i8]) -> S::F32 {
        isa.load_i8(from)
    }
}

/// Evaluates `$body` with `$element` as the [`Element`] of a [`KvType`].
macro_rules! with_element {
    ($kv_type:expr, $element:ident => $body:expr) => {
        match $kv_type {
            $crate::ops::KvType::F16 => {
                type $element = $crate::ops::kv_type::F16;
                $body
            }
            $crate::ops::KvType::Q8_0 => {
                type $element = $crate::ops::kv_type::Q8_0;
                $body
            }
        }
    };
}
pub(super) use with_element;

/// The key or the value of a position, quantized.
struct Quantize<'a> {
    layout: KvLayout,
    /// `[kv_heads * head_dim]`
    from: &'a [f32],
    row: &'a mut [u16],
}

impl Kernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let (elements, scales) = (self.layout.head_elements(), self.layout.scales());
        let heads = self.from.chunks_exact(self.layout.heads.head_dim);
        for (from, to) in heads.zip(self.row.chunks_exact_mut(elements + scales)) {
            let (to, scales) = to.split_at_mut(elements);
            // A byte past the elements stays 0.
            let to = Q8_0::view_mut(to);
            to.fill(0);
            for ((from, to), scale) in from.chunks(GROUP).zip(to.chunks_mut(GROUP)).zip(scales) {
                *scale = quantize_group(isa, from, to);
            }
        }
    }
}

/// Quantizes at most 32 values, whose largest magnitude becomes 127, with the scale as it is
/// stored; gives the scale's bits, which are NaN or infinite if a value is, or is too large: what
/// is computed from it is then no number.
#[inline(always)]
fn quantize_group<S: Simd>(isa: S, from: &[f32], to: &mut [i8]) -> u16 {
    let (mut values, mut bytes) = ([0.0; GROUP], [0; GROUP]);
    values[..from.len()].copy_from_slice(from);
    let (mut max, mut poison) = (isa.splat(0.0), isa.splat(0.0));
    for x in values.chunks_exact(S::LANES) {
        let x = isa.load(x);
        max = isa.max(max, isa.abs(x));
        // 0 for a finite value, else NaN, so that bad values cannot vanish in the rounding.
        poison = isa.fma(x, isa.splat(0.0), poison);
    }
    let scale = f16::from_f32(isa.max_lane(max) / 127.0 + isa.sum(poison));
    if scale.is_nan() {
        return f16::NAN.to_bits();
    }
    if scale.is_finite() && scale > f16::ZERO {
        let inverse = isa.splat(1.0 / scale.to_f32());
        for (x, q) in values.chunks_exact(S::LANES).zip(bytes.chunks_exact_mut(S::LANES)) {
            isa.store_i8(isa.mul(isa.load(x), inverse), q);
        }
        to[..from.len()].copy_from_slice(&bytes[..from.len()]);
    }
    scale.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_they_are_written() {
        for kv_type in KvType::ALL {
            assert_eq!(kv_type.to_string().parse(), Ok(kv_type));
        }
        let error = "Q8_0".parse::<KvType>().unwrap_err();
        assert_eq!(error.to_string(), "\"Q8_0\" is no type of a KV cache: f16 or q8_0");
    }

    /// The row of one head.
    fn quantized(isa: Isa, from: &[f32]) -> Vec<u16> {
        let heads = KvHeads { heads: 1, kv_heads: 1, head_dim: from.len() };
        let layout = KvLayout { heads, kv_type: KvType::Q8_0 };
        let mut row = vec![0x5555; layout.row()];
        layout.round(isa, from, &mut row);
        row
    }

    fn decoded(row: &[u16], elements: usize) -> Vec<f32> {
        let (bytes, scales) = row.split_at(elements.div_ceil(2));
        let bytes = &Q8_0::view(bytes)[..elements];
        bytes.iter().enumerate().map(|(i, &q)| f32::from(q) * f16::from_bits(scales[i / GROUP]).to_f32()).collect()
    }

    #[test]
    fn quantized_heads_are_near_and_the_same_on_every_isa() {
        for elements in [1, 2, 20, 31, 32, 33, 64, 80, 101, 256] {
            for size in [1e-5, 0.01, 1.0, 300.0, 1e6] {
                let from: Vec<f32> = (0..elements).map(|i| size * ((i * 37 % 101) as f32 / 50.0 - 1.0)).collect();
                let row = quantized(Isa::by_name("scalar").unwrap(), &from);
                for (from, got) in from.chunks(GROUP).zip(decoded(&row, elements).chunks(GROUP)) {
                    let most = from.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                    // Half a step, and what the rounding of a scale costs: a subnormal one most.
                    let bound = most / 127.0 * 0.51 + 127.0 * 2f32.powi(-25);
                    assert!(from.iter().zip(got).all(|(x, y)| (x - y).abs() <= bound), "{from:?} {got:?}");
                }
                for isa in Isa::available() {
                    assert_eq!(quantized(isa, &from), row, "{isa:?} {elements} {size}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_or_too_large_is_never_stored_as_one() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e8, -1e38] {
            for at in [0, 7, 31, 32, 39] {
                let mut from: Vec<f32> = (0..40).map(|i| i as f32).collect();
                from[at] = bad;
                let row = quantized(Isa::by_name("scalar").unwrap(), &from);
                let scale = f16::from_bits(row[20 + at / GROUP]);
                assert!(!scale.is_finite() && f16::from_bits(row[20 + 1 - at / GROUP]).is_finite(), "{bad} {at}");
                for isa in Isa::available() {
                    assert_eq!(quantized(isa, &from), row, "{isa:?} {bad} {at}");
                }
            }
        }
    }

    #[test]
    fn a_half_of_the_memory() {
        let heads = KvHeads { heads: 9, kv_heads: 3, head_dim: 64 };
        let blocks = KvType::ALL.map(|kv_type| {
            let layout = KvLayout { heads, kv_type };
            (layout.row(), layout.key_block(), layout.value_block())
        });
        assert_eq!(blocks, [(192, 1024, 1024), (102, 544, 544)]);
    }
}
