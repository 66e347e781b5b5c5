//! `sft`: the loop that trains a stage, and the two stages one after the other.
//!
//! Everything a step depends on is in the checkpoint or named by seed and step, so a run that was interrupted and
//! resumed ends, on a CPU, with the same bits as one that was not.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use indicatif::ProgressBar;
use ollm_runtime::options::schema::Spec;
use serde::Serialize;

use crate::backbone::Frozen;
use crate::checkpoint::{self, Checkpoint, Position};
use crate::error::{Error, Result};
use crate::features::Features;
use crate::head::Head;
use crate::objective::Terms;
use crate::optim::{AdamW, learning_rate};
use crate::order::Order;
use crate::params::{Params, Tensors};
use crate::patience::Watch;
use crate::plugin::{self, Loaded, Provenance};
use crate::run::Run;
use crate::segments::Hold;
use crate::settings::Settings;
use crate::stages::{ControlStage, OptionStage, PolicyStage, Stage};
use crate::tensor_file::{self, Metadata};

/// Held-out rows that are scored now and then: enough to see a trend, few enough not to be waited for.
const SURVEY_ROWS: usize = 4096;

/// What a run trains on.
pub struct Material<'a> {
    /// The backbone's matrices.
    pub frozen: &'a Frozen,
    /// The head that scores options while training.
    pub head: &'a Head,
    /// Features of the training text.
    pub train: &'a Features,
    /// Features of held-out text.
    pub valid: Option<&'a Features>,
    /// For the plugin's metadata.
    pub provenance: &'a Provenance,
}

/// What does not decide the result: how often to look, save and stop.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between looks at the held-out text.
    pub survey_every: u64,
    /// Stop after this many steps, resumably.
    pub stop_after: Option<u64>,
    /// A control trained before, instead of stage 1.
    pub control: Option<PathBuf>,
    /// Options trained before on that control, instead of stage 2.
    pub options: Option<PathBuf>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The plugin is written.
    Finished,
    /// `stop_after` was reached; `--resume` goes on.
    Stopped,
}

/// Trains control and options into `run`, from its checkpoint if it has one.
pub fn sft(
    material: &Material<'_>,
    settings: &Settings,
    pace: &Pace,
    run: &mut Run,
    bar: &ProgressBar,
) -> Result<Ended> {
    settings.check()?;
    let mut session = Session::open(material, settings, pace, run, bar)?;
    let Some(control) = session.control()? else { return Ok(Ended::Stopped) };
    let Some(plugin) = session.options(&control)? else { return Ok(Ended::Stopped) };
    let Some(plugin) = session.policy(&plugin)? else { return Ok(Ended::Stopped) };
    let path = session.run.plugin();
    tensor_file::save(&path, &plugin, &session.metadata())?;
    Ok(Ended::Finished)
}

/// One invocation of `sft`.
struct Session<'a> {
    material: &'a Material<'a>,
    settings: &'a Settings,
    pace: &'a Pace,
    run: &'a mut Run,
    bar: &'a ProgressBar,
    spec: Spec,
    identity: Metadata,
    checkpoint: Option<Checkpoint>,
    /// Steps that this invocation may still take.
    allowance: u64,
}

/// A line of the log: which look a stage went back to.
#[derive(Debug, Serialize)]
struct Kept {
    stage: &'static str,
    split: &'static str,
    step: u64,
    loss: f64,
}

/// A line of the log: a step, or a look at held-out text (`"split":"valid"`).
#[derive(Debug, Serialize)]
struct Entry {
    stage: &'static str,
    split: &'static str,
    step: u64,
    loss: f64,
    cross_entropy: f64,
    kl: f64,
    beta: f64,
    usage_entropy: f64,
    policy_entropy: f64,
    lr: f64,
    tokens_per_second: f64,
}

