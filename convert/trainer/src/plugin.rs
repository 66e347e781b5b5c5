//! A trained plugin as a file: f32 tensors by the names of [`crate::schema`], and metadata under `ollm.*` from which
//! `ollm-convert plugin` makes a GGUF file.

use std::path::Path;

use candle_core::Device;

use crate::backbone::Description;
use crate::error::{Error, Result};
use crate::nets::{DecoderKind, Shape, Slot};
use crate::params::Tensors;
use crate::settings::Settings;
use crate::tensor_file::{self, Metadata};

/// Which data a run was trained on, for the file's provenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Names of the data files, without their folders.
    pub data: String,
    /// Hash of their content.
    pub data_hash: String,
    /// Answer tokens trained on, each epoch.
    pub tokens: usize,
}

/// The metadata of a plugin file.
pub fn metadata(shape: &Shape, backbone: &Description, settings: &Settings, provenance: &Provenance) -> Metadata {
    let all = [sizes(shape), origin(backbone), training(settings, provenance)].concat();
    all.into_iter().map(|(key, value)| (format!("ollm.{key}"), value)).collect()
}

type Pairs = Vec<(&'static str, String)>;

fn sizes(shape: &Shape) -> Pairs {
    vec![
        ("version", "1".into()),
        ("option_count", shape.options.to_string()),
        ("norm_epsilon", shape.norm_epsilon.to_string()),
        ("decoder.kind", shape.decoder.name().into()),
        ("decoder.width", shape.width.to_string()),
        ("decoder.rank", if shape.decoder == DecoderKind::LowRank { shape.rank } else { 0 }.to_string()),
        ("encoder.kind", "mlp".into()),
        ("encoder.width", shape.encoder_width.to_string()),
        ("policy.kind", "mlp".into()),
        ("policy.width", shape.policy_width.to_string()),
    ]
}

fn origin(backbone: &Description) -> Pairs {
    vec![
        ("backbone.architecture", backbone.architecture.clone()),
        ("backbone.embedding_length", backbone.hidden.to_string()),
        ("backbone.vocab_size", backbone.vocab.to_string()),
        ("backbone.fingerprint", backbone.fingerprint.clone()),
    ]
}

fn training(settings: &Settings, provenance: &Provenance) -> Pairs {
    vec![
        ("training.objective", settings.objective.name().into()),
        ("training.kl_target", settings.kl_target.to_string()),
        ("training.data", provenance.data.clone()),
        ("training.data_hash", provenance.data_hash.clone()),
        ("training.tokens", provenance.tokens.to_string()),
        ("training.epochs", settings.epochs.to_string()),
        ("training.control_epochs", settings.control_epochs.to_string()),
        ("training.batch", settings.batch.to_string()),
        ("training.learning_rate", settings.lr.to_string()),
        ("training.seed", settings.seed.to_string()),
    ]
}

/// A plugin or control from a file, checked against the backbone.
pub struct Loaded {
    /// Its sizes.
    pub shape: Shape,
    /// Its tensors.
    pub tensors: Tensors,
    /// Its metadata.
    pub metadata: Metadata,
}

impl Loaded {
    /// Reads a finished plugin.
    pub fn plugin(path: &Path, backbone: &Description, device: &Device) -> Result<Self> {
        Self::read(path, backbone, device, Shape::slots)
    }

    /// Reads a finished control.
    pub fn control(path: &Path, backbone: &Description, device: &Device) -> Result<Self> {
        Self::read(path, backbone, device, Shape::control_slots)
    }

    fn read(path: &Path, backbone: &Description, device: &Device, slots: fn(&Shape) -> Vec<Slot>) -> Result<Self> {
        let (tensors, metadata) = tensor_file::load(path, device)?;
        check_backbone(path, backbone, &metadata)?;
        let shape = read_shape(path, backbone, &metadata)?;
        check_slots(path, &slots(&shape), &tensors)?;
        Ok(Self { shape, tensors, metadata })
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Result<candle_core::Tensor> {
        let missing = || candle_core::Error::CannotFindTensor { path: name.into() };
        Ok(self.tensors.get(name).cloned().ok_or_else(missing)?)
    }
}

fn check_backbone(path: &Path, backbone: &Description, metadata: &Metadata) -> Result<()> {
    let found = get(path, metadata, "backbone.fingerprint")?;
    if found == backbone.fingerprint {
        return Ok(());
    }
    let (what, expected) = ("backbone".to_owned(), backbone.fingerprint.clone());
    Err(Error::Mismatch { path: path.to_owned(), what, expected, found: found.to_owned() })
}

fn check_slots(path: &Path, slots: &[Slot], tensors: &Tensors) -> Result<()> {
    for (name, shape) in slots {
        let found = tensors.get(name).map(candle_core::Tensor::dims);
        if found != Some(shape) {
            return Err(Error::bad_file(path, format!("{name} must have the shape {shape:?}, found {found:?}")));
        }
    }
    Ok(())
}

fn get<'a>(path: &Path, metadata: &'a Metadata, key: &str) -> Result<&'a str> {
    let value = metadata.get(&format!("ollm.{key}")).map(String::as_str);
    value.ok_or_else(|| Error::bad_file(path, format!("no ollm.{key}: not a file of this trainer")))
}

fn number<T: std::str::FromStr>(path: &Path, metadata: &Metadata, key: &str) -> Result<T> {
    let text = get(path, metadata, key)?;
    text.parse().map_err(|_| Error::bad_file(path, format!("ollm.{key} = {text} is not a number")))
}

fn read_shape(path: &Path, backbone: &Description, metadata: &Metadata) -> Result<Shape> {
    let decoder = match get(path, metadata, "decoder.kind")? {
        "lowrank" => DecoderKind::LowRank,
        "swiglu" => DecoderKind::Swiglu,
        other => return Err(Error::bad_file(path, format!("unknown ollm.decoder.kind {other}"))),
    };
    Ok(Shape {
        hidden: backbone.hidden,
        options: number(path, metadata, "option_count")?,
        decoder,
        width: number(path, metadata, "decoder.width")?,
        rank: number(path, metadata, "decoder.rank")?,
        policy_width: number(path, metadata, "policy.width")?,
        encoder_width: number(path, metadata, "encoder.width")?,
        norm_epsilon: number(path, metadata, "norm_epsilon")?,
    })
}
