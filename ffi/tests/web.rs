//! `web/src/c.js` and `web/src/c.d.ts` are what `include/ollm.h` says, for JavaScript over the
//! module for WebAssembly: constants, the layout of structs, the types of functions. `OLLM_BLESS=1
//! cargo test -p ollm-ffi --test web` writes them anew.

mod declarations;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use declarations::{Declaration, Kind, Member, Signature, camel_case, declarations, here, prefix};

const BEGIN: &str = "\
// Made from include/ollm.h by ffi/tests/web.rs; do not edit.

/**
 * The C API of OLLM (`ollm.h`) as WebAssembly has it: enums, the layout of structs, the types of
 * callbacks. Pointers and `size_t` have four bytes there.
";

const BEGIN_SCRIPT: &str = " *
 * A field is its offset, its type, and its enum if it is of one. `ptr` is an address or a handle,
 * `len` the number of elements of the array before it.
 */
";

const BEGIN_TYPES: &str = " *
 * Structs have names of JavaScript here (`top_k` is `topK`), without addresses and lengths of
 * arrays; numbers of an enum are its names as text. Functions are as they are in C: addresses and
 * handles are numbers, 64-bit integers are `bigint`.
 */
";

/// What a type of C is, by its name without `const`.
struct Types {
    enums: BTreeMap<String, String>,
    callbacks: Vec<String>,
    structs: Vec<String>,
}

/// A type in memory.
#[derive(Clone, Copy, PartialEq)]
enum Type {
    I32,
    U32,
    U64,
    F32,
    F64,
    Size,
    Pointer,
    /// The number of elements of the array in the field before.
    Length,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Size => "size",
            Self::Pointer => "ptr",
            Self::Length => "len",
        }
    }

    /// Bytes, which are also its alignment.
    fn size(self) -> usize {
        if matches!(self, Self::U64 | Self::F64) { 8 } else { 4 }
    }

    /// The type of a WebAssembly parameter.
    fn value(self) -> &'static str {
        match self {
            Self::U64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            _ => "i32",
        }
    }

    /// Whether a field is for addresses, and not for values.
    fn is_plumbing(self) -> bool {
        matches!(self, Self::Pointer | Self::Length)
    }

    /// The type of a number in TypeScript.
    fn script(self) -> &'static str {
        if self == Self::U64 { "bigint" } else { "number" }
    }
}

impl Types {
    fn of(declarations: &[Declaration]) -> Self {
        let names = |is: fn(&Kind) -> bool| {
            declarations.iter().filter(|one| is(&one.kind)).map(|one| one.name.clone()).collect()
        };
        let number = |one: &Declaration| match &one.kind {
            Kind::Enum(number, _) => Some((one.name.clone(), number.clone())),
            _ => None,
        };
        Self {
            enums: declarations.iter().filter_map(number).collect(),
            callbacks: names(|kind| matches!(kind, Kind::Callback(_))),
            structs: names(|kind| matches!(kind, Kind::Struct(_))),
        }
    }

    /// A type of C; none for `void`. A struct that is passed by value is passed by its address.
    fn read(&self, c: &str) -> Option<Type> {
        let name = c.replace("const", "");
        let name = name.trim();
        let is = |names: &[String]| names.iter().any(|other| other == name);
        Some(match self.enums.get(name).map_or(name, String::as_str) {
            "void" => return None,
            "int32_t" => Type::I32,
            "uint32_t" => Type::U32,
            "uint64_t" => Type::U64,
            "float" => Type::F32,
            "double" => Type::F64,
            "size_t" => Type::Size,
            name if name.contains('*') || is(&self.callbacks) || is(&self.structs) => Type::Pointer,
            name => panic!("what is this? {name}"),
        })
    }

    /// The fields of a struct with their offsets, and its size.
    fn layout<'a>(&self, fields: &'a [Member]) -> (Vec<(&'a Member, usize, Type)>, usize) {
        let (mut at, mut is_array, mut widest, mut placed) = (0_usize, false, 1, Vec::new());
        for field in fields {
            assert!(!self.structs.contains(&field.what), "{} is a struct in a struct", field.name);
            let kind = match self.read(&field.what).expect("a field has a type") {
                // By their names: a pointer to one struct has no length, and a number may follow
                // it.
                Type::Size if is_array && (field.name.ends_with("length") || field.name.ends_with("count")) => {
                    Type::Length
                }
                kind => kind,
            };
            at = at.next_multiple_of(kind.size());
            placed.push((field, at, kind));
            at += kind.size();
            widest = widest.max(kind.size());
            is_array = field.what.contains('*') && field.name != "user" || kind == Type::Pointer && is_array;
        }
        (placed, at.next_multiple_of(widest))
    }

    fn parameters(&self, signature: &Signature) -> Vec<Type> {
        signature.parameters.iter().map(|one| self.read(&one.what).expect("a parameter has a type")).collect()
    }
}

