//! `sft`: the stages one after the other, each from its checkpoint, from a file, or from its first
//! step.
//!
//! Everything a step depends on is in the checkpoint or named by seed and step, so a run that was
//! interrupted and resumed ends, on a CPU, with the same bits as one that was not.

mod initial;
mod steps;

use std::path::{Path, PathBuf};

use candle_core::Device;
use indicatif::ProgressBar;
use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig, TRAINING_PREFIX};
use serde::Serialize;

use crate::data::tensor_file::Tensors;
use crate::data::tensor_file::{self, FileMetadata};
use crate::error::{Error, Result};
use crate::features::backbone::Frozen;
use crate::features::head::OutputHead;
use crate::features::segments::Hold;
use crate::features::states::Features;
use crate::fit::order::Order;
use crate::fit::run::RunFolder;
use crate::fit::{Ended, FitOutcome, Schedule, Trainer};
use crate::limits::MAX_COUNT;
use crate::plugin::deploy;
use crate::plugin::file::{Loaded, Provenance};
use crate::plugin::params::Params;
use crate::ranks::Ranks;
use crate::rollout::samples::SampleQuestions;
use crate::sft::settings::SftSettings;
use crate::sft::stages::{ControlStage, OptionStage, PolicyStage, SftStage};
use crate::sft::summary::OptionSummary;
use initial::{InitialTensors, check};
use steps::{StageSamples, StageTask, evaluation_batches, micro_batches, segments_a_step};

/// What a run trains on.
pub struct SftData<'a> {
    /// The backbone's matrices.
    pub frozen: &'a Frozen,
    /// The head that scores options.
    pub head: &'a OutputHead,
    /// Features of the training text, with candidates where those are scored.
    pub train: &'a Features<'a>,
    /// Features of held-out text, for evaluations over the whole vocabulary.
    pub valid: Option<&'a Features<'a>>,
    /// For the plugin's metadata.
    pub provenance: &'a Provenance,
    /// Held-out questions that are answered at each evaluation.
    pub samples: Option<&'a SampleQuestions<'a>>,
}

/// What a run begins with, and when it evaluates, saves and stops.
#[derive(Clone, Debug, Default)]
pub struct SftPace {
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between evaluations on the held-out text.
    pub eval_every: u64,
    /// Stop after this many steps, resumably.
    pub stop_after: Option<u64>,
    /// A control or a plugin of another run: the stages begin with its tensors, and a stage of no
    /// epochs leaves them as they are.
    pub init_from: Option<PathBuf>,
}

/// Trains control and options into `run`, from its checkpoint if it has one.
pub fn sft(
    material: &SftData<'_>,
    settings: &SftSettings,
    pace: &SftPace,
    run: &mut RunFolder,
    bar: &ProgressBar,
) -> Result<Ended> {
    settings.check()?;
    let mut session = SftRun::open(material, settings, pace, run, bar)?;
    let Some(control) = session.control()? else { return Ok(Ended::Stopped) };
    let Some(plugin) = session.options(&control)? else { return Ok(Ended::Stopped) };
    let Some(plugin) = session.policy(&plugin)? else { return Ok(Ended::Stopped) };
    let path = session.fit.run.plugin();
    session.fit.run.write(&path, &plugin, &session.metadata())?;
    session.summarize(control, plugin)?;
    Ok(Ended::Finished)
}

/// One invocation of `sft`.
struct SftRun<'a> {
    material: &'a SftData<'a>,
    settings: &'a SftSettings,
    pace: &'a SftPace,
    fit: Trainer<'a>,
    spec: PluginConfig,
    initial: Option<InitialTensors>,
}

/// A line of the log: the evaluation whose tensors a stage ends with.
#[derive(Debug, Serialize)]
struct Kept {
    stage: &'static str,
    split: &'static str,
    step: u64,
    loss: f64,
}

