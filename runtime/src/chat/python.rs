//! What templates expect of Python: methods of strings, dicts and lists, and `json.dumps`.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

/// How deep a value may be nested to be written as JSON, and how long the JSON may be. A list that
/// holds another one twice, forty times over, is small in memory but not on paper.
const MAX_DEPTH: usize = 50;
const MAX_JSON: usize = 1 << 20;

/// A method that minijinja's values do not have.
pub(super) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => string_method(state, value, name, args),
        ValueKind::Map => map_method(state, value, name, args),
        ValueKind::Seq | ValueKind::Iterable => sequence_method(value, name, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn string_method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let text = value.as_str().unwrap_or_default();
    match name {
        "strip" | "lstrip" | "rstrip" => Ok(strip(text, name, from_args::<(Option<&str>,)>(args)?.0).into()),
        "startswith" => any_of(args, |affix| text.starts_with(affix)),
        "endswith" => any_of(args, |affix| text.ends_with(affix)),
        "split" | "rsplit" => split(text, name, args),
        "splitlines" => Ok(text.lines().collect()),
        "join" => apply(state, "join", from_args::<(&Value,)>(args)?.0, std::slice::from_ref(value)),
        "find" => Ok(find(text, from_args::<(&str,)>(args)?.0)),
        "count" => Ok(text.matches(from_args::<(&str,)>(args)?.0).count().into()),
        "isdigit" => Ok((!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())).into()),
        "upper" | "lower" | "title" | "capitalize" | "replace" => apply(state, name, value, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn map_method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match name {
        "items" => apply(state, "items", value, args),
        "keys" => value.try_iter().map(Iterator::collect),
        "values" => value.try_iter()?.map(|key| value.get_item(&key)).collect::<Result<Vec<_>, _>>().map(Value::from),
        "get" => {
            let (key, default) = from_args::<(&Value, Option<Value>)>(args)?;
            let found = value.get_item(key)?;
            Ok(if found.is_undefined() { default.unwrap_or(().into()) } else { found })
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn sequence_method(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let same =
        |item: &Value| -> Result<Vec<bool>, Error> { Ok(value.try_iter()?.map(|other| other == *item).collect()) };
    match name {
        "count" => Ok(same(from_args::<(&Value,)>(args)?.0)?.into_iter().filter(|&same| same).count().into()),
        "index" => {
            let found = same(from_args::<(&Value,)>(args)?.0)?.into_iter().position(|same| same);
            found.map(Value::from).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the list has no such item"))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// The filter of the same name, with the value as its first argument.
fn apply(state: &mut State<'_, '_>, filter: &str, value: &Value, args: &[Value]) -> Result<Value, Error> {
    let args: Vec<Value> = std::iter::once(value).chain(args).cloned().collect();
    state.apply_filter(filter, &args)
}

fn strip<'t>(text: &'t str, name: &str, chars: Option<&str>) -> &'t str {
    let drop = |c: char| chars.map_or(c.is_whitespace(), |chars| chars.contains(c));
    match name {
        "lstrip" => text.trim_start_matches(drop),
        "rstrip" => text.trim_end_matches(drop),
        _ => text.trim_matches(drop),
    }
}

/// Python takes one affix or a tuple of them.
fn any_of(args: &[Value], test: impl Fn(&str) -> bool) -> Result<Value, Error> {
    let (affixes,) = from_args::<(&Value,)>(args)?;
    match affixes.as_str() {
        Some(affix) => Ok(test(affix).into()),
        None => Ok(affixes.try_iter()?.any(|affix| affix.as_str().is_some_and(&test)).into()),
    }
}

fn split(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (separator, limit) = from_args::<(Option<&str>, Option<i64>)>(args)?;
    let Some(separator) = separator else { return Ok(text.split_whitespace().collect()) };
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    // A negative limit is none, as in Python.
    let parts = limit.and_then(|n| usize::try_from(n).ok()).map_or(usize::MAX, |n| n.saturating_add(1));
    if name == "split" {
        return Ok(text.splitn(parts, separator).collect());
    }
    let mut from_the_right: Vec<&str> = text.rsplitn(parts, separator).collect();
    from_the_right.reverse();
    Ok(from_the_right.into_iter().collect())
}

/// Python counts characters; -1 is "not there".
fn find(text: &str, part: &str) -> Value {
    text.find(part).map_or(-1, |at| text[..at].chars().count() as i64).into()
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`, which is what `tojson` is in Hugging
/// Face's environment.
#[expect(clippy::needless_pass_by_value, reason = "the shape that minijinja takes")]
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    for ignored in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    let mut json = ToJson { out: String::new(), indent: indent.map(|n| n.min(8)), depth: 0 };
    json.write(value)?;
    Ok(json.out)
}

struct ToJson {
    out: String,
    indent: Option<usize>,
    depth: usize,
}

impl ToJson {
    fn write(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => self.out.push_str("null"),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Map => self.list('{', '}', value, |json, key| {
                json.string(&key.to_string());
                json.out.push_str(": ");
                json.write(&value.get_item(key)?)
            })?,
            ValueKind::Seq | ValueKind::Iterable => self.list('[', ']', value, Self::write)?,
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&value.to_string()),
            kind => return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} is no JSON"))),
        }
        Ok(())
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        items: &Value,
        item: impl Fn(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.depth == MAX_DEPTH || self.out.len() > MAX_JSON {
            return Err(Error::new(ErrorKind::BadSerialization, "too deep or too long for JSON"));
        }
        self.out.push(open);
        self.depth += 1;
        let mut count = 0;
        for value in items.try_iter()? {
            self.out.push_str(if count == 0 {
                ""
            } else if self.indent.is_some() {
                ","
            } else {
                ", "
            });
            self.new_line();
            item(self, &value)?;
            count += 1;
        }
        self.depth -= 1;
        if count > 0 {
            self.new_line();
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * self.depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.out.extend(['\\', c]),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                // Writing to a string cannot fail.
                c if c < ' ' => drop(write!(self.out, "\\u{:04x}", u32::from(c))),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}
