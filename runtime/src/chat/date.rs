//! A moment in time, as `strftime` writes it.

use std::fmt::Write as _;

const MONTHS: [&str; 12] = [
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
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A day of the Gregorian calendar and a time of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    year: u32,
    /// From 1.
    month: u32,
    /// From 1.
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Date {
    /// `2026-11-30`, or `2026-11-30T08:15:00`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
        let month_is_one = (1..=12).contains(&month);
        let valid = month_is_one && (1..=days_in(year, month)).contains(&day) && hour < 24 && minute < 60;
        (valid && second < 60).then_some(Self { year, month, day, hour, minute, second })
    }

    /// Python's `strftime`, in the C locale.
    pub(super) fn format(self, format: &str) -> String {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let bare = chars.as_str().starts_with('-');
            let code = if bare { chars.nth(1) } else { chars.next() };
            self.field(code, bare, &mut out);
        }
        out
    }

    /// One field; what is none is written as it is. With `bare` a number has no zeros before it.
    fn field(self, code: Option<char>, bare: bool, out: &mut String) {
        let month = MONTHS[self.month as usize - 1];
        let day = DAYS[self.weekday()];
        let hour = if self.hour.is_multiple_of(12) { 12 } else { self.hour % 12 };
        // With a blank before it. Writing to a string cannot fail.
        let mut blank = |number: u32| {
            let _ = write!(out, "{number:2}");
        };
        let (number, width) = match code {
            Some('d') => (self.day, 2),
            Some('m') => (self.month, 2),
            Some('Y') => (self.year, 4),
            Some('y') => (self.year % 100, 2),
            Some('H') => (self.hour, 2),
            Some('I') => (hour, 2),
            Some('M') => (self.minute, 2),
            Some('S') => (self.second, 2),
            Some('j') => (self.day_of_year(), 3),
            Some('B') => return out.push_str(month),
            Some('b' | 'h') => return out.push_str(&month[..3]),
            Some('A') => return out.push_str(day),
            Some('a') => return out.push_str(&day[..3]),
            Some('p') => return out.push_str(if self.hour < 12 { "AM" } else { "PM" }),
            Some('F') => return out.push_str(&self.format("%Y-%m-%d")),
            Some('T' | 'X') => return out.push_str(&self.format("%H:%M:%S")),
            Some('D' | 'x') => return out.push_str(&self.format("%m/%d/%y")),
            Some('R') => return out.push_str(&self.format("%H:%M")),
            Some('r') => return out.push_str(&self.format("%I:%M:%S %p")),
            Some('c') => return out.push_str(&self.format("%a %b %e %H:%M:%S %Y")),
            Some('n') => return out.push('\n'),
            Some('t') => return out.push('\t'),
            Some('e') => return blank(self.day),
            Some('k') => return blank(self.hour),
            Some('l') => return blank(hour),
            Some('s') => return out.push_str(&self.seconds().to_string()),
            Some('P') => return out.push_str(if self.hour < 12 { "am" } else { "pm" }),
            // A moment has whole seconds and no zone, as `datetime.now()` has none.
            Some('f') => return out.push_str("000000"),
            Some('Z' | 'z') => return,
            Some('V') => (self.iso_week().1, 2),
            Some('G') => (self.iso_week().0, 4),
            Some('C') => (self.year / 100, 2),
            Some('u') => (if self.weekday() == 0 { 7 } else { self.weekday() as u32 }, 1),
            Some('w') => (self.weekday() as u32, 1),
            Some('U') => ((self.day_of_year() + 6 - self.weekday() as u32) / 7, 2),
            Some('W') => ((self.day_of_year() + 6 - (self.weekday() as u32 + 6) % 7) / 7, 2),
            Some('%') => return out.push('%'),
            code => return out.extend(['%'].into_iter().chain(bare.then_some('-')).chain(code)),
        };
        let width = if bare { 0 } else { width };
        // Writing to a string cannot fail.
        let _ = write!(out, "{number:0width$}");
    }

    fn day_of_year(self) -> u32 {
        (1..self.month).map(|month| days_in(self.year, month)).sum::<u32>() + self.day
    }

    /// Year and week of ISO 8601, whose weeks begin on Monday: that of a year's first Thursday is
    /// 1.
    fn iso_week(self) -> (u32, u32) {
        let week = (self.day_of_year() + 9 - (self.weekday() as u32 + 6) % 7) / 7;
        match week {
            0 => (self.year.saturating_sub(1), weeks_in(self.year.saturating_sub(1))),
            week if week > weeks_in(self.year) => (self.year + 1, 1),
            week => (self.year, week),
        }
    }

    /// 0 is Sunday. Day 1 of year 1 was a Monday.
    fn weekday(self) -> usize {
        (self.ordinal() % 7) as usize
    }

    /// The number of the day, from day 1 of year 1.
    fn ordinal(self) -> u32 {
        let years = self.year.saturating_sub(1);
        years * 365 + years / 4 - years / 100 + years / 400 + self.day_of_year()
    }

    /// Seconds since 1970, in UTC.
    fn seconds(self) -> i64 {
        const DAY_OF_1970: i64 = 719_163;
        let days = i64::from(self.ordinal()) - DAY_OF_1970;
        ((days * 24 + i64::from(self.hour)) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second)
    }
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u32; 3]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let parts = <[&str; 3]>::try_from(parts).ok()?;
    let number = |text: &str, width| {
        let plain = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
        if plain { text.parse().ok() } else { None }
    };
    let [a, b, c] = [0, 1, 2].map(|i| number(parts[i], widths[i]));
    Some([a?, b?, c?])
}

/// Weeks of ISO 8601: 53 if the year ends on a Thursday, or began on one.
fn weeks_in(year: u32) -> u32 {
    let last = |year: u32| (year + year / 4 - year / 100 + year / 400) % 7;
    52 + u32::from(last(year) == 4 || last(year.saturating_sub(1)) == 3)
}

fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python writes them.
    #[test]
    fn fields_are_those_of_python() {
        let date = Date::parse("2024-07-06T15:04:09").unwrap();
        assert_eq!(date.format("%d %b %Y|%A, %B %-d|%a %y %j"), "06 Jul 2024|Saturday, July 6|Sat 24 188");
        assert_eq!(date.format("%H:%M:%S %I %p|%F %T|%%|%-m|%q|%"), "15:04:09 03 PM|2024-07-06 15:04:09|%|7|%q|%");
        assert_eq!(Date::parse("2000-02-29").unwrap().format("%A %H %I %p"), "Tuesday 00 12 AM");
        let week = |day: &str| Date::parse(day).unwrap().format("%G-%V %U %W");
        assert_eq!(week("2021-01-03"), "2020-53 01 00");
        assert_eq!(week("2024-12-30"), "2025-01 52 53");
        assert_eq!(
            date.format("%e|%c|%D|%R|%r|%C%u%w%h"),
            " 6|Sat Jul  6 15:04:09 2024|07/06/24|15:04|03:04:09 PM|2066Jul"
        );
        assert_eq!(date.format("%k|%l|%P|%f|%Z|%z|%s"), "15| 3|pm|000000|||1720278249");
        assert_eq!(Date::parse("1970-01-01 00:00:00").unwrap().format("%a %s"), "Thu 0");
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for bad in ["2023-02-29", "2024-13-01", "2024-00-10", "24-1-1", "2024-01-01T24:00:00", "", "2024-01-01T1"] {
            assert_eq!(Date::parse(bad), None, "{bad}");
        }
    }
}
