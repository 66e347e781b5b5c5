//! The quantized block formats as the products see them: unsigned or signed integers in groups of 16 or 32, each group
//! with a scale and, for some formats, a minimum: `w = scale * (q - ZERO)` or `w = scale * q + minimum`.
//!
//! The byte layouts are those of [`crate::quant`], which is the reference; here each is unpacked with vector
//! primitives, once for all instruction sets.

use crate::cpu::Simd;
use crate::cpu::simd::MAX_LANES;
use crate::gguf::TensorType;

/// Scales and minimums of one block of each of `LANES` rows: `[group][row]`.
pub(super) struct Scales {
    pub(super) scale: [[f32; MAX_LANES]; 16],
    pub(super) minimum: [[f32; MAX_LANES]; 8],
}

impl Scales {
    pub(super) const ZERO: Self = Self { scale: [[0.0; MAX_LANES]; 16], minimum: [[0.0; MAX_LANES]; 8] };
}

/// The rows of a product's group: where the current block of each starts.
pub(super) type Rows = [*const u8; MAX_LANES];

/// A block format.
pub(super) trait Format {
    const TYPE: TensorType;
    /// Elements of a block.
    const ELEMENTS: usize = Self::TYPE.block_len();
    /// Bytes of a block.
    const BYTES: usize = Self::TYPE.block_bytes();
    /// Elements that share a scale: 16 or 32.
    const GROUP: usize = 32;
    /// What is subtracted from the integers.
    const ZERO: i32 = 0;
    /// Whether a minimum is added.
    const AFFINE: bool = false;
    /// Whether the integers are signed bytes; otherwise they are 0 to 127.
    const SIGNED: bool = false;

    /// The integers `32 * part..32 * part + 32` of a block.
    ///
    /// # Safety
    /// `block` is readable for `BYTES` bytes and `part < ELEMENTS / 32`.
    unsafe fn unpack<S: Simd>(isa: S, block: *const u8, part: usize) -> S::Bytes;

    /// The scales of one block of each row.
    ///
    /// # Safety
    /// The first `LANES` pointers of `rows` are readable for `BYTES` bytes.
    unsafe fn scales<S: Simd>(isa: S, rows: &Rows, out: &mut Scales);
}

/// The half-precision number at `offset` of each row's block, widened.
///
/// # Safety
/// The first `LANES` pointers of `rows` are readable for `offset + 2` bytes.
#[inline(always)]
unsafe fn halves<S: Simd>(isa: S, rows: &Rows, offset: usize) -> S::F32 {
    let mut bits = [0; MAX_LANES];
    for lane in 0..S::LANES {
        // SAFETY: the caller vouches for the range.
        bits[lane] = u16::from_le(unsafe { rows[lane].add(offset).cast::<u16>().read_unaligned() });
    }
    isa.load_f16(&bits)
}

/// The 32 bits at `at`.
///
/// # Safety
/// `at` is readable for 4 bytes.
#[inline(always)]
unsafe fn word(at: *const u8) -> u32 {
    // SAFETY: the caller vouches for the range.
    u32::from_le(unsafe { at.cast::<u32>().read_unaligned() })
}

/// A format of 32 elements: a scale, perhaps a minimum, and the integers by `$unpack`.
macro_rules! simple {
    ($name:ident, $type:expr, { $($constant:ident = $value:expr),* }, |$isa:ident, $block:ident| $unpack:expr) => {
        pub(super) struct $name;

        impl Format for $name {
            const TYPE: TensorType = $type;
            $(const $constant: constant_type!($constant) = $value;)*

            #[inline(always)]
            unsafe fn unpack<S: Simd>($isa: S, $block: *const u8, _part: usize) -> S::Bytes {
                // SAFETY: the caller vouches for the whole block, and the layout stays inside it.
                unsafe { $unpack }
            }

            #[inline(always)]
            unsafe fn scales<S: Simd>(isa: S, rows: &Rows, out: &mut Scales) {
                // SAFETY: each block begins with its scale and, if it has one, its minimum.
                unsafe {
                    isa.store(halves(isa, rows, 0), &mut out.scale[0]);
                    if Self::AFFINE {
                        isa.store(halves(isa, rows, 2), &mut out.minimum[0]);
                    }
                }
            }
        }
    };
}

macro_rules! constant_type {
    (ZERO) => {
        i32
    };
    ($flag:ident) => {
        bool
    };
}

simple!(Q4_0, TensorType::Q4_0, { ZERO = 8 }, |isa, block| isa.nibbles(block.add(2)));
simple!(Q4_1, TensorType::Q4_1, { AFFINE = true }, |isa, block| isa.nibbles(block.add(4)));
simple!(Q5_0, TensorType::Q5_0, { ZERO = 16 }, |isa, block| {
    isa.or(isa.nibbles(block.add(6)), isa.bits(word(block.add(2)), 16))
});
simple!(Q5_1, TensorType::Q5_1, { AFFINE = true }, |isa, block| {
    isa.or(isa.nibbles(block.add(8)), isa.bits(word(block.add(4)), 16))
});
simple!(Q8_0, TensorType::Q8_0, { SIGNED = true }, |isa, block| isa.signed(isa.bytes(block.add(2))));

