//! What holding a latent means: where an answer begins and ends, and that the state of selection
//! belongs to the session: forked, rewound and saved with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::plugin::{Callback, Hold, HoldUntil, LatentMode, Plugin, Selector, TokenEnds};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{ContextShift, Session, SessionOptions, SnapshotError};
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::{golden, plugins};

const OPTIONS: usize = 5;
const PROMPT: [u32; 5] = [10, 200, 31, 47, 5];

fn plugin(model: &Model, options: usize) -> Arc<Plugin> {
    let spec = plugins::spec(model, DecoderKind::LowRank { width: 32, rank: 32 }, options);
    let bytes = plugins::plugin_file(&spec, TensorType::Q8_0, 0.5).to_bytes();
    Arc::new(Plugin::from_storage(Storage::from(bytes), model).unwrap())
}

fn session_of(context: usize, shift: Option<ContextShift>) -> Session {
    let model = Arc::new(Model::open(&golden("tiny/llama.gguf")).unwrap());
    let options = SessionOptions { threads: 1, context, context_shift: shift, ..SessionOptions::default() };
    let plugin = plugin(&model, OPTIONS);
    let mut session = Session::new(model, Some(plugin), &options).unwrap();
    session.feed(&PROMPT).unwrap();
    session
}

fn session() -> Session {
    session_of(256, None)
}

fn selector(mode: LatentMode, hold: Hold) -> Selector {
    Selector::new(mode, hold, OPTIONS, 7).unwrap()
}

fn sampler(temperature: f32) -> Sampler {
    Sampler::new(SamplerOptions { temperature, seed: 3, ..SamplerOptions::default() }).unwrap()
}

fn latents(session: &mut Session, selector: &Selector, n: usize) -> Vec<usize> {
    (0..n).map(|_| session.step(Some(selector), &mut sampler(0.0)).unwrap().latent.unwrap()).collect()
}

/// What is compared of steps that are drawn, latents and tokens.
fn drawn(session: &mut Session, selector: &Selector, n: usize) -> Vec<(u32, Option<usize>, u32)> {
    let step = |session: &mut Session| session.step(Some(selector), &mut sampler(0.9)).unwrap();
    (0..n).map(|_| step(session)).map(|step| (step.token, step.latent, step.logprob.to_bits())).collect()
}

fn tokens(count: u32) -> Hold {
    Hold::Tokens(count.try_into().unwrap())
}

#[test]
fn an_answer_begins_after_a_feed_a_rewind_and_a_reset() {
    let mut session = session();
    let script = selector(LatentMode::Script(vec![3, 1]), Hold::All);
    assert_eq!(latents(&mut session, &script, 3), [3, 3, 3]);
    let lines = selector(LatentMode::Script(vec![3, 1, 2]), tokens(2));
    for begin in [
        |session: &mut Session| session.feed(&[7]).unwrap(),
        |session: &mut Session| session.feed(&[]).unwrap(),
        |session: &mut Session| session.rewind(session.position()).unwrap(),
        |session: &mut Session| session.rewind(PROMPT.len()).unwrap(),
        |session: &mut Session| session.begin_answer(),
        |session: &mut Session| {
            session.rewind(0).unwrap();
            session.feed(&PROMPT).unwrap();
        },
        |session: &mut Session| {
            session.reset();
            session.feed(&PROMPT).unwrap();
        },
    ] {
        begin(&mut session);
        assert_eq!(session.latent_state().held, None);
        assert_eq!(latents(&mut session, &lines, 5), [3, 3, 1, 1, 2]);
        assert_eq!(session.latent_state().held, Some(2));
    }
}

