//! How many tokens of prompts a pass takes: few enough that those who wait for it wait for little.
//! Their number changes when tokens are computed, and never what they are.

use std::time::Duration;

use ollm_runtime::model::BATCH;

/// Tokens at least, and at most while other sequences decode.
const MIN_TOKENS: usize = 8;
const MAX_WHILE_DECODING: usize = 64;

/// How long a pass of prompts alone may take: a request that comes waits for its end.
const ALONE: f64 = 0.15;

/// How much a new measurement counts.
const WEIGHT: f64 = 0.25;

/// What passes cost, as they were measured.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds of a pass without a prompt.
    step: Option<f64>,
    /// Seconds that a token of a prompt adds.
    token: Option<f64>,
}

impl Pace {
    /// Tokens of prompts for the next pass. While other sequences decode they take about as long as
    /// those, so that a pass costs some two steps.
    pub(super) fn room(&self, decodes: bool) -> usize {
        // Alone, fewer would read the weights too often for what they compute.
        let (fewest, most, seconds) = if decodes {
            (MIN_TOKENS, MAX_WHILE_DECODING, self.step)
        } else {
            (MAX_WHILE_DECODING, BATCH, Some(ALONE))
        };
        match (seconds, self.token) {
            (Some(seconds), Some(token)) => ((seconds / token) as usize).clamp(fewest, most),
            _ => MAX_WHILE_DECODING,
        }
    }

    /// Notes how long a pass took, of so many tokens of prompts, and whether other
    /// sequences decoded in it.
    pub(super) fn note(&mut self, took: Duration, tokens: usize, decodes: bool) {
        let took = took.as_secs_f64();
        match (tokens, self.step) {
            (0, _) => average(&mut self.step, took),
            (_, None) if decodes => {}
            (_, step) => {
                let others = step.filter(|_| decodes).unwrap_or(0.0);
                average(&mut self.token, ((took - others) / tokens as f64).max(1e-6));
            }
        }
    }
}

fn average(value: &mut Option<f64>, new: f64) {
    *value = Some(value.map_or(new, |old| old + WEIGHT * (new - old)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_costs_some_two_steps() {
        let mut pace = Pace::default();
        assert_eq!((pace.room(true), pace.room(false)), (MAX_WHILE_DECODING, MAX_WHILE_DECODING));
        pace.note(Duration::from_millis(20), 0, true);
        pace.note(Duration::from_millis(20 + 2 * 64), 64, true);
        assert_eq!((pace.room(true), pace.room(false)), (10, 75));
        // A slow machine takes the fewest, a fast one the most.
        pace.note(Duration::from_secs(1000), 1, false);
        assert_eq!((pace.room(true), pace.room(false)), (MIN_TOKENS, MAX_WHILE_DECODING));
        let mut fast = Pace::default();
        fast.note(Duration::from_millis(20), 0, true);
        fast.note(Duration::from_millis(1), 256, false);
        assert_eq!((fast.room(true), fast.room(false)), (MAX_WHILE_DECODING, BATCH));
    }
}
