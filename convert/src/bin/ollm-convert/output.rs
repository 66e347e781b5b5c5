//! What a command prints, and whether all is well.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use ollm_convert::{ConvertError, names};

/// What a command has to print.
pub(crate) struct Printed {
    pub(crate) text: String,
    /// Whether the exit status is 0.
    pub(crate) good: bool,
}

/// How a command ends.
pub(crate) type Outcome = Result<Printed, ConvertError>;

impl From<String> for Printed {
    /// All is well.
    fn from(text: String) -> Self {
        Self { text, good: true }
    }
}

/// What was written, where, and whether the name fits.
pub(crate) fn wrote(summary: &impl Display, output: &Path) -> String {
    let note = names::note(output).map_or_else(String::new, |note| format!("note: {note}\n"));
    format!("{summary}{note}wrote {}\n", output.display())
}

/// Prints all of `text`. A reader that has seen enough (`| head`) is no error.
pub(crate) fn print(text: &str, good: bool) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(std::io::stderr(), "error: cannot print: {error}");
            ExitCode::FAILURE
        }
        _ if good => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
