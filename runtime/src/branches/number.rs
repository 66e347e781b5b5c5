//! Numbers in texts, compared by value.
//!
//! Signs, thousands separators, decimals, powers of ten (`1e3`) and fractions (`3/4`, `1 1/2`,
//! `\frac{3}{4}`, `¾`) belong to a number, and so does a power of a thousand in words behind it
//! (`2.5 million`); currencies, units, percent signs and the full stop at the end of a sentence do
//! not. Each number has one canonical text: a decimal where it has one (`0.75`), else a reduced
//! fraction (`-1/3`).

/// The numbers of a text, in their order, in canonical form.
pub(super) fn numbers(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        while let Some(first) = rest.chars().next() {
            if let Some((number, after)) = number(&text[..text.len() - rest.len()], rest) {
                rest = after;
                return Some(number);
            }
            rest = &rest[first.len_utf8()..];
        }
        None
    })
}

/// The canonical form of a text that is one number and nothing else, but for a currency or a
/// percent sign.
pub(super) fn whole(text: &str) -> Option<String> {
    let percent = || text.strip_suffix('%').map(|text| text.strip_suffix('\\').unwrap_or(text));
    let text = text.strip_suffix(CURRENCIES).or_else(percent).unwrap_or(text).trim_end();
    let (number, after) = number("", without_currency(text).trim_start())?;
    after.is_empty().then_some(number)
}

/// The hyphen, and the signs that are set as a minus.
const MINUS: [char; 5] = ['-', '\u{2212}', '\u{2013}', '\u{fe63}', '\u{ff0d}'];

const CURRENCIES: [char; 5] = ['$', '€', '£', '¥', '₹'];

fn without_currency(text: &str) -> &str {
    // LaTeX escapes the dollar.
    let unescaped = text.strip_prefix('\\').filter(|text| text.starts_with('$')).unwrap_or(text);
    unescaped.strip_prefix(CURRENCIES).unwrap_or(text)
}

/// The number that `text` begins with, and what follows it. A dash behind what can be counted is a
/// minus between two numbers, not a sign; a full stop behind a number, a word or another one
/// (`3.2.1`, `v.2`, `...5`) is no decimal point.
fn number<'t>(before: &str, text: &'t str) -> Option<(String, &'t str)> {
    let last = before.chars().next_back();
    let continues = last.is_some_and(|c| c.is_alphanumeric() || c == '.');
    let subtracts = continues || last.is_some_and(|c| matches!(c, ')' | '%'));
    let (negative, unsigned) = match text.strip_prefix(MINUS) {
        None if continues && text.starts_with('.') => return None,
        Some(_) if subtracts => return None,
        // The currency may stand between the sign and the number, and so may a space.
        Some(rest) if begins(before) => (true, without_currency(rest.trim_start_matches(' '))),
        Some(rest) => (true, without_currency(rest)),
        None => (false, text),
    };
    let latex =
        || typeset_fraction(unsigned).map(|(ratio, negates, rest)| (ratio.canonical(negative != negates), rest));
    let scaled = || scaled_in_words(unsigned, negative);
    scaled().or_else(latex).or_else(|| plain(unsigned, negative))
}

/// Whether what follows can be a value alone, so that a dash with a space behind it is its sign. At
/// the beginning of a line that is the dash of a list.
fn begins(before: &str) -> bool {
    let last = before.trim_end_matches(' ').chars().next_back();
    last.is_none_or(|c| CURRENCIES.contains(&c) || matches!(c, '=' | ':' | '(' | '[' | '{' | '#' | '*'))
}

