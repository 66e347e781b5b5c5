//! The kinds of problems.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::data::problems::spec::KindSpec;
use crate::data::problems::way::Way;
use crate::data::problems::{arithmetic, countdown, dates, sort};

/// What a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sums and differences: `What is 367 + 914 - 517?`
    Arithmetic,
    /// The number that is not needed to make a target of the others.
    Countdown,
    /// The number at a place of the sorted order.
    Sort,
    /// The day of the month after some days, or the days between two dates.
    Dates,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Arithmetic, Self::Countdown, Self::Sort, Self::Dates];

    /// How it may be answered.
    pub fn ways(self) -> &'static [Way] {
        self.spec().ways
    }

    pub(super) fn spec(self) -> &'static KindSpec {
        match self {
            Self::Arithmetic => &arithmetic::ARITHMETIC,
            Self::Countdown => &countdown::COUNTDOWN,
            Self::Sort => &sort::SORT,
            Self::Dates => &dates::DATES,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec().name)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.spec().name)
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Reads the name of one of [`Kind::ALL`].
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.spec().name == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A text that names no [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKind(pub String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Kind::ALL.map(|kind| kind.spec().name).join(", ");
        write!(f, "{:?} is no kind of problem; there are {names}", self.0)
    }
}

impl std::error::Error for UnknownKind {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let unknown = "algebra".parse::<Kind>().unwrap_err().to_string();
        assert!(unknown.contains("arithmetic, countdown, sort, dates"), "{unknown}");
    }

    #[test]
    fn each_kind_has_three_ways_and_once_is_the_first() {
        for kind in Kind::ALL {
            assert!(kind.ways().len() >= 3 && kind.ways()[..2] == [Way::Once, Way::Steps], "{kind}");
        }
    }
}
