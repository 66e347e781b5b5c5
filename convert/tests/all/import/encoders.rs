//! Embedding models: the folders that sentence-transformers loads, and the files that they become.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ollm_convert::verify::verify;
use ollm_runtime::gguf::{TensorType, Value as Stored};
use ollm_runtime::model::Model;
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::source::{golden, read_json, run};
use crate::common::{Folder, read};

const NAMES: [&str; 5] = ["gemma-embedding", "bert", "nomic-bert", "modern-bert", "roberta"];

/// Keys whose values may be others: the name of the model, that of the pre-tokenizer, of which
/// several cut alike, and the type of the unknown token, which is a control token for llama.cpp.
const FREE: [&str; 3] = ["general.name", "tokenizer.ggml.pre", "tokenizer.ggml.token_type"];

/// A copy of the folder of a golden.
fn folder(name: &str) -> Folder {
    copied(&format!("encoders/{name}"))
}

/// A copy of a folder of the goldens.
pub(super) fn copied(path: &str) -> Folder {
    let folder = Folder::new();
    copy(&golden(path), &folder.join(""));
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// How far the embedding of the golden's text is from that of transformers.
fn off(path: &Path, name: &str) -> f32 {
    let manifest = read_json(&golden("encoders.json"));
    let entry = manifest["models"].as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
    let want: Vec<f32> = entry["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
    let model = Arc::new(Model::open(path).unwrap());
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let mut tokens = tokenizer.encode(manifest["text"].as_str().unwrap(), false).unwrap();
    tokenizer.enclose(&mut tokens).unwrap();
    assert_eq!(json!(tokens), entry["ids"], "{name}");
    let mut session = Session::new(model, None, &SessionOptions { threads: 1, ..SessionOptions::default() }).unwrap();
    let got = session.embed(&tokens, None, true).unwrap();
    assert_eq!(got.len(), want.len(), "{name}");
    got.iter().zip(&want).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
}

#[test]
fn a_folder_becomes_the_file_that_it_should_be() {
    for name in NAMES {
        let folder = folder(name);
        run(&folder, "F16").unwrap();
        let path = folder.join("out.gguf");
        assert_is(&path, &format!("encoders/{name}.gguf"));
        let off = off(&path, name);
        assert!(off < 1e-3, "{name}: off by {off}");
    }
}

/// That a file has the keys and the tensors of a golden.
pub(super) fn assert_is(path: &Path, name: &str) {
    let ((bytes, gguf), expected) = (read(path), read(&golden(name)));
    for (key, value) in expected.1.metadata().iter().filter(|(key, _)| !FREE.contains(key)) {
        assert_eq!(gguf.metadata().get(key).map(Stored::describe), Some(value.describe()), "{name}: {key}");
        assert!(gguf.metadata().get(key) == Some(value), "{name}: {key}");
    }
    let names: Vec<_> = gguf.tensors().iter().map(|tensor| &tensor.name).collect();
    assert_eq!(names.len(), expected.1.tensors().len(), "{name}: {names:?}");
    for want in expected.1.tensors() {
        let got = gguf.tensor(&want.name).unwrap_or_else(|| panic!("{name}: {} is missing", want.name));
        assert_eq!((got.dtype, &got.dims), (want.dtype, &want.dims), "{name}: {}", want.name);
        assert!(got.bytes(&bytes) == want.bytes(&expected.0), "{name}: {}", want.name);
    }
}

#[test]
fn quantized_models_give_nearly_the_same_embeddings() {
    for name in NAMES {
        for (recipe, tolerance) in [("Q8_0", 0.05), ("Q4_K_M", 0.5)] {
            let folder = folder(name);
            run(&folder, recipe).unwrap();
            let path = folder.join("out.gguf");
            let report = verify(&path).unwrap();
            assert!(report.is_good(), "{report}");
            let off = off(&path, name);
            assert!(off < tolerance, "{name} {recipe}: off by {off}");
            let (_, gguf) = read(&path);
            // Tables that are added to embeddings, and vectors, stay as they are.
            for tensor in gguf.tensors() {
                let stays =
                    tensor.dims.len() < 2 || ["position_embd.weight", "token_types.weight"].contains(&&*tensor.name);
                assert_eq!(tensor.dtype == TensorType::F32, stays, "{name} {recipe} {}", tensor.name);
            }
        }
    }
}

/// Edits a JSON file of a folder.
pub(super) fn edit(folder: &Folder, file: &str, change: impl FnOnce(&mut Value)) {
    let path: PathBuf = folder.join(file);
    let mut value = read_json(&path);
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn what_embeddings_are_not_made_of_here_is_refused_by_its_key() {
    type Case = (&'static str, &'static str, &'static str, Value);
    let cases: [Case; 6] = [
        ("gemma-embedding", "2_Dense/config.json", "activation_function", json!("torch.nn.modules.activation.Tanh")),
        ("gemma-embedding", "2_Dense/config.json", "in_features", json!(16)),
        ("bert", "config.json", "position_embedding_type", json!("relative_key")),
        ("bert", "config.json", "is_decoder", json!(true)),
        ("bert", "config.json", "hidden_act", json!("relu")),
        ("nomic-bert", "config.json", "moe_every_n_layers", json!(2)),
    ];
    for (name, file, key, value) in cases {
        let folder = folder(name);
        edit(&folder, file, |json| json[key] = value);
        let error = run(&folder, "F16").unwrap_err().to_string();
        let key = if key == "in_features" { "dense_2_feat_in" } else { key };
        assert!(error.contains(key), "{name}: {error}");
    }
    let folder = folder("bert");
    edit(&folder, "modules.json", |json| json[2]["type"] = "sentence_transformers.models.WordWeights".into());
    let error = run(&folder, "F16").unwrap_err().to_string();
    assert!(error.contains("WordWeights") && error.contains("Dense"), "{error}");
}

/// The keys of Nomic's own code, and the names that BERT's norms had in TensorFlow.
#[test]
fn older_names_mean_the_same() {
    let old = folder("nomic-bert");
    edit(&old, "config.json", |json| {
        let map = json.as_object_mut().unwrap();
        for (old, new) in [
            ("n_embd", "hidden_size"),
            ("n_inner", "intermediate_size"),
            ("n_layer", "num_hidden_layers"),
            ("n_head", "num_attention_heads"),
            ("max_trained_positions", "max_position_embeddings"),
            ("layer_norm_epsilon", "layer_norm_eps"),
        ] {
            let value = map.remove(new).unwrap();
            map.insert(old.to_owned(), value);
        }
        map.remove("rope_parameters");
        map.insert("rotary_emb_base".to_owned(), 1000.into());
        map.insert("activation_function".to_owned(), "swiglu".into());
        map.remove("hidden_act");
    });
    run(&old, "F16").unwrap();
    assert!(off(&old.join("out.gguf"), "nomic-bert") < 1e-3);

    let old = folder("bert");
    let bytes = fs::read(old.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let renamed = tensors.iter().map(|(name, view)| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        (format!("bert.{name}"), view)
    });
    fs::write(old.join("model.safetensors"), safetensors::serialize(renamed, None).unwrap()).unwrap();
    run(&old, "F16").unwrap();
    assert!(off(&old.join("out.gguf"), "bert") < 1e-3);
}
