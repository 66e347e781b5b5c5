//! `What day of the month is 45 days after 20 January 2023?` and `How many days after 3 March 2024
//! is 17 May 2024?`
//!
//! `steps` goes from month to month. `yearday` numbers the days of the year: a date becomes such a
//! number, what is asked for is one addition or subtraction, and the number becomes a date again.

use crate::data::problems::calendar::{Date, MONTHS, Month, days_of_year};
use crate::data::problems::sizes::Sizes;
use crate::data::problems::spec::{KindSpec, Worked};
use crate::data::problems::way::Way;
use crate::data::rng::Rng;

pub(super) static DATES: KindSpec =
    KindSpec { name: "dates", ways: &[Way::Once, Way::Steps, Way::YearDay], operands: None, digits: None, draw };

/// The first year, and how many there are: one leap century and one that is none are among them.
const FIRST_YEAR: i64 = 1900;
const YEARS: u64 = 200;
/// The days from one date to the other, at most: less than a year, so that at most one year ends.
const FARTHEST: u64 = 150;

#[expect(clippy::unnecessary_wraps, reason = "other kinds draw what is no good problem")]
fn draw(_: &Sizes, rng: &mut Rng) -> Option<Worked> {
    let month = Month { year: FIRST_YEAR + rng.below(YEARS) as i64, index: rng.below(12) as usize };
    let from = Date { month, day: 1 + rng.below(month.days() as u64) as i64 };
    let days = 1 + rng.below(FARTHEST) as i64;
    let to = from.after(days);
    Some(if rng.below(2) == 0 {
        Worked {
            question: format!("What day of the month is {} after {from}?", counted(days)),
            result: to.day,
            lines: vec![(Way::Steps, later_by_months(from, days)), (Way::YearDay, later_by_year(from, days, to))],
        }
    } else {
        Worked {
            question: format!("How many days after {from} is {to}?"),
            result: days,
            lines: vec![(Way::Steps, between_by_months(from, to)), (Way::YearDay, between_by_year(from, to))],
        }
    })
}

fn counted(days: i64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

/// Days are counted on from the start of the month, and full months taken off.
fn later_by_months(from: Date, days: i64) -> Vec<String> {
    let (mut month, mut day) = (from.month, from.day + days);
    let mut lines = vec![format!("{} + {days} = {day}", from.day)];
    while day > month.days() {
        let left = day - month.days();
        lines.push(format!("{month} has {0} days: {day} - {0} = {left}", month.days()));
        (month, day) = (month.next(), left);
    }
    lines
}

fn later_by_year(from: Date, days: i64, to: Date) -> Vec<String> {
    let start = from.day_of_year();
    let mut day = start + days;
    let mut lines = vec![numbered(from), format!("{start} + {days} = {day}")];
    if to.month.year > from.month.year {
        let (length, end) = (days_of_year(from.month.year), day);
        day -= length;
        lines.push(format!("{} has {length} days: {end} - {length} = {day}", from.month.year));
    }
    if to.month.index > 0 {
        let before: Vec<i64> = to.month.days_before().collect();
        let total: i64 = before.iter().sum();
        lines.push(format!("before {}: {}", to.month, sum(&before)));
        lines.push(format!("{day} - {total} = {}", to.day));
    }
    lines
}

fn between_by_months(from: Date, to: Date) -> Vec<String> {
    if from.month == to.month {
        return vec![format!("{} - {} = {}", to.day, from.day, to.day - from.day)];
    }
    let mut total = from.month.days() - from.day;
    let mut lines = vec![format!("left of {}: {} - {} = {total}", from.month, from.month.days(), from.day)];
    let mut month = from.month.next();
    while month <= to.month {
        let days = if month == to.month { to.day } else { month.days() };
        lines.push(format!("{month}: {total} + {days} = {}", total + days));
        total += days;
        month = month.next();
    }
    lines
}

fn between_by_year(from: Date, to: Date) -> Vec<String> {
    let (start, mut end) = (from.day_of_year(), to.day_of_year());
    let mut lines = vec![numbered(from), numbered(to)];
    if to.month.year > from.month.year {
        let (length, day) = (days_of_year(from.month.year), end);
        end += length;
        lines.push(format!("{} has {length} days: {length} + {day} = {end}", from.month.year));
    }
    lines.push(format!("{end} - {start} = {}", end - start));
    lines
}

/// The day of the year, as the sum that it is.
fn numbered(date: Date) -> String {
    let parts: Vec<i64> = date.month.days_before().chain([date.day]).collect();
    let name = format!("{} {} is day {}", date.day, MONTHS[date.month.index], date.day_of_year());
    if parts.len() > 1 { format!("{name}: {}", sum(&parts)) } else { name }
}

/// `31 + 28 = 59`; of one number, the number.
fn sum(numbers: &[i64]) -> String {
    let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    match numbers {
        [number] => number.to_string(),
        _ => format!("{} = {}", texts.join(" + "), numbers.iter().sum::<i64>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: i64, month: usize, day: i64) -> Date {
        Date { month: Month { year, index: month - 1 }, day }
    }

    #[test]
    fn a_later_day_is_found_by_months_and_by_the_year() {
        let (from, days) = (date(2023, 1, 20), 45);
        let by_months =
            ["20 + 45 = 65", "January 2023 has 31 days: 65 - 31 = 34", "February 2023 has 28 days: 34 - 28 = 6"];
        assert_eq!(later_by_months(from, days), by_months);
        let by_year = ["20 January is day 20", "20 + 45 = 65", "before March 2023: 31 + 28 = 59", "65 - 59 = 6"];
        assert_eq!(later_by_year(from, days, from.after(days)), by_year);
        let from = date(2024, 12, 20);
        let by_year = [
            "20 December is day 355: 31 + 29 + 31 + 30 + 31 + 30 + 31 + 31 + 30 + 31 + 30 + 20 = 355",
            "355 + 20 = 375",
            "2024 has 366 days: 375 - 366 = 9",
        ];
        assert_eq!(later_by_year(from, 20, from.after(20)), by_year);
    }

    #[test]
    fn days_between_are_counted_by_months_and_by_the_year() {
        let (from, to) = (date(2024, 3, 3), date(2024, 5, 17));
        let by_months = ["left of March 2024: 31 - 3 = 28", "April 2024: 28 + 30 = 58", "May 2024: 58 + 17 = 75"];
        assert_eq!(between_by_months(from, to), by_months);
        let by_year =
            ["3 March is day 63: 31 + 29 + 3 = 63", "17 May is day 138: 31 + 29 + 31 + 30 + 17 = 138", "138 - 63 = 75"];
        assert_eq!(between_by_year(from, to), by_year);
        let (from, to) = (date(2023, 12, 30), date(2024, 1, 2));
        let by_months = ["left of December 2023: 31 - 30 = 1", "January 2024: 1 + 2 = 3"];
        assert_eq!(between_by_months(from, to), by_months);
        let by_year = between_by_year(from, to);
        assert_eq!(by_year[2..], ["2023 has 365 days: 365 + 2 = 367", "367 - 364 = 3"]);
        assert_eq!(between_by_months(date(2024, 5, 1), date(2024, 5, 17)), ["17 - 1 = 16"]);
    }
}
