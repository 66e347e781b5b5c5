//! Weights that other programs quantized are decoded as those programs do it
//! (`tests/goldens/quantized.py`).

use ollm_runtime::quant;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use super::source::{Source, golden, run};
use crate::common::read;

const MATRIX: &str = "model.layers.1.mlp.up_proj";

/// A folder whose matrix is as this scheme stores it, its configuration, and rows 0, 1 and the last
/// as they are decoded.
fn source(scheme: &str) -> (Source, Vec<f32>) {
    let bytes = std::fs::read(golden("quantized.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let config: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()[scheme]).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let mut reference = Vec::new();
    let source = Source::of("llama").set("quantization_config", config).edit(|source| {
        source.tensors.remove(&format!("{MATRIX}.weight")).unwrap();
        for (name, view) in all.tensors() {
            let Some(part) = name.strip_prefix(scheme).and_then(|part| part.strip_prefix('.')) else { continue };
            if part == "reference" {
                reference = view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            } else {
                let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                source.tensors.insert(format!("{MATRIX}.{part}"), tensor);
            }
        }
    });
    (source, reference)
}

/// Rows 0, 1 and the last of the matrix in the file that is written.
fn rows(source: &Source) -> Vec<f32> {
    let folder = source.write(2);
    run(&folder, "F32").unwrap();
    let (bytes, gguf) = read(&folder.join("out.gguf"));
    let tensor = gguf.tensor("blk.1.ffn_up.weight").unwrap();
    let mut values = vec![0.0; tensor.elements()];
    quant::decode(tensor.dtype, tensor.bytes(&bytes), &mut values).unwrap();
    [&values[..2 * tensor.cols()], &values[values.len() - tensor.cols()..]].concat()
}

#[test]
fn they_are_what_the_other_programs_decode() {
    for scheme in [
        "fp8-blocks",
        "float-tensor",
        "float-channel",
        "int-channel",
        "packed-groups",
        "packed-zero-points",
        "packed-channel",
        "packed-3",
    ] {
        let (source, reference) = source(scheme);
        assert_eq!(reference.len(), 3 * 64);
        assert!(rows(&source) == reference, "{scheme}");
    }
}

/// `ModelOpt` has one scale for each matrix, and scales of activations and of the KV cache.
#[test]
fn modelopt_has_fp8_too() {
    let numbers: Vec<u8> = (0..96 * 64_u32).map(|i| (i * 37 % 127) as u8).collect();
    let stored = |method: &str, scale: &str, more: &[&str]| {
        let mut source =
            Source::of("llama").set("quantization_config", json!({"quant_method": method, "quant_algo": "FP8"}));
        source.tensors.insert(format!("{MATRIX}.weight"), (Dtype::F8_E4M3, vec![96, 64], numbers.clone()));
        for name in [scale].iter().chain(more) {
            let bytes = 0.01_f32.to_le_bytes().to_vec();
            source.tensors.insert(format!("model.layers.1.{name}"), (Dtype::F32, vec![], bytes));
        }
        rows(&source)
    };
    let known = stored("fp8", "mlp.up_proj.weight_scale_inv", &[]);
    let more = ["mlp.up_proj.input_scale", "self_attn.kv_scale"];
    assert!(stored("modelopt", "mlp.up_proj.weight_scale", &more) == known);
    assert!(known.iter().any(|value| *value != 0.0));
}

#[test]
fn groups_may_be_named_for_each_column() {
    // The columns of a group stand apart: scales that are all the same show nothing, so each group
    // takes the other's.
    let (mut source, reference) = source("packed-groups");
    let index: Vec<u8> = (0..64_i32).flat_map(|col| ((col / 16) ^ 1).to_le_bytes()).collect();
    source.tensors.insert(format!("{MATRIX}.weight_g_idx"), (Dtype::I32, vec![64], index));
    let swapped = rows(&source);
    assert!(swapped != reference);
    let scales = source.tensors.get_mut(&format!("{MATRIX}.weight_scale")).unwrap();
    scales.2.as_chunks_mut::<4>().0.iter_mut().for_each(|pair| pair.rotate_left(2));
    assert!(rows(&source) == reference);
}

#[test]
fn what_cannot_be_decoded_says_why() {
    let error = |source: &Source| run(&source.write(1), "F16").unwrap_err().to_string();
    let without = |scheme, part: &str| {
        let (mut source, _) = source(scheme);
        source.tensors.remove(&format!("{MATRIX}.{part}")).unwrap();
        error(&source)
    };
    assert!(without("fp8-blocks", "weight_scale_inv").contains("has no scales"));
    assert!(without("packed-groups", "weight_packed").contains("is missing"));
    let (changed, _) = source("packed-groups");
    let blocks = changed.edit(|source| {
        let scales = source.tensors.get_mut(&format!("{MATRIX}.weight_scale")).unwrap();
        *scales = (Dtype::BF16, vec![96, 5], vec![0; 2 * 96 * 5]);
    });
    assert!(error(&blocks).contains("5 scales for 64 columns"));
    // Older programs put four numbers of 7 bits in a word: the shape is that of numbers of 8 bits.
    let seven = source("packed-channel").0.edit(|source| {
        source.config["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = 7.into();
    });
    assert!(error(&seven).contains("numbers of [7] bits"), "{}", error(&seven));
    for config in [json!({"quant_method": "gptq", "bits": 4}), json!({"load_in_4bit": true})] {
        let error = error(&Source::of("llama").set("quantization_config", config));
        assert!(error.contains("quant_method") && error.contains("compressed-tensors"), "{error}");
    }
    // Where config.json says nothing, the names of tensors do.
    for part in
        ["qweight", "qzeros", "g_idx", "weight.absmax", "SCB", "weight_scale", "weight_scale_inv", "input_scale"]
    {
        let source = Source::of("llama").edit(|source| {
            let (_, shape, bytes) = source.tensors.remove(&format!("{MATRIX}.weight")).unwrap();
            source.tensors.insert(format!("{MATRIX}.{part}"), (Dtype::F32, shape, bytes));
        });
        let said = error(&source);
        assert!(said.contains(part) && said.contains("no quantization_config"), "{said}");
    }
    let four = json!({"quant_method": "modelopt", "quant_algo": "NVFP4"});
    assert!(error(&Source::of("llama").set("quantization_config", four)).contains("modelopt with FP8"));
    let turned = json!({"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"u": {}}}});
    assert!(error(&Source::of("llama").set("quantization_config", turned)).contains("transform_config"));
}
