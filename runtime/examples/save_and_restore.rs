//! Saves a session and restores it: the prompt is not computed again, and the restored session
//! continues with the same tokens.
//!
//! ```sh
//! cargo run --release -p ollm-runtime --example save_and_restore -- MODEL.gguf "Once upon a time"
//! ```

use std::env;
use std::path::Path;
use std::sync::Arc;

use ollm_runtime::Result;
use ollm_runtime::model::Model;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

/// The next 16 tokens, greedy.
fn continuation(session: &mut Session) -> Result<Vec<u32>> {
    let mut sampler = Sampler::new(SamplerOptions::default())?;
    (0..16).map(|_| Ok(session.step(None, &mut sampler)?.token)).collect()
}

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, prompt] = args.as_slice() else {
        eprintln!("usage: save_and_restore MODEL.gguf TEXT");
        std::process::exit(2);
    };
    let model = Arc::new(Model::open(Path::new(model))?);
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    let mut session = Session::new(Arc::clone(&model), None, &SessionOptions::default())?;
    session.feed(&tokenizer.encode(prompt, false)?)?;
    let mut saved = Vec::new();
    session.save(&mut saved)?;
    println!("{} tokens saved in {} bytes", session.position(), saved.len());

    let mut restored = Session::new(model, None, &SessionOptions::default())?;
    restored.restore(&mut saved.as_slice())?;
    let (first, second) = (continuation(&mut session)?, continuation(&mut restored)?);
    println!("{:?}", tokenizer.decode(&second));
    println!("the same tokens: {}", first == second);
    Ok(())
}
