//! Bytes of a model file: a memory map of a file or of a part of it, memory of the application, or
//! a copy.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use memmap2::{Mmap, MmapOptions};

use crate::memory::{self, OutOfMemory};

type Result<T, E = StorageError> = std::result::Result<T, E>;

/// The bytes of one file, or of the parts of one, immutable and shared.
#[derive(Debug)]
pub struct Storage {
    backing: Backing,
    /// Where each part begins.
    starts: Vec<usize>,
}

#[derive(Debug)]
enum Backing {
    Map(Mmap),
    #[cfg(unix)]
    Joined(Joined),
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
        source: io::Error,
    },
    /// An open file cannot be mapped into memory or read, or is none.
    File(io::Error),
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
    /// A copy of the bytes takes more than [`StorageOptions::memory_limit`].
    MemoryLimit {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that it may take.
        limit: u64,
    },
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, source } => write!(f, "{}: {source}", path.display()),
            Self::OutOfMemory(error) => error.fmt(f),
            Self::File(source) => write!(f, "the open file cannot be read: {source}"),
            Self::MemoryLimit { needed, limit } => {
                write!(f, "a copy of the file needs {needed} bytes of memory, but the limit is {limit}")
            }
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
            Self::Range { .. } | Self::OutOfMemory(_) | Self::MemoryLimit { .. } => None,
        }
    }
}

impl From<OutOfMemory> for StorageError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

/// How the bytes of a file are held.
///
/// ```no_run
/// # fn main() -> ollm_runtime::Result<()> {
/// use ollm_runtime::{model::Model, storage::StorageOptions};
///
/// let in_memory = StorageOptions { copy: true, ..StorageOptions::default() };
/// let model = Model::from_storage(in_memory.open("model.gguf".as_ref())?)?;
/// # drop(model);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageOptions {
    /// Copies the bytes to memory of their own. A file may then be changed, cut or removed once it
    /// is open, or be on a disk that goes away.
    pub copy: bool,
    /// Bytes that a copy may take, this one or one that has to be made: none is begun that takes
    /// more. `None` is no limit.
    pub memory_limit: Option<u64>,
    /// Reads a pipe, such as that behind `/dev/stdin`, to its end, and waits for who writes it: for
    /// commands. Bytes that are no GGUF are not read on.
    pub streams: bool,
}

/// What a GGUF file begins with.
const MAGIC: &[u8] = b"GGUF";

/// How much of a pipe is read at once.
const CHUNK: usize = 1 << 20;

impl StorageOptions {
    /// The file at `path`: a map, or a copy. Of a model that is cut in parts, `path` is the first
    /// one, `NAME-00001-of-00003.gguf`, and all are opened: see [`Storage::starts`].
    ///
    /// # Errors
    /// [`StorageError::Open`] if the file cannot be opened, mapped or read, or is none: a folder, a
    /// device, a pipe (unless [`StorageOptions::streams`]) or a socket; those of a copy.
    pub fn open(self, path: &Path) -> Result<Storage> {
        if let Some(paths) = parts(path) {
            return self.join(&paths);
        }
        let io = |source| StorageError::Open { path: path.to_owned(), source };
        if self.streams && is_pipe(path) {
            return self.stream(&File::open(path).map_err(io)?, io);
        }
        let file = open_file(path).map_err(io)?;
        self.file(&file, 0, None).map_err(|error| match error {
            StorageError::File(source) => io(source),
            other => other,
        })
    }

    /// `length` bytes of `file` from `offset` on (to its end, if there is no length): see
    /// [`Storage::from_file`].
    ///
    /// # Errors
    /// [`StorageError`] if it is no file (a folder, a device, a pipe or a socket), if the part is
    /// not in it, or if it cannot be mapped or read; those of a copy.
    pub fn file(self, file: &File, offset: u64, length: Option<u64>) -> Result<Storage> {
        let (offset, length) = part(file, offset, length)?;
        if length == 0 {
            return self.bytes(&[]);
        }
        if self.copies_file(offset) {
            return self.filled(length, |bytes| read_at(file, offset, bytes).map_err(StorageError::File));
        }
        // SAFETY: the contract of mmap is that nobody shrinks or changes the file while it is
        // mapped. It is the documented contract of `Storage::open`; the bytes are only ever read,
        // as plain integers and floats.
        let map = unsafe { MmapOptions::new().offset(offset).len(length).map(file) }.map_err(StorageError::File)?;
        Ok(Backing::Map(map).into())
    }

