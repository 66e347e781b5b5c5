//! The modules for WebAssembly give the bits that this build gives. What is expected is computed
//! here, and written beside the files that it is computed from; `ffi/web/test` compares in Node.js.
//!
//! `ffi/web/build.sh` builds the modules. Without them, or without Node.js, the test is skipped;
//! `OLLM_WEB=1` makes that a failure.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ollm_runtime::branches::{AnswerRule, BranchOptions, Expansion, Score, SearchOptions, Strategy, Weight};
use ollm_runtime::branches::{SuggestOptions, Until, search, suggest};
use ollm_runtime::generate::{GenerateOptions, generate};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::plugin::{Hold, HoldUntil, LatentMode, Plugin, Selector, TokenEnds};
use ollm_runtime::quant;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Distribution, Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::backbones::{self, Shape};
use ollm_tests::{c_programs, plugins, root, smollm2};
use serde_json::{Value, json};

const OPTIONS: usize = 5;
const PROMPT: [u32; 7] = [10, 200, 31, 47, 5, 300, 0];
const TEXT: &str = "The option of a latent, \u{e9} and \u{1f600}, is";
const REAL: &str = "Once upon a time, there was";

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn session(model: &Arc<Model>, plugin: Option<&Arc<Plugin>>) -> Session {
    let options = SessionOptions { threads: 1, context: 256, ..SessionOptions::default() };
    Session::new(Arc::clone(model), plugin.cloned(), &options).unwrap()
}

fn options_of(session: &mut Session) -> Value {
    let top = |top: &[(u32, f32)]| top.iter().map(|&(token, p)| json!([token, p.to_bits()])).collect::<Vec<_>>();
    session.option_set(4).unwrap().iter().map(|option| json!([option.policy.to_bits(), top(&option.top)])).collect()
}

/// A backbone of that type, with a plugin: logits, options and greedy tokens.
fn numbers(folder: &Path, dtype: TensorType) -> Value {
    let shape = Shape { vocab: 301, context: 256, hidden: 256, ffn: 256, heads: 8, kv_heads: 2, tied: false };
    let [backbone, plugin] = ["", "-plugin"].map(|what| format!("{}{what}.gguf", dtype.name()));
    fs::write(folder.join(&backbone), backbones::backbone(&shape, dtype)).unwrap();
    let model = Arc::new(Model::open(&folder.join(&backbone)).unwrap());
    let spec = plugins::spec(&model, DecoderKind::LowRank { width: 32, rank: 32 }, OPTIONS);
    fs::write(folder.join(&plugin), plugins::plugin_file(&spec, TensorType::F16, 0.5).to_bytes()).unwrap();
    let loaded = Arc::new(Plugin::open(&folder.join(&plugin), &model).unwrap());
    let mut session = session(&model, Some(&loaded));
    session.feed(&PROMPT).unwrap();
    let logits = bits(&session.logits(Distribution::Backbone).unwrap());
    let options = options_of(&mut session);
    let selector = Selector::new(LatentMode::Policy, Hold::Token, OPTIONS, 0).unwrap();
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let steps: Vec<_> = (0..12).map(|_| session.step(Some(&selector), &mut sampler).unwrap()).collect();
    let steps: Vec<_> = steps.iter().map(|step| json!([step.token, step.latent, step.logprob.to_bits()])).collect();
    json!({ "model": backbone, "plugin": plugin, "logits": logits, "options": options, "steps": steps })
}

/// What is generated from `session`, with `stops`.
fn generated(session: &mut Session, tokenizer: &Tokenizer, sampling: SamplerOptions, stops: &[&str]) -> Value {
    let selector = session.plugin().map(|plugin| {
        Selector::new(
            LatentMode::Policy,
            HoldUntil::new(Hold::Token, TokenEnds::new(tokenizer)),
            plugin.option_count(),
            0,
        )
        .unwrap()
    });
    let stops = stops.iter().map(|&stop| stop.to_owned()).collect();
    let options = GenerateOptions { limit: 24, stops, show: None, reasoning: None };
    let mut sampler = Sampler::new(sampling).unwrap();
    let mut pieces: Vec<Value> = Vec::new();
    let done = generate(session, tokenizer, selector.as_ref(), &mut sampler, &options, &mut |token| {
        pieces.push(json!([token.step.token, token.text, token.step.latent, token.step.logprob.to_bits()]));
        ControlFlow::Continue(())
    });
    let done = done.unwrap();
    json!({ "pieces": pieces, "rest": done.rest, "text": done.text, "reason": format!("{:?}", done.reason).to_lowercase() })
}

