//! The order of rows and columns, where GGUF has another one than a checkpoint.

/// The order of rows, or of the elements of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// That in which they are stored.
    Stored,
    /// In each of so many heads, rows i and i + size / 2 become neighbours; of a vector its
    /// elements.
    Interleaved { heads: usize },
    /// Heads of rows that are a group lie apart: the first of each group, then the second, and so
    /// on.
    Rows(HeadGroups),
    /// The same of the elements of each row.
    Columns(HeadGroups),
}

/// Heads in groups, which lie one after the other where they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HeadGroups {
    /// What comes before them, and stays.
    pub(crate) first: usize,
    pub(crate) groups: usize,
    /// The heads of all groups.
    pub(crate) heads: usize,
    /// Rows, or elements, of a head.
    pub(crate) size: usize,
}

impl HeadGroups {
    /// Which of the stored rows, or elements, comes to place `i`.
    fn stored(self, i: usize) -> usize {
        let Some(place) = i.checked_sub(self.first) else { return i };
        let head = place / self.size;
        let stored = head % self.groups * (self.heads / self.groups) + head / self.groups;
        self.first + stored * self.size + place % self.size
    }
}

impl Order {
    /// Which of `n` stored rows, or elements, comes to place `i`.
    pub(crate) fn stored(self, i: usize, n: usize) -> usize {
        match self {
            Self::Stored => i,
            Self::Interleaved { heads } => interleaved(i, n / heads),
            Self::Rows(groups) | Self::Columns(groups) => groups.stored(i),
        }
    }

    /// Whether it is the elements of rows that move, of a tensor of so many dimensions, not the
    /// rows.
    pub(crate) fn moves_columns(self, dims: usize) -> bool {
        match self {
            Self::Stored | Self::Rows(_) => false,
            Self::Interleaved { .. } => dims == 1,
            Self::Columns(_) => true,
        }
    }
}

/// What comes to place `i`, in heads of this size: of each pair of places, one of the first half
/// and one of the second.
fn interleaved(i: usize, size: usize) -> usize {
    let place = i % size;
    i - place + place % 2 * (size / 2) + place / 2
}

#[cfg(test)]
mod tests {
    use super::{HeadGroups, interleaved};

    #[test]
    fn heads_of_a_group_lie_apart() {
        // Behind one row, two groups of three heads of two rows.
        let groups = HeadGroups { first: 1, groups: 2, heads: 6, size: 2 };
        let order: Vec<usize> = (0..13).map(|i| groups.stored(i)).collect();
        assert_eq!(order, [0, 1, 2, 7, 8, 3, 4, 9, 10, 5, 6, 11, 12]);
    }

    #[test]
    fn halves_of_heads_become_neighbours() {
        let order: Vec<usize> = (0..12).map(|i| interleaved(i, 6)).collect();
        assert_eq!(order, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
