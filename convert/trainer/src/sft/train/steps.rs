//! A stage of `sft` as a task of the training loop: batches of segments, scored on held-out text.

use candle_core::{Device, Tensor, Var};
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
use crate::ranks::Ranks;
use crate::ranks::tree::{self, TreeSum};
use crate::rollout::engine::LatentPlan;
use crate::rollout::samples::{Sample, SampleQuestions};
use crate::sft::objective::Measured;
use crate::sft::stages::{SftStage, StepPlace};

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
    pub(super) train: &'a Features<'a>,
    pub(super) valid: Option<&'a Features<'a>>,
    /// Tokens a step, and tokens of a micro-batch.
    pub(super) batch: usize,
    pub(super) micro_batch: usize,
    pub(super) ranks: Ranks,
    pub(super) order: Order,
    /// This rank's batches of held-out rows, once they were evaluated.
    pub(super) held_out: Option<Vec<FeatureBatch>>,
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

/// What a rank computes of a step: its micro-batches, each with what the stage makes of it.
struct MicroBatches {
    /// How many the step has.
    count: usize,
    outputs: Vec<Vec<Tensor>>,
    rows: usize,
}

impl StageTask<'_> {
    /// This rank's batches of the rows of an evaluation.
    fn held_out_batches(&self, valid: &Features<'_>) -> Result<Vec<FeatureBatch>> {
        let parts = evaluation_parts(valid, self.batch);
        let (mine, mut batches) = (self.ranks.share(parts.len()), Vec::new());
        for (index, part) in parts.into_iter().enumerate() {
            valid.prepare(&part)?;
            if mine.contains(&index) {
                batches.push(valid.segment_batch(&part)?);
            }
        }
        Ok(batches)
    }

    /// The networks' part of a step.
    fn forward(&self, segments: &[u32], step: u64) -> Result<MicroBatches> {
        self.train.prepare(segments)?;
        let parts: Vec<&[u32]> = micro_batches(segments, self.batch, self.micro_batch).collect();
        let rows = |segments: &[u32]| segments.iter().map(|&segment| self.train.rows_of(segment).len()).sum::<usize>();
        let (count, mut first_row, mut outputs) = (parts.len(), 0, Vec::new());
        let mine = self.ranks.share(count);
        for (index, part) in parts.into_iter().enumerate() {
            if mine.contains(&index) {
                let batch = self.train.segment_batch(part)?;
                outputs.push(self.stage.outputs(&batch, StepPlace { step, first_row })?);
            }
            first_row += rows(part);
        }
        Ok(MicroBatches { count, outputs, rows: first_row })
    }

    /// The gradients of the stage's tensors, from the outputs and the loss' slope in each of them.
    fn backward(&self, done: MicroBatches, mut slopes: Vec<(Tensor, usize)>) -> Result<Tensors> {
        let mut gradients = TreeSum::new(done.outputs.len());
        for outputs in done.outputs {
            let mut along = Vec::new();
            for (output, (slope, start)) in outputs.iter().zip(&mut slopes) {
                let rows = output.dim(0)?;
                along.push((output * slope.narrow(0, *start, rows)?)?.sum_all()?);
                *start += rows;
            }
            let along = Tensor::stack(&along, 0)?.sum_all()?;
            gradients.push(gather(self.params, &along.backward()?), tree::add)?;
        }
        self.ranks.sum(done.count, gradients)
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
        let segments = self.order.batch(step).to_vec();
        let done = self.forward(&segments, step)?;
        let (mut whole, mut starts) = (Vec::new(), Vec::new());
        for output in 0..done.outputs[0].len() {
            let mine: Vec<Tensor> = done.outputs.iter().map(|outputs| outputs[output].detach()).collect();
            let (all, start) = self.ranks.gather_rows(&Tensor::cat(&mine, 0)?)?;
            whole.push(Var::from_tensor(&all)?);
            starts.push(start);
        }
        let leaves: Vec<Tensor> = whole.iter().map(|var| var.as_tensor().clone()).collect();
        let terms = self.stage.terms(&leaves, &self.train.segments_of(&segments)?)?;
        let measured = terms.measure()?;
        let measures = StageMeasures::of_step(self.stage, &measured, self.train.has_candidates());
        let slopes = terms.loss.backward()?;
        // No slope: a constant of the objective.
        let slope = |leaf: &Tensor| slopes.get(leaf).map_or_else(|| leaf.zeros_like(), |slope| Ok(slope.detach()));
        let slopes = leaves.iter().map(slope).collect::<candle_core::Result<Vec<_>>>()?;
        let tokens = Some(done.rows);
        let gradients = self.backward(done, slopes.into_iter().zip(starts).collect())?;
        self.stage.adapt(measured.kl);
        Ok(TaskStep { gradients, measures, tokens })
    }

    /// The stage's terms on held-out segments, spread evenly over the text.
    fn evaluate(&mut self) -> Result<Option<Evaluation<StageMeasures>>> {
        let Some(valid) = self.valid.filter(|valid| !valid.is_empty()) else { return Ok(None) };
        let held_out = match self.held_out.take() {
            Some(known) => known,
            None => self.held_out_batches(valid)?,
        };
        let mut numbers = Vec::new();
        for batch in self.held_out.insert(held_out) {
            numbers.extend(self.stage.evaluate(batch)?.measure()?.numbers(batch.len()));
        }
        let numbers = self.ranks.gather_numbers(&numbers)?;
        let batches: Vec<_> = numbers.chunks_exact(7).map(Measured::of_numbers).collect();
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

/// The segments of an evaluation, spread evenly over the text, about `tokens` rows at a time.
fn evaluation_parts(valid: &Features<'_>, tokens: usize) -> Vec<Vec<u32>> {
    let stride = valid.len().div_ceil(EVALUATION_ROWS).max(1);
    let segments: Vec<u32> = (0..valid.segments() as u32).step_by(stride).collect();
    segments.chunks(segments_a_step(valid, tokens)).map(<[u32]>::to_vec).collect()
}

/// The rows of an evaluation.
pub(super) fn evaluation_batches<'v>(
    valid: &'v Features<'v>,
    tokens: usize,
) -> impl Iterator<Item = Result<FeatureBatch>> + use<'v> {
    evaluation_parts(valid, tokens).into_iter().map(|part| {
        valid.prepare(&part)?;
        valid.segment_batch(&part)
    })
}

/// The segments of a step, cut into those of its micro-batches.
pub(super) fn micro_batches(segments: &[u32], batch: usize, micro_batch: usize) -> impl Iterator<Item = &[u32]> {
    segments.chunks(segments.len().div_ceil(batch.div_ceil(micro_batch)).max(1))
}

/// Segments that have about `tokens` rows, on average over the text.
pub(super) fn segments_a_step(text: &Features<'_>, tokens: usize) -> usize {
    let segments = tokens * text.segments() / text.len().max(1);
    segments.clamp(1, text.segments().max(1))
}
