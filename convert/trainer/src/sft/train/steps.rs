//! The steps of one stage: from its checkpoint, with looks at held-out text, to its end or to a stop.

use std::time::Instant;

use candle_core::Tensor;
use serde::Serialize;

use super::{Ended, Session};
use crate::error::{Error, Result};
use crate::features::states::Features;
use crate::fit::checkpoint::Position;
use crate::fit::early_stopping::Watch;
use crate::fit::optim::{AdamW, learning_rate};
use crate::fit::order::Order;
use crate::plugin::params::Params;
use crate::sft::objective::Terms;
use crate::sft::stages::Stage;

/// Held-out rows that are scored now and then: enough to see a trend, few enough not to be waited for.
const SURVEY_ROWS: usize = 4096;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    lr: f64,
    tokens_per_second: f64,
}

impl Session<'_> {
    /// Takes a stage's steps, from the checkpoint if it is of this stage.
    pub(super) fn train(&mut self, stage: &mut dyn Stage, params: &Params, epochs: usize) -> Result<Ended> {
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
        let (state, identity) = (&[("beta".to_owned(), stage.beta().to_string())].into(), &self.identity);
        self.run.save(&Position { stage: stage.name(), step, state, watch, identity }, params, optimizer)
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
        let (mut sums, mut rows) = (Vec::new(), 0);
        for part in segments.chunks(segments_a_step(valid, self.settings.batch)) {
            let batch = valid.segment_batch(part)?;
            let terms = read(&stage.survey(&batch)?)?;
            sums.resize(terms.len(), 0.0);
            sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term * batch.len() as f64);
            rows += batch.len();
        }
        let means: Vec<f64> = sums.into_iter().map(|sum| sum / rows as f64).collect();
        let mut entry = entry(stage, step, &means)?;
        entry.split = "valid";
        entry.tokens_per_second = rows as f64 / start.elapsed().as_secs_f64();
        self.run.log(&entry)?;
        Ok(Some(entry.loss))
    }
}

/// The terms on the host, by one transfer; the last one is there where the stage has it.
fn read(terms: &Terms) -> Result<Vec<f64>> {
    let Terms { loss, cross_entropy, kl, usage_entropy, policy_entropy, accuracy } = terms;
    let all = [loss, cross_entropy, kl, usage_entropy, policy_entropy].into_iter().chain(accuracy);
    let all = Tensor::stack(&all.map(Tensor::detach).collect::<Vec<_>>(), 0)?.to_vec1::<f32>()?;
    Ok(all.into_iter().map(f64::from).collect())
}

/// A line of what [`read`] gave.
fn entry(stage: &dyn Stage, step: u64, terms: &[f64]) -> Result<Entry> {
    if !terms.iter().all(|term| term.is_finite()) {
        return Err(Error::NonFinite { what: format!("stage {}, step {step}: the loss", stage.name()) });
    }
    let (stage, beta) = (stage.name(), stage.beta());
    Ok(Entry {
        stage,
        split: "train",
        step,
        loss: terms[0],
        cross_entropy: terms[1],
        kl: terms[2],
        beta,
        usage_entropy: terms[3],
        policy_entropy: terms[4],
        accuracy: terms.get(5).copied(),
        lr: 0.0,
        tokens_per_second: 0.0,
    })
}

fn message(entry: &Entry) -> String {
    let Entry { stage, cross_entropy, kl, tokens_per_second, .. } = entry;
    format!("{stage}: cross-entropy {cross_entropy:.3}, KL {kl:.3}, {tokens_per_second:.0} tokens/s")
}

/// Segments that have about `tokens` rows, on average over the text.
pub(super) fn segments_a_step(text: &Features, tokens: usize) -> usize {
    let segments = tokens * text.segments() / text.len().max(1);
    segments.clamp(1, text.segments().max(1))
}
