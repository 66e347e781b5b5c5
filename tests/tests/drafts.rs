//! Drafts change how many passes a text takes, and not one bit of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ollm_convert::adapter::{Adapter as AdapterFile, Factors};
use ollm_runtime::cpu::Isa;
use ollm_runtime::draft::{ModelDrafter, NgramDrafter};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::{Adapter, Model, Role, TensorName};
use ollm_runtime::ops::KvType;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::plugin::{Callback, Hold, LatentMode, Plugin, Selector};
use ollm_runtime::random::Random;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{
    Batch, Canceller, ContextShift, Drafter, STRENGTHS, Session, SessionError, SessionOptions, Turn,
};
use ollm_runtime::storage::Storage;
use ollm_tests::{golden, plugins};

const FAMILIES: [&str; 11] = [
    "llama",
    "qwen3",
    "gemma2",
    "gemma3",
    "gemma3n",
    "gemma4",
    "lfm2",
    "lfm2moe",
    "qwen35",
    "granitehybrid",
    "falcon-h1",
];
const OPTIONS: usize = 5;
const CONTEXT: usize = 160;

/// Knows how the text goes on, and is wrong now and then.
#[derive(Debug)]
struct Prophet {
    text: Vec<u32>,
    /// In percent.
    wrong: usize,
    seed: u64,
    calls: u64,
}

impl Drafter for Prophet {
    fn evidence(&mut self, text: &[u32]) -> Option<usize> {
        self.calls += 1;
        (text.len() < self.text.len()).then_some(self.calls as usize % STRENGTHS)
    }

    fn draft(&mut self, text: &[u32], count: usize, draft: &mut Vec<u32>) {
        for (place, &token) in self.text.iter().enumerate().skip(text.len()).take(count) {
            let mut random = Random::at(self.seed ^ self.calls, place as u64);
            // One that is in no vocabulary ends the draft.
            let other = [0, 1, 255, u32::MAX][random.below(4)];
            draft.push(if random.below(100) < self.wrong { other } else { token });
        }
    }
}

/// What a run is made with.
struct Run {
    model: Arc<Model>,
    plugin: Option<Arc<Plugin>>,
    options: SessionOptions,
    selector: Option<Selector>,
    temperature: f32,
}

type Steps = Vec<(u32, Option<usize>, u32)>;

impl Run {
    fn session(&self) -> Session {
        Session::new(Arc::clone(&self.model), self.plugin.clone(), &self.options).unwrap()
    }

    fn sampler(&self) -> Sampler {
        let penalized = SamplerOptions { temperature: self.temperature, seed: 3, ..SamplerOptions::default() };
        Sampler::new(penalized).unwrap()
    }

    fn steps(&self, session: &mut Session, n: usize) -> Steps {
        let mut sampler = self.sampler();
        let step = |_| match session.step(self.selector.as_ref(), &mut sampler) {
            Ok(step) => Some((step.token, step.latent, step.logprob.to_bits())),
            Err(SessionError::ContextFull { .. }) => None,
            Err(error) => panic!("{error}"),
        };
        (0..n).map_while(step).collect()
    }

    /// Feeds, steps, forks, rewinds, steps to the end of the context.
    fn story(&self, session: &mut Session) -> (Steps, Vec<u32>) {
        let mut all = Vec::new();
        session.feed(&[10, 200, 31, 47, 5]).unwrap();
        all.extend(self.steps(session, 20));
        let mut fork = session.fork().unwrap();
        all.extend(self.steps(session, 7));
        all.extend(self.steps(&mut fork, 5));
        let mut saved = Vec::new();
        session.save(&mut saved).unwrap();
        session.feed(&[7, 8]).unwrap();
        all.extend(self.steps(session, 11));
        session.rewind(session.position() - 3).unwrap();
        all.extend(self.steps(session, 9));
        if self.plugin.is_some() {
            all.extend(
                session
                    .option_set(3)
                    .unwrap()
                    .iter()
                    .map(|view| (view.top[0].0, Some(view.latent), view.policy.to_bits())),
            );
        }
        session.restore(&mut &saved[..]).unwrap();
        session.trim();
        all.extend(self.steps(session, CONTEXT));
        (all, session.tokens().to_vec())
    }
}

fn model(family: &str) -> Arc<Model> {
    Arc::new(Model::open(&golden(&format!("tiny/{family}.gguf"))).unwrap())
}

