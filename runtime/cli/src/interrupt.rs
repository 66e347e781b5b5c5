//! Ctrl-C while a model answers: it ends the answer, not the program. A second one, before the
//! first is seen, ends the program; so does one where no answer is on its way.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use ollm_runtime::session::Canceller;

/// The answer that Ctrl-C ends, if one is on its way.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<Mutex<Option<Canceller>>>);

impl Interrupt {
    /// Takes Ctrl-C from now on.
    pub(crate) fn install() -> io::Result<Self> {
        let interrupt = Self::default();
        let own = interrupt.clone();
        sys::on_interrupt(move || own.interrupt())?;
        Ok(interrupt)
    }

    /// Runs `work`, which Ctrl-C cancels.
    pub(crate) fn around<T>(&self, canceller: &Canceller, work: impl FnOnce() -> T) -> T {
        self.set(Some(canceller.clone()));
        let outcome = work();
        self.set(None);
        // One that came after the end is not for the next answer.
        canceller.withdraw();
        outcome
    }

    fn set(&self, canceller: Option<Canceller>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = canceller;
    }

    fn interrupt(&self) {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(canceller) if !canceller.is_cancelled() => canceller.cancel(),
            _ => std::process::exit(130),
        }
    }
}

#[cfg(unix)]
mod sys {
    use std::ffi::{c_int, c_void};
    use std::io::{self, Read as _};
    use std::os::fd::IntoRawFd as _;
    use std::sync::atomic::{AtomicI32, Ordering};

    /// `man 7 signal`.
    const SIGINT: c_int = 2;

    unsafe extern "C" {
        fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
        fn write(descriptor: c_int, bytes: *const c_void, length: usize) -> isize;
    }

    /// The pipe that the handler writes to.
    static PIPE: AtomicI32 = AtomicI32::new(-1);

    /// Calls `act` on a thread of its own at each interrupt.
    pub(super) fn on_interrupt(act: impl Fn() + Send + 'static) -> io::Result<()> {
        let (mut reader, writer) = io::pipe()?;
        PIPE.store(writer.into_raw_fd(), Ordering::Relaxed);
        std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
            while reader.read_exact(&mut [0]).is_ok() {
                act();
            }
        })?;
        // SAFETY: `tell` calls only what `man 7 signal-safety` lists, and reads an atomic that was
        // set before.
        unsafe { signal(SIGINT, tell) };
        Ok(())
    }

    extern "C" fn tell(_: c_int) {
        // SAFETY: one byte that is there is written to a pipe that stays open; the call may be made
        // in a handler.
        unsafe { write(PIPE.load(Ordering::Relaxed), [0_u8].as_ptr().cast(), 1) };
    }
}

#[cfg(windows)]
mod sys {
    use std::io;
    use std::sync::OnceLock;

    /// Ctrl-C among the events of a console.
    const CTRL_C_EVENT: u32 = 0;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn SetConsoleCtrlHandler(handler: extern "system" fn(u32) -> i32, add: i32) -> i32;
    }

    type Act = Box<dyn Fn() + Send + Sync>;
    static ACT: OnceLock<Act> = OnceLock::new();

    /// Calls `act` at each interrupt, on a thread that the system starts for it.
    pub(super) fn on_interrupt(act: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
        if ACT.set(Box::new(act)).is_err() {
            return Ok(());
        }
        // SAFETY: the handler lives as long as the process, and may be called on any thread.
        if unsafe { SetConsoleCtrlHandler(tell, 1) } == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether the event is dealt with: others end the program.
    extern "system" fn tell(event: u32) -> i32 {
        match ACT.get() {
            Some(act) if event == CTRL_C_EVENT => {
                act();
                1
            }
            _ => 0,
        }
    }
}

#[cfg(not(any(unix, windows)))]
mod sys {
    pub(super) fn on_interrupt(_: impl Fn() + Send + 'static) -> std::io::Result<()> {
        Ok(())
    }
}
