//! A row of the table: one way to deploy, and how often its answers are right.

use std::fmt;

use serde::Serialize;

use super::against::{PairedComparison, RowRewards};
use super::grades::{Grade, LatentTable, Reward, argmax};
use crate::error::Result;
use crate::eval::answer_rule::FinalAnswer;
use crate::plugin::file::Loaded;
use crate::report::statistics::Interval;

/// How rows are scored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scoring {
    /// What an answer is worth, by which rows are compared.
    pub reward: Reward,
    /// Seed of the bootstraps.
    pub seed: u64,
}

/// One way to deploy.
#[derive(Debug, Serialize)]
pub struct AccuracyRow {
    /// Its name.
    pub name: String,
    /// Answers to each problem.
    pub samples: usize,
    /// How often an answer is right: the mean over answers.
    pub accuracy: Interval,
    /// What an answer is worth, where tokens have a price: the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
    /// How often one of several answers is right.
    pub pass: Option<Interval>,
    /// How often the most frequent of several final answers is right.
    pub majority: Option<Interval>,
    /// Different final answers to a problem.
    pub distinct: Option<f64>,
    /// Tokens of an answer; of a vote, those of all answers that vote.
    pub tokens: f64,
    /// Share of answers that the limit of tokens, or of the context, cut.
    pub cut: f64,
    /// Share of answers that repeat themselves.
    pub repetition: f64,
    /// Share of answers that switch the language.
    pub switch: f64,
    /// Share of letters of a script that is neither Latin nor the question's.
    pub foreign: f64,
    /// Share of answers without a final answer.
    pub missing: f64,
    /// Share of answers whose final answer nobody can compare: expressions with variables, say.
    /// They count as wrong.
    pub undecided: f64,
    /// Share of answers with any of it: they repeat themselves, switch the language, have no
    /// final answer, or more than a tenth of foreign letters. What is cut is not counted.
    pub degenerate: f64,
    /// How it differs from the row that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<PairedComparison>,
    /// What it earns with each problem.
    #[serde(skip)]
    pub earned: RowRewards,
}

impl AccuracyRow {
    /// A row of the same number of answers to each problem.
    pub fn new(name: impl Into<String>, grades: &[Vec<&Grade>], scoring: Scoring) -> Self {
        let Scoring { reward, seed } = scoring;
        let samples = grades.first().map_or(0, Vec::len);
        let all = || grades.iter().flatten().copied();
        let mean = |value: &dyn Fn(&Grade) -> f64| all().map(value).sum::<f64>() / all().count().max(1) as f64;
        let share = |value: &dyn Fn(&Grade) -> bool| mean(&|grade| f64::from(u8::from(value(grade))));
        let any: Vec<bool> = grades.iter().map(|answers| answers.iter().any(|grade| grade.is_right())).collect();
        let right =
            |answers: &Vec<&Grade>| answers.iter().filter(|grade| grade.is_right()).count() as f64 / samples as f64;
        let shares: Vec<f64> = grades.iter().map(right).collect();
        let several = |value: &dyn Fn(&[&Grade]) -> bool| {
            let of_each: Vec<bool> = grades.iter().map(|answers| value(answers)).collect();
            (samples > 1).then(|| Interval::wilson(&of_each))
        };
        let worth = |answers: &Vec<&Grade>| {
            answers.iter().map(|grade| reward.of(grade.score, grade.tokens)).sum::<f64>() / samples as f64
        };
        let whole = all().all(|grade| grade.score.fract().abs() < 1e-12);
        let earned = RowRewards::new(grades.iter().map(worth).collect(), samples == 1 && reward.is_right() && whole);
        let distinct = || grades.iter().map(|answers| distinct(answers)).sum::<usize>() as f64 / grades.len() as f64;
        Self {
            name: name.into(),
            samples,
            accuracy: match samples {
                1 => Interval::wilson(&any),
                _ => Interval::bootstrap(&shares, seed),
            },
            reward: (!reward.is_right()).then(|| earned.mean()),
            pass: several(&|answers| answers.iter().any(|grade| grade.is_right())),
            majority: several(&|answers| majority(answers).is_some_and(Grade::is_right)),
            distinct: (samples > 1).then(distinct),
            tokens: mean(&|grade| grade.tokens as f64),
            cut: share(&|grade| !grade.finished),
            repetition: share(&|grade| grade.flaws.repetition),
            switch: share(&|grade| grade.flaws.switch),
            foreign: mean(&|grade| grade.flaws.foreign),
            missing: share(&|grade| grade.flaws.missing),
            undecided: share(&Grade::is_undecided),
            degenerate: share(&|grade| grade.flaws.is_degenerate()),
            against: None,
            earned,
        }
    }

