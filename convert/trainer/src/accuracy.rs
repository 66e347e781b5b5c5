//! `accuracy`: how often the deployed model's final answer is right, in every way to deploy it.
//!
//! Tokens of a held latent are greedy, so an answer is a function of problem and latent. One table of the answers of all K
//! latents therefore says what every way to hold a latent gives: a fixed one, the policy's, draws from it, the best one.

use std::fmt;

use num_rational::BigRational;
use serde::Serialize;

use crate::answer::{self, Flaws};
use crate::data::Corpus;
use crate::deploy;
use crate::error::{Error, Result};
use crate::library::Library;
use crate::nets::{Policy, names};
use crate::plugin::Loaded;
use crate::rng::Rng;
use crate::rollout::{Answer, Latents, Plan};
use crate::segments::Hold;
use crate::statistics::Interval;

/// The first problems of a corpus, and their final answers.
pub struct Questions<'a> {
    /// The problems.
    pub corpus: &'a Corpus,
    /// The final answer of each.
    pub gold: Vec<BigRational>,
}

impl<'a> Questions<'a> {
    /// The first `limit` problems.
    ///
    /// # Errors
    /// [`Error::Line`] if the answer of one has no number.
    pub fn new(corpus: &'a Corpus, limit: Option<usize>) -> Result<Self> {
        let gold = |(index, problem): (usize, &crate::data::Problem)| {
            answer::extract(&problem.answer).ok_or_else(|| corpus.refuse(index, "the answer has no number"))
        };
        Ok(Self { corpus, gold: corpus.first(limit).iter().enumerate().map(gold).collect::<Result<_>>()? })
    }

    /// Grades the answers to each problem.
    pub fn grade(&self, answers: &[Vec<Answer>]) -> Vec<Vec<Grade>> {
        let grade =
            |(answers, gold): (&Vec<Answer>, _)| answers.iter().map(|answer| Grade::new(answer, gold)).collect();
        answers.iter().zip(&self.gold).map(grade).collect()
    }
}

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Grade {
    /// Its final answer.
    pub number: Option<BigRational>,
    /// Whether that is the right one.
    pub right: bool,
    /// What is wrong with it, apart from that.
    pub flaws: Flaws,
    /// Its tokens.
    pub tokens: usize,
    /// Whether the model ended it.
    pub finished: bool,
}

impl Grade {
    fn new(answer: &Answer, gold: &BigRational) -> Self {
        let number = answer::extract(&answer.text);
        Self {
            right: number.as_ref() == Some(gold),
            number,
            flaws: Flaws::of(&answer.text),
            tokens: answer.tokens,
            finished: answer.finished,
        }
    }
}

/// One way to deploy.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Answers to each problem.
    pub samples: usize,
    /// How often an answer is right: the mean over answers.
    pub accuracy: Interval,
    /// How often one of several answers is right.
    pub pass: Option<Interval>,
    /// How often the most frequent of several final answers is right.
    pub majority: Option<Interval>,
    /// Different final answers to a problem.
    pub distinct: Option<f64>,
    /// Tokens of an answer.
    pub tokens: f64,
    /// Share of answers that the model ended.
    pub finished: f64,
    /// Share of letters of another script than Latin.
    pub foreign: f64,
    /// Share of answers that run in a circle.
    pub loops: f64,
    /// Share of answers without a number.
    pub missing: f64,
}

