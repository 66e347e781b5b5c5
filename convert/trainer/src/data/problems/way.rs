//! Ways of answering, and how often each is taken.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::data::rng::Rng;

/// How an answer gets to its number. Every kind of problem has `once`, `steps` and one way of its
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The number at once.
    Once,
    /// One operation a line.
    Steps,
    /// Arithmetic: by parts of hundreds, tens and ones, which are added up.
    Parts,
    /// Countdown: from the target back to a number that is there.
    Backwards,
    /// Sorting: each half by itself, then both merged.
    Halves,
    /// Dates: by days of the year.
    YearDay,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Once, Self::Steps, Self::Parts, Self::Backwards, Self::Halves, Self::YearDay];

    /// How it is written.
    const fn name(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Steps => "steps",
            Self::Parts => "parts",
            Self::Backwards => "backwards",
            Self::Halves => "halves",
            Self::YearDay => "yearday",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromStr for Way {
    type Err = UnknownWay;

    /// Reads the name of one of [`Way::ALL`].
    fn from_str(text: &str) -> Result<Self, UnknownWay> {
        Self::ALL.into_iter().find(|way| way.name() == text).ok_or_else(|| UnknownWay(text.to_owned()))
    }
}

/// A text that names no [`Way`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWay(pub String);

impl fmt::Display for UnknownWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no way of answering; there are {}", self.0, Way::ALL.map(Way::name).join(", "))
    }
}

impl std::error::Error for UnknownWay {}

/// Ways with their weights, written `once:2,steps:1,parts:1`; a way without a weight has 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayMix(Vec<(Way, u32)>);

impl WayMix {
    /// Half the weight for the first of these ways, the other half shared by the others.
    pub(super) fn of(ways: &[Way]) -> Self {
        let others = ways.len().saturating_sub(1).max(1) as u32;
        let weights = std::iter::once(others).chain(std::iter::repeat(1));
        Self(ways.iter().copied().zip(weights).collect())
    }

    /// The ways, in the order in which they were written.
    pub fn ways(&self) -> impl Iterator<Item = Way> + '_ {
        self.0.iter().map(|(way, _)| *way)
    }

    /// One of the ways, drawn by weight.
    pub(super) fn draw(&self, rng: &mut Rng) -> Way {
        let mut left = rng.below(self.0.iter().map(|(_, weight)| u64::from(*weight)).sum());
        let drawn = self.0.iter().find(|(_, weight)| {
            let weight = u64::from(*weight);
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        });
        drawn.map(|(way, _)| *way).expect("what is left is below the sum of all weights")
    }
}

impl fmt::Display for WayMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways: Vec<String> = self.0.iter().map(|(way, weight)| format!("{way}:{weight}")).collect();
        f.write_str(&ways.join(","))
    }
}

impl FromStr for WayMix {
    type Err = BadMix;

    fn from_str(text: &str) -> Result<Self, BadMix> {
        let mut ways = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once(':').unwrap_or((part, "1"));
            let way = name.trim().parse().map_err(BadMix::Way)?;
            let weight = weight.trim().parse().ok().filter(|weight| *weight > 0);
            let weight = weight.ok_or_else(|| BadMix::Weight(part.to_owned()))?;
            if ways.iter().any(|(other, _)| *other == way) {
                return Err(BadMix::Twice(way));
            }
            ways.push((way, weight));
        }
        Ok(Self(ways))
    }
}

/// A text that is no [`WayMix`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadMix {
    /// A name that is none.
    Way(UnknownWay),
    /// A weight that is no whole number from 1 to 4294967295.
    Weight(String),
    /// A way that is there twice.
    Twice(Way),
}

impl fmt::Display for BadMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Way(unknown) => unknown.fmt(f),
            Self::Weight(part) => {
                write!(f, "the weight of {part:?} must be a whole number from 1 to {}, as in once:2", u32::MAX)
            }
            Self::Twice(way) => write!(f, "{way} is there twice: give it one weight"),
        }
    }
}

impl std::error::Error for BadMix {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_read_as_it_is_written() {
        for way in Way::ALL {
            assert_eq!(way.to_string().parse(), Ok(way));
        }
        let unknown = "twice".parse::<Way>().unwrap_err().to_string();
        assert!(unknown.contains("\"twice\"") && unknown.contains("once, steps, parts"), "{unknown}");
    }

    #[test]
    fn a_mix_is_read_as_it_is_written() {
        for (text, written) in [
            ("once:2,steps:1,parts:1", "once:2,steps:1,parts:1"),
            ("steps", "steps:1"),
            ("parts, once : 3", "parts:1,once:3"),
        ] {
            let mix: WayMix = text.parse().unwrap();
            assert_eq!(mix.to_string(), written);
            assert_eq!(written.parse(), Ok(mix));
        }
        for (text, reason) in [
            ("", "no way"),
            ("once,", "no way"),
            ("onces:2", "no way"),
            ("once:0", "weight"),
            ("once:-1", "weight"),
            ("once:0.5", "weight"),
            ("once:4294967296", "weight"),
            ("once:1:1", "weight"),
            ("once:1,once:2", "twice"),
        ] {
            let refused = text.parse::<WayMix>().unwrap_err().to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn the_first_way_has_half_the_weight() {
        assert_eq!(WayMix::of(&[Way::Once, Way::Steps, Way::Parts]).to_string(), "once:2,steps:1,parts:1");
        assert_eq!(WayMix::of(&[Way::Once]).to_string(), "once:1");
    }

    #[test]
    fn ways_are_drawn_by_weight() {
        let mix: WayMix = "once:1,parts:3,steps:4294967295".parse().unwrap();
        let draws = (0..1000).map(|i| mix.draw(&mut Rng::stream(0, "ways", i)));
        assert!(draws.filter(|way| *way == Way::Steps).count() > 990);
        let mix: WayMix = "once:1,parts:3".parse().unwrap();
        let draws = (0..4000).map(|i| mix.draw(&mut Rng::stream(0, "ways", i)));
        let once = draws.filter(|way| *way == Way::Once).count();
        // Four standard deviations.
        assert!((890..=1110).contains(&once), "{once}");
    }
}
