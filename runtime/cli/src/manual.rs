//! The manual: man pages and shell completions, made from the definition of the command line.

use std::io;
use std::path::Path;

use clap::{Command, ValueEnum as _};
use clap_complete::Shell;
use ollm_runtime::Error;

use crate::args::ManualArgs;
use crate::command_line;
use crate::failure::Result;

pub(crate) fn run(args: &ManualArgs) -> Result<()> {
    let io = |source| Error::Io { path: args.folder.clone(), source };
    Ok(write(command_line::command(), &args.folder).map_err(io)?)
}

/// Writes into `folder` the man page of the command and of each of its subcommands, and completions
/// for each shell.
fn write(mut command: Command, folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(command.clone(), folder)?;
    let name = command.get_name().to_owned();
    let mut complete = |shell: &Shell| clap_complete::generate_to(*shell, &mut command, &name, folder).map(drop);
    Shell::value_variants().iter().try_for_each(&mut complete)
}
