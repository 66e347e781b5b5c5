//! Import of folders made of the goldens' weights, under the `config.json` that transformers saved
//! for them: the file has the keys and tensors that Python's `gguf` wrote, and the logits of
//! transformers.

mod architectures;
mod configs;
mod encoders;
mod experts;
mod peft;
mod quantized;
mod refused;
mod rerankers;
mod source;
mod tokenizers;

use indicatif::ProgressBar;
use ollm_convert::imatrix::gather;
use ollm_convert::pack::pack;
use ollm_convert::quantize::{Options, RECIPES, quantize};
use ollm_convert::verify::verify;
use ollm_runtime::gguf::TensorType;
use ollm_runtime::quant;
use safetensors::Dtype;

use crate::common::read;
use source::{GOLDENS, OURS, Source, assert_same, decoded, golden, imported, logits, logits_of, off, options, run};

#[test]
fn every_family_gets_the_keys_the_tensors_and_the_logits_that_it_should_have() {
    for name in GOLDENS {
        let (expected_bytes, expected) = read(&golden(&format!("tiny/{name}.gguf")));
        let mut source = Source::of(name);
        if source.config.get("text_config").is_some() {
            // What sees is left out.
            let patch = (Dtype::F32, vec![2], vec![0; 8]);
            source.tensors.insert("model.visual.patch_embed.proj.weight".to_owned(), patch);
        }
        for shards in [1, 3] {
            let folder = source.write(shards);
            run(&folder, "F32").unwrap();
            let (bytes, gguf) = read(&folder.join("out.gguf"));
            for (key, value) in expected.metadata().iter().filter(|(key, _)| *key != "general.name") {
                assert_eq!(gguf.metadata().get(key), Some(value), "{name} {key}");
            }
            for (key, _) in gguf.metadata().iter() {
                assert!(expected.metadata().get(key).is_some() || OURS.contains(&key), "{name} {key}");
            }
            assert!(verify(&folder.join("out.gguf")).unwrap().is_good(), "{name}");
            assert_eq!(gguf.tensors().len(), expected.tensors().len());
            for tensor in expected.tensors() {
                let found = gguf.tensor(&tensor.name).unwrap();
                assert_eq!((found.dtype, &found.dims), (TensorType::F32, &tensor.dims), "{name} {}", tensor.name);
                let (got, want) = (decoded(found, &bytes), decoded(tensor, &expected_bytes));
                // What goes through a logarithm and back is rounded twice.
                let rounded = if tensor.name.ends_with(".ssm_a") { 1e-6 } else { 0.0 };
                let same = got.iter().zip(&want).all(|(got, want)| (got - want).abs() <= rounded * want.abs());
                assert!(same || tensor.name == "rope_freqs.weight", "{name} {}", tensor.name);
            }
            let off = off(&folder.join("out.gguf"), name);
            assert!(off < 1e-3, "{name} in {shards} files: logits off by {off}");
        }
    }
}

#[test]
fn half_floats_come_in_and_go_out_as_they_are() {
    for (dtype, stored) in [(TensorType::F16, Dtype::F16), (TensorType::Bf16, Dtype::BF16)] {
        let source = Source::of("qwen2").edit(|source| {
            for (found, _, bytes) in source.tensors.values_mut() {
                let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
                (*found, *bytes) = (stored, quant::encode(dtype, &values).unwrap());
            }
        });
        let folder = source.write(2);
        run(&folder, "F32").unwrap();
        let off = off(&folder.join("out.gguf"), "qwen2");
        assert!(off < if dtype == TensorType::F16 { 0.002 } else { 0.02 }, "{dtype}: {off}");
        let (bytes, gguf) = imported(&source, dtype.name());
        let norm = gguf.tensor("blk.1.ffn_norm.weight").unwrap();
        assert_eq!(norm.dtype, TensorType::F32);
        let (_, _, before) = &source.tensors["model.layers.1.mlp.up_proj.weight"];
        assert_eq!(gguf.tensor("blk.1.ffn_up.weight").unwrap().bytes(&bytes), before);
    }
}

#[test]
fn a_recipe_gives_what_it_gives_to_an_imported_file() {
    for recipe in RECIPES {
        let folder = Source::of("mistral").write(3);
        run(&folder, "F32").unwrap();
        let options = options(recipe.name);
        quantize(&folder.join("out.gguf"), &folder.join("later.gguf"), &options, &ProgressBar::hidden()).unwrap();
        run(&folder, recipe.name).unwrap();
        assert_same(&read(&folder.join("out.gguf")), &read(&folder.join("later.gguf")), recipe.name);
    }
}

/// With every recipe, with importance, and packed, each family is a model that runs.
#[test]
fn every_family_is_quantized_weighted_and_packed() {
    let ids: Vec<u32> = (4..20).collect();
    for name in GOLDENS {
        let folder = Source::of(name).write(1);
        run(&folder, "F32").unwrap();
        let path = |name: &str| folder.join(name);
        let (from, hidden) = (path("out.gguf"), ProgressBar::hidden());
        let summary = gather(&from, &golden("text.txt"), &path("imatrix.gguf"), true, &hidden).unwrap();
        assert_eq!(summary.without_input, [""; 0], "{name}");
        for recipe in RECIPES {
            let plain = path("quantized.gguf");
            let imatrix = path("imatrix.gguf");
            let quantized = recipe.name.starts_with('Q');
            let options = Options { imatrix: quantized.then_some(imatrix.as_path()), ..options(recipe.name) };
            let summary = quantize(&from, &plain, &options, &hidden).unwrap();
            // An embedding that is not the head has none.
            let unknown = summary.notes.iter().filter(|note| note.contains("importance"));
            assert!(unknown.clone().all(|note| note.starts_with("1 tensors")), "{name}: {:?}", summary.notes);
            let expected = logits(&plain, &ids);
            assert!(expected.iter().all(|x| x.is_finite()), "{name} {}", recipe.name);
            if quantized {
                pack(&plain, &path("packed.gguf"), true).unwrap();
                assert!(logits(&path("packed.gguf"), &ids) == expected, "{name} {}", recipe.name);
            }
        }
    }
}

#[test]
fn the_command_imports_or_says_what_is_wrong() {
    let folder = Source::of("llama").write(2);
    let import = |extra: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ollm-convert"));
        let output = command.current_dir(folder.join("")).args(["import", ".", "-o", "out.gguf"]).args(extra).output();
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (status, stdout, stderr) = import(&["--type", "q8_0", "--tensor-type", "token_embd.weight=F16"]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert!(stdout.ends_with("wrote out.gguf\n"), "{stdout}");
    assert_eq!(read(&folder.join("out.gguf")).1.tensor("token_embd.weight").unwrap().dtype, TensorType::F16);
    let again = import(&["--type", "F16"]);
    assert_eq!(again, (Some(1), String::new(), "error: out.gguf exists: --force replaces it\n".to_owned()));
    assert_eq!(import(&["--type", "F16", "--force"]).0, Some(0));
    assert_eq!(import(&[]).0, Some(2));
}
