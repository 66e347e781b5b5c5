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
mod world;

use std::io::{self, Write as _};
use std::process::ExitCode;

use ollm_train::ranks::world::World;
use ollm_train::{Error, Result};

use args::RunArgs;
use clap::CommandFactory as _;
use cli::{TrainCli, TrainCommand};
use config::Invocation;

/// Of several processes, an error of one ends all.
fn main() -> ExitCode {
    let invocation = Invocation::parse();
    let world = match World::start() {
        Ok(world) => world,
        Err(error) => return fail(&error),
    };
    world::set(world.ranks());
    match invocation.and_then(|invocation| run(&invocation)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Interrupted) => ExitCode::from(interrupt::EXIT_CODE),
        Err(error) if world.ranks().is_alone() => fail(&error),
        Err(error) => world.abort(&error),
    }
}

fn fail(error: &Error) -> ExitCode {
    // If standard error is closed too, there is nobody left to tell.
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::FAILURE
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
        TrainCommand::Eval(args) => world::check_alone("eval").and_then(|()| eval::run(args)),
        TrainCommand::Accuracy(args) => accuracy::run(args),
        TrainCommand::Curves(args) => world::check_alone("curves").and_then(|()| curves::run(args)),
        TrainCommand::Sample(args) => world::check_alone("sample").and_then(|()| sample::run(args)),
        TrainCommand::Problems(args) => world::check_alone("problems").and_then(|()| problems::run(args)),
        TrainCommand::Manual(args) => {
            world::check_alone("manual").and_then(|()| manual::run(args, TrainCli::command()))
        }
    }
}
