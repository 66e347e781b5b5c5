//! The C API from C and C++: programs of `tests/c/`, built with the compilers of the machine
//! against an installed package, as an integrator would.
//!
//! The libraries are those that `cargo build -p ollm-ffi` put beside this test (`make test` does so
//! first). Compilers that are not there are left out, with a line that says so; gcc has to be.
//!
//! What integrators ask of such a library, and what shows it here:
//!
//! | | |
//! |---|---|
//! | load from a descriptor with offset and length, and from memory | `sources.c` |
//! | never abort the host: no panic, no exit | `misuse.c`; `ffi/tests/calls`, `ffi/tests/refused_memory.rs` |
//! | a stable ABI: sizes in structs, frozen numbers, a version | `misuse.c`; `ffi/tests/abi.rs` |
//! | threads for large cores: counts for each phase, affinity, threads of the host | `threads.c` |
//! | no illegal instruction: kernels chosen at run time | `session.c` under every instruction set |
//! | cancel while a prompt is fed, and go on | `threads.c` |
//! | close while generating; call after call | `threads.c`, `session.c` |
//! | memory: an estimate, a limit that is kept, trimming | `sources.c` |
//! | survive being suspended | `threads.c`, stopped and continued |
//! | the end of the context is a status, or a window | `session.c` |
//! | save and restore, and stream on | `session.c` |
//! | the reference's tokens | `real.c` |
//! | the model's chat template | `real.c` |
//! | silence, and a log callback | every program; `misuse.c` |
//! | packages, pages of 16 KiB, a small library | here below; `make size` |

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use ollm_runtime::chat::{ChatTemplate, Message};
use ollm_runtime::cpu::Isa;
use ollm_runtime::gguf::{Gguf, TensorType, Writer};
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig};
use ollm_runtime::plugin::{Hold, LatentMode, Plugin, Selector};
use ollm_runtime::quant;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::{golden, plugins, root, smollm2};
use serde_json::Value;

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// What the static library needs.
const SYSTEM: [&str; 5] = ["-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

/// The folder that cargo builds into.
fn build() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).expect("tests live in target/PROFILE/deps");
    assert!(folder.join("libollm.a").exists(), "libollm is missing: run `cargo build -p ollm-ffi` first");
    folder.to_owned()
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// Runs a command that must succeed; gives what it printed.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    stdout
}

/// An install prefix with the package.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = scratch("prefix");
        succeed(Command::new(root().join("ffi/package/install.sh")).arg(build()).arg(&prefix));
        prefix
    })
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("{program} is not on this machine: its part of the test is skipped");
    }
    found
}

