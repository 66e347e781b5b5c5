//! Reads a number as it is written in LaTeX or in plain text: a sum of products of powers, with
//! fractions, roots, decimals, thousands separators, mixed numbers, pi and the imaginary unit.

use num_bigint::BigInt;
use num_rational::BigRational;

use crate::eval::exact_number::{MAX_BITS, Number, one, zero};

/// How deep brackets may nest.
pub(super) const MAX_DEPTH: usize = 64;

/// Parts of one number: what has more is none.
const MAX_PARTS: usize = 256;

/// The number that `text` is; none if it is more than that, or cannot be decided.
pub(super) fn written_number(text: &str) -> Option<Number> {
    let mut parser = Parser { rest: text, depth: 0, parts: 0 };
    let number = parser.quotient()?;
    parser.rest.trim().is_empty().then_some(number)
}

/// Reads a number by recursive descent.
struct Parser<'t> {
    rest: &'t str,
    depth: usize,
    parts: usize,
}

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
