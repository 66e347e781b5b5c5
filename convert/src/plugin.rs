//! A trainer's checkpoint becomes a plugin file.
//!
//! A checkpoint is a folder with `plugin.safetensors`: F32 tensors with the names and row-major
//! shapes of [`schema::tensors`], and a `__metadata__` map with the keys of [`schema::keys`] as
//! text.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use ollm_runtime::gguf::{Layout, MAGIC, TensorType, Writer};
use ollm_runtime::plugin::PluginError;
use ollm_runtime::plugin::schema::{self, PluginConfig};
use ollm_runtime::storage::Storage;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::description::Description;
use crate::table::{self, Row};
use crate::{ConvertError, Result, check_absent, check_output, names, quantize};

/// The file in a checkpoint folder.
pub const FILE: &str = "plugin.safetensors";

/// What was written.
#[derive(Debug)]
pub struct PluginSummary {
    /// Each tensor.
    pub tensors: Vec<Row>,
    /// The tensors that could not have the type that was asked for, and have F16.
    pub kept_f16: Vec<String>,
}

/// Writes the checkpoint, a folder or the file in it, as a plugin file. Its matrices get the type
/// `matrices`, or F16 where their rows are not whole blocks of that; its vectors stay F32. An
/// output that exists is replaced only if `force`.
pub fn convert(checkpoint: &Path, output: &Path, matrices: TensorType, force: bool) -> Result<PluginSummary> {
    let path = file(checkpoint);
    check_output(output, &[&path])?;
    check_absent(output, force)?;
    let bytes = Storage::open(&path)?;
    let (description, tensors) = read(&path, &bytes)?;
    let encoded = encode_all(&tensors, &description.spec, matrices, &path)?;
    let mut writer = Writer::new();
    description.write(&mut writer).map_err(ConvertError::Output)?;
    for tensor in &encoded {
        let dims: Vec<u64> = tensor.shape.iter().rev().map(|&n| n as u64).collect();
        let data = Cow::Borrowed(tensor.data.as_slice());
        writer.tensor(tensor.name, &dims, tensor.dtype, data).map_err(ConvertError::Output)?;
    }
    crate::write(writer, output)?;
    Ok(PluginSummary::new(&encoded, matrices))
}

/// What the plugin file of a checkpoint is called by the naming convention.
///
/// # Errors
/// If the checkpoint cannot be read.
pub fn name(checkpoint: &Path, matrices: TensorType) -> Result<String> {
    let path = file(checkpoint);
    let bytes = Storage::open(&path)?;
    let (description, _) = read(&path, &bytes)?;
    let shapes = schema::tensors(&description.spec).into_iter();
    let parameters = shapes.map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let metadata = description.metadata().map_err(ConvertError::Output)?;
    Ok(names::name(&metadata, &path, parameters, matrices.name()))
}

/// The file of a checkpoint, which is that or its folder.
fn file(checkpoint: &Path) -> PathBuf {
    if checkpoint.is_dir() { checkpoint.join(FILE) } else { checkpoint.to_owned() }
}

fn read<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Description, SafeTensors<'a>)> {
    if bytes.starts_with(&MAGIC) {
        return Err(ConvertError::NotACheckpoint { path: path.to_owned() });
    }
    let malformed = |source| ConvertError::SafeTensors { path: path.to_owned(), source };
    let tensors = SafeTensors::deserialize(bytes).map_err(malformed)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
    let map = header.metadata().as_ref().ok_or_else(|| ConvertError::NoMetadata { path: path.to_owned() })?;
    Ok((Description::new(path, map)?, tensors))
}

/// A tensor as it will be in the file.
struct Encoded {
    name: &'static str,
    shape: Vec<usize>,
    dtype: TensorType,
    data: Vec<u8>,
}

fn encode_all(
    tensors: &SafeTensors<'_>,
    spec: &PluginConfig,
    matrices: TensorType,
    path: &Path,
) -> Result<Vec<Encoded>> {
    let plugin = |source| ConvertError::Plugin { path: path.to_owned(), source };
    let expected = schema::tensors(spec);
    if let Some(name) = tensors.names().into_iter().find(|name| !expected.iter().any(|(known, _)| known == name)) {
        return Err(plugin(PluginError::UnknownTensor { tensor: name.to_owned() }));
    }
    let found = expected.into_iter().map(|(name, shape)| Ok((find(tensors, name, &shape)?, name, shape)));
    let found: Vec<_> = found.collect::<std::result::Result<_, _>>().map_err(plugin)?;
    found.into_iter().map(|(view, name, shape)| encode(&view, name, shape, matrices)).collect()
}

fn find<'a>(
    tensors: &SafeTensors<'a>,
    name: &'static str,
    shape: &[usize],
) -> std::result::Result<TensorView<'a>, PluginError> {
    let view = tensors.tensor(name).map_err(|_| PluginError::MissingTensor { tensor: name.to_owned() })?;
    if view.shape() == shape {
        return Ok(view);
    }
    Err(PluginError::WrongShape { tensor: name, expected: shape.to_vec(), found: view.shape().to_vec() })
}

fn encode(view: &TensorView<'_>, name: &'static str, shape: Vec<usize>, matrices: TensorType) -> Result<Encoded> {
    if view.dtype() != safetensors::Dtype::F32 {
        return Err(ConvertError::NotF32 { tensor: name.to_owned(), found: view.dtype() });
    }
    let (values, _) = view.data().as_chunks();
    let values: Vec<f32> = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let dtype = stored_type(&shape, matrices);
    let data = quantize::encode(dtype, &values, None)
        .map_err(|source| ConvertError::Values { tensor: name.to_owned(), source })?;
    Ok(Encoded { name, shape, dtype, data })
}

/// Vectors are F32: they are small, and the kernels read them as they are.
fn stored_type(shape: &[usize], matrices: TensorType) -> TensorType {
    match *shape {
        [_, cols] if matrices.row_bytes(cols).is_some() => matrices,
        [_, _] => TensorType::F16,
        _ => TensorType::F32,
    }
}

impl PluginSummary {
    fn new(encoded: &[Encoded], matrices: TensorType) -> Self {
        let other = |tensor: &&Encoded| tensor.shape.len() == 2 && tensor.dtype != matrices;
        Self {
            tensors: encoded.iter().map(Encoded::row).collect(),
            kept_f16: encoded.iter().filter(other).map(|tensor| tensor.name.to_owned()).collect(),
        }
    }
}

impl Encoded {
    fn row(&self) -> Row {
        let Self { name, shape, dtype, data } = self;
        Row { name: (*name).to_owned(), shape: shape.clone(), dtype: *dtype, layout: Layout::Rows, bytes: data.len() }
    }
}

impl fmt::Display for PluginSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::tensors(f, &self.tensors)?;
        table::totals(f, &self.tensors)?;
        self.kept_f16.iter().try_for_each(|name| writeln!(f, "note: {name} is F16: its rows are not whole blocks"))
    }
}
