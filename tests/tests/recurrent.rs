//! Layers with another state than keys and values of their own (recurrent ones, and those that have
//! the keys and values of another): wherever a sequence goes back to, is forked, shifted or saved,
//! it goes on with the bits of one that was never interrupted.

use std::sync::Arc;

use ollm_runtime::cpu::Isa;
use ollm_runtime::model::Model;
use ollm_runtime::ops::KvType;
use ollm_runtime::random::Random;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Batch, ContextShift, PromptCache, Session, SessionError, SessionOptions, Turn};
use ollm_tests::golden;

const FAMILIES: [&str; 9] = [
    "lfm2",
    "lfm2moe",
    "qwen35",
    "granitehybrid",
    "granitehybridmoe",
    "falcon-h1",
    "gemma3n",
    "gemma4",
    "gemma4_unified",
];

fn model(family: &str) -> Arc<Model> {
    Arc::new(Model::open(&golden(&format!("tiny/{family}.gguf"))).unwrap())
}

fn options() -> SessionOptions {
    SessionOptions { threads: 1, context: 512, ..SessionOptions::default() }
}

fn open(model: &Arc<Model>, options: &SessionOptions) -> Session {
    Session::new(Arc::clone(model), None, options).unwrap()
}

fn text(seed: u64, n: usize) -> Vec<u32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| random.below(320) as u32).collect()
}

/// The bits of the hidden state of the last token of each session.
fn bits(session: &mut Session) -> Vec<u32> {
    session.hidden().unwrap().iter().map(|x| x.to_bits()).collect()
}

/// That of a new session which is fed the same tokens.
fn fresh(session: &Session) -> Vec<u32> {
    let options = SessionOptions { kv_type: session.kv_type(), ..options() };
    let mut fresh = open(session.model(), &options);
    fresh.feed(session.tokens()).unwrap();
    bits(&mut fresh)
}

fn steps(session: &mut Session, n: usize) -> Vec<(u32, u32)> {
    let mut sampler = Sampler::new(SamplerOptions { temperature: 1.0, seed: 5, ..SamplerOptions::default() }).unwrap();
    let mut step = || session.step(None, &mut sampler).unwrap();
    (0..n).map(|_| step()).map(|step| (step.token, step.logprob.to_bits())).collect()
}

#[test]
fn a_session_that_is_rewound_to_any_position_is_a_new_one() {
    for model in FAMILIES.map(model) {
        let whole = text(1, 300);
        let mut session = open(&model, &options());
        for position in (0..=300).rev().step_by(7).chain([299, 257, 256, 255, 65, 64, 63, 2, 1]) {
            session.feed_prompt(&whole).unwrap();
            session.rewind(position).unwrap();
            assert_eq!(session.tokens(), &whole[..position]);
            session.feed(&[9, 8]).unwrap();
            assert!(bits(&mut session) == fresh(&session), "rewound to {position}");
        }
    }
}

/// Feeds, steps, rewinds, forks, snapshots and batches in a random order.
#[test]
fn any_history_ends_in_the_bits_of_a_new_session() {
    for model in FAMILIES.map(model) {
        for seed in 0..12 {
            let (mut random, kv_type) = (Random::new(seed), KvType::ALL[seed as usize % 2]);
            let mut sessions = vec![open(&model, &SessionOptions { kv_type, ..options() })];
            sessions[0].feed(&text(seed, 1 + random.below(200))).unwrap();
            for _ in 0..25 {
                let index = random.below(sessions.len());
                let position = sessions[index].position();
                match random.below(6) {
                    0 if position < 400 => {
                        let tokens = text(random.below(1000) as u64, 1 + random.below(70));
                        sessions[index].feed(&tokens).unwrap();
                    }
                    1 => sessions[index].rewind(1 + random.below(position)).unwrap(),
                    2 if sessions.len() < 4 => {
                        let fork = sessions[index].fork().unwrap();
                        sessions.push(fork);
                    }
                    3 => {
                        let (mut saved, other) = (Vec::new(), random.below(sessions.len()));
                        sessions[index].save(&mut saved).unwrap();
                        assert_eq!(saved.len() as u64, sessions[index].saved_bytes());
                        sessions[other].restore(&mut &saved[..]).unwrap();
                    }
                    4 => {
                        let room = sessions.iter().all(|session| session.position() < 500);
                        let mut samplers: Vec<_> =
                            sessions.iter().map(|_| Sampler::new(SamplerOptions::default()).unwrap()).collect();
                        let turns = sessions.iter_mut().zip(&mut samplers);
                        let turns = turns.map(|(session, sampler)| Turn { session, selector: None, sampler });
                        if room {
                            let outcomes = Batch::default().step(&mut turns.collect::<Vec<_>>());
                            assert!(outcomes.iter().all(Result::is_ok));
                        }
                    }
                    _ if position < 480 => drop(steps(&mut sessions[index], 1 + random.below(4))),
                    _ => sessions[index].trim(),
                }
            }
            for session in &mut sessions {
                assert!(bits(session) == fresh(session), "seed {seed}");
            }
        }
    }
}

