//! Every large allocation of a session is refused once: the call gives an error, and the session goes on as if nothing had
//! been. A test of its own process, since it replaces the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::Arc;

use ollm_runtime::gguf::{TensorType, Writer};
use ollm_runtime::model::Model;
use ollm_runtime::options::schema::DecoderKind;
use ollm_runtime::options::{Hold, LatentMode, Plugin, Selector};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::storage::Storage;
use ollm_runtime::{Error, Result, quant};
use ollm_tests::plugins;

/// What counts as large.
const LARGE: usize = 4 << 10;

thread_local! {
    /// How many large allocations of this thread succeed before one is refused.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The system's allocator, unless it is time to refuse.
struct Refusing;

fn refuses(size: usize) -> bool {
    let left = LEFT.get();
    if size >= LARGE && left != usize::MAX {
        LEFT.set(left.wrapping_sub(1));
        return left == 0;
    }
    false
}

// SAFETY: it gives what the system's allocator gives, or null.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is the system's too; so below.
        if refuses(layout.size()) { ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        if refuses(size) { ptr::null_mut() } else { unsafe { System.realloc(start, layout, size) } }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

const OPTIONS: usize = 3;
const VOCAB: usize = 2048;

/// A backbone wide enough that everything which grows with a model, a batch or a text is large.
fn backbone() -> Arc<Model> {
    let (hidden, ffn, width) = (64, 128, 64);
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    let sizes =
        [("embedding_length", hidden), ("feed_forward_length", ffn), ("block_count", 1), ("context_length", 512)];
    for (key, size) in sizes.into_iter().chain([("attention.head_count", 2), ("attention.head_count_kv", 2)]) {
        writer.set(&format!("llama.{key}"), size).unwrap();
    }
    writer.set("llama.attention.layer_norm_rms_epsilon", 1e-5_f32).unwrap();
    let mut tensor = |name: &str, rows: u32, cols: u32| {
        let values: Vec<f32> =
            (0..rows * cols).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as f32 / 128.0 - 1.0).collect();
        let (dims, dtype) = (&[u64::from(cols), u64::from(rows)][..], TensorType::F32);
        let dims = if rows == 1 { &dims[..1] } else { dims };
        writer.tensor(name, dims, dtype, quant::encode(dtype, &values).unwrap()).unwrap();
    };
    tensor("token_embd.weight", VOCAB as u32, hidden);
    tensor("output_norm.weight", 1, hidden);
    for (name, rows, cols) in [
        ("attn_norm", 1, hidden),
        ("attn_q", width, hidden),
        ("attn_k", width, hidden),
        ("attn_v", width, hidden),
        ("attn_output", hidden, width),
        ("ffn_norm", 1, hidden),
        ("ffn_gate", ffn, hidden),
        ("ffn_up", ffn, hidden),
        ("ffn_down", hidden, ffn),
    ] {
        tensor(&format!("blk.0.{name}.weight"), rows, cols);
    }
    Arc::new(Model::from_storage(Storage::from(writer.to_bytes())).unwrap())
}

/// One thread, so that all allocations are this thread's.
fn session(model: &Arc<Model>, plugin: &Arc<Plugin>) -> Session {
    let options = SessionOptions { threads: 1, ..SessionOptions::default() };
    Session::new(Arc::clone(model), Some(Arc::clone(plugin)), &options).unwrap()
}

fn text(n: u32) -> Vec<u32> {
    (0..n).map(|i| i * 37 % VOCAB as u32).collect()
}

/// Does `work` again and again on a fresh session of 300 tokens, refusing the first, the second, .. large allocation, until
/// none is left to refuse. After each refusal the session must go on as `expected`.
fn refuse_each(name: &str, work: impl Fn(&mut Session) -> Result<()>) {
    let model = backbone();
    let spec = plugins::spec(&model, DecoderKind::LowRank { width: 32, rank: 32 }, OPTIONS);
    let plugin = plugins::plugin_file(&spec, TensorType::Q8_0, 0.5).to_bytes();
    let plugin = Arc::new(Plugin::from_storage(Storage::from(plugin), &model).unwrap());
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let mut go_on = |session: &mut Session| {
        session.rewind(300).unwrap();
        (0..3).map(|_| session.step(None, &mut sampler).unwrap()).collect::<Vec<_>>()
    };
    let mut untouched = session(&model, &plugin);
    untouched.feed(&text(300)).unwrap();
    let expected = go_on(&mut untouched);
    for nth in 0.. {
        let mut session = session(&model, &plugin);
        session.feed(&text(300)).unwrap();
        session.trim();
        LEFT.set(nth);
        let outcome = work(&mut session);
        let refused = LEFT.replace(usize::MAX) == usize::MAX;
        match outcome {
            Err(Error::OutOfMemory(_)) if refused => {}
            Ok(()) if !refused => {
                println!("{name}: {nth} large allocations");
                assert!(nth > 0, "{name} allocates nothing large: the test shows nothing");
                return;
            }
            other => panic!("{name}, allocation {nth}: {other:?} (refused: {refused})"),
        }
        assert_eq!(go_on(&mut session), expected, "{name}, allocation {nth}");
    }
}

#[test]
fn feeding() {
    refuse_each("feed", |session| session.feed(&text(200)));
    refuse_each("hidden states", |session| session.hidden_states(&text(100), &mut Vec::new()));
}

#[test]
fn stepping() {
    let sampler = || Sampler::new(SamplerOptions { temperature: 1.0, ..SamplerOptions::default() }).unwrap();
    let selector = |mode| Selector::new(mode, Hold::Token, OPTIONS, 0).unwrap();
    refuse_each("step", |session| session.step(None, &mut sampler()).map(drop));
    refuse_each("option set", |session| session.option_set(100).map(drop));
    for mode in [LatentMode::Policy, LatentMode::Mixture] {
        let step = |session: &mut Session| session.step(Some(&mut selector(mode.clone())), &mut sampler()).map(drop);
        refuse_each("step of an option", step);
    }
}

#[test]
fn labelling() {
    refuse_each("encode", |session| session.encode_latents(&text(100)).map(drop));
}

#[test]
fn forking() {
    refuse_each("fork", |session| {
        let mut fork = session.fork()?;
        fork.rewind(290)?;
        fork.feed(&text(3))
    });
}

#[test]
fn restoring() {
    refuse_each("restore", |session| {
        // The buffer is the test's own.
        let left = LEFT.replace(usize::MAX);
        let mut bytes = Vec::new();
        session.save(&mut bytes).unwrap();
        LEFT.set(left);
        session.restore(&mut &bytes[..])
    });
}
