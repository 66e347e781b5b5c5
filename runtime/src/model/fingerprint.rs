//! Which backbone a file holds, whatever the types of its matrices.

use crate::gguf::{Gguf, TensorType};

/// A fingerprint of the backbone that every quantization of it shares: its norm vectors stay F32 in all of them.
///
/// FNV-1a (64 bits) over the architecture and, in the order of the names, the name and the bytes of every F32 vector
/// that is called `*norm.weight`, written as `norms-fnv1a64:` and 16 hexadecimal digits. It tells files apart that were
/// mixed up; it does not resist an attacker, and need not.
pub fn fingerprint(gguf: &Gguf, file: &[u8]) -> String {
    let is_norm = |info: &&crate::gguf::TensorInfo| {
        info.dtype == TensorType::F32 && info.dims.len() == 1 && info.name.ends_with("norm.weight")
    };
    let backbone = |info: &&crate::gguf::TensorInfo| !info.name.starts_with(super::PLUGIN_PREFIX);
    let mut norms: Vec<_> = gguf.tensors().iter().filter(backbone).filter(is_norm).collect();
    norms.sort_by(|a, b| a.name.cmp(&b.name));
    let architecture = gguf.metadata().opt_str("general.architecture").ok().flatten().unwrap_or_default();
    let mut hash = fnv1a(0xcbf2_9ce4_8422_2325, architecture.as_bytes());
    for info in norms {
        hash = fnv1a(fnv1a(hash, info.name.as_bytes()), info.bytes(file));
    }
    format!("norms-fnv1a64:{hash:016x}")
}

/// Fowler-Noll-Vo 1a, 64 bits, continued from `hash`.
fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
