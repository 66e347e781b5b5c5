//! What a finished stage gained on held-out data, read from its log.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::fit::early_stopping::Best;

/// A stage from its first evaluation to the one whose tensors it ends with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageSummary {
    /// The measure by which it is told, as the log calls it.
    pub measure: &'static str,
    /// Steps that were taken.
    pub steps: u64,
    /// The first evaluation.
    pub first: Map<String, Value>,
    /// The evaluation whose tensors were kept: the best one, or else the last one.
    pub kept: Map<String, Value>,
}

impl StageSummary {
    /// Of the log's objects; none if nothing was evaluated.
    pub(super) fn new(
        log: &[Map<String, Value>],
        stage: &str,
        measure: &'static str,
        best: Option<Best>,
    ) -> Option<Self> {
        let of = |split: &'static str| {
            let is = move |entry: &&Map<String, Value>, key: &str, value: &str| {
                entry.get(key).and_then(Value::as_str) == Some(value)
            };
            log.iter().filter(move |entry| is(entry, "stage", stage) && is(entry, "split", split))
        };
        let step = |entry: &Map<String, Value>| entry.get("step").and_then(Value::as_u64);
        let kept = of("valid").rfind(|entry| best.is_none_or(|best| step(entry) == Some(best.step)))?;
        let told = |entry: &Map<String, Value>| {
            let told =
                entry.iter().filter(|(key, _)| !["stage", "split", "lr", "tokens_per_second"].contains(&&***key));
            told.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let steps = of("train").next_back().and_then(step).map_or(0, |last| last + 1);
        Some(Self { measure, steps, first: told(of("valid").next()?), kept: told(kept) })
    }
}

impl fmt::Display for StageSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |entry: &Map<String, Value>, key: &str| entry.get(key).and_then(Value::as_f64);
        let (measure, steps) = (self.measure.replace('_', "-"), self.steps);
        let value = |entry| number(entry, self.measure).unwrap_or(f64::NAN);
        let step = |entry| number(entry, "step").unwrap_or(f64::NAN);
        write!(
            f,
            "{measure} on held-out problems: {:.3} at step {}, {:.3} at step {} of {steps}, which is kept",
            value(&self.first),
            step(&self.first),
            value(&self.kept),
            step(&self.kept),
        )?;
        if let Some(top1) = number(&self.kept, "top1") {
            write!(f, "; likeliest token right {top1:.3}")?;
        }
        if let Some((kl, usage)) = number(&self.kept, "kl").zip(number(&self.kept, "usage_entropy")) {
            write!(f, "; KL to the first policy {kl:.3}, latents in use {:.1}", usage.exp())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_told_from_its_first_evaluation_to_the_kept_one() {
        let lines = [
            r#"{"stage":"other","split":"valid","step":0,"reward":9}"#,
            r#"{"stage":"rl","split":"valid","step":0,"reward":0.1,"kl":0,"usage_entropy":0}"#,
            r#"{"stage":"rl","split":"train","step":0,"reward":0.2}"#,
            r#"{"stage":"rl","split":"train","step":1,"reward":0.2}"#,
            r#"{"stage":"rl","split":"valid","step":2,"reward":0.4,"kl":0.5,"usage_entropy":0.6931471805599453}"#,
            r#"{"stage":"rl","split":"train","step":2,"reward":0.2}"#,
            r#"{"stage":"rl","split":"valid","step":3,"reward":0.3,"kl":0.7,"usage_entropy":0}"#,
        ];
        let log: Vec<Map<String, Value>> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let best = Some(Best { step: 2, loss: -0.4 });
        let summary = StageSummary::new(&log, "rl", "reward", best).unwrap();
        assert_eq!(
            summary.to_string(),
            "reward on held-out problems: 0.100 at step 0, 0.400 at step 2 of 3, which is kept; KL to the first policy \
             0.500, latents in use 2.0"
        );
        let last = StageSummary::new(&log, "rl", "reward", None).unwrap();
        assert_eq!(last.kept["step"], 3);
        assert_eq!(StageSummary::new(&log, "lora", "loss", None), None);
    }
}
