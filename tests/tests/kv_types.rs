//! Sessions whose KV cache has a type of its own: what holds of one in half precision holds of
//! every type, and no type is taken for another.

use std::sync::Arc;

use ollm_runtime::cpu::Isa;
use ollm_runtime::model::Model;
use ollm_runtime::ops::KvType;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Batch, ContextShift, Session, SessionError, SessionOptions, SnapshotError, Turn};
use ollm_tests::golden;

/// Heads of 16 elements, sliding windows, soft caps, one key head for all queries, sinks.
const FAMILIES: [&str; 7] = ["llama", "qwen3", "gemma2", "gemma3", "gemma3n", "gemma4", "gpt-oss"];

fn model(family: &str) -> Arc<Model> {
    Arc::new(Model::open(&golden(&format!("tiny/{family}.gguf"))).unwrap())
}

fn options(kv_type: KvType) -> SessionOptions {
    SessionOptions { threads: 2, context: 256, kv_type, ..SessionOptions::default() }
}

/// A text of `n` tokens, another one for each `seed`.
fn text(n: usize, seed: usize) -> Vec<u32> {
    (0..n).map(|i| ((i + seed) * 7919 % 256) as u32).collect()
}

fn greedy() -> Sampler {
    Sampler::new(SamplerOptions::default()).unwrap()
}

/// `n` steps: tokens and the bits of their probabilities.
fn steps(session: &mut Session, n: usize) -> Vec<(u32, u32)> {
    let step = |_| {
        let step = session.step(None, &mut greedy()).unwrap();
        (step.token, step.logprob.to_bits())
    };
    (0..n).map(step).collect()
}

/// What follows `text` in a session where nothing ever happened.
fn continuation(model: &Arc<Model>, kv_type: KvType, text: &[u32], n: usize) -> Vec<(u32, u32)> {
    let mut fresh = Session::new(Arc::clone(model), None, &options(kv_type)).unwrap();
    fresh.feed(text).unwrap();
    steps(&mut fresh, n)
}

/// Every family with every type.
fn for_each(test: impl Fn(&Arc<Model>, KvType)) {
    for family in FAMILIES {
        let model = model(family);
        for kv_type in KvType::ALL {
            test(&model, kv_type);
        }
    }
}

#[test]
fn cuts_threads_and_instruction_sets_change_no_bit() {
    for_each(|model, kv_type| {
        let expected = continuation(model, kv_type, &text(200, 0), 12);
        for (isa, threads, cut) in Isa::available()
            .into_iter()
            .zip([1, 3, 2])
            .flat_map(|(isa, threads)| [1, 7, 64, 199].map(|cut| (isa, threads, cut)))
        {
            let options = SessionOptions { isa: Some(isa), threads, ..options(kv_type) };
            let mut session = Session::new(Arc::clone(model), None, &options).unwrap();
            text(200, 0).chunks(cut).for_each(|part| session.feed(part).unwrap());
            assert_eq!(steps(&mut session, 12), expected, "{kv_type} {isa:?} {threads} {cut}");
        }
    });
}

#[test]
fn forks_rewinds_and_batches_are_as_if_alone() {
    for_each(|model, kv_type| {
        let mut origin = Session::new(Arc::clone(model), None, &options(kv_type)).unwrap();
        origin.feed(&text(170, 0)).unwrap();
        let mut forks = Vec::new();
        let mut expected = Vec::new();
        // Into the middle of a shared chunk, at its end, and past it.
        for (i, (kept, more)) in [(170, 3), (170, 1), (129, 20), (170, 30), (70, 1)].into_iter().enumerate() {
            let mut fork = origin.fork().unwrap();
            fork.rewind(kept).unwrap();
            fork.feed(&text(more, i + 1)).unwrap();
            fork.trim();
            expected.push(continuation(model, kv_type, &[text(kept, 0), text(more, i + 1)].concat(), 9));
            forks.push((fork, greedy()));
        }
        let (mut batch, mut got) = (Batch::default(), vec![Vec::new(); forks.len()]);
        for _ in 0..9 {
            let turns = forks.iter_mut().map(|(session, sampler)| Turn { session, selector: None, sampler });
            for (got, step) in got.iter_mut().zip(batch.step(&mut turns.collect::<Vec<_>>())) {
                got.push(step.map(|step| (step.token, step.logprob.to_bits())).unwrap());
            }
        }
        assert_eq!(got, expected, "{kv_type}");
    });
}

