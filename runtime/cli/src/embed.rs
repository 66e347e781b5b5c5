//! `embed`: the embedding of a text, as the model's file has it made.

use serde_json::{Value, json};

use crate::args::{MachineArgs, TextArgs};
use crate::engine::Engine;
use crate::failure::Result;
use crate::output::{Output, number};

pub(crate) fn run(machine: &MachineArgs, args: &TextArgs) -> Result<()> {
    machine.model()?;
    let text = args.read_nonempty()?;
    let mut engine = Engine::load(machine)?;
    let mut tokens = engine.tokenizer.encode(&text, args.special)?;
    engine.tokenizer.enclose(&mut tokens)?;
    let embedding = engine.session.embed(&tokens, None, true)?;
    let mut output = Output::new();
    if machine.json {
        let embedding: Vec<Value> = embedding.into_iter().map(number).collect();
        return output.json(&json!({ "tokens": tokens.len(), "embedding": embedding }));
    }
    let numbers: Vec<String> = embedding.iter().map(f32::to_string).collect();
    output.line(&numbers.join(" "))
}
