//! Which backbone a file holds, whatever its quantization.
//!
//! Quantizing leaves the norm vectors in F32, and separately trained models do not share them; so
//! they identify a backbone. They do not tell a model from a fine-tune of it that left the norms
//! alone, as `LoRA` does, unless that wrote
//! [`FINETUNE_KEY`]: the fingerprint guards against mistakes, and no more.

use crate::gguf::{Gguf, TensorInfo, TensorType};

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

    #[test]
    fn architecture_names_and_values_matter() {
        let plain = of("llama", &[A, B]);
        assert_ne!(plain, of("qwen2", &[A, B]));
        assert_ne!(plain, of("llama", &[A]));
        assert_ne!(plain, of("llama", &[A, (B.0, B.1, 9)]));
    }
}
