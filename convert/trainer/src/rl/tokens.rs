//! Tokens as actions: the control's own parameters learn, from answers whose tokens are drawn at
//! temperature 1.
//!
//! What latents are compared with: the same groups, rewards and optimizer, in the space of tokens.

use candle_core::{DType, Device, Tensor};

use crate::data::corpus::Problem;
use crate::data::tensor_file::Tensors;
use crate::error::Result;
use crate::features::backbone::BackboneModel;
use crate::features::head::OutputHead;
use crate::features::segments::{Hold, Segments};
use crate::features::states::FeatureBatch;
use crate::fit::optim::gather;
use crate::plugin::file::Loaded;
use crate::plugin::nets::Control;
use crate::plugin::params::Params;
use crate::rl::groups::{Actor, Choosing, Reinforced};
use crate::rl::reward::{Drift, Entropies};
use crate::rollout::engine::{Answer, LatentPlan, Plan, RolloutEngine};

/// The control of a plugin.
pub struct TokenActor<'a> {
    backbone: &'a BackboneModel,
    /// The plugin of one option.
    control: &'a Loaded,
    head: &'a OutputHead,
    threads: usize,
    slots: usize,
}

impl<'a> TokenActor<'a> {
    /// A plugin of one option on `backbone`, whose head is `head`, on `threads` threads (0: one for
    /// each core), `slots` answers at once.
    pub fn new(
        backbone: &'a BackboneModel,
        control: &'a Loaded,
        head: &'a OutputHead,
        threads: usize,
        slots: usize,
    ) -> Self {
        Self { backbone, control, head, threads, slots }
    }

    /// The states at which the tokens of answers were chosen: `[N, d]`.
    fn states<'r>(&self, answers: impl Iterator<Item = &'r Answer>) -> Result<Tensor> {
        let choices = answers.flat_map(|answer| &answer.choices);
        let states: Vec<f32> = choices.flat_map(|choice| choice.state.iter().map(|x| x.to_f32())).collect();
        Ok(Tensor::from_vec(states, ((), self.control.spec.backbone.hidden), &Device::Cpu)?)
    }

    fn bind(&self, params: &Params) -> Result<Control> {
        Control::bind(&self.control.spec, &|name| params.tensor(name))
    }
}

