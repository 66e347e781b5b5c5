//! Files that llama.cpp saved of a model in memory (its `llama_model_saver`, by which
//! `llama-finetune` writes what it has trained): they name every parameter of every family. What
//! the model's own family does not have is there with llama.cpp's default, which its reader passes
//! over, and which says nothing of the model.

use std::borrow::Cow;

use crate::gguf::{Metadata, Value};

/// A parameter of vocoders, which no model here is: a file that names it was saved so.
const MARK: &str = "posnet.block_count";

/// The switches that families have of themselves, and the keys whose default is not 0: true is 1. A
/// 0 in place of another default means something.
const DEFAULTS: &[(&str, f32)] = &[
    ("activation.situ_beta", 1.0),
    ("attention.rope_pattern", 1.0),
    ("attn_logit_softcapping", 50.0),
    ("decoder_start_token_id", -1.0),
    ("expert_group_scale", 0.05),
    ("expert_weights_norm", 0.0),
    ("final_logit_softcapping", 30.0),
    ("kda.gate_lower_bound", f32::NEG_INFINITY),
    ("pooling_type", u32::MAX as f32),
    ("rope.freq_base_swa", 10_000.0),
    ("router_logit_softcapping", 30.0),
    ("token_shift_count", 2.0),
];

/// The metadata of a model of this family; of a saved file without what says nothing.
pub(super) fn without_defaults<'a>(metadata: &'a Metadata, family: &str) -> Cow<'a, Metadata> {
    if metadata.get(&format!("{family}.{MARK}")).is_none() {
        return Cow::Borrowed(metadata);
    }
    let mut said = metadata.clone();
    said.retain(|key, value| {
        let name = key.strip_prefix(family).and_then(|rest| rest.strip_prefix('.'));
        name.is_none_or(|name| !is_default(name, value))
    });
    Cow::Owned(said)
}

/// Whether a saved file has this of any model: the default, a number that is 0, or a list of
/// nothing.
fn is_default(name: &str, value: &Value) -> bool {
    let listed = DEFAULTS.iter().find(|(known, _)| *known == name).map(|&(_, default)| default);
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Bool(value) => listed == Some(f32::from(u8::from(*value))),
        _ => value.number() == Some(listed.unwrap_or(0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_file_is_without_the_defaults_of_other_families() {
        let names = |mark: &str| {
            let mut metadata = Metadata::default();
            for (key, value) in [
                ("llama.attn_logit_softcapping", Value::F32(50.0)),
                ("llama.final_logit_softcapping", Value::F32(0.0)),
                ("llama.attention.causal", Value::Bool(false)),
                ("llama.expert_weights_norm", Value::Bool(false)),
                ("llama.dense_2_feat_in", Value::U32(0)),
                ("llama.classifier.output_labels", Value::from(Vec::<String>::new())),
                ("llama.attention.rope_pattern", Value::U32(1)),
                ("llama.decoder_start_token_id", Value::I32(-1)),
                ("llama.pooling_type", Value::U32(u32::MAX)),
                ("llama.kda.gate_lower_bound", Value::F32(f32::NEG_INFINITY)),
                ("gemma2.attn_logit_softcapping", Value::F32(50.0)),
                (mark, Value::U32(0)),
            ] {
                metadata.insert(key.to_owned(), value).unwrap();
            }
            let left = without_defaults(&metadata, "llama");
            left.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("gemma2.posnet.block_count").len(), 12);
        assert_eq!(
            names("llama.posnet.block_count"),
            ["llama.final_logit_softcapping", "llama.attention.causal", "gemma2.attn_logit_softcapping"]
        );
    }
}
