//! `accuracy`: how often the deployed model's final answer is right, in every way to deploy it.
//!
//! Tokens of a held latent are greedy, so an answer is a function of problem and latent. One table
//! of the answers of all K latents therefore says what every way to hold a latent gives: a fixed
//! one, the policy's, draws from it, the best one.

mod against;
mod grades;
mod row;

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::features::segments::Hold;
use crate::plugin::deploy;
use crate::plugin::file::Loaded;
use crate::plugin::nets::names;
use crate::rollout::engine::{Answer, LatentPlan, Plan};
use crate::rollout::library::Library;

pub use against::{PairedComparison, RowRewards};
pub use grades::{Grade, LatentTable, Progress, Questions, Reward, argmax, average};
pub use row::{AccuracyRow, Scoring, held_row};

/// What is compared.
pub struct ComparedSystems<'a> {
    /// Answers of the backbone.
    pub library: Library<'a>,
    /// Answers of the backbone with `LoRA` adapters merged into it.
    pub lora: Option<Library<'a>>,
    /// Options, and the policy that imitates.
    pub plugin: Loaded,
    /// The plugin of one option.
    pub control: Loaded,
    /// The same options with a policy from reinforcement learning.
    pub rl: Option<Loaded>,
    /// Other plugins, with the names of their rows.
    pub others: Vec<(String, Loaded)>,
}

/// How the comparison is made.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Draws for each problem, where there are several.
    pub samples: usize,
    /// Temperatures of the draws of tokens.
    pub temperatures: Vec<f32>,
    /// Tokens of an answer at most.
    pub tokens: usize,
    /// How long policies that choose more than once an answer hold a latent; `Answer` leaves those
    /// rows out.
    pub held: Hold,
    /// The row with which the others are compared: `control, greedy` if none is named.
    pub against: Option<String>,
    /// What an answer is worth, by which rows are compared.
    pub reward: Reward,
    /// Seed of every random choice.
    pub seed: u64,
}

/// What problems were used for before they are answered for a table. Those that chose something are
/// validation problems, and flatter what they chose; held-out problems chose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemUse {
    /// They chose nothing.
    HeldOut,
    /// They chose the step whose policy was kept.
    ChoseStep,
    /// Some of them chose the best fixed latent.
    ChoseLatent,
    /// The policy learned from them.
    Trained,
}

impl ProblemUse {
    fn kind(self) -> &'static str {
        match self {
            Self::HeldOut => "held-out",
            Self::ChoseStep | Self::ChoseLatent => "validation",
            Self::Trained => "training",
        }
    }

    fn note(self) -> Option<&'static str> {
        match self {
            Self::HeldOut => None,
            Self::ChoseStep => Some("these problems chose the step: take held-out ones to say how good it is"),
            Self::ChoseLatent => Some("some of these problems chose the best fixed latent, which they flatter"),
            Self::Trained => Some("the policy learned from these problems"),
        }
    }
}

/// The row with which others are compared where none is named.
const REFERENCE: &str = "control, greedy";

/// What comes out.
#[derive(Debug, Serialize)]
pub struct AccuracyReport {
    /// Problems answered.
    pub problems: usize,
    /// What they were used for before.
    pub used: ProblemUse,
    /// Problems on which the best fixed latent was chosen, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_problems: Option<usize>,
    /// The rows.
    pub rows: Vec<AccuracyRow>,
}

impl AccuracyReport {
    /// The report, each row compared with the one of that name, which is left as it is.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is no such row: it names those that there are.
    pub fn against(mut self, name: &str, seed: u64) -> Result<Self> {
        check_row(name, self.rows.iter().map(|row| row.name.as_str()))?;
        let (reference, others): (Vec<_>, Vec<_>) = self.rows.iter_mut().partition(|row| row.name == name);
        if let Some(reference) = reference.first() {
            for row in others {
                row.against = PairedComparison::new(&row.earned, &reference.name, &reference.earned, seed);
            }
        }
        for row in reference {
            row.against = None;
        }
        Ok(self)
    }
}

