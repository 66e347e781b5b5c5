//! Jinja's filters and tests, where minijinja has none or one with other arguments.

use std::fmt::Write as _;

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value, filters};

use super::args::{
    bind, check_iterable, is_true, items, opt_int, opt_text, pay, refused, required, size, split_keywords, text,
};
use super::folded::{FOLD_LEVELS, folded};
use super::guard::{Folded, fold, guarded};
use super::order::{self, Keys};
use super::python::{apply, is_space, modulo, pad, replace, strip};
use super::repr::{repr, string, to_json};
use super::source::{FOLD, FORMAT, ITERATED, TEXT};

type Result<T> = std::result::Result<T, Error>;

/// A filter: the value, and the arguments behind it.
type Filter = fn(&mut State<'_, '_>, &Value, &[Value]) -> Result<Value>;

const FILTERS: [(&str, Filter); 42] = [
    (FOLD, |state, value, args| {
        let [] = bind(args, [])?;
        folded(state, value, FOLD_LEVELS)
    }),
    (FORMAT, |state, value, args| modulo(state, value, &required(bind(args, [""])?[0].take())?)),
    ("abs", absolute),
    ("center", |state, value, args| {
        let width = bind(args, ["width"])?[0].take().map_or(Ok(80), |width| size(Some(width)))?;
        pay(state, width)?;
        pad(&value.to_string(), "center", width, " ")
    }),
    ("d", default),
    ("default", default),
    ("e", escape),
    ("escape", escape),
    ("filesizeformat", file_size),
    ("float", float),
    ("forceescape", |_, value, _| Ok(escaped(&value.to_string()))),
    ("indent", indent),
    ("int", int),
    ("pprint", |state, value, _| repr(state, value).map(Value::from)),
    ("replace", |state, value, args| match args {
        [old, new] if value.is_safe() || !matches!(state.auto_escape(), AutoEscape::None) => {
            state.apply_filter("__replace__", &[value.clone(), old.clone(), new.clone()])
        }
        _ => replace(state, &value.to_string(), args).map(Value::from),
    }),
    ("string", |state, value, _| string(state, value).map(Value::from)),
    ("striptags", |_, value, _| Ok(strip_tags(&value.to_string()).into())),
    ("title", |_, value, args| {
        let [] = bind(args, [])?;
        Ok(title(&value.to_string()).into())
    }),
    ("tojson", |state, value, args| to_json(state, value, args)),
    ("trim", |_, value, args| {
        let [chars] = bind(args, ["chars"])?;
        let (text, chars) = (value.to_string(), opt_text(chars)?.map(|chars| Folded::new(&chars).into_text()));
        let folded = Folded::new(&text);
        Ok(folded.part(strip(folded.text(), "strip", chars.as_deref())).into())
    }),
    ("truncate", truncate),
    ("urlencode", url_encode),
    ("wordcount", |_, value, _| {
        let text = value.to_string();
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        Ok(text.split(|c| !is_word(c)).filter(|word| !word.is_empty()).count().into())
    }),
    ("wordwrap", word_wrap),
    ("xmlattr", xml_attributes),
    ("batch", |state, value, args| rows(state, value, bind(args, ["linecount", "fill_with"])?, filters::batch)),
    ("slice", |state, value, args| rows(state, value, bind(args, ["slices", "fill_with"])?, filters::slice)),
    (TEXT, |state, value, args| {
        let [] = bind(args, [])?;
        printed(state, value)
    }),
    (ITERATED, |_, value, args| {
        let [] = bind(args, [])?;
        check_iterable(value).map(|()| value.clone())
    }),
    ("list", |state, value, args| {
        let [] = bind(args, [])?;
        items(state, value).map(Value::from)
    }),
    ("capitalize", |state, value, args| apply(state, "__capitalize__", value, args)),
    ("lower", |state, value, args| apply(state, "__lower__", value, args)),
    ("upper", |state, value, args| apply(state, "__upper__", value, args)),
    ("join", join),
    ("sum", |state, value, args| {
        check_iterable(value)?;
        apply(state, "__sum__", value, args)
    }),
    ("map", map),
    ("sort", order::sort),
    ("unique", order::unique),
    ("min", order::min),
    ("max", order::max),
    ("groupby", order::group_by),
    ("dictsort", order::dict_sort),
];

/// Filters of texts, which take other values as Python prints them.
const OF_TEXTS: [&str; 12] = [
    "capitalize",
    "center",
    "forceescape",
    "indent",
    "lower",
    "striptags",
    "title",
    "trim",
    "truncate",
    "upper",
    "wordcount",
    "wordwrap",
];

