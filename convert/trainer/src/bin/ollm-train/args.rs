//! Flags that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ollm_train::Result;
use ollm_train::fit::run::RunFolder;
use ollm_train::limits::MAX_COUNT;

/// Reads a number of things, 1 to [`MAX_COUNT`].
pub(crate) fn count(text: &str) -> std::result::Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MAX_COUNT).contains(count));
    count.ok_or_else(|| format!("must be a number from 1 to {MAX_COUNT}"))
}

/// Reads a number of steps or evaluations, from 1 up.
pub(crate) fn steps(text: &str) -> std::result::Result<u64, String> {
    text.parse().ok().filter(|steps| *steps > 0).ok_or_else(|| "must be a number from 1 up".to_owned())
}

/// What every command reads.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// The backbone, a GGUF file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// Problems (may be given several times)
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// Take only the first N problems
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Threads that run the backbone; 0: one for each core
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
}

/// Where the tensors live.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Where to compute: cpu, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Memory for logits, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = count)]
    pub(crate) logits_memory: usize,
    /// Folder of the feature caches
    #[arg(long, value_name = "FOLDER", default_value = "features")]
    pub(crate) features: PathBuf,
}

/// Problems that are not learned.
#[derive(Debug, Args)]
pub(crate) struct HeldOutArgs {
    /// Held-out problems, which are evaluated at intervals (may be given several times)
    #[arg(long, value_name = "FILE")]
    pub(crate) valid: Vec<PathBuf>,
    /// Take only the first N held-out problems
    #[arg(long, value_name = "N", requires = "valid")]
    pub(crate) valid_limit: Option<usize>,
}

/// A run that can be interrupted.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Folder of the run: settings, log, checkpoint, and what comes out
    #[arg(short, long, value_name = "RUN")]
    pub(crate) output: PathBuf,
    /// Go on with the run in that folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Stop after N steps, to be resumed
    #[arg(long, value_name = "N", value_parser = steps)]
    pub(crate) stop_after: Option<u64>,
}

impl RunArgs {
    /// The run's folder, whose settings will be `recorded`.
    pub(crate) fn open(&self, recorded: String) -> Result<RunFolder> {
        Ok(RunFolder::open(&self.output, self.resume)?.with_settings(recorded))
    }
}

/// What options are normalised over while training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HeadChoice {
    /// `candidates` on a CPU, `full` elsewhere
    Auto,
    /// The whole vocabulary
    Full,
    /// The answers' 256 most frequent tokens, the backbone's 64 most probable others, the gold one
    /// and a tail
    Candidates,
}

/// How answers are made.
#[derive(Debug, Args)]
pub(crate) struct RolloutArgs {
    /// Folder of the answers: what is there is not made again
    #[arg(long, value_name = "FOLDER", default_value = "rollouts")]
    pub(crate) rollouts: PathBuf,
    /// Answers that are worked on at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = count)]
    pub(crate) slots: usize,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = count)]
    pub(crate) tokens: usize,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}