/// Refuses the name of a row to compare with that is not among `rows`.
pub fn check_row<'r>(name: &str, rows: impl IntoIterator<Item = &'r str> + Clone) -> Result<()> {
    if rows.clone().into_iter().any(|row| row == name) {
        return Ok(());
    }
    let rows: Vec<String> = rows.into_iter().map(|row| format!("\n  {row}")).collect();
    let reason = format!("there is no row {name:?}. The rows are{}", rows.concat());
    Err(Error::Setting { name: "--against", reason })
}

/// Answers the test problems in every way, and compares. `progress` is told the row that is worked
/// on, and each problem answered.
///
/// # Errors
/// [`Error::Setting`] if the row to compare with is not there, after all is answered: `library` has
/// the answers by then.
pub fn compare(
    systems: &ComparedSystems<'_>,
    test: &Questions<'_>,
    train: &Questions<'_>,
    comparison: &Comparison,
    progress: &dyn Progress,
) -> Result<AccuracyReport> {
    let mut comparer = Comparer { systems, test, train, comparison, progress, rows: Vec::new() };
    comparer.baselines()?;
    comparer.latents()?;
    comparer.check_names()?;
    let used = if share_problems(test, train) { ProblemUse::ChoseLatent } else { ProblemUse::HeldOut };
    let (problems, train_problems) = (test.gold.len(), Some(train.gold.len()));
    let report = AccuracyReport { problems, used, train_problems, rows: comparer.rows };
    report.against(comparison.against.as_deref().unwrap_or(REFERENCE), comparison.seed)
}

/// Whether a question is among both.
fn share_problems(one: &Questions<'_>, other: &Questions<'_>) -> bool {
    let asked: HashSet<&str> = one.asked().collect();
    other.asked().any(|question| asked.contains(question))
}

struct Comparer<'c, 'a> {
    systems: &'c ComparedSystems<'a>,
    test: &'c Questions<'c>,
    train: &'c Questions<'c>,
    comparison: &'c Comparison,
    progress: &'c dyn Progress,
    rows: Vec<AccuracyRow>,
}