impl<'a> Session<'a> {
    fn open(
        material: &'a Material<'a>,
        settings: &'a Settings,
        pace: &'a Pace,
        run: &'a mut Run,
        bar: &'a ProgressBar,
    ) -> Result<Self> {
        let (about, provenance) = (&material.frozen.about, material.provenance);
        if settings.patience.is_some() && material.valid.is_none_or(Features::is_empty) {
            let reason = "stops by the loss on held-out text: name some with --valid".into();
            return Err(Error::Setting { name: "--patience", reason });
        }
        check_balance(material.train, settings)?;
        let mut identity = settings.identity(about, &provenance.data_hash);
        if let (Some(_), Some(hash)) = (settings.patience, &provenance.valid_hash) {
            identity.insert("looks".into(), format!("every {} steps at {hash}", pace.survey_every));
        }
        let path = run.checkpoint();
        let found = path.exists().then(|| checkpoint::load(&path, &identity, material.frozen.head.device()));
        let checkpoint = found.transpose()?;
        run.record()?;
        Ok(Self {
            checkpoint,
            spec: settings.spec(about),
            allowance: pace.stop_after.unwrap_or(u64::MAX),
            material,
            settings,
            pace,
            run,
            bar,
            identity,
        })
    }

    fn device(&self) -> &'a Device {
        self.material.frozen.head.device()
    }

    fn metadata(&self) -> Metadata {
        plugin::metadata(&self.spec, self.settings, self.material.provenance)
    }

    /// Stage 1, or what an earlier one left. None: stopped on the way.
    fn control(&mut self) -> Result<Option<Tensors>> {
        let path = self.run.control();
        if self.checkpoint.as_ref().is_some_and(|found| found.stage != "control") {
            return self.load_control(&path).map(Some);
        }
        let tensors = match &self.pace.control {
            Some(given) => Some(self.load_control(given)?),
            None => self.train_control()?,
        };
        if let Some(tensors) = &tensors {
            tensor_file::save(&path, tensors, &self.metadata())?;
        }
        Ok(tensors)
    }

    fn load_control(&self, path: &Path) -> Result<Tensors> {
        let loaded = Loaded::control(path, &self.material.frozen.about, self.device())?;
        Self::check(path, "width", &self.spec.decoder.width(), &loaded.spec.decoder.width())?;
        Ok(loaded.tensors)
    }

    fn train_control(&mut self) -> Result<Option<Tensors>> {
        let params = Params::control(&self.spec, self.settings.seed, self.device())?;
        let mut stage = ControlStage::new(&self.spec, &params, self.material.head)?;
        let ended = self.train(&mut stage, &params, self.settings.control_epochs)?;
        Ok((ended == Ended::Finished).then(|| params.tensors()))
    }

    /// Stage 2, or what an earlier one left. None: stopped on the way.
    fn options(&mut self, control: &Tensors) -> Result<Option<Tensors>> {
        let (settings, material) = (self.settings, self.material);
        let path = self.run.options();
        if self.checkpoint.as_ref().is_some_and(|found| found.stage == "policy") {
            return self.load_options(&path).map(Some);
        }
        if let Some(given) = &self.pace.options {
            let tensors = self.load_options(given)?;
            tensor_file::save(&path, &tensors, &self.metadata())?;
            return Ok(Some(tensors));
        }
        let params = Params::options(&self.spec, control, settings.seed, self.device())?;
        let objective = (settings.objective, settings.kl_target);
        let mut stage =
            OptionStage::new(&self.spec, &params, material.head, material.frozen, objective, settings.seed)?;
        if self.train(&mut stage, &params, settings.epochs)? == Ended::Stopped {
            return Ok(None);
        }
        let tensors = params.tensors();
        tensor_file::save(&path, &tensors, &self.metadata())?;
        Ok(Some(tensors))
    }

    fn load_options(&self, path: &Path) -> Result<Tensors> {
        let loaded = Loaded::plugin(path, &self.material.frozen.about, self.device())?;
        Self::check(path, "decoder", &self.spec.decoder, &loaded.spec.decoder)?;
        Self::check(path, "options", &self.spec.options, &loaded.spec.options)?;
        Self::check(path, "policy width", &self.spec.policy_width, &loaded.spec.policy_width)?;
        Ok(loaded.tensors)
    }

    /// That a file is of this run's sizes.
    fn check<T: PartialEq + fmt::Debug>(path: &Path, what: &str, expected: &T, found: &T) -> Result<()> {
        if expected == found {
            return Ok(());
        }
        let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
        Err(Error::Mismatch { path: path.to_owned(), what: what.into(), expected, found })
    }

    /// Stage 3. None: stopped on the way.
    fn policy(&mut self, options: &Tensors) -> Result<Option<Tensors>> {
        let params = Params::policy(options, self.settings.spread)?;
        let mut stage = PolicyStage::new(&self.spec, &params, self.material.head)?;
        let ended = self.train(&mut stage, &params, self.settings.policy_epochs)?;
        Ok((ended == Ended::Finished).then(|| params.tensors()))
    }

    /// Takes a stage's steps, from the checkpoint if it is of this stage.
    fn train(&mut self, stage: &mut dyn Stage, params: &Params, epochs: usize) -> Result<Ended> {
        let mut optimizer = AdamW::new(params)?;
        let mut watch = Watch::new(self.settings.patience);
        let text = self.material.train;
        let batch = segments_a_step(text, self.settings.batch);
        let order = Order::new(text.segments(), batch, self.settings.seed, stage.name());
        let steps = order.steps_per_epoch() * epochs as u64;
        let first = self.restore(stage, params, &mut optimizer, &mut watch)?;
        self.bar.reset();
        self.bar.set_length(steps);
        self.bar.set_position(first);
        for (step, segments) in (first..steps).zip(order.batches(first)) {
            if watch.is_over() {
                break;
            }
            if self.allowance == 0 {
                self.save(stage, step, params, &optimizer, &watch)?;
                return Ok(Ended::Stopped);
            }
            self.allowance -= 1;
            self.step(stage, params, &mut optimizer, &segments, (step, steps))?;
            self.look_and_save(stage, params, &optimizer, &mut watch, (step + 1, steps))?;
        }
        if watch.has_best() {
            watch.keep_best(params)?;
            self.run.log(&Kept { stage: stage.name(), split: "kept", step: watch.step, loss: watch.loss })?;
        }
        Ok(Ended::Finished)
    }

    /// The step to begin with.
    fn restore(
        &mut self,
        stage: &mut dyn Stage,
        params: &Params,
        optimizer: &mut AdamW,
        watch: &mut Watch,
    ) -> Result<u64> {
        let Some(found) = self.checkpoint.take_if(|found| found.stage == stage.name()) else { return Ok(0) };
        found.restore(params, optimizer, watch)?;
        stage.set_beta(found.state("beta")?);
        self.run.rewind_log(found.log_bytes)?;
        Ok(found.step)
    }

    fn save(&mut self, stage: &dyn Stage, step: u64, params: &Params, optimizer: &AdamW, watch: &Watch) -> Result<()> {
        let (log_bytes, identity) = (self.run.log_length()?, &self.identity);
        let state = &[("beta".to_owned(), stage.beta().to_string())].into();
        let position = Position { stage: stage.name(), step, state, log_bytes, watch, identity };
        checkpoint::save(&self.run.checkpoint(), &position, params, optimizer)
    }

    fn step(
        &mut self,
        stage: &mut dyn Stage,
        params: &Params,
        optimizer: &mut AdamW,
        segments: &[u32],
        (step, steps): (u64, u64),
    ) -> Result<()> {
        let start = Instant::now();
        let lr = learning_rate(self.settings.lr, step, steps);
        let batch = self.material.train.segment_batch(segments)?;
        let terms = stage.terms(&batch, step)?;
        let mut entry = entry(stage, step, &read(&terms)?)?;
        optimizer.step(params, &terms.loss.backward()?, step, lr)?;
        stage.adapt(entry.kl);
        entry.lr = lr;
        entry.tokens_per_second = batch.len() as f64 / start.elapsed().as_secs_f64();
        self.bar.set_message(message(&entry));
        self.bar.inc(1);
        self.run.log(&entry)
    }

    fn look_and_save(
        &mut self,
        stage: &dyn Stage,
        params: &Params,
        optimizer: &AdamW,
        watch: &mut Watch,
        (step, steps): (u64, u64),
    ) -> Result<()> {
        let looks = step == steps || step.is_multiple_of(self.pace.survey_every.max(1));
        if looks && let Some(loss) = self.survey(stage, step)? {
            watch.look(loss, step, params)?;
        }
        if step == steps || watch.is_over() || step.is_multiple_of(self.pace.checkpoint_every.max(1)) {
            self.save(stage, step, params, optimizer, watch)?;
        }
        Ok(())
    }

    /// Logs the stage's terms on held-out segments, spread evenly over the text. The loss, if there is such text.
    fn survey(&mut self, stage: &dyn Stage, step: u64) -> Result<Option<f64>> {
        let Some(valid) = self.material.valid.filter(|valid| !valid.is_empty()) else { return Ok(None) };
        let start = Instant::now();
        let stride = valid.len().div_ceil(SURVEY_ROWS);
        let segments: Vec<u32> = (0..valid.segments() as u32).step_by(stride).collect();
        let (mut sums, mut rows) = ([0.0; TERMS], 0);
        for part in segments.chunks(segments_a_step(valid, self.settings.batch)) {
            let batch = valid.segment_batch(part)?;
            let terms = read(&stage.survey(&batch)?)?;
            sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term * batch.len() as f64);
            rows += batch.len();
        }
        let mut entry = entry(stage, step, &sums.map(|sum| sum / rows as f64))?;
        entry.split = "valid";
        entry.tokens_per_second = rows as f64 / start.elapsed().as_secs_f64();
        self.run.log(&entry)?;
        Ok(Some(entry.loss))
    }
}

