//! MPI as the transport.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use mpi::Threading;
use mpi::environment::Universe;
use mpi::point_to_point::{Destination as _, Source as _};
use mpi::topology::{Communicator as _, SimpleCommunicator};

use crate::error::{Error, Result};
use crate::ranks::{Ranks, Transport};

/// Bytes of a message at once: MPI counts them in 32 bits.
const PART: usize = 1 << 30;

/// How long the other ranks leave it to the root to say what went wrong, before they say it: an
/// error that all of them have is told once.
const ROOT_FIRST: Duration = Duration::from_millis(500);

/// MPI, until it is dropped.
pub struct World {
    ranks: Ranks,
    _universe: Universe,
}

impl World {
    /// Starts MPI: once in a process, on its main thread, which is the one that talks to others.
    ///
    /// # Errors
    /// [`Error::Ranks`] if MPI was started before.
    pub fn start() -> Result<Self> {
        let started = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, _) = started.ok_or_else(|| Error::Ranks { reason: "MPI was started before".into() })?;
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        let ranks = if size == 1 { Ranks::alone() } else { Ranks::new(rank, size, Arc::new(Mpi)) };
        Ok(Self { ranks, _universe: universe })
    }

    /// This process among those of the run.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Says an error and ends all ranks, with the exit status 1.
    pub fn abort(&self, error: &Error) -> ! {
        if !self.ranks.is_root() {
            std::thread::sleep(ROOT_FIRST);
        }
        // If standard error is closed too, there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "error (rank {}): {error}", self.ranks.rank());
        SimpleCommunicator::world().abort(1)
    }
}

/// The communicator of all ranks.
struct Mpi;

impl Transport for Mpi {
    fn send(&self, to: usize, message: &[u8]) {
        let world = SimpleCommunicator::world();
        let process = world.process_at_rank(to as i32);
        process.send(&(message.len() as u64));
        message.chunks(PART).for_each(|part| process.send(part));
    }

    fn receive(&self, from: usize) -> Vec<u8> {
        let world = SimpleCommunicator::world();
        let process = world.process_at_rank(from as i32);
        let (length, _) = process.receive::<u64>();
        let mut message = vec![0; length as usize];
        for part in message.chunks_mut(PART) {
            process.receive_into(part);
        }
        message
    }
}
