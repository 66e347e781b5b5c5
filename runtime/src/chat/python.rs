//! Methods of Python's strings, dicts, lists and numbers, which templates call.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::args::{bind, is_true, items, opt_int, opt_text, pay, refused, required, size, text};
use super::folded::{FOLD_LEVELS, folded};
use super::guard::Folded;

type Result<T> = std::result::Result<T, Error>;

/// A method that minijinja's values do not have.
pub(super) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value> {
    match value.kind() {
        ValueKind::String => string_method(state, value, name, args),
        ValueKind::Map => map_method(value, name, args),
        ValueKind::Seq | ValueKind::Iterable => sequence_method(state, value, name, args),
        ValueKind::Number => number_method(value, name, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn string_method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value> {
    let s = value.as_str().unwrap_or_default();
    pay(state, s.len())?;
    let folded = Folded::new(s);
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = bind(args, ["chars"])?;
            Ok(folded.part(strip(folded.text(), name, opt_folded(chars)?.as_deref())).into())
        }
        "startswith" => affix(&folded, args, |s, affix| s.starts_with(affix)),
        "endswith" => affix(&folded, args, |s, affix| s.ends_with(affix)),
        "split" | "rsplit" => split(&folded, name == "rsplit", args),
        "splitlines" => {
            let [keep] = bind(args, ["keepends"])?;
            Ok(split_lines(s, is_true(keep)).into_iter().collect())
        }
        "partition" | "rpartition" => partition(&folded, name == "rpartition", args),
        "removeprefix" => {
            let s = folded.text();
            Ok(folded.part(s.strip_prefix(&*one_text(args)?).unwrap_or(s)).into())
        }
        "removesuffix" => {
            let s = folded.text();
            Ok(folded.part(s.strip_suffix(&*one_text(args)?).unwrap_or(s)).into())
        }
        "join" => {
            let items = items(state, &required(bind(args, [""])?[0].take())?)?;
            if items.iter().any(|item| item.as_str().is_none()) {
                return Err(refused("`join` takes strings alone"));
            }
            apply(state, "join", &items.into(), std::slice::from_ref(value))
        }
        "find" | "rfind" | "index" | "rindex" => find(folded.text(), name, args),
        "count" => {
            let s = folded.text();
            let (range, part) = within(s, args)?;
            let count = match (range, part.is_empty()) {
                (Some(range), false) => s[range].matches(&*part).count(),
                (Some(range), true) => s[range].chars().count() + 1,
                (None, _) => 0,
            };
            Ok(count.into())
        }
        "center" | "ljust" | "rjust" => {
            let [width, fill] = bind(args, ["width", "fillchar"])?;
            let width = size(width)?;
            pay(state, width)?;
            pad(s, name, width, &opt_text(fill)?.unwrap_or_else(|| " ".to_owned()))
        }
        "zfill" => {
            let width = size(bind(args, ["width"])?[0].take())?;
            pay(state, width)?;
            let text = folded.text();
            let sign = text.len() - text.strip_prefix(['+', '-']).unwrap_or(text).len();
            let zeros = "0".repeat(width.saturating_sub(s.chars().count()));
            Ok(format!("{}{zeros}{}", folded.range(0..sign), folded.range(sign..text.len())).into())
        }
        "expandtabs" => {
            let width = opt_int(bind(args, ["tabsize"])?[0].take())?.map_or(8, |n| usize::try_from(n).unwrap_or(0));
            pay(state, width.saturating_mul(s.matches('\t').count()))?;
            Ok(expand_tabs(s, width).into())
        }
        "format" => format_braces(state, s, args),
        "format_map" => {
            let map = required(bind(args, [""])?[0].take())?;
            format_braces(state, s, &[keywords(&map)?])
        }
        "replace" => replace(state, s, args).map(Value::from),
        "upper" | "lower" | "capitalize" => apply(state, name, value, args),
        "isascii" => {
            let [] = bind(args, [])?;
            Ok(folded.text().is_ascii().into())
        }
        _ => {
            let [] = bind(args, [])?;
            match name {
                // What is given back keeps its twins.
                "title" | "casefold" | "swapcase" => Ok(cased(s, name).into()),
                _ => plain_method(folded.text(), name),
            }
        }
    }
}

/// The text in another case.
fn cased(s: &str, name: &str) -> String {
    let swap =
        |c: char| -> String { if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() } };
    match name {
        "title" => title(s),
        "casefold" => s.replace('ß', "ss").to_lowercase(),
        _ => s.chars().map(swap).collect(),
    }
}

