//! The value head as a task of the training loop.

use std::fmt;

use candle_core::Tensor;
use indicatif::ProgressBar;
use ollm_runtime::plugin::schema::PluginConfig;
use serde::Serialize;

use crate::data::tensor_file::{FileMetadata, Tensors, sorted_json};
use crate::error::{Error, Result};
use crate::fit::optim::gather;
use crate::fit::order::Order;
use crate::fit::run::RunFolder;
use crate::fit::{Evaluation, FitOutcome, Schedule, Task, TaskMeasures, TaskStep, Trainer};
use crate::limits::{require, require_counts, require_positive};
use crate::plugin::file::Loaded;
use crate::plugin::nets::ValueNet;
use crate::plugin::params::Params;
use crate::value::examples::{Place, ValueExamples};
use crate::value::metrics::Prediction;

/// The name in logs and checkpoints.
const STAGE: &str = "value";

/// How the value head is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueSettings {
    /// Width of the hidden layer.
    pub width: usize,
    /// Passes over the states.
    pub epochs: usize,
    /// States a step.
    pub batch: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Evaluations on the validation problems without a lower cross-entropy after which it ends.
    pub patience: u64,
    /// Steps between evaluations.
    pub eval_every: u64,
    /// Seed of every random choice.
    pub seed: u64,
}

impl ValueSettings {
    /// Refuses settings that cannot be trained.
    pub fn check(&self) -> Result<()> {
        require_counts(&[("--width", self.width), ("--epochs", self.epochs), ("--batch", self.batch)])?;
        require_positive("--lr", self.lr)?;
        require(self.patience > 0, "--patience", "must be at least 1")?;
        require(self.eval_every > 0, "--eval-every", "must be at least 1")
    }
}

/// The plugin with a value head of that width.
fn spec(plugin: &Loaded, width: usize) -> PluginConfig {
    PluginConfig { value_width: Some(width), ..plugin.spec.clone() }
}

/// What a value head is trained on.
#[derive(Clone, Copy)]
pub struct ValueData<'a> {
    /// The plugin that gets it.
    pub plugin: &'a Loaded,
    /// What it learns from.
    pub train: &'a ValueExamples,
    /// What decides when to stop.
    pub valid: &'a ValueExamples,
}

/// Trains a value head into `run`, from its checkpoint if it has one; gives the plugin with it, or
/// none if it stopped after `stop_after` steps, to be resumed. `identity`: what a checkpoint must
/// agree with, beside the settings.
///
/// # Errors
/// [`Error::Setting`] if no answer is right, or none is wrong: there is nothing to tell apart.
pub fn train_value(
    data: ValueData<'_>,
    settings: &ValueSettings,
    identity: &FileMetadata,
    stop_after: Option<u64>,
    run: &mut RunFolder,
    bar: &ProgressBar,
) -> Result<Option<Loaded>> {
    settings.check()?;
    let ValueData { plugin, train, valid } = data;
    for (name, examples) in [("--data", train), ("--valid", valid)] {
        if examples.right.iter().all(|right| Some(right) == examples.right.first()) {
            let reason = "all answers to these problems are right, or all are wrong: take more, or others";
            return Err(Error::Setting { name, reason: reason.into() });
        }
    }
    let spec = spec(plugin, settings.width);
    let device = train.states.device();
    let mut identity = identity.clone();
    identity.insert("settings".into(), sorted_json(settings));
    let order = Order::new(train.len(), settings.batch, settings.seed, STAGE);
    let schedule = Schedule {
        steps: order.steps_per_epoch() * settings.epochs as u64,
        lr: settings.lr,
        evaluate_every: settings.eval_every,
        evaluate_first: false,
        checkpoint_every: settings.eval_every,
        patience: Some(settings.patience),
    };
    let params = Params::value(&spec, settings.seed, device)?;
    let mut task = ValueTask { spec: &spec, params, train, valid, order };
    let mut fit = Trainer::open(run, bar, identity, stop_after, device)?;
    let FitOutcome::Finished(best) = fit.train(&mut task, &schedule)? else { return Ok(None) };
    fit.summarize_stage(STAGE, "loss", best)?;
    let tensors: Tensors = plugin.tensors.clone().into_iter().chain(task.params.tensors()).collect();
    Ok(Some(Loaded { spec, tensors }))
}

