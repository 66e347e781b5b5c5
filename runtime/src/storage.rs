//! Bytes of a model file: a memory map of a file or of a part of it, memory of the application, or
//! an owned buffer.

use std::fmt;
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use memmap2::{Mmap, MmapOptions};

use crate::memory::{self, OutOfMemory};

type Result<T, E = StorageError> = std::result::Result<T, E>;

/// The bytes of one file, immutable and shared.
#[derive(Debug)]
pub struct Storage(Backing);

#[derive(Debug)]
enum Backing {
    Map(Mmap),
    Owned(Aligned),
    Borrowed(Borrowed),
}

/// Bytes that start at a multiple of [`ALIGNMENT`], as those of a map do.
#[derive(Debug)]
struct Aligned {
    buffer: Vec<u8>,
    start: usize,
}

/// Where owned bytes start: enough for every type that is read in place.
const ALIGNMENT: usize = 64;

/// What bytes that are not ours have to be aligned to, lest they be copied: that of the widest type
/// read in place, `f32`. The tensors of a file are at multiples of 8 at least, counted from its
/// start.
const IN_PLACE: usize = 4;

/// What [`Storage::borrowed`] calls when the memory is not needed any more.
pub type Release = Box<dyn FnOnce() + Send + Sync>;

/// Memory of the application.
struct Borrowed {
    start: NonNull<u8>,
    length: usize,
    /// Called once, on drop.
    release: Option<Release>,
}

// SAFETY: the memory is only read, and `Storage::borrowed` has its caller promise that it stays as
// it is, whichever thread reads it; `Release` may be called on any thread.
unsafe impl Send for Borrowed {}
// SAFETY: as above; nothing changes behind a shared reference.
unsafe impl Sync for Borrowed {}

impl fmt::Debug for Borrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Borrowed").field("start", &self.start).field("length", &self.length).finish_non_exhaustive()
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

/// Why bytes cannot be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum StorageError {
    /// The file at this path cannot be opened or mapped.
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An open file cannot be mapped into memory, or not be read.
    File(std::io::Error),
    /// A part of a file that does not lie inside it.
    Range {
        /// The first byte of the part.
        offset: u64,
        /// Its length.
        length: u64,
        /// The size of the file.
        size: u64,
    },
    /// There is no memory for a copy of the bytes.
    OutOfMemory(OutOfMemory),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, source } => write!(f, "{}: {source}", path.display()),
            Self::OutOfMemory(error) => error.fmt(f),
            Self::File(source) => write!(f, "the open file cannot be mapped into memory: {source}"),
            Self::Range { offset, length, size } => {
                write!(f, "{length} bytes from byte {offset} are not in the file, which has {size}")
            }
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(source) | Self::Open { source, .. } => Some(source),
            Self::Range { .. } | Self::OutOfMemory(_) => None,
        }
    }
}

impl From<OutOfMemory> for StorageError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

impl Storage {
    /// Maps the file at `path` into memory, read-only.
    ///
    /// The file must not be truncated or rewritten by anyone while it is mapped: replace model
    /// files by renaming a new one over them, as every tool of this project does.
    ///
    /// # Errors
    /// [`StorageError::Open`] if the file cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| StorageError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        // SAFETY: the contract of mmap is that nobody shrinks or changes the file while it is
        // mapped. It is the documented contract of this function; the bytes are only ever read, as
        // plain integers and floats.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self(Backing::Map(map)))
    }

    /// Maps `length` bytes of `file` from `offset` on (to its end, if there is no length),
    /// read-only: a model inside an archive, such as an Android package. `file` may be closed
    /// afterwards; the contract of [`Storage::open`] holds.
    ///
    /// Any offset will do, but one that is not a multiple of 4 costs a copy of the bytes.
    ///
    /// # Errors
    /// [`StorageError`] if the part is not in the file, or cannot be mapped, or has to be copied
    /// and cannot be.
    pub fn from_file(file: &File, offset: u64, length: Option<u64>) -> Result<Self> {
        let size = file.metadata().map_err(StorageError::File)?.len();
        let left = size.checked_sub(offset);
        let length = length.or(left).unwrap_or(0);
        let outside = StorageError::Range { offset, length, size };
        let bytes = match (left, usize::try_from(length)) {
            (Some(left), Ok(bytes)) if length <= left => bytes,
            _ => return Err(outside),
        };
        if bytes == 0 {
            return Self::copied(&[]);
        }
        // SAFETY: as in `open`.
        let map = unsafe { MmapOptions::new().offset(offset).len(bytes).map(file) }.map_err(StorageError::File)?;
        if is_aligned(&map) { Ok(Self(Backing::Map(map))) } else { Self::copied(&map) }
    }

    /// Memory of the application: `length` bytes at `start`, read in place until the last user of
    /// the storage is gone; then `release` is called, once, on whichever thread that is. Bytes that
    /// do not start at a multiple of 4 are copied, and released at once. Whatever happens, an error
    /// included, `release` is called exactly once.
    ///
    /// # Errors
    /// [`StorageError::OutOfMemory`] if a copy is needed and cannot be had.
    ///
    /// # Safety
    /// The `length` bytes at `start` can be read, from any thread, and nobody changes them, until
    /// `release` is called. `start` may be null or dangling if `length` is 0.
    pub unsafe fn borrowed(start: *const u8, length: usize, release: Release) -> Result<Self> {
        let start = NonNull::new(start.cast_mut()).filter(|_| length > 0).unwrap_or(NonNull::<u64>::dangling().cast());
        let bytes = Self(Backing::Borrowed(Borrowed { start, length, release: Some(release) }));
        if is_aligned(&bytes) { Ok(bytes) } else { Self::copied(&bytes) }
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// [`StorageError::OutOfMemory`] if it cannot be had.
    pub fn copied(bytes: &[u8]) -> Result<Self> {
        let mut buffer: Vec<u8> = Vec::new();
        memory::reserve(&mut buffer, bytes.len().saturating_add(ALIGNMENT))?;
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        buffer.resize(start, 0);
        buffer.extend_from_slice(bytes);
        Ok(Self(Backing::Owned(Aligned { buffer, start })))
    }
}

