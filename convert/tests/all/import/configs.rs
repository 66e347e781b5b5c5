//! What keys of `config.json` mean: the log-probabilities of transformers for other configurations
//! of the goldens' weights (`tests/goldens/configs.py`), and text models inside multimodal ones.

use std::path::Path;
use std::sync::Arc;

use ollm_runtime::model::Model;
use ollm_runtime::session::{Session, SessionOptions};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::source::{Source, golden, imported, off, read_json, run};

/// The log-probability of each next token, in a context of as many tokens as there are.
fn logprobs(path: &Path, ids: &[u32]) -> Vec<f64> {
    let model = Arc::new(Model::open(path).unwrap());
    let options = SessionOptions { threads: 1, context: ids.len(), ..SessionOptions::default() };
    let mut session = Session::new(Arc::clone(&model), None, &options).unwrap();
    let logits = super::logits_of(&model, &mut session, ids);
    let rows = logits.chunks(model.config().vocab).zip(&ids[1..]);
    rows.map(|(row, &next)| {
        let most = row.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
        f64::from(row[next as usize] - most) - sum.ln()
    })
    .collect()
}

#[test]
fn keys_mean_what_transformers_takes_them_for() {
    let all = read_json(&golden("configs.json"));
    let ids: Vec<u32> = all["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let cases = all["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 46);
    let mut wrong = Vec::new();
    for case in cases {
        let name = case["checkpoint"].as_str().unwrap();
        let source = Source::of(name).edit(|source| {
            let map = source.config.as_object_mut().unwrap();
            for key in case["remove"].as_array().unwrap() {
                map.remove(key.as_str().unwrap());
            }
            map.extend(case["set"].as_object().unwrap().clone());
        });
        let folder = source.write(1);
        let what = format!("{name}: {}", case["case"].as_str().unwrap());
        if let Err(error) = run(&folder, "F32") {
            wrong.push(format!("{what}: {error}"));
            continue;
        }
        let got = logprobs(&folder.join("out.gguf"), &ids[..case["tokens"].as_u64().unwrap() as usize]);
        let want: Vec<f64> = case["logprobs"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(got.len(), want.len());
        let most = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // Keys and values are rounded to 16 bits; what a key changes is far more.
        if most.is_nan() || most > 0.03 {
            wrong.push(format!("{what}: off by {most}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The folder of a multimodal model with this text model.
fn multimodal(name: &str, kind: &str, architecture: &str, prefix: &str, head: &str) -> Source {
    Source::of(name).edit(|source| {
        let tensors = std::mem::take(&mut source.tensors);
        for (tensor, value) in tensors {
            let renamed = tensor.strip_prefix("model.").map(|rest| format!("{prefix}{rest}"));
            source.tensors.insert(renamed.unwrap_or_else(|| head.to_owned()), value);
        }
        let other = source.tensors.values().next().unwrap().clone();
        source.tensors.insert("vision_tower.encoder.layers.0.self_attn.q_proj.weight".to_owned(), other.clone());
        source.tensors.insert("multi_modal_projector.linear_1.weight".to_owned(), other);
        let mut text = source.config.take();
        let tied = text.as_object_mut().unwrap().remove("tie_word_embeddings");
        text["model_type"] = kind.into();
        source.config = json!({
            "architectures": [architecture], "model_type": "whatever", "text_config": text,
            "vision_config": {"hidden_size": 32}, "tie_word_embeddings": tied,
        });
    })
}

#[test]
fn the_text_model_of_a_multimodal_one_is_imported() {
    for (name, kind, architecture, prefix, head) in [
        (
            "gemma3",
            "gemma3_text",
            "Gemma3ForConditionalGeneration",
            "language_model.model.",
            "language_model.lm_head.weight",
        ),
        ("gemma3", "gemma3_text", "Gemma3ForConditionalGeneration", "model.language_model.", "lm_head.weight"),
        ("llama", "llama", "LlavaForConditionalGeneration", "language_model.model.", "language_model.lm_head.weight"),
        ("llama", "llama", "SmolVLMForConditionalGeneration", "model.text_model.", "lm_head.weight"),
        ("mistral", "mistral", "Mistral3ForConditionalGeneration", "model.language_model.", "lm_head.weight"),
        ("qwen2", "qwen2", "LlavaOnevisionForConditionalGeneration", "model.language_model.", "lm_head.weight"),
        ("qwen2", "qwen2_5_vl_text", "Qwen2_5_VLForConditionalGeneration", "model.", "lm_head.weight"),
        ("qwen3", "qwen3_vl_text", "Qwen3VLForConditionalGeneration", "model.language_model.", "lm_head.weight"),
    ] {
        let source = multimodal(name, kind, architecture, prefix, head);
        for source in [source.write(1), source.write(3)] {
            run(&source, "F32").unwrap();
            let off = off(&source.join("out.gguf"), name);
            assert!(off < 1e-3, "{architecture} {prefix}: logits off by {off}");
        }
    }
    // Without the head, or with another: the text model is what text_config says.
    for (name, kind) in [("gemma3", "gemma3_text"), ("qwen3", "qwen3")] {
        let bare = multimodal(name, kind, "Gemma3Model", "language_model.", "lm_head.weight");
        let (_, gguf) = imported(&bare, "F32");
        assert!(gguf.tensor("cls.output.weight").is_none(), "{name}");
        let labels =
            multimodal(name, kind, "Gemma3ForSequenceClassification", "model.language_model.", "lm_head.weight").edit(
                |source| {
                    let width = source.config["text_config"]["hidden_size"].as_u64().unwrap() as usize;
                    let head = (Dtype::F32, vec![2, width], vec![0; 8 * width]);
                    source.tensors.insert("score.weight".to_owned(), head);
                    // What the text model has by default says nothing of the whole.
                    source.config["id2label"] = json!({"0": "NO", "1": "YES"});
                    source.config["text_config"]["id2label"] = json!({"0": "LABEL_0"});
                },
            );
        let (_, gguf) = imported(&labels, "F32");
        assert!(gguf.tensor("cls.output.weight").is_some(), "{name}");
        let key = format!("{name}.classifier.output_labels");
        assert_eq!(gguf.metadata().get(&key), Some(&vec!["NO".to_owned(), "YES".to_owned()].into()), "{name}");
        // Where the whole says nothing there are two, whatever the text model has.
        let labels = labels.edit(|source| drop(source.config.as_object_mut().unwrap().remove("id2label")));
        let (_, gguf) = imported(&labels, "F32");
        let by_default = vec!["LABEL_0".to_owned(), "LABEL_1".to_owned()];
        assert_eq!(gguf.metadata().get(&key), Some(&by_default.into()), "{name}");
    }
    for (name, kind, architecture) in [
        ("llama", "llama", "LlavaModel"),
        ("qwen2", "qwen2_5_vl_text", "Qwen2_5_VLModel"),
        ("qwen3", "qwen3_vl_text", "Qwen3VLModel"),
    ] {
        let bare = multimodal(name, kind, architecture, "language_model.", "lm_head.weight").edit(|source| {
            source.tensors.remove("lm_head.weight");
            source.config["tie_word_embeddings"] = json!(false);
        });
        let (_, gguf) = imported(&bare, "F32");
        assert!(gguf.tensor("output.weight").is_none(), "{architecture}");
        // The text model alone.
        let text = Source::of(name).set("architectures", json!(["Qwen3VLTextModel"])).set("model_type", json!(kind));
        let text = text.edit(|source| {
            source.tensors.remove("lm_head.weight");
            let bare = |name: String| name.trim_start_matches("model.").to_owned();
            source.tensors = std::mem::take(&mut source.tensors).into_iter().map(|(name, t)| (bare(name), t)).collect();
        });
        let text = text.set("tie_word_embeddings", json!(false));
        assert!(imported(&text, "F32").1.tensor("output.weight").is_none(), "{kind}");
    }
    // Nobody says whether the head is the embedding: the weights do.
    for name in ["llama", "qwen2"] {
        let source = multimodal(name, name, "LlavaForConditionalGeneration", "model.language_model.", "lm_head.weight")
            .set("tie_word_embeddings", Value::Null);
        let folder = source.write(1);
        run(&folder, "F32").unwrap();
        assert!(off(&folder.join("out.gguf"), name) < 1e-3, "{name}");
    }
    let other = multimodal("llama", "cohere", "AyaVisionForConditionalGeneration", "model.", "lm_head.weight");
    let error = run(&other.write(1), "F32").unwrap_err().to_string();
    assert!(error.contains("\"AyaVisionForConditionalGeneration\" is not supported"), "{error}");
}
