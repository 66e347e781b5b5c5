//! `What is 367 + 914 - 517?`
//!
//! `steps` adds and subtracts from left to right. `parts` does all hundreds at once, then all tens,
//! then all ones, and adds up what comes out; parts of 0 are left out, and a part that is alone
//! needs no line. No sum on the way from left to right is negative, as at school.

use crate::data::problems::sizes::{Sizes, Span};
use crate::data::problems::spec::{KindSpec, SizeRule, Worked};
use crate::data::problems::way::Way;
use crate::data::rng::Rng;

pub(super) static ARITHMETIC: KindSpec = KindSpec {
    name: "arithmetic",
    ways: &[Way::Once, Way::Steps, Way::Parts],
    operands: Some(SizeRule { usual: Span::new(2, 4), allowed: Span::new(2, 8) }),
    digits: Some(SizeRule { usual: Span::new(1, 3), allowed: Span::new(1, 9) }),
    draw,
};

fn draw(sizes: &Sizes, rng: &mut Rng) -> Option<Worked> {
    let count = sizes.operands.draw(rng);
    let terms: Vec<i64> = (0..count)
        .map(|place| {
            let number = sizes.number(rng);
            if place > 0 && rng.below(2) == 1 { -number } else { number }
        })
        .collect();
    let mut total = 0;
    let never_negative = terms.iter().all(|term| {
        total += term;
        total >= 0
    });
    never_negative.then(|| Worked {
        question: format!("What is {}?", sum(&terms)),
        result: terms.iter().sum(),
        lines: vec![(Way::Steps, steps(&terms)), (Way::Parts, parts(&terms))],
    })
}

/// Terms as they are written: `3 + 4 - 5`.
fn sum(terms: &[i64]) -> String {
    let signed = |term: &i64| format!(" {} {}", if *term < 0 { '-' } else { '+' }, term.abs());
    let rest: String = terms[1..].iter().map(signed).collect();
    format!("{}{rest}", terms[0])
}

fn equation(terms: &[i64]) -> String {
    format!("{} = {}", sum(terms), terms.iter().sum::<i64>())
}

fn steps(terms: &[i64]) -> Vec<String> {
    let mut total = terms[0];
    let step = |term: &i64| {
        let line = equation(&[total, *term]);
        total += term;
        line
    };
    terms[1..].iter().map(step).collect()
}

fn parts(terms: &[i64]) -> Vec<String> {
    let longest = terms.iter().map(|term| term.abs()).max().unwrap_or(0);
    let places = (0..=longest.max(1).ilog10()).rev().map(|zeros| 10_i64.pow(zeros));
    let of_place = |place: i64| terms.iter().map(|term| term / place % 10 * place).filter(|part| *part != 0).collect();
    let rows: Vec<Vec<i64>> = places.map(of_place).filter(|row: &Vec<i64>| !row.is_empty()).collect();
    let totals: Vec<i64> = rows.iter().map(|row| row.iter().sum()).collect();
    let all = rows.into_iter().chain([totals]);
    all.filter(|row| row.len() > 1).map(|row| equation(&row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sum_on_the_way_is_negative() {
        let sizes = Sizes { operands: Span::new(2, 4), digits: Span::new(1, 3) };
        let mut rng = Rng::stream(1, "sums", 0);
        let drawn: Vec<Worked> = (0..500).filter_map(|_| draw(&sizes, &mut rng)).collect();
        assert!((200..500).contains(&drawn.len()) && drawn.iter().any(|worked| worked.question.contains('-')));
        for Worked { question, result, lines } in drawn {
            let steps = &lines.iter().find(|(way, _)| *way == Way::Steps).unwrap().1;
            assert!(
                result >= 0 && steps.iter().all(|line| !line.starts_with('-') && !line.contains("= -")),
                "{question}"
            );
        }
    }

    #[test]
    fn steps_and_parts_are_right_below_zero() {
        assert_eq!(sum(&[367, 914, -517]), "367 + 914 - 517");
        assert_eq!(steps(&[367, 914, -517]), ["367 + 914 = 1281", "1281 - 517 = 764"]);
        let by_parts = ["300 + 900 - 500 = 700", "60 + 10 - 10 = 60", "7 + 4 - 7 = 4", "700 + 60 + 4 = 764"];
        assert_eq!(parts(&[367, 914, -517]), by_parts);
        assert_eq!(steps(&[12, -45, 7]), ["12 - 45 = -33", "-33 + 7 = -26"]);
        assert_eq!(parts(&[12, -45, 7]), ["10 - 40 = -30", "2 - 5 + 7 = 4", "-30 + 4 = -26"]);
        assert_eq!(parts(&[10, -5]), ["10 - 5 = 5"]);
        assert_eq!(parts(&[3, -5]), ["3 - 5 = -2"]);
        assert_eq!(parts(&[5, -15]), ["5 - 5 = 0", "-10 + 0 = -10"]);
        assert_eq!(parts(&[5, -10, -20]), ["-10 - 20 = -30", "-30 + 5 = -25"]);
        assert_eq!(parts(&[400, 500]), ["400 + 500 = 900"]);
    }
}
