//! The `ollm-convert` command: imports, makes, checks, merges, quantizes and packs OLLM files.

mod diff;
mod imatrix;
mod import;
mod inspect;
mod manual;
mod merge;
mod output;
mod pack;
mod plugin;
mod quantize;
mod rules;
mod split;
mod synth;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use output::{Outcome, Printed};

/// Imports, makes, checks, merges, quantizes and packs OLLM files (GGUF); makes files to time with.
///
/// Every input is checked before anything is written, and an output appears whole or not at all. Where an output has no name,
/// or that of a folder, it is called by the naming convention: BaseName-SizeLabel-FineTune-Version-Encoding-Type.gguf. The exit
/// status is 0, 1 if something is wrong with a file, or 2 if something is wrong with the command line.
#[derive(Parser)]
#[command(name = "ollm-convert", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Plugin(plugin::PluginArgs),
    Inspect(inspect::InspectArgs),
    Verify(verify::VerifyArgs),
    Diff(diff::DiffArgs),
    Merge(merge::MergeArgs),
    Split(split::SplitArgs),
    Pack(pack::PackArgs),
    Unpack(pack::UnpackArgs),
    Quantize(quantize::QuantizeArgs),
    Import(import::ImportArgs),
    Imatrix(imatrix::ImatrixArgs),
    Synth(synth::SynthArgs),
    Manual(manual::ManualArgs),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let trouble = if matches!(command, Command::Diff(_)) { ExitCode::from(2) } else { ExitCode::FAILURE };
    match run(command) {
        Ok(Printed { text, good }) => output::print(&text, good),
        Err(error) => {
            eprintln!("error: {error}");
            trouble
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Plugin(args) => args.run(),
        Command::Inspect(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Diff(args) => args.run(),
        Command::Merge(args) => args.run(),
        Command::Split(args) => args.run(),
        Command::Pack(args) => args.run(),
        Command::Unpack(args) => args.run(),
        Command::Quantize(args) => args.run(),
        Command::Import(args) => args.run(),
        Command::Imatrix(args) => args.run(),
        Command::Synth(args) => args.run(),
        Command::Manual(args) => args.run(Arguments::command()),
    }
}
