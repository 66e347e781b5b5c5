//! A run that is asked to end: by Ctrl-C, say.
//!
//! The process has one flag, which a signal handler sets. Whatever takes long looks at it where it
//! has just kept what is done: behind a step's checkpoint, a shard of a cache, an answer on disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use crate::error::{Error, Result};
use crate::ranks::Ranks;

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// What a signal handler sets.
pub fn flag() -> Arc<AtomicBool> {
    Arc::clone(&REQUESTED)
}

/// Whether the run shall end.
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Whether one of the ranks was asked to end. All of them ask, and hear the same.
pub fn is_requested_on(ranks: &Ranks) -> Result<bool> {
    if ranks.is_alone() {
        return Ok(is_requested());
    }
    let asked = ranks.gather(vec![u8::from(is_requested())])?;
    Ok(asked.iter().flatten().any(|asked| *asked != 0))
}

/// [`check`] of all ranks together.
pub fn check_on(ranks: &Ranks) -> Result<()> {
    if is_requested_on(ranks)? { Err(Error::Interrupted) } else { Ok(()) }
}

/// To be asked where all that is done is kept.
///
/// # Errors
/// [`Error::Interrupted`] if the run shall end.
pub fn check() -> Result<()> {
    if is_requested() { Err(Error::Interrupted) } else { Ok(()) }
}
