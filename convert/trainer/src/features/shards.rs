//! Rows on disk, in shards of 64 problems: a file is complete or absent, and mapped into memory.
//!
//! ```text
//! 0   8 bytes   "OLLMSHRD"
//! 8   u32       format version (1)
//! 12  u32       length of the header
//! 16  JSON      the header: what the rows are, of which backbone, of which problems
//!     u32       number of problems, then u32 each: their rows
//!     u32 each  the keys of all rows
//!     rows      of equal size
//! ```
//!
//! All little endian. A file is named by its problems, so a text that grows, or more of it, keeps
//! the shards that it had: only the last one, if it was not full, is made again. Keys come before
//! the rows: to read them all touches little of the disk. 64 problems of 2,000 tokens and 2,048
//! states are half a gigabyte.

use std::ops::Range;
use std::path::{Path, PathBuf};

use ollm_runtime::storage::Storage;

use crate::data::corpus::Problem;
use crate::data::hash::fnv1a;
use crate::data::records::Header;
use crate::data::tensor_file::write_atomically;
use crate::error::{Error, Result};
use crate::features::rows::{ProblemRows, RowSource, RowsView};
use crate::interrupt;
use crate::ranks::Ranks;

const MAGIC: &[u8; 8] = b"OLLMSHRD";
const VERSION: u32 = 1;

/// Problems of a shard.
pub const PROBLEMS: usize = 64;

/// What rows a folder of shards holds.
#[derive(Clone, Debug)]
pub struct RowKind<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// How the files' names end: `features` or `candidates`.
    pub ending: &'a str,
    /// What the rows are.
    pub kind: String,
    /// What identifies the backbone.
    pub backbone: String,
    /// Columns of a row.
    pub columns: usize,
    /// Bytes of a row.
    pub row_bytes: usize,
}

/// The shards of a text.
pub struct Shards(Vec<Shard>);

/// A mapped file.
struct Shard {
    path: PathBuf,
    file: Storage,
    /// First row of each problem, and the number of rows.
    bounds: Vec<usize>,
    /// Where keys and rows begin.
    keys: usize,
    rows: usize,
    row_bytes: usize,
}

impl RowKind<'_> {
    /// The file of these problems, and what it says of itself.
    fn file(&self, problems: &[Problem]) -> (PathBuf, Header) {
        let data = format!("{:016x}", fnv1a(problems.iter().flat_map(Problem::parts)));
        let identity = fnv1a([self.backbone.as_bytes(), self.kind.as_bytes()]);
        let path = self.folder.join(format!("{data}-{identity:016x}.{}", self.ending));
        let &Self { columns, row_bytes, .. } = self;
        (path, Header { kind: self.kind.clone(), backbone: self.backbone.clone(), data, columns, row_bytes })
    }
}

impl Shards {
    /// Opens the shards of `problems`. Those that are missing are shared among the ranks: `make` is
    /// called with the problems of each.
    pub fn open(
        kind: &RowKind<'_>,
        problems: &[Problem],
        ranks: &Ranks,
        make: &mut dyn FnMut(Range<usize>) -> Result<Vec<ProblemRows>>,
    ) -> Result<Self> {
        let files: Vec<_> = problems.chunks(PROBLEMS).map(|part| kind.file(part)).collect();
        // The root looks, so that all ranks know of the same files.
        let there = ranks.from_root(|| Ok(files.iter().map(|(path, _)| u8::from(path.exists())).collect()))?;
        let missing = (0..files.len()).filter(|&shard| there.get(shard) != Some(&1));
        for shard in ranks.in_turn(missing) {
            let first = shard * PROBLEMS;
            let rows = make(first..problems.len().min(first + PROBLEMS))?;
            let (path, header) = &files[shard];
            std::fs::create_dir_all(kind.folder).map_err(Error::io(kind.folder))?;
            write_atomically(path, &encode(header, &rows))?;
            if ranks.is_alone() {
                interrupt::check()?;
            }
        }
        ranks.barrier()?;
        interrupt::check_on(ranks)?;
        files.into_iter().map(|(path, header)| Shard::map(path, &header)).collect::<Result<_>>().map(Self)
    }

