//! Sessions that are cancelled, forked, slid, limited, trimmed: whatever happens, what follows is
//! what would have been.

use std::io;
use std::sync::Arc;
use std::thread;

use ollm_runtime::cpu::{CpuSet, Worker, WorkerHost, Workers};
use ollm_runtime::gguf::{Gguf, TensorType};
use ollm_runtime::model::{Config, Model, Part, Pooling, Scratch, Stage, State, forward};
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::plugin::{Callback, Hold, HoldUntil, LatentMode, Plugin, SelectError, Selector};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{ContextShift, Session, SessionError, SessionOptions};
use ollm_runtime::storage::Storage;
use ollm_tests::{golden, plugins};

const OPTIONS: usize = 5;

fn backbone() -> Arc<Model> {
    Arc::new(Model::open(&golden("tiny/llama.gguf")).unwrap())
}

fn plugin(model: &Model) -> Arc<Plugin> {
    let spec = plugins::spec(model, DecoderKind::LowRank { width: 32, rank: 32 }, OPTIONS);
    let bytes = plugins::plugin_file(&spec, TensorType::Q8_0, 0.5).to_bytes();
    Arc::new(Plugin::from_storage(Storage::from(bytes), model).unwrap())
}

fn options(context: usize) -> SessionOptions {
    SessionOptions { threads: 2, context, ..SessionOptions::default() }
}

fn session(options: &SessionOptions) -> Session {
    Session::new(backbone(), None, options).unwrap()
}

/// A text of `n` tokens.
fn text(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| i.wrapping_mul(7919) % 320).collect()
}

fn greedy() -> Sampler {
    Sampler::new(SamplerOptions::default()).unwrap()
}

/// `n` steps of the backbone: tokens and the bits of their probabilities.
fn steps(session: &mut Session, n: usize) -> Vec<(u32, u32)> {
    let step = |_| {
        let step = session.step(None, &mut greedy()).unwrap();
        (step.token, step.logprob.to_bits())
    };
    (0..n).map(step).collect()
}

/// What follows `text` in a session where nothing ever happened.
fn continuation(text: &[u32], n: usize) -> Vec<(u32, u32)> {
    let mut fresh = session(&options(2048));
    fresh.feed(text).unwrap();
    steps(&mut fresh, n)
}

fn fails(outcome: Result<impl Sized, SessionError>, expected: &SessionError) -> bool {
    outcome.is_err_and(|error| format!("{error:?}") == format!("{expected:?}"))
}

#[test]
fn a_prefill_that_is_cancelled_keeps_what_is_complete_and_goes_on() {
    let mut session = session(&options(2048));
    let prompt = text(900);
    // The first batch earns a rest that no test waits for: only a cancellation ends it.
    session.set_duty(1e-9).unwrap();
    let canceller = session.canceller();
    let cancel = thread::spawn(move || canceller.cancel());
    assert!(fails(session.feed(&prompt), &SessionError::Cancelled));
    cancel.join().unwrap();
    let reached = session.position();
    assert!(reached == 0 || reached == 256, "{reached}");
    session.set_duty(1.0).unwrap();
    session.feed(&prompt[reached..]).unwrap();
    assert_eq!(steps(&mut session, 8), continuation(&prompt, 8));
}

#[test]
fn a_cancellation_between_calls_is_seen_by_the_next_one_and_drops_nothing() {
    let mut session = session(&options(256));
    session.feed(&text(70)).unwrap();
    let before = steps(&mut session, 3);
    // The last token waits for its pass: it stays.
    session.canceller().cancel();
    assert!(fails(session.step(None, &mut greedy()), &SessionError::Cancelled));
    assert_eq!(session.position(), 73);
    session.canceller().cancel();
    assert!(fails(session.feed(&text(9)), &SessionError::Cancelled));
    assert_eq!(session.position(), 73);
    session.canceller().cancel();
    session.canceller().withdraw();
    assert_eq!([before, steps(&mut session, 5)].concat(), continuation(&text(70), 8));
}