    /// Several files as one storage.
    fn join(self, paths: &[PathBuf]) -> Result<Storage> {
        let mut files = Vec::with_capacity(paths.len());
        let (mut starts, mut end) = (Vec::with_capacity(paths.len()), 0_usize);
        for path in paths {
            let io = |source| StorageError::Open { path: path.clone(), source };
            let file = open_file(path).map_err(io)?;
            let length = file.metadata().map_err(io)?.len();
            let large = || StorageError::Range { offset: 0, length, size: length };
            let length = usize::try_from(length).map_err(|_| large())?;
            let start = end.checked_next_multiple_of(PART_ALIGNMENT).ok_or_else(large)?;
            end = start.checked_add(length).ok_or_else(large)?;
            starts.push(start);
            files.push((file, start..end));
        }
        let fill = |bytes: &mut [u8]| {
            let read = |(file, range): &(File, std::ops::Range<usize>)| read_at(file, 0, &mut bytes[range.clone()]);
            files.iter().try_for_each(read).map_err(StorageError::File)
        };
        #[cfg(unix)]
        let joined = if self.copy {
            self.filled(end, fill)?.backing
        } else {
            Backing::Joined(Joined::new(&files, end).map_err(StorageError::File)?)
        };
        #[cfg(not(unix))]
        let joined = self.filled(end, fill)?.backing;
        Ok(Storage { backing: joined, starts })
    }

