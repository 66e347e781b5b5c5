//! Memory of the application.

use std::fmt;
use std::ptr::NonNull;

/// What [`Storage::borrowed`](super::Storage::borrowed) calls when the memory is not needed any
/// more.
pub type Release = Box<dyn FnOnce() + Send + Sync>;

/// Memory of the application.
pub(super) struct Borrowed {
    pub(super) start: NonNull<u8>,
    pub(super) length: usize,
    /// Called once, on drop.
    pub(super) release: Option<Release>,
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
