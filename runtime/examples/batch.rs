//! Batched decoding (continuous batching): one answer for each latent, all in one read of the
//! weights per token.
//!
//! ```sh
//! cargo run --release -p ollm-runtime --example batch -- MODEL.gguf PLUGIN.gguf "Two plus two is"
//! ```

use std::env;
use std::path::Path;
use std::sync::Arc;

use ollm_runtime::Result;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::{Hold, LatentMode, Plugin, Selector};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Batch, Session, SessionOptions, Turn};
use ollm_runtime::tokenizer::Tokenizer;

/// A session that answers with one latent.
struct Branch {
    session: Session,
    selector: Selector,
    sampler: Sampler,
    tokens: Vec<u32>,
}

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, plugin, prompt] = args.as_slice() else {
        eprintln!("usage: batch MODEL.gguf PLUGIN.gguf TEXT");
        std::process::exit(2);
    };
    let model = Arc::new(Model::open(Path::new(model))?);
    let plugin = Arc::new(Plugin::open(Path::new(plugin), &model)?);
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    let options = plugin.option_count();
    let mut root = Session::new(model, Some(plugin), &SessionOptions::default())?;
    root.feed(&tokenizer.encode(prompt, false)?)?;

    // Forks share the keys and values of the prompt.
    let branch = |latent| -> Result<Branch> {
        Ok(Branch {
            session: root.fork()?,
            selector: Selector::new(LatentMode::Fixed(latent), Hold::All, options, 0)?,
            sampler: Sampler::new(SamplerOptions::default())?,
            tokens: Vec::new(),
        })
    };
    let mut branches = (0..options).map(branch).collect::<Result<Vec<_>>>()?;
    let mut batch = Batch::default();
    for _ in 0..24 {
        let mut turns: Vec<Turn<'_>> = branches
            .iter_mut()
            .map(|branch| Turn {
                session: &mut branch.session,
                selector: Some(&branch.selector),
                sampler: &mut branch.sampler,
            })
            .collect();
        let steps = batch.step(&mut turns);
        for (branch, step) in branches.iter_mut().zip(steps) {
            branch.tokens.push(step?.token);
        }
    }
    for (latent, branch) in branches.iter().enumerate() {
        let end = branch.tokens.iter().position(|&token| tokenizer.is_end(token));
        let answer = &branch.tokens[..end.unwrap_or(branch.tokens.len())];
        println!("z{latent}: {:?}", tokenizer.decode(answer));
    }
    Ok(())
}
