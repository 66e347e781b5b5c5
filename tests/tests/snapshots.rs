//! Saved sessions: restored they go on as if nothing had been; damaged, foreign or hostile ones
//! change nothing.

use std::io::Cursor;
use std::sync::Arc;

use ollm_runtime::gguf::{Gguf, Value};
use ollm_runtime::model::Model;
use ollm_runtime::ops::KvType;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionError, SessionOptions, SnapshotError};
use ollm_runtime::storage::Storage;
use ollm_tests::{edited, golden};

fn model(name: &str) -> Arc<Model> {
    Arc::new(Model::open(&golden(&format!("tiny/{name}.gguf"))).unwrap())
}

fn session(name: &str, options: &SessionOptions) -> Session {
    Session::new(model(name), None, options).unwrap()
}

fn options() -> SessionOptions {
    SessionOptions { threads: 1, context: 256, ..SessionOptions::default() }
}

fn text(n: u32) -> Vec<u32> {
    (0..n).map(|i| i.wrapping_mul(7919) % 320).collect()
}

fn steps(session: &mut Session, n: usize) -> Vec<(u32, u32)> {
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let mut step = || session.step(None, &mut sampler).unwrap();
    (0..n).map(|_| step()).map(|step| (step.token, step.logprob.to_bits())).collect()
}

fn saved(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    session.save(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, session.saved_bytes());
    bytes
}

/// The FNV-1a hash at the end of a snapshot, made to fit what is before it.
fn sign(bytes: &mut [u8]) {
    let end = bytes.len() - 8;
    let hash = |state: u64, &byte: &u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = bytes[..end].iter().fold(0xcbf2_9ce4_8422_2325, hash);
    bytes[end..].copy_from_slice(&hash.to_le_bytes());
}

#[test]
fn a_restored_session_goes_on_bit_for_bit() {
    let mut origin = session("llama", &options());
    origin.feed(&text(100)).unwrap();
    steps(&mut origin, 3);
    // One token waits for its pass.
    let bytes = saved(&origin);
    let mut other = session("llama", &SessionOptions { threads: 3, ..options() });
    other.feed(&text(7)).unwrap();
    let mut file = Cursor::new([&bytes[..], b"more"].concat());
    other.restore(&mut file).unwrap();
    assert_eq!((file.position(), other.tokens()), (bytes.len() as u64, origin.tokens()));
    assert_eq!(saved(&other), bytes);
    assert_eq!(steps(&mut other, 20), steps(&mut origin, 20));
}

/// Version 5 had no checkpoints of recurrent layers, and no such layers.
#[test]
fn what_version_5_wrote_is_read() {
    let mut origin = session("llama", &options());
    origin.feed(&text(30)).unwrap();
    let mut bytes = saved(&origin);
    let count = bytes.len() - 12;
    bytes.drain(count..count + 4);
    bytes[8..12].copy_from_slice(&5_u32.to_le_bytes());
    sign(&mut bytes);
    let mut restored = session("llama", &options());
    restored.restore(&mut &bytes[..]).unwrap();
    assert_eq!(saved(&restored), saved(&origin));
    assert_eq!(steps(&mut restored, 5), steps(&mut origin, 5));
}

/// Of a model with recurrent layers: their states are in order, the last at the last position.
#[test]
fn checkpoints_that_make_no_sense_are_refused_even_when_signed() {
    let mut session = session("lfm2", &options());
    session.feed(&text(100)).unwrap();
    let before = saved(&session);
    // Checkpoints of two layers of 2 * 32 floats each, at 64 and 99.
    let size = 4 + 4 * 2 * 2 * 32;
    let first = before.len() - 8 - 2 * size;
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let places = [first - 4, first, first + size];
    assert_eq!(places.map(|at| number(&before, at)), [2, 64, 99]);
    for (at, value) in [(0, 0), (0, 1), (1, 0), (1, 99), (1, 100), (2, 64), (2, 98), (2, u32::MAX)] {
        let mut bytes = before.clone();
        bytes[places[at]..places[at] + 4].copy_from_slice(&u32::to_le_bytes(value));
        sign(&mut bytes);
        let error = refused(&mut session, &bytes);
        assert!(matches!(error, SnapshotError::Invalid { .. }), "{at} {value}: {error}");
        assert_eq!(saved(&session), before);
    }
    let mut llama = self::session("llama", &options());
    llama.feed(&text(9)).unwrap();
    let mut bytes = saved(&llama);
    let count = bytes.len() - 12;
    bytes[count] = 1;
    sign(&mut bytes);
    assert!(matches!(refused(&mut llama, &bytes), SnapshotError::Invalid { .. }));
}

