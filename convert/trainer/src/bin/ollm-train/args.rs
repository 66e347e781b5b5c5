//! Flags that several commands share.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ollm_train::data::corpus::Corpus;
use ollm_train::data::format::{FieldName, Fields};
use ollm_train::eval::accuracy::Reward;
use ollm_train::eval::answer_rule::AnswerRule;
use ollm_train::features::backbone::{BackboneModel, CONTEXT, TemplateSource, TextSettings};
use ollm_train::fit::run::{RunFolder, checkpoint_path};
use ollm_train::limits::MAX_COUNT;
use ollm_train::{Error, Result};

use crate::world;

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
    /// The name of a field of the data, as in `answer=generated_solution`; ROLE is question,
    /// answer, prompt, completion, messages, text, system or expected (may be given several times)
    #[arg(long, value_name = "ROLE=NAME")]
    pub(crate) field: Vec<FieldName>,
    /// A file with the chat template, or plain: no template, for base models [default: that of the
    /// model]
    #[arg(long, value_name = "FILE|plain")]
    pub(crate) template: Option<PathBuf>,
    /// Tokens of a problem at most, prompt and answer: longer ones are left out
    #[arg(long, value_name = "N", default_value_t = CONTEXT, value_parser = count)]
    pub(crate) max_tokens: usize,
    /// Threads that run the backbone; 0: one for each core
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
}

impl InputArgs {
    /// The names of the data's fields.
    pub(crate) fn fields(&self) -> Fields {
        Fields(self.field.clone())
    }

    /// Reads data files.
    pub(crate) fn read(&self, data: &[PathBuf]) -> Result<Corpus> {
        Corpus::read(data, &self.fields())
    }

    /// Opens the backbone.
    pub(crate) fn backbone(&self) -> Result<BackboneModel> {
        self.open(&self.model)
    }

    /// Opens another backbone that is given the same text.
    pub(crate) fn open(&self, path: &Path) -> Result<BackboneModel> {
        BackboneModel::open(path, &self.text()?)
    }

    /// How a backbone is given text.
    pub(crate) fn text(&self) -> Result<TextSettings> {
        let template = match &self.template {
            None => None,
            Some(plain) if plain.as_os_str() == "plain" => Some(TemplateSource::Plain),
            Some(file) => Some(TemplateSource::Chat(std::fs::read_to_string(file).map_err(Error::io(file))?)),
        };
        Ok(TextSettings { template, max_tokens: self.max_tokens })
    }
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
    /// Validation problems, which are evaluated at intervals (may be given several times)
    #[arg(long, value_name = "FILE", group = "validation")]
    pub(crate) valid: Vec<PathBuf>,
    /// Hold out this share of the problems for validation, as in 0.05
    #[arg(long, value_name = "SHARE", group = "validation", value_parser = share)]
    pub(crate) split: Option<f64>,
    /// Take only the first N validation problems
    #[arg(long, value_name = "N", requires = "validation")]
    pub(crate) valid_limit: Option<usize>,
}

/// Validation problems that a command cannot do without.
#[derive(Debug, Args)]
pub(crate) struct ValidArgs {
    /// Validation problems, which decide when to stop (may be given several times)
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) valid: Vec<PathBuf>,
    /// Take only the first N validation problems
    #[arg(long, value_name = "N")]
    pub(crate) valid_limit: Option<usize>,
}

/// Reads a share, above 0 and below 1.
fn share(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse().ok().filter(|share| (f64::MIN_POSITIVE..1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is no share, a number above 0 and below 1"))
}

impl HeldOutArgs {
    /// The problems to learn, and those that are not learned.
    pub(crate) fn corpora(&self, input: &InputArgs) -> Result<(Corpus, Option<Corpus>)> {
        let all = input.read(&input.data)?;
        match self.split {
            Some(share) => all.split(share).map(|(rest, held_out)| (rest, Some(held_out))),
            None if self.valid.is_empty() => Ok((all, None)),
            None => Ok((all, Some(input.read(&self.valid)?))),
        }
    }
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
        Ok(RunFolder::open_on(world::ranks(), &self.output, self.resume)?.with_settings(recorded))
    }

    /// How an interrupted run goes on.
    pub(crate) fn goes_on_with(&self) -> &'static str {
        // Without a checkpoint there is no step to go on from: a new run begins with the caches.
        if self.resume || !checkpoint_path(&self.output).exists() {
            "the same command goes on"
        } else {
            "the same command with --resume goes on"
        }
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
    /// What the final answer of a text is: number, math (expressions in \boxed{} or behind ####,
    /// compared by their values), text, choice (a letter), regex:RE (its one group), or
    /// command:CMD: a program that reads a line {"question", "expected", "answer"} for each answer,
    /// and prints {"reward": 0..1}, 1 for a right one
    #[arg(long, value_name = "RULE", default_value_t)]
    pub(crate) answer: AnswerRule,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

/// What an answer is worth.
#[derive(Debug, Args)]
pub(crate) struct RewardArgs {
    /// The price of a token: an answer is worth 1 if it is right, less X for each of its tokens
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = price)]
    pub(crate) token_cost: f64,
}

impl RewardArgs {
    pub(crate) fn reward(&self) -> Reward {
        Reward { token_cost: self.token_cost }
    }
}

/// A price: a number from 0 on.
pub(crate) fn price(text: &str) -> std::result::Result<f64, String> {
    let price = text.parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| format!("{text:?} is no number from 0 on"))
}

/// Reads `NAME=FILE`.
pub(crate) fn named_file(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let parts = text.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty());
    parts.map(|(name, file)| (name.to_owned(), file.into())).ok_or_else(|| format!("{text:?} is not NAME=FILE"))
}
