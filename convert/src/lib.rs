//! Makes, inspects and merges OLLM plugin files.
//!
//! | module | what it does |
//! |---|---|
//! | [`import`] | a Hugging Face folder becomes a model file |
//! | [`plugin`] | a trainer's checkpoint (safetensors) becomes a plugin file (GGUF) |
//! | [`adapter`] | `LoRA` adapters: a file of their own, or in a backbone's matrices |
//! | [`merge`] | a backbone and its plugin become one file |
//! | [`pack`] | quantized matrices become packed weights, which the runtime reads in place; and rows again |
//! | [`split`] | a merged file becomes a plugin file, and its backbone, again |
//! | [`inspect`] | what a file holds, as text or JSON |
//! | [`verify`] | what is wrong with a file |
//! | [`diff`] | the differences of two files, number by number |
//! | [`quantize`] | a model's matrices get other types |
//! | [`imatrix`] | the importance matrix, for [`quantize`] |
//! | [`synth`] | random weights in a real shape, for timing |
//! | [`manual`] | man pages and shell completions of the commands |
//! | [`names`] | what files are called |
//! | [`checksum`] | a hash of each tensor, in the file |
//! | [`hash`] | what names content |
//!
//! Everything is checked before anything is written, and what is written appears whole or not at
//! all. The format is described in `convert/FORMAT.md`; its keys and tensors are defined by
//! [`ollm_runtime::plugin::schema`].

pub mod adapter;
pub mod checksum;
mod claim;
mod description;
pub mod diff;
mod divergence;
pub mod edit;
mod error;
pub mod hash;
pub mod imatrix;
pub mod import;
pub mod inspect;
mod keys;
mod kind;
pub mod manual;
pub mod merge;
pub mod names;
mod opened;
pub mod pack;
pub mod parts;
pub mod plugin;
pub mod quantize;
pub mod split;
pub mod synth;
pub mod table;
mod text;
pub mod verify;

use std::path::Path;

use ollm_runtime::gguf::{TensorType, Writer};
use ollm_runtime::{quant, storage};

use opened::Opened;

pub use error::ConvertError;
pub use kind::FileKind;
pub use opened::{expect_kind, open_model};

type Result<T> = std::result::Result<T, ConvertError>;

/// The type of this name, in any case, that can be written; if there is none, the names of those.
pub fn tensor_type(name: &str) -> std::result::Result<TensorType, String> {
    let known = || TensorType::ALL.iter().copied().filter(|&dtype| quant::is_writable(dtype));
    let found = known().find(|dtype| dtype.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("known types: {}", known().map(TensorType::name).collect::<Vec<_>>().join(", ")))
}

/// Refuses an output that is there, unless it may be replaced, and in any case a device, a pipe, or
/// a name in a folder that is not there.
///
/// # Errors
/// [`ConvertError::OutputExists`], [`ConvertError::NoPlace`].
pub fn check_absent(output: &Path, replace: bool) -> Result<()> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let special = output.metadata().is_ok_and(|found| !found.is_file());
    if special || folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(ConvertError::NoPlace { path: output.to_owned() });
    }
    // Also a link that leads nowhere is something.
    let absent = output.symlink_metadata().is_err();
    if replace || absent { Ok(()) } else { Err(ConvertError::OutputExists { path: output.to_owned() }) }
}

/// Writes the file, with checksums after all other keys.
fn write(mut writer: Writer<'_>, output: &Path) -> Result<()> {
    checksum::add(&mut writer).map_err(ConvertError::Output)?;
    write_all(&[(writer, output)])
}

/// Writes files that belong together: all of them, or none. No other process writes them meanwhile.
fn write_all(files: &[(Writer<'_>, &Path)]) -> Result<()> {
    let _claims = files.iter().map(|(_, path)| claim::Claim::new(path)).collect::<Result<Vec<_>>>()?;
    Writer::write_all(files.iter().map(|(writer, path)| (writer, *path))).map_err(ConvertError::from_output)
}

/// Refuses an output that is one of the inputs: it is mapped, and the only copy. All parts of a
/// model are inputs where the first is.
///
/// # Errors
/// [`ConvertError::OverwritesInput`], however the paths are spelled.
pub fn check_output(output: &Path, inputs: &[&Path]) -> Result<()> {
    let Ok(target) = output.canonicalize() else { return Ok(()) };
    let files = inputs.iter().flat_map(|&input| storage::parts(input).unwrap_or_else(|| vec![input.to_owned()]));
    match files.into_iter().find(|file| file.canonicalize().is_ok_and(|file| file == target)) {
        Some(path) => Err(ConvertError::OverwritesInput { path }),
        None => Ok(()),
    }
}