/// A tiny backbone, quantized so that its weights are packed, and a plugin of ten options for it.
fn model() -> (PathBuf, PathBuf) {
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

/// A file of floats with its matrices in `Q8_0`.
fn quantized(file: &[u8]) -> Vec<u8> {
    let gguf = Gguf::parse(file).unwrap();
    let mut writer = Writer::new();
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
fn compile(source: &str, variant: &str, flags: &[&str]) -> PathBuf {
    compile_for("", source, variant, flags)
}

/// The same with the compilers of a target: `aarch64-linux-gnu-` and so on.
fn compile_for(target: &str, source: &str, variant: &str, flags: &[&str]) -> PathBuf {
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
fn shared(source: &str, variant: &str, flags: &[&str]) -> PathBuf {
    let lib = prefix().join("lib");
    let (search, path) = (format!("-L{}", lib.display()), format!("-Wl,-rpath,{}", lib.display()));
    compile(source, variant, &[flags, &[&search, &path, "-lollm", "-lpthread", "-lm"]].concat())
}

fn program(source: &str) -> PathBuf {
    shared(source, "", &[])
}

/// Runs a program that must succeed, and say nothing that it was not asked for.
fn run(program: &Path, args: &[&Path]) {
    let mut command = Command::new(program);
    let output = command.args(args).env_clear().output().unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    assert_eq!(stderr, "", "{command:?} is not silent");
}

#[test]
fn the_header_compiles_in_every_standard() {
    let c = ["c99", "c11", "c17", "c2x"];
    let cpp = ["c++11", "c++14", "c++17", "c++20", "c++2b"];
    let compilers =
        [("gcc", "c", &c[..]), ("g++", "c++", &cpp[..]), ("clang", "c", &c[..]), ("clang++", "c++", &cpp[..])];
    for (compiler, language, standards) in compilers {
        for standard in standards.iter().filter(|_| compiler == "gcc" || compiler == "g++" || has(compiler)) {
            let mut command = Command::new(compiler);
            command.args(["-x", language, &format!("-std={standard}"), "-fsyntax-only"]).args(WARNINGS);
            command.arg(root().join("tests/c/header.c")).arg("-I").arg(root().join("include"));
            succeed(&mut command);
        }
    }
}

#[test]
fn sessions() {
    let (model, plugin) = model();
    run(&program("session.c"), &[&model, &plugin, &scratch("session.bin")]);
}

/// As `ollm-run` does, the C API holds latents as long as the plugin's file says, unless told
/// otherwise.
#[test]
fn latents_are_held_as_long_as_the_plugin_was_trained_for() {
    let (backbone, trained) = (model().0, scratch("plugin-all.gguf"));
    let loaded = Model::open(&backbone).unwrap();
    let decoder = DecoderKind::LowRank { width: 32, rank: 32 };
    let spec = PluginConfig { hold: Hold::All, ..plugins::spec(&loaded, decoder, 10) };
    fs::write(&trained, plugins::plugin_file(&spec, TensorType::F16, 0.25).to_bytes()).unwrap();
    run(&program("hold.c"), &[&backbone, &trained]);
}

#[test]
fn the_cpp_layer() {
    let (model, plugin) = model();
    run(&program("layer.cpp"), &[&model, &plugin]);
    let results = shared("layer.cpp", "-results", &["-DOLLM_RESULTS", "-fno-exceptions"]);
    run(&results, &[&model, &plugin]);
}

#[test]
fn misuse() {
    let (model, plugin) = model();
    run(&program("misuse.c"), &[&model, &plugin, &golden("tiny/qwen2.gguf")]);
}

#[test]
fn sources() {
    let (model, plugin) = model();
    run(&program("sources.c"), &[&model, &plugin]);
}

#[test]
fn threads() {
    let (model, plugin) = model();
    run(&program("threads.c"), &[&model, &plugin]);
}

#[test]
fn a_thousand_cycles_take_no_more_memory() {
    let (model, plugin) = model();
    run(&program("cycles.c"), &[&model, &plugin, Path::new("1000")]);
}

/// The static library in a program whose memory `AddressSanitizer` watches: it replaces malloc, so
/// that the library's memory counts too.
#[test]
fn nothing_is_leaked_or_undefined() {
    let (model, plugin) = model();
    let library = prefix().join("lib/libollm.a");
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", library.to_str().unwrap()];
    let flags = [&flags[..], &SYSTEM].concat();
    let other = golden("tiny/qwen2.gguf");
    run(&compile("session.c", "-asan", &flags), &[&model, &plugin, &scratch("session-asan.bin")]);
    run(&compile("misuse.c", "-asan", &flags), &[&model, &plugin, &other]);
    run(&compile("sources.c", "-asan", &flags), &[&model, &plugin]);
    run(&compile("threads.c", "-asan", &flags), &[&model, &plugin]);
    run(&compile("layer.cpp", "-asan", &flags), &[&model, &plugin]);
}

/// Valgrind watches the library's own reads and writes too: it finds the one that is wrong on
/// purpose, and no other.
#[test]
fn valgrind_finds_nothing() {
    if !has("valgrind") {
        return;
    }
    let (model, plugin) = model();
    let valgrind = |program: PathBuf, args: &[&Path]| {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite"]);
        command.arg("--errors-for-leak-kinds=definite").arg(program).args(args);
        // Valgrind does not know AVX-512.
        let known = Isa::available().into_iter().find(|isa| !isa.name().starts_with("avx512")).unwrap();
        command.env("OLLM_ISA", known.name());
        command
    };
    let caught = valgrind(program("overread.c"), &[&model]).output().unwrap();
    assert_eq!(caught.status.code(), Some(9));
    assert!(String::from_utf8_lossy(&caught.stderr).contains("ollm_tokenize"));
    succeed(&mut valgrind(program("session.c"), &[&model, &plugin, &scratch("session-valgrind.bin")]));
}

/// The folder of another build of the library, which a script of `.ci/` made and names by this
/// variable.
fn build_named(variable: &str, script: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        eprintln!("{variable} is not set, see {script}: this test is skipped");
    }
    folder
}

/// `ThreadSanitizer` watches the library's own accesses: it finds the race that is there on
/// purpose, and no other.
#[test]
fn no_races() {
    let Some(build) = build_named("OLLM_TSAN_LIBRARY", ".ci/tsan") else { return };
    let (model, plugin) = model();
    let (library, shim) = (build.join("libollm.a"), root().join("tests/c/tsan.c"));
    let flags = [&["-fsanitize=thread", shim.to_str().unwrap(), library.to_str().unwrap()], &SYSTEM[..]].concat();
    let caught = Command::new(compile("race.c", "-tsan", &flags)).arg(&model).output().unwrap();
    let report = String::from_utf8_lossy(&caught.stderr);
    assert!(!caught.status.success() && report.contains("data race") && report.contains("ollm_tokenize"), "{report}");
    run(&compile("threads.c", "-tsan", &flags), &[&model, &plugin]);
    run(&compile("session.c", "-tsan", &flags), &[&model, &plugin, &scratch("session-tsan.bin")]);
}

/// 64-bit Arm, emulated: with everything, with the byte dot product, and with neither. (`cycles.c`
/// is left out: it would measure the emulator's memory.)
#[test]
fn arm64() {
    let Some(build) = build_named("OLLM_ARM64_LIBRARY", ".ci/arm64") else { return };
    let (model, plugin) = model();
    let library = build.join("libollm.a");
    let flags = [&["-DLONG=500", library.to_str().unwrap()], &SYSTEM[..]].concat();
    let program = |source| compile_for("aarch64-linux-gnu-", source, "-arm64", &flags);
    for cpu in ["max", "cortex-a76", "cortex-a53"] {
        let run = |source, args: &[&Path]| {
            succeed(Command::new("qemu-aarch64-static").args(["-cpu", cpu]).arg(program(source)).args(args))
        };
        run("session.c", &[&model, &plugin, &scratch("session-arm64.bin")]);
        run("misuse.c", &[&model, &plugin, &golden("tiny/qwen2.gguf")]);
        run("sources.c", &[&model, &plugin]);
        run("threads.c", &[&model, &plugin]);
    }
    assert_pages_of_16_kib(&build.join("libollm.so"));
}

/// The names that a library gives to programs.
fn symbols(library: &Path) -> Vec<String> {
    let listed =
        succeed(Command::new("nm").args(["--dynamic", "--defined-only", "--format=just-symbols"]).arg(library));
    listed.lines().map(|name| name.split('@').next().unwrap().to_owned()).collect()
}

#[test]
fn the_library_exports_the_header_and_nothing_else() {
    let header = fs::read_to_string(root().join("include/ollm.h")).unwrap();
    let library = prefix().join("lib/libollm.so.1");
    let mut declared: Vec<&str> = header
        .lines()
        .filter(|line| {
            line.starts_with("ollm_status ollm_")
                || line.starts_with("const char *ollm_")
                || line.starts_with("uint32_t ollm_")
        })
        .map(|line| line.split_once('(').unwrap().0.rsplit([' ', '*']).next().unwrap())
        .collect();
    declared.sort_unstable();
    let mut exported = symbols(&library);
    exported.sort_unstable();
    assert_eq!(exported, declared);
    assert!(readelf("--dynamic", &library).contains("[libollm.so.1]"), "no soname");
    assert_pages_of_16_kib(&library);
}

fn readelf(flag: &str, library: &Path) -> String {
    succeed(Command::new("readelf").args([flag, "--wide"]).arg(library))
}

fn assert_pages_of_16_kib(library: &Path) {
    let segments = readelf("--program-headers", library);
    let aligned = |line: &str| line.split_whitespace().last() == Some("0x4000");
    let loads: Vec<&str> = segments.lines().filter(|line| line.trim_start().starts_with("LOAD")).collect();
    assert!(!loads.is_empty() && loads.into_iter().all(aligned), "{segments}");
}

#[test]
fn pkg_config_finds_the_library() {
    if !has("pkg-config") {
        return;
    }
    let (model, _) = model();
    for mode in ["--shared", "--static"] {
        let mut query = Command::new("pkg-config");
        query.args(["--cflags", "--libs", mode, "ollm = 0.1.0"]).env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"));
        let flags = succeed(&mut query);
        let program = scratch(&format!("hello{mode}"));
        let mut build = Command::new("gcc");
        build.arg(root().join("ffi/examples/hello.c")).arg("-o").arg(&program).args(flags.split_whitespace());
        build.arg(format!("-Wl,-rpath,{}", prefix().join("lib").display()));
        succeed(&mut build);
        run(&program, &[&model]);
    }
}

/// A program with no shared library at all: what `pkg-config --static` says is enough for `gcc
/// -static`.
#[test]
fn a_program_can_be_linked_statically() {
    if !has("pkg-config") {
        return;
    }
    let (model, _) = model();
    let mut query = Command::new("pkg-config");
    query.args(["--cflags", "--libs", "--static", "ollm"]).env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"));
    let flags = succeed(&mut query);
    let program = scratch("hello-static");
    let mut build = Command::new("gcc");
    build.arg("-static").arg(root().join("ffi/examples/hello.c")).arg("-o").arg(&program);
    succeed(build.args(flags.split_whitespace()));
    assert!(!readelf("--program-headers", &program).contains("INTERP"), "the program needs a loader");
    run(&program, &[&model]);
}

/// `make install` with DESTDIR: the library, licences, the commands with man pages and completions.
/// `make uninstall` leaves nothing of it, and what others have put there stays.
#[test]
fn what_is_installed_can_be_uninstalled() {
    let staging = scratch("staging");
    let _ = fs::remove_dir_all(&staging);
    fs::create_dir_all(staging.join("usr/bin")).unwrap();
    fs::write(staging.join("usr/bin/other"), "").unwrap();
    let script = |name: &str| {
        let mut command = Command::new(root().join("ffi/package").join(name));
        command.env("DESTDIR", &staging);
        command
    };
    succeed(script("install.sh").arg(build()).arg("/usr").arg(build()));
    // The library once more, alone: the list of what is there stays whole.
    succeed(script("install.sh").arg(build()).arg("/usr"));
    for file in [
        "bin/ollm-run",
        "bin/ollm-convert",
        "bin/ollm-train",
        "include/ollm.h",
        "lib/libollm.so",
        "lib/pkgconfig/ollm.pc",
        "share/bash-completion/completions/ollm-run",
        "share/doc/ollm/LICENSE-MIT",
        "share/fish/vendor_completions.d/ollm-train.fish",
        "share/man/man1/ollm-convert-quantize.1",
        "share/zsh/site-functions/_ollm-convert",
    ] {
        assert!(staging.join("usr").join(file).exists(), "{file} is not installed");
    }
    succeed(script("uninstall.sh").arg("/usr"));
    let left = succeed(Command::new("find").arg(&staging).args(["!", "-type", "d"]));
    assert_eq!(left.trim(), staging.join("usr/bin/other").display().to_string());
    assert!(!script("uninstall.sh").arg("/usr").output().unwrap().status.success());
    // A prefix is an absolute path: none is not the root.
    assert!(!script("install.sh").arg(build()).arg("").output().unwrap().status.success());
    assert!(!script("uninstall.sh").arg("").output().unwrap().status.success());
    // Lines that lead out of the prefix are passed over.
    fs::create_dir_all(staging.join("usr/share/ollm")).unwrap();
    fs::write(staging.join("usr/share/ollm/installed"), "../victim\n\nshare/ollm/installed\n").unwrap();
    fs::write(staging.join("victim"), "").unwrap();
    succeed(script("uninstall.sh").arg("/usr"));
    assert!(staging.join("victim").exists() && !staging.join("usr/share/ollm").exists());
}

/// The program in the README is a program.
#[test]
fn the_readme_compiles() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let code = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let source = scratch("readme.c");
    fs::write(&source, code).unwrap();
    let mut command = Command::new("gcc");
    command.args(["-std=c99", "-fsyntax-only"]).args(WARNINGS).arg("-I").arg(root().join("include")).arg(source);
    succeed(&mut command);
}

/// The examples, built outside the tree by the package for `cmake`, do what they say.
#[test]
fn cmake_finds_the_library_and_the_examples_work() {
    if !has("cmake") {
        return;
    }
    let (sources, build) = (scratch("examples"), scratch("examples-build"));
    let _ = fs::remove_dir_all(&build);
    let _ = fs::remove_dir_all(&sources);
    fs::create_dir_all(&sources).unwrap();
    for entry in fs::read_dir(root().join("ffi/examples")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, sources.join(path.file_name().unwrap())).unwrap();
    }
    let warnings = WARNINGS.join(" ");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(&sources).arg("-B").arg(&build).arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display()));
    configure.arg(format!("-DCMAKE_C_FLAGS={warnings}")).arg(format!("-DCMAKE_CXX_FLAGS={warnings}"));
    succeed(&mut configure);
    succeed(Command::new("cmake").arg("--build").arg(&build));
    let (model, plugin) = model();
    run(&build.join("hello"), &[&model]);
    let explored = succeed(Command::new(build.join("explore")).args([&model, &plugin]));
    assert_eq!(explored.lines().count(), 10, "{explored}");
    let chosen = talk(&build.join("option_set"), &[&model, &plugin], "7\n99\n\n");
    assert!(chosen.contains("option 7: ") && chosen.contains("latent 99 does not exist"), "{chosen}");
    // The version that is wanted is checked.
    fs::write(
        sources.join("CMakeLists.txt"),
        "cmake_minimum_required(VERSION 3.16)\nproject(p C)\nfind_package(ollm 9 REQUIRED)\n",
    )
    .unwrap();
    let _ = fs::remove_dir_all(&build);
    assert!(!configure.output().unwrap().status.success());
}

