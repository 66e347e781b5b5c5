//! What a process that runs a model has in memory: the file, the KV cache, and little more. The
//! command measures itself (`bench`); only Linux says how much it is.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use ollm_convert::pack;
use ollm_tests::{ollm_run, smollm2};
use serde_json::Value;

/// The program, the tokenizer and the buffers of a pass: 32 MiB. A program that is not optimized, as
/// tests build it, has many times the code, of which a kernel maps as much as it likes: what a second
/// copy of the weights would take (92 MiB) is seen all the same.
const OVERHEAD: u64 = if cfg!(debug_assertions) { 64 << 20 } else { 32 << 20 };

/// The peak resident memory without the file and the KV cache, in bytes.
fn overhead(model: &Path) -> u64 {
    let bench = ["bench", "-p", "64", "-n", "8", "-r", "1", "-t", "2", "--json", "-m"];
    let run = Command::new(ollm_run()).args(bench).arg(model).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let measured: Value = serde_json::from_slice(&run.stdout).unwrap();
    let bytes = |name: &str| measured[name].as_u64().unwrap();
    bytes("peak_rss_bytes").saturating_sub(bytes("kv_bytes") + std::fs::metadata(model).unwrap().len())
}

#[test]
fn a_model_takes_its_file_its_cache_and_little_more() {
    let packed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("resident-packed.gguf");
    pack::pack(&smollm2(), &packed, true).unwrap();
    for model in [smollm2(), packed] {
        let overhead = overhead(&model);
        assert!(overhead <= OVERHEAD, "{}: {:.1} MiB", model.display(), overhead as f64 / f64::from(1 << 20));
    }
}