/// Methods without arguments that tell something of a text.
fn plain_method(s: &str, name: &str) -> Result<Value> {
    let all = |test: fn(char) -> bool| !s.is_empty() && s.chars().all(test);
    let cased = |test: fn(char) -> bool, other: fn(char) -> bool| s.chars().any(test) && !s.chars().any(other);
    Ok(match name {
        "isalpha" => all(char::is_alphabetic).into(),
        "isalnum" => all(char::is_alphanumeric).into(),
        "isnumeric" => all(char::is_numeric).into(),
        "isdigit" => all(is_digit).into(),
        "isdecimal" => all(is_decimal).into(),
        "isspace" => all(is_space).into(),
        "islower" => cased(char::is_lowercase, char::is_uppercase).into(),
        "isupper" => cased(char::is_uppercase, char::is_lowercase).into(),
        "istitle" => (s.chars().any(char::is_uppercase) && title(s) == s).into(),
        "isidentifier" => {
            let first = s.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
            (first && s.chars().all(|c| c.is_alphanumeric() || c == '_')).into()
        }
        "isprintable" => s.chars().all(|c| c == ' ' || !(c.is_control() || c.is_whitespace())).into(),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// White space as `str.isspace` has it: separators of information too.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The first digits of scripts in use.
const ZEROS: [u32; 20] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xe50, 0xed0, 0xf20,
    0x1040, 0x17e0, 0x1810, 0xff10,
];

fn is_decimal(c: char) -> bool {
    ZEROS.iter().any(|zero| (*zero..zero + 10).contains(&u32::from(c)))
}

fn is_digit(c: char) -> bool {
    is_decimal(c) || matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨')
}

/// Every run of letters begins with a capital.
fn title(s: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        match c {
            c if inside => out.extend(c.to_lowercase()),
            // Digraphs have a title case of their own.
            '\u{1c4}'..='\u{1cc}' => out.extend(char::from_u32(u32::from(c) - (u32::from(c) - 0x1c4) % 3 + 1)),
            'ß' => out.push_str("Ss"),
            c => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphabetic();
    }
    out
}

fn one_text(args: &[Value]) -> Result<String> {
    folded_text(bind(args, [""])?[0].take())
}

/// A text that has to be given, as it was said.
fn folded_text(value: Option<Value>) -> Result<String> {
    text(value).map(|text| Folded::new(&text).into_text())
}

fn opt_folded(value: Option<Value>) -> Result<Option<String>> {
    Ok(opt_text(value)?.map(|text| Folded::new(&text).into_text()))
}

/// `replace(old, new, count)`: occurrences in what was said.
pub(super) fn replace(state: &State<'_, '_>, value: &str, args: &[Value]) -> Result<String> {
    let [old, new, count] = bind(args, ["", " ", "count"])?;
    let printed = |value: Option<Value>| required(value).map(|value| value.to_string());
    let (old, new) = (Folded::new(&printed(old)?).into_text(), printed(new)?);
    let count = opt_int(count)?.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let folded = Folded::new(value);
    let found = || folded.text().match_indices(&*old).take(count);
    pay(state, found().count().saturating_mul(new.len()).saturating_add(value.len()))?;
    let (mut out, mut from) = (String::new(), 0);
    for (at, old) in found() {
        out.push_str(folded.range(from..at));
        out.push_str(&new);
        from = at + old.len();
    }
    out.push_str(folded.range(from..folded.text().len()));
    Ok(out)
}

/// The filter of the same name, with the value as its first argument.
pub(super) fn apply(state: &mut State<'_, '_>, filter: &str, value: &Value, args: &[Value]) -> Result<Value> {
    let args: Vec<Value> = std::iter::once(value).chain(args).cloned().collect();
    state.apply_filter(filter, &args)
}

pub(super) fn strip<'t>(s: &'t str, name: &str, chars: Option<&str>) -> &'t str {
    let drop = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    match name {
        "lstrip" => s.trim_start_matches(drop),
        "rstrip" => s.trim_end_matches(drop),
        _ => s.trim_matches(drop),
    }
}

