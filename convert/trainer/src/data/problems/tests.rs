//! Every answer, checked against what follows from the words of its question alone.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use num_bigint::BigInt;
use num_rational::BigRational;

use super::{GeneratedProblem, Generator, Kind, ProblemRequest, Way, WayMix, json_lines, tally};
use crate::error::Error;
use crate::eval::degeneracy::{Flaws, QuestionLanguage};
use crate::eval::final_answer::extract;

fn request(kind: Kind, seed: u64) -> ProblemRequest {
    ProblemRequest { kind, seed, ways: None, operands: None, digits: None }
}

fn answered(kind: Kind, seed: u64, way: Way) -> ProblemRequest {
    ProblemRequest { ways: Some(way.to_string().parse().unwrap()), ..request(kind, seed) }
}

fn problems(request: &ProblemRequest, count: usize) -> Vec<GeneratedProblem> {
    Generator::new(request).unwrap().problems(count, &HashSet::new()).unwrap()
}

/// The numbers of a text, without signs.
fn numbers(text: &str) -> Vec<i64> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    digits.map(|digits| digits.parse().unwrap()).collect()
}

/// The value of `3 + 4 * -5 / 2`, from left to right: no answer mixes operators of two ranks.
fn value(text: &str) -> i64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |word: &str| word.parse::<i64>().unwrap_or_else(|_| panic!("{word:?} in {text:?}"));
    words[1..].chunks(2).fold(number(words[0]), |total, pair| match (pair[0], number(pair[1])) {
        ("+", number) => total + number,
        ("-", number) => total - number,
        ("*", number) => total * number,
        ("/", number) if total % number == 0 => total / number,
        other => panic!("{other:?} in {text:?}"),
    })
}

/// What a question asks for, found in another way than the generator's.
fn expected(kind: Kind, question: &str) -> i64 {
    match kind {
        Kind::Arithmetic => value(question.strip_prefix("What is ").unwrap().strip_suffix('?').unwrap()),
        Kind::Countdown => left_over(question),
        Kind::Sort => at_place(question),
        Kind::Dates => of_dates(question),
    }
}

/// Tries every expression, values below zero included.
fn left_over(question: &str) -> i64 {
    fn makes(numbers: &[i64], target: i64) -> bool {
        if let [number] = numbers {
            return *number == target;
        }
        let pairs = (0..numbers.len()).flat_map(|i| (0..numbers.len()).map(move |j| (i, j))).filter(|(i, j)| i != j);
        pairs.into_iter().any(|(i, j)| {
            let rest = || (0..numbers.len()).filter(|k| *k != i && *k != j).map(|k| numbers[k]);
            let (a, b) = (numbers[i], numbers[j]);
            [a + b, a - b, a * b].into_iter().any(|c| makes(&rest().chain([c]).collect::<Vec<_>>(), target))
        })
    }
    let numbers = numbers(question);
    let (target, given) = (numbers[0], &numbers[1..]);
    assert_eq!(given.len(), 4, "{question}");
    let others = |left: i64| given.iter().copied().filter(|number| *number != left).collect::<Vec<_>>();
    let left: Vec<i64> = given.iter().copied().filter(|number| makes(&others(*number), target)).collect();
    assert_eq!(left.len(), 1, "{question}: {left:?}");
    left[0]
}

fn at_place(question: &str) -> i64 {
    let places = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];
    let name = question.strip_suffix('?').unwrap().rsplit(' ').next().unwrap();
    let place = places.iter().position(|place| *place == name).unwrap();
    let numbers = numbers(question);
    let smaller = |number: i64| numbers.iter().filter(|other| **other < number).count();
    let found: Vec<i64> = numbers.iter().copied().filter(|number| smaller(*number) == place).collect();
    assert_eq!(found.len(), 1, "{question}");
    found[0]
}

/// Days since 1 March of the year 0, by the formula of Howard Hinnant's `days_from_civil`.
fn days(text: &str) -> i64 {
    let words: Vec<&str> = text.split(' ').collect();
    let months = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let month = 1 + months.iter().position(|month| *month == words[1]).unwrap() as i64;
    let (day, year): (i64, i64) = (words[0].parse().unwrap(), words[2].parse().unwrap());
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year
}

