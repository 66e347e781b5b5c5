//! Makes, inspects and merges OLLM plugin files.
//!
//! | module | what it does |
//! |---|---|
//! | [`import`] | a Hugging Face folder becomes a model file |
//! | [`plugin`] | a trainer's checkpoint (safetensors) becomes a plugin file (GGUF) |
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
//!
//! Everything is checked before anything is written, and what is written appears whole or not at
//! all. The format is described in `convert/FORMAT.md`; its keys and tensors are defined by
//! [`ollm_runtime::plugin::schema`].

pub mod checksum;
mod description;
pub mod diff;
mod divergence;
mod error;
pub mod imatrix;
pub mod import;
pub mod inspect;
pub mod manual;
pub mod merge;
pub mod names;
pub mod pack;
pub mod plugin;
pub mod quantize;
pub mod split;
pub mod synth;
pub mod table;
mod text;
pub mod verify;

use std::path::Path;

use ollm_runtime::gguf::{Gguf, LAYOUT_KEY, TensorInfo, TensorType, Value, Writer};
use ollm_runtime::plugin::schema::FILE_TYPE;
use ollm_runtime::storage::Storage;

pub use error::ConvertError;

type Result<T> = std::result::Result<T, ConvertError>;

/// A GGUF file: its bytes, and what they say.
struct Opened {
    bytes: Storage,
    gguf: Gguf,
}

impl Opened {
    fn open(path: &Path) -> Result<Self> {
        let bytes = Storage::open(path)?;
        let gguf = Gguf::parse(&bytes).map_err(|source| ConvertError::Gguf { path: path.to_owned(), source })?;
        Ok(Self { bytes, gguf })
    }

    /// Opens a file that must not be a packed one.
    fn open_plain(path: &Path) -> Result<Self> {
        let file = Self::open(path)?;
        if file.is_packed() { Err(ConvertError::Packed { path: path.to_owned() }) } else { Ok(file) }
    }

    fn is_packed(&self) -> bool {
        self.gguf.metadata().get(LAYOUT_KEY).is_some()
    }

    /// Has `write` take the bytes of a tensor; then they leave memory.
    fn release<T>(&self, tensor: &TensorInfo, write: impl FnOnce(&[u8]) -> T) -> T {
        let bytes = tensor.bytes(&self.bytes);
        let written = write(bytes);
        let start = bytes.as_ptr().addr() - self.bytes.as_ptr().addr();
        self.bytes.discard(start..start + bytes.len());
        written
    }

    /// Whether it is a plugin alone.
    fn is_plugin(&self) -> bool {
        let (key, value) = FILE_TYPE[0];
        self.gguf.metadata().get(key).and_then(Value::as_str) == Some(value)
    }

    /// The keys that another file may have too: all but the checksums.
    fn keys(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.gguf.metadata().iter().filter(|(key, _)| *key != checksum::KEY)
    }
}

/// The type of this name, in any case; if there is none, the names that there are.
pub fn tensor_type(name: &str) -> std::result::Result<TensorType, String> {
    let found = TensorType::ALL.iter().find(|dtype| dtype.name().eq_ignore_ascii_case(name));
    let known = || TensorType::ALL.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ");
    found.copied().ok_or_else(|| format!("known types: {}", known()))
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
    writer.write_to(output).map_err(ConvertError::from_output)
}

/// Refuses an output that is one of the inputs: it is mapped, and the only copy.
///
/// # Errors
/// [`ConvertError::OverwritesInput`], however the paths are spelled.
pub fn check_output(output: &Path, inputs: &[&Path]) -> Result<()> {
    let Ok(target) = output.canonicalize() else { return Ok(()) };
    match inputs.iter().find(|input| input.canonicalize().is_ok_and(|input| input == target)) {
        Some(input) => Err(ConvertError::OverwritesInput { path: (*input).to_owned() }),
        None => Ok(()),
    }
}
