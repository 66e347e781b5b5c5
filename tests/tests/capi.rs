//! The C API from C and C++: programs of `tests/c/`, built with the compilers of the machine
//! against an installed package, as an integrator would (`ollm_tests::c_programs`). How the package
//! is built and installed is in `packages.rs`.
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
//! | the model's chat template | `real.c`, `chat.c` |
//! | safe conversations, tools, thoughts | `chat.c` |
//! | a conversation as a handle: prefix reuse, forgotten turns, save and restore | `conversation.c` |
//! | silence, and a log callback | every program; `misuse.c` |
//! | several continuations at once | `branches.c` |
//! | LoRA at run time | `adapters.c` |
//! | several sessions in one pass | `batch.c` |
//! | logits, bias, log-probabilities, embeddings, statistics | `logits.c` |
//! | rerankers | `rank.c` |
//! | text of a grammar | `constraint.c` |
//! | packages, pages of 16 KiB, a small library | `packages.rs`; `make size` |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ollm_convert::adapter::{Adapter, Factors};
use ollm_runtime::chat::{ChatTemplate, Message, Variables};
use ollm_runtime::cpu::Isa;
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig};
use ollm_runtime::plugin::{Hold, LatentMode, Plugin, Selector};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::c_programs::{
    SYSTEM, assert_pages_of_16_kib, chat_model, compile, compile_for, has, model, prefix, program, run, scratch,
    shared, succeed,
};
use ollm_tests::{edited, golden, plugins, root, smollm2};
use serde_json::Value;

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
    run(&program("layer.cpp"), &[&model, &plugin, &chat_model()]);
    let results = shared("layer.cpp", "-results", &["-DOLLM_RESULTS", "-fno-exceptions"]);
    run(&results, &[&model, &plugin, &chat_model()]);
}

#[test]
fn logits_scores_and_samplers() {
    let (model, plugin) = model();
    run(&program("logits.c"), &[&model, &plugin]);
}

#[test]
fn rerankers() {
    let file = golden("rerankers/bert.gguf");
    let model = Arc::new(Model::open(&file).unwrap());
    let pair = Tokenizer::from_metadata(model.gguf().metadata()).unwrap().pair("who", "the pilgrims").unwrap();
    let score = Session::new(model, None, &SessionOptions::default()).unwrap().rank(&pair).unwrap();
    run(&program("rank.c"), &[&file, Path::new(&score.to_string())]);
}

#[test]
fn batches() {
    let (model, plugin) = model();
    run(&program("batch.c"), &[&model, &plugin]);
}

#[test]
fn adapters() {
    let (model, _) = model();
    let matrix = "blk.0.attn_q.weight";
    let shape =
        Model::open(&model).map(|model| [model.config().layers[0].query_width(), model.config().hidden]).unwrap();
    let values = |n: usize| (0..n).map(|i| (i * 31 % 23) as f32 / 46.0 - 0.25).collect();
    let factors = Factors { rank: 4, a: values(4 * shape[1]), b: values(shape[0] * 4) };
    let adapter = scratch("adapter.gguf");
    let file = Adapter::new(8.0, [(matrix.to_owned(), factors)].into()).of(Some("llama".into()));
    file.write(TensorType::F16, &adapter, true).unwrap();
    run(&program("adapters.c"), &[&model, &adapter, &golden("tiny/qwen2.gguf")]);
}

#[test]
fn branches() {
    let (model, plugin) = model();
    run(&program("branches.c"), &[&model, &plugin]);
}

#[test]
fn constraints() {
    let (model, plugin) = model();
    run(&program("constraint.c"), &[&model, &plugin, &golden("tiny/qwen2.gguf")]);
}

#[test]
fn misuse() {
    let (model, plugin) = model();
    run(&program("misuse.c"), &[&model, &plugin, &golden("tiny/qwen2.gguf")]);
}

#[test]
fn conversations() {
    run(&program("chat.c"), &[&chat_model()]);
    run(&program("conversation.c"), &[&chat_model(), &scratch("conversation.bin")]);
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

/// Modes, signals, forks, stacks and two copies of the library: what a host does to its process.
#[test]
fn hosts() {
    let (model, plugin) = model();
    let library = prefix().join("lib/libollm.so");
    let copy = scratch("libcopy.so");
    fs::copy(&library, &copy).unwrap();
    let program = shared("host.c", "", &["-D_GNU_SOURCE", "-ldl"]);
    run(&program, &[&model, &plugin, &library, &copy]);
    // An empty variable is as if there were none.
    succeed(Command::new(&program).args([&model, &plugin, &library, &copy]).env("OLLM_ISA", ""));
    // The stack that the header promises to be enough, in KiB.
    let real = (smollm2(), root().join("convert/trainer/plugins/smollm2-135m-instruct-gsm8k.gguf"));
    for isa in Isa::available() {
        for (model, plugin) in [(&model, &plugin), (&real.0, &real.1)] {
            succeed(Command::new(&program).args([model, plugin, Path::new("128")]).env("OLLM_ISA", isa.name()));
        }
    }
}

/// A tokenizer of `tokenizers` that has a token for each byte and no more.
fn byte_level_json() -> String {
    // GPT-2's alphabet: a byte that is no visible character stands for one above 255.
    let visible = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let letters = (0..256).filter(visible).chain(256..).take(256);
    let vocab: Vec<String> = letters.zip(0..).map(|(c, id)| format!("\"\\u{c:04x}\": {id}")).collect();
    let byte_level = r#"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}"#;
    format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {byte_level}, "post_processor": null, "decoder": {byte_level},
        "model": {{"type": "BPE", "vocab": {{{}}}, "merges": []}}}}"#,
        vocab.join(", ")
    )
}

