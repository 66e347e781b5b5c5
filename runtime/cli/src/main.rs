//! The `ollm-run` command: generate, chat, serve, score, embed, rerank, tokenize, measure,
//! describe.

mod args;
mod bench;
mod bus_error;
mod chat;
mod chat_input;
mod command_line;
mod constrain;
mod conversation;
mod embed;
mod engine;
mod explorer;
mod failure;
mod generate;
mod generation;
mod info;
mod interrupt;
mod manual;
mod output;
mod probe;
mod prompt;
mod rerank;
mod sampling;
mod score;
mod search;
#[cfg(feature = "serve")]
mod serve;
mod show;
mod suggest;
mod table;
mod tokenize;
mod trace;

use std::process::ExitCode;

use args::{Cli, Command};
use failure::Result;

fn main() -> ExitCode {
    match run(command_line::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.exit_code()
        }
    }
}

fn run(mut cli: Cli) -> Result<()> {
    cli.machine.fetch()?;
    match cli.command {
        None => generate::run(&cli.machine, &cli.generate),
        Some(Command::Chat(args)) => chat::run(&cli.machine, args),
        #[cfg(feature = "serve")]
        Some(Command::Serve(args)) => serve::run(&cli.machine, &args),
        Some(Command::Search(args)) => search::run(&cli.machine, &args),
        Some(Command::Suggest(args)) => suggest::run(&cli.machine, &args),
        Some(Command::Score(args)) => score::run(&cli.machine, &args),
        Some(Command::Embed(args)) => embed::run(&cli.machine, &args),
        Some(Command::Rerank(args)) => rerank::run(&cli.machine, &args),
        Some(Command::Tokenize(args)) => tokenize::run(&cli.machine, &args),
        Some(Command::Bench(args)) => bench::run(&cli.machine, &args),
        Some(Command::Info(args)) => info::run(&cli.machine, &args),
        Some(Command::Manual(args)) => manual::run(&args),
    }
}
