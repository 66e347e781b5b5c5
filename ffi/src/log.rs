//! Logging: to a callback of yours, and silent by default. The library never writes to stdout or
//! stderr.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::{PoisonError, RwLock};

use crate::boundary::{guard, report_panics_to};
use crate::cast::User;
use crate::status::{CallFailure, OllmStatus};

/// How much a message matters. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OllmLogLevel {
    /// A bug in the library: the call that it happened in returns `OLLM_INTERNAL`.
    Error = 0,
    /// Something is not as it should be, and works all the same.
    Warning = 1,
    /// What was loaded and made.
    Info = 2,
}

/// Takes a message: UTF-8 of `length` bytes, which is gone when the callback returns. It may be
/// called on any thread and on several at once, and must not throw or longjmp. Since 0.1.0.
pub type OllmLogFn =
    Option<unsafe extern "C" fn(user: *mut c_void, level: OllmLogLevel, text: *const c_char, length: usize)>;

#[derive(Clone, Copy)]
struct Logger {
    callback: unsafe extern "C" fn(*mut c_void, OllmLogLevel, *const c_char, usize),
    user: User,
}

static LOGGER: RwLock<Option<Logger>> = RwLock::new(None);

thread_local! {
    /// Whether this thread is in the log callback, which must not log.
    static LOGGING: Cell<bool> = const { Cell::new(false) };
}

/// Sends messages of the whole library to `callback`, with `user` as its first argument; NULL ends
/// that. When the call returns, the callback that was set before is not running any more, and
/// `user` of that time may go.
///
/// Any thread. Statuses: `OLLM_BUSY` inside the log callback. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_set_log(callback: OllmLogFn, user: *mut c_void) -> OllmStatus {
    guard(|| {
        if LOGGING.get() {
            return Err(CallFailure::new(OllmStatus::Busy, "the log callback cannot replace itself"));
        }
        let logger = callback.map(|callback| Logger { callback, user: User(user) });
        *LOGGER.write().unwrap_or_else(PoisonError::into_inner) = logger;
        report_panics_to(|text| write(OllmLogLevel::Error, text));
        Ok(())
    })
}

/// Sends a message, if anyone listens.
pub(crate) fn write(level: OllmLogLevel, text: impl FnOnce() -> String) {
    // What a callback causes is not logged, and must not wait here: a thread that replaces the
    // callback waits for it.
    if LOGGING.get() {
        return;
    }
    // The lock is held during the callback, so that `ollm_set_log` waits for it.
    let logger = LOGGER.read().unwrap_or_else(PoisonError::into_inner);
    let Some(Logger { callback, user }) = *logger else { return };
    let text = text();
    LOGGING.set(true);
    // SAFETY: the callback and `user` are what `ollm_set_log` was given: valid until replaced,
    // which waits for the lock.
    unsafe { callback(user.0, level, text.as_ptr().cast(), text.len()) };
    LOGGING.set(false);
}
