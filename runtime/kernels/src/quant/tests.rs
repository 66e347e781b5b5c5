//! Hand-written expected values for each format, then round trips over all of them.

#![allow(clippy::float_cmp, reason = "decoding is exact")]

use super::*;

/// Types that values can be encoded in.
fn writable() -> impl Iterator<Item = TensorType> {
    TensorType::ALL.iter().copied().filter(|&dtype| is_writable(dtype))
}

fn decoded(dtype: TensorType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; bytes.len() / dtype.block_bytes() * dtype.block_len()];
    decode(dtype, bytes, &mut out).unwrap();
    out
}

/// All types against gguf-py: the blocks and the hash are those of `expected.py`.
#[test]
fn every_type_is_decoded_as_ggml_decodes_it() {
    let mut expected: Vec<(&str, u64)> = Vec::new();
    for line in include_str!("expected.txt").lines() {
        let (name, digest) = line.split_once(' ').unwrap();
        expected.push((name, u64::from_str_radix(digest, 16).unwrap()));
    }
    for &dtype in TensorType::ALL.iter().filter(|dtype| dtype.is_quantized()) {
        let (_, digest) = expected.iter().find(|(name, _)| *name == dtype.name()).unwrap();
        assert_eq!(hash(&decoded(dtype, &samples::extremes(dtype))), *digest, "{dtype}");
    }
}

