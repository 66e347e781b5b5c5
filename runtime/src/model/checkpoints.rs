//! The states of recurrent layers at some positions of a sequence.
//!
//! A KV cache goes back to any position: it forgets what comes after. A recurrent state holds no
//! position but its own, so states are kept as checkpoints: at the last position, at every
//! so-many-th one before it, and after each token of a pass that may have to be taken back. A
//! sequence goes back to the nearest checkpoint, and evaluates again what follows it. A checkpoint
//! does not change once its pass is over; forks share it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use ollm_kernels::memory::{self, OutOfMemory};

/// Checkpoints of a pass beside the regular ones: at its beginning, before its last token and at
/// its end.
const RECENT: usize = 3;

/// The checkpoints of a sequence.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    /// Floats of a checkpoint: those of all recurrent layers. 0: there are no such layers.
    width: usize,
    /// The positions from one regular checkpoint to the next.
    interval: usize,
    /// By rising positions.
    all: Vec<Checkpoint>,
}

/// The states of all recurrent layers at a position.
#[derive(Clone, Debug)]
struct Checkpoint {
    /// The tokens before it.
    position: usize,
    /// `[width]`
    values: Arc<Vec<f32>>,
}

impl Checkpoints {
    /// None so far, of so many floats each, at every `interval`-th position.
    pub(super) fn new(width: usize, interval: usize) -> Self {
        Self { width, interval: interval.max(1), all: Vec::new() }
    }