/// `top_k` to `topK`.
fn script_name(name: &str) -> String {
    match name.split_once('_') {
        Some((first, rest)) => first.to_owned() + &camel_case(rest),
        None => name.to_owned(),
    }
}

/// The name of a constant as text, such as `"end"`.
fn word(name: &str, cut: usize) -> String {
    format!("\"{}\"", name[cut..].to_lowercase())
}

fn comment(out: &mut String, docs: &[String], indent: &str) -> std::fmt::Result {
    match docs {
        [] => Ok(()),
        [line] => writeln!(out, "{indent}/** {line} */"),
        lines => {
            writeln!(out, "{indent}/**")?;
            lines.iter().try_for_each(|line| writeln!(out, "{}", format!("{indent} * {line}").trim_end()))?;
            writeln!(out, "{indent} */")
        }
    }
}

fn script(out: &mut String, declarations: &[Declaration], types: &Types) -> std::fmt::Result {
    for one in declarations {
        match &one.kind {
            Kind::Constant(value) => {
                let value = if value == "UINT32_MAX" { "0xffffffff" } else { value };
                writeln!(out, "\nexport const {} = {value};", one.name)?;
            }
            Kind::Enum(_, constants) => {
                let cut = prefix(constants);
                writeln!(out, "\nexport const {} = {{", camel_case(&one.name))?;
                for constant in constants {
                    writeln!(out, "  {}: {},", &constant.name[cut..], constant.what)?;
                }
                writeln!(out, "}};")?;
            }
            _ => {}
        }
    }
    writeln!(out, "\nexport const structs = {{")?;
    for one in declarations {
        let Kind::Struct(fields) = &one.kind else { continue };
        let (fields, size) = types.layout(fields);
        writeln!(out, "  {}: {{\n    size: {size},\n    fields: {{", one.name)?;
        for (field, at, kind) in fields {
            let of = if types.enums.contains_key(&field.what) {
                format!(", {}", camel_case(&field.what))
            } else {
                String::new()
            };
            writeln!(out, "      {}: [{at}, \"{}\"{of}],", field.name, kind.name())?;
        }
        writeln!(out, "    }},\n  }},")?;
    }
    writeln!(out, "}};\n\nexport const callbacks = {{")?;
    for one in declarations {
        let Kind::Callback(signature) = &one.kind else { continue };
        let result = types.read(&signature.result).map_or(String::new(), |kind| format!("\"{}\"", kind.value()));
        let list: Vec<_> =
            types.parameters(signature).into_iter().map(|kind| format!("\"{}\"", kind.value())).collect();
        writeln!(out, "  {}: {{ parameters: [{}], results: [{result}] }},", one.name, list.join(", "))?;
    }
    writeln!(out, "}};")
}

fn type_of(field: &Member, kind: Type, types: &Types) -> String {
    match types.enums.get(&field.what) {
        Some(_) => camel_case(&field.what),
        None if kind == Type::U64 => "number | bigint".to_owned(),
        None => "number".to_owned(),
    }
}

/// The interface of a struct's values; none if it has none.
fn interface(out: &mut String, one: &Declaration, fields: &[Member], types: &Types) -> std::fmt::Result {
    let (fields, _) = types.layout(fields);
    let hidden = |name: &str| name == "struct_size" || name.starts_with("reserved");
    let shown: Vec<_> = fields.iter().filter(|(field, _, kind)| !kind.is_plumbing() && !hidden(&field.name)).collect();
    writeln!(out)?;
    comment(out, &one.docs, "")?;
    writeln!(out, "export interface {} {{", camel_case(&one.name))?;
    for (field, _, kind) in shown {
        comment(out, &field.docs, "  ")?;
        writeln!(out, "  {}: {};", script_name(&field.name), type_of(field, *kind, types))?;
    }
    writeln!(out, "}}")
}

fn type_definitions(out: &mut String, declarations: &[Declaration], types: &Types) -> std::fmt::Result {
    for one in declarations {
        match &one.kind {
            Kind::Constant(_) => {
                writeln!(out)?;
                comment(out, &one.docs, "")?;
                writeln!(out, "export const {}: number;", one.name)?;
            }
            Kind::Enum(_, constants) => {
                let (cut, name) = (prefix(constants), camel_case(&one.name));
                writeln!(out)?;
                comment(out, &one.docs, "")?;
                writeln!(out, "export const {name}: {{")?;
                for constant in constants {
                    comment(out, &constant.docs, "  ")?;
                    writeln!(out, "  readonly {}: {};", &constant.name[cut..], constant.what)?;
                }
                let words: Vec<_> = constants.iter().map(|constant| word(&constant.name, cut)).collect();
                writeln!(out, "}};\nexport type {name} = {};", words.join(" | "))?;
            }
            Kind::Struct(fields) => interface(out, one, fields, types)?,
            Kind::Handle | Kind::Callback(_) | Kind::Function(_) => {}
        }
    }
    writeln!(out, "\n/** The functions of the C API. */\nexport interface Functions {{")?;
    for one in declarations {
        let Kind::Function(signature) = &one.kind else { continue };
        let kinds = types.parameters(signature);
        let named = signature.parameters.iter().zip(kinds);
        let list: Vec<_> = named.map(|(one, kind)| format!("{}: {}", script_name(&one.name), kind.script())).collect();
        let result = types.read(&signature.result).map_or("void", Type::script);
        comment(out, &one.docs, "  ")?;
        writeln!(out, "  {}({}): {result};", one.name, list.join(", "))?;
    }
    writeln!(out, "}}\n")?;
    writeln!(out, "/** The layout of each struct. */")?;
    writeln!(out, "export const structs: {{")?;
    writeln!(out, "  readonly [name: string]: {{ readonly size: number; readonly fields: object }};\n}};\n")?;
    writeln!(out, "/** The WebAssembly types of each callback. */\nexport const callbacks: {{")?;
    writeln!(out, "  readonly [name: string]: {{ readonly parameters: string[]; readonly results: string[] }};\n}};")
}

