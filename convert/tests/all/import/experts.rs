//! Experts: apart, stacked, fused, turned, packed; their routers.

use indicatif::ProgressBar;
use ollm_convert::ConvertError;
use ollm_convert::imatrix::gather;
use ollm_convert::import::import;
use ollm_convert::quantize::Options;
use ollm_runtime::gguf::{TensorType, Value as Stored};
use ollm_runtime::random::Random;
use safetensors::Dtype;
use serde_json::json;

use crate::common::read;

use super::source::{EXPERTS, Source, Tensors, assert_same, decoded, fuse, golden, imported, options, run};

/// Experts may be stacked, as transformers 5 has them in memory, or apart.
#[test]
fn stacked_experts_become_the_same_file() {
    for name in ["qwen2moe", "qwen3moe", "olmoe", "mixtral"] {
        let stacked = Source::of(name).edit(|source| {
            let apart = if name == "mixtral" { ["w1", "w3", "w2"] } else { ["gate_proj", "up_proj", "down_proj"] };
            let block = if name == "mixtral" { "block_sparse_moe" } else { "mlp" };
            for layer in 0..source.config["num_hidden_layers"].as_u64().unwrap() {
                let prefix = format!("model.layers.{layer}.");
                let of = |expert: usize, part: &str| format!("{prefix}{block}.experts.{expert}.{part}.weight");
                if !source.tensors.contains_key(&of(0, apart[0])) {
                    continue;
                }
                for (parts, fused) in [(&apart[..2], "gate_up_proj"), (&apart[2..], "down_proj")] {
                    let names: Vec<String> = (0..EXPERTS)
                        .flat_map(|expert| parts.iter().map(move |part| (expert, part)))
                        .map(|(expert, part)| of(expert, part))
                        .collect();
                    let fused = format!("{prefix}mlp.experts.{fused}");
                    fuse(&mut source.tensors, &names, &fused, 1);
                    let (_, all, _) = source.tensors.get_mut(&fused).unwrap();
                    *all = vec![EXPERTS, all[0] / EXPERTS, all[1]];
                }
                if let Some(router) = source.tensors.remove(&format!("{prefix}block_sparse_moe.gate.weight")) {
                    source.tensors.insert(format!("{prefix}mlp.gate.weight"), router);
                }
            }
        });
        assert_same(&imported(&Source::of(name), "F16"), &imported(&stacked, "F16"), name);
    }
}

