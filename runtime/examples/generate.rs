//! Generates text with the backbone alone.
//!
//! ```sh
//! cargo run --release -p ollm-runtime --example generate -- MODEL.gguf "Once upon a time"
//! ```

use std::env;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ollm_runtime::Result;
use ollm_runtime::generate::{GenerateOptions, generate};
use ollm_runtime::model::Model;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, prompt] = args.as_slice() else {
        eprintln!("usage: generate MODEL.gguf TEXT");
        std::process::exit(2);
    };
    let model = Arc::new(Model::open(Path::new(model))?);
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    let mut session = Session::new(model, None, &SessionOptions::default())?;
    let bos = tokenizer.add_bos();
    session.feed(&bos.into_iter().chain(tokenizer.encode(prompt, false)?).collect::<Vec<_>>())?;

    let mut sampler = Sampler::new(SamplerOptions::default())?;
    let options = GenerateOptions { limit: 64, stops: Vec::new(), show: None, reasoning: None };
    let done = generate(&mut session, &tokenizer, None, &mut sampler, &options, &mut |token| {
        print!("{}", token.text);
        // A reader who has gone away ends the run.
        if io::stdout().flush().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    println!("{} [{}]", done.rest, done.reason.name());
    Ok(())
}
