//! Backbones of random weights.

use ollm_runtime::gguf::{TensorType, Writer};
use ollm_runtime::quant;

/// The sizes of a backbone of one layer.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are those of the keys")]
pub struct Shape {
    pub vocab: u32,
    pub context: u32,
    pub hidden: u32,
    pub ffn: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub tied: bool,
}

/// A GGUF file wide enough that everything which grows with a model, a batch or a text is large.
///
/// # Panics
/// If a matrix does not fit its type.
pub fn wide(vocab: u32, context: u32, dtype: TensorType) -> Vec<u8> {
    let shape = Shape { vocab, context, hidden: 64, ffn: 128, heads: 2, kv_heads: 2, tied: true };
    backbone(&shape, dtype)
}

/// A GGUF file of that shape, its matrices of type `dtype`.
///
/// # Panics
/// If a matrix does not fit its type.
pub fn backbone(shape: &Shape, dtype: TensorType) -> Vec<u8> {
    let &Shape { vocab, context, hidden, ffn, heads, kv_heads, tied } = shape;
    let keys = hidden / heads * kv_heads;
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    let sizes =
        [("embedding_length", hidden), ("feed_forward_length", ffn), ("block_count", 1), ("context_length", context)];
    for (key, size) in sizes.into_iter().chain([("attention.head_count", heads), ("attention.head_count_kv", kv_heads)])
    {
        writer.set(&format!("llama.{key}"), size).unwrap();
    }
    writer.set("llama.attention.layer_norm_rms_epsilon", 1e-5_f32).unwrap();
    let mut tensor = |name: &str, rows: u32, cols: u32| {
        let values: Vec<f32> =
            (0..rows * cols).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as f32 / 128.0 - 1.0).collect();
        let dtype = if rows == 1 { TensorType::F32 } else { dtype };
        let dims = &[u64::from(cols), u64::from(rows)][..if rows == 1 { 1 } else { 2 }];
        writer.tensor(name, dims, dtype, quant::encode(dtype, &values).unwrap()).unwrap();
    };
    tensor("token_embd.weight", vocab, hidden);
    tensor("output_norm.weight", 1, hidden);
    if !tied {
        tensor("output.weight", vocab, hidden);
    }
    for (name, rows, cols) in [
        ("attn_norm", 1, hidden),
        ("attn_q", hidden, hidden),
        ("attn_k", keys, hidden),
        ("attn_v", keys, hidden),
        ("attn_output", hidden, hidden),
        ("ffn_norm", 1, hidden),
        ("ffn_gate", ffn, hidden),
        ("ffn_up", ffn, hidden),
        ("ffn_down", hidden, ffn),
    ] {
        tensor(&format!("blk.0.{name}.weight"), rows, cols);
    }
    writer.to_bytes()
}
