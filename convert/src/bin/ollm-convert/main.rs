//! The `ollm-convert` command: imports, makes, checks, merges, quantizes and packs OLLM files.

mod adapter;
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
mod set_metadata;
mod shard;
mod split;
mod synth;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use output::{Outcome, Printed};

/// Imports, makes, checks, merges, quantizes and packs OLLM files (GGUF); makes files to time with.
///
/// Every input is checked before anything is written, and an output appears whole or not at all.
/// Where an output has no name, or that of a folder, it is called by the naming convention:
/// BaseName-SizeLabel-FineTune-Version-Encoding-Type.gguf. The exit status is 0, 1 if something is
/// wrong with a file, or 2 if something is wrong with the command line.
#[derive(Parser)]
#[command(name = "ollm-convert", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: ConvertCommand,
}

#[derive(Subcommand)]
enum ConvertCommand {
    Plugin(plugin::PluginArgs),
    Adapter(adapter::AdapterArgs),
    Inspect(inspect::InspectArgs),
    Verify(verify::VerifyArgs),
    Diff(diff::DiffArgs),
    Merge(merge::MergeArgs),
    Split(split::SplitArgs),
    Pack(pack::PackArgs),
    Unpack(pack::UnpackArgs),
    Shard(shard::ShardArgs),
    Join(shard::JoinArgs),
    SetMetadata(set_metadata::SetMetadataArgs),
    Quantize(quantize::QuantizeArgs),
    Import(import::ImportArgs),
    Imatrix(imatrix::ImatrixArgs),
    Synth(synth::SynthArgs),
    Manual(manual::ManualCommand),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let trouble = if matches!(command, ConvertCommand::Diff(_)) { ExitCode::from(2) } else { ExitCode::FAILURE };
    match run(command) {
        Ok(Printed { text, good }) => output::print(&text, good),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            trouble
        }
    }
}

fn run(command: ConvertCommand) -> Outcome {
    match command {
        ConvertCommand::Plugin(args) => args.run(),
        ConvertCommand::Adapter(args) => args.run(),
        ConvertCommand::Inspect(args) => args.run(),
        ConvertCommand::Verify(args) => args.run(),
        ConvertCommand::Diff(args) => args.run(),
        ConvertCommand::Merge(args) => args.run(),
        ConvertCommand::Split(args) => args.run(),
        ConvertCommand::Pack(args) => args.run(),
        ConvertCommand::Unpack(args) => args.run(),
        ConvertCommand::Shard(args) => args.run(),
        ConvertCommand::Join(args) => args.run(),
        ConvertCommand::SetMetadata(args) => args.run(),
        ConvertCommand::Quantize(args) => args.run(),
        ConvertCommand::Import(args) => args.run(),
        ConvertCommand::Imatrix(args) => args.run(),
        ConvertCommand::Synth(args) => args.run(),
        ConvertCommand::Manual(args) => args.run(Arguments::command()),
    }
}
