//! The training loop, and what it needs: a run's folder, checkpoints, optimizer, early stopping.
//!
//! A [`Task`] says what a step and an evaluation are. [`Trainer`] takes the steps: it resumes from
//! the checkpoint, evaluates, saves, logs, stops early, and goes back to the best evaluation.
//! Everything a step depends on is in the checkpoint or named by seed and step, so a run that was
//! interrupted and resumed ends, on a CPU, with the same bits as one that was not. A run that is
//! asked to end ([`crate::interrupt`]) saves a checkpoint behind the step that it is in.

pub mod checkpoint;
pub mod early_stopping;
pub mod optim;
pub(crate) mod order;
pub mod run;
pub mod summary;

use std::fmt;
use std::io::Write as _;
use std::time::Instant;

use candle_core::Device;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::data::tensor_file::{FileMetadata, Tensors};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::plugin::params::Params;
use crate::ranks::Ranks;
use crate::rollout::samples::Sample;
use checkpoint::{Position, RunCheckpoint};
use early_stopping::{Best, EarlyStopping, HeldOutLoss};
use optim::{AdamW, learning_rate};
use run::RunFolder;
use summary::StageSummary;

/// What a task measures of a step or an evaluation, as the log has it.
pub trait TaskMeasures: Serialize {
    /// Whether all numbers are finite.
    fn is_finite(&self) -> bool;

    /// A few words for the progress bar.
    fn summary(&self) -> String;
}

/// A step that was computed and not yet taken.
pub struct TaskStep<M> {
    /// By the names of the trained tensors.
    pub gradients: Tensors,
    /// What is logged.
    pub measures: M,
    /// Tokens that were computed, where their rate is logged.
    pub tokens: Option<usize>,
}

/// The score of the tensors as they are, on held-out data.
pub struct Evaluation<M> {
    /// What early stopping compares.
    pub loss: HeldOutLoss,
    /// What is logged.
    pub measures: M,
    /// Tokens that were scored, where their rate is logged.
    pub tokens: Option<usize>,
}

/// Something that is trained step by step.
pub trait Task {
    /// What a line of the log says of it.
    type Measures: TaskMeasures;

    /// Its name in logs and checkpoints.
    fn name(&self) -> &'static str;

    /// What is trained.
    fn params(&self) -> &Params;

    /// The gradients of a step, counted from 0.
    fn step(&mut self, step: u64) -> Result<TaskStep<Self::Measures>>;

    /// The score on held-out data; none where there is no such data.
    fn evaluate(&mut self) -> Result<Option<Evaluation<Self::Measures>>>;

    /// What the tensors as they are answer to a few held-out questions; called behind each
    /// evaluation.
    fn samples(&mut self) -> Result<Vec<Sample>> {
        Ok(Vec::new())
    }

    /// What a checkpoint must hold beside the tensors.
    fn state(&self) -> FileMetadata {
        FileMetadata::new()
    }

    /// Takes up what [`Self::state`] gave.
    fn restore(&mut self, _checkpoint: &RunCheckpoint) -> Result<()> {
        Ok(())
    }
}

/// How a task is trained.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Steps from the first to the last.
    pub steps: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Steps between evaluations.
    pub evaluate_every: u64,
    /// Whether the tensors are evaluated before the first step.
    pub evaluate_first: bool,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Evaluations without a lower loss after which the task ends; none: the best is not kept.
    pub patience: Option<u64>,
}

/// How training a task ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FitOutcome {
    /// At its end, with the tensors of the best evaluation if there is one.
    Finished(Option<Best>),
    /// `stop_after` steps were taken; `--resume` goes on.
    Stopped,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What was trained is written.
    Finished,
    /// `stop_after` was reached; `--resume` goes on.
    Stopped,
}

/// What a step or an evaluation logs where the rate of its tokens is logged.
#[derive(Clone, Copy)]
struct Throughput {
    /// Learning rate of the step; 0 for an evaluation.
    lr: f64,
    tokens: usize,
    start: Instant,
}

impl Throughput {
    fn tokens_per_second(self) -> f64 {
        self.tokens as f64 / self.start.elapsed().as_secs_f64()
    }
}

/// A line of the log. Its split is `train` for a step, and `valid` for an evaluation on held-out
/// data, which chooses the step that is kept where there is patience.
#[derive(Serialize)]
struct LogLine<'a, M> {
    stage: &'a str,
    split: &'a str,
    step: u64,
    #[serde(flatten)]
    measures: &'a M,
    #[serde(skip_serializing_if = "Option::is_none")]
    lr: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_second: Option<f64>,
}

