//! Programs in C and C++ against an installed package, built with the compilers of the machine, as
//! an integrator would build them.
//!
//! The libraries are those that `cargo build -p ollm-ffi` put beside the test (`make test` does so
//! first). Compilers that are not there are left out, with a line that says so; gcc has to be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use ollm_runtime::gguf::{Gguf, TensorType, Writer};
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::quant;

use crate::{golden, plugins, root, target};

/// The warnings that C and C++ are compiled with, all of them errors.
pub const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// What the static library needs.
pub const SYSTEM: [&str; 5] = ["-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

/// The folder that cargo builds into.
///
/// # Panics
/// If the library is not there.
pub fn build() -> PathBuf {
    let folder = target();
    assert!(folder.join("libollm.a").exists(), "libollm is missing: run `cargo build -p ollm-ffi` first");
    folder
}

/// A file of the running test file, below the folder that cargo builds into.
///
/// # Panics
/// If its folder cannot be made.
pub fn scratch(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let stem = test.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.rsplit_once('-'));
    let (own, _) = stem.expect("cargo names tests NAME-HASH");
    let folder = build().with_file_name("tmp").join(own);
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// Runs a command that must succeed; gives what it printed.
///
/// # Panics
/// If it fails.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    stdout
}

/// An install prefix with the package.
///
/// # Panics
/// If it cannot be installed.
pub fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = scratch("prefix");
        succeed(Command::new(root().join("ffi/package/install.sh")).arg(build()).arg(&prefix));
        prefix
    })
}

/// Whether a program is on this machine; says so if it is not.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("{program} is not on this machine: its part of the test is skipped");
    }
    found
}

/// A tiny backbone, quantized so that its weights are packed, and a plugin of ten options for it.
///
/// # Panics
/// If they cannot be written.
pub fn model() -> (PathBuf, PathBuf) {
    static FILES: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    let make = || {
        let (backbone, plugin) = (scratch("backbone.gguf"), scratch("plugin.gguf"));
        fs::write(&backbone, quantized(&fs::read(golden("tiny/llama.gguf")).unwrap())).unwrap();
        let model = Model::open(&backbone).unwrap();
        let spec = plugins::spec(&model, DecoderKind::LowRank { width: 32, rank: 32 }, 10);
        fs::write(&plugin, plugins::plugin_file(&spec, TensorType::F16, 0.25).to_bytes()).unwrap();
        (backbone, plugin)
    };
    FILES.get_or_init(make).clone()
}

/// A chat template with tools, thoughts, and a date for who asks.
pub const CHAT_TEMPLATE: &str = "{{ bos_token }}{% if tools %}{{ tools|tojson }}{% endif %}\
    {% for m in messages %}{% if m.role == 'refused' %}{{ raise_exception('no') }}{% endif %}\
    {% if m.role == 'date' %}{{ strftime_now('%d %b') }}{% else %}\
    {{ '[' + m.role + (' ' + m.name if m.name else '') + ']' }}{% if m.content %}{{ m.content }}{% endif %}\
    {% for call in m.tool_calls or [] %}\
    {% if call.id and call.id|length != 9 %}{{ raise_exception('an id has 9 characters') }}{% endif %}\
    {{ '<tool_call>' + call.function.name + call.function.arguments|tojson }}{% endfor %}{% endif %}{{ eos_token }}\
    {% endfor %}{% if add_generation_prompt %}{{ '[assistant]' }}{% if think %}{{ '<think>' }}{% endif %}{% endif %}";

/// The same backbone with [`CHAT_TEMPLATE`].
///
/// # Panics
/// If it cannot be written.
pub fn chat_model() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let path = scratch("chat.gguf");
        fs::write(&path, chat_file()).unwrap();
        path
    };
    FILE.get_or_init(make).clone()
}

/// The bytes of [`chat_model`].
///
/// # Panics
/// If the golden is not there.
pub fn chat_file() -> Vec<u8> {
    rewritten(&fs::read(golden("tiny/llama.gguf")).unwrap(), Some(CHAT_TEMPLATE))
}