/// The 6-bit scale and minimum of group `group` of a `Q4_K` or `Q5_K` block, whose 12 packed bytes start at offset 4.
///
/// # Safety
/// `block` is readable for 16 bytes and `group < 8`.
#[inline(always)]
unsafe fn packed_scale(block: *const u8, group: usize) -> (u8, u8) {
    // SAFETY: the caller vouches for the range, and every index below is at most 11.
    let at = |i: usize| unsafe { *block.add(4 + i) };
    if group < 4 {
        (at(group) & 63, at(group + 4) & 63)
    } else {
        let (low, high) = (at(group + 4), group - 4);
        (low & 15 | at(high) >> 6 << 4, low >> 4 | at(high + 4) >> 6 << 4)
    }
}

/// The scales of `Q4_K` and `Q5_K`: `d * scale` and `-(dmin * minimum)` for each of 8 groups.
///
/// # Safety
/// The first `LANES` pointers of `rows` are readable for 16 bytes.
#[inline(always)]
unsafe fn affine_k_scales<S: Simd>(isa: S, rows: &Rows, out: &mut Scales) {
    // SAFETY: the caller vouches for the range.
    let (d, dmin) = unsafe { (halves(isa, rows, 0), halves(isa, rows, 2)) };
    let dmin = isa.sub(isa.splat(0.0), dmin);
    for group in 0..8 {
        let (mut scale, mut minimum) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
        for lane in 0..S::LANES {
            // SAFETY: the caller vouches for the range.
            let (s, m) = unsafe { packed_scale(rows[lane], group) };
            (scale[lane], minimum[lane]) = (f32::from(s), f32::from(m));
        }
        isa.store(isa.mul(d, isa.load(&scale)), &mut out.scale[group]);
        isa.store(isa.mul(dmin, isa.load(&minimum)), &mut out.minimum[group]);
    }
}

pub(super) struct Q4K;

impl Format for Q4K {
    const TYPE: TensorType = TensorType::Q4K;
    const AFFINE: bool = true;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(isa: S, block: *const u8, part: usize) -> S::Bytes {
        // SAFETY: the nibbles are bytes 16..144; two parts share 32 of them.
        let packed = unsafe { isa.bytes(block.add(16 + part / 2 * 32)) };
        isa.shift_right(packed, part as u32 % 2 * 4, 15)
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(isa: S, rows: &Rows, out: &mut Scales) {
        // SAFETY: the caller vouches for whole blocks.
        unsafe { affine_k_scales(isa, rows, out) }
    }
}

pub(super) struct Q5K;

impl Format for Q5K {
    const TYPE: TensorType = TensorType::Q5K;
    const AFFINE: bool = true;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(isa: S, block: *const u8, part: usize) -> S::Bytes {
        // SAFETY: the fifth bits are bytes 16..48, bit `part` of each; the nibbles are bytes 48..176.
        let (fifth, packed) = unsafe { (isa.bytes(block.add(16)), isa.bytes(block.add(48 + part / 2 * 32))) };
        let low = isa.shift_right(packed, part as u32 % 2 * 4, 15);
        isa.or(low, isa.shift_left(isa.shift_right(fifth, part as u32, 1), 4))
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(isa: S, rows: &Rows, out: &mut Scales) {
        // SAFETY: the caller vouches for whole blocks.
        unsafe { affine_k_scales(isa, rows, out) }
    }
}

pub(super) struct Q6K;

impl Format for Q6K {
    const TYPE: TensorType = TensorType::Q6K;
    const GROUP: usize = 16;
    const ZERO: i32 = 32;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(isa: S, block: *const u8, part: usize) -> S::Bytes {
        // Two halves of 128 elements, each of four parts: 64 bytes of nibbles, 32 bytes of upper bits.
        let (half, part) = (part / 4, part % 4);
        // SAFETY: the nibbles are bytes 0..128, the upper bits bytes 128..192.
        let (packed, upper) =
            unsafe { (isa.bytes(block.add(half * 64 + part % 2 * 32)), isa.bytes(block.add(128 + half * 32))) };
        let low = isa.shift_right(packed, part as u32 / 2 * 4, 15);
        isa.or(low, isa.shift_left(isa.shift_right(upper, part as u32 * 2, 3), 4))
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(isa: S, rows: &Rows, out: &mut Scales) {
        // SAFETY: the scale of the block is bytes 208..210, the signed scales of its groups are bytes 192..208.
        unsafe {
            let d = halves(isa, rows, 208);
            for group in 0..16 {
                let mut scale = [0.0; MAX_LANES];
                for lane in 0..S::LANES {
                    scale[lane] = f32::from(rows[lane].add(192 + group).cast::<i8>().read());
                }
                isa.store(isa.mul(d, isa.load(&scale)), &mut out.scale[group]);
            }
        }
    }
}
