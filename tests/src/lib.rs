//! Shared helpers of the end-to-end tests.

pub mod backbones;
pub mod badfiles;
pub mod c_programs;
pub mod http;
pub mod plugins;
pub mod refusing;
pub mod schemas;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ollm_runtime::gguf::{Gguf, Value, Writer};

/// The folder of the workspace.
///
/// # Panics
/// Never: this crate is in a folder of it.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a folder of the workspace").to_owned()
}

/// A file of `tests/goldens/`.
pub fn golden(name: &str) -> PathBuf {
    root().join("tests/goldens").join(name)
}

/// The folder that cargo builds the running test into: what this workspace builds is there.
///
/// # Panics
/// Never: tests live two folders below.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a file");
    test.ancestors().nth(2).expect("tests live in target/PROFILE/deps").to_owned()
}

/// The command `ollm-run`.
///
/// # Panics
/// If it is not there.
pub fn ollm_run() -> PathBuf {
    let binary = target().join("ollm-run").with_extension(std::env::consts::EXE_EXTENSION);
    assert!(binary.exists(), "{} is missing: run `cargo build --workspace --bins` first", binary.display());
    binary
}

/// The tiny backbone `name` of the goldens, with these keys set to other values, or left out.
///
/// # Panics
/// If it is not there.
pub fn edited(name: &str, changes: &[(&str, Option<Value>)]) -> Vec<u8> {
    let bytes = std::fs::read(golden(&format!("tiny/{name}.gguf"))).unwrap();
    let (gguf, mut writer) = (Gguf::parse(&bytes).unwrap(), Writer::new());
    let changed = |key: &str| changes.iter().any(|(name, _)| *name == key);
    let kept = gguf.metadata().iter().filter(|(key, _)| !changed(key)).map(|(key, value)| (key, value.clone()));
    for (key, value) in kept.chain(changes.iter().filter_map(|(key, value)| Some((*key, value.clone()?)))) {
        writer.set(key, value).unwrap();
    }
    for tensor in gguf.tensors() {
        writer.tensor(&tensor.name, &tensor.dims, tensor.dtype, tensor.bytes(&bytes)).unwrap();
    }
    writer.to_bytes()
}

/// The small real model that tests run on, SmolLM2-135M-Instruct: the file that `OLLM_TEST_MODEL`
/// names, or else what `tests/fetch-model.py` fetches (once) and prints.
///
/// # Panics
/// If there is no model to be had. A test that needs the model fails then; it is never skipped in
/// silence.
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