    /// Floats of a checkpoint; 0 without recurrent layers.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The positions that have a checkpoint, and its floats.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.all.iter().map(|checkpoint| (checkpoint.position, &checkpoint.values[..]))
    }

    /// Bytes that they hold.
    pub(super) fn bytes(&self) -> usize {
        self.all.len() * self.width * size_of::<f32>()
    }

    /// Bytes of those that are not among `seen`, by their addresses; they are then.
    pub(super) fn bytes_unseen(&self, seen: &mut HashSet<usize>) -> usize {
        let unseen = self.all.iter().filter(|checkpoint| seen.insert(Arc::as_ptr(&checkpoint.values).addr()));
        unseen.count() * self.width * size_of::<f32>()
    }

    /// Bytes of those of a text of `positions` positions at most, `drafted` of which may be taken
    /// back.
    pub(super) fn bytes_for(&self, positions: usize, drafted: usize) -> usize {
        let count = (positions / self.interval).saturating_add(RECENT + 1).saturating_add(drafted);
        count.saturating_mul(self.width * size_of::<f32>())
    }

    /// The last position up to `position` that a pass can begin at.
    pub(super) fn resumable(&self, position: usize) -> usize {
        let before = self.all.iter().rfind(|checkpoint| checkpoint.position <= position);
        if self.width == 0 { position } else { before.map_or(0, |checkpoint| checkpoint.position) }
    }

    /// Drops those after `position`.
    pub(super) fn truncate(&mut self, position: usize) {
        self.all.truncate(self.all.partition_point(|checkpoint| checkpoint.position <= position));
    }

    /// Begins a pass over `count` tokens from `first` on, the last `drafted` of which may be taken
    /// back: what lies behind is dropped but for the regular checkpoints, and there are new ones,
    /// to be filled.
    ///
    /// # Errors
    /// [`OutOfMemory`]; the one at `first` stays.
    pub(super) fn begin(&mut self, first: usize, count: usize, drafted: usize) -> Result<(), OutOfMemory> {
        if self.width == 0 || count == 0 {
            return Ok(());
        }
        self.truncate(first);
        let (interval, end) = (self.interval, first + count);
        let is_kept = |position: usize| position == first || position.is_multiple_of(interval);
        // Steps of one token write to memory that an earlier step has mapped; they fill all of it.
        let dropped = self.all.extract_if(.., |checkpoint| !is_kept(checkpoint.position));
        let mut spare: Vec<_> = dropped.filter_map(|checkpoint| Arc::into_inner(checkpoint.values)).collect();
        if first == 0 && self.all.is_empty() {
            self.push(0, memory::filled(0.0, self.width)?);
        }
        let recent = end.saturating_sub(drafted.max(1));
        for position in (first + 1..=end).filter(|position| *position >= recent || position.is_multiple_of(interval)) {
            let values = spare.pop().map_or_else(|| memory::filled(0.0, self.width), Ok)?;
            self.push(position, values);
        }
        Ok(())
    }

    /// Adds one after the others.
    pub(crate) fn push(&mut self, position: usize, values: Vec<f32>) {
        self.all.push(Checkpoint { position, values: Arc::new(values) });
    }

    /// A layer's part, `range`, of the state that a pass from `first` on begins with, and of those
    /// that it is to fill, with the tokens of the pass before each.
    ///
    /// # Panics
    /// If no pass has [begun](Checkpoints::begin) there.
    pub(super) fn of_pass(
        &mut self,
        first: usize,
        range: Range<usize>,
    ) -> (&[f32], impl Iterator<Item = (usize, &mut [f32])>) {
        let count = self.all.partition_point(|checkpoint| checkpoint.position <= first);
        let (before, after) = self.all.split_at_mut(count);
        let begin = before.last().filter(|checkpoint| checkpoint.position == first);
        let begin = &begin.expect("a pass begins at a checkpoint").values[range.clone()];
        let after = after.iter_mut().map(move |checkpoint| {
            let values = Arc::get_mut(&mut checkpoint.values).expect("those of a pass are not shared yet");
            (checkpoint.position - first, &mut values[range.clone()])
        });
        (begin, after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 3;

    fn positions(checkpoints: &Checkpoints) -> Vec<usize> {
        checkpoints.iter().map(|(position, _)| position).collect()
    }

    /// A pass that counts the tokens before each checkpoint.
    fn pass(checkpoints: &mut Checkpoints, first: usize, count: usize, drafted: usize) {
        checkpoints.begin(first, count, drafted).unwrap();
        let (begin, after) = checkpoints.of_pass(first, 1..2);
        let begin = begin[0];
        after.for_each(|(tokens, values)| values[0] = begin + tokens as f32);
    }

    #[test]
    fn regular_ones_stay_and_recent_ones_go() {
        let mut checkpoints = Checkpoints::new(WIDTH, 8);
        assert_eq!(checkpoints.resumable(100), 0);
        pass(&mut checkpoints, 0, 20, 0);
        assert_eq!(positions(&checkpoints), [0, 8, 16, 19, 20]);
        pass(&mut checkpoints, 20, 1, 0);
        assert_eq!(positions(&checkpoints), [0, 8, 16, 20, 21]);
        pass(&mut checkpoints, 21, 5, 3);
        assert_eq!(positions(&checkpoints), [0, 8, 16, 21, 23, 24, 25, 26]);
        for (position, values) in checkpoints.iter() {
            assert_eq!(values, [0.0, position as f32, 0.0]);
        }
        assert_eq!([7, 8, 15, 22, 24].map(|position| checkpoints.resumable(position)), [0, 8, 8, 21, 24]);
        // What a draft left behind is not where the next pass goes on.
        pass(&mut checkpoints, 24, 1, 0);
        assert_eq!(positions(&checkpoints), [0, 8, 16, 24, 25]);
        checkpoints.truncate(9);
        assert_eq!(positions(&checkpoints), [0, 8]);
    }

    #[test]
    fn forks_share_them_and_their_bytes_are_bounded() {
        let mut one = Checkpoints::new(WIDTH, 8);
        pass(&mut one, 0, 20, 0);
        let mut two = one.clone();
        pass(&mut two, 20, 4, 2);
        let mut seen = HashSet::new();
        let size = WIDTH * size_of::<f32>();
        assert_eq!((one.bytes_unseen(&mut seen), two.bytes_unseen(&mut seen)), (5 * size, 3 * size));
        assert_eq!(one.bytes(), 5 * size);
        for (first, count, drafted) in [(20, 60, 0), (20, 12, 9), (20, 1, 0)] {
            pass(&mut one, first, count, drafted);
            assert!(one.bytes() <= one.bytes_for(first + count, drafted));
            one.truncate(20);
        }
        assert_eq!(one.bytes_for(usize::MAX, 1), usize::MAX);
    }

    #[test]
    fn without_recurrent_layers_there_are_none() {
        let mut none = Checkpoints::new(0, 8);
        none.begin(5, 9, 2).unwrap();
        assert_eq!((positions(&none), none.resumable(7), none.bytes()), (vec![], 7, 0));
    }
}