#[test]
fn a_context_shift_is_as_if_the_text_had_always_been_what_is_left() {
    for_each(|model, kv_type| {
        let sliding =
            SessionOptions { context: 100, context_shift: Some(ContextShift { keep: 7 }), ..options(kv_type) };
        let mut session = Session::new(Arc::clone(model), None, &sliding).unwrap();
        session.feed(&text(100, 0)).unwrap();
        let step = steps(&mut session, 1);
        let left = [&text(100, 0)[..7], &text(100, 0)[54..]].concat();
        assert!(session.tokens().starts_with(&left) && session.position() == left.len() + 1);
        assert_eq!(step, continuation(model, kv_type, &left, 1), "{kv_type}");
    });
}

#[test]
fn bytes_are_estimated_kept_and_those_of_the_type() {
    let model = model("llama");
    for (kv_type, head) in [(KvType::F16, 32), (KvType::Q8_0, 16 + 2)] {
        let mut session = Session::new(Arc::clone(&model), None, &options(kv_type)).unwrap();
        assert_eq!(session.kv_type(), kv_type);
        session.feed(&text(256, 0)).unwrap();
        // Two layers, two heads of 16 elements, for a key and for a value.
        let (needed, bytes) = (Session::memory_needed(model.config(), None, &options(kv_type)), 256 * 2 * 2 * 2 * head);
        assert_eq!((needed.kv, session.statistics().kv_bytes), (bytes, bytes));
        assert!(session.memory_used() <= needed.total());
        let limited = SessionOptions { memory_limit: Some(needed.total()), ..options(kv_type) };
        Session::new(Arc::clone(&model), None, &limited).unwrap().feed(&text(256, 0)).unwrap();
    }
}

#[test]
fn rounding_changes_little() {
    for family in FAMILIES {
        let model = model(family);
        let [exact, rounded] = KvType::ALL.map(|kv_type| {
            let mut session = Session::new(Arc::clone(&model), None, &options(kv_type)).unwrap();
            let mut hidden = Vec::new();
            session.hidden_states(&text(200, 0), &mut hidden).unwrap();
            hidden
        });
        assert_ne!(exact, rounded);
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let error = norm(&mut exact.iter().zip(&rounded).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied());
        assert!(error < 0.03, "{family} {error}");
    }
}

fn saved(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    session.save(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, session.saved_bytes());
    bytes
}

#[test]
fn a_saved_session_goes_on_in_one_of_its_type_alone() {
    for_each(|model, kv_type| {
        let mut origin = Session::new(Arc::clone(model), None, &options(kv_type)).unwrap();
        origin.feed(&text(100, 0)).unwrap();
        let bytes = saved(&origin);
        for other in KvType::ALL {
            let mut session = Session::new(Arc::clone(model), None, &options(other)).unwrap();
            session.feed(&text(9, 1)).unwrap();
            let before = saved(&session);
            match session.restore(&mut &bytes[..]) {
                Ok(()) => {
                    assert_eq!((other, saved(&session)), (kv_type, bytes.clone()));
                    assert_eq!(steps(&mut session, 9), steps(&mut origin.fork().unwrap(), 9));
                }
                Err(SnapshotError::OtherKvType { saved: type_, session: own }) => {
                    assert!(type_ == kv_type && own == other && type_ != own);
                    assert_eq!(saved(&session), before);
                }
                Err(other) => panic!("{other}"),
            }
        }
    });
}

#[test]
fn sessions_of_two_types_are_no_batch() {
    let model = model("llama");
    let [mut first, mut second] = KvType::ALL.map(|kv_type| {
        let mut session = Session::new(Arc::clone(&model), None, &options(kv_type)).unwrap();
        session.feed(&text(20, 0)).unwrap();
        session
    });
    let [mut one, mut two] = [greedy(), greedy()];
    let mut turns = [
        Turn { session: &mut first, selector: None, sampler: &mut one },
        Turn { session: &mut second, selector: None, sampler: &mut two },
    ];
    let outcomes = Batch::default().step(&mut turns);
    assert!(matches!(outcomes[..], [Ok(_), Err(SessionError::Incompatible)]));
    drop(outcomes);
    assert_eq!(steps(&mut second, 3), continuation(&model, KvType::Q8_0, &text(20, 0), 3));
}
