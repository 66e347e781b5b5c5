//! Thread pools: workers that several sessions share. Without one, each session starts workers of
//! its own; with one, a process has so many workers and no more, whatever sessions there are. If
//! several sessions compute at the same time, one has the workers, and the others compute on their
//! callers' threads alone. The output is the same.

use std::ffi::c_void;
use std::sync::Arc;

use ollm_runtime::cpu::{self, CpuSet, Pool, Workers};
use ollm_runtime::session::SessionError;

use crate::boundary::guard;
use crate::cast::{self, Out, versioned};
use crate::handle::{HandleTable, Named};
use crate::status::{CallFailure, OllmStatus, Result};
use crate::workers::{Host, OllmStartFn};

/// Workers that several sessions share. Since 0.1.0.
pub struct OllmThreadPool {
    pool: Pool,
    host: Option<Arc<Host>>,
}

static THREAD_POOLS: HandleTable<OllmThreadPool> = HandleTable::new();

impl Named for OllmThreadPool {
    const KIND: usize = 12;
    const NAME: &'static str = "thread pool";
    fn table() -> &'static HandleTable<Self> {
        &THREAD_POOLS
    }
}

impl OllmThreadPool {
    /// The workers of a session of so many threads, and the application that runs them, if it does.
    pub(crate) fn workers(&self, threads: usize) -> Result<(Workers, Option<Arc<Host>>)> {
        let there = self.pool.threads();
        if threads > there {
            let text = format!("{threads} threads were asked for, but the pool has {there}");
            return Err(CallFailure::argument(text));
        }
        Ok((Workers::Shared(self.pool.clone()), self.host.clone()))
    }
}

/// The threads of a pool. A field that is 0 takes the default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmThreadPoolOptions {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Threads that compute together, the caller's included, at most 1024; 0 takes as many as the
    /// system has cores for.
    pub threads: usize,
    /// If it is not NULL, the workers run on threads of yours: see `ollm_start_fn`.
    pub start: OllmStartFn,
    /// The first argument of `start`.
    pub user: *mut c_void,
    /// CPU affinity of the workers (Linux and Android): bit 0 is processor 0. 0 leaves it to the
    /// system.
    pub affinity: u64,
}

versioned!(OllmThreadPoolOptions {
    struct_size: usize,
    threads: usize,
    start: OllmStartFn,
    user: *mut c_void,
    affinity: u64,
});

/// Workers of the library or of the application, and the application in that case.
pub(crate) fn workers(start: OllmStartFn, user: *mut c_void, affinity: u64) -> Result<(Workers, Option<Arc<Host>>)> {
    match (start, affinity) {
        (None, 0) => Ok((Workers::Own, None)),
        (None, mask) => Ok((Workers::Bound(CpuSet::from(mask)), None)),
        (Some(start), 0) => {
            let host = Arc::new(Host::new(start, cast::User(user)));
            Ok((Workers::Host(Arc::<Host>::clone(&host)), Some(host)))
        }
        (Some(_), _) => Err(CallFailure::argument("start and affinity exclude each other: bind your own threads")),
    }
}

/// Starts the workers of a pool. `options` may be NULL. On success `*pool` is a handle with one
/// owner: release it with `ollm_thread_pool_release`. Sessions take it in `ollm_session_options`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_OUT_OF_MEMORY`, `OLLM_IO` if threads cannot
/// be started or bound. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_thread_pool_new(
    options: *const OllmThreadPoolOptions,
    pool: *mut *mut OllmThreadPool,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (options, out) = unsafe { (cast::options(options)?, Out::new("pool", pool)?) };
        let OllmThreadPoolOptions { threads, start, user, affinity, .. } = options;
        let too_many = |error: cpu::TooManyThreads| CallFailure::argument(error.to_string());
        let threads = if threads == 0 { cpu::cores() } else { cpu::check_threads(threads).map_err(too_many)? };
        let (workers, host) = workers(start, user, affinity)?;
        let pool = Pool::with_workers(threads, &workers).map_err(SessionError::Threads)?;
        out.set(THREAD_POOLS.insert(OllmThreadPool { pool, host })?);
        Ok(())
    })
}

/// Gives up one owner and makes `*pool` NULL. Sessions with the pool keep it alive. NULL, and a
/// pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_thread_pool_release(pool: *mut *mut OllmThreadPool) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { THREAD_POOLS.release_at(pool) }.map(drop))
}
