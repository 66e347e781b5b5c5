//! Cancelling and duty cycle: a session can be cancelled from any thread, and made to rest a share
//! of the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Instant;

use super::error::SessionError;

/// Cancels the work of a session, from any thread.
///
/// The running call, or else the next call that computes, returns [`SessionError::Cancelled`]. It
/// is seen between layers, also during a long prefill. A cancelled session is consistent: it is at
/// its last complete position, and the next call continues from there.
#[derive(Clone, Debug, Default)]
pub struct Canceller(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    raised: AtomicBool,
    /// Held while the signal is raised, so that a sleeper does not miss it.
    lock: Mutex<()>,
    wake: Condvar,
}

impl Canceller {
    /// Cancels.
    pub fn cancel(&self) {
        let _guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.raised.store(true, Ordering::Release);
        self.0.wake.notify_all();
    }

    /// Takes back a cancellation that no call has seen yet: a stop that came after the end.
    pub fn withdraw(&self) {
        self.0.raised.store(false, Ordering::Release);
    }

    /// Whether a cancellation waits to be seen.
    pub fn is_cancelled(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }

    /// Whether both are the same signal.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Sleeps until `end`, or until cancelled.
    fn sleep_until(&self, end: Instant) {
        let mut guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_cancelled() {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else { return };
            guard = self.0.wake.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The longest rest: what is longer would never end either, and has no place in an [`Instant`].
const LONGEST_REST: Duration = Duration::from_secs(1 << 30);

/// When a session may compute.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) canceller: Canceller,
    /// Seconds of rest for each second of work.
    rest: f64,
    /// The end of the rest that the last work has earned.
    resume: Option<Instant>,
}

impl Pace {
    /// The pace of a fork: as this one, with a canceller of its own.
    pub(super) fn fork(&self) -> Self {
        Self { rest: self.rest, ..Self::default() }
    }

    /// The pace of a branch: cancelled, and resting, with this one.
    pub(super) fn branch(&self) -> Self {
        Self { canceller: self.canceller.clone(), rest: self.rest, resume: self.resume }
    }

    /// The pace of work that counts as this one's: cancelled with it, without a rest of its own.
    pub(super) fn helper(&self) -> Self {
        Self { canceller: self.canceller.clone(), ..Self::default() }
    }

    /// Sets the duty cycle: the largest share of time that work takes.
    pub(super) fn set_duty(&mut self, share: f32) -> Result<(), SessionError> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(SessionError::Duty);
        }
        self.rest = 1.0 / f64::from(share) - 1.0;
        self.resume = None;
        Ok(())
    }

    /// Waits until work may begin; gives when that is. A cancellation is seen here, once.
    pub(super) fn begin(&mut self) -> Result<Instant, SessionError> {
        if let Some(resume) = self.resume.take() {
            self.canceller.sleep_until(resume);
        }
        self.check()?;
        Ok(Instant::now())
    }

    /// Work that began at `begin` has ended.
    pub(super) fn end(&mut self, begin: Instant) {
        let rest = (begin.elapsed().as_secs_f64() * self.rest).min(LONGEST_REST.as_secs_f64());
        self.resume = (rest > 0.0).then(|| Instant::now() + Duration::from_secs_f64(rest));
    }

    /// Sees a cancellation, which is then over.
    pub(super) fn check(&mut self) -> Result<(), SessionError> {
        let raised = &self.canceller.0.raised;
        let cancelled = raised.load(Ordering::Relaxed) && raised.swap(false, Ordering::AcqRel);
        if cancelled { Err(SessionError::Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_is_seen_once_and_can_be_withdrawn() {
        let mut pace = Pace::default();
        pace.begin().unwrap();
        pace.canceller.clone().cancel();
        assert!(matches!(pace.begin(), Err(SessionError::Cancelled)));
        pace.begin().unwrap();
        pace.canceller.cancel();
        pace.canceller.withdraw();
        pace.begin().unwrap();
    }

    #[test]
    fn rest_is_taken_before_the_next_work_and_ends_with_a_cancellation() {
        let mut pace = Pace::default();
        pace.set_duty(0.25).unwrap();
        let begin = pace.begin().unwrap();
        std::thread::sleep(Duration::from_millis(5));
        pace.end(begin);
        let ended = Instant::now();
        pace.begin().unwrap();
        assert!(ended.elapsed() >= Duration::from_millis(14), "{:?}", ended.elapsed());

        for share in [1e-9, 1e-38, f32::from_bits(1)] {
            pace.set_duty(share).unwrap();
            pace.end(begin);
            let canceller = pace.canceller.clone();
            let other = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                canceller.cancel();
            });
            let resting = Instant::now();
            assert!(matches!(pace.begin(), Err(SessionError::Cancelled)), "{share}");
            assert!(resting.elapsed() >= Duration::from_millis(15), "{share}: no rest");
            other.join().unwrap();
        }
    }

    #[test]
    fn a_share_is_a_share() {
        for share in [0.0, -0.5, 1.01, f32::NAN] {
            assert!(matches!(Pace::default().set_duty(share), Err(SessionError::Duty)));
        }
    }
}
