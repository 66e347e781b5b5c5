//! Plugins end to end, on a tiny backbone: what an untrained one changes (nothing), that choices
//! can be repeated, that every way to the same option gives the same bits, and values.

use std::path::Path;
use std::sync::Arc;

use ollm_runtime::cpu::{Isa, Pool};
use ollm_runtime::gguf::{Gguf, GgufError, TensorType, Value, Writer};
use ollm_runtime::model::Model;
use ollm_runtime::ops::Exec;
use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig};
use ollm_runtime::plugin::{Hold, LatentMode, Plugin, PluginError, Selector};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionError, SessionOptions, Step};
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::{golden, plugins, smollm2};

const OPTIONS: usize = 5;
const PROMPT: [u32; 5] = [10, 200, 31, 47, 5];
const KINDS: [DecoderKind; 2] = [DecoderKind::SwiGlu { width: 32 }, DecoderKind::LowRank { width: 32, rank: 32 }];

fn backbone() -> Arc<Model> {
    Arc::new(Model::open(&golden("tiny/llama.gguf")).unwrap())
}

fn spec(model: &Model, decoder: DecoderKind) -> PluginConfig {
    plugins::spec(model, decoder, OPTIONS)
}

fn plugin_file(spec: &PluginConfig, dtype: TensorType, trained: bool) -> Writer<'static> {
    plugins::plugin_file(spec, dtype, if trained { 0.5 } else { 0.0 })
}

fn plugin(model: &Model, decoder: DecoderKind, trained: bool) -> Arc<Plugin> {
    let bytes = plugin_file(&spec(model, decoder), TensorType::Q8_0, trained).to_bytes();
    Arc::new(Plugin::from_storage(Storage::from(bytes), model).unwrap())
}

fn session(model: &Arc<Model>, plugin: Option<&Arc<Plugin>>) -> Session {
    let options = SessionOptions { threads: 2, context: 64, ..SessionOptions::default() };
    let mut session = Session::new(Arc::clone(model), plugin.cloned(), &options).unwrap();
    session.feed(&PROMPT).unwrap();
    session
}

fn selector(mode: LatentMode) -> Selector {
    Selector::new(mode, Hold::Token, OPTIONS, 7).unwrap()
}

fn greedy() -> Sampler {
    Sampler::new(SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }).unwrap()
}

/// 20 tokens; `look` asks for the option set before each.
fn generate(session: &mut Session, mode: Option<LatentMode>, look: bool) -> Vec<Step> {
    let (selector, mut sampler) = (mode.map(selector), greedy());
    let mut step = || {
        if look {
            assert_eq!(session.option_set(3).unwrap().len(), OPTIONS);
        }
        session.step(selector.as_ref(), &mut sampler).unwrap()
    };
    (0..20).map(|_| step()).collect()
}

#[test]
fn an_untrained_plugin_is_the_backbone_bit_for_bit() {
    let model = backbone();
    let bare = generate(&mut session(&model, None), None, false);
    for kind in KINDS {
        let plugin = plugin(&model, kind, false);
        for mode in [LatentMode::Policy, LatentMode::Uniform, LatentMode::Fixed(2)] {
            let steps = generate(&mut session(&model, Some(&plugin)), Some(mode), false);
            for (step, bare) in steps.iter().zip(&bare) {
                assert_eq!((step.token, step.logprob.to_bits()), (bare.token, bare.logprob.to_bits()));
            }
        }
    }
}

#[test]
fn looking_at_the_options_changes_nothing() {
    let model = backbone();
    for kind in KINDS {
        let plugin = plugin(&model, kind, true);
        for mode in [LatentMode::Policy, LatentMode::Fixed(3), LatentMode::Mixture, LatentMode::Script(vec![4, 0, 1])] {
            let run = |look| generate(&mut session(&model, Some(&plugin)), Some(mode.clone()), look);
            assert_eq!(run(true), run(false), "{kind:?} {mode:?}");
            assert_eq!(run(false), run(false), "{kind:?} {mode:?}");
        }
    }
}