/// Whether these bytes can be read in place.
fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(IN_PLACE)
}

impl Storage {
    /// Tells the system that `range` is not needed for now: pages of a mapped file leave memory,
    /// and come back from the file when they are read again. Does nothing for owned bytes.
    pub fn discard(&self, range: std::ops::Range<usize>) {
        #[cfg(unix)]
        if let Backing::Map(map) = &self.0 {
            // SAFETY: the map is read-only and backed by the file, so that a page that is dropped
            // is read again as it was. A system that refuses leaves the page where it is.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl From<Vec<u8>> for Storage {
    /// Takes over `bytes`, moved in place to an aligned start.
    fn from(mut bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        bytes.resize(length + ALIGNMENT, 0);
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        bytes.copy_within(..length, start);
        bytes.truncate(start + length);
        Self(Backing::Owned(Aligned { buffer: bytes, start }))
    }
}

impl Deref for Storage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Backing::Map(map) => map,
            Backing::Owned(Aligned { buffer, start }) => &buffer[*start..],
            // SAFETY: `Storage::borrowed` has its caller promise that these bytes can be read until
            // they are released, which happens when `Borrowed` is dropped.
            Backing::Borrowed(bytes) => unsafe { std::slice::from_raw_parts(bytes.start.as_ptr(), bytes.length) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn file(name: &str, bytes: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("ollm-storage-{}-{name}", std::process::id()));
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    #[test]
    fn a_part_of_a_file_is_that_part() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
        let file = file("part", &bytes);
        for (offset, length) in [(0, None), (4096, Some(100)), (4100, Some(9000)), (4097, Some(9000)), (13, None)] {
            let storage = Storage::from_file(&file, offset, length).unwrap();
            let end = length.map_or(bytes.len(), |length| (offset + length) as usize);
            assert_eq!(&*storage, &bytes[offset as usize..end], "{offset} {length:?}");
            assert!(is_aligned(&storage));
        }
        assert!(Storage::from_file(&file, 20_000, None).unwrap().is_empty());
    }

    #[test]
    fn a_part_that_is_not_in_the_file_is_refused() {
        let file = file("outside", &[0; 100]);
        for (offset, length) in [(101, None), (0, Some(101)), (50, Some(51)), (u64::MAX, Some(2)), (1, Some(u64::MAX))]
        {
            let error = Storage::from_file(&file, offset, length).unwrap_err();
            assert!(matches!(error, StorageError::Range { size: 100, .. }), "{error}");
        }
    }

    #[test]
    fn borrowed_memory_is_released_once_when_the_last_user_is_gone() {
        let memory: Vec<u64> = (0..8).collect();
        let released = Arc::new(AtomicUsize::new(0));
        for (shift, copied) in [(0, false), (4, false), (1, true), (2, true)] {
            released.store(0, Ordering::Relaxed);
            let count = Arc::clone(&released);
            let release: Release = Box::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            });
            // SAFETY: `memory` outlives the storage and is not changed.
            let storage = unsafe { Storage::borrowed(memory.as_ptr().cast::<u8>().add(shift), 40, release) }.unwrap();
            assert_eq!(released.load(Ordering::Relaxed), usize::from(copied));
            let shared = Arc::new(storage);
            let other = Arc::clone(&shared);
            drop(shared);
            assert_eq!((other[8 - shift], other.len()), (1, 40));
            drop(other);
            assert_eq!(released.load(Ordering::Relaxed), 1, "{shift}");
        }
    }

    #[test]
    fn nothing_can_be_borrowed_from_nowhere() {
        // SAFETY: no bytes are at null, and none are read.
        let storage = unsafe { Storage::borrowed(std::ptr::null(), 0, Box::new(|| ())) }.unwrap();
        assert!(storage.is_empty());
        assert!(Storage::copied(&[]).unwrap().is_empty());
    }
}
