//! The binary interface, as `ffi/abi.txt` keeps it: symbols with their types, numbers of enums,
//! fields of structs with their places. It may grow; whatever was there stays as it is, or
//! `OLLM_ABI_VERSION` (and the soname in `build.rs` and `package/`) counts one up. `OLLM_BLESS=1
//! cargo test -p ollm-ffi --test abi` writes the file, if that rule holds.
#![cfg(target_pointer_width = "64")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The declarations of the header, one a line, without comments and directives.
fn declarations() -> Vec<String> {
    let header = fs::read_to_string(here("../include/ollm.h")).unwrap();
    let code = |line: &&str| {
        let line = line.trim_start();
        !(line.starts_with("//") || line.starts_with('#') || line.starts_with("extern"))
    };
    // Initializers are code of the caller's; they and what follows them are not part of the
    // library.
    let library = header.split("// Initializers:").next().unwrap();
    let text = library.lines().filter(code).collect::<Vec<_>>().join(" ");
    let mut declarations = vec![String::new()];
    let mut depth = 0_u32;
    for c in text.chars() {
        depth = depth + u32::from(c == '{') - u32::from(c == '}');
        if c == ';' && depth == 0 {
            declarations.push(String::new());
        } else {
            declarations.last_mut().unwrap().push(c);
        }
    }
    declarations.iter().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// `const char *text` to `const char *`: names of parameters are not part of the interface.
fn unnamed(parameter: &str) -> &str {
    parameter.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').trim_end()
}

/// A function, or a type of functions.
fn signature(declaration: &str) -> String {
    let (head, parameters) = declaration.rsplit_once('(').expect("a function has parameters");
    let parameters = parameters.trim_end_matches(')');
    let types: Vec<_> = if parameters == "void" { vec!["void"] } else { parameters.split(", ").map(unnamed).collect() };
    format!("{head}({})", types.join(", "))
}

/// The constants of an enum, and its type.
fn constants(declaration: &str) -> Vec<String> {
    let (head, body) = declaration.split_once('{').expect("an enum has a body");
    let (name, kind) = head.trim_start_matches("OLLM_ENUM(").trim_end_matches([' ', ')']).split_once(", ").unwrap();
    let constant = |text: &str| format!("{name} {}", text.trim());
    let body = body.split('}').next().unwrap();
    let constants = body.split(',').filter(|text| !text.trim().is_empty()).map(constant);
    [format!("{name}: {kind}")].into_iter().chain(constants).collect()
}

/// A struct's name, and its fields with their types.
fn fields(declaration: &str) -> (String, Vec<(String, String)>) {
    let (head, rest) = declaration.split_once('{').expect("a struct has a body");
    let (body, _) = rest.split_once('}').unwrap();
    let field = |text: &str| {
        let kind = unnamed(text.trim());
        (text.trim()[kind.len()..].trim().to_owned(), kind.to_owned())
    };
    let name = head.trim_start_matches("typedef struct ").trim().to_owned();
    (name, body.split(';').filter(|text| !text.trim().is_empty()).map(field).collect())
}

/// Where the compiler puts the fields: `struct.field type at offset`.
fn layout(structs: &[(String, Vec<(String, String)>)]) -> Vec<String> {
    let line = |name: &str, field: &str, kind: &str| {
        format!(
            r#"printf("{name}.{field} {kind} at %zu, %zu\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));"#
        )
    };
    let lines = structs.iter().flat_map(|(name, fields)| fields.iter().map(move |(f, kind)| line(name, f, kind)));
    let body = lines.collect::<Vec<_>>().join("\n");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join("layout.c"), folder.join("layout"));
    fs::write(&source, format!("#include <ollm.h>\n#include <stdio.h>\nint main(void) {{\n{body}\nreturn 0; }}\n"))
        .unwrap();
    let built = Command::new("cc").arg("-I").arg(here("../include")).arg(&source).arg("-o").arg(&program).status();
    assert!(built.unwrap().success());
    let output = Command::new(program).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn interface() -> Vec<String> {
    let (mut lines, mut structs) = (vec![format!("abi {}", ollm::OLLM_ABI_VERSION)], Vec::new());
    for declaration in declarations() {
        match declaration.as_str() {
            "" => {}
            text if text.starts_with("OLLM_ENUM") => lines.extend(constants(text)),
            text if text.starts_with("typedef struct") && text.contains('{') => structs.push(fields(text)),
            text if text.starts_with("typedef struct") => {}
            text if text.contains('(') => lines.push(signature(text)),
            text => panic!("what is this? {text}"),
        }
    }
    lines.extend(layout(&structs));
    lines
}

#[test]
fn the_binary_interface_only_grows() {
    let path = here("abi.txt");
    let current = interface();
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let missing: Vec<_> = committed.lines().filter(|line| !current.iter().any(|now| now == line)).collect();
    let new_version = committed.lines().next() != current.first().map(String::as_str);
    assert!(
        missing.is_empty() || new_version,
        "the binary interface has lost\n{}\nCount OLLM_ABI_VERSION up, and the soname.",
        missing.join("\n")
    );
    if std::env::var_os("OLLM_BLESS").is_some() {
        fs::write(&path, current.join("\n") + "\n").unwrap();
        return;
    }
    let fresh: Vec<_> = current.iter().filter(|line| !committed.lines().any(|old| old == line.as_str())).collect();
    assert!(fresh.is_empty(), "ffi/abi.txt lacks {fresh:#?}: OLLM_BLESS=1 cargo test -p ollm-ffi --test abi");
}

/// The soname is the ABI version, wherever it is written.
#[test]
fn the_soname_is_the_version() {
    let soname = format!("libollm.so.{}", ollm::OLLM_ABI_VERSION);
    for file in ["build.rs", "package/install.sh", "package/ollm-config.cmake"] {
        let text = fs::read_to_string(here(file)).unwrap();
        let names = text.match_indices("libollm.so.").map(|(at, _)| &text[at..][..soname.len()]);
        assert!(names.clone().count() > 0 && names.clone().all(|name| name == soname), "{file}");
    }
}