/// Runs a program that reads lines.
fn talk(program: &Path, args: &[&Path], lines: &str) -> String {
    let mut command = Command::new(program);
    let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The JNI layer on a desktop JVM.
#[test]
fn java() {
    if !has("javac") || !has("java") {
        return;
    }
    let settings = Command::new("java").args(["-XshowSettings:properties", "-version"]).output().unwrap();
    let settings = String::from_utf8_lossy(&settings.stderr).into_owned();
    let home = settings.lines().find_map(|line| line.trim().strip_prefix("java.home = ")).map(Path::new).unwrap();
    if !home.join("include/jni.h").exists() {
        eprintln!("{} has no jni.h: the test of the JNI layer is skipped", home.display());
        return;
    }
    let java = root().join("ffi/java");
    let (classes, lib) = (scratch("classes"), prefix().join("lib"));
    let sources = ["Model", "Native", "OllmException", "Plugin", "Session"];
    let sources = sources.map(|name| java.join("src/org/ollm").join(name).with_extension("java"));
    let mut compile = Command::new("javac");
    succeed(
        compile
            .args(["-Xlint:all,-try", "-Werror", "-d"])
            .arg(&classes)
            .args(sources)
            .arg(java.join("test/OllmTest.java")),
    );
    let mut build = Command::new("gcc");
    build.args(["-std=c99", "-shared", "-fPIC"]).args(WARNINGS).arg(java.join("ollm_jni.c"));
    for include in [home.join("include"), home.join("include/linux"), prefix().join("include")] {
        build.arg("-I").arg(include);
    }
    build.arg("-o").arg(scratch("libollm_jni.so")).arg(format!("-L{}", lib.display())).arg("-lollm");
    succeed(build.arg(format!("-Wl,-rpath,{}", lib.display())));
    let (model, plugin) = model();
    let mut run = Command::new("java");
    run.args(["-Xcheck:jni", "--add-opens", "java.base/java.io=ALL-UNNAMED", "-cp"]).arg(&classes);
    run.arg(format!("-Djava.library.path={}", scratch("").display())).arg("OllmTest").args([&model, &plugin]);
    let printed = succeed(&mut run);
    assert!(printed.ends_with("ok [10, 200, 31, 47, 5]\n") && !printed.contains("WARNING"), "{printed}");
}

/// What `real.c` reads: texts with the tokens of the reference, and the tokens that follow a
/// question.
fn real_cases(model: &Arc<Model>, plugin: &Path) -> Vec<u8> {
    let groups: Value = serde_json::from_slice(&fs::read(golden("tokenizer.json")).unwrap()).unwrap();
    let group = groups.as_array().unwrap().iter().find(|group| group["pre"] == "smollm").unwrap();
    let cases: Vec<_> = group["cases"].as_array().unwrap().iter().filter(|case| case["text"].is_string()).collect();
    let mut bytes = Vec::new();
    let number = |bytes: &mut Vec<u8>, n: usize| bytes.extend((n as u32).to_ne_bytes());
    number(&mut bytes, cases.len());
    for case in cases {
        let (text, ids) = (case["text"].as_str().unwrap(), case["ids"].as_array().unwrap());
        number(&mut bytes, text.len());
        bytes.extend(text.as_bytes());
        number(&mut bytes, usize::from(case["special"].as_bool().unwrap()));
        number(&mut bytes, ids.len());
        for id in ids {
            number(&mut bytes, id.as_u64().unwrap() as usize);
        }
    }
    let answer = answer(model, plugin);
    number(&mut bytes, answer.len());
    for id in answer {
        number(&mut bytes, id as usize);
    }
    bytes
}

/// What the Rust library answers to the question of `real.c`, where the policy chooses the options.
fn answer(model: &Arc<Model>, plugin: &Path) -> Vec<u32> {
    let question = Message::new("user", "There are 4 boxes with 6 eggs each. How many eggs are there?");
    let metadata = model.gguf().metadata();
    let tokenizer = Tokenizer::from_metadata(metadata).unwrap();
    let text = ChatTemplate::from_metadata(metadata).unwrap().render(&[question], true, &tokenizer).unwrap();
    let plugin = Arc::new(Plugin::open(plugin, model).unwrap());
    let selector = Selector::new(LatentMode::Policy, Hold::Token, plugin.option_count(), 0).unwrap();
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let mut session = Session::new(Arc::clone(model), Some(plugin), &SessionOptions::default()).unwrap();
    session.feed(&tokenizer.encode(&text, true).unwrap()).unwrap();
    (0..16).map(|_| session.step(Some(&selector), &mut sampler).unwrap().token).collect()
}

/// The real model through C is the real model through Rust.
#[test]
fn a_real_model() {
    let (model, plugin) = (smollm2(), root().join("convert/trainer/plugins/smollm2-135m-instruct-gsm8k.gguf"));
    let cases = scratch("real-cases.bin");
    fs::write(&cases, real_cases(&Arc::new(Model::open(&model).unwrap()), &plugin)).unwrap();
    run(&program("real.c"), &[&model, &plugin, &cases]);
}

/// Every instruction set of this machine, chosen at run time; and a process that was suspended in
/// the middle, as phones do, goes on.
#[test]
fn every_instruction_set_and_a_suspension() {
    let (model, plugin) = model();
    let program = program("session.c");
    for isa in Isa::available() {
        let saved = scratch(&format!("session-{}.bin", isa.name()));
        succeed(Command::new(&program).args([&model, &plugin, &saved]).env("OLLM_ISA", isa.name()));
    }
    let mut child = Command::new(self::program("threads.c")).args([&model, &plugin]).spawn().unwrap();
    for signal in ["-STOP", "-CONT"] {
        std::thread::sleep(std::time::Duration::from_millis(100));
        succeed(Command::new("kill").arg(signal).arg(child.id().to_string()));
    }
    assert!(child.wait().unwrap().success());
}
