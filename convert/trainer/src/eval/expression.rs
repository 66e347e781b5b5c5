//! Mathematical answers, compared exactly: `\frac{3}{4}`, `.75` and `3/4` are one answer, and so
//! are `2\sqrt{3}` and `\sqrt{12}`.
//!
//! A value is a [`Number`] in its normal form, or infinite: two answers are equal when their values
//! are. Tuples, intervals, their unions, sets and matrices are made of values. What is none of
//! these (an expression with variables, a word) is a text, and equal to the same text alone, but
//! for white space and the commands that only set it.

use num_rational::BigRational;

use crate::eval::answer_text::{
    ROW, canonical, closing_brace, is_name, joined, plain, sides, values_of_one_name, without_approximations,
    without_names, without_units,
};
use crate::eval::exact_number::Number;
use crate::eval::written_number::{MAX_DEPTH, written_number};

/// A final answer in its normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A number.
    Number(Number),
    /// `\infty`, or `-\infty`.
    Infinity {
        /// Whether it is below all numbers.
        is_negative: bool,
    },
    /// Several: a tuple or an interval, with its brackets; a set or a union is sorted.
    Group {
        /// The opening bracket, `(`, `[` or `{`; a list without brackets is a set, a union has
        /// U+222A, a matrix and each of its rows U+229E.
        open: char,
        /// The closing one.
        close: char,
        /// What is inside.
        items: Vec<Expression>,
    },
    /// Anything else: only the same text is equal to it.
    Text(String),
}

/// Bytes of the longest answer that is read as an expression: what is longer is a text.
const MAX_BYTES: usize = 1024;

/// How the empty set is written.
const EMPTY_SET: &str = "\u{2205}";

/// What stands for the brackets of a matrix and of its rows.
const MATRIX: char = '\u{229e}';

/// What stands for the brackets of a union.
const UNION: char = '\u{222a}';

/// Signs `\pm` of one expression: what has more is a text.
const MAX_SIGNS: usize = 4;

/// The inside of the last `\boxed{..}` of a text, whose braces are balanced.
pub fn boxed(text: &str) -> Option<&str> {
    let mut starts: Vec<usize> =
        ["\\boxed", "\\fbox"].iter().flat_map(|name| text.match_indices(name).map(|(at, _)| at + name.len())).collect();
    starts.sort_unstable();
    starts.into_iter().rev().find_map(|start| {
        let inside = text[start..].trim_start().strip_prefix('{')?;
        closing_brace(inside).map(|end| &inside[..end])
    })
}

impl From<BigRational> for Expression {
    fn from(value: BigRational) -> Self {
        Self::Number(Number::rational(value))
    }
}

impl Expression {
    /// The normal form of an answer.
    pub fn new(answer: &str) -> Self {
        if answer.len() > MAX_BYTES {
            return Self::Text(answer.split_whitespace().collect());
        }
        let text = plain(answer);
        let text = without_approximations(&text);
        read(text).unwrap_or_else(|| Self::Text(canonical(without_names(text))))
    }

    /// Whether it is a text, which only the same text is equal to.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }
}

/// What an answer says: the values that a name is given, or what all sides of an equation are that
/// are no names. `x = 5` and `2 + 3 = 5` say 5.
fn read(text: &str) -> Option<Expression> {
    let items = joined(text).unwrap_or_else(|| split(text));
    if let Some(values) = values_of_one_name(&items) {
        return group('{', '}', &values, 0);
    }
    let mut value = None;
    for side in sides(text) {
        match parse(side, 0) {
            Some(read) if value.as_ref().is_none_or(|value| *value == read) => value = Some(read),
            None if side.is_empty() || is_name(side) => {}
            _ => return None,
        }
    }
    value
}