/// A line of the log: what a model that is being trained answered.
#[derive(Serialize)]
struct SampleLine<'a> {
    stage: &'a str,
    split: &'a str,
    step: u64,
    #[serde(flatten)]
    sample: &'a Sample,
}

/// A line of the log: what a finished stage came to.
#[derive(Serialize)]
struct SummaryLine<'a, S> {
    stage: &'a str,
    split: &'a str,
    #[serde(flatten)]
    summary: &'a S,
}

/// One invocation: tasks are trained into one run, one after the other.
pub struct Trainer<'a> {
    /// Where everything is written.
    pub run: &'a mut RunFolder,
    bar: &'a ProgressBar,
    identity: FileMetadata,
    checkpoint: Option<RunCheckpoint>,
    /// Steps that this invocation may still take.
    allowance: u64,
}

impl<'a> Trainer<'a> {
    /// Opens the run's checkpoint, if it has one: it must agree with `identity`.
    pub fn open(
        run: &'a mut RunFolder,
        bar: &'a ProgressBar,
        identity: FileMetadata,
        stop_after: Option<u64>,
        device: &Device,
    ) -> Result<Self> {
        let path = run.checkpoint();
        let checkpoint = path.exists().then(|| checkpoint::load(&path, &identity, device)).transpose()?;
        let step = checkpoint.as_ref().map(|found| (&found.stage, found.step));
        run.ranks().check_same("run or checkpoint", &format!("{identity:?} {step:?}"))?;
        if checkpoint.is_none() {
            run.rewind_log(0)?;
            if run.is_resumed() {
                note(run.ranks(), bar, "there is no checkpoint yet: the run begins at its first step");
            }
        }
        run.record()?;
        Ok(Self { run, bar, identity, checkpoint, allowance: stop_after.unwrap_or(u64::MAX) })
    }

    /// The task of the checkpoint, until it was resumed.
    pub fn resumes(&self) -> Option<&str> {
        self.checkpoint.as_ref().map(|found| found.stage.as_str())
    }

    /// Logs a summary of a finished stage, and says it; or that there is none.
    pub fn summarize(&mut self, stage: &str, summary: Option<&(impl Serialize + fmt::Display)>) -> Result<()> {
        let Some(summary) = summary else {
            self.note(&format!("{stage}: no held-out problems say how good it is: --split 0.05 holds some out"));
            return Ok(());
        };
        self.note(&format!("{stage}: {summary}"));
        self.run.log(&SummaryLine { stage, split: "summary", summary })
    }

    /// Logs what a finished stage gained on held-out data, by one of its measures, and says it.
    pub fn summarize_stage(&mut self, stage: &str, measure: &'static str, best: Option<Best>) -> Result<()> {
        if !self.run.ranks().is_root() {
            return Ok(());
        }
        self.summarize(stage, StageSummary::new(&self.run.logged()?, stage, measure, best).as_ref())
    }

    /// Says something on standard error, above the bar.
    fn note(&self, text: &str) {
        note(self.run.ranks(), self.bar, text);
    }

    /// Takes a task's steps, from the checkpoint if it is of this task.
    pub fn train<T: Task>(&mut self, task: &mut T, schedule: &Schedule) -> Result<FitOutcome> {
        let (optimizer, watch) = (AdamW::new(task.params())?, EarlyStopping::new(schedule.patience));
        Training { fit: self, task, schedule, optimizer, watch }.run()
    }
}

/// The root says something on standard error, above the bar.
fn note(ranks: &Ranks, bar: &ProgressBar, text: &str) {
    if ranks.is_root() {
        // If standard error is closed, nobody misses it.
        let _ = bar.suspend(|| writeln!(std::io::stderr(), "{text}"));
    }
}

/// A task that is being trained.
struct Training<'t, 'a, T> {
    fit: &'t mut Trainer<'a>,
    task: &'t mut T,
    schedule: &'t Schedule,
    optimizer: AdamW,
    watch: EarlyStopping,
}

