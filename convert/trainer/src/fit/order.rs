//! The order in which training sees its items (rows or problems): every epoch its own shuffle.

use crate::data::rng::Rng;

/// Batches of shuffled items.
pub(crate) struct Order {
    items: usize,
    batch: usize,
    seed: u64,
    stream: String,
}

impl Order {
    /// Of `items` items, `batch` at a time.
    pub(crate) fn new(items: usize, batch: usize, seed: u64, stage: &str) -> Self {
        Self { items, batch: batch.min(items).max(1), seed, stream: format!("order of {stage}") }
    }

    /// The items that do not fill a last batch are left to the next epoch's shuffle.
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        (self.items / self.batch) as u64
    }

    /// The batches from step `first` on, without end.
    pub(crate) fn batches(&self, first: u64) -> impl Iterator<Item = Vec<u32>> + '_ {
        let per_epoch = self.steps_per_epoch().max(1);
        (first / per_epoch..).flat_map(move |epoch| {
            let done = if epoch == first / per_epoch { first % per_epoch } else { 0 };
            let order = Rng::stream(self.seed, &self.stream, epoch).permutation(self.items);
            let batches: Vec<Vec<u32>> =
                order.chunks_exact(self.batch).skip(done as usize).map(<[u32]>::to_vec).collect();
            batches
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resumed_batches_are_the_ones_not_yet_seen() {
        let order = Order::new(10, 3, 1, "s");
        let all: Vec<_> = order.batches(0).take(8).collect();
        assert_eq!(order.batches(4).take(4).collect::<Vec<_>>(), all[4..]);
        assert_ne!(all[0], all[3]);
    }
}