/// Blocks of MXFP4 become those of GGUF whatever the recipe says, and mean what they meant.
#[test]
fn experts_in_mxfp4_stay_as_they_are() {
    const VALUES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let (inputs, gate_up) = (32, 64);
    let mut random = Random::new(7);
    let packed = Source::of("gpt-oss").edit(|source| {
        source.config["quantization_config"] = json!({"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]});
        for layer in 0..2 {
            for (name, rows) in [("gate_up_proj", gate_up), ("down_proj", 32)] {
                let name = format!("model.layers.{layer}.mlp.experts.{name}");
                source.tensors.remove(&name).unwrap();
                let blocks = (0..EXPERTS * rows * inputs / 2).map(|_| random.below(256) as u8).collect();
                let scales = (0..EXPERTS * rows * inputs / 32).map(|_| 118 + random.below(8) as u8).collect();
                let shape = vec![EXPERTS, rows, inputs / 32];
                source.tensors.insert(format!("{name}_scales"), (Dtype::U8, shape.clone(), scales));
                source.tensors.insert(format!("{name}_blocks"), (Dtype::U8, [shape, vec![16]].concat(), blocks));
            }
        }
    });
    for recipe in ["F16", "Q8_0"] {
        let (bytes, gguf) = imported(&packed, recipe);
        for (layer, (target, name, step, first)) in (0..2).flat_map(|layer| {
            let of = |target, name, step, first| (layer, (target, name, step, first));
            [of("gate", "gate_up", 2, 0), of("up", "gate_up", 2, 1), of("down", "down", 1, 0)]
        }) {
            let tensor = gguf.tensor(&format!("blk.{layer}.ffn_{target}_exps.weight")).unwrap();
            assert_eq!(tensor.dtype, TensorType::Mxfp4, "{target} {recipe}");
            let part = |end: &str| &packed.tensors[&format!("model.layers.{layer}.mlp.experts.{name}_proj_{end}")].2;
            let (blocks, scales) = (part("blocks"), part("scales"));
            // As `convert_moe_packed_tensors` of transformers decodes them.
            let value = |row: usize, col: usize| {
                let at = (row * step + first) * inputs + col;
                let code = usize::from(blocks[at / 2] >> (at % 2 * 4) & 15);
                let size = VALUES[code % 8] * 2_f32.powi(i32::from(scales[at / 32]) - 127);
                if code < 8 { size } else { -size }
            };
            let rows = tensor.elements() / inputs;
            let want: Vec<f32> = (0..rows * inputs).map(|i| value(i / inputs, i % inputs)).collect();
            assert_eq!(decoded(tensor, &bytes), want, "{target} {recipe}");
        }
        assert_ne!(gguf.tensor("blk.0.attn_q.weight").unwrap().dtype, TensorType::Mxfp4);
    }
    let broken = |spoil: &dyn Fn(&mut Tensors)| {
        let mut source = Source::of("gpt-oss");
        source.tensors.clone_from(&packed.tensors);
        source.config.clone_from(&packed.config);
        spoil(&mut source.tensors);
        run(&source.write(1), "F16").unwrap_err().to_string()
    };
    let name = "model.layers.1.mlp.experts.down_proj";
    let error = broken(&|tensors| drop(tensors.remove(&format!("{name}_scales"))));
    assert!(error.contains(name) && error.contains("no scales"), "{error}");
    let error = broken(&|tensors| tensors.get_mut(&format!("{name}_blocks")).unwrap().1 = vec![EXPERTS, 64, 1, 8]);
    assert!(error.contains(name) && error.contains("[5, 64, 1, 8]"), "{error}");
    for (key, value) in [("swiglu_limit", json!(5.0)), ("swiglu_alpha", json!(1.0))] {
        let error = run(&Source::of("gpt-oss").set(key, value).write(1), "F16").unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn experts_that_the_runtime_has_not_are_refused() {
    for (name, key, value) in [
        ("qwen3moe", "mlp_only_layers", json!([1])),
        ("qwen3moe", "use_sliding_window", json!(true)),
        ("qwen2moe", "num_experts_per_tok", json!(6)),
        ("olmoe", "clip_qkv", json!(8.0)),
    ] {
        let error = run(&Source::of(name).set(key, value).write(1), "F16").unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
    let without = Source::of("olmoe").edit(|source| {
        source.tensors.remove("model.layers.1.mlp.experts.3.up_proj.weight").unwrap();
    });
    let error = run(&without.write(1), "F16").unwrap_err().to_string();
    assert!(error.contains("model.layers.1.mlp.experts.3.up_proj.weight"), "{error}");
    let (_, gguf) = imported(&Source::of("olmoe").set("norm_topk_prob", json!(true)), "F16");
    assert_eq!(gguf.metadata().get("olmoe.expert_weights_norm"), Some(&Stored::Bool(true)));
}

#[test]
fn routers_of_lfm2moe_are_read_in_each_of_their_forms() {
    let set = |key, value| imported(&Source::of("lfm2moe").set(key, value), "F16").1;
    let scaled = set("routed_scaling_factor", json!(2.5));
    assert_eq!(scaled.metadata().get("lfm2moe.expert_weights_scale"), Some(&Stored::F32(2.5)));
    let plain = set("norm_topk_prob", json!(false));
    assert_eq!(plain.metadata().get("lfm2moe.expert_weights_norm"), Some(&Stored::Bool(false)));
    let unbiased = Source::of("lfm2moe").edit(|source| {
        source.config["use_expert_bias"] = json!(false);
        source.tensors.retain(|name, _| !name.ends_with("expert_bias"));
    });
    assert!(imported(&unbiased, "F16").1.tensor("blk.1.exp_probs_b.bias").is_none());
    let stacked = Source::of("lfm2moe").edit(|source| {
        for layer in 1..4 {
            let prefix = format!("model.layers.{layer}.feed_forward.experts.");
            for (parts, fused) in [(&["w1", "w3"][..], "gate_up_proj"), (&["w2"], "down_proj")] {
                let names: Vec<String> = (0..EXPERTS)
                    .flat_map(|expert| parts.iter().map(move |part| (expert, part)))
                    .map(|(expert, part)| format!("{prefix}{expert}.{part}.weight"))
                    .collect();
                let fused = format!("{prefix}{fused}");
                fuse(&mut source.tensors, &names, &fused, 1);
                let (_, all, _) = source.tensors.get_mut(&fused).unwrap();
                *all = vec![EXPERTS, all[0] / EXPERTS, all[1]];
            }
        }
    });
    assert_same(&imported(&Source::of("lfm2moe"), "F16"), &imported(&stacked, "F16"), "stacked");
}

/// Each expert has the sums and the count of the tokens that passed through it.
#[test]
fn importance_of_experts_is_counted_by_expert() {
    let folder = Source::of("qwen3moe").write(1);
    run(&folder, "F32").unwrap();
    let (from, imatrix, hidden) = (folder.join("out.gguf"), folder.join("imatrix.gguf"), ProgressBar::hidden());
    let summary = gather(&from, &golden("text.txt"), &imatrix, true, &hidden).unwrap();
    let (bytes, gguf) = read(&imatrix);
    let values = |name: &str| decoded(gguf.tensor(name).unwrap(), &bytes);
    for (role, cols) in [("gate", 32), ("up", 32), ("down", 16)] {
        let name = format!("blk.1.ffn_{role}_exps.weight");
        assert_eq!(gguf.tensor(&format!("{name}.in_sum2")).unwrap().dims, [cols, EXPERTS as u64]);
        let counts = values(&format!("{name}.counts"));
        assert_eq!((counts.len(), counts.iter().sum::<f32>()), (EXPERTS, 2.0 * summary.tokens as f32));
        // More than one has its share.
        assert!(counts.iter().filter(|&&count| count > 0.0).count() > 2, "{counts:?}");
    }
    assert_eq!(values("blk.1.ffn_gate_inp.weight.counts"), [summary.tokens as f32]);
    let all = values("blk.1.ffn_gate_inp.weight.in_sum2");
    let (sums, each) = (values("blk.1.ffn_gate_exps.weight.in_sum2"), values("blk.1.ffn_up_exps.weight.in_sum2"));
    assert_eq!(sums, each);
    // Each token counts twice.
    for (col, &all) in all.iter().enumerate() {
        let sum: f32 = (0..EXPERTS).map(|expert| sums[expert * 32 + col]).sum();
        assert!((sum - 2.0 * all).abs() < 1e-3 * all, "{sum} {all}");
    }
    // A matrix of another model, with another number of experts.
    let other = Source::of("qwen3moe").edit(|source| {
        source.config["num_local_experts"] = json!(4);
        source.config["num_experts"] = json!(4);
        source.tensors.retain(|name, _| !name.contains("experts.4."));
        let (_, shape, bytes) = source.tensors.get_mut("model.layers.1.mlp.gate.weight").unwrap();
        shape[0] = 4;
        bytes.truncate(4 * 32 * 4);
    });
    let other = other.write(1);
    let options = Options { imatrix: Some(imatrix.as_path()), ..options("Q8_0") };
    let error = import(&other.join(""), &other.join("out.gguf"), &options, &hidden).unwrap_err();
    assert!(matches!(&error, ConvertError::OtherImatrix { tensor, .. } if tensor.contains("_exps")), "{error}");
}
