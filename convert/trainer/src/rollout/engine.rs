//! Rollouts: the deployed model answers problems, many at once.
//!
//! Answers go through ollm-runtime in one batch: each has a slot in it, and the slot of a finished
//! one is taken by the next. A problem's prompt is fed once, and forked for each of its answers.
//! What an answer is depends on the plan, the problem and its number alone: not on the other
//! answers, the number of slots, or the threads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use half::f16;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::{HoldUntil, LatentMode, Plugin, Selector, TokenEnds};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Batch, Session, SessionError, SessionOptions, Step, Turn};
use serde::{Deserialize, Serialize};

use crate::data::corpus::Problem;
use crate::data::hash::fnv1a;
use crate::data::rng::Rng;
use crate::error::{Error, Result};
use crate::features::backbone::{BackboneModel, StateSource};
use crate::features::segments::{self, Hold};
use crate::limits::MAX_COUNT;
use crate::plugin::deploy;
use crate::plugin::file::Loaded;

/// How the latents of an answer are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LatentPlan {
    /// There are none: the backbone answers.
    Backbone,
    /// The policy's most probable one.
    Policy,
    /// Drawn from the policy, at a temperature.
    Sampled(f32),
    /// All at once: tokens follow the mixture of the options.
    Mixture,
    /// Always this one.
    Fixed(usize),
    /// Answer z of a problem holds latent z.
    Enumerated,
}

/// How problems are answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// How latents are chosen.
    pub latents: LatentPlan,
    /// How long they stay.
    #[serde(serialize_with = "segments::serialize_hold")]
    pub held: Hold,
    /// Temperature of the tokens; 0 is greedy.
    pub temperature: f32,
    /// Answers to each problem.
    pub samples: usize,
    /// Tokens of an answer at most.
    pub tokens: usize,
    /// Whether what training needs comes along: the hidden states at which latents were chosen, and
    /// all tokens.
    pub states: bool,
    /// Seed of every random choice.
    pub seed: u64,
}

/// A latent that was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatentChoice {
    /// Tokens that the answer had by then.
    pub at: usize,
    /// The latent.
    pub latent: usize,
    /// The hidden state it was chosen at: `[d]`; empty where the plan does not ask for it.
    pub state: Vec<f16>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text, without the token that ends the turn.
    pub text: String,
    /// Tokens of the text.
    pub tokens: usize,
    /// Whether the model ended it, rather than the limit of tokens or of the context.
    pub finished: bool,
    /// The latents, one after the other; none of backbone and mixture.
    pub choices: Vec<LatentChoice>,
    /// The tokens, that which ends the turn included; empty where the plan does not ask for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
}

/// The answers to a problem as they are stored, and sent from rank to rank: JSON.
///
/// # Panics
/// Never: they are names, numbers and text.
pub fn encode(answers: &[Answer]) -> Vec<u8> {
    serde_json::to_vec(answers).expect("names, numbers and text")
}

/// What [`encode`] made bytes of.
pub fn decode(bytes: &[u8]) -> Result<Vec<Answer>> {
    serde_json::from_slice(bytes).map_err(|error| Error::bad_file(Path::new("answers"), error.to_string()))
}

/// A model that answers.
pub struct RolloutEngine<'a> {
    backbone: &'a BackboneModel,
    plugin: Option<Arc<Plugin>>,
    root: Session,
    token_ends: TokenEnds,
    /// Answers that are worked on at once.
    slots: usize,
}

impl<'a> RolloutEngine<'a> {
    /// The backbone, with or without a plugin, on `threads` threads (0: one for each core). `slots`
    /// answers are worked on at once.
    pub fn new(backbone: &'a BackboneModel, plugin: Option<&Loaded>, threads: usize, slots: usize) -> Result<Self> {
        Self::on(backbone.model(), backbone, plugin, threads, slots)
    }