    /// First row of each problem, and the number of rows.
    pub fn bounds(&self) -> Vec<usize> {
        let (mut bounds, mut end) = (vec![0], 0);
        for shard in &self.0 {
            bounds.extend(shard.bounds[1..].iter().map(|bound| end + bound));
            end += shard.bounds[shard.bounds.len() - 1];
        }
        bounds
    }

    /// The keys of all rows; an error if one is not below `limit`.
    pub fn keys(&self, limit: usize) -> Result<Vec<u32>> {
        let mut keys = Vec::new();
        for shard in &self.0 {
            let found = RowsView::new(&shard.file[shard.keys..shard.rows], &[]);
            keys.extend(found.keys());
            if found.keys().any(|key| key as usize >= limit) {
                return Err(shard.damaged());
            }
        }
        Ok(keys)
    }
}

impl RowSource for Shards {
    fn prepare(&self, _problems: &[usize]) -> Result<()> {
        Ok(())
    }

    fn visit(&self, problem: usize, each: &mut dyn FnMut(RowsView<'_>)) {
        let shard = &self.0[problem / PROBLEMS];
        let rows = shard.bounds[problem % PROBLEMS]..shard.bounds[problem % PROBLEMS + 1];
        let part = |start: usize, size: usize| &shard.file[start + rows.start * size..start + rows.end * size];
        each(RowsView::new(part(shard.keys, 4), part(shard.rows, shard.row_bytes)));
    }

    fn damaged(&self, problem: usize) -> Error {
        self.0[problem / PROBLEMS].damaged()
    }
}

impl Shard {
    fn map(path: PathBuf, expected: &Header) -> Result<Self> {
        let file = Storage::open(&path).map_err(|error| Error::Runtime(error.into()))?;
        let damaged = || Error::bad_file(&path, DAMAGED);
        let mut reader = Reader { bytes: &file, at: 0 };
        let start = (reader.take(8), reader.number());
        if start != (Some(&MAGIC[..]), Some(VERSION)) {
            return Err(damaged());
        }
        let json = reader.number().and_then(|length| reader.take(length as usize)).ok_or_else(damaged)?;
        let found: Header = serde_json::from_slice(json).map_err(|_| damaged())?;
        if found != *expected {
            let show = |header: &Header| serde_json::to_string(header).unwrap_or_default();
            let (expected, found) = (show(expected), show(&found));
            return Err(Error::Mismatch { path, what: "header".into(), expected, found });
        }
        let problems = reader.number().ok_or_else(damaged)? as usize;
        let counts = problems.checked_mul(4).and_then(|length| reader.take(length)).ok_or_else(damaged)?;
        let mut bounds = vec![0];
        bounds.extend(RowsView::new(counts, &[]).keys().scan(0_usize, |end, count| {
            *end += count as usize;
            Some(*end)
        }));
        let (total, keys) = (bounds[problems], reader.at);
        let rows = total.checked_mul(4).and_then(|length| keys.checked_add(length)).ok_or_else(damaged)?;
        let end = total.checked_mul(expected.row_bytes).and_then(|length| rows.checked_add(length));
        if end != Some(file.len()) || problems > PROBLEMS {
            return Err(damaged());
        }
        Ok(Self { file, bounds, keys, rows, row_bytes: expected.row_bytes, path })
    }

    fn damaged(&self) -> Error {
        Error::bad_file(&self.path, DAMAGED)
    }
}

const DAMAGED: &str = "is damaged, or of another version: delete it to have it made again";

/// Reads one part after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(part)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }
}

