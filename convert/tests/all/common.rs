//! A tiny backbone, a tiny checkpoint for it, and a folder to work in.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use ollm_runtime::gguf::{Gguf, TensorType, Value, Writer};
use ollm_runtime::plugin::Hold;
use ollm_runtime::plugin::schema::{self, Backbone, DecoderKind, PluginConfig};
use ollm_runtime::random::Random;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A folder that is removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ollm-convert-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of the files in it.
    pub(crate) fn list(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file's bytes, and what they say.
pub(crate) fn read(path: &Path) -> (Vec<u8>, Gguf) {
    let bytes = fs::read(path).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    (bytes, gguf)
}

/// The file once more, with the keys that `edit` gives for each of them, and more.
pub(crate) fn rewrite(bytes: &[u8], edit: impl Fn(&str, &Value) -> Option<Value>, more: &[(&str, Value)]) -> Vec<u8> {
    let (gguf, mut writer) = (Gguf::parse(bytes).unwrap(), Writer::new());
    for (key, value) in gguf.metadata().iter().filter_map(|(key, value)| Some((key, edit(key, value)?))) {
        writer.set(key, value).unwrap();
    }
    for (key, value) in more {
        writer.set(key, value.clone()).unwrap();
    }
    for tensor in gguf.tensors() {
        writer.tensor(&tensor.name, &tensor.dims, tensor.dtype, tensor.bytes(bytes)).unwrap();
    }
    writer.to_bytes()
}

pub(crate) fn floats(count: usize) -> impl Iterator<Item = f32> {
    (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0)
}

pub(crate) fn bytes_of(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}

/// A backbone of hidden size 64 with 96 tokens, its matrices in `dtype`.
pub(crate) fn backbone(architecture: &str, dtype: TensorType) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.set("general.architecture", architecture).unwrap();
    writer.set("general.alignment", 64u32).unwrap();
    writer.set(&format!("{architecture}.embedding_length"), 64u32).unwrap();
    writer.set("tokenizer.ggml.tokens", (0..96).map(|i| format!("<{i}>")).collect::<Vec<_>>()).unwrap();
    let values: Vec<f32> = floats(96 * 64).collect();
    let matrix = ollm_runtime::quant::encode(dtype, &values).unwrap();
    writer.tensor("token_embd.weight", &[64, 96], dtype, matrix).unwrap();
    writer.tensor("blk.0.attn_norm.weight", &[64], TensorType::F32, bytes_of(floats(64))).unwrap();
    writer.tensor("output_norm.weight", &[64], TensorType::F32, bytes_of(floats(64).map(|x| x + 1.0))).unwrap();
    writer.to_bytes()
}

pub(crate) const SWIGLU: DecoderKind = DecoderKind::SwiGlu { width: 32 };
pub(crate) const LOWRANK: DecoderKind = DecoderKind::LowRank { width: 32, rank: 4 };

/// A plugin for [`backbone`].
pub(crate) fn spec(decoder: DecoderKind) -> PluginConfig {
    spec_of(&backbone("llama", TensorType::F16), decoder)
}

/// A plugin for the backbone in this file.
pub(crate) fn spec_of(bytes: &[u8], decoder: DecoderKind) -> PluginConfig {
    let backbone = Backbone::of(&Gguf::parse(bytes).unwrap(), bytes).unwrap();
    PluginConfig {
        options: 3,
        norm_epsilon: 1e-5,
        decoder,
        encoder_width: 32,
        policy_width: 16,
        value_width: None,
        hold: Hold::Line,
        backbone,
    }
}

/// A checkpoint in the making: what a test may spoil.
pub(crate) struct Checkpoint {
    pub(crate) map: HashMap<String, String>,
    pub(crate) tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl Checkpoint {
    pub(crate) fn new(spec: &PluginConfig) -> Self {
        let pairs = spec.to_metadata().into_iter();
        let text = |value: ollm_runtime::gguf::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut map: HashMap<String, String> = pairs.map(|(key, value)| (key.to_owned(), text(value))).collect();
        map.insert("ollm.training.steps".to_owned(), "1200".to_owned());
        map.insert("format".to_owned(), "pt".to_owned());
        let tensor = |(name, shape): (&str, Vec<usize>)| {
            let values = bytes_of(floats(shape.iter().product()));
            (name.to_owned(), Dtype::F32, shape, values)
        };
        Self { map, tensors: schema::tensors(spec).into_iter().map(tensor).collect() }
    }

    pub(crate) fn set(mut self, key: &str, text: &str) -> Self {
        self.map.insert(key.to_owned(), text.to_owned());
        self
    }

    pub(crate) fn edit(mut self, name: &str, edit: impl FnOnce(&mut Dtype, &mut Vec<usize>, &mut Vec<u8>)) -> Self {
        let (_, dtype, shape, values) = self.tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap();
        edit(dtype, shape, values);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let views = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, values)| (name, TensorView::new(*dtype, shape.clone(), values).unwrap()));
        safetensors::serialize(views, Some(self.map.clone())).unwrap()
    }
}

/// A whole model of two layers and 257 tokens, all of it F32, every row of its matrices 256 random
/// values, which `spoil` may change.
pub(crate) fn model(spoil: impl Fn(&str, &mut [f32])) -> Vec<u8> {
    const WIDTH: u64 = 256;
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    for (key, value) in [
        ("context_length", 64_u32),
        ("block_count", 2),
        ("embedding_length", WIDTH as u32),
        ("feed_forward_length", WIDTH as u32),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 4),
    ] {
        writer.set(&format!("llama.{key}"), value).unwrap();
    }
    writer.set("llama.attention.layer_norm_rms_epsilon", 1e-5_f32).unwrap();
    describe_bytes(&mut writer);
    let mut random = Random::new(1);
    let mut matrix = |name: &str, rows: u64| {
        let mut values: Vec<f32> = (0..rows * WIDTH).map(|_| random.unit() as f32 - 0.5).collect();
        spoil(name, &mut values);
        writer.tensor(name, &[WIDTH, rows], TensorType::F32, bytes_of(values.into_iter())).unwrap();
    };
    matrix("token_embd.weight", 257);
    for layer in 0..2 {
        for part in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
            matrix(&format!("blk.{layer}.{part}.weight"), WIDTH);
        }
    }
    let norms = ["blk.0.attn_norm", "blk.0.ffn_norm", "blk.1.attn_norm", "blk.1.ffn_norm", "output_norm"];
    for name in norms {
        let ones = bytes_of((0..WIDTH).map(|_| 1.0));
        writer.tensor(&format!("{name}.weight"), &[WIDTH], TensorType::F32, ones).unwrap();
    }
    writer.to_bytes()
}

/// A tokenizer of the 256 bytes, and an end.
fn describe_bytes(writer: &mut Writer<'_>) {
    let visible = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let hidden = 256 - (0..256).filter(visible).count() as u32;
    let letters = (0..256).filter(visible).chain(256..256 + hidden).filter_map(char::from_u32);
    let tokens: Vec<String> = letters.map(String::from).chain(["<end>".to_owned()]).collect();
    writer.set("tokenizer.ggml.model", "gpt2").unwrap();
    writer.set("tokenizer.ggml.pre", "gpt2").unwrap();
    writer.set("tokenizer.ggml.token_type", vec![1_i32; tokens.len()]).unwrap();
    writer.set("tokenizer.ggml.tokens", tokens).unwrap();
    writer.set("tokenizer.ggml.merges", Vec::<String>::new()).unwrap();
    writer.set("tokenizer.ggml.eos_token_id", 256_u32).unwrap();
}
