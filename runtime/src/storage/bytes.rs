//! The bytes of a file, wherever they are.

use std::ops::Deref;

use memmap2::Mmap;

use super::borrowed::Borrowed;
#[cfg(unix)]
use super::joined::Joined;

/// The bytes of one file, or of the parts of one, immutable and shared.
#[derive(Debug)]
pub struct Storage {
    pub(super) backing: Backing,
    /// Where each part begins.
    pub(super) starts: Vec<usize>,
}

#[derive(Debug)]
pub(super) enum Backing {
    Map(Mmap),
    #[cfg(unix)]
    Joined(Joined),
    Owned(Aligned),
    Borrowed(Borrowed),
}

/// Bytes that start at a multiple of [`ALIGNMENT`], as those of a map do.
#[derive(Debug)]
pub(super) struct Aligned {
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
}

/// Where owned bytes start: enough for every type that is read in place.
pub(super) const ALIGNMENT: usize = 64;

impl Storage {
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

impl From<Backing> for Storage {
    fn from(backing: Backing) -> Self {
        Self { backing, starts: vec![0] }
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
