//! What settings may be, and how a setting that makes no sense is refused.

use crate::error::{Error, Result};

/// Nobody means more; products of three stay far from overflow.
pub const MAX_COUNT: usize = 1 << 20;

/// Refuses a setting unless the condition holds.
pub fn require(holds: bool, name: &'static str, reason: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Setting { name, reason: reason.into() }) }
}

/// Refuses counts of nothing, and those that nobody means.
pub fn require_counts(counts: &[(&'static str, usize)]) -> Result<()> {
    let good = |count| (1..=MAX_COUNT).contains(&count);
    counts.iter().try_for_each(|&(name, count)| require(good(count), name, "must be 1 to 1048576"))
}

/// Refuses numbers that are not above 0, or infinite.
pub fn require_positive(name: &'static str, value: f64) -> Result<()> {
    require(value > 0.0 && value.is_finite(), name, "must be above 0")
}
