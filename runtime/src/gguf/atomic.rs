//! Files that appear whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::nameless;

/// Writes `path` through `emit`: into a temporary file beside it, flushed to the disk, then
/// renamed.
pub(super) fn write(path: &Path, emit: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let (temporary, file) = Temporary::create(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    emit(&mut out)?;
    let file = out.into_inner()?;
    file.sync_all()?;
    temporary.rename(&file, path)
}

/// A file that is removed when dropped, unless it was renamed.
struct Temporary {
    /// Its name; none while it has none, so that nothing is left of it if the process is killed.
    path: Option<PathBuf>,
}

impl Temporary {
    fn create(target: &Path) -> io::Result<(Self, File)> {
        file_name(target)?;
        if let Some(file) = nameless::create(folder(target)) {
            return Ok((Self { path: None }, file));
        }
        let (path, file) = first_free(target, |path| OpenOptions::new().write(true).create_new(true).open(path))?;
        Ok((Self { path: Some(path) }, file))
    }

    fn rename(mut self, file: &File, target: &Path) -> io::Result<()> {
        if self.path.is_none() {
            self.path = Some(first_free(target, |path| nameless::name(file, path))?.0);
        }
        if let Some(path) = &self.path {
            fs::rename(path, target)?;
        }
        self.path = None;
        sync_folder(target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // An error is already on its way to the caller; a second one would hide it.
            let _ = fs::remove_file(path);
        }
    }
}

/// What `make` makes under a name beside the target that no other writer, in this process or
/// another, uses at the same time.
fn first_free<T>(target: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = file_name(target)?;
    loop {
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let path = target.with_file_name(temporary);
        match make(&path) {
            Ok(made) => return Ok((path, made)),
            // What a process of the same number left when it was killed is not ours to remove.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn file_name(target: &Path) -> io::Result<&OsStr> {
    target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))
}

fn folder(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the rename itself durable. Only Unix can open a folder as a file.
#[cfg(unix)]
fn sync_folder(target: &Path) -> io::Result<()> {
    File::open(folder(target))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_target: &Path) -> io::Result<()> {
    Ok(())
}
