//! The command line: one subcommand for each file of its name.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::accuracy::AccuracyArgs;
use crate::eval::EvalArgs;
use crate::features::FeaturesArgs;
use crate::lora::LoraArgs;
use crate::manual::ManualFolder;
use crate::rl::RlArgs;
use crate::sft::SftArgs;

/// Trains OLLM plugins (encoder, decoder, policy) on a frozen backbone, and scores them.
///
/// Data files hold one JSON object a line: `{"question": "..", "answer": ".."}`.
/// `RAYON_NUM_THREADS` sets the threads of the training itself on a CPU.
#[derive(Debug, Parser)]
#[command(name = "ollm-train", version)]
pub(crate) struct TrainCli {
    /// Settings from a TOML file: a key is a long flag without its dashes; flags override it
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: TrainCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrainCommand {
    /// Runs the backbone over the data and caches its hidden states (`sft` and `eval` do it where
    /// needed)
    Features(FeaturesArgs),
    /// Trains the control (K = 1), then options, policy and encoder, then the policy alone
    Sft(Box<SftArgs>),
    /// Trains low-rank adapters of the backbone itself, the baseline, and writes the backbone with
    /// them
    Lora(Box<LoraArgs>),
    /// Trains the policy of a plugin on how often the answers of its latents are right
    Rl(RlArgs),
    /// Scores a run or a plugin file on held-out data, teacher-forced, with the full head
    Eval(EvalArgs),
    /// Answers held-out problems in every way to deploy a plugin, and counts right final answers
    Accuracy(AccuracyArgs),
    /// Writes man pages and shell completions into a folder
    Manual(ManualFolder),
}

#[cfg(test)]
mod tests {
    use super::*;
    use ollm_train::Error;

    #[test]
    fn flags_that_would_have_no_effect_are_refused_before_anything_is_read() {
        let common = ["ollm-train", "rl", "-m", "m", "--data", "d", "--valid", "v", "--plugin", "p", "-o", "o"];
        for flag in ["--group", "--problems"] {
            let arguments = common.into_iter().chain([flag, "4"]);
            let TrainCommand::Rl(args) = TrainCli::try_parse_from(arguments).unwrap().command else {
                panic!("rl was asked for")
            };
            let refused = crate::rl::run(&args, String::new());
            assert!(matches!(refused, Err(Error::Setting { name, .. }) if name == flag), "{flag}");
        }
    }
}
