//! A backbone and its plugin become one file.

use std::fmt;
use std::path::Path;

use ollm_runtime::gguf::{Gguf, GgufError, Writer};
use ollm_runtime::model::PLUGIN_PREFIX;
use ollm_runtime::options::PluginError;
use ollm_runtime::options::schema::{Backbone, FILE_TYPE, Spec};

use crate::table::grouped;
use crate::{ConvertError, Opened, Result, check_output};

/// What was written.
#[derive(Debug)]
pub struct Summary {
    /// Tensors of the backbone, and their bytes.
    pub backbone: (usize, usize),
    /// Tensors of the plugin, and their bytes.
    pub plugin: (usize, usize),
}

/// Writes every key and tensor of the backbone as it is, then those of the plugin. Packed files are to be unpacked first.
pub fn merge(backbone: &Path, plugin: &Path, output: &Path) -> Result<Summary> {
    check_output(output, &[backbone, plugin])?;
    let base = Opened::open_plain(backbone)?;
    let addition = Opened::open_plain(plugin)?;
    if base.gguf.metadata().iter().any(|(key, _)| is_plugins(key)) {
        return Err(ConvertError::AlreadyMerged { path: backbone.to_owned() });
    }
    check_is_plugin(&addition.gguf, plugin)?;
    check_match(&base, &addition.gguf).map_err(|source| ConvertError::Plugin { path: plugin.to_owned(), source })?;

    let mut writer = Writer::new();
    copy(&base, &mut writer, |_| true).map_err(ConvertError::Output)?;
    copy(&addition, &mut writer, is_plugins).map_err(ConvertError::Output)?;
    writer.write_to(output).map_err(ConvertError::Output)?;
    Ok(Summary { backbone: totals(&base.gguf), plugin: totals(&addition.gguf) })
}

fn is_plugins(name: &str) -> bool {
    name.starts_with(PLUGIN_PREFIX)
}

fn check_is_plugin(gguf: &Gguf, path: &Path) -> Result<()> {
    let is = |(key, value): &(&str, &str)| gguf.metadata().get(key).and_then(|found| found.as_str()) == Some(*value);
    if FILE_TYPE.iter().all(is) { Ok(()) } else { Err(ConvertError::NotAPlugin { path: path.to_owned() }) }
}

fn check_match(base: &Opened, plugin: &Gguf) -> std::result::Result<(), PluginError> {
    let spec = Spec::from_metadata(plugin.metadata())?;
    spec.check_tensors(plugin)?;
    spec.backbone.check(&Backbone::of(&base.gguf, &base.bytes)?)
}

/// Copies the keys and tensors with such names; the tensors stay where they are until they are written.
fn copy<'a>(
    from: &'a Opened,
    writer: &mut Writer<'a>,
    wanted: impl Fn(&str) -> bool,
) -> std::result::Result<(), GgufError> {
    for (key, value) in from.gguf.metadata().iter().filter(|(key, _)| wanted(key)) {
        writer.set(key, value.clone())?;
    }
    for tensor in from.gguf.tensors().iter().filter(|tensor| wanted(&tensor.name)) {
        writer.tensor(&tensor.name, &tensor.dims, tensor.dtype, tensor.bytes(&from.bytes))?;
    }
    Ok(())
}

fn totals(gguf: &Gguf) -> (usize, usize) {
    (gguf.tensors().len(), gguf.tensors().iter().map(|tensor| tensor.size).sum())
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, (tensors, bytes)) in [("backbone", self.backbone), ("plugin", self.plugin)] {
            writeln!(f, "{name:8} {tensors:>6} tensors {:>16} bytes", grouped(bytes))?;
        }
        Ok(())
    }
}