#[test]
fn options_differ_and_their_probabilities_are_what_steps_report() {
    let model = backbone();
    for kind in KINDS {
        let plugin = plugin(&model, kind, true);
        let set = session(&model, Some(&plugin)).option_set(4).unwrap();
        let policy: f32 = set.iter().map(|option| option.policy).sum();
        assert!((policy - 1.0).abs() < 1e-5);
        assert!(set.windows(2).any(|pair| pair[0].top != pair[1].top), "all options are the same");
        for option in &set {
            assert!(option.top.windows(2).all(|pair| pair[0].1 >= pair[1].1));
            let mode = LatentMode::Fixed(option.latent);
            let step = session(&model, Some(&plugin)).step(Some(&selector(mode)), &mut greedy()).unwrap();
            assert_eq!((step.latent, step.token), (Some(option.latent), option.top[0].0));
            assert!((step.logprob.exp() - option.top[0].1).abs() < 1e-5);
        }
    }
}

#[test]
fn the_mixture_is_the_sum_over_the_options() {
    let model = backbone();
    let plugin = plugin(&model, KINDS[1], true);
    let set = session(&model, Some(&plugin)).option_set(320).unwrap();
    let step = session(&model, Some(&plugin)).step(Some(&selector(LatentMode::Mixture)), &mut greedy()).unwrap();
    let share = |token: u32| -> f32 {
        let p = |option: &ollm_runtime::session::OptionView| {
            option.policy * option.top.iter().find(|(id, _)| *id == token).unwrap().1
        };
        set.iter().map(p).sum()
    };
    let best = (0..320).map(share).fold(0.0, f32::max);
    assert_eq!(step.latent, None);
    assert!((step.logprob.exp() - best).abs() < 1e-5 && (share(step.token) - best).abs() < 1e-6);
}

#[test]
fn scores_are_those_of_the_steps() {
    let model = backbone();
    let plugin = plugin(&model, KINDS[0], true);
    for mode in [LatentMode::Policy, LatentMode::Fixed(1), LatentMode::Mixture] {
        let steps = generate(&mut session(&model, Some(&plugin)), Some(mode.clone()), false);
        let text: Vec<u32> = PROMPT.into_iter().chain(steps.iter().map(|step| step.token)).collect();
        let mut scored = Vec::new();
        let mut fresh = session(&model, Some(&plugin));
        fresh.score(&text, Some(&selector(mode)), &mut |s| scored.push(s)).unwrap();
        for (step, scored) in steps.iter().zip(&scored[PROMPT.len() - 1..]) {
            assert_eq!((step.token, step.logprob.to_bits()), (scored.top1, scored.logprob.to_bits()));
        }
    }
}

