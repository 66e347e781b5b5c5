//! `ollm-convert inspect`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::inspect;

use crate::output::Outcome;

/// Show what a GGUF file holds: metadata, tensors, sizes and, if it has one, the plugin
#[derive(Args)]
pub(crate) struct InspectArgs {
    /// A backbone, a plugin, or both in one
    file: PathBuf,
    /// Show the tensors alone
    #[arg(long)]
    tensors: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl InspectArgs {
    pub(crate) fn run(self) -> Outcome {
        let report = inspect::inspect(&self.file)?;
        let text = match (self.tensors, self.json) {
            (false, false) => report.to_string(),
            (true, false) => report.tensors().to_string(),
            (false, true) => format!("{:#}\n", report.json()),
            (true, true) => format!("{:#}\n", report.json()["tensors"]),
        };
        Ok(text.into())
    }
}