impl Row {
    /// A row of the same number of answers to each problem.
    pub fn new(name: impl Into<String>, grades: &[Vec<&Grade>], seed: u64) -> Self {
        let samples = grades.first().map_or(0, Vec::len);
        let all = || grades.iter().flatten().copied();
        let mean = |value: &dyn Fn(&Grade) -> f64| all().map(value).sum::<f64>() / all().count().max(1) as f64;
        let share = |value: &dyn Fn(&Grade) -> bool| mean(&|grade| f64::from(u8::from(value(grade))));
        let any: Vec<bool> = grades.iter().map(|answers| answers.iter().any(|grade| grade.right)).collect();
        let right = |answers: &Vec<&Grade>| answers.iter().filter(|grade| grade.right).count() as f64 / samples as f64;
        let several = |value: &dyn Fn(&[&Grade]) -> bool| {
            let of_each: Vec<bool> = grades.iter().map(|answers| value(answers)).collect();
            (samples > 1).then(|| Interval::wilson(&of_each))
        };
        let distinct = || grades.iter().map(|answers| distinct(answers)).sum::<usize>() as f64 / grades.len() as f64;
        Self {
            name: name.into(),
            samples,
            accuracy: match samples {
                1 => Interval::wilson(&any),
                _ => Interval::bootstrap(&grades.iter().map(right).collect::<Vec<_>>(), seed),
            },
            pass: several(&|answers| answers.iter().any(|grade| grade.right)),
            majority: several(&|answers| majority(answers).is_some_and(|grade| grade.right)),
            distinct: (samples > 1).then(distinct),
            tokens: mean(&|grade| grade.tokens as f64),
            finished: share(&|grade| grade.finished),
            foreign: mean(&|grade| grade.flaws.foreign),
            loops: share(&|grade| grade.flaws.loops),
            missing: share(&|grade| grade.flaws.missing),
        }
    }
}

/// One with the most frequent final answer; of several, the one that came first. None where no answer has a number.
fn majority<'g>(answers: &[&'g Grade]) -> Option<&'g Grade> {
    let votes = |grade: &Grade| answers.iter().filter(|other| other.number == grade.number).count();
    let with_number = answers.iter().copied().filter(|grade| grade.number.is_some());
    // Of equal ones `max_by_key` takes the last.
    with_number.rev().max_by_key(|grade| votes(grade))
}

fn distinct(answers: &[&Grade]) -> usize {
    let numbers: Vec<&BigRational> = answers.iter().filter_map(|grade| grade.number.as_ref()).collect();
    numbers.iter().enumerate().filter(|(i, number)| !numbers[..*i].contains(number)).count()
}

/// The answers of all held latents to some problems, and the state at which the policy chooses one of them.
pub struct Table {
    /// `[problems][K]`
    pub grades: Vec<Vec<Grade>>,
    /// `[problems][d]`
    pub states: Vec<Vec<f32>>,
}

impl Table {
    /// The grades of one latent for each problem.
    fn pick(&self, latents: impl IntoIterator<Item = usize>) -> Vec<Vec<&Grade>> {
        self.grades.iter().zip(latents).map(|(grades, latent)| vec![&grades[latent]]).collect()
    }

    fn all(&self) -> Vec<Vec<&Grade>> {
        self.grades.iter().map(|grades| grades.iter().collect()).collect()
    }

    /// `count` draws for each problem from its distribution over latents.
    fn draw(&self, policy: &[Vec<f64>], count: usize, seed: u64) -> Vec<Vec<&Grade>> {
        let of_problem = |(i, (grades, policy)): (usize, (&'_ Vec<Grade>, &Vec<f64>))| {
            let mut rng = Rng::stream(seed, "held latents", i as u64);
            (0..count).map(|_| draw(policy, rng.unit())).map(|latent| (i, latent.min(grades.len() - 1))).collect()
        };
        let drawn: Vec<Vec<(usize, usize)>> = self.grades.iter().zip(policy).enumerate().map(of_problem).collect();
        drawn.into_iter().map(|row| row.into_iter().map(|(i, latent)| &self.grades[i][latent]).collect()).collect()
    }

    /// How often each latent is right: `[K]`.
    pub fn accuracies(&self) -> Vec<f64> {
        let count = self.grades.first().map_or(0, Vec::len);
        let right = |z: usize| self.grades.iter().filter(|grades| grades[z].right).count() as f64;
        (0..count).map(|z| right(z) / self.grades.len() as f64).collect()
    }

    /// pi(z | h) of a plugin for each problem: `[problems][K]`.
    pub fn policy(&self, plugin: &Loaded) -> Result<Vec<Vec<f64>>> {
        let policy = Policy::bind(&plugin.spec, &|name| plugin.tensor(name))?;
        let (n, d) = (self.states.len(), plugin.spec.backbone.hidden);
        let states = candle_core::Tensor::from_vec(self.states.concat(), (n, d), &candle_core::Device::Cpu)?;
        let rows = candle_nn::ops::softmax_last_dim(&policy.logits(&states)?)?.to_vec2::<f32>()?;
        Ok(rows.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect())
    }
}

/// The latent at `unit` (0 to 1) of a distribution.
fn draw(policy: &[f64], unit: f64) -> usize {
    let mut left = unit * policy.iter().sum::<f64>();
    let stop = policy.iter().position(|p| {
        left -= p;
        left < 0.0
    });
    stop.unwrap_or(policy.len() - 1)
}

/// The first of the highest.
pub fn argmax(values: &[f64]) -> usize {
    (0..values.len()).rev().max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0)
}