#[test]
fn a_pass_that_ends_between_layers_can_be_run_again() {
    let model = backbone();
    let mut exec = ollm_runtime::ops::Exec {
        isa: ollm_runtime::cpu::Isa::select().unwrap(),
        pool: ollm_runtime::cpu::Pool::new(2).unwrap(),
    };
    let run = |exec: &mut _, (state, scratch): &mut (State, Scratch), layers: usize| {
        let mut left = layers;
        let part = Part { state, tokens: &text(9), first: 0, second: usize::MAX, drafted: 0, adapters: &[] };
        forward(exec, &model, &mut [part], scratch, &mut |stage| {
            if let Stage::Layer = stage {
                left = left.checked_sub(1).ok_or(SessionError::Cancelled)?;
            }
            Ok(())
        })
    };
    let [mut whole, mut broken] = [(); 2].map(|()| (State::new(model.config(), 9), Scratch::default()));
    for (state, _) in [&mut whole, &mut broken] {
        state.reserve(0..9).unwrap();
    }
    run(&mut exec, &mut whole, 2).unwrap();
    assert!(fails(run(&mut exec, &mut broken, 1), &SessionError::Cancelled));
    run(&mut exec, &mut broken, 2).unwrap();
    assert_eq!(broken.1.hidden(), whole.1.hidden());
}

#[test]
fn forks_go_their_own_ways() {
    let (prompt, other) = (text(100), text(40));
    let mut first = session(&options(2048));
    first.feed(&prompt).unwrap();
    let mut second = first.fork().unwrap();
    let mut third = second.fork().unwrap();
    // Into the middle of a shared chunk, and past it.
    third.rewind(70).unwrap();
    third.feed(&other).unwrap();
    second.feed(&other).unwrap();
    assert_eq!(steps(&mut first, 20), continuation(&prompt, 20));
    assert_eq!(steps(&mut second, 20), continuation(&[&prompt[..], &other].concat(), 20));
    assert_eq!(steps(&mut third, 20), continuation(&[&prompt[..70], &other].concat(), 20));
    drop(first);
    second.rewind(100).unwrap();
    assert_eq!(steps(&mut second, 20), continuation(&prompt, 20));
}

#[test]
fn forks_run_on_different_threads_and_are_cancelled_apart() {
    let prompt = text(100);
    let mut origin = session(&options(2048));
    origin.feed(&prompt).unwrap();
    let expected = continuation(&prompt, 50);
    thread::scope(|scope| {
        for _ in 0..4 {
            let (mut fork, expected) = (origin.fork().unwrap(), &expected);
            scope.spawn(move || assert_eq!(&steps(&mut fork, 50), expected));
        }
    });
    origin.fork().unwrap().canceller().cancel();
    assert_eq!(steps(&mut origin, 50), expected);
}

#[test]
fn forks_take_different_latents() {
    let model = backbone();
    let plugin = plugin(&model);
    let mut origin = Session::new(model, Some(plugin), &options(256)).unwrap();
    origin.feed(&text(30)).unwrap();
    let set = origin.option_set(1).unwrap();
    for (latent, option) in set.iter().enumerate() {
        let step = origin.fork().unwrap().step_with_latent(latent, &mut greedy()).unwrap();
        assert_eq!((step.latent, step.token), (Some(latent), option.top[0].0));
    }
    let refused = origin.step_with_latent(OPTIONS, &mut greedy());
    assert!(matches!(refused, Err(SessionError::Select(SelectError::LatentOutOfRange { latent: 5, options: 5 }))));
    assert_eq!(origin.position(), 30);
}

