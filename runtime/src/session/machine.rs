//! The threads of a session, for prefill and for decode, and its pace (cancelling, duty cycle).

use ollm_kernels::cpu::{self, Isa, Pool, Workers};
use ollm_kernels::ops::Exec;

use super::error::SessionError;
use super::options::SessionOptions;
use super::pace::Pace;

/// The threads of a session, and its pace.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) exec: Exec,
    pub(super) threads: Threads,
    pub(super) pace: Pace,
}

/// How many threads compute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threads {
    /// One token.
    pub(super) decode: usize,
    /// Many tokens at once.
    pub(super) prefill: usize,
}

impl Threads {
    pub(super) fn new(options: &SessionOptions) -> Self {
        let all = || if let Workers::Shared(pool) = &options.workers { pool.threads() } else { cpu::cores() };
        let decode = if options.threads == 0 { all() } else { options.threads };
        Self { decode, prefill: if options.prefill_threads == 0 { decode } else { options.prefill_threads } }
    }

    /// The threads for `n` tokens.
    pub(super) fn of(self, n: usize) -> usize {
        if n > 1 { self.prefill } else { self.decode }
    }

    /// The threads that there have to be.
    pub(super) fn most(self) -> usize {
        self.decode.max(self.prefill)
    }
}

impl Machine {
    pub(super) fn new(options: &SessionOptions) -> Result<Self, SessionError> {
        let isa = options.isa.map_or_else(Isa::select, Ok)?;
        let threads = Threads::new(options);
        let failed =
            if let Workers::Bound(_) = options.workers { SessionError::Affinity } else { SessionError::Threads };
        cpu::check_threads(threads.most())?;
        let pool = Pool::with_workers(threads.most(), &options.workers).map_err(failed)?;
        Ok(Self { exec: Exec { isa, pool }, threads, pace: Pace::default() })
    }

    /// The same threads, the same duty, a canceller of its own.
    pub(super) fn fork(&self) -> Self {
        let exec = Exec { isa: self.exec.isa, pool: self.exec.pool.clone() };
        Self { exec, threads: self.threads, pace: self.pace.fork() }
    }
}
