//! Sessions that go on together: each is, bit for bit, what it would have been alone, whatever
//! happens to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ollm_runtime::cpu::Isa;
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::{BATCH, Model};
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::plugin::{Callback, Hold, LatentMode, Plugin, SelectError, Selector};
use ollm_runtime::sampler::{LogitsEdit, Sampler, SamplerOptions};
use ollm_runtime::session::{Batch, ContextShift, Session, SessionError, SessionOptions, Step, Turn};
use ollm_runtime::storage::Storage;
use ollm_tests::{backbones, golden, plugins};

const OPTIONS: usize = 5;
const KINDS: [DecoderKind; 2] = [DecoderKind::SwiGlu { width: 32 }, DecoderKind::LowRank { width: 32, rank: 32 }];
const FAMILIES: [&str; 9] =
    ["llama", "llama-rope-llama3", "qwen2", "qwen3", "smollm3", "phi3", "mistral3", "cohere2", "qwen2moe"];

fn backbone(family: &str) -> Arc<Model> {
    Arc::new(Model::open(&golden(&format!("tiny/{family}.gguf"))).unwrap())
}

fn plugin(model: &Model, decoder: DecoderKind) -> Arc<Plugin> {
    let spec = plugins::spec(model, decoder, OPTIONS);
    let bytes = plugins::plugin_file(&spec, TensorType::Q8_0, 0.5).to_bytes();
    Arc::new(Plugin::from_storage(Storage::from(bytes), model).unwrap())
}

fn options(threads: usize) -> SessionOptions {
    SessionOptions { threads, context: 1024, ..SessionOptions::default() }
}

/// A text of `n` tokens, another one for each `seed`.
fn text(n: usize, seed: usize) -> Vec<u32> {
    (0..n).map(|i| ((i + seed) * 7919 % 256) as u32).collect()
}

/// What one session does: how it begins, and how it chooses.
#[derive(Clone)]
struct Part {
    fed: Vec<u32>,
    selector: Option<Selector>,
    sampler: Sampler,
    steps: usize,
}

/// One of every way to choose, on texts of different lengths that end at different times.
fn parts(count: usize, latents: bool) -> Vec<Part> {
    let modes = |i: usize| match i % 6 {
        0 => None,
        1 => Some(LatentMode::Policy),
        2 => Some(LatentMode::Fixed(i % OPTIONS)),
        3 => Some(LatentMode::Mixture),
        4 => Some(LatentMode::Sample { temperature: 1.0 }),
        _ => Some(LatentMode::Uniform),
    };
    let part = |i: usize| {
        let hold = if i.is_multiple_of(4) { Hold::All } else { Hold::Token };
        let temperature = if i.is_multiple_of(2) { 0.0 } else { 0.9 };
        let options = SamplerOptions { temperature, seed: i as u64, ..SamplerOptions::default() };
        Part {
            fed: text(i * 5 % 37, i),
            selector: modes(i).filter(|_| latents).map(|mode| Selector::new(mode, hold, OPTIONS, i as u64).unwrap()),
            sampler: Sampler::new(options).unwrap(),
            steps: 3 + i * 3 % 8,
        }
    };
    (0..count).map(part).collect()
}

/// Tokens of several sessions are picked on several threads, and who is called back is called on
/// the thread that asked.
#[test]
fn callbacks_are_called_by_the_thread_that_asks() {
    let mut origin = Session::new(backbone("llama"), None, &options(4)).unwrap();
    origin.feed(&text(9, 1)).unwrap();
    let asking = thread::current().id();
    let calls = Arc::new(AtomicUsize::new(0));
    let mut parts = parts(8, false);
    let expected: Vec<_> = parts.iter().map(|part| alone(&origin, part)).collect();
    for part in parts.iter_mut().step_by(2) {
        let calls = Arc::clone(&calls);
        let edit = LogitsEdit::new(move |_, _| {
            assert_eq!(thread::current().id(), asking);
            calls.fetch_add(1, Ordering::Relaxed);
        });
        let edited = SamplerOptions { edit: Some(edit), ..part.sampler.options().clone() };
        part.sampler = Sampler::new(edited).unwrap();
    }
    assert_eq!(together(&origin, &parts), expected);
    assert_eq!(calls.load(Ordering::Relaxed), parts.iter().step_by(2).map(|part| part.steps).sum::<usize>());
}

fn fork(origin: &Session, part: &Part) -> Session {
    let mut session = origin.fork().unwrap();
    session.feed(&part.fed).unwrap();
    session
}

