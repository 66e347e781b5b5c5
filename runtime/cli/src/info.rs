//! `info`: what is in a file. It needs no more of it than its head, and works for files that cannot
//! be run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ollm_runtime::Error;
use ollm_runtime::chat::ChatTemplate;
use ollm_runtime::gguf::Gguf;
use ollm_runtime::model::{Config, PLUGIN_PREFIX};
use ollm_runtime::plugin::schema::{self, PluginConfig};
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::args::{InfoArgs, MachineArgs};
use crate::failure::{Failure, Result};
use crate::output::{Output, count};

pub(crate) fn run(machine: &MachineArgs, args: &InfoArgs) -> Result<()> {
    let path: &PathBuf = args.file.as_ref().map_or_else(|| machine.model(), Ok)?;
    let storage = machine.files().open(path).map_err(Failure::in_file(path))?;
    let gguf = Gguf::of(&storage).map_err(Failure::in_file(path))?;
    let facts = describe(path, &gguf, &storage);
    let mut output = Output::new();
    if machine.json { output.json(&facts) } else { print(&mut output, &facts) }
}

/// Everything, as one document; what does not apply is `null`, what is wrong says why.
fn describe(path: &Path, gguf: &Gguf, file: &[u8]) -> Value {
    let metadata = gguf.metadata();
    let text = |key| metadata.opt_str(key).ok().flatten();
    let plugin = schema::is_present(metadata).then(|| describe_plugin(gguf));
    let backbone = text("general.type") != Some("adapter");
    json!({
        "file": path.display().to_string(),
        "bytes": file.len(),
        "name": text("general.name"),
        "type": text("general.type"),
        "architecture": text("general.architecture"),
        "parameters": parameters(gguf, |_| true),
        "chat_template": backbone.then(|| ChatTemplate::from_metadata(metadata).is_ok()),
        "types": types(gguf),
        "model": backbone.then(|| describe_model(gguf, file)),
        "tokenizer": backbone.then(|| describe_tokenizer(gguf)),
        "plugin": plugin,
    })
}

fn parameters(gguf: &Gguf, counts: impl Fn(&str) -> bool) -> u64 {
    gguf.tensors().iter().filter(|tensor| counts(&tensor.name)).map(|tensor| tensor.elements() as u64).sum()
}

/// How many tensors, elements and bytes there are of each type, the largest share first.
fn types(gguf: &Gguf) -> Vec<Value> {
    let mut types = BTreeMap::<String, (usize, u64, u64)>::new();
    for tensor in gguf.tensors() {
        let (tensors, elements, bytes) = types.entry(tensor.dtype.to_string()).or_default();
        *tensors += 1;
        *elements += tensor.elements() as u64;
        *bytes += tensor.size as u64;
    }
    let mut types: Vec<_> = types.into_iter().collect();
    types.sort_by_key(|(_, (_, _, bytes))| std::cmp::Reverse(*bytes));
    let row = |(name, (tensors, elements, bytes))| json!({ "type": name, "tensors": tensors, "elements": elements, "bytes": bytes });
    types.into_iter().map(row).collect()
}

fn problem(error: impl std::fmt::Display) -> Value {
    json!({ "error": error.to_string() })
}

fn describe_model(gguf: &Gguf, file: &[u8]) -> Value {
    match Config::from_gguf(gguf, file) {
        Ok(config) => config.sizes().into_iter().map(|(name, size)| (name.to_owned(), json!(size))).collect(),
        Err(error) => problem(error),
    }
}

fn describe_tokenizer(gguf: &Gguf) -> Value {
    let metadata = gguf.metadata();
    let text = |key| metadata.opt_str(key).ok().flatten();
    match Tokenizer::from_metadata(metadata) {
        Ok(tokenizer) => json!({
            "model": text("tokenizer.ggml.model"),
            "pre": text("tokenizer.ggml.pre"),
            "tokens": tokenizer.vocab_size(),
            "bos": tokenizer.bos(),
            "eos": tokenizer.eos(),
            "adds_bos": tokenizer.add_bos().is_some(),
        }),
        Err(error) => problem(error),
    }
}

fn describe_plugin(gguf: &Gguf) -> Value {
    let spec = PluginConfig::from_metadata(gguf.metadata()).and_then(|spec| spec.check_tensors(gguf).map(|()| spec));
    match spec {
        Ok(spec) => json!({
            "options": spec.options,
            "decoder": spec.decoder.name(),
            "decoder_width": spec.decoder.width(),
            "encoder_width": spec.encoder_width,
            "policy_width": spec.policy_width,
            "value_width": spec.value_width,
            "hold": spec.hold.to_string(),
            "parameters": parameters(gguf, |name| name.starts_with(PLUGIN_PREFIX)),
            "backbone": {
                "architecture": spec.backbone.architecture,
                "hidden": spec.backbone.hidden,
                "vocabulary": spec.backbone.vocab,
                "fingerprint": spec.backbone.fingerprint,
            },
        }),
        Err(error) => problem(Error::from(error)),
    }
}

/// The document as a page: a heading for each object, a line for each value.
fn print(output: &mut Output, facts: &Value) -> Result<()> {
    for (key, value) in facts.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Object(section) => {
                output.line(&format!("\n{}", output.paint.bold(key)))?;
                for (key, value) in section {
                    output.line(&field(output, key, value))?;
                }
            }
            Value::Array(rows) => {
                output.line(&format!("\n{}", output.paint.bold(key)))?;
                rows.iter().try_for_each(|row| output.line(&type_row(row)))?;
            }
            _ => output.line(&field(output, key, value))?,
        }
    }
    Ok(())
}

fn field(output: &Output, key: &str, value: &Value) -> String {
    let shown = match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            fields.iter().map(|(_, v)| v.as_str().map_or(v.to_string(), str::to_owned)).collect::<Vec<_>>().join(" ")
        }
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    };
    format!("  {} {shown}", output.paint.dim(&format!("{:<14}", key.replace('_', " "))))
}

fn type_row(row: &Value) -> String {
    let n = |key: &str| row[key].as_u64().unwrap_or_default();
    let tensors = count(n("tensors") as usize, "tensor");
    format!("  {:<14} {tensors:>12} {:>10.2} MB", row["type"].as_str().unwrap_or_default(), n("bytes") as f64 / 1e6)
}
