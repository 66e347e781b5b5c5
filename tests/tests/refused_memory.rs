//! Every large allocation of a session is refused once: the call gives an error, and the session
//! goes on as if nothing had been. A test of its own process, since it replaces the allocator.

use std::sync::Arc;

use ollm_runtime::gguf::{Gguf, TensorType};
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig};
use ollm_runtime::plugin::{Hold, LatentMode, Plugin, Selector};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::Tokenizer;
use ollm_runtime::{Error, Result};
use ollm_tests::refusing::{LEFT, Refusing};
use ollm_tests::{backbones, golden, plugins};

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

const OPTIONS: usize = 3;
const VOCAB: u32 = 2048;

fn backbone() -> Arc<Model> {
    Arc::new(Model::from_storage(Storage::from(backbones::wide(VOCAB, 512, TensorType::F32))).unwrap())
}

/// One thread, so that all allocations are this thread's.
fn session(model: &Arc<Model>, plugin: &Arc<Plugin>) -> Session {
    let options = SessionOptions { threads: 1, ..SessionOptions::default() };
    Session::new(Arc::clone(model), Some(Arc::clone(plugin)), &options).unwrap()
}

fn text(n: u32) -> Vec<u32> {
    (0..n).map(|i| i * 37 % VOCAB).collect()
}

/// Does `work` again and again on a fresh session of 300 tokens, refusing the first, the second, ..
/// large allocation, until none is left to refuse. After each refusal the session must go on as
/// `expected`.
fn refuse_each<E: Into<Error>>(name: &str, work: impl Fn(&mut Session) -> Result<(), E>) {
    let model = backbone();
    let spec = plugins::spec(&model, DecoderKind::LowRank { width: 32, rank: 32 }, OPTIONS);
    let spec = PluginConfig { value_width: Some(2048), ..spec };
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
        let outcome = work(&mut session).map_err(Into::into);
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

/// Every algorithm of tokenizers, on texts that fall into many pieces, into few long ones, and at
/// special tokens.
#[test]
fn tokenizing() {
    for name in ["pairs/gpt-2.gguf", "pairs/llama-bpe.gguf", "pairs/smollm.gguf", "scores/prefix.gguf"] {
        let file = Storage::open(&golden(name)).unwrap();
        let gguf = Gguf::parse(&file).unwrap();
        let tokenizer = Tokenizer::from_metadata(gguf.metadata()).unwrap();
        let special = tokenizer.eos().or(tokenizer.bos()).map(|id| tokenizer.decode(&[id])).unwrap_or_default();
        let words: String = (0..3000).map(|i| format!("word{i} é 中{special}\n")).collect::<Vec<_>>().concat();
        for text in [words, "a".repeat(20_000), " ".repeat(20_000), special.repeat(5000)] {
            let expected = tokenizer.encode(&text, true).unwrap();
            refuse_each_alone(|| tokenizer.encode(&text, true).map(|tokens| assert!(tokens == expected)));
            // What is no UTF-8 takes another way.
            for tokens in [expected.clone(), [&expected[..], &(0..400).collect::<Vec<_>>()].concat()] {
                let expected = tokenizer.decode(&tokens);
                refuse_each_alone(|| tokenizer.try_decode(&tokens).map(|text| assert!(text == expected)));
            }
        }
    }
}

/// Does `work` again and again, refusing the first, the second, .. large allocation, until none is
/// left to refuse.
fn refuse_each_alone<E: Into<Error>>(work: impl Fn() -> Result<(), E>) {
    for nth in 0.. {
        LEFT.set(nth);
        let outcome = work().map_err(Into::into);
        let refused = LEFT.replace(usize::MAX) == usize::MAX;
        match outcome {
            Err(Error::OutOfMemory(_)) if refused => {}
            Ok(()) if !refused => return assert!(nth > 0, "nothing large is allocated: the test shows nothing"),
            other => panic!("allocation {nth}: {other:?} (refused: {refused})"),
        }
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
    refuse_each("value", |session| session.value().map(drop));
    for mode in [LatentMode::Policy, LatentMode::Mixture] {
        let step = |session: &mut Session| session.step(Some(&selector(mode.clone())), &mut sampler()).map(drop);
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
