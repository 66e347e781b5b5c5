//! Shared helpers of the end-to-end tests.

pub mod backbones;
pub mod badfiles;
pub mod plugins;
pub mod refusing;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A file of `tests/goldens/`.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name)
}

/// The small real model that tests run on, SmolLM2-135M-Instruct: the file that `OLLM_TEST_MODEL` names, or else what
/// `tests/fetch-model.py` fetches (once) and prints.
///
/// # Panics
/// If there is no model to be had. A test that needs the model fails then; it is never skipped in silence.
pub fn smollm2() -> PathBuf {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| std::env::var_os("OLLM_TEST_MODEL").map_or_else(fetch, PathBuf::from)).clone()
}

fn fetch() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fetch-model.py");
    let output = Command::new("python3").arg(script).output().expect("python3 runs tests/fetch-model.py");
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no model: set OLLM_TEST_MODEL, or see why the download failed:\n{messages}");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
