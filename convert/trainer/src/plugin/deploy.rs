//! Trained plugins as the runtime runs them, made in memory; and what is made of one to compare it
//! with.
//!
//! Matrices are F16, as in the files that are shipped.

use std::path::Path;

use candle_core::{Device, Tensor};
use ollm_convert::FileKind;
use ollm_runtime::gguf::{Gguf, MAGIC, TensorType, Writer};
use ollm_runtime::model::Model;
use ollm_runtime::plugin::Plugin;
use ollm_runtime::plugin::schema::{self, DecoderKind, PluginConfig};
use ollm_runtime::quant;
use ollm_runtime::storage::Storage;

use crate::data::hash::fnv1a;
use crate::data::rng::Rng;
use crate::data::tensor_file::Tensors;
use crate::error::{Error, Result};
use crate::features::backbone::BackboneDescription;
use crate::plugin::file::Loaded;
use crate::plugin::nets::{TensorSlot, names};

/// Reads a plugin: what a run wrote (safetensors; a control is a plugin of one option) or a plugin
/// file (GGUF).
///
/// # Errors
/// If it cannot be read, is neither, or belongs to another backbone.
pub fn open(path: &Path, about: &BackboneDescription) -> Result<Loaded> {
    let storage = Storage::open(path)?;
    if storage.starts_with(&MAGIC) {
        from_gguf(path, &storage, about)
    } else {
        let whole = Loaded::plugin(path, about, &Device::Cpu);
        whole.or_else(|refused| match Loaded::control(path, about, &Device::Cpu) {
            Ok(control) if control.tensors.keys().all(|name| name.starts_with(names::DECODER)) => of_control(&control),
            _ => Err(refused),
        })
    }
}

/// A control's file as a plugin of one option, which adds nothing to it.
fn of_control(control: &Loaded) -> Result<Loaded> {
    let spec = PluginConfig { options: 1, ..control.spec.clone() };
    let tensor = |(name, shape): TensorSlot| {
        let own = control.tensors.get(name).cloned();
        let tensor = own.map_or_else(|| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu), Ok)?;
        Ok((name.to_owned(), tensor))
    };
    let tensors = schema::tensors(&spec).into_iter().map(tensor).collect::<Result<_>>()?;
    Ok(Loaded { spec, tensors })
}

