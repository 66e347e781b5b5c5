//! Latents chosen anew at each token or line: groups of drawn answers.

use candle_core::{Device, Tensor};
use serde::Serialize;

use crate::data::corpus::Problem;
use crate::data::rng::Rng;
use crate::error::{Error, Result};
use crate::eval::accuracy::{Questions, Reward};
use crate::features::backbone::BackboneModel;
use crate::features::segments::{self, Hold};
use crate::fit::order::Order;
use crate::limits::MAX_COUNT;
use crate::plugin::file::Loaded;
use crate::plugin::nets::PolicyNet;
use crate::plugin::params::Params;
use crate::ranks::Ranks;
use crate::rl::reward::{PolicyScore, PolicyStatistics, RewardSource, STAGE, bind, log_policy};
use crate::rollout::engine::{self, Answer, LatentPlan, Plan, RolloutEngine};

/// How answers are drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupSettings {
    /// How long a latent is held.
    #[serde(serialize_with = "segments::serialize_hold")]
    pub held: Hold,
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

/// Answers whose latents are drawn from the policy as it is at that step, with greedy tokens. The
/// loss is `-sum A log pi(z|h)` over all choices, divided by their number, where the advantage A of
/// an answer is its reward less its group's mean, over the group's standard deviation; groups that
/// are all right or all wrong say nothing. Held-out problems are answered once, with the policy's
/// most probable latents.
pub struct Groups<'a> {
    backbone: &'a BackboneModel,
    plugin: &'a Loaded,
    first: PolicyNet,
    train: &'a Questions<'a>,
    valid: &'a Questions<'a>,
    settings: GroupSettings,
    order: Order,
    threads: usize,
    /// Answers that are worked on at once.
    slots: usize,
    ranks: Ranks,
}

impl<'a> Groups<'a> {
    /// Answers of `plugin` on `backbone`, on `threads` threads (0: one for each core), `slots` of
    /// them at once.
    ///
    /// # Errors
    /// [`Error::Setting`] for groups of one, or none.
    pub fn new(
        backbone: &'a BackboneModel,
        plugin: &'a Loaded,
        train: &'a Questions<'a>,
        valid: &'a Questions<'a>,
        settings: GroupSettings,
        threads: usize,
        slots: usize,
    ) -> Result<Self> {
        settings.check()?;
        let order = Order::new(train.gold.len(), settings.problems, settings.seed, STAGE);
        let first = PolicyNet::bind(&plugin.spec, &|name| plugin.tensor(name))?;
        Ok(Self { backbone, plugin, first, train, valid, settings, order, threads, slots, ranks: Ranks::alone() })
    }

    /// The same of several ranks, which share the problems of a step.
    #[must_use]
    pub fn on(self, ranks: &Ranks) -> Self {
        Self { ranks: ranks.clone(), ..self }
    }

    /// The plan of a step's answers, or of those to held-out problems.
    fn plan(&self, step: Option<u64>) -> Plan {
        let &GroupSettings { held, size, tokens, seed, .. } = &self.settings;
        let (latents, samples, seed) = match step {
            Some(step) => (LatentPlan::Sampled(1.0), size, Rng::stream(seed, "rollouts", step).bits()),
            None => (LatentPlan::Policy, 1, seed),
        };
        Plan { latents, held, temperature: 0.0, samples, tokens, states: true, seed }
    }

    fn answers(&self, policy: &Params, problems: &[Problem], plan: &Plan) -> Result<Vec<Vec<Answer>>> {
        let plugin = Loaded { spec: self.plugin.spec.clone(), tensors: policy.tensors() };
        let engine = RolloutEngine::new(self.backbone, Some(&plugin), self.threads, self.slots)?;
        let (mine, mut made) = (self.ranks.in_turn(problems.iter().cloned()).collect::<Vec<_>>(), Vec::new());
        engine.run(&mine, plan, &mut |_, answers| {
            made.push(answers);
            Ok(())
        })?;
        if self.ranks.is_alone() {
            return Ok(made);
        }
        let all = self.ranks.gather_in_turn(made.iter().map(|answers| engine::encode(answers)).collect())?;
        all.iter().map(|bytes| engine::decode(bytes)).collect()
    }

