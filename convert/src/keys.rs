//! What metadata keys may be: their names, and the types of those that are known.

use ollm_runtime::gguf::{LAYOUT_KEY, LAYOUT_VERSION_KEY, Metadata, PLAIN_ALIGNMENT_KEY, Value, ValueType};
use ollm_runtime::model::PLUGIN_PREFIX;
use ollm_runtime::plugin::schema::{self, TRAINING_PREFIX};
use ollm_runtime::tokenizer::NORMALIZER_KEY;

use crate::checksum;
use crate::merge::KEPT_PREFIX;

/// The longest name, by the specification of GGUF.
const LONGEST: usize = (1 << 16) - 1;

const TYPES: [(&str, ValueType); 7] = [
    ("general.architecture", ValueType::String),
    ("general.name", ValueType::String),
    ("general.type", ValueType::String),
    ("general.file_type", ValueType::U32),
    ("general.quantization_version", ValueType::U32),
    ("tokenizer.ggml.suppress_tokens", ValueType::Array),
    (checksum::KEY, ValueType::Array),
];

/// Keys of the specification of GGUF whose values are texts, also where they look like numbers.
const TEXTS: [&str; 11] = [
    "general.author",
    "general.basename",
    "general.description",
    "general.finetune",
    "general.license",
    "general.organization",
    "general.quantized_by",
    "general.size_label",
    "general.url",
    "general.version",
    "tokenizer.chat_template",
];

/// The type of a key that is known.
pub(crate) fn type_of(key: &str) -> Option<ValueType> {
    let known = TYPES.iter().find(|(name, _)| *name == key).map(|&(_, kind)| kind);
    known.or(TEXTS.contains(&key).then_some(ValueType::String))
}

/// What is wrong with the keys of a file: names are ASCII and not too long; those that are known
/// have their type; no `ollm.` key is misspelt; a model says its architecture.
pub(crate) fn faults(metadata: &Metadata) -> Vec<String> {
    let mut faults = Vec::new();
    for (key, value) in metadata.iter() {
        if !key.is_ascii() || key.len() > LONGEST {
            faults.push(format!("metadata key {key:.100?} is not ASCII, or longer than {LONGEST} bytes"));
        }
        let expected = TYPES.iter().find(|(name, _)| *name == key).map(|&(_, kind)| kind);
        if let Some(kind) = expected.filter(|&kind| kind != value.value_type()) {
            faults.push(format!("metadata key {key:?}: expected {}, found {}", kind.name(), value.describe()));
        }
        if key.starts_with(PLUGIN_PREFIX) && !is_known(key) {
            faults.push(format!("metadata key {key:?} is none that OLLM files have (see FORMAT.md)"));
        }
    }
    let is_model = metadata.get("general.type").and_then(Value::as_str).is_none_or(|kind| kind == "model");
    if is_model && metadata.get("general.architecture").is_none() {
        faults.push("metadata key \"general.architecture\" is missing".to_owned());
    }
    faults
}

/// The first fault, if there is one.
pub(crate) fn check(metadata: &Metadata) -> Result<(), String> {
    faults(metadata).into_iter().next().map_or(Ok(()), Err)
}

/// Whether an `ollm.` key is one of `FORMAT.md`.
fn is_known(key: &str) -> bool {
    let fixed = [LAYOUT_KEY, LAYOUT_VERSION_KEY, PLAIN_ALIGNMENT_KEY, NORMALIZER_KEY, checksum::KEY];
    fixed.contains(&key)
        || [TRAINING_PREFIX, KEPT_PREFIX].iter().any(|prefix| key.starts_with(prefix))
        || schema::keys::ALL.iter().any(|known| known.name == key)
}
