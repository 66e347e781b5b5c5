//! A folder of a golden, as transformers would have saved it, and what its import gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::ProgressBar;
use ollm_convert::ConvertError;
use ollm_convert::import::import;
use ollm_convert::quantize::{Options, QuantizeSummary, RECIPES};
use ollm_convert::verify::verify;
use ollm_runtime::cpu::{Isa, Pool};
use ollm_runtime::gguf::{Gguf, Metadata, TensorInfo};
use ollm_runtime::model::{Model, head};
use ollm_runtime::ops::{Exec, Quantized};
use ollm_runtime::quant;
use ollm_runtime::session::{Session, SessionOptions};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::common::{Folder, read};

pub(super) const GOLDENS: [&str; 46] = [
    "llama",
    "qwen2",
    "qwen3",
    "llama-rope-llama3",
    "llama-rope-linear",
    "mistral",
    "gemma3",
    "gemma2",
    "smollm3",
    "granite",
    "phi3",
    "mistral3",
    "olmo2",
    "olmo3",
    "gemma",
    "exaone4",
    "glm4",
    "seed_oss",
    "hunyuan-dense",
    "ernie4_5",
    "internlm2",
    "minicpm",
    "stablelm",
    "starcoder2",
    "cohere2",
    "nemotron",
    "lfm2",
    "qwen35",
    "qwen2vl",
    "qwen3vl",
    "mixtral",
    "qwen2moe",
    "qwen3moe",
    "olmoe",
    "granitemoe",
    "granitemoeshared",
    "granitehybrid",
    "granitehybridmoe",
    "falcon-h1",
    "falcon-h1-norm",
    "gemma3n",
    "gemma4",
    "gemma4_unified",
    "gpt-oss",
    "lfm2moe",
    "stablelm-parallel",
];

/// Keys that the goldens do not have, which were written without a chat template.
pub(super) const OURS: [&str; 5] = [
    "general.type",
    // Of several ends in the config, the second.
    "tokenizer.ggml.eot_token_id",
    "tokenizer.chat_template",
    "general.quantization_version",
    "ollm.checksum.xxh64",
];

pub(super) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens").join(name)
}

pub(super) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A folder in the making: what a test may spoil.
pub(super) struct Source {
    pub(super) config: Value,
    pub(super) tensors: Tensors,
    pub(super) tokenizer: Value,
    pub(super) settings: Value,
}

impl Source {
    /// The model of a golden, as transformers would have saved it.
    pub(super) fn of(name: &str) -> Self {
        let (bytes, gguf) = read(&golden(&format!("tiny/{name}.gguf")));
        let config = read_json(&golden(&format!("tiny/{name}.config.json")));
        let plain = gguf.tensors().iter().filter(|tensor| tensor.name != "rope_freqs.weight");
        let tensors = plain.flat_map(|tensor| {
            let values = decoded(tensor, &bytes);
            let (name, mut values) = original(&config, &tensor.name, &values, tensor.cols());
            let mut shape = tensor.shape();
            if name.ends_with("embed_tokens_per_layer.weight") {
                shape[0] = config["vocab_size_per_layer_input"].as_u64().unwrap() as usize;
                values.truncate(shape[0] * shape[1]);
            }
            if name.ends_with("shared_expert_gate.weight") {
                shape.insert(0, 1);
            }
            if [".mamba.A_log", ".mamba.D", ".mamba.norm.weight"].iter().any(|vector| name.ends_with(vector)) {
                shape = vec![values.len()];
            }
            if name.ends_with(".conv.conv.weight") || name.ends_with(".conv1d.weight") {
                shape.insert(1, 1);
            }
            // Of experts, and of streams, one tensor each.
            let parts = if name.contains("{}") { shape.remove(0) } else { 1 };
            let part = move |i: usize| {
                let values = &values[i * values.len() / parts..][..values.len() / parts];
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                (name.replace("{}", &i.to_string()), (Dtype::F32, shape.clone(), bytes))
            };
            (0..parts).map(part).collect::<Vec<_>>()
        });
        let settings = json!({
            "bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "pad_token": "<|pad|>",
            "add_bos_token": false, "chat_template": "{{ messages }}",
        });
        let mut tensors: BTreeMap<_, _> = tensors.collect();
        if config["model_type"] == "internlm2" {
            let groups = config["num_key_value_heads"].as_u64().unwrap() as usize;
            for layer in 0..config["num_hidden_layers"].as_u64().unwrap() {
                let [q, k, v] =
                    ["q", "k", "v"].map(|part| format!("model.layers.{layer}.self_attn.{part}_proj.weight"));
                fuse(&mut tensors, &[q, k, v], &format!("model.layers.{layer}.attention.wqkv.weight"), groups);
            }
        }
        for layer in 0..config["num_hidden_layers"].as_u64().unwrap_or(0) {
            if config["model_type"] == "gpt_oss" {
                turn_experts(&mut tensors, &format!("model.layers.{layer}.mlp.experts."));
            }
            for (parts, fused, groups) in FUSED {
                let [gate, up] = parts.map(|part| format!("model.layers.{layer}.{part}"));
                if tensors.contains_key(&gate) {
                    fuse(&mut tensors, &[gate, up], &format!("model.layers.{layer}.{fused}"), groups);
                }
            }
        }
        Self { tensors, tokenizer: tokenizer(gguf.metadata()), config, settings }
    }

