//! Branches: each is, bit for bit, what a session of its own would be, whatever tree it is part of;
//! votes, searches and suggestions on top of them.

mod alone;
mod search;
mod suggest;
mod tree;
mod value;

use std::sync::Arc;

use ollm_runtime::branches::{Branch, BranchEnd, BranchOptions, Branches};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::plugin::{Hold, HoldUntil, LatentMode, Plugin, TokenEnds};
use ollm_runtime::sampler::SamplerOptions;
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::{golden, plugins};

const OPTIONS: usize = 5;
const PROMPT: [u32; 9] = [10, 200, 31, 47, 5, 99, 12, 13, 77];

fn model(family: &str) -> Arc<Model> {
    Arc::new(Model::open(&golden(&format!("tiny/{family}.gguf"))).unwrap())
}

fn tokenizer(model: &Model) -> Tokenizer {
    Tokenizer::from_metadata(model.gguf().metadata()).unwrap()
}

fn plugin(model: &Model) -> Arc<Plugin> {
    let spec = plugins::spec(model, DecoderKind::LowRank { width: 32, rank: 32 }, OPTIONS);
    let bytes = plugins::plugin_file(&spec, TensorType::Q8_0, 0.5).to_bytes();
    Arc::new(Plugin::from_storage(Storage::from(bytes), model).unwrap())
}

fn session_with(model: &Arc<Model>, with_plugin: bool, options: &SessionOptions) -> Session {
    let plugin = with_plugin.then(|| plugin(model));
    let mut session = Session::new(Arc::clone(model), plugin, options).unwrap();
    session.feed(&PROMPT).unwrap();
    session
}

fn options(threads: usize) -> SessionOptions {
    SessionOptions { threads, context: 512, ..SessionOptions::default() }
}

fn session(with_plugin: bool) -> (Session, Tokenizer) {
    let model = model("llama");
    (session_with(&model, with_plugin, &options(1)), tokenizer(&model))
}

fn tokens(count: u32) -> Hold {
    Hold::Tokens(count.try_into().unwrap())
}

fn branch_options(latents: Option<LatentMode>, hold: Hold, tokenizer: &Tokenizer) -> BranchOptions {
    BranchOptions {
        latents,
        hold: HoldUntil::new(hold, TokenEnds::new(tokenizer)),
        sampling: SamplerOptions { temperature: 0.9, seed: 5, ..SamplerOptions::default() },
        stops: Vec::new(),
        limit: 40,
    }
}

/// The branch that says what this one would have said.
fn unmerged(branches: &Branches, mut index: usize) -> &Branch {
    while let Some(BranchEnd::Merged(into)) = branches.all()[index].end {
        index = into;
    }
    &branches.all()[index]
}
