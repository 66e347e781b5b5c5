//! Latents held for the whole answer: the exact gradient on a table of rewards.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::eval::accuracy::{Grade, LatentTable};
use crate::plugin::file::Loaded;
use crate::plugin::nets::PolicyNet;
use crate::plugin::params::Params;
use crate::rl::reward::{PolicyScore, PolicyStatistics, RewardSource, bind, log_policy};

/// The answers of all latents. A policy's expected reward is `sum_z pi(z|h) r_z`, with `r_z` 1 for
/// a right final answer: nothing is drawn, and no baseline is needed.
pub struct Held<'a> {
    plugin: &'a Loaded,
    train: Bandit,
    valid: Bandit,
}

impl<'a> Held<'a> {
    /// The answers of the plugin's latents to problems to learn and to held-out ones.
    pub fn new(plugin: &'a Loaded, train: &LatentTable, valid: &LatentTable) -> Result<Self> {
        let first = PolicyNet::bind(&plugin.spec, &|name| plugin.tensor(name))?;
        Ok(Self { plugin, train: Bandit::new(train, &first)?, valid: Bandit::new(valid, &first)? })
    }
}

impl RewardSource for Held<'_> {
    fn train_batch(&mut self, policy: &Params, _step: u64) -> Result<PolicyScore> {
        self.train.score(&bind(self.plugin, policy)?)
    }

    fn evaluate(&mut self, policy: &Params) -> Result<PolicyScore> {
        self.valid.score(&bind(self.plugin, policy)?)
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
}

impl Bandit {
    fn new(table: &LatentTable, policy: &PolicyNet) -> Result<Self> {
        let reward =
            |grades: &Vec<Grade>| -> Vec<f32> { grades.iter().map(|grade| f32::from(u8::from(grade.right))).collect() };
        let rewards: Vec<f32> = table.grades.iter().flat_map(reward).collect();
        let (n, d) = (table.states.len(), table.states.first().map_or(0, Vec::len));
        let states = Tensor::from_vec(table.states.concat(), (n, d), &Device::Cpu)?;
        let first = log_policy(policy, &states)?.detach();
        let rewards = Tensor::from_vec(rewards, first.dims(), &Device::Cpu)?;
        Ok(Self { states, rewards, first })
    }

    fn score(&self, policy: &PolicyNet) -> Result<PolicyScore> {
        let statistics = PolicyStatistics::new(policy, &self.states, &self.first)?;
        let reward = (statistics.log.exp()? * &self.rewards)?.sum(1)?.mean(0)?;
        let earned = f64::from(reward.to_scalar::<f32>()?);
        Ok(statistics.score(reward.neg()?, earned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::nets::names;
    use crate::rl::task::tests::{plugin, table, values};
    use crate::testing::assert_close;

    #[test]
    fn the_gradient_is_that_of_the_expected_reward() {
        let plugin = plugin();
        let params = Params::policy(&plugin.tensors, 1.0).unwrap();
        let policy = bind(&plugin, &params).unwrap();
        let bandit = Bandit::new(&table(plugin.spec.options), &policy).unwrap();
        let gradients = bandit.score(&policy).unwrap().loss.backward().unwrap();
        // By hand: d/dlogit_z of sum pi r is pi_z (r_z - sum pi r), and the last bias adds to the
        // logits.
        let (name, bias) = params.trained().find(|(name, _)| name.ends_with("out.bias")).unwrap();
        let pi = log_policy(&policy, &bandit.states).unwrap().exp().unwrap();
        let mean = (&pi * &bandit.rewards).unwrap().sum_keepdim(1).unwrap();
        let want = (&pi * bandit.rewards.broadcast_sub(&mean).unwrap()).unwrap().mean(0).unwrap();
        for (got, want) in values(gradients.get(bias).unwrap()).into_iter().zip(values(&want)) {
            assert_close(-got, want, 1e-6);
        }
        assert!(name.starts_with(names::POLICY));
    }
}