    pub(super) fn edit(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    /// The same with another `config.json`.
    pub(super) fn set(self, key: &str, value: Value) -> Self {
        self.edit(|source| source.config[key] = value)
    }

    pub(super) fn weights(&self, part: impl Fn(usize) -> bool) -> Vec<u8> {
        let part = self.tensors.iter().enumerate().filter(|(i, _)| part(*i)).map(|(_, tensor)| tensor);
        let views =
            part.map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    /// Writes it with its weights in so many files.
    pub(super) fn write(&self, shards: usize) -> Folder {
        let folder = Folder::new();
        folder.write("config.json", self.config.to_string());
        folder.write("tokenizer.json", self.tokenizer.to_string());
        folder.write("tokenizer_config.json", self.settings.to_string());
        if shards == 1 {
            folder.write("model.safetensors", self.weights(|_| true));
            return folder;
        }
        let name = |shard: usize| format!("model-{shard:05}-of-{shards:05}.safetensors");
        for shard in 0..shards {
            folder.write(&name(shard), self.weights(|i| i % shards == shard));
        }
        let map: BTreeMap<&str, String> =
            self.tensors.keys().enumerate().map(|(i, tensor)| (tensor.as_str(), name(i % shards))).collect();
        folder.write("model.safetensors.index.json", json!({"metadata": {}, "weight_map": map}).to_string());
        folder
    }
}

/// The matrices of Granite's experts that are fused, into what, and in how many groups: those of
/// the goldens' experts.
pub(super) const FUSED: [([&str; 2], &str, usize); 2] = [
    (["block_sparse_moe.gate", "block_sparse_moe.up"], "block_sparse_moe.input_linear.weight", EXPERTS),
    (["shared_mlp.gate", "shared_mlp.up"], "shared_mlp.input_linear.weight", 1),
];

/// Experts of the goldens.
pub(super) const EXPERTS: usize = 5;

pub(super) type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// One matrix of several: so many groups of rows, each with its share of each of them.
pub(super) fn fuse(tensors: &mut Tensors, parts: &[String], fused: &str, groups: usize) {
    let parts: Vec<_> = parts.iter().map(|name| tensors.remove(name).unwrap()).collect();
    let share = |part: &'_ (Dtype, Vec<usize>, Vec<u8>), group: usize| {
        let size = part.2.len() / groups;
        part.2[group * size..][..size].to_vec()
    };
    let bytes = (0..groups).flat_map(|group| parts.iter().flat_map(move |part| share(part, group))).collect();
    let mut shape = parts[0].1.clone();
    let rows = shape.len() - 2;
    shape[rows] = parts.iter().map(|part| part.1[rows]).sum();
    tensors.insert(fused.to_owned(), (Dtype::F32, shape, bytes));
}

/// Experts as gpt-oss has them: inputs by outputs, those of gate and up by turns.
pub(super) fn turn_experts(tensors: &mut Tensors, prefix: &str) {
    for (parts, turned) in [(&["gate", "up"][..], "gate_up_proj"), (&["down"], "down_proj")] {
        let mut take = |end: &str| -> (Vec<usize>, Vec<Vec<f32>>) {
            let parts = parts.iter().map(|part| tensors.remove(&format!("{prefix}{part}.{end}")).unwrap());
            let parts: Vec<_> = parts.collect();
            let floats = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
            (parts[0].1.clone(), parts.iter().map(|(_, _, bytes)| floats(bytes)).collect())
        };
        let ((shape, weights), (_, biases)) = (take("weight"), take("bias"));
        let [count, outputs, inputs] = shape[..] else { panic!("{shape:?}") };
        let width = outputs * parts.len();
        let by_turns = |parts: &[Vec<f32>], i: usize| parts[i % parts.len()][i / parts.len()];
        let bytes = |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        let bias = bytes(&mut (0..count * width).map(|i| by_turns(&biases, i)));
        let weight = |i: usize| {
            let (expert, input, output) = (i / (inputs * width), i / width % inputs, i % width);
            weights[output % parts.len()][(expert * outputs + output / parts.len()) * inputs + input]
        };
        let weight = bytes(&mut (0..count * inputs * width).map(weight));
        tensors.insert(format!("{prefix}{turned}"), (Dtype::F32, vec![count, inputs, width], weight));
        tensors.insert(format!("{prefix}{turned}_bias"), (Dtype::F32, vec![count, width], bias));
    }
}

/// The values of a tensor.
pub(super) fn decoded(tensor: &TensorInfo, file: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; tensor.elements()];
    quant::decode(tensor.dtype, tensor.bytes(file), &mut values).unwrap();
    values
}