fn plugin(model: &Model) -> Arc<Plugin> {
    let spec = plugins::spec(model, DecoderKind::LowRank { width: 32, rank: 32 }, OPTIONS);
    let bytes = plugins::plugin_file(&spec, TensorType::Q8_0, 0.5).to_bytes();
    Arc::new(Plugin::from_storage(Storage::from(bytes), model).unwrap())
}

/// Ways to select latents; `None` is without a plugin.
fn selectors() -> Vec<Option<(LatentMode, Hold)>> {
    let least = Callback::new(|_, policy| (0..policy.len()).min_by(|&a, &b| policy[a].total_cmp(&policy[b])).unwrap());
    vec![
        None,
        Some((LatentMode::Policy, Hold::Token)),
        Some((LatentMode::Sample { temperature: 1.0 }, Hold::Tokens(3.try_into().unwrap()))),
        Some((LatentMode::Fixed(2), Hold::All)),
        Some((LatentMode::Script(vec![1, 4, 0]), Hold::Tokens(2.try_into().unwrap()))),
        Some((LatentMode::Callback(least), Hold::Token)),
        Some((LatentMode::Mixture, Hold::Token)),
    ]
}

/// Every way to run; greedily and not by turns, so that each family and each selector is met both
/// ways.
fn for_each(test: impl Fn(&Run, &str)) {
    let isas = Isa::available();
    for (i, (family, selector)) in
        FAMILIES.into_iter().flat_map(|f| selectors().into_iter().map(move |s| (f, s))).enumerate()
    {
        let (model, temperature) = (model(family), [0.0, 1.0][i % 2]);
        let context_shift = (i % 3 == 1).then_some(ContextShift { keep: 4 });
        let options = SessionOptions {
            threads: 1 + i / 4 % 2,
            context: CONTEXT,
            context_shift,
            kv_type: KvType::ALL[i / 2 % 2],
            isa: Some(isas[(i + i / 7) % isas.len()]),
            ..SessionOptions::default()
        };
        let name = format!("{family} {selector:?} {temperature} {options:?}");
        let plugin = selector.as_ref().map(|_| plugin(&model));
        let selector = selector.map(|(mode, hold)| Selector::new(mode, hold, OPTIONS, 7).unwrap());
        test(&Run { model, plugin, options, selector, temperature }, &name);
    }
}

#[test]
fn steps_with_drafts_are_those_without() {
    for_each(|run, name| {
        let (expected, text) = run.story(&mut run.session());
        for wrong in [0, 30, 100] {
            let mut session = run.session();
            session.set_drafter(Some(Box::new(Prophet { text: text.clone(), wrong, seed: 5, calls: 0 })));
            assert!(run.story(&mut session).0 == expected, "{name} {wrong}");
            let done = session.statistics();
            assert!(done.accepted <= done.drafted && done.drafted > 0, "{name} {done:?}");
        }
        let mut session = run.session();
        session.set_drafter(Some(Box::new(NgramDrafter::default())));
        assert!(run.story(&mut session).0 == expected, "{name} ngram");
        session.reset();
        session.set_drafter(Some(Box::new(ModelDrafter::new(&session, Arc::clone(&run.model)).unwrap())));
        assert!(run.story(&mut session).0 == expected, "{name} model");
    });
}

#[test]
fn right_drafts_take_fewer_passes_and_wrong_ones_hardly_more() {
    let run = Run {
        model: model("llama"),
        plugin: None,
        options: SessionOptions { threads: 1, context: 600, ..SessionOptions::default() },
        selector: None,
        temperature: 1.0,
    };
    let passes = |drafter: Option<Box<dyn Drafter>>| {
        let mut session = run.session();
        session.feed(&[1, 2, 3]).unwrap();
        session.set_drafter(drafter);
        run.steps(&mut session, 500);
        (session.statistics(), session.tokens().to_vec())
    };
    let (plain, text) = passes(None);
    assert_eq!((plain.passes, plain.drafted), (500, 0));
    // What a draft costs is measured, beside whatever else the machine does.
    let right = (0..5).any(|_| {
        let (right, same) = passes(Some(Box::new(Prophet { text: text.clone(), wrong: 0, seed: 1, calls: 0 })));
        assert_eq!(same, text);
        right.passes < 400 && right.accepted > 100
    });
    assert!(right, "right drafts take as many passes as none");
    let (wrong, same) = passes(Some(Box::new(Prophet { text: text.clone(), wrong: 100, seed: 1, calls: 0 })));
    // Each strength is tried until it is known.
    assert!(same == text && wrong.passes >= 495 && wrong.drafted < 400, "{wrong:?}");
}

