//! Signals of the application are not for threads of the library: a handler would run on a stack
//! and at a place that the application does not know of.

/// Runs `work`; threads that it starts block all signals, but for those that a fault of their own
/// raises (SIGSEGV and so on).
pub fn blocked<T>(work: impl FnOnce() -> T) -> T {
    let blocked = sys::Blocked::new();
    let made = work();
    drop(blocked);
    made
}

/// Runs `work` on a thread of its own, with this much stack; the inner error is its panic. Bare
/// WebAssembly has no threads: there it is the caller's stack, whose end the host sees as a trap.
///
/// # Errors
/// What the system says if it has no such thread.
pub fn with_stack<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> std::io::Result<std::thread::Result<T>> {
    if cfg!(all(target_family = "wasm", target_os = "unknown")) {
        return Ok(Ok(work()));
    }
    std::thread::scope(|scope| {
        let start = || std::thread::Builder::new().stack_size(bytes).spawn_scoped(scope, work);
        Ok(blocked(start)?.join())
    })
}

#[cfg(unix)]
mod sys {
    use std::ffi::c_int;

    /// At least as large as `sigset_t` of any system (128 bytes on Linux).
    #[derive(Clone, Copy)]
    #[repr(C, align(16))]
    struct SignalSet {
        _bits: [u8; 128],
    }

    /// `SIG_SETMASK`: `man 3 pthread_sigmask`.
    const SET: c_int = if cfg!(any(target_os = "linux", target_os = "android")) { 2 } else { 3 };

    /// SIGILL, SIGTRAP, SIGFPE, SIGSEGV: the same numbers everywhere. SIGBUS is not. They come from
    /// what the thread itself has done, and end the process where they are blocked.
    const FAULTS: [c_int; 5] =
        [4, 5, 8, 11, if cfg!(any(target_os = "linux", target_os = "android")) { 7 } else { 10 }];

    unsafe extern "C" {
        fn sigfillset(set: *mut SignalSet) -> c_int;
        fn sigdelset(set: *mut SignalSet, signal: c_int) -> c_int;
        fn pthread_sigmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    }

    /// The calling thread blocks signals, which new threads inherit, until this is dropped.
    pub(super) struct Blocked(SignalSet);

    impl Blocked {
        pub(super) fn new() -> Self {
            let empty = SignalSet { _bits: [0; 128] };
            let (mut all, mut before) = (empty, empty);
            // SAFETY: both sets have room for the system's; the signals exist.
            unsafe {
                sigfillset(&raw mut all);
                for signal in FAULTS {
                    sigdelset(&raw mut all, signal);
                }
                pthread_sigmask(SET, &raw const all, &raw mut before);
            }
            Self(before)
        }
    }

    impl Drop for Blocked {
        fn drop(&mut self) {
            // SAFETY: the set is the one that the thread had.
            unsafe { pthread_sigmask(SET, &raw const self.0, std::ptr::null_mut()) };
        }
    }
}

#[cfg(not(unix))]
mod sys {
    pub(super) struct Blocked;

    impl Blocked {
        pub(super) fn new() -> Self {
            Self
        }
    }
}