/// The module of a tensor of Mamba 2 in transformers.
fn mamba_module(stem: &str) -> Option<&'static str> {
    Some(match stem {
        "ssm_in" => "mamba.in_proj",
        "ssm_dt" => "mamba.dt_bias",
        "ssm_a" => "mamba.A_log",
        "ssm_d" => "mamba.D",
        "ssm_conv1d" => "mamba.conv1d",
        "ssm_norm" => "mamba.norm",
        "ssm_out" => "mamba.out_proj",
        _ => return None,
    })
}

/// The module of a tensor in transformers, where an architecture has names of its own.
pub(super) fn own_module(kind: &str, stem: &str) -> Option<&'static str> {
    Some(match (kind, stem) {
        ("phi3", "attn_qkv") => "self_attn.qkv_proj",
        ("phi3" | "glm4", "ffn_up") => "mlp.gate_up_proj",
        ("glm4", "post_attention_norm") => "post_self_attn_layernorm",
        ("glm4", "ffn_norm") => "post_attention_layernorm",
        ("glm4", "post_ffw_norm") => "post_mlp_layernorm",
        ("hunyuan_v1_dense", "attn_q_norm") => "self_attn.query_layernorm",
        ("hunyuan_v1_dense", "attn_k_norm") => "self_attn.key_layernorm",
        ("stablelm", "attn_q_norm") => "self_attn.q_layernorm.norms.{}",
        ("stablelm", "attn_k_norm") => "self_attn.k_layernorm.norms.{}",
        ("starcoder2", "ffn_up") => "mlp.c_fc",
        ("starcoder2", "ffn_down") => "mlp.c_proj",
        ("internlm2", "token_embd") => "model.tok_embeddings",
        ("internlm2", "output") => "output",
        ("internlm2", "attn_norm") => "attention_norm",
        ("internlm2", "attn_output") => "attention.wo",
        ("internlm2" | "lfm2" | "lfm2_moe", "ffn_norm") => "ffn_norm",
        ("internlm2" | "lfm2" | "lfm2_moe", "ffn_gate") => "feed_forward.w1",
        ("internlm2" | "lfm2" | "lfm2_moe", "ffn_up") => "feed_forward.w3",
        ("internlm2" | "lfm2" | "lfm2_moe", "ffn_down") => "feed_forward.w2",
        ("lfm2" | "lfm2_moe", "token_embd_norm") => "model.embedding_norm",
        ("lfm2" | "lfm2_moe", "attn_norm") => "operator_norm",
        ("lfm2" | "lfm2_moe", "attn_q_norm") => "self_attn.q_layernorm",
        ("lfm2" | "lfm2_moe", "attn_k_norm") => "self_attn.k_layernorm",
        ("lfm2" | "lfm2_moe", "attn_output") => "self_attn.out_proj",
        ("lfm2" | "lfm2_moe", "shortconv.in_proj") => "conv.in_proj",
        ("lfm2" | "lfm2_moe", "shortconv.conv") => "conv.conv",
        ("lfm2" | "lfm2_moe", "shortconv.out_proj") => "conv.out_proj",
        ("lfm2_moe", "ffn_gate_inp") => "feed_forward.gate",
        ("lfm2_moe", "ffn_gate_exps") => "feed_forward.experts.{}.w1",
        ("lfm2_moe", "ffn_up_exps") => "feed_forward.experts.{}.w3",
        ("lfm2_moe", "ffn_down_exps") => "feed_forward.experts.{}.w2",
        ("lfm2_moe", "exp_probs_b") => "feed_forward.expert_bias",
        ("gpt_oss", "attn_sinks") => "self_attn.sinks",
        ("gpt_oss", "ffn_gate_inp") => "mlp.router",
        ("gpt_oss", "ffn_gate_exps") => "mlp.experts.gate",
        ("gpt_oss", "ffn_up_exps") => "mlp.experts.up",
        ("gpt_oss", "ffn_down_exps") => "mlp.experts.down",
        ("qwen3_5_text", "attn_qkv") => "linear_attn.in_proj_qkv",
        ("qwen3_5_text", "attn_gate") => "linear_attn.in_proj_z",
        ("qwen3_5_text", "ssm_alpha") => "linear_attn.in_proj_a",
        ("qwen3_5_text", "ssm_beta") => "linear_attn.in_proj_b",
        ("qwen3_5_text", "ssm_dt") => "linear_attn.dt_bias",
        ("qwen3_5_text", "ssm_a") => "linear_attn.A_log",
        ("qwen3_5_text", "ssm_conv1d") => "linear_attn.conv1d",
        ("qwen3_5_text", "ssm_norm") => "linear_attn.norm",
        ("qwen3_5_text", "ssm_out") => "linear_attn.out_proj",
        ("mixtral", "ffn_gate_inp") => "block_sparse_moe.gate",
        ("mixtral", "ffn_gate_exps") => "block_sparse_moe.experts.{}.w1",
        ("mixtral", "ffn_up_exps") => "block_sparse_moe.experts.{}.w3",
        ("mixtral", "ffn_down_exps") => "block_sparse_moe.experts.{}.w2",
        ("granitemoehybrid" | "falcon_h1", stem) if mamba_module(stem).is_some() => mamba_module(stem)?,
        ("falcon_h1", "output_norm") => "model.final_layernorm",
        ("falcon_h1", "ffn_norm") => "pre_ff_layernorm",
        ("falcon_h1", "ffn_gate") => "feed_forward.gate_proj",
        ("falcon_h1", "ffn_up") => "feed_forward.up_proj",
        ("falcon_h1", "ffn_down") => "feed_forward.down_proj",
        ("granitemoehybrid", "ffn_gate") => "shared_mlp.gate",
        ("granitemoehybrid", "ffn_up") => "shared_mlp.up",
        ("granitemoehybrid", "ffn_down") => "shared_mlp.output_linear",
        ("granitemoe" | "granitemoeshared" | "granitemoehybrid", stem) => match stem {
            "ffn_gate_inp" => "block_sparse_moe.router.layer",
            "ffn_gate_exps" => "block_sparse_moe.gate",
            "ffn_up_exps" => "block_sparse_moe.up",
            "ffn_down_exps" => "block_sparse_moe.output_linear",
            "ffn_gate_shexp" => "shared_mlp.gate",
            "ffn_up_shexp" => "shared_mlp.up",
            "ffn_down_shexp" => "shared_mlp.output_linear",
            _ => return None,
        },
        (_, stem) => match stem {
            "per_layer_token_embd" => "model.embed_tokens_per_layer",
            "per_layer_model_proj" => "model.per_layer_model_projection",
            "per_layer_proj_norm" => "model.per_layer_projection_norm",
            "inp_gate" => "per_layer_input_gate",
            "proj" => "per_layer_projection",
            "post_norm" => "post_per_layer_input_norm",
            "layer_output_scale" => "layer_scalar",
            "altup_proj" => "model.altup_projections.{}",
            "altup_unembd_proj" => "model.altup_unembed_projections.{}",
            "altup_router" => "altup.modality_router",
            "altup_router_norm" => "altup.router_norm",
            "altup_predict_coef" => "altup.prediction_coefs",
            "altup_correct_coef" => "altup.correction_coefs",
            "altup_correct_scale" => "altup.correct_output_scale",
            "laurel_l" => "laurel.linear_left",
            "laurel_r" => "laurel.linear_right",
            "laurel_post_norm" => "laurel.post_laurel_norm",
            "ffn_gate_inp" => "mlp.gate",
            "ffn_gate_exps" => "mlp.experts.{}.gate_proj",
            "ffn_up_exps" => "mlp.experts.{}.up_proj",
            "ffn_down_exps" => "mlp.experts.{}.down_proj",
            "ffn_gate_inp_shexp" => "mlp.shared_expert_gate",
            "ffn_gate_shexp" => "mlp.shared_expert.gate_proj",
            "ffn_up_shexp" => "mlp.shared_expert.up_proj",
            "ffn_down_shexp" => "mlp.shared_expert.down_proj",
            _ => return None,
        },
    })
}

