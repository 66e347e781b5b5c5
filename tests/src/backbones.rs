//! Backbones of random weights.

use ollm_runtime::gguf::{TensorType, Writer};
use ollm_runtime::quant;

/// A GGUF file of one layer, wide enough that everything which grows with a model, a batch or a text is large.
///
/// # Panics
/// If a matrix does not fit its type.
pub fn wide(vocab: u32, context: u32, dtype: TensorType) -> Vec<u8> {
    let (hidden, ffn) = (64, 128);
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    let sizes =
        [("embedding_length", hidden), ("feed_forward_length", ffn), ("block_count", 1), ("context_length", context)];
    for (key, size) in sizes.into_iter().chain([("attention.head_count", 2), ("attention.head_count_kv", 2)]) {
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
    for (name, rows, cols) in [
        ("attn_norm", 1, hidden),
        ("attn_q", hidden, hidden),
        ("attn_k", hidden, hidden),
        ("attn_v", hidden, hidden),
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
