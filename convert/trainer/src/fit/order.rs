//! The order in which training sees its items (rows or problems): every epoch its own shuffle.

use crate::data::rng::Rng;

/// Batches of shuffled items.
pub(crate) struct Order {
    items: usize,
    batch: usize,
    seed: u64,
    stream: String,
    /// The last epoch that was shuffled, and its shuffle.
    epoch: Option<(u64, Vec<u32>)>,
}

impl Order {
    /// Of `items` items, `batch` at a time.
    pub(crate) fn new(items: usize, batch: usize, seed: u64, stage: &str) -> Self {
        Self { items, batch: batch.min(items).max(1), seed, stream: format!("order of {stage}"), epoch: None }
    }

    /// The items that do not fill a last batch are left to the next epoch's shuffle.
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        (self.items / self.batch) as u64
    }

    /// The batch of a step; none of it where there are no items.
    pub(crate) fn batch(&mut self, step: u64) -> &[u32] {
        let per_epoch = self.steps_per_epoch().max(1);
        let (epoch, index) = (step / per_epoch, (step % per_epoch) as usize);
        let known = self.epoch.take().filter(|(known, _)| *known == epoch);
        let shuffle = || (epoch, Rng::stream(self.seed, &self.stream, epoch).permutation(self.items));
        let (_, order) = self.epoch.insert(known.unwrap_or_else(shuffle));
        order.chunks_exact(self.batch).nth(index).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resumed_batches_are_the_ones_not_yet_seen() {
        let order = || Order::new(10, 3, 1, "s");
        let mut whole = order();
        let all: Vec<_> = (0..8).map(|step| whole.batch(step).to_vec()).collect();
        let mut resumed = order();
        assert_eq!((4..8).map(|step| resumed.batch(step).to_vec()).collect::<Vec<_>>(), all[4..]);
        assert_ne!(all[0], all[3]);
    }
}
