//! `lora`: the loop that trains adapters on the backbone, problem by problem, on answer tokens.
//!
//! The mean loss on held-out problems decides what is kept: the adapters of the evaluation that
//! found the lowest. As in [`crate::sft::train`], everything a step depends on is in the checkpoint
//! or named by seed and step.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::ProgressBar;
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use serde::Serialize;

use crate::data::tensor_file::FileMetadata;
use crate::error::{Error, Result};
use crate::features::backbone::{BackboneDescription, Example};
use crate::features::head::OutputHead;
use crate::fit::early_stopping::Best;
use crate::fit::order::Order;
use crate::fit::run::RunFolder;
use crate::fit::{Ended, Evaluation, FitOutcome, Schedule, Task, TaskMeasures, TaskStep, Trainer};
use crate::lora::adapters::{Adapters, Lora, LoraSettings};
use crate::lora::merged;
use crate::lora::network::Network;
use crate::lora::pieces::{Piece, PieceScore, Target, learn, pieces, total};
use crate::lora::workers::WorkerPools;
use crate::plugin::file::Provenance;
use crate::plugin::params::Params;
use crate::ranks::Ranks;
use crate::rollout::samples::{Sample, SampleQuestions};

/// The name in logs and checkpoints.
const STAGE: &str = "lora";

/// What a run trains on.
pub struct LoraData<'a> {
    /// The backbone.
    pub network: &'a Network,
    /// Its head: the full one.
    pub head: &'a OutputHead,
    /// What it is.
    pub about: &'a BackboneDescription,
    /// Problems to learn.
    pub train: &'a [Example],
    /// Held-out problems; none: no early stopping.
    pub valid: &'a [Example],
    /// Where the problems came from.
    pub provenance: &'a Provenance,
    /// Held-out questions that are answered at each evaluation.
    pub samples: Option<&'a SampleQuestions<'a>>,
}

/// What does not decide the result.
#[derive(Clone, Debug)]
pub struct LoraPace {
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Stop after this many steps, resumably.
    pub stop_after: Option<u64>,
    /// Sequences that run through the network at the same time, each on a thread of its own.
    pub threads: usize,
    /// Tokens that run through the network at a time: what they leave for the backward pass is in
    /// memory.
    pub pass_tokens: usize,
}

/// Trains adapters into `run`, from its checkpoint if it has one. The finished adapters are in
/// [`RunFolder::lora`].
pub fn lora(
    material: &LoraData<'_>,
    settings: &LoraSettings,
    pace: &LoraPace,
    run: &mut RunFolder,
    bar: &ProgressBar,
) -> Result<Ended> {
    settings.check()?;
    let mut task = AdapterTask::new(material, settings, pace, run)?;
    let device = material.network.device();
    let mut fit = Trainer::open(run, bar, identity(material, settings), pace.stop_after, device)?;
    let schedule = task.schedule();
    let FitOutcome::Finished(best) = fit.train(&mut task, &schedule)? else { return Ok(Ended::Stopped) };
    fit.summarize_stage(STAGE, "cross_entropy", best)?;
    fit.run.write(&fit.run.lora(), &task.params.tensors(), &task.metadata(best))?;
    Ok(Ended::Finished)
}

/// What a checkpoint must agree with: the held-out problems too, since they decide what is kept.
fn identity(material: &LoraData<'_>, settings: &LoraSettings) -> FileMetadata {
    let Provenance { data_hash, valid_hash, .. } = material.provenance;
    let mut identity = settings.identity(material.about, data_hash);
    identity.insert("valid".into(), valid_hash.as_deref().unwrap_or("none").into());
    identity
}

/// The adapters as a task of the training loop.
struct AdapterTask<'a> {
    material: &'a LoraData<'a>,
    settings: &'a LoraSettings,
    pace: &'a LoraPace,
    ranks: Ranks,
    lora: Lora,
    params: Params,
    workers: WorkerPools,
    order: Order,
    /// Where the backbone with the adapters lies while it answers.
    sample_model: PathBuf,
}

/// What is logged.
#[derive(Debug, Serialize)]
struct AdapterMeasures {
    loss: f64,
    cross_entropy: f64,
    /// Share of answer tokens that are the likeliest ones (evaluations only).
    #[serde(skip_serializing_if = "Option::is_none")]
    top1: Option<f64>,
}

impl TaskMeasures for AdapterMeasures {
    fn is_finite(&self) -> bool {
        self.loss.is_finite()
    }

    fn summary(&self) -> String {
        format!("loss {:.3}", self.loss)
    }
}

