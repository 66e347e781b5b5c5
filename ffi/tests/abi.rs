//! The binary interface, as `ffi/abi.txt` keeps it: symbols with their types, numbers of enums,
//! fields of structs with their places. It may grow; whatever was there stays as it is, or
//! `OLLM_ABI_VERSION` (and the soname in `build.rs` and `package/`) counts one up. `OLLM_BLESS=1
//! cargo test -p ollm-ffi --test abi` writes the file, if that rule holds.
#![cfg(target_pointer_width = "64")]

mod declarations;

use std::fs;
use std::path::Path;
use std::process::Command;

use declarations::{Kind, Member, Signature, declarations, here};

/// The text of a function, or of a type of functions, without the names of its parameters, which
/// are not part of the interface.
fn signature(head: &str, signature: &Signature) -> String {
    let types: Vec<_> = signature.parameters.iter().map(|parameter| parameter.what.as_str()).collect();
    let types = if types.is_empty() { "void".to_owned() } else { types.join(", ") };
    let space = if signature.result.ends_with('*') { "" } else { " " };
    format!("{}{space}{head}({types})", signature.result)
}

/// Where the compiler puts the fields: `struct.field type at offset`.
fn layout(structs: &[(String, Vec<Member>)]) -> Vec<String> {
    let line = |name: &str, field: &str, kind: &str| {
        format!(
            r#"printf("{name}.{field} {kind} at %zu, %zu\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));"#
        )
    };
    let lines =
        structs.iter().flat_map(|(name, fields)| fields.iter().map(move |field| line(name, &field.name, &field.what)));
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
        let name = declaration.name;
        match declaration.kind {
            Kind::Enum(kind, constants) => {
                lines.push(format!("{name}: {kind}"));
                lines.extend(constants.iter().map(|constant| format!("{name} {} = {}", constant.name, constant.what)));
            }
            Kind::Struct(fields) => structs.push((name, fields)),
            Kind::Callback(types) => lines.push(format!("typedef {}", signature(&format!("(*{name})"), &types))),
            Kind::Function(types) => lines.push(signature(&name, &types)),
            Kind::Handle | Kind::Constant(_) => {}
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
