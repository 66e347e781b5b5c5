//! Lets every option answer a question, and takes the answer that most of them give.
//!
//! ```sh
//! cargo run --release -p ollm-runtime --example vote -- MODEL.gguf PLUGIN.gguf "What is 2 + 3?"
//! ```

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ollm_runtime::branches::{AnswerRule, BranchOptions, Expansion, Score, SearchOptions, Strategy, Weight, search};
use ollm_runtime::model::Model;
use ollm_runtime::plugin::{Hold, HoldUntil, LatentMode, Plugin, TokenEnds};
use ollm_runtime::sampler::SamplerOptions;
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, plugin, question] = &arguments[..] else {
        return Err("usage: vote MODEL.gguf PLUGIN.gguf QUESTION".into());
    };
    let model = Arc::new(Model::open(Path::new(model))?);
    let plugin = Arc::new(Plugin::open(Path::new(plugin), &model)?);
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    let mut session = Session::new(model, Some(plugin), &SessionOptions::default())?;
    session.feed(&tokenizer.encode(question, true)?)?;

    let options = SearchOptions {
        strategy: Strategy::Vote,
        expansion: Expansion::Latents,
        width: 10,
        score: Score::LogProb,
        weight: Weight::One,
        answer: AnswerRule::Number,
        branches: BranchOptions {
            latents: Some(LatentMode::Policy),
            hold: HoldUntil::new(Hold::All, TokenEnds::new(&tokenizer)),
            sampling: SamplerOptions::default(),
            stops: Vec::new(),
            limit: 100,
        },
    };
    let (branches, found) = search(&session, &tokenizer, &options, &mut |_| ControlFlow::Continue(()))?;
    for branch in branches.all() {
        println!("{:?} {:?}", branch.latents.first().copied().flatten(), branch.text);
    }
    let sure = 100.0 * found.confidence;
    println!("{} ({sure:.0} % agree)", found.answer.as_deref().unwrap_or("no answer"));
    Ok(())
}
