//! Problems that are generated: exact answers, in several ways of answering, with no data set at
//! hand.
//!
//! A question depends on kind, seed and its number alone; the way in which it is answered is drawn
//! apart. So another mix of ways has the same questions.

mod arithmetic;
mod calendar;
mod countdown;
mod dates;
mod generator;
mod kind;
mod sizes;
mod sort;
mod spec;
#[cfg(test)]
mod tests;
mod way;

pub use generator::{GeneratedProblem, Generator, ProblemRequest, TRIES, json_lines, tally};
pub use kind::{Kind, UnknownKind};
pub use sizes::{BadSpan, Span};
pub use way::{BadMix, UnknownWay, Way, WayMix};