fn quantized(file: &[u8]) -> Vec<u8> {
    rewritten(file, None)
}

/// A file of floats with its matrices in `Q8_0`, and with a chat template, if one is given.
fn rewritten(file: &[u8], template: Option<&str>) -> Vec<u8> {
    let gguf = Gguf::parse(file).unwrap();
    let mut writer = Writer::new();
    if let Some(template) = template {
        writer.set("tokenizer.chat_template", template).unwrap();
    }
    for (key, value) in gguf.metadata().iter() {
        writer.set(key, value.clone()).unwrap();
    }
    for tensor in gguf.tensors() {
        let bytes = tensor.bytes(file);
        let (dtype, data) = if tensor.dims.len() == 2 {
            let floats: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            (TensorType::Q8_0, quant::encode(TensorType::Q8_0, &floats).unwrap())
        } else {
            (tensor.dtype, bytes.to_vec())
        };
        writer.tensor(&tensor.name, &tensor.dims, dtype, data).unwrap();
    }
    writer.to_bytes()
}

/// Builds a program of `tests/c/` with these flags, once for each variant; gives where it is.
///
/// # Panics
/// If it does not compile.
pub fn compile(source: &str, variant: &str, flags: &[&str]) -> PathBuf {
    compile_for("", source, variant, flags)
}

/// The same with the compilers of a target: `aarch64-linux-gnu-` and so on.
///
/// # Panics
/// If it does not compile.
pub fn compile_for(target: &str, source: &str, variant: &str, flags: &[&str]) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, Arc<OnceLock<PathBuf>>>> = Mutex::new(BTreeMap::new());
    let (stem, extension) = source.split_once('.').unwrap();
    let name = format!("{stem}{variant}");
    let program = Arc::clone(BUILT.lock().unwrap().entry(name.clone()).or_default());
    let build = || {
        let program = scratch(&name);
        let (compiler, standard) = if extension == "c" { ("gcc", "-std=c99") } else { ("g++", "-std=c++17") };
        let mut command = Command::new(format!("{target}{compiler}"));
        command.args([standard, "-g", "-O1", "-D_POSIX_C_SOURCE=200809L"]).args(WARNINGS);
        command.arg("-I").arg(prefix().join("include")).arg(root().join("tests/c").join(source));
        succeed(command.arg("-o").arg(&program).args(flags));
        program
    };
    program.get_or_init(build).clone()
}

/// Builds a program against the shared library, with flags of its own.
///
/// # Panics
/// If it does not compile.
pub fn shared(source: &str, variant: &str, flags: &[&str]) -> PathBuf {
    let lib = prefix().join("lib");
    let (search, path) = (format!("-L{}", lib.display()), format!("-Wl,-rpath,{}", lib.display()));
    compile(source, variant, &[flags, &[&search, &path, "-lollm", "-lpthread", "-lm"]].concat())
}

/// Builds a program against the shared library.
///
/// # Panics
/// If it does not compile.
pub fn program(source: &str) -> PathBuf {
    shared(source, "", &[])
}

/// Runs a program that must succeed, and say nothing that it was not asked for.
///
/// # Panics
/// If it fails, or says something.
pub fn run(program: &Path, args: &[&Path]) {
    let mut command = Command::new(program);
    let output = command.args(args).env_clear().output().unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    assert_eq!(stderr, "", "{command:?} is not silent");
}

/// What `readelf` says of a library or a program.
///
/// # Panics
/// If it fails.
pub fn readelf(flag: &str, library: &Path) -> String {
    succeed(Command::new("readelf").args([flag, "--wide"]).arg(library))
}

/// That a library can be loaded where pages have 16 KiB.
///
/// # Panics
/// If it cannot.
pub fn assert_pages_of_16_kib(library: &Path) {
    let segments = readelf("--program-headers", library);
    let aligned = |line: &str| line.split_whitespace().last() == Some("0x4000");
    let loads: Vec<&str> = segments.lines().filter(|line| line.trim_start().starts_with("LOAD")).collect();
    assert!(!loads.is_empty() && loads.into_iter().all(aligned), "{segments}");
}
