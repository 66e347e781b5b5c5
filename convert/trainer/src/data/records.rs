//! A file of fixed-size rows in sequences, which an interrupted writer can go on with.
//!
//! ```text
//! 0   8 bytes   "OLLMROWS"
//! 8   u32       format version (1)
//! 12  u32       length of the header
//! 16  JSON      the header: what the rows are, of which backbone, of which data
//!     then for each sequence: u32 row count, the rows
//! ```
//!
//! All little endian. A sequence is one problem; a torn one at the end (the writer was killed) is
//! cut off on opening. The index is not stored: hopping from count to count rebuilds it in one read
//! a sequence.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"OLLMROWS";
const VERSION: u32 = 1;
const PREFIX: u64 = 16;
/// A header is some 200 bytes; a longer one is damage, and is not allocated for.
const MAX_HEADER: u32 = 4096;

/// What the rows of a file are. Two files with equal headers and row counts hold the same rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// `features`, `candidates`, or `rollouts` and their plan.
    pub kind: String,
    /// What identifies the backbone, and what else made the rows.
    pub backbone: String,
    /// Hash of the corpus.
    pub data: String,
    /// Columns of a row: hidden size, or number of candidates.
    pub columns: usize,
    /// Bytes of a row.
    pub row_bytes: usize,
}

/// An open file of rows.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    file: File,
    row_bytes: usize,
    /// Where the rows of each sequence start, and how many there are.
    index: Vec<(u64, u32)>,
    end: u64,
}

impl Records {
    /// Opens the file, or creates it. An existing file must carry the same header.
    pub fn open(path: &Path, header: &Header) -> Result<Self> {
        let mut file = open_file(path)?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let start =
            if length == 0 { write_header(path, &mut file, header)? } else { check_header(path, &mut file, header)? };
        let mut records =
            Self { path: path.to_owned(), file, row_bytes: header.row_bytes, index: Vec::new(), end: start };
        records.scan(length)?;
        Ok(records)
    }

    /// Number of complete sequences.
    pub fn sequences(&self) -> usize {
        self.index.len()
    }

    /// Row counts of the sequences.
    pub fn counts(&self) -> impl Iterator<Item = usize> + '_ {
        self.index.iter().map(|&(_, rows)| rows as usize)
    }

    /// Appends one sequence (a whole number of rows) and hands it to the system at once.
    pub fn append(&mut self, rows: &[u8]) -> Result<()> {
        debug_assert_eq!(rows.len() % self.row_bytes, 0);
        let count = (rows.len() / self.row_bytes) as u32;
        self.file.seek(SeekFrom::Start(self.end)).map_err(Error::io(&self.path))?;
        self.file.write_all(&count.to_le_bytes()).map_err(Error::io(&self.path))?;
        self.file.write_all(rows).map_err(Error::io(&self.path))?;
        self.push(count);
        Ok(())
    }

    /// Reads the rows of one sequence into `rows`, whose old content is dropped.
    pub fn read(&mut self, sequence: usize, rows: &mut Vec<u8>) -> Result<()> {
        let (offset, count) = self.index[sequence];
        rows.resize(count as usize * self.row_bytes, 0);
        self.file.seek(SeekFrom::Start(offset)).map_err(Error::io(&self.path))?;
        self.file.read_exact(rows).map_err(Error::io(&self.path))
    }

    /// That what is in it is not what it should be.
    pub fn bad(&self, reason: impl Into<String>) -> Error {
        Error::bad_file(&self.path, reason)
    }

    fn scan(&mut self, length: u64) -> Result<()> {
        while let Some(count) = self.next_count(length)? {
            self.push(count);
        }
        self.file.set_len(self.end).map_err(Error::io(&self.path))
    }

    /// The row count at the end of what is indexed, if that sequence is complete.
    fn next_count(&mut self, length: u64) -> Result<Option<u32>> {
        if self.end + 4 > length {
            return Ok(None);
        }
        self.file.seek(SeekFrom::Start(self.end)).map_err(Error::io(&self.path))?;
        let count = read_u32(&mut self.file).map_err(Error::io(&self.path))?;
        let complete = self.end + 4 + u64::from(count) * self.row_bytes as u64 <= length;
        Ok(complete.then_some(count))
    }

    fn push(&mut self, count: u32) {
        self.index.push((self.end + 4, count));
        self.end += 4 + u64::from(count) * self.row_bytes as u64;
    }
}

fn open_file(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(Error::io(path))?;
    // A second run on the same cache waits here until the first has written it, then finds it
    // complete.
    file.lock().map_err(Error::io(path))?;
    Ok(file)
}

fn write_header(path: &Path, file: &mut File, header: &Header) -> Result<u64> {
    let json = serde_json::to_vec(header).expect("a header of strings and numbers");
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((json.len() as u32).to_le_bytes());
    bytes.extend(&json);
    file.write_all(&bytes).map_err(Error::io(path))?;
    Ok(bytes.len() as u64)
}

fn check_header(path: &Path, file: &mut File, expected: &Header) -> Result<u64> {
    let (found, end) = read_header(path, file)?;
    if &found == expected {
        return Ok(end);
    }
    let show = |header: &Header| serde_json::to_string(header).expect("a header of strings and numbers");
    Err(Error::Mismatch { path: path.to_owned(), what: "header".into(), expected: show(expected), found: show(&found) })
}

fn read_header(path: &Path, file: &mut File) -> Result<(Header, u64)> {
    let bad = || Error::bad_file(path, "not a whole cache file of this version: delete it to have it made again");
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => bad(),
        _ => Error::io(path)(error),
    };
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(io)?;
    let version = read_u32(file).map_err(io)?;
    let length = read_u32(file).map_err(io)?;
    if &magic != MAGIC || version != VERSION || length > MAX_HEADER {
        return Err(bad());
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json).map_err(io)?;
    let header = serde_json::from_slice(&json).map_err(|error| Error::bad_file(path, error.to_string()))?;
    Ok((header, PREFIX + u64::from(length)))
}

fn read_u32(file: &mut File) -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn header() -> Header {
        Header { kind: "features".into(), backbone: "b".into(), data: "d".into(), columns: 1, row_bytes: 2 }
    }

    #[test]
    fn sequences_come_back_and_a_torn_one_is_cut_off() {
        let path = testing::folder("records-torn");
        let mut records = Records::open(&path, &header()).unwrap();
        for rows in [&[1, 2, 3, 4][..], &[], &[5, 6]] {
            records.append(rows).unwrap();
        }
        drop(records);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();

        let mut records = Records::open(&path, &header()).unwrap();
        assert_eq!(records.counts().collect::<Vec<_>>(), [2, 0]);
        records.append(&[5, 6]).unwrap();
        let mut rows = Vec::new();
        records.read(2, &mut rows).unwrap();
        assert_eq!(rows, [5, 6]);
        records.read(0, &mut rows).unwrap();
        assert_eq!(rows, [1, 2, 3, 4]);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn another_header_is_refused() {
        let path = testing::folder("records-other");
        drop(Records::open(&path, &header()).unwrap());
        let other = Header { data: "e".into(), ..header() };
        assert!(matches!(Records::open(&path, &other), Err(Error::Mismatch { .. })));
        let whole = std::fs::read(&path).unwrap();
        for bytes in [&b"something else entirely"[..], &whole[..4], &whole[..12], &whole[..whole.len() - 1]] {
            std::fs::write(&path, bytes).unwrap();
            let error = Records::open(&path, &header()).err().unwrap();
            assert!(matches!(error, Error::BadFile { .. }) && error.to_string().contains("delete it"), "{error}");
        }
    }
}