    /// Memory of the application: see [`Storage::borrowed`].
    ///
    /// # Errors
    /// Those of a copy, if one is asked for or needed.
    ///
    /// # Safety
    /// As [`Storage::borrowed`].
    pub unsafe fn borrow(self, start: *const u8, length: usize, release: Release) -> Result<Storage> {
        let start = NonNull::new(start.cast_mut()).filter(|_| length > 0).unwrap_or(NonNull::<u64>::dangling().cast());
        let bytes = Storage::from(Backing::Borrowed(Borrowed { start, length, release: Some(release) }));
        if self.copies_memory(start.as_ptr()) { self.bytes(&bytes) } else { Ok(bytes) }
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// [`StorageError::MemoryLimit`]; [`StorageError::OutOfMemory`].
    pub fn bytes(self, bytes: &[u8]) -> Result<Storage> {
        self.filled(bytes.len(), |copy| {
            copy.copy_from_slice(bytes);
            Ok(())
        })
    }

    /// All that a pipe has.
    fn stream(self, mut pipe: &File, io: impl Fn(io::Error) -> StorageError) -> Result<Storage> {
        let mut bytes = Vec::new();
        loop {
            let length = bytes.len();
            if let Some(limit) = self.memory_limit.filter(|&limit| length as u64 > limit) {
                return Err(StorageError::MemoryLimit { needed: length as u64, limit });
            }
            memory::grow(&mut bytes, CHUNK)?;
            bytes.resize(length + CHUNK, 0);
            let read = loop {
                match pipe.read(&mut bytes[length..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read.map_err(&io)?,
                }
            };
            bytes.truncate(length + read);
            let is_gguf = bytes.len() < MAGIC.len() || bytes.starts_with(MAGIC);
            if read == 0 || !is_gguf {
                memory::grow(&mut bytes, ALIGNMENT)?;
                return Ok(bytes.into());
            }
        }
    }

    /// Bytes of memory that [`StorageOptions::file`] will take for that part of the file; a map
    /// takes none.
    ///
    /// # Errors
    /// As there, if it is no file or the part is not in it.
    pub fn file_bytes(self, file: &File, offset: u64, length: Option<u64>) -> Result<usize> {
        let (offset, length) = part(file, offset, length)?;
        Ok(if self.copies_file(offset) { length } else { 0 })
    }

    /// Bytes of memory that [`StorageOptions::borrow`] will take for so many bytes at `start`.
    pub fn borrowed_bytes(self, start: *const u8, length: usize) -> usize {
        if self.copies_memory(start) { length } else { 0 }
    }

    /// Whether bytes of a file from `offset` on are copied. A map starts at a whole page.
    fn copies_file(self, offset: u64) -> bool {
        self.copy || !offset.is_multiple_of(IN_PLACE as u64)
    }

    fn copies_memory(self, start: *const u8) -> bool {
        self.copy || !start.addr().is_multiple_of(IN_PLACE)
    }

    /// `length` bytes that `fill` writes.
    fn filled(self, length: usize, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Storage> {
        if let Some(limit) = self.memory_limit.filter(|&limit| length as u64 > limit) {
            return Err(StorageError::MemoryLimit { needed: length as u64, limit });
        }
        let mut buffer: Vec<u8> = Vec::new();
        memory::reserve(&mut buffer, length.saturating_add(ALIGNMENT))?;
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        buffer.resize(start + length, 0);
        fill(&mut buffer[start..])?;
        Ok(Backing::Owned(Aligned { buffer, start }).into())
    }
}

impl Storage {
    /// Maps the file at `path` into memory, read-only.
    ///
    /// The file must not be truncated or rewritten by anyone while it is mapped (a read behind its
    /// end is the signal SIGBUS): replace model files by renaming a new one over them, as every
    /// tool of this project does, or copy what may change: see [`StorageOptions`].
    ///
    /// # Errors
    /// As [`StorageOptions::open`].
    pub fn open(path: &Path) -> Result<Self> {
        StorageOptions::default().open(path)
    }

    /// Maps `length` bytes of `file` from `offset` on (to its end, if there is no length),
    /// read-only: a model inside an archive, such as an Android package. `file` may be closed
    /// afterwards; the contract of [`Storage::open`] holds.
    ///
    /// Any offset will do, but one that is not a multiple of 4 costs a copy of the bytes.
    ///
    /// # Errors
    /// As [`StorageOptions::file`].
    pub fn from_file(file: &File, offset: u64, length: Option<u64>) -> Result<Self> {
        StorageOptions::default().file(file, offset, length)
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
        // SAFETY: the same contract.
        unsafe { StorageOptions::default().borrow(start, length, release) }
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// [`StorageError::OutOfMemory`] if there is no memory for it.
    pub fn copied(bytes: &[u8]) -> Result<Self> {
        StorageOptions::default().bytes(bytes)
    }

    /// Where the parts of the file begin: at 0, and if it is cut in several, at multiples of 64
    /// KiB.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Bytes of memory that the storage has of its own: all of a copy, none of a map or of memory
    /// of the application.
    pub fn owned_bytes(&self) -> usize {
        if let Backing::Owned(_) = self.backing { self.len() } else { 0 }
    }
}

impl From<Backing> for Storage {
    fn from(backing: Backing) -> Self {
        Self { backing, starts: vec![0] }
    }
}

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
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let other = || io::Error::new(io::ErrorKind::InvalidInput, "this is a device, a pipe or a socket, not a file");
    metadata.is_file().then_some(()).ok_or_else(other)
}

/// Where parts of a file begin: at whole pages of every system.
const PART_ALIGNMENT: usize = 1 << 16;

/// All parts of a file that is cut in several, if `path` is the first by its name:
/// `NAME-00001-of-00003.gguf`.
fn parts(path: &Path) -> Option<Vec<PathBuf>> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (stem, count) = stem.rsplit_once("-of-")?;
    let stem = stem.strip_suffix("-00001")?;
    let is_count = count.len() == 5 && count.bytes().all(|byte| byte.is_ascii_digit());
    let count: usize = count.parse().ok().filter(|&count| is_count && count > 1)?;
    Some((1..=count).map(|number| path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"))).collect())
}

/// Maps of several files in one range of addresses.
#[cfg(unix)]
#[derive(Debug)]
struct Joined {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is a map that is only read, which the contract of `Storage::open` keeps as it
// is, whichever thread reads it.
#[cfg(unix)]
unsafe impl Send for Joined {}
// SAFETY: as above; nothing changes behind a shared reference.
#[cfg(unix)]
unsafe impl Sync for Joined {}

#[cfg(unix)]
impl Joined {
    /// Maps each file at its range, which begins at a multiple of [`PART_ALIGNMENT`]; what is
    /// between them is zero.
    fn new(files: &[(File, std::ops::Range<usize>)], length: usize) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        let check = |address: *mut libc::c_void| match NonNull::new(address.cast::<u8>()) {
            Some(start) if address != libc::MAP_FAILED => Ok(start),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: a new map of no file, at an address that the system chooses.
        let start = check(unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
            libc::mmap(std::ptr::null_mut(), length.max(1), libc::PROT_READ, flags, -1, 0)
        })?;
        let joined = Self { start, length: length.max(1) };
        for (file, range) in files.iter().filter(|(_, range)| !range.is_empty()) {
            // SAFETY: the range lies inside the map above, which nobody else knows, and is replaced
            // by the file; its pages begin where those of the map do, since both are multiples.
            check(unsafe {
                let address = start.as_ptr().add(range.start).cast();
                let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
                libc::mmap(address, range.len(), libc::PROT_READ, flags, file.as_raw_fd(), 0)
            })?;
        }
        Ok(joined)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: all of the range is mapped, to be read, until `self` is dropped; that nobody cuts
        // the files is the contract of `Storage::open`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    fn discard(&self, range: std::ops::Range<usize>) {
        let inner = range.start.next_multiple_of(PART_ALIGNMENT)..range.end / PART_ALIGNMENT * PART_ALIGNMENT;
        if inner.start < inner.end && inner.end <= self.length {
            // SAFETY: whole pages of the map, backed by files, so that what is dropped is read
            // again as it was; between the files it is zero again. A system that refuses leaves
            // them.
            unsafe {
                libc::madvise(self.start.as_ptr().add(inner.start).cast(), inner.len(), libc::MADV_DONTNEED);
            }
        }
    }
}

#[cfg(unix)]
impl Drop for Joined {
    fn drop(&mut self) {
        // SAFETY: the map is ours alone, and nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.length);
        }
    }
}

/// Where a part of a file begins, and its length, which has been checked.
fn part(file: &File, offset: u64, length: Option<u64>) -> Result<(u64, usize)> {
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
fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
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

impl Storage {
    /// Tells the system that `range` is not needed for now: pages of a mapped file leave memory,
    /// and come back from the file when they are read again. Does nothing for owned bytes.
    pub fn discard(&self, range: std::ops::Range<usize>) {
        #[cfg(unix)]
        match &self.backing {
            // SAFETY: the map is read-only and backed by the file, so that a page that is dropped
            // is read again as it was. A system that refuses leaves the page where it is.
            Backing::Map(map) => drop(unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            }),
            Backing::Joined(map) => map.discard(range),
            Backing::Owned(_) | Backing::Borrowed(_) => (),
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
        Backing::Owned(Aligned { buffer: bytes, start }).into()
    }
}

impl Deref for Storage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.backing {
            Backing::Map(map) => map,
            #[cfg(unix)]
            Backing::Joined(map) => map.bytes(),
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
            assert!(storage.as_ptr().addr().is_multiple_of(IN_PLACE));
            let owned = StorageOptions::default().file_bytes(&file, offset, length).unwrap();
            assert_eq!((storage.owned_bytes(), owned > 0), (owned, offset % 4 != 0));
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
    fn a_copy_stays_when_the_file_is_cut() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
        let options = StorageOptions { copy: true, ..StorageOptions::default() };
        for (offset, length) in [(0, None), (4096, Some(100)), (13, Some(9000))] {
            let file = file("copy", &bytes);
            let storage = options.file(&file, offset, length).unwrap();
            file.set_len(0).unwrap();
            let end = length.map_or(bytes.len(), |length| (offset + length) as usize);
            assert_eq!(&*storage, &bytes[offset as usize..end]);
            assert_eq!(storage.owned_bytes(), storage.len());
        }
    }

    #[test]
    fn a_copy_keeps_to_the_limit() {
        let file = file("limit", &[7; 1000]);
        let within = |limit| StorageOptions { memory_limit: Some(limit), ..StorageOptions::default() };
        assert!(within(0).file(&file, 0, None).is_ok());
        assert!(within(999).file(&file, 1, None).is_ok());
        let refused = |made: Result<Storage>| {
            assert!(matches!(made.unwrap_err(), StorageError::MemoryLimit { needed: 999, limit: 998 }));
        };
        refused(within(998).file(&file, 1, None));
        refused(StorageOptions { copy: true, ..within(998) }.file(&file, 0, Some(999)));
        refused(within(998).bytes(&[0; 999]));
        let memory = [0_u32; 251];
        let odd = memory.as_ptr().cast::<u8>().wrapping_add(1);
        assert_eq!(within(998).borrowed_bytes(odd, 999), 999);
        // SAFETY: `memory` outlives the storage and is not changed.
        refused(unsafe { within(998).borrow(odd, 999, Box::new(|| ())) });
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_at_once() {
        use std::os::unix::net::UnixListener;
        let folder = std::env::temp_dir().join(format!("ollm-storage-{}-kinds", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (socket, pipe) = (folder.join("socket"), folder.join("pipe"));
        let _socket = UnixListener::bind(&socket).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&*folder, &*socket, &*pipe, Path::new("/dev/zero"), Path::new("/dev/null")] {
            let error = Storage::open(path).unwrap_err();
            assert!(matches!(error, StorageError::Open { .. }), "{}: {error}", path.display());
        }
        let zero = File::open("/dev/zero").unwrap();
        assert!(matches!(Storage::from_file(&zero, 0, None).unwrap_err(), StorageError::File(_)));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_read_by_those_who_ask_for_it() {
        let pipe = std::env::temp_dir().join(format!("ollm-storage-{}-stream", std::process::id()));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let read = |bytes: Vec<u8>, options: StorageOptions| {
            let writer = std::thread::spawn({
                let pipe = pipe.clone();
                move || fs::write(pipe, bytes)
            });
            let storage = options.open(&pipe);
            // Who writes what is not read on is told so.
            let _ = writer.join().unwrap();
            storage
        };
        let options = StorageOptions { streams: true, ..StorageOptions::default() };
        let long: Vec<u8> = MAGIC.iter().copied().chain((0..3 << 20).map(|i| (i % 251) as u8)).collect();
        for bytes in [long.clone(), b"GGUF".to_vec(), b"GG".to_vec(), Vec::new()] {
            let storage = read(bytes.clone(), options).unwrap();
            assert!(*storage == *bytes && storage.as_ptr().addr().is_multiple_of(ALIGNMENT));
        }
        let other = read(vec![b'y'; 8 << 20], options).unwrap();
        assert!(other.len() <= CHUNK && other.iter().all(|&byte| byte == b'y'));
        let limited = read(long, StorageOptions { memory_limit: Some(1 << 20), ..options });
        assert!(matches!(limited.unwrap_err(), StorageError::MemoryLimit { limit: 1_048_576, .. }));
        fs::remove_file(&pipe).unwrap();
        // A device has no end.
        assert!(matches!(options.open(Path::new("/dev/zero")).unwrap_err(), StorageError::Open { .. }));
    }

    #[test]
    fn nothing_can_be_borrowed_from_nowhere() {
        // SAFETY: no bytes are at null, and none are read.
        let storage = unsafe { Storage::borrowed(std::ptr::null(), 0, Box::new(|| ())) }.unwrap();
        assert!(storage.is_empty());
        assert!(Storage::copied(&[]).unwrap().is_empty());
    }
}