#[test]
fn sessions_at_every_place_can_be_saved() {
    for model in ["llama", "lfm2", "qwen35"] {
        sessions_of_a_model_at_every_place_can_be_saved(model);
    }
}

fn sessions_of_a_model_at_every_place_can_be_saved(model: &str) {
    let mut restored = session(model, &options());
    for n in [0, 1, 2, 64, 65, 256] {
        let mut origin = session(model, &options());
        origin.feed(&text(n)).unwrap();
        restored.restore(&mut &saved(&origin)[..]).unwrap();
        assert_eq!(restored.tokens(), text(n));
        origin.rewind(n as usize / 2).unwrap();
        restored.restore(&mut &saved(&origin)[..]).unwrap();
        restored.feed(&[5]).unwrap();
        origin.feed(&[5]).unwrap();
        assert_eq!(steps(&mut restored, 3), steps(&mut origin, 3));
    }
}

/// A session that has something to lose, and what it must still be after a failure.
fn witness() -> (Session, Vec<u8>) {
    let mut session = session("llama", &options());
    session.feed(&text(20)).unwrap();
    let bytes = saved(&session);
    (session, bytes)
}

fn refused(session: &mut Session, bytes: &[u8]) -> SnapshotError {
    match session.restore(&mut &bytes[..]) {
        Err(error) => error,
        other => panic!("not refused as a snapshot: {other:?}"),
    }
}

#[test]
fn another_model_is_refused() {
    let (mut session_, before) = witness();
    for name in ["qwen2", "qwen3", "llama-rope-linear"] {
        let mut other = session(name, &options());
        other.feed(&text(9)).unwrap();
        assert!(matches!(refused(&mut session_, &saved(&other)), SnapshotError::OtherModel { .. }), "{name}");
        assert_eq!(saved(&session_), before);
    }
}

/// The weights are the same, and what they are read with is not.
#[test]
fn the_same_weights_with_other_parameters_are_another_model() {
    let with = |changes: &[(&str, Option<Value>)]| {
        let model = Model::from_storage(Storage::from(edited("gemma3", changes))).unwrap();
        let mut session = Session::new(Arc::new(model), None, &options()).unwrap();
        session.feed(&text(9)).unwrap();
        session
    };
    let (mut session_, before) = (with(&[]), saved(&with(&[])));
    session_.restore(&mut &before[..]).unwrap();
    for (key, value) in [
        ("gemma3.attention.sliding_window", Value::U32(4)),
        ("gemma3.rope.freq_base", Value::F32(5e5)),
        ("gemma3.rope.freq_base_swa", Value::F32(5e5)),
        ("gemma3.attention.scale", Value::F32(0.5)),
        ("gemma3.attn_logit_softcapping", Value::F32(20.0)),
        ("gemma3.attention.layer_norm_rms_epsilon", Value::F32(1e-3)),
    ] {
        let other = saved(&with(&[(key, Some(value))]));
        assert!(matches!(refused(&mut session_, &other), SnapshotError::OtherModel { .. }), "{key}");
        assert_eq!(saved(&session_), before);
    }
}

/// A low-rank change of one matrix, as merging an adapter makes it, with the norms and everything
/// else as before.
#[test]
fn a_merged_adapter_is_another_model() {
    let (mut session_, before) = witness();
    let bytes = std::fs::read(golden("tiny/llama.gguf")).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let matrices: Vec<_> = gguf.tensors().iter().filter(|tensor| tensor.dims.len() == 2).collect();
    assert!(matrices.len() > 10);
    for matrix in matrices {
        let mut changed = bytes.clone();
        let cols = matrix.cols();
        for (i, weight) in changed[matrix.offset..][..matrix.size].chunks_exact_mut(4).enumerate() {
            let delta = 1e-4 * (1.0 + (i / cols) as f32).sin() * (1.0 + (i % cols) as f32).cos();
            let sum = f32::from_le_bytes(weight.try_into().unwrap()) + delta;
            weight.copy_from_slice(&sum.to_le_bytes());
        }
        let model = Model::from_storage(Storage::from(changed)).unwrap();
        assert_eq!(model.fingerprint(), session_.model().fingerprint());
        let mut other = Session::new(Arc::new(model), None, &options()).unwrap();
        other.feed(&text(9)).unwrap();
        let error = refused(&mut session_, &saved(&other));
        assert!(matches!(error, SnapshotError::OtherModel { .. }), "{}", matrix.name);
        assert_eq!(saved(&session_), before);
    }
}