impl<'a> Comparer<'_, 'a> {
    fn plan(&self, latents: LatentPlan, held: Hold, temperature: f32) -> Plan {
        let &Comparison { samples, tokens, seed, .. } = self.comparison;
        let samples = match latents {
            LatentPlan::Enumerated => self.systems.plugin.spec.options,
            LatentPlan::Sampled(_) => samples,
            _ if temperature > 0.0 => samples,
            _ => 1,
        };
        Plan { latents, held, temperature, samples, tokens, states: latents == LatentPlan::Enumerated, seed }
    }

    fn answers(
        &self,
        name: &str,
        library: &Library<'a>,
        plugin: Option<&Loaded>,
        plan: &Plan,
        questions: &Questions<'_>,
    ) -> Result<Vec<Vec<Answer>>> {
        let problems = questions.gold.len();
        self.progress.row(name, problems);
        library.answers(plugin, plan, questions.corpus, problems, &|| self.progress.problem())
    }

    /// A row whose answers are made for it.
    fn row(&mut self, name: &str, library: &Library<'a>, plugin: Option<&Loaded>, plan: &Plan) -> Result<()> {
        let grades = self.test.grade(&self.answers(name, library, plugin, plan, self.test)?)?;
        self.push(name, &references(&grades));
        Ok(())
    }

    /// Refuses a second row of one name: nobody could tell them apart.
    fn check_names(&self) -> Result<()> {
        let mut names = HashSet::new();
        match self.rows.iter().find(|row| !names.insert(row.name.as_str())) {
            Some(row) => {
                let reason = format!("there is a row {:?} already: give it another name", row.name);
                Err(Error::Setting { name: "--also", reason })
            }
            None => Ok(()),
        }
    }

    fn push(&mut self, name: &str, grades: &[Vec<&Grade>]) {
        self.rows.push(AccuracyRow::new(name, grades, self.scoring()));
    }

    fn scoring(&self) -> Scoring {
        Scoring { reward: self.comparison.reward, seed: self.comparison.seed }
    }

    /// What there is without options.
    fn baselines(&mut self) -> Result<()> {
        let systems = self.systems;
        let greedy = |latents| self.plan(latents, Hold::All, 0.0);
        let (backbone, control) = (greedy(LatentPlan::Backbone), greedy(LatentPlan::Fixed(0)));
        self.row("backbone, greedy", &systems.library, None, &backbone)?;
        if let Some(lora) = &systems.lora {
            self.tempered("LoRA", lora, None, &backbone)?;
        }
        self.tempered("control", &systems.library, Some(&systems.control), &control)
    }

    /// A row of greedy tokens, and one for each temperature.
    fn tempered(&mut self, name: &str, library: &Library<'a>, plugin: Option<&Loaded>, greedy: &Plan) -> Result<()> {
        self.row(&format!("{name}, greedy"), library, plugin, greedy)?;
        for &temperature in &self.comparison.temperatures {
            let plan = self.plan(greedy.latents, greedy.held, temperature);
            self.row(&format!("{name}, T = {temperature}"), library, plugin, &plan)?;
        }
        Ok(())
    }

    /// What options give.
    fn latents(&mut self) -> Result<()> {
        let ComparedSystems { library, plugin, rl, .. } = self.systems;
        let token = |latents| self.plan(latents, Hold::Token, 0.0);
        let (policy, mixture) = (token(LatentPlan::Policy), token(LatentPlan::Mixture));
        self.row("policy, each token", library, Some(plugin), &policy)?;
        self.row("mixture", library, Some(plugin), &mixture)?;
        let table = self.table(plugin, "held latents", self.test)?;
        let train = self.table(plugin, "held latents, train", self.train)?;
        self.fixed(&table, &train);
        self.held("policy", plugin, &table)?;
        self.push("all latents, held", &table.all());
        let best: Vec<usize> =
            table.grades.iter().map(|grades| grades.iter().position(Grade::is_right).unwrap_or(0)).collect();
        self.push("optimal latent (oracle)", &table.pick(best));
        let random = deploy::random_deltas(plugin, self.comparison.seed)?;
        let random = self.table(&random, "random deltas, held", self.test)?;
        self.push("random deltas, held", &random.all());
        self.rechosen("policy", plugin)?;
        self.votes(&table.all())?;
        if let Some(rl) = rl {
            check_decoders(plugin, rl)?;
            self.held("RL policy", rl, &table)?;
            let average = average(&train.policy(rl)?);
            let samples = self.comparison.samples;
            let draws = table.draw(&vec![average; table.grades.len()], samples, self.comparison.seed);
            self.push("RL policy, averaged over states, drawn", &draws);
            self.rechosen("RL policy", rl)?;
        }
        for (name, other) in &self.systems.others {
            if check_decoders(plugin, other).is_ok() && other.spec.hold == Hold::All {
                self.rows.push(held_row(name, &table, other, self.scoring())?);
            } else {
                self.row(name, library, Some(other), &self.plan(LatentPlan::Policy, other.spec.hold, 0.0))?;
            }
        }
        Ok(())
    }

    /// Votes of all latents, and of as many draws of the control as have their tokens.
    fn votes(&mut self, latents: &[Vec<&Grade>]) -> Result<()> {
        let ComparedSystems { library, control, .. } = self.systems;
        self.rows.push(AccuracyRow::vote("all latents, vote", latents, self.scoring()));
        for &temperature in self.comparison.temperatures.iter().filter(|temperature| **temperature > 0.0) {
            let name = format!("control, T = {temperature}, vote at equal tokens");
            let plan = self.plan(LatentPlan::Fixed(0), Hold::All, temperature);
            let drawn = |samples| {
                let answers = self.answers(&name, library, Some(control), &Plan { samples, ..plan }, self.test)?;
                self.test.grade(&answers)
            };
            let answered = tokens(&references(&drawn(plan.samples)?)) / plan.samples as f64;
            let samples = (tokens(latents) / answered.max(1.0)).ceil().max(1.0) as usize;
            let grades = drawn(samples)?;
            self.rows.push(AccuracyRow::vote(name, &references(&grades), self.scoring()));
        }
        Ok(())
    }

    /// The answers of all held latents.
    fn table(&self, plugin: &Loaded, name: &str, questions: &Questions<'_>) -> Result<LatentTable> {
        let Comparison { tokens, seed, .. } = *self.comparison;
        LatentTable::held(&self.systems.library, plugin, questions, tokens, seed, name, self.progress)
    }

    fn fixed(&mut self, table: &LatentTable, train: &LatentTable) {
        for latent in 0..self.systems.plugin.spec.options {
            self.push(&format!("latent {latent}"), &table.pick(std::iter::repeat(latent)));
        }
        let best = argmax(&train.accuracies());
        self.push(&format!("latent {best}, the best on train"), &table.pick(std::iter::repeat(best)));
    }

    /// A policy that is asked once an answer.
    fn held(&mut self, name: &str, plugin: &Loaded, table: &LatentTable) -> Result<()> {
        let Comparison { seed, samples, .. } = *self.comparison;
        self.rows.push(held_row(&format!("{name}, held"), table, plugin, self.scoring())?);
        let draws = table.draw(&table.policy(plugin)?, samples, seed);
        self.push(&format!("{name}, held, drawn"), &draws);
        Ok(())
    }

    /// A policy that is asked more often.
    fn rechosen(&mut self, name: &str, plugin: &Loaded) -> Result<()> {
        let held = match self.comparison.held {
            Hold::All => return Ok(()),
            Hold::Line => "each line".to_owned(),
            Hold::Token => "each token".to_owned(),
            Hold::Tokens(count) => format!("every {count} tokens"),
        };
        let plan = |latents| self.plan(latents, self.comparison.held, 0.0);
        let (best, drawn) = (plan(LatentPlan::Policy), plan(LatentPlan::Sampled(1.0)));
        // The policy of each token has its row already.
        if self.rows.iter().all(|row| row.name != format!("{name}, {held}")) {
            self.row(&format!("{name}, {held}"), &self.systems.library, Some(plugin), &best)?;
        }
        self.row(&format!("{name}, {held}, drawn"), &self.systems.library, Some(plugin), &drawn)
    }
}

