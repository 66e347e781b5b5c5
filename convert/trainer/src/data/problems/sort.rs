//! `Sort 41, 7, 93, 18 in ascending order. Which number is third?`
//!
//! `steps` takes the smallest number of those that are left, until the place is reached. `halves`
//! sorts each half by itself and merges both.

use crate::data::problems::sizes::{Sizes, Span};
use crate::data::problems::spec::{KindSpec, SizeRule, Worked};
use crate::data::problems::way::Way;
use crate::data::rng::Rng;

pub(super) static SORT: KindSpec = KindSpec {
    name: "sort",
    ways: &[Way::Once, Way::Steps, Way::Halves],
    operands: Some(SizeRule { usual: Span::new(4, 6), allowed: Span::new(3, 8) }),
    digits: Some(SizeRule { usual: Span::new(1, 2), allowed: Span::new(1, 9) }),
    draw,
};

/// The places of as many numbers as there may be.
pub(super) const PLACES: [&str; 8] = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];

#[expect(clippy::unnecessary_wraps, reason = "other kinds draw what is no good problem")]
fn draw(sizes: &Sizes, rng: &mut Rng) -> Option<Worked> {
    let count = sizes.operands.draw(rng) as usize;
    let mut numbers = Vec::with_capacity(count);
    // There are nine numbers of one digit, more than are wanted.
    while numbers.len() < count {
        let number = sizes.number(rng);
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    let place = rng.below(count as u64) as usize;
    let question = format!("Sort {} in ascending order. Which number is {}?", list(&numbers), PLACES[place]);
    let lines = vec![(Way::Steps, steps(&numbers, place)), (Way::Halves, halves(&numbers))];
    Some(Worked { question, result: sorted(&numbers)[place], lines })
}

fn list(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

fn sorted(numbers: &[i64]) -> Vec<i64> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers
}

fn steps(numbers: &[i64], place: usize) -> Vec<String> {
    let mut left = numbers.to_vec();
    let step = |smallest: &i64| {
        let line = match left[..] {
            [last] => format!("{last} is left"),
            _ => format!("{smallest} is the smallest of {}", list(&left)),
        };
        left.retain(|number| number != smallest);
        line
    };
    sorted(numbers)[..=place].iter().map(step).collect()
}

fn halves(numbers: &[i64]) -> Vec<String> {
    let (front, back) = numbers.split_at(numbers.len().div_ceil(2));
    let half = |half: &[i64]| format!("{} -> {}", list(half), list(&sorted(half)));
    let merged = format!("{} and {} -> {}", list(&sorted(front)), list(&sorted(back)), list(&sorted(numbers)));
    vec![half(front), half(back), merged]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_or_merged() {
        let numbers = [41, 7, 93, 18];
        let taken = [
            "7 is the smallest of 41, 7, 93, 18",
            "18 is the smallest of 41, 93, 18",
            "41 is the smallest of 41, 93",
            "93 is left",
        ];
        for place in 0..4 {
            assert_eq!(steps(&numbers, place), taken[..=place]);
        }
        assert_eq!(halves(&numbers), ["41, 7 -> 7, 41", "93, 18 -> 18, 93", "7, 41 and 18, 93 -> 7, 18, 41, 93"]);
        assert_eq!(halves(&[3, 2, 1]), ["3, 2 -> 2, 3", "1 -> 1", "2, 3 and 1 -> 1, 2, 3"]);
    }
}