impl<'a> SftRun<'a> {
    fn open(
        material: &'a SftData<'a>,
        settings: &'a SftSettings,
        pace: &'a SftPace,
        run: &'a mut RunFolder,
        bar: &'a ProgressBar,
    ) -> Result<Self> {
        let (about, provenance) = (&material.frozen.about, material.provenance);
        if settings.patience.is_some() && material.valid.is_none_or(Features::is_empty) {
            let reason = "stops by the loss on held-out text: name some with --valid".into();
            return Err(Error::Setting { name: "--patience", reason });
        }
        check_balance(material.train, settings)?;
        check_ranks(material.train, settings, run.ranks())?;
        let mut identity = settings.identity(about, &provenance.data_hash);
        let head = if material.train.has_candidates() { "candidates" } else { "full" };
        identity.insert("head".into(), head.into());
        if let (Some(_), Some(hash)) = (settings.patience, &provenance.valid_hash) {
            identity.insert("looks".into(), format!("every {} steps at {hash}", pace.eval_every));
        }
        let (spec, device) = (settings.spec(about), material.frozen.head.weight.device());
        let initial = pace.init_from.as_deref();
        let initial = initial.map(|path| InitialTensors::read(path, &spec, settings, about, device)).transpose()?;
        identity.insert("init".into(), initial.as_ref().map_or("nothing", |initial| &initial.hash).into());
        let fit = Trainer::open(run, bar, identity, pace.stop_after, device)?;
        Ok(Self { material, settings, pace, fit, spec, initial })
    }

    fn device(&self) -> &'a Device {
        self.material.frozen.head.weight.device()
    }

    fn metadata(&self) -> FileMetadata {
        let metadata = self.settings.metadata(&self.spec, self.material.provenance);
        let init = self.initial.iter().map(|initial| (format!("{TRAINING_PREFIX}init"), initial.hash.clone()));
        metadata.into_iter().chain(init).collect()
    }

    /// Stage 1, or what an earlier one left. None: stopped on the way.
    fn control(&mut self) -> Result<Option<Tensors>> {
        let path = self.fit.run.control();
        if self.fit.resumes().is_some_and(|stage| stage != "control") {
            return self.load_control(&path).map(Some);
        }
        let tensors = self.train_control()?;
        if let Some(tensors) = &tensors {
            self.fit.run.write(&path, tensors, &self.metadata())?;
        }
        Ok(tensors)
    }

    fn load_control(&self, path: &Path) -> Result<Tensors> {
        let loaded = Loaded::control(path, &self.material.frozen.about, self.device())?;
        check(path, "width", &self.spec.decoder.width(), &loaded.spec.decoder.width())?;
        check(path, "value width", &self.spec.value_width, &loaded.spec.value_width)?;
        Ok(loaded.tensors)
    }

    fn train_control(&mut self) -> Result<Option<Tensors>> {
        let params = Params::control(&self.spec, self.settings.seed, self.device())?;
        if let Some(initial) = &self.initial {
            params.restore(initial.control())?;
        }
        let mut stage = ControlStage::new(&self.spec, &params, self.material.head)?;
        let ended = self.train(&mut stage, &params, self.settings.control_epochs)?;
        Ok((ended == Ended::Finished).then(|| params.tensors()))
    }

    /// Stage 2, or what an earlier one left. None: stopped on the way.
    fn options(&mut self, control: &Tensors) -> Result<Option<Tensors>> {
        let (settings, material) = (self.settings, self.material);
        let path = self.fit.run.options();
        if self.fit.resumes() == Some("policy") {
            return self.load_options(&path, control).map(Some);
        }
        let params = Params::options(&self.spec, control, settings.keep_control, settings.seed, self.device())?;
        if let Some(initial) = self.initial.as_ref().and_then(|initial| initial.options(control)) {
            params.restore(&initial)?;
        }
        let mut stage = OptionStage::new(&self.spec, &params, material.head, material.frozen, settings)?;
        if self.train(&mut stage, &params, settings.epochs)? == Ended::Stopped {
            return Ok(None);
        }
        let tensors = params.tensors();
        self.fit.run.write(&path, &tensors, &self.metadata())?;
        Ok(Some(tensors))
    }

    /// Options of this run's sizes, on this control where their kind keeps it.
    fn load_options(&self, path: &Path, control: &Tensors) -> Result<Tensors> {
        let loaded = Loaded::plugin(path, &self.material.frozen.about, self.device())?;
        check(path, "decoder", &self.spec.decoder, &loaded.spec.decoder)?;
        check(path, "options", &self.spec.options, &loaded.spec.options)?;
        check(path, "policy width", &self.spec.policy_width, &loaded.spec.policy_width)?;
        check(path, "value width", &self.spec.value_width, &loaded.spec.value_width)?;
        if matches!(self.spec.decoder, DecoderKind::LowRank { .. }) {
            let mine = |tensors: &Tensors| tensor_file::hash(tensors, control.keys());
            check(path, "control, by its hash", &mine(control)?, &mine(&loaded.tensors)?)?;
            let kept = deploy::control_latent(&loaded)?.is_some();
            check(path, "keep-control", &self.settings.keep_control, &kept)?;
        }
        Ok(loaded.tensors)
    }

    /// Says what the plugin is on the held-out text.
    fn summarize(&mut self, control: Tensors, plugin: Tensors) -> Result<()> {
        let &SftData { head, valid, .. } = self.material;
        let [control, plugin] = [control, plugin].map(|tensors| Loaded { spec: self.spec.clone(), tensors });
        let batches = valid.into_iter().flat_map(|valid| evaluation_batches(valid, self.settings.batch));
        let summary = OptionSummary::new(&plugin, &control, head, batches)?;
        self.fit.summarize("sft", summary.as_ref())
    }

    /// Stage 3. None: stopped on the way.
    fn policy(&mut self, options: &Tensors) -> Result<Option<Tensors>> {
        let params = Params::policy(options, self.settings.spread)?;
        let mut stage = PolicyStage::new(&self.spec, &params, self.material.head)?;
        let ended = self.train(&mut stage, &params, self.settings.policy_epochs)?;
        Ok((ended == Ended::Finished).then(|| params.tensors()))
    }

    /// Takes a stage's steps, from the checkpoint if it is of this stage.
    fn train(&mut self, stage: &mut dyn SftStage, params: &Params, epochs: usize) -> Result<Ended> {
        let (settings, &SftData { train, valid, samples, .. }) = (self.settings, self.material);
        let (name, &SftSettings { batch, micro_batch, .. }) = (stage.name(), settings);
        let order = Order::new(train.segments(), segments_a_step(train, batch), settings.seed, name);
        let order = match settings.shuffle_buffer {
            None => order,
            Some(problems) => order.buffered(train.segment_bounds(), problems),
        };
        let ranks = self.fit.run.ranks().clone();
        let schedule = Schedule {
            steps: order.steps_per_epoch() * epochs as u64,
            lr: settings.lr,
            evaluate_every: self.pace.eval_every,
            evaluate_first: false,
            checkpoint_every: self.pace.checkpoint_every,
            patience: settings.patience,
        };
        let samples = samples.map(|questions| StageSamples { questions, spec: &self.spec });
        let mut task =
            StageTask { stage, params, train, valid, batch, micro_batch, ranks, order, held_out: None, samples };
        let FitOutcome::Finished(best) = self.fit.train(&mut task, &schedule)? else { return Ok(Ended::Stopped) };
        if let Some(best) = best {
            self.fit.run.log(&Kept { stage: name, split: "kept", step: best.step, loss: best.loss })?;
        }
        Ok(Ended::Finished)
    }
}

