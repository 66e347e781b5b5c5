//! The backbone with its adapters in its matrices, as a GGUF file.
//!
//! Everything else of the file stays as it is, byte for byte.
//! [`FINETUNE_KEY`](ollm_runtime::model::FINETUNE_KEY) gets the digest of what was added to the
//! weights, by which the fingerprints of the two backbones differ: a plugin for one is not a plugin
//! for the other.

use std::path::Path;

use ollm_convert::{FileKind, adapter};
use ollm_runtime::gguf::{Gguf, LAYOUT_KEY, TensorType, Writer};
use ollm_runtime::model::Model;

use crate::data::tensor_file::Tensors;
use crate::error::{Error, Result};
use crate::lora::adapters::Lora;

/// Refuses what cannot be merged: to be called before anything is trained.
pub fn check(path: &Path, gguf: &Gguf, lora: &Lora, dtype: TensorType) -> Result<()> {
    if gguf.metadata().get(LAYOUT_KEY).is_some() {
        return Err(Error::bad_file(path, "the file is packed: unpack it first (ollm-convert unpack)"));
    }
    if FileKind::of(gguf.metadata()) == FileKind::Merged {
        let reason = "the file holds a plugin, which does not belong to the backbone that this makes: use one without";
        return Err(Error::bad_file(path, reason));
    }
    match lora.matrices().iter().find(|(_, [_, cols])| dtype.row_bytes(*cols).is_none()) {
        Some((name, [_, cols])) => Err(Error::Setting {
            name: "--merged-type",
            reason: format!("the rows of {name} have {cols} elements, which are not whole blocks of {dtype}"),
        }),
        None => Ok(()),
    }
}