/// The mean over problems of their distributions.
pub fn average(policy: &[Vec<f64>]) -> Vec<f64> {
    let options = policy.first().map_or(0, Vec::len);
    (0..options).map(|z| policy.iter().map(|row| row[z]).sum::<f64>() / policy.len() as f64).collect()
}

/// What is compared.
pub struct Systems<'a> {
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
    /// How long policies that choose more than once an answer hold a latent; `Answer` leaves those rows out.
    pub held: Hold,
    /// Seed of every random choice.
    pub seed: u64,
}

/// What comes out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Problems answered.
    pub problems: usize,
    /// Problems on which the best fixed latent was chosen.
    pub train_problems: usize,
    /// The rows.
    pub rows: Vec<Row>,
}

/// Answers the test problems in every way, and compares. `progress` is told the row that is worked on, and each problem
/// answered.
pub fn compare(
    systems: &Systems<'_>,
    test: &Questions<'_>,
    train: &Questions<'_>,
    comparison: &Comparison,
    progress: &dyn Progress,
) -> Result<Report> {
    let mut comparer = Comparer { systems, test, train, comparison, progress, rows: Vec::new() };
    comparer.baselines()?;
    comparer.latents()?;
    let (problems, train_problems) = (test.gold.len(), train.gold.len());
    Ok(Report { problems, train_problems, rows: comparer.rows })
}

/// Who is told of the progress.
pub trait Progress {
    /// A row of so many problems begins.
    fn row(&self, name: &str, problems: usize);
    /// A problem was answered anew.
    fn problem(&self);
}

struct Comparer<'c, 'a> {
    systems: &'c Systems<'a>,
    test: &'c Questions<'c>,
    train: &'c Questions<'c>,
    comparison: &'c Comparison,
    progress: &'c dyn Progress,
    rows: Vec<Row>,
}

