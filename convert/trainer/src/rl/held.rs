//! Latents held for the whole answer: the exact gradient on a table of rewards.

use candle_core::{D, Device, Tensor};

use crate::error::Result;
use crate::eval::accuracy::{Grade, LatentTable, Reward};
use crate::fit::optim::gather;
use crate::plugin::file::Loaded;
use crate::plugin::nets::PolicyNet;
use crate::plugin::params::Params;
use crate::rl::reward::{AnswerMeasures, Learned, PolicyStatistics, RewardSource, RlMeasures, bind, log_policy};
use crate::rollout::samples::Sample;

/// The answers of all latents. A policy's expected reward is `sum_z pi(z|h) r_z`, with `r_z` the
/// [`Reward`] of latent z's answer: nothing is drawn, and no baseline is needed.
///
/// The gradient of the expected reward alone soon prefers one latent everywhere, and then hardly
/// moves any more. So the objective also has `entropy` times the policy's entropy (maximum-entropy
/// RL: its optimum is `pi(z|h) ∝ exp(E[r_z|h] / entropy)`), which leaves every latent a chance
/// where the states may tell it apart. Most probable latents are deployed: they do not depend on
/// it.
pub struct Held<'a> {
    plugin: &'a Loaded,
    train: Bandit,
    valid: Bandit,
    /// What a nat of entropy is worth.
    entropy: f64,
    /// All latents' answers to the held-out problems. `[N][K]`
    samples: Vec<Vec<Sample>>,
    /// The latents that the policy of the last evaluation found most probable. `[N]`
    chosen: Vec<usize>,
}

impl<'a> Held<'a> {
    /// The answers of the plugin's latents to problems to learn and to held-out ones.
    pub fn new(
        plugin: &'a Loaded,
        train: &LatentTable,
        valid: &LatentTable,
        reward: Reward,
        entropy: f64,
    ) -> Result<Self> {
        let first = PolicyNet::bind(&plugin.spec, &|name| plugin.tensor(name))?;
        let bandit = |table| Bandit::new(table, &first, reward);
        let samples = valid.samples.clone();
        Ok(Self { plugin, train: bandit(train)?, valid: bandit(valid)?, entropy, samples, chosen: Vec::new() })
    }
}

impl RewardSource for Held<'_> {
    fn start(&self) -> Result<Params> {
        Params::policy(&self.plugin.tensors, 1.0)
    }

    fn learn(&mut self, policy: &Params, _step: u64) -> Result<Learned> {
        let (loss, measures) = self.train.score(&bind(self.plugin, policy)?, self.entropy)?;
        // The answers are the same at every step.
        let rollouts = self.train.grades.iter().map(|grades| grades.len() as u64).sum();
        let measures = RlMeasures { rollouts: Some(rollouts), ..measures };
        Ok(Learned { gradients: gather(policy, &loss.backward()?), measures })
    }

    fn evaluate(&mut self, policy: &Params) -> Result<RlMeasures> {
        let policy = bind(self.plugin, policy)?;
        let (_, measures) = self.valid.score(&policy, self.entropy)?;
        let chosen = policy.logits(&self.valid.states)?.argmax_keepdim(D::Minus1)?;
        let reward = self.valid.deployed(&chosen)?;
        self.chosen = chosen.flatten_all()?.to_vec1::<u32>()?.into_iter().map(|latent| latent as usize).collect();
        let answers = self.valid.grades.iter().zip(&self.chosen).map(|(grades, &latent)| &grades[latent]);
        let answers = AnswerMeasures::of(&answers.collect::<Vec<&Grade>>());
        Ok(RlMeasures { reward, expected_reward: Some(measures.reward), answers, ..measures })
    }

    fn samples(&self, count: usize) -> Vec<Sample> {
        let chosen = self.samples.iter().zip(&self.chosen).take(count);
        chosen.filter_map(|(samples, &latent)| samples.get(latent).cloned()).collect()
    }
}

/// States, and what each latent is worth in each of them.
struct Bandit {
    /// `[N, d]`
    states: Tensor,
    /// `[N, K]`
    rewards: Tensor,
    /// log pi of the policy at first. `[N, K]`
    first: Tensor,
    /// The answers. `[N][K]`
    grades: Vec<Vec<Grade>>,
}

impl Bandit {
    fn new(table: &LatentTable, policy: &PolicyNet, reward: Reward) -> Result<Self> {
        let rewards: Vec<f32> =
            table.grades.iter().flatten().map(|grade| reward.of(grade.score, grade.tokens) as f32).collect();
        let (n, d) = (table.states.len(), table.states.first().map_or(0, Vec::len));
        let states = Tensor::from_vec(table.states.concat(), (n, d), &Device::Cpu)?;
        let first = log_policy(policy, &states)?.detach();
        let rewards = Tensor::from_vec(rewards, first.dims(), &Device::Cpu)?;
        Ok(Self { states, rewards, first, grades: table.grades.clone() })
    }

