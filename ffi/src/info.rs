//! What a model and a plugin are, as JSON.

use std::collections::BTreeMap;

use ollm_runtime::chat::ChatTemplate;
use ollm_runtime::gguf::{Gguf, Value as Metadatum};
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::{PluginConfig, is_present};
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

/// A model's file, shape and tokenizer. What a file does not have is `null`.
pub(crate) fn of_model(model: &Model, tokenizer: Option<&Tokenizer>) -> Value {
    let gguf = model.gguf();
    let metadata = gguf.metadata();
    let text = |key| metadata.opt_str(key).ok().flatten();
    let config = model.config();
    let mut info = json!({
        "name": text("general.name"),
        "architecture": config.family.name,
        "bytes": model.storage().len(),
        "parameters": gguf.tensors().iter().map(|tensor| tensor.elements() as u64).sum::<u64>(),
        "types": types(gguf),
        "fingerprint": model.fingerprint(),
        "chat_template": ChatTemplate::from_metadata(metadata).is_ok(),
        "tokenizer": tokenizer.map(of_tokenizer),
        "bundled_plugin": is_present(metadata),
    });
    for (name, size) in config.sizes() {
        info[name] = json!(size);
    }
    info
}

fn of_tokenizer(tokenizer: &Tokenizer) -> Value {
    json!({
        "tokens": tokenizer.vocab_size(),
        "bos": tokenizer.bos(),
        "eos": tokenizer.eos(),
        "adds_bos": tokenizer.add_bos().is_some(),
    })
}

/// The bytes of each tensor type.
fn types(gguf: &Gguf) -> Value {
    let mut bytes = BTreeMap::<String, u64>::new();
    for tensor in gguf.tensors() {
        *bytes.entry(tensor.dtype.to_string()).or_default() += tensor.size as u64;
    }
    json!(bytes)
}

/// A metadata value. A number that JSON has not, such as an infinite one, is `null`.
pub(crate) fn of_value(value: &Metadatum) -> Value {
    match value {
        Metadatum::Bool(value) => json!(value),
        Metadatum::String(value) => json!(value),
        Metadatum::RawString(bytes) => json!(bytes.escape_ascii().to_string()),
        Metadatum::Array(items) => items.iter().map(|item| of_value(&item)).collect(),
        // By way of the shortest text: widened bit for bit, 0.1 would be 0.10000000149011612.
        Metadatum::F32(value) => json!(value.to_string().parse::<f64>().ok()),
        Metadatum::F64(value) => json!(value),
        Metadatum::U64(value) => json!(value),
        Metadatum::I8(value) => json!(value),
        Metadatum::I16(value) => json!(value),
        Metadatum::I32(value) => json!(value),
        Metadatum::I64(value) => json!(value),
        Metadatum::U8(_) | Metadatum::U16(_) | Metadatum::U32(_) => json!(value.as_u32()),
    }
}

/// A plugin's sizes and kinds.
pub(crate) fn of_plugin(spec: &PluginConfig) -> Value {
    json!({
        "options": spec.options,
        "decoder": spec.decoder.name(),
        "decoder_width": spec.decoder.width(),
        "encoder_width": spec.encoder_width,
        "policy_width": spec.policy_width,
        "value_width": spec.value_width,
        "backbone": {
            "architecture": spec.backbone.architecture,
            "hidden": spec.backbone.hidden,
            "vocabulary": spec.backbone.vocab,
            "fingerprint": spec.backbone.fingerprint,
        },
    })
}
