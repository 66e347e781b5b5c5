//! Shows the option set of one step: for each latent, the policy's probability and the option's
//! most probable tokens.
//!
//! ```sh
//! cargo run --release -p ollm-runtime --example option_set -- MODEL.gguf PLUGIN.gguf "Two plus two is"
//! ```

use std::env;
use std::path::Path;
use std::sync::Arc;

use ollm_runtime::Result;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::Plugin;
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, plugin, prompt] = args.as_slice() else {
        eprintln!("usage: option_set MODEL.gguf PLUGIN.gguf TEXT");
        std::process::exit(2);
    };
    let model = Arc::new(Model::open(Path::new(model))?);
    let plugin = Arc::new(Plugin::open(Path::new(plugin), &model)?);
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    let mut session = Session::new(model, Some(plugin), &SessionOptions::default())?;
    session.feed(&tokenizer.encode(prompt, false)?)?;

    for option in session.option_set(3)? {
        let top: Vec<String> =
            option.top.iter().map(|&(token, p)| format!("{:?} {p:.2}", tokenizer.decode(&[token]))).collect();
        println!("z{} {:.2}  {}", option.latent, option.policy, top.join("  "));
    }
    Ok(())
}
