//! Ranks: the processes of one run, as MPI counts them.
//!
//! Every rank holds the whole model and takes the same steps. The work of a step is a list of items
//! (micro-batches, pieces), of which each rank computes its own; what they give is then summed, or
//! gathered, so that every rank has the same. Sums are taken in a fixed tree over the items
//! ([`tree`]), whichever rank computed them: the bits do not depend on the number of ranks.
//!
//! A process that waits for another one cannot hear of its errors: with MPI an error ends all
//! processes ([`world::World::abort`]), as does one that is killed.
//!
//! All collective operations are built on two: send and receive. A [`Transport`] is MPI
//! (feature `mpi`), or, in tests, channels between threads; a process alone has none.

pub mod tree;
#[cfg_attr(feature = "mpi", path = "mpi.rs")]
#[cfg_attr(not(feature = "mpi"), path = "alone.rs")]
pub mod world;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::data::tensor_file::{self, Tensors};
use crate::error::{Error, Result};
use tree::{TreeSum, halves};

/// Carries messages between ranks, in order.
pub trait Transport: Send + Sync {
    /// Sends a message to another rank.
    fn send(&self, to: usize, message: &[u8]);

    /// Waits for the next message of another rank.
    fn receive(&self, from: usize) -> Vec<u8>;
}

/// This process among those of the run. All ranks must call the collective operations (`gather`,
/// `sum` and so on) in the same order.
#[derive(Clone)]
pub struct Ranks {
    rank: usize,
    size: usize,
    transport: Option<Arc<dyn Transport>>,
}

impl fmt::Debug for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.size)
    }
}

impl Ranks {
    /// One process.
    pub fn alone() -> Self {
        Self { rank: 0, size: 1, transport: None }
    }