/// Adapters of the feed-forward networks of a model.
fn adapter(model: &Model, family: &str) -> Arc<Adapter> {
    const RANK: usize = 2;
    let values = |n: usize| (0..n).map(|i| (i * 31 % 23) as f32 / 46.0 - 0.25).collect();
    let mut pairs = BTreeMap::new();
    for (layer, weights) in model.weights().layers.iter().enumerate() {
        for linear in weights.matrices().filter(|linear| linear.role == Role::FfnDown) {
            let matrix = model.matrix(&linear.weight);
            let factors = Factors { rank: RANK, a: values(RANK * matrix.cols()), b: values(matrix.rows() * RANK) };
            pairs.insert(TensorName::in_layer(layer, linear.role).to_string(), factors);
        }
    }
    let path = std::env::temp_dir().join(format!("ollm-drafts-{}-{family}.gguf", std::process::id()));
    let architecture = model.gguf().metadata().str("general.architecture").unwrap().to_owned();
    AdapterFile::new(8.0, pairs).of(Some(architecture)).write(TensorType::F32, &path, true).unwrap();
    let adapter = Adapter::open(&path, model).unwrap();
    std::fs::remove_file(path).unwrap();
    Arc::new(adapter)
}

/// The last tokens of a text wait for their pass, which a draft has made before: adapters that are
/// set meanwhile count for them, and a snapshot is without it.
#[test]
fn what_a_draft_has_computed_is_not_there_before_it_is_asked_for() {
    const GIVEN: [u32; 3] = [40, 41, 42];
    for family in ["llama", "gemma2", "lfm2", "qwen35", "granitehybrid", "falcon-h1"] {
        let model = model(family);
        let adapter = adapter(&model, family);
        let options = SessionOptions { threads: 1, context: CONTEXT, ..SessionOptions::default() };
        let run = Run { model, plugin: None, options, selector: None, temperature: 1.0 };
        let story = |session: &mut Session| {
            let (mut steps, mut saved) = (Vec::new(), Vec::new());
            session.feed(&[10, 200, 31, 47, 5]).unwrap();
            for round in 0..12 {
                steps.extend(run.steps(session, 3));
                for &token in GIVEN.iter().take(round % 4) {
                    session.step_to(token, None).unwrap();
                }
                saved.push(session.saved_bytes());
                let adapters = if round % 3 == 0 { vec![(Arc::clone(&adapter), 1.0)] } else { Vec::new() };
                let mut fork = session.fork().unwrap();
                fork.set_adapters(adapters.clone()).unwrap();
                steps.extend(run.steps(&mut fork, 1));
                session.set_adapters(adapters).unwrap();
            }
            (steps, saved)
        };
        let mut plain = run.session();
        let (expected, saved) = story(&mut plain);
        for wrong in [0, 20] {
            let mut session = run.session();
            let prophet = Prophet { text: plain.tokens().to_vec(), wrong, seed: 5, calls: 0 };
            session.set_drafter(Some(Box::new(prophet)));
            let (steps, own) = story(&mut session);
            assert!(steps == expected && session.statistics().accepted > 0, "{family} {wrong}");
            // Recurrent layers have other checkpoints.
            assert!(own == saved || !["llama", "gemma2"].contains(&family), "{family} {wrong}");
        }
    }
}

#[test]
fn batches_go_without_drafts() {
    let run = Run {
        model: model("qwen3"),
        plugin: None,
        options: SessionOptions { threads: 1, context: 64, ..SessionOptions::default() },
        selector: None,
        temperature: 0.0,
    };
    let mut session = run.session();
    session.feed(&[1, 2, 3]).unwrap();
    session.set_drafter(Some(Box::new(Prophet { text: vec![9; 64], wrong: 0, seed: 1, calls: 0 })));
    let (mut other, mut samplers) = (session.fork().unwrap(), [run.sampler(), run.sampler()]);
    let [first, second] = &mut samplers;
    for _ in 0..3 {
        let steps = Batch::default().step(&mut [
            Turn { session: &mut session, selector: None, sampler: first },
            Turn { session: &mut other, selector: None, sampler: second },
        ]);
        assert!(steps.iter().all(Result::is_ok));
    }
    assert_eq!((session.statistics().drafted, session.tokens()), (0, other.tokens()));
}

/// Drafts with a model; the session is cancelled before every second draft.
#[derive(Debug)]
struct Cancelled {
    drafter: ModelDrafter,
    canceller: Canceller,
    drafts: usize,
}

