//! `include/ollm.h` is what this crate's sources say. `OLLM_BLESS=1 cargo test -p ollm-ffi --test
//! header` writes it anew.
//!
//! cbindgen turns each module into declarations; here they become sections, each under the module's
//! own words. The parts that are written by hand are in `header/`.

use std::fs;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationStyle, EnumConfig, Language, RenameRule, Style};

/// The modules whose items are in the header, in its order.
const SECTIONS: [&str; 27] = [
    "version",
    "status",
    "log",
    "source",
    "model",
    "plugin",
    "text",
    "chat",
    "workers",
    "thread_pool",
    "session",
    "choose",
    "sampling",
    "constraint",
    "generate",
    "conversation",
    "batch",
    "adapter",
    "draft",
    "logits",
    "option_set",
    "branches",
    "search",
    "suggest",
    "save",
    "memory",
    "statistics",
];

/// What the module for WebAssembly has beside the header.
const NOT_IN_C: &str = "web";

/// What cbindgen makes of the names of enums, and what the constants begin with.
const PREFIXES: [(&str, &str); 7] = [
    ("OLLM_CHAT_EVENT_KIND_", "OLLM_CHAT_EVENT_"),
    ("OLLM_GRAMMAR_KIND_", "OLLM_GRAMMAR_"),
    ("OLLM_STATUS_", "OLLM_"),
    ("OLLM_BRANCH_STATE_", "OLLM_BRANCH_"),
    ("OLLM_LOG_LEVEL_", "OLLM_LOG_"),
    ("OLLM_SOURCE_KIND_", "OLLM_SOURCE_"),
    ("OLLM_TOKENIZE_FLAGS_", "OLLM_TOKENIZE_"),
];

const BEGIN: &str = "\
#ifndef OLLM_H
#define OLLM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define OLLM_ENUM(name, type) enum name : type
extern \"C\" {
#else
#define OLLM_ENUM(name, type) typedef type name; enum
#endif
";

const END: &str = "
#undef OLLM_ENUM

#ifdef __cplusplus
}
#endif

#endif
";

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn source(module: &str) -> PathBuf {
    here("src").join(module).with_extension("rs")
}

/// `OllmLogLevel` to `ollm_log_level`.
fn snake_case(name: &str) -> String {
    let split = |c: char| if c.is_uppercase() { format!("_{}", c.to_lowercase()) } else { c.to_string() };
    name.chars().map(split).collect::<String>().trim_start_matches('_').to_owned()
}

/// The public types of a module, in its order, and their names in C.
fn type_names(module: &str) -> Vec<(String, String)> {
    let name = |line: &str| {
        let rest = ["pub struct ", "pub enum ", "pub type "].iter().find_map(|start| line.strip_prefix(start))?;
        let name = rest.split(|c: char| !c.is_alphanumeric()).next()?;
        Some((name.to_owned(), snake_case(name)))
    };
    read(&source(module)).lines().filter_map(name).collect()
}

fn config(module: &str) -> Config {
    let mut config = Config {
        language: Language::C,
        style: Style::Both,
        documentation_style: DocumentationStyle::Cxx,
        usize_is_size_t: true,
        no_includes: true,
        line_length: 120,
        tab_width: 4,
        enumeration: EnumConfig { rename_variants: RenameRule::QualifiedScreamingSnakeCase, ..EnumConfig::default() },
        ..Config::default()
    };
    config.export.include = type_names(module).into_iter().map(|(name, _)| name).collect();
    config.export.rename = SECTIONS.iter().flat_map(|module| type_names(module)).collect();
    config
}

/// The declarations of one module.
fn declarations(module: &str) -> String {
    let bindings = Builder::new().with_config(config(module)).with_src(source(module)).generate();
    let mut out = Vec::new();
    bindings.unwrap_or_else(|error| panic!("{module}: {error}")).write(&mut out);
    let text = String::from_utf8(out).expect("cbindgen writes UTF-8");
    let text = text.lines().map(tidy).collect::<Vec<_>>().join("\n");
    enums(PREFIXES.iter().fold(text, |text, (from, to)| text.replace(from, to)))
}

