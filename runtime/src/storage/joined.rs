//! Several files in one range of addresses.

use std::fs::File;
use std::io;
use std::ptr::NonNull;

use super::PART_ALIGNMENT;

/// Maps of several files in one range of addresses.
#[derive(Debug)]
pub(super) struct Joined {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is a map that is only read, which the contract of `Storage::open` keeps as it
// is, whichever thread reads it.
unsafe impl Send for Joined {}
// SAFETY: as above; nothing changes behind a shared reference.
unsafe impl Sync for Joined {}

impl Joined {
    /// Maps each file at its range, which begins at a multiple of [`PART_ALIGNMENT`]; what is
    /// between them is zero.
    pub(super) fn new(files: &[(File, std::ops::Range<usize>)], length: usize) -> io::Result<Self> {
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

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: all of the range is mapped, to be read, until `self` is dropped; that nobody cuts
        // the files is the contract of `Storage::open`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    pub(super) fn discard(&self, range: std::ops::Range<usize>) {
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

impl Drop for Joined {
    fn drop(&mut self) {
        // SAFETY: the map is ours alone, and nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.length);
        }
    }
}