/// Adds the filters and tests.
pub(super) fn add(environment: &mut Environment<'_>) {
    for (name, filter) in FILTERS {
        environment.add_filter(name, move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            let (value, args) = args.split_first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
            if OF_TEXTS.contains(&name) {
                let text = printed(state, value)?;
                return filter(state, &text, args);
            }
            filter(state, value, args)
        });
    }
    environment.add_filter("__replace__", filters::replace);
    environment.add_filter("__capitalize__", filters::capitalize);
    environment.add_filter("__lower__", filters::lower);
    environment.add_filter("__upper__", filters::upper);
    environment.add_filter("__join__", filters::join);
    environment.add_filter("__sum__", filters::sum);
    // What Jinja has not, and what tells another thing each time.
    for name in ["split", "lines", "bool", "zip", "chain"] {
        environment.remove_filter(name);
    }
    order::add_tests(environment);
    // What is undefined has a length and items there: none.
    environment.add_test("sequence", |value: &Value| value.len().is_some() || value.is_undefined());
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    for name in ["startingwith", "endingwith"] {
        environment.remove_test(name);
    }
}

/// A text as it is, another value as Python prints it.
fn printed(state: &State<'_, '_>, value: &Value) -> Result<Value> {
    if value.kind() == ValueKind::String { Ok(value.clone()) } else { string(state, value).map(Value::from) }
}

fn join(state: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [separator, attribute] = bind(args, ["d", "attribute"])?;
    let keys = Keys::new(attribute, false, None)?;
    let texts: Vec<Value> =
        items(state, value)?.iter().map(|item| printed(state, &keys.attribute(item)?)).collect::<Result<_>>()?;
    let separator = separator.map(|separator| printed(state, &separator)).transpose()?;
    apply(state, "__join__", &texts.into(), separator.as_slice())
}

/// An attribute of each item, or what a filter makes of it with the arguments that follow.
fn map(state: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    if !value.is_true() {
        return Ok(Vec::<Value>::new().into());
    }
    let mut items = items(state, value)?;
    let filter = match split_keywords(args).0 {
        [] => None,
        [name, ..] => Some(text(Some(name.clone()))?),
    };
    if let Some(filter) = filter {
        let mut args = args.to_vec();
        for item in &mut items {
            args[0] = std::mem::take(item);
            *item = state.apply_filter(&filter, &args)?;
        }
        return Ok(items.into());
    }
    let [attribute, default] = bind(args, ["attribute", "default"])?;
    let keys = Keys::new(Some(required(attribute)?), false, None)?.with_default(default);
    items.iter().map(|item| keys.attribute(item)).collect()
}

fn rows(
    state: &mut State<'_, '_>,
    value: &Value,
    [count, fill]: [Option<Value>; 2],
    make: fn(&State<'_, '_>, Value, usize, Option<Value>) -> Result<Value>,
) -> Result<Value> {
    check_iterable(value)?;
    make(state, value.clone(), size(count)?, fill.filter(|fill| !fill.is_none()))
}

fn absolute(_: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [] = bind(args, [])?;
    match value.kind() {
        ValueKind::Bool => Ok(i64::from(value.is_true()).into()),
        _ => filters::abs(value.clone()),
    }
}

fn default(_: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [default, boolean] = bind(args, ["default_value", "boolean"])?;
    let replaced = value.is_undefined() || (is_true(boolean) && !value.is_true());
    Ok(if replaced { default.unwrap_or_else(|| "".into()) } else { value.clone() })
}

/// As `markupsafe.escape`. What comes of a text with twins has twins.
pub(super) fn escaped(text: &str) -> Value {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let entity = match fold(c) {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&#34;",
            '\'' => "&#39;",
            _ => {
                out.push(c);
                continue;
            }
        };
        out.extend(entity.chars().map(guarded));
    }
    Value::from_safe_string(out)
}

fn escape(_: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [] = bind(args, [])?;
    Ok(if value.is_safe() { value.clone() } else { escaped(&value.to_string()) })
}

fn file_size(_: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    const UNITS: [[&str; 2]; 8] = [
        ["kB", "KiB"],
        ["MB", "MiB"],
        ["GB", "GiB"],
        ["TB", "TiB"],
        ["PB", "PiB"],
        ["EB", "EiB"],
        ["ZB", "ZiB"],
        ["YB", "YiB"],
    ];
    let binary = is_true(bind(args, ["binary"])?[0].take());
    let bytes = f64::try_from(value.clone())?;
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    #[allow(clippy::float_cmp, reason = "one byte exactly")]
    if bytes == 1.0 {
        return Ok("1 Byte".into());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes.trunc()).into());
    }
    let at = (1..UNITS.len()).find(|&at| bytes < base.powi(at as i32 + 1)).unwrap_or(UNITS.len());
    Ok(format!("{:.1} {}", bytes / base.powi(at as i32), UNITS[at - 1][usize::from(binary)]).into())
}

