//! PEFT's adapters: merged into an imported backbone they give what a checkpoint gives that they
//! were merged into before.

use std::collections::BTreeMap;
use std::path::Path;

use ollm_convert::ConvertError;
use ollm_convert::adapter::merge;
use ollm_convert::import::{PeftAdapter, peft};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::quant;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::encoders::copied;
use super::source::{GOLDENS, Source, imported, run};
use crate::common::{Folder, read};

type Factor = (Vec<usize>, Vec<f32>);

/// Adapters of all projections in the layers of a checkpoint but those of single experts, by PEFT's
/// names; ranks of 2 and 4.
fn factors(source: &Source) -> BTreeMap<String, Factor> {
    let mut all = BTreeMap::new();
    let is_adapted = |name: &str| {
        let modules = ["_proj", ".wqkv", ".shared_mlp."];
        name.contains(".layers.")
            && name.ends_with(".weight")
            && modules.iter().any(|part| name.contains(part))
            && !name.contains(".experts.")
    };
    let adapted = source.tensors.iter().filter(|(name, (_, shape, _))| is_adapted(name) && shape.len() == 2);
    for (i, (name, (_, shape, _))) in adapted.enumerate() {
        let module = name.trim_end_matches(".weight");
        let rank = 2 + i % 2 * 2;
        for (factor, shape) in [("lora_A", [rank, shape[1]]), ("lora_B", [shape[0], rank])] {
            let values = (0..shape[0] * shape[1]).map(|k| ((k * 31 + i * 7) % 17) as f32 / 64.0 - 0.125).collect();
            all.insert(format!("base_model.model.{module}.{factor}.weight"), (shape.to_vec(), values));
        }
    }
    all
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn write(config: &Value, factors: &BTreeMap<String, Factor>, dtype: TensorType) -> Folder {
    let folder = Folder::new();
    folder.write("adapter_config.json", config.to_string());
    let stored = factors.values().map(|(_, values)| quant::encode(dtype, values).unwrap()).collect::<Vec<_>>();
    let kind = if dtype == TensorType::F32 { Dtype::F32 } else { Dtype::BF16 };
    let views = factors.iter().zip(&stored);
    let views = views.map(|((name, (shape, _)), bytes)| (name, TensorView::new(kind, shape.clone(), bytes).unwrap()));
    folder.write("adapter_model.safetensors", safetensors::serialize(views, None).unwrap());
    folder
}

/// The checkpoint with the adapters in its matrices.
fn merged(source: &Source, factors: &BTreeMap<String, Factor>, scale: impl Fn(&str, usize) -> f32) -> Source {
    let mut merged = Source {
        tensors: source.tensors.clone(),
        config: source.config.clone(),
        tokenizer: source.tokenizer.clone(),
        settings: source.settings.clone(),
    };
    for (name, (_, shape, data)) in &mut merged.tensors {
        let key = |factor: &str| format!("base_model.model.{}.{factor}.weight", name.trim_end_matches(".weight"));
        let Some(((a_shape, a), (_, b))) = factors.get(&key("lora_A")).zip(factors.get(&key("lora_B"))) else {
            continue;
        };
        let (rank, cols) = (a_shape[0], shape[1]);
        let mut values: Vec<f32> = data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        for (i, value) in values.iter_mut().enumerate() {
            let (row, col) = (i / cols, i % cols);
            *value += scale(name, rank) * (0..rank).map(|k| b[row * rank + k] * a[k * cols + col]).sum::<f32>();
        }
        *data = bytes(&values);
    }
    merged
}

/// Writes the imported backbone and gives the folder that it is in.
fn backbone(source: &Source) -> Folder {
    let folder = Folder::new();
    folder.write("base.gguf", imported(source, "F32").0);
    folder
}

fn settings(more: &Value) -> Value {
    let mut all = json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 6, "bias": "none", "modules_to_save": null, "use_dora": false });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

