//! The divergences that a search has measured, and the file that keeps them: the identity of the
//! search, then each divergence in a line, after what identifies the types of all tensors.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ollm_runtime::atomic;

use crate::{ConvertError, Result};

/// The divergences that were measured, by what identifies the types of all tensors.
#[derive(Default)]
pub(super) struct Measurements {
    known: BTreeMap<u64, f64>,
    file: Option<(PathBuf, File)>,
}

impl Measurements {
    /// Reads what an earlier search of this identity has kept, and keeps what follows. The file is
    /// called `stem`, the identity, `.search`: searches of other texts have other files.
    ///
    /// # Errors
    /// [`ConvertError::NotMeasurements`] if the file of that name holds something else.
    pub(super) fn open(stem: &Path, identity: u64) -> Result<Self> {
        let mut name = stem.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{identity:016x}.search"));
        let path = stem.with_file_name(name);
        let io = |source| ConvertError::from(ollm_runtime::Error::Io { path: path.clone(), source });
        let head = format!("ollm-convert search {identity:016x}");
        let known = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(io(error)),
            Ok(bytes) => read(&bytes, &head).ok_or_else(|| ConvertError::NotMeasurements { path: path.clone() })?,
        };
        // The last line may be cut: all are written again.
        let write = |out: &mut dyn Write| {
            writeln!(out, "{head}")?;
            known.iter().try_for_each(|(key, value)| line(out, *key, *value))
        };
        atomic::write(&path, |out| write(out)).map_err(io)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(io)?;
        Ok(Self { known, file: Some((path, file)) })
    }

    pub(super) fn get(&self, key: u64) -> Option<f64> {
        self.known.get(&key).copied()
    }

    pub(super) fn add(&mut self, key: u64, value: f64) -> Result<()> {
        self.known.insert(key, value);
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        line(file, key, value)
            .map_err(|source| ConvertError::from(ollm_runtime::Error::Io { path: path.clone(), source }))
    }

    /// The file that keeps them.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|(path, _)| path.clone())
    }
}

/// What a file that begins with this line has kept; `None` of other files. A line without an end
/// was cut.
fn read(bytes: &[u8], head: &str) -> Option<BTreeMap<u64, f64>> {
    let (whole, _) = std::str::from_utf8(bytes).ok()?.rsplit_once('\n')?;
    let mut lines = whole.lines();
    let entry = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((u64::from_str_radix(key, 16).ok()?, value.parse().ok()?))
    };
    (lines.next() == Some(head)).then(|| lines.filter_map(entry).collect())
}

/// Writes a line at once, so that two searches at the same time keep whole lines.
fn line(out: &mut dyn Write, key: u64, value: f64) -> io::Result<()> {
    out.write_all(format!("{key:016x} {value:?}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_search_goes_on_from_its_own_measurements() {
        let folder = std::env::temp_dir().join(format!("ollm-measurements-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let stem = folder.join("m.gguf");
        let mut one = Measurements::open(&stem, 1).unwrap();
        one.add(7, 0.25).unwrap();
        one.add(8, 0.123_456).unwrap();
        let path = one.path().unwrap();
        // Another text, in between.
        Measurements::open(&stem, 2).unwrap().add(7, 9.0).unwrap();
        let again = Measurements::open(&stem, 1).unwrap();
        assert_eq!([again.get(7), again.get(8)], [Some(0.25), Some(0.123_456)]);
        // A line that was cut is none, though it reads as a number.
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 3]).unwrap();
        let cut = Measurements::open(&stem, 1).unwrap();
        assert_eq!([cut.get(7), cut.get(8)], [Some(0.25), None]);
        // What is none of a search's files stays.
        for other in [&b"my notes\n"[..], b"", b"\xff\n"] {
            fs::write(&path, other).unwrap();
            assert!(matches!(Measurements::open(&stem, 1), Err(ConvertError::NotMeasurements { .. })));
            assert_eq!(fs::read(&path).unwrap(), other);
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
