//! `ollm-convert split`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::split;

use crate::output::{Outcome, wrote};

/// Take the plugin, and the backbone, out of a merged file
#[derive(Args)]
pub(crate) struct SplitArgs {
    /// The merged file
    merged: PathBuf,
    /// The plugin file to write
    #[arg(short, long, value_name = "PLUGIN.gguf")]
    output: PathBuf,
    /// A file to write the backbone to
    #[arg(long, value_name = "FILE.gguf")]
    backbone: Option<PathBuf>,
    /// Replace the outputs, if they exist
    #[arg(long)]
    force: bool,
}

impl SplitArgs {
    pub(crate) fn run(self) -> Outcome {
        let summary = split::split(&self.merged, &self.output, self.backbone.as_deref(), self.force)?;
        let backbone = self.backbone.map_or_else(String::new, |path| wrote(&"", &path));
        Ok((wrote(&summary, &self.output) + &backbone).into())
    }
}