/// The range of bytes of `s[start:end]`, if start is not behind end.
fn slice(s: &str, start: Option<i64>, end: Option<i64>) -> Option<std::ops::Range<usize>> {
    let count = s.chars().count();
    let place = |index: i64| match usize::try_from(index) {
        Ok(index) => index,
        Err(_) => count.saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let byte = |index: usize| s.char_indices().nth(index).map_or(s.len(), |(at, _)| at);
    let (start, end) = (start.map_or(0, place), end.map_or(count, place).min(count));
    (start <= end).then(|| byte(start)..byte(end))
}

/// A part to search and where, of the arguments `(part, start, end)`.
fn within(s: &str, args: &[Value]) -> Result<(Option<std::ops::Range<usize>>, String)> {
    let [part, start, end] = bind(args, ["", "start", "end"])?;
    Ok((slice(s, opt_int(start)?, opt_int(end)?), folded_text(part)?))
}

/// Python takes one affix or a tuple of them.
fn affix(s: &Folded<'_>, args: &[Value], test: fn(&str, &str) -> bool) -> Result<Value> {
    let [affixes, start, end] = bind(args, ["", "start", "end"])?;
    let affixes = required(affixes)?;
    let s = s.text();
    let Some(range) = slice(s, opt_int(start)?, opt_int(end)?) else { return Ok(false.into()) };
    let fits = |affix: &str| test(&s[range.clone()], Folded::new(affix).text());
    if let Some(affix) = affixes.as_str() {
        return Ok(fits(affix).into());
    }
    if !affixes.is_tuple() {
        return Err(refused("a string or a tuple of strings is expected"));
    }
    Ok(affixes.try_iter()?.any(|affix| affix.as_str().is_some_and(fits)).into())
}

fn find(s: &str, name: &str, args: &[Value]) -> Result<Value> {
    let (range, part) = within(s, args)?;
    let found = range.and_then(|range| {
        let text = &s[range.clone()];
        let at = if name.starts_with('r') { text.rfind(&*part) } else { text.find(&*part) };
        at.map(|at| s[..range.start + at].chars().count())
    });
    match found {
        // Python counts characters; -1 is "not there".
        Some(count) => Ok(count.into()),
        None if name.ends_with("index") => Err(refused("substring not found")),
        None => Ok((-1).into()),
    }
}

fn split(s: &Folded<'_>, from_right: bool, args: &[Value]) -> Result<Value> {
    let [separator, limit] = bind(args, ["sep", "maxsplit"])?;
    // A negative limit is none.
    let limit = opt_int(limit)?.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let parts: Vec<&str> = match opt_folded(separator)? {
        None => words(s.text(), limit, from_right),
        Some(separator) if separator.is_empty() => return Err(refused("empty separator")),
        Some(separator) if from_right => {
            let mut parts: Vec<&str> = s.text().rsplitn(limit.saturating_add(1), &*separator).collect();
            parts.reverse();
            parts
        }
        Some(separator) => s.text().splitn(limit.saturating_add(1), &*separator).collect(),
    };
    Ok(parts.into_iter().map(|part| s.part(part)).collect())
}

/// Words between white space: at most `limit` cuts.
fn words(s: &str, limit: usize, from_right: bool) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), strip(s, if from_right { "rstrip" } else { "lstrip" }, None));
    while !rest.is_empty() {
        let cut = if from_right { rest.rfind(is_space) } else { rest.find(is_space) };
        let (Some(at), true) = (cut, words.len() < limit) else {
            // What is left has no white space at the side that was stripped.
            words.push(rest);
            break;
        };
        if from_right {
            let after = at + rest[at..].chars().next().map_or(1, char::len_utf8);
            words.push(&rest[after..]);
            rest = strip(&rest[..at], "rstrip", None);
        } else {
            words.push(&rest[..at]);
            rest = strip(&rest[at..], "lstrip", None);
        }
    }
    if from_right {
        words.reverse();
    }
    words
}