impl Actor for TokenActor<'_> {
    fn start(&self) -> Result<Params> {
        Params::of_control(&self.control.spec, &self.control.tensors)
    }

    fn drawn(&self) -> Choosing {
        // A latent for each token, although there is but one: its states come along.
        Choosing { latents: LatentPlan::Fixed(0), held: Hold::Token, temperature: 1.0 }
    }

    fn deployed(&self) -> Choosing {
        Choosing { temperature: 0.0, ..self.drawn() }
    }

    fn answers(&self, params: &Params, problems: &[Problem], plan: &Plan) -> Result<Vec<Vec<Answer>>> {
        let control = Loaded { spec: self.control.spec.clone(), tensors: params.tensors() };
        RolloutEngine::new(self.backbone, Some(&control), self.threads, self.slots)?.answers(problems, plan)
    }

    fn gradients(&self, params: &Params, answers: &[Reinforced<'_>]) -> Result<Tensors> {
        let count: usize = answers.iter().map(|reinforced| reinforced.answer.ids.len()).sum();
        // What has no advantage adds nothing but its number.
        let telling = || answers.iter().filter(|reinforced| reinforced.advantage != 0.0);
        let next: Vec<u32> = telling().flat_map(|reinforced| &reinforced.answer.ids).copied().collect();
        if next.is_empty() {
            let zeros = params.trained().map(|(name, var)| Ok((name.clone(), var.zeros_like()?)));
            return zeros.collect();
        }
        let worth = telling()
            .flat_map(|&Reinforced { answer, advantage, .. }| std::iter::repeat_n(advantage as f32, answer.ids.len()));
        let hidden = self.states(telling().map(|reinforced| reinforced.answer))?;
        let next = Tensor::new(next, &Device::Cpu)?;
        let options = self.bind(params)?.forward(&hidden)?.unsqueeze(1)?;
        let batch = FeatureBatch { hidden, next, candidates: None, segments: Segments::tokens() };
        let log_prob = self.head.log_prob(&options, &batch)?.squeeze(1)?;
        let worth = Tensor::new(worth.collect::<Vec<f32>>(), &Device::Cpu)?;
        let loss = ((log_prob * worth)?.sum_all()? * -(count as f64).recip())?;
        Ok(gather(params, &loss.backward()?))
    }

    fn drift(&self, params: &Params, answers: &[Vec<Answer>]) -> Result<Option<Drift>> {
        let states = self.states(answers.iter().flatten())?.to_dtype(DType::F32)?;
        let first = self.bind(&self.start()?)?.forward(&states)?;
        let drift = self.head.divergence(&self.bind(params)?.forward(&states)?, &first)?;
        Ok(Some(Drift { kl: drift.kl, entropies: Entropies::Tokens { token_entropy: drift.entropy } }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::deploy;
    use crate::plugin::nets::names;
    use crate::rl::task::tests::values;
    use crate::testing::{self, assert_close};

    /// The loss whose gradient is asked for, from the definition.
    fn loss(actor: &TokenActor<'_>, params: &Params, answers: &[Reinforced<'_>]) -> f64 {
        let (mut sum, mut count) = (0.0, 0);
        for Reinforced { answer, advantage, .. } in answers {
            let states = actor.states(std::iter::once(*answer)).unwrap();
            let options = actor.bind(params).unwrap().forward(&states).unwrap().unsqueeze(1).unwrap();
            let log = actor.head.full_log_prob(&options, &Tensor::new(&*answer.ids, &Device::Cpu).unwrap()).unwrap();
            sum += advantage * f64::from(log.sum_all().unwrap().to_scalar::<f32>().unwrap());
            count += answer.ids.len();
        }
        -sum / count as f64
    }

    #[test]
    fn the_gradient_is_that_of_the_tokens_of_better_answers() {
        let backbone = testing::speaker();
        let control = deploy::control(&testing::speaker_plugin(&backbone, 3)).unwrap();
        let head = OutputHead::new(&testing::frozen_of(&backbone), 1 << 20).unwrap();
        let actor = TokenActor::new(&backbone, &control, &head, 1, 4);
        let (params, problem) = (actor.start().unwrap(), Problem::new("ab", "1"));
        let Choosing { latents, held, temperature } = actor.drawn();
        let plan = Plan { latents, held, temperature, samples: 3, tokens: 9, states: true, seed: 1 };
        let answers = actor.answers(&params, std::slice::from_ref(&problem), &plan).unwrap().remove(0);
        let reinforced = |advantages: [f64; 3]| -> Vec<Reinforced<'_>> {
            let answers = answers.iter().zip(advantages);
            answers.map(|(answer, advantage)| Reinforced { problem: &problem, answer, advantage }).collect()
        };
        let told = reinforced([1.5, -0.5, 0.0]);
        let gradients = actor.gradients(&params, &told).unwrap();
        let trained: Vec<&String> = params.trained().map(|(name, _)| name).collect();
        assert_eq!(gradients.keys().collect::<Vec<_>>(), trained);
        assert!(
            trained.contains(&&names::OUT.to_owned()) && trained.iter().all(|name| name.starts_with(names::DECODER))
        );
        // By differences, along a random direction of one matrix.
        let direction = testing::normal("direction", gradients[names::OUT].dims(), 1.0);
        let slope = (&gradients[names::OUT] * &direction).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        let moved = |step: f64| {
            let other = actor.start().unwrap();
            let (_, var) = other.trained().find(|(name, _)| *name == names::OUT).unwrap();
            var.set(&(var.as_tensor() + (&direction * step).unwrap()).unwrap()).unwrap();
            loss(&actor, &other, &told)
        };
        let step = 1e-3;
        assert!(slope.abs() > 1e-3);
        assert_close(((moved(step) - moved(-step)) / (2.0 * step)) as f32, slope, 0.02 * slope.abs());
        // Where no answer is better than another, nothing is learned.
        let silent = actor.gradients(&params, &reinforced([0.0; 3])).unwrap();
        assert!(silent.len() == trained.len() && silent.values().flat_map(values).all(|value| value == 0.0));
    }

    #[test]
    fn what_moved_has_drifted() {
        let backbone = testing::speaker();
        let control = deploy::control(&testing::speaker_plugin(&backbone, 3)).unwrap();
        let head = OutputHead::new(&testing::frozen_of(&backbone), 1 << 20).unwrap();
        let actor = TokenActor::new(&backbone, &control, &head, 1, 4);
        let Choosing { latents, held, temperature } = actor.deployed();
        let plan = Plan { latents, held, temperature, samples: 1, tokens: 9, states: true, seed: 1 };
        let params = actor.start().unwrap();
        let answers = actor.answers(&params, &[Problem::new("ab", "1")], &plan).unwrap();
        let drift = |params: &Params| actor.drift(params, &answers).unwrap().unwrap();
        assert!(drift(&params).kl.abs() < 1e-6);
        let (_, out) = params.trained().find(|(name, _)| *name == names::OUT).unwrap();
        out.set(&(out.as_tensor() * 1.5).unwrap()).unwrap();
        let Drift { kl, entropies: Entropies::Tokens { token_entropy } } = drift(&params) else { panic!("of tokens") };
        assert!(kl > 1e-4 && token_entropy > 0.0);
    }
}
