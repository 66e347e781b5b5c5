//! What an architecture says in several ways, or leaves out.

use ollm_runtime::gguf::{TensorType, Value as Stored};
use ollm_runtime::model::{Model, Pooling};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::source::{Source, assert_same, fuse, imported, off, run};
use crate::common::read;

#[test]
fn what_versions_before_5_wrote_means_the_same() {
    let change = |name: &str, keys: Value, gone: &[&str]| {
        let source = Source::of(name);
        let old = Source::of(name).edit(|source| {
            let map = source.config.as_object_mut().unwrap();
            map.retain(|key, _| !gone.contains(&key.as_str()));
            map.extend(keys.as_object().unwrap().clone());
        });
        assert_same(&imported(&source, "F16"), &imported(&old, "F16"), name);
    };
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32});
    change("llama-rope-llama3", json!({"rope_theta": 100.0, "rope_scaling": llama3}), &["rope_parameters"]);
    let linear = json!({"type": "linear", "factor": 4.0});
    change("llama-rope-linear", json!({"rope_theta": 1000.0, "rope_scaling": linear}), &["rope_parameters"]);
    change("qwen3", json!({"rope_theta": 1000.0, "rope_scaling": null}), &["rope_parameters", "layer_types"]);
    change("mistral", json!({"rope_theta": 1000.0, "head_dim": null}), &["rope_parameters", "layer_types"]);
    let gemma3 = json!({"rope_theta": 1000.0, "rope_local_base_freq": 100.0, "sliding_window_pattern": 2,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}});
    change("gemma3", gemma3, &["rope_parameters", "layer_types", "tie_word_embeddings"]);
    change("gemma2", json!({"rope_theta": 1000.0}), &["rope_parameters", "layer_types"]);
}