#[test]
fn adapters_merged_after_the_import_are_adapters_merged_before_it() {
    // Of Falcon H1 they are refused.
    let is_read = |name: &&str| !name.starts_with("falcon-h1");
    for (i, name) in GOLDENS.into_iter().filter(is_read).enumerate() {
        let source = Source::of(name);
        let factors = factors(&source);
        let ways = [
            (json!({}), TensorType::F32, (|_: &str, rank| 6.0 / rank as f32) as fn(&str, usize) -> f32),
            (json!({}), TensorType::Bf16, |_, rank| 6.0 / rank as f32),
            (json!({ "use_rslora": true }), TensorType::F32, |_, rank| 6.0 / (rank as f32).sqrt()),
            // The first expression that matches counts.
            (
                json!({ "alpha_pattern": { r"layers\.0\..*": 9, ".*": 2, "[a-z._0-9]+": 7 } }),
                TensorType::F32,
                |name, rank| (if name.contains("layers.0.") { 9.0 } else { 2.0 }) / rank as f32,
            ),
        ];
        // Every way with one model, and one with each other, in turn.
        let ways = if name == "llama" { &ways[..] } else { &ways[i % ways.len()..][..1] };
        for (more, dtype, scale) in ways {
            // Of a class with a head, and of one without.
            let stored = factors.iter().map(|(name, factor)| {
                let bare = name.replace("base_model.model.model.", "base_model.model.");
                (if i % 2 == 0 { name.clone() } else { bare }, factor.clone())
            });
            let (folder, place) = (write(&settings(more), &stored.collect(), *dtype), backbone(&source));
            let [base, adapter, output] = ["base.gguf", "adapter.gguf", "merged.gguf"].map(|name| place.join(name));
            peft(&folder.join(""), &base).unwrap().adapter.write(TensorType::F32, &adapter, false).unwrap();
            merge(&base, &adapter, &output, TensorType::F32, false).unwrap();
            let (got, expected) = (read(&output), imported(&merged(&source, &factors, scale), "F32"));
            for tensor in expected.1.tensors() {
                let decoded = |(bytes, gguf): &(Vec<u8>, ollm_runtime::gguf::Gguf)| {
                    let found = gguf.tensor(&tensor.name).unwrap();
                    let mut values = vec![0.0; found.elements()];
                    quant::decode(found.dtype, found.bytes(bytes), &mut values).unwrap();
                    values
                };
                let (got, expected) = (decoded(&got), decoded(&expected));
                let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 1e-5, "{name}: {} is off by {off}", tensor.name);
            }
        }
    }
}

/// Of encoders, by the names of every class: without a head, and with one.
#[test]
fn adapters_of_encoders_are_found_under_every_name() {
    for (name, modules) in [
        ("bert", ["", "bert."].map(|class| format!("{class}encoder.layer.1.attention.self.query"))),
        ("roberta", ["", "roberta."].map(|class| format!("{class}encoder.layer.1.attention.self.query"))),
        ("modern-bert", ["", "model."].map(|class| format!("{class}layers.1.mlp.Wo"))),
    ] {
        let source = copied(&format!("encoders/{name}"));
        run(&source, "F32").unwrap();
        let base = source.join("out.gguf");
        let matrix = if name == "modern-bert" { "blk.1.ffn_down.weight" } else { "blk.1.attn_q.weight" };
        let (_, gguf) = read(&base);
        let info = gguf.tensor(matrix).unwrap();
        for module in modules {
            let factor = |part: &str, shape: [usize; 2]| {
                let values = vec![0.5; shape[0] * shape[1]];
                (format!("base_model.model.{module}.{part}.weight"), (shape.to_vec(), values))
            };
            let factors = [factor("lora_A", [4, info.cols()]), factor("lora_B", [info.rows(), 4])];
            let folder = write(&settings(&json!({})), &factors.into(), TensorType::F32);
            let adapter = source.join("adapter.gguf");
            peft(&folder.join(""), &base).unwrap().adapter.write(TensorType::F32, &adapter, true).unwrap();
            let (_, written) = read(&adapter);
            assert_eq!(written.tensors().len(), 2, "{module}");
            assert!(written.tensor(&format!("{matrix}.lora_a")).is_some(), "{module}");
        }
    }
}

/// Their factors would need the multipliers that GGUF has in the weights.
#[test]
fn adapters_of_models_with_multipliers_are_refused() {
    let source = Source::of("falcon-h1");
    let folder = write(&settings(&json!({})), &factors(&source), TensorType::F32);
    let error = peft(&folder.join(""), &backbone(&source).join("base.gguf")).unwrap_err();
    assert!(matches!(&error, ConvertError::BadAdapter { reason, .. } if reason.contains("multipliers")), "{error}");
}

#[test]
fn adapters_of_single_experts_are_refused() {
    let source = Source::of("qwen3moe");
    let place = backbone(&source);
    let module = "base_model.model.model.layers.1.mlp.experts.2.up_proj";
    let factor = |name: &str, shape: [usize; 2]| {
        (format!("{module}.{name}.weight"), (shape.to_vec(), vec![0.5; shape[0] * shape[1]]))
    };
    let factors = BTreeMap::from([factor("lora_A", [2, 32]), factor("lora_B", [16, 2])]);
    let folder = write(&settings(&json!({})), &factors, TensorType::F32);
    let error = peft(&folder.join(""), &place.join("base.gguf")).err().unwrap().to_string();
    assert!(error.contains("experts.2.up_proj") && error.contains("merge it in PEFT"), "{error}");
}

