//! Which backbone a file holds: whatever its quantization, or to the weight.
//!
//! [`fingerprint()`] names a backbone in any quantization, for the plugins that belong to it.
//! Quantizing leaves the norm vectors in F32, and separately trained models do not share them; so
//! they identify a backbone. They do not tell a model from a fine-tune of it that left the norms
//! alone, as `LoRA` does, unless that wrote [`FINETUNE_KEY`]: the fingerprint guards against
//! mistakes, and no more.

use ollm_kernels::ops::Matrix;

use crate::gguf::{Gguf, TensorInfo, TensorType};

use super::name::PLUGIN_PREFIX;

/// The key of a text that names what was added to a backbone's weights; whoever changes them writes
/// another one.
pub const FINETUNE_KEY: &str = "finetune.digest";

/// The fingerprint of the backbone in a file: `norms-fnv1a64:` and 16 hexadecimal digits.
///
/// They are the 64-bit FNV-1a hash of `general.architecture` and a zero byte, then, for each tensor
/// of one dimension and type F32 whose name ends in `norm.weight` and does not begin with `ollm.`
/// (in the order of the names' bytes): the name, a zero byte, and its bytes in the file; then,
/// where the file has [`FINETUNE_KEY`], that key, a zero byte, and its text. `file` is what `gguf`
/// was parsed from.
pub fn fingerprint(gguf: &Gguf, file: &[u8]) -> String {
    let text = |key| gguf.metadata().get(key).and_then(|value| value.as_str());
    let mut norms: Vec<&TensorInfo> = gguf.tensors().iter().filter(|tensor| is_norm(tensor)).collect();
    norms.sort_by(|a, b| a.name.cmp(&b.name));
    let start = hash(hash(OFFSET_BASIS, text("general.architecture").unwrap_or_default().as_bytes()), &[0]);
    let digest = norms.iter().fold(start, |state, tensor| {
        let named = hash(hash(state, tensor.name.as_bytes()), &[0]);
        hash(named, tensor.bytes(file))
    });
    let digest = match text(FINETUNE_KEY) {
        Some(text) => hash(hash(hash(digest, FINETUNE_KEY.as_bytes()), &[0]), text.as_bytes()),
        None => digest,
    };
    format!("norms-fnv1a64:{digest:016x}")
}

/// Places of a tensor that [`weights_fingerprint`] reads.
const SAMPLES: usize = 8;

/// Weights that it reads at each.
const SAMPLE: usize = 256;

/// The fingerprint of a backbone's weights, for what belongs to these weights alone, such as the
/// keys and values of a saved session: a hash of the names and of samples of all its tensors (of
/// each, eight runs of at most 256 weights, spread over rows and columns). It is the same
/// for a plain and a packed file, and another one for another quantization. `file` is what `gguf`
/// was parsed from.
///
/// A change of the whole of a tensor changes it, as merging an adapter, training or another
/// quantization does. It does not see a change of a few weights between the samples, such as that
/// of one token's embedding: it guards against mistakes, and no more.
pub fn weights_fingerprint(gguf: &Gguf, file: &[u8]) -> u64 {
    let mut tensors: Vec<&TensorInfo> =
        gguf.tensors().iter().filter(|tensor| !tensor.name.starts_with(PLUGIN_PREFIX)).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors.iter().fold(OFFSET_BASIS, |state, tensor| {
        let named = hash(hash(state, tensor.name.as_bytes()), &[0]);
        let matrix = Matrix::stored(tensor.layout, tensor.dtype, tensor.rows(), tensor.cols(), tensor.bytes(file));
        // What cannot be read as a matrix is no weight that anything is computed with.
        matrix.map_or(named, |matrix| samples(&matrix).fold(named, |state, bytes| hash(state, &bytes)))
    })
}

/// The bytes of a matrix at the places that are sampled. The rows are evenly spread; the columns
/// follow the golden ratio, so that those of any number of rows are too.
fn samples<'a>(matrix: &'a Matrix<'_>) -> impl Iterator<Item = Vec<u8>> + use<'a> {
    let blocks = matrix.cols() / matrix.dtype().block_len();
    let run = blocks.min(SAMPLE / matrix.dtype().block_len());
    (0..SAMPLES).map(move |i| {
        let row = matrix.rows() * (2 * i + 1) / (2 * SAMPLES);
        let share = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let start = ((u128::from(share) * (blocks - run + 1) as u128) >> 64) as usize;
        matrix.blocks(row, start..start + run)
    })
}