/// The name and the values of a tensor in transformers.
pub(super) fn original(config: &Value, name: &str, values: &[f32], cols: usize) -> (String, Vec<f32>) {
    const INTERLEAVED: [&str; 11] = [
        "llama",
        "mistral",
        "smollm3",
        "granite",
        "ministral3",
        "internlm2",
        "minicpm",
        "mixtral",
        "granitemoe",
        "granitemoeshared",
        "granitemoehybrid",
    ];
    let kind = config["model_type"].as_str().unwrap();
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    let is_later = kind.starts_with("gemma3n") || kind.starts_with("gemma4");
    let around = is_later || ["gemma2", "gemma3_text"].contains(&kind);
    let from_one = kind.starts_with("gemma") && !is_later || ["nemotron", "qwen3_5_text"].contains(&kind);
    let (layer, part) = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) => (format!("model.layers.{layer}."), part),
        None => (String::new(), name),
    };
    // One name of GGUF ends with its stem.
    let (stem, suffix) = part.rsplit_once('.').unwrap_or((part, if part == "ffn_norm" { "weight" } else { "" }));
    let stem = match stem {
        _ if own_module(kind, stem).is_some() => own_module(kind, stem).unwrap(),
        "token_embd" => "model.embed_tokens",
        "output_norm" => "model.norm",
        "output" => "lm_head",
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_norm" if around => "pre_feedforward_layernorm",
        "ffn_norm" | "post_attention_norm" => "post_attention_layernorm",
        "post_ffw_norm" => "post_feedforward_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        other => panic!("{other}"),
    };
    let values = match stem {
        "self_attn.q_proj" if INTERLEAVED.contains(&kind) => apart(values, number("num_attention_heads"), cols),
        "self_attn.k_proj" if INTERLEAVED.contains(&kind) => apart(values, number("num_key_value_heads"), cols),
        _ if kind == "falcon_h1" && suffix == "weight" => divided(config, stem, values, cols),
        "mamba.A_log" => values.iter().map(|x| (-x).ln()).collect(),
        _ if stem.starts_with("linear_attn.") => grouped_heads(config, stem, values, cols),
        _ if from_one && stem.ends_with("norm") && suffix == "weight" => values.iter().map(|x| x - 1.0).collect(),
        _ => values.to_vec(),
    };
    // What is fused below has no name of its own.
    let name = match stem.rsplit_once('.') {
        Some((_, "gate" | "up")) if kind.starts_with("granitemoe") => format!("{layer}{stem}"),
        Some((_, "dt_bias" | "A_log" | "D" | "sinks" | "expert_bias" | "correct_output_scale")) => {
            format!("{layer}{stem}")
        }
        // A buffer, and no module.
        None if stem == "layer_scalar" => format!("{layer}{stem}"),
        _ => format!("{layer}{stem}.{suffix}"),
    };
    let text = name.strip_prefix("model.").filter(|_| config.get("text_config").is_some());
    (text.map_or(name.clone(), |rest| format!("model.language_model.{rest}")), values)
}

