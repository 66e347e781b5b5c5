//! Sources: where the bytes of a GGUF file come from. A path, an open file or a part of one (an
//! Android asset), or memory. Make one with `ollm_source_file`, `ollm_source_descriptor` or
//! `ollm_source_memory`, at the end of this file.

use std::ffi::{c_char, c_void};
use std::fs::File;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ollm_runtime::storage::{Storage, StorageOptions};

use crate::cast::{self, User, versioned};
use crate::status::{CallFailure, OllmStatus, Result};

/// The kinds of sources. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmSourceKind {
    /// A file, by its path.
    File = 0,
    /// An open file, or a part of it.
    Descriptor = 1,
    /// Memory.
    Memory = 2,
}

/// Tells that the library does not need the memory at `data` any more. It is called once, on any
/// thread. Since 0.1.0.
pub type OllmReleaseFn = Option<unsafe extern "C" fn(user: *mut c_void, data: *const c_void, length: usize)>;

/// Where the bytes of a file come from. The struct, and the text of its path, may go when the call
/// that takes it returns. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmSource {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// `OLLM_SOURCE_FILE`: the path, which ends in zero. Nobody may change the file while it is in
    /// use (a file that is cut meanwhile is the signal SIGBUS): to replace it, rename a new one
    /// over it, or set `copy`.
    pub path: *const c_char,
    /// `OLLM_SOURCE_MEMORY`: the bytes.
    pub data: *const c_void,
    /// Bytes of the memory, or of the part of the open file; 0 is all that follows `offset`.
    pub length: usize,
    /// `OLLM_SOURCE_MEMORY`: if it is not NULL, the bytes are used in place, must stay as they are,
    /// and this is called when they are not needed any more. It is not called if the load fails. If
    /// it is NULL, or `data` is not a multiple of 4, the bytes are copied.
    pub release: OllmReleaseFn,
    /// The first argument of `release`.
    pub user: *mut c_void,
    /// What the source is.
    pub kind: MaybeUninit<OllmSourceKind>,
    /// `OLLM_SOURCE_DESCRIPTOR`: the descriptor, open for reading. It may be closed when the call
    /// returns.
    pub descriptor: i32,
    /// `OLLM_SOURCE_DESCRIPTOR`: the first byte of the part of the file. If it is not a multiple of
    /// 4, the bytes are copied.
    pub offset: u64,
    /// 1 copies the bytes to memory of the library, for files that may be changed or removed while
    /// they are in use; 0 maps a file. Copies count as weights, for limits and in
    /// `ollm_memory_needed`.
    pub copy: i32,
    /// Must be 0.
    pub reserved: i32,
}

versioned!(OllmSource {
    struct_size: usize,
    path: *const c_char,
    data: *const c_void,
    length: usize,
    release: OllmReleaseFn,
    user: *mut c_void,
    kind: MaybeUninit<OllmSourceKind>,
    descriptor: i32,
    offset: u64,
    copy: i32,
    reserved: i32,
});

/// A checked source.
pub(crate) struct Source {
    place: Place,
    copy: bool,
}

/// Where the bytes of a source are.
enum Place {
    File(PathBuf),
    Descriptor { descriptor: i32, offset: u64, length: Option<u64> },
    Memory { data: *const u8, length: usize, release: Option<ReleaseFn> },
}

/// The function that gives borrowed memory back.
#[derive(Clone, Copy)]
pub(crate) struct ReleaseFn {
    function: unsafe extern "C" fn(*mut c_void, *const c_void, usize),
    user: User,
    data: User,
    length: usize,
}