fn bits(step: Step) -> (u32, Option<usize>, u32) {
    (step.token, step.latent, step.logprob.to_bits())
}

fn alone(origin: &Session, part: &Part) -> Vec<(u32, Option<usize>, u32)> {
    let (mut session, mut part) = (fork(origin, part), part.clone());
    (0..part.steps).map(|_| bits(session.step(part.selector.as_ref(), &mut part.sampler).unwrap())).collect()
}

/// All parts in one batch; each leaves it when it has its steps.
fn together(origin: &Session, parts: &[Part]) -> Vec<Vec<(u32, Option<usize>, u32)>> {
    let mut batch = Batch::default();
    let mut sessions: Vec<_> = parts.iter().map(|part| fork(origin, part)).collect();
    let mut parts = parts.to_vec();
    let mut steps = vec![Vec::new(); parts.len()];
    let rounds = parts.iter().map(|part| part.steps).max().unwrap_or(0);
    for round in 0..rounds {
        let mut who = Vec::new();
        let mut turns = Vec::new();
        for (i, (session, part)) in sessions.iter_mut().zip(&mut parts).enumerate() {
            if round < part.steps {
                who.push(i);
                turns.push(Turn { session, selector: part.selector.as_ref(), sampler: &mut part.sampler });
            }
        }
        for (i, outcome) in who.into_iter().zip(batch.step(&mut turns)) {
            steps[i].push(bits(outcome.unwrap()));
        }
    }
    steps
}

/// As [`together`], with prompts that go in beside the steps, in pieces: each part begins as soon
/// as its own is in.
fn staggered(origin: &Session, parts: &[Part], piece: usize) -> Vec<Vec<(u32, Option<usize>, u32)>> {
    let mut batch = Batch::default();
    let mut sessions: Vec<_> = parts.iter().map(|_| origin.fork().unwrap()).collect();
    let (start, mut parts) = (origin.tokens().len(), parts.to_vec());
    let mut steps: Vec<Vec<_>> = vec![Vec::new(); parts.len()];
    while steps.iter().zip(&parts).any(|(steps, part)| steps.len() < part.steps) {
        let (mut who, mut turns, mut given) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (session, part)) in sessions.iter_mut().zip(&mut parts).enumerate() {
            let rest = part.fed.get(session.tokens().len() - start..).unwrap_or_default();
            if !rest.is_empty() {
                session.append(&rest[..rest.len().min(piece)]).unwrap();
                given.push(session);
            } else if steps[i].len() < part.steps {
                who.push(i);
                turns.push(Turn { session, selector: part.selector.as_ref(), sampler: &mut part.sampler });
            }
        }
        let (outcomes, fed) = batch.step_with_prefill(&mut turns, &mut given);
        assert!(fed.len() == given.len() && fed.iter().all(Result::is_ok));
        assert!(given.iter().all(|session| session.position() == session.tokens().len()), "all of it is computed");
        for (i, outcome) in who.into_iter().zip(outcomes) {
            steps[i].push(bits(outcome.unwrap()));
        }
    }
    steps
}

#[test]
fn prompts_that_go_in_beside_steps_change_no_bits() {
    let model = backbone("qwen3");
    let plugin = plugin(&model, KINDS[0]);
    let mut origin = Session::new(model, Some(plugin), &options(2)).unwrap();
    origin.feed(&text(3, 1)).unwrap();
    let parts = parts(7, true);
    let expected: Vec<_> = parts.iter().map(|part| alone(&origin, part)).collect();
    for piece in [1, 4, 100] {
        assert_eq!(staggered(&origin, &parts, piece), expected, "{piece}");
    }
}

#[test]
fn each_session_is_what_it_would_have_been_alone() {
    for family in FAMILIES {
        let model = backbone(family);
        for plugin in [None, Some(plugin(&model, KINDS[0])), Some(plugin(&model, KINDS[1]))] {
            for threads in [1, 2] {
                let mut origin = Session::new(Arc::clone(&model), plugin.clone(), &options(threads)).unwrap();
                origin.feed(&text(70, 3)).unwrap();
                let parts = parts(13, plugin.is_some());
                let expected: Vec<_> = parts.iter().map(|part| alone(&origin, part)).collect();
                assert_eq!(together(&origin, &parts), expected, "{family} {plugin:?} {threads}");
                assert!(expected.iter().any(|steps| steps[0] != expected[0][0]));
            }
        }
    }
}