/// A tensor of a plugin file of floats.
fn floats(file: &[u8], name: &str) -> Vec<f32> {
    let gguf = Gguf::parse(file).unwrap();
    let bytes = gguf.tensor(name).unwrap().bytes(file);
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// `rmsnorm(x) * weight` in plain loops.
fn normed_by_hand(file: &[u8], x: &[f32], name: &str) -> Vec<f32> {
    let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    x.iter().zip(floats(file, name)).map(|(x, w)| x / (mean + 1e-5).sqrt() * w).collect()
}

/// `out silu(in x)` of the layers `name` in plain loops.
fn mlp_by_hand(file: &[u8], x: &[f32], name: &str) -> Vec<f32> {
    let layer = |x: &[f32], part: &str| -> Vec<f32> {
        let [weight, bias] = ["weight", "bias"].map(|kind| floats(file, &format!("{name}.{part}.{kind}")));
        let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        weight.chunks_exact(x.len()).zip(bias).map(|(row, bias)| dot(row) + bias).collect()
    };
    let inner: Vec<f32> = layer(x, "in").into_iter().map(|x| x / (1.0 + (-x).exp())).collect();
    layer(&inner, "out")
}

/// q(z | h, x) of `convert/FORMAT.md` in plain loops, from a plugin file of floats.
fn encoder_by_hand(file: &[u8], hidden: &[f32], embedding: &[f32]) -> usize {
    let hidden = normed_by_hand(file, hidden, "ollm.encoder.norm_hidden.weight");
    let token = normed_by_hand(file, embedding, "ollm.encoder.norm_token.weight");
    let logits = mlp_by_hand(file, &[hidden, token].concat(), "ollm.encoder");
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

/// The value of `convert/FORMAT.md` in plain loops, from a plugin file of floats.
fn value_by_hand(file: &[u8], hidden: &[f32]) -> f32 {
    let logit = mlp_by_hand(file, &normed_by_hand(file, hidden, "ollm.value.norm.weight"), "ollm.value");
    1.0 / (1.0 + (-logit[0]).exp())
}

#[test]
fn the_encoder_labels_a_text_wherever_it_is_cut() {
    let model = backbone();
    let file = plugin_file(&spec(&model, KINDS[0]), TensorType::F32, true).to_bytes();
    let plugin = Arc::new(Plugin::from_storage(Storage::from(file.clone()), &model).unwrap());
    let text: Vec<u32> = (0..600_u32).map(|i| i.wrapping_mul(7919) % 320).collect();
    let fresh = || {
        let options = SessionOptions { context: 1024, ..SessionOptions::default() };
        Session::new(Arc::clone(&model), Some(Arc::clone(&plugin)), &options).unwrap()
    };
    let mut hidden = Vec::new();
    fresh().hidden_states(&text, &mut hidden).unwrap();
    let (embeddings, width) = (model.embedding_weights(), model.config().hidden);
    let embedding = |token: u32| &embeddings[token as usize * width..][..width];
    let label = |(h, &token): (&[f32], &u32)| Some(encoder_by_hand(&file, h, embedding(token)));
    let expected: Vec<_> = [None].into_iter().chain(hidden.chunks_exact(width).zip(&text[1..]).map(label)).collect();

    assert_eq!(fresh().encode_latents(&text).unwrap(), expected);
    assert!(expected[1..].iter().any(|&latent| latent != expected[1]), "one latent for everything tests nothing");
    let mut session = fresh();
    let cut: Vec<_> = [0..1, 1..2, 2..300, 300..600].map(|part| session.encode_latents(&text[part]).unwrap()).concat();
    assert_eq!((cut, session.tokens()), (expected, &text[..]));
    assert!(session.encode_latents(&[320]).is_err() && session.encode_latents(&text).is_err());
    session.canceller().cancel();
    assert!(session.encode_latents(&text[..300]).is_err());
    assert_eq!(session.tokens(), text);
    assert!(Session::new(model, None, &SessionOptions::default()).unwrap().encode_latents(&text).is_err());
}

/// A plugin file with a value head.
fn value_spec(model: &Model, decoder: DecoderKind) -> PluginConfig {
    PluginConfig { value_width: Some(64), ..spec(model, decoder) }
}

fn open(file: &[u8], model: &Model) -> Result<Plugin, PluginError> {
    Plugin::from_storage(Storage::from(file.to_vec()), model)
}

fn exec(isa: Isa, threads: usize) -> Exec {
    Exec { isa, pool: Pool::new(threads).unwrap() }
}

fn values(plugin: &Plugin, exec: &mut Exec, hidden: &[f32]) -> Vec<f32> {
    plugin.value(exec, hidden).unwrap().unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The hidden states of a text.
fn some_hidden_states(model: &Arc<Model>) -> Vec<f32> {
    let mut hidden = Vec::new();
    let text: Vec<u32> = (0..50_u32).map(|i| i.wrapping_mul(7919) % 320).collect();
    let options = SessionOptions { context: 64, ..SessionOptions::default() };
    let mut session = Session::new(Arc::clone(model), None, &options).unwrap();
    session.hidden_states(&text, &mut hidden).unwrap();
    hidden
}

#[test]
fn the_value_is_that_of_the_formula() {
    let model = backbone();
    let file = plugin_file(&value_spec(&model, KINDS[0]), TensorType::F32, true).to_bytes();
    let plugin = open(&file, &model).unwrap();
    let (hidden, width) = (some_hidden_states(&model), model.config().hidden);
    let expected: Vec<f32> = hidden.chunks_exact(width).map(|h| value_by_hand(&file, h)).collect();
    let (least, most) = expected.iter().fold((1.0_f32, 0.0_f32), |(a, b), &x| (a.min(x), b.max(x)));
    assert!(most - least > 0.05, "one value for everything tests nothing: {least} to {most}");
    for isa in Isa::available() {
        let found = values(&plugin, &mut exec(isa, 2), &hidden);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{isa:?}: {found}, not {expected}");
        }
    }
}

#[test]
fn values_are_the_same_bits_in_any_batch_on_any_threads_in_any_type() {
    let model = backbone();
    let (hidden, width) = (some_hidden_states(&model), model.config().hidden);
    let floats = plugin_file(&value_spec(&model, KINDS[1]), TensorType::F32, true).to_bytes();
    let exact = values(&open(&floats, &model).unwrap(), &mut exec(Isa::widest(), 1), &hidden);
    for dtype in [TensorType::F32, TensorType::F16, TensorType::Bf16, TensorType::Q8_0, TensorType::Q4_0] {
        let file = plugin_file(&value_spec(&model, KINDS[1]), dtype, true).to_bytes();
        let plugin = open(&file, &model).unwrap();
        for isa in Isa::available() {
            let whole = values(&plugin, &mut exec(isa, 1), &hidden);
            let far = whole.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 0.1, "{dtype}: {far} from the values in F32");
            for threads in 1..4 {
                let mut exec = exec(isa, threads);
                for n in [1, 2, 7, 50] {
                    let parts = hidden.chunks(n * width).map(|part| values(&plugin, &mut exec, part));
                    assert_eq!(
                        bits(&parts.collect::<Vec<_>>().concat()),
                        bits(&whole),
                        "{dtype} {isa:?} {threads} {n}"
                    );
                }
                assert!(values(&plugin, &mut exec, &[]).is_empty());
            }
        }
    }
}

#[test]
fn a_session_knows_the_value_of_its_last_token_and_asking_changes_nothing() {
    let model = backbone();
    let file = plugin_file(&value_spec(&model, KINDS[1]), TensorType::Q8_0, true).to_bytes();
    let plugin = Arc::new(open(&file, &model).unwrap());
    let run = |asks: bool, threads: usize| {
        let options = SessionOptions { threads, context: 64, ..SessionOptions::default() };
        let mut session = Session::new(Arc::clone(&model), Some(Arc::clone(&plugin)), &options).unwrap();
        assert!(matches!(session.value(), Err(SessionError::Empty)));
        session.feed(&PROMPT).unwrap();
        let (selector, mut sampler) = (selector(LatentMode::Sample { temperature: 1.0 }), greedy());
        let (mut steps, mut asked) = (Vec::new(), Vec::new());
        for _ in 0..12 {
            // The token of the step before is pending.
            let value = asks.then(|| session.value().unwrap());
            asked.extend(value);
            steps.push(session.step(Some(&selector), &mut sampler).unwrap());
        }
        (steps, asked)
    };
    let (steps, asked) = run(true, 2);
    assert_eq!(steps, run(false, 2).0);
    assert_eq!((&steps, bits(&asked)), (&run(true, 1).0, bits(&run(true, 3).1)));
    let text: Vec<u32> = PROMPT.into_iter().chain(steps.iter().map(|step| step.token)).collect();
    let mut hidden = Vec::new();
    let options = SessionOptions { context: 64, ..SessionOptions::default() };
    Session::new(Arc::clone(&model), None, &options).unwrap().hidden_states(&text, &mut hidden).unwrap();
    let all = values(&plugin, &mut exec(Isa::select().unwrap(), 2), &hidden);
    assert_eq!(bits(&asked), bits(&all[PROMPT.len() - 1..][..12]));
    assert!(asked.iter().all(|value| (0.0..=1.0).contains(value)));
    assert!(bits(&asked).windows(2).any(|two| two[0] != two[1]), "one value for everything tests nothing");
}

#[test]
fn a_value_needs_a_value_head_and_changes_no_other_part() {
    let model = backbone();
    let (with, without) = (value_spec(&model, KINDS[0]), spec(&model, KINDS[0]));
    let [with, without] = [with, without].map(|spec| plugin_file(&spec, TensorType::Q8_0, true).to_bytes());
    let [with, without] = [with, without].map(|file| Arc::new(open(&file, &model).unwrap()));
    assert!(with.has_value() && !without.has_value());
    let width = model.config().hidden;
    assert!(without.value(&mut exec(Isa::widest(), 1), &vec![1.0; width]).unwrap().is_none());
    let mut refusing = session(&model, Some(&without));
    assert!(matches!(refusing.value(), Err(SessionError::NoValue)));
    assert!(matches!(session(&model, None).value(), Err(SessionError::NoPlugin)));
    let run = |plugin| generate(&mut session(&model, Some(plugin)), Some(LatentMode::Policy), true);
    assert_eq!(run(&with), run(&without));
    assert_eq!(generate(&mut refusing, Some(LatentMode::Policy), true), run(&without));
}

/// The plugin file with other keys, and with other tensors: `None` for what is left out.
fn edited(
    file: &[u8],
    key: impl Fn(&str) -> Option<Option<Value>>,
    tensor: impl Fn(&str) -> Option<Option<Vec<u64>>>,
) -> Vec<u8> {
    let (gguf, mut writer) = (Gguf::parse(file).unwrap(), Writer::new());
    for (name, value) in gguf.metadata().iter() {
        if let Some(value) = key(name).unwrap_or_else(|| Some(value.clone())) {
            writer.set(name, value).unwrap();
        }
    }
    for info in gguf.tensors() {
        if let Some(dims) = tensor(&info.name).unwrap_or_else(|| Some(info.dims.clone())) {
            let bytes = info.bytes(file).iter().copied().cycle();
            let size = dims.iter().product::<u64>() as usize * info.size / info.elements();
            writer.tensor(&info.name, &dims, info.dtype, bytes.take(size).collect::<Vec<u8>>()).unwrap();
        }
    }
    writer.to_bytes()
}

#[test]
fn bad_value_heads_are_refused() {
    let model = backbone();
    let file = plugin_file(&value_spec(&model, KINDS[0]), TensorType::F32, true).to_bytes();
    let refused = |file: &[u8]| open(file, &model).unwrap_err();
    let with_key = |name: &str, value: Option<Value>| {
        refused(&edited(&file, |key| (key == name).then(|| value.clone()), |_| None))
    };
    let with_tensor = |name: &str, dims: Option<Vec<u64>>| {
        refused(&edited(&file, |_| None, |tensor| (tensor == name).then(|| dims.clone())))
    };
    let (kind, width) = ("ollm.value.kind", "ollm.value.width");
    let error = with_key(kind, Some("linear".into()));
    assert!(matches!(error, PluginError::UnknownKind { key, .. } if key == kind), "{error}");
    for bad in [0_u32, (1 << 20) + 1] {
        let error = with_key(width, Some(bad.into()));
        assert!(matches!(&error, PluginError::OutOfRange { key, .. } if *key == width), "{error}");
    }
    for name in [kind, width] {
        let error = with_key(name, None);
        let missing = matches!(&error, PluginError::Metadata(GgufError::MissingKey { key }) if key == name);
        assert!(missing, "{error}");
        let error = with_key(name, Some(true.into()));
        assert!(matches!(error, PluginError::Metadata(GgufError::WrongType { .. })), "{error}");
    }
    // Another width than that of the tensors.
    let error = with_key(width, Some(32_u32.into()));
    assert!(matches!(error, PluginError::WrongShape { tensor: "ollm.value.in.weight", .. }), "{error}");
    let d = model.config().hidden as u64;
    let shapes = [
        ("norm.weight", vec![d + 1]),
        ("in.weight", vec![64, d + 1]),
        ("in.bias", vec![1]),
        ("out.weight", vec![64, 2]),
        ("out.bias", vec![2]),
    ];
    for (part, dims) in shapes {
        let name = format!("ollm.value.{part}");
        let error = with_tensor(&name, Some(dims));
        assert!(matches!(&error, PluginError::WrongShape { tensor, .. } if *tensor == name), "{error}");
        let error = with_tensor(&name, None);
        assert!(matches!(&error, PluginError::MissingTensor { tensor } if *tensor == name), "{error}");
    }
    let half = edited(&file, |key| key.starts_with("ollm.value.").then_some(None), |_| None);
    assert!(matches!(refused(&half), PluginError::UnknownTensor { .. }));
    let whole = edited(&file, |_| None, |_| None);
    assert_eq!(whole, file);
    let of_value = |name: &str| name.starts_with("ollm.value.");
    let without = edited(&file, |key| of_value(key).then_some(None), |name| of_value(name).then_some(None));
    assert_eq!(without, plugin_file(&spec(&model, KINDS[0]), TensorType::F32, true).to_bytes());
}

#[test]
fn a_damaged_value_head_gives_an_error_and_the_session_stays() {
    let model = backbone();
    let good = plugin_file(&value_spec(&model, KINDS[0]), TensorType::F32, true).to_bytes();
    let at = Gguf::parse(&good).unwrap().tensor("ollm.value.out.bias").unwrap().offset;
    for damage in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut file = good.clone();
        file[at..at + 4].copy_from_slice(&damage.to_le_bytes());
        let mut session = session(&model, Some(&Arc::new(open(&file, &model).unwrap())));
        let refused = session.value();
        assert!(matches!(refused, Err(SessionError::Plugin(PluginError::ValueNotFinite))), "{refused:?}");
        assert_eq!(session.position(), PROMPT.len());
        assert_eq!(session.policy().unwrap().len(), OPTIONS);
    }
    // One hidden state of a batch.
    let (plugin, mut hidden) = (open(&good, &model).unwrap(), some_hidden_states(&model));
    let before = values(&plugin, &mut exec(Isa::widest(), 1), &hidden);
    hidden[3 * model.config().hidden] = f32::NAN;
    let after = values(&plugin, &mut exec(Isa::widest(), 1), &hidden);
    assert!(after[3].is_nan());
    for others in [0..3, 4..before.len()] {
        assert_eq!(bits(&after[others.clone()]), bits(&before[others]));
    }
}