/// A backbone with a tokenizer, and a plugin: text in and out.
fn texts(folder: &Path) -> Value {
    let (backbone, plugin) = c_programs::model();
    fs::copy(&backbone, folder.join("text.gguf")).unwrap();
    fs::copy(&plugin, folder.join("text-plugin.gguf")).unwrap();
    let model = Arc::new(Model::open(&backbone).unwrap());
    let plugin = Arc::new(Plugin::open(&plugin, &model).unwrap());
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let tokens = tokenizer.encode(TEXT, false).unwrap();
    let start = |plugin: Option<&Arc<Plugin>>| {
        let mut session = session(&model, plugin);
        session.feed(&tokens).unwrap();
        session
    };
    let sampling = SamplerOptions { temperature: 0.75, top_k: 40, seed: 7, ..SamplerOptions::default() };
    let greedy = generated(&mut start(Some(&plugin)), &tokenizer, SamplerOptions::default(), &[]);
    // A stop string that begins and ends inside of what would be generated.
    let text: Vec<char> = greedy["text"].as_str().unwrap().chars().collect();
    let stop: String = text[9..12].iter().collect();
    let suggestions =
        suggest(&start(Some(&plugin)), &tokenizer, &SuggestOptions { count: 3, tokens: 6, until: Until::Tokens });
    let suggestions: Vec<_> = suggestions.unwrap().iter().map(|one| {
        json!({ "text": one.text, "tokens": one.tokens, "probability": one.probability.to_bits().to_string(), "latent": one.latent })
    }).collect();
    json!({
        "prompt": TEXT,
        "tokens": tokens,
        "greedy": greedy,
        "sampled": generated(&mut start(Some(&plugin)), &tokenizer, sampling.clone(), &[]),
        "backbone": generated(&mut start(None), &tokenizer, sampling, &[]),
        "stop": stop,
        "stopped": generated(&mut start(Some(&plugin)), &tokenizer, SamplerOptions::default(), &[&stop, "never"]),
        "suggestions": suggestions,
        "vote": vote(&start(Some(&plugin)), &tokenizer),
    })
}

fn vote(session: &Session, tokenizer: &Tokenizer) -> Value {
    let branches = BranchOptions {
        latents: Some(LatentMode::Policy),
        hold: HoldUntil::new(Hold::Token, TokenEnds::new(tokenizer)),
        sampling: SamplerOptions::default(),
        stops: Vec::new(),
        limit: 16,
    };
    let options = SearchOptions {
        strategy: Strategy::Vote,
        expansion: Expansion::Latents,
        width: 10,
        score: Score::LogProb,
        weight: Weight::Policy,
        answer: AnswerRule::Text,
        branches,
    };
    let (branches, found) = search(session, tokenizer, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let all: Vec<_> = branches.all().iter().map(|branch| {
        json!({ "tokens": branch.tokens, "text": branch.text, "logprob": branch.logprob.to_bits().to_string() })
    }).collect();
    json!({
        "branch": found.branch,
        "answer": found.answer,
        "confidence": found.confidence.to_bits().to_string(),
        "passes": branches.passes(),
        "branches": all,
    })
}

fn real(folder: &Path) -> Value {
    let path = smollm2();
    let name = "real.gguf";
    fs::hard_link(&path, folder.join(name)).or_else(|_| fs::copy(&path, folder.join(name)).map(drop)).unwrap();
    let model = Arc::new(Model::open(&path).unwrap());
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let mut session = session(&model, None);
    session.feed(&tokenizer.encode(REAL, false).unwrap()).unwrap();
    let logits = bits(&session.logits(Distribution::Backbone).unwrap());
    let greedy = generated(&mut session, &tokenizer, SamplerOptions::default(), &[]);
    json!({ "model": name, "prompt": REAL, "logits": logits, "greedy": greedy })
}

/// The folder with files and expectations.
fn fixtures() -> PathBuf {
    let folder = c_programs::scratch("web");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::copy(c_programs::chat_model(), folder.join("chat.gguf")).unwrap();
    let floats = [TensorType::F32, TensorType::F16, TensorType::Bf16];
    let types = TensorType::ALL.iter().copied().filter(|&dtype| dtype.is_quantized() && quant::is_writable(dtype));
    let numbers: Vec<_> = floats.into_iter().chain(types).map(|dtype| numbers(&folder, dtype)).collect();
    let expected = json!({ "prompt": PROMPT, "numbers": numbers, "text": texts(&folder), "real": real(&folder) });
    fs::write(folder.join("expected.json"), expected.to_string()).unwrap();
    folder
}

#[test]
fn modules_for_webassembly_give_the_same_bits() {
    // `ollm-threads` is the one that may be missing: it has no code that the other ones have not.
    let names = ["ollm", "ollm-relaxed", "ollm-relaxed-threads"];
    let built = names.iter().all(|name| root().join(format!("ffi/web/wasm/{name}.wasm")).exists());
    if !built || !c_programs::has("node") {
        assert!(std::env::var_os("OLLM_WEB").is_none(), "no module (ffi/web/build.sh builds it), or no node");
        eprintln!("ffi/web/build.sh was not run: the test of the module for WebAssembly is skipped");
        return;
    }
    let folder = fixtures();
    let mut tests: Vec<_> =
        fs::read_dir(root().join("ffi/web/test")).unwrap().map(|entry| entry.unwrap().path()).collect();
    tests.retain(|path| path.to_str().is_some_and(|path| path.ends_with(".test.mjs")));
    tests.sort();
    let mut node = Command::new("node");
    c_programs::succeed(node.arg("--test").args(tests).env("OLLM_WEB_FIXTURES", folder));
}