    /// The same of another model that has the tokens and templates of `backbone`.
    pub fn on(
        model: &Arc<Model>,
        backbone: &'a BackboneModel,
        plugin: Option<&Loaded>,
        threads: usize,
        slots: usize,
    ) -> Result<Self> {
        let plugin = plugin.map(|plugin| deploy::bind(plugin, model)).transpose()?.map(Arc::new);
        let options = SessionOptions { threads, context: backbone.context(), ..SessionOptions::default() };
        let root = Session::new(Arc::clone(model), plugin.clone(), &options)?;
        let token_ends = backbone.token_ends();
        Ok(Self { backbone, plugin, root, token_ends, slots: slots.max(1) })
    }

    /// Answers each problem as planned. `each` gets the answers to one problem after the other, in
    /// the order of the problems.
    ///
    /// # Errors
    /// [`Error::Runtime`] if a question does not fit the context, the plan needs a plugin or names
    /// a latent that is not there; or that of `each`.
    pub fn run(
        &self,
        problems: &[Problem],
        plan: &Plan,
        each: &mut dyn FnMut(usize, Vec<Answer>) -> Result<()>,
    ) -> Result<()> {
        if !(1..=MAX_COUNT).contains(&plan.samples) {
            return Err(Error::Setting {
                name: "--samples",
                reason: "must be 1 to 1048576 answers to a problem".into(),
            });
        }
        let mut queue = RolloutQueue { engine: self, problems, plan, problem: 0, sample: 0, prompt: None };
        let mut finished = Finished { answers: BTreeMap::new(), next: 0, samples: plan.samples };
        let (mut batch, mut slots) = (Batch::default(), Vec::new());
        loop {
            while slots.len() < self.slots
                && let Some(slot) = queue.next()?
            {
                slots.push(slot);
            }
            if slots.is_empty() {
                return Ok(());
            }
            self.step(&mut batch, &mut slots, plan)?;
            let ended;
            (ended, slots) = slots.into_iter().partition::<Vec<_>, _>(|slot| slot.ended.is_some());
            for slot in ended {
                finished.put(slot.problem, slot.sample, self.answer(slot, plan.states));
            }
            finished.give(each)?;
        }
    }

    /// The answers to all problems.
    pub fn answers(&self, problems: &[Problem], plan: &Plan) -> Result<Vec<Vec<Answer>>> {
        let mut all = Vec::with_capacity(problems.len());
        self.run(problems, plan, &mut |_, answers| {
            all.push(answers);
            Ok(())
        })?;
        Ok(all)
    }

    /// A session that has read the question.
    fn prompt(&self, problem: &Problem) -> Result<Session> {
        let mut session = self.root.fork()?;
        session.feed(&self.backbone.prompt(problem)?)?;
        Ok(session)
    }

    /// Answer `sample` of a problem, of which nothing is there yet.
    fn slot(&self, prompt: &Session, problem: &Problem, plan: &Plan, sample: usize) -> Result<RolloutSlot> {
        let name =
            fnv1a(problem.before.iter().map(|turn| turn.content.as_bytes()).chain([problem.question.as_bytes()]));
        let seed = |what: &str| Rng::stream(plan.seed, &format!("{what} of {name:016x}"), sample as u64).bits();
        let options =
            SamplerOptions { temperature: plan.temperature, seed: seed("tokens"), ..SamplerOptions::default() };
        let sampler = Sampler::new(options).map_err(ollm_runtime::Error::from)?;
        let (selector, session) = (self.selector(plan, sample, seed("latents"))?, prompt.fork()?);
        Ok(RolloutSlot {
            problem: 0,
            sample,
            session,
            selector,
            sampler,
            tokens: Vec::new(),
            choices: Vec::new(),
            state: None,
            end: None,
            ended: None,
        })
    }

