//! `adapter_config.json` of a PEFT folder, its `LoraConfig`: how much of the factors is added.

use std::path::PathBuf;

use regex::Regex;
use serde_json::Value;

use super::ImportError;
use super::document::Document;
use crate::Result;

/// Keys that are read below, or that do not change what trained factors do.
const KNOWN: &[&str] = &[
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "lora_dtype",
    "lora_ga_config",
    "lorap_lr_ratio",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
];

/// Initializations by name that leave the backbone as it is. The others (`PiSSA`, `OLoRA`, `CorDA`,
/// `LoftQ`, LoRA-GA) take the first factors from its matrices: the adapters are of another
/// backbone.
const INITIALIZATIONS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// How much of the factors is added.
pub(super) struct LoraConfig {
    pub(super) alpha: f64,
    stabilized: bool,
    alphas: Pattern,
    /// Ranks are those of the factors themselves.
    ranks: Pattern,
}

impl LoraConfig {
    /// What is something other than plain `LoRA` is refused: it would be another network.
    pub(super) fn read(json: &Document) -> Result<Self> {
        if json.opt_str("peft_type")?.is_some_and(|kind| kind != "LORA") {
            return Err(json.unsupported("peft_type", "LORA").into());
        }
        for (key, supported) in
            [("use_dora", "false: merge DoRA in PEFT"), ("fan_in_fan_out", "false"), ("lora_bias", "false")]
        {
            if json.opt_bool(key)?.unwrap_or(false) {
                return Err(json.unsupported(key, supported).into());
            }
        }
        if json.opt_str("bias")?.is_some_and(|bias| bias != "none") {
            return Err(json.unsupported("bias", "\"none\"").into());
        }
        if json.opt_list("modules_to_save")?.is_some_and(|modules| !modules.is_empty()) {
            return Err(json.unsupported("modules_to_save", "none: merge the adapters in PEFT").into());
        }
        let is_plain = |value: &Value| match value {
            Value::Bool(_) => true,
            Value::String(name) => INITIALIZATIONS.iter().any(|plain| plain.eq_ignore_ascii_case(name)),
            _ => false,
        };
        if json.get("init_lora_weights").is_some_and(|value| !is_plain(value)) {
            let supported = "true, false, gaussian, eva, orthogonal: others change the backbone; merge the adapters in \
                             PEFT, or save them converted (path_initial_model_for_weight_conversion)";
            return Err(json.unsupported("init_lora_weights", supported).into());
        }
        let keys = json.value.as_object().into_iter().flatten();
        if let Some((key, _)) = keys.into_iter().find(|(key, value)| !KNOWN.contains(&key.as_str()) && !is_off(value)) {
            let supported = "plain LoRA, which does not have this key: merge the adapters in PEFT";
            return Err(json.unsupported(key, supported).into());
        }
        Ok(Self {
            alpha: json.positive("lora_alpha")?,
            stabilized: json.opt_bool("use_rslora")?.unwrap_or(false),
            alphas: Pattern::read(json, "alpha_pattern")?,
            ranks: Pattern::read(json, "rank_pattern")?,
        })
    }

    /// What there is to say of expressions that no module of the adapters matches: PEFT passes over
    /// them, too.
    pub(super) fn notes<'a>(&self, modules: &(impl Iterator<Item = &'a str> + Clone)) -> Vec<String> {
        [&self.alphas, &self.ranks].into_iter().flat_map(|pattern| pattern.unused(modules)).collect()
    }

    /// What `B A` of a module is multiplied by.
    pub(super) fn scale(&self, module: &str, rank: usize) -> f64 {
        let (alpha, rank) = (self.alphas.of(module).unwrap_or(self.alpha), rank as f64);
        alpha / if self.stabilized { rank.sqrt() } else { rank }
    }
}

/// Whether the value says that something is not there.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Values of the modules whose names match regular expressions, as PEFT's `get_pattern_key` reads
/// them: an expression matches a whole name, or its end after a dot; the first that matches counts.
struct Pattern {
    path: PathBuf,
    key: &'static str,
    values: Vec<(String, Regex, f64)>,
}

impl Pattern {
    fn read(json: &Document, key: &'static str) -> Result<Self> {
        let mut pattern = Self { path: json.path.clone(), key, values: Vec::new() };
        let Some(part) = json.part(key)? else { return Ok(pattern) };
        for text in part.value.as_object().into_iter().flat_map(|map| map.keys()) {
            let expression = Regex::new(&format!(r"^(.*\.)?({text})$"));
            let expression = expression.map_err(|_| pattern.bad(text, "a regular expression without look-around"))?;
            let value = part.positive(text)?;
            pattern.values.push((text.clone(), expression, value));
        }
        Ok(pattern)
    }

    fn unused<'a>(&self, modules: &(impl Iterator<Item = &'a str> + Clone)) -> Vec<String> {
        let is_unused = |expression: &Regex| !modules.clone().any(|module| expression.is_match(module));
        let unused = self.values.iter().filter(|(_, expression, _)| is_unused(expression));
        unused.map(|(text, ..)| format!("{:?} of {} matches no module of the adapters", text, self.key)).collect()
    }

    fn of(&self, module: &str) -> Option<f64> {
        self.values.iter().find(|(_, expression, _)| expression.is_match(module)).map(|(.., value)| *value)
    }

    fn bad(&self, text: &str, rule: &'static str) -> ImportError {
        let (path, value) = (self.path.clone(), format!("{text:?}"));
        ImportError::BadValue { path, key: self.key.to_owned(), value, rule }
    }
}
