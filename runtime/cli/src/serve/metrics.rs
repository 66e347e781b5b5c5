//! What the server has done, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number that any thread changes.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicUsize);

impl Number {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: usize) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Answered requests, by the first digit of the status: 2, 4, 5.
    pub(crate) succeeded: Number,
    pub(crate) refused: Number,
    pub(crate) failed: Number,
    /// Requests whose client went away, in whatever state they were.
    pub(crate) cancelled: Number,
    /// Requests that did not come in time, or were not ready in time, and answers that were not
    /// taken in time.
    pub(crate) timed_out: Number,
    /// Tokens of prompts that were computed, those that were known, and generated tokens.
    pub(crate) prompted: Number,
    pub(crate) reused: Number,
    pub(crate) generated: Number,
    /// Passes over the weights in which tokens were generated.
    pub(crate) passes: Number,
    /// Sequences in the batch, and requests that wait, from their last byte to the batch.
    pub(crate) running: Number,
    pub(crate) waiting: Number,
}

/// A request on its way: if it is dropped before it has [ended](Self::end), its client went away.
pub(crate) struct Cancellation(Option<Arc<Metrics>>);

impl Cancellation {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        Self(Some(Arc::clone(metrics)))
    }

    /// It is answered, or has failed.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }
}

impl Drop for Cancellation {
    fn drop(&mut self) {
        self.0.iter().for_each(|metrics| metrics.cancelled.add(1));
    }
}

impl Metrics {
    /// All of it as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, values: &[(&str, &Number)]| {
            // Writing to a text never fails.
            let _ = writeln!(text, "# HELP ollm_{name} {help}\n# TYPE ollm_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "ollm_{name}{labels} {}", value.get());
            }
        };
        let answered = [
            ("{class=\"2xx\"}", &self.succeeded),
            ("{class=\"4xx\"}", &self.refused),
            ("{class=\"5xx\"}", &self.failed),
        ];
        family("requests_total", "counter", "Answered requests by status.", &answered);
        family("cancelled_total", "counter", "Requests whose client went away.", &[("", &self.cancelled)]);
        family("timed_out_total", "counter", "Requests and answers that took too long.", &[("", &self.timed_out)]);
        family("prompt_tokens_total", "counter", "Prompt tokens that were computed.", &[("", &self.prompted)]);
        family("reused_tokens_total", "counter", "Prompt tokens of known prefixes.", &[("", &self.reused)]);
        family("generated_tokens_total", "counter", "Generated tokens.", &[("", &self.generated)]);
        family("decode_passes_total", "counter", "Passes that generated tokens.", &[("", &self.passes)]);
        family("running_sequences", "gauge", "Sequences in the batch.", &[("", &self.running)]);
        family("waiting_requests", "gauge", "Requests that are read or wait for the batch.", &[("", &self.waiting)]);
        text
    }
}