fn references(grades: &[Vec<Grade>]) -> Vec<Vec<&Grade>> {
    grades.iter().map(|grades| grades.iter().collect()).collect()
}

/// Tokens of all answers to a problem: the mean.
fn tokens(grades: &[Vec<&Grade>]) -> f64 {
    grades.iter().flatten().map(|grade| grade.tokens as f64).sum::<f64>() / grades.len() as f64
}

/// That two plugins have the same options.
pub fn check_decoders(one: &Loaded, other: &Loaded) -> Result<()> {
    let same = one.spec.options == other.spec.options
        && deploy::hash(one, names::DECODER)? == deploy::hash(other, names::DECODER)?;
    let reason = "its options are not those of --plugin: only the policy may differ".to_owned();
    if same { Ok(()) } else { Err(Error::Setting { name: "--rl", reason }) }
}

impl fmt::Display for AccuracyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} problems", self.problems, self.used.kind())?;
        if let Some(problems) = self.train_problems {
            write!(f, "; the best fixed latent is that of {problems} validation problems")?;
        }
        writeln!(f, "\n")?;
        row::head(f)?;
        self.rows.iter().try_for_each(|row| row.fmt(f))?;
        let references: BTreeSet<&str> = self.rows.iter().filter_map(|row| Some(&*row.against.as_ref()?.row)).collect();
        if !references.is_empty() {
            let references: Vec<String> = references.iter().map(|name| format!("{name:?}")).collect();
            writeln!(f, "\nagainst {}: difference (problems better/worse), p", references.join(" or "))?;
        }
        let undecided = self.rows.iter().map(|row| row.undecided).fold(0.0, f64::max);
        if undecided > 0.0 {
            let percent = 100.0 * undecided;
            writeln!(f, "up to {percent:.1} % of a row's final answers cannot be compared: they count as wrong")?;
        }
        self.used.note().map_or(Ok(()), |note| writeln!(f, "{note}"))
    }
}

#[cfg(test)]
mod tests;