impl Task for AdapterTask<'_> {
    type Measures = AdapterMeasures;

    fn name(&self) -> &'static str {
        STAGE
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, step: u64) -> Result<TaskStep<AdapterMeasures>> {
        let examples = self.order.batch(step).iter().map(|&problem| &self.material.train[problem as usize]);
        let pieces = pieces(examples.map(Target::of).collect(), self.pace.pass_tokens);
        let answered = pieces.iter().map(Piece::rows).sum();
        let (network, adapters) = self.adapted()?;
        let (loss, gradients) =
            learn(&pieces, answered, &network, self.material.head, &adapters, &self.workers, &self.ranks)?;
        let measures = AdapterMeasures { loss, cross_entropy: loss, top1: None };
        Ok(TaskStep { gradients, measures, tokens: Some(total(&pieces)) })
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation<AdapterMeasures>>> {
        if self.material.valid.is_empty() {
            return Ok(None);
        }
        let pieces = pieces(self.material.valid.iter().map(Target::of).collect(), self.pace.pass_tokens);
        let (network, _) = self.adapted()?;
        let mut scores = Vec::new();
        let work = |piece: &Piece| piece.score(&network, self.material.head);
        self.workers.each(&pieces[self.ranks.share(pieces.len())], work, |PieceScore { loss, right }| {
            scores.extend([loss, right]);
            Ok(())
        })?;
        let scores = self.ranks.gather_numbers(&scores)?;
        let tokens = pieces.iter().map(Piece::rows).sum::<usize>() as f64;
        let mean = |which: usize| scores.iter().skip(which).step_by(2).sum::<f64>() / tokens;
        let (loss, top1) = (mean(0), Some(mean(1)));
        let measures = AdapterMeasures { loss, cross_entropy: loss, top1 };
        Ok(Some(Evaluation { loss: loss.into(), measures, tokens: Some(total(&pieces)) }))
    }

    /// The runtime answers, with the adapters merged into a file of the backbone.
    fn samples(&mut self) -> Result<Vec<Sample>> {
        let Some(questions) = self.material.samples else { return Ok(Vec::new()) };
        let (path, backbone) = (&self.sample_model, questions.backbone().model());
        let merged = merged::write(backbone, &self.lora, &self.params.tensors(), TensorType::F16, path);
        let answered = merged.and_then(|()| questions.with_model(&Arc::new(Model::open(path)?)));
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
            _ => answered,
        }
    }
}

impl<'a> AdapterTask<'a> {
    fn new(
        material: &'a LoraData<'a>,
        settings: &'a LoraSettings,
        pace: &'a LoraPace,
        run: &RunFolder,
    ) -> Result<Self> {
        let lora = Lora::new(&settings.shape, material.network, material.about.parameters)?;
        let params = lora.params(settings.seed, material.network.device())?;
        let order = Order::new(material.train.len(), settings.batch, settings.seed, STAGE);
        let workers = WorkerPools::new(pace.threads)?;
        let (ranks, sample_model) = (run.ranks().clone(), run.scratch("samples.gguf"));
        Ok(Self { material, settings, pace, ranks, lora, params, workers, order, sample_model })
    }

    fn schedule(&self) -> Schedule {
        // Without patience a run takes all its steps, but what did best is kept all the same.
        let patience = self.settings.patience.unwrap_or(u64::MAX);
        Schedule {
            steps: self.order.steps_per_epoch() * self.settings.epochs as u64,
            lr: self.settings.lr,
            evaluate_every: self.settings.eval_every,
            evaluate_first: false,
            checkpoint_every: self.pace.checkpoint_every,
            patience: (!self.material.valid.is_empty()).then_some(patience),
        }
    }

    /// The network with the adapters as they are.
    fn adapted(&self) -> Result<(Network, Adapters)> {
        let adapters = self.lora.adapters(&self.params.tensors(), self.material.network.dtype())?;
        Ok((adapters.apply(self.material.network)?, adapters))
    }