/// That each rank has a micro-batch of a step.
fn check_ranks(text: &Features<'_>, settings: &SftSettings, ranks: &Ranks) -> Result<()> {
    let step = vec![0; segments_a_step(text, settings.batch)];
    let (found, size) = (micro_batches(&step, settings.batch, settings.micro_batch).count(), ranks.size());
    if size <= found {
        return Ok(());
    }
    let reason = format!(
        "a step of {} tokens has {found} micro-batches for {size} processes: at most {} tokens, or a larger --batch",
        settings.batch,
        (settings.batch / size).max(1)
    );
    Err(Error::Setting { name: "--micro-batch", reason })
}

/// Balanced latents differ only where a step has a segment for each: fewer segments would share all
/// latents evenly.
fn check_balance(text: &Features<'_>, settings: &SftSettings) -> Result<()> {
    let found = segments_a_step(text, settings.batch);
    if settings.hold == Hold::Token || found >= settings.options {
        return Ok(());
    }
    let (segments, SftSettings { batch, options, .. }) = (text.segments(), settings);
    let needed = (options * text.len()).div_ceil(segments.max(1));
    let need = format!("{options} options that are used equally often need a segment each in a step");
    if segments < *options || needed > MAX_COUNT {
        let reason =
            format!("{need}, and the data has {segments} of {} tokens: take more data or fewer options", text.len());
        return Err(Error::Setting { name: "--options", reason });
    }
    let reason = format!("{need}, and {batch} tokens are about {found}: {needed} would do");
    Err(Error::Setting { name: "--batch", reason })
}

#[cfg(test)]
mod tests;
