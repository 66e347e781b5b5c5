//! Rows of problems, and where they come from.
//!
//! A row is a key (u32) and some bytes: for features the token that follows and the hidden state in
//! f16, for candidates the gold token's place and the candidates. A problem has a row for each of
//! its answer's tokens, none where it exceeds the context. Training reads them through
//! [`RowSource`]: from the disk ([`super::shards`]), computed anew ([`super::stream`]), or from
//! memory. The bytes are the same.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::f16;

use crate::data::corpus::Problem;
use crate::error::{Error, Result};
use crate::features::backbone::{Example, StateReader, StateSource};

/// The rows of a problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProblemRows {
    /// u32 each, little endian.
    keys: Vec<u8>,
    bytes: Vec<u8>,
}

/// A view of a problem's rows.
#[derive(Clone, Copy)]
pub struct RowsView<'a> {
    /// u32 each, little endian.
    keys: &'a [u8],
    bytes: &'a [u8],
}

/// Where the rows of problems come from.
pub trait RowSource {
    /// Makes the rows of these problems available, and may drop others. All ranks call it with the
    /// same problems.
    fn prepare(&self, problems: &[usize]) -> Result<()>;

    /// Shows the rows of a problem, which must be prepared.
    fn visit(&self, problem: usize, each: &mut dyn FnMut(RowsView<'_>));

    /// That the rows of a problem are not what they should be.
    fn damaged(&self, problem: usize) -> Error;
}

impl<'a> RowsView<'a> {
    /// Of keys and rows.
    pub fn new(keys: &'a [u8], bytes: &'a [u8]) -> Self {
        Self { keys, bytes }
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.keys.len() / 4
    }

    /// None at all.
    pub fn is_empty(self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, in order.
    pub fn keys(self) -> impl Iterator<Item = u32> + 'a {
        self.keys.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// The key of a row.
    pub fn key(self, row: usize) -> u32 {
        let b = &self.keys[4 * row..][..4];
        u32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }

    /// The keys as they are stored.
    pub fn key_bytes(self) -> &'a [u8] {
        self.keys
    }

    /// The rows as they are stored.
    pub fn row_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of a row.
    pub fn row(self, row: usize) -> &'a [u8] {
        let size = self.bytes.len() / self.len();
        &self.bytes[size * row..][..size]
    }
}

impl ProblemRows {
    /// Rows of equal size, with their keys.
    pub fn new(keys: &[u32], bytes: Vec<u8>) -> Self {
        Self { keys: keys.iter().flat_map(|key| key.to_le_bytes()).collect(), bytes }
    }

    /// The rows.
    pub fn view(&self) -> RowsView<'_> {
        RowsView::new(&self.keys, &self.bytes)
    }

    /// The keys and the rows as one message, for other ranks.
    pub fn to_message(&self) -> Vec<u8> {
        [&(self.keys.len() as u32).to_le_bytes(), &self.keys[..], &self.bytes].concat()
    }

    /// What [`Self::to_message`] made; none if it is something else.
    pub fn of_message(message: &[u8]) -> Option<Self> {
        let (length, rest) = message.split_first_chunk::<4>()?;
        let (keys, bytes) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some(Self { keys: keys.to_vec(), bytes: bytes.to_vec() })
    }
}

/// Rows in memory.
pub struct InMemory(pub Vec<ProblemRows>);

impl RowSource for InMemory {
    fn prepare(&self, _problems: &[usize]) -> Result<()> {
        Ok(())
    }

    fn visit(&self, problem: usize, each: &mut dyn FnMut(RowsView<'_>)) {
        each(self.0[problem].view());
    }

    fn damaged(&self, problem: usize) -> Error {
        Error::NonFinite { what: format!("a row of problem {problem}") }
    }
}

/// Runs the backbone over problems: the states from which the tokens of their answers are
/// predicted.
///
/// Each of `threads` workers runs whole problems on one thread of its own: for small models that
/// scales better than sharing one product among all threads.
///
/// # Panics
/// If a worker does.
pub fn compute<S: StateSource + ?Sized>(source: &S, problems: &[&Problem], threads: usize) -> Result<Vec<ProblemRows>> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Result<ProblemRows>>> =
        problems.iter().map(|_| Mutex::new(Ok(ProblemRows::default()))).collect();
    let worker = || -> Result<()> {
        let mut reader = source.reader()?;
        while let Some((problem, slot)) = take(&next, problems, &done) {
            *slot.lock().expect("no worker panics while it holds a slot") = problem_rows(source, &mut *reader, problem);
        }
        Ok(())
    };
    if !problems.is_empty() {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.clamp(1, problems.len())).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|handle| handle.join().expect("a worker returns its errors"))
        })?;
    }
    done.into_iter().map(|slot| slot.into_inner().expect("no worker panics while it holds a slot")).collect()
}

fn take<'a, A, B>(next: &AtomicUsize, left: &'a [A], right: &'a [B]) -> Option<(&'a A, &'a B)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    left.get(index).zip(right.get(index))
}

/// The tokens that a problem's rows predict: none where it exceeds the context.
pub fn targets<S: StateSource + ?Sized>(source: &S, problem: &Problem) -> Result<Vec<u32>> {
    let Example { mut tokens, answer_start } = source.example(problem)?;
    let fits = tokens.len() - 1 <= source.context();
    Ok(if fits { tokens.split_off(answer_start) } else { Vec::new() })
}

fn problem_rows<S: StateSource + ?Sized>(
    source: &S,
    reader: &mut dyn StateReader,
    problem: &Problem,
) -> Result<ProblemRows> {
    let Example { tokens, answer_start } = source.example(problem)?;
    let inputs = &tokens[..tokens.len() - 1];
    if inputs.len() > source.context() {
        return Ok(ProblemRows::default());
    }
    let mut states = Vec::new();
    reader.states(inputs, &mut states)?;
    let hidden = states.len() / inputs.len();
    let bytes = encode_states(&states[(answer_start - 1) * hidden..])?;
    Ok(ProblemRows::new(&tokens[answer_start..], bytes))
}

/// States as f16.
pub(super) fn encode_states(states: &[f32]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(states.len() * 2);
    for &value in states {
        let short = f16::from_f32(value);
        if !short.is_finite() {
            return Err(Error::NonFinite { what: "a hidden state (as f16)".into() });
        }
        bytes.extend(short.to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_beyond_f16_is_an_error() {
        assert!(matches!(encode_states(&[1e9]), Err(Error::NonFinite { .. })));
    }

    #[test]
    fn rows_survive_a_message() {
        let rows = ProblemRows::new(&[7, 9], vec![1, 2, 3, 4, 5, 6]);
        assert_eq!(ProblemRows::of_message(&rows.to_message()).unwrap(), rows);
        let view = rows.view();
        assert_eq!((view.len(), view.key(1), view.row(1)), (2, 9, &[4, 5, 6][..]));
        assert_eq!(ProblemRows::of_message(&[4, 0, 0, 0, 1]), None);
    }
}
