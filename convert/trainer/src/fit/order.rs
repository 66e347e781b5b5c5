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
    buffer: Option<Buffer>,
}

/// Items are shuffled only with those of the same buffer.
struct Buffer {
    /// First item of each group, and the number of items: a group is not torn apart.
    groups: Vec<usize>,
    /// Groups in a buffer.
    size: usize,
}

impl Order {
    /// Of `items` items, `batch` at a time.
    pub(crate) fn new(items: usize, batch: usize, seed: u64, stage: &str) -> Self {
        Self {
            items,
            batch: batch.min(items).max(1),
            seed,
            stream: format!("order of {stage}"),
            epoch: None,
            buffer: None,
        }
    }

    /// The same with a shuffle buffer: an epoch shuffles the groups, and then the items of `size`
    /// groups after the other. `groups` holds the first item of each, and the number of items. A
    /// buffer of all groups is none.
    pub(crate) fn buffered(self, groups: Vec<usize>, size: usize) -> Self {
        Self { buffer: (size + 1 < groups.len()).then_some(Buffer { groups, size }), ..self }
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
        let mut rng = Rng::stream(self.seed, &self.stream, epoch);
        let shuffle = || match &self.buffer {
            None => (epoch, rng.permutation(self.items)),
            Some(buffer) => (epoch, buffer.shuffle(&mut rng)),
        };
        let (_, order) = self.epoch.insert(known.unwrap_or_else(shuffle));
        order.chunks_exact(self.batch).nth(index).unwrap_or_default()
    }
}

impl Buffer {
    fn shuffle(&self, rng: &mut Rng) -> Vec<u32> {
        let groups = rng.permutation(self.groups.len() - 1);
        let mut order = Vec::new();
        for buffer in groups.chunks(self.size) {
            let items = |&group: &u32| self.groups[group as usize] as u32..self.groups[group as usize + 1] as u32;
            let items: Vec<u32> = buffer.iter().flat_map(items).collect();
            order.extend(rng.permutation(items.len()).into_iter().map(|at| items[at as usize]));
        }
        order
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

    #[test]
    fn a_buffer_holds_the_items_of_its_groups() {
        let groups = vec![0, 3, 3, 5, 9, 10];
        let mut order = Order::new(10, 10, 1, "s").buffered(groups.clone(), 2);
        let mut seen = order.batch(0).to_vec();
        let group = |item: u32| groups.iter().rposition(|&first| first <= item as usize).unwrap();
        let mut buffers: Vec<usize> = seen.iter().map(|&item| group(item)).collect();
        buffers.dedup();
        assert!(buffers.len() > 4, "items of a buffer are shuffled: {buffers:?}");
        // Groups follow one another buffer by buffer: the first and the last time that a group is
        // seen are less than two groups apart.
        let sizes: Vec<usize> = groups.windows(2).map(|group| group[1] - group[0]).collect();
        let at =
            |wanted: usize| seen.iter().enumerate().filter(move |(_, item)| group(**item) == wanted).map(|(at, _)| at);
        for wanted in 0..5 {
            let span = at(wanted).max().zip(at(wanted).min()).map_or(0, |(last, first)| last - first);
            assert!(span < sizes[wanted] + 4, "{seen:?}");
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<u32>>());
        let whole = |order: &mut Order| order.batch(0).to_vec();
        assert_eq!(whole(&mut Order::new(10, 10, 1, "s").buffered(groups, 5)), whole(&mut Order::new(10, 10, 1, "s")));
    }
}