/// A tensor of Falcon H1 without its multipliers.
fn divided(config: &Value, stem: &str, values: &[f32], cols: usize) -> Vec<f32> {
    let number = |key: &str| config[key].as_f64().unwrap() as f32;
    let of_list = |key: &str, i: usize| config[key][i].as_f64().unwrap() as f32;
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let factor = |row: usize| match stem.rsplit_once('.').map_or(stem, |(_, module)| module) {
        "embed_tokens" => number("embedding_multiplier"),
        "lm_head" => number("lm_head_multiplier"),
        "gate_proj" => of_list("mlp_multipliers", 0),
        "down_proj" => of_list("mlp_multipliers", 1),
        "q_proj" | "v_proj" => number("attention_in_multiplier"),
        "k_proj" => number("attention_in_multiplier") * number("key_multiplier"),
        "o_proj" => number("attention_out_multiplier"),
        "out_proj" => number("ssm_out_multiplier"),
        "in_proj" => {
            let (inner, group) = (size("mamba_d_ssm"), size("mamba_n_groups") * size("mamba_d_state"));
            let ends = [inner, 2 * inner, 2 * inner + group, 2 * (inner + group)];
            let part = ends.iter().filter(|end| row >= **end).count();
            number("ssm_in_multiplier") * of_list("ssm_multipliers", part)
        }
        _ => 1.0,
    };
    values.iter().enumerate().map(|(i, x)| x / factor(i / cols)).collect()
}

