//! Where rewards come from, and what a policy does there.

use candle_core::Tensor;
use serde::Serialize;

use crate::error::Result;
use crate::fit::TaskMeasures;
use crate::plugin::file::Loaded;
use crate::plugin::nets::PolicyNet;
use crate::plugin::params::Params;
use crate::rollout::samples::Sample;

/// The name in logs and checkpoints.
pub(super) const STAGE: &str = "rl";

/// Problems to learn and held-out ones, and what a policy earns on them.
pub trait RewardSource {
    /// The policy on the problems of a step; the gradient of its loss is the policy's.
    fn train_batch(&mut self, policy: &Params, step: u64) -> Result<PolicyScore>;

    /// The policy on the held-out problems.
    fn evaluate(&mut self, policy: &Params) -> Result<PolicyScore>;

    /// What the policy of the last evaluation answered to the first `count` held-out problems, at
    /// most.
    fn samples(&self, count: usize) -> Vec<Sample>;
}

/// What a policy does, and what it earns.
pub struct PolicyScore {
    /// What is minimised.
    pub loss: Tensor,
    /// What is logged of it.
    pub measures: PolicyMeasures,
}

/// What is logged of a policy.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PolicyMeasures {
    /// The mean reward of an answer. Of a step, what is learned from: of held latents expected, of
    /// groups that of the drawn answers. On held-out problems as the policy deploys: that of its
    /// most probable latents.
    pub reward: f64,
    /// On held-out problems, of held latents: the expected reward of a latent drawn from the
    /// policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_reward: Option<f64>,
    /// KL(pi, the policy at first), in nats: the mean over states.
    pub kl: f64,
    /// Of the policy, in nats: the mean over states.
    pub policy_entropy: f64,
    /// Of its mean over states, in nats: how evenly latents are used.
    pub usage_entropy: f64,
}

impl TaskMeasures for PolicyMeasures {
    fn is_finite(&self) -> bool {
        let &Self { reward, expected_reward, kl, policy_entropy, usage_entropy } = self;
        [reward, kl, policy_entropy, usage_entropy].into_iter().chain(expected_reward).all(f64::is_finite)
    }

    fn summary(&self) -> String {
        format!("reward {:.4}, KL {:.3}", self.reward, self.kl)
    }
}

/// What a policy does in some states.
pub(super) struct PolicyStatistics {
    /// log pi. `[N, K]`
    pub(super) log: Tensor,
    kl: f64,
    policy_entropy: f64,
    usage_entropy: f64,
}

impl PolicyStatistics {
    /// In `states` `[N, d]`, where log pi was `first` `[N, K]`.
    pub(super) fn new(policy: &PolicyNet, states: &Tensor, first: &Tensor) -> Result<Self> {
        let log = log_policy(policy, states)?;
        let pi = log.exp()?.detach();
        let fixed = log.detach();
        let usage = pi.mean(0)?;
        let number = |tensor: Tensor| -> Result<f64> { Ok(f64::from(tensor.to_scalar::<f32>()?)) };
        Ok(Self {
            kl: number((&pi * (&fixed - first)?)?.sum(1)?.mean(0)?)?,
            policy_entropy: number((&pi * &fixed)?.sum(1)?.mean(0)?.neg()?)?,
            usage_entropy: number((&usage * (&usage + f64::from(f32::MIN_POSITIVE))?.log()?)?.sum_all()?.neg()?)?,
            log,
        })
    }

    pub(super) fn score(self, loss: Tensor, reward: f64) -> PolicyScore {
        let Self { kl, policy_entropy, usage_entropy, .. } = self;
        PolicyScore {
            loss,
            measures: PolicyMeasures { reward, expected_reward: None, kl, policy_entropy, usage_entropy },
        }
    }
}

/// The policy of these tensors.
pub(super) fn bind(plugin: &Loaded, params: &Params) -> Result<PolicyNet> {
    PolicyNet::bind(&plugin.spec, &|name| params.tensor(name))
}

/// log pi(z | h). `[N, d]` -> `[N, K]`.
pub(super) fn log_policy(policy: &PolicyNet, states: &Tensor) -> Result<Tensor> {
    Ok(candle_nn::ops::log_softmax(&policy.logits(states)?, candle_core::D::Minus1)?)
}
