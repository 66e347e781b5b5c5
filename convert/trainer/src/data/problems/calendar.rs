//! The Gregorian calendar: months and leap years.

use std::fmt;

pub(super) const MONTHS: [&str; 12] = [
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

/// A month of a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month {
    pub(super) year: i64,
    /// January is 0.
    pub(super) index: usize,
}

impl Month {
    pub(super) fn days(self) -> i64 {
        match self.index {
            1 => 28 + i64::from(is_leap(self.year)),
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        }
    }

    pub(super) fn next(self) -> Self {
        match self.index {
            11 => Self { year: self.year + 1, index: 0 },
            index => Self { index: index + 1, ..self },
        }
    }

    /// The days of each month of its year before it.
    pub(super) fn days_before(self) -> impl Iterator<Item = i64> {
        (0..self.index).map(move |index| Self { index, ..self }.days())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", MONTHS[self.index], self.year)
    }
}

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date {
    pub(super) month: Month,
    /// Of the month, from 1.
    pub(super) day: i64,
}

impl Date {
    /// The date some days later.
    pub(super) fn after(self, days: i64) -> Self {
        let Self { mut month, mut day } = self;
        day += days;
        while day > month.days() {
            day -= month.days();
            month = month.next();
        }
        Self { month, day }
    }

    /// The number of the day in its year, from 1.
    pub(super) fn day_of_year(self) -> i64 {
        self.month.days_before().sum::<i64>() + self.day
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.day, self.month)
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(super) fn days_of_year(year: i64) -> i64 {
    365 + i64::from(is_leap(year))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: i64, month: usize, day: i64) -> Date {
        Date { month: Month { year, index: month - 1 }, day }
    }

    #[test]
    fn known_dates_are_as_far_apart_as_they_are() {
        for (from, days, to) in [
            (date(1970, 1, 1), 10_957, date(2000, 1, 1)),
            (date(1970, 1, 1), 11_016, date(2000, 2, 29)),
            (date(1970, 1, 1), 19_723, date(2024, 1, 1)),
            (date(1900, 1, 1), 36_524, date(2000, 1, 1)),
            (date(1900, 2, 28), 1, date(1900, 3, 1)),
            (date(2000, 2, 28), 2, date(2000, 3, 1)),
            (date(1969, 7, 16), 8, date(1969, 7, 24)),
            (date(2023, 12, 31), 1, date(2024, 1, 1)),
        ] {
            assert_eq!(from.after(days), to, "{from} + {days}");
        }
    }

    #[test]
    fn a_year_has_its_days() {
        for (year, days) in [(1900, 365), (2000, 366), (2023, 365), (2024, 366), (2100, 365)] {
            assert_eq!(date(year, 12, 31).day_of_year(), days);
            assert_eq!(days_of_year(year), days);
        }
        assert_eq!(date(2024, 3, 1).day_of_year(), 61);
        assert_eq!(date(2024, 3, 1).to_string(), "1 March 2024");
    }
}
