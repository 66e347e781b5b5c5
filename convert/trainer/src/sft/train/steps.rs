//! A stage of `sft` as a task of the training loop: batches of segments, scored on held-out text.

use candle_core::Tensor;
use serde::Serialize;

use crate::data::tensor_file::FileMetadata;
use crate::error::Result;
use crate::features::states::Features;
use crate::fit::checkpoint::RunCheckpoint;
use crate::fit::optim::gather;
use crate::fit::order::Order;
use crate::fit::{Evaluation, Task, TaskMeasures, TaskStep};
use crate::plugin::params::Params;
use crate::sft::objective::Terms;
use crate::sft::stages::SftStage;

/// Held-out rows of an evaluation: enough to see a trend, few enough not to be waited for.
const EVALUATION_ROWS: usize = 4096;

/// What a stage logs.
#[derive(Debug, Serialize)]
pub(super) struct StageMeasures {
    loss: f64,
    cross_entropy: f64,
    kl: f64,
    beta: f64,
    usage_entropy: f64,
    policy_entropy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
}

impl TaskMeasures for StageMeasures {
    fn is_finite(&self) -> bool {
        let &Self { loss, cross_entropy, kl, usage_entropy, policy_entropy, .. } = self;
        let all = [loss, cross_entropy, kl, usage_entropy, policy_entropy];
        all.into_iter().chain(self.accuracy).all(f64::is_finite)
    }

    fn summary(&self) -> String {
        format!("cross-entropy {:.3}, KL {:.3}", self.cross_entropy, self.kl)
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
        let measures = measures(self.stage, &read(&terms)?);
        let gradients = gather(self.params, &terms.loss.backward()?);
        self.stage.adapt(measures.kl);
        Ok(TaskStep { gradients, measures, tokens: Some(batch.len()) })
    }

    /// The stage's terms on held-out segments, spread evenly over the text.
    fn evaluate(&mut self) -> Result<Option<Evaluation<StageMeasures>>> {
        let Some(valid) = self.valid.filter(|valid| !valid.is_empty()) else { return Ok(None) };
        let stride = valid.len().div_ceil(EVALUATION_ROWS);
        let segments: Vec<u32> = (0..valid.segments() as u32).step_by(stride).collect();
        let (mut sums, mut rows) = (Vec::new(), 0);
        for part in segments.chunks(segments_a_step(valid, self.batch)) {
            let batch = valid.segment_batch(part)?;
            let terms = read(&self.stage.evaluate(&batch)?)?;
            sums.resize(terms.len(), 0.0);
            sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term * batch.len() as f64);
            rows += batch.len();
        }
        let means: Vec<f64> = sums.into_iter().map(|sum| sum / rows as f64).collect();
        let measures = measures(self.stage, &means);
        Ok(Some(Evaluation { loss: measures.loss, measures, tokens: Some(rows) }))
    }

    fn state(&self) -> FileMetadata {
        [("beta".to_owned(), self.stage.beta().to_string())].into()
    }

    fn restore(&mut self, checkpoint: &RunCheckpoint) -> Result<()> {
        self.stage.set_beta(checkpoint.state("beta")?);
        Ok(())
    }
}

/// The terms on the host, by one transfer; the last one is there where the stage has it.
fn read(terms: &Terms) -> Result<Vec<f64>> {
    let Terms { loss, cross_entropy, kl, usage_entropy, policy_entropy, accuracy } = terms;
    let all = [loss, cross_entropy, kl, usage_entropy, policy_entropy].into_iter().chain(accuracy);
    let all = Tensor::stack(&all.map(Tensor::detach).collect::<Vec<_>>(), 0)?.to_vec1::<f32>()?;
    Ok(all.into_iter().map(f64::from).collect())
}

/// What [`read`] gave, by name.
fn measures(stage: &dyn SftStage, terms: &[f64]) -> StageMeasures {
    StageMeasures {
        loss: terms[0],
        cross_entropy: terms[1],
        kl: terms[2],
        beta: stage.beta(),
        usage_entropy: terms[3],
        policy_entropy: terms[4],
        accuracy: terms.get(5).copied(),
    }
}

/// Segments that have about `tokens` rows, on average over the text.
pub(super) fn segments_a_step(text: &Features, tokens: usize) -> usize {
    let segments = tokens * text.segments() / text.len().max(1);
    segments.clamp(1, text.segments().max(1))
}