/// FNV-1a of the bits, all NaNs the same.
fn hash(values: &[f32]) -> u64 {
    let bits = values.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() });
    let bytes = bits.flat_map(u32::to_le_bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn types_that_are_only_read_say_so() {
    let read_only: Vec<_> = TensorType::ALL.iter().filter(|&&dtype| !is_writable(dtype)).collect();
    assert_eq!(read_only.len(), 7);
    for &dtype in read_only {
        assert_eq!(encode(dtype, &[1.0; 256]), Err(QuantError::ReadOnly { dtype }));
    }
}

/// 1.5 and -0.25 as 16-bit floats.
const D: [u8; 2] = [0x00, 0x3E];
const M: [u8; 2] = [0x00, 0xB4];

#[test]
fn floats() {
    assert_eq!(decoded(TensorType::F32, &[0, 0, 0xC0, 0x3F]), [1.5]);
    assert_eq!(decoded(TensorType::F16, &[D, M].concat()), [1.5, -0.25]);
    assert_eq!(decoded(TensorType::F16, &[0x01, 0x00]), [2f32.powi(-24)]);
    assert_eq!(decoded(TensorType::Bf16, &[0xC0, 0x3F, 0x80, 0xBE]), [1.5, -0.25]);
    // Ties go to the even neighbour.
    let tie = f32::from_bits(0x3F80_8000);
    let above = f32::from_bits(0x3F81_8000);
    assert_eq!(encode(TensorType::Bf16, &[tie, above]).unwrap(), [0x80, 0x3F, 0x82, 0x3F]);
    assert_eq!(encode(TensorType::F16, &[1.0 + 2f32.powi(-11)]).unwrap(), [0x00, 0x3C]);
}

#[test]
fn q8_0() {
    let bytes: Vec<u8> = D.into_iter().chain([1, 0xFF, 127, 0x80]).chain([0; 28]).collect();
    assert_eq!(decoded(TensorType::Q8_0, &bytes)[..5], [1.5, -1.5, 190.5, -192.0, 0.0]);
}

#[test]
fn q4_0_and_q4_1() {
    // The first byte holds the values 0 and 16.
    let qs: Vec<u8> = [0xF0, 0x8A].into_iter().chain([0x88; 14]).collect();
    let out = decoded(TensorType::Q4_0, &[&D[..], &qs].concat());
    assert_eq!([out[0], out[1], out[2], out[16], out[17]], [-12.0, 3.0, 0.0, 10.5, 0.0]);
    let out = decoded(TensorType::Q4_1, &[&D[..], &M, &qs].concat());
    assert_eq!([out[0], out[1], out[16], out[17]], [-0.25, 14.75, 22.25, 11.75]);
}

#[test]
fn q5_0_and_q5_1() {
    // Bits 0 and 17 of the mask are set: the fifth bits of the values 0 and 17.
    let tail: Vec<u8> = [0x01, 0x00, 0x02, 0x00, 0xF0, 0x8A].into_iter().chain([0; 14]).collect();
    let out = decoded(TensorType::Q5_0, &[&D[..], &tail].concat());
    assert_eq!([out[0], out[1], out[2], out[16], out[17]], [0.0, -9.0, -24.0, -1.5, 12.0]);
    let out = decoded(TensorType::Q5_1, &[&D[..], &M, &tail].concat());
    assert_eq!([out[0], out[1], out[2], out[16], out[17]], [23.75, 14.75, -0.25, 22.25, 35.75]);
}

/// d = 1.5, dmin = -0.25; sub-block 0 has scale 2 and minimum 3, sub-block 5 has scale 0x21 and
/// minimum 0x12.
fn k_head() -> Vec<u8> {
    let mut scales = [0; 12];
    scales[0] = 2;
    scales[4] = 3;
    scales[9] = 0x21; // low nibbles: scale 1, minimum 2
    scales[1] = 2 << 6; // upper bits of the scale: 0x20
    scales[5] = 1 << 6; // upper bits of the minimum: 0x10
    [&D[..], &M, &scales].concat()
}

#[test]
fn q4_k() {
    let mut qs = [0; 128];
    qs[1] = 0x0F; // value 1 of sub-block 0
    qs[64 + 31] = 0x70; // value 31 of sub-block 5
    let out = decoded(TensorType::Q4K, &[&k_head()[..], &qs].concat());
    // Minima are subtracted, and dmin is negative here.
    assert_eq!([out[0], out[1], out[2]], [0.75, 45.75, 0.75]);
    assert_eq!([out[5 * 32], out[5 * 32 + 31], out[32]], [4.5, 1.5 * 33.0 * 7.0 + 4.5, 0.0]);
}

#[test]
fn q5_k() {
    let (mut qh, mut qs) = ([0; 32], [0; 128]);
    qs[1] = 0x0F;
    qs[64 + 31] = 0x70;
    qh[1] = 1; // fifth bit of value 1 of sub-block 0
    qh[31] = 1 << 5; // and of value 31 of sub-block 5
    let out = decoded(TensorType::Q5K, &[&k_head()[..], &qh, &qs].concat());
    assert_eq!([out[0], out[1], out[2]], [0.75, 93.75, 0.75]);
    assert_eq!([out[5 * 32], out[5 * 32 + 31], out[32]], [4.5, 1.5 * 33.0 * 23.0 + 4.5, 0.0]);
}

#[test]
fn q6_k() {
    let (mut ql, mut qh, mut scales) = ([0; 128], [0; 64], [0; 16]);
    scales[0] = 1;
    scales[15] = 0xFE; // -2, for the last sixteen values
    ql[0] = 0x0F; // value 0
    qh[0] = 0b11;
    ql[127] = 0x90; // value 255: last quarter of the second half, in the high nibble
    qh[63] = 0b10 << 6;
    let out = decoded(TensorType::Q6K, &[&ql[..], &qh, &scales, &D].concat());
    assert_eq!([out[0], out[1], out[16]], [46.5, -48.0, 0.0]);
    assert_eq!([out[254], out[255]], [96.0, -3.0 * 9.0]);
}

/// Values without an obvious pattern, scaled.
fn waves(scale: f32) -> Vec<f32> {
    (0..512).map(|i| scale * ((i as f32 * 0.7).sin() + 0.3 * (i as f32 * 0.13).cos())).collect()
}

/// The largest root-mean-square error, relative to that of the values, that each format may make on
/// [`waves`].
fn tolerance(dtype: TensorType) -> f32 {
    match dtype {
        TensorType::F32 => 0.0,
        TensorType::F16 => 3e-4,
        TensorType::Bf16 => 3e-3,
        TensorType::Q8_0 => 5e-3,
        TensorType::Q6K => 0.02,
        TensorType::Q5_0 | TensorType::Q5_1 | TensorType::Q5K => 0.035,
        TensorType::Q4_0 | TensorType::Q4_1 | TensorType::Q4K => 0.07,
        TensorType::Iq4Nl | TensorType::Iq4Xs => 0.08,
        TensorType::Mxfp4 => 0.12,
        TensorType::Q3K => 0.15,
        TensorType::Q2K => 0.3,
        // These are for models that were trained to have such weights.
        _ => 0.75,
    }
}

#[test]
fn encoding_is_close_at_every_scale() {
    for dtype in writable() {
        for scale in [1e-2, 1.0, 1e4] {
            let values = waves(scale);
            let back = decoded(dtype, &encode(dtype, &values).unwrap());
            let square = |xs: &mut dyn Iterator<Item = f32>| xs.map(|x| (x / scale).powi(2)).sum::<f32>().sqrt();
            let error = square(&mut values.iter().zip(&back).map(|(x, y)| x - y)) / square(&mut values.iter().copied());
            assert!(error <= tolerance(dtype), "{dtype} at {scale}: {error}");
        }
    }
}

#[test]
fn constants_and_zeros_stay_finite_and_close() {
    for dtype in writable() {
        for value in [0.0, 1.0, -1.0, 1e-30, -1e-40, 3e4] {
            let back = decoded(dtype, &encode(dtype, &[value; 256]).unwrap());
            // A power of two is the only scale of MXFP4, whose largest value is 6 for 7.9.
            let near = if dtype == TensorType::Mxfp4 { 0.25 } else { 0.01 };
            assert!(
                back.iter().all(|x| (x - value).abs() <= near * value.abs() + 1e-6),
                "{dtype} of {value}: {}",
                back[0]
            );
        }
    }
}

#[test]
fn what_cannot_be_stored_is_an_error() {
    for dtype in writable() {
        let mut values = [1.0; 256];
        values[77] = f32::NAN;
        assert!(matches!(encode(dtype, &values), Err(QuantError::NotFinite { index: 77, .. })));
        values[77] = f32::NEG_INFINITY;
        assert!(matches!(encode(dtype, &values), Err(QuantError::NotFinite { index: 77, .. })));
        values[77] = f32::MAX;
        let fits = matches!(dtype, TensorType::F32 | TensorType::Mxfp4);
        assert_eq!(encode(dtype, &values).is_ok(), fits, "{dtype}");
        values[77] = 1.0;
        let ragged = encode(dtype, &values[..255]);
        assert_eq!(ragged.is_ok(), dtype.block_len() == 1);
    }
}

#[test]
fn lengths_must_belong_together() {
    let mut out = [0.0; 32];
    for bytes in [0, 33, 35, 68] {
        let wrong = decode(TensorType::Q8_0, &vec![0; bytes], &mut out);
        assert_eq!(wrong, Err(QuantError::WrongLength { dtype: TensorType::Q8_0, bytes, values: 32 }));
    }
    assert!(decode(TensorType::Q8_0, &[0; 34], &mut out[..31]).is_err());
    assert!(decode(TensorType::Q4K, &[], &mut []).is_ok());
}
