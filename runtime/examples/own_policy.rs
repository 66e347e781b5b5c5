//! Selects latents by a rule of the application (`LatentMode::Callback`): the second choice of the
//! plugin's policy, held for a whole line.
//!
//! ```sh
//! cargo run --release -p ollm-runtime --example own_policy -- MODEL.gguf PLUGIN.gguf "Two plus two is"
//! ```

use std::env;
use std::path::Path;
use std::sync::Arc;

use ollm_runtime::Result;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::{Callback, Hold, HoldUntil, LatentMode, Plugin, Selector, TokenEnds};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

/// The second most probable latent; the only one of a plugin that has one. `hidden` is `[hidden]`,
/// `policy` `[options]`.
fn second_choice(_hidden: &[f32], policy: &[f32]) -> usize {
    let mut latents: Vec<usize> = (0..policy.len()).collect();
    latents.sort_by(|&a, &b| policy[b].total_cmp(&policy[a]));
    latents[usize::from(latents.len() > 1)]
}

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, plugin, prompt] = args.as_slice() else {
        eprintln!("usage: own_policy MODEL.gguf PLUGIN.gguf TEXT");
        std::process::exit(2);
    };
    let model = Arc::new(Model::open(Path::new(model))?);
    let plugin = Arc::new(Plugin::open(Path::new(plugin), &model)?);
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    let mode = LatentMode::Callback(Callback::new(second_choice));
    let hold = HoldUntil::new(Hold::Line, TokenEnds::new(&tokenizer));
    let selector = Selector::new(mode, hold, plugin.option_count(), 0)?;
    let mut sampler = Sampler::new(SamplerOptions::default())?;
    let mut session = Session::new(model, Some(plugin), &SessionOptions::default())?;
    session.feed(&tokenizer.encode(prompt, false)?)?;

    for _ in 0..32 {
        let step = session.step(Some(&selector), &mut sampler)?;
        if tokenizer.is_end(step.token) {
            break;
        }
        println!("{:?} from latent {:?}", tokenizer.decode(&[step.token]), step.latent);
    }
    Ok(())
}