/// A tensor of a gated delta net with the value heads of a group one after the other.
pub(super) fn grouped_heads(config: &Value, stem: &str, values: &[f32], cols: usize) -> Vec<f32> {
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    let (groups, heads) = (number("linear_num_key_heads"), number("linear_num_value_heads"));
    let regroup = |values: &[f32]| -> Vec<f32> {
        let size = values.len() / heads;
        let order = (0..heads).map(|head| head % (heads / groups) * groups + head / (heads / groups));
        order.flat_map(|head| values[head * size..][..size].to_vec()).collect()
    };
    match stem.strip_prefix("linear_attn.").unwrap() {
        "in_proj_qkv" | "conv1d" => {
            let (same, heads) = values.split_at(2 * groups * number("linear_key_head_dim") * cols);
            [same, &regroup(heads)].concat()
        }
        "out_proj" => values.chunks(cols).flat_map(regroup).collect(),
        "A_log" => regroup(values).iter().map(|x| (-x).ln()).collect(),
        "norm" => values.to_vec(),
        _ => regroup(values),
    }
}

/// Even rows of each head first, then the odd ones.
pub(super) fn apart(values: &[f32], heads: usize, cols: usize) -> Vec<f32> {
    let heads = values.chunks(values.len() / heads);
    let rows = |head, odd: usize| <[f32]>::chunks(head, cols).skip(odd).step_by(2).flatten();
    heads.flat_map(|head| rows(head, 0).chain(rows(head, 1))).copied().collect()
}

/// An entry of `added_tokens`, with all that transformers writes.
pub(super) fn added_token(id: usize, content: &str, special: bool) -> Value {
    json!({
        "id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false
    })
}

