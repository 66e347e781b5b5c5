//! How the bytes of a file are held.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use memmap2::MmapOptions;
use ollm_kernels::memory;

use super::borrowed::{Borrowed, Release};
use super::bytes::{ALIGNMENT, Aligned, Backing, Storage};
use super::file::{is_pipe, open_file, part, parts, read_at};
#[cfg(unix)]
use super::joined::Joined;
use super::{PART_ALIGNMENT, Result, StorageError};

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
pub(super) const MAGIC: &[u8] = b"GGUF";

/// How much of a pipe is read at once.
pub(super) const CHUNK: usize = 1 << 20;

/// What bytes that are not ours have to be aligned to, lest they be copied: that of the widest type
/// read in place, `f32`. The tensors of a file are at multiples of 8 at least, counted from its
/// start.
pub(super) const IN_PLACE: usize = 4;

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
}
