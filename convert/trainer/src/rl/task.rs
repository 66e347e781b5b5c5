//! Rewards as a task of the training loop: its settings, and what a step and an evaluation log.

use candle_core::Device;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::data::tensor_file::{FileMetadata, Tensors, sorted_json};
use crate::error::{Error, Result};
use crate::fit::early_stopping::HeldOutLoss;
use crate::fit::run::RunFolder;
use crate::fit::{Evaluation, FitOutcome, Schedule, Task, TaskStep, Trainer};
use crate::limits::{require, require_positive};
use crate::plugin::params::Params;
use crate::rl::reward::{Learned, RewardSource, RlMeasures, STAGE};
use crate::rollout::samples::Sample;

/// How it is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RlSettings {
    /// Steps; none keep what is there at first.
    pub steps: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Evaluations on the held-out problems without more reward after which it ends; what had most
    /// is kept. None: the last step is.
    pub patience: Option<u64>,
    /// Steps between evaluations.
    #[serde(rename = "survey_every")]
    pub eval_every: u64,
    /// Held-out questions whose answers each evaluation logs.
    #[serde(skip)]
    pub samples: usize,
}

impl RlSettings {
    /// Refuses settings that cannot be trained.
    pub fn check(&self) -> Result<()> {
        require_positive("--lr", self.lr)?;
        require(self.eval_every > 0, "--eval-every", "must be at least 1")?;
        require(self.patience != Some(0), "--patience", "must be at least 1")
    }
}

/// Trains what `rewards` starts with into `run`, from its checkpoint if it has one. Gives all of
/// its tensors; none if it stopped after `stop_after` steps, to be resumed. `identity`: what a
/// checkpoint must agree with, beside the settings.
///
/// # Errors
/// [`Error::NonFinite`] if a reward or a tensor is no number any more: the last checkpoint stays.
pub fn reinforce(
    rewards: &mut dyn RewardSource,
    settings: &RlSettings,
    identity: &FileMetadata,
    stop_after: Option<u64>,
    run: &mut RunFolder,
    bar: &ProgressBar,
) -> Result<Option<Tensors>> {
    settings.check()?;
    if stop_after == Some(0) {
        return Err(Error::Setting { name: "--stop-after", reason: "must be at least 1".into() });
    }
    let mut identity = identity.clone();
    identity.insert("settings".into(), sorted_json(settings));
    let mut task = RewardTask { params: rewards.start()?, rewards, samples: settings.samples };
    let &RlSettings { steps, lr, patience, eval_every, .. } = settings;
    let (evaluate_every, checkpoint_every) = (eval_every, eval_every);
    let schedule = Schedule { steps, lr, evaluate_every, evaluate_first: true, checkpoint_every, patience };
    let mut fit = Trainer::open(run, bar, identity, stop_after, &Device::Cpu)?;
    let FitOutcome::Finished(best) = fit.train(&mut task, &schedule)? else { return Ok(None) };
    fit.summarize_stage(STAGE, "reward", best)?;
    Ok(Some(task.params.tensors()))
}

/// Rewards as a task of the training loop.
struct RewardTask<'a> {
    rewards: &'a mut dyn RewardSource,
    params: Params,
    samples: usize,
}

