//! Work as a coroutine: on a thread of its own, which runs only while the engine waits for it.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use ollm_runtime::session::{Session, SessionError};

use super::job::Work;

/// Work that has begun. When this is dropped, its next pause is its last.
pub(super) struct Coroutine {
    resume: SyncSender<()>,
    /// Hears of each pause; closed where the work has ended.
    paused: Receiver<()>,
}

impl Coroutine {
    /// Begins work; nothing of it is done yet.
    ///
    /// # Errors
    /// The system has no thread for it; the request is told.
    pub(super) fn start(session: Session, work: Box<dyn Work>) -> Result<Self, SessionError> {
        let (resume, resumed) = sync_channel::<()>(0);
        let (pause, paused) = sync_channel(0);
        let run = move || {
            let goes_on = || resumed.recv().is_ok();
            if goes_on() {
                work.run(Ok(session), &mut || pause.send(()).is_ok() && goes_on());
            }
        };
        let started: io::Result<_> = thread::Builder::new().name("work".to_owned()).spawn(run);
        // It ends by itself: nobody joins it.
        started.map(|_| Self { resume, paused }).map_err(SessionError::Threads)
    }

    /// Takes it to its next pause; whether it goes on from there.
    pub(super) fn step(&self) -> bool {
        self.resume.send(()).is_ok() && self.paused.recv().is_ok()
    }
}