const TERMS: usize = 5;

/// The terms on the host, by one transfer.
fn read(terms: &Terms) -> Result<[f64; TERMS]> {
    let Terms { loss, cross_entropy, kl, usage_entropy, policy_entropy } = terms;
    let all = [loss, cross_entropy, kl, usage_entropy, policy_entropy];
    let all = Tensor::stack(&all.map(Tensor::detach), 0)?.to_vec1::<f32>()?;
    Ok(std::array::from_fn(|term| f64::from(all[term])))
}

fn entry(stage: &dyn Stage, step: u64, terms: &[f64; TERMS]) -> Result<Entry> {
    let &[loss, cross_entropy, kl, usage_entropy, policy_entropy] = terms;
    if !terms.iter().all(|term| term.is_finite()) {
        return Err(Error::NonFinite { what: format!("stage {}, step {step}: the loss", stage.name()) });
    }
    let (stage, beta) = (stage.name(), stage.beta());
    Ok(Entry {
        stage,
        split: "train",
        step,
        loss,
        cross_entropy,
        kl,
        beta,
        usage_entropy,
        policy_entropy,
        lr: 0.0,
        tokens_per_second: 0.0,
    })
}

fn message(entry: &Entry) -> String {
    let Entry { stage, cross_entropy, kl, tokens_per_second, .. } = entry;
    format!("{stage}: cross-entropy {cross_entropy:.3}, KL {kl:.3}, {tokens_per_second:.0} tokens/s")
}

