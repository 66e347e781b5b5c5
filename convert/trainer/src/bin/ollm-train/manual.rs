//! `ollm-train manual`.

use std::path::PathBuf;

use clap::{Args, Command};
use ollm_train::{Error, Result};

#[derive(Debug, Args)]
pub(crate) struct ManualFolder {
    /// The folder
    folder: PathBuf,
}

pub(crate) fn run(args: &ManualFolder, command: Command) -> Result<()> {
    ollm_convert::manual::write(command, &args.folder).map_err(Error::io(&args.folder))
}
