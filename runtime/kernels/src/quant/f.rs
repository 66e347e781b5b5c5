//! Plain floats: F32, F16, and BF16, the upper half of an F32.

use half::{bf16, f16};

/// The float itself.
pub fn decode_f32(bytes: &[u8; 4], out: &mut [f32; 1]) {
    out[0] = f32::from_le_bytes(*bytes);
}

/// Widens exactly.
pub fn decode_f16(bytes: &[u8; 2], out: &mut [f32; 1]) {
    out[0] = f16::from_le_bytes(*bytes).to_f32();
}

/// Widens exactly.
pub fn decode_bf16(bytes: &[u8; 2], out: &mut [f32; 1]) {
    out[0] = bf16::from_le_bytes(*bytes).to_f32();
}

/// The float itself.
pub fn encode_f32(values: &[f32; 1]) -> Option<[u8; 4]> {
    Some(values[0].to_le_bytes())
}

/// Rounds to nearest, ties to even; `None` above 65504.
pub fn encode_f16(values: &[f32; 1]) -> Option<[u8; 2]> {
    let rounded = f16::from_f32(values[0]);
    rounded.is_finite().then(|| rounded.to_le_bytes())
}

/// Rounds to nearest, ties to even; `None` for the few values that round up to infinity.
pub fn encode_bf16(values: &[f32; 1]) -> Option<[u8; 2]> {
    let rounded = bf16::from_f32(values[0]);
    rounded.is_finite().then(|| rounded.to_le_bytes())
}