fn split_lines(s: &str, keep: bool) -> Vec<&str> {
    let breaks = ['\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e', '\u{85}', '\u{2028}', '\u{2029}'];
    let (mut lines, mut rest) = (Vec::new(), s);
    while !rest.is_empty() {
        let at = rest.find(breaks).unwrap_or(rest.len());
        let length = match rest[at..].chars().next() {
            Some('\r') if rest[at..].starts_with("\r\n") => 2,
            c => c.map_or(0, char::len_utf8),
        };
        lines.push(&rest[..if keep { at + length } else { at }]);
        rest = &rest[at + length..];
    }
    lines
}

fn partition(s: &Folded<'_>, from_right: bool, args: &[Value]) -> Result<Value> {
    let separator = one_text(args)?;
    if separator.is_empty() {
        return Err(refused("empty separator"));
    }
    let text = s.text();
    let found = if from_right { text.rfind(&*separator) } else { text.find(&*separator) };
    let [start, end] = match found {
        Some(at) => [at, at + separator.len()],
        None if from_right => [0, 0],
        None => [text.len(), text.len()],
    };
    let parts = [s.range(0..start), s.range(start..end), s.range(end..text.len())];
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// `center`, `ljust`, `rjust`.
pub(super) fn pad(s: &str, name: &str, width: usize, fill: &str) -> Result<Value> {
    if fill.chars().count() != 1 {
        return Err(refused("the fill character must be exactly one character long"));
    }
    let count = s.chars().count();
    let missing = width.saturating_sub(count);
    let left = match name {
        "ljust" => 0,
        "rjust" => missing,
        // As CPython rounds it.
        _ => missing / 2 + (missing & width & 1),
    };
    Ok(format!("{}{s}{}", fill.repeat(left), fill.repeat(missing - left)).into())
}

fn expand_tabs(s: &str, width: usize) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for c in s.chars() {
        match c {
            '\t' if width > 0 => {
                let spaces = width - column % width;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\t' => {}
            c => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    out
}

/// `str.format`. Widths are paid for before: those in braces, and those that are arguments.
fn format_braces(state: &State<'_, '_>, s: &str, args: &[Value]) -> Result<Value> {
    let (mut depth, mut number, mut widths, mut nested) = (0_usize, 0_usize, 0_usize, false);
    for c in s.chars() {
        match c {
            '{' => {
                depth += 1;
                nested |= depth > 1;
            }
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        number = match c.to_digit(10) {
            Some(digit) if depth > 0 => number.saturating_mul(10).saturating_add(digit as usize),
            _ => 0,
        };
        widths = widths.saturating_add(number);
    }
    if nested {
        widths = args.iter().filter_map(Value::as_usize).fold(widths, usize::saturating_add);
        let named = args.last().filter(|last| last.is_kwargs());
        for key in named.map(Value::try_iter).transpose()?.into_iter().flatten() {
            let value = named.map(|named| named.get_item(&key)).transpose()?;
            widths = widths.saturating_add(value.and_then(|value| value.as_usize()).unwrap_or(0));
        }
    }
    pay(state, widths.saturating_add(s.len()))?;
    format(FormatStyle::StrFormat, s, args).map(Value::from)
}

/// A mapping as arguments by name.
fn keywords(map: &Value) -> Result<Value> {
    let entries = map.try_iter()?.filter_map(|key| Some((key.as_str()?.to_owned(), map.get_item(&key).ok()?)));
    Ok(entries.collect::<Kwargs>().into())
}

/// `value % operand`: a text is formatted, of numbers the rest has the sign of the operand.
pub(super) fn modulo(state: &mut State<'_, '_>, value: &Value, operand: &Value) -> Result<Value> {
    if value.kind() != ValueKind::String {
        return remainder(value, operand);
    }
    let args = match operand.kind() {
        ValueKind::Map => vec![keywords(operand)?],
        _ if operand.is_tuple() => operand.try_iter()?.collect(),
        _ => vec![operand.clone()],
    };
    let is_list = operand.kind() == ValueKind::Seq && !operand.is_tuple();
    if operand.kind() != ValueKind::Map && !is_list && args.len() > conversions(&value.to_string()) {
        return Err(refused("not all arguments are converted by the format"));
    }
    apply(state, "format", value, &args)
}

/// How many values a format takes at most; all of them, if it takes them by name.
fn conversions(format: &str) -> usize {
    let (mut count, mut rest) = (0, format);
    while let Some((_, behind)) = rest.split_once('%') {
        match behind.chars().next() {
            Some('%') => rest = &behind[1..],
            Some('(') => return usize::MAX,
            _ => {
                let spec = behind.len() - behind.trim_start_matches(|c: char| !c.is_alphabetic() && c != '%').len();
                count += 1 + behind[..spec].matches('*').count();
                rest = behind;
            }
        }
    }
    count
}

fn remainder(value: &Value, operand: &Value) -> Result<Value> {
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    let integer = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        _ if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    };
    let wrong = || refused(&format!("unsupported operands of %: {} and {}", value.kind(), operand.kind()));
    if !is_number(value) || !is_number(operand) {
        return Err(wrong());
    }
    if let (Some(a), Some(b)) = (integer(value), integer(operand)) {
        let rest = a.checked_rem(b).ok_or_else(|| refused("a division by zero"))?;
        let rest = if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest };
        return Ok(i64::try_from(rest).map_or_else(|_| Value::from(rest), Value::from));
    }
    let [a, b] = [value, operand].map(|value| f64::try_from(value.clone()));
    let (a, b) = (a.map_err(|_| wrong())?, b.map_err(|_| wrong())?);
    if b == 0.0 {
        return Err(refused("a division by zero"));
    }
    let rest = a % b;
    Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }))
}