#[test]
fn forks_share_checkpoints_and_none_changes_what_another_has() {
    for model in FAMILIES.map(model) {
        let mut origin = open(&model, &options());
        origin.feed(&text(3, 130)).unwrap();
        let (mut one, mut two) = (origin.fork().unwrap(), origin.fork().unwrap());
        one.rewind(100).unwrap();
        one.feed(&text(4, 50)).unwrap();
        assert_eq!(steps(&mut two, 9), steps(&mut origin, 9));
        for session in [&mut origin, &mut one, &mut two] {
            assert!(bits(session) == fresh(session));
        }
    }
}

/// A context shift moves tokens: keys and states are computed again from what stays.
#[test]
fn a_shifted_context_is_that_of_the_text_that_is_left() {
    for model in FAMILIES.map(model) {
        for keep in [0, 4, 70] {
            let shift = Some(ContextShift { keep });
            let mut session = open(&model, &SessionOptions { context: 160, context_shift: shift, ..options() });
            session.feed(&text(5, 150)).unwrap();
            steps(&mut session, 40);
            assert!(session.position() < 160);
            assert!(bits(&mut session) == fresh(&session), "keep {keep}");
        }
    }
}

#[test]
fn a_new_prompt_before_an_answer_is_computed_from_where_it_differs() {
    for model in FAMILIES.map(model) {
        let mut session = open(&model, &options());
        session.feed(&text(6, 140)).unwrap();
        steps(&mut session, 10);
        let mut prompt = session.tokens()[..110].to_vec();
        prompt.extend(text(7, 5));
        session.replace_prompt(&prompt, 10).unwrap();
        assert!(bits(&mut session) == fresh(&session));
    }
}

#[test]
fn a_cancelled_feed_leaves_a_session_that_goes_on() {
    for model in FAMILIES.map(model) {
        let mut session = open(&model, &SessionOptions { context: 1024, ..options() });
        let tokens = text(8, 700);
        let stopped = session.feed_watched(&tokens, &mut |_| std::ops::ControlFlow::Break(()));
        assert!(matches!(stopped, Err(SessionError::Cancelled)));
        let taken = session.position();
        assert!(taken > 0 && taken < tokens.len());
        session.feed(&tokens[taken..taken + 20]).unwrap();
        assert!(bits(&mut session) == fresh(&session));
    }
}

#[test]
fn a_prompt_from_the_cache_is_rewound_to_what_it_has_in_common() {
    for model in FAMILIES.map(model) {
        let folder = std::env::temp_dir().join(format!("ollm-recurrent-{}", std::process::id()));
        let cache = PromptCache::open(&folder, 1 << 30).unwrap();
        let prompt = text(9, 200);
        cache.feed(&mut open(&model, &options()), &prompt).unwrap();
        let mut session = open(&model, &options());
        let other = [&prompt[..150], &text(10, 20)].concat();
        assert_eq!(cache.feed(&mut session, &other).unwrap(), 150);
        assert!(bits(&mut session) == fresh(&session));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn bits_are_those_of_any_number_of_threads_batches_and_instruction_sets() {
    for model in FAMILIES.map(model) {
        let tokens = text(11, 200);
        let run = |isa: Isa, threads: usize, cut: usize| {
            let mut session = open(&model, &SessionOptions { threads, isa: Some(isa), ..options() });
            let mut hidden = Vec::new();
            for part in tokens.chunks(cut) {
                session.hidden_states(part, &mut hidden).unwrap();
            }
            hidden.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let expected = run(Isa::by_name("scalar").unwrap(), 1, 200);
        for isa in Isa::available() {
            for (threads, cut) in [(1, 1), (2, 3), (3, 70), (2, 200)] {
                assert!(run(isa, threads, cut) == expected, "{isa:?}, {threads} threads, {cut} tokens at once");
            }
        }
    }
}

/// What is told before is what is held at the end, and no more.
#[test]
fn memory_that_is_told_is_enough() {
    for model in FAMILIES.map(model) {
        let options = options();
        let needed = Session::memory_needed(model.config(), None, &options);
        let limit = Some(needed.total());
        let mut session = open(&model, &SessionOptions { memory_limit: limit, ..options.clone() });
        session.feed(&text(12, 400)).unwrap();
        steps(&mut session, 112);
        assert_eq!(session.position(), 512);
        assert!(session.statistics().kv_bytes <= needed.kv);
        // Checkpoints are a part of it: they take less than keys and values do.
        let interval = model.config().checkpoint_interval();
        assert!((64..=2048).contains(&interval));
    }
}