#[test]
fn what_is_cut_or_altered_is_refused_and_changes_nothing() {
    let (mut session, before) = witness();
    let mut bytes = before.clone();
    for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        assert!(matches!(refused(&mut session, &bytes[..length]), SnapshotError::Read(_)), "{length}");
    }
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            bytes[at] ^= flip;
            refused(&mut session, &bytes);
            bytes[at] ^= flip;
        }
    }
    assert_eq!(saved(&session), before);
}

#[test]
fn numbers_that_make_no_sense_are_refused_even_when_signed() {
    let (mut session, before) = witness();
    let mut with = |at: usize, value: u32, sign_it: bool| {
        let mut bytes = before.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        if sign_it {
            sign(&mut bytes);
        }
        let error = refused(&mut session, &bytes);
        assert_eq!(saved(&session), before);
        error
    };
    assert!(matches!(with(0, 7, true), SnapshotError::NotASnapshot));
    assert!(matches!(with(8, 2, true), SnapshotError::UnsupportedVersion { version: 2 }));
    assert!(matches!(with(12, 2, true), SnapshotError::OtherModel { .. }));
    // 1 is F16, 8 is Q8_0, 2 a type of other things.
    assert!(matches!(with(20, 2, true), SnapshotError::Invalid { .. }));
    assert!(matches!(with(20, 8, true), SnapshotError::OtherKvType { saved: KvType::Q8_0, session: KvType::F16 }));
    assert!(matches!(with(24, 257, true), SnapshotError::TooLong { tokens: 257, context: 256 }));
    assert!(matches!(with(24, u32::MAX, true), SnapshotError::TooLong { .. }));
    assert!(matches!(with(28, 20, true), SnapshotError::Invalid { .. }));
    // A latent is held, and there is no plugin.
    assert!(matches!(with(40, 3, true), SnapshotError::OtherPlugin { latent: 3, options: 0 }));
    assert!(matches!(with(52, 320, true), SnapshotError::Invalid { .. }));
    assert!(matches!(with(52, 5, false), SnapshotError::Checksum));
    // Any keys and values are numbers, if not good ones.
    let mut bytes = before.clone();
    // The hash, and the number of checkpoints.
    let end = bytes.len() - 12;
    bytes[52 + 80..end].fill(0xff);
    sign(&mut bytes);
    session.restore(&mut &bytes[..]).unwrap();
    assert!(session.step(None, &mut Sampler::new(SamplerOptions::default()).unwrap()).is_err());
}

#[test]
fn a_hostile_header_allocates_nothing() {
    // A context without an end, so that only what is read can bound what is allocated.
    let limit = 200_000;
    let open = SessionOptions { context: usize::MAX, memory_limit: Some(limit), ..options() };
    let mut session = session("llama", &open);
    session.feed(&text(20)).unwrap();
    let mut bytes = saved(&session);
    bytes[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes[28..32].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
    assert!(matches!(refused(&mut session, &bytes), SnapshotError::Read(_)));
    // Even a file that goes on for ever ends at the limit.
    bytes[24..28].copy_from_slice(&100_000_u32.to_le_bytes());
    bytes[28..32].copy_from_slice(&99_999_u32.to_le_bytes());
    let mut endless = Cursor::new(bytes[..52].to_vec());
    let error = session.restore(&mut std::io::Read::chain(&mut endless, std::io::repeat(0))).unwrap_err();
    assert!(matches!(error, SnapshotError::Session(SessionError::MemoryLimit { .. })), "{error}");
    assert_eq!(session.tokens(), text(20));
}
