//! The C library as a package: the header in every standard, what the library exports, pkg-config,
//! `CMake`, installing and uninstalling, the examples. What the library does is in `capi.rs`,
//! layers of other languages are in `layers.rs`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ollm_tests::c_programs::{
    WARNINGS, assert_pages_of_16_kib, build, chat_model, has, model, prefix, readelf, run, scratch, succeed,
};
use ollm_tests::root;

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
    // What `llguidance` exports in builds with grammars, no option of rustc hides.
    let mut exported = symbols(&library);
    exported.retain(|name| !name.starts_with("llg_"));
    exported.sort_unstable();
    assert_eq!(exported, declared);
    assert!(readelf("--dynamic", &library).contains("[libollm.so.1]"), "no soname");
    assert_pages_of_16_kib(&library);
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
    fs::create_dir_all(staging.join("usr/include")).unwrap();
    let script = |name: &str| {
        let mut command = Command::new(root().join("ffi/package").join(name));
        command.env("DESTDIR", &staging);
        command
    };
    // A file of something else is not overwritten, and nothing else is written.
    fs::write(staging.join("usr/bin/ollm-run"), "another program").unwrap();
    let refused = script("install.sh").arg(build()).arg("/usr").arg(build()).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("usr/bin/ollm-run"), "{refused:?}");
    assert_eq!(fs::read(staging.join("usr/bin/ollm-run")).unwrap(), b"another program");
    assert!(!staging.join("usr/lib").exists() && !staging.join("usr/share").exists());
    fs::remove_file(staging.join("usr/bin/ollm-run")).unwrap();
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
    // So do folders that were there, be they empty; those that were made are gone.
    assert!(staging.join("usr/include").exists());
    assert!(!staging.join("usr/lib").exists() && !staging.join("usr/share").exists());
    assert!(!script("uninstall.sh").arg("/usr").output().unwrap().status.success());
    // A prefix is an absolute path: none is not the root.
    assert!(!script("install.sh").arg(build()).arg("").output().unwrap().status.success());
    assert!(!script("uninstall.sh").arg("").output().unwrap().status.success());
    // Lines that lead out of the prefix are passed over.
    fs::create_dir_all(staging.join("usr/share/ollm")).unwrap();
    fs::write(staging.join("usr/share/ollm/installed"), "../victim\n\nshare/\nshare/ollm/\nshare/ollm/installed\n")
        .unwrap();
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
    let voted = succeed(Command::new(build.join("vote")).args([&model, &plugin]));
    assert!(voted.lines().count() == 11 && voted.contains("\nanswer: "), "{voted}");
    for args in [&[&model][..], &[&model, &plugin]] {
        let suggested = succeed(Command::new(build.join("suggest")).args(args));
        assert!(suggested.lines().count() > 0 && suggested.contains(" %  "), "{suggested}");
    }
    let called = succeed(Command::new(build.join("tools")).arg(chat_model()));
    assert_eq!(called, "I add them.\n[add {\"a\":2,\"b\":3}]\n\nIt is 5.\n");
    let answered = succeed(Command::new(build.join("tools")).arg(chat_model()).arg("-"));
    assert!(answered.len() > 1, "{answered}");
    let saved = scratch("example-chat.bin");
    let _ = fs::remove_file(&saved);
    let chatted = talk(&build.join("chat_with_tools"), &[&chat_model(), &saved], "Hi\n/undo\nHi\n/save\n");
    assert!(chatted.lines().count() >= 2 && saved.exists(), "{chatted}");
    talk(&build.join("chat_with_tools"), &[&chat_model(), &saved], "And?\n");
    let json = succeed(Command::new(build.join("json")).args([&model, &plugin]));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(value["stars"].as_i64().is_some_and(|stars| (1..=5).contains(&stars)), "{json}");
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