    /// The policy at the choices of these answers, whose rewards these are.
    fn score(&self, policy: &Params, answers: &[Vec<Answer>], rewards: &[Vec<f64>]) -> Result<PolicyScore> {
        let (mut states, mut latents, mut worth) = (Vec::new(), Vec::new(), Vec::new());
        for (answers, rewards) in answers.iter().zip(rewards) {
            for (answer, advantage) in answers.iter().zip(advantages(rewards)) {
                for choice in &answer.choices {
                    states.extend(choice.state.iter().map(|x| x.to_f32()));
                    latents.push(choice.latent as u32);
                    worth.push(advantage as f32);
                }
            }
        }
        let rows = latents.len();
        let states = Tensor::from_vec(states, (rows, self.plugin.spec.backbone.hidden), &Device::Cpu)?;
        let statistics =
            PolicyStatistics::new(&bind(self.plugin, policy)?, &states, &log_policy(&self.first, &states)?)?;
        let taken = statistics.log.gather(&Tensor::from_vec(latents, (rows, 1), &Device::Cpu)?, 1)?;
        let loss = (taken * Tensor::from_vec(worth, (rows, 1), &Device::Cpu)?)?.mean_all()?.neg()?;
        let count = rewards.iter().map(Vec::len).sum::<usize>();
        Ok(statistics.score(loss, rewards.iter().flatten().sum::<f64>() / count as f64))
    }
}

