//! Latents as actions: the policy chooses one for each token or line, and tokens are greedy.

use candle_core::{Device, Tensor};

use crate::data::corpus::Problem;
use crate::data::tensor_file::Tensors;
use crate::error::Result;
use crate::features::backbone::BackboneModel;
use crate::features::segments::Hold;
use crate::fit::optim::gather;
use crate::plugin::file::Loaded;
use crate::plugin::nets::PolicyNet;
use crate::plugin::params::Params;
use crate::rl::groups::{Actor, Choosing, Reinforced};
use crate::rl::reward::{Drift, PolicyStatistics, bind, log_policy};
use crate::rollout::engine::{Answer, LatentChoice, LatentPlan, Plan, RolloutEngine};

/// The policy of a plugin.
pub struct LatentActor<'a> {
    backbone: &'a BackboneModel,
    plugin: &'a Loaded,
    first: PolicyNet,
    held: Hold,
    threads: usize,
    slots: usize,
}

impl<'a> LatentActor<'a> {
    /// The policy of `plugin` on `backbone`, on `threads` threads (0: one for each core), `slots`
    /// answers at once.
    pub fn new(
        backbone: &'a BackboneModel,
        plugin: &'a Loaded,
        held: Hold,
        threads: usize,
        slots: usize,
    ) -> Result<Self> {
        let first = PolicyNet::bind(&plugin.spec, &|name| plugin.tensor(name))?;
        Ok(Self { backbone, plugin, first, held, threads, slots })
    }

    /// The states of choices: `[N, d]`.
    fn states<'c>(&self, choices: impl Iterator<Item = &'c LatentChoice>) -> Result<Tensor> {
        let states: Vec<f32> = choices.flat_map(|choice| choice.state.iter().map(|x| x.to_f32())).collect();
        Ok(Tensor::from_vec(states, ((), self.plugin.spec.backbone.hidden), &Device::Cpu)?)
    }
}

impl Actor for LatentActor<'_> {
    fn start(&self) -> Result<Params> {
        Params::policy(&self.plugin.tensors, 1.0)
    }

    fn drawn(&self) -> Choosing {
        Choosing { latents: LatentPlan::Sampled(1.0), held: self.held, temperature: 0.0 }
    }

    fn deployed(&self) -> Choosing {
        Choosing { latents: LatentPlan::Policy, ..self.drawn() }
    }

    fn answers(&self, params: &Params, problems: &[Problem], plan: &Plan) -> Result<Vec<Vec<Answer>>> {
        let plugin = Loaded { spec: self.plugin.spec.clone(), tensors: params.tensors() };
        RolloutEngine::new(self.backbone, Some(&plugin), self.threads, self.slots)?.answers(problems, plan)
    }

    fn gradients(&self, params: &Params, answers: &[Reinforced<'_>]) -> Result<Tensors> {
        let choices = || answers.iter().flat_map(|reinforced| &reinforced.answer.choices);
        let latents: Vec<u32> = choices().map(|choice| choice.latent as u32).collect();
        let worth = answers.iter().flat_map(|&Reinforced { answer, advantage, .. }| {
            std::iter::repeat_n(advantage as f32, answer.choices.len())
        });
        let rows = latents.len();
        let log = log_policy(&bind(self.plugin, params)?, &self.states(choices())?)?;
        let taken = log.gather(&Tensor::from_vec(latents, (rows, 1), &Device::Cpu)?, 1)?;
        let loss = (taken * Tensor::from_vec(worth.collect::<Vec<f32>>(), (rows, 1), &Device::Cpu)?)?.mean_all()?;
        Ok(gather(params, &loss.neg()?.backward()?))
    }

    fn drift(&self, params: &Params, answers: &[Vec<Answer>]) -> Result<Option<Drift>> {
        let states = self.states(answers.iter().flatten().flat_map(|answer| &answer.choices))?;
        let first = log_policy(&self.first, &states)?;
        Ok(Some(PolicyStatistics::new(&bind(self.plugin, params)?, &states, &first)?.drift))
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::plugin::nets::names;
    use crate::rl::task::tests::values;
    use crate::testing::{self, assert_close};

    const OPTIONS: usize = 3;

    #[test]
    fn the_gradient_is_that_of_the_choices_of_better_answers() {
        let backbone = testing::speaker();
        let plugin = testing::speaker_plugin(&backbone, OPTIONS);
        let actor = LatentActor::new(&backbone, &plugin, Hold::Token, 1, 2).unwrap();
        let choice = |at: usize, latent| {
            let state = (0..32).map(|i| f16::from_f32(((i * 7 + at * 3) % 5) as f32 - 2.0)).collect();
            LatentChoice { at, latent, state }
        };
        let answer = |choices: &[(usize, usize)]| Answer {
            text: String::new(),
            tokens: choices.len(),
            finished: true,
            choices: choices.iter().map(|&(at, latent)| choice(at, latent)).collect(),
            ids: Vec::new(),
        };
        let answers = [answer(&[(0, 1), (1, 2)]), answer(&[(0, 0)]), answer(&[(0, 2)]), answer(&[(2, 1)])];
        let problem = Problem::new("ab", "1");
        let reinforced = answers.iter().zip([1.0, -1.0, 0.0, 0.0]);
        let reinforced: Vec<Reinforced<'_>> =
            reinforced.map(|(answer, advantage)| Reinforced { problem: &problem, answer, advantage }).collect();
        let params = actor.start().unwrap();
        let gradients = actor.gradients(&params, &reinforced).unwrap();
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
        let (name, _) = params.trained().find(|(name, _)| name.ends_with("out.bias")).unwrap();
        assert!(name.starts_with(names::POLICY));
        for (got, want) in values(&gradients[name]).into_iter().zip(want) {
            assert_close(got, want, 1e-6);
        }
    }
}
