//! The floors of the house: what a module may import is checked, not promised.
//!
//! The order of the floors is the table of `runtime/src/lib.rs`, and below that the one of
//! `runtime/kernels/src/lib.rs`. No crate of the repository has a circle of files that import each
//! other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ollm_tests::root;

/// The folders of the sources of each crate.
const CRATES: [&str; 11] = [
    "runtime/kernels/src",
    "runtime/src",
    "runtime/console/src",
    "runtime/cli/src",
    "convert/src",
    "convert/src/bin/ollm-convert",
    "convert/trainer/src",
    "convert/trainer/src/bin/ollm-train",
    "ffi/src",
    "ffi/tests/calls",
    "tests/src",
];

/// A file of a crate.
struct Source {
    path: PathBuf,
    /// Its module, from the crate's root: `["model", "schema"]`.
    module: Vec<String>,
    /// What it says, without comments, texts and tests.
    code: String,
}

/// The sources of a crate, those of another crate below it left out.
fn sources(folder: &str) -> Vec<Source> {
    let (top, mut found, mut folders) = (root().join(folder), Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_crate = CRATES.iter().any(|other| root().join(other) == path);
            if path.is_dir() && !is_crate && path.file_name().unwrap() != "bin" {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(Source { module: module(&top, &path), code: code(&path), path });
            }
        }
    }
    found
}

fn module(top: &Path, path: &Path) -> Vec<String> {
    let relative = path.strip_prefix(top).unwrap().with_extension("");
    let mut module: Vec<String> = relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.filter(|line| !line.trim_start().starts_with("#[")).collect::<Vec<_>>().join("\n")
}

/// The paths that begin with one of `starts`, groups in braces taken apart. Re-exports of a folder
/// are none: they name what is below them for others. Nor are paths of a macro (`$crate::`), which
/// are those of its callers.
fn paths(code: &str, starts: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let start = code[..at].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1);
        let line = code[..start].rfind('\n').map_or(0, |i| i + 1);
        let exported = code[line..start].contains("pub use") || code[line..start].contains("pub(crate) use");
        let inside = code[..start].ends_with("::") || code[..start].ends_with('$');
        if starts.contains(&&code[start..at]) && !exported && !inside {
            expand(&code[start..], Vec::new(), &mut found);
        }
    }
    found
}

/// Appends the paths that `text` begins with, below `prefix`; tells how much of it they are.
fn expand(text: &str, mut prefix: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if text[at..].starts_with('{') {
            at += 1;
            while !text[at..].trim_start().starts_with('}') {
                at += expand(&text[at..], prefix.clone(), found);
                at += text[at..].len() - text[at..].trim_start_matches([' ', '\n', ',']).len();
            }
            return at + text[at..].find('}').unwrap_or_default() + 1;
        }
        let name = text[at..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text[at..].len());
        if name == 0 {
            found.push(prefix);
            return at + usize::from(text[at..].starts_with('*'));
        }
        prefix.push(text[at..at + name].to_owned());
        at += name;
        if !text[at..].starts_with("::") {
            found.push(prefix);
            return at + if text[at..].starts_with(" as ") { text[at..].find([',', ';', '}']).unwrap_or(0) } else { 0 };
        }
        at += 2;
    }
}

/// A path from the root of its crate.
fn absolute(path: &[String], module: &[String]) -> Vec<String> {
    let mut base = module.to_vec();
    let mut rest = path;
    while let Some(first) = rest.first() {
        match first.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = &rest[1..];
    }
    base.extend(rest.iter().filter(|name| *name != "self").cloned());
    base
}