    fn metadata(&self, best: Option<Best>) -> FileMetadata {
        let Provenance { data, data_hash, tokens, valid_hash } = self.material.provenance;
        let valid = valid_hash.clone().map(|hash| ("valid_hash", hash));
        let best = best.map(|best| ("valid_loss", best.loss.to_string()));
        let training = [
            ("data", data.clone()),
            ("data_hash", data_hash.clone()),
            ("tokens", tokens.to_string()),
            ("epochs", self.settings.epochs.to_string()),
            ("batch", self.settings.batch.to_string()),
            ("learning_rate", self.settings.lr.to_string()),
            ("seed", self.settings.seed.to_string()),
        ];
        let training =
            training.into_iter().chain(valid).chain(best).map(|(key, value)| (format!("training.{key}"), value));
        self.lora.metadata(self.material.about).into_iter().chain(training).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{DType, Device};
    use ollm_runtime::plugin::schema;

    use super::*;
    use crate::data::tensor_file;
    use crate::features::backbone::Frozen;
    use crate::lora::adapters::{LoraShape, LoraTarget};
    use crate::testing::ranks::on_ranks;
    use crate::testing::{self, TrainCall, counting_problems};

    fn settings() -> LoraSettings {
        let settings = testing::lora_settings(LoraTarget::ALL.to_vec(), Some(2));
        LoraSettings { epochs: 4, batch: 4, lr: 0.02, eval_every: 3, seed: 5, ..settings }
    }

    fn train(
        folder: &Path,
        settings: &LoraSettings,
        valid: &[Example],
        threads: usize,
        call: TrainCall,
    ) -> Result<Ended> {
        train_on(&Ranks::alone(), folder, settings, valid, threads, call)
    }

    fn train_on(
        ranks: &Ranks,
        folder: &Path,
        settings: &LoraSettings,
        valid: &[Example],
        threads: usize,
        call: TrainCall,
    ) -> Result<Ended> {
        let model = testing::model("qwen3");
        let network = testing::network(&model, DType::F32);
        let about = BackboneDescription {
            backbone: schema::Backbone::of(model.gguf(), model.storage()).unwrap(),
            ..testing::description(64, 320)
        };
        let frozen = Frozen::new(about, model.head_weights(), model.embedding_weights(), &Device::Cpu)?;
        let valid_hash = (!valid.is_empty()).then(|| "v".to_owned());
        let provenance = Provenance { data: "synthetic".into(), data_hash: "d".into(), tokens: 0, valid_hash };
        let head = OutputHead::new(&frozen, 1 << 20).unwrap();
        let train = counting_problems(16, 1);
        let material = LoraData {
            network: &network,
            head: &head,
            about: &frozen.about,
            train: &train,
            valid,
            provenance: &provenance,
            samples: None,
        };
        let TrainCall { stop_after, resume } = call;
        let pace = LoraPace { checkpoint_every: 5, stop_after, threads, pass_tokens: 25 };
        let mut run = RunFolder::open_on(ranks, folder, resume)?;
        lora(&material, settings, &pace, &mut run, &ProgressBar::hidden())
    }

    fn log(folder: &Path, split: &str) -> Vec<(u64, f64)> {
        let log = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
        let entries = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let entries = entries.filter(|entry| entry["split"] == split);
        entries.map(|entry| (entry["step"].as_u64().unwrap(), entry["loss"].as_f64().unwrap())).collect()
    }

    fn lowest(evaluations: &[(u64, f64)]) -> f64 {
        evaluations.iter().map(|evaluation| evaluation.1).fold(f64::INFINITY, f64::min)
    }

    fn kept_loss(folder: &Path) -> f64 {
        let (_, metadata) = tensor_file::load(&folder.join("lora.safetensors"), &Device::Cpu).unwrap();
        metadata["training.valid_loss"].parse().unwrap()
    }

    #[test]
    fn adapters_learn() {
        let folder = testing::folder("lora-learns");
        train(&folder, &settings(), &counting_problems(6, 1), 2, TrainCall::WHOLE).unwrap();
        let (losses, evaluations) = (log(&folder, "train"), log(&folder, "valid"));
        assert_eq!((losses.len(), evaluations.len()), (16, 6));
        assert!(lowest(&evaluations) < losses[0].1 - 1.0, "{losses:?} {evaluations:?}");
        assert_eq!(kept_loss(&folder).to_bits(), lowest(&evaluations).to_bits());
    }

    #[test]
    fn an_interrupted_run_resumes_to_the_same_bytes_on_any_number_of_threads() {
        let (whole, parts) = (testing::folder("lora-whole"), testing::folder("lora-parts"));
        let valid = counting_problems(3, 1);
        assert_eq!(train(&whole, &settings(), &valid, 1, TrainCall::WHOLE).unwrap(), Ended::Finished);
        let mut resume = false;
        while train(&parts, &settings(), &valid, 3, TrainCall { stop_after: Some(4), resume }).unwrap()
            == Ended::Stopped
        {
            resume = true;
        }
        let read = |folder: &Path| std::fs::read(folder.join("lora.safetensors")).unwrap();
        assert!(read(&whole) == read(&parts));
        for split in ["train", "valid"] {
            assert_eq!(log(&whole, split), log(&parts, split));
        }
    }

    #[test]
    fn several_ranks_train_the_bytes_of_one_process() {
        let (whole, valid) = (testing::folder("lora-one-rank"), counting_problems(3, 1));
        train(&whole, &settings(), &valid, 1, TrainCall::WHOLE).unwrap();
        // A step has two or three pieces: of five ranks some have none.
        for size in [2, 5] {
            let folder = testing::folder(&format!("lora-ranks-{size}"));
            on_ranks(size, |ranks| train_on(&ranks, &folder, &settings(), &valid, 2, TrainCall::WHOLE).unwrap());
            let read = |folder: &Path| std::fs::read(folder.join("lora.safetensors")).unwrap();
            assert!(read(&whole) == read(&folder), "{size} ranks");
            assert_eq!(log(&whole, "valid"), log(&folder, "valid"));
        }
    }

    #[test]
    fn what_did_best_on_held_out_problems_is_kept() {
        let folder = testing::folder("lora-patience");
        let settings = LoraSettings { patience: Some(2), eval_every: 1, ..settings() };
        // What is learned is wrong for these.
        train(&folder, &settings, &counting_problems(6, 7), 2, TrainCall::WHOLE).unwrap();
        let evaluations = log(&folder, "valid");
        let best =
            evaluations.iter().position(|evaluation| evaluation.1.to_bits() == lowest(&evaluations).to_bits()).unwrap();
        assert!(evaluations.len() < 16 && best + 3 == evaluations.len(), "{evaluations:?}");
        assert_eq!(kept_loss(&folder).to_bits(), lowest(&evaluations).to_bits());
        // A finished run stays finished.
        train(&folder, &settings, &counting_problems(6, 7), 2, TrainCall::REST).unwrap();
        assert_eq!(log(&folder, "valid"), evaluations);
    }

    #[test]
    fn without_held_out_problems_the_last_adapters_are_kept() {
        let folder = testing::folder("lora-last");
        train(&folder, &settings(), &[], 2, TrainCall::WHOLE).unwrap();
        let (kept, _) = tensor_file::load(&folder.join("lora.safetensors"), &Device::Cpu).unwrap();
        let (last, _) = tensor_file::load(&folder.join("checkpoint.safetensors"), &Device::Cpu).unwrap();
        assert!(kept.iter().all(|(name, a)| a.to_vec2::<f32>().unwrap() == last[name].to_vec2::<f32>().unwrap()));
    }

    #[test]
    fn a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint() {
        let folder = testing::folder("lora-nan");
        let settings = LoraSettings { lr: 1e20, ..settings() };
        train(&folder, &settings, &[], 2, TrainCall::first(1)).unwrap();
        let checkpoint = || std::fs::read(folder.join("checkpoint.safetensors")).unwrap();
        let last = checkpoint();
        let error = train(&folder, &settings, &[], 2, TrainCall::REST).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. }), "{error}");
        assert!(checkpoint() == last && !folder.join("lora.safetensors").exists());
    }

    #[test]
    fn a_run_is_not_resumed_as_another() {
        let folder = testing::folder("lora-other");
        train(&folder, &settings(), &[], 1, TrainCall::first(1)).unwrap();
        let shape = LoraShape { rank: Some(3), ..settings().shape };
        let other = LoraSettings { shape, ..settings() };
        assert!(matches!(train(&folder, &other, &[], 1, TrainCall::REST), Err(Error::Mismatch { .. })));
        // Held-out problems decide what is kept.
        let (with, valid) = (testing::folder("lora-valid"), counting_problems(4, 1));
        train(&with, &settings(), &valid, 1, TrainCall::first(1)).unwrap();
        assert!(matches!(train(&with, &settings(), &[], 1, TrainCall::REST), Err(Error::Mismatch { .. })));
        assert!(matches!(train(&folder, &settings(), &valid, 1, TrainCall::REST), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn without_a_checkpoint_the_log_begins_anew() {
        let folder = testing::folder("lora-no-checkpoint");
        train(&folder, &settings(), &[], 1, TrainCall::first(2)).unwrap();
        std::fs::remove_file(folder.join("checkpoint.safetensors")).unwrap();
        train(&folder, &settings(), &[], 1, TrainCall { stop_after: Some(2), resume: true }).unwrap();
        assert_eq!(log(&folder, "train").len(), 2);
    }

    #[test]
    fn sizes_that_nobody_means_are_refused() {
        let huge = 1 << 40;
        for (flag, bad) in [
            ("--rank", LoraSettings { shape: LoraShape { rank: Some(huge), ..settings().shape }, ..settings() }),
            ("--batch", LoraSettings { batch: huge, ..settings() }),
            ("--epochs", LoraSettings { epochs: huge, ..settings() }),
        ] {
            assert!(matches!(bad.check(), Err(Error::Setting { name, .. }) if name == flag), "{flag}");
        }
    }
}
