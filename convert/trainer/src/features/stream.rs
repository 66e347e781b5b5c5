//! Rows that are computed anew whenever a step needs them, and stored nowhere: for texts whose
//! states would not fit on a disk.
//!
//! The ranks share the problems of a step, and send each other their rows. What was computed last
//! stays in memory, as many problems as are shuffled with one another.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use crate::error::{Error, Result};
use crate::features::rows::{ProblemRows, RowSource, RowsView};
use crate::ranks::Ranks;

/// Computes the rows of problems.
pub type MakeRows<'a> = dyn Fn(&[usize]) -> Result<Vec<ProblemRows>> + 'a;

/// Rows that are computed where they are needed.
pub struct Streamed<'a> {
    make: Box<MakeRows<'a>>,
    ranks: Ranks,
    /// Problems that stay in memory.
    capacity: usize,
    memory: RefCell<Memory>,
}

#[derive(Default)]
struct Memory {
    rows: BTreeMap<usize, ProblemRows>,
    /// The problems, oldest first.
    order: VecDeque<usize>,
}

impl<'a> Streamed<'a> {
    /// Rows made by `make`, of which those of `capacity` problems stay in memory.
    pub fn new(capacity: usize, ranks: &Ranks, make: Box<MakeRows<'a>>) -> Self {
        Self { make, ranks: ranks.clone(), capacity, memory: RefCell::default() }
    }
}

impl RowSource for Streamed<'_> {
    fn prepare(&self, problems: &[usize]) -> Result<()> {
        let missing: Vec<usize> = {
            let memory = self.memory.borrow();
            problems.iter().copied().filter(|problem| !memory.rows.contains_key(problem)).collect()
        };
        let mine: Vec<usize> = self.ranks.in_turn(missing.iter().copied()).collect();
        let made = (self.make)(&mine)?;
        let made = if self.ranks.is_alone() {
            made
        } else {
            let torn = || Error::Ranks { reason: "rows of another rank are torn".into() };
            let all = self.ranks.gather_in_turn(made.iter().map(ProblemRows::to_message).collect())?;
            all.iter().map(|message| ProblemRows::of_message(message).ok_or_else(torn)).collect::<Result<_>>()?
        };
        let mut memory = self.memory.borrow_mut();
        memory.order.retain(|problem| !problems.contains(problem));
        memory.order.extend(problems);
        memory.rows.extend(missing.into_iter().zip(made));
        while memory.order.len() > self.capacity.max(problems.len()) {
            if let Some(oldest) = memory.order.pop_front() {
                memory.rows.remove(&oldest);
            }
        }
        Ok(())
    }

    fn visit(&self, problem: usize, each: &mut dyn FnMut(RowsView<'_>)) {
        each(self.memory.borrow().rows.get(&problem).expect("rows are prepared before they are read").view());
    }

    fn damaged(&self, problem: usize) -> Error {
        Error::NonFinite { what: format!("a row of problem {problem}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ranks::on_ranks;

    #[test]
    fn rows_are_made_once_as_long_as_they_stay_and_shared_among_ranks() {
        for size in [1, 2, 3] {
            let counts = on_ranks(size, |ranks| {
                let made = std::rc::Rc::new(RefCell::new(Vec::<usize>::new()));
                let seen = std::rc::Rc::clone(&made);
                let make = move |problems: &[usize]| {
                    seen.borrow_mut().extend(problems);
                    Ok(problems.iter().map(|&i| ProblemRows::new(&[i as u32], vec![i as u8])).collect())
                };
                let rows = Streamed::new(3, &ranks, Box::new(make));
                for problems in [&[1, 2][..], &[2, 3], &[4], &[2, 1], &[5, 6, 7, 8]] {
                    rows.prepare(problems).unwrap();
                    for &problem in problems {
                        rows.visit(problem, &mut |view| {
                            assert_eq!((view.key(0), view.row(0)[0]), (problem as u32, problem as u8));
                        });
                    }
                    assert!(rows.memory.borrow().rows.len() <= 3.max(problems.len()));
                }
                made.take()
            });
            let mut all = counts.concat();
            all.sort_unstable();
            // Problem 1 was dropped for 4, and is made again.
            assert_eq!(all, [1, 1, 2, 3, 4, 5, 6, 7, 8], "{size} ranks");
        }
    }
}
