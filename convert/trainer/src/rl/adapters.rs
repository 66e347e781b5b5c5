//! Tokens as actions: low-rank adapters on the backbone learn, from answers whose tokens are drawn
//! at temperature 1.

use std::path::PathBuf;

use ollm_runtime::gguf::TensorType;

use crate::data::corpus::Problem;
use crate::data::tensor_file::Tensors;
use crate::error::Result;
use crate::features::backbone::{BackboneModel, Example, TextSettings};
use crate::features::head::OutputHead;
use crate::features::segments::Hold;
use crate::lora::adapters::Lora;
use crate::lora::merged;
use crate::lora::network::Network;
use crate::lora::pieces::{Target, learn, pieces};
use crate::lora::workers::WorkerPools;
use crate::plugin::params::Params;
use crate::ranks::Ranks;
use crate::rl::groups::{Actor, Choosing, Reinforced};
use crate::rl::reward::Drift;
use crate::rollout::engine::{Answer, LatentPlan, Plan, RolloutEngine};

/// Type of the matrices that have adapters, in the model that answers.
const MERGED: TensorType = TensorType::F16;

/// What adapters are trained on, and how.
pub struct AdapterActor<'a> {
    /// The backbone without them.
    pub backbone: &'a BackboneModel,
    /// How it is given text.
    pub text: TextSettings,
    /// The backbone as a network.
    pub network: &'a Network,
    /// Its head.
    pub head: &'a OutputHead,
    /// The adapters.
    pub lora: &'a Lora,
    /// Seed of the adapters.
    pub seed: u64,
    /// Threads that learn.
    pub workers: WorkerPools,
    /// Ranks that learn.
    pub ranks: Ranks,
    /// Tokens that run through the network at a time.
    pub pass_tokens: usize,
    /// Threads that answer; 0: one for each core.
    pub threads: usize,
    /// Answers that are worked on at once.
    pub slots: usize,
    /// Where the model that answers is written, step by step; removed in the end.
    pub scratch: PathBuf,
}

impl Drop for AdapterActor<'_> {
    fn drop(&mut self) {
        // It may not be there; a file that stays harms nobody.
        let _ = std::fs::remove_file(&self.scratch);
    }
}

