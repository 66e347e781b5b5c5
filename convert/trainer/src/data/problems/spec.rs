//! What a kind of problem is.

use crate::data::problems::sizes::{Sizes, Span};
use crate::data::problems::way::Way;
use crate::data::rng::Rng;
use crate::error::{Error, Result};

/// A size that may be chosen, and what it is unless chosen.
pub(super) struct SizeRule {
    pub(super) usual: Span,
    pub(super) allowed: Span,
}

/// A kind of problem: all that there is to say of it.
pub(super) struct KindSpec {
    pub(super) name: &'static str,
    /// How it may be answered: `once`, then the others.
    pub(super) ways: &'static [Way],
    /// How many numbers, where one may choose.
    pub(super) operands: Option<SizeRule>,
    /// How many digits, where one may choose.
    pub(super) digits: Option<SizeRule>,
    /// Draws a problem. None where what was drawn is no good problem.
    pub(super) draw: fn(&Sizes, &mut Rng) -> Option<Worked>,
}

/// A problem, worked out.
pub(super) struct Worked {
    pub(super) question: String,
    /// The exact final answer.
    pub(super) result: i64,
    /// The lines that lead to it, for every way but `once`.
    pub(super) lines: Vec<(Way, Vec<String>)>,
}

impl Worked {
    /// The answer in one of its ways.
    pub(super) fn answer(&self, way: Way) -> String {
        let lines = self.lines.iter().filter(|(other, _)| *other == way).flat_map(|(_, lines)| lines.clone());
        let lines: Vec<String> = lines.chain([format!("#### {}", self.result)]).collect();
        lines.join("\n")
    }
}

impl KindSpec {
    /// The sizes of problems, where those that are given override the usual ones.
    pub(super) fn sizes(&self, operands: Option<Span>, digits: Option<Span>) -> Result<Sizes> {
        Ok(Sizes {
            operands: self.size("--operands", self.operands.as_ref(), operands)?,
            digits: self.size("--digits", self.digits.as_ref(), digits)?,
        })
    }

    fn size(&self, name: &'static str, rule: Option<&SizeRule>, given: Option<Span>) -> Result<Span> {
        let refuse = |reason| Err(Error::Setting { name, reason });
        match (rule, given) {
            (None, Some(_)) => refuse(format!("has no effect on {}: leave it out", self.name)),
            (Some(rule), Some(given)) if !rule.allowed.holds(given) => {
                refuse(format!("{given} is not within {}, which {} may have", rule.allowed, self.name))
            }
            (Some(_), Some(given)) => Ok(given),
            (Some(rule), None) => Ok(rule.usual),
            // Of no effect.
            (None, None) => Ok(Span::new(1, 1)),
        }
    }
}