/// The day of the month, back from the number of a day (`civil_from_days`).
fn day_of_month(days: i64) -> i64 {
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    assert!(era < 6 && year < 400);
    let of_year = day - (365 * year + year / 4 - year / 100);
    of_year - (153 * ((5 * of_year + 2) / 153) + 2) / 5 + 1
}

fn of_dates(question: &str) -> i64 {
    let question = question.strip_suffix('?').unwrap();
    if let Some(rest) = question.strip_prefix("What day of the month is ") {
        let (count, from) = rest.split_once(" after ").unwrap();
        return day_of_month(days(from) + numbers(count)[0]);
    }
    let (from, to) = question.strip_prefix("How many days after ").unwrap().split_once(" is ").unwrap();
    days(to) - days(from)
}

/// Whether a line above the final answer is true, as far as it says something by itself.
fn check_line(line: &str, problem: &GeneratedProblem) {
    let list = |text: &str| text.split(", ").map(|number| number.parse().unwrap()).collect::<Vec<i64>>();
    let sorted = |text: &str| list(text).into_iter().collect::<BTreeSet<i64>>().into_iter().collect::<Vec<i64>>();
    if let Some((left, right)) = line.split_once(" = ") {
        let left = left.rsplit(": ").next().unwrap();
        assert_eq!(value(left), right.parse::<i64>().unwrap(), "{line} of {problem:?}");
    } else if let Some((smallest, of)) = line.split_once(" is the smallest of ") {
        assert_eq!(list(smallest), sorted(of)[..1], "{line} of {problem:?}");
    } else if let Some((from, to)) = line.split_once(" -> ") {
        assert_eq!(list(to), sorted(&from.replace(" and ", ", ")), "{line} of {problem:?}");
    } else if let Some(number) = line.strip_suffix(" is left over").or_else(|| line.strip_suffix(" is left")) {
        assert_eq!(list(number), [expected(problem.kind, &problem.question)]);
    } else if let Some((_, number)) = line.split_once(" January is day ") {
        assert!(line.starts_with(&format!("{number} ")), "{line} of {problem:?}");
    } else {
        // Before February there is one month, which is no sum.
        assert!(line.starts_with("before February ") && line.ends_with(": 31"), "{line} of {problem:?}");
    }
}

fn check(problem: &GeneratedProblem) {
    let result = expected(problem.kind, &problem.question);
    let gold = BigRational::from_integer(BigInt::from(result));
    assert_eq!(extract(&problem.answer), Some(gold), "{problem:?}");
    let question = QuestionLanguage::of(&problem.question);
    assert_eq!(Flaws::of(&problem.answer, &question), Flaws::default(), "{problem:?}");
    let lines: Vec<&str> = problem.answer.lines().collect();
    let (last, above) = lines.split_last().unwrap();
    assert_eq!(*last, format!("#### {result}"));
    assert_eq!(above.is_empty(), problem.way == Way::Once, "{problem:?}");
    for line in above {
        check_line(line, problem);
    }
    // Steps arrive at what they were for: the last of them holds the final answer.
    if let Some(end) = above.last() {
        assert!(numbers(end).contains(&result.abs()), "{problem:?}");
    }
}

#[test]
fn each_way_of_each_kind_is_right_for_500_seeds() {
    for kind in Kind::ALL {
        for &way in kind.ways() {
            for seed in 0..500 {
                for problem in problems(&answered(kind, seed, way), 2) {
                    assert_eq!((problem.kind, problem.way), (kind, way));
                    check(&problem);
                }
            }
        }
    }
}

#[test]
fn the_largest_sizes_are_right_too() {
    for (kind, operands, digits) in
        [(Kind::Arithmetic, "2..8", "1..9"), (Kind::Arithmetic, "8", "9"), (Kind::Sort, "3..8", "1..9")]
    {
        for &way in kind.ways() {
            let sizes = (Some(operands.parse().unwrap()), Some(digits.parse().unwrap()));
            let request = ProblemRequest { operands: sizes.0, digits: sizes.1, ..answered(kind, 3, way) };
            problems(&request, 200).iter().for_each(check);
        }
    }
    // As many numbers as can be sorted, of the fewest there are.
    let sizes = (Some("8".parse().unwrap()), Some("1".parse().unwrap()));
    problems(&ProblemRequest { operands: sizes.0, digits: sizes.1, ..request(Kind::Sort, 0) }, 200)
        .iter()
        .for_each(check);
}