/// Whether a file defines an item of that name, and does not merely pass it on.
fn defines(source: &Source, item: &str) -> bool {
    let kinds = ["struct", "enum", "trait", "fn", "type", "const", "static", "union", "macro_rules!"];
    kinds.iter().any(|kind| {
        let name = format!("{kind} {item}");
        source
            .code
            .match_indices(&name)
            .any(|(at, _)| !source.code[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

fn defines_macro(source: &Source, name: &str) -> bool {
    source.code.contains(&format!("macro_rules! {name} {{"))
}

/// The modules that a file declares: it imports from them by their bare names.
fn children(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| line.trim().strip_suffix(';')?.rsplit_once("mod ").map(|(_, name)| name))
}

/// Which files each file of a crate imports from.
fn imports(sources: &[Source]) -> BTreeMap<usize, BTreeSet<usize>> {
    let files: BTreeMap<&[String], usize> = sources.iter().enumerate().map(|(i, s)| (&s.module[..], i)).collect();
    let mut all = BTreeMap::<usize, BTreeSet<usize>>::new();
    for (i, source) in sources.iter().enumerate() {
        let starts: Vec<&str> = ["crate", "super", "self"].into_iter().chain(children(&source.code)).collect();
        for path in paths(&source.code, &starts) {
            let path = absolute(&path, &source.module);
            let known = (0..=path.len()).rev().find_map(|n| Some((n, *files.get(&path[..n])?)));
            let Some((length, file)) = known else { continue };
            // What a folder passes on is of the file below it that defines it.
            let target = match path.get(length) {
                Some(item) if !defines(&sources[file], item) => {
                    let below = |j: &usize| sources[*j].module.starts_with(&path[..length]) && *j != file;
                    (0..sources.len()).filter(below).find(|&j| defines(&sources[j], item))
                }
                _ => Some(file),
            };
            all.entry(i).or_default().extend(target.filter(|&target| target != i));
        }
    }
    all
}

/// The files that can be reached from `from`.
fn reach(imports: &BTreeMap<usize, BTreeSet<usize>>, from: usize) -> BTreeSet<usize> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        let new = imports.get(&file).into_iter().flatten().filter(|file| seen.insert(**file));
        next.extend(new.copied().collect::<Vec<_>>());
    }
    seen
}

/// The imports inside circles, of which there should be none.
fn circles(sources: &[Source]) -> Vec<String> {
    let imports = imports(sources);
    let in_circle: BTreeSet<usize> = (0..sources.len()).filter(|&i| reach(&imports, i).contains(&i)).collect();
    let arrows = in_circle.iter().flat_map(|&i| imports[&i].intersection(&in_circle).map(move |&j| (i, j)));
    let shown = |i: usize| sources[i].path.display();
    arrows.map(|(i, j)| format!("{} imports from {}", shown(i), shown(j))).collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let crates = CRATES.map(sources);
    let files: usize = crates.iter().map(Vec::len).sum();
    assert!(files > 200, "only {files} files were found: the test shows nothing");
    let circles: Vec<String> = crates.iter().flat_map(|sources| circles(sources)).collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

/// The modules of each floor, from the top down, as the table in `lib.rs` of that folder says.
fn floors(folder: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join(folder).join("lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | ")).filter(|row| row.starts_with(['[', '`']));
    rows.map(|row| {
        let names = row.split(" | ").next().unwrap_or_default();
        names.split(['`', '[', ']', ',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    })
    .collect()
}

#[test]
fn a_module_imports_only_from_the_floors_below_it() {
    for (folder, least) in [("runtime/src", 100), ("runtime/kernels/src", 50)] {
        let checked = imports_between_floors(folder);
        assert!(checked > least, "only {checked} imports were found in {folder}: the test shows nothing");
    }
}

/// Checks the imports between the floors of a crate, and counts them.
fn imports_between_floors(folder: &str) -> usize {
    let (floors, sources) = (floors(folder), sources(folder));
    let floor = |module: &str| floors.iter().position(|floor| floor.iter().any(|name| name == module));
    let mut checked = 0;
    for source in &sources {
        // The roof gathers the errors of all floors; the root of the crate names every module.
        let Some(own) = source.module.first().filter(|module| *module != "error") else { continue };
        let of_own = floor(own).unwrap_or_else(|| panic!("lib.rs names no floor of {own}"));
        for path in paths(&source.code, &["crate", "super"]) {
            let mut path = absolute(&path, &source.module);
            // A macro stands at the root of the crate, and belongs to the module that defines it.
            if let Some(file) = path.first().and_then(|name| sources.iter().find(|file| defines_macro(file, name))) {
                path.splice(0..0, file.module.iter().cloned());
            }
            let Some(other) = path.first().filter(|other| *other != own) else { continue };
            let below = floor(other).is_some_and(|other| other > of_own);
            assert!(below, "{}: {} is not below {own}", source.path.display(), path.join("::"));
            checked += 1;
        }
    }
    checked
}

/// The test sees what it is to see.
#[test]
fn imports_are_read_as_they_are_written() {
    let code = "use crate::a::{self, B, c::{D, E as F}};\nuse super::g;\npub use self::h::I;\nlet x = crate::j::k(1);";
    let found: Vec<String> = paths(code, &["crate", "super", "self"]).iter().map(|path| path.join(" ")).collect();
    let expected = ["crate a self", "crate a B", "crate a c D", "crate a c E", "super g", "crate j k"];
    assert_eq!(found, expected);
    let code = "mod a;\npub mod b;\nuse a::C;\nlet x = b::f(a);";
    let starts: Vec<&str> = children(code).collect();
    assert_eq!(starts, ["a", "b"]);
    let found: Vec<String> = paths(code, &starts).iter().map(|path| path.join(" ")).collect();
    assert_eq!(found, ["a C", "b f"]);
    let module = ["m".to_owned(), "n".to_owned()];
    assert_eq!(absolute(&["super".to_owned(), "g".to_owned()], &module), ["m", "g"]);
}
