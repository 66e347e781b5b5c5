//! The layers over the C API for other languages: C++ (which `capi.rs` runs), Java, Kotlin, Swift.
//! They have every function, and do what they say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ollm_tests::c_programs::{WARNINGS, chat_model, has, model, prefix, scratch, succeed};
use ollm_tests::root;

/// What C++ says in its own way, and how.
const REPLACED_IN_CPP: [(&str, &str); 0] = [];

/// What Python says in its own way, and how.
const REPLACED_IN_PYTHON: [(&str, &str); 3] = [
    ("ollm_chat_text", "by ollm_chat_render, for messages with all their fields"),
    ("ollm_session_feed", "by ollm_session_feed_watched, which Ctrl-C can end"),
    ("ollm_session_feed_text", "by ollm_tokenize and the same"),
];

/// The functions of the C API.
fn functions() -> BTreeSet<String> {
    let abi = fs::read_to_string(root().join("ffi/abi.txt")).unwrap();
    let name = |line: &str| {
        let before = line.split_once('(')?.0;
        let name = before.rsplit([' ', '*']).next().filter(|name| name.starts_with("ollm_"))?;
        (!line.starts_with("typedef")).then(|| name.to_owned())
    };
    let functions: BTreeSet<String> = abi.lines().filter_map(name).collect();
    assert!(functions.len() > 90, "{functions:?}");
    functions
}

/// The names in a text, each a whole word.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect()
}

/// The files of a folder that end in `extension`, in order.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has no files");
    files
}

