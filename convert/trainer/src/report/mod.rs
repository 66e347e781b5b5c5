//! Pictures and intervals.

pub mod curves;
pub mod history;
pub mod plot;
pub mod statistics;
