//! `ollm-convert imatrix`.

use std::path::PathBuf;

use clap::Args;
use ollm_console::progress::count_bar;
use ollm_convert::imatrix;

use crate::output::Outcome;

/// Write the importance matrix of a model: the mean squared inputs of its matrices on a text
#[derive(Args)]
pub(crate) struct ImatrixArgs {
    /// A backbone (GGUF), best the one that is to be quantized
    model: PathBuf,
    /// The text: some ten thousand words like those that the model will read and write
    #[arg(short = 'f', long = "file", value_name = "TEXT")]
    text: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    output: PathBuf,
    /// Replace the output, if it exists
    #[arg(long)]
    force: bool,
}

impl ImatrixArgs {
    pub(crate) fn run(self) -> Outcome {
        let progress = count_bar("imatrix", 0, "tokens");
        let summary = imatrix::gather(&self.model, &self.text, &self.output, self.force, &progress)?;
        Ok(format!("{summary}wrote {}\n", self.output.display()).into())
    }
}