#[test]
fn a_callback_sees_the_state_and_the_policy_and_its_choice_is_checked() {
    let model = backbone();
    let plugin = plugin(&model);
    let mut session = Session::new(Arc::clone(&model), Some(plugin), &options(256)).unwrap();
    session.feed(&text(30)).unwrap();
    let (hidden, policy) = (session.hidden().unwrap().to_vec(), session.policy().unwrap().to_vec());
    assert!((policy.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    let least = move |h: &[f32], p: &[f32]| {
        assert_eq!((h, p), (&hidden[..], &policy[..]));
        (0..p.len()).min_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap()
    };
    let expected = least(session.hidden().unwrap().to_vec().as_slice(), session.policy().unwrap());
    let selector = |callback| Selector::new(LatentMode::Callback(callback), Hold::Token, OPTIONS, 0).unwrap();
    let step = session.step(Some(&selector(Callback::new(least))), &mut greedy()).unwrap();
    assert_eq!(step.latent, Some(expected));
    let outside = session.step(Some(&selector(Callback::new(|_, p| p.len()))), &mut greedy());
    assert!(matches!(outside, Err(SessionError::Select(SelectError::LatentOutOfRange { latent: 5, .. }))));
    assert_eq!(session.position(), 31);
}

#[test]
fn a_context_shift_is_as_if_the_text_had_always_been_what_is_left() {
    let sliding = SessionOptions { context_shift: Some(ContextShift { keep: 7 }), ..options(150) };
    let (mut at_once, mut one_by_one) = (session(&sliding), session(&sliding));
    at_once.feed(&text(1000)).unwrap();
    for token in text(1000) {
        one_by_one.feed(&[token]).unwrap();
    }
    assert_eq!(at_once.tokens(), one_by_one.tokens());
    assert!(at_once.tokens().starts_with(&text(7)) && text(1000).ends_with(&at_once.tokens()[7..]));
    for _ in 0..300 {
        let text = at_once.tokens().to_vec();
        let step = steps(&mut at_once, 1);
        assert_eq!(steps(&mut one_by_one, 1), step);
        if text.len() == 150 {
            // It has slid: 7, and 71 of the other 143.
            assert_eq!(at_once.position(), 79);
            let left = [&text[..7], &text[79..]].concat();
            assert_eq!(step, continuation(&left, 1));
        }
    }
    assert!(at_once.position() <= 150);
}

#[test]
fn a_slide_that_is_cancelled_goes_on() {
    let sliding = SessionOptions { context_shift: Some(ContextShift { keep: 7 }), ..options(150) };
    let mut session = session(&sliding);
    session.feed(&text(150)).unwrap();
    session.canceller().cancel();
    assert!(fails(session.step(None, &mut greedy()), &SessionError::Cancelled));
    let left = [&text(7)[..], &text(150)[79..]].concat();
    assert_eq!(session.tokens(), left);
    assert_eq!(steps(&mut session, 4), continuation(&left, 4));
    session.rewind(78).unwrap();
    session.canceller().cancel();
    // What was to be fed is dropped; all that was there before has slid out, but for what is kept.
    assert!(fails(session.feed(&text(100)), &SessionError::Cancelled));
    assert_eq!(session.tokens(), text(7));
    assert_eq!(steps(&mut session, 4), continuation(&text(7), 4));
}

#[test]
fn a_context_shift_must_have_room_and_only_generation_shifts() {
    for keep in [149, 150, usize::MAX] {
        let window = SessionOptions { context_shift: Some(ContextShift { keep }), ..options(150) };
        let refused = Session::new(backbone(), None, &window);
        assert!(fails(refused, &SessionError::ContextShift { keep, context: 150 }));
    }
    let mut session = session(&SessionOptions { context_shift: Some(ContextShift { keep: 0 }), ..options(150) });
    let refused = session.hidden_states(&text(151), &mut Vec::new());
    assert!(fails(refused, &SessionError::ContextFull { tokens: 151, position: 0, context: 150 }));
    assert!(fails(session.feed(&[1, 2, 320]), &SessionError::TokenOutOfRange { token: 320, vocab: 320 }));
    let long = [text(200), vec![320]].concat();
    assert!(fails(session.feed(&long), &SessionError::TokenOutOfRange { token: 320, vocab: 320 }));
    assert_eq!(session.position(), 0);
}

#[test]
fn the_limit_is_kept_and_the_estimate_suffices() {
    let model = backbone();
    let plugin = plugin(&model);
    let needed = Session::memory_needed(model.config(), Some(plugin.spec()), &options(300)).total();
    let session = |limit| {
        let limited = SessionOptions { memory_limit: Some(limit), ..options(300) };
        Session::new(Arc::clone(&model), Some(Arc::clone(&plugin)), &limited).unwrap()
    };
    let mut enough = session(needed);
    enough.feed(&text(300)).unwrap();
    enough.option_set(3).unwrap();
    assert!(enough.memory_used() <= needed, "{} {needed}", enough.memory_used());

    let mut small = session(needed / 2);
    let refused = small.feed(&text(300));
    assert!(matches!(refused, Err(SessionError::MemoryLimit { limit, .. }) if limit == needed / 2));
    assert_eq!((small.position(), small.memory_used()), (0, 0));
    let mut taken = 0;
    while small.feed(&text(1)).is_ok() {
        taken += 1;
        assert!(small.memory_used() <= needed / 2);
    }
    assert!(taken > 64 && small.position() == taken);
    small.rewind(64).unwrap();
    small.step(None, &mut greedy()).unwrap();
}

#[test]
fn the_estimate_is_what_the_file_says() {
    let file = Storage::open(&golden("tiny/llama.gguf")).unwrap();
    let gguf = Gguf::parse(&file).unwrap();
    let config = Config::from_gguf(&gguf, &file).unwrap();
    let needed = |context| Session::memory_needed(&config, None, &options(context));
    // Two layers, two heads, 16 elements for a key and as many for a value, two bytes each.
    assert_eq!(needed(64).kv, 64 * 2 * 2 * (16 + 16) * 2);
    assert_eq!(needed(65).kv, needed(128).kv);
    assert_eq!(needed(0).kv, needed(256).kv);
    assert_eq!(needed(usize::MAX).total(), usize::MAX);
}

#[test]
fn trimming_and_rewinding_give_memory_back_and_nothing_else() {
    let mut session = session(&options(2048));
    session.feed(&text(600)).unwrap();
    let full = session.memory_used();
    session.trim();
    let trimmed = session.memory_used();
    assert_eq!(steps(&mut session, 5), continuation(&text(600), 5));
    session.rewind(100).unwrap();
    session.trim();
    assert!(session.memory_used() * 4 < trimmed && trimmed < full);
    assert_eq!(steps(&mut session, 5), continuation(&text(100), 5));
    session.reset();
    session.trim();
    assert_eq!(session.memory_used(), 0);
    session.feed(&text(100)).unwrap();
    assert_eq!(steps(&mut session, 5), continuation(&text(100), 5));
}

struct Host;

impl WorkerHost for Host {
    fn start(&self, worker: Worker) -> io::Result<()> {
        thread::Builder::new().spawn(move || worker.run()).map(drop)
    }
}

#[test]
fn whoever_works_the_bits_are_the_same() {
    let expected = continuation(&text(300), 10);
    let workers = [Workers::Own, Workers::Host(Arc::new(Host))];
    for (workers, threads, prefill_threads) in workers.into_iter().flat_map(|w| [(w.clone(), 1, 3), (w, 3, 1)]) {
        let mut session = session(&SessionOptions { threads, prefill_threads, workers, ..options(2048) });
        assert_eq!((session.threads(), session.prefill_threads()), (threads, prefill_threads));
        session.feed(&text(300)).unwrap();
        assert_eq!(steps(&mut session, 10), expected);
    }
    let nowhere = SessionOptions { workers: Workers::Bound(CpuSet::default()), ..options(64) };
    assert!(matches!(Session::new(backbone(), None, &nowhere), Err(SessionError::Affinity(_))));
}

/// Scores and embeddings: the same bits for any number of threads, and however a text is cut.
#[test]
fn scores_and_embeddings_do_not_depend_on_threads_or_cuts() {
    let (model, tokens) = (backbone(), text(300));
    let plugin = plugin(&model);
    let mixture = Selector::new(LatentMode::Mixture, HoldUntil::from(Hold::Token), OPTIONS, 0).unwrap();
    for selector in [None, Some(&mixture)] {
        let scores = |threads, cuts: &[usize]| {
            let options = SessionOptions { threads, context: 2048, ..SessionOptions::default() };
            let mut session = Session::new(Arc::clone(&model), Some(Arc::clone(&plugin)), &options).unwrap();
            let (mut all, mut rest) = (Vec::new(), &tokens[..]);
            for &cut in cuts {
                let (part, others) = rest.split_at(cut);
                session.score_next(part, selector, &mut |scored| all.push(scored.logprob.to_bits())).unwrap();
                rest = others;
            }
            assert_eq!(session.position(), tokens.len());
            (all, session.step(None, &mut greedy()).unwrap())
        };
        let whole = scores(1, &[300]);
        assert_eq!(whole.0.len(), 299);
        for cuts in [&[300][..], &[1, 299], &[64, 1, 0, 235], &[255, 2, 43]] {
            assert!(scores(3, cuts) == whole, "{cuts:?}");
        }
    }
    let embedding = |threads, pooling| {
        let options = SessionOptions { threads, context: 2048, ..SessionOptions::default() };
        let embedding = session(&options).embed(&tokens, pooling, true).unwrap();
        embedding.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    for pooling in [None, Some(Pooling::Mean), Some(Pooling::Cls), Some(Pooling::Last)] {
        assert_eq!(embedding(1, pooling), embedding(4, pooling));
    }
    // Others go on between the parts of a long text.
    let options = SessionOptions { context: 2048, ..SessionOptions::default() };
    let mut calls = 0;
    session(&options).embed_watched(&tokens, Some(Pooling::Mean), true, &mut || calls += 1).unwrap();
    assert!(calls >= tokens.len().div_ceil(ollm_runtime::model::BATCH), "{calls}");
}

#[test]
fn sessions_can_move_between_threads() {
    fn movable<T: Send + Sync>() {}
    movable::<Session>();
    movable::<Selector>();
}