    /// Rank `rank` of `size`.
    pub fn new(rank: usize, size: usize, transport: Arc<dyn Transport>) -> Self {
        Self { rank, size, transport: Some(transport) }
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this is the one that writes files, logs and progress.
    pub fn is_root(&self) -> bool {
        self.rank == 0
    }

    /// Whether it is the only one.
    pub fn is_alone(&self) -> bool {
        self.size == 1
    }

    /// The items of a sum that this rank computes: consecutive, none where there are more ranks
    /// than items.
    pub fn share(&self, items: usize) -> Range<usize> {
        tree::share(items, self.rank, self.size)
    }

    /// The items of a list, dealt out in turn, that this rank works on: those of
    /// [`Self::gather_in_turn`].
    pub fn in_turn<T>(&self, items: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        items.skip(self.rank).step_by(self.size)
    }

    /// The root's message, on every rank. Only the root makes one.
    pub fn from_root(&self, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let Some(transport) = &self.transport else { return make() };
        let mut message = if self.is_root() { make()? } else { Vec::new() };
        // Who has it tells the first of the upper half of its ranks: half as many at a time.
        let mut ranks = 0..self.size;
        while ranks.len() > 1 {
            let (lower, upper) = halves(&ranks);
            if self.rank == lower.start {
                transport.send(upper.start, &message);
            } else if self.rank == upper.start {
                message = transport.receive(lower.start);
            }
            ranks = if lower.contains(&self.rank) { lower } else { upper };
        }
        Ok(message)
    }

    /// The root's list of messages, on every rank. Only the root makes one.
    pub fn list_from_root(&self, make: impl FnOnce() -> Result<Vec<Vec<u8>>>) -> Result<Vec<Vec<u8>>> {
        if self.is_alone() { make() } else { split(&self.from_root(|| Ok(join(&make()?)))?) }
    }

    /// Every rank's message, by rank.
    pub fn gather(&self, message: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let Some(transport) = &self.transport else { return Ok(vec![message]) };
        if !self.is_root() {
            transport.send(0, &message);
        }
        let all = self.from_root(|| {
            let others = (1..self.size).map(|rank| transport.receive(rank));
            Ok(join(&std::iter::once(message).chain(others).collect::<Vec<_>>()))
        })?;
        split(&all)
    }

    /// Every rank's numbers, one rank's behind the other's: in the order of the items, where each
    /// rank has those of its [`Self::share`].
    pub fn gather_numbers(&self, numbers: &[f64]) -> Result<Vec<f64>> {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let all = self.gather(bytes)?.concat();
        Ok(all.chunks_exact(8).map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])).collect())
    }

    /// Every rank's rows `[n, m]` in one tensor, one rank's behind the other's, and which of them
    /// is the first of this rank.
    pub fn gather_rows(&self, rows: &Tensor) -> Result<(Tensor, usize)> {
        if self.is_alone() {
            return Ok((rows.clone(), 0));
        }
        let columns = rows.dim(1)?;
        let values: Vec<f32> = rows.flatten_all()?.to_vec1()?;
        let all = self.gather(values.iter().flat_map(|value| value.to_le_bytes()).collect())?;
        let first = all[..self.rank].iter().map(Vec::len).sum::<usize>() / (4 * columns);
        let all: Vec<f32> =
            all.concat().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let shape = (all.len() / columns, columns);
        Ok((Tensor::from_vec(all, shape, rows.device())?, first))
    }

    /// What the ranks made of items dealt out [in turn](Self::in_turn), in the order of the items.
    pub fn gather_in_turn(&self, made: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        if self.is_alone() {
            return Ok(made);
        }
        let lists = self.gather(join(&made))?;
        let lists = lists.iter().map(|list| split(list)).collect::<Result<Vec<_>>>()?;
        let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
        let mut all = Vec::new();
        for turn in 0.. {
            let Some(next) = lists[turn % self.size].next() else { break };
            all.push(next);
        }
        Ok(all)
    }

    /// Waits until all ranks are here.
    pub fn barrier(&self) -> Result<()> {
        self.gather(Vec::new()).map(drop)
    }

    /// That all ranks have the same.
    ///
    /// # Errors
    /// [`Error::Ranks`] on every rank if one has something else.
    pub fn check_same(&self, what: &str, mine: &str) -> Result<()> {
        let all = self.gather(mine.as_bytes().to_vec())?;
        match all.iter().position(|other| *other != all[0]) {
            None => Ok(()),
            Some(rank) => Err(Error::Ranks {
                reason: format!(
                    "rank {rank} has another {what} than rank 0: all need the same program, flags, files and folders"
                ),
            }),
        }
    }

    /// The sum over all items of a step, on every rank; none where there are no items. `mine` is
    /// that of the items of this rank's [`Self::share`], as a [`TreeSum`] gives it.
    pub fn sum(&self, items: usize, mine: TreeSum<Tensors>) -> Result<Tensors> {
        let mine = mine.finish();
        let Some(transport) = &self.transport else { return Ok(mine.unwrap_or_default()) };
        let device = mine.as_ref().and_then(|sum| Some(sum.values().next()?.device().clone()));
        let sum = self.sum_node(&**transport, 0..items, 0..self.size, mine)?;
        let all = self.from_root(|| tensor_file::to_message(&sum.unwrap_or_default()))?;
        tensor_file::decode(&all, &device.unwrap_or(Device::Cpu))
    }

    /// The sum of a node's items, at the first of its ranks.
    fn sum_node(
        &self,
        transport: &dyn Transport,
        items: Range<usize>,
        ranks: Range<usize>,
        mine: Option<Tensors>,
    ) -> Result<Option<Tensors>> {
        if ranks.len() == 1 {
            return Ok(mine);
        }
        let ((left, right), (lower, upper)) = (halves(&items), halves(&ranks));
        let has_right = !right.is_empty();
        let (others, first) = (upper.start, lower.start);
        let (items, ranks) = if lower.contains(&self.rank) { (left, lower) } else { (right, upper) };
        let sum = self.sum_node(transport, items, ranks, mine)?;
        match sum {
            Some(sum) if has_right && self.rank == others => {
                transport.send(first, &tensor_file::to_message(&sum)?);
                Ok(None)
            }
            Some(sum) if has_right && self.rank == first => {
                let device = sum.values().next().map_or(Device::Cpu, |tensor| tensor.device().clone());
                tree::add(sum, tensor_file::decode(&transport.receive(others), &device)?).map(Some)
            }
            sum => Ok(sum),
        }
    }
}