/// A number in a text, without the underscores that Python takes.
fn digits(text: &str) -> String {
    Folded::new(text).text().trim_matches(is_space).replace('_', "")
}

fn float(_: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [default] = bind(args, ["default"])?;
    let number = match value.as_str() {
        Some(text) => digits(text).parse().ok(),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(number.map_or_else(|| default.unwrap_or_else(|| 0.0.into()), Value::from))
}

fn int(_: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [default, base] = bind(args, ["default", "base"])?;
    let base = opt_int(base)?.and_then(|base| u32::try_from(base).ok()).unwrap_or(10);
    let number = match value.as_str() {
        Some(text) => integer(&digits(text), base)?,
        None => match i128::try_from(value.clone()) {
            Ok(number) => Some(number),
            Err(_) => f64::try_from(value.clone()).ok().map(truncated).transpose()?.flatten(),
        },
    };
    Ok(number.map_or_else(|| default.unwrap_or_else(|| 0.into()), Value::from))
}

/// The whole part of a number.
fn truncated(number: f64) -> Result<Option<i128>> {
    const LIMIT: f64 = i128::MAX as f64;
    match number.trunc() {
        whole if whole.is_nan() || whole.is_infinite() => Ok(None),
        whole if (-LIMIT..LIMIT).contains(&whole) => Ok(Some(whole as i128)),
        _ => Err(too_large()),
    }
}

fn too_large() -> Error {
    refused("an integer of more than 128 bits")
}

fn integer(text: &str, base: u32) -> Result<Option<i128>> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let prefix = match base {
        2 => Some(["0b", "0B"]),
        8 => Some(["0o", "0O"]),
        16 => Some(["0x", "0X"]),
        _ => None,
    };
    let bare = prefix.and_then(|prefixes| prefixes.iter().find_map(|prefix| unsigned.strip_prefix(prefix)));
    let digits = bare.unwrap_or(unsigned);
    if (2..=36).contains(&base) && !digits.is_empty() && digits.chars().all(|c| c.is_digit(base)) {
        let sign = if text.starts_with('-') { "-" } else { "" };
        return i128::from_str_radix(&format!("{sign}{digits}"), base).map(Some).map_err(|_| too_large());
    }
    // Python goes on with a float.
    text.parse().ok().map_or(Ok(None), truncated)
}

fn indent(state: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [width, first, blank] = bind(args, ["width", "first", "blank"])?;
    let prefix = match width {
        Some(width) if width.as_str().is_some() => width.to_string(),
        width => {
            let width = width.map_or(Ok(4), |width| size(Some(width)))?;
            pay(state, width)?;
            " ".repeat(width)
        }
    };
    let text = value.to_string().replace("\r\n", "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    pay(state, text.len().saturating_add(prefix.len().saturating_mul(lines.len())))?;
    let (first, blank) = (is_true(first), is_true(blank));
    let indented = lines.iter().enumerate().map(|(index, line)| {
        let pads = if index == 0 { first } else { blank || !line.is_empty() };
        format!("{}{line}", if pads { &*prefix } else { "" })
    });
    Ok(indented.collect::<Vec<_>>().join("\n").into())
}

/// Words begin behind white space and `-({[<`; the method `title` begins them elsewhere.
fn title(text: &str) -> String {
    let word = |word: &str| {
        let first = word.chars().next().map_or(0, char::len_utf8);
        word[..first].to_uppercase() + &word[first..].to_lowercase()
    };
    text.split_inclusive(|c| is_space(c) || "-({[<".contains(fold(c))).map(word).collect()
}

/// The text without tags and comments, its white space as single blanks.
fn strip_tags(text: &str) -> String {
    let folded = Folded::new(text);
    let (mut out, mut rest) = (String::new(), folded.text());
    while let Some(at) = rest.find('<') {
        let close = if rest[at..].starts_with("<!--") { "-->" } else { ">" };
        let Some(end) = rest[at..].find(close) else { break };
        out.push_str(folded.part(&rest[..at]));
        rest = &rest[at + end + close.len()..];
    }
    out.push_str(folded.part(rest));
    out.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn truncate(_: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [length, kill, end, leeway] = bind(args, ["length", "killwords", "end", "leeway"])?;
    let length = length.map_or(Ok(255), |length| size(Some(length)))?;
    let leeway = leeway.filter(|leeway| !leeway.is_none()).map_or(Ok(5), |leeway| size(Some(leeway)))?;
    let end = opt_text(end)?.unwrap_or_else(|| "...".to_owned());
    let text = value.to_string();
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.into());
    }
    let Some(kept) = length.checked_sub(end.chars().count()) else {
        return Err(refused("the length is shorter than the end"));
    };
    let mut cut = &text[..text.char_indices().nth(kept).map_or(text.len(), |(at, _)| at)];
    if !is_true(kill) {
        cut = cut.rsplit_once(' ').map_or(cut, |(words, _)| words);
    }
    Ok(format!("{cut}{end}").into())
}

