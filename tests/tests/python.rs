//! The Python package: its wheel is built, installed into a fresh environment, and does what it
//! says (`ffi/python/tests/test_ollm.py`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ollm_tests::c_programs::{build, chat_model, model, scratch, succeed};
use ollm_tests::root;

/// A fresh environment with pip, if Python has what it takes.
fn environment() -> Option<PathBuf> {
    let folder = scratch("venv");
    let _ = fs::remove_dir_all(&folder);
    let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
    if made.is_ok_and(|output| output.status.success()) {
        return Some(folder.join("bin/python"));
    }
    eprintln!("python3 is not here, or has no venv with pip: the test of the Python package is skipped");
    None
}

/// The wheel, with the library that cargo has built.
fn wheel(python: &Path) -> PathBuf {
    let folder = scratch("wheels");
    let _ = fs::remove_dir_all(&folder);
    let mut build_wheel = Command::new(python);
    build_wheel.args(["-m", "pip", "wheel", "--no-index", "--no-deps", "--wheel-dir"]).arg(&folder);
    build_wheel.env("OLLM_LIBRARY", build().join("libollm.so"));
    succeed(build_wheel.arg(root().join("ffi/python")));
    let mut wheels = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    wheels.next().expect("pip makes a wheel")
}

#[test]
fn a_wheel_is_installed_and_works() {
    let Some(python) = environment() else { return };
    let wheel = wheel(&python);
    let name = wheel.file_name().unwrap().to_str().unwrap();
    let tag = name.strip_prefix(concat!("ollm-", env!("CARGO_PKG_VERSION"), "-py3-none-"));
    assert!(tag.is_some_and(|tag| tag.starts_with("manylinux_2_") || tag.starts_with("musllinux_")), "{name}");
    succeed(Command::new(&python).args(["-m", "pip", "install", "--no-index"]).arg(&wheel));
    let (folder, (model, plugin)) = (scratch("python"), model());
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let mut run = Command::new(&python);
    // Nothing of the checkout is in the way of what was installed.
    run.current_dir(&folder).env_remove("PYTHONPATH").env_remove("OLLM_LIBRARY");
    run.args(["-X", "faulthandler"]).arg(root().join("ffi/python/tests/test_ollm.py"));
    let ran = run.args([model, plugin, chat_model(), root().join("ffi/abi.txt")]).arg(&folder).output().unwrap();
    let report = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{}\n{report}", ran.status);
    if report.contains("skipped") {
        eprintln!("{report}");
    }
}
