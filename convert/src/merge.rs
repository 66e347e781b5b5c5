//! A backbone and its plugin become one file.

use std::fmt;
use std::io::Write;
use std::path::Path;

use ollm_runtime::gguf::{Gguf, GgufError, Layout, Writer};
use ollm_runtime::model::PLUGIN_PREFIX;
use ollm_runtime::plugin::PluginError;
use ollm_runtime::plugin::schema::{Backbone, PluginConfig};

use crate::kind::MODELS;
use crate::table::TensorTotal;
use crate::{ConvertError, FileKind, Opened, Result, check_absent, check_output, checksum};

/// What was written.
#[derive(Debug)]
pub struct MergeSummary {
    /// Tensors of the backbone.
    pub backbone: TensorTotal,
    /// Tensors of the plugin.
    pub plugin: TensorTotal,
}

/// What the keys of a plugin file begin with in a merged file, where they do not begin with `ollm.`
/// already: the backbone has its own `general.name`.
pub const KEPT_PREFIX: &str = "ollm.plugin.";

/// Writes every key and tensor of the backbone as it is, then those of the plugin. Packed files are
/// to be unpacked first. An output that exists is replaced only if `force`.
pub fn merge(backbone: &Path, plugin: &Path, output: &Path, force: bool) -> Result<MergeSummary> {
    check_output(output, &[backbone, plugin])?;
    check_absent(output, force)?;
    let base = Opened::open_plain(backbone, MODELS)?;
    let addition = Opened::open_plain(plugin, &[FileKind::Plugin])?;
    if checksum::other_keys(&base).any(|(key, _)| is_plugins(key)) {
        return Err(ConvertError::AlreadyMerged { path: backbone.to_owned() });
    }
    check_match(&base, &addition.gguf).map_err(|source| ConvertError::Plugin { path: plugin.to_owned(), source })?;

    let mut writer = Writer::new();
    copy(&base, &mut writer, |key| Some(key.to_owned()), |_| true).map_err(ConvertError::Output)?;
    let kept = |key: &str| if is_plugins(key) { key.to_owned() } else { format!("{KEPT_PREFIX}{key}") };
    copy(&addition, &mut writer, |key| Some(kept(key)), is_plugins).map_err(ConvertError::Output)?;
    crate::write(writer, output)?;
    Ok(MergeSummary { backbone: total(&base.gguf, |_| true), plugin: total(&addition.gguf, is_plugins) })
}

/// Whether a key or a tensor is a plugin's.
pub(crate) fn is_plugins(name: &str) -> bool {
    name.starts_with(PLUGIN_PREFIX)
}

/// Checks that there is a whole plugin, and that it fits the backbone.
pub(crate) fn check_match(base: &Opened, plugin: &Gguf) -> std::result::Result<(), PluginError> {
    let spec = PluginConfig::from_metadata(plugin.metadata())?;
    spec.check_tensors(plugin)?;
    spec.backbone.check(&Backbone::of(&base.gguf, &base.bytes)?)
}

/// Copies the keys that get a name, and the tensors that are wanted; these stay where they are
/// until they are written, and leave memory then.
pub(crate) fn copy<'a>(
    from: &'a Opened,
    writer: &mut Writer<'a>,
    name: impl Fn(&str) -> Option<String>,
    wanted: impl Fn(&str) -> bool,
) -> std::result::Result<(), GgufError> {
    for (name, value) in checksum::other_keys(from).filter_map(|(key, value)| Some((name(key)?, value))) {
        writer.set(&name, value.clone())?;
    }
    for tensor in from.gguf.tensors().iter().filter(|tensor| wanted(&tensor.name)) {
        let emit = |out: &mut dyn Write| from.release(tensor, |bytes| out.write_all(bytes));
        writer.streamed(&tensor.name, &tensor.dims, tensor.dtype, Layout::Rows, emit)?;
    }
    Ok(())
}

/// The tensors that have such names.
pub(crate) fn total(gguf: &Gguf, wanted: impl Fn(&str) -> bool) -> TensorTotal {
    TensorTotal::of(gguf.tensors().iter().filter(|tensor| wanted(&tensor.name)).map(|tensor| tensor.size))
}

impl fmt::Display for MergeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.backbone.line(f, "backbone")?;
        self.plugin.line(f, "plugin  ")
    }
}