#[test]
fn a_merged_file_is_the_pair() {
    let model = backbone();
    for kind in KINDS {
        let spec = value_spec(&model, kind);
        let pair = Arc::new(open(&plugin_file(&spec, TensorType::Q8_0, true).to_bytes(), &model).unwrap());
        let merged = Arc::new(Model::from_storage(Storage::from(merge(&model, &spec))).unwrap());
        let bundled = Arc::new(Plugin::bundled(&merged).unwrap().expect("the merged file has a plugin"));
        let run = |model, plugin| generate(&mut session(model, Some(plugin)), Some(LatentMode::Policy), false);
        assert_eq!(run(&merged, &bundled), run(&model, &pair));
        let value = |model, plugin| session(model, Some(plugin)).value().unwrap().to_bits();
        assert_eq!(value(&merged, &bundled), value(&model, &pair));
        assert!(Plugin::bundled(&model).unwrap().is_none());
    }
}

fn merge(model: &Model, spec: &PluginConfig) -> Vec<u8> {
    let adapter = plugin_file(spec, TensorType::Q8_0, true).to_bytes();
    let plugin = Gguf::parse(&adapter).unwrap();
    let mut writer = Writer::new();
    for (key, value) in model.gguf().metadata().iter() {
        writer.set(key, value.clone()).unwrap();
    }
    for (key, value) in spec.to_metadata() {
        writer.set(key, value).unwrap();
    }
    let files = [(model.gguf(), &**model.storage() as &[u8]), (&plugin, &adapter[..])];
    for (gguf, bytes) in files.iter().map(|(gguf, storage)| (gguf, *storage)) {
        for info in gguf.tensors() {
            writer.tensor(&info.name, &info.dims, info.dtype, info.bytes(bytes).to_vec()).unwrap();
        }
    }
    writer.to_bytes()
}

