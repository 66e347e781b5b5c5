//! Groups of drawn answers: each is compared with the others to its problem.

use serde::Serialize;

use crate::data::corpus::Problem;
use crate::data::rng::Rng;
use crate::data::tensor_file::Tensors;
use crate::error::{Error, Result};
use crate::eval::accuracy::{Grade, Questions, Reward};
use crate::features::segments::Hold;
use crate::fit::order::Order;
use crate::limits::MAX_COUNT;
use crate::plugin::params::Params;
use crate::ranks::Ranks;
use crate::rl::reward::{AnswerMeasures, Drift, Learned, RewardSource, RlMeasures, STAGE};
use crate::rollout::engine::{self, Answer, LatentPlan, Plan};
use crate::rollout::samples::Sample;

/// How answers are drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupSettings {
    /// Answers to a problem.
    pub size: usize,
    /// Problems of a step.
    pub problems: usize,
    /// Tokens of an answer at most.
    pub tokens: usize,
    /// What an answer is worth.
    pub reward: Reward,
    /// Seed of every random choice.
    pub seed: u64,
}

impl GroupSettings {
    /// That there is something to compare.
    ///
    /// # Errors
    /// [`Error::Setting`] for groups of one, or none.
    pub fn check(&self) -> Result<()> {
        let refuse = |name, reason: &str| Err(Error::Setting { name, reason: reason.into() });
        if !(2..=MAX_COUNT).contains(&self.size) {
            return refuse("--group", "must be 2 to 1048576: an answer is compared with the others");
        }
        if self.problems == 0 {
            return refuse("--problems", "must be at least 1");
        }
        Ok(())
    }
}

/// Who answers and learns: its actions are latents or tokens.
pub trait Actor {
    /// What is trained, as it is at first.
    fn start(&self) -> Result<Params>;

    /// How its answers are drawn to learn from.
    fn drawn(&self) -> Choosing;

    /// How it deploys: its most probable actions.
    fn deployed(&self) -> Choosing;

    /// Its answers.
    fn answers(&self, params: &Params, problems: &[Problem], plan: &Plan) -> Result<Vec<Vec<Answer>>>;

    /// The gradient of `-sum A log p(a|s)` over all actions of these answers, divided by their
    /// number: each action counts the same, however long its answer.
    fn gradients(&self, params: &Params, answers: &[Reinforced<'_>]) -> Result<Tensors>;

    /// How far it is from what it was at first, in the states of these answers; none where that
    /// costs too much.
    fn drift(&self, params: &Params, answers: &[Vec<Answer>]) -> Result<Option<Drift>>;
}

/// How the actions of an answer are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choosing {
    /// The latents.
    pub latents: LatentPlan,
    /// How long they stay.
    pub held: Hold,
    /// Temperature of the tokens; 0 is greedy.
    pub temperature: f32,
}

/// An answer, and how much better it is than the others to its problem.
#[derive(Clone, Copy, Debug)]
pub struct Reinforced<'a> {
    /// The problem.
    pub problem: &'a Problem,
    /// The answer.
    pub answer: &'a Answer,
    /// Its reward less its group's mean, over the group's standard deviation.
    pub advantage: f64,
}

/// Answers that are drawn by an actor as it is at that step. Groups that are all right or all wrong
/// say nothing. Held-out problems are answered once, by its most probable actions.
pub struct Groups<'a> {
    actor: &'a dyn Actor,
    train: &'a Questions<'a>,
    valid: &'a Questions<'a>,
    settings: GroupSettings,
    order: Order,
    ranks: Ranks,
    /// The last evaluation's answer to each held-out problem.
    answered: Vec<Sample>,
}

impl<'a> Groups<'a> {
    /// Answers of an actor.
    ///
    /// # Errors
    /// [`Error::Setting`] for groups of one, or none.
    pub fn new(
        actor: &'a dyn Actor,
        train: &'a Questions<'a>,
        valid: &'a Questions<'a>,
        settings: GroupSettings,
    ) -> Result<Self> {
        settings.check()?;
        let order = Order::new(train.gold.len(), settings.problems, settings.seed, STAGE);
        Ok(Self { actor, train, valid, settings, order, ranks: Ranks::alone(), answered: Vec::new() })
    }

    /// The same of several ranks, which share the problems that are answered.
    #[must_use]
    pub fn on(self, ranks: &Ranks) -> Self {
        Self { ranks: ranks.clone(), ..self }
    }

    /// The plan of a step's answers, or of those to held-out problems.
    fn plan(&self, step: Option<u64>) -> Plan {
        let &GroupSettings { size, tokens, seed, .. } = &self.settings;
        let (choosing, samples, seed) = match step {
            Some(step) => (self.actor.drawn(), size, Rng::stream(seed, "rollouts", step).bits()),
            None => (self.actor.deployed(), 1, seed),
        };
        let Choosing { latents, held, temperature } = choosing;
        Plan { latents, held, temperature, samples, tokens, states: true, seed }
    }

