//! The `ollm-train` command.

mod accuracy;
mod args;
mod cli;
mod config;
mod eval;
mod features;
mod lora;
mod prepare;
mod rl;
mod sft;

use std::process::ExitCode;

use ollm_train::Result;

use cli::Command;
use config::Invocation;

fn main() -> ExitCode {
    match Invocation::parse().and_then(|invocation| run(&invocation)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: &Invocation) -> Result<()> {
    match &invocation.cli.command {
        Command::Features(args) => features::run(args),
        Command::Sft(args) => sft::run(args, invocation.settings()?),
        Command::Lora(args) => lora::run(args, invocation.settings()?),
        Command::Rl(args) => rl::run(args, invocation.settings()?),
        Command::Eval(args) => eval::run(args),
        Command::Accuracy(args) => accuracy::run(args),
    }
}
