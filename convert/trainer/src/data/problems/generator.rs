//! Draws problems that differ from each other.

use std::collections::HashSet;

use serde::Serialize;

use crate::data::problems::kind::Kind;
use crate::data::problems::sizes::{Sizes, Span};
use crate::data::problems::way::{Way, WayMix};
use crate::data::rng::Rng;
use crate::error::{Error, Result};

/// How often a problem is drawn again, until its question is a new one.
pub const TRIES: usize = 10_000;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ProblemRequest {
    /// What the problems are about.
    pub kind: Kind,
    /// Seed of every random choice.
    pub seed: u64,
    /// How often each way is taken; unless said, `once` half of the time, and the others the other
    /// half.
    pub ways: Option<WayMix>,
    /// How many numbers a problem has, where the kind leaves a choice.
    pub operands: Option<Span>,
    /// How many digits each number has, where the kind leaves a choice.
    pub digits: Option<Span>,
}

/// A problem with its answer; as JSON, a line of a data file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GeneratedProblem {
    /// What the user asks.
    pub question: String,
    /// What leads to the final answer, and `#### ` with it.
    pub answer: String,
    /// How it is answered.
    pub way: Way,
    /// What it is about.
    pub kind: Kind,
}

/// Generates the problems of a request.
#[derive(Debug)]
pub struct Generator {
    kind: Kind,
    seed: u64,
    ways: WayMix,
    sizes: Sizes,
}

impl Generator {
    /// Checks a request.
    ///
    /// # Errors
    /// [`Error::Setting`] for a way that the kind has not, a size out of its range, or one that has
    /// no effect.
    pub fn new(request: &ProblemRequest) -> Result<Self> {
        let &ProblemRequest { kind, seed, ref ways, operands, digits } = request;
        let sizes = kind.spec().sizes(operands, digits)?;
        let ways = ways.clone().unwrap_or_else(|| WayMix::of(kind.ways()));
        if let Some(way) = ways.ways().find(|way| !kind.ways().contains(way)) {
            let names: Vec<String> = kind.ways().iter().map(Way::to_string).collect();
            let reason = format!("{kind} is not answered by {way}: its ways are {}", names.join(", "));
            return Err(Error::Setting { name: "--ways", reason });
        }
        Ok(Self { kind, seed, ways, sizes })
    }

    /// So many problems, no two of the same question, and none with a question that is excluded.
    /// The first ones of more problems are the problems of fewer.
    ///
    /// # Errors
    /// [`Error::NoNewQuestion`] where [`TRIES`] draws in a row give no question that is new.
    pub fn problems(&self, count: usize, excluded: &HashSet<String>) -> Result<Vec<GeneratedProblem>> {
        let (questions, ways) = (format!("problems {}", self.kind), format!("problems {} ways", self.kind));
        let (mut seen, mut problems) = (HashSet::new(), Vec::new());
        for index in 0..count {
            let mut rng = Rng::stream(self.seed, &questions, index as u64);
            let mut draw = || {
                let drawn = (self.kind.spec().draw)(&self.sizes, &mut rng)?;
                (!excluded.contains(&drawn.question) && seen.insert(drawn.question.clone())).then_some(drawn)
            };
            let worked = (0..TRIES).find_map(|_| draw());
            let worked = worked.ok_or(Error::NoNewQuestion { found: index, wanted: count, tries: TRIES })?;
            let way = self.ways.draw(&mut Rng::stream(self.seed, &ways, index as u64));
            let answer = worked.answer(way);
            problems.push(GeneratedProblem { question: worked.question, answer, way, kind: self.kind });
        }
        Ok(problems)
    }
}

/// The text of a data file: one problem a line.
///
/// # Panics
/// Never: problems are text.
pub fn json_lines(problems: &[GeneratedProblem]) -> String {
    let line = |problem| serde_json::to_string(problem).expect("a problem is text") + "\n";
    problems.iter().map(line).collect()
}

/// How many problems are answered in each way that occurs.
pub fn tally(problems: &[GeneratedProblem]) -> Vec<(Way, usize)> {
    let count = |way| (way, problems.iter().filter(|problem| problem.way == way).count());
    Way::ALL.into_iter().map(count).filter(|(_, count)| *count > 0).collect()
}