    fn answers(&self, params: &Params, problems: &[Problem], plan: &Plan) -> Result<Vec<Vec<Answer>>> {
        if self.ranks.is_alone() {
            return self.actor.answers(params, problems, plan);
        }
        let mine: Vec<Problem> = self.ranks.in_turn(problems.iter().cloned()).collect();
        let made = self.actor.answers(params, &mine, plan)?;
        let all = self.ranks.gather_in_turn(made.iter().map(|answers| engine::encode(answers)).collect())?;
        all.iter().map(|bytes| engine::decode(bytes)).collect()
    }
}

impl RewardSource for Groups<'_> {
    fn start(&self) -> Result<Params> {
        self.actor.start()
    }

    fn learn(&mut self, params: &Params, step: u64) -> Result<Learned> {
        let chosen = self.order.batch(step).to_vec();
        let problems: Vec<Problem> =
            chosen.iter().map(|&i| self.train.corpus.first(None)[i as usize].clone()).collect();
        let answers = self.answers(params, &problems, &self.plan(Some(step)))?;
        let chosen: Vec<usize> = chosen.iter().map(|&i| i as usize).collect();
        let rewards = self.train.rewards(&chosen, &answers, self.settings.reward)?;
        let reinforced: Vec<Reinforced<'_>> = (problems.iter().zip(&answers).zip(&rewards))
            .flat_map(|((problem, answers), rewards)| {
                let compared = answers.iter().zip(advantages(rewards));
                compared.map(move |(answer, advantage)| Reinforced { problem, answer, advantage })
            })
            .collect();
        let gradients = self.actor.gradients(params, &reinforced)?;
        let silent = rewards.iter().filter(|rewards| advantages(rewards).iter().all(|worth| *worth == 0.0)).count();
        let drawn = (problems.len() * self.settings.size) as u64;
        let measures = RlMeasures {
            reward: mean(&rewards),
            no_signal: Some(silent as f64 / rewards.len() as f64),
            rollouts: Some((step + 1) * drawn),
            ..RlMeasures::default()
        };
        Ok(Learned { gradients, measures })
    }

    fn evaluate(&mut self, params: &Params) -> Result<RlMeasures> {
        let problems = self.valid.corpus.first(Some(self.valid.gold.len()));
        let answers = self.answers(params, problems, &self.plan(None))?;
        let grades = self.valid.grade(&answers)?;
        let reward = |grade: &Grade| self.settings.reward.of(grade.score, grade.tokens);
        let rewards: Vec<Vec<f64>> = grades.iter().map(|grades| grades.iter().map(reward).collect()).collect();
        let answered = problems.iter().zip(&answers);
        let sample = |(problem, answers): (&Problem, &Vec<Answer>)| Some(Sample::new(problem, &*answers.first()?.text));
        self.answered = answered.filter_map(sample).collect();
        Ok(RlMeasures {
            reward: mean(&rewards),
            drift: self.actor.drift(params, &answers)?,
            answers: AnswerMeasures::of(&grades.iter().flatten().collect::<Vec<&Grade>>()),
            ..RlMeasures::default()
        })
    }

    fn samples(&self, count: usize) -> Vec<Sample> {
        self.answered.iter().take(count).cloned().collect()
    }
}

fn mean(rewards: &[Vec<f64>]) -> f64 {
    rewards.iter().flatten().sum::<f64>() / rewards.iter().map(Vec::len).sum::<usize>() as f64
}