/// The same network under the names of another architecture of its family.
#[test]
fn other_architectures_of_a_family_become_the_same_file() {
    let granite4 = || {
        Source::of("granite").edit(|source| {
            source.config["architectures"] = json!(["GraniteMoeHybridForCausalLM"]);
            source.config["shared_intermediate_size"] = source.config["intermediate_size"].clone();
            source.config["layer_types"] = json!(["attention", "attention"]);
            source.config["num_local_experts"] = json!(0);
            source.config["position_embedding_type"] = json!("rope");
            for layer in 0..2 {
                let parts = ["gate", "up"].map(|part| format!("model.layers.{layer}.mlp.{part}_proj.weight"));
                let fused = format!("model.layers.{layer}.shared_mlp.input_linear.weight");
                fuse(&mut source.tensors, &parts, &fused, 1);
                let down = source.tensors.remove(&format!("model.layers.{layer}.mlp.down_proj.weight")).unwrap();
                source.tensors.insert(format!("model.layers.{layer}.shared_mlp.output_linear.weight"), down);
            }
        })
    };
    assert_same(&imported(&Source::of("granite"), "F16"), &imported(&granite4(), "F16"), "granite 4");
    let (_, ropeless) = imported(&granite4().set("position_embedding_type", json!("nope")), "F16");
    assert_eq!(ropeless.metadata().get("granite.rope.scaling.finetuned"), Some(&Stored::Bool(false)));
    for (key, value) in [("layer_types", json!(["attention", "conv"])), ("num_local_experts", json!(null))] {
        let error = run(&granite4().set(key, value).write(1), "F16").unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
    let experts = Source::of("granitemoeshared").edit(|source| {
        source.config["architectures"] = json!(["GraniteMoeHybridForCausalLM"]);
        source.config["layer_types"] = json!(["attention", "attention"]);
        source.config["position_embedding_type"] = json!("rope");
    });
    let shared = imported(&Source::of("granitemoeshared"), "F16");
    assert_same(&shared, &imported(&experts, "F16"), "granite 4 with experts");
    let gemma3 = Source::of("gemma3").edit(|source| {
        let text = source.config.clone();
        source.config = json!({"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text,
            "vision_config": {"hidden_size": 3}, "eos_token_id": text["eos_token_id"]});
        let tensors = std::mem::take(&mut source.tensors).into_iter();
        source.tensors = tensors.map(|(name, tensor)| (format!("language_model.{name}"), tensor)).collect();
        let patch = (Dtype::F32, vec![2], vec![0; 8]);
        source.tensors.insert("vision_tower.vision_model.patch.weight".to_owned(), patch);
    });
    assert_same(&imported(&Source::of("gemma3"), "F16"), &imported(&gemma3, "F16"), "gemma3");
}

/// Gemma 4 has the shapes of its layers in several spellings, alone or as a part of a larger model,
/// and may have keys and values that nobody reads.
#[test]
fn gemma4_is_read_in_each_of_its_spellings() {
    for (name, old, kind) in [
        ("gemma4", json!({"global_head_dim": 16}), "gemma4"),
        (
            "gemma4_unified",
            json!({"global_head_dim": 16, "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 0}),
            "gemma4_unified",
        ),
    ] {
        let expected = imported(&Source::of(name), "F16");
        let old = Source::of(name).edit(|source| {
            let map = source.config.as_object_mut().unwrap();
            map.remove("per_layer_config");
            map.extend(old.as_object().unwrap().clone());
        });
        assert_same(&expected, &imported(&old, "F16"), name);
        let part = old.edit(|source| {
            let text = source.config.clone();
            source.config = json!({"architectures": ["AnyForConditionalGeneration"], "model_type": kind,
                "text_config": text, "eos_token_id": text["eos_token_id"]});
            let tensors = std::mem::take(&mut source.tensors).into_iter();
            let larger = |name: String| name.replacen("model.", "model.language_model.", 1);
            source.tensors = tensors.map(|(name, tensor)| (larger(name), tensor)).collect();
            let vain = (Dtype::F32, vec![2], vec![0; 8]);
            for vain_name in ["model.vision_tower.patch.weight", "model.embed_vision.projection.weight"] {
                source.tensors.insert(vain_name.to_owned(), vain.clone());
            }
            if name == "gemma4" {
                for part in ["k_proj", "v_proj", "k_norm"] {
                    let name = format!("model.language_model.layers.3.self_attn.{part}.weight");
                    source.tensors.insert(name, vain.clone());
                }
            }
        });
        assert_same(&expected, &imported(&part, "F16"), name);
    }
    for (key, value) in [
        ("enable_moe_block", json!(true)),
        ("use_bidirectional_attention", json!("all")),
        ("num_kv_shared_layers", json!(4)),
        ("per_layer_config", json!({"1": {"head_dim": 16}, "3": {"head_dim": 32}})),
        ("per_layer_config", json!({"9": {}})),
    ] {
        let error = run(&Source::of("gemma4").set(key, value).write(1), "F16").unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

/// Gemma 3n as older configurations have it, and as a part of a larger model, whose last layers
/// have keys and values that nobody reads: llama.cpp wants them in the file.
#[test]
fn gemma3n_is_read_in_each_of_its_spellings() {
    let expected = imported(&Source::of("gemma3n"), "F16");
    let change = |keys: Value, gone: &[&str]| {
        Source::of("gemma3n").edit(|source| {
            let map = source.config.as_object_mut().unwrap();
            map.retain(|key, _| !gone.contains(&key.as_str()));
            map.extend(keys.as_object().unwrap().clone());
        })
    };
    let old = json!({"rope_theta": 1000.0, "rope_local_base_freq": 100.0, "rope_scaling": null});
    let gone = ["rope_parameters", "altup_active_idx", "altup_num_inputs", "altup_correct_scale", "laurel_rank"];
    assert_same(&expected, &imported(&change(old.clone(), &gone), "F16"), "old names");
    let larger = |source: Source| {
        source.edit(|source| {
            let text = source.config.clone();
            source.config = json!({"architectures": ["Gemma3nForConditionalGeneration"], "model_type": "gemma3n",
                "text_config": text, "eos_token_id": text["eos_token_id"]});
            let tensors = std::mem::take(&mut source.tensors).into_iter();
            let inner = |name: String| name.replacen("model.", "model.language_model.", 1);
            source.tensors = tensors.map(|(name, tensor)| (inner(name), tensor)).collect();
            let vain = (Dtype::F32, vec![2], vec![0; 8]);
            for name in ["model.vision_tower.patch.weight", "model.audio_tower.conformer.0.weight"] {
                source.tensors.insert(name.to_owned(), vain.clone());
            }
        })
    };
    assert_same(&expected, &imported(&larger(change(old, &gone)), "F16"), "a part");
    let vain = larger(change(json!({}), &[])).edit(|source| {
        for (part, shape) in [("k_proj", vec![32, 32]), ("v_proj", vec![32, 32]), ("k_norm", vec![16])] {
            let bytes = vec![0; 4 * shape.iter().product::<usize>()];
            let name = format!("model.language_model.layers.3.self_attn.{part}.weight");
            source.tensors.insert(name, (Dtype::F32, shape, bytes));
        }
    });
    let folder = vain.write(1);
    run(&folder, "F32").unwrap();
    assert!(off(&folder.join("out.gguf"), "gemma3n") < 1e-3);
    let (_, gguf) = read(&folder.join("out.gguf"));
    let has = |name: &str| gguf.tensor(name).is_some();
    assert!(["attn_k", "attn_v", "attn_k_norm"].iter().all(|part| has(&format!("blk.3.{part}.weight"))));
    assert!(!has("blk.2.attn_k.weight"));
    let (_, gguf) =
        imported(&change(json!({"intermediate_size": [48, 48, 64, 64]}), &["activation_sparsity_pattern"]), "F16");
    let dense = Stored::from(vec![f32::NEG_INFINITY; 4]);
    assert_eq!(gguf.metadata().get("gemma3n.activation_sparsity_scale"), Some(&dense));
    for (key, value) in [
        ("laurel_rank", json!(32)),
        ("altup_active_idx", json!(1)),
        ("altup_correct_scale", json!(false)),
        ("activation_sparsity_pattern", json!([0.5, 0.5])),
        ("activation_sparsity_pattern", json!([1.0, 0.0, 0.0, 0.0])),
        ("intermediate_size", json!([48, 48])),
        ("intermediate_size", json!([48, 48, 0, 64])),
        ("num_kv_shared_layers", json!(4)),
    ] {
        let error = run(&change(json!({key: value}), &[]).write(1), "F16").unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
}

/// What sentence-transformers saves: names without a prefix, and how an embedding is pooled.
#[test]
fn embedding_models_keep_their_pooling() {
    let bare = Source::of("qwen3").edit(|source| {
        let tensors = std::mem::take(&mut source.tensors).into_iter();
        let inner = |name: String| name.strip_prefix("model.").map_or(name.clone(), str::to_owned);
        source.tensors = tensors.map(|(name, tensor)| (inner(name), tensor)).collect();
    });
    assert_same(&imported(&Source::of("qwen3"), "F16"), &imported(&bare, "F16"), "without a prefix");
    let pooled = |pooling: Value| {
        let folder = bare.write(1);
        std::fs::create_dir(folder.join("1_Pooling")).unwrap();
        folder.write("1_Pooling/config.json", pooling.to_string());
        let outcome = run(&folder, "F16").map_err(|error| error.to_string());
        outcome.map(|_| Model::open(&folder.join("out.gguf")).unwrap().config().pooling)
    };
    let flags = |cls, mean, last| {
        json!({"word_embedding_dimension": 64, "pooling_mode_cls_token": cls, "pooling_mode_mean_tokens": mean,
            "pooling_mode_lasttoken": last})
    };
    assert_eq!(pooled(flags(false, false, true)), Ok(Pooling::Last));
    assert_eq!(pooled(flags(true, false, false)), Ok(Pooling::Cls));
    assert_eq!(pooled(json!({"pooling_mode": "mean"})), Ok(Pooling::Mean));
    for (wrong, key) in [
        (flags(false, false, false), "pooling_mode"),
        (flags(true, true, false), "pooling_mode_cls_token"),
        (json!({"pooling_mode": "max"}), "pooling_mode"),
    ] {
        let error = pooled(wrong).unwrap_err();
        assert!(error.contains(key), "{error}");
    }
}

/// Other names of the class, or none, and a head that the embedding is.
#[test]
fn a_class_is_known_by_other_names_too() {
    let named = |name: &str, class: Value, renamed: &dyn Fn(&str) -> Option<String>| {
        let source = Source::of(name).set("architectures", class).edit(|source| {
            let tensors = std::mem::take(&mut source.tensors).into_iter();
            source.tensors = tensors.filter_map(|(name, tensor)| Some((renamed(&name)?, tensor))).collect();
        });
        let folder = source.write(1);
        let notes = run(&folder, "F16").unwrap().notes;
        (crate::common::read(&folder.join("out.gguf")), notes)
    };
    let whole = |name: &str| Some(name.to_owned());
    let headless = |name: &str| name.strip_prefix("model.").map(str::to_owned);
    for (name, class) in [("qwen3", "Qwen3Model"), ("qwen2", "Qwen2Model"), ("ernie4_5", "Ernie4_5Model")] {
        let (file, notes) = named(name, json!([class]), &headless);
        assert!(notes.iter().all(|note| !note.contains("class")), "{notes:?}");
        assert_same(&imported(&Source::of(name), "F16"), &file, class);
    }
    let (file, notes) = named("ernie4_5", json!(["Ernie4_5_ForCausalLM"]), &whole);
    assert!(notes.iter().all(|note| !note.contains("class")), "{notes:?}");
    assert_same(&imported(&Source::of("ernie4_5"), "F16"), &file, "the hub's spelling");
    for (class, told) in [(json!(["ErnieForLaughs"]), "\"ErnieForLaughs\""), (Value::Null, "no class")] {
        let (file, notes) = named("ernie4_5", class, &whole);
        let of_class = notes.iter().find(|note| note.contains("class")).unwrap();
        assert!(of_class.contains(told) && of_class.contains("Ernie4_5ForCausalLM"), "{of_class}");
        assert_same(&imported(&Source::of("ernie4_5"), "F16"), &file, told);
    }
    // Llamas are not tied unless they say so, or have no head: neither has the class of the model
    // alone, which is no reason to refuse it.
    for name in ["llama", "mistral", "internlm2"] {
        let class = Source::of(name).config["architectures"].clone();
        let (head, silent) = (if name == "internlm2" { "output.weight" } else { "lm_head.weight" }, Value::Null);
        let source = |with_head: bool, tied: Value| {
            Source::of(name).set("tie_word_embeddings", tied).set("architectures", class.clone()).edit(|source| {
                source.tensors.retain(|name, _| with_head || name != head);
            })
        };
        // A head that says that it is the embedding, and is not, counts.
        let folder = source(true, json!(true)).write(1);
        let notes = run(&folder, "F16").unwrap().notes;
        assert!(notes.iter().any(|note| note.contains(head) && note.contains("stays apart")), "{notes:?}");
        let untied = imported(&source(true, json!(false)), "F16");
        assert_same(&untied, &read(&folder.join("out.gguf")), name);
        assert!(untied.1.tensor("output.weight").is_some(), "{name}");
        // Of what is tied, one is enough, and both may be there.
        let embedding = if name == "internlm2" { "model.tok_embeddings.weight" } else { "model.embed_tokens.weight" };
        let tied = imported(&source(false, silent.clone()), "F16");
        for gone in ["", embedding] {
            let both = source(false, json!(true)).edit(|source| {
                source.tensors.insert(head.to_owned(), source.tensors[embedding].clone());
                source.tensors.remove(gone);
            });
            assert_same(&tied, &imported(&both, "F16"), &format!("{name} without {gone:?}"));
        }
        assert!(tied.1.tensor("output.weight").is_none(), "{name}");
        assert!(imported(&source(true, silent), "F16").1.tensor("output.weight").is_some(), "{name}");
        assert!(run(&source(false, json!(false)).write(1), "F16").is_err(), "{name}");
    }
}

/// Queries, keys and values of Qwen 2 MoE may have no biases.
#[test]
fn qwen2moe_may_have_no_biases() {
    let unbiased =
        || Source::of("qwen2moe").edit(|source| source.tensors.retain(|name, _| !name.ends_with("_proj.bias")));
    let (_, gguf) = imported(&unbiased().set("qkv_bias", json!(false)), "F16");
    assert!(gguf.tensors().iter().all(|tensor| !tensor.name.contains("bias")));
    assert!(imported(&Source::of("qwen2moe"), "F16").1.tensor("blk.0.attn_q.bias").is_some());
    let error = run(&unbiased().write(1), "F16").unwrap_err().to_string();
    assert!(error.contains("q_proj.bias"), "{error}");
    let listed = Source::of("qwen2moe").set("mlp_only_layers", json!([1]));
    let error = run(&listed.write(1), "F16").unwrap_err().to_string();
    assert!(error.contains("mlp_only_layers"), "{error}");
}

/// Those of Qwen 3.5 belong to its attention layers alone, not to its gated delta nets.
#[test]
fn qwen35_may_have_biases() {
    let biased = Source::of("qwen35").set("attention_bias", json!(true)).edit(|source| {
        let matrices =
            source.tensors.iter().filter(|(name, _)| name.contains(".self_attn.") && name.contains("_proj."));
        let biases: Vec<_> = matrices
            .map(|(name, (dtype, shape, _))| {
                (name.replace(".weight", ".bias"), (*dtype, vec![shape[0]], vec![0; 4 * shape[0]]))
            })
            .collect();
        source.tensors.extend(biases);
    });
    let (_, gguf) = imported(&biased, "F32");
    let biases = gguf.tensors().iter().filter(|tensor| tensor.name.rsplit('.').next() == Some("bias"));
    let layer = |tensor: &ollm_runtime::gguf::TensorInfo| tensor.name.starts_with("blk.2.attn_");
    assert_eq!(biases.filter(|tensor| layer(tensor)).count(), 4);
}

/// Bidirectional attention is a key of any class.
#[test]
fn attention_may_be_bidirectional() {
    let (_, gguf) = imported(&Source::of("qwen2").set("is_causal", json!(false)), "F16");
    assert_eq!(gguf.metadata().get("qwen2.attention.causal"), Some(&Stored::Bool(false)));
    assert!(imported(&Source::of("qwen2"), "F16").1.metadata().get("qwen2.attention.causal").is_none());
    let error = run(&Source::of("mistral").set("is_causal", json!(false)).write(1), "F16").unwrap_err().to_string();
    assert!(error.contains("is_causal"), "{error}");
}

/// Which layers of LFM2 are convolutions, and how wide its feed-forward network is, is said in
/// several ways.
#[test]
fn lfm2_is_read_in_each_of_its_spellings() {
    let expected = imported(&Source::of("lfm2"), "F16");
    let change = |keys: Value, gone: &[&str]| {
        Source::of("lfm2").edit(|source| {
            let map = source.config.as_object_mut().unwrap();
            map.retain(|key, _| !gone.contains(&key.as_str()));
            map.extend(keys.as_object().unwrap().clone());
        })
    };
    let old =
        change(json!({"full_attn_idxs": [1, 3], "layer_types": null, "block_ff_dim": 64}), &["intermediate_size"]);
    assert_same(&expected, &imported(&old, "F16"), "old names");
    let plain = change(json!({"block_auto_adjust_ff_dim": false, "intermediate_size": 48}), &[]);
    assert_same(&expected, &imported(&plain, "F16"), "not adjusted");
    let tied = change(json!({"tie_embedding": true, "tie_word_embeddings": false}), &[]);
    assert_same(&expected, &imported(&tied, "F16"), "tied");
    for (key, value) in [
        ("layer_types", json!(["conv", "mamba", "conv", "full_attention"])),
        ("layer_types", json!(["conv"])),
        ("conv_bias", json!(true)),
    ] {
        let error = run(&Source::of("lfm2").set(key, value.clone()).write(1), "F16").unwrap_err().to_string();
        assert!(error.contains(key), "{key} {value}: {error}");
    }
    let error = run(&change(json!({"full_attn_idxs": [4], "layer_types": null}), &[]).write(1), "F16").unwrap_err();
    assert!(error.to_string().contains("full_attn_idxs"), "{error}");
}

/// Which layers of Qwen3.5 are gated delta nets is said in two ways; it may be a part of a model
/// that sees, and have layers that predict further tokens.
#[test]
fn qwen35_is_read_in_each_of_its_forms() {
    let keys = |keys: Value| {
        Source::of("qwen35")
            .edit(|source| source.config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone()))
    };
    let kinds = json!(["linear_attention", "full_attention", "linear_attention", "full_attention"]);
    let swap = |source: &mut Source| {
        // The second layer and the third change places.
        let tensors = std::mem::take(&mut source.tensors).into_iter();
        let place = |name: String| match name.split_once(".layers.1.") {
            Some((first, rest)) => format!("{first}.layers.2.{rest}"),
            None => name.replace(".layers.2.", ".layers.1."),
        };
        source.tensors =
            tensors.filter(|(name, _)| !name.contains(".layers.3.")).map(|(name, it)| (place(name), it)).collect();
    };
    let three = |more: Value| keys(more).edit(swap).set("num_hidden_layers", json!(3));
    let by_interval = three(json!({"layer_types": null, "full_attention_interval": 2}));
    let by_type = three(json!({"layer_types": kinds.as_array().unwrap()[..3], "full_attention_interval": 2}));
    assert_same(&imported(&by_interval, "F16"), &imported(&by_type, "F16"), "an interval");
    let whole = Source::of("qwen35").edit(|source| {
        let text = source.config.clone();
        source.config = json!({"architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5",
            "text_config": text, "eos_token_id": text["eos_token_id"]});
        let tensors = std::mem::take(&mut source.tensors).into_iter();
        source.tensors =
            tensors.map(|(name, tensor)| (name.replacen("model.", "model.language_model.", 1), tensor)).collect();
        for other in ["model.visual.patch_embed.proj.weight", "mtp.fc.weight"] {
            source.tensors.insert(other.to_owned(), (Dtype::F32, vec![2], vec![0; 8]));
        }
    });
    let expected = imported(&Source::of("qwen35"), "F16");
    assert_same(&expected, &imported(&whole, "F16"), "one that sees");
    let predicting = Source::of("qwen35").edit(|source| {
        source.tensors.insert("mtp.fc.weight".to_owned(), (Dtype::F32, vec![2], vec![0; 8]));
    });
    assert_same(&expected, &imported(&predicting, "F16"), "multi-token prediction");
    for (key, value) in [
        ("layer_types", json!(["linear_attention", "sliding_attention", "full_attention", "linear_attention"])),
        ("layer_types", json!(["full_attention"])),
        ("linear_num_value_heads", json!(5)),
        ("linear_value_head_dim", json!(16)),
    ] {
        let error = run(&keys(json!({key: value})).write(1), "F16").unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
}

/// Layers of Mamba 2 have several names, and a shape that may be said or not; settings that would
/// be another network are refused.
#[test]
fn granite_hybrids_are_read_in_each_of_their_spellings() {
    for name in ["granitehybrid", "granitehybridmoe"] {
        let expected = imported(&Source::of(name), "F16");
        let old = Source::of(name).edit(|source| {
            let map = source.config.as_object_mut().unwrap();
            for key in ["mamba_d_conv", "mamba_expand", "mamba_conv_bias", "time_step_limit"] {
                map.remove(key);
            }
            map.insert("mamba_d_head".to_owned(), json!("auto"));
            map.insert("layer_types".to_owned(), json!(["mamba", "mamba", "attention", "mamba"]));
        });
        assert_same(&expected, &imported(&old, "F16"), name);
        let nameless = old.edit(|source| source.config["architectures"] = json!(null));
        assert_same(&expected, &imported(&nameless, "F16"), name);
        let unbiased = Source::of(name).set("mamba_conv_bias", json!(false)).edit(|source| {
            source.tensors.retain(|name, _| !name.ends_with("conv1d.bias"));
        });
        assert!(imported(&unbiased, "F16").1.tensor("blk.0.ssm_conv1d.bias").is_none());
        for (key, value) in [
            ("layer_types", json!(["mamba", "mamba", "attention", "conv"])),
            ("layer_types", json!(["mamba"])),
            ("mamba_n_heads", json!(5)),
            ("mamba_n_heads", json!(6)),
            ("mamba_d_head", json!(8)),
            ("mamba_proj_bias", json!(true)),
            ("hidden_act", json!("gelu")),
            ("time_step_limit", json!([0.001, 0.1])),
            ("time_step_limit", json!([0.001, {"__float__": "Infinity"}])),
            ("num_local_experts", json!(null)),
        ] {
            let error = run(&Source::of(name).set(key, value.clone()).write(1), "F16").unwrap_err().to_string();
            assert!(error.contains(key), "{key} {value}: {error}");
        }
    }
}

/// Falcon H1 has multipliers, which go into the weights, and settings that would be another
/// network.
#[test]
fn falcon_h1_is_read_with_its_multipliers_or_refused() {
    let expected = imported(&Source::of("falcon-h1"), "F16");
    let auto = Source::of("falcon-h1").set("mamba_d_head", json!("auto")).edit(|source| {
        let map = source.config.as_object_mut().unwrap();
        for key in ["mamba_d_conv", "mamba_rms_norm", "time_step_limit", "mamba_norm_before_gate"] {
            map.remove(key);
        }
    });
    assert_same(&expected, &imported(&auto, "F16"), "defaults");
    let plain = Source::of("falcon-h1").edit(|source| {
        let map = source.config.as_object_mut().unwrap();
        map.retain(|key, _| !key.contains("multiplier"));
    });
    let (bytes, gguf) = imported(&plain, "F32");
    let stored = super::source::decoded(gguf.tensor("blk.0.attn_k.weight").unwrap(), &bytes);
    let (_, _, original) = &plain.tensors["model.layers.0.self_attn.k_proj.weight"];
    assert!(stored.iter().flat_map(|x| x.to_le_bytes()).eq(original.iter().copied()));
    for (name, key, value) in [
        ("falcon-h1", "ssm_multipliers", json!([1.0])),
        ("falcon-h1", "mlp_multipliers", json!([1.0, "NaN"])),
        ("falcon-h1", "tie_word_embeddings", json!(true)),
        ("falcon-h1", "projectors_bias", json!(true)),
        ("falcon-h1", "attention_bias", json!(true)),
        ("falcon-h1", "mamba_n_heads", json!(5)),
        ("falcon-h1", "time_step_limit", json!([0.0, 0.1])),
        ("falcon-h1-norm", "mamba_norm_before_gate", json!(true)),
        ("falcon-h1-norm", "mamba_norm_before_gate", json!(null)),
    ] {
        let error = run(&Source::of(name).set(key, value.clone()).write(1), "F16").unwrap_err().to_string();
        assert!(error.contains(key), "{key} {value}: {error}");
    }
}

/// Vectors and small tables of recurrent layers stay as they are, whatever the recipe.
#[test]
fn states_of_granite_hybrids_are_not_quantized() {
    let (_, gguf) = imported(&Source::of("granitehybrid"), "Q4_0");
    for part in ["ssm_a", "ssm_d", "ssm_dt.bias", "ssm_conv1d.weight", "ssm_conv1d.bias", "ssm_norm.weight"] {
        assert_eq!(gguf.tensor(&format!("blk.0.{part}")).unwrap().dtype, TensorType::F32, "{part}");
    }
    for part in ["ssm_in", "ssm_out"] {
        assert_eq!(gguf.tensor(&format!("blk.0.{part}.weight")).unwrap().dtype, TensorType::Q4_0, "{part}");
    }
}

#[test]
fn ropes_that_are_not_the_familys_rule_are_in_the_file() {
    let ropes = Source::of("smollm3").set("no_rope_layers", json!([1, 0, 1, 1]));
    let (_, gguf) = imported(&ropes, "F16");
    let pattern = gguf.metadata().get("smollm3.attention.rope_pattern").unwrap();
    assert_eq!(pattern, &Stored::from(vec![true, false, true, true]));
    // Its list of layers tells which have a window, whether it is to use one or not.
    let kinds = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"];
    for used in [Value::Null, json!(false)] {
        let windows = Source::of("smollm3").set("sliding_window", json!(16)).set("layer_types", json!(kinds));
        let (_, gguf) = imported(&windows.set("use_sliding_window", used), "F16");
        assert_eq!(gguf.metadata().get("smollm3.attention.sliding_window"), Some(&Stored::U32(16)));
        let pattern = gguf.metadata().get("smollm3.attention.sliding_window_pattern").unwrap();
        assert_eq!(pattern, &Stored::U32(3));
    }
    let full =
        Source::of("smollm3").set("sliding_window", json!(16)).set("layer_types", json!(vec!["full_attention"; 4]));
    assert_eq!(imported(&full, "F16").1.metadata().get("smollm3.attention.sliding_window"), None);
    let dynamic = json!({"rope_type": "dynamic", "alpha": 1000.0, "rope_theta": 10000.0});
    let (_, gguf) = imported(&Source::of("hunyuan-dense").set("rope_parameters", dynamic), "F16");
    // 10000 * 1000^(8 / 6)
    let base = gguf.metadata().f32("hunyuan-dense.rope.freq_base").unwrap();
    assert!((base - 1e8).abs() < 10.0, "{base}");
}

/// The runtime, as llama.cpp, takes the family's number where a file has none: that there is none
/// has to be said.
#[test]
fn gemma2_without_caps_or_window_says_so() {
    const KEYS: [(&str, &str); 3] = [
        ("attn_logit_softcapping", "gemma2.attn_logit_softcapping"),
        ("final_logit_softcapping", "gemma2.final_logit_softcapping"),
        ("sliding_window", "gemma2.attention.sliding_window"),
    ];
    let values = |edit: &dyn Fn(&mut serde_json::Map<String, Value>, &str)| {
        let source = Source::of("gemma2").edit(|source| {
            let map = source.config.as_object_mut().unwrap();
            map.remove("layer_types");
            for (name, _) in KEYS {
                edit(map, name);
            }
        });
        let (_, gguf) = imported(&source, "F16");
        let text = |key| match gguf.metadata().get(key) {
            Some(Stored::F32(x)) => x.to_string(),
            Some(Stored::U32(n)) => n.to_string(),
            other => panic!("{key}: {other:?}"),
        };
        KEYS.map(|(_, key)| text(key))
    };
    assert_eq!(values(&|map, name| drop(map.insert(name.to_owned(), Value::Null))), ["0", "0", "0"]);
    // What transformers takes where nothing is said.
    assert_eq!(values(&|map, name| drop(map.remove(name))), ["50", "30", "4096"]);
}