#[test]
fn arithmetic_subtracts_and_never_ends_below_zero() {
    let all = problems(&request(Kind::Arithmetic, 0), 500);
    let subtracting = all.iter().filter(|problem| problem.question.contains(" - ")).count();
    assert!((100..400).contains(&subtracting), "{subtracting}");
    assert!(all.iter().all(|problem| !problem.answer.contains("#### -")));
}

#[test]
fn the_same_request_has_the_same_bytes_and_its_beginning_is_that_of_a_longer_one() {
    for kind in Kind::ALL {
        let text = |seed, count| json_lines(&problems(&request(kind, seed), count));
        let long = text(7, 300);
        assert_eq!(long, text(7, 300));
        assert!(long.starts_with(&text(7, 120)), "{kind}");
        assert_ne!(long, text(8, 300), "{kind}");
    }
}

#[test]
fn questions_differ_and_do_not_depend_on_the_ways() {
    for kind in Kind::ALL {
        let questions = |request: &ProblemRequest| -> Vec<String> {
            problems(request, 1000).into_iter().map(|problem| problem.question).collect()
        };
        let all = questions(&request(kind, 1));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 1000, "{kind}");
        assert_eq!(all, questions(&answered(kind, 1, Way::Steps)), "{kind}");
    }
}

#[test]
fn ways_are_as_frequent_as_asked() {
    let near = |count: usize, expected: usize| count.abs_diff(expected) < 130;
    for kind in Kind::ALL {
        let counts: BTreeMap<Way, usize> = tally(&problems(&request(kind, 2), 4000)).into_iter().collect();
        assert_eq!(counts.keys().copied().collect::<BTreeSet<_>>(), kind.ways().iter().copied().collect());
        assert!(counts.iter().all(|(way, n)| near(*n, if *way == Way::Once { 2000 } else { 1000 })), "{counts:?}");
    }
    let ways: WayMix = "parts:3,once".parse().unwrap();
    let counts = tally(&problems(&ProblemRequest { ways: Some(ways), ..request(Kind::Arithmetic, 2) }, 4000));
    assert!(matches!(counts[..], [(Way::Once, a), (Way::Parts, b)] if near(a, 1000) && near(b, 3000)), "{counts:?}");
}

#[test]
fn excluded_questions_do_not_appear() {
    for kind in Kind::ALL {
        let first = problems(&request(kind, 4), 300);
        let excluded: HashSet<String> = first.iter().map(|problem| problem.question.clone()).collect();
        // The same seed would draw just these.
        let others = Generator::new(&request(kind, 4)).unwrap().problems(300, &excluded).unwrap();
        assert!(others.iter().all(|problem| !excluded.contains(&problem.question)), "{kind}");
    }
}

#[test]
fn more_problems_than_there_are_is_an_error() {
    let sizes = (Some("2".parse().unwrap()), Some("1".parse().unwrap()));
    let request = ProblemRequest { operands: sizes.0, digits: sizes.1, ..request(Kind::Arithmetic, 0) };
    let generator = Generator::new(&request).unwrap();
    // 9 * 9 sums, and 9 * 10 / 2 differences that are not negative.
    assert_eq!(generator.problems(126, &HashSet::new()).unwrap().len(), 126);
    let refused = generator.problems(127, &HashSet::new()).unwrap_err();
    assert!(matches!(refused, Error::NoNewQuestion { found: 126, wanted: 127, .. }), "{refused}");
}

#[test]
fn a_line_has_the_fields_in_order() {
    let text = json_lines(&problems(&answered(Kind::Dates, 0, Way::Once), 1));
    let keys: Vec<&str> = text.split('"').filter(|key| ["question", "answer", "way", "kind"].contains(key)).collect();
    assert_eq!(keys, ["question", "answer", "way", "kind"]);
    assert!(text.ends_with("\",\"way\":\"once\",\"kind\":\"dates\"}\n"), "{text}");
}
