//! What is a file, and its bytes.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::{Result, StorageError};

/// Opens a file to read it. What is no file is refused at once: to open a pipe waits for a writer.
///
/// # Errors
/// That of the system.
pub fn open_file(path: &Path) -> io::Result<File> {
    check_kind(&fs::metadata(path)?)?;
    File::open(path)
}

/// Whether the path is that of a pipe: a FIFO, `/dev/stdin` behind `|`, a shell's `<(..)`.
pub fn is_pipe(path: &Path) -> bool {
    #[cfg(unix)]
    return fs::metadata(path).is_ok_and(|metadata| std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()));
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

fn check_kind(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        let what =
            "this is a folder; a file in it is needed (of a folder of transformers, `ollm-convert import` makes one)";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, what));
    }
    let other = || io::Error::new(io::ErrorKind::InvalidInput, "this is a device, a pipe or a socket, not a file");
    metadata.is_file().then_some(()).ok_or_else(other)
}

/// All parts of a file that is cut in several, if `path` is the first by its name:
/// `NAME-00001-of-00003.gguf`.
pub fn parts(path: &Path) -> Option<Vec<PathBuf>> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (stem, count) = stem.rsplit_once("-of-")?;
    let stem = stem.strip_suffix("-00001")?;
    let is_count = count.len() == 5 && count.bytes().all(|byte| byte.is_ascii_digit());
    let count: usize = count.parse().ok().filter(|&count| is_count && count > 1)?;
    Some((1..=count).map(|number| path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"))).collect())
}

/// Where a part of a file begins, and its length, which has been checked.
pub(super) fn part(file: &File, offset: u64, length: Option<u64>) -> Result<(u64, usize)> {
    let metadata = file.metadata().map_err(StorageError::File)?;
    check_kind(&metadata).map_err(StorageError::File)?;
    let size = metadata.len();
    let left = size.checked_sub(offset);
    let length = length.or(left).unwrap_or(0);
    match (left, usize::try_from(length)) {
        (Some(left), Ok(bytes)) if length <= left => Ok((offset, bytes)),
        _ => Err(StorageError::Range { offset, length, size }),
    }
}

/// Fills `bytes` from `offset` on. On Unix the position of the descriptor, which others may share,
/// stays.
pub(super) fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset);
    #[cfg(not(unix))]
    {
        use std::io::{Read as _, Seek as _};
        let mut file = file;
        file.seek(io::SeekFrom::Start(offset))?;
        file.read_exact(bytes)
    }
}