fn text(files: &[PathBuf]) -> String {
    files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The functions that a layer does not call.
fn missing(layer: &str, replaced: &[(&str, &str)]) -> Vec<String> {
    let named = names(layer);
    for (function, how) in replaced {
        assert!(!named.contains(function) && !how.is_empty(), "{function} is there, and not replaced");
    }
    let replaced: Vec<&str> = replaced.iter().map(|(function, _)| *function).collect();
    functions().into_iter().filter(|name| !named.contains(&name[..]) && !replaced.contains(&&name[..])).collect()
}

#[test]
fn each_layer_has_every_function() {
    let header = fs::read_to_string(root().join("include/ollm.hpp")).unwrap();
    assert_eq!(missing(&header, &REPLACED_IN_CPP), [""; 0], "ollm.hpp");
    assert_eq!(missing(&text(&files("ffi/java/jni", "c")), &[]), [""; 0], "ffi/java");
    let mut python = files("ffi/python/src/ollm", "py");
    python.retain(|path| !path.ends_with("c.py"));
    assert_eq!(missing(&text(&python), &REPLACED_IN_PYTHON), [""; 0], "ffi/python");
}

/// Java's classes use every native method; that C has it, `Hostile.java` finds out.
#[test]
fn each_native_method_is_used() {
    let (all, native) =
        (text(&files("ffi/java/src/org/ollm", "java")), root().join("ffi/java/src/org/ollm/Native.java"));
    let native = fs::read_to_string(native).unwrap();
    let methods = native.lines().filter(|line| line.trim_start().starts_with("static native"));
    let methods: Vec<&str> = methods.map(|line| line.split_once('(').unwrap().0.rsplit(' ').next().unwrap()).collect();
    for method in &methods {
        let used = all.contains(&format!("Native.{method}(")) || native.matches(&format!(" {method}(")).count() > 1;
        assert!(used, "{method} is not used");
    }
    assert!(methods.len() > 80, "{methods:?}");
}

/// Where the JVM's own `jni.h` is, if it has one.
fn java_home() -> Option<PathBuf> {
    if !has("javac") || !has("java") {
        return None;
    }
    let settings = Command::new("java").args(["-XshowSettings:properties", "-version"]).output().unwrap();
    let settings = String::from_utf8_lossy(&settings.stderr).into_owned();
    let home = settings.lines().find_map(|line| line.trim().strip_prefix("java.home = ")).map(PathBuf::from).unwrap();
    if home.join("include/jni.h").exists() {
        return Some(home);
    }
    eprintln!("{} has no jni.h: the test of the JNI layer is skipped", home.display());
    None
}

/// Builds classes and the native library into the folder `name`; gives the folder.
fn build_java(home: &Path, name: &str) -> PathBuf {
    let (folder, lib) = (scratch(name), prefix().join("lib"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let mut compile = Command::new("javac");
    compile.args(["--release", "11", "-Xlint:all,-try", "-Werror", "-d"]).arg(&folder);
    succeed(compile.args(files("ffi/java/src/org/ollm", "java")).args(files("ffi/java/test", "java")));
    let mut build = Command::new("gcc");
    build.args(["-std=c99", "-shared", "-fPIC"]).args(WARNINGS).args(files("ffi/java/jni", "c"));
    for include in [home.join("include"), home.join("include/linux"), prefix().join("include")] {
        build.arg("-I").arg(include);
    }
    build.arg("-o").arg(folder.join("libollm_jni.so")).arg(format!("-L{}", lib.display())).arg("-lollm");
    succeed(build.arg(format!("-Wl,-rpath,{}", lib.display())));
    folder
}

/// Runs a class of `folder`, with more on its class path.
fn run_java(folder: &Path, class: &str, more: &str, args: &[&Path]) -> String {
    let mut run = Command::new("java");
    run.args(["-Xcheck:jni", "--add-opens", "java.base/java.io=ALL-UNNAMED", "-cp"]);
    run.arg(format!("{}{more}", folder.display())).arg(format!("-Djava.library.path={}", folder.display()));
    let printed = succeed(run.arg(class).args(args));
    assert!(!printed.contains("WARNING"), "{printed}");
    printed
}

/// The JNI layer on a desktop JVM.
#[test]
fn java() {
    let Some(home) = java_home() else { return };
    let folder = build_java(&home, "java");
    let ((model, plugin), saved) = (model(), scratch("java-saved"));
    let _ = fs::remove_dir_all(&saved);
    fs::create_dir_all(&saved).unwrap();
    let printed = run_java(&folder, "OllmTest", "", &[&model, &plugin, &chat_model(), &saved]);
    assert!(printed.ends_with("ok [10, 200, 31, 47, 5]\n"), "{printed}");
}

/// The class path of a Kotlin compiler with coroutines: the jars of the Python package
/// `kotlin-jupyter-kernel`.
fn kotlin() -> Option<String> {
    let find = "import importlib.util as u; s = u.find_spec('run_kotlin_kernel'); print(s.submodule_search_locations[0] if s else '')";
    let found = Command::new("python3").args(["-c", find]).output().ok()?;
    let folder = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()).join("jars");
    let jars = fs::read_dir(folder).ok()?.map(|jar| jar.unwrap().path().display().to_string());
    Some(jars.map(|jar| format!(":{jar}")).collect::<Vec<_>>().concat())
}

/// The coroutines of Kotlin.
#[test]
fn kotlin_coroutines() {
    let (Some(home), Some(jars)) = (java_home(), kotlin()) else {
        eprintln!("no Kotlin compiler (`pip install --no-deps kotlin-jupyter-kernel` has one): its test is skipped");
        return;
    };
    let folder = build_java(&home, "kotlin");
    let mut compile = Command::new("java");
    compile.args(["-cp", &jars[1..], "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]);
    compile.args(["-no-stdlib", "-no-reflect", "-Werror", "-cp"]).arg(format!("{}{jars}", folder.display()));
    compile.args(files("ffi/kotlin/src", "kt")).args(files("ffi/kotlin/test", "kt"));
    succeed(compile.arg("-d").arg(&folder));
    let (model, plugin) = model();
    let printed = run_java(&folder, "KotlinTestKt", &jars, &[&model, &plugin]);
    assert!(printed.ends_with("ok kotlin\n"), "{printed}");
}

/// The Swift overlay, built by Swift's own tool as a package outside the tree.
#[test]
fn swift() {
    if !has("swiftc") {
        return;
    }
    let (folder, lib, (model, plugin)) = (scratch("swift"), prefix().join("lib"), model());
    let _ = fs::remove_dir_all(&folder);
    succeed(Command::new("cp").arg("-r").arg(root().join("ffi/swift")).arg(&folder));
    let mut run = Command::new("swift");
    run.args(["run", "-q", "--package-path"]).arg(&folder).arg("OllmCheck").args([model, plugin]);
    run.env("PKG_CONFIG_PATH", lib.join("pkgconfig")).env("LD_LIBRARY_PATH", &lib);
    assert!(succeed(&mut run).ends_with("ok swift\n"));
}
