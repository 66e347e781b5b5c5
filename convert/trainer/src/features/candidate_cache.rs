//! The candidates of a corpus: computed from its features, and cached on disk beside them.

use std::path::Path;

use candle_core::DType;

use crate::data::corpus::Corpus;
use crate::data::records::{Header, Records};
use crate::error::Result;
use crate::features::backbone::Frozen;
use crate::features::candidates::{COUNT, CandidateRow, Candidates, encode, row_bytes, select_all};
use crate::features::states::Features;

/// Rows whose logits are computed at once: V = 49,152 makes 50 MB of them.
const ROWS_AT_ONCE: usize = 256;

/// Loads the candidates of `features` from their cache, computing what is missing.
pub fn load(
    path: &Path,
    frozen: &Frozen,
    corpus: &Corpus,
    features: &Features,
    progress: &dyn Fn(usize),
) -> Result<Candidates> {
    let count = COUNT.min(frozen.about.backbone.vocab);
    let mut records = Records::open(path, &header(frozen, corpus, count))?;
    let bounds = features.bounds();
    for sequence in records.sequences()..bounds.len() - 1 {
        let rows: Vec<u32> = (bounds[sequence] as u32..bounds[sequence + 1] as u32).collect();
        records.append(&encode(&find(frozen, features, &rows, count)?))?;
        progress(rows.len());
    }
    let vocab = frozen.about.backbone.vocab;
    Candidates::read(&mut records, bounds, count, vocab, frozen.head.device())
}

/// Computes the candidates of all rows, without a cache.
pub fn compute(frozen: &Frozen, features: &Features, count: usize) -> Result<Candidates> {
    let rows: Vec<u32> = (0..features.len() as u32).collect();
    Candidates::new(&find(frozen, features, &rows, count)?, count, frozen.head.device())
}

fn header(frozen: &Frozen, corpus: &Corpus, count: usize) -> Header {
    Header {
        kind: "candidates".into(),
        backbone: frozen.about.identity(),
        data: corpus.hash.clone(),
        columns: count,
        row_bytes: row_bytes(count),
    }
}

fn find(frozen: &Frozen, features: &Features, rows: &[u32], count: usize) -> Result<Vec<CandidateRow>> {
    let mut found = Vec::with_capacity(rows.len());
    for part in rows.chunks(ROWS_AT_ONCE) {
        let batch = features.batch(part)?;
        let logits = batch.hidden.matmul(&frozen.head.t()?)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let gold = batch.next.to_vec1::<u32>()?;
        found.extend(select_all(&logits, &gold, count));
    }
    Ok(found)
}
