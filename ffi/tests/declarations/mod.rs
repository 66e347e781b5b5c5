//! What `include/ollm.h` declares, taken apart: for tests that compare it, and for what is made of
//! it.
#![allow(dead_code, reason = "each test reads some of it")]

use std::fs;
use std::path::{Path, PathBuf};

/// A declaration, with its documentation.
pub(crate) struct Declaration {
    pub(crate) name: String,
    /// Lines without `///`.
    pub(crate) docs: Vec<String>,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// The value of a `#define`.
    Constant(String),
    /// An enum's integer type, and its constants: those of no comma.
    Enum(String, Vec<Member>),
    Struct(Vec<Member>),
    Handle,
    Callback(Signature),
    Function(Signature),
}

/// A constant of an enum with its value, or a field of a struct with its type.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) docs: Vec<String>,
    pub(crate) what: String,
}

/// The types of a function.
pub(crate) struct Signature {
    pub(crate) result: String,
    pub(crate) parameters: Vec<Member>,
}

pub(crate) fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The declarations of the header, in its order. Initializers are code of the caller's: they and
/// what follows them are not part of the library.
pub(crate) fn declarations() -> Vec<Declaration> {
    let header = fs::read_to_string(here("../include/ollm.h")).unwrap();
    let library = header.split("// Initializers:").next().unwrap();
    let mut lines = Lines { lines: library.lines(), docs: Vec::new() };
    std::iter::from_fn(|| lines.declaration()).collect()
}

/// `ollm_log_level` to `LogLevel`.
pub(crate) fn camel_case(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.trim_start_matches("ollm_").split('_').map(capital).collect()
}

/// What the names of all constants begin with, up to an underscore.
pub(crate) fn prefix(constants: &[Member]) -> usize {
    let first = &constants[0].name;
    let same = |end: &usize| constants.iter().all(|constant| constant.name.starts_with(&first[..*end]));
    (0..first.len()).rev().filter(|end| first[..*end].ends_with('_')).find(same).expect("constants have a prefix")
}

struct Lines<'a> {
    lines: std::str::Lines<'a>,
    docs: Vec<String>,
}

impl Lines<'_> {
    fn declaration(&mut self) -> Option<Declaration> {
        loop {
            let line = self.lines.next()?;
            if let Some(doc) = doc(line) {
                self.docs.push(doc);
            } else if let Some((name, value)) = line.strip_prefix("#define ").and_then(|text| text.split_once(' ')) {
                let docs = std::mem::take(&mut self.docs);
                if !name.contains('(') {
                    return Some(Declaration { name: name.into(), docs, kind: Kind::Constant(value.into()) });
                }
            } else if line.is_empty()
                || line.starts_with("//")
                || line.starts_with(['#', '}'])
                || line.starts_with("extern")
            {
                self.docs.clear();
            } else {
                let docs = std::mem::take(&mut self.docs);
                let (name, kind) = self.code(line);
                return Some(Declaration { name, docs, kind });
            }
        }
    }

    fn code(&mut self, line: &str) -> (String, Kind) {
        if let Some(head) = line.strip_prefix("OLLM_ENUM(").and_then(|text| text.strip_suffix(") {")) {
            let (name, kind) = head.split_once(", ").expect("an enum has a name and a type");
            return (
                name.into(),
                Kind::Enum(kind.into(), self.members("};", |text| pair(text.trim_end_matches(','), " = "))),
            );
        }
        if let Some(rest) = line.strip_prefix("typedef struct ") {
            return match rest.strip_suffix(" {") {
                Some(name) => (
                    name.into(),
                    Kind::Struct(self.members(&format!("}} {name};"), |text| typed(text.trim_end_matches(';')))),
                ),
                None => (rest.split(' ').next().unwrap().into(), Kind::Handle),
            };
        }
        let mut text = line.trim().to_owned();
        while !text.ends_with(';') {
            text.extend([" ", self.lines.next().expect("a declaration ends").trim()]);
        }
        let (head, parameters) = text.trim_end_matches([';', ')']).rsplit_once('(').expect("a function has parameters");
        let parameters = match parameters {
            "void" => Vec::new(),
            list => list.split(", ").map(|text| typed(text).without_docs()).collect(),
        };
        let is_callback = head.starts_with("typedef ");
        let head = head.trim_start_matches("typedef ").replace("(*", " ").replace(')', "");
        let Pair(name, result) = typed(&head);
        let signature = Signature { result, parameters };
        (name, if is_callback { Kind::Callback(signature) } else { Kind::Function(signature) })
    }

    /// The members up to the line `end`.
    fn members(&mut self, end: &str, split: impl Fn(&str) -> Pair) -> Vec<Member> {
        let (mut members, mut docs) = (Vec::new(), Vec::new());
        for line in self.lines.by_ref().take_while(|line| *line != end) {
            if let Some(doc) = doc(line.trim_start()) {
                docs.push(doc);
            } else {
                let Pair(name, what) = split(line.trim());
                members.push(Member { name, docs: std::mem::take(&mut docs), what });
            }
        }
        members
    }
}

/// A name, and what goes with it.
struct Pair(String, String);

impl Pair {
    fn without_docs(self) -> Member {
        Member { name: self.0, docs: Vec::new(), what: self.1 }
    }
}

fn doc(line: &str) -> Option<String> {
    line.strip_prefix("///").map(|text| text.strip_prefix(' ').unwrap_or(text).to_owned())
}

fn pair(text: &str, separator: &str) -> Pair {
    let (name, what) = text.split_once(separator).unwrap_or_else(|| panic!("what is this? {text}"));
    Pair(name.into(), what.into())
}

/// `const char *text` to `text` and `const char *`.
fn typed(text: &str) -> Pair {
    let kind = text.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
    Pair(text[kind.len()..].into(), kind.split_whitespace().collect::<Vec<_>>().join(" "))
}