    /// A row of the most frequent final answers. The tokens are those of all that vote.
    pub fn vote(name: impl Into<String>, grades: &[Vec<&Grade>], scoring: Scoring) -> Self {
        let winner = |answers: &Vec<&Grade>| {
            let winner = majority(answers).or_else(|| answers.first().copied())?;
            Some(Grade { tokens: answers.iter().map(|grade| grade.tokens).sum(), ..winner.clone() })
        };
        let winners: Vec<Grade> = grades.iter().filter_map(winner).collect();
        let row = Self::new(name, &winners.iter().map(|winner| vec![winner]).collect::<Vec<_>>(), scoring);
        Self { samples: grades.first().map_or(0, Vec::len), ..row }
    }

    /// The row, compared with another one of the same problems.
    #[must_use]
    pub fn compared(self, reference: &Self, seed: u64) -> Self {
        let against = PairedComparison::new(&self.earned, &reference.name, &reference.earned, seed);
        Self { against, ..self }
    }
}

/// One with the most frequent final answer; of several, the one that came first. None where no
/// answer has a number.
fn majority<'g>(answers: &[&'g Grade]) -> Option<&'g Grade> {
    let votes = |grade: &Grade| answers.iter().filter(|other| other.answer == grade.answer).count();
    let with_number = answers.iter().copied().filter(|grade| grade.answer.is_some());
    // Of equal ones `max_by_key` takes the last.
    with_number.rev().max_by_key(|grade| votes(grade))
}

fn distinct(answers: &[&Grade]) -> usize {
    let found: Vec<&FinalAnswer> = answers.iter().filter_map(|grade| grade.answer.as_ref()).collect();
    found.iter().enumerate().filter(|(i, answer)| !found[..*i].contains(answer)).count()
}

/// The row of the latents that the policy of `plugin` finds most probable, held.
pub fn held_row(name: &str, table: &LatentTable, plugin: &Loaded, scoring: Scoring) -> Result<AccuracyRow> {
    let policy = table.policy(plugin)?;
    let grades = table.pick(policy.iter().map(|row| argmax(row)));
    Ok(AccuracyRow::new(name, &grades, scoring))
}

/// The names of the columns of rows that are printed.
pub(super) fn head(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "{:<40} {:>2}  {:<20} {:>6} {:<24} {:<20} {:<20} {:>8} {:>6} {:>5} {:>6} {:>6} {:>6} {:>5} {:>6}",
        "",
        "n",
        "accuracy",
        "reward",
        "against",
        "pass@n",
        "majority",
        "distinct",
        "tokens",
        "cut",
        "repeat",
        "switch",
        "script",
        "none",
        "degen."
    )
}

impl fmt::Display for AccuracyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = |i: Interval| format!("{:.3} ({:.3}-{:.3})", i.mean, i.low, i.high);
        let several = |i: Option<Interval>| i.map_or(String::new(), interval);
        let distinct = self.distinct.map_or(String::new(), |distinct| format!("{distinct:.2}"));
        writeln!(
            f,
            "{:<40} {:>2}  {:<20} {:>6} {:<24} {:<20} {:<20} {:>8} {:>6.0} {:>5.2} {:>6.2} {:>6.2} {:>6.3} {:>5.2} {:>6.2}",
            self.name,
            self.samples,
            interval(self.accuracy),
            self.reward.map_or(String::new(), |reward| format!("{reward:.3}")),
            self.against.as_ref().map_or(String::new(), PairedComparison::to_string),
            several(self.pass),
            several(self.majority),
            distinct,
            self.tokens,
            self.cut,
            self.repetition,
            self.switch,
            self.foreign,
            self.missing,
            self.degenerate,
        )
    }
}
