//! `ollm-convert diff`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::diff;

use crate::output::{Outcome, Printed};

/// Show the differences of two GGUF files: keys, tensors, types, and the distance of the numbers
///
/// The exit status is 0 if nothing differs, 1 if something does, 2 if a file cannot be read.
/// Checksums are not compared.
#[derive(Args)]
pub(crate) struct DiffArgs {
    /// A file
    a: PathBuf,
    /// Another one
    b: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl DiffArgs {
    pub(crate) fn run(self) -> Outcome {
        let report = diff::diff(&self.a, &self.b)?;
        let text = if self.json { format!("{:#}\n", report.json()) } else { report.to_string() };
        Ok(Printed { text, good: report.is_same() })
    }
}