    /// What is minimised, the expected reward and what the entropy is worth times -1, and what is
    /// logged.
    fn score(&self, policy: &PolicyNet, entropy: f64) -> Result<(Tensor, RlMeasures)> {
        let PolicyStatistics { log, drift } = PolicyStatistics::new(policy, &self.states, &self.first)?;
        let pi = log.exp()?;
        let expected = (&pi * &self.rewards)?.sum(1)?.mean(0)?;
        let reward = f64::from(expected.to_scalar::<f32>()?);
        let negative_entropy = (pi * log)?.sum(1)?.mean(0)?;
        let loss = ((negative_entropy * entropy)? - expected)?;
        Ok((loss, RlMeasures { reward, drift: Some(drift), ..RlMeasures::default() }))
    }

    /// The mean reward of these latents `[N, 1]`.
    fn deployed(&self, chosen: &Tensor) -> Result<f64> {
        Ok(f64::from(self.rewards.gather(chosen, 1)?.mean_all()?.to_scalar::<f32>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::accuracy::argmax;
    use crate::plugin::nets::names;
    use crate::rl::task::tests::{plugin, table, values};
    use crate::testing::assert_close;

    #[test]
    fn held_out_a_policy_earns_what_its_most_probable_latents_do() {
        let plugin = plugin();
        let table = table(plugin.spec.options);
        let params = Params::policy(&plugin.tensors, 1.0).unwrap();
        let measures = Held::new(&plugin, &table, &table, Reward::default(), 0.0).unwrap().evaluate(&params).unwrap();
        assert_close(measures.answers.unwrap().right as f32, measures.reward as f32, 1e-6);
        let policy = table.policy(&plugin).unwrap();
        let right = |row: usize, latent: usize| table.grades[row][latent].score;
        let rows = || policy.iter().enumerate();
        let deployed: f64 = rows().map(|(i, pi)| right(i, argmax(pi))).sum::<f64>() / policy.len() as f64;
        let expected =
            |(i, pi): (usize, &Vec<f64>)| -> f64 { pi.iter().enumerate().map(|(z, p)| p * right(i, z)).sum() };
        let expected: f64 = rows().map(expected).sum::<f64>() / policy.len() as f64;
        assert_close(measures.reward as f32, deployed as f32, 1e-6);
        assert_close(measures.expected_reward.unwrap() as f32, expected as f32, 1e-6);
        assert!((deployed - expected).abs() > 0.01);
    }

    #[test]
    fn tokens_have_their_price() {
        let plugin = plugin();
        let params = Params::policy(&plugin.tensors, 1.0).unwrap();
        let table = table(plugin.spec.options);
        let earned = |token_cost| {
            let mut held = Held::new(&plugin, &table, &table, Reward { token_cost }, 0.0).unwrap();
            held.evaluate(&params).unwrap()
        };
        // Each answer of the table has one token.
        assert_close(earned(0.25).reward as f32, earned(0.0).reward as f32 - 0.25, 1e-6);
        let [with, without] = [0.25, 0.0].map(|cost| earned(cost).expected_reward.unwrap() as f32);
        assert_close(with, without - 0.25, 1e-6);
    }

    #[test]
    fn the_gradient_is_that_of_the_expected_reward() {
        let plugin = plugin();
        let params = Params::policy(&plugin.tensors, 1.0).unwrap();
        let policy = bind(&plugin, &params).unwrap();
        let bandit = Bandit::new(&table(plugin.spec.options), &policy, Reward::default()).unwrap();
        let gradients = bandit.score(&policy, 0.25).unwrap().0.backward().unwrap();
        // By hand: d/dlogit_z of sum pi r is pi_z (r_z - sum pi r), r_z being the reward less a
        // quarter of log pi_z, and the last bias adds to the logits.
        let (name, bias) = params.trained().find(|(name, _)| name.ends_with("out.bias")).unwrap();
        let log = log_policy(&policy, &bandit.states).unwrap();
        let (pi, worth) = (log.exp().unwrap(), (&bandit.rewards - (log * 0.25).unwrap()).unwrap());
        let mean = (&pi * &worth).unwrap().sum_keepdim(1).unwrap();
        let want = (&pi * worth.broadcast_sub(&mean).unwrap()).unwrap().mean(0).unwrap();
        for (got, want) in values(gradients.get(bias).unwrap()).into_iter().zip(values(&want)) {
            assert_close(-got, want, 1e-6);
        }
        assert!(name.starts_with(names::POLICY));
    }
}
