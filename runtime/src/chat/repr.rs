//! How Python writes values: `str`, `repr` and `json.dumps`.

use std::fmt::Write as _;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::args::{bind, is_true, opt_int, pay, refused};
use super::guard::fold;
use super::order::check_order;

type Result<T> = std::result::Result<T, Error>;

/// How deep a value may be nested to be written. Every value that is written is paid for: a list
/// that holds another one twice, forty times over, is small in memory but not on paper.
const MAX_DEPTH: usize = 160;

/// `str(value)`.
pub(super) fn string(state: &State<'_, '_>, value: &Value) -> Result<String> {
    match value.kind() {
        ValueKind::Number | ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => repr(state, value),
        _ => Ok(value.to_string()),
    }
}

/// `repr(value)`.
pub(super) fn repr(state: &State<'_, '_>, value: &Value) -> Result<String> {
    let mut out = String::new();
    write_repr(state, value, MAX_DEPTH, &mut out)?;
    Ok(out)
}

fn write_repr(state: &State<'_, '_>, value: &Value, levels: usize, out: &mut String) -> Result<()> {
    let levels = levels.checked_sub(1).ok_or_else(|| refused("nested too deep to be written"))?;
    state.consume_fuel(1)?;
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            pay(state, text.len())?;
            quoted(text, out);
        }
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => out.push_str(&float(number)),
            Err(_) => out.push_str(&value.to_string()),
        },
        ValueKind::Map if value.as_object().is_some() => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_repr(state, &key, levels, out)?;
                out.push_str(": ");
                write_repr(state, &value.get_item(&key)?, levels, out)?;
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            // Groups of `groupby` are tuples with names.
            let grouper = value.get_attr("grouper");
            let tuple = value.is_tuple() || grouper.is_ok_and(|grouper| !grouper.is_undefined());
            out.push(if tuple { '(' } else { '[' });
            for (index, item) in value.try_iter()?.enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_repr(state, &item, levels, out)?;
            }
            out.push_str(if tuple && value.len() == Some(1) { "," } else { "" });
            out.push(if tuple { ')' } else { ']' });
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn quoted(text: &str, out: &mut String) {
    let has = |quote: char| text.contains(|c| fold(c) == quote);
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if fold(c) == quote || c == '\\' => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            // Writing to a string cannot fail.
            c if c <= '\u{ff}' => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c if c <= '\u{ffff}' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => drop(write!(out, "\\U{:08x}", u32::from(c))),
        }
    }
    out.push(quote);
}

/// As `str.isprintable`, but for twins (see `guard`), which stand for printable characters.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' | '\u{f0000}'.. => true,
        '\u{7f}'..='\u{a0}' | '\u{ad}' => false,
        // Marks are escaped at the beginning of a text alone.
        c => String::from_iter(['a', c]).escape_debug().count() == 2,
    }
}

/// `repr` of a float: the fewest digits, an exponent from 1e16 on and below 1e-4.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..16 => format!("{number:?}"),
        exponent => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}

/// `json.dumps(value, ensure_ascii=False, ..)`, which is what `tojson` is in Hugging Face's
/// environment.
pub(super) fn to_json(state: &State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [ascii, indent, separators, sort] = bind(args, ["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        Some(indent) if indent.as_str().is_some() => Some(indent.to_string()),
        indent => opt_int(indent)?
            .map(|width| usize::try_from(width).unwrap_or(0))
            .map(|width| spaces(state, width))
            .transpose()?,
    };
    let separators = match separators.filter(|separators| !separators.is_none()) {
        Some(pair) => {
            let pair: Vec<Value> = pair.try_iter()?.take(3).collect();
            let [item, key] = &pair[..] else { return Err(refused("separators are two texts")) };
            (item.to_string(), key.to_string())
        }
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let mut json =
        ToJson { state, out: String::new(), ascii: is_true(ascii), indent, separators, sort: is_true(sort), depth: 0 };
    json.write(value)?;
    Ok(json.out.into())
}

fn spaces(state: &State<'_, '_>, count: usize) -> Result<String> {
    pay(state, count)?;
    Ok(" ".repeat(count))
}

struct ToJson<'s, 't, 'e> {
    state: &'s State<'t, 'e>,
    out: String,
    ascii: bool,
    indent: Option<String>,
    /// Between items, and between a key and its value.
    separators: (String, String),
    sort: bool,
    depth: usize,
}

impl ToJson<'_, '_, '_> {
    fn write(&mut self, value: &Value) -> Result<()> {
        self.state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Map if value.as_object().is_some() => self.map(value)?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list('[', ']', &items, Self::write)?;
            }
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            kind => return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} is no JSON"))),
        }
        Ok(())
    }

    fn map(&mut self, map: &Value) -> Result<()> {
        let mut keys: Vec<Value> = map.try_iter()?.collect();
        if self.sort {
            pay(self.state, 64 * keys.len())?;
            check_order(&keys)?;
            keys.sort();
        }
        self.list('{', '}', &keys, |json, key| {
            match key.kind() {
                ValueKind::String => json.string(key.as_str().unwrap_or_default())?,
                ValueKind::Number => json.string(&number(key))?,
                ValueKind::None => json.string("null")?,
                ValueKind::Bool => json.string(if key.is_true() { "true" } else { "false" })?,
                kind => return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} is no key of JSON"))),
            }
            let separator = json.separators.1.clone();
            json.put(&separator)?;
            json.write(&map.get_item(key)?)
        })
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        items: &[Value],
        item: impl Fn(&mut Self, &Value) -> Result<()>,
    ) -> Result<()> {
        if self.depth == MAX_DEPTH {
            return Err(Error::new(ErrorKind::BadSerialization, "too deep for JSON"));
        }
        self.out.push(open);
        self.depth += 1;
        for (index, value) in items.iter().enumerate() {
            if index > 0 {
                let separator = self.separators.0.clone();
                self.put(&separator)?;
            }
            self.new_line()?;
            item(self, value)?;
        }
        self.depth -= 1;
        if !items.is_empty() {
            self.new_line()?;
        }
        self.out.push(close);
        Ok(())
    }

    fn put(&mut self, text: &str) -> Result<()> {
        pay(self.state, text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn new_line(&mut self) -> Result<()> {
        if let Some(indent) = &self.indent {
            pay(self.state, indent.len() * self.depth)?;
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), self.depth));
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<()> {
        pay(self.state, text.len())?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.out.extend(['\\', c]),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !(' '..='~').contains(&fold(c))) => {
                    for unit in fold(c).encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => match float(number).as_str() {
            "nan" => "NaN".to_owned(),
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            digits => digits.to_owned(),
        },
        _ => value.to_string(),
    }
}
