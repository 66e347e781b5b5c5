//! Blocks for tests, of every type.

use half::f16;

use super::TensorType;
use super::{BlockFormat, mxfp4};
use crate::with_format;

/// The highest bytes of a linear congruential generator (constants of Knuth's MMIX).
pub(crate) fn random_bytes(seed: u32) -> impl Iterator<Item = u8> {
    let mut state = u64::from(seed);
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
}

/// The blocks that `expected.py` makes.
pub(crate) fn extremes(dtype: TensorType) -> Vec<u8> {
    let (mut random, size) = (random_bytes(dtype.id()), dtype.block_bytes());
    let mut blocks: Vec<u8> = random.by_ref().take(64 * size).collect();
    blocks.extend(std::iter::repeat_n(0, size).chain(std::iter::repeat_n(0xff, size)));
    let halves = with_format!(dtype, F => if F::NARROW_BYTES == 2 { F::NARROW } else { &[] }, float => &[]);
    for at in halves {
        for bits in [0x7c00_u16, 0xfc00, 0x7e00] {
            let mut block: Vec<u8> = random.by_ref().take(size).collect();
            block[*at..at + 2].copy_from_slice(&bits.to_le_bytes());
            blocks.extend(block);
        }
    }
    blocks
}

/// `count` blocks of random bytes whose scales (of the scales) are `scale`.
pub(crate) fn random(dtype: TensorType, count: usize, scale: f32) -> Vec<u8> {
    let mut blocks: Vec<u8> = random_bytes(7).take(count * dtype.block_bytes()).collect();
    blocks.chunks_exact_mut(dtype.block_bytes()).for_each(|block| set_scales(dtype, block, scale));
    blocks
}

/// Sets the scale of a block, or that of its scales, and the minimum.
pub(crate) fn set_scales(dtype: TensorType, block: &mut [u8], scale: f32) {
    let bits = f16::from_f32(scale).to_le_bytes();
    match dtype {
        TensorType::Mxfp4 => block[mxfp4::E] = ((scale.to_bits() >> 23) + 1) as u8,
        TensorType::Iq4Xs => block[..2].copy_from_slice(&bits),
        TensorType::Iq1M => {
            for (field, nibble) in [bits[0], bits[0] >> 4, bits[1], bits[1] >> 4].into_iter().enumerate() {
                let byte = &mut block[super::iq1::M_SCALES + 2 * field + 1];
                *byte = *byte & 0xf | nibble << 4;
            }
        }
        _ => {
            let halves = with_format!(dtype, F => F::NARROW, float => &[]);
            for &at in halves {
                block[at..at + 2].copy_from_slice(&bits);
            }
        }
    }
}
