//! A run that is asked to end: by Ctrl-C, say.
//!
//! The process has one flag, which a signal handler sets. Whatever takes long looks at it where it
//! has just kept what is done: behind a step's checkpoint, a cached problem, an answer on disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use crate::error::{Error, Result};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// What a signal handler sets.
pub fn flag() -> Arc<AtomicBool> {
    Arc::clone(&REQUESTED)
}

/// Whether the run shall end.
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// To be asked where all that is done is kept.
///
/// # Errors
/// [`Error::Interrupted`] if the run shall end.
pub fn check() -> Result<()> {
    if is_requested() { Err(Error::Interrupted) } else { Ok(()) }
}
