//! `ollm-convert manual`.

use std::path::PathBuf;

use clap::{Args, Command};
use ollm_convert::{ConvertError, manual};

use crate::output::Outcome;

/// Write man pages and shell completions into a folder
#[derive(Args)]
pub(crate) struct ManualCommand {
    /// The folder
    folder: PathBuf,
}

impl ManualCommand {
    pub(crate) fn run(self, command: Command) -> Outcome {
        let io = |source| ConvertError::from(ollm_runtime::Error::Io { path: self.folder.clone(), source });
        manual::write(command, &self.folder).map_err(io)?;
        Ok(String::new().into())
    }
}