/// Texts of 60 MB where memory is short, for a tokenizer of lists and for one of
/// `tokenizer.huggingface.json`; lists that are too long.
#[test]
fn lengths() {
    let (model, plugin) = model();
    let with_json = scratch("json.gguf");
    let json = byte_level_json();
    fs::write(&with_json, edited("llama", &[("tokenizer.huggingface.json", Some(json.into()))])).unwrap();
    run(&program("lengths.c"), &[&model, &plugin, &with_json, &smollm2()]);
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
    run(&compile("branches.c", "-asan", &flags), &[&model, &plugin]);
    run(&compile("sources.c", "-asan", &flags), &[&model, &plugin]);
    run(&compile("threads.c", "-asan", &flags), &[&model, &plugin]);
    run(&compile("chat.c", "-asan", &flags), &[&chat_model()]);
    run(&compile("conversation.c", "-asan", &flags), &[&chat_model(), &scratch("conversation-asan.bin")]);
    run(&compile("layer.cpp", "-asan", &flags), &[&model, &plugin, &chat_model()]);
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
    succeed(&mut valgrind(program("conversation.c"), &[&chat_model(), &scratch("conversation-valgrind.bin")]));
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
    run(&compile("branches.c", "-tsan", &flags), &[&model, &plugin]);
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
        run("branches.c", &[&model, &plugin]);
        run("sources.c", &[&model, &plugin]);
        run("threads.c", &[&model, &plugin]);
    }
    assert_pages_of_16_kib(&build.join("libollm.so"));
}

/// Windows, under Wine: the package of a build by MinGW, as `CMake` finds it and as a compiler
/// links it.
#[test]
fn windows() {
    let Some(build) = build_named("OLLM_WINDOWS_LIBRARY", ".ci/windows") else { return };
    let (model, plugin) = model();
    let [prefix, examples, native] = ["windows", "windows-examples", "native-examples"].map(scratch);
    succeed(Command::new(root().join("ffi/package/install.sh")).arg(&build).arg(&prefix));
    let wine = |program: &Path, args: &[&Path]| {
        // Where the DLL is; the root of this machine is the drive `Z:`.
        let dll = prefix.join("bin").display().to_string().replace('/', "\\");
        succeed(
            Command::new("wine").arg(program).args(args).env("WINEPATH", format!("Z:{dll}")).env("WINEDEBUG", "-all"),
        )
    };
    let flags = [format!("-L{}", prefix.join("lib").display()), "-lollm".to_owned(), "-static-libgcc".to_owned()];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let run = |source: &str, args: &[&Path]| {
        wine(&compile_for("x86_64-w64-mingw32-", source, "-windows.exe", &flags), args);
    };
    run("session.c", &[&model, &plugin, &scratch("session-windows.bin")]);
    run("misuse.c", &[&model, &plugin, &golden("tiny/qwen2.gguf")]);
    run("logits.c", &[&model, &plugin]);
    run("batch.c", &[&model, &plugin]);
    run("conversation.c", &[&chat_model(), &scratch("conversation-windows.bin")]);

    // The examples by CMake, for Windows and for this machine: they say the same.
    let built = |prefix: &Path, folder: &Path, flags: &[&str]| {
        let (at, sources) = (format!("-DCMAKE_PREFIX_PATH={}", prefix.display()), root().join("ffi/examples"));
        succeed(Command::new("cmake").arg("-S").arg(sources).arg("-B").arg(folder).arg(at).args(flags));
        succeed(Command::new("cmake").arg("--build").arg(folder));
    };
    built(
        &prefix,
        &examples,
        &[
            "-DCMAKE_SYSTEM_NAME=Windows",
            "-DCMAKE_C_COMPILER=x86_64-w64-mingw32-gcc",
            "-DCMAKE_CXX_COMPILER=x86_64-w64-mingw32-g++-posix",
            "-DCMAKE_EXE_LINKER_FLAGS=-static",
        ],
    );
    built(ollm_tests::c_programs::prefix(), &native, &[]);
    for (name, args) in [("hello", &[&*model][..]), ("vote", &[&*model, &*plugin][..])] {
        let said = succeed(Command::new(native.join(name)).args(args));
        assert_eq!(wine(&examples.join(format!("{name}.exe")), args).replace("\r\n", "\n"), said, "{name}");
    }
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
    let template = ChatTemplate::from_metadata(metadata).unwrap();
    let prompt = template.render(&[question], &Variables::new(), true, &tokenizer).unwrap();
    let plugin = Arc::new(Plugin::open(plugin, model).unwrap());
    let selector = Selector::new(LatentMode::Policy, Hold::Token, plugin.option_count(), 0).unwrap();
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let mut session = Session::new(Arc::clone(model), Some(plugin), &SessionOptions::default()).unwrap();
    session.feed(&prompt.tokens(&tokenizer).unwrap()).unwrap();
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