fn from_gguf(path: &Path, file: &[u8], about: &BackboneDescription) -> Result<Loaded> {
    let bad = |error: &dyn std::fmt::Display| Error::bad_file(path, error.to_string());
    let gguf = Gguf::parse(file).map_err(|error| bad(&error))?;
    ollm_convert::expect_kind(path, gguf.metadata(), &[FileKind::Plugin, FileKind::Merged])?;
    let spec = PluginConfig::from_metadata(gguf.metadata()).map_err(|error| bad(&error))?;
    spec.backbone.check(&about.backbone).map_err(|error| bad(&error))?;
    spec.check_tensors(&gguf).map_err(|error| bad(&error))?;
    let mut tensors = Tensors::new();
    for (name, shape) in schema::tensors(&spec) {
        if let Some(tensor) = gguf.tensor(name) {
            let mut values = vec![0.0; tensor.elements()];
            quant::decode(tensor.dtype, tensor.bytes(file), &mut values).map_err(|error| bad(&error))?;
            tensors.insert(name.to_owned(), Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
    }
    Ok(Loaded { spec, tensors })
}

/// The plugin's file.
pub fn to_gguf(plugin: &Loaded) -> Result<Vec<u8>> {
    let mut writer = Writer::new();
    let keys = schema::FILE_TYPE.map(|(key, value)| (key, value.into())).into_iter().chain(plugin.spec.to_metadata());
    for (key, value) in keys {
        writer.set(key, value).map_err(ollm_runtime::Error::from)?;
    }
    for slot in schema::tensors(&plugin.spec) {
        let (dtype, bytes) = encode(plugin, &slot)?;
        let dims: Vec<u64> = slot.1.iter().rev().map(|&size| size as u64).collect();
        writer.tensor(slot.0, &dims, dtype, bytes).map_err(ollm_runtime::Error::from)?;
    }
    Ok(writer.to_bytes())
}

/// The plugin, bound to its backbone.
pub fn bind(plugin: &Loaded, model: &Model) -> Result<Plugin> {
    Ok(Plugin::from_storage(Storage::from(to_gguf(plugin)?), model)?)
}

/// A hash of the tensors whose names begin with `prefix`, as they are deployed.
pub fn hash(plugin: &Loaded, prefix: &str) -> Result<u64> {
    let named = schema::tensors(&plugin.spec).into_iter().filter(|(name, _)| name.starts_with(prefix));
    let parts = named.map(|slot| encode(plugin, &slot).map(|(_, bytes)| bytes)).collect::<Result<Vec<_>>>()?;
    Ok(fnv1a(parts.iter().map(Vec::as_slice)))
}

/// A tensor in the type in which it is deployed.
fn encode(plugin: &Loaded, (name, shape): &TensorSlot) -> Result<(TensorType, Vec<u8>)> {
    let dtype = if shape.len() == 1 { TensorType::F32 } else { TensorType::F16 };
    let not_finite = |error| Error::NonFinite { what: format!("tensor {name} ({error})") };
    Ok((dtype, quant::encode(dtype, &values(&plugin.tensor(name)?)?).map_err(not_finite)?))
}

/// The control inside a plugin of kind `lowrank`: its shared correction, as a plugin of one option.
pub fn control(plugin: &Loaded) -> Result<Loaded> {
    let DecoderKind::LowRank { .. } = plugin.spec.decoder else {
        return Err(Error::Setting {
            name: "--plugin",
            reason: "only a plugin of kind lowrank has its control inside, with which the others are compared".into(),
        });
    };
    let spec = PluginConfig { options: 1, ..plugin.spec.clone() };
    let first = |(name, shape): (&'static str, Vec<usize>)| {
        let tensor = plugin.tensor(name)?.narrow(0, 0, shape[0])?;
        let tensor = if name == names::DELTA_OUT { tensor.zeros_like()? } else { tensor };
        Ok((name.to_owned(), tensor))
    };
    let tensors = schema::tensors(&spec).into_iter().map(first).collect::<Result<_>>()?;
    Ok(Loaded { spec, tensors })
}

/// The first latent that is the control, if options of kind `lowrank` keep it: its delta is zero.
pub fn control_latent(plugin: &Loaded) -> Result<Option<usize>> {
    if !matches!(plugin.spec.decoder, DecoderKind::LowRank { .. }) || plugin.spec.options < 2 {
        return Ok(None);
    }
    let values = values(&plugin.tensor(names::DELTA_OUT)?)?;
    let of_latent = values.len() / plugin.spec.options;
    Ok(values.chunks_exact(of_latent.max(1)).position(|delta| delta.iter().all(|value| *value == 0.0)))
}

/// The plugin with a policy that chooses its control, with a probability of a half, in every state.
///
/// # Errors
/// [`Error::Setting`] if the control is not among its options.
pub fn choosing_control(plugin: &Loaded) -> Result<Loaded> {
    let options = plugin.spec.options;
    let control = control_latent(plugin)?.ok_or_else(|| Error::Setting {
        name: "--start",
        reason: "the control is not among the options of this plugin: train them with --keep-control true".into(),
    })?;
    let share = |z| if z == control { 0.5 } else { 0.5 / (options - 1) as f64 };
    constant_policy(plugin, &(0..options).map(share).collect::<Vec<_>>())
}

/// The plugin with its options' deltas turned in random directions: each column of the outer factor
/// (kind `lowrank`), or each embedding (kind `swiglu`), is a random one of the same norm.
pub fn random_deltas(plugin: &Loaded, seed: u64) -> Result<Loaded> {
    let (d, mut rng) = (plugin.spec.backbone.hidden, Rng::stream(seed, "random deltas", 0));
    let (name, by_column) = match plugin.spec.decoder {
        DecoderKind::LowRank { .. } => (names::DELTA_OUT, true),
        DecoderKind::SwiGlu { .. } => (names::EMBED, false),
    };
    let tensor = plugin.tensor(name)?;
    // `[options, vectors, d]`
    let vectors = tensor.reshape((plugin.spec.options, d, ()))?;
    let vectors = if by_column { vectors.transpose(1, 2)?.contiguous()? } else { vectors.reshape(((), 1, d))? };
    let noise: Vec<f32> = (0..vectors.elem_count()).map(|_| rng.normal()).collect();
    let noise = Tensor::from_vec(noise, vectors.shape(), tensor.device())?;
    let norms = |vectors: &Tensor| vectors.sqr()?.sum_keepdim(2)?.sqrt();
    let turned = noise.broadcast_mul(&(norms(&vectors)? / norms(&noise)?)?)?;
    let turned = if by_column { turned.transpose(1, 2)?.contiguous()? } else { turned };
    Ok(with(plugin, [(name, turned.reshape(tensor.shape())?)]))
}

/// The plugin with a policy that says the same in every state.
pub fn constant_policy(plugin: &Loaded, probabilities: &[f64]) -> Result<Loaded> {
    let (weight, bias) = (policy_out("weight"), policy_out("bias"));
    let logits: Vec<f32> = probabilities.iter().map(|p| p.max(f64::MIN_POSITIVE).ln() as f32).collect();
    let logits = Tensor::from_vec(logits, plugin.spec.options, &Device::Cpu)?;
    let zeros = plugin.tensor(&weight)?.zeros_like()?;
    Ok(with(plugin, [(weight.as_str(), zeros), (bias.as_str(), logits)]))
}

fn policy_out(part: &str) -> String {
    format!("{}.out.{part}", names::POLICY)
}

/// The plugin with other tensors in place of some of its own.
pub fn with<'a>(plugin: &Loaded, tensors: impl IntoIterator<Item = (&'a str, Tensor)>) -> Loaded {
    let mut all = plugin.tensors.clone();
    all.extend(tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)));
    Loaded { spec: plugin.spec.clone(), tensors: all }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::backbone::{BackboneModel, TextSettings};
    use crate::testing;

    fn loaded(decoder: DecoderKind) -> Loaded {
        let spec = testing::spec(8, decoder);
        Loaded { tensors: testing::random_params(&spec).tensors(), spec }
    }

    const KINDS: [DecoderKind; 2] = [DecoderKind::SwiGlu { width: 4 }, DecoderKind::LowRank { width: 4, rank: 3 }];

    #[test]
    fn a_plugin_file_comes_back_but_for_the_rounding_to_f16() {
        let folder = testing::folder("deploy");
        std::fs::create_dir_all(&folder).unwrap();
        let valued = PluginConfig { value_width: Some(4), ..testing::spec(8, KINDS[0]) };
        let valued = Loaded { tensors: testing::random_params(&valued).tensors(), spec: valued };
        for plugin in KINDS.map(loaded).into_iter().chain([valued]) {
            let path = folder.join("plugin.gguf");
            std::fs::write(&path, to_gguf(&plugin).unwrap()).unwrap();
            let read = open(&path, &testing::description(8, 12)).unwrap();
            assert_eq!(read.spec, plugin.spec);
            for (name, tensor) in &plugin.tensors {
                let (got, want) = (values(&read.tensors[name]).unwrap(), values(tensor).unwrap());
                assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= b.abs() / 1024.0), "{name}");
            }
            assert!(matches!(open(&path, &testing::description(8, 13)), Err(Error::BadFile { .. })));
            std::fs::write(&path, b"neither").unwrap();
            assert!(matches!(open(&path, &testing::description(8, 12)), Err(Error::BadFile { .. })));
        }
    }

    #[test]
    fn random_deltas_keep_their_norms_and_nothing_else_changes() {
        for kind in KINDS {
            let plugin = loaded(kind);
            let turned = random_deltas(&plugin, 3).unwrap();
            for (name, tensor) in &plugin.tensors {
                let (old, new) = (values(tensor).unwrap(), values(&turned.tensors[name]).unwrap());
                if name != names::DELTA_OUT && name != names::EMBED {
                    assert_eq!(old, new, "{name}");
                    continue;
                }
                assert_ne!(old, new);
                // The first column of the second option, or the second embedding.
                let vector = |all: &[f32]| -> f32 {
                    let of = |i: usize| if name == names::EMBED { all[8 + i] } else { all[(8 + i) * 3] };
                    (0..8).map(|i| of(i) * of(i)).sum::<f32>().sqrt()
                };
                testing::assert_close(vector(&old), vector(&new), 1e-5);
            }
            assert_eq!(
                values(&random_deltas(&plugin, 3).unwrap().tensors[names::POLICY_NORM]).unwrap(),
                values(&turned.tensors[names::POLICY_NORM]).unwrap()
            );
        }
    }

    #[test]
    fn a_file_of_another_kind_is_refused_by_its_name_and_kind() {
        let file = testing::folder("kinds");
        std::fs::write(&file, Writer::new().to_bytes()).unwrap();
        let refused = open(&file, &testing::description(8, 12)).err().unwrap().to_string();
        let expected = "is a backbone; expected an OLLM plugin or a backbone merged with a plugin";
        assert_eq!(refused, format!("{}: {expected}", file.display()));
        let refused = BackboneModel::open(&file, &TextSettings::default()).err().unwrap().to_string();
        assert!(refused.starts_with(&format!("{}: ", file.display())), "{refused}");
    }

    #[test]
    fn the_file_of_a_control_is_a_plugin_of_one_option() {
        let about = testing::description(8, 12);
        for plugin in KINDS.map(loaded) {
            let slots = crate::plugin::nets::control_slots(&plugin.spec);
            let tensors: Tensors =
                slots.iter().map(|(name, _)| ((*name).to_owned(), plugin.tensors[*name].clone())).collect();
            let file = testing::folder("control-file");
            let described = crate::plugin::file::described(&plugin.spec, []);
            crate::data::tensor_file::save(&file, &tensors, &described).unwrap();
            let opened = open(&file, &about).unwrap();
            assert_eq!(opened.spec.options, 1);
            assert!(values(&opened.tensors[names::OUT]).unwrap() == values(&plugin.tensors[names::OUT]).unwrap());
            let added = if matches!(plugin.spec.decoder, DecoderKind::LowRank { .. }) {
                names::DELTA_OUT
            } else {
                names::EMBED
            };
            assert!(values(&opened.tensors[added]).unwrap().iter().all(|&x| x == 0.0));
            // A plugin that lacks a tensor is no control.
            let mut less = plugin.tensors.clone();
            less.remove(added);
            crate::data::tensor_file::save(&file, &less, &described).unwrap();
            assert!(matches!(open(&file, &about), Err(Error::BadFile { .. })));
        }
    }

    #[test]
    fn a_control_is_one_option_without_a_delta() {
        let plugin = loaded(KINDS[1]);
        let control = control(&plugin).unwrap();
        assert_eq!(control.spec.options, 1);
        assert!(values(&control.tensors[names::DELTA_OUT]).unwrap().iter().all(|&x| x == 0.0));
        assert_eq!(values(&control.tensors[names::OUT]).unwrap(), values(&plugin.tensors[names::OUT]).unwrap());
        for (name, shape) in schema::tensors(&control.spec) {
            assert_eq!(control.tensors[name].dims(), shape);
        }
        assert!(matches!(super::control(&loaded(KINDS[0])), Err(Error::Setting { .. })));
    }
}