impl RewardSource for Groups<'_> {
    fn train_batch(&mut self, policy: &Params, step: u64) -> Result<PolicyScore> {
        let chosen = self.order.batch(step).to_vec();
        let problems: Vec<Problem> =
            chosen.iter().map(|&i| self.train.corpus.first(None)[i as usize].clone()).collect();
        let answers = self.answers(policy, &problems, &self.plan(Some(step)))?;
        let rewards: Vec<Vec<f64>> = chosen
            .iter()
            .zip(&answers)
            .map(|(&i, answers)| self.train.rewards(i as usize, answers, self.settings.reward))
            .collect();
        self.score(policy, &answers, &rewards)
    }

    fn evaluate(&mut self, policy: &Params) -> Result<PolicyScore> {
        let problems = self.valid.corpus.first(Some(self.valid.gold.len()));
        let answers = self.answers(policy, problems, &self.plan(None))?;
        let rewards: Vec<Vec<f64>> = answers
            .iter()
            .enumerate()
            .map(|(i, answers)| self.valid.rewards(i, answers, self.settings.reward))
            .collect();
        self.score(policy, &answers, &rewards)
    }
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
    use crate::fit::run::RunFolder;
    use crate::plugin::nets::names;
    use crate::rl::task::tests::values;
    use crate::rl::task::{RlSettings, reinforce};
    use crate::rollout::engine::LatentChoice;
    use crate::testing::{self, assert_close};
    use half::f16;
    use indicatif::ProgressBar;

    const OPTIONS: usize = 3;

    fn settings() -> GroupSettings {
        GroupSettings { held: Hold::Token, size: 4, problems: 2, tokens: 12, reward: Reward::default(), seed: 3 }
    }

    fn corpus() -> Corpus {
        let problem = |question: &str| Problem::new(question, "1");
        Corpus::new(["ab", "and one that is longer", "c"].map(problem).to_vec())
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

    #[test]
    fn the_gradient_is_that_of_the_choices_of_better_answers() {
        let (backbone, corpus) = (testing::speaker(), corpus());
        let plugin = testing::speaker_plugin(&backbone, OPTIONS);
        let questions = Questions::new(&corpus, None, &AnswerRule::Number).unwrap();
        let groups = Groups::new(&backbone, &plugin, &questions, &questions, settings(), 1, 2).unwrap();
        let choice = |at: usize, latent| {
            let state = (0..32).map(|i| f16::from_f32(((i * 7 + at * 3) % 5) as f32 - 2.0)).collect();
            LatentChoice { at, latent, state }
        };
        let answer = |choices: &[(usize, usize)]| Answer {
            text: String::new(),
            tokens: choices.len(),
            finished: true,
            choices: choices.iter().map(|&(at, latent)| choice(at, latent)).collect(),
        };
        let answers = [vec![answer(&[(0, 1), (1, 2)]), answer(&[(0, 0)])], vec![answer(&[(0, 2)]), answer(&[(2, 1)])]];
        let params = Params::policy(&plugin.tensors, 1.0).unwrap();
        let score = groups.score(&params, &answers, &[vec![1.0, 0.0], vec![1.0, 1.0]]).unwrap();
        assert!((score.measures.reward - 0.75).abs() < 1e-12 && score.measures.kl.abs() < 1e-6);
        // By hand: d/dlogit of log pi(z) is [z] - pi, and the last bias adds to the logits; five
        // choices in all.
        let policy = bind(&plugin, &params).unwrap();
        let mut want = [0.0; OPTIONS];
        for (at, latent, worth) in [(0, 1, 1.0), (1, 2, 1.0), (0, 0, -1.0)] {
            let state: Vec<f32> = choice(at, latent).state.iter().map(|x| x.to_f32()).collect();
            let state = Tensor::from_vec(state, (1, 32), &Device::Cpu).unwrap();
            let pi = values(&log_policy(&policy, &state).unwrap().exp().unwrap());
            for (z, want) in want.iter_mut().enumerate() {
                *want -= worth * (f32::from(u8::from(z == latent)) - pi[z]) / 5.0;
            }
        }
        let gradients = score.loss.backward().unwrap();
        let (name, bias) = params.trained().find(|(name, _)| name.ends_with("out.bias")).unwrap();
        assert!(name.starts_with(names::POLICY));
        for (got, want) in values(gradients.get(bias).unwrap()).into_iter().zip(want) {
            assert_close(got, want, 1e-6);
        }
    }

    #[test]
    fn a_step_draws_the_same_answers_however_many_are_worked_on_at_once() {
        let (backbone, corpus) = (testing::speaker(), corpus());
        let plugin = testing::speaker_plugin(&backbone, OPTIONS);
        let questions = Questions::new(&corpus, None, &AnswerRule::Number).unwrap();
        let params = Params::policy(&plugin.tensors, 1.0).unwrap();
        let drawn = |slots, step| {
            let mut groups = Groups::new(&backbone, &plugin, &questions, &questions, settings(), 1, slots).unwrap();
            let score = groups.train_batch(&params, step).unwrap();
            assert!((0.0..=1.0).contains(&score.measures.reward) && score.measures.kl.abs() < 1e-6);
            let problems = corpus.first(None);
            let answers = groups.answers(&params, problems, &groups.plan(Some(step))).unwrap();
            (score.measures.policy_entropy.to_bits(), score.measures.reward.to_bits(), answers)
        };
        assert_eq!(drawn(1, 5), drawn(7, 5));
        assert_ne!(drawn(7, 5).2, drawn(7, 6).2);
        let mut groups = Groups::new(&backbone, &plugin, &questions, &questions, settings(), 1, 4).unwrap();
        let mut entropy = || groups.evaluate(&params).unwrap().measures.policy_entropy.to_bits();
        assert_eq!(entropy(), entropy());
    }

    #[test]
    fn a_run_of_groups_resumes_to_the_same_bits_and_not_as_another() {
        let (backbone, corpus) = (testing::speaker(), corpus());
        let plugin = testing::speaker_plugin(&backbone, OPTIONS);
        let questions = Questions::new(&corpus, None, &AnswerRule::Number).unwrap();
        let mut groups = Groups::new(&backbone, &plugin, &questions, &questions, settings(), 1, 4).unwrap();
        let settings = RlSettings { steps: 6, lr: 0.05, patience: None, eval_every: 4 };
        let mut train = |folder: &std::path::Path, name: &str, stop, resume| {
            let identity = [("groups".to_owned(), name.to_owned())].into();
            let mut run = RunFolder::open(folder, resume)?;
            reinforce(&plugin, &mut groups, &settings, &identity, stop, &mut run, &ProgressBar::hidden())
        };
        let (one, two) = (testing::folder("groups-whole"), testing::folder("groups-parts"));
        let want = train(&one, "a", None, false).unwrap().unwrap();
        assert!(train(&two, "a", Some(3), false).unwrap().is_none());
        assert!(matches!(train(&two, "nothing", None, true), Err(Error::Mismatch { .. })));
        let got = train(&two, "a", None, true).unwrap().unwrap();
        assert!(want.iter().all(|(name, tensor)| values(tensor) == values(&got[name])));
    }

    #[test]
    fn groups_that_compare_nothing_are_refused() {
        let (backbone, corpus) = (testing::speaker(), corpus());
        let plugin = testing::speaker_plugin(&backbone, OPTIONS);
        let questions = Questions::new(&corpus, None, &AnswerRule::Number).unwrap();
        for (settings, flag) in [
            (GroupSettings { size: 1, ..settings() }, "--group"),
            (GroupSettings { size: 1 << 21, ..settings() }, "--group"),
            (GroupSettings { problems: 0, ..settings() }, "--problems"),
        ] {
            let refused = Groups::new(&backbone, &plugin, &questions, &questions, settings, 1, 4);
            assert!(matches!(refused.err(), Some(Error::Setting { name, .. }) if name == flag), "{flag}");
        }
    }
}
