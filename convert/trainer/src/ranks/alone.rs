//! The one process of a build without MPI.

use crate::error::{Error, Result};
use crate::ranks::Ranks;

/// One process.
pub struct World(Ranks);

impl World {
    /// Starts nothing.
    ///
    /// # Errors
    /// None: with MPI there are some.
    pub fn start() -> Result<Self> {
        Ok(Self(Ranks::alone()))
    }

    /// This process.
    pub fn ranks(&self) -> &Ranks {
        &self.0
    }

    /// Ends the process, with the exit status 1.
    pub fn abort(&self, _error: &Error) -> ! {
        std::process::exit(1)
    }
}
