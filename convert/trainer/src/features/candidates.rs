//! Candidate tokens for training on a CPU, computed once and cached.
//!
//! The full head costs 2·V·d operations for each option of each token, twice; on a GPU that is
//! nothing, on a CPU it is the whole bill. Our decision: S = 256 *shared* candidates, the most
//! frequent tokens of the answers, which every row has, and C = 64 of each row's own, the most
//! probable of the others under the backbone. The gold token takes the last place where it is
//! among neither. The V − S − C others are stood in for by one extra logit, the logarithm of their
//! summed exponentials under the backbone. See [`crate::features::head`] for how it follows h'.
//!
//! Without shared candidates training would exploit the tail: an option that gives tokens a share
//! that are frequent in answers, but not among the candidates of a row, would pay nothing for it.
//! What decides (evaluations, early stopping, `ollm-train eval`) uses the full head.
//!
//! A row is `C * u32` token ids and `f32` the tail; its key is the gold token's place among shared
//! and own candidates.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::features::rows::{ProblemRows, RowSource};

/// Candidates that all rows share: fewer where the answers have fewer different tokens.
pub const SHARED: usize = 256;

/// Candidates of a row's own, unless the vocabulary is smaller.
pub const COUNT: usize = 64;

/// The candidates of all rows of a corpus.
pub struct Candidates<'a> {
    /// Token ids that all rows have. `[S]`, u32.
    shared: Tensor,
    /// Candidates of each row's own.
    count: usize,
    vocab: usize,
    source: Box<dyn RowSource + 'a>,
}

/// The candidates of some rows.
pub struct CandidateBatch {
    /// Token ids that all rows have. `[S]`, u32.
    pub shared: Tensor,
    /// Token ids of each row's own. `[B, C]`, u32.
    pub ids: Tensor,
    /// Place of the gold token among shared and own ones. `[B]`, u32.
    pub gold: Tensor,
    /// Logarithm of the summed exponentials of all other logits, under the backbone. `[B]`, f32.
    pub tail: Tensor,
}

/// One row on the host.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CandidateRow {
    ids: Vec<u32>,
    gold: u32,
    tail: f32,
}

impl<'a> Candidates<'a> {
    /// Rows of `source`, each with `count` of its own beside the `shared` ones, of a vocabulary of
    /// `vocab` tokens.
    pub(super) fn new(
        source: Box<dyn RowSource + 'a>,
        shared: &[u32],
        count: usize,
        vocab: usize,
        device: &Device,
    ) -> Result<Self> {
        Ok(Self { shared: Tensor::new(shared, device)?, count, vocab, source })
    }

    /// Makes the rows of these problems available.
    pub(super) fn prepare(&self, problems: &[usize]) -> Result<()> {
        self.source.prepare(problems)
    }

    /// The candidates of the given rows: problems, and which of their rows.
    pub(super) fn batch(&self, places: &mut dyn Iterator<Item = (usize, usize)>) -> Result<CandidateBatch> {
        let (mut ids, mut gold, mut tail) = (Vec::new(), Vec::new(), Vec::new());
        let shared = self.shared.dim(0)?;
        for (problem, row) in places {
            let mut found = None;
            self.source.visit(problem, &mut |view| found = Some(decode(view.key(row), view.row(row))));
            let fits = |row: &CandidateRow| {
                let known = row.ids.iter().all(|&id| (id as usize) < self.vocab);
                known
                    && row.ids.len() == self.count
                    && (row.gold as usize) < shared + self.count
                    && row.tail.is_finite()
            };
            let row = found.filter(fits).ok_or_else(|| self.source.damaged(problem))?;
            ids.extend(row.ids);
            gold.push(row.gold);
            tail.push(row.tail);
        }
        let (rows, device) = (gold.len(), self.shared.device());
        Ok(CandidateBatch {
            shared: self.shared.clone(),
            ids: Tensor::from_vec(ids, (rows, self.count), device)?,
            gold: Tensor::from_vec(gold, rows, device)?,
            tail: Tensor::from_vec(tail, rows, device)?,
        })
    }
}

pub(super) fn row_bytes(count: usize) -> usize {
    count * 4 + 4
}

/// The most frequent of these tokens, at most `count`, most frequent first; ties go to the smaller
/// id.
pub(super) fn most_frequent(tokens: &[u32], count: usize) -> Vec<u32> {
    let mut counts = BTreeMap::<u32, usize>::new();
    for &token in tokens {
        *counts.entry(token).or_default() += 1;
    }
    let mut counts: Vec<(u32, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|&(token, count)| (Reverse(count), token));
    counts.into_iter().take(count).map(|(token, _)| token).collect()
}

/// Selects in every row of `logits` `[n, V]`, on all cores. `gold` `[n]`.
pub(super) fn select_all(logits: &[f32], gold: &[u32], shared: &[u32], count: usize) -> Vec<CandidateRow> {
    let vocab = logits.len() / gold.len();
    let share = gold.len().div_ceil(candle_core::utils::get_num_threads());
    let select_part = |(logits, gold): (&[f32], &[u32])| -> Vec<CandidateRow> {
        logits.chunks_exact(vocab).zip(gold).map(|(logits, &gold)| select(logits, gold, shared, count)).collect()
    };
    std::thread::scope(|scope| {
        let parts = logits.chunks(share * vocab).zip(gold.chunks(share));
        let workers: Vec<_> = parts.map(|part| scope.spawn(move || select_part(part))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("selection does not panic")).collect()
    })
}