/// Balanced latents differ only where a step has a segment for each: fewer segments would share all latents evenly.
fn check_balance(text: &Features, settings: &Settings) -> Result<()> {
    let found = segments_a_step(text, settings.batch);
    if settings.hold == Hold::Token || found >= settings.options {
        return Ok(());
    }
    let needed = settings.options * text.len().div_ceil(text.segments().max(1));
    let reason = format!(
        "{} tokens are about {found} segments, and {} options that are used equally often need one each: {needed} would do",
        settings.batch, settings.options
    );
    Err(Error::Setting { name: "--batch", reason })
}

/// Segments that have about `tokens` rows, on average over the text.
fn segments_a_step(text: &Features, tokens: usize) -> usize {
    let segments = tokens * text.segments() / text.len().max(1);
    segments.clamp(1, text.segments().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidates::Candidates;
    use crate::objective::Objective;
    use crate::settings::Decoder;
    use crate::testing;

    fn settings(decoder: Decoder, objective: Objective) -> Settings {
        Settings {
            options: 3,
            decoder,
            width: Some(16),
            rank: 4,
            policy_width: 8,
            encoder_width: 8,
            objective,
            hold: Hold::Token,
            kl_target: 0.3,
            epochs: 4,
            control_epochs: 4,
            policy_epochs: 2,
            spread: 1.25,
            batch: 32,
            lr: 0.02,
            seed: 5,
            patience: None,
        }
    }

    fn provenance() -> Provenance {
        Provenance { data: "synthetic".into(), data_hash: "d".into(), tokens: 512, valid_hash: Some("v".into()) }
    }

    fn train(folder: &Path, settings: &Settings, stop_after: Option<u64>, resume: bool) -> Result<Ended> {
        let frozen = testing::frozen(8, 12);
        let train = testing::features(&frozen, 512);
        let candidates = Candidates::compute(&frozen, &train, 10).unwrap();
        let train = train.with_candidates(candidates);
        let train = train.with_segments(settings.hold.kind(), &|token| token < 4).unwrap();
        let head = Head::candidates(&frozen).unwrap();
        let provenance = provenance();
        let material =
            Material { frozen: &frozen, head: &head, train: &train, valid: Some(&train), provenance: &provenance };
        let pace = Pace { checkpoint_every: 7, survey_every: 16, stop_after, ..Pace::default() };
        let mut run = Run::open(folder, resume)?;
        sft(&material, settings, &pace, &mut run, &ProgressBar::hidden())
    }

    fn held_out(folder: &Path, stage: &str) -> Vec<f64> {
        let log = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
        let entries = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let surveys = entries.filter(|entry| entry["split"] == "valid" && entry["stage"] == stage);
        surveys.map(|entry| entry["cross_entropy"].as_f64().unwrap()).collect()
    }

    #[test]
    fn each_kind_and_objective_learns() {
        for decoder in [Decoder::LowRank, Decoder::Swiglu] {
            for objective in [Objective::Prior, Objective::Paper] {
                let folder = testing::folder(&format!("learns-{}-{}", decoder.name(), objective.name()));
                train(&folder, &settings(decoder, objective), None, false).unwrap();
                let control = held_out(&folder, "control");
                assert!(control.last().unwrap() < &(control[0] - 0.1), "{control:?}");
                let options = held_out(&folder, "options");
                assert!(options.last().unwrap() < &(control.last().unwrap() + 0.05), "{control:?} {options:?}");
            }
        }
    }

    #[test]
    fn an_interrupted_run_resumes_to_the_same_bytes() {
        let settings = settings(Decoder::LowRank, Objective::Paper);
        let (whole, parts) = (testing::folder("whole"), testing::folder("parts"));
        assert_eq!(train(&whole, &settings, None, false).unwrap(), Ended::Finished);
        let mut resume = false;
        while train(&parts, &settings, Some(23), resume).unwrap() == Ended::Stopped {
            resume = true;
        }
        for name in ["control.safetensors", "plugin.safetensors"] {
            let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
            assert!(read(&whole) == read(&parts), "{name} differs");
        }
        assert_eq!(held_out(&whole, "options"), held_out(&parts, "options"));
    }

    #[test]
    fn held_latents_learn_and_resume() {
        for hold in [Hold::Line, Hold::Answer] {
            // Two answers of 256 tokens: a latent for each.
            let (options, batch) = if hold == Hold::Answer { (2, 512) } else { (3, 32) };
            let settings = Settings { options, hold, batch, ..settings(Decoder::LowRank, Objective::Prior) };
            let (whole, parts) =
                (testing::folder(&format!("held-{hold:?}")), testing::folder(&format!("held-parts-{hold:?}")));
            train(&whole, &settings, None, false).unwrap();
            let mut resume = false;
            while train(&parts, &settings, Some(13), resume).unwrap() == Ended::Stopped {
                resume = true;
            }
            let read = |folder: &Path| std::fs::read(folder.join("plugin.safetensors")).unwrap();
            assert!(read(&whole) == read(&parts), "{hold:?}");
            let text = String::from_utf8_lossy(&read(&whole)).into_owned();
            assert!(text.contains(&format!("\"ollm.latent.hold\":\"{}\"", hold.kind().name())));
            let control = held_out(&whole, "control");
            assert!(held_out(&whole, "options").last().unwrap() < &(control.last().unwrap() + 0.05));
        }
    }

    #[test]
    fn too_few_segments_for_the_options_are_refused() {
        let settings = Settings { hold: Hold::Answer, ..settings(Decoder::LowRank, Objective::Prior) };
        let error = train(&testing::folder("few-segments"), &settings, None, false).unwrap_err();
        assert!(error.to_string().contains("768 would do"), "{error}");
    }

    #[test]
    fn patience_ends_a_stage_at_its_best_look_and_resumes_to_the_same_bytes() {
        // A rate at which the loss soon rises again.
        let slow = settings(Decoder::LowRank, Objective::Prior);
        let settings = Settings { patience: Some(2), lr: 0.3, epochs: 12, ..slow };
        let (whole, parts) = (testing::folder("patience"), testing::folder("patience-parts"));
        train(&whole, &settings, None, false).unwrap();
        let mut resume = false;
        while train(&parts, &settings, Some(5), resume).unwrap() == Ended::Stopped {
            resume = true;
        }
        for name in ["control.safetensors", "options.safetensors", "plugin.safetensors"] {
            let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
            assert!(read(&whole) == read(&parts), "{name} differs");
        }
        let log = std::fs::read_to_string(whole.join("log.jsonl")).unwrap();
        let entries: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for stage in ["control", "options", "policy"] {
            let of = |split: &str| -> Vec<(u64, f64)> {
                let found = entries.iter().filter(|entry| entry["stage"] == stage && entry["split"] == split);
                found.map(|entry| (entry["step"].as_u64().unwrap(), entry["loss"].as_f64().unwrap())).collect()
            };
            let best = of("valid").into_iter().reduce(|best, look| if look.1 < best.1 { look } else { best });
            assert_eq!(of("kept"), [best.unwrap()], "{stage}");
        }
        let steps = entries.iter().filter(|entry| entry["stage"] == "options" && entry["split"] == "train").count();
        assert!(steps < 12 * 16, "{steps} steps: nothing was stopped");
    }

    #[test]
    fn patience_needs_held_out_text_and_the_same_looks() {
        let settings = Settings { patience: Some(1), ..settings(Decoder::LowRank, Objective::Prior) };
        let folder = testing::folder("patience-other");
        train(&folder, &settings, Some(1), false).unwrap();
        let other = Settings { patience: Some(2), ..settings };
        assert!(matches!(train(&folder, &other, None, true), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn a_checkpoint_is_never_written_with_a_tensor_that_is_not_finite() {
        // The first loss is finite, the first step's tensors are not.
        let settings = Settings { lr: 1e38, ..settings(Decoder::LowRank, Objective::Prior) };
        let folder = testing::folder("nan-checkpoint");
        train(&folder, &Settings { lr: 1e38, ..settings.clone() }, Some(0), false).unwrap();
        let before = std::fs::read(folder.join("checkpoint.safetensors")).unwrap();
        let error = train(&folder, &settings, Some(1), true).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. }), "{error}");
        assert!(std::fs::read(folder.join("checkpoint.safetensors")).unwrap() == before);
        assert!(!folder.join("checkpoint.safetensors.tmp").exists());
    }

    #[test]
    fn a_run_is_neither_overwritten_nor_resumed_as_another() {
        let settings = settings(Decoder::LowRank, Objective::Prior);
        let folder = testing::folder("other-run");
        train(&folder, &settings, Some(1), false).unwrap();
        assert!(matches!(train(&folder, &settings, None, false), Err(Error::RunExists(_))));
        let other = Settings { seed: 6, ..settings };
        assert!(matches!(train(&folder, &other, None, true), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn a_loss_that_is_not_finite_stops_the_run() {
        let settings = Settings { lr: 1e30, ..settings(Decoder::LowRank, Objective::Prior) };
        let error = train(&testing::folder("nan"), &settings, None, false).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. }), "{error}");
    }
}