impl Actor for AdapterActor<'_> {
    fn start(&self) -> Result<Params> {
        self.lora.params(self.seed, self.network.device())
    }

    fn drawn(&self) -> Choosing {
        Choosing { latents: LatentPlan::Backbone, held: Hold::All, temperature: 1.0 }
    }

    fn deployed(&self) -> Choosing {
        Choosing { temperature: 0.0, ..self.drawn() }
    }

    fn answers(&self, params: &Params, problems: &[Problem], plan: &Plan) -> Result<Vec<Vec<Answer>>> {
        merged::write(self.backbone.model(), self.lora, &params.tensors(), MERGED, &self.scratch)?;
        let adapted = BackboneModel::open(&self.scratch, &self.text)?;
        RolloutEngine::new(&adapted, None, self.threads, self.slots)?.answers(problems, plan)
    }

    fn gradients(&self, params: &Params, answers: &[Reinforced<'_>]) -> Result<Tensors> {
        let count = answers.iter().map(|reinforced| reinforced.answer.ids.len()).sum();
        let telling = answers.iter().filter(|reinforced| reinforced.advantage != 0.0);
        let example = |&Reinforced { problem, answer, advantage }: &Reinforced<'_>| {
            let mut tokens = self.backbone.prompt(problem)?;
            let answer_start = tokens.len();
            tokens.extend(&answer.ids);
            Ok((Example { tokens, answer_start }, advantage as f32))
        };
        let examples: Vec<(Example, f32)> = telling.map(example).collect::<Result<_>>()?;
        let targets = examples.iter().map(|(example, weight)| Target::weighted(example, *weight)).collect();
        let adapters = self.lora.adapters(&params.tensors(), self.network.dtype())?;
        let network = adapters.apply(self.network)?;
        let pieces = pieces(targets, self.pass_tokens);
        let (_, mut gradients) = learn(&pieces, count, &network, self.head, &adapters, &self.workers, &self.ranks)?;
        for (name, var) in params.trained().filter(|_| pieces.is_empty()) {
            gradients.insert(name.clone(), var.zeros_like()?);
        }
        Ok(gradients)
    }

    /// None: it would take the network before and after, over all answers.
    fn drift(&self, _params: &Params, _answers: &[Vec<Answer>]) -> Result<Option<Drift>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor};

    use super::*;
    use crate::lora::adapters::{LoraShape, LoraTarget};
    use crate::rl::task::tests::values;
    use crate::testing::{self, assert_close};

    /// Calls `with` an actor on a tiny backbone, which works on `slots` answers and as many pieces
    /// at once.
    fn with_actor<T>(slots: usize, with: impl FnOnce(&AdapterActor<'_>) -> T) -> T {
        let backbone = testing::speaker();
        let frozen = testing::frozen_of(&backbone);
        let head = OutputHead::new(&frozen, 1 << 20).unwrap();
        let network = Network::new(backbone.model(), &frozen.embedding, DType::F32).unwrap();
        let shape = LoraShape { targets: LoraTarget::ALL.to_vec(), rank: Some(2), alpha: None };
        let lora = Lora::new(&shape, &network, 1).unwrap();
        let scratch = testing::folder(&format!("answering-{slots}"));
        let actor = AdapterActor {
            backbone: &backbone,
            text: TextSettings::default(),
            network: &network,
            head: &head,
            lora: &lora,
            seed: 1,
            workers: WorkerPools::new(slots).unwrap(),
            ranks: Ranks::alone(),
            pass_tokens: 16,
            threads: 1,
            slots,
            scratch: scratch.to_path_buf(),
        };
        let outcome = with(&actor);
        drop(actor);
        assert!(!scratch.exists());
        outcome
    }

    fn drawn(actor: &AdapterActor<'_>, params: &Params, problem: &Problem) -> Vec<Answer> {
        let Choosing { latents, held, temperature } = actor.drawn();
        let plan = Plan { latents, held, temperature, samples: 3, tokens: 9, states: true, seed: 1 };
        actor.answers(params, std::slice::from_ref(problem), &plan).unwrap().remove(0)
    }

    fn reinforced<'a>(problem: &'a Problem, answers: &'a [Answer], advantages: [f64; 3]) -> Vec<Reinforced<'a>> {
        let answers = answers.iter().zip(advantages);
        answers.map(|(answer, advantage)| Reinforced { problem, answer, advantage }).collect()
    }

    #[test]
    fn the_gradient_is_that_of_the_tokens_of_better_answers() {
        with_actor(2, |actor| {
            let (params, problem) = (actor.start().unwrap(), Problem::new("ab", "1"));
            let answers = drawn(actor, &params, &problem);
            let advantages = [1.5, -0.5, 0.0];
            let told = reinforced(&problem, &answers, advantages);
            let gradients = actor.gradients(&params, &told).unwrap();
            // From the definition, along the gradient itself.
            let loss = |params: &Params| {
                let adapters = actor.lora.adapters(&params.tensors(), DType::F32).unwrap();
                let network = adapters.apply(actor.network).unwrap();
                let log_prob = |answer: &Answer| {
                    let mut tokens = actor.backbone.prompt(&problem).unwrap();
                    let answer_start = tokens.len();
                    tokens.extend(&answer.ids);
                    let example = Example { tokens, answer_start };
                    -pieces(vec![Target::of(&example)], 16)[0].score(&network, actor.head).unwrap().loss
                };
                let sum: f64 = answers.iter().zip(advantages).map(|(answer, worth)| worth * log_prob(answer)).sum();
                -sum / answers.iter().map(|answer| answer.ids.len()).sum::<usize>() as f64
            };
            let squares = |tensor: &Tensor| values(tensor).into_iter().map(|x| x * x).sum::<f32>();
            let slope: f32 = gradients.values().map(squares).sum();
            let moved = |step: f64| {
                let other = actor.start().unwrap();
                for (name, var) in other.trained() {
                    var.set(&(var.as_tensor() + (&gradients[name] * step).unwrap()).unwrap()).unwrap();
                }
                loss(&other)
            };
            let step = 1e-2 / f64::from(slope.sqrt());
            assert!(slope > 1e-6);
            assert_close(((moved(step) - moved(-step)) / (2.0 * step)) as f32, slope, 0.03 * slope);
            let silent = actor.gradients(&params, &reinforced(&problem, &answers, [0.0; 3])).unwrap();
            assert!(silent.len() == gradients.len() && silent.values().flat_map(values).all(|value| value == 0.0));
        });
    }

    #[test]
    fn answers_are_those_of_the_adapted_backbone_and_the_same_however_many_at_once() {
        let answers = |slots| {
            with_actor(slots, |actor| {
                let (params, problem) = (actor.start().unwrap(), Problem::new("ab", "1"));
                let first = drawn(actor, &params, &problem);
                let told = reinforced(&problem, &first, [1.0, -1.0, 0.5]);
                let bits = |tensor| values(tensor).into_iter().map(f32::to_bits).collect();
                let gradients: Vec<Vec<u32>> = actor.gradients(&params, &told).unwrap().values().map(bits).collect();
                for (name, var) in params.trained() {
                    var.set(&testing::normal(name, var.dims(), 1.0)).unwrap();
                }
                (drawn(actor, &params, &problem), first, gradients)
            })
        };
        let (adapted, first, gradients) = answers(1);
        assert!(adapted != first && first.iter().all(|answer| answer.ids.len() >= answer.tokens));
        assert_eq!(answers(3), (adapted, first, gradients));
    }
}
