//! Whether a connection waits for its client, and for how long: then another may have its place.

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
    /// Those of them whose body has not come yet.
    bodies: usize,
    /// Whether the client does not take what is written.
    blocked: bool,
    /// Since when it is in this state.
    since: Instant,
}

impl State {
    /// Whether no request is there that could be answered.
    const fn asks(&self) -> bool {
        self.requests == self.bodies
    }
}

impl Default for ConnectionActivity {
    fn default() -> Self {
        Self(Mutex::new(State { requests: 0, bodies: 0, blocked: false, since: Instant::now() }))
    }
}

impl ConnectionActivity {
    /// Whether it waits for its client, and has done so for so long: for a request, for the body of
    /// one, or for the client to take what is written.
    pub(crate) fn waits(&self, long: Duration) -> bool {
        self.read(|state| (state.asks() || state.blocked) && state.since.elapsed() >= long)
    }

    /// Whether it waits for a request, or for the body of one, and has done so for so long.
    pub(crate) fn asks(&self, long: Duration) -> bool {
        self.read(|state| state.asks() && state.since.elapsed() >= long)
    }

    /// Notes whether the client does not take what is written.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.read(|state| {
            if state.blocked != blocked {
                (state.blocked, state.since) = (blocked, Instant::now());
            }
        });
    }

    fn read<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        // What was poisoned is a few numbers all the same.
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The body of a request that is on its way, until this is dropped. Pieces that come do not make
/// the wait a new one: a client that sends one byte now and then waits as long as one that sends
/// none.
#[derive(Debug)]
pub(crate) struct BodyGuard(Arc<ConnectionActivity>);

impl BodyGuard {
    pub(crate) fn new(of: &Arc<ConnectionActivity>) -> Self {
        of.read(|state| (state.bodies, state.since) = (state.bodies + 1, Instant::now()));
        Self(Arc::clone(of))
    }
}

impl Drop for BodyGuard {
    fn drop(&mut self) {
        self.0.read(|state| (state.bodies, state.since) = (state.bodies - 1, Instant::now()));
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
    fn a_connection_waits_for_requests_bodies_and_readers() {
        let of = Arc::new(ConnectionActivity::default());
        let waits = || {
            assert!(!of.waits(Duration::from_mins(1)));
            of.waits(Duration::ZERO)
        };
        assert!(waits());
        let (first, second) = (RequestGuard::new(&of), RequestGuard::new(&of));
        drop(first);
        assert!(!waits());
        let body = BodyGuard::new(&of);
        assert!(waits());
        drop(body);
        assert!(!waits());
        of.set_blocked(true);
        assert!(waits() && !of.asks(Duration::ZERO));
        of.set_blocked(false);
        assert!(!waits());
        drop(second);
        assert!(waits() && of.asks(Duration::ZERO));
    }
}