impl Drafter for Cancelled {
    fn evidence(&mut self, text: &[u32]) -> Option<usize> {
        self.drafter.evidence(text)
    }

    fn draft(&mut self, text: &[u32], count: usize, draft: &mut Vec<u32>) {
        self.drafts += 1;
        if self.drafts.is_multiple_of(2) {
            return self.drafter.draft(text, count, draft);
        }
        self.canceller.cancel();
        let before = draft.len();
        self.drafter.draft(text, count, draft);
        assert_eq!(draft.len(), before, "the draft model has not seen it");
    }
}

#[test]
fn a_draft_model_is_cancelled_with_its_session() {
    let run = Run {
        model: model("llama"),
        plugin: None,
        options: SessionOptions { threads: 1, context: CONTEXT, ..SessionOptions::default() },
        selector: None,
        temperature: 1.0,
    };
    let (mut plain, mut session) = (run.session(), run.session());
    plain.feed(&[10, 200, 31]).unwrap();
    session.feed(&[10, 200, 31]).unwrap();
    let drafter = ModelDrafter::new(&session, Arc::clone(&run.model)).unwrap();
    let canceller = session.canceller();
    session.set_drafter(Some(Box::new(Cancelled { drafter, canceller, drafts: 0 })));
    let (mut sampler, mut cancelled) = (run.sampler(), 0);
    while session.position() < 20 {
        match session.step(None, &mut sampler) {
            Err(SessionError::Cancelled) => cancelled += 1,
            outcome => assert!(!outcome.unwrap().forced),
        }
    }
    run.steps(&mut plain, 17);
    assert!(cancelled > 0 && session.tokens() == plain.tokens());
}

#[test]
fn a_draft_model_has_the_same_vocabulary_and_continues_texts() {
    let session = Session::new(model("llama"), None, &SessionOptions::default()).unwrap();
    let other = ollm_tests::backbones::wide(1000, 64, TensorType::Q8_0);
    let other = Arc::new(Model::from_storage(Storage::from(other)).unwrap());
    let error = ModelDrafter::new(&session, other).unwrap_err();
    assert!(matches!(error, SessionError::DraftVocabulary { draft: 1000, .. }), "{error}");
    let encoder = Arc::new(Model::open(&golden("encoders/bert.gguf")).unwrap());
    let session = Session::new(Arc::clone(&encoder), None, &SessionOptions::default()).unwrap();
    assert!(matches!(ModelDrafter::new(&session, encoder), Err(SessionError::Bidirectional)));
}

/// However little memory a session may have: with drafts it comes as far as without.
#[test]
fn a_memory_limit_is_met_where_it_would_be_met_without_drafts() {
    for selector in [None, Some((LatentMode::Policy, Hold::Token)), Some((LatentMode::Mixture, Hold::Token))] {
        let model = model("qwen3");
        let plugin = selector.as_ref().map(|_| plugin(&model));
        let mut run = Run {
            options: SessionOptions { threads: 1, context: 300, ..SessionOptions::default() },
            selector: selector.map(|(mode, hold)| Selector::new(mode, hold, OPTIONS, 7).unwrap()),
            temperature: 0.0,
            model,
            plugin,
        };
        let outcome = |run: &Run, text: Option<&Vec<u32>>| {
            let mut session = run.session();
            if let Some(text) = text {
                session.set_drafter(Some(Box::new(Prophet { text: text.clone(), wrong: 20, seed: 1, calls: 0 })));
            }
            let fed = session.feed(&[1, 2, 3]).map_err(|error| error.to_string());
            let mut end = fed.err();
            while end.is_none() {
                end = session.step(run.selector.as_ref(), &mut run.sampler()).err().map(|error| error.to_string());
            }
            let drafted = session.statistics().drafted;
            (session.tokens().to_vec(), end, drafted)
        };
        let text = outcome(&run, None).0;
        let needed =
            Session::memory_needed(run.model.config(), run.plugin.as_ref().map(|plugin| plugin.spec()), &run.options);
        let total = needed.total();
        let mut drafted = 0;
        for limit in (0..=40).map(|i| total * i / 20) {
            run.options.memory_limit = Some(limit);
            let (plain, with) = (outcome(&run, None), outcome(&run, Some(&text)));
            assert!((&with.0, &with.1) == (&plain.0, &plain.1), "{limit} of {total}: {:?} {:?}", with.1, plain.1);
            drafted = with.2;
        }
        assert!(drafted > 0);
    }
}
