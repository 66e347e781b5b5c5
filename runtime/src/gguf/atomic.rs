//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Writes `path` through `emit`: into a temporary file beside it, flushed to the disk, then renamed.
pub(super) fn write(path: &Path, emit: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let (temporary, file) = Temporary::create(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    emit(&mut out)?;
    out.into_inner()?.sync_all()?;
    temporary.rename(path)
}

/// A file that is removed when dropped, unless it was renamed.
struct Temporary {
    path: PathBuf,
    keep: bool,
}

impl Temporary {
    fn create(target: &Path) -> io::Result<(Self, File)> {
        loop {
            let path = Self::name(target)?;
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Self { path, keep: false }, file)),
                // What a process of the same number left when it was killed is not ours to remove.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A name beside the target that no other writer, in this process or another, uses at the same time.
    fn name(target: &Path) -> io::Result<PathBuf> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        Ok(target.with_file_name(temporary))
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.keep = true;
        sync_folder(target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep {
            // An error is already on its way to the caller; a second one would hide it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the rename itself durable. Only Unix can open a folder as a file.
#[cfg(unix)]
fn sync_folder(target: &Path) -> io::Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_target: &Path) -> io::Result<()> {
    Ok(())
}
