//! Whether a connection is in use: something was asked that is not answered to the end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, SizeHint};

/// The use of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionActivity(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Requests that are being answered.
    requests: usize,
    /// When the last answer was given, or the connection was made.
    since: Instant,
}

impl Default for ConnectionActivity {
    fn default() -> Self {
        Self(Mutex::new(State { requests: 0, since: Instant::now() }))
    }
}

impl ConnectionActivity {
    /// Whether nothing is being answered, and has not been for so long.
    pub(crate) fn is_idle(&self, long: Duration) -> bool {
        self.read(|state| state.requests == 0 && state.since.elapsed() >= long)
    }

    fn read<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        // What was poisoned is two numbers all the same.
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(crate) struct RequestGuard(Arc<ConnectionActivity>);

impl RequestGuard {
    pub(crate) fn new(of: &Arc<ConnectionActivity>) -> Self {
        of.read(|state| state.requests += 1);
        Self(Arc::clone(of))
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.read(|state| {
            state.requests -= 1;
            state.since = Instant::now();
        });
    }
}

/// The body of an answer; until it is gone the connection is in use.
pub(crate) struct GuardedBody<B> {
    body: B,
    _guard: RequestGuard,
}

impl<B> GuardedBody<B> {
    pub(crate) fn new(body: B, busy: RequestGuard) -> Self {
        Self { body, _guard: busy }
    }
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_idle_when_all_is_answered() {
        let of = Arc::new(ConnectionActivity::default());
        assert!(of.is_idle(Duration::ZERO) && !of.is_idle(Duration::from_mins(1)));
        let (first, second) = (RequestGuard::new(&of), RequestGuard::new(&of));
        drop(first);
        assert!(!of.is_idle(Duration::ZERO));
        drop(second);
        assert!(of.is_idle(Duration::ZERO) && !of.is_idle(Duration::from_mins(1)));
    }
}