/// What the value head says of examples: probabilities.
pub fn predict(plugin: &Loaded, examples: &ValueExamples) -> Result<Vec<f64>> {
    let net = ValueNet::bind(&plugin.spec, &|name| plugin.tensor(name))?;
    let values = candle_nn::ops::sigmoid(&net.logits(&examples.states)?)?.to_vec1::<f32>()?;
    Ok(values.into_iter().map(f64::from).collect())
}

/// How good a value head is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueReport {
    /// At the ends of answers.
    pub answers: Prediction,
    /// At the ends of lines before the last.
    pub lines: Prediction,
}

impl ValueReport {
    /// Of the plugin's value head on these examples.
    pub fn new(plugin: &Loaded, examples: &ValueExamples) -> Result<Self> {
        let predicted = predict(plugin, examples)?;
        let at = |place| {
            let those = || (0..examples.len()).filter(|&i| examples.places[i] == place);
            let predicted: Vec<f64> = those().map(|i| predicted[i]).collect();
            let right: Vec<bool> = those().map(|i| examples.right[i]).collect();
            Prediction::new(&predicted, &right)
        };
        Ok(Self { answers: at(Place::End), lines: at(Place::Line) })
    }
}

impl fmt::Display for ValueReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:>8} {:>6} {:>6} {:>6} {:>11} {:>13}",
            "value at the end of", "states", "right", "AUC", "Brier", "calibration", "cross-entropy"
        )?;
        for (name, of) in [("answers", &self.answers), ("lines", &self.lines)] {
            // Of no states nothing is known.
            let figure = |value: f64| if value.is_nan() { "-".to_owned() } else { format!("{value:.3}") };
            let Prediction { count, base_rate, auc, brier, calibration_error, cross_entropy } = of;
            let [right, auc, brier, calibration, cross_entropy] =
                [*base_rate, auc.unwrap_or(f64::NAN), *brier, *calibration_error, *cross_entropy].map(figure);
            writeln!(f, "{name:<20} {count:>8} {right:>6} {auc:>6} {brier:>6} {calibration:>11} {cross_entropy:>13}")?;
        }
        Ok(())
    }
}

/// What is logged: the cross-entropy of labels and predictions.
#[derive(Debug, Serialize)]
pub struct ValueMeasures {
    loss: f64,
}

impl TaskMeasures for ValueMeasures {
    fn is_finite(&self) -> bool {
        self.loss.is_finite()
    }

    fn summary(&self) -> String {
        format!("cross-entropy {:.3}", self.loss)
    }
}

/// The value head, and what it learns from.
struct ValueTask<'a> {
    spec: &'a PluginConfig,
    params: Params,
    train: &'a ValueExamples,
    valid: &'a ValueExamples,
    order: Order,
}

impl ValueTask<'_> {
    /// The mean cross-entropy of some states' labels: `softplus(x) - label x` with x the logit.
    fn loss(&self, states: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let logits = ValueNet::bind(self.spec, &|name| self.params.tensor(name))?.logits(states)?;
        // softplus(x) = max(x, 0) + log(1 + exp(-|x|))
        let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
        Ok((softplus - (labels * logits)?)?.mean_all()?)
    }
}