/// Messages as one: each with its length before it.
fn join(messages: &[Vec<u8>]) -> Vec<u8> {
    let parts = messages.iter().flat_map(|message| [(message.len() as u64).to_le_bytes().to_vec(), message.clone()]);
    parts.collect::<Vec<_>>().concat()
}

/// Takes apart what [`join`] made.
fn split(mut joined: &[u8]) -> Result<Vec<Vec<u8>>> {
    let torn = || Error::Ranks { reason: "a message between ranks is torn: do they run the same program?".into() };
    let mut messages = Vec::new();
    while !joined.is_empty() {
        let (length, rest) = joined.split_first_chunk::<8>().ok_or_else(torn)?;
        let (message, rest) = rest.split_at_checked(u64::from_le_bytes(*length) as usize).ok_or_else(torn)?;
        messages.push(message.to_vec());
        joined = rest;
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;
    use crate::testing::ranks::on_ranks;

    #[test]
    fn every_rank_has_the_sum_with_the_bits_of_one_process() {
        let item = |i: usize| -> Tensors {
            ["a", "b"].map(|name| (name.to_owned(), normal(&format!("{name}{i}"), &[3, 5], 1.0))).into()
        };
        let sum = |ranks: &Ranks, items: usize| {
            let share = ranks.share(items);
            let mut mine = TreeSum::new(share.len());
            share.for_each(|i| mine.push(item(i), tree::add).unwrap());
            let sum = ranks.sum(items, mine).unwrap();
            sum.into_iter().map(|(name, sum)| (name, sum.to_vec2::<f32>().unwrap())).collect::<Vec<_>>()
        };
        for items in [0, 1, 2, 5, 8, 13] {
            let want = sum(&Ranks::alone(), items);
            for size in [1, 2, 3, 4, 7] {
                let got = on_ranks(size, |ranks| sum(&ranks, items));
                assert!(got.iter().all(|sums| *sums == want), "{items} items on {size} ranks");
            }
        }
    }

    #[test]
    fn lists_come_back_in_the_order_of_their_items() {
        for size in 1..5 {
            for count in [0, 1, 4, 9] {
                let (items, numbers): (Vec<Vec<u8>>, Vec<f64>) =
                    ((0..count).map(|i| vec![i; i as usize % 3]).collect(), (0..count).map(f64::from).collect());
                let got = on_ranks(size, |ranks| {
                    let mine = ranks.in_turn(items.iter().cloned()).collect();
                    let share = ranks.share(numbers.len());
                    (ranks.gather_in_turn(mine).unwrap(), ranks.gather_numbers(&numbers[share]).unwrap())
                });
                assert!(got.iter().all(|got| got == &(items.clone(), numbers.clone())), "{count} on {size}");
            }
        }
    }

    #[test]
    fn ranks_that_differ_are_told_so() {
        let told = |differs: bool| {
            on_ranks(3, |ranks| {
                let mine = if differs && ranks.rank() == 2 { "other" } else { "same" };
                ranks.check_same("checkpoint", mine).map_err(|error| error.to_string())
            })
        };
        assert!(told(false).iter().all(std::result::Result::is_ok));
        assert!(told(true).iter().all(|told| told.as_ref().is_err_and(|told| told.contains("rank 2 has another"))));
        assert!(split(&[1, 2]).is_err() && split(&9_u64.to_le_bytes()).is_err());
    }
}
