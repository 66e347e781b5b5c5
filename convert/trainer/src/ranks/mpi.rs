//! MPI as the transport.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::environment::Universe;
use mpi::point_to_point::{Destination as _, Source as _};
use mpi::topology::{Communicator as _, SimpleCommunicator};

use crate::error::{Error, Result};
use crate::interrupt;
use crate::ranks::{Ranks, Transport};

/// Bytes of a message at once: MPI counts them in 32 bits.
const PART: usize = 1 << 30;

/// How long the other ranks leave it to the root to say what went wrong and to end them, before
/// they say it: an error that all of them have is told once.
const ROOT_FIRST: Duration = Duration::from_secs(3);

/// How often they look whether they are being ended.
const LOOK: Duration = Duration::from_millis(20);

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

    /// Says an error and ends all ranks, with the exit status 1. Says nothing if another rank is
    /// ending this one: that has said what went wrong.
    pub fn abort(&self, error: &Error) -> ! {
        if self.ranks.is_root() || !ended_by_another() {
            // In one piece: MPI writes to the same place. If that is closed too, there is nobody
            // left to tell.
            let line = format!("error (rank {}): {error}\n", self.ranks.rank());
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        SimpleCommunicator::world().abort(1)
    }
}

/// Whether a signal comes while the root has the word: who aborts ends the others by one.
fn ended_by_another() -> bool {
    let (begin, before) = (Instant::now(), interrupt::is_requested());
    while begin.elapsed() < ROOT_FIRST {
        std::thread::sleep(LOOK);
        if interrupt::is_requested() && !before {
            return true;
        }
    }
    false
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
