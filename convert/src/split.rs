//! A merged file becomes a plugin file, and its backbone, again.

use std::path::{Path, PathBuf};

use ollm_runtime::gguf::{GgufError, Writer};
use ollm_runtime::plugin::schema::{FILE_TYPE, keys};

use crate::merge::{KEPT_PREFIX, MergeSummary, check_match, copy, is_plugins, total};
use crate::{ConvertError, FileKind, Opened, Result, check_absent, check_output, checksum};

/// Writes the plugin of a merged file and, if there is a place for it, the backbone: what
/// [`crate::merge`] put together, key for key. Outputs that exist are replaced only if `force`.
///
/// # Errors
/// [`ConvertError`] if the file is not a merged one, is packed, or its plugin does not fit its
/// backbone, or an output cannot be written; then nothing is changed.
pub fn split(merged: &Path, plugin: &Path, backbone: Option<&Path>, force: bool) -> Result<MergeSummary> {
    let outputs = [plugin].into_iter().chain(backbone);
    outputs.clone().try_for_each(|output| check_output(output, &[merged]))?;
    // Both, before one is written.
    outputs.clone().try_for_each(|output| check_absent(output, force))?;
    if backbone.is_some_and(|backbone| place(backbone) == place(plugin)) {
        return Err(ConvertError::SameOutput { path: plugin.to_owned() });
    }
    let file = Opened::open_plain(merged, &[FileKind::Merged])?;
    check_match(&file, &file.gguf).map_err(|source| ConvertError::Plugin { path: merged.to_owned(), source })?;

    let of_backbone = |name: &str| !is_plugins(name);
    let mut files = vec![(plugins_part(&file).map_err(ConvertError::Output)?, plugin)];
    if let Some(backbone) = backbone {
        let mut writer = Writer::new();
        copy(&file, &mut writer, |key| of_backbone(key).then_some(key.into()), of_backbone)
            .map_err(ConvertError::Output)?;
        files.push((writer, backbone));
    }
    files.iter_mut().try_for_each(|(writer, _)| checksum::add(writer)).map_err(ConvertError::Output)?;
    crate::write_all(&files)?;
    drop(files);
    Ok(MergeSummary { backbone: total(&file.gguf, of_backbone), plugin: total(&file.gguf, is_plugins) })
}

/// Where a file is or will be, however its path is spelled.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    path.canonicalize().unwrap_or_else(|_| folder.join(path.file_name().unwrap_or_default()))
}

/// The plugin, with the keys that it had; files that were merged before those were kept get new
/// ones.
fn plugins_part(file: &Opened) -> std::result::Result<Writer<'_>, GgufError> {
    let (mut writer, metadata) = (Writer::new(), file.gguf.metadata());
    if !metadata.iter().any(|(key, _)| key.starts_with(KEPT_PREFIX)) {
        writer.set("general.architecture", metadata.str(keys::BACKBONE_ARCHITECTURE.name)?)?;
        for (key, value) in FILE_TYPE {
            writer.set(key, value)?;
        }
        let name = metadata.opt_str("general.name")?.map_or("plugin".to_owned(), |name| format!("plugin of {name}"));
        writer.set("general.name", name)?;
    }
    let key = |key: &str| is_plugins(key).then(|| key.strip_prefix(KEPT_PREFIX).unwrap_or(key).to_owned());
    copy(file, &mut writer, key, is_plugins)?;
    Ok(writer)
}
