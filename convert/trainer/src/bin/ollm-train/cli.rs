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
        let arguments = common.into_iter().chain(["--hold", "line", "--group", "1"]);
        let TrainCommand::Rl(args) = TrainCli::try_parse_from(arguments).unwrap().command else {
            panic!("rl was asked for")
        };
        let refused = crate::rl::run(&args, String::new());
        assert!(matches!(refused, Err(Error::Setting { name: "--group", .. })));
    }

    #[test]
    fn a_row_to_compare_with_that_will_not_be_there_is_refused_before_anything_is_read() {
        let common = ["ollm-train", "rl", "-m", "m", "--data", "d", "--valid", "v", "--plugin", "p", "-o", "o"];
        for (hold, row, known) in [
            ("all", "RL policy, held", true),
            ("all", "RL policy, drawn", false),
            ("line", "imitation policy, drawn", true),
            ("line", "control, greedy", false),
        ] {
            let arguments = common.into_iter().chain(["--hold", hold, "--against", row]);
            let TrainCommand::Rl(args) = TrainCli::try_parse_from(arguments).unwrap().command else {
                panic!("rl was asked for")
            };
            let refused = crate::rl::run(&args, String::new()).unwrap_err();
            let of_the_row = matches!(refused, Error::Setting { name: "--against", .. });
            assert_eq!(of_the_row, !known, "{row}: {refused}");
        }
    }

    /// What clap says of `ollm-train` with these arguments, behind those that the command needs.
    fn refusal(arguments: &str) -> String {
        let (command, flags) = arguments.split_once(' ').unwrap();
        let needed = match command {
            "sft" | "lora" => "-m m --data d -o o",
            "rl" => "-m m --data d -o o --valid v --plugin p",
            "accuracy" => "-m m --data d --train t --plugin p",
            _ => "-m m --data d",
        };
        let all = ["ollm-train", command].into_iter().chain(needed.split(' ')).chain(flags.split(' '));
        TrainCli::try_parse_from(all).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn counts_of_nothing_are_refused() {
        for flag in [
            "sft --eval-every",
            "sft --checkpoint-every",
            "sft --stop-after",
            "sft --logits-memory",
            "lora --checkpoint-every",
            "lora --pass-tokens",
            "lora --epochs",
            "rl --tokens",
            "rl --slots",
            "rl --problems",
            "rl --steps",
            "accuracy --samples",
            "eval --logits-memory",
        ] {
            let refused = refusal(&format!("{flag} 0"));
            assert!(refused.contains("must be a number from 1"), "{flag}: {refused}");
            assert!(!refusal(&format!("{flag} 2")).contains("must be"), "{flag}");
        }
    }

    #[test]
    fn flags_about_held_out_problems_need_some() {
        for flags in
            ["sft --valid-limit", "sft --eval-every", "sft --patience", "lora --eval-every", "lora --valid-limit"]
        {
            assert!(refusal(&format!("{flags} 3")).contains("--valid <FILE>"), "{flags}");
            assert_eq!(refusal(&format!("{flags} 3 --valid v")), "");
        }
    }

    #[test]
    fn flags_of_another_decoder_are_refused() {
        let common = ["ollm-train", "sft", "-m", "m", "--data", "d", "-o", "o", "--decoder", "swiglu"];
        for flag in ["--rank", "--spread"] {
            let arguments = common.into_iter().chain([flag, "2"]);
            let TrainCommand::Sft(args) = TrainCli::try_parse_from(arguments).unwrap().command else {
                panic!("sft was asked for")
            };
            let refused = crate::sft::run(&args, String::new());
            assert!(matches!(refused, Err(Error::Setting { name, .. }) if name == flag), "{flag}");
        }
    }
}
