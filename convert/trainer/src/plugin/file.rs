//! A trained plugin as a file: f32 tensors, and the metadata from which `ollm-convert plugin` makes
//! a GGUF file.
//!
//! Names, shapes and keys are those of [`ollm_runtime::plugin::schema`], so a file that this module
//! reads back is one that the runtime would accept; only the values are text here, as safetensors
//! has no other metadata.

use std::path::Path;

use candle_core::Device;
use ollm_runtime::gguf::{self, GgufError, Value};
use ollm_runtime::plugin::PluginError;
use ollm_runtime::plugin::schema::{self, KeyKind, PluginConfig, TRAINING_PREFIX, keys};

use crate::data::tensor_file::Tensors;
use crate::data::tensor_file::{self, FileMetadata};
use crate::error::{Error, Result};
use crate::features::backbone::BackboneDescription;
use crate::plugin::nets::{TensorSlot, control_slots};

/// Which data a run was trained on, for the file's provenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Names of the data files, without their folders.
    pub data: String,
    /// Hash of their content.
    pub data_hash: String,
    /// Answer tokens trained on, each epoch.
    pub tokens: usize,
    /// Hash of the held-out text.
    pub valid_hash: Option<String>,
}

/// The metadata of a plugin file of which `training` says how it was trained.
pub fn described(spec: &PluginConfig, training: impl IntoIterator<Item = (&'static str, String)>) -> FileMetadata {
    let sizes = spec.to_metadata().into_iter().map(|(key, value)| (key.to_owned(), text(&value)));
    let training = training.into_iter().map(|(key, value)| (format!("{TRAINING_PREFIX}{key}"), value));
    sizes.chain(training).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A plugin or control from a file, checked against the backbone.
#[derive(Clone)]
pub struct Loaded {
    /// Its sizes.
    pub spec: PluginConfig,
    /// Its tensors.
    pub tensors: Tensors,
}

impl Loaded {
    /// Reads a finished plugin.
    pub fn plugin(path: &Path, about: &BackboneDescription, device: &Device) -> Result<Self> {
        Self::read(path, about, device, schema::tensors)
    }

    /// Reads a finished control.
    pub fn control(path: &Path, about: &BackboneDescription, device: &Device) -> Result<Self> {
        Self::read(path, about, device, control_slots)
    }

    fn read(
        path: &Path,
        about: &BackboneDescription,
        device: &Device,
        slots: fn(&PluginConfig) -> Vec<TensorSlot>,
    ) -> Result<Self> {
        let (tensors, metadata) = tensor_file::load(path, device)?;
        let spec = read_spec(&metadata, about).map_err(|error| Error::bad_file(path, error.to_string()))?;
        check_slots(path, &slots(&spec), &tensors)?;
        Ok(Self { spec, tensors })
    }

    /// The same on another device.
    pub fn to_device(self, device: &Device) -> Result<Self> {
        let tensors = self.tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_device(device)?)));
        Ok(Self { tensors: tensors.collect::<Result<_>>()?, ..self })
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Result<candle_core::Tensor> {
        let missing = || candle_core::Error::CannotFindTensor { path: name.into() };
        Ok(self.tensors.get(name).cloned().ok_or_else(missing)?)
    }
}

/// The spec, if it is one of this backbone.
fn read_spec(metadata: &FileMetadata, about: &BackboneDescription) -> std::result::Result<PluginConfig, PluginError> {
    let spec = PluginConfig::from_metadata(&typed(metadata)?)?;
    spec.backbone.check(&about.backbone)?;
    Ok(spec)
}

/// The schema's keys with the types that it gives them. A value that is not of its type stays text,
/// for the schema to refuse.
fn typed(metadata: &FileMetadata) -> std::result::Result<gguf::Metadata, GgufError> {
    let mut typed = gguf::Metadata::default();
    for key in keys::ALL {
        if let Some(text) = metadata.get(key.name) {
            typed.insert(key.name.to_owned(), value(key.kind, text))?;
        }
    }
    Ok(typed)
}

fn value(kind: KeyKind, text: &str) -> Value {
    match kind {
        KeyKind::U32 => text.parse::<u32>().map_or_else(|_| text.into(), Value::from),
        KeyKind::F32 => text.parse::<f32>().map_or_else(|_| text.into(), Value::from),
        KeyKind::Str => text.into(),
    }
}

fn check_slots(path: &Path, slots: &[TensorSlot], tensors: &Tensors) -> Result<()> {
    for (name, shape) in slots {
        let found = tensors.get(*name).map(candle_core::Tensor::dims);
        if found != Some(shape) {
            return Err(Error::bad_file(path, format!("{name} must have the shape {shape:?}, found {found:?}")));
        }
    }
    Ok(())
}