impl<'a> Comparer<'_, 'a> {
    fn plan(&self, latents: Latents, held: Hold, temperature: f32) -> Plan {
        let &Comparison { samples, tokens, seed, .. } = self.comparison;
        let samples = match latents {
            Latents::Enumerated => self.systems.plugin.spec.options,
            Latents::Sampled(_) => samples,
            _ if temperature > 0.0 => samples,
            _ => 1,
        };
        Plan { latents, held, temperature, samples, tokens, states: latents == Latents::Enumerated, seed }
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
        library.answers(plugin, plan, (questions.corpus, problems), &|| self.progress.problem())
    }

    /// A row whose answers are made for it.
    fn row(&mut self, name: &str, library: &Library<'a>, plugin: Option<&Loaded>, plan: &Plan) -> Result<()> {
        let grades = self.test.grade(&self.answers(name, library, plugin, plan, self.test)?);
        let grades: Vec<Vec<&Grade>> = grades.iter().map(|grades| grades.iter().collect()).collect();
        self.push(name, &grades);
        Ok(())
    }

    fn push(&mut self, name: &str, grades: &[Vec<&Grade>]) {
        self.rows.push(Row::new(name, grades, self.comparison.seed));
    }

    /// What there is without options.
    fn baselines(&mut self) -> Result<()> {
        let systems = self.systems;
        let greedy = |latents| self.plan(latents, Hold::Answer, 0.0);
        let (backbone, control) = (greedy(Latents::Backbone), greedy(Latents::Fixed(0)));
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
        let Systems { library, plugin, rl, .. } = self.systems;
        let token = |latents| self.plan(latents, Hold::Token, 0.0);
        let (policy, mixture) = (token(Latents::Policy), token(Latents::Mixture));
        self.row("policy, each token", library, Some(plugin), &policy)?;
        self.row("mixture", library, Some(plugin), &mixture)?;
        let table = self.table(plugin, "held latents", self.test)?;
        let train = self.table(plugin, "held latents, train", self.train)?;
        self.fixed(&table, &train);
        self.held("policy", plugin, &table)?;
        self.push("all latents, held", &table.all());
        let best: Vec<usize> =
            table.grades.iter().map(|grades| grades.iter().position(|g| g.right).unwrap_or(0)).collect();
        self.push("optimal latent (oracle)", &table.pick(best));
        let random = deploy::random_deltas(plugin, self.comparison.seed)?;
        let random = self.table(&random, "random deltas, held", self.test)?;
        self.push("random deltas, held", &random.all());
        self.rechosen("policy", plugin)?;
        if let Some(rl) = rl {
            check_decoders(plugin, rl)?;
            self.held("RL policy", rl, &table)?;
            let average = average(&train.policy(rl)?);
            let samples = self.comparison.samples;
            let draws = table.draw(&vec![average; table.grades.len()], samples, self.comparison.seed);
            self.push("RL policy, averaged over states, drawn", &draws);
            self.rechosen("RL policy", rl)?;
        }
        Ok(())
    }

    /// The answers of all held latents.
    fn table(&self, plugin: &Loaded, name: &str, questions: &Questions<'_>) -> Result<Table> {
        let Comparison { tokens, seed, .. } = *self.comparison;
        Table::held(&self.systems.library, plugin, questions, (tokens, seed), (name, self.progress))
    }

    fn fixed(&mut self, table: &Table, train: &Table) {
        for latent in 0..self.systems.plugin.spec.options {
            self.push(&format!("latent {latent}"), &table.pick(std::iter::repeat(latent)));
        }
        let best = argmax(&train.accuracies());
        self.push(&format!("latent {best}, the best on train"), &table.pick(std::iter::repeat(best)));
    }

    /// A policy that is asked once an answer.
    fn held(&mut self, name: &str, plugin: &Loaded, table: &Table) -> Result<()> {
        let Comparison { seed, samples, .. } = *self.comparison;
        self.rows.push(held_row(name, table, plugin, seed)?);
        let draws = table.draw(&table.policy(plugin)?, samples, seed);
        self.push(&format!("{name}, held, drawn"), &draws);
        Ok(())
    }

    /// A policy that is asked more often.
    fn rechosen(&mut self, name: &str, plugin: &Loaded) -> Result<()> {
        let held = match self.comparison.held {
            Hold::Answer => return Ok(()),
            Hold::Line => "each line",
            Hold::Token => "each token",
        };
        let plan = |latents| self.plan(latents, self.comparison.held, 0.0);
        let (best, drawn) = (plan(Latents::Policy), plan(Latents::Sampled(1.0)));
        // The policy of each token has its row already.
        if self.rows.iter().all(|row| row.name != format!("{name}, {held}")) {
            self.row(&format!("{name}, {held}"), &self.systems.library, Some(plugin), &best)?;
        }
        self.row(&format!("{name}, {held}, drawn"), &self.systems.library, Some(plugin), &drawn)
    }
}

impl Table {
    /// Has all latents of `plugin` answer the questions, each held from the first token to the last of at most `tokens`.
    pub fn held(
        library: &Library<'_>,
        plugin: &Loaded,
        questions: &Questions<'_>,
        (tokens, seed): (usize, u64),
        (name, progress): (&str, &dyn Progress),
    ) -> Result<Self> {
        let plan = Plan {
            latents: Latents::Enumerated,
            held: Hold::Answer,
            temperature: 0.0,
            samples: plugin.spec.options,
            tokens,
            states: true,
            seed,
        };
        let problems = questions.gold.len();
        progress.row(name, problems);
        let answers = library.answers(Some(plugin), &plan, (questions.corpus, problems), &|| progress.problem())?;
        Self::new(questions, &answers)
    }

    /// Of the enumerated answers to some questions, with their states.
    pub fn new(questions: &Questions<'_>, answers: &[Vec<Answer>]) -> Result<Self> {
        let state = |answers: &Vec<Answer>| {
            let choice = answers.first().and_then(|answer| answer.choices.first());
            choice.map(|choice| choice.state.iter().map(|x| x.to_f32()).collect()).unwrap_or_default()
        };
        Ok(Self { grades: questions.grade(answers), states: answers.iter().map(state).collect() })
    }
}

