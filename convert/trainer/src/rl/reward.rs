//! Where rewards come from, and what is measured of those who earn them.

use candle_core::Tensor;
use serde::Serialize;

use crate::data::tensor_file::Tensors;
use crate::error::Result;
use crate::eval::accuracy::Grade;
use crate::fit::TaskMeasures;
use crate::plugin::file::Loaded;
use crate::plugin::nets::PolicyNet;
use crate::plugin::params::Params;
use crate::rollout::samples::Sample;

/// The name in logs and checkpoints.
pub(super) const STAGE: &str = "rl";

/// Problems to learn and held-out ones, and what answers to them earn.
pub trait RewardSource {
    /// What is trained, as it is at first.
    fn start(&self) -> Result<Params>;

    /// What a step on problems to learn says.
    fn learn(&mut self, params: &Params, step: u64) -> Result<Learned>;

    /// The held-out problems, answered as it deploys.
    fn evaluate(&mut self, params: &Params) -> Result<RlMeasures>;

    /// What was answered to the first `count` held-out problems in the last evaluation, at most.
    fn samples(&self, count: usize) -> Vec<Sample>;
}

/// What a step says.
pub struct Learned {
    /// Of what is minimised, by the names of the trained tensors.
    pub gradients: Tensors,
    /// What is logged.
    pub measures: RlMeasures,
}

/// What is logged of a step or an evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RlMeasures {
    /// The mean reward of an answer. Of a step, what is learned from: of held latents expected, of
    /// groups that of the drawn answers. On held-out problems as it deploys: that of the most
    /// probable latents, or of greedy tokens.
    pub reward: f64,
    /// On held-out problems, of held latents: the expected reward of a latent drawn from the
    /// policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_reward: Option<f64>,
    /// How far it is from what it was at first, where that is computed.
    #[serde(flatten)]
    pub drift: Option<Drift>,
    /// Of the answers that earned the reward, where there are any.
    #[serde(flatten)]
    pub answers: Option<AnswerMeasures>,
    /// Of a step's groups: the share of those whose answers all earn the same, which say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_signal: Option<f64>,
    /// Different answers that steps so far learned from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollouts: Option<u64>,
}

/// How far a distribution over actions is from what it was at first. Actions are latents, in the
/// states at which they are chosen, or tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// KL(now, at first), in nats: the mean over states.
    pub kl: f64,
    /// What else is said of it.
    #[serde(flatten)]
    pub entropies: Entropies,
}

/// How wide a distribution over actions is, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Entropies {
    /// Of latents.
    Latents {
        /// Of the policy: the mean over states.
        policy_entropy: f64,
        /// Of its mean over states: how evenly latents are used.
        usage_entropy: f64,
    },
    /// Of tokens.
    Tokens {
        /// The mean over states.
        token_entropy: f64,
    },
}

/// What answers are like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AnswerMeasures {
    /// Share that is right.
    pub right: f64,
    /// Tokens of an answer.
    pub tokens: f64,
    /// Share that is degenerate: see [`crate::eval::degeneracy`].
    pub degenerate: f64,
}

impl AnswerMeasures {
    /// The means over answers; none of no answers.
    pub(super) fn of(grades: &[&Grade]) -> Option<Self> {
        let mean =
            |value: &dyn Fn(&Grade) -> f64| grades.iter().map(|grade| value(grade)).sum::<f64>() / grades.len() as f64;
        let share = |value: &dyn Fn(&Grade) -> bool| mean(&|grade| f64::from(u8::from(value(grade))));
        (!grades.is_empty()).then(|| Self {
            right: share(&|grade| grade.is_right()),
            tokens: mean(&|grade| grade.tokens as f64),
            degenerate: share(&|grade| grade.flaws.is_degenerate()),
        })
    }
}

impl TaskMeasures for RlMeasures {
    fn is_finite(&self) -> bool {
        let drift = self.drift.iter().flat_map(|&Drift { kl, entropies }| match entropies {
            Entropies::Latents { policy_entropy, usage_entropy } => [kl, policy_entropy, usage_entropy],
            Entropies::Tokens { token_entropy } => [kl, token_entropy, token_entropy],
        });
        drift.chain([self.reward]).chain(self.expected_reward).all(f64::is_finite)
    }

    fn summary(&self) -> String {
        let kl = self.drift.map_or(String::new(), |drift| format!(", KL {:.3}", drift.kl));
        format!("reward {:.4}{kl}", self.reward)
    }
}

/// What a policy does in some states.
pub(super) struct PolicyStatistics {
    /// log pi. `[N, K]`
    pub(super) log: Tensor,
    /// How far it is from log pi at first.
    pub(super) drift: Drift,
}

impl PolicyStatistics {
    /// In `states` `[N, d]`, where log pi was `first` `[N, K]`.
    pub(super) fn new(policy: &PolicyNet, states: &Tensor, first: &Tensor) -> Result<Self> {
        let log = log_policy(policy, states)?;
        let pi = log.exp()?.detach();
        let fixed = log.detach();
        let usage = pi.mean(0)?;
        let number = |tensor: Tensor| -> Result<f64> { Ok(f64::from(tensor.to_scalar::<f32>()?)) };
        let usage_entropy = (&usage * (&usage + f64::from(f32::MIN_POSITIVE))?.log()?)?.sum_all()?.neg()?;
        let drift = Drift {
            kl: number((&pi * (&fixed - first)?)?.sum(1)?.mean(0)?)?,
            entropies: Entropies::Latents {
                policy_entropy: number((&pi * &fixed)?.sum(1)?.mean(0)?.neg()?)?,
                usage_entropy: number(usage_entropy)?,
            },
        };
        Ok(Self { log, drift })
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
