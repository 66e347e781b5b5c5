//! What a session has done, and how long it took.

use std::time::Duration;

use crate::clock::Instant;

/// What a session has done since it was made, or since it was forked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Tokens that were fed.
    pub fed: u64,
    /// How long the calls that fed them took.
    pub feed_time: Duration,
    /// Tokens that were generated.
    pub generated: u64,
    /// How long the calls that generated them took; a step of a batch takes as long as the batch.
    pub generate_time: Duration,
    /// From the beginning of the last feed to the first token after it; none before that.
    pub first_token: Option<Duration>,
    /// Passes over the weights of the network.
    pub passes: u64,
    /// Drafted tokens that went through the network: see
    /// [`Session::set_drafter`](super::Session::set_drafter).
    pub drafted: u64,
    /// How many of them were right.
    pub accepted: u64,
    /// Bytes of the KV cache, those that forks share included.
    pub kv_bytes: usize,
}

/// Counts and takes the time.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) statistics: Statistics,
    /// When the last feed began, until a token follows it.
    prompt: Option<Instant>,
}

impl Meter {
    pub(super) fn pass(&mut self) {
        self.statistics.passes += 1;
    }

    /// So many drafted tokens went through the network.
    pub(super) fn drafted(&mut self, tokens: usize) {
        self.statistics.drafted += tokens as u64;
    }

    /// A drafted token was right.
    pub(super) fn accepted(&mut self) {
        self.statistics.accepted += 1;
    }

    /// A feed of `tokens` that began at `begin` has ended.
    pub(super) fn fed(&mut self, tokens: usize, begin: Instant) {
        self.statistics.fed += tokens as u64;
        self.statistics.feed_time += begin.elapsed();
        self.prompt.get_or_insert(begin);
    }

    /// A step that began at `begin` has given a token.
    pub(super) fn generated(&mut self, begin: Instant) {
        self.statistics.generated += 1;
        self.statistics.generate_time += begin.elapsed();
        if let Some(begin) = self.prompt.take() {
            self.statistics.first_token = Some(begin.elapsed());
        }
    }
}