/// A decimal or a fraction, and a power of a thousand in words: `2.5 million`, `1/2 billion`.
fn scaled_in_words(text: &str, negative: bool) -> Option<(String, &str)> {
    const WORDS: [(&str, usize); 4] = [("thousand", 3), ("million", 6), ("billion", 9), ("trillion", 12)];
    let (mut value, rest) = decimal(text)?;
    let fraction = rest.strip_prefix('/').and_then(decimal);
    let behind = fraction.as_ref().map_or(rest, |(_, rest)| rest);
    // LaTeX sets words as such.
    let words = behind.strip_prefix("\\,").unwrap_or(behind).trim_start_matches([' ', '-', '\u{a0}']);
    let (words, in_braces) = words.strip_prefix("\\text{").map_or((words, false), |inside| (inside.trim_start(), true));
    let ends = |rest: &str| !rest.starts_with(char::is_alphabetic);
    let scale = |&(word, zeros): &(&str, usize)| {
        let (begin, rest) = words.split_at_checked(word.len())?;
        (begin.eq_ignore_ascii_case(word) && ends(rest)).then_some((zeros, rest))
    };
    let (zeros, rest) = WORDS.iter().find_map(scale).filter(|_| words.len() < behind.len())?;
    let rest = if in_braces { rest.strip_prefix('}').unwrap_or(rest) } else { rest };
    value.shift(zeros);
    Some(match fraction {
        Some((under, _)) => (Ratio::new(&value, &under)?.canonical(negative), rest),
        None => (value.canonical(negative), rest),
    })
}

/// A decimal, a fraction, or a whole number and a proper fraction.
fn plain(text: &str, negative: bool) -> Option<(String, &str)> {
    let (value, rest) = decimal(text)?;
    if let Some((fraction, rest)) = over(&value, rest) {
        return Some((fraction.canonical(negative), rest));
    }
    let mixed = || {
        let spaced = || {
            let (over_, after) = decimal(rest.strip_prefix(' ')?)?;
            over(&over_, after)
        };
        let latex = || {
            typeset_fraction(rest.trim_start_matches(' '))
                .and_then(|(ratio, negates, after)| (!negates).then_some((ratio, after)))
        };
        let (fraction, after) = latex().or_else(spaced)?;
        let is_proper = value.decimals == 0 && fraction.over < fraction.under;
        Some((fraction.plus(value.digits.parse().ok()?).filter(|_| is_proper)?, after))
    };
    Some(match mixed() {
        Some((sum, after)) => (sum.canonical(negative), after),
        None => (value.canonical(negative), rest),
    })
}

/// `\frac{a}{b}`, also `\dfrac`, `\tfrac` and `\frac12`, or one character such as `½`; whether it
/// is negative.
fn typeset_fraction(text: &str) -> Option<(Ratio, bool, &str)> {
    const CHARACTERS: [(char, u128, u128); 7] =
        [('½', 1, 2), ('⅓', 1, 3), ('⅔', 2, 3), ('¼', 1, 4), ('¾', 3, 4), ('⅕', 1, 5), ('⅛', 1, 8)];
    let first = text.chars().next()?;
    if let Some(&(_, over, under)) = CHARACTERS.iter().find(|(sign, ..)| *sign == first) {
        return Some((Ratio { over, under }, false, &text[first.len_utf8()..]));
    }
    let rest = ["\\frac", "\\dfrac", "\\tfrac"].iter().find_map(|name| text.strip_prefix(name))?;
    let (over_negative, over, rest) = argument(rest)?;
    let (under_negative, under, rest) = argument(rest)?;
    Some((Ratio::new(&over, &under)?, over_negative != under_negative, rest))
}

/// What a command of LaTeX takes: a number in braces, which may be negative, or one digit.
fn argument(text: &str) -> Option<(bool, Decimal, &str)> {
    let text = text.trim_start_matches(' ');
    let Some(inside) = text.strip_prefix('{') else {
        let (digit, rest) = text.split_at_checked(1).filter(|(digit, _)| digit.as_bytes()[0].is_ascii_digit())?;
        return Some((false, Decimal { digits: digit.to_owned(), decimals: 0 }, rest));
    };
    let unsigned = inside.strip_prefix(MINUS);
    let (value, rest) = decimal(unsigned.unwrap_or(inside))?;
    Some((unsigned.is_some(), value, rest.strip_prefix('}')?))
}

/// `value`, divided by what follows a slash.
fn over<'t>(value: &Decimal, rest: &'t str) -> Option<(Ratio, &'t str)> {
    let (under, rest) = decimal(rest.strip_prefix('/')?)?;
    Some((Ratio::new(value, &under)?, rest))
}

/// `digits / 10^decimals`
struct Decimal {
    digits: String,
    decimals: usize,
}

/// The largest power of ten that is read.
const MAX_EXPONENT: usize = 99;