fn percent(text: &str, safe: &str, out: &mut String) {
    for byte in Folded::new(text).text().bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || safe.as_bytes().contains(&byte) => {
                out.push(guarded(char::from(byte)));
            }
            byte => {
                let _ = write!(out, "{}{byte:02X}", guarded('%'));
            }
        }
    }
}

fn url_encode(_: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [] = bind(args, [])?;
    let mut out = String::new();
    if !matches!(value.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) {
        percent(&value.to_string(), "/", &mut out);
        return Ok(out.into());
    }
    for entry in value.try_iter()? {
        let pair = match value.kind() {
            ValueKind::Map => [entry.clone(), value.get_item(&entry)?],
            _ => [entry.get_item_by_index(0)?, entry.get_item_by_index(1)?],
        };
        out.push_str(if out.is_empty() { "" } else { "&" });
        for (index, text) in pair.iter().enumerate() {
            out.push_str(if index == 0 { "" } else { "=" });
            let mut part = String::new();
            percent(&text.to_string(), " ", &mut part);
            out.push_str(&part.replace(' ', "+"));
        }
    }
    Ok(out.into())
}

fn word_wrap(_: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [width, long, newline, hyphens] = bind(args, ["width", "break_long_words", "wrapstring", "break_on_hyphens"])?;
    let width = width.map_or(Ok(79), |width| size(Some(width)))?;
    if width == 0 {
        return Err(refused("the width is 0"));
    }
    let newline = opt_text(newline)?.unwrap_or_else(|| "\n".to_owned());
    let (long, hyphens) = (long.is_none_or(|long| long.is_true()), hyphens.is_none_or(|on| on.is_true()));
    let text = value.to_string();
    let wrapped = text.lines().map(|line| wrap_line(line, width, long, hyphens).join(&newline));
    Ok(wrapped.collect::<Vec<_>>().join(&newline).into())
}

/// As `textwrap.wrap`: white space at the beginning of a line that was wrapped goes.
fn wrap_line(line: &str, width: usize, break_long: bool, hyphens: bool) -> Vec<String> {
    let (mut lines, mut current, mut used) = (Vec::new(), String::new(), 0);
    let mut chunks = chunks(line, hyphens);
    chunks.reverse();
    while let Some(chunk) = chunks.pop() {
        let count = chunk.chars().count();
        let blank = chunk.chars().all(is_space);
        if blank && current.is_empty() && !lines.is_empty() {
            continue;
        }
        if used + count <= width {
            current.push_str(&chunk);
            used += count;
            continue;
        }
        if count > width && break_long {
            let room = width - used;
            let cut = chunk.char_indices().nth(room).map_or(chunk.len(), |(at, _)| at);
            current.push_str(&chunk[..cut]);
            chunks.push(chunk[cut..].to_owned());
        } else if current.is_empty() {
            current = chunk;
        } else if !blank {
            chunks.push(chunk);
        }
        lines.push(current.trim_end_matches(is_space).to_owned());
        (current, used) = (String::new(), 0);
    }
    let last = current.trim_end_matches(is_space);
    if !last.is_empty() {
        lines.push(last.to_owned());
    }
    lines
}

/// Words and the white space between them; words end behind hyphens.
fn chunks(line: &str, hyphens: bool) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    let mut before: Option<char> = None;
    for c in line.chars() {
        let starts = match before {
            None => true,
            Some('-') if hyphens && !is_space(c) && fold(c) != '-' => true,
            Some(last) => is_space(last) != is_space(c),
        };
        match chunks.last_mut() {
            Some(chunk) if !starts => chunk.push(c),
            _ => chunks.push(c.to_string()),
        }
        before = Some(fold(c));
    }
    chunks
}

fn xml_attributes(_: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let space = bind(args, ["autospace"])?[0].take().is_none_or(|space| space.is_true());
    let mut attributes = Vec::new();
    for key in value.try_iter()? {
        let name = key.to_string();
        let attribute = value.get_item(&key)?;
        if name.contains(|c: char| is_space(c) || matches!(fold(c), '/' | '>' | '=')) {
            return Err(refused("an attribute's name has white space, /, > or ="));
        }
        if !attribute.is_none() && !attribute.is_undefined() {
            attributes.push(format!("{}=\"{}\"", escaped(&name), escaped(&attribute.to_string())));
        }
    }
    let joined = attributes.join(" ");
    Ok(if space && !joined.is_empty() { format!(" {joined}") } else { joined }.into())
}
