//! Workers: threads of a thread pool, which compute together with the calling thread. By default
//! the library starts its own; an application that manages its threads itself supplies them.

use std::ffi::c_void;
use std::io;
use std::sync::{Mutex, PoisonError};

use ollm_runtime::cpu::{Worker, WorkerHost};

use crate::boundary::{guard, in_callback};
use crate::cast::User;
use crate::handle::{HandleTable, Named};
use crate::status::{CallFailure, OllmStatus};

/// The work of one thread of the application. Since 0.1.0.
pub struct OllmWorker(Mutex<Option<Worker>>);

static WORKERS: HandleTable<OllmWorker> = HandleTable::new();

impl Named for OllmWorker {
    const KIND: usize = 4;
    const NAME: &'static str = "worker";
    fn table() -> &'static HandleTable<Self> {
        &WORKERS
    }
}

/// Has one of the application's threads call `ollm_worker_run(worker)`, now or later, and does not
/// wait for it. It is called inside `ollm_session_new` or `ollm_thread_pool_new`, for each worker;
/// any other result than 0 makes these fail with `OLLM_IO`. Since 0.1.0.
pub type OllmStartFn = Option<unsafe extern "C" fn(user: *mut c_void, worker: *mut OllmWorker) -> i32>;

/// Runs a worker of a session or of a pool: it works until these are freed, with all forks and
/// branches, and all sessions of the pool, and then returns. Nobody waits for a worker that was
/// never run. Its handle is dead by then: this function returns `OLLM_INVALID_HANDLE` at once.
///
/// The thread is the worker's until then. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`;
/// `OLLM_BUSY` inside a callback. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_worker_run(worker: *mut OllmWorker) -> OllmStatus {
    guard(|| {
        if in_callback() {
            return Err(CallFailure::new(OllmStatus::Busy, "a worker needs a thread of its own, not a callback's"));
        }
        let gone = || CallFailure::new(OllmStatus::InvalidHandle, "the worker runs already, or its session was freed");
        let shared = WORKERS.release(worker)?.ok_or_else(gone)?;
        let taken = shared.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(gone)?.run();
        Ok(())
    })
}

/// The application as the runtime sees it.
pub(crate) struct Host {
    start: unsafe extern "C" fn(*mut c_void, *mut OllmWorker) -> i32,
    user: User,
    /// The workers that were offered; those that were taken up are dead by then.
    offered: Mutex<Vec<usize>>,
}

impl Host {
    pub(crate) fn new(start: unsafe extern "C" fn(*mut c_void, *mut OllmWorker) -> i32, user: User) -> Self {
        Self { start, user, offered: Mutex::default() }
    }
}

impl WorkerHost for Host {
    fn start(&self, worker: Worker) -> io::Result<()> {
        let handle = WORKERS.insert(OllmWorker(Mutex::new(Some(worker))));
        let handle = handle.map_err(|failure| io::Error::new(io::ErrorKind::OutOfMemory, failure.message))?;
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).push(handle.addr());
        // SAFETY: the callback and its argument go together, and the call that gave them has not
        // returned.
        let refused = unsafe { (self.start)(self.user.0, handle) };
        if refused == 0 {
            Ok(())
        } else {
            Err(io::Error::other(format!("the application gave {refused}, and no thread")))
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for &handle in &*self.offered.lock().unwrap_or_else(PoisonError::into_inner) {
            // A worker that was taken up is dead already, which is fine.
            let _ = WORKERS.release(std::ptr::without_provenance::<OllmWorker>(handle));
        }
    }
}