/// Digits with thousands separators, decimals, and a power of ten: `1,234.50`, `.5`, `7`, `2.5e-3`.
fn decimal(text: &str) -> Option<(Decimal, &str)> {
    let (first, mut rest) = take_digits(text);
    let (mut digits, mut decimals) = (first.to_owned(), 0);
    if (1..=3).contains(&first.len()) {
        while let Some((group, after)) = thousands(rest).filter(|(group, _)| group.len() == 3) {
            digits.push_str(group);
            rest = after;
        }
    }
    if let Some((part, after)) = rest.strip_prefix('.').map(take_digits).filter(|(part, _)| !part.is_empty()) {
        digits.push_str(part);
        (decimals, rest) = (part.len(), after);
    }
    if digits.is_empty() {
        return None;
    }
    if let Some((is_negative, power, after)) = exponent(rest) {
        rest = after;
        if is_negative {
            decimals += power;
        } else {
            let mut value = Decimal { digits, decimals };
            value.shift(power);
            return Some((value, rest));
        }
    }
    Some((Decimal { digits, decimals }, rest))
}

/// Whether a power of ten is negative, its digits, and what follows; no word goes on behind it.
fn exponent(text: &str) -> Option<(bool, usize, &str)> {
    let text = text.strip_prefix(['e', 'E'])?;
    let (power, after) = take_digits(text.strip_prefix(['-', '+']).unwrap_or(text));
    let power = power.parse().ok().filter(|&power| power <= MAX_EXPONENT)?;
    (!after.starts_with(char::is_alphanumeric)).then_some((text.starts_with('-'), power, after))
}

/// The digits behind a separator: a comma (which LaTeX sets in braces), or a space that does not
/// break the line.
fn thousands(text: &str) -> Option<(&str, &str)> {
    const SEPARATORS: [&str; 6] = [",", "{,}", "\\,", "\u{a0}", "\u{2009}", "\u{202f}"];
    SEPARATORS.iter().find_map(|separator| text.strip_prefix(separator)).map(take_digits)
}

fn take_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

impl Decimal {
    /// Multiplies it by a power of ten.
    fn shift(&mut self, power: usize) {
        self.digits.extend(std::iter::repeat_n('0', power.saturating_sub(self.decimals)));
        self.decimals = self.decimals.saturating_sub(power);
    }

    /// Without zeros that say nothing.
    fn canonical(&self, negative: bool) -> String {
        let padded = format!("{:0>width$}", self.digits, width = self.decimals + 1);
        let (whole, decimals) = padded.split_at(padded.len() - self.decimals);
        let (whole, decimals) = (whole.trim_start_matches('0'), decimals.trim_end_matches('0'));
        let sign = if negative && !(whole.is_empty() && decimals.is_empty()) { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        if decimals.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{decimals}") }
    }
}

/// A fraction; `under` is not 0.
struct Ratio {
    over: u128,
    under: u128,
}

impl Ratio {
    /// None where one divides by 0, or the numbers are too large.
    fn new(over: &Decimal, under: &Decimal) -> Option<Self> {
        let ten = |decimals: usize| 10_u128.checked_pow(u32::try_from(decimals).ok()?);
        let scaled = |number: &Decimal, decimals| number.digits.parse::<u128>().ok()?.checked_mul(ten(decimals)?);
        let (over, under) = (scaled(over, under.decimals)?, scaled(under, over.decimals)?);
        (under != 0).then_some(Self { over, under })
    }

    fn plus(self, whole: u128) -> Option<Self> {
        let over = whole.checked_mul(self.under)?.checked_add(self.over)?;
        Some(Self { over, ..self })
    }

