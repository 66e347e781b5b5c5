//! Pictures and intervals.

pub mod history;
pub mod plot;
pub mod statistics;
