//! `python/src/ollm/c.py` is what `include/ollm.h` says, for Python's `ctypes`: constants, structs,
//! functions and their documentation. `OLLM_BLESS=1 cargo test -p ollm-ffi --test python` writes it
//! anew.

mod declarations;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use declarations::{Declaration, Kind, Member, Signature, camel_case, declarations, here, prefix};

const BEGIN: &str = r#"# Made from include/ollm.h by ffi/tests/python.rs; do not edit.
"""The C API of OLLM (`ollm.h`), for `ctypes`: its functions, structs and callbacks by their names in
C, its enums by names of Python. The classes of the package are written over it; what they lack can
be called here, with the rules of C.

Calls release the lock of the interpreter. Functions that give an `ollm_status` give its number.
"""

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_char, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from enum import IntEnum, IntFlag

from ._library import LIBRARY


def _function(name, result, parameters, doc):
    function = LIBRARY[name]
    function.restype, function.argtypes = result, parameters
    function.__name__ = name
    function.__doc__ = doc
    return function
"#;

/// Where a type stands: text of a parameter ends in a zero or has its length beside it, so that it
/// may be `bytes`; text that is read has only its length.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Parameter,
    Result,
    Read,
}

/// The types that the header declares.
struct Types {
    enums: BTreeMap<String, String>,
    handles: Vec<String>,
}

impl Types {
    fn of(declarations: &[Declaration]) -> Self {
        let number = |one: &Declaration| match &one.kind {
            Kind::Enum(number, _) => Some((one.name.clone(), number.clone())),
            _ => None,
        };
        let handles = declarations.iter().filter(|one| matches!(one.kind, Kind::Handle));
        Self {
            enums: declarations.iter().filter_map(number).collect(),
            handles: handles.map(|one| one.name.clone()).collect(),
        }
    }

    /// A type of C as one of `ctypes`.
    fn python(&self, c: &str, place: Place) -> String {
        let text = c.replace("const ", "").replace("*const", "*");
        let base = text.trim_end_matches([' ', '*']).trim();
        let stars = text.matches('*').count();
        let (name, stars) = match (base, stars) {
            ("void", 0) => return "None".to_owned(),
            ("void", _) => ("c_void_p".to_owned(), stars - 1),
            ("char", 1) if place == Place::Result || place == Place::Parameter && c.starts_with("const") => {
                ("c_char_p".to_owned(), 0)
            }
            (handle, _) if self.handles.iter().any(|name| name == handle) => ("c_void_p".to_owned(), stars - 1),
            _ => (self.number(base), stars),
        };
        (0..stars).fold(name, |name, _| format!("POINTER({name})"))
    }

    fn number(&self, name: &str) -> String {
        match self.enums.get(name).map_or(name, String::as_str) {
            "char" => "c_char".to_owned(),
            "float" => "c_float".to_owned(),
            "double" => "c_double".to_owned(),
            number if number.ends_with("_t") => {
                format!("c_{}", number.trim_end_matches("_t")).replace("c_size", "c_size_t")
            }
            name => name.to_owned(),
        }
    }

    fn list(&self, types: &Signature, place: Place) -> String {
        types.parameters.iter().map(|one| self.python(&one.what, place)).collect::<Vec<_>>().join(", ")
    }
}

/// Documentation with these members as a list, indented.
fn docs(text: &[String], members: &[(&str, &[String])], indent: &str) -> String {
    let mut lines: Vec<String> = text.to_vec();
    if !members.is_empty() {
        lines.push(String::new());
    }
    for (name, docs) in members {
        lines.push(format!("{name}:"));
        lines.extend(docs.iter().map(|line| format!("    {line}")));
    }
    let text = lines.join(&format!("\n{indent}"));
    let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    let end = if text.contains('\n') { format!("\n{indent}") } else { String::new() };
    format!("r\"\"\"{text}{end}\"\"\"")
}

fn documented(members: &[Member]) -> Vec<(&str, &[String])> {
    members.iter().map(|member| (member.name.as_str(), member.docs.as_slice())).collect()
}

