//! Final answers: the number that an answer ends with, compared exactly.
//!
//! A final answer is what follows the last `####`, or else the last number of the text. Signs,
//! thousands separators, decimals and fractions (`3/4`, `1 1/2`, `\frac{3}{4}`) belong to the
//! number; currencies, units, percent signs and the full stop at the end of a sentence do not.
//! Numbers are rationals without rounding: `0.50` is `1/2`.

use num_bigint::BigInt;
use num_rational::BigRational;

/// What introduces the final answer.
const MARK: &str = "####";

/// The final answer of a text, if there is one.
pub fn extract(text: &str) -> Option<BigRational> {
    let marked = text.rsplit_once(MARK).and_then(|(_, after)| numbers(after.lines().next()?).next());
    marked.or_else(|| numbers(text).last())
}

/// Whether the text has this final answer.
pub fn is_right(text: &str, gold: &BigRational) -> bool {
    extract(text).as_ref() == Some(gold)
}

/// The numbers of a text, in their order.
fn numbers(text: &str) -> impl Iterator<Item = BigRational> + '_ {
    let mut rest = text;
    let mut before = None;
    std::iter::from_fn(move || {
        while let Some(first) = rest.chars().next() {
            if let Some((number, after)) = number(before, rest) {
                before = rest[..rest.len() - after.len()].chars().next_back();
                rest = after;
                return Some(number);
            }
            before = Some(first);
            rest = &rest[first.len_utf8()..];
        }
        None
    })
}

/// The number that `text` begins with, and what follows it. A dash behind what can be counted is a
/// minus between two numbers, not a sign.
fn number(before: Option<char>, text: &str) -> Option<(BigRational, &str)> {
    let subtracts = before.is_some_and(|c| c.is_alphanumeric() || matches!(c, ')' | '.' | '%'));
    let (negative, unsigned) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(_) if subtracts => return None,
        // The currency may stand between the sign and the number.
        Some(rest) => (true, rest.strip_prefix(['$', '€', '£', '¥', '₹']).unwrap_or(rest)),
        None => (false, text),
    };
    let (value, after) = latex_fraction(unsigned).or_else(|| plain(unsigned))?;
    Some((if negative { -value } else { value }, after))
}

/// `\frac{a}{b}`, also `\dfrac` and `\tfrac`.
fn latex_fraction(text: &str) -> Option<(BigRational, &str)> {
    let rest = ["\\frac{", "\\dfrac{", "\\tfrac{"].iter().find_map(|name| text.strip_prefix(name))?;
    let (over, rest) = signed(rest)?;
    let (under, rest) = signed(rest.strip_prefix("}{")?)?;
    Some((divide(over, under)?, rest.strip_prefix('}')?))
}

fn signed(text: &str) -> Option<(BigRational, &str)> {
    match text.strip_prefix('-') {
        Some(text) => decimal(text).map(|(value, rest)| (-value, rest)),
        None => decimal(text),
    }
}

/// A decimal, a fraction, or a whole number and a fraction.
fn plain(text: &str) -> Option<(BigRational, &str)> {
    let (value, rest) = decimal(text)?;
    if let Some((fraction, rest)) = over(value.clone(), rest) {
        return Some((fraction, rest));
    }
    let mixed = || {
        let spaced = || {
            let (over_, after) = decimal(rest.strip_prefix(' ')?)?;
            over(over_, after)
        };
        let (fraction, after) = latex_fraction(rest.trim_start_matches(' ')).or_else(spaced)?;
        let number = |n: i32| BigRational::from_integer(n.into());
        let proper = value.is_integer() && number(0) <= fraction && fraction < number(1);
        proper.then(|| (&value + fraction, after))
    };
    Some(mixed().unwrap_or((value, rest)))
}

/// `value`, divided by what follows a slash.
fn over(value: BigRational, rest: &str) -> Option<(BigRational, &str)> {
    let (under, rest) = decimal(rest.strip_prefix('/')?)?;
    Some((divide(value, under)?, rest))
}

fn divide(over: BigRational, under: BigRational) -> Option<BigRational> {
    let zero = BigRational::from_integer(0.into());
    (under != zero).then(|| over / under)
}

