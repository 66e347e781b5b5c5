//! Plugins end to end, on a tiny backbone: what an untrained one changes (nothing), that choices
//! can be repeated, and that every way to the same option gives the same bits.

use std::path::Path;
use std::sync::Arc;

use ollm_runtime::gguf::{Gguf, TensorType, Writer};
use ollm_runtime::model::Model;
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

/// q(z | h, x) of `convert/FORMAT.md` in plain loops, from a plugin file of floats.
fn encoder_by_hand(file: &[u8], hidden: &[f32], embedding: &[f32]) -> usize {
    let gguf = Gguf::parse(file).unwrap();
    let get = |name: &str| -> Vec<f32> {
        let bytes = gguf.tensor(&format!("ollm.encoder.{name}")).unwrap().bytes(file);
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let normed = |x: &[f32], weight: Vec<f32>| -> Vec<f32> {
        let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
        x.iter().zip(weight).map(|(x, w)| x / (mean + 1e-5).sqrt() * w).collect()
    };
    let layer = |x: &[f32], weight: Vec<f32>, bias: Vec<f32>| -> Vec<f32> {
        let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        weight.chunks_exact(x.len()).zip(bias).map(|(row, bias)| dot(row) + bias).collect()
    };
    let x = [normed(hidden, get("norm_hidden.weight")), normed(embedding, get("norm_token.weight"))].concat();
    let mut inner = layer(&x, get("in.weight"), get("in.bias"));
    for x in &mut inner {
        *x /= 1.0 + (-*x).exp();
    }
    let logits = layer(&inner, get("out.weight"), get("out.bias"));
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
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

#[test]
fn a_merged_file_is_the_pair() {
    let model = backbone();
    for kind in KINDS {
        let spec = spec(&model, kind);
        let pair = plugin(&model, kind, true);
        let merged = Arc::new(Model::from_storage(Storage::from(merge(&model, &spec))).unwrap());
        let bundled = Arc::new(Plugin::bundled(&merged).unwrap().expect("the merged file has a plugin"));
        let run = |model, plugin| generate(&mut session(model, Some(plugin)), Some(LatentMode::Policy), false);
        assert_eq!(run(&merged, &bundled), run(&model, &pair));
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
