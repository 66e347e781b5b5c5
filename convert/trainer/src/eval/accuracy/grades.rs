//! Answers, graded: of some questions, and of all held latents to them.

use serde::Serialize;

use crate::data::corpus::{Corpus, Problem};
use crate::data::rng::Rng;
use crate::error::Result;
use crate::eval::answer_command::AskedAnswer;
use crate::eval::answer_rule::{AnswerRule, FinalAnswer, Judgement};
use crate::eval::degeneracy::{Flaws, QuestionLanguage};
use crate::features::segments::Hold;
use crate::plugin::file::Loaded;
use crate::plugin::nets::PolicyNet;
use crate::rollout::engine::{Answer, LatentPlan, Plan};
use crate::rollout::library::Library;
use crate::rollout::samples::Sample;

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
    /// [`Error::NoData`](crate::Error::NoData) if there are none,
    /// [`Error::AnswerCommand`](crate::Error::AnswerCommand) if the rule is a command that does not
    /// judge: it is given the data's own answer to the first problem, before anything is answered.
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
        let questions = Self { corpus, gold, rule };
        if let AnswerRule::Command(_) = rule {
            questions.judge(&[(0, &corpus.problems[0].answer)])?;
        }
        Ok(questions)
    }

    /// What is asked.
    pub(super) fn asked(&self) -> impl Iterator<Item = &str> {
        self.corpus.first(Some(self.gold.len())).iter().map(|problem| problem.question.as_str())
    }

    /// What is said of answers, each to the problem of that number.
    fn judge(&self, answers: &[(usize, &str)]) -> Result<Vec<Judgement>> {
        let asked = answers.iter().map(|&(index, answer)| {
            let problem = &self.corpus.problems[index];
            let expected = problem.expected.as_ref().unwrap_or(&problem.answer);
            AskedAnswer { question: &problem.question, expected, answer }
        });
        let asked: Vec<AskedAnswer<'_>> = asked.collect();
        let gold: Vec<&FinalAnswer> = answers.iter().map(|&(index, _)| &self.gold[index]).collect();
        self.rule.judge(&asked, &gold)
    }

    /// What answers are worth, each to the problem of that number.
    ///
    /// # Errors
    /// [`Error::AnswerCommand`](crate::Error::AnswerCommand) of a rule that is a command.
    pub fn rewards(&self, problems: &[usize], answers: &[Vec<Answer>], reward: Reward) -> Result<Vec<Vec<f64>>> {
        let judgements = self.judge_each(problems.iter().copied(), answers)?;
        let worth = |(answers, judgements): (&Vec<Answer>, Vec<Judgement>)| {
            answers.iter().zip(judgements).map(|(answer, judged)| reward.of(judged.score, answer.tokens)).collect()
        };
        Ok(answers.iter().zip(judgements).map(worth).collect())
    }

    /// Grades the answers to each problem.
    ///
    /// # Errors
    /// [`Error::AnswerCommand`](crate::Error::AnswerCommand) of a rule that is a command.
    pub fn grade(&self, answers: &[Vec<Answer>]) -> Result<Vec<Vec<Grade>>> {
        let judgements = self.judge_each(0.., answers)?;
        let grade = |((answers, judgements), question): ((&Vec<Answer>, Vec<Judgement>), &str)| {
            let language = QuestionLanguage::of(question);
            answers.iter().zip(judgements).map(|(answer, judged)| Grade::new(answer, &language, judged)).collect()
        };
        Ok(answers.iter().zip(judgements).zip(self.asked()).map(grade).collect())
    }

    fn judge_each(
        &self,
        problems: impl Iterator<Item = usize>,
        answers: &[Vec<Answer>],
    ) -> Result<Vec<Vec<Judgement>>> {
        let each = problems.zip(answers);
        let all: Vec<(usize, &str)> =
            each.flat_map(|(problem, answers)| answers.iter().map(move |answer| (problem, &*answer.text))).collect();
        let mut judgements = self.judge(&all)?.into_iter();
        Ok(answers.iter().map(|answers| judgements.by_ref().take(answers.len()).collect()).collect())
    }
}

/// What an answer is worth: its [`Judgement::score`], less a price for each of its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reward {
    /// The price of a token, at least 0.
    pub token_cost: f64,
}

impl Reward {
    /// The reward of an answer of that score and so many tokens.
    pub fn of(self, score: f64, tokens: usize) -> f64 {
        score - self.token_cost * tokens as f64
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
    /// What it is worth, before its tokens are priced: 1 if it is right, 0 if it is wrong; of a
    /// command, what that says.
    pub score: f64,
    /// What is wrong with it, apart from that.
    pub flaws: Flaws,
    /// Its tokens.
    pub tokens: usize,
    /// Whether the model ended it.
    pub finished: bool,
}

impl Grade {
    pub(super) fn new(answer: &Answer, question: &QuestionLanguage, judged: Judgement) -> Self {
        Self {
            score: judged.score,
            flaws: Flaws { missing: judged.answer.is_none(), ..Flaws::of(&answer.text, question) },
            answer: judged.answer,
            tokens: answer.tokens,
            finished: answer.finished,
        }
    }

    /// Whether it is right: worth 1.
    pub fn is_right(&self) -> bool {
        self.score >= 1.0
    }

    /// Whether the final answer is one of which nobody can say whether it is right; it counts as
    /// wrong.
    pub fn is_undecided(&self) -> bool {
        !self.is_right() && self.answer.as_ref().is_some_and(FinalAnswer::is_undecided)
    }
}

/// The answers of all held latents to some problems, and the state at which the policy chooses one
/// of them.
pub struct LatentTable {
    /// `[problems][K]`
    pub grades: Vec<Vec<Grade>>,
    /// `[problems][d]`
    pub states: Vec<Vec<f32>>,
    /// The questions and the texts of the answers. `[problems][K]`
    pub samples: Vec<Vec<Sample>>,
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
        let right = |z: usize| self.grades.iter().filter(|grades| grades[z].is_right()).count() as f64;
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
        let problems = questions.corpus.first(Some(answers.len()));
        let samples = problems
            .iter()
            .zip(answers)
            .map(|(problem, answers)| answers.iter().map(|answer| Sample::new(problem, answer.text.clone())).collect());
        Ok(Self {
            grades: questions.grade(answers)?,
            states: answers.iter().map(state).collect(),
            samples: samples.collect(),
        })
    }
}