#[test]
fn quantized_weights_and_every_instruction_set_are_no_exception() {
    let file = backbones::wide(256, 1024, TensorType::Q4_0);
    let model = Arc::new(Model::from_storage(Storage::from(file)).unwrap());
    let plugin = plugin(&model, KINDS[1]);
    for isa in Isa::available() {
        let options = SessionOptions { isa: Some(isa), ..options(2) };
        let mut origin = Session::new(Arc::clone(&model), Some(Arc::clone(&plugin)), &options).unwrap();
        origin.feed(&text(9, 1)).unwrap();
        let parts = parts(12, true);
        let expected: Vec<_> = parts.iter().map(|part| alone(&origin, part)).collect();
        assert_eq!(together(&origin, &parts), expected, "{isa:?}");
    }
}

#[test]
fn there_may_be_more_sessions_than_a_pass_takes_and_more_tokens_too() {
    let model = backbone("llama");
    let mut origin = Session::new(Arc::clone(&model), Some(plugin(&model, KINDS[1])), &options(2)).unwrap();
    origin.feed(&text(5, 0)).unwrap();
    let parts = parts(BATCH + 9, true);
    let expected: Vec<_> = parts.iter().map(|part| alone(&origin, part)).collect();
    assert_eq!(together(&origin, &parts), expected);

    // Tokens that wait: two prompts of sessions that slide, which no batch takes at once.
    let windowed = SessionOptions { context_shift: Some(ContextShift { keep: 10 }), context: 700, ..options(2) };
    let waiting = |seed| {
        let mut session = Session::new(Arc::clone(&model), None, &windowed).unwrap();
        session.feed(&text(700, seed)).unwrap();
        session
    };
    let greedy = || Sampler::new(SamplerOptions::default()).unwrap();
    let (mut one, mut two) = (waiting(1), waiting(2));
    let want = [&mut one, &mut two].map(|session| bits(session.step(None, &mut greedy()).unwrap()));
    let (mut one, mut two) = (waiting(1), waiting(2));
    let mut samplers = [greedy(), greedy()];
    let [first, second] = &mut samplers;
    let mut turns = [
        Turn { session: &mut one, selector: None, sampler: first },
        Turn { session: &mut two, selector: None, sampler: second },
    ];
    let got: Vec<_> = Batch::default().step(&mut turns).into_iter().map(|step| bits(step.unwrap())).collect();
    assert_eq!(got, want);
    assert!(one.position() < 700);
}

