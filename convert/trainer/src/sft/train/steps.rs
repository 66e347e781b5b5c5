//! A stage of `sft` as a task of the training loop: batches of segments, scored on held-out text.

use candle_core::Device;
use ollm_runtime::plugin::schema::{self, PluginConfig};
use serde::Serialize;

use crate::data::tensor_file::{FileMetadata, Tensors};
use crate::error::Result;
use crate::features::states::{FeatureBatch, Features};
use crate::fit::checkpoint::RunCheckpoint;
use crate::fit::optim::gather;
use crate::fit::order::Order;
use crate::fit::{Evaluation, Task, TaskMeasures, TaskStep};
use crate::plugin::file::Loaded;
use crate::plugin::nets::{CONTROL, names};
use crate::plugin::params::Params;
use crate::rollout::engine::LatentPlan;
use crate::rollout::samples::{Sample, SampleQuestions};
use crate::sft::objective::Measured;
use crate::sft::stages::SftStage;

/// Held-out rows of an evaluation: enough to see a trend, few enough not to be waited for.
const EVALUATION_ROWS: usize = 2048;

/// What a stage logs. A step has the objective, and its cross-entropy over candidates where those
/// are scored; an evaluation is over the whole vocabulary, and has the loss that early stopping
/// compares.
#[derive(Debug, Serialize)]
pub(super) struct StageMeasures {
    #[serde(skip_serializing_if = "Option::is_none")]
    objective: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cross_entropy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_cross_entropy: Option<f64>,
    kl: f64,
    beta: f64,
    usage_entropy: f64,
    policy_entropy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
}

impl StageMeasures {
    /// What both kinds of lines have.
    fn new(stage: &dyn SftStage, measured: &Measured) -> Self {
        let &Measured { kl, usage_entropy, policy_entropy, accuracy, .. } = measured;
        Self {
            objective: None,
            loss: None,
            cross_entropy: None,
            candidate_cross_entropy: None,
            kl,
            beta: stage.beta(),
            usage_entropy,
            policy_entropy,
            accuracy,
        }
    }

    fn of_step(stage: &dyn SftStage, measured: &Measured, candidates: bool) -> Self {
        let cross_entropy = Some(measured.cross_entropy);
        let (full, few) = if candidates { (None, cross_entropy) } else { (cross_entropy, None) };
        Self {
            objective: Some(measured.objective),
            cross_entropy: full,
            candidate_cross_entropy: few,
            ..Self::new(stage, measured)
        }
    }

    fn of_evaluation(stage: &dyn SftStage, measured: &Measured) -> Self {
        let (loss, cross_entropy) = (Some(stage.held_out_loss(measured)), Some(measured.cross_entropy));
        Self { loss, cross_entropy, ..Self::new(stage, measured) }
    }
}

impl TaskMeasures for StageMeasures {
    fn is_finite(&self) -> bool {
        let &Self { objective, loss, cross_entropy, candidate_cross_entropy, accuracy, .. } = self;
        let &Self { kl, usage_entropy, policy_entropy, .. } = self;
        let some = [objective, loss, cross_entropy, candidate_cross_entropy, accuracy].into_iter().flatten();
        some.chain([kl, usage_entropy, policy_entropy]).all(f64::is_finite)
    }

    fn summary(&self) -> String {
        let (name, cross_entropy) = match self.candidate_cross_entropy {
            Some(over_candidates) => ("cross-entropy over candidates", over_candidates),
            None => ("cross-entropy", self.cross_entropy.unwrap_or(f64::NAN)),
        };
        format!("{name} {cross_entropy:.3}, KL {:.3}", self.kl)
    }
}

/// A stage, its tensors, and the text.
pub(super) struct StageTask<'a> {
    pub(super) stage: &'a mut dyn SftStage,
    pub(super) params: &'a Params,
    pub(super) train: &'a Features,
    pub(super) valid: Option<&'a Features>,
    /// Tokens a step.
    pub(super) batch: usize,
    pub(super) order: Order,
    pub(super) samples: Option<StageSamples<'a>>,
}

/// Questions that a stage's tensors answer.
#[derive(Clone, Copy)]
pub(super) struct StageSamples<'a> {
    pub(super) questions: &'a SampleQuestions<'a>,
    pub(super) spec: &'a PluginConfig,
}