#[test]
fn a_callback_is_asked_once_for_each_answer() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let choose = Callback::new(move |_, _| count.fetch_add(1, Ordering::Relaxed));
    let selector = selector(LatentMode::Callback(choose), Hold::All);
    let mut session = session();
    for answer in 0..3 {
        assert_eq!(latents(&mut session, &selector, 4), [answer; 4]);
        session.feed(&[9]).unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

/// An end token is drawn by giving the answer's last token to a sampler that takes nothing else.
#[test]
fn an_end_token_ends_the_answer_and_a_line_feed_the_line() {
    let model = Arc::new(Model::open(&ollm_tests::smollm2()).unwrap());
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let ends = TokenEnds::new(&tokenizer);
    let plugin = plugin(&model, 3);
    let options = SessionOptions { context: 64, ..SessionOptions::default() };
    let mut session = Session::new(Arc::clone(&model), Some(plugin), &options).unwrap();
    session
        .feed(&tokenizer.encode("<|im_start|>user\nSay yes<|im_end|>\n<|im_start|>assistant\n", true).unwrap())
        .unwrap();
    let script = LatentMode::Script(vec![2, 1, 0]);
    let text = |hold| Selector::new(script.clone(), HoldUntil::new(hold, ends.clone()), 3, 0).unwrap();
    // Scoring follows a given text, so it shows which latent each place has.
    let given = tokenizer.encode("a\nb<|im_end|>c\nd", true).unwrap();
    let feed = tokenizer.encode("\n", true).unwrap();
    assert!(ends.ends_line(feed[0]) && ends.ends_line(tokenizer.encode("<|im_end|>", true).unwrap()[0]));
    let scores = |hold: Hold, session: &mut Session| {
        let mut all = Vec::new();
        session.score(&given, Some(&text(hold)), &mut |scored| all.push(scored.logprob.to_bits())).unwrap();
        all
    };
    let held = |latent: usize, session: &mut Session| {
        let mut all = Vec::new();
        let fixed = Selector::new(LatentMode::Fixed(latent), Hold::All, 3, 0).unwrap();
        session.score(&given, Some(&fixed), &mut |scored| all.push(scored.logprob.to_bits())).unwrap();
        all
    };
    let by_latent: Vec<_> = (0..3).map(|latent| held(latent, &mut session)).collect();
    let expected = |latents: &[usize]| -> Vec<u32> {
        latents.iter().enumerate().map(|(place, &latent)| by_latent[latent][place]).collect()
    };
    // Scored are: line feed, b, end, c, line feed, d.
    assert_eq!(given.len(), 7, "{given:?}");
    assert_eq!(scores(Hold::All, &mut session), expected(&[2, 2, 2, 2, 2, 2]));
    assert_eq!(scores(Hold::Line, &mut session), expected(&[2, 1, 1, 2, 2, 1]));
    assert_eq!(scores(tokens(2), &mut session), expected(&[2, 2, 1, 2, 2, 1]));
}

#[test]
fn forks_and_saved_sessions_continue_in_the_middle_of_an_answer() {
    for hold in [Hold::Token, tokens(3), Hold::All] {
        for mode in [LatentMode::Sample { temperature: 1.0 }, LatentMode::Uniform, LatentMode::Script(vec![4, 0, 2])] {
            for before in [0, 1, 5] {
                let (selector, mut origin) = (selector(mode.clone(), hold), session());
                drawn(&mut origin, &selector, before);
                let (mut fork, mut saved) = (origin.fork().unwrap(), Vec::new());
                origin.save(&mut saved).unwrap();
                let mut restored = session();
                drawn(&mut restored, &selector, 2);
                restored.restore(&mut &saved[..]).unwrap();
                assert_eq!(restored.latent_state(), origin.latent_state());
                let expected = drawn(&mut origin, &selector, 12);
                assert_eq!(drawn(&mut fork, &selector, 12), expected, "{mode} {hold} {before}");
                assert_eq!(drawn(&mut restored, &selector, 12), expected, "{mode} {hold} {before}");
            }
        }
    }
}

#[test]
fn random_numbers_belong_to_places() {
    let selector = selector(LatentMode::Uniform, Hold::Token);
    let mut session = session();
    let first = drawn(&mut session, &selector, 20);
    for keep in [0, 1, 13] {
        session.rewind(PROMPT.len() + keep).unwrap();
        assert_eq!(drawn(&mut session, &selector, 20 - keep), first[keep..]);
    }
    assert!(first.iter().any(|step| step.0 != first[0].0) && first.iter().any(|step| step.1 != first[0].1));
}

/// A place counts the tokens that were dropped: a text that shifts draws no number twice, and a
/// saved one goes on.
#[test]
fn a_context_shift_moves_no_place() {
    let shifting = || session_of(24, Some(ContextShift { keep: 2 }));
    let selector = selector(LatentMode::Uniform, Hold::Token);
    let mut origin = shifting();
    let latents: Vec<_> = drawn(&mut origin, &selector, 60).into_iter().map(|step| step.1).collect();
    let mut straight = session();
    let expected: Vec<_> = drawn(&mut straight, &selector, 60).into_iter().map(|step| step.1).collect();
    assert_eq!(latents, expected);
    let mut saved = Vec::new();
    origin.save(&mut saved).unwrap();
    let mut restored = shifting();
    restored.restore(&mut &saved[..]).unwrap();
    assert_eq!(drawn(&mut restored, &selector, 30), drawn(&mut origin, &selector, 30));
}

/// All at once: a script of held latents, samples with a penalty on recent tokens, a context that
/// shifts, a rewind, and a save that follows it.
#[test]
fn a_saved_session_that_was_rewound_and_shifts_goes_on_bit_for_bit() {
    let shifting = || session_of(24, Some(ContextShift { keep: 2 }));
    let penalized = || {
        let penalty = SamplerOptions { repeat_penalty: 1.3, repeat_last_n: 16, ..SamplerOptions::default() };
        Sampler::new(SamplerOptions { temperature: 0.9, seed: 3, ..penalty }).unwrap()
    };
    let steps = |session: &mut Session, n: usize| {
        let (selector, mut sampler) = (selector(LatentMode::Script(vec![4, 0, 2, 1]), tokens(3)), penalized());
        let step = |_| session.step(Some(&selector), &mut sampler).unwrap();
        (0..n).map(step).map(|step| (step.token, step.latent, step.logprob.to_bits())).collect::<Vec<_>>()
    };
    for (before, back, after) in [(40, 0, 0), (40, 3, 0), (7, 4, 5), (40, 5, 30)] {
        let mut origin = shifting();
        steps(&mut origin, before);
        origin.rewind(origin.position() - back).unwrap();
        steps(&mut origin, after);
        let mut saved = Vec::new();
        origin.save(&mut saved).unwrap();
        let mut restored = shifting();
        steps(&mut restored, 9);
        restored.restore(&mut &saved[..]).unwrap();
        assert_eq!(steps(&mut restored, 50), steps(&mut origin, 50), "{before} {back} {after}");
    }
}

#[test]
fn a_held_latent_that_does_not_exist_is_refused() {
    let mut origin = session();
    latents(&mut origin, &selector(LatentMode::Fixed(4), Hold::All), 1);
    let mut saved = Vec::new();
    origin.save(&mut saved).unwrap();
    for options in [3, 0] {
        let small = (options > 0).then(|| plugin(origin.model(), options));
        let mut other = Session::new(Arc::clone(origin.model()), small, &SessionOptions::default()).unwrap();
        let error = other.restore(&mut &saved[..]).unwrap_err();
        let found = |error: &SnapshotError| match error {
            SnapshotError::OtherPlugin { latent, options } => Some((*latent, *options)),
            _ => None,
        };
        assert_eq!(found(&error), Some((4, options)), "{error}");
        assert_eq!(other.position(), 0);
    }
}