    fn canonical(&self, negative: bool) -> String {
        let divisor = gcd(self.over, self.under);
        let (over, under) = (self.over / divisor, self.under / divisor);
        let (twos, rest) = without_factor(under, 2);
        let (fives, rest) = without_factor(rest, 5);
        let decimals = twos.max(fives);
        let factor = || 2_u128.checked_pow(decimals - twos)?.checked_mul(5_u128.checked_pow(decimals - fives)?);
        match factor().and_then(|factor| over.checked_mul(factor)).filter(|_| rest == 1) {
            Some(digits) => Decimal { digits: digits.to_string(), decimals: decimals as usize }.canonical(negative),
            None => format!("{}{over}/{under}", if negative { "-" } else { "" }),
        }
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// How often `n` has the factor, and what is left of it.
fn without_factor(mut n: u128, factor: u128) -> (u32, u128) {
    let mut count = 0;
    while n.is_multiple_of(factor) {
        (count, n) = (count + 1, n / factor);
    }
    (count, n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_one_text() {
        for (texts, want) in [
            (
                &[
                    "3/4",
                    ".75",
                    "0.750",
                    "\\frac{3}{4}",
                    "\\dfrac{6}{8}",
                    "75e-2",
                    "\\frac{-3}{-4}",
                    "¾",
                    "\\frac34",
                    "\\tfrac 3 4",
                ][..],
                "0.75",
            ),
            (&["1 1/2", "3/2", "1\\frac{1}{2}", "1.5", "15/10", "1½", "1\\frac12"], "1.5"),
            (&["-1/3", "\u{2212}2/6", "\\frac{-1}{3}", "-\\frac{1}{3}", "\\frac{1}{-3}"], "-1/3"),
            (
                &["1000", "1,000", "1{,}000", "1\\,000", "1\u{a0}000", "1\u{202f}000.0", "1e3", "1.0E+3", "2000/2"],
                "1000",
            ),
            (&["-2", "-$2", "-\\$2", "-€2.00", "–2", "－2"], "-2"),
            (&["0", "-0", "-0.0", "0/5", "-0/5"], "0"),
            (&["2.5e-3", "0.0025", "1/400"], "0.0025"),
        ] {
            for text in texts {
                assert_eq!(whole(text).as_deref(), Some(want), "{text}");
            }
        }
        assert_eq!(whole("\\$18").as_deref(), Some("18"));
        assert_eq!(whole("18 €").as_deref(), Some("18"));
        assert_eq!(whole("5\\%").as_deref(), Some("5"));
        for text in ["", "$", "1 apple", "1/0x", "x 1", "1 2", "%"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn powers_of_a_thousand_in_words_count() {
        for (text, last) in [
            ("#### 5 million", "5000000"),
            ("\\$2.5 billion dollars", "2500000000"),
            ("-1.25 Thousand", "-1250"),
            ("1/2 million", "500000"),
            ("2.5\\text{ million}.", "2500000"),
            ("a 3-million loan", "3000000"),
            ("5 millions", "5"),
            ("5 millionaires", "5"),
            ("5million", "5"),
            ("5, million", "5"),
        ] {
            assert_eq!(numbers(text).last().as_deref(), Some(last), "{text}");
        }
        assert_eq!(whole("1.5 million").as_deref(), Some("1500000"));
    }

    #[test]
    fn a_sign_may_have_a_space_behind_it_where_a_value_begins() {
        for (text, last) in [
            ("- 4", "-4"),
            ("x = - 5", "-5"),
            ("The answer is: - 4.", "-4"),
            ("\\boxed{- 4}", "-4"),
            ("$- 4$", "-4"),
            ("(- \\frac{1}{2})", "-0.5"),
            ("10 - 5", "5"),
            ("x - 5", "5"),
            ("(3) - 5", "5"),
            ("pears:\n- 5 kilos", "5"),
        ] {
            assert_eq!(numbers(text).last().as_deref(), Some(last), "{text}");
        }
    }

    #[test]
    fn a_full_stop_is_a_decimal_point_where_a_number_may_begin() {
        for (text, last) in [
            ("...18", "18"),
            ("section 3.2.1", "1"),
            ("no.5", "5"),
            ("v1.2.", "1.2"),
            ("so .5", "0.5"),
            ("(.5)", "0.5"),
            ("$.50", "0.5"),
            ("-.5", "-0.5"),
            ("1-.5", "0.5"),
            ("1/.5", "2"),
        ] {
            assert_eq!(numbers(text).last().as_deref(), Some(last), "{text}");
        }
    }

    #[test]
    fn numbers_of_any_size_keep_every_digit() {
        let long = "7".repeat(300);
        assert_eq!(whole(&format!("{long}.50")), Some(format!("{long}.5")));
        // A fraction of such is two numbers.
        assert_eq!(numbers(&format!("{long}/2")).collect::<Vec<_>>(), [long.as_str(), "2"]);
        assert_eq!(numbers("1e400").collect::<Vec<_>>(), ["1", "400"]);
        assert_eq!(numbers("1/0 and 2e3x").collect::<Vec<_>>(), ["1", "0", "2", "3"]);
    }
}
