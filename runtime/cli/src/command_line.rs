//! The command line as it is read, and flags that have no effect in it.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory as _, FromArgMatches as _};
use ollm_runtime::plugin::LatentMode;

use crate::args::{Cli, Command};

impl Cli {
    /// That alternatives of tokens are asked for where nothing shows them.
    fn without_json(&self) -> Option<String> {
        let logprobs = match &self.command {
            None if self.generate.trace.is_none() => self.generate.sample.logprobs,
            Some(Command::Chat(args)) => args.sample.logprobs,
            _ => 0,
        };
        (logprobs > 0 && !self.machine.json).then(|| "'--logprobs' has no effect without '--json'".to_owned())
    }

    /// That a temperature is given for latents that are not sampled.
    fn without_sampling(&self) -> Option<String> {
        let select = match &self.command {
            None => &self.generate.select,
            Some(Command::Chat(args)) => &args.select,
            Some(Command::Search(args)) => &args.select,
            Some(Command::Score(args)) => &args.select,
            Some(Command::Bench(args)) => &args.select,
            #[cfg(feature = "serve")]
            Some(Command::Serve(_)) => return None,
            Some(
                Command::Suggest(_)
                | Command::Embed(_)
                | Command::Rerank(_)
                | Command::Tokenize(_)
                | Command::Info(_)
                | Command::Manual(_),
            ) => return None,
        };
        let samples = matches!(select.latent, Some(LatentMode::Sample { .. }));
        let given = select.latent_temperature.is_some();
        (given && !samples).then(|| "'--latent-temperature' has no effect without '--latent sample'".to_owned())
    }
}

/// Reads the command line; ends the process for `--help`, `--version`, and with exit code 2 for
/// wrong usage.
pub(crate) fn parse() -> Cli {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let refused = misplaced(&matches).or_else(|| without_effect(&matches));
    let refused = refused.or_else(|| cli.without_sampling()).or_else(|| cli.without_json());
    if let Some(message) = refused {
        command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    cli
}

/// The command line. The help of a command lists what has an effect in it.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command();
    let everywhere: Vec<Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    command.mut_subcommands(|own| {
        let unused: Vec<&str> = unused(own.get_name(), false).collect();
        let hidden = everywhere.iter().filter(|arg| unused.contains(&arg.get_id().as_str()));
        own.args(hidden.map(|arg| arg.clone().hide(true)))
    })
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// The flags that all commands know and that have no effect in this one. `searches`: it is a chat
/// that is searched turn by turn.
fn unused(command: &str, searches: bool) -> impl Iterator<Item = &'static str> {
    const RUN: [&str; 12] = [
        "draft",
        "prompt_cache",
        "prompt_cache_limit",
        "plugin",
        "lora",
        "copy",
        "threads",
        "prefill_threads",
        "context",
        "context_shift",
        "keep",
        "kv_type",
    ];
    const CACHE: [&str; 2] = ["prompt_cache", "prompt_cache_limit"];
    let unused: &[&[&str]] = match command {
        "manual" => &[&RUN, &["model", "json", "verbose"]],
        "tokenize" | "info" => &[&RUN, &["verbose"]],
        "embed" | "rerank" => &[&["context_shift", "keep", "verbose", "draft", "plugin"], &CACHE],
        "score" => &[&["context_shift", "keep", "verbose", "draft"], &CACHE],
        "bench" => &[&["verbose"], &CACHE],
        "serve" => &[&["context_shift", "keep", "draft", "verbose"], &CACHE],
        "chat" if searches => &[&["draft"]],
        "search" => &[&["context_shift", "keep", "draft", "logprobs"]],
        "suggest" => &[&["context_shift", "keep", "draft"]],
        _ => &[],
    };
    unused.iter().copied().flatten().copied()
}

/// That a flag that all commands know has no effect in this one.
fn without_effect(matches: &ArgMatches) -> Option<String> {
    let (name, own) = matches.subcommand()?;
    let searches = name == "chat" && is_given(own, "strategy");
    let flag = unused(name, searches).find(|id| is_given(own, id))?;
    Some(format!("'--{}' has no effect in '{name}'", flag.replace('_', "-")))
}

/// That a flag of generation stands in front of a command, where it would have no effect.
fn misplaced(matches: &ArgMatches) -> Option<String> {
    matches.subcommand_name()?;
    let command = Cli::command();
    let mut flags = command.get_arguments().filter(|arg| !arg.is_global_set());
    let flag = flags.find(|arg| is_given(matches, arg.get_id().as_str()))?.get_long()?;
    Some(format!("'--{flag}' belongs behind the command, if to it at all: see --help"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_help_of_a_command_lists_what_has_an_effect_in_it() {
        let mut whole = command();
        whole.build();
        for own in whole.get_subcommands_mut().filter(|own| own.get_name() != "help") {
            let (name, help) = (own.get_name().to_owned(), own.render_long_help().to_string());
            for flag in ["--draft", "--prompt-cache ", "--context-shift", "--threads", "--model"] {
                let id = flag.trim().trim_start_matches('-').replace('-', "_");
                assert_eq!(help.contains(flag), !unused(&name, false).any(|unused| unused == id), "{name} {flag}");
            }
        }
    }

    #[test]
    fn the_model_may_stand_on_either_side_of_a_command() {
        for line in ["ollm-run -m a score -f b --json", "ollm-run score -f b -m a --json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.machine.json && cli.machine.model().is_ok());
            assert!(matches!(cli.command, Some(Command::Score(_))));
        }
    }

    #[test]
    fn options_are_shown_three_deep_unless_told() {
        let shown = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().generate.show.show_options;
        assert_eq!(shown("ollm-run -m a --show-options -p x"), Some(3));
        assert_eq!(shown("ollm-run -m a --show-options=5"), Some(5));
        assert_eq!(shown("ollm-run -m a"), None);
    }

    #[test]
    fn values_out_of_range_are_wrong_usage() {
        let lines = [
            "-n 0",
            "-n -1",
            "--show-options=0",
            "--hold word",
            "--latent best",
            "--keep 3",
            "--temperature x",
            "bench -r 0",
            "-t 5000",
        ];
        for line in lines {
            assert!(Cli::try_parse_from(["ollm-run"].into_iter().chain(line.split(' '))).is_err(), "{line}");
        }
    }
}