/// Types go by their names alone.
fn tidy(line: &str) -> String {
    let line = line.trim_end();
    if line.starts_with("typedef struct") { line.to_owned() } else { line.replace("struct ollm_", "ollm_") }
}

/// Enums have their type in C++ too, and C takes any number for them: `enum x : t {..};` to
/// `OLLM_ENUM(x, t) {..};`, without the conditions on versions of C.
fn enums(text: String) -> String {
    const END: &str = "#endif // __STDC_VERSION__ >= 202311L\n";
    let Some((before, rest)) = text.split_once("\nenum ") else { return text };
    let parse = || {
        let (name, rest) = rest.split_once('\n')?;
        let (head, rest) = rest.split_once(" {\n")?;
        let kind = head.lines().find_map(|line| line.trim().strip_prefix(": "))?;
        let (body, rest) = rest.split_once("};\n")?;
        let (_, rest) = rest.split_once(END)?;
        Some(format!("{before}\nOLLM_ENUM({name}, {kind}) {{\n{body}}};\n{}", enums(rest.to_owned())))
    };
    parse().unwrap_or_else(|| panic!("this is not how cbindgen writes an enum: {rest}"))
}

/// The words at the head of a module.
fn essay(module: &str) -> String {
    let source = read(&source(module));
    let lines = source.lines().map_while(|line| line.strip_prefix("//!")).map(|line| format!("//{line}"));
    let rule = format!("// {}", "-".repeat(117));
    format!("\n{rule}\n{}\n{rule}\n", lines.collect::<Vec<_>>().join("\n"))
}

/// Takes the declarations of handles, with their words, out of a section.
fn split_handles(section: &str) -> (String, String) {
    let is_handle = |block: &&str| {
        block.lines().last().is_some_and(|last| last.starts_with("typedef struct") && last.ends_with(';'))
    };
    let (handles, rest): (Vec<_>, Vec<_>) = section.split("\n\n").partition(is_handle);
    (handles.join("\n\n"), rest.join("\n\n"))
}

fn header() -> String {
    let (mut handles, mut sections) = (essay("handle"), String::new());
    for module in SECTIONS {
        let (handle, rest) = split_handles(declarations(module).trim());
        if !handle.is_empty() {
            handles.extend(["\n", handle.trim(), "\n"]);
        }
        sections.extend([&essay(module), "\n", rest.trim(), "\n"]);
    }
    let [top, inline] = ["header/top.h", "header/inline.h"].map(|name| read(&here(name)));
    [top.as_str(), "\n", BEGIN, &handles, &sections, &inline, END].concat()
}

#[test]
fn the_header_is_what_the_sources_say() {
    let path = here("../include/ollm.h");
    let expected = header();
    if std::env::var_os("OLLM_BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = read(&path);
    let line =
        expected.lines().zip(found.lines()).position(|(a, b)| a != b).map_or(expected.lines().count(), |n| n + 1);
    assert!(
        found == expected,
        "include/ollm.h is stale from line {line} on: OLLM_BLESS=1 cargo test -p ollm-ffi --test header"
    );
}

#[test]
fn every_module_with_an_exported_function_is_a_section() {
    for entry in fs::read_dir(here("src")).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let exports = read(&path).contains("#[unsafe(no_mangle)]");
        assert!(!exports || SECTIONS.contains(&module.as_str()) || module == NOT_IN_C, "{module}");
    }
}

#[test]
fn every_struct_with_a_size_has_an_initializer() {
    let header = header();
    for definition in header.split("typedef struct ").filter(|text| text.contains("    size_t struct_size;")) {
        let name = definition.split(' ').next().unwrap();
        assert!(header.contains(&format!("OLLM_INITIALIZER({name})")), "{name}");
    }
}

#[test]
fn every_function_says_since_when_and_which_statuses() {
    for block in header().split("\n\n").filter(|block| block.contains("\nollm_status ollm_")) {
        let text = block.replace("\n/// ", " ");
        assert!(text.contains("Since 0.") && text.contains("Statuses: "), "{block}");
    }
}
