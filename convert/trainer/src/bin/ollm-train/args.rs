//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ollm_convert::tensor_type;
use ollm_runtime::gguf::TensorType;
use ollm_train::Result;
use ollm_train::features::segments::Hold;
use ollm_train::fit::run::Run;
use ollm_train::lora::adapters::{self, Target};
use ollm_train::lora::task;
use ollm_train::sft::objective::Objective;
use ollm_train::sft::settings::{Decoder, Settings};
use ollm_train::sft::train::Pace;

use crate::accuracy::AccuracyArgs;
use crate::rl::RlArgs;

/// Trains OLLM plugins (encoder, decoder, policy) on a frozen backbone, and scores them.
///
/// Data files hold one JSON object a line: `{"question": "..", "answer": ".."}`. `RAYON_NUM_THREADS` sets the threads
/// of the training itself on a CPU.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    /// Settings from a TOML file: a key is a long flag without its dashes; flags override it
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the backbone over the data and caches its hidden states (`sft` and `eval` do it where needed)
    Features(FeaturesArgs),
    /// Trains the control (K = 1), then options, policy and encoder, then the policy alone
    Sft(Box<SftArgs>),
    /// Trains low-rank adapters of the backbone itself, the baseline, and writes the backbone with them
    Lora(Box<LoraArgs>),
    /// Trains the policy of a plugin on how often the answers of its latents are right
    Rl(RlArgs),
    /// Scores a run or a plugin file on held-out data, teacher-forced, with the full head
    Eval(EvalArgs),
    /// Answers held-out problems in every way to deploy a plugin, and counts right final answers
    Accuracy(AccuracyArgs),
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

#[derive(Debug, Args)]
pub(crate) struct FeaturesArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Folder of the caches
    #[arg(short, long, value_name = "FOLDER", default_value = "features")]
    pub(crate) output: PathBuf,
}

/// Where the tensors live.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Where to compute: cpu, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Memory for logits, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub(crate) logits_memory: usize,
    /// Folder of the feature caches
    #[arg(long, value_name = "FOLDER", default_value = "features")]
    pub(crate) features: PathBuf,
}

/// Problems that are not learned.
#[derive(Debug, Args)]
pub(crate) struct HeldOutArgs {
    /// Held-out problems, looked at now and then (may be given several times)
    #[arg(long, value_name = "FILE")]
    pub(crate) valid: Vec<PathBuf>,
    /// Take only the first N held-out problems
    #[arg(long, value_name = "N")]
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
    #[arg(long, value_name = "N")]
    pub(crate) stop_after: Option<u64>,
}

impl RunArgs {
    /// The run's folder, whose settings will be `recorded`.
    pub(crate) fn open(&self, recorded: String) -> Result<Run> {
        Ok(Run::open(&self.output, self.resume)?.with_settings(recorded))
    }
}

/// What options are normalised over while training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HeadChoice {
    /// `candidates` on a CPU, `full` elsewhere
    Auto,
    /// The whole vocabulary
    Full,
    /// The backbone's 64 most probable tokens, the gold one and a tail
    Candidates,
}

#[derive(Debug, Args)]
pub(crate) struct SftArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) held_out: HeldOutArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Option count K
    #[arg(long, value_name = "K", default_value_t = 10)]
    pub(crate) options: usize,
    /// Kind of decoder
    #[arg(long, value_enum, default_value_t = Decoder::LowRank)]
    pub(crate) decoder: Decoder,
    /// Width of the decoder; by default the plugin gets 1.56 % of the backbone's parameters
    #[arg(long, value_name = "U")]
    pub(crate) width: Option<usize>,
    /// Rank of an option's delta (decoder lowrank)
    #[arg(long, value_name = "R", default_value_t = 32)]
    pub(crate) rank: usize,
    /// Width of the policy
    #[arg(long, value_name = "P", default_value_t = 256)]
    pub(crate) policy_width: usize,
    /// Width of the encoder
    #[arg(long, value_name = "E", default_value_t = 256)]
    pub(crate) encoder_width: usize,
    /// What trains the options: a learned prior with the exact posterior, or the paper's encoder and Gumbel-softmax
    #[arg(long, value_enum, default_value_t = Objective::Prior)]
    pub(crate) objective: Objective,
    /// How long a latent is held: the policy chooses at the start of each token, line or answer
    #[arg(long, value_enum, default_value_t = Hold::Token)]
    pub(crate) hold: Hold,
    /// KL that is aimed at, in nats a latent [default: 0.15 (prior), 0.2 (paper), 1 (held for a line or an answer; at most half of ln K)]
    #[arg(long, value_name = "NATS")]
    pub(crate) kl_target: Option<f64>,
    /// Passes over the data for the options
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) epochs: usize,
    /// Passes over the data for the control
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) control_epochs: usize,
    /// Passes over the data for the policy alone, on the finished options
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) policy_epochs: usize,
    /// Factor on what the options add to the control (decoder lowrank), before the policy's own stage
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) spread: f64,
    /// A finished control of the same width, instead of training one
    #[arg(long, value_name = "FILE")]
    pub(crate) control: Option<PathBuf>,
    /// Finished options of the same sizes on that control, instead of training some: the policy's stage alone
    #[arg(long, value_name = "FILE", requires = "control")]
    pub(crate) options_from: Option<PathBuf>,
    /// Tokens a step; whole segments of about so many with --hold line or answer
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) batch: usize,
    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub(crate) lr: f64,
    /// End a stage after N looks at the held-out problems without a lower loss, and keep the best look's tensors
    #[arg(long, value_name = "N")]
    pub(crate) patience: Option<u64>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// What options are normalised over while training
    #[arg(long, value_enum, default_value_t = HeadChoice::Auto)]
    pub(crate) head: HeadChoice,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 250)]
    pub(crate) checkpoint_every: u64,
    /// Steps between looks at the held-out problems
    #[arg(long, value_name = "N", default_value_t = 250)]
    pub(crate) survey_every: u64,
}