fn encode(header: &Header, problems: &[ProblemRows]) -> Vec<u8> {
    let json = serde_json::to_vec(header).expect("a header of strings and numbers");
    let mut bytes = MAGIC.to_vec();
    let counts = std::iter::once(problems.len()).chain(problems.iter().map(|rows| rows.view().len()));
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((json.len() as u32).to_le_bytes());
    bytes.extend(json);
    bytes.extend(counts.flat_map(|count| (count as u32).to_le_bytes()));
    let views = || problems.iter().map(ProblemRows::view);
    bytes.extend(views().flat_map(RowsView::key_bytes));
    bytes.extend(views().flat_map(RowsView::row_bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use crate::testing::ranks::on_ranks;

    fn kind(folder: &Path) -> RowKind<'_> {
        let (kind, backbone) = ("features".to_owned(), "b".to_owned());
        RowKind { folder, ending: "features", kind, backbone, columns: 1, row_bytes: 2 }
    }

    fn problems(count: usize) -> Vec<Problem> {
        (0..count).map(|i| Problem::new(format!("q{i}"), "a")).collect()
    }

    /// Problem i has i % 3 rows.
    fn rows(range: Range<usize>) -> Vec<ProblemRows> {
        let of = |i: usize| ProblemRows::new(&vec![i as u32; i % 3], vec![i as u8; i % 3 * 2]);
        range.map(of).collect()
    }

    /// The shards, and the first problem of each that was made.
    fn open(folder: &Path, count: usize, ranks: &Ranks) -> (Result<Shards>, Vec<usize>) {
        let mut made = Vec::new();
        let shards = Shards::open(&kind(folder), &problems(count), ranks, &mut |range| {
            made.push(range.start);
            Ok(rows(range))
        });
        (shards, made)
    }

    fn check(shards: &Shards, count: usize) {
        let bounds = shards.bounds();
        assert_eq!(bounds.len(), count + 1);
        let keys = shards.keys(count.max(1)).unwrap();
        for (problem, want) in rows(0..count).into_iter().enumerate() {
            let want = want.view();
            assert!(keys[bounds[problem]..bounds[problem + 1]].iter().copied().eq(want.keys()));
            shards.visit(problem, &mut |view| {
                assert!(view.keys().eq(want.keys()));
                (0..want.len()).for_each(|row| assert_eq!(view.row(row), want.row(row)));
            });
        }
    }

    #[test]
    fn a_text_that_grows_keeps_its_full_shards() {
        let folder = testing::folder("shards-grow");
        for (count, made) in [(100, vec![0, 64]), (100, vec![]), (64, vec![]), (150, vec![64, 128]), (128, vec![])] {
            let (shards, found) = open(&folder, count, &Ranks::alone());
            assert_eq!(found, made, "{count} problems");
            check(&shards.unwrap(), count);
        }
    }

    #[test]
    fn ranks_share_the_missing_shards() {
        let folder = testing::folder("shards-ranks");
        let made = on_ranks(2, |ranks| {
            let (shards, made) = open(&folder, 200, &ranks);
            check(&shards.unwrap(), 200);
            made
        });
        assert_eq!(made, [vec![0, 128], vec![64, 192]]);
    }

    #[test]
    fn a_damaged_shard_is_refused() {
        let folder = testing::folder("shards-damaged");
        open(&folder, 3, &Ranks::alone()).0.unwrap();
        let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&file).unwrap();
        let mut other = whole.clone();
        other[20] ^= 1;
        let longer = [&whole[..], &[0]].concat();
        for bytes in [&whole[..whole.len() - 1], &whole[..30], &whole[..9], b"other", &other, &longer] {
            std::fs::write(&file, bytes).unwrap();
            let error = open(&folder, 3, &Ranks::alone()).0.err().unwrap().to_string();
            assert!(error.contains("delete it") || error.contains("header"), "{error}");
        }
        std::fs::write(&file, &whole).unwrap();
        let shards = open(&folder, 3, &Ranks::alone()).0.unwrap();
        assert!(matches!(shards.keys(2), Err(Error::BadFile { .. })));
    }
}
