//! `rl`: the policy learns from right answers, in the latent space.
//!
//! Tokens of a held latent are greedy, so an answer is a function of problem and latent. The answers of all K latents
//! therefore give the expected reward of a policy, `sum_z pi(z|h) r_z` with `r_z` 1 for a right final answer, and its
//! gradient, exactly: nothing is drawn, and no baseline is needed. Only the policy moves, and the state h at which it
//! chooses came with the answers ([`crate::library`]), so that no step runs the backbone.

use candle_core::{Device, Tensor};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::accuracy::Table;
use crate::checkpoint::{self, Position};
use crate::error::{Error, Result};
use crate::nets::Policy;
use crate::optim::{AdamW, learning_rate};
use crate::params::{Params, Tensors};
use crate::patience::Watch;
use crate::plugin::Loaded;
use crate::run::Run;
use crate::tensor_file::Metadata;

/// The name in logs and checkpoints.
const STAGE: &str = "rl";

/// How the policy is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Steps, each over all problems.
    pub steps: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Looks at the held-out problems without more reward after which it ends; what had most is kept. None: the last step
    /// is.
    pub patience: Option<u64>,
    /// Steps between looks.
    pub survey_every: u64,
}

impl Settings {
    /// Refuses settings that cannot be trained.
    pub fn check(&self) -> Result<()> {
        let wrong = [
            ("--steps", self.steps == 0, "must be at least 1"),
            ("--lr", self.lr <= 0.0 || !self.lr.is_finite(), "must be above 0"),
            ("--survey-every", self.survey_every == 0, "must be at least 1"),
            ("--patience", self.patience == Some(0), "must be at least 1"),
        ];
        match wrong.into_iter().find(|(_, wrong, _)| *wrong) {
            Some((name, _, reason)) => Err(Error::Setting { name, reason: reason.into() }),
            None => Ok(()),
        }
    }
}

/// A line of the log.
#[derive(Debug, Serialize)]
struct Entry {
    stage: &'static str,
    split: &'static str,
    step: u64,
    /// The expected reward of a drawn latent.
    reward: f64,
    /// KL(pi, the policy at first), in nats.
    kl: f64,
    /// Of the policy, in nats: the mean over states.
    policy_entropy: f64,
    /// Of its mean over states, in nats: how evenly latents are used.
    usage_entropy: f64,
}

/// What a policy is trained on.
pub struct Material<'a> {
    /// The options, and the policy to begin with.
    pub plugin: &'a Loaded,
    /// Problems to learn.
    pub train: &'a Table,
    /// Held-out problems, which decide when to stop, where there is patience.
    pub valid: &'a Table,
    /// What a checkpoint must agree with, beside the settings.
    pub identity: &'a Metadata,
}

