//! Standard output.

use std::fmt::Display;
use std::io::{self, Write};

use ollm_train::{Error, Result};
use serde::Serialize;

use crate::world;

/// Prints all of `text`, in one of the run's processes. A reader that has seen enough (`| head`) is
/// no error.
pub(crate) fn print(text: impl Display) -> Result<()> {
    if !world::ranks().is_root() {
        return Ok(());
    }
    print_to(&mut io::stdout().lock(), text)
}

fn print_to(out: &mut impl Write, text: impl Display) -> Result<()> {
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Io { path: "standard output".into(), source })
        }
        _ => Ok(()),
    }
}

/// Prints a report, as JSON or as people read it.
pub(crate) fn report(report: &(impl Serialize + Display), json: bool) -> Result<()> {
    if json {
        let text = serde_json::to_string_pretty(report).expect("a report of numbers");
        return print(text + "\n");
    }
    print(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place that cannot be written to.
    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_none() {
        let full = print_to(&mut Refusing(io::ErrorKind::StorageFull), "x");
        assert!(matches!(&full, Err(error) if error.to_string().contains("standard output")), "{full:?}");
        print_to(&mut Refusing(io::ErrorKind::BrokenPipe), "x").unwrap();
    }
}