fn is_norm(tensor: &TensorInfo) -> bool {
    let of_backbone = tensor.name.ends_with("norm.weight") && !tensor.name.starts_with("ollm.");
    of_backbone && tensor.dims.len() == 1 && tensor.dtype == TensorType::F32
}

/// FNV-1a with 64 bits (draft-eastlake-fnv).
pub(crate) const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash `state`, continued by `bytes`.
pub(crate) fn hash(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Writer;

    fn of(architecture: &str, tensors: &[(&str, TensorType, u8)]) -> String {
        let mut writer = Writer::new();
        writer.set("general.architecture", architecture).unwrap();
        for &(name, dtype, byte) in tensors {
            writer.tensor(name, &[32], dtype, vec![byte; dtype.row_bytes(32).unwrap()]).unwrap();
        }
        let bytes = writer.to_bytes();
        fingerprint(&Gguf::parse(&bytes).unwrap(), &bytes)
    }

    const A: (&str, TensorType, u8) = ("blk.0.attn_norm.weight", TensorType::F32, 1);
    const B: (&str, TensorType, u8) = ("output_norm.weight", TensorType::F32, 2);

    #[test]
    fn the_hash_is_fnv1a() {
        // Test vectors of the draft.
        assert_eq!(hash(OFFSET_BASIS, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(OFFSET_BASIS, b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn order_quantization_and_a_plugin_do_not_matter() {
        let plain = of("llama", &[A, B]);
        assert_eq!(plain, of("llama", &[B, A]));
        let matrix = ("blk.0.attn_q.weight", TensorType::F32, 3);
        let quantized = ("blk.0.attn_q.weight", TensorType::Q8_0, 4);
        let plugin = ("ollm.policy.norm.weight", TensorType::F32, 5);
        assert_eq!(plain, of("llama", &[A, B, matrix]));
        assert_eq!(plain, of("llama", &[A, B, quantized, plugin]));
    }

    #[test]
    fn what_was_added_to_the_weights_matters() {
        let tuned = |digest: &str| {
            let mut writer = Writer::new();
            writer.set("general.architecture", "llama").unwrap().set(FINETUNE_KEY, digest).unwrap();
            writer.tensor(A.0, &[32], A.1, vec![A.2; 128]).unwrap();
            let bytes = writer.to_bytes();
            fingerprint(&Gguf::parse(&bytes).unwrap(), &bytes)
        };
        assert_ne!(tuned("1"), of("llama", &[A]));
        assert_ne!(tuned("1"), tuned("2"));
        assert_eq!(tuned("1"), tuned("1"));
    }

    /// The fingerprint of the weights of a matrix, some of whose weights are changed.
    fn of_weights(dtype: TensorType, changed: impl Fn(usize) -> bool) -> u64 {
        let (rows, cols) = (37, 1024);
        let value = |i: usize| (i * 37 % 101) as f32 / 50.0 - 1.0 + if changed(i) { 0.25 } else { 0.0 };
        let values: Vec<f32> = (0..rows * cols).map(value).collect();
        let mut writer = Writer::new();
        let data = ollm_kernels::quant::encode(dtype, &values).unwrap();
        writer.tensor("blk.0.attn_q.weight", &[cols as u64, rows as u64], dtype, data).unwrap();
        writer.tensor("ollm.policy.weight", &[32], TensorType::F32, vec![u8::from(changed(0)); 128]).unwrap();
        let bytes = writer.to_bytes();
        weights_fingerprint(&Gguf::parse(&bytes).unwrap(), &bytes)
    }

    #[test]
    fn weights_matter_in_every_type_and_a_plugin_does_not() {
        for &dtype in TensorType::ALL.iter().filter(|&&dtype| ollm_kernels::quant::is_writable(dtype)) {
            let plain = of_weights(dtype, |_| false);
            assert_eq!(plain, of_weights(dtype, |i| i == 0));
            assert_ne!(plain, of_weights(dtype, |_| true), "{dtype}");
            // One of several columns, and the second half of the rows, as in a fused matrix.
            assert_ne!(plain, of_weights(dtype, |i| i % 7 == 0), "{dtype}");
            assert_ne!(plain, of_weights(dtype, |i| i > 20 * 1024), "{dtype}");
        }
    }

    #[test]
    fn architecture_names_and_values_matter() {
        let plain = of("llama", &[A, B]);
        assert_ne!(plain, of("qwen2", &[A, B]));
        assert_ne!(plain, of("llama", &[A]));
        assert_ne!(plain, of("llama", &[A, (B.0, B.1, 9)]));
    }
}