/// The files, with what should be in them.
fn files() -> [(&'static str, String); 2] {
    let declarations = declarations();
    let types = Types::of(&declarations);
    let made = |end: &str, write: fn(&mut String, &[Declaration], &Types) -> std::fmt::Result| {
        let mut out = BEGIN.to_owned() + end;
        write(&mut out, &declarations, &types).expect("a string takes text");
        out
    };
    [("web/src/c.js", made(BEGIN_SCRIPT, script)), ("web/src/c.d.ts", made(BEGIN_TYPES, type_definitions))]
}

#[test]
fn the_files_are_what_the_header_says() {
    for (name, expected) in files() {
        let path = here(name);
        if std::env::var_os("OLLM_BLESS").is_some() {
            fs::write(&path, &expected).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap();
        let same = expected.lines().zip(found.lines()).take_while(|(a, b)| a == b).count();
        let message = "is stale: OLLM_BLESS=1 cargo test -p ollm-ffi --test web";
        assert!(found == expected, "{} from line {} on {message}", path.display(), same + 1);
    }
}

/// What the binary interface lists is there.
#[test]
fn every_function_struct_and_constant_is_there() {
    let ([(_, script), (_, types)], abi) = (files(), fs::read_to_string(here("abi.txt")).unwrap());
    let mut counts = [0; 3];
    for line in abi.lines().filter(|line| !line.starts_with("abi ") && !line.starts_with("typedef")) {
        if let Some((head, rest)) = line.split_once('(') {
            let name = head.rsplit([' ', '*']).next().unwrap();
            let (_, found) = types.split_once(&format!("\n  {name}(")).unwrap_or_else(|| panic!("{line}"));
            let parameters = if rest == "void)" { 0 } else { rest.split(", ").count() };
            assert_eq!(found.split(')').next().unwrap().matches(": ").count(), parameters, "{line}");
            counts[0] += 1;
        } else if let Some((field, _)) = line.split_once(" at ") {
            let (name, rest) = field.split_once('.').unwrap();
            let body = script.split_once(&format!("\n  {name}: {{\n")).unwrap().1.split("\n  },").next().unwrap();
            assert!(body.contains(&format!("\n      {}: [", rest.split(' ').next().unwrap())), "{line}");
            counts[1] += 1;
        } else if let Some((constant, value)) = line.split_once(" = ") {
            let (kind, name) = constant.split_once(' ').unwrap();
            let start = format!("export const {} = {{\n", camel_case(kind));
            let body = script.split_once(&start).unwrap().1.split("};").next().unwrap();
            let is_there = |line: &str| {
                name.ends_with(&format!("_{}", line.trim().strip_suffix(&format!(": {value},")).unwrap_or("?")))
            };
            assert!(body.lines().any(is_there), "{line}");
            counts[2] += 1;
        }
    }
    assert!(counts[0] > 90 && counts[1] > 150 && counts[2] > 80, "{counts:?}");
}

/// Numbers of eight bytes begin at multiples of eight, all others at multiples of four.
#[test]
fn structs_have_the_layout_of_32_bits() {
    let script = &files()[0].1;
    for (name, size, field) in [
        ("ollm_source", 48, "offset: [32, \"u64\"]"),
        ("ollm_message", 16, "content_length: [12, \"len\"]"),
        ("ollm_logprob", 8, "logprob: [4, \"f32\"]"),
        ("ollm_sampling", 136, "seed: [8, \"u64\"]"),
        ("ollm_statistics", 80, "fed: [8, \"u64\"]"),
        ("ollm_search_options", 32, "width: [12, \"size\"]"),
    ] {
        let body = script.split_once(&format!("\n  {name}: {{\n")).unwrap().1.split("\n  },").next().unwrap();
        assert!(body.contains(&format!("size: {size},")) && body.contains(field), "{name}: {body}");
    }
}