#[test]
fn what_is_no_plain_lora_or_of_another_backbone_is_refused() {
    let source = Source::of("llama");
    let (place, factors) = (backbone(&source), factors(&source));
    let base = place.join("base.gguf");
    let run = |config: Value, factors: &BTreeMap<String, Factor>| -> Result<PeftAdapter, ConvertError> {
        peft(&write(&config, factors, TensorType::F32).join(""), &base)
    };
    let said = |config: Value, factors: &BTreeMap<String, Factor>| run(config, factors).unwrap_err().to_string();
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("bias", json!("all")),
        ("modules_to_save", json!(["lm_head"])),
        ("lora_alpha", json!(-1)),
        ("init_lora_weights", json!("pissa_niter_16")),
        ("init_lora_weights", json!("loftq")),
        ("use_qalora", json!(true)),
        ("layer_replication", json!([[0, 1], [0, 1]])),
        ("alora_invocation_tokens", json!([1, 2])),
        ("use_bdlora", json!({ "nblocks": 2 })),
        ("target_parameters", json!(["q_proj.weight"])),
        ("something_new", json!(1)),
    ] {
        let message = said(settings(&json!({ key: value })), &factors);
        assert!(message.contains(key), "{message}");
    }
    assert!(said(settings(&json!({ "alpha_pattern": { "q_proj(": 1 } })), &factors).contains("q_proj("));
    // PEFT passes over an expression that no module matches: `(.*\.)?` stands before it.
    let unused = json!({ "rank_pattern": { "layers.99": 1 }, "alpha_pattern": { "proj": 1, "^q_proj": 3 } });
    let read = run(settings(&unused), &factors).unwrap();
    assert_eq!(read.adapter, run(settings(&json!({})), &factors).unwrap().adapter);
    assert!(read.notes.len() == 3 && read.notes[0].contains("\"proj\" of alpha_pattern"), "{:?}", read.notes);
    // What other programs write there, and does not change the result.
    let plain = json!({
        "init_lora_weights": "eva", "use_qalora": false, "layer_replication": null, "target_parameters": [],
        "loftq_config": {}, "lora_dropout": 0.1, "target_modules": ["q_proj"], "rank_pattern": { "q_proj": 2 },
        "megatron_core": "megatron.core", "qalora_group_size": 16, "runtime_config": { "ephemeral_gpu_offload": false },
    });
    run(settings(&plain), &factors).unwrap();
    let with = |name: &str, shape: &[usize]| {
        let mut factors = factors.clone();
        factors.insert(name.to_owned(), (shape.to_vec(), vec![0.5; shape.iter().product()]));
        said(settings(&json!({})), &factors)
    };
    let query = "base_model.model.model.layers.0.self_attn.q_proj";
    for name in ["lm_head.lora_A.weight", "model.embed_tokens.lora_embedding_A", "lm_head.base_layer.weight"] {
        let error = with(&format!("base_model.model.{name}"), &[2, 4]);
        assert!(error.contains("is of the head or the embedding"), "{error}");
    }
    assert!(with(&format!("{query}.lora_B.weight"), &[64, 3]).contains("has rank"));
    let rank = factors[&format!("{query}.lora_A.weight")].0[0];
    assert!(with(&format!("{query}.lora_A.weight"), &[rank, 5]).contains("shape"));
    assert!(with(&format!("{query}.lora_B.weight"), &[65, rank]).contains("shape"));
    let mut half = factors.clone();
    half.remove(&format!("{query}.lora_A.weight"));
    assert!(said(settings(&json!({})), &half).contains("lacks a factor"));
    assert!(said(settings(&json!({})), &BTreeMap::new()).contains("no factors"));
    let folder = write(&settings(&json!({})), &factors, TensorType::F32);
    assert!(matches!(peft(&folder.join(""), Path::new("nothing.gguf")), Err(ConvertError::Runtime(_))));
}

#[test]
fn no_file_of_the_folder_is_the_output() {
    let source = Source::of("llama");
    let place = backbone(&source);
    let folder = write(&settings(&json!({})), &factors(&source), TensorType::F32);
    let base = place.join("base.gguf");
    for name in ["adapter_model.safetensors", "adapter_config.json"] {
        let before = std::fs::read(folder.join(name)).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ollm-convert"));
        command.arg("adapter").arg(folder.join("")).arg("--backbone").arg(&base).arg("--force");
        let output = command.arg("-o").arg(folder.join(name)).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains("would replace the input"), "{message}");
        assert!(std::fs::read(folder.join(name)).unwrap() == before);
    }
}