fn select(logits: &[f32], gold: u32, shared: &[u32], count: usize) -> CandidateRow {
    let mut others = logits.to_vec();
    for &id in shared {
        others[id as usize] = f32::NEG_INFINITY;
    }
    let mut ids = largest(&others, count);
    let place = |ids: &[u32]| shared.iter().chain(ids).position(|&id| id == gold);
    let place = place(&ids).unwrap_or_else(|| {
        ids[count - 1] = gold;
        shared.len() + count - 1
    });
    for &id in &ids {
        others[id as usize] = f32::NEG_INFINITY;
    }
    CandidateRow { tail: log_sum_exp(&others), gold: place as u32, ids }
}

/// The tokens of the `count` largest logits, largest first; ties go to the smaller id.
fn largest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(count + 1);
    let mut floor = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        // Nearly every token stops here, so the insertions below cost little.
        if best.len() == count && logit <= floor {
            continue;
        }
        let place = best.partition_point(|&(other, _)| other >= logit);
        best.insert(place, (logit, id as u32));
        best.truncate(count);
        floor = best[best.len() - 1].0;
    }
    best.into_iter().map(|(_, id)| id).collect()
}

fn log_sum_exp(rest: &[f32]) -> f32 {
    let top = rest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if top == f32::NEG_INFINITY {
        return f32::MIN; // No token is left out: a tail of probability zero, kept finite.
    }
    top + rest.iter().map(|logit| (logit - top).exp()).sum::<f32>().ln()
}

pub(super) fn encode(rows: &[CandidateRow]) -> ProblemRows {
    let mut bytes = Vec::new();
    for row in rows {
        row.ids.iter().for_each(|id| bytes.extend(id.to_le_bytes()));
        bytes.extend(row.tail.to_le_bytes());
    }
    ProblemRows::new(&rows.iter().map(|row| row.gold).collect::<Vec<_>>(), bytes)
}

fn decode(gold: u32, bytes: &[u8]) -> CandidateRow {
    let mut ids: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let tail = f32::from_bits(ids.pop().unwrap_or_default());
    CandidateRow { ids, gold, tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::rows::InMemory;

    #[test]
    fn the_largest_and_the_gold_token_are_kept() {
        let logits = [0.5, 3.0, -1.0, 2.0, 1.0];
        let row = select(&logits, 3, &[], 2);
        assert_eq!((row.ids, row.gold), (vec![1, 3], 1));
        let row = select(&logits, 2, &[], 2);
        assert_eq!((&row.ids[..], row.gold), (&[1, 2][..], 1));
        let tail = (0.5f32.exp() + 2f32.exp() + 1f32.exp()).ln();
        assert!((row.tail - tail).abs() < 1e-6);
    }

    #[test]
    fn shared_candidates_are_no_rows_own() {
        let logits = [0.5, 3.0, -1.0, 2.0, 1.0];
        // Gold is shared; a row's own; neither.
        for (gold, ids, place) in [(1, [3, 4], 0), (4, [3, 4], 3), (2, [3, 2], 3)] {
            let row = select(&logits, gold, &[1, 0], 2);
            assert_eq!((&row.ids[..], row.gold), (&ids[..], place), "{gold}");
        }
        let tail = select(&logits, 1, &[1, 0], 2).tail;
        assert!((tail + 1.0).abs() < 1e-6);
        assert_eq!(most_frequent(&[7, 3, 3, 9, 7, 1], 3), [3, 7, 1]);
    }

    #[test]
    fn the_threads_share_the_rows_in_order() {
        let logits: Vec<f32> = (0..7 * 5).map(|i| ((i * 37) % 11) as f32).collect();
        let gold = [0, 1, 2, 3, 4, 0, 1];
        let alone: Vec<CandidateRow> =
            logits.chunks(5).zip(gold).map(|(row, gold)| select(row, gold, &[2], 3)).collect();
        assert_eq!(select_all(&logits, &gold, &[2], 3), alone);
    }

    #[test]
    fn rows_survive_the_file_and_an_empty_tail_stays_finite() {
        let rows = [select(&[1.0, 2.0], 0, &[], 2), select(&[4.0, -2.0], 1, &[], 1)];
        assert_eq!(rows[0].tail.to_bits(), f32::MIN.to_bits());
        let encoded = encode(&rows[1..]);
        let view = encoded.view();
        assert_eq!(view.row(0).len(), row_bytes(1));
        let decoded = [decode(view.key(0), view.row(0))];
        assert_eq!(decoded, rows[1..]);
    }

    #[test]
    fn damaged_rows_are_refused() {
        let row = select(&[1.0, 2.0, 0.5], 0, &[], 2);
        let damaged = [
            CandidateRow { ids: vec![1, 3], ..row.clone() },
            CandidateRow { gold: 2, ..row.clone() },
            CandidateRow { tail: f32::NAN, ..row.clone() },
        ];
        for wrong in [None].into_iter().chain(damaged.into_iter().map(Some)) {
            let rows = InMemory(vec![encode(&[row.clone(), wrong.clone().unwrap_or(row.clone())])]);
            let all = Candidates::new(Box::new(rows), &[], 2, 3, &Device::Cpu).unwrap();
            let read = all.batch(&mut [(0, 0), (0, 1)].into_iter());
            assert_eq!(read.is_ok(), wrong.is_none(), "{wrong:?}");
        }
    }
}