impl<T: Task> Training<'_, '_, T> {
    fn run(mut self) -> Result<FitOutcome> {
        let (first, steps) = (self.begin()?, self.schedule.steps);
        if steps == 0 && self.schedule.evaluate_first {
            self.evaluate(0)?;
        }
        for step in first..steps {
            if self.watch.is_over() {
                break;
            }
            if self.fit.allowance == 0 {
                self.save(step)?;
                return Ok(FitOutcome::Stopped);
            }
            if interrupt::is_requested_on(self.fit.run.ranks())? {
                self.save(step)?;
                return Err(Error::Interrupted);
            }
            self.fit.allowance -= 1;
            self.step(step)?;
            self.evaluate_and_save(step + 1)?;
        }
        self.watch.keep_best(self.task.params())?;
        let EarlyStopping { step, loss: HeldOutLoss { loss, .. }, .. } = self.watch;
        Ok(FitOutcome::Finished(self.watch.has_best().then_some(Best { step, loss })))
    }

    /// The step to begin with.
    fn begin(&mut self) -> Result<u64> {
        let name = self.task.name();
        let first = match self.fit.checkpoint.take_if(|found| found.stage == name) {
            Some(found) => {
                let first = self.restore(&found)?;
                self.fit.note(&format!("resumed: stage {name}, step {first} of {}", self.schedule.steps));
                first
            }
            None => 0,
        };
        let bar = self.fit.bar;
        bar.reset();
        bar.set_length(self.schedule.steps);
        bar.set_prefix("steps");
        bar.set_message(name);
        bar.set_position(first);
        bar.reset_eta();
        Ok(first)
    }

    fn restore(&mut self, found: &RunCheckpoint) -> Result<u64> {
        found.restore(self.task.params(), &mut self.optimizer, &mut self.watch)?;
        self.task.restore(found)?;
        self.fit.run.rewind_log(found.log_bytes)?;
        Ok(found.step)
    }

    fn step(&mut self, step: u64) -> Result<()> {
        if step == 0 && self.schedule.evaluate_first {
            self.evaluate(0)?;
        }
        let (start, rate) = (Instant::now(), learning_rate(self.schedule.lr, step, self.schedule.steps));
        let TaskStep { gradients, measures, tokens } = self.task.step(step)?;
        self.check(&measures, step)?;
        self.optimizer.apply(self.task.params(), &gradients, step, rate)?;
        self.fit.bar.inc(1);
        self.log("train", step, &measures, tokens.map(|tokens| Throughput { lr: rate, tokens, start }))
    }

    fn evaluate_and_save(&mut self, step: u64) -> Result<()> {
        let last = step == self.schedule.steps;
        let due = |every: u64| last || step.is_multiple_of(every.max(1));
        if due(self.schedule.evaluate_every) {
            self.evaluate(step)?;
        }
        if due(self.schedule.checkpoint_every) || self.watch.is_over() {
            self.save(step)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, step: u64) -> Result<()> {
        let start = Instant::now();
        let Some(Evaluation { loss, measures, tokens }) = self.task.evaluate()? else { return Ok(()) };
        self.check(&measures, step)?;
        self.watch.record(loss, step, self.task.params())?;
        self.log("valid", step, &measures, tokens.map(|tokens| Throughput { lr: 0.0, tokens, start }))?;
        if !self.fit.run.ranks().is_root() {
            return Ok(());
        }
        let stage = self.task.name();
        for sample in self.task.samples()? {
            self.fit.note(&format!("{stage}, step {step}: {sample}"));
            self.fit.run.log(&SampleLine { stage, split: "sample", step, sample: &sample })?;
        }
        Ok(())
    }

    fn check(&self, measures: &T::Measures, step: u64) -> Result<()> {
        let what = || format!("stage {}, step {step}: the loss or what is reported with it", self.task.name());
        if measures.is_finite() { Ok(()) } else { Err(Error::NonFinite { what: what() }) }
    }

    fn log(&mut self, split: &str, step: u64, measures: &T::Measures, throughput: Option<Throughput>) -> Result<()> {
        let lr = throughput.map(|throughput| throughput.lr);
        let tokens_per_second = throughput.map(Throughput::tokens_per_second);
        let stage = self.task.name();
        let speed = tokens_per_second.map_or(String::new(), |rate| format!(", {rate:.0} tokens/s"));
        let best = if self.watch.has_best() { format!(", best {:.3}", self.watch.loss.loss) } else { String::new() };
        self.fit.bar.set_message(format!("{stage}, {split}: {}{best}{speed}", measures.summary()));
        self.fit.run.log(&LogLine { stage, split, step, measures, lr, tokens_per_second })
    }

    fn save(&mut self, step: u64) -> Result<()> {
        let (stage, state) = (self.task.name(), self.task.state());
        let (watch, identity) = (&self.watch, &self.fit.identity);
        let position = Position { stage, step, state: &state, watch, identity };
        self.fit.run.save(&position, self.task.params(), &self.optimizer)
    }
}
