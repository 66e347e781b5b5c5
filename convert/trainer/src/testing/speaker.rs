//! A backbone of random weights that can be talked to, as a GGUF file: its tokens are the bytes,
//! and one that ends a turn. The tests of the command read this file too.

use ollm_runtime::gguf::{TensorType, Writer};
use ollm_runtime::quant;

/// The file; `values` gives the weights of a matrix.
pub(crate) fn file(values: &dyn Fn(&str, &[usize]) -> Vec<f32>) -> Vec<u8> {
    const WIDTH: usize = 32;
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    let sizes =
        [("embedding_length", WIDTH), ("feed_forward_length", WIDTH), ("block_count", 2), ("context_length", 96)];
    for (key, size) in sizes.into_iter().chain([("attention.head_count", 2), ("attention.head_count_kv", 1)]) {
        writer.set(&format!("llama.{key}"), size as u32).unwrap();
    }
    writer.set("llama.attention.layer_norm_rms_epsilon", 1e-5_f32).unwrap();
    writer.set("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}:").unwrap();
    tokens(&mut writer);
    let mut tensor = |name: &str, shape: &[usize]| {
        let values = if shape.len() == 1 { vec![1.0; WIDTH] } else { values(name, shape) };
        let dims: Vec<u64> = shape.iter().rev().map(|&n| n as u64).collect();
        writer.tensor(name, &dims, TensorType::F32, quant::encode(TensorType::F32, &values).unwrap()).unwrap();
    };
    tensor("token_embd.weight", &[257, WIDTH]);
    tensor("output_norm.weight", &[WIDTH]);
    for layer in 0..2 {
        for (part, rows) in [("attn_q", WIDTH), ("attn_k", WIDTH / 2), ("attn_v", WIDTH / 2), ("attn_output", WIDTH)] {
            tensor(&format!("blk.{layer}.{part}.weight"), &[rows, WIDTH]);
        }
        for part in ["ffn_gate", "ffn_up", "ffn_down"] {
            tensor(&format!("blk.{layer}.{part}.weight"), &[WIDTH, WIDTH]);
        }
        for part in ["attn_norm", "ffn_norm"] {
            tensor(&format!("blk.{layer}.{part}.weight"), &[WIDTH]);
        }
    }
    writer.to_bytes()
}

/// The bytes, in the byte alphabet of GPT-2, and an end.
fn tokens(writer: &mut Writer<'_>) {
    let visible = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let hidden = 256 - (0..256).filter(visible).count() as u32;
    let letters = (0..256).filter(visible).chain(256..256 + hidden).filter_map(char::from_u32);
    let names: Vec<String> = letters.map(String::from).chain(["<end>".to_owned()]).collect();
    let kinds: Vec<i32> = (0..257).map(|token| if token == 256 { 3 } else { 1 }).collect();
    writer.set("tokenizer.ggml.model", "gpt2").unwrap();
    writer.set("tokenizer.ggml.pre", "gpt2").unwrap();
    writer.set("tokenizer.ggml.token_type", kinds).unwrap();
    writer.set("tokenizer.ggml.tokens", names).unwrap();
    writer.set("tokenizer.ggml.merges", Vec::<String>::new()).unwrap();
    writer.set("tokenizer.ggml.eos_token_id", 256_u32).unwrap();
}