/// How much better than its group each answer is: 0 where all are alike, but for rounding.
fn advantages(rewards: &[f64]) -> Vec<f64> {
    let count = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / count;
    let deviation = (rewards.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>() / count).sqrt();
    rewards.iter().map(|reward| if deviation > 1e-9 { (reward - mean) / deviation } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corpus::Corpus;
    use crate::eval::answer_rule::AnswerRule;
    use crate::features::head::OutputHead;
    use crate::fit::run::RunFolder;
    use crate::plugin::deploy;
    use crate::rl::latents::LatentActor;
    use crate::rl::task::tests::values;
    use crate::rl::task::{RlSettings, reinforce};
    use crate::rl::tokens::TokenActor;
    use crate::testing;
    use indicatif::ProgressBar;

    const OPTIONS: usize = 3;

    fn settings() -> GroupSettings {
        // Nothing is right here: what is shorter earns more.
        GroupSettings { size: 6, problems: 2, tokens: 40, reward: Reward { token_cost: 0.01 }, seed: 3 }
    }

    fn corpus() -> Corpus {
        let problem = |question: &str| Problem::new(question, "1");
        Corpus::new(["ab", "and one that is longer", "c"].map(problem).to_vec())
    }

    /// Calls `with` an actor in each space of actions, which works on `slots` answers at once.
    fn each_actor(slots: usize, mut with: impl FnMut(&dyn Actor)) {
        let backbone = testing::speaker();
        let plugin = testing::speaker_plugin(&backbone, OPTIONS);
        let control = deploy::control(&plugin).unwrap();
        let head = OutputHead::new(&testing::frozen_of(&backbone), 1 << 20).unwrap();
        with(&LatentActor::new(&backbone, &plugin, Hold::Token, 1, slots).unwrap());
        with(&TokenActor::new(&backbone, &control, &head, 1, slots));
    }

    #[test]
    fn an_answer_counts_as_much_as_it_is_better_than_its_group() {
        // Equal rewards are equal, whatever their mean rounds to.
        assert!((1..256).all(|n| advantages(&[1.0 - 0.001 * f64::from(n); 8]).iter().all(|a| *a == 0.0)));
        assert_eq!(advantages(&[1.0, 1.0, 1.0]), [0.0; 3]);
        assert_eq!(advantages(&[0.0]), [0.0]);
        assert_eq!(advantages(&[1.0, 0.0]), [1.0, -1.0]);
        let one_of_four = advantages(&[0.0, 0.0, 1.0, 0.0]);
        assert!((one_of_four[2] - 3f64.sqrt()).abs() < 1e-12 && one_of_four.iter().sum::<f64>().abs() < 1e-12);
    }

    /// What a step of the actors says, and their answers to its problems.
    fn steps(slots: usize, step: u64) -> Vec<(Vec<Vec<u32>>, RlMeasures, RlMeasures)> {
        let corpus = corpus();
        let questions = Questions::new(&corpus, None, &AnswerRule::Number).unwrap();
        let mut all = Vec::new();
        each_actor(slots, |actor| {
            let mut groups = Groups::new(actor, &questions, &questions, settings()).unwrap();
            let params = actor.start().unwrap();
            let Learned { gradients, measures } = groups.learn(&params, step).unwrap();
            assert!(measures.reward < 0.0 && measures.no_signal.unwrap() < 1.0, "{measures:?}");
            assert_eq!(measures.rollouts, Some(12 * (step + 1)));
            let evaluation = groups.evaluate(&params).unwrap();
            assert!(evaluation.drift.unwrap().kl.abs() < 1e-6);
            assert!(gradients.values().flat_map(values).any(|value| value != 0.0));
            let bits = |tensor| values(tensor).into_iter().map(f32::to_bits).collect();
            all.push((gradients.values().map(bits).collect(), measures, evaluation));
        });
        all
    }

    #[test]
    fn a_step_says_the_same_however_many_answers_are_worked_on_at_once() {
        assert_eq!(steps(1, 5), steps(7, 5));
        let (one, other) = (steps(7, 5), steps(7, 6));
        assert!(one.iter().zip(&other).all(|(one, other)| one.0 != other.0));
    }

    #[test]
    fn a_run_of_groups_resumes_to_the_same_bits_and_not_as_another() {
        let corpus = corpus();
        let questions = Questions::new(&corpus, None, &AnswerRule::Number).unwrap();
        let mut number = 0;
        each_actor(4, |actor| {
            number += 1;
            let mut groups = Groups::new(actor, &questions, &questions, settings()).unwrap();
            let settings = RlSettings { steps: 6, lr: 0.05, patience: None, eval_every: 4, samples: 2 };
            let mut train = |folder: &std::path::Path, name: &str, stop, resume| {
                let identity = [("groups".to_owned(), name.to_owned())].into();
                let mut run = RunFolder::open(folder, resume)?;
                reinforce(&mut groups, &settings, &identity, stop, &mut run, &ProgressBar::hidden())
            };
            let (one, two) = (
                testing::folder(&format!("groups-whole-{number}")),
                testing::folder(&format!("groups-parts-{number}")),
            );
            let want = train(&one, "a", None, false).unwrap().unwrap();
            assert!(train(&two, "a", Some(3), false).unwrap().is_none());
            assert!(matches!(train(&two, "nothing", None, true), Err(Error::Mismatch { .. })));
            let got = train(&two, "a", None, true).unwrap().unwrap();
            assert!(want.iter().all(|(name, tensor)| values(tensor) == values(&got[name])));
        });
    }

    #[test]
    fn groups_that_compare_nothing_are_refused() {
        let corpus = corpus();
        let questions = Questions::new(&corpus, None, &AnswerRule::Number).unwrap();
        for (settings, flag) in [
            (GroupSettings { size: 1, ..settings() }, "--group"),
            (GroupSettings { size: 1 << 21, ..settings() }, "--group"),
            (GroupSettings { problems: 0, ..settings() }, "--problems"),
        ] {
            each_actor(4, |actor| {
                let refused = Groups::new(actor, &questions, &questions, settings.clone());
                assert!(matches!(refused.err(), Some(Error::Setting { name, .. }) if name == flag), "{flag}");
            });
        }
    }
}