/// Writes `model` with the adapters in `tensors`; the matrices that have some get the type `dtype`.
pub fn write(model: &Model, lora: &Lora, tensors: &Tensors, dtype: TensorType, path: &Path) -> Result<()> {
    let adapter = lora.to_file(tensors)?;
    let (mut writer, gguf) = (Writer::new(), model.gguf());
    let keys = gguf.metadata().iter();
    let added = adapter::add_adapted(&mut writer, gguf, model.storage(), keys, &adapter, dtype);
    added.and_then(|()| writer.write_to(path)).map_err(|error| Error::Runtime(ollm_runtime::Error::from(error)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{DType, Device};
    use ollm_runtime::gguf::{LAYOUT_VERSION, LAYOUT_VERSION_KEY, Layout};
    use ollm_runtime::model::FINETUNE_KEY;

    use super::*;
    use crate::lora::adapters::LoraTarget;
    use crate::lora::network::{Network, Sequences};
    use crate::testing;

    fn lora(network: &Network, targets: Vec<LoraTarget>) -> Lora {
        Lora::new(&testing::lora_settings(targets, Some(3)).shape, network, 1).unwrap()
    }

    fn random(lora: &Lora) -> Tensors {
        let fresh = lora.params(0, &Device::Cpu).unwrap().tensors();
        fresh.into_iter().map(|(name, tensor)| (name.clone(), testing::normal(&name, tensor.dims(), 0.2))).collect()
    }

    #[test]
    fn the_runtime_runs_what_was_trained() {
        let folder = testing::folder("merged");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, dtype) in [("llama", TensorType::F16), ("qwen2", TensorType::F32), ("qwen3", TensorType::Q8_0)] {
            let model = testing::model(name);
            let network = testing::network(&model, DType::F32);
            let lora = lora(&network, vec![LoraTarget::Q, LoraTarget::K, LoraTarget::O, LoraTarget::Down]);
            let (tensors, path) = (random(&lora), folder.join(name));
            write(&model, &lora, &tensors, dtype, &path).unwrap();

            let merged = Arc::new(Model::open(&path).unwrap());
            let mut sequences = Sequences::default();
            sequences.push(&[3, 1, 4, 1, 5, 9, 2, 6], 0);
            let adapted = lora.adapters(&tensors, DType::F32).unwrap().apply(&network).unwrap();
            let (hidden, _) = adapted.forward(&sequences).unwrap();
            let off = testing::difference(&hidden, &testing::states(&merged, &sequences.tokens));
            assert!(off < 0.03, "{name}: off by {off}");
            let off = testing::difference(&hidden, &testing::states(&model, &sequences.tokens));
            assert!(off > 0.1, "{name}: the adapters do nothing, {off}");
            assert_ne!(merged.fingerprint(), model.fingerprint());
            only_that_changed(&model, &merged, dtype, &lora);
        }
    }

    fn only_that_changed(before: &Model, after: &Model, dtype: TensorType, lora: &Lora) {
        let keys = |model: &Model| {
            let pairs = model.gguf().metadata().iter().filter(|(key, _)| *key != FINETUNE_KEY);
            pairs.map(|(key, value)| format!("{key} {value:?}")).collect::<Vec<_>>()
        };
        assert_eq!(keys(before), keys(after));
        for (old, new) in before.gguf().tensors().iter().zip(after.gguf().tensors()) {
            assert_eq!((&old.name, &old.dims), (&new.name, &new.dims));
            let changed = lora.matrices().iter().any(|(name, _)| *name == old.name);
            assert_eq!(new.dtype, if changed { dtype } else { old.dtype });
            assert_eq!(old.bytes(before.storage()) == new.bytes(after.storage()), !changed, "{}", old.name);
        }
    }

    #[test]
    fn each_training_has_its_own_fingerprint() {
        let folder = testing::folder("merged-twice");
        std::fs::create_dir_all(&folder).unwrap();
        let model = testing::model("llama");
        let lora = lora(&testing::network(&model, DType::F32), LoraTarget::ALL.to_vec());
        let (tensors, twice) = (random(&lora), folder.join("twice"));
        let once = |name: &str, tensors: &Tensors, dtype| {
            write(&model, &lora, tensors, dtype, &folder.join(name)).unwrap();
            Model::open(&folder.join(name)).unwrap()
        };
        let first = once("a", &tensors, TensorType::F16);
        assert_eq!(first.fingerprint(), once("b", &tensors, TensorType::Q8_0).fingerprint());
        let other = lora.params(1, &Device::Cpu).unwrap().tensors();
        assert_ne!(first.fingerprint(), once("c", &other, TensorType::F16).fingerprint());
        write(&first, &lora, &tensors, TensorType::F16, &twice).unwrap();
        assert_ne!(first.fingerprint(), Model::open(&twice).unwrap().fingerprint());
    }

    #[test]
    fn what_cannot_be_merged_is_refused_beforehand() {
        let model = testing::model("llama");
        let lora = lora(&testing::network(&model, DType::F32), LoraTarget::ALL.to_vec());
        let check = |keys: &[(&str, ollm_runtime::gguf::Value)], dtype| {
            let mut writer = Writer::new();
            for (key, value) in keys {
                writer.set(key, value.clone()).unwrap();
            }
            super::check(Path::new("m"), &Gguf::parse(&writer.to_bytes()).unwrap(), &lora, dtype)
        };
        check(&[], TensorType::Q8_0).unwrap();
        assert!(matches!(check(&[], TensorType::Q4K), Err(Error::Setting { name: "--merged-type", .. })));
        let packed = [(LAYOUT_KEY, Layout::Panels.name().into()), (LAYOUT_VERSION_KEY, LAYOUT_VERSION.into())];
        assert!(matches!(check(&packed, TensorType::F16), Err(Error::BadFile { .. })));
        assert!(matches!(check(&[("ollm.version", 1u32.into())], TensorType::F16), Err(Error::BadFile { .. })));
    }

    #[test]
    fn values_that_do_not_fit_leave_no_file() {
        let folder = testing::folder("merged-large");
        std::fs::create_dir_all(&folder).unwrap();
        let model = testing::model("llama");
        let lora = lora(&testing::network(&model, DType::F32), vec![LoraTarget::Q]);
        let large = random(&lora).into_iter().map(|(name, tensor)| (name, (tensor * 1e6).unwrap())).collect();
        let error = write(&model, &lora, &large, TensorType::F16, &folder.join("x")).unwrap_err();
        assert!(error.to_string().contains("blk.0.attn_q.weight"), "{error}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
}
