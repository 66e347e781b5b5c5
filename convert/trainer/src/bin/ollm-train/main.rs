//! The `ollm-train` command.

mod accuracy;
mod args;
mod cli;
mod config;
mod curves;
mod eval;
mod features;
mod interrupt;
mod lora;
mod manual;
mod output;
mod prepare;
mod problems;
mod progress;
mod rl;
mod sample;
mod sft;
mod value;

use std::io::{self, Write as _};
use std::process::ExitCode;

use ollm_train::{Error, Result};

use args::RunArgs;
use clap::CommandFactory as _;
use cli::{TrainCli, TrainCommand};
use config::Invocation;

fn main() -> ExitCode {
    match Invocation::parse().and_then(|invocation| run(&invocation)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Interrupted) => ExitCode::from(interrupt::EXIT_CODE),
        Err(error) => {
            // If standard error is closed too, there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: &Invocation) -> Result<()> {
    let command = &invocation.cli.command;
    if command.keeps_what_is_done() {
        interrupt::watch()?;
    }
    let ended = perform(invocation);
    if let Err(Error::Interrupted) = ended {
        let how = command.run_args().map_or("the same command goes on", RunArgs::goes_on_with);
        let _ = writeln!(io::stderr(), "{}: {how}", Error::Interrupted);
    }
    ended
}

fn perform(invocation: &Invocation) -> Result<()> {
    match &invocation.cli.command {
        TrainCommand::Features(args) => features::run(args),
        TrainCommand::Sft(args) => sft::run(args, invocation.settings()?),
        TrainCommand::Lora(args) => lora::run(args, invocation.settings()?),
        TrainCommand::Rl(args) => rl::run(args, invocation.settings()?),
        TrainCommand::Value(args) => value::run(args, invocation.settings()?),
        TrainCommand::Eval(args) => eval::run(args),
        TrainCommand::Accuracy(args) => accuracy::run(args),
        TrainCommand::Curves(args) => curves::run(args),
        TrainCommand::Sample(args) => sample::run(args),
        TrainCommand::Problems(args) => problems::run(args),
        TrainCommand::Manual(args) => manual::run(args, TrainCli::command()),
    }
}
