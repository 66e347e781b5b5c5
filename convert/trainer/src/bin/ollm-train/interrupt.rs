//! Ctrl-C: the first one ends a run where it can be resumed, the second one at once.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ollm_train::{Error, Result, interrupt};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::world;

/// The exit code of a process that Ctrl-C has ended: 128 and the number of the signal.
pub(crate) const EXIT_CODE: u8 = 130;

/// Takes notice of SIGINT and SIGTERM from now on.
pub(crate) fn watch() -> Result<()> {
    let requested = interrupt::flag();
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset, and the second one ends us.
        flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&requested))
            .and_then(|_| flag::register(signal, Arc::clone(&requested)))
            .map_err(|source| Error::Io { path: "signal handler".into(), source })?;
    }
    // All ranks hear the signal; one says so.
    if !world::ranks().is_root() {
        return Ok(());
    }
    // A step may take long, and no handler may print.
    thread::spawn(|| {
        while !interrupt::is_requested() {
            thread::sleep(Duration::from_millis(50));
        }
        let _ =
            writeln!(io::stderr(), "\ninterrupted: ending this step and keeping what is done; once more ends at once");
    });
    Ok(())
}
