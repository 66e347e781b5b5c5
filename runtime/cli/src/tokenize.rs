//! `tokenize`: the tokens of a text. Only the head of the model file is read.

use ollm_runtime::gguf::Gguf;
use ollm_runtime::storage::StorageOptions;
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::json;

use crate::args::{MachineArgs, TextArgs};
use crate::failure::{Failure, Result};
use crate::output::{Output, warn};

pub(crate) fn run(machine: &MachineArgs, args: &TextArgs) -> Result<()> {
    let path = machine.model()?;
    let text = args.read()?;
    let tokenizer = load(machine.files(), path).map_err(Failure::in_file(path))?;
    tokenizer.warnings().iter().for_each(|warning| warn(&warning.to_string()));
    let tokens = args.tokens(&tokenizer, &text)?;
    let mut output = Output::new();
    if machine.json {
        return output.json(&json!({ "tokens": tokens }));
    }
    tokens.iter().try_for_each(|&token| output.line(&format!("{token:>8}  {:?}", tokenizer.decode(&[token]))))
}

fn load(files: StorageOptions, path: &std::path::Path) -> ollm_runtime::Result<Tokenizer> {
    let gguf = Gguf::of(&files.open(path)?)?;
    Ok(Tokenizer::from_metadata(gguf.metadata())?)
}