impl Task for RewardTask<'_> {
    type Measures = RlMeasures;

    fn name(&self) -> &'static str {
        STAGE
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, step: u64) -> Result<TaskStep<RlMeasures>> {
        let Learned { gradients, measures } = self.rewards.learn(&self.params, step)?;
        Ok(TaskStep { gradients, measures, tokens: None })
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation<RlMeasures>>> {
        let measures = self.rewards.evaluate(&self.params)?;
        // Policies that deploy alike are told apart by what they expect.
        let loss = HeldOutLoss { loss: -measures.reward, then: -measures.expected_reward.unwrap_or(0.0) };
        Ok(Some(Evaluation { loss, measures, tokens: None }))
    }

    fn samples(&mut self) -> Result<Vec<Sample>> {
        Ok(self.rewards.samples(self.samples))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::corpus::Problem;
    use crate::eval::accuracy::{Grade, LatentTable, Reward, argmax};
    use crate::eval::degeneracy::Flaws;
    use crate::plugin::file::Loaded;
    use crate::plugin::nets::names;
    use crate::rl::held::Held;
    use crate::testing::{self, TrainCall};
    use candle_core::Tensor;
    use ollm_runtime::plugin::schema::DecoderKind;
    use std::path::Path;

    /// What the policy learns from, and is examined on.
    #[derive(Clone, Copy)]
    struct Tables<'a> {
        train: &'a LatentTable,
        valid: &'a LatentTable,
    }

    impl<'a> Tables<'a> {
        fn same(table: &'a LatentTable) -> Self {
            Self { train: table, valid: table }
        }
    }

    fn grade(right: bool) -> Grade {
        Grade { answer: None, score: f64::from(u8::from(right)), flaws: Flaws::default(), tokens: 1, finished: true }
    }

    pub(crate) fn plugin() -> Loaded {
        let spec = testing::spec(4, DecoderKind::LowRank { width: 8, rank: 2 });
        Loaded { tensors: testing::random_params(&spec).tensors(), spec }
    }

    /// Two kinds of states, each with a latent of its own that is right.
    pub(crate) fn table(options: usize) -> LatentTable {
        let paying = |i: usize| if i.is_multiple_of(2) { 0 } else { options - 1 };
        let state = |i: usize| if i.is_multiple_of(2) { vec![1.0, 0.2, -0.5, 0.1] } else { vec![-0.3, 1.0, 0.4, -0.8] };
        let grades = |i: usize| (0..options).map(|z| grade(z == paying(i))).collect();
        let texts =
            |i: usize| (0..options).map(|z| Sample::new(&Problem::new(format!("q{i}"), "a"), format!("{z}"))).collect();
        LatentTable {
            grades: (0..8).map(grades).collect(),
            states: (0..8).map(state).collect(),
            samples: (0..8).map(texts).collect(),
        }
    }

    fn settings() -> RlSettings {
        RlSettings { steps: 200, lr: 0.02, patience: None, eval_every: 20, samples: 0 }
    }

    fn train(
        folder: &Path,
        plugin: &Loaded,
        tables: Tables<'_>,
        settings: &RlSettings,
        call: TrainCall,
    ) -> Result<Option<Tensors>> {
        let (Tables { train, valid }, TrainCall { stop_after, resume }) = (tables, call);
        let identity = &[("data".to_owned(), "d".to_owned())].into();
        let (mut held, mut run) =
            (Held::new(plugin, train, valid, Reward::default(), 0.0)?, RunFolder::open(folder, resume)?);
        reinforce(&mut held, settings, identity, stop_after, &mut run, &ProgressBar::hidden())
    }

    fn whole(folder: &Path, plugin: &Loaded, tables: Tables<'_>, settings: &RlSettings) -> Tensors {
        train(folder, plugin, tables, settings, TrainCall::WHOLE).unwrap().unwrap()
    }

    fn log(folder: &Path) -> String {
        std::fs::read_to_string(folder.join("log.jsonl")).unwrap()
    }

    pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn each_state_gets_the_latent_that_pays_there_and_only_the_policy_moves() {
        let plugin = plugin();
        let table = table(plugin.spec.options);
        let tensors = whole(&testing::folder("rl"), &plugin, Tables::same(&table), &settings());
        let moved = |name: &&String| values(&tensors[*name]) != values(&plugin.tensors[*name]);
        let moved: Vec<&String> = tensors.keys().filter(moved).collect();
        assert!(!moved.is_empty() && moved.iter().all(|name| name.starts_with(names::POLICY)), "{moved:?}");
        let trained = Loaded { spec: plugin.spec.clone(), tensors };
        for (grades, policy) in table.grades.iter().zip(table.policy(&trained).unwrap()) {
            let best = argmax(&policy);
            assert!(grades[best].is_right() && policy[best] > 0.9, "{policy:?}");
        }
    }

    #[test]
    fn an_interrupted_run_resumes_to_the_same_bits() {
        let (plugin, one, two) = (plugin(), testing::folder("rl-whole"), testing::folder("rl-parts"));
        let table = table(plugin.spec.options);
        let settings = RlSettings { patience: Some(3), ..settings() };
        let want = whole(&one, &plugin, Tables::same(&table), &settings);
        let (mut resume, mut got) = (false, None);
        while got.is_none() {
            // Not where an evaluation is.
            got = train(&two, &plugin, Tables::same(&table), &settings, TrainCall { stop_after: Some(33), resume })
                .unwrap();
            resume = true;
        }
        assert!(want.iter().all(|(name, tensor)| values(tensor) == values(&got.as_ref().unwrap()[name])));
        assert_eq!(log(&one), log(&two));
        let other = RlSettings { lr: 0.01, ..settings };
        let outcome = train(&two, &plugin, Tables::same(&table), &other, TrainCall::REST);
        assert!(matches!(outcome, Err(Error::Mismatch { .. })));
    }

    #[test]
    fn each_evaluation_logs_what_the_chosen_latents_answer() {
        let (plugin, folder) = (plugin(), testing::folder("rl-samples"));
        let table = table(plugin.spec.options);
        whole(&folder, &plugin, Tables::same(&table), &RlSettings { samples: 2, ..settings() });
        let log = log(&folder);
        let samples: Vec<&str> = log.lines().filter(|line| line.contains("\"split\":\"sample\"")).collect();
        assert_eq!(samples.len(), 2 * 11);
        // In the end it is the latents that pay.
        let last = plugin.spec.options - 1;
        for (sample, question, answer) in [(samples[20], 0, 0), (samples[21], 1, last)] {
            let says = format!("\"question\":\"q{question}\",\"expected\":\"a\",\"answer\":\"{answer}\"");
            assert!(sample.contains(&says) && sample.contains("\"step\":200"), "{sample}");
        }
        assert!(log.lines().last().unwrap().contains("\"split\":\"summary\",\"measure\":\"reward\""), "{log}");
    }

    #[test]
    fn patience_keeps_what_paid_most_held_out() {
        let plugin = plugin();
        let train = table(plugin.spec.options);
        // Held out, the other latents pay: the policy at first is the best that there is.
        let opposite = LatentTable {
            grades: train.grades.iter().map(|row| row.iter().map(|g| grade(!g.is_right())).collect()).collect(),
            states: train.states.clone(),
            samples: train.samples.clone(),
        };
        let (folder, settings) = (testing::folder("rl-patience"), RlSettings { patience: Some(2), ..settings() });
        let kept = whole(&folder, &plugin, Tables { train: &train, valid: &opposite }, &settings);
        assert!(kept.iter().all(|(name, tensor)| values(tensor) == values(&plugin.tensors[name])));
        assert_eq!(log(&folder).lines().filter(|line| line.contains("valid")).count(), 3);
    }

    #[test]
    fn settings_that_train_nothing_are_refused() {
        let (plugin, folder) = (plugin(), testing::folder("rl-settings"));
        let table = table(plugin.spec.options);
        let no_patience = RlSettings { patience: Some(0), ..settings() };
        for (settings, stop, flag) in [(no_patience, None, "--patience"), (settings(), Some(0), "--stop-after")] {
            let outcome =
                train(&folder, &plugin, Tables::same(&table), &settings, TrainCall { stop_after: stop, resume: false });
            assert!(matches!(outcome, Err(Error::Setting { name, .. }) if name == flag), "{flag}");
        }
        assert!(!folder.exists());
    }

    #[test]
    fn what_is_no_number_ends_the_run_and_the_checkpoint_stays() {
        let (plugin, folder) = (plugin(), testing::folder("rl-nan"));
        let mut table = table(plugin.spec.options);
        train(&folder, &plugin, Tables::same(&table), &settings(), TrainCall::first(20)).unwrap();
        let checkpoint = || std::fs::read(folder.join("checkpoint.safetensors")).unwrap();
        let last = checkpoint();
        table.states[3][0] = f32::NAN;
        let outcome = train(&folder, &plugin, Tables::same(&table), &settings(), TrainCall::REST);
        assert!(matches!(outcome, Err(Error::NonFinite { .. })) && checkpoint() == last);
    }
}
