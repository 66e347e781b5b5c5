//! A mapped file that is cut while it is read, or whose disk fails: the system sends the signal
//! SIGBUS, and the command says so and ends with exit code 1 instead of dying by it.

use std::path::Path;

/// Names the files that are mapped from now on.
pub(crate) fn explain(files: &[&Path]) {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    sys::explain(format!(
        "error: {}: a mapped file cannot be read any more: it was cut or overwritten while it was in use, or its disk \
         failed. Replace model files by renaming, or read them into memory with --copy\n",
        names.join(", ")
    ));
}

#[cfg(unix)]
mod sys {
    use std::ffi::{c_int, c_void};
    use std::sync::OnceLock;

    /// `man 7 signal`: Linux and Android on x86 and Arm; macOS, iOS and the BSDs.
    const SIGBUS: c_int = if cfg!(any(target_os = "linux", target_os = "android")) { 7 } else { 10 };
    const STDERR: c_int = 2;

    unsafe extern "C" {
        fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
        fn write(descriptor: c_int, bytes: *const c_void, length: usize) -> isize;
        fn _exit(status: c_int) -> !;
    }

    /// What the handler says: made before, since a handler must not allocate.
    static MESSAGE: OnceLock<String> = OnceLock::new();

    pub(super) fn explain(message: String) {
        if MESSAGE.set(message).is_ok() {
            // SAFETY: `end` calls only what `man 7 signal-safety` lists, and reads what was set
            // before.
            unsafe { signal(SIGBUS, end) };
        }
    }

    /// On the thread that has read, whichever it is.
    extern "C" fn end(_: c_int) {
        let message = MESSAGE.get().map_or("", String::as_str);
        // SAFETY: the text lives as long as the process; both calls may be made in a handler.
        unsafe {
            write(STDERR, message.as_ptr().cast(), message.len());
            _exit(1)
        }
    }
}

#[cfg(not(unix))]
mod sys {
    pub(super) fn explain(_: String) {}
}