/// The hidden state, as bits.
fn hidden(session: &mut Session) -> Vec<u32> {
    session.hidden().unwrap().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn what_was_advanced_needs_no_pass_of_its_own() {
    let model = backbone("qwen3");
    let mut origin = Session::new(Arc::clone(&model), Some(plugin(&model, KINDS[0])), &options(1)).unwrap();
    origin.feed(&text(20, 0)).unwrap();
    let mut sampler = Sampler::new(SamplerOptions { temperature: 1.0, ..SamplerOptions::default() }).unwrap();
    let mut sessions: Vec<_> = (0..4).map(|_| origin.fork().unwrap()).collect();
    for session in &mut sessions {
        session.step(None, &mut sampler).unwrap();
    }
    let want: Vec<_> = sessions.iter().map(|session| hidden(&mut session.fork().unwrap())).collect();
    let mut all: Vec<&mut Session> = sessions.iter_mut().collect();
    assert!(Batch::default().advance(&mut all).iter().all(Result::is_ok));
    for (session, want) in sessions.iter_mut().zip(want) {
        // A cancellation would be seen by a pass.
        session.canceller().cancel();
        assert_eq!(hidden(session), want);
        assert_eq!(session.policy().unwrap().len(), OPTIONS);
    }
}

fn is(outcome: &Result<Step, SessionError>, expected: &SessionError) -> bool {
    outcome.as_ref().is_err_and(|error| format!("{error:?}") == format!("{expected:?}"))
}

#[test]
fn what_one_session_fails_with_is_its_own() {
    let model = backbone("llama");
    let plugin = plugin(&model, KINDS[1]);
    let make = |options: &SessionOptions| {
        let mut session = Session::new(Arc::clone(&model), Some(Arc::clone(&plugin)), options).unwrap();
        session.feed(&text(20, 0)).unwrap();
        session
    };
    let mut fine = make(&options(2));
    let mut full = make(&SessionOptions { context: 20, ..options(2) });
    let mut empty = Session::new(Arc::clone(&model), Some(Arc::clone(&plugin)), &options(2)).unwrap();
    let limited = SessionOptions { memory_limit: Some(1000), ..options(2) };
    let mut small = Session::new(Arc::clone(&model), Some(Arc::clone(&plugin)), &limited).unwrap();
    assert!(small.feed(&text(20, 0)).is_err());
    let mut cancelled = make(&options(2));
    cancelled.canceller().cancel();
    let mut other = make(&options(2));
    let mut foreign = Session::new(backbone("llama"), None, &options(2)).unwrap();
    foreign.feed(&text(20, 0)).unwrap();
    let mut last = make(&options(2));

    let wrong = LatentMode::Callback(Callback::new(|_, _| OPTIONS));
    let selector = |mode| Selector::new(mode, Hold::Token, OPTIONS, 0).unwrap();
    let (selectors, mut samplers) = (
        [LatentMode::Policy, LatentMode::Mixture, wrong, LatentMode::Policy].map(selector),
        [(); 8].map(|()| Sampler::new(SamplerOptions::default()).unwrap()),
    );
    let expected = make(&options(2)).step(Some(&selector(LatentMode::Policy)), &mut samplers[0]).map(bits).unwrap();
    let [policy, mixture, wrong, again] = &selectors;
    let mut given = [Some(policy), None, None, Some(mixture), None, Some(wrong), None, Some(again)].into_iter();
    let sessions = [&mut fine, &mut full, &mut empty, &mut small, &mut cancelled, &mut other, &mut foreign, &mut last];
    let mut turns: Vec<Turn<'_>> = sessions
        .into_iter()
        .zip(&mut samplers)
        .map(|(session, sampler)| Turn { session, selector: given.next().unwrap(), sampler })
        .collect();
    let outcomes = Batch::default().step(&mut turns);
    drop(turns);
    assert_eq!(outcomes[0].as_ref().ok().copied().map(bits), Some(expected));
    assert!(is(&outcomes[1], &SessionError::ContextFull { tokens: 1, position: 20, context: 20 }));
    assert!(is(&outcomes[2], &SessionError::Empty) && is(&outcomes[3], &SessionError::Empty));
    assert!(is(&outcomes[4], &SessionError::Cancelled));
    let out_of_range = SelectError::LatentOutOfRange { latent: OPTIONS, options: OPTIONS };
    assert!(matches!(&outcomes[5], Err(SessionError::Select(error)) if *error == out_of_range));
    assert!(is(&outcomes[6], &SessionError::Incompatible));
    assert_eq!(outcomes[7].as_ref().ok().copied().map(bits), Some(expected));
    // Whoever failed is as before, and goes on as if nothing had been.
    assert_eq!([&full, &cancelled, &other, &foreign].map(Session::position), [20; 4]);
    for mut session in [cancelled, other] {
        let step = session.step(Some(&selector(LatentMode::Policy)), &mut samplers[0]).unwrap();
        assert_eq!(bits(step), expected);
    }
}

#[test]
fn a_limit_on_memory_is_kept_in_company_too() {
    let model = backbone("llama");
    let plugin = plugin(&model, KINDS[1]);
    let needed =
        Session::memory_needed(model.config(), Some(plugin.spec()), &SessionOptions { context: 64, ..options(1) });
    let make = |limit| {
        let options = SessionOptions { memory_limit: Some(limit), ..options(1) };
        Session::new(Arc::clone(&model), Some(Arc::clone(&plugin)), &options).unwrap()
    };
    let (mut wide, mut narrow) = (make(needed.total()), make(needed.total()));
    wide.feed(&text(4, 0)).unwrap();
    narrow.feed(&text(4, 0)).unwrap();
    let (mut batch, mut failed) = (Batch::default(), 0);
    let mut samplers = [(); 2].map(|()| Sampler::new(SamplerOptions::default()).unwrap());
    narrow.feed(&text(52, 1)).unwrap();
    for _ in 0..900 {
        let [one, two] = &mut samplers;
        let mut turns = [
            Turn { session: &mut wide, selector: None, sampler: one },
            Turn { session: &mut narrow, selector: None, sampler: two },
        ];
        let outcomes = batch.step(&mut turns);
        let limited = |step: &Result<Step, SessionError>| matches!(step, Err(SessionError::MemoryLimit { .. }));
        assert!(outcomes.iter().all(|step| step.is_ok() || limited(step)));
        failed = outcomes.iter().filter(|step| limited(step)).count();
        for session in [&wide, &narrow] {
            assert!(session.memory_used() <= needed.total());
        }
        if failed == 2 {
            break;
        }
    }
    assert_eq!(failed, 2);
    assert!(wide.position() >= 64 && narrow.position() >= 64);
}

#[test]
fn nobody_is_a_batch_as_well() {
    assert!(Batch::default().step(&mut []).is_empty());
    assert!(Batch::default().advance(&mut []).is_empty());
}