/// Trains the policy into `run`, from its checkpoint if it has one. Gives all of the plugin's tensors, of which only the
/// policy's have changed; none if it stopped after `stop_after` steps, to be resumed.
///
/// # Errors
/// [`Error::NonFinite`] if a reward or a tensor is no number any more: the last checkpoint stays.
pub fn reinforce(
    material: &Material<'_>,
    settings: &Settings,
    stop_after: Option<u64>,
    run: &mut Run,
    bar: &ProgressBar,
) -> Result<Option<Tensors>> {
    settings.check()?;
    if stop_after == Some(0) {
        return Err(Error::Setting { name: "--stop-after", reason: "must be at least 1".into() });
    }
    let plugin = material.plugin;
    let params = Params::policy(&plugin.tensors, 1.0)?;
    let bind = || Policy::bind(&plugin.spec, &|name| params.tensor(name));
    let (train, valid) = (Bandit::new(material.train, &bind()?)?, Bandit::new(material.valid, &bind()?)?);
    let (mut optimizer, mut watch) = (AdamW::new(&params)?, Watch::new(settings.patience));
    let survey = |step: u64, watch: &mut Watch, run: &mut Run| {
        let entry = valid.look(&bind()?)?.entry("valid", step)?;
        bar.set_message(format!("held-out reward {:.4}, KL {:.3}", entry.reward, entry.kl));
        watch.look(-entry.reward, step, &params)?;
        run.log(&entry)
    };
    let mut identity = material.identity.clone();
    identity.insert("settings".into(), serde_json::json!(settings).to_string());
    let first = if run.checkpoint().exists() {
        let found = checkpoint::load(&run.checkpoint(), &identity, &Device::Cpu)?;
        found.restore(&params, &mut optimizer, &mut watch)?;
        run.rewind_log(found.log_bytes)?;
        found.step
    } else {
        run.rewind_log(0)?;
        survey(0, &mut watch, run)?;
        0
    };
    run.record()?;
    bar.set_length(settings.steps);
    bar.set_position(first);
    let stop = stop_after.map_or(u64::MAX, |steps| first + steps);
    for step in first..settings.steps {
        if watch.is_over() {
            break;
        }
        let look = train.look(&bind()?)?;
        run.log(&look.entry("train", step)?)?;
        let rate = learning_rate(settings.lr, step, settings.steps);
        optimizer.step(&params, &look.reward.neg()?.backward()?, step, rate)?;
        bar.inc(1);
        let (step, last) = (step + 1, step + 1 == settings.steps);
        if last || step.is_multiple_of(settings.survey_every) {
            survey(step, &mut watch, run)?;
        }
        if last || step == stop || step.is_multiple_of(settings.survey_every) {
            let (state, watch, identity) = (&Metadata::new(), &watch, &identity);
            run.save(&Position { stage: STAGE, step, state, watch, identity }, &params, &optimizer)?;
        }
        if step == stop && !last {
            return Ok(None);
        }
    }
    watch.keep_best(&params)?;
    Ok(Some(params.tensors()))
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

/// What a policy does in all states.
struct Look {
    reward: Tensor,
    kl: Tensor,
    policy_entropy: Tensor,
    usage_entropy: Tensor,
}

impl Bandit {
    fn new(table: &Table, policy: &Policy) -> Result<Self> {
        let reward = |grades: &Vec<crate::accuracy::Grade>| -> Vec<f32> {
            grades.iter().map(|grade| f32::from(u8::from(grade.right))).collect()
        };
        let rewards: Vec<f32> = table.grades.iter().flat_map(reward).collect();
        let (n, d) = (table.states.len(), table.states.first().map_or(0, Vec::len));
        let states = Tensor::from_vec(table.states.concat(), (n, d), &Device::Cpu)?;
        let first = log_policy(policy, &states)?.detach();
        let rewards = Tensor::from_vec(rewards, first.dims(), &Device::Cpu)?;
        Ok(Self { states, rewards, first })
    }

    fn look(&self, policy: &Policy) -> Result<Look> {
        let log = log_policy(policy, &self.states)?;
        let pi = log.exp()?;
        let usage = pi.mean(0)?;
        Ok(Look {
            reward: (&pi * &self.rewards)?.sum(1)?.mean(0)?,
            kl: (&pi * (&log - &self.first)?)?.sum(1)?.mean(0)?,
            policy_entropy: (&pi * &log)?.sum(1)?.mean(0)?.neg()?,
            usage_entropy: (&usage * (&usage + f64::from(f32::MIN_POSITIVE))?.log()?)?.sum_all()?.neg()?,
        })
    }
}

impl Look {
    fn entry(&self, split: &'static str, step: u64) -> Result<Entry> {
        let Self { reward, kl, policy_entropy, usage_entropy } = self;
        let number = |x: &Tensor| -> Result<f64> {
            let x = f64::from(x.to_scalar::<f32>()?);
            let what = || format!("stage {STAGE}, step {step}: the reward or what is reported with it");
            if x.is_finite() { Ok(x) } else { Err(Error::NonFinite { what: what() }) }
        };
        Ok(Entry {
            stage: STAGE,
            split,
            step,
            reward: number(reward)?,
            kl: number(kl)?,
            policy_entropy: number(policy_entropy)?,
            usage_entropy: number(usage_entropy)?,
        })
    }
}

/// log pi(z | h). `[N, d]` -> `[N, K]`.
fn log_policy(policy: &Policy, states: &Tensor) -> Result<Tensor> {
    Ok(candle_nn::ops::log_softmax(&policy.logits(states)?, candle_core::D::Minus1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::{Grade, argmax};
    use crate::answer::Flaws;
    use crate::nets::names;
    use crate::testing::{self, assert_close};
    use ollm_runtime::options::schema::DecoderKind;
    use std::path::Path;

    fn grade(right: bool) -> Grade {
        Grade { number: None, right, flaws: Flaws::of(""), tokens: 1, finished: true }
    }

    fn plugin() -> Loaded {
        let spec = testing::spec(4, DecoderKind::LowRank { width: 8, rank: 2 });
        Loaded { tensors: testing::random_params(&spec).tensors(), spec }
    }

    /// Two kinds of states, each with a latent of its own that is right.
    fn table(options: usize) -> Table {
        let paying = |i: usize| if i.is_multiple_of(2) { 0 } else { options - 1 };
        let state = |i: usize| if i.is_multiple_of(2) { vec![1.0, 0.2, -0.5, 0.1] } else { vec![-0.3, 1.0, 0.4, -0.8] };
        let grades = |i: usize| (0..options).map(|z| grade(z == paying(i))).collect();
        Table { grades: (0..8).map(grades).collect(), states: (0..8).map(state).collect() }
    }

    fn settings() -> Settings {
        Settings { steps: 200, lr: 0.02, patience: None, survey_every: 20 }
    }

    fn train(
        folder: &Path,
        plugin: &Loaded,
        (train, valid): (&Table, &Table),
        settings: &Settings,
        (stop_after, resume): (Option<u64>, bool),
    ) -> Result<Option<Tensors>> {
        let identity = &[("data".to_owned(), "d".to_owned())].into();
        let material = Material { plugin, train, valid, identity };
        reinforce(&material, settings, stop_after, &mut Run::open(folder, resume)?, &ProgressBar::hidden())
    }

    fn whole(folder: &Path, plugin: &Loaded, tables: (&Table, &Table), settings: &Settings) -> Tensors {
        train(folder, plugin, tables, settings, (None, false)).unwrap().unwrap()
    }

    fn log(folder: &Path) -> String {
        std::fs::read_to_string(folder.join("log.jsonl")).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn each_state_gets_the_latent_that_pays_there_and_only_the_policy_moves() {
        let plugin = plugin();
        let table = table(plugin.spec.options);
        let tensors = whole(&testing::folder("rl"), &plugin, (&table, &table), &settings());
        let moved = |name: &&String| values(&tensors[*name]) != values(&plugin.tensors[*name]);
        let moved: Vec<&String> = tensors.keys().filter(moved).collect();
        assert!(!moved.is_empty() && moved.iter().all(|name| name.starts_with(names::POLICY)), "{moved:?}");
        let trained = Loaded { spec: plugin.spec.clone(), tensors };
        for (grades, policy) in table.grades.iter().zip(table.policy(&trained).unwrap()) {
            let best = argmax(&policy);
            assert!(grades[best].right && policy[best] > 0.9, "{policy:?}");
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_expected_reward() {
        let plugin = plugin();
        let params = Params::policy(&plugin.tensors, 1.0).unwrap();
        let bind = || Policy::bind(&plugin.spec, &|name| params.tensor(name)).unwrap();
        let bandit = Bandit::new(&table(plugin.spec.options), &bind()).unwrap();
        let reward = || bandit.look(&bind()).unwrap().reward;
        let gradients = reward().backward().unwrap();
        // By hand: d/dlogit_z of sum pi r is pi_z (r_z - sum pi r), and the last bias adds to the logits.
        let (name, bias) = params.trained().find(|(name, _)| name.ends_with("out.bias")).unwrap();
        let pi = log_policy(&bind(), &bandit.states).unwrap().exp().unwrap();
        let mean = (&pi * &bandit.rewards).unwrap().sum_keepdim(1).unwrap();
        let want = (&pi * bandit.rewards.broadcast_sub(&mean).unwrap()).unwrap().mean(0).unwrap();
        for (got, want) in values(gradients.get(bias).unwrap()).into_iter().zip(values(&want)) {
            assert_close(got, want, 1e-6);
        }
        assert!(name.starts_with(names::POLICY));
    }

    #[test]
    fn an_interrupted_run_resumes_to_the_same_bits() {
        let (plugin, one, two) = (plugin(), testing::folder("rl-whole"), testing::folder("rl-parts"));
        let table = table(plugin.spec.options);
        let settings = Settings { patience: Some(3), ..settings() };
        let want = whole(&one, &plugin, (&table, &table), &settings);
        let (mut resume, mut got) = (false, None);
        while got.is_none() {
            // Not where a look is.
            got = train(&two, &plugin, (&table, &table), &settings, (Some(33), resume)).unwrap();
            resume = true;
        }
        assert!(want.iter().all(|(name, tensor)| values(tensor) == values(&got.as_ref().unwrap()[name])));
        assert_eq!(log(&one), log(&two));
        let other = Settings { lr: 0.01, ..settings };
        let outcome = train(&two, &plugin, (&table, &table), &other, (None, true));
        assert!(matches!(outcome, Err(Error::Mismatch { .. })));
    }

    #[test]
    fn patience_keeps_what_paid_most_held_out() {
        let plugin = plugin();
        let train = table(plugin.spec.options);
        // Held out, the other latents pay: the policy at first is the best that there is.
        let opposite = Table {
            grades: train.grades.iter().map(|row| row.iter().map(|g| grade(!g.right)).collect()).collect(),
            states: train.states.clone(),
        };
        let (folder, settings) = (testing::folder("rl-patience"), Settings { patience: Some(2), ..settings() });
        let kept = whole(&folder, &plugin, (&train, &opposite), &settings);
        assert!(kept.iter().all(|(name, tensor)| values(tensor) == values(&plugin.tensors[name])));
        assert_eq!(log(&folder).lines().filter(|line| line.contains("valid")).count(), 3);
    }

    #[test]
    fn settings_that_train_nothing_are_refused() {
        let (plugin, folder) = (plugin(), testing::folder("rl-settings"));
        let table = table(plugin.spec.options);
        let no_patience = Settings { patience: Some(0), ..settings() };
        for (settings, stop, flag) in [(no_patience, None, "--patience"), (settings(), Some(0), "--stop-after")] {
            let outcome = train(&folder, &plugin, (&table, &table), &settings, (stop, false));
            assert!(matches!(outcome, Err(Error::Setting { name, .. }) if name == flag), "{flag}");
        }
        assert_eq!(log(&folder), "");
    }

    #[test]
    fn what_is_no_number_ends_the_run_and_the_checkpoint_stays() {
        let (plugin, folder) = (plugin(), testing::folder("rl-nan"));
        let mut table = table(plugin.spec.options);
        train(&folder, &plugin, (&table, &table), &settings(), (Some(20), false)).unwrap();
        let checkpoint = || std::fs::read(folder.join("checkpoint.safetensors")).unwrap();
        let last = checkpoint();
        table.states[3][0] = f32::NAN;
        let outcome = train(&folder, &plugin, (&table, &table), &settings(), (None, true));
        assert!(matches!(outcome, Err(Error::NonFinite { .. })) && checkpoint() == last);
    }
}