/// A list, a group or a number, perhaps with a unit; none of another text.
fn parse(text: &str, depth: usize) -> Option<Expression> {
    if depth > MAX_DEPTH {
        return None;
    }
    let text = without_units(text);
    if let Some(items) = joined(text) {
        return group('{', '}', &items, depth);
    }
    let is_number = depth == 0 && is_with_thousands(text, ',');
    let items = if is_number { vec![text] } else { split(text) };
    if items.len() > 1 {
        return group('{', '}', &items, depth);
    }
    if is_with_thousands(text, ' ') {
        return parse(&text.replace(' ', ""), depth + 1);
    }
    if text == EMPTY_SET {
        return Some(Expression::Group { open: '{', close: '}', items: Vec::new() });
    }
    if let Some(rows) = matrix(text) {
        let rows = rows.iter().map(|row| group(MATRIX, MATRIX, &row.split('&').collect::<Vec<_>>(), depth));
        return Some(Expression::Group { open: MATRIX, close: MATRIX, items: rows.collect::<Option<_>>()? });
    }
    if text.contains(UNION) {
        return group(UNION, UNION, &text.split(UNION).collect::<Vec<_>>(), depth);
    }
    if text.strip_prefix(['-', '+']).unwrap_or(text).trim() == "\\infty" {
        return Some(Expression::Infinity { is_negative: text.starts_with('-') });
    }
    let brackets = [("(", ')'), ("[", ')'), ("(", ']'), ("[", ']'), ("\\{", '}'), ("{", '}')];
    for (open, close) in brackets {
        let Some(inside) = text.strip_prefix(open) else { continue };
        let Some(inside) = inside.strip_suffix(close).map(|inside| inside.trim_end_matches('\\')) else { continue };
        if open == "\\{" && inside.trim().is_empty() {
            return parse(EMPTY_SET, depth + 1);
        }
        let items = split(inside);
        if items.len() > 1 || open == "\\{" {
            return group(if close == '}' { '{' } else { open.chars().next()? }, close, &items, depth);
        }
    }
    if let Some((before, after)) = text.split_once("\\pm") {
        // Each sign doubles the values.
        if after.matches("\\pm").count() >= MAX_SIGNS {
            return None;
        }
        let both = ['+', '-'].map(|sign| format!("{before}{sign}{after}"));
        return group('{', '}', &both.each_ref().map(String::as_str), depth);
    }
    written_number(text).map(Expression::Number)
}

fn group(open: char, close: char, items: &[&str], depth: usize) -> Option<Expression> {
    let mut items: Vec<Expression> = items.iter().map(|item| parse(item, depth + 1)).collect::<Option<_>>()?;
    if open == '{' {
        // What stands for two values is no set in a set.
        let parts = |item| match item {
            Expression::Group { open: '{', items, .. } => items,
            item => vec![item],
        };
        items = items.into_iter().flat_map(parts).collect();
    }
    if matches!(open, '{' | UNION) {
        items.sort_by_key(|item| format!("{item:?}"));
        items.dedup();
    }
    Some(Expression::Group { open, close, items })
}

/// The rows of a matrix. One of bars is a number, its determinant, and none here.
fn matrix(text: &str) -> Option<Vec<&str>> {
    let (name, inside) = text.strip_prefix("\\begin{")?.split_once('}')?;
    let inside = inside.strip_suffix('}')?.strip_suffix(name)?.strip_suffix("\\end{")?;
    let is_matrix = ["matrix", "pmatrix", "bmatrix", "smallmatrix"].contains(&name);
    is_matrix.then(|| inside.trim_matches(|c: char| c == ROW || c.is_whitespace()).split(ROW).collect())
}

/// The parts between commas that no bracket holds together.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Whether it is one number with thousands separators: `1,234.5`, `-12,345`.
fn is_with_thousands(text: &str, separator: char) -> bool {
    let number = text.trim().trim_start_matches(['-', '+']);
    let whole = number.split('.').next().unwrap_or_default();
    let mut groups = whole.split(separator);
    let first = groups.next().unwrap_or_default();
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let rest: Vec<&str> = groups.collect();
    !rest.is_empty()
        && first.len() <= 3
        && !first.starts_with('0')
        && is_digits(first)
        && rest.iter().all(|group| group.len() == 3 && is_digits(group))
        && number.split_once('.').is_none_or(|(_, decimals)| is_digits(decimals))
}

#[cfg(test)]
mod tests;