impl StageSamples<'_> {
    /// The answers of the policy's most probable latents. Before there are options, all of them are
    /// the control.
    fn of(&self, tensors: &Tensors) -> Result<Vec<Sample>> {
        let is_whole = schema::tensors(self.spec).iter().all(|(name, _)| tensors.contains_key(*name));
        if is_whole {
            let plugin = Loaded { spec: self.spec.clone(), tensors: tensors.clone() };
            return self.questions.with_plugin(&plugin, LatentPlan::Policy);
        }
        let fresh = Params::options(self.spec, &Tensors::new(), false, 0, &Device::Cpu)?.tensors();
        let mut tensors: Tensors = fresh.into_iter().chain(tensors.clone()).collect();
        for name in [names::DELTA_OUT, names::EMBED] {
            if let Some(tensor) = tensors.get_mut(name) {
                *tensor = tensor.zeros_like()?;
            }
        }
        let plugin = Loaded { spec: self.spec.clone(), tensors };
        self.questions.with_plugin(&plugin, LatentPlan::Fixed(CONTROL))
    }
}

impl Task for StageTask<'_> {
    type Measures = StageMeasures;

    fn name(&self) -> &'static str {
        self.stage.name()
    }

    fn params(&self) -> &Params {
        self.params
    }

    fn step(&mut self, step: u64) -> Result<TaskStep<StageMeasures>> {
        let batch = self.train.segment_batch(self.order.batch(step))?;
        let terms = self.stage.terms(&batch, step)?;
        let measured = terms.measure()?;
        let measures = StageMeasures::of_step(self.stage, &measured, self.train.has_candidates());
        let gradients = gather(self.params, &terms.loss.backward()?);
        self.stage.adapt(measured.kl);
        Ok(TaskStep { gradients, measures, tokens: Some(batch.len()) })
    }

    /// The stage's terms on held-out segments, spread evenly over the text.
    fn evaluate(&mut self) -> Result<Option<Evaluation<StageMeasures>>> {
        let Some(valid) = self.valid.filter(|valid| !valid.is_empty()) else { return Ok(None) };
        let mut batches = Vec::new();
        for batch in evaluation_batches(valid, self.batch) {
            let batch = batch?;
            batches.push((self.stage.evaluate(&batch)?.measure()?, batch.len()));
        }
        let measured = Measured::mean(&batches);
        let measures = StageMeasures::of_evaluation(self.stage, &measured);
        let (loss, rows) = (self.stage.held_out_loss(&measured), batches.iter().map(|(_, rows)| rows).sum());
        Ok(Some(Evaluation { loss: loss.into(), measures, tokens: Some(rows) }))
    }

    fn samples(&mut self) -> Result<Vec<Sample>> {
        self.samples.map_or_else(|| Ok(Vec::new()), |samples| samples.of(&self.params.tensors()))
    }

    fn state(&self) -> FileMetadata {
        [("beta".to_owned(), self.stage.beta().to_string())].into()
    }

    fn restore(&mut self, checkpoint: &RunCheckpoint) -> Result<()> {
        self.stage.set_beta(checkpoint.state("beta")?);
        Ok(())
    }
}

/// The rows of an evaluation: segments spread evenly over the text, about `tokens` rows at a time.
pub(super) fn evaluation_batches(
    valid: &Features,
    tokens: usize,
) -> impl Iterator<Item = Result<FeatureBatch>> + use<'_> {
    let stride = valid.len().div_ceil(EVALUATION_ROWS).max(1);
    let segments: Vec<u32> = (0..valid.segments() as u32).step_by(stride).collect();
    let size = segments_a_step(valid, tokens);
    let parts: Vec<Vec<u32>> = segments.chunks(size).map(<[u32]>::to_vec).collect();
    parts.into_iter().map(|part| valid.segment_batch(&part))
}

/// Segments that have about `tokens` rows, on average over the text.
pub(super) fn segments_a_step(text: &Features, tokens: usize) -> usize {
    let segments = tokens * text.segments() / text.len().max(1);
    segments.clamp(1, text.segments().max(1))
}
