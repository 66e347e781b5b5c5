//! Import of folders made of the goldens' weights, under the `config.json` that transformers saved
//! for them: the file has the keys and tensors that Python's `gguf` wrote, and the logits of
//! transformers.

mod configs;
mod peft;
mod quantized;
mod refused;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::ProgressBar;
use ollm_convert::ConvertError;
use ollm_convert::imatrix::gather;
use ollm_convert::import::import;
use ollm_convert::pack::pack;
use ollm_convert::quantize::{Options, QuantizeSummary, RECIPES, quantize};
use ollm_convert::verify::verify;
use ollm_runtime::cpu::{Isa, Pool};
use ollm_runtime::gguf::{Gguf, Metadata, TensorInfo, TensorType, Value as Stored};
use ollm_runtime::model::{Model, Pooling, head};
use ollm_runtime::ops::{Exec, Quantized};
use ollm_runtime::quant;
use ollm_runtime::random::Random;
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::common::{Folder, read};

const GOLDENS: [&str; 40] = [
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
    "gemma4",
    "gemma4_unified",
    "gpt-oss",
    "lfm2moe",
];

/// Keys that the goldens do not have, which were written without a chat template.
const OURS: [&str; 5] = [
    "general.type",
    // Of several ends in the config, the second.
    "tokenizer.ggml.eot_token_id",
    "tokenizer.chat_template",
    "general.quantization_version",
    "ollm.checksum.xxh64",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens").join(name)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A folder in the making: what a test may spoil.
struct Source {
    config: Value,
    tensors: Tensors,
    tokenizer: Value,
    settings: Value,
}

impl Source {
    /// The model of a golden, as transformers would have saved it.
    fn of(name: &str) -> Self {
        let (bytes, gguf) = read(&golden(&format!("tiny/{name}.gguf")));
        let config = read_json(&golden(&format!("tiny/{name}.config.json")));
        let plain = gguf.tensors().iter().filter(|tensor| tensor.name != "rope_freqs.weight");
        let tensors = plain.flat_map(|tensor| {
            let values = decoded(tensor, &bytes);
            let (name, values) = original(&config, &tensor.name, &values, tensor.cols());
            let mut shape = tensor.shape();
            if name.ends_with("shared_expert_gate.weight") {
                shape.insert(0, 1);
            }
            if name.ends_with(".conv.conv.weight") || name.ends_with(".conv1d.weight") {
                shape.insert(1, 1);
            }
            // Of experts, one tensor each.
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

    fn edit(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    /// The same with another `config.json`.
    fn set(self, key: &str, value: Value) -> Self {
        self.edit(|source| source.config[key] = value)
    }

    fn weights(&self, part: impl Fn(usize) -> bool) -> Vec<u8> {
        let part = self.tensors.iter().enumerate().filter(|(i, _)| part(*i)).map(|(_, tensor)| tensor);
        let views =
            part.map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    /// Writes it with its weights in so many files.
    fn write(&self, shards: usize) -> Folder {
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
const FUSED: [([&str; 2], &str, usize); 2] = [
    (["block_sparse_moe.gate", "block_sparse_moe.up"], "block_sparse_moe.input_linear.weight", EXPERTS),
    (["shared_mlp.gate", "shared_mlp.up"], "shared_mlp.input_linear.weight", 1),
];

/// Experts of the goldens.
const EXPERTS: usize = 5;

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// One matrix of several: so many groups of rows, each with its share of each of them.
fn fuse(tensors: &mut Tensors, parts: &[String], fused: &str, groups: usize) {
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
fn turn_experts(tensors: &mut Tensors, prefix: &str) {
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
fn decoded(tensor: &TensorInfo, file: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; tensor.elements()];
    quant::decode(tensor.dtype, tensor.bytes(file), &mut values).unwrap();
    values
}

/// The module of a tensor in transformers, where an architecture has names of its own.
fn own_module(kind: &str, stem: &str) -> Option<&'static str> {
    Some(match (kind, stem) {
        ("phi3", "attn_qkv") => "self_attn.qkv_proj",
        ("phi3" | "glm4", "ffn_up") => "mlp.gate_up_proj",
        ("glm4", "post_attention_norm") => "post_self_attn_layernorm",
        ("glm4", "ffn_norm") => "post_attention_layernorm",
        ("glm4", "post_ffw_norm") => "post_mlp_layernorm",
        ("hunyuan_v1_dense", "attn_q_norm") => "self_attn.query_layernorm",
        ("hunyuan_v1_dense", "attn_k_norm") => "self_attn.key_layernorm",
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
        ("granitemoe" | "granitemoeshared", stem) => match stem {
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
fn original(config: &Value, name: &str, values: &[f32], cols: usize) -> (String, Vec<f32>) {
    const INTERLEAVED: [&str; 10] = [
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
    ];
    let kind = config["model_type"].as_str().unwrap();
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    let is_gemma4 = kind.starts_with("gemma4");
    let around = is_gemma4 || ["gemma2", "gemma3_text"].contains(&kind);
    let from_one = kind.starts_with("gemma") && !is_gemma4 || ["nemotron", "qwen3_5_text"].contains(&kind);
    let (layer, part) = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) => (format!("model.layers.{layer}."), part),
        None => (String::new(), name),
    };
    // One name of GGUF ends with its stem.
    let (stem, suffix) = part.rsplit_once('.').unwrap_or((part, ""));
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
        _ if stem.starts_with("linear_attn.") => grouped_heads(config, stem, values, cols),
        _ if from_one && stem.ends_with("norm") && suffix == "weight" => values.iter().map(|x| x - 1.0).collect(),
        _ => values.to_vec(),
    };
    // What is fused below has no name of its own.
    let name = match stem.rsplit_once('.') {
        Some((_, "gate" | "up")) if kind.starts_with("granitemoe") => format!("{layer}{stem}"),
        Some((_, "dt_bias" | "A_log" | "sinks" | "expert_bias")) => format!("{layer}{stem}"),
        // A buffer, and no module.
        None if stem == "layer_scalar" => format!("{layer}{stem}"),
        _ => format!("{layer}{stem}.{suffix}"),
    };
    let text = name.strip_prefix("model.").filter(|_| config.get("text_config").is_some());
    (text.map_or(name.clone(), |rest| format!("model.language_model.{rest}")), values)
}

/// A tensor of a gated delta net with the value heads of a group one after the other.
fn grouped_heads(config: &Value, stem: &str, values: &[f32], cols: usize) -> Vec<f32> {
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
fn apart(values: &[f32], heads: usize, cols: usize) -> Vec<f32> {
    let heads = values.chunks(values.len() / heads);
    let rows = |head, odd: usize| <[f32]>::chunks(head, cols).skip(odd).step_by(2).flatten();
    heads.flat_map(|head| rows(head, 0).chain(rows(head, 1))).copied().collect()
}

/// An entry of `added_tokens`, with all that transformers writes.
fn added_token(id: usize, content: &str, special: bool) -> Value {
    json!({
        "id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false
    })
}

/// The `tokenizer.json` of a vocabulary in the byte alphabet.
fn tokenizer(metadata: &Metadata) -> Value {
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

const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn options(recipe: &str) -> Options<'static> {
    let recipe = RECIPES.iter().find(|known| known.name == recipe).unwrap();
    Options { recipe, imatrix: None, tensor_types: &[], force: true }
}

fn run(folder: &Folder, recipe: &str) -> Result<QuantizeSummary, ConvertError> {
    import(&folder.join(""), &folder.join("out.gguf"), &options(recipe), &ProgressBar::hidden())
}

fn imported(source: &Source, recipe: &str) -> (Vec<u8>, Gguf) {
    let folder = source.write(1);
    run(&folder, recipe).unwrap();
    let report = verify(&folder.join("out.gguf")).unwrap();
    assert!(report.is_good(), "{report}");
    read(&folder.join("out.gguf"))
}

/// Both files have the same keys, but for the name of the model, and the same tensors.
fn assert_same(one: &(Vec<u8>, Gguf), two: &(Vec<u8>, Gguf), what: &str) {
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
fn logits(path: &Path, ids: &[u32]) -> Vec<f32> {
    let model = Arc::new(Model::open(path).unwrap());
    let options = SessionOptions { threads: 1, context: 64, ..SessionOptions::default() };
    logits_of(&model, &mut Session::new(Arc::clone(&model), None, &options).unwrap(), ids)
}

fn logits_of(model: &Model, session: &mut Session, ids: &[u32]) -> Vec<f32> {
    let (mut hidden, mut logits) = (Vec::new(), Vec::new());
    session.hidden_states(ids, &mut hidden).unwrap();
    let mut exec = Exec { isa: Isa::select().unwrap(), pool: Pool::new(1).unwrap() };
    head(&mut exec, model, &hidden, &mut Quantized::default(), &mut logits);
    logits
}

/// How far the logits of a file are from those of transformers, as a share of their length.
fn off(path: &Path, name: &str) -> f32 {
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
                let same = decoded(found, &bytes) == decoded(tensor, &expected_bytes);
                assert!(same || tensor.name == "rope_freqs.weight", "{name} {}", tensor.name);
            }
            let off = off(&folder.join("out.gguf"), name);
            assert!(off < 1e-3, "{name} in {shards} files: logits off by {off}");
        }
    }
}

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
    for (key, value) in [("layer_types", json!(["attention", "mamba"])), ("num_local_experts", json!(8))] {
        let error = run(&granite4().set(key, value).write(1), "F16").unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
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

/// Which layers of Qwen3.5 are gated delta nets is said in two ways; it may be a part of a model that
/// sees, and have layers that predict further tokens.
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

#[test]
fn ropes_that_are_not_the_familys_rule_are_in_the_file() {
    let ropes = Source::of("smollm3").set("no_rope_layers", json!([1, 0, 1, 1]));
    let (_, gguf) = imported(&ropes, "F16");
    let pattern = gguf.metadata().get("smollm3.attention.rope_pattern").unwrap();
    assert_eq!(pattern, &Stored::from(vec![true, false, true, true]));
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

#[test]
fn special_tokens_and_templates_come_from_where_they_are() {
    let mut source = Source::of("llama");
    let begin = json!({"SpecialToken": {"id": "<|im_start|>", "type_id": 0}});
    let text = |id: &str, kind: usize| json!({"Sequence": {"id": id, "type_id": kind}});
    source.tokenizer["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        {"type": "TemplateProcessing", "single": [begin, text("A", 0)], "pair": [begin, text("A", 0), text("B", 1)],
            "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}}]});
    source.settings = json!({"bos_token": "<|im_start|>",
        "chat_template": [{"name": "default", "template": "D"}, {"name": "tools", "template": "T"}]});
    source.config["vocab_size"] = json!(321);
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        let (_, shape, bytes) = source.tensors.get_mut(name).unwrap();
        shape[0] += 1;
        bytes.extend([0; 4 * 64]);
    }
    let folder = source.write(1);
    folder.write("generation_config.json", json!({"eos_token_id": [2, 0, 3, 5]}).to_string());
    let summary = run(&folder, "F16").unwrap();
    assert!(summary.notes.iter().any(|note| note.contains("token 5")), "{:?}", summary.notes);
    let (_, gguf) = read(&folder.join("out.gguf"));
    let metadata = gguf.metadata();
    let id = |name: &str| metadata.opt_u32(&format!("tokenizer.ggml.{name}_token_id")).unwrap();
    assert_eq!(["bos", "eos", "eot", "eom", "padding"].map(id), [Some(1), Some(2), Some(0), Some(3), None]);
    assert_eq!(metadata.get("tokenizer.ggml.add_bos_token"), Some(&Stored::Bool(true)));
    assert_eq!(metadata.str("tokenizer.chat_template").unwrap(), "D");
    assert_eq!(metadata.str("tokenizer.chat_template.tools").unwrap(), "T");
    assert_eq!(metadata.strings("tokenizer.ggml.tokens").unwrap()[320], "[PAD320]");
    assert_eq!(metadata.i32s("tokenizer.ggml.token_type").unwrap()[320], 5);
    assert_eq!(metadata.get("tokenizer.huggingface.json"), None);

    folder.write("chat_template.jinja", "J");
    run(&folder, "F16").unwrap();
    let (_, gguf) = read(&folder.join("out.gguf"));
    assert_eq!(gguf.metadata().str("tokenizer.chat_template").unwrap(), "J");

    folder.write("chat_template.json", json!({"chat_template": {"default": "K", "rag": "R"}}).to_string());
    std::fs::create_dir(folder.join("additional_chat_templates")).unwrap();
    folder.write("additional_chat_templates/tools.jinja", "U");
    run(&folder, "F16").unwrap();
    let (_, gguf) = read(&folder.join("out.gguf"));
    let template = |name: &str| gguf.metadata().str(&format!("tokenizer.chat_template{name}")).unwrap().to_owned();
    assert_eq!(["", ".rag", ".tools"].map(template), ["J", "R", "U"]);
}

/// The `tokenizer.json` of merges of characters, where the first `added` tokens are found before
/// all else.
fn of_characters(normalizers: &[Value], added: usize) -> Value {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "\u{2581}\u{2581}"].map(str::to_owned).to_vec();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["\u{2581}", "a", "b", "\u{2581}a", "ab", "\u{2581}ab"].map(str::to_owned));
    let vocab: BTreeMap<&String, usize> = tokens.iter().zip(0..).collect();
    let added: Vec<Value> = (0..added).map(|id| added_token(id, &tokens[id], id < 3)).collect();
    json!({
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": vocab, "merges":
            [["\u{2581}", "\u{2581}"], ["a", "b"], ["\u{2581}", "a"], ["\u{2581}", "ab"], ["\u{2581}a", "b"]]},
    })
}

#[test]
fn merges_of_characters_become_scores() {
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let prefix = json!({"type": "Prepend", "prepend": "\u{2581}"});
    let mut source = Source::of("llama");
    source.settings = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"});
    // Llama's put a space before a text; Gemma's do not, and have runs of spaces as added tokens.
    for (normalizers, added, space_prefix) in [(&[prefix, space.clone()][..], 3, true), (&[space], 4, false)] {
        source.tokenizer = of_characters(normalizers, added);
        let (_, gguf) = imported(&source, "F16");
        let metadata = gguf.metadata();
        assert_eq!(metadata.get("tokenizer.huggingface.json"), None);
        assert_eq!(metadata.str("tokenizer.ggml.model").unwrap(), "llama");
        assert_eq!(metadata.get("tokenizer.ggml.add_space_prefix"), Some(&Stored::Bool(space_prefix)));
        let types = metadata.i32s("tokenizer.ggml.token_type").unwrap();
        assert_eq!((&types[..3], types[3], types[4]), (&[2, 3, 3][..], if added == 4 { 4 } else { 1 }, 6));
        assert_eq!((types[260], types[266]), (1, 5));
        let scores = metadata.f32s("tokenizer.ggml.scores").unwrap();
        assert_eq!(scores[260..266], [-6.0, -6.0, -6.0, -2.0, -1.0, -3.0]);
        let tokenizer = Tokenizer::from_metadata(metadata).unwrap();
        let first = if space_prefix { 265 } else { 264 };
        assert_eq!(tokenizer.encode("ab a  \u{e9}", false).unwrap(), [first, 263, 3, 4 + 0xc3, 4 + 0xa9]);
    }
}

/// The pre-tokenizer and the normalization form that a file says, and whether it carries the JSON.
fn named(source: &Source) -> (String, Option<String>, bool) {
    let (_, gguf) = imported(source, "F16");
    let text = |key: &str| gguf.metadata().opt_str(key).unwrap().map(str::to_owned);
    let carried = text("tokenizer.huggingface.json");
    (text("tokenizer.ggml.pre").unwrap(), text("ollm.tokenizer.normalizer"), carried.is_some())
}

/// A split by an expression, and then bytes.
fn split_by(expression: &str, behavior: &str, invert: bool) -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": expression}, "behavior": behavior, "invert": invert},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]})
}

#[test]
fn a_pre_tokenizer_is_known_by_what_it_does() {
    let written_otherwise =
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
    let llama3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|");
    let gpt4o = concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    let nfc = json!({"type": "NFC"});
    for (split, normalizer, expected) in [
        (split_by(QWEN2, "Isolated", false), &nfc, ("qwen2", None)),
        (split_by(QWEN2, "Removed", true), &nfc, ("qwen2", None)),
        (split_by(written_otherwise, "Removed", true), &nfc, ("qwen2", None)),
        (split_by(QWEN2, "Isolated", false), &Value::Null, ("deepseek-r1-qwen", None)),
        (split_by(&llama3, "Isolated", false), &Value::Null, ("llama-bpe", None)),
        (split_by(&llama3, "Isolated", false), &nfc, ("llama-bpe", Some("nfc"))),
        (split_by(&llama3, "Isolated", false), &json!({"type": "NFKC"}), ("llama-bpe", Some("nfkc"))),
        (split_by(gpt4o, "Isolated", false), &Value::Null, ("gpt-4o", None)),
    ] {
        let mut source = Source::of("llama");
        source.tokenizer["pre_tokenizer"] = split;
        source.tokenizer["normalizer"] = normalizer.clone();
        let (pre, form, carried) = named(&source);
        assert_eq!((pre.as_str(), form.as_deref(), carried), (expected.0, expected.1, false));
    }
}

/// What GGUF has no lists for goes into the file as it is, and is what the file is read by.
#[test]
fn a_tokenizer_that_no_lists_are_like_is_carried() {
    for (what, place, value) in [
        ("an unknown split", "/pre_tokenizer/pretokenizers/0/individual_digits", json!(false)),
        ("lower case", "/normalizer", json!({"type": "Lowercase"})),
        ("the end of a text", "/pre_tokenizer", json!({"type": "Whitespace"})),
        ("a token that takes the space before it", "/added_tokens/1/lstrip", json!(true)),
    ] {
        let source = Source::of("llama").edit(|source| *source.tokenizer.pointer_mut(place).unwrap() = value.clone());
        assert!(named(&source).2, "{what}");
    }
}

#[test]
fn tokens_that_the_model_has_no_rows_for_are_left_out() {
    let mut source = Source::of("llama");
    source.tokenizer["added_tokens"].as_array_mut().unwrap().push(added_token(320, "<more>", true));
    source.settings["pad_token"] = "<more>".into();
    let folder = source.write(1);
    let summary = run(&folder, "F16").unwrap();
    let notes = summary.notes.join("\n");
    assert!(notes.contains("no rows for 1 of the tokenizer's tokens") && notes.contains("<more>"), "{notes}");
    let (_, gguf) = read(&folder.join("out.gguf"));
    assert_eq!(gguf.metadata().strings("tokenizer.ggml.tokens").unwrap().len(), 320);
    assert_eq!(gguf.metadata().get("tokenizer.ggml.padding_token_id"), None);
}

#[test]
fn ids_of_padding_that_are_no_tokens_are_ignored() {
    for id in [json!(-1), json!(320)] {
        let mut source = Source::of("llama").set("pad_token_id", id);
        source.settings.as_object_mut().unwrap().remove("pad_token");
        let folder = source.write(1);
        let summary = run(&folder, "F16").unwrap();
        assert!(summary.notes.iter().any(|note| note.contains("pad_token_id")), "{:?}", summary.notes);
    }
}

/// Word pieces and unigrams, as embedding models have them: the file carries the tokenizer.
#[test]
fn tokenizers_of_words_are_carried() {
    let vocab = ["[UNK]", "[CLS]", "hello", "wor", "##ld", "!"];
    let added = [added_token(0, "[UNK]", true), added_token(1, "[CLS]", true)];
    let words = json!({
        "version": "1.0", "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab.iter().zip(0..).collect::<BTreeMap<_, i32>>()},
    });
    let scored = [("<unk>", 0.0), ("\u{2581}", -3.0), ("\u{2581}he", -1.0), ("llo", -1.5), ("\u{2581}hello", -4.0)];
    let unigrams = json!({
        "version": "1.0", "added_tokens": [added_token(0, "<unk>", true)], "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true},
        "decoder": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": scored},
    });
    for (tokenizer, model, text, ids) in [
        (words, "bert", "[CLS]Hello WORLD!é", &[1, 2, 3, 4, 5, 0][..]),
        (unigrams, "t5", "hello \u{ff48}ello?", &[2, 3, 2, 3, 0]),
    ] {
        let mut source = Source::of("llama");
        source.tokenizer = tokenizer;
        source.settings = json!({});
        source.config["bos_token_id"] = Value::Null;
        source.config["eos_token_id"] = Value::Null;
        let (_, gguf) = imported(&source, "F16");
        assert_eq!(gguf.metadata().str("tokenizer.ggml.model").unwrap(), model);
        let tokenizer = Tokenizer::from_metadata(gguf.metadata()).unwrap();
        assert_eq!(tokenizer.encode(text, true).unwrap(), ids, "{model}");
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

/// A field of a message of protocol buffers.
fn field(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn number(number: u64, value: i64) -> Vec<u8> {
    [varint(number << 3), varint(value as u64)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A `tokenizer.model` of pieces, their scores and types.
fn sentencepiece(kind: i64, map: &[u8]) -> Vec<u8> {
    let mut pieces: Vec<(String, f32, i64)> =
        [("<unk>", 2), ("<s>", 3), ("</s>", 3)].map(|(text, kind)| (text.to_owned(), 0.0, kind)).to_vec();
    pieces.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    let merged =
        [("\u{2581}a", -0.5), ("ab", -1.0), ("\u{2581}", -2.0), ("a", -3.0), ("b", -4.0), ("\u{2581}\u{2581}", 0.0)];
    pieces.extend(merged.map(|(text, score)| (text.to_owned(), score, 1 + 3 * i64::from(score == 0.0))));
    let piece = |(text, score, kind): &(String, f32, i64)| {
        let score = [varint(2 << 3 | 5), score.to_le_bytes().to_vec()].concat();
        field(1, &[field(1, text.as_bytes()), score, number(3, *kind)].concat())
    };
    let trainer = field(2, &[number(3, kind), number(4, 8000), number(43, -1)].concat());
    let normalizer = [field(1, b"some name"), field(2, map), number(3, 1), number(4, 0)].concat();
    [pieces.iter().flat_map(piece).collect(), trainer, field(3, &normalizer)].concat()
}

#[test]
fn a_sentencepiece_model_alone_is_read() {
    let mut source = Source::of("llama");
    source.settings = json!({"added_tokens_decoder": {
        "265": {"content": "<|end|>", "special": true}, "330": {"content": "<more>", "special": true}}});
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        source.config[key] = Value::Null;
    }
    let folder = source.write(1);
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    folder.write("tokenizer.model", sentencepiece(2, &[]));
    folder.write("added_tokens.json", json!({"<|end|>": 265, "<tool>": 266}).to_string());
    let summary = run(&folder, "F16").unwrap();
    assert!(summary.notes.iter().any(|note| note.contains("no rows for 1 of")), "{:?}", summary.notes);
    let (_, gguf) = read(&folder.join("out.gguf"));
    let metadata = gguf.metadata();
    let types = metadata.i32s("tokenizer.ggml.token_type").unwrap();
    assert_eq!((&types[..4], &types[264..268]), (&[2, 3, 3, 6][..], &[4, 3, 4, 5][..]));
    assert_eq!(metadata.f32s("tokenizer.ggml.scores").unwrap()[259..262], [-0.5, -1.0, -2.0]);
    let tokenizer = Tokenizer::from_metadata(metadata).unwrap();
    assert_eq!((tokenizer.add_bos(), tokenizer.eos(), tokenizer.is_end(265)), (Some(1), Some(2), true));
    assert_eq!(
        tokenizer.encode("ab aé  <|end|>b", true).unwrap(),
        [259, 263, 259, 3 + 0xc3, 3 + 0xa9, 264, 265, 261, 263]
    );

    for (model, reason) in [
        (sentencepiece(3, &[]), "\"model_type\" is word"),
        (sentencepiece(2, b"map"), "precompiled_charsmap"),
        (b"<html>".to_vec(), "no SentencePiece model"),
        (Vec::new(), "no SentencePiece model"),
    ] {
        folder.write("tokenizer.model", model);
        let error = run(&folder, "F16").unwrap_err().to_string();
        assert!(error.contains("tokenizer.model") && error.contains(reason), "{error}");
    }
}