/// The row of the latents that the policy of `plugin` finds most probable, held.
pub fn held_row(name: &str, table: &Table, plugin: &Loaded, seed: u64) -> Result<Row> {
    let policy = table.policy(plugin)?;
    let grades = table.pick(policy.iter().map(|row| argmax(row)));
    Ok(Row::new(format!("{name}, held"), &grades, seed))
}

/// That two plugins have the same options.
pub fn check_decoders(one: &Loaded, other: &Loaded) -> Result<()> {
    let same = one.spec.options == other.spec.options
        && deploy::hash(one, names::DECODER)? == deploy::hash(other, names::DECODER)?;
    let reason = "its options are not those of --plugin: only the policy may differ".to_owned();
    if same { Ok(()) } else { Err(Error::Setting { name: "--rl", reason }) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} problems; the best latent is that of {} others\n", self.problems, self.train_problems)?;
        writeln!(
            f,
            "{:<40} {:>2}  {:<20} {:<20} {:<20} {:>8} {:>6} {:>5} {:>5} {:>5} {:>5}",
            "", "n", "accuracy", "pass@n", "majority", "distinct", "tokens", "ended", "loops", "none", "other"
        )?;
        self.rows.iter().try_for_each(|row| row.fmt(f))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = |i: Interval| format!("{:.3} ({:.3}-{:.3})", i.mean, i.low, i.high);
        let several = |i: Option<Interval>| i.map_or(String::new(), interval);
        let distinct = self.distinct.map_or(String::new(), |distinct| format!("{distinct:.2}"));
        writeln!(
            f,
            "{:<40} {:>2}  {:<20} {:<20} {:<20} {:>8} {:>6.0} {:>5.2} {:>5.2} {:>5.2} {:>5.3}",
            self.name,
            self.samples,
            interval(self.accuracy),
            several(self.pass),
            several(self.majority),
            distinct,
            self.tokens,
            self.finished,
            self.loops,
            self.missing,
            self.foreign,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, assert_close};

    fn grade(text: &str) -> Grade {
        let answer = Answer { text: text.into(), tokens: 4, finished: true, choices: Vec::new() };
        Grade::new(&answer, &answer::extract("#### 7").unwrap())
    }

    #[test]
    fn rows_count_what_they_say() {
        let grades = [
            ["7", "8", "8", "it is 7.0"].map(grade),
            ["none", "1", "2", "1"].map(grade),
            ["7", "nothing", "no", "never"].map(grade),
        ];
        let grades: Vec<Vec<&Grade>> = grades.iter().map(|grades| grades.iter().collect()).collect();
        let row = Row::new("r", &grades, 0);
        assert_eq!((row.name.as_str(), row.samples), ("r", 4));
        assert_close(row.accuracy.mean as f32, 3.0 / 12.0, 1e-6);
        assert!(row.accuracy.low >= 0.0 && row.accuracy.high <= 0.5);
        assert_close(row.pass.unwrap().mean as f32, 2.0 / 3.0, 1e-6);
        // A tie goes to what came first; the missing ones have no vote.
        assert_close(row.majority.unwrap().mean as f32, 2.0 / 3.0, 1e-6);
        assert_close(row.distinct.unwrap() as f32, 5.0 / 3.0, 1e-6);
        assert_close(row.missing as f32, 4.0 / 12.0, 1e-6);
        let single: Vec<Vec<&Grade>> = grades.iter().map(|grades| grades[..1].to_vec()).collect();
        let row = Row::new("r", &single, 0);
        assert!(row.pass.is_none() && row.majority.is_none() && row.distinct.is_none());
        assert_eq!(row.accuracy, Interval::wilson(&[true, false, true]));
    }

    #[test]
    fn draws_follow_the_policy_and_repeat() {
        let row = || vec![grade("7"), grade("8"), grade("9")];
        let table = Table { grades: (0..2000).map(|_| row()).collect(), states: Vec::new() };
        let policy = vec![vec![0.2, 0.0, 0.8]; 2000];
        let draws = table.draw(&policy, 10, 1);
        let share = Row::new("r", &draws, 0).accuracy.mean;
        assert_close(share as f32, 0.2, 0.01);
        assert!(draws.iter().flatten().all(|grade| grade.number != grade_number("8")));
        let numbers = |draws: &[Vec<&Grade>]| draws.iter().flatten().map(|g| g.number.clone()).collect::<Vec<_>>();
        assert_eq!(numbers(&draws), numbers(&table.draw(&policy, 10, 1)));
        assert_ne!(numbers(&draws), numbers(&table.draw(&policy, 10, 2)));
        assert_eq!(table.accuracies(), [1.0, 0.0, 0.0]);
        assert_eq!((argmax(&[0.1, 0.4, 0.4]), argmax(&[])), (1, 0));
    }

    fn grade_number(text: &str) -> Option<BigRational> {
        answer::extract(text)
    }

    struct Silent;

    impl Progress for Silent {
        fn row(&self, _name: &str, _problems: usize) {}
        fn problem(&self) {}
    }

    fn corpus(questions: &[&str]) -> Corpus {
        let problem = |question: &&str| crate::data::Problem { question: (*question).into(), answer: "#### 3".into() };
        Corpus::new(questions.iter().map(problem).collect())
    }

    #[test]
    fn the_table_has_every_row_and_comes_out_the_same_from_the_cache() {
        let backbone = testing::speaker();
        let plugin = testing::speaker_plugin(&backbone, 3);
        let rl = deploy::constant_policy(&plugin, &[0.0, 0.0, 1.0]).unwrap();
        let folder = testing::folder("accuracy");
        let library = || Library::new(&backbone, &folder, 1, 8);
        let systems = Systems {
            library: library(),
            lora: Some(library()),
            control: deploy::control(&plugin).unwrap(),
            rl: Some(rl),
            plugin,
        };
        let (test, train) = (corpus(&["ab", "c", "de"]), corpus(&["x", "yz"]));
        let [test, train] = [&test, &train].map(|corpus| Questions::new(corpus, None).unwrap());
        let comparison = Comparison { samples: 4, temperatures: vec![0.6, 1.0], tokens: 12, held: Hold::Line, seed: 3 };
        let report = compare(&systems, &test, &train, &comparison, &Silent).unwrap();
        let names: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names.len(), 7 + 2 + 4 + 4 + 1 + 2 + 3 + 2, "{names:?}");
        let named = |name: &str| report.rows.iter().find(|row| row.name == name).unwrap();
        // The policy from reinforcement learning always holds latent 2.
        assert_eq!(named("RL policy, held").tokens.to_bits(), named("latent 2").tokens.to_bits());
        assert_eq!(named("all latents, held").samples, 3);
        assert_eq!(named("control, T = 1").samples, 4);
        assert_eq!(named("LoRA, greedy").tokens.to_bits(), named("backbone, greedy").tokens.to_bits());
        let oracle = named("optimal latent (oracle)").accuracy.mean;
        assert_eq!(oracle.to_bits(), named("all latents, held").pass.unwrap().mean.to_bits());
        let again = compare(&systems, &test, &train, &comparison, &Silent).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&report).unwrap());
        assert_eq!(report.to_string().lines().count(), names.len() + 3);
    }

    #[test]
    fn data_without_a_number_and_a_foreign_decoder_are_refused() {
        let path = std::env::temp_dir().join(format!("ollm-accuracy-{}", std::process::id()));
        std::fs::write(&path, "{\"question\":\"q\",\"answer\":\"#### 1\"}\n\n{\"question\":\"q\",\"answer\":\"so\"}")
            .unwrap();
        let corpus = Corpus::read(&[path]).unwrap();
        assert!(Questions::new(&corpus, Some(1)).is_ok());
        assert!(matches!(Questions::new(&corpus, None).err().unwrap(), Error::Line { line: 3, .. }));
        let plugin = testing::speaker_plugin(&testing::speaker(), 3);
        let other = deploy::random_deltas(&plugin, 0).unwrap();
        assert!(check_decoders(&plugin, &other).is_err());
        assert!(check_decoders(&plugin, &deploy::constant_policy(&plugin, &[1.0; 3]).unwrap()).is_ok());
    }
}