impl Task for ValueTask<'_> {
    type Measures = ValueMeasures;

    fn name(&self) -> &'static str {
        STAGE
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, step: u64) -> Result<TaskStep<ValueMeasures>> {
        let rows = Tensor::new(self.order.batch(step), self.train.states.device())?;
        let (states, labels) = (self.train.states.index_select(&rows, 0)?, self.train.labels.index_select(&rows, 0)?);
        let loss = self.loss(&states, &labels)?;
        let gradients = gather(&self.params, &loss.backward()?);
        Ok(TaskStep { gradients, measures: ValueMeasures { loss: f64::from(loss.to_scalar::<f32>()?) }, tokens: None })
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation<ValueMeasures>>> {
        let loss = f64::from(self.loss(&self.valid.states, &self.valid.labels)?.to_scalar::<f32>()?);
        Ok(Some(Evaluation { loss: loss.into(), measures: ValueMeasures { loss }, tokens: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use candle_core::Device;
    use ollm_runtime::plugin::schema::DecoderKind;
    use std::path::Path;

    fn plugin() -> Loaded {
        let spec = testing::spec(4, DecoderKind::LowRank { width: 8, rank: 2 });
        Loaded { tensors: testing::random_params(&spec).tensors(), spec }
    }

    /// Answers that are right where the first number of the state is positive.
    fn examples(seed: &str, count: usize) -> ValueExamples {
        let states = testing::normal(seed, &[count, 4], 1.0);
        let right: Vec<bool> = states.to_vec2::<f32>().unwrap().iter().map(|state| state[0] > 0.0).collect();
        let labels: Vec<f32> = right.iter().map(|&right| f32::from(u8::from(right))).collect();
        let places = (0..count).map(|i| if i % 2 == 0 { Place::End } else { Place::Line }).collect();
        ValueExamples { states, labels: Tensor::from_vec(labels, count, &Device::Cpu).unwrap(), places, right }
    }

    fn settings() -> ValueSettings {
        ValueSettings { width: 8, epochs: 12, batch: 32, lr: 0.02, patience: 4, eval_every: 8, seed: 1 }
    }

    fn train(folder: &Path, train: &ValueExamples, stop_after: Option<u64>, resume: bool) -> Result<Option<Loaded>> {
        let mut run = RunFolder::open(folder, resume)?;
        let data = ValueData { plugin: &plugin(), train, valid: &examples("valid", 64) };
        let identity = FileMetadata::new();
        train_value(data, &settings(), &identity, stop_after, &mut run, &ProgressBar::hidden())
    }

    #[test]
    fn right_answers_get_high_values_and_the_rest_of_the_plugin_stays() {
        let learned = train(&testing::folder("value"), &examples("train", 256), None, false).unwrap().unwrap();
        let report = ValueReport::new(&learned, &examples("test", 200)).unwrap();
        assert!(report.answers.auc.unwrap() > 0.95 && report.lines.auc.unwrap() > 0.95, "{report}");
        assert!(report.answers.calibration_error < 0.15, "{report}");
        let none = ValueReport { lines: Prediction::new(&[], &[]), ..report }.to_string();
        let last: Vec<&str> = none.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last, ["lines", "0", "-", "-", "-", "-", "-"]);
        for (name, tensor) in &plugin().tensors {
            let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(tensor), values(&learned.tensors[name]), "{name}");
        }
        // It is one that the schema knows.
        let slots = ollm_runtime::plugin::schema::tensors(&learned.spec);
        assert!(slots.iter().all(|(name, shape)| learned.tensors[*name].dims() == shape));
        assert_eq!(slots.len(), learned.tensors.len());
    }

    #[test]
    fn an_interrupted_run_resumes_to_the_same_bits() {
        let data = examples("train", 256);
        let whole = train(&testing::folder("value-whole"), &data, None, false).unwrap().unwrap();
        let folder = testing::folder("value-parts");
        let mut parts = train(&folder, &data, Some(11), false).unwrap();
        while parts.is_none() {
            parts = train(&folder, &data, Some(11), true).unwrap();
        }
        let values = |plugin: &Loaded| -> Vec<Vec<f32>> {
            plugin.tensors.values().map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        assert_eq!(values(&whole), values(&parts.unwrap()));
    }

    #[test]
    fn answers_that_are_all_alike_are_refused() {
        let mut data = examples("train", 64);
        data.right.fill(true);
        let refused = train(&testing::folder("value-alike"), &data, None, false);
        assert!(matches!(refused, Err(Error::Setting { name: "--data", .. })));
    }
}