fn map_method(value: &Value, name: &str, args: &[Value]) -> Result<Value> {
    if name == "get" {
        let [key, default] = bind(args, ["", " "])?;
        let found = value.get_item(&required(key)?)?;
        return Ok(if found.is_undefined() { default.unwrap_or_else(|| ().into()) } else { found });
    }
    let pair = |key: Value| Ok(Value::from(Tuple::from([key.clone(), value.get_item(&key)?])));
    let values = |each: &dyn Fn(Value) -> Result<Value>| -> Result<Value> {
        let [] = bind(args, [])?;
        value.try_iter()?.map(each).collect::<Result<Vec<_>>>().map(Value::from)
    };
    match name {
        "items" => values(&pair),
        "keys" => values(&Ok),
        "values" => values(&|key| value.get_item(&key)),
        "copy" => {
            let [] = bind(args, [])?;
            Ok(value.clone())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn sequence_method(state: &State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value> {
    match name {
        "count" => {
            let wanted = folded(state, &required(bind(args, [""])?[0].take())?, FOLD_LEVELS)?;
            let value = folded(state, value, FOLD_LEVELS + 1)?;
            Ok(value.try_iter()?.filter(|item| *item == wanted).count().into())
        }
        "index" => {
            let [wanted, start, end] = bind(args, ["", " ", "  "])?;
            let wanted = folded(state, &required(wanted)?, FOLD_LEVELS)?;
            let value = folded(state, value, FOLD_LEVELS + 1)?;
            let count = value.len().unwrap_or(0);
            let place = |index: i64| match usize::try_from(index) {
                Ok(index) => index,
                Err(_) => count.saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
            };
            let (start, end) = (opt_int(start)?.map_or(0, place), opt_int(end)?.map_or(usize::MAX, place));
            let mut items = value.try_iter()?.enumerate().take(end).skip(start);
            let found = items.find(|(_, item)| *item == wanted);
            found.map(|(at, _)| at.into()).ok_or_else(|| refused("the list has no such item"))
        }
        "copy" => {
            let [] = bind(args, [])?;
            Ok(value.clone())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn number_method(value: &Value, name: &str, args: &[Value]) -> Result<Value> {
    let [] = bind(args, [])?;
    match name {
        "is_integer" => Ok(f64::try_from(value.clone()).is_ok_and(|number| number.fract() == 0.0).into()),
        "bit_length" if value.is_integer() => {
            let number = i128::try_from(value.clone())?;
            Ok((128 - number.unsigned_abs().leading_zeros()).into())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}
