//! `ollm-convert merge`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::merge;

use crate::output::{Outcome, wrote};

/// Put a backbone and its plugin into one file
///
/// Refuses a plugin that was trained on another backbone.
#[derive(Args)]
pub(crate) struct MergeArgs {
    /// The backbone (GGUF)
    backbone: PathBuf,
    /// The plugin file
    plugin: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    output: PathBuf,
    /// Replace the output, if it exists
    #[arg(long)]
    force: bool,
}

impl MergeArgs {
    pub(crate) fn run(self) -> Outcome {
        let summary = merge::merge(&self.backbone, &self.plugin, &self.output, self.force)?;
        Ok(wrote(&summary, &self.output).into())
    }
}
