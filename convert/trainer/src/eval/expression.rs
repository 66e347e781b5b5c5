//! Mathematical answers, compared exactly: `\frac{3}{4}`, `.75` and `3/4` are one answer, and so
//! are `2\sqrt{3}` and `\sqrt{12}`.
//!
//! A value is a [`Number`] in its normal form, or infinite: two answers are equal when their values
//! are. Tuples, intervals, their unions, sets and matrices are made of values. What is none of
//! these (an expression with variables, a word) is a text, and equal to the same text alone, but
//! for white space and the commands that only set it.

use num_bigint::BigInt;
use num_rational::BigRational;

use crate::eval::answer_text::{
    ROW, canonical, closing_brace, is_name, joined, plain, sides, values_of_one_name, without_names, without_units,
};
use crate::eval::exact_number::{MAX_BITS, Number, one, zero};

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

/// Parts of one expression: what has more is a text.
const MAX_PARTS: usize = 256;

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
        read(&text).unwrap_or_else(|| Self::Text(canonical(without_names(&text))))
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
    let mut parser = Parser { rest: text, depth: 0, parts: 0 };
    let number = parser.quotient()?;
    parser.rest.trim().is_empty().then_some(Expression::Number(number))
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

/// Reads a number by recursive descent.
struct Parser<'t> {
    rest: &'t str,
    depth: usize,
    parts: usize,
}

/// How deep brackets may nest.
const MAX_DEPTH: usize = 64;

