//! The candidates of a corpus: computed from its features, and cached on disk beside them.

use std::path::{Path, PathBuf};

use candle_core::DType;

use crate::data::corpus::Corpus;
use crate::data::hash::fnv1a;
use crate::data::records::{Header, Records};
use crate::error::Result;
use crate::features::backbone::Frozen;
use crate::features::candidates::{
    COUNT, CandidateRow, Candidates, SHARED, encode, most_frequent, row_bytes, select_all,
};
use crate::features::states::{Features, cache_path};
use crate::interrupt;

/// Rows whose logits are computed at once: V = 49,152 makes 50 MB of them.
const ROWS_AT_ONCE: usize = 256;

/// Loads the candidates of `features` from their cache in `folder`, computing what is missing.
pub fn load(
    folder: &Path,
    frozen: &Frozen,
    corpus: &Corpus,
    features: &Features,
    progress: &dyn Fn(usize),
) -> Result<Candidates> {
    let sets = Sets::of(features, SHARED, COUNT, frozen)?;
    let mut records = Records::open(&sets.path(folder, frozen, corpus), &sets.header(frozen, corpus))?;
    let bounds = features.bounds();
    for sequence in records.sequences()..bounds.len() - 1 {
        let rows: Vec<u32> = (bounds[sequence] as u32..bounds[sequence + 1] as u32).collect();
        records.append(&encode(&find(frozen, features, &rows, &sets)?))?;
        progress(rows.len());
        interrupt::check()?;
    }
    let vocab = frozen.about.backbone.vocab;
    Candidates::read(&mut records, bounds, &sets.shared, sets.count, vocab, frozen.head.device())
}

/// Computes the candidates of all rows, without a cache: `shared` that all rows have, `count` of
/// each row's own.
pub fn compute(frozen: &Frozen, features: &Features, shared: usize, count: usize) -> Result<Candidates> {
    let rows: Vec<u32> = (0..features.len() as u32).collect();
    let sets = Sets::of(features, shared, count, frozen)?;
    let found = find(frozen, features, &rows, &sets)?;
    Candidates::new(&found, &sets.shared, sets.count, frozen.head.device())
}

/// The shared candidates, and how many a row has of its own.
struct Sets {
    shared: Vec<u32>,
    count: usize,
}

impl Sets {
    fn of(features: &Features, shared: usize, count: usize, frozen: &Frozen) -> Result<Self> {
        let vocab = frozen.about.backbone.vocab;
        // A row has one of its own at least.
        let shared = most_frequent(&features.next()?, shared.min(vocab - 1));
        Ok(Self { count: count.min(vocab - shared.len()), shared })
    }

    /// Of other shared candidates, as of more or fewer problems, there is another file.
    fn hash(&self) -> u64 {
        fnv1a(self.shared.iter().map(|id| id.to_le_bytes()).collect::<Vec<_>>().iter().map(<[u8; 4]>::as_slice))
    }

    fn path(&self, folder: &Path, frozen: &Frozen, corpus: &Corpus) -> PathBuf {
        cache_path(folder, &frozen.about, corpus, &format!("{:016x}.candidates", self.hash()))
    }

    fn header(&self, frozen: &Frozen, corpus: &Corpus) -> Header {
        Header {
            kind: format!("candidates beside {:016x}", self.hash()),
            backbone: frozen.about.identity(),
            data: corpus.hash.clone(),
            columns: self.count,
            row_bytes: row_bytes(self.count),
        }
    }
}

fn find(frozen: &Frozen, features: &Features, rows: &[u32], sets: &Sets) -> Result<Vec<CandidateRow>> {
    let mut found = Vec::with_capacity(rows.len());
    for part in rows.chunks(ROWS_AT_ONCE) {
        let batch = features.batch(part)?;
        let logits = batch.hidden.matmul(&frozen.head.t()?)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let gold = batch.next.to_vec1::<u32>()?;
        found.extend(select_all(&logits, &gold, &sets.shared, sets.count));
    }
    Ok(found)
}
