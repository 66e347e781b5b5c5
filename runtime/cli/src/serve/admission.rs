//! Which requests are taken on: how many wait, how many are read at once, and for how long.
//!
//! A request has a [`Place`] from the time that its body is there until the engine has begun all of
//! it. What takes longer than a moment before that runs on threads of a [`Lane`]: reading in one,
//! compiling grammars in another, so that those who want no grammar never wait for one. Whoever
//! goes away while waiting for a thread never gets it.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;

type Result<T> = std::result::Result<T, ApiError>;

/// Threads that read requests, and those that compile grammars.
const READERS: usize = 4;
const COMPILERS: usize = 2;

/// Threads of both.
pub(crate) const THREADS: usize = READERS + COMPILERS;

/// Requests whose grammars are compiled or wait for it, at most.
const MAX_GRAMMARS: usize = 64;

/// A place among the requests that wait.
pub(crate) type Place = OwnedSemaphorePermit;

/// Takes requests on.
pub(crate) struct Admission {
    queue: Arc<Semaphore>,
    /// Requests that wait at most.
    most: usize,
    pub(crate) readers: Lane,
    pub(crate) compilers: Lane,
}

impl Admission {
    /// At most so many requests wait, and each is read and compiled within `patience`.
    pub(crate) fn new(most: usize, patience: Duration) -> Self {
        Self {
            queue: Arc::new(Semaphore::new(most)),
            most,
            readers: Lane::new(READERS, most, patience),
            compilers: Lane::new(COMPILERS, MAX_GRAMMARS, patience),
        }
    }

    /// A place for a request, unless too many wait.
    pub(crate) fn admit(&self) -> Result<Place> {
        Arc::clone(&self.queue).try_acquire_owned().map_err(|_| too_many())
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.most - self.queue.available_permits()
    }
}

/// Threads for one kind of work.
pub(crate) struct Lane {
    threads: Arc<Semaphore>,
    /// For those that have a thread, and those that wait for one.
    places: Semaphore,
    patience: Duration,
}

/// Tells work whether anybody still waits for it.
pub(crate) struct Waiter(oneshot::Sender<()>);

impl Waiter {
    /// That somebody waits.
    pub(crate) fn check(&self) -> Result<()> {
        // Nobody reads the error.
        if self.0.is_closed() { Err(late()) } else { Ok(()) }
    }
}

impl Lane {
    fn new(threads: usize, places: usize, patience: Duration) -> Self {
        Self { threads: Arc::new(Semaphore::new(threads)), places: Semaphore::new(places), patience }
    }

    /// Does work on a thread, unless too many wait. Work that is late goes on to its next
    /// [`Waiter::check`]: until then the thread is taken.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Waiter) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _place = self.places.try_acquire().map_err(|_| too_many())?;
        let deadline = Instant::now() + self.patience;
        let thread = timeout_at(deadline, Arc::clone(&self.threads).acquire_owned()).await;
        let thread = thread.map_err(|_| late())?.map_err(|_| ApiError::ending())?;
        // Closed when this future is dropped: the client has gone, or its time is over.
        let (waiter, _waits) = oneshot::channel();
        let task = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            work(&Waiter(waiter))
        });
        let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request made the server fail");
        timeout_at(deadline, task).await.map_err(|_| late())?.map_err(failed)?
    }
}

fn too_many() -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too many requests wait: try again later").with_code("queue_full")
}

fn late() -> ApiError {
    let message = "the request could not be read, or its grammar not compiled, within --timeout";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).with_code("timeout")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(THREADS).build().unwrap()
    }

    /// A lane of one thread and two places, whose thread works until the sender is dropped.
    fn busy() -> (Arc<Lane>, std::sync::mpsc::Sender<()>, tokio::task::JoinHandle<Result<()>>) {
        let lane = Arc::new(Lane::new(1, 2, Duration::from_mins(1)));
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let shared = Arc::clone(&lane);
        let work = tokio::spawn(async move {
            let until = move |_: &Waiter| {
                let _ = ended.recv();
                Ok(())
            };
            shared.run(until).await
        });
        (lane, end, work)
    }

    #[test]
    fn whoever_goes_away_while_waiting_never_runs() {
        runtime().block_on(async {
            let (lane, end, first) = busy();
            tokio::task::yield_now().await;
            let ran = Arc::new(Semaphore::new(0));
            let (shared, note) = (Arc::clone(&lane), Arc::clone(&ran));
            let second = tokio::spawn(async move {
                let work = move |_: &Waiter| {
                    note.add_permits(1);
                    Ok(())
                };
                shared.run(work).await
            });
            tokio::task::yield_now().await;
            assert_eq!(lane.run(|_| Ok(())).await.unwrap_err().status, StatusCode::TOO_MANY_REQUESTS);
            second.abort();
            assert!(second.await.unwrap_err().is_cancelled());
            drop(end);
            assert_eq!(first.await.unwrap(), Ok(()));
            assert_eq!(lane.run(|_| Ok(7)).await, Ok(7));
            assert_eq!(ran.available_permits(), 0);
        });
    }

    #[test]
    fn work_hears_that_nobody_waits() {
        runtime().block_on(async {
            let lane = Lane::new(1, 1, Duration::from_millis(1));
            let (told, heard) = std::sync::mpsc::channel();
            let work = move |waiter: &Waiter| {
                while waiter.check().is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                told.send(()).unwrap();
                Ok(())
            };
            assert_eq!(lane.run(work).await.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
            heard.recv_timeout(Duration::from_mins(1)).unwrap();
        });
    }
}