/// The `tokenizer.json` of a vocabulary in the byte alphabet.
pub(super) fn tokenizer(metadata: &Metadata) -> Value {
    let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap();
    let kinds = metadata.i32s("tokenizer.ggml.token_type").unwrap();
    let vocab: BTreeMap<&String, usize> = tokens.iter().zip(0..).collect();
    let special = (0..tokens.len()).filter(|&id| kinds[id] == 3);
    let added: Vec<Value> = special.map(|id| added_token(id, &tokens[id], true)).collect();
    let bytes =
        |regex| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let first = match metadata.str("tokenizer.ggml.pre").unwrap() {
        "smollm" => json!({"type": "Digits", "individual_digits": true}),
        _ => json!({"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": false}),
    };
    let normalizer = if first["type"] == "Split" { json!({"type": "NFC"}) } else { Value::Null };
    let pre = [bytes(first["type"] == "Digits"), first];
    json!({
        "version": "1.0",
        "normalizer": normalizer,
        "added_tokens": added,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [pre[1], pre[0]]},
        "decoder": bytes(true),
        "model": {"type": "BPE", "vocab": vocab, "merges": metadata.strings("tokenizer.ggml.merges").unwrap()},
    })
}

pub(super) const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) fn options(recipe: &str) -> Options<'static> {
    let recipe = RECIPES.iter().find(|known| known.name == recipe).unwrap();
    Options { recipe, imatrix: None, tensor_types: &[], force: true }
}

pub(super) fn run(folder: &Folder, recipe: &str) -> Result<QuantizeSummary, ConvertError> {
    import(&folder.join(""), &folder.join("out.gguf"), &options(recipe), &ProgressBar::hidden())
}

pub(super) fn imported(source: &Source, recipe: &str) -> (Vec<u8>, Gguf) {
    let folder = source.write(1);
    run(&folder, recipe).unwrap();
    let report = verify(&folder.join("out.gguf")).unwrap();
    assert!(report.is_good(), "{report}");
    read(&folder.join("out.gguf"))
}

/// Both files have the same keys, but for the name of the model, and the same tensors.
pub(super) fn assert_same(one: &(Vec<u8>, Gguf), two: &(Vec<u8>, Gguf), what: &str) {
    assert_eq!(one.1.metadata().len(), two.1.metadata().len(), "{what}");
    for (key, value) in one.1.metadata().iter().filter(|(key, _)| *key != "general.name") {
        assert!(two.1.metadata().get(key) == Some(value), "{what}: {key}");
    }
    assert_eq!(one.1.tensors().len(), two.1.tensors().len(), "{what}");
    for (first, second) in one.1.tensors().iter().zip(two.1.tensors()) {
        assert_eq!((&first.name, first.dtype, &first.dims), (&second.name, second.dtype, &second.dims), "{what}");
        assert!(first.bytes(&one.0) == second.bytes(&two.0), "{what}: {}", first.name);
    }
}

/// The logits of a golden's tokens.
pub(super) fn logits(path: &Path, ids: &[u32]) -> Vec<f32> {
    let model = Arc::new(Model::open(path).unwrap());
    let options = SessionOptions { threads: 1, context: 64, ..SessionOptions::default() };
    logits_of(&model, &mut Session::new(Arc::clone(&model), None, &options).unwrap(), ids)
}

pub(super) fn logits_of(model: &Model, session: &mut Session, ids: &[u32]) -> Vec<f32> {
    let (mut hidden, mut logits) = (Vec::new(), Vec::new());
    session.hidden_states(ids, &mut hidden).unwrap();
    let mut exec = Exec { isa: Isa::select().unwrap(), pool: Pool::new(1).unwrap() };
    head(&mut exec, model, &hidden, &mut Quantized::default(), &mut logits);
    logits
}

/// How far the logits of a file are from those of transformers, as a share of their length.
pub(super) fn off(path: &Path, name: &str) -> f32 {
    let manifest = read_json(&golden("tiny.json"));
    let entry = manifest["models"].as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
    let ids: Vec<u32> = entry["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let bytes = std::fs::read(golden(&format!("tiny/{name}.logits.f32"))).unwrap();
    let want: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let got = logits(path, &ids);
    assert_eq!(got.len(), want.len());
    let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    length(&mut got.iter().zip(&want).map(|(a, b)| a - b)) / length(&mut want.iter().copied())
}
