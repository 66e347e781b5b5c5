//! A stage of `sft` as a task of the training loop: batches of segments, scored on held-out text.

use serde::Serialize;

use crate::data::tensor_file::FileMetadata;
use crate::error::Result;
use crate::features::states::Features;
use crate::fit::checkpoint::RunCheckpoint;
use crate::fit::optim::gather;
use crate::fit::order::Order;
use crate::fit::{Evaluation, Task, TaskMeasures, TaskStep};
use crate::plugin::params::Params;
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
        let stride = valid.len().div_ceil(EVALUATION_ROWS);
        let segments: Vec<u32> = (0..valid.segments() as u32).step_by(stride).collect();
        let mut batches = Vec::new();
        for part in segments.chunks(segments_a_step(valid, self.batch)) {
            let batch = valid.segment_batch(part)?;
            batches.push((self.stage.evaluate(&batch)?.measure()?, batch.len()));
        }
        let measured = Measured::mean(&batches);
        let measures = StageMeasures::of_evaluation(self.stage, &measured);
        let (loss, rows) = (self.stage.held_out_loss(&measured), batches.iter().map(|(_, rows)| rows).sum());
        Ok(Some(Evaluation { loss: loss.into(), measures, tokens: Some(rows) }))
    }

    fn state(&self) -> FileMetadata {
        [("beta".to_owned(), self.stage.beta().to_string())].into()
    }

    fn restore(&mut self, checkpoint: &RunCheckpoint) -> Result<()> {
        self.stage.set_beta(checkpoint.state("beta")?);
        Ok(())
    }
}

/// Segments that have about `tokens` rows, on average over the text.
pub(super) fn segments_a_step(text: &Features, tokens: usize) -> usize {
    let segments = tokens * text.segments() / text.len().max(1);
    segments.clamp(1, text.segments().max(1))
}
