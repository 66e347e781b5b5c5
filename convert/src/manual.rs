//! The manual of a command: man pages and shell completions, made from its definition.

use std::io;
use std::path::Path;

use clap::{Command, ValueEnum as _};
use clap_complete::Shell;

/// Writes into `folder` the man page of the command and of each of its subcommands, and completions
/// for each shell.
///
/// # Errors
/// If a file cannot be written.
pub fn write(mut command: Command, folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(command.clone(), folder)?;
    let name = command.get_name().to_owned();
    let mut complete = |shell: &Shell| clap_complete::generate_to(*shell, &mut command, &name, folder).map(drop);
    Shell::value_variants().iter().try_for_each(&mut complete)
}