#[test]
fn a_plugin_of_another_backbone_is_refused() {
    let model = backbone();
    let other = Model::open(&golden("tiny/qwen2.gguf")).unwrap();
    let bytes = plugin_file(&spec(&model, KINDS[0]), TensorType::F16, true).to_bytes();
    let error = Plugin::from_storage(Storage::from(bytes), &other).unwrap_err();
    assert!(matches!(error, PluginError::OtherBackbone { .. }), "{error}");
}

#[test]
fn latents_without_a_plugin_are_refused_and_nothing_moves() {
    let model = backbone();
    let mut bare = session(&model, None);
    let refused = bare.step(Some(&selector(LatentMode::Policy)), &mut greedy());
    assert!(matches!(refused, Err(SessionError::NoPlugin)));
    assert!(bare.option_set(1).is_err());
    assert_eq!(bare.position(), PROMPT.len());
}

#[test]
fn rewinding_goes_on_as_if_nothing_had_been() {
    let model = backbone();
    let mut session = session(&model, None);
    let first = generate(&mut session, None, false);
    session.rewind(PROMPT.len() + 4).unwrap();
    let again = session.step(None, &mut greedy()).unwrap();
    assert_eq!(again, first[4]);
    assert!(session.rewind(60).is_err());
}

#[test]
fn the_context_ends_with_an_error_and_the_session_stays() {
    let model = backbone();
    let mut session = session(&model, None);
    assert!(session.feed(&[1; 60]).is_err());
    assert!(session.feed(&[320]).is_err());
    assert_eq!(session.position(), PROMPT.len());
    for _ in 0..59 {
        session.step(None, &mut greedy()).unwrap();
    }
    assert!(session.step(None, &mut greedy()).is_err());
    assert_eq!(session.position(), 64);
}

