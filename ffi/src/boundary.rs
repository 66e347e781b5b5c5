//! The FFI boundary: panics are caught here. Every function of the C API that can fail runs inside
//! [`guard`].

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Once, OnceLock};

use ollm_runtime::cpu::StandardFloatMode;

use crate::status::{CallFailure, OllmStatus, Result, note};

thread_local! {
    /// How many calls of the C API are on this thread's stack; more than one if a callback called
    /// back.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs the body of a function of the C API: a failure becomes a status and the thread's last
/// error, a panic `OLLM_INTERNAL`.
pub(crate) fn guard(work: impl FnOnce() -> Result<()>) -> OllmStatus {
    silence_panics();
    // Last to go: the modes of the host are back when the host is.
    let _modes = StandardFloatMode::enter();
    let entered = Entered::new();
    let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(&*panic)));
    drop(entered);
    note(outcome)
}

/// Whether the current thread is inside a callback of this library, and so must not wait for
/// another call to end. Valid inside [`guard`].
pub(crate) fn in_callback() -> bool {
    DEPTH.get() > 1
}

struct Entered;

impl Entered {
    fn new() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

fn panicked(panic: &(dyn Any + Send)) -> CallFailure {
    let reason = panic.downcast_ref::<String>().map(String::as_str);
    let reason = reason.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
    CallFailure::new(OllmStatus::Internal, format!("this is a bug in ollm, please report it: {reason}"))
}

/// Panics of this library are reported, and do not go to stderr. Where the library is linked into a
/// Rust program, the panics of that program go where they went before.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| if is_ours() { report(info) } else { others(info) }));
    });
}

/// Whether the current thread is in a call of ours, or is a worker of ours.
fn is_ours() -> bool {
    let worker = || std::thread::current().name().is_some_and(|name| name.starts_with("ollm-"));
    DEPTH.try_with(|depth| depth.get() > 0).unwrap_or(false) || worker()
}

/// Takes the text of a panic, if somebody listens.
pub(crate) type PanicSink = fn(&dyn Fn() -> String);

static SINK: OnceLock<PanicSink> = OnceLock::new();

/// Tells `sink` of each panic of the library from now on. Until then nobody listens.
pub(crate) fn report_panics_to(sink: PanicSink) {
    SINK.get_or_init(|| sink);
}

fn report(info: &PanicHookInfo<'_>) {
    if let Some(sink) = SINK.get() {
        sink(&|| info.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::last_error;

    #[test]
    fn a_panic_is_a_status() {
        let status = guard(|| panic!("seven {}", 7));
        assert_eq!(status, OllmStatus::Internal);
        assert!(last_error().contains("seven 7"), "{}", last_error());
    }

    #[test]
    fn calls_inside_calls_are_seen() {
        let mut inner = false;
        let status = guard(|| {
            assert!(!in_callback());
            guard(|| {
                inner = in_callback();
                Ok(())
            });
            Ok(())
        });
        assert_eq!((status, inner), (OllmStatus::Ok, true));
    }

    #[test]
    fn success_leaves_the_last_error() {
        guard(|| Err(CallFailure::argument("first")));
        guard(|| Ok(()));
        assert_eq!(last_error(), "first");
    }
}
