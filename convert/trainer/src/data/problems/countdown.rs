//! `Make 22 from three of 7, 8, 16 and 21 with +, - and *, each of them once. Which number is left
//! over?`
//!
//! Exactly one number can be left over: all others were searched. `steps` makes the target;
//! `backwards` undoes the operations from the target on, until a number that is there comes out.

use crate::data::problems::sizes::Sizes;
use crate::data::problems::spec::{KindSpec, Worked};
use crate::data::problems::way::Way;
use crate::data::rng::Rng;

pub(super) static COUNTDOWN: KindSpec =
    KindSpec { name: "countdown", ways: &[Way::Once, Way::Steps, Way::Backwards], operands: None, digits: None, draw };

/// The numbers that are given.
const NUMBERS: usize = 4;
/// The smallest (1 would be no factor) and the largest of them.
const SMALLEST: i64 = 2;
const LARGEST: i64 = 25;
/// The largest target.
const HIGHEST: i64 = 199;

/// `left op right = value`; values are positive.
#[derive(Clone, Copy)]
struct Operation {
    left: i64,
    operator: char,
    right: i64,
    value: i64,
}

impl Operation {
    /// All of two positive numbers with a positive value: the larger number comes first.
    fn all(a: i64, b: i64) -> impl Iterator<Item = Self> {
        let (left, right) = (a.max(b), a.min(b));
        let results = [('+', left + right), ('-', left - right), ('*', left * right)];
        let operation = move |(operator, value)| Self { left, operator, right, value };
        results.into_iter().map(operation).filter(|operation| operation.value > 0)
    }

    fn line(&self) -> String {
        format!("{} {} {} = {}", self.left, self.operator, self.right, self.value)
    }

    /// How `wanted`, one of both numbers, follows from the value and the other one.
    fn undone(&self, wanted: i64) -> String {
        let &Self { left, operator, right, value } = self;
        let other = if wanted == left { right } else { left };
        match operator {
            '+' => format!("{value} - {other} = {wanted}"),
            '*' => format!("{value} / {other} = {wanted}"),
            _ if wanted == left => format!("{value} + {other} = {wanted}"),
            _ => format!("{other} - {value} = {wanted}"),
        }
    }
}

/// A number made of three.
#[derive(Clone, Copy)]
struct Solution {
    first: Operation,
    second: Operation,
}

/// Everything that three numbers make, up to the highest target.
///
/// No value below zero is needed in between: whatever positive number such a value leads to, the
/// difference the other way round leads there too.
fn solutions(numbers: [i64; 3]) -> impl Iterator<Item = Solution> {
    let [a, b, c] = numbers;
    let orders = [(a, b, c), (a, c, b), (b, c, a)];
    let all = orders.into_iter().flat_map(|(a, b, c)| {
        let second =
            move |first: Operation| Operation::all(first.value, c).map(move |second| Solution { first, second });
        Operation::all(a, b).flat_map(second)
    });
    all.filter(|solution| solution.second.value <= HIGHEST)
}

/// All numbers but one.
fn without(numbers: [i64; NUMBERS], left_over: usize) -> [i64; 3] {
    let [a, b, c, d] = numbers;
    [[b, c, d], [a, c, d], [a, b, d], [a, b, c]][left_over]
}

fn draw(_: &Sizes, rng: &mut Rng) -> Option<Worked> {
    let numbers = numbers(rng);
    let left_over = rng.below(NUMBERS as u64) as usize;
    let all: Vec<Solution> = solutions(without(numbers, left_over)).collect();
    let solution = all[rng.below(all.len() as u64) as usize];
    let target = solution.second.value;
    let reached = |&index: &usize| solutions(without(numbers, index)).any(|other| other.second.value == target);
    if numbers.contains(&target) || (0..NUMBERS).filter(reached).count() > 1 {
        return None;
    }
    let [a, b, c, d] = numbers;
    let question = format!(
        "Make {target} from three of {a}, {b}, {c} and {d} with +, - and *, each of them once. \
         Which number is left over?"
    );
    let result = numbers[left_over];
    let Solution { first, second } = solution;
    let there = format!("{result} is left over");
    let backwards = vec![second.undone(first.value), first.undone(first.left), there.clone()];
    let lines = vec![(Way::Steps, vec![first.line(), second.line(), there]), (Way::Backwards, backwards)];
    Some(Worked { question, result, lines })
}

/// Different numbers, in ascending order.
fn numbers(rng: &mut Rng) -> [i64; NUMBERS] {
    let mut numbers = [0; NUMBERS];
    for at in 0..NUMBERS {
        while numbers[at] == 0 || numbers[..at].contains(&numbers[at]) {
            numbers[at] = SMALLEST + rng.below((LARGEST - SMALLEST + 1) as u64) as i64;
        }
    }
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_undone_to_either_number() {
        for operation in Operation::all(3, 12) {
            let lines = [operation.undone(12), operation.undone(3)];
            let expected = match operation.operator {
                '+' => ["15 - 3 = 12", "15 - 12 = 3"],
                '-' => ["9 + 3 = 12", "12 - 9 = 3"],
                _ => ["36 / 3 = 12", "36 / 12 = 3"],
            };
            assert_eq!(lines, expected);
        }
        // Nothing is made of 0.
        assert_eq!(Operation::all(4, 4).count(), 2);
    }

    #[test]
    fn what_is_made_is_all_that_can_be_made() {
        for numbers in [[2, 3, 5], [7, 4, 25], [2, 4, 6]] {
            let made: std::collections::BTreeSet<i64> = solutions(numbers).map(|made| made.second.value).collect();
            let [a, b, c] = numbers;
            let apply = |x: i64, y: i64| [x + y, x - y, y - x, x * y];
            let all = [(a, b, c), (a, c, b), (b, c, a)]
                .into_iter()
                .flat_map(|(a, b, c)| apply(a, b).into_iter().flat_map(move |first| apply(first, c)));
            assert_eq!(made, all.filter(|value| (1..=HIGHEST).contains(value)).collect());
        }
    }
}
