//! What a folder of sentence-transformers says behind the network: how hidden states are pooled,
//! and the dense layers that follow (`modules.json`).

use std::path::Path;

use ollm_runtime::gguf::Value;
use ollm_runtime::model::Role;

use super::document::Document;
use crate::{ConvertError, Result};

/// A dense layer behind the pooling.
pub(super) struct Dense {
    /// Its place in GGUF.
    pub(super) role: Role,
    /// The folder of its weights.
    pub(super) folder: String,
    pub(super) has_bias: bool,
    inputs: usize,
    outputs: usize,
}

impl Dense {
    /// Its keys, without the family.
    pub(super) fn keys(&self) -> [(String, Value); 2] {
        [("in", self.inputs), ("out", self.outputs)]
            .map(|(end, size)| (format!("{}_feat_{end}", self.role.stem()), Value::U32(size as u32)))
    }

    /// What the names of its tensors begin with here: each folder calls them alike.
    pub(super) fn prefix(&self) -> String {
        format!("{}/", self.folder)
    }

    /// The name of its weight or its bias here.
    pub(super) fn tensor(&self, is_bias: bool) -> String {
        format!("{}linear.{}", self.prefix(), if is_bias { "bias" } else { "weight" })
    }
}

/// The modules of a folder; none, where it does not list them.
pub(super) struct Modules {
    /// The folder that says how states are pooled.
    pub(super) pooling: String,
    pub(super) dense: Vec<Dense>,
}

impl Modules {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        const TYPE: &str = "type";
        const SUPPORTED: &str = "Transformer, Pooling, at most two of Dense, Normalize";
        let path = folder.join("modules.json");
        let mut modules = Self { pooling: "1_Pooling".to_owned(), dense: Vec::new() };
        if !path.exists() {
            return Ok(modules);
        }
        for module in Document::read_list(&path)? {
            let kind = module.opt_str(TYPE)?.unwrap_or_default();
            let place = module.opt_str("path")?.unwrap_or_default().to_owned();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" | "Normalize" => {}
                "Pooling" => modules.pooling = place,
                "Dense" => {
                    let role = [Role::Dense2, Role::Dense3].into_iter().nth(modules.dense.len());
                    let role = role.ok_or_else(|| module.unsupported(TYPE, SUPPORTED))?;
                    modules.dense.push(dense(folder, place, role)?);
                }
                _ => return Err(module.unsupported(TYPE, SUPPORTED).into()),
            }
        }
        Ok(modules)
    }
}

/// A dense layer, which has to be linear.
fn dense(folder: &Path, place: String, role: Role) -> Result<Dense> {
    const ACTIVATION: &str = "activation_function";
    const LINEAR: &str = "torch.nn.modules.linear.Identity";
    let json = Document::read(&folder.join(&place).join("config.json"))?;
    if json.opt_str(ACTIVATION)? != Some(LINEAR) {
        return Err(json.unsupported(ACTIVATION, LINEAR).into());
    }
    let size = |key| json.opt_size(key)?.ok_or_else(|| ConvertError::from(json.missing(key)));
    let (inputs, outputs) = (size("in_features")?, size("out_features")?);
    let has_bias = json.opt_bool("bias")?.unwrap_or(true);
    Ok(Dense { role, folder: place, has_bias, inputs, outputs })
}

/// How an embedding is pooled, as GGUF numbers it, where the folder says so.
pub(super) fn pooling(folder: &Path) -> Result<Option<u32>> {
    const MODE: &str = "pooling_mode";
    const SUPPORTED: &str = "mean, cls, lasttoken";
    let path = folder.join("config.json");
    if !path.exists() {
        return Ok(None);
    }
    let json = Document::read(&path)?;
    let modes = [
        ("mean", "pooling_mode_mean_tokens"),
        ("cls", "pooling_mode_cls_token"),
        ("lasttoken", "pooling_mode_lasttoken"),
    ];
    let mut chosen = None;
    for (kind, (name, flag)) in (1..).zip(modes) {
        // Old files have a flag for each.
        if json.opt_bool(flag)? == Some(true) || json.opt_str(MODE)? == Some(name) {
            chosen = if chosen.is_some() { return Err(json.unsupported(flag, "one mode").into()) } else { Some(kind) };
        }
    }
    chosen.map(Some).ok_or_else(|| json.unsupported(MODE, SUPPORTED).into())
}
