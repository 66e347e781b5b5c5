//! Answers, graded: of some questions, and of all held latents to them.

use serde::Serialize;

use crate::data::corpus::{Corpus, Problem};
use crate::data::rng::Rng;
use crate::error::Result;
use crate::eval::answer_rule::{AnswerRule, FinalAnswer};
use crate::eval::degeneracy::{Flaws, QuestionLanguage};
use crate::features::segments::Hold;
use crate::plugin::file::Loaded;
use crate::plugin::nets::PolicyNet;
use crate::rollout::engine::{Answer, LatentPlan, Plan};
use crate::rollout::library::Library;

/// Who is told of the progress.
pub trait Progress {
    /// A row of so many problems begins.
    fn row(&self, name: &str, problems: usize);
    /// A problem was answered anew.
    fn problem(&self);
}

/// The first problems of a corpus, and their final answers.
pub struct Questions<'a> {
    /// The problems.
    pub corpus: &'a Corpus,
    /// The final answer of each.
    pub gold: Vec<FinalAnswer>,
    /// What the final answer of a text is.
    rule: &'a AnswerRule,
}

impl<'a> Questions<'a> {
    /// The first `limit` problems, whose answers are read by `rule`.
    ///
    /// # Errors
    /// [`Error::Line`](crate::Error::Line) if the answer of one has no final answer,
    /// [`Error::NoData`](crate::Error::NoData) if there are none.
    pub fn new(corpus: &'a Corpus, limit: Option<usize>, rule: &'a AnswerRule) -> Result<Self> {
        let gold = |(index, problem): (usize, &Problem)| {
            let answer = match &problem.expected {
                Some(expected) => rule.expected(expected),
                None => rule.extract(&problem.answer),
            };
            answer.ok_or_else(|| corpus.refuse(index, format!("the answer has no final answer by the rule {rule}")))
        };
        if corpus.first(limit).is_empty() {
            return Err(corpus.no_data());
        }
        let gold = corpus.first(limit).iter().enumerate().map(gold).collect::<Result<_>>()?;
        Ok(Self { corpus, gold, rule })
    }

    /// What is asked.
    pub(super) fn asked(&self) -> impl Iterator<Item = &str> {
        self.corpus.first(Some(self.gold.len())).iter().map(|problem| problem.question.as_str())
    }

    /// What the answers to a problem are worth.
    pub fn rewards(&self, problem: usize, answers: &[Answer], reward: Reward) -> Vec<f64> {
        let right = |answer: &Answer| self.rule.extract(&answer.text).as_ref() == Some(&self.gold[problem]);
        answers.iter().map(|answer| reward.of(right(answer), answer.tokens)).collect()
    }

    /// Grades the answers to each problem.
    pub fn grade(&self, answers: &[Vec<Answer>]) -> Vec<Vec<Grade>> {
        let problems = self.asked().zip(&self.gold);
        let grade = |(answers, (question, gold)): (&Vec<Answer>, (&str, &FinalAnswer))| {
            let language = QuestionLanguage::of(question);
            answers.iter().map(|answer| Grade::new(answer, &language, self.rule, gold)).collect()
        };
        answers.iter().zip(problems).map(grade).collect()
    }
}

/// What an answer is worth: 1 if it is right, less a price for each of its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reward {
    /// The price of a token, at least 0.
    pub token_cost: f64,
}

impl Reward {
    /// The reward of an answer of so many tokens.
    pub fn of(self, right: bool, tokens: usize) -> f64 {
        f64::from(u8::from(right)) - self.token_cost * tokens as f64
    }

    /// Whether it only says whether an answer is right: 1 or 0.
    pub fn is_right(self) -> bool {
        self.token_cost == 0.0
    }
}

/// What is said of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Grade {
    /// Its final answer.
    pub answer: Option<FinalAnswer>,
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
    pub(super) fn new(answer: &Answer, question: &QuestionLanguage, rule: &AnswerRule, gold: &FinalAnswer) -> Self {
        let found = rule.extract(&answer.text);
        Self {
            right: found.as_ref() == Some(gold),
            flaws: Flaws { missing: found.is_none(), ..Flaws::of(&answer.text, question) },
            answer: found,
            tokens: answer.tokens,
            finished: answer.finished,
        }
    }

    /// Whether the final answer is one of which nobody can say whether it is right; it counts as
    /// wrong.
    pub fn is_undecided(&self) -> bool {
        !self.right && self.answer.as_ref().is_some_and(FinalAnswer::is_undecided)
    }
}

/// The answers of all held latents to some problems, and the state at which the policy chooses one
/// of them.
pub struct LatentTable {
    /// `[problems][K]`
    pub grades: Vec<Vec<Grade>>,
    /// `[problems][d]`
    pub states: Vec<Vec<f32>>,
}

impl LatentTable {
    /// The grades of one latent for each problem.
    pub(super) fn pick(&self, latents: impl IntoIterator<Item = usize>) -> Vec<Vec<&Grade>> {
        self.grades.iter().zip(latents).map(|(grades, latent)| vec![&grades[latent]]).collect()
    }

    pub(super) fn all(&self) -> Vec<Vec<&Grade>> {
        self.grades.iter().map(|grades| grades.iter().collect()).collect()
    }

    /// `count` draws for each problem from its distribution over latents.
    pub(super) fn draw(&self, policy: &[Vec<f64>], count: usize, seed: u64) -> Vec<Vec<&Grade>> {
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
        let policy = PolicyNet::bind(&plugin.spec, &|name| plugin.tensor(name))?;
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

impl LatentTable {
    /// Has all latents of `plugin` answer the questions, each held from the first token to the last
    /// of at most `tokens`.
    pub fn held(
        library: &Library<'_>,
        plugin: &Loaded,
        questions: &Questions<'_>,
        tokens: usize,
        seed: u64,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let plan = Plan {
            latents: LatentPlan::Enumerated,
            held: Hold::All,
            temperature: 0.0,
            samples: plugin.spec.options,
            tokens,
            states: true,
            seed,
        };
        let problems = questions.gold.len();
        progress.row(name, problems);
        let answers = library.answers(Some(plugin), &plan, questions.corpus, problems, &|| progress.problem())?;
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
