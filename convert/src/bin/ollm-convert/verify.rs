//! `ollm-convert verify`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::verify;

use crate::output::{Outcome, Printed};

/// Check a GGUF file by every rule: format, keys, numbers, checksums, tokenizer, plugin, layouts
///
/// Lists all that is wrong; the exit status is 1 if anything is.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// A backbone, a plugin, or both in one
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl VerifyArgs {
    pub(crate) fn run(self) -> Outcome {
        let report = verify::verify(&self.file)?;
        let text = if self.json { format!("{:#}\n", report.json()) } else { report.to_string() };
        Ok(Printed { text, good: report.is_good() })
    }
}