/// Digits with thousands separators, and decimals: `1,234.50`, `.5`, `7`.
fn decimal(text: &str) -> Option<(BigRational, &str)> {
    let (whole, mut rest) = take_digits(text);
    let (mut digits, mut decimals) = (whole.to_owned(), 0);
    if (1..=3).contains(&whole.len()) {
        while let Some((group, after)) = thousands(rest).filter(|(group, _)| group.len() == 3) {
            digits.push_str(group);
            rest = after;
        }
    }
    if let Some((part, after)) = rest.strip_prefix('.').map(take_digits).filter(|(part, _)| !part.is_empty()) {
        digits.push_str(part);
        (decimals, rest) = (part.len() as u32, after);
    }
    // Without a digit there is nothing to parse.
    let value: BigInt = digits.parse().ok()?;
    Some((BigRational::new(value, BigInt::from(10).pow(decimals)), rest))
}

/// The digits behind a separator; LaTeX sets the comma in braces.
fn thousands(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(',').or_else(|| text.strip_prefix("{,}")).map(take_digits)
}

fn take_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(over: i64, under: i64) -> BigRational {
        BigRational::new(over.into(), under.into())
    }

    #[test]
    fn final_answers_are_read_however_they_are_written() {
        let table: &[(&str, Option<(i64, i64)>)] = &[
            ("#### 42", Some((42, 1))),
            ("It is 3.\n#### 1,234\n", Some((1234, 1))),
            ("####-5", Some((-5, 1))),
            ("#### $1,234,567.50", Some((2_469_135, 2))),
            ("first #### 1\nthen #### 2", Some((2, 1))),
            ("10 apples\n#### none", Some((10, 1))),
            ("#### 7 (of 12)", Some((7, 1))),
            ("#### 7\nThat took 3 steps.", Some((7, 1))),
            ("The answer is 18.", Some((18, 1))),
            ("The answer is 18.0.", Some((18, 1))),
            ("so 10-5", Some((5, 1))),
            ("so 10 - 5 = 5", Some((5, 1))),
            ("x = -5", Some((-5, 1))),
            ("x = \u{2212}5%", Some((-5, 1))),
            ("a loss of -$3.25", Some((-13, 4))),
            ("a loss of $-3.25", Some((-13, 4))),
            ("(12)", Some((12, 1))),
            ("\\boxed{72}", Some((72, 1))),
            ("\\boxed{-\\frac{3}{4}}", Some((-3, 4))),
            ("\\boxed{\\frac{-3}{4}}", Some((-3, 4))),
            ("\\boxed{1\\frac{1}{2}}", Some((3, 2))),
            ("$1{,}234$", Some((1234, 1))),
            ("\\dfrac{6}{0}", Some((0, 1))),
            ("half of it, .5 miles", Some((1, 2))),
            ("3/4 of a cup", Some((3, 4))),
            ("1 1/2 cups", Some((3, 2))),
            ("takes 2 6/4", Some((3, 2))),
            ("6/8", Some((3, 4))),
            ("1/0", Some((0, 1))),
            ("0.50", Some((1, 2))),
            ("007", Some((7, 1))),
            ("80%", Some((80, 1))),
            ("5kg", Some((5, 1))),
            ("€ 2.000", Some((2, 1))),
            ("1, 2, 3", Some((3, 1))),
            ("1,23", Some((23, 1))),
            ("1234,567", Some((567, 1))),
            ("1,2345", Some((2345, 1))),
            ("12,345,678.9", Some((123_456_789, 10))),
            ("1.2.3", Some((3, 10))),
            ("**Answer: 12**", Some((12, 1))),
            ("3 × 4 = 12 dollars and", Some((12, 1))),
            ("٣", None),
            ("####", None),
            ("none", None),
            ("-", None),
            ("", None),
        ];
        for (text, want) in table {
            assert_eq!(extract(text), want.map(|(over, under)| ratio(over, under)), "{text}");
        }
    }

    #[test]
    fn numbers_of_any_size_are_compared_exactly() {
        let long = "1".repeat(60);
        let gold = extract(&format!("#### {long}")).unwrap();
        assert!(is_right(&format!("It is {long}.00"), &gold));
        assert!(!is_right(&format!("It is {long}.01"), &gold));
        assert!(!is_right("no idea", &gold));
        assert!(is_right("2/4", &extract("0.5").unwrap()) && !is_right("0.33", &extract("1/3").unwrap()));
    }
}
