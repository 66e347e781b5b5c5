//! The command line: one subcommand for each file of its name.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::accuracy::AccuracyArgs;
use crate::args::RunArgs;
use crate::curves::CurvesArgs;
use crate::eval::EvalArgs;
use crate::features::FeaturesArgs;
use crate::lora::LoraArgs;
use crate::manual::ManualFolder;
use crate::problems::ProblemsArgs;
use crate::rl::RlArgs;
use crate::sample::SampleArgs;
use crate::sft::SftArgs;
use crate::value::ValueArgs;

/// Trains OLLM plugins (encoder, decoder, policy) on a frozen backbone, and scores them.
///
/// Data files hold problems: JSON lines (`{"question": "..", "answer": ".."}`, `prompt` and
/// `completion`, or `messages`), a JSON list, CSV, Parquet (if built with it), or plain text;
/// `--field` names other fields.
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
    /// Trains the policy of a plugin on how often the answers of its latents are right; or, to
    /// compare, what draws tokens
    Rl(RlArgs),
    /// Trains a plugin's value head: how probable it is that an answer will be right
    Value(ValueArgs),
    /// Scores a run or a plugin file on held-out data, teacher-forced, with the full head
    Eval(EvalArgs),
    /// Answers held-out problems in every way to deploy a plugin, and counts right final answers
    Accuracy(AccuracyArgs),
    /// Draws what runs of `rl` earn, over the answers that they learned from
    Curves(CurvesArgs),
    /// Writes a model's answers as a data file, which can be learned: right ones, say
    Sample(SampleArgs),
    /// Generates problems with exact answers, in several ways of answering: a data file for all
    /// other commands
    Problems(ProblemsArgs),
    /// Writes man pages and shell completions into a folder
    Manual(ManualFolder),
}

impl TrainCommand {
    /// Whether it can go on later with what it did until it was interrupted.
    pub(crate) fn keeps_what_is_done(&self) -> bool {
        self.run_args().is_some() || matches!(self, Self::Features(_) | Self::Accuracy(_) | Self::Sample(_))
    }

    /// The run, if it makes one.
    pub(crate) fn run_args(&self) -> Option<&RunArgs> {
        match self {
            Self::Sft(args) => Some(&args.run),
            Self::Lora(args) => Some(&args.run),
            Self::Rl(args) => Some(&args.run),
            Self::Value(args) => Some(&args.run),
            _ => None,
        }
    }
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
    fn flags_that_do_not_go_with_what_learns_are_refused_before_anything_is_read() {
        for (flags, name) in [
            ("", "--plugin"),
            ("--learn control", "--plugin"),
            ("--learn adapters --plugin p", "--plugin"),
            ("--learn control --plugin p --hold line", "--hold"),
            ("--learn adapters --start control", "--start"),
            ("--learn control --plugin p --entropy 0.1", "--entropy"),
            ("--hold line --plugin p --entropy 0.1", "--entropy"),
            ("--learn adapters --group 1", "--group"),
        ] {
            let common = ["ollm-train", "rl", "-m", "m", "--data", "d", "--valid", "v", "-o", "o"];
            let arguments = common.into_iter().chain(flags.split_whitespace());
            let TrainCommand::Rl(args) = TrainCli::try_parse_from(arguments).unwrap().command else {
                panic!("rl was asked for")
            };
            let refused = crate::rl::run(&args, String::new());
            assert!(matches!(refused, Err(Error::Setting { name: found, .. }) if found == name), "{flags}");
        }
    }

    #[test]
    fn rows_of_one_name_are_refused_before_anything_is_read() {
        let arguments = "ollm-train accuracy -m m --data d --train t --plugin p --also a=x --also b=y --also a=z";
        let TrainCommand::Accuracy(args) = TrainCli::try_parse_from(arguments.split(' ')).unwrap().command else {
            panic!("accuracy was asked for")
        };
        let refused = crate::accuracy::run(&args);
        assert!(matches!(refused, Err(Error::Setting { name: "--also", .. })));
        for flag in ["also a", "also =x", "also a="] {
            assert!(refusal(&format!("accuracy --{flag}")).contains("NAME=FILE"), "{flag}");
        }
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
            "rl" | "value" => "-m m --data d -o o --valid v --plugin p",
            "accuracy" => "-m m --data d --train t --plugin p",
            "problems" => "--kind sort -o o",
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
            "value --width",
            "value --epochs",
            "accuracy --samples",
            "eval --logits-memory",
            "problems --count",
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
            assert!(refusal(&format!("{flags} 3")).contains("--valid <FILE>|--split <SHARE>"), "{flags}");
            assert_eq!(refusal(&format!("{flags} 3 --valid v")), "");
            assert_eq!(refusal(&format!("{flags} 3 --split 0.05")), "");
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

    #[test]
    fn problems_of_no_kind_way_or_size_are_refused() {
        for (flags, reason) in [
            ("--kind algebra -n 3", "there are arithmetic, countdown, sort, dates"),
            ("--kind sort", "--count <N>"),
            ("--kind sort -n 3 --ways twice", "there are once, steps"),
            ("--kind sort -n 3 --ways once:0", "must be a whole number from 1"),
            ("--kind sort -n 3 --ways once,once", "is there twice"),
            ("--kind sort -n 3 --operands 4..2", "from a least to a most"),
            ("--kind sort -n 3 --digits x", "from a least to a most"),
        ] {
            let all = ["ollm-train", "problems", "-o", "o"].into_iter().chain(flags.split(' '));
            let refused = TrainCli::try_parse_from(all).unwrap_err().to_string();
            assert!(refused.contains(reason), "{flags}: {refused}");
        }
    }

    #[test]
    fn problems_that_a_kind_has_not_are_refused_before_anything_is_written() {
        for (flags, name) in [
            ("--kind sort --ways parts", "--ways"),
            ("--kind arithmetic --ways once,halves:3", "--ways"),
            ("--kind arithmetic --operands 1..4", "--operands"),
            ("--kind arithmetic --operands 2..9", "--operands"),
            ("--kind arithmetic --digits 0..3", "--digits"),
            ("--kind arithmetic --digits 10", "--digits"),
            ("--kind sort --operands 9", "--operands"),
            ("--kind countdown --operands 4", "--operands"),
            ("--kind countdown --digits 1..2", "--digits"),
            ("--kind dates --operands 2", "--operands"),
            ("--kind dates --digits 2", "--digits"),
        ] {
            // The folder is not there: what is written would be another error.
            let needed = ["ollm-train", "problems", "-n", "3", "--exclude", "no/such", "-o", "no/such/file"];
            let arguments = needed.into_iter().chain(flags.split(' '));
            let TrainCommand::Problems(args) = TrainCli::try_parse_from(arguments).unwrap().command else {
                panic!("problems were asked for")
            };
            let refused = crate::problems::run(&args);
            assert!(matches!(refused, Err(Error::Setting { name: found, .. }) if found == name), "{flags}");
        }
    }
}
