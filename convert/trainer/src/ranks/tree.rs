//! Sums in a fixed order: a binary tree over the items, cut in halves from the top down. The tree
//! of the items is also that of the ranks, so each rank has a whole subtree of items.
//!
//! Floating-point sums depend on their order. Here it follows from the number of items alone.
//! Numbers of ranks that are no power of two share less evenly, and give the same bits.

use std::ops::Range;

use candle_core::{DType, Tensor};

use crate::data::tensor_file::Tensors;
use crate::error::Result;

/// The two halves of a node; the left one is the larger.
pub fn halves(node: &Range<usize>) -> (Range<usize>, Range<usize>) {
    let middle = node.start + node.len().div_ceil(2);
    (node.start..middle, middle..node.end)
}

/// The items of a rank.
pub fn share(items: usize, rank: usize, size: usize) -> Range<usize> {
    let (mut items, mut ranks) = (0..items, 0..size);
    while ranks.len() > 1 {
        let ((left, right), (lower, upper)) = (halves(&items), halves(&ranks));
        (items, ranks) = if lower.contains(&rank) { (left, lower) } else { (right, upper) };
    }
    items
}

/// The sum of a node's items, which are pushed one after the other. It holds no more than one sum
/// for each level of the tree.
pub struct TreeSum<T> {
    items: usize,
    pushed: usize,
    sums: Vec<T>,
}

impl<T> TreeSum<T> {
    /// Of so many items.
    pub fn new(items: usize) -> Self {
        Self { items, pushed: 0, sums: Vec::new() }
    }

    /// Adds the next item.
    pub fn push(&mut self, item: T, add: impl Fn(T, T) -> Result<T>) -> Result<()> {
        let mut sum = item;
        for _ in 0..complete(self.items, self.pushed) {
            if let Some(left) = self.sums.pop() {
                sum = add(left, sum)?;
            }
        }
        self.sums.push(sum);
        self.pushed += 1;
        Ok(())
    }

    /// The sum of all items; none if there were none.
    pub fn finish(mut self) -> Option<T> {
        debug_assert!(self.pushed == self.items && self.sums.len() <= 1);
        self.sums.pop()
    }
}

/// The number of nodes that are complete with this item.
fn complete(items: usize, item: usize) -> usize {
    let (mut node, mut count) = (0..items, 0);
    while node.len() > 1 {
        count += usize::from(item + 1 == node.end);
        let (left, right) = halves(&node);
        node = if left.contains(&item) { left } else { right };
    }
    count
}

/// Sums of tensors of the same names, in f32.
pub fn add(mut left: Tensors, right: Tensors) -> Result<Tensors> {
    for (name, tensor) in right {
        add_to(&mut left, name, &tensor)?;
    }
    Ok(left)
}

/// Adds to the tensor of that name, as f32.
pub fn add_to(sums: &mut Tensors, name: String, tensor: &Tensor) -> Result<()> {
    let tensor = tensor.to_dtype(DType::F32)?;
    let sum = match sums.get(&name) {
        Some(sum) => (sum + tensor)?,
        None => tensor,
    };
    sums.insert(name, sum);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(node: Range<usize>) -> String {
        let (left, right) = halves(&node);
        if right.is_empty() { node.start.to_string() } else { format!("({}+{})", whole(left), whole(right)) }
    }

    #[test]
    fn items_are_added_in_the_order_of_the_tree() {
        for items in 1..40 {
            let mut sum = TreeSum::new(items);
            for item in 0..items {
                sum.push(item.to_string(), |left, right| Ok(format!("({left}+{right})"))).unwrap();
                assert!(sum.sums.len() <= items.ilog2() as usize + 2);
            }
            assert_eq!(sum.finish().unwrap(), whole(0..items));
        }
        assert_eq!(TreeSum::<u8>::new(0).finish(), None);
    }

    #[test]
    fn ranks_share_all_items_in_their_order() {
        for size in 1..9 {
            for items in 0..20 {
                let shares: Vec<_> = (0..size).map(|rank| share(items, rank, size)).collect();
                assert!(shares.iter().cloned().flatten().eq(0..items));
                let evenly = size.is_power_of_two() && items.is_multiple_of(size);
                assert!(!evenly || shares.iter().all(|share| share.len() == items / size));
            }
        }
    }
}