fn write(out: &mut String, one: &Declaration, types: &Types) -> std::fmt::Result {
    let name = &one.name;
    match &one.kind {
        Kind::Constant(value) => {
            let value = if value == "UINT32_MAX" { "0xFFFFFFFF" } else { value };
            comment(out, &one.docs)?;
            writeln!(out, "{name} = {value}")
        }
        Kind::Enum(_, constants) => {
            let cut = prefix(constants);
            let base = if name.ends_with("_flags") { "IntFlag" } else { "IntEnum" };
            let members: Vec<_> = documented(constants).into_iter().map(|(name, docs)| (&name[cut..], docs)).collect();
            writeln!(out, "\n\nclass {}({base}):\n    {}\n", camel_case(name), docs(&one.docs, &members, "    "))?;
            constants.iter().try_for_each(|constant| writeln!(out, "    {} = {}", &constant.name[cut..], constant.what))
        }
        Kind::Struct(fields) => {
            let text = docs(&one.docs, &documented(fields), "    ");
            writeln!(out, "\n\nclass {name}(ctypes.Structure):\n    {text}\n\n    _fields_ = [")?;
            for field in fields {
                writeln!(out, "        (\"{}\", {}),", field.name, types.python(&field.what, Place::Read))?;
            }
            writeln!(out, "    ]")
        }
        Kind::Handle => Ok(()),
        Kind::Callback(signature) => {
            let result = types.python(&signature.result, Place::Read);
            comment(out, &one.docs)?;
            writeln!(out, "{name} = CFUNCTYPE({result}, {})", types.list(signature, Place::Read))
        }
        Kind::Function(signature) => {
            let result = types.python(&signature.result, Place::Result);
            let parameters = types.list(signature, Place::Parameter);
            let text = docs(&one.docs, &[], "");
            writeln!(
                out,
                "\n\n{name} = _function(\n    \"{name}\",\n    {result},\n    [{parameters}],\n    {text},\n)"
            )
        }
    }
}

fn comment(out: &mut String, docs: &[String]) -> std::fmt::Result {
    writeln!(out, "\n")?;
    docs.iter().try_for_each(|line| writeln!(out, "{}", format!("# {line}").trim_end()))
}

fn module() -> String {
    let declarations = declarations();
    let (types, mut out) = (Types::of(&declarations), BEGIN.to_owned());
    for one in &declarations {
        write(&mut out, one, &types).expect("a string takes text");
    }
    out
}

#[test]
fn the_module_is_what_the_header_says() {
    let (path, expected) = (here("python/src/ollm/c.py"), module());
    if std::env::var_os("OLLM_BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    let same = expected.lines().zip(found.lines()).take_while(|(a, b)| a == b).count();
    let message = "is stale: OLLM_BLESS=1 cargo test -p ollm-ffi --test python";
    assert!(found == expected, "{} from line {} on {message}", path.display(), same + 1);
}

/// What the binary interface lists is in the module, with its words.
#[test]
fn every_function_struct_and_constant_is_there() {
    let (module, abi) = (module(), fs::read_to_string(here("abi.txt")).unwrap());
    let mut counts = [0; 3];
    for line in abi.lines().filter(|line| !line.starts_with("abi ") && !line.starts_with("typedef")) {
        if let Some((head, _)) = line.split_once('(') {
            let name = head.rsplit([' ', '*']).next().unwrap();
            let written = module.split_once(&format!("\n{name} = _function(\n    \"{name}\",\n"));
            assert!(written.is_some_and(|(_, rest)| rest.split("\n)\n").next().unwrap().contains("Since")), "{line}");
            counts[0] += 1;
        } else if let Some((field, _)) = line.split_once(" at ") {
            let (name, rest) = field.split_once('.').unwrap();
            let body = module.split_once(&format!("class {name}(")).unwrap().1.split("    ]\n").next().unwrap();
            assert!(body.contains(&format!("(\"{}\", ", rest.split(' ').next().unwrap())), "{line}");
            counts[1] += 1;
        } else if let Some((constant, value)) = line.split_once(" = ") {
            let (kind, name) = constant.split_once(' ').unwrap();
            let body = module.split_once(&format!("class {}(", camel_case(kind))).unwrap().1;
            let end = body.find("\n\n\n").unwrap();
            let is_there = |line: &str| {
                name.ends_with(&format!("_{}", line.trim().strip_suffix(&format!(" = {value}")).unwrap_or("?")))
            };
            assert!(body[..end].lines().any(is_there), "{line}");
            counts[2] += 1;
        }
    }
    assert!(counts[0] > 90 && counts[1] > 150 && counts[2] > 80, "{counts:?}");
}
