//! Final answers: the number that an answer ends with, compared exactly.
//!
//! A final answer is what follows the last `####`, or else the last number of the text. Signs,
//! thousands separators, decimals and fractions (`3/4`, `1 1/2`, `\frac{3}{4}`) belong to the
//! number; currencies, units, percent signs and the full stop at the end of a sentence do not.
//! Numbers are rationals without rounding: `0.50` is `1/2`.

use num_bigint::BigInt;
use num_rational::BigRational;
use ollm_runtime::branches::AnswerRule;

/// The final answer of a text, if there is one.
pub fn extract(text: &str) -> Option<BigRational> {
    let answer = AnswerRule::Number.extract(text)?;
    if answer.contains('/') {
        return answer.parse().ok();
    }
    let (whole, decimals) = answer.split_once('.').unwrap_or((&answer, ""));
    let value: BigInt = format!("{whole}{decimals}").parse().ok()?;
    Some(BigRational::new(value, BigInt::from(10).pow(u32::try_from(decimals.len()).ok()?)))
}

/// Whether the text has this final answer.
pub fn is_right(text: &str, gold: &BigRational) -> bool {
    extract(text).as_ref() == Some(gold)
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
            ("1.2.3", Some((3, 1))),
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
