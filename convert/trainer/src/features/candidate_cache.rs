//! The candidates of a text: computed from its states, and kept where the states are: on disk, in
//! memory, or nowhere.

use std::path::Path;

use crate::data::corpus::Problem;
use crate::data::hash::fnv1a;
use crate::error::Result;
use crate::features::backbone::Frozen;
use crate::features::candidates::{
    COUNT, CandidateRow, Candidates, SHARED, encode, most_frequent, row_bytes, select_all,
};
use crate::features::rows::{InMemory, ProblemRows, RowSource};
use crate::features::shards::{RowKind, Shards};
use crate::features::states::{Features, StateRows};
use crate::features::stream::Streamed;
use crate::ranks::Ranks;

/// Rows whose logits are computed at once: V = 49,152 makes 50 MB of them.
const ROWS_AT_ONCE: usize = 256;

/// The candidates of `features`, those of `problems`, from their cache in `folder`; what is missing
/// is computed.
pub fn load(
    folder: &Path,
    frozen: &Frozen,
    problems: &[Problem],
    features: &Features<'_>,
    ranks: &Ranks,
    progress: &dyn Fn(usize),
) -> Result<Candidates<'static>> {
    let (sets, states) = (Sets::of(features.next(), SHARED, COUNT, frozen), features.states());
    let shards = Shards::open(&sets.row_kind(folder, frozen), problems, ranks, &mut |range| {
        let done = range.map(|problem| {
            let rows = sets.rows(frozen, states, problem)?;
            progress(rows.view().len());
            Ok(rows)
        });
        done.collect()
    })?;
    sets.candidates(frozen, Box::new(shards))
}

/// The candidates of `features`, computed whenever a step needs them; those of `capacity` problems
/// stay in memory.
pub fn stream<'a>(
    frozen: &'a Frozen,
    features: &Features<'a>,
    capacity: usize,
    ranks: &Ranks,
) -> Result<Candidates<'a>> {
    let (sets, states) = (Sets::of(features.next(), SHARED, COUNT, frozen), features.states().clone());
    let (shared, count) = (sets.shared.clone(), sets.count);
    let make = move |problems: &[usize]| problems.iter().map(|&problem| sets.rows(frozen, &states, problem)).collect();
    Sets { shared, count }.candidates(frozen, Box::new(Streamed::new(capacity, ranks, Box::new(make))))
}

/// Computes the candidates of all rows, without a cache: `shared` that all rows have, `count` of
/// each row's own.
pub fn compute(frozen: &Frozen, features: &Features<'_>, shared: usize, count: usize) -> Result<Candidates<'static>> {
    let sets = Sets::of(features.next(), shared, count, frozen);
    let problems = 0..features.bounds().len() - 1;
    let rows = problems.map(|problem| sets.rows(frozen, features.states(), problem)).collect::<Result<_>>()?;
    sets.candidates(frozen, Box::new(InMemory(rows)))
}

/// The shared candidates, and how many a row has of its own.
struct Sets {
    shared: Vec<u32>,
    count: usize,
}

impl Sets {
    fn of(next: &[u32], shared: usize, count: usize, frozen: &Frozen) -> Self {
        let vocab = frozen.about.backbone.vocab;
        // A row has one of its own at least.
        let shared = most_frequent(next, shared.min(vocab - 1));
        Self { count: count.min(vocab - shared.len()), shared }
    }

    /// Of other shared candidates, as of more or fewer problems, there are other shards.
    fn row_kind<'a>(&self, folder: &'a Path, frozen: &Frozen) -> RowKind<'a> {
        let ids: Vec<[u8; 4]> = self.shared.iter().map(|id| id.to_le_bytes()).collect();
        RowKind {
            folder,
            ending: "candidates",
            kind: format!("candidates beside {:016x}", fnv1a(ids.iter().map(<[u8; 4]>::as_slice))),
            backbone: frozen.about.identity(),
            columns: self.count,
            row_bytes: row_bytes(self.count),
        }
    }

    fn candidates<'a>(&self, frozen: &Frozen, source: Box<dyn RowSource + 'a>) -> Result<Candidates<'a>> {
        Candidates::new(source, &self.shared, self.count, frozen.about.backbone.vocab, frozen.head.weight.device())
    }

    /// The rows of a problem.
    fn rows(&self, frozen: &Frozen, states: &StateRows<'_>, problem: usize) -> Result<ProblemRows> {
        let rows = states.rows(problem);
        let mut found: Vec<CandidateRow> = Vec::with_capacity(rows.len());
        for part in rows.chunks(ROWS_AT_ONCE) {
            let logits = frozen.head.logits(&states.hidden(part)?)?.flatten_all()?.to_vec1::<f32>()?;
            found.extend(select_all(&logits, &states.next(part), &self.shared, self.count));
        }
        Ok(encode(&found))
    }
}