#[derive(Debug, Args)]
pub(crate) struct LoraArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) held_out: HeldOutArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Matrices of each block that get adapters
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Target::ALL)]
    pub(crate) targets: Vec<Target>,
    /// Rank of the adapters; by default they have 1.56 % of the backbone's parameters
    #[arg(long, value_name = "R")]
    pub(crate) rank: Option<usize>,
    /// What is learned is multiplied by alpha / rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA")]
    pub(crate) alpha: Option<f64>,
    /// Passes over the data
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) epochs: usize,
    /// Problems a step
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) batch: usize,
    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = 5e-4)]
    pub(crate) lr: f64,
    /// Steps between looks at the held-out problems
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) survey_every: u64,
    /// Stop after N looks in a row that found nothing better
    #[arg(long, value_name = "N", requires = "valid")]
    pub(crate) patience: Option<u64>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where to compute: cpu, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Tokens that run through the network at a time, on each thread [default: 512; 16384 on a GPU]
    #[arg(long, value_name = "N")]
    pub(crate) pass_tokens: Option<usize>,
    /// Type of the changed matrices in merged.gguf
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = tensor_type)]
    pub(crate) merged_type: TensorType,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) checkpoint_every: u64,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Folder of a run
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<PathBuf>,
    /// A plugin file (GGUF or safetensors) of kind lowrank, in place of a run
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    pub(crate) plugin: Option<PathBuf>,
    /// Another plugin file, to say how often latents and tokens are the same
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

impl SftArgs {
    /// What decides the result.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            options: self.options,
            decoder: self.decoder,
            width: self.width,
            rank: self.rank,
            policy_width: self.policy_width,
            encoder_width: self.encoder_width,
            objective: self.objective,
            hold: self.hold,
            kl_target: self.kl_target.unwrap_or(self.objective.default_target(self.hold, self.options)),
            epochs: self.epochs,
            control_epochs: self.control_epochs,
            policy_epochs: self.policy_epochs,
            spread: self.spread,
            batch: self.batch,
            lr: self.lr,
            seed: self.seed,
            patience: self.patience,
        }
    }

    /// What does not.
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            checkpoint_every: self.checkpoint_every,
            survey_every: self.survey_every,
            stop_after: self.run.stop_after,
            control: self.control.clone(),
            options: self.options_from.clone(),
        }
    }
}

impl LoraArgs {
    /// What decides the result.
    pub(crate) fn settings(&self) -> adapters::Settings {
        adapters::Settings {
            targets: self.targets.clone(),
            rank: self.rank,
            alpha: self.alpha,
            epochs: self.epochs,
            batch: self.batch,
            lr: self.lr,
            survey_every: self.survey_every,
            patience: self.patience,
            seed: self.seed,
        }
    }

    /// What does not.
    pub(crate) fn pace(&self, on_cpu: bool, threads: usize) -> task::Pace {
        task::Pace {
            checkpoint_every: self.checkpoint_every,
            stop_after: self.run.stop_after,
            threads: if on_cpu { threads } else { 1 },
            pass_tokens: self.pass_tokens.unwrap_or(if on_cpu { 512 } else { 16384 }),
        }
    }
}