impl<'t> Parser<'t> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, what: &str) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A sum; `\over` divides all that is before it by all that follows.
    fn quotient(&mut self) -> Option<Number> {
        let over = self.sum()?;
        if self.take_command("\\over") { over.times(&self.sum()?.inverse()?) } else { Some(over) }
    }

    /// A command, whose name ends there.
    fn take_command(&mut self, name: &str) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(name).filter(|rest| !rest.starts_with(char::is_alphabetic));
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn sum(&mut self) -> Option<Number> {
        let mut sum = self.signed()?;
        loop {
            if self.take("+") {
                sum = sum.add(&self.product()?);
            } else if self.take("-") {
                sum = sum.add(&self.product()?.negated());
            } else {
                return sum.is_small().then_some(sum);
            }
        }
    }

    fn signed(&mut self) -> Option<Number> {
        let mut is_negative = false;
        while self.take("-") {
            is_negative = !is_negative;
        }
        self.take("+");
        let product = self.product()?;
        Some(if is_negative { product.negated() } else { product })
    }

    fn product(&mut self) -> Option<Number> {
        let mut product = self.power()?;
        loop {
            if self.take("*") {
                product = product.times(&self.sign_and_power()?)?;
            } else if self.take("/") {
                product = product.times(&self.sign_and_power()?.inverse()?)?;
            } else if self.begins_factor() {
                // 2\sqrt{3}, 4\pi, 3(1 + 2)
                product = product.times(&self.power()?)?;
            } else {
                return Some(product);
            }
        }
    }

    fn sign_and_power(&mut self) -> Option<Number> {
        if self.take("-") { Some(self.power()?.negated()) } else { self.power() }
    }

    fn begins_factor(&mut self) -> bool {
        self.skip();
        ["\\sqrt", "\\pi", "\\frac", "(", "{"].iter().any(|begin| self.rest.starts_with(begin)) || self.begins_unit()
    }

    /// The imaginary unit is next.
    fn begins_unit(&self) -> bool {
        self.rest.strip_prefix('i').is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    }

    fn power(&mut self) -> Option<Number> {
        let base = self.base()?;
        if self.take("^") {
            // Many write 10^23 without braces.
            self.skip();
            let digits = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
            let exponent = if digits > 1 { self.number()? } else { self.argument()? };
            return base.power(&exponent.as_rational()?);
        }
        Some(base)
    }

    /// A number, a command with what it takes, or brackets: all that can be nested.
    fn base(&mut self) -> Option<Number> {
        self.depth += 1;
        self.parts += 1;
        let base = if self.depth > MAX_DEPTH || self.parts > MAX_PARTS { None } else { self.base_at_depth() };
        self.depth -= 1;
        base
    }

    fn base_at_depth(&mut self) -> Option<Number> {
        self.skip();
        if self.rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return self.number();
        }
        if self.take("\\frac") {
            let (over, under) = (self.argument()?, self.argument()?);
            return over.times(&under.inverse()?);
        }
        if self.take("\\sqrt") {
            let index = if self.take("[") { self.until(']')?.trim().parse().ok()? } else { 2 };
            return self.argument()?.root(index);
        }
        if self.take_command("\\pi") {
            return Some(Number::pi());
        }
        if self.begins_unit() && self.take("i") {
            return Some(Number::i());
        }
        for (open, close) in [("(", ")"), ("{", "}")] {
            if self.take(open) {
                let inside = self.quotient()?;
                return self.take(close).then_some(inside);
            }
        }
        None
    }

    /// What a command takes: a group in braces, a digit, or another command.
    fn argument(&mut self) -> Option<Number> {
        if self.take("{") {
            let inside = self.quotient()?;
            return self.take("}").then_some(inside);
        }
        self.skip();
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            let (digit, rest) = self.rest.split_at(1);
            self.rest = rest;
            return Some(Number::rational(BigRational::from_integer(digit.parse().ok()?)));
        }
        if self.take("-") { Some(self.base()?.negated()) } else { self.base() }
    }

    fn until(&mut self, end: char) -> Option<&'t str> {
        let (inside, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(inside)
    }

    /// A decimal, perhaps with thousands separators; a whole number before a proper fraction is
    /// added to it.
    fn number(&mut self) -> Option<Number> {
        let bytes = self.rest.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let mut length = 0;
        // A comma separates thousands: three digits follow, no fourth.
        while digit(length)
            || bytes.get(length) == Some(&b'.')
            || (bytes.get(length) == Some(&b',') && (1..4).all(|i| digit(length + i)) && !digit(length + 4))
        {
            length += 1;
        }
        let (digits, rest) = self.rest.split_at(length);
        let digits = digits.replace(',', "");
        let (whole, decimals) = digits.split_once('.').unwrap_or((&digits, ""));
        let is_point = digits == "." && !rest.starts_with("\\overline");
        if decimals.contains('.') || is_point || digits.len() > MAX_BITS as usize / 4 {
            return None;
        }
        let all: BigInt = format!("0{whole}{decimals}").parse().ok()?;
        let scale = BigInt::from(10).pow(u32::try_from(decimals.len()).ok()?);
        self.rest = rest;
        let mut value = BigRational::new(all, scale.clone());
        if digits.contains('.') {
            value += self.repeating()? / scale;
        }
        if let Some(power) = self.power_of_ten() {
            return Some(Number::rational(value * power));
        }
        self.skip();
        if decimals.is_empty() && self.rest.starts_with("\\frac") {
            // A proper fraction is added, as in 1 1/2; any other one is a factor.
            let fraction = self.base()?;
            let proper = fraction.as_rational().filter(|fraction| *fraction >= zero() && *fraction < one());
            return match proper {
                Some(proper) => Some(Number::rational(value + proper)),
                None => Number::rational(value).times(&fraction),
            };
        }
        if decimals.is_empty() && is_fraction(self.rest) {
            let over = self.number()?;
            let fraction = if self.take("/") { over.times(&self.base()?.inverse()?)? } else { return None };
            let fraction = fraction.as_rational().filter(|fraction| *fraction >= zero() && *fraction < one())?;
            return Some(Number::rational(value + fraction));
        }
        Some(Number::rational(value))
    }

    /// What `\overline{3}` adds behind a decimal point: a third; nothing where there is none.
    fn repeating(&mut self) -> Option<BigRational> {
        if !self.take("\\overline") {
            return Some(zero());
        }
        let digits = if self.take("{") {
            self.until('}')?
        } else {
            let (digit, rest) = self.rest.split_at_checked(1)?;
            self.rest = rest;
            digit
        };
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number || digits.len() > MAX_BITS as usize / 4 {
            return None;
        }
        let nines = BigInt::from(10).pow(u32::try_from(digits.len()).ok()?) - 1;
        Some(BigRational::new(digits.parse().ok()?, nines))
    }

    /// What `e-3` behind a number multiplies it by.
    fn power_of_ten(&mut self) -> Option<BigRational> {
        let text = self.rest.strip_prefix(['e', 'E'])?;
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let power = digits.parse().ok().filter(|power| *power <= MAX_BITS as u32 / 4)?;
        if rest.starts_with(char::is_alphanumeric) {
            return None;
        }
        self.rest = rest;
        let power = BigRational::from_integer(BigInt::from(10).pow(power));
        Some(if is_negative { one() / power } else { power })
    }
}