    fn selector(&self, plan: &Plan, sample: usize, seed: u64) -> Result<Option<Selector>> {
        let mode = match plan.latents {
            LatentPlan::Backbone => return Ok(None),
            LatentPlan::Policy => LatentMode::Policy,
            LatentPlan::Sampled(temperature) => LatentMode::Sample { temperature },
            LatentPlan::Mixture => LatentMode::Mixture,
            LatentPlan::Fixed(latent) => LatentMode::Fixed(latent),
            LatentPlan::Enumerated => LatentMode::Fixed(sample),
        };
        let hold = HoldUntil::new(plan.held, self.token_ends.clone());
        let no_plugin = || ollm_runtime::Error::from(SessionError::NoPlugin);
        let options = self.plugin.as_ref().ok_or_else(no_plugin)?.option_count();
        let selector = Selector::new(mode, hold, options, seed).map_err(ollm_runtime::Error::from)?;
        Ok(Some(selector))
    }

    /// One token of each answer.
    fn step(&self, batch: &mut Batch, slots: &mut [RolloutSlot], plan: &Plan) -> Result<()> {
        if plan.states {
            let mut sessions: Vec<&mut Session> = slots.iter_mut().map(|slot| &mut slot.session).collect();
            batch.advance(&mut sessions).into_iter().collect::<std::result::Result<(), SessionError>>()?;
        }
        slots.iter_mut().try_for_each(|slot| slot.note_choice(plan.states))?;
        let outcomes = batch.step(&mut slots.iter_mut().map(RolloutSlot::turn).collect::<Vec<_>>());
        for (slot, outcome) in slots.iter_mut().zip(outcomes) {
            match outcome {
                Ok(step) => slot.take(step, self.backbone.tokenizer().is_end(step.token), plan.tokens),
                Err(SessionError::ContextFull { .. }) => slot.ended = Some(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn answer(&self, slot: RolloutSlot, ids: bool) -> Answer {
        Answer {
            text: self.backbone.tokenizer().decode(&slot.tokens),
            tokens: slot.tokens.len(),
            finished: slot.ended == Some(true),
            choices: slot.choices,
            ids: if ids { slot.tokens.into_iter().chain(slot.end).collect() } else { Vec::new() },
        }
    }
}

/// An answer that is worked on.
struct RolloutSlot {
    problem: usize,
    sample: usize,
    session: Session,
    selector: Option<Selector>,
    sampler: Sampler,
    tokens: Vec<u32>,
    choices: Vec<LatentChoice>,
    /// The state of the choice that the next step makes, if it makes one.
    state: Option<Vec<f16>>,
    /// The token that ended its turn.
    end: Option<u32>,
    /// Whether it was the model that ended it, once it is ended.
    ended: Option<bool>,
}

impl RolloutSlot {
    fn turn(&mut self) -> Turn<'_> {
        Turn { session: &mut self.session, selector: self.selector.as_ref(), sampler: &mut self.sampler }
    }

    /// Sees whether the next step chooses a latent.
    fn note_choice(&mut self, states: bool) -> Result<()> {
        self.state = match &self.selector {
            Some(_) if self.session.latent_state().held.is_none() => {
                Some(if states { short(self.session.hidden()?)? } else { Vec::new() })
            }
            _ => None,
        };
        Ok(())
    }

    /// Takes what a step gave; `end` is a token that is not part of the text.
    fn take(&mut self, step: Step, end: bool, limit: usize) {
        if let Some((state, latent)) = self.state.take().zip(step.latent) {
            self.choices.push(LatentChoice { at: self.tokens.len(), latent, state });
        }
        if end {
            (self.end, self.ended) = (Some(step.token), Some(true));
        } else {
            self.tokens.push(step.token);
            self.ended = (self.tokens.len() >= limit).then_some(false);
        }
    }
}

/// A hidden state as it is kept: in f16, as the trainer's features are.
fn short(state: &[f32]) -> Result<Vec<f16>> {
    let short: Vec<f16> = state.iter().map(|&value| f16::from_f32(value)).collect();
    let finite = short.iter().all(|value| value.is_finite());
    if finite { Ok(short) } else { Err(Error::NonFinite { what: "a hidden state (as f16)".into() }) }
}

/// The answers that are still to be begun, in their order.
struct RolloutQueue<'r, 'a> {
    engine: &'r RolloutEngine<'a>,
    problems: &'r [Problem],
    plan: &'r Plan,
    problem: usize,
    sample: usize,
    /// What has read the current problem.
    prompt: Option<Session>,
}

impl RolloutQueue<'_, '_> {
    fn next(&mut self) -> Result<Option<RolloutSlot>> {
        let Some(problem) = self.problems.get(self.problem) else { return Ok(None) };
        let prompt = self.prompt.take().map_or_else(|| self.engine.prompt(problem), Ok)?;
        let slot = self.engine.slot(&prompt, problem, self.plan, self.sample)?;
        let slot = RolloutSlot { problem: self.problem, ..slot };
        self.sample += 1;
        if self.sample < self.plan.samples {
            self.prompt = Some(prompt);
        } else {
            (self.problem, self.sample) = (self.problem + 1, 0);
        }
        Ok(Some(slot))
    }
}

/// Answers that wait for those to the problems before.
struct Finished {
    answers: BTreeMap<usize, Vec<Option<Answer>>>,
    /// The next problem to be given out.
    next: usize,
    samples: usize,
}

impl Finished {
    fn put(&mut self, problem: usize, sample: usize, answer: Answer) {
        self.answers.entry(problem).or_insert_with(|| vec![None; self.samples])[sample] = Some(answer);
    }

    /// Hands out the problems that are complete.
    fn give(&mut self, each: &mut dyn FnMut(usize, Vec<Answer>) -> Result<()>) -> Result<()> {
        while self.answers.get(&self.next).is_some_and(|answers| answers.iter().all(Option::is_some)) {
            let answers = self.answers.remove(&self.next).unwrap_or_default();
            each(self.next, answers.into_iter().flatten().collect())?;
            self.next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const OPTIONS: usize = 3;

    fn problems() -> Vec<Problem> {
        let problem = |question: &str| Problem::new(question, "1");
        ["ab", "and one that is longer", "c", "d e", "f"].map(problem).to_vec()
    }

    fn plan(latents: LatentPlan, held: Hold, temperature: f32, samples: usize) -> Plan {
        Plan { latents, held, temperature, samples, tokens: 24, states: false, seed: 7 }
    }

    fn roll(slots: usize, threads: usize, problems: &[Problem], plan: &Plan) -> Vec<Vec<Answer>> {
        let backbone = testing::speaker();
        let plugin = testing::speaker_plugin(&backbone, OPTIONS);
        let engine = RolloutEngine::new(&backbone, Some(&plugin), threads, slots).unwrap();
        let mut all = Vec::new();
        let mut each = |index, answers| {
            assert_eq!(index, all.len());
            all.push(answers);
            Ok(())
        };
        engine.run(problems, plan, &mut each).unwrap();
        all
    }

    #[test]
    fn an_answer_depends_on_its_plan_problem_and_number_alone() {
        let plans = [
            plan(LatentPlan::Backbone, Hold::Token, 0.0, 1),
            plan(LatentPlan::Backbone, Hold::Token, 1.0, 3),
            plan(LatentPlan::Policy, Hold::Token, 0.0, 1),
            plan(LatentPlan::Mixture, Hold::Token, 0.7, 2),
            plan(LatentPlan::Sampled(1.0), Hold::All, 0.0, 3),
            plan(LatentPlan::Sampled(1.0), Hold::Token, 0.0, 2),
            plan(LatentPlan::Sampled(1.0), Hold::Line, 1.0, 2),
            plan(LatentPlan::Enumerated, Hold::All, 0.0, OPTIONS),
        ];
        let problems = problems();
        for plan in plans {
            let all = roll(1, 1, &problems, &plan);
            assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [plan.samples; 5]);
            assert_eq!(roll(4, 2, &problems, &plan), all, "{plan:?}");
            assert_eq!(roll(64, 1, &problems, &plan), all, "{plan:?}");
            // Other problems before it, other answers beside it.
            let reversed: Vec<Problem> = problems.iter().rev().cloned().collect();
            let mut backwards = roll(3, 1, &reversed, &plan);
            backwards.reverse();
            assert_eq!(backwards, all, "{plan:?}");
            if plan.latents != LatentPlan::Enumerated {
                let more = roll(5, 1, &problems, &Plan { samples: plan.samples + 2, ..plan });
                assert!(more.iter().zip(&all).all(|(more, all)| more[..all.len()] == all[..]), "{plan:?}");
            }
            let other = roll(4, 1, &problems, &Plan { seed: 8, ..plan });
            let random = plan.temperature > 0.0 || matches!(plan.latents, LatentPlan::Sampled(_));
            assert_eq!(other != all, random, "{plan:?}");
        }
    }

    #[test]
    fn choices_come_with_their_states() {
        let held = |held| {
            let plan = Plan { states: true, ..plan(LatentPlan::Sampled(1.0), held, 0.0, 2) };
            roll(3, 1, &problems(), &plan)
        };
        let (answers, tokens) = (held(Hold::All), held(Hold::Token));
        for (answer, token) in answers.iter().flatten().zip(tokens.iter().flatten()) {
            assert_eq!(answer.choices.len(), 1);
            assert_eq!(answer.choices[0].state.len(), 32);
            assert!(answer.choices[0].state.iter().any(|&x| x != f16::ZERO));
            assert_eq!(token.choices.len(), token.tokens + usize::from(token.finished));
            assert!(token.choices.iter().enumerate().all(|(i, choice)| choice.at == i && choice.latent < OPTIONS));
            assert_eq!(token.ids.len(), token.choices.len());
            // The first state is the question's own.
            assert_eq!(token.choices[0].state, answer.choices[0].state);
        }
        let enumerated = roll(2, 1, &problems(), &plan(LatentPlan::Enumerated, Hold::All, 0.0, OPTIONS));
        for answers in enumerated {
            assert!(answers.iter().enumerate().all(|(z, answer)| answer.choices[0].latent == z));
            assert!(answers.iter().all(|answer| answer.choices[0].state.is_empty() && answer.ids.is_empty()));
        }
    }

    #[test]
    fn an_answer_ends_with_the_limit_or_with_the_context() {
        let short = roll(2, 1, &problems(), &Plan { tokens: 5, ..plan(LatentPlan::Policy, Hold::Token, 0.0, 1) });
        assert!(short.iter().flatten().all(|answer| answer.tokens == 5 || answer.finished));
        let long = roll(2, 1, &problems(), &Plan { tokens: 500, ..plan(LatentPlan::Policy, Hold::Token, 0.0, 1) });
        assert!(long.iter().flatten().all(|answer| answer.finished || answer.tokens < 96));
        assert!(long.iter().flatten().any(|answer| !answer.finished));
    }

    #[test]
    fn what_cannot_be_planned_is_an_error() {
        let backbone = testing::speaker();
        let engine = RolloutEngine::new(&backbone, None, 1, 2).unwrap();
        let run = |plan: Plan, question: String| {
            let problem = Problem::new(question, "1");
            engine.run(&[problem], &plan, &mut |_, _| Ok(())).unwrap_err().to_string()
        };
        let policy = plan(LatentPlan::Policy, Hold::Token, 0.0, 1);
        assert!(run(policy, "a".into()).contains("plugin"));
        for samples in [0, usize::MAX] {
            assert!(run(Plan { samples, ..policy }, "a".into()).contains("samples"));
        }
        assert!(run(plan(LatentPlan::Backbone, Hold::Token, 0.0, 1), "long ".repeat(50)).contains("context"));
        assert!(run(plan(LatentPlan::Backbone, Hold::Token, -1.0, 1), "a".into()).contains("temperature"));
    }
}
