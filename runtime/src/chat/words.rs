//! Words and texts in quotes, as they stand in the code of a template.

use std::ops::Range;

/// A parameter of a macro.
pub(super) struct Parameter<'t> {
    pub(super) name: &'t str,
    /// Where its default is in the text.
    pub(super) default: Option<Range<usize>>,
}

/// The parameters of a macro, from the bracket that opens them on.
pub(super) fn parameters(text: &str) -> Vec<Parameter<'_>> {
    let (mut parameters, mut depth, mut at) = (Vec::<Parameter<'_>>::new(), 0_usize, 0);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match c {
            '\'' | '"' => quoted_length(rest).unwrap_or(rest.len()),
            _ => c.len_utf8(),
        };
        let last = parameters.last_mut();
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '=' if depth == 1 => {
                if let Some(parameter) = last {
                    parameter.default.get_or_insert(at + length..text.len());
                }
            }
            _ => {}
        }
        let is_closed = matches!(c, ')' | ']' | '}') && depth == 0;
        let default = parameters.last_mut().and_then(|parameter| parameter.default.as_mut());
        if let Some(default) = default.filter(|_| is_closed || depth == 1 && c == ',') {
            default.end = at;
        }
        if is_closed {
            break;
        }
        if depth == 1 && matches!(c, '(' | ',') {
            let name = rest[length..].trim_start();
            parameters.push(Parameter { name: &name[..word_length(name)], default: None });
        }
        at += length;
    }
    parameters.retain(|parameter| !parameter.name.is_empty());
    parameters
}

/// Whether an expression speaks of no variable.
pub(super) fn is_constant(text: &str) -> bool {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\'' | '"' => quoted_length(rest).unwrap_or(rest.len()),
            c if is_word(c) => word_length(rest),
            c => c.len_utf8(),
        };
        let word = &rest[..length];
        let is_value = matches!(word, "true" | "True" | "false" | "False" | "none" | "None");
        if is_word(c) && !c.is_ascii_digit() && !is_value {
            return false;
        }
        rest = &rest[length..];
    }
    true
}

/// Operators that are words.
pub(super) fn is_keyword(word: &str) -> bool {
    matches!(word, "and" | "or" | "not" | "if" | "elif" | "else" | "in" | "is" | "recursive")
}

pub(super) fn first_word(text: &str) -> &str {
    let text = text.trim_start_matches(['-', '+']).trim_start();
    &text[..word_length(text)]
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub(super) fn word_length(text: &str) -> usize {
    text.len() - text.trim_start_matches(is_word).len()
}

/// The bytes of the text in quotes that `text` begins with, quotes among them.
pub(super) fn quoted_length(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// What stands between quotes, as Python's `unicode-escape` reads it.
pub(super) fn unescaped(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        value.push_str(&rest[..at]);
        let code = &rest[at + 1..];
        let Some(c) = code.chars().next() else { break };
        let (length, replacement) = escape(c, code).unwrap_or((c.len_utf8(), None));
        match replacement {
            Some(c) => value.push_str(&c),
            None => value.extend(['\\', c]),
        }
        rest = &code[length..];
    }
    value + rest
}

/// The bytes of an escape behind its backslash, and what it stands for. None: it is none.
fn escape(c: char, code: &str) -> Option<(usize, Option<String>)> {
    let plain = |text: &str| Some((1, Some(text.to_owned())));
    let number = |digits: &str, radix, length| {
        let c = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32)?;
        Some((length, Some(String::from(c))))
    };
    let hex = |count: usize| {
        let digits = code.get(1..=count).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        number(digits, 16, count + 1)
    };
    match c {
        '\n' => plain(""),
        '\\' => plain("\\"),
        '\'' => plain("'"),
        '"' => plain("\""),
        'a' => plain("\x07"),
        'b' => plain("\x08"),
        'f' => plain("\x0c"),
        'n' => plain("\n"),
        'r' => plain("\r"),
        't' => plain("\t"),
        'v' => plain("\x0b"),
        'x' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        '0'..='7' => {
            let count = code.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            number(&code[..count], 8, count)
        }
        _ => None,
    }
}