/// Whether a fraction of digits is next: `1/2`.
fn is_fraction(text: &str) -> bool {
    let over = text.trim_start_matches(|c: char| c.is_ascii_digit());
    over.len() < text.len()
        && over.strip_prefix('/').is_some_and(|under| under.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_have_one_normal_form() {
        let equal: &[&[&str]] = &[
            &[
                "3/4",
                "\\frac{3}{4}",
                "\\dfrac34",
                ".75",
                "0.750",
                "$\\frac{6}{8}$",
                "75/100",
                "\\left(\\frac{3}{4}\\right)",
            ],
            &["2\\sqrt{3}", "\\sqrt{12}", "\\sqrt{3}\\cdot 2", "\\frac{6}{\\sqrt{3}}", "2\\sqrt3", "12^{1/2}", "√12"],
            &["1234", "1,234", "1{,}234", "1234.0", "1.234 * 10^3"],
            &["-5", "\u{2212}5", "x = -5", "-5.", "- 5", "(-5)"],
            &["1\\frac{1}{2}", "1 1/2", "3/2", "1.5"],
            &["2\\pi", "\\pi\\cdot 2", "2π", "\\frac{4\\pi}{2}"],
            &["1 + \\sqrt{2}", "\\sqrt{2} + 1", "\\frac{1}{\\sqrt{2} - 1}"],
            &["\\frac{1+\\sqrt5}{2}", "\\frac{1}{2} + \\frac{\\sqrt{5}}{2}"],
            &["(1, 2)", "\\left( 1, \\frac{4}{2} \\right)", "(1,2)"],
            &["[0, 1)", "\\left[0, 1\\right)"],
            &["\\{1, 2\\}", "2, 1", "\\left\\{ 2, 1, 1 \\right\\}"],
            &["12 cm", "12", "12 \\text{ cm}", "12\\mathrm{cm}", "12 square inches", "12 m^2"],
            &["50\\%", "50%", "50"],
            &["90^\\circ", "90", "90°", "90^{\\circ}"],
            &["\\text{yes}", "yes"],
            &["2^{10}", "1024", "32^2"],
            &["\\sqrt[3]{27}", "3"],
            &["x^2 + 1", "x^2+1", "y = x^2 + 1"],
            &["18", "\\$18", "$18", "\u{20ac}18", "18\\$"],
            &["(-\\infty, 1.5]", "\\left(-\\infty, \\frac32\\right]", "(-\u{221e}, 3/2]"],
            &["(-\\infty, 0) \\cup [1, \\infty)", "[1, +\\infty) \u{222a} (-\\infty, 0)"],
            &["1 \\pm \\sqrt{2}", "1 + \\sqrt2, 1 - \\sqrt2", "\\{1 \\pm \\sqrt{2}\\}"],
            &["10 N", "10", "10 \\text{ W}", "10\\text{J}"],
            &["12 345", "12345", "12\\,345"],
            &["(0,100)", "(0, 100)"],
            &["[1,234)", "[1, 234)"],
            &["6.5\\frac{1}{2}", "3.25", "3\\frac{13}{12}"],
            &["x \\ge 5", "x\\ge5", "x \\geq 5", "x \u{2265} 5"],
            &[
                "7",
                "\\text{7}",
                "\\mathbf{7}",
                "**7**",
                "7\\\\",
                "7\\quad",
                "\\boxed{7}",
                "\\textcolor{red}{7}",
                "\\approx 7",
                "x = y = 7",
                "3 + 4 = 7",
                "7 = n",
                "|AB| = 7",
                "f(-1) = 7",
                "\\frac{dy}{dx} = 7",
                "\\text{Answer: }7",
                "7e0",
            ],
            &["-8", "\u{2013}8", "\\text{-}8", "-8\u{b0}C", "-8\\degree", "-8 ^ \\circ"],
            &["1/8", "\\cfrac{1}{8}", "{1 \\over 8}", "125e-3", "\\textstyle\\frac18", "2^{-3}", "\\[\\frac18\\]"],
            &["5/2", "2\u{bd}", "2\\tfrac12", "2 1/2"],
            &["1/3", "0.\\overline{3}", "0.\\bar3", ".\\overline{33}", "\u{2153}"],
            &["13/6", "2.1\\overline{6}"],
            &["6000", "6e3", "6 \u{d7} 10^3", "6\u{b7}10\u{b3}", "6 x 10^3", "6\u{a0}000", "6\\,000", "USD 6000"],
            &["\\sqrt[3]{2}", "2^{1/3}", "\u{221b}2", "\\frac{2}{\\sqrt[3]{4}}", "\\sqrt[6]{4}", "\\sqrt[3]2"],
            &["5\\sqrt[3]{2}", "\\sqrt[3]{250}"],
            &["2\\sqrt5", "2sqrt(5)", "2*sqrt(5)", "2\\sqrt{5}\\text{ cm}"],
            &["1000000000000", "10^12", "10^{12}", "1e12"],
            &[
                "11 m",
                "11\\operatorname{m}",
                "11 \\mathrm{kg}\\cdot\\mathrm{m}",
                "11\\frac{\\text{km}}{\\text{h}}",
                "11cm",
            ],
            &["3 + 4i", "4i + 3", "3+4\\mathrm{i}", "(2+i)^2"],
            &["3, 5", "3 and 5", "3 \\text{ or } 5", "\\{3, 5\\}", "{3,5}", "x = 3, x = 5", "x=5 \\text{ or } x=3"],
            &["(4, 6)", "(x, y) = (4, 6)", "\\bigl(4, 6\\bigr)"],
            &["[2, 3]", "x \\in [2, 3]"],
            &["\\emptyset", "\\varnothing", "\\{\\}", "\u{2205}"],
            &[
                "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
                "\\begin{bmatrix}1&2\\\\3&\\frac{8}{2}\\\\\\end{bmatrix}",
            ],
            &["\\begin{pmatrix}1&2&3&4\\end{pmatrix}"],
            &["\\text{Monday}", "monday", "\\textbf{Monday}", "Monday."],
            &["\\textbf{(B)}", "B", "(B)"],
            &["e^2", "e^{2}"],
            &["1010_2", "1010_{2}"],
            &["2 x z", "2xz", "2*x*z"],
        ];
        for row in equal {
            for other in &row[1..] {
                assert_eq!(Expression::new(other), Expression::new(row[0]), "{other} and {}", row[0]);
            }
        }
        let first: Vec<Expression> = equal.iter().map(|row| Expression::new(row[0])).collect();
        for (i, one) in first.iter().enumerate() {
            assert!(first[..i].iter().all(|other| other != one), "{one:?}");
        }
    }

    #[test]
    fn different_answers_differ_and_what_is_undecided_is_a_text() {
        for (one, other) in [
            ("2\\sqrt{3}", "3"),
            ("2\\sqrt{3}", "2\\sqrt{2}"),
            ("(1, 2)", "(2, 1)"),
            ("[0, 1)", "(0, 1)"),
            ("(0, 1)", "0, 1"),
            ("2\\pi", "6.28"),
            ("0.33", "1/3"),
            ("yes", "no"),
            ("1,2", "12"),
            ("3 \\text{ or } 5", "3 \\text{ or } 7"),
            ("3 \\text{ or } 5", "3"),
            ("\\text{Monday}, 5", "\\text{Friday}, 7"),
            ("x=1, x=2", "2"),
            ("x>=5", "5"),
            ("\\infty", "-\\infty"),
            ("(0, \\infty)", "(0, 1)"),
            ("\\pm 2", "2"),
            ("1 2", "12"),
            ("y = 2x", "2"),
            ("x>=5", "x<=5"),
            ("(0,100)", "100"),
            ("\\{0,100\\}", "100"),
            ("{1,2}", "12"),
            ("2 x", "2 y"),
            ("x^2 + 3 x", "x^2 + 3"),
            ("3 am", "3 pm"),
            ("\\sqrt{2}", "1.41421356237"),
            ("2^{1/3}", "2^{1/2}"),
            ("0.\\overline{3}", "0.3"),
            ("0.\\overline{3}3", "1/3"),
            ("x + y = 3", "3"),
            ("x = 3, y = 3", "3"),
            ("x = 1, y = 2", "x = 2, y = 1"),
            ("2x = 6", "3"),
            ("\\text{at least }5", "5"),
            ("2xy", "2"),
            ("5k", "5"),
            ("3i", "3"),
            ("3\\mathrm{i}", "3"),
            ("1e3", "1e4"),
            ("5!", "5"),
            ("3:4", "34"),
            ("6:00 \\text{ a.m.}", "6:00 \\text{ p.m.}"),
            ("4 \\text{ hours } 30 \\text{ minutes}", "430"),
            ("5 and 6 cm", "6 cm"),
            ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}"),
            ("\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"),
            ("AB", "ab"),
        ] {
            assert_ne!(Expression::new(one), Expression::new(other), "{one} and {other}");
        }
        for text in [
            "x^2 + 1",
            "\\sqrt{-1}",
            "1/0",
            "\\frac{1}{0}",
            "",
            "2^{x}",
            "2^{-2147483648}",
            "10^{1000000000}",
            "((((",
            "\\sqrt{",
            "1.2.3",
            "a, b",
        ] {
            assert!(Expression::new(text).is_text(), "{text}: {:?}", Expression::new(text));
        }
        // Neither deep nor long texts break it.
        for part in ["(", "(1,", "\\sqrt", "\\sqrt{", "\\frac{1}{", "2^{", "{"] {
            for count in [20, 100, 100_000] {
                let deep = part.repeat(count);
                assert!(Expression::new(&deep).is_text(), "{part} {count}");
            }
        }
        assert_eq!(Expression::new(&format!("{}5", "-".repeat(500))), Expression::new("5"));
        assert!(Expression::new(&"9".repeat(100_000)).is_text());
        // Nor does what would take long.
        let nested = format!("{}1{}", "1\\frac{".repeat(40), "}{1}".repeat(40));
        assert!(matches!(Expression::new(&nested), Expression::Number(_) | Expression::Text(_)));
        let roots: Vec<String> = (0..60).map(|i| format!("\\sqrt{{{}}}", 1_048_573 - 2 * i)).collect();
        assert!(Expression::new(&format!("({})^2", roots.join("+"))).is_text());
        assert!(Expression::new("((1+\\sqrt2+\\sqrt3+\\sqrt5+\\sqrt7+\\sqrt{11}+\\sqrt{13})^8)^64").is_text());
        assert_eq!(
            Expression::new(&format!("2^{{{}}}", "(".repeat(40) + "8" + &")".repeat(40))),
            Expression::new("256")
        );
        assert!(Expression::new(&"(1+\\sqrt{2}+\\pi)".repeat(50)).is_text());
        assert!(Expression::new(&format!("1{}", "\\pm 2".repeat(100))).is_text());
    }

    #[test]
    fn the_last_box_is_the_answer() {
        assert_eq!(boxed("a \\boxed{1} so \\boxed{\\frac{3}{4}} done"), Some("\\frac{3}{4}"));
        assert_eq!(boxed("\\boxed{1} and \\boxed{2"), Some("1"));
        assert_eq!(boxed("\\boxed {\\left\\{ 1, 2 \\right.}"), Some("\\left\\{ 1, 2 \\right."));
        assert_eq!(boxed("none"), None);
    }
}