/// The encoder knows the token that comes, the policy does not: under its latents a solution is
/// more probable.
#[test]
fn the_latents_of_the_trained_encoder_fit_the_text_better_than_those_of_the_policy() {
    let model = Arc::new(Model::open(&smollm2()).unwrap());
    let file = "../convert/trainer/plugins/smollm2-135m-instruct-gsm8k.gguf";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let plugin = Arc::new(Plugin::open(&file, &model).unwrap());
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let tokens = |text| tokenizer.encode(text, true).unwrap();
    let question = tokens(
        "<|im_start|>user\nThere are 4 boxes with 6 eggs each. How many eggs are there?<|im_end|>\n\
         <|im_start|>assistant\n",
    );
    let answer = tokens("There are 4 boxes with 6 eggs each, so there are 4*6 = 24 eggs.\n#### 24<|im_end|>");
    let options = SessionOptions { context: 512, ..SessionOptions::default() };
    let mut session = Session::new(model, Some(Arc::clone(&plugin)), &options).unwrap();
    session.feed(&question).unwrap();
    let latents: Vec<usize> = session.encode_latents(&answer).unwrap().into_iter().flatten().collect();
    assert_eq!(latents.len(), answer.len());
    // The question's own tokens are scored under latent 0.
    let script = [vec![0; question.len() - 1], latents].concat();
    let mut mean = |mode| {
        let selector = Selector::new(mode, Hold::Token, plugin.option_count(), 0).unwrap();
        let mut scores = Vec::new();
        let text = [&question[..], &answer].concat();
        session.score(&text, Some(&selector), &mut |scored| scores.push(scored.logprob)).unwrap();
        scores[question.len() - 1..].iter().sum::<f32>() / answer.len() as f32
    };
    let (encoder, policy) = (mean(LatentMode::Script(script)), mean(LatentMode::Policy));
    assert!(encoder > policy + 0.1, "mean log-probability: encoder {encoder}, policy {policy}");
}
