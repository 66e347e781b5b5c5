//! Objects that one thread at a time works with, and that any thread may cancel or free.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use ollm_runtime::session::Canceller;

use crate::boundary::in_callback;
use crate::cast;
use crate::handle::Named;
use crate::status::{CallFailure, OllmStatus, Result};

/// What is behind the handle of such an object.
pub(crate) struct Turns<T> {
    live: Mutex<Option<T>>,
    canceller: Canceller,
    /// Set before the object is freed: calls after that get no turn any more.
    closed: AtomicBool,
    /// Which thread is inside; 0 for none.
    owner: AtomicUsize,
}

/// A handle whose calls take turns.
pub(crate) trait TakesTurns: Named {
    /// What a call works with.
    type Live;
    fn turns(&self) -> &Turns<Self::Live>;
}

thread_local! {
    /// Its address names the thread.
    static THREAD: u8 = const { 0 };
}

/// A number that no other thread has at the same time.
fn this_thread() -> usize {
    THREAD.with(|thread| std::ptr::from_ref(thread).addr())
}

/// A thread's turn.
struct Turn<'a, T> {
    owner: &'a AtomicUsize,
    live: MutexGuard<'a, Option<T>>,
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.owner.store(0, Ordering::Relaxed);
    }
}

impl<T> Turns<T> {
    pub(crate) fn new(live: T, canceller: Canceller) -> Self {
        Self { live: Mutex::new(Some(live)), canceller, closed: AtomicBool::new(false), owner: AtomicUsize::new(0) }
    }

    pub(crate) fn canceller(&self) -> &Canceller {
        &self.canceller
    }

    fn turn(&self, name: &str) -> Result<Turn<'_, T>> {
        let live = only(&self.live, name)?;
        self.owner.store(this_thread(), Ordering::Relaxed);
        Ok(Turn { owner: &self.owner, live })
    }

    /// What the turn is on, unless it is being freed.
    fn live<'t>(&self, turn: &'t mut Turn<'_, T>, name: &str) -> Result<&'t mut T> {
        let live = turn.live.as_mut().filter(|_| !self.closed.load(Ordering::SeqCst));
        live.ok_or_else(|| CallFailure::new(OllmStatus::InvalidHandle, format!("the {name} is being freed")))
    }

    /// Closes the object to new calls, and cancels the running call.
    fn cancel_for_good(&self, name: &str) -> Result<()> {
        if self.owner.load(Ordering::Relaxed) == this_thread() {
            let message = format!("a callback cannot free the {name} that called it");
            return Err(CallFailure::new(OllmStatus::Busy, message));
        }
        self.closed.store(true, Ordering::SeqCst);
        self.canceller.cancel();
        Ok(())
    }

    /// Waits for the call that is inside, and frees what the object holds. In a callback nobody
    /// waits: two callbacks that free each other's objects would do so for ever. There, the call
    /// that is inside has the last hold, and frees.
    fn drop_live(&self) {
        if !in_callback() {
            drop(self.live.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// What is behind the mutex, if no other call uses it and none has met a bug in it.
pub(crate) fn only<'m, T>(mutex: &'m Mutex<T>, name: &str) -> Result<MutexGuard<'m, T>> {
    mutex.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => CallFailure::new(OllmStatus::Busy, format!("the {name} is in use")),
        TryLockError::Poisoned(_) => {
            CallFailure::new(OllmStatus::Internal, format!("the {name} met a bug before and can only be freed"))
        }
    })
}

/// Runs `work` on the object of `handle`, if no other call is running on it.
pub(crate) fn with<N: TakesTurns, R>(handle: *const N, work: impl FnOnce(&mut N::Live) -> Result<R>) -> Result<R> {
    let object = N::table().get(handle)?;
    let turns = object.turns();
    let mut turn = turns.turn(N::NAME)?;
    work(turns.live(&mut turn, N::NAME)?)
}

/// Runs `work` on the objects of all handles, if no other call is running on one of them.
pub(crate) fn with_all<N: TakesTurns, R>(
    handles: &[*mut N],
    work: impl FnOnce(&mut [&mut N::Live]) -> Result<R>,
) -> Result<R> {
    let objects = handles.iter().map(|&handle| N::table().get(handle)).collect::<Result<Vec<_>>>()?;
    let turns = objects.iter().map(|object| object.turns().turn(N::NAME));
    let mut turns = turns.collect::<Result<Vec<_>>>()?;
    let lives = turns.iter_mut().zip(&objects).map(|(turn, object)| object.turns().live(turn, N::NAME));
    work(&mut lives.collect::<Result<Vec<_>>>()?)
}

/// Frees the object whose handle is at `place`, and makes it NULL there.
///
/// # Safety
/// `place` is NULL or points to a handle.
pub(crate) unsafe fn free_at<N: TakesTurns>(place: *mut *mut N) -> Result<()> {
    // SAFETY: the same contract.
    let handle = unsafe { cast::handle_at(place) }?;
    if handle.is_null() {
        return Ok(());
    }
    let closing = N::table().get(handle)?;
    closing.turns().cancel_for_good(N::NAME)?;
    // SAFETY: the same contract.
    unsafe { N::table().release_at(place) }?;
    closing.turns().drop_live();
    Ok(())
}