impl OllmSource {
    /// # Safety
    /// The struct, and what it points to, are what the header asks for, as long as the result is in
    /// use.
    pub(crate) unsafe fn read(source: *const Self) -> Result<Source> {
        // SAFETY: the same contract.
        let s = unsafe { cast::required(source) }?;
        let copy = match s.copy {
            0 | 1 => s.copy == 1,
            other => return Err(CallFailure::argument(format!("copy is {other}, not 0 or 1"))),
        };
        if s.reserved != 0 {
            return Err(CallFailure::argument("reserved is not 0"));
        }
        let place = match cast::number(s.kind) {
            // SAFETY: the same contract.
            0 => unsafe { cast::path(s.path) }.map(Place::File),
            1 if s.descriptor < 0 => Err(CallFailure::argument(format!("{} is no file descriptor", s.descriptor))),
            1 => Ok(Place::Descriptor {
                descriptor: s.descriptor,
                offset: s.offset,
                length: (s.length > 0).then_some(s.length as u64),
            }),
            2 => {
                // SAFETY: the same contract; the bytes are only read while the contract of
                // `Storage::borrowed` holds.
                let bytes = unsafe { cast::slice("the memory", s.data.cast::<u8>(), s.length) }?;
                let release = s.release.map(|function| ReleaseFn {
                    function,
                    user: User(s.user),
                    data: User(s.data.cast_mut()),
                    length: s.length,
                });
                Ok(Place::Memory { data: bytes.as_ptr(), length: s.length, release })
            }
            kind => Err(CallFailure::argument(format!("{kind} is no kind of source"))),
        };
        Ok(Source { place: place?, copy })
    }
}

impl Source {
    /// Opens the source and makes something of its bytes, of which no more are copied than
    /// `memory_limit` allows. Borrowed memory is taken over only if that succeeds.
    pub(crate) fn open<T>(self, memory_limit: Option<u64>, make: impl FnOnce(Storage) -> Result<T>) -> Result<T> {
        let options = StorageOptions { copy: self.copy, memory_limit, streams: false };
        match self.place {
            Place::File(path) => make(options.open(&path)?),
            Place::Descriptor { descriptor, offset, length } => {
                make(options.file(&duplicate(descriptor)?, offset, length)?)
            }
            Place::Memory { data, length, release: None } => {
                // SAFETY: checked in `read`, whose contract still holds.
                make(options.bytes(unsafe { std::slice::from_raw_parts(data, length) })?)
            }
            Place::Memory { data, length, release: Some(release) } => {
                let second = Arc::new(AtomicBool::new(false));
                let free = release.if_second(Arc::clone(&second));
                // SAFETY: the header asks the caller to leave the bytes as they are until `release`
                // is called, and without success they are not used any more when the call returns.
                let made = make(unsafe { options.borrow(data, length, Box::new(free)) }?)?;
                release.if_second(second)();
                Ok(made)
            }
        }
    }

    /// Looks at the bytes of the source, which is not taken over; gives also how many of them will
    /// be copied when it is opened.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&Storage) -> Result<T>) -> Result<(T, usize)> {
        let options = StorageOptions { copy: self.copy, ..StorageOptions::default() };
        let (storage, copied) = match self.place {
            Place::File(ref path) => {
                let storage = Storage::open(path)?;
                let copied = if self.copy { storage.len() } else { 0 };
                (storage, copied)
            }
            Place::Descriptor { descriptor, offset, length } => {
                let file = duplicate(descriptor)?;
                (Storage::from_file(&file, offset, length)?, options.file_bytes(&file, offset, length)?)
            }
            Place::Memory { data, length, release } => {
                // SAFETY: checked in `read`, whose contract still holds, and the storage is gone
                // when this function returns.
                let storage = unsafe { Storage::borrowed(data, length, Box::new(|| ())) }?;
                (storage, release.map_or(length, |_| options.borrowed_bytes(data, length)))
            }
        };
        Ok((look(&storage)?, copied))
    }
}

impl ReleaseFn {
    /// Calls the function when two things have come, in whichever order: the memory is free, and
    /// the load succeeded.
    fn if_second(self, second: Arc<AtomicBool>) -> impl FnOnce() + Send + Sync + use<> {
        move || {
            let Self { function, user, data, length } = self;
            if second.swap(true, Ordering::AcqRel) {
                // SAFETY: the function and its argument are the caller's, to be called once when
                // the memory is free.
                unsafe { function(user.0, data.0, length) };
            }
        }
    }
}

/// The same open file, for the library to close.
#[cfg(unix)]
fn duplicate(descriptor: i32) -> Result<File> {
    use std::os::fd::BorrowedFd;
    // SAFETY: not negative; a descriptor that is not open makes the duplication fail, and nothing
    // else uses it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let failed = |error| CallFailure::new(OllmStatus::Io, format!("file descriptor {descriptor}: {error}"));
    Ok(File::from(borrowed.try_clone_to_owned().map_err(failed)?))
}

#[cfg(not(unix))]
fn duplicate(_: i32) -> Result<File> {
    Err(CallFailure::new(OllmStatus::Unsupported, "this system has no file descriptors"))
}
