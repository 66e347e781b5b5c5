//! What the command line has: every flag, its meaning, its range.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use ollm_console::hub;
use ollm_runtime::branches::{AnswerRule, Expansion, Score, Strategy, Until, Weight};
use ollm_runtime::cpu::MAX_THREADS;
use ollm_runtime::ops::KvType;
use ollm_runtime::plugin::{Hold, LatentMode};
use ollm_runtime::storage::StorageOptions;

use crate::chat_input::ConversationArgs;
use crate::constrain::ConstrainArgs;
use crate::failure::{Failure, Result};
use crate::sampling::SampleArgs;
#[cfg(feature = "serve")]
use crate::serve::args::ServeArgs;

const ABOUT: &str = "Generates text with an option-aware language model.

At each step the plugin offers K options for the next token, one for each latent z, and its policy chooses one of them. \
Without a plugin the backbone generates alone.";

const USAGE: &str = "ollm-run -m FILE [--plugin FILE] [OPTIONS] (-p TEXT | -f FILE | < TEXT)
       ollm-run COMMAND -m FILE [--plugin FILE] [OPTIONS]";

const EXAMPLES: &str = "\x1b[1;4mExamples:\x1b[0m
  Ask a question, and see what each option would have said:
    ollm-run -m model.gguf --plugin plugin.gguf --chat --show-options -p 'What is 7 * 6?'
  Stay with latent 3 until the end of each line:
    ollm-run -m model.gguf --plugin plugin.gguf -f prompt.txt --latent fixed:3 --hold line
  Sample from the backbone, 100 tokens at most, one JSON object a token:
    ollm-run -m model.gguf -p 'Once upon a time' -n 100 --temperature 0.8 --top-p 0.95 --json
  JSON of a schema:
    ollm-run -m model.gguf --chat -p 'Who wrote Faust, and when?' --json-schema schema.json
  Talk:
    ollm-run chat -m model.gguf --plugin plugin.gguf

The commands take the same -m, --plugin, -t, -c and --json: see 'ollm-run help COMMAND'.
Exit codes: 0 success, 1 error, 2 wrong usage.";

#[derive(Debug, Parser)]
#[command(name = "ollm-run", version, about = ABOUT, override_usage = USAGE, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) generate: GenerateArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Talk with the model, turn by turn
    Chat(ChatArgs),
    /// Serve the model over HTTP: an OpenAI-compatible API, options, and a page to look at them
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Search over branches: vote, best of N or beam search
    Search(SearchArgs),
    /// Suggest short continuations of a text
    Suggest(SuggestArgs),
    /// Print the log-probability of each token of a text, and its perplexity
    Score(ScoreArgs),
    /// Print the embedding of a text
    Embed(TextArgs),
    /// Print how relevant documents are to a query, the most relevant first
    Rerank(RerankArgs),
    /// Print the tokens of a text
    Tokenize(TextArgs),
    /// Measure the speed of prefill and decode
    Bench(BenchArgs),
    /// Describe a model file or a plugin file
    Info(InfoArgs),
    /// Write man pages and shell completions into a folder
    Manual(ManualArgs),
}

/// What every command needs to know: the files, the machine, the form of the output.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(next_help_heading = "Model and machine")]
pub(crate) struct MachineArgs {
    /// The model: a GGUF file of a backbone, with or without a plugin inside; or
    /// `hf:OWNER/NAME[:FILE]`, which is downloaded from the Hugging Face Hub (`HF_ENDPOINT`), once,
    /// to `HF_HOME`
    #[arg(short, long, value_name = "FILE", global = true)]
    model: Option<PathBuf>,
    /// The plugin: a GGUF file of options for this backbone
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) plugin: Option<PathBuf>,
    /// A low-rank adapter of the model: a GGUF file, with =SCALE how much of it is added [default
    /// SCALE: 1]; may be given several times
    #[arg(long, value_name = "FILE[=SCALE]", global = true)]
    pub(crate) lora: Vec<Lora>,
    /// Read the files into memory instead of mapping them: for files that may be changed or cut
    /// while they are in use. Takes as much memory more as the files have bytes
    #[arg(long, global = true)]
    pub(crate) copy: bool,
    /// Threads for decode (a step); 0 takes as many as there are cores
    #[arg(short, long, value_name = "N", default_value_t = 0, global = true)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(0..=MAX_THREADS as u64))]
    pub(crate) threads: usize,
    /// Threads for prefill (many tokens at once); 0 takes as many as for decode
    #[arg(long, value_name = "N", default_value_t = 0, global = true)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(0..=MAX_THREADS as u64))]
    pub(crate) prefill_threads: usize,
    /// Context size in positions; 0 takes the context that the model was trained for
    #[arg(short, long, value_name = "N", default_value_t = 0, global = true)]
    pub(crate) context: usize,
    /// Shift the context when it is full: forget the older half of the tokens, but for the first
    /// --keep N, and continue
    #[arg(long, global = true)]
    pub(crate) context_shift: bool,
    /// Tokens at the beginning that a context shift never forgets
    #[arg(long, value_name = "N", default_value_t = 0, requires = "context_shift", global = true)]
    pub(crate) keep: usize,
    /// A folder of prompts that were computed: one that begins alike is not computed again
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(crate) prompt_cache: Option<PathBuf>,
    /// The size of that folder at most, in MB; what was not used for the longest time goes first
    #[arg(long, value_name = "MB", default_value_t = 4096, requires = "prompt_cache", global = true)]
    pub(crate) prompt_cache_limit: u64,
    #[arg(long, value_name = "TYPE", default_value_t = KvType::F16, global = true)]
    #[arg(help = "Type of the keys and values in the KV cache: f16, or q8_0, which takes half the memory")]
    pub(crate) kv_type: KvType,
    /// Guess the tokens to come, and make fewer passes: 'ngram' looks up what followed the same
    /// tokens before, a GGUF file is a smaller model of the same vocabulary. The text is the same
    #[arg(long, value_name = "ngram|FILE", global = true)]
    pub(crate) draft: Option<DraftSource>,
    /// Print JSON: one document, or one object a line where it streams
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print tokens per second to stderr, also where the output is no terminal
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// An adapter, and how much of it is added.
#[derive(Clone, Debug)]
pub(crate) struct Lora {
    pub(crate) path: PathBuf,
    pub(crate) scale: f32,
}

impl FromStr for Lora {
    type Err = std::convert::Infallible;

    /// What follows the last `=` is a scale, if it is a number.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let scaled = text.rsplit_once('=').and_then(|(path, scale)| Some((path, scale.parse().ok()?)));
        let (path, scale) = scaled.unwrap_or((text, 1.0));
        Ok(Self { path: path.into(), scale })
    }
}

/// What guesses the tokens to come.
#[derive(Clone, Debug)]
pub(crate) enum DraftSource {
    Ngram,
    Model(PathBuf),
}

impl FromStr for DraftSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(if text == "ngram" { Self::Ngram } else { Self::Model(text.into()) })
    }
}

impl MachineArgs {
    /// How files are read: what cannot be mapped is a stream.
    pub(crate) fn files(&self) -> StorageOptions {
        StorageOptions { copy: self.copy, streams: true, ..StorageOptions::default() }
    }

    /// Downloads those files that are on the Hugging Face Hub, unless they are here already.
    pub(crate) fn fetch(&mut self) -> Result<()> {
        let adapters = self.lora.iter_mut().map(|lora| &mut lora.path);
        let draft = match &mut self.draft {
            Some(DraftSource::Model(path)) => Some(path),
            _ => None,
        };
        for path in self.model.iter_mut().chain(&mut self.plugin).chain(adapters).chain(draft) {
            *path = hub::fetch_file(path)?;
        }
        Ok(())
    }

    pub(crate) fn model(&self) -> Result<&PathBuf> {
        self.model.as_ref().ok_or_else(|| Failure::Usage("name a model with -m FILE".to_owned()))
    }
}

/// A text: from the command line, from a file, or from standard input.
#[derive(Debug, Args)]
#[command(next_help_heading = "Text")]
pub(crate) struct TextArgs {
    /// The text
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// A file with the text; '-' is standard input, which is also where the text comes from without
    /// -p and -f
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[arg(long, help = "Read the text of special tokens, such as <|im_start|>, as those tokens")]
    pub(crate) special: bool,
}

/// A query, and documents to be ranked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Texts")]
pub(crate) struct RerankArgs {
    /// The query
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) query: String,
    /// A file with the documents, one in each line that is not blank, which are counted from 0;
    /// '-', and without -f, standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The most relevant ones alone, so many
    #[arg(long, value_name = "N")]
    pub(crate) top_n: Option<NonZeroUsize>,
}

/// A text, or the user's turn of a conversation.
#[derive(Debug, Args)]
pub(crate) struct PromptArgs {
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// Apply the model's chat template: the text is the user's turn of a conversation
    #[arg(long, conflicts_with = "special")]
    pub(crate) chat: bool,
    /// The system prompt of that conversation
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) conversation: ConversationArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    #[command(flatten)]
    pub(crate) reasoning: ReasoningArgs,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    #[command(flatten)]
    pub(crate) constrain: ConstrainArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
    /// Write the run as a page to look at in a browser: one file, with the options of each token
    #[arg(long, value_name = "FILE.html")]
    pub(crate) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sample: SampleArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// The system prompt
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) conversation: ConversationArgs,
    #[command(flatten)]
    pub(crate) reasoning: ReasoningArgs,
    /// Make the arguments of tool calls follow the JSON schemas of the tools
    #[arg(long, requires = "tools", conflicts_with = "constraint")]
    pub(crate) constrain_calls: bool,
    /// Search each answer: vote, best or beam
    #[arg(long, value_name = "STRATEGY")]
    #[arg(conflicts_with_all = ["show_options", "reasoning_budget", "constrain_calls"])]
    pub(crate) strategy: Option<Strategy>,
    #[command(flatten)]
    pub(crate) branch: BranchArgs,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    #[command(flatten)]
    pub(crate) constrain: ConstrainArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
    #[command(flatten)]
    pub(crate) sample: SampleArgs,
}

const SEARCH_EXAMPLES: &str = "\x1b[1;4mExamples:\x1b[0m
  Let the ten options vote on the answer:
    ollm-run search -m model.gguf --plugin plugin.gguf --chat -p 'What is 7 * 6?'
  Without a plugin, a vote of 16 samples:
    ollm-run search -m model.gguf --chat -p 'What is 7 * 6?' --expand sample:16:0.7
  Beam search over latents, at each line:
    ollm-run search -m model.gguf --plugin plugin.gguf -f prompt.txt --strategy beam --branches 4 --hold line
  The answer in \\boxed{}, as JSON:
    ollm-run search -m model.gguf --plugin plugin.gguf --chat -f problem.txt --answer boxed --json";

#[derive(Debug, Args)]
#[command(after_help = SEARCH_EXAMPLES)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    /// vote (expand once, the answer with most weight wins), best (expand once, the best score
    /// wins) or beam (expand at each boundary, keep the best)
    #[arg(long, value_name = "STRATEGY", default_value_t = Strategy::Vote, help_heading = "Search")]
    pub(crate) strategy: Strategy,
    #[command(flatten)]
    pub(crate) branch: BranchArgs,
    #[command(flatten)]
    pub(crate) constrain: ConstrainArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) sample: SampleArgs,
}

/// How branches are made, and judged.
#[derive(Debug, Args)]
#[command(next_help_heading = "Search")]
pub(crate) struct BranchArgs {
    /// Branches: of a vote and of best at most so many; of a beam so many are kept at a boundary
    /// [default: as many as --expand says, else 10; beam: 4]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub(crate) branches: Option<usize>,
    /// Into what a branch is expanded: latents, top:N (the N most probable latents), draw:N (drawn
    /// from the policy), tokens:N (the N most probable tokens) or sample:N:T (N samples at
    /// temperature T) [default: latents; without a plugin sample:N:T, at --temperature or else 0.8]
    #[arg(long, value_name = "HOW")]
    pub(crate) expand: Option<Expansion>,
    /// Which branch is better: policy, logprob (mean of the tokens, an end token included),
    /// logprob-sum or value (the plugin's value head) [default: logprob]
    #[arg(long, value_name = "SCORE")]
    pub(crate) score: Option<Score>,
    /// How much a branch counts in a vote: one, policy or value [default: one]
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) weight: Option<Weight>,
    /// What the answer of a text is: number (behind ####, or else the last one), hash (what stands
    /// behind ####), boxed (in \boxed{}), regex:RE (its one group) or text (all of it) [default:
    /// number]
    #[arg(long, value_name = "RULE")]
    pub(crate) answer: Option<AnswerRule>,
}

impl BranchArgs {
    /// The first flag that is given, if one is.
    pub(crate) fn flag(&self) -> Option<&'static str> {
        let given = [
            ("--branches", self.branches.is_some()),
            ("--expand", self.expand.is_some()),
            ("--score", self.score.is_some()),
            ("--weight", self.weight.is_some()),
            ("--answer", self.answer.is_some()),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }
}

const SUGGEST_EXAMPLES: &str = "\x1b[1;4mExamples:\x1b[0m
  Three continuations of eight tokens:
    ollm-run suggest -m model.gguf --plugin plugin.gguf -p 'The weather is'
  Five next words, as JSON:
    ollm-run suggest -m model.gguf -p 'The weather is' -k 5 --until word --json";

#[derive(Debug, Args)]
#[command(after_help = SUGGEST_EXAMPLES)]
pub(crate) struct SuggestArgs {
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// Suggestions at most
    #[arg(short = 'k', long, value_name = "K", default_value_t = 3)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) count: usize,
    /// Tokens of each at most
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 8)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=65536))]
    pub(crate) tokens: usize,
    /// Where a suggestion ends before: word, line or tokens (nowhere)
    #[arg(long, value_name = "END", default_value_t = Until::Tokens)]
    pub(crate) until: Until,
    #[command(flatten)]
    pub(crate) constrain: ConstrainArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) text: TextArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// The seed of random latents
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Tokens of prefill
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) prompt: usize,
    /// Tokens of decode
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) tokens: usize,
    /// Depth: tokens that are in the context already, before prefill and before decode
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    pub(crate) depth: usize,
    /// Batch size: measure batched decoding of so many sequences, after that of one
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub(crate) sequences: usize,
    /// Branches: measure a step of so many branches of one text, over that of one
    #[arg(long, value_name = "N")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub(crate) branches: Option<usize>,
    /// Repetitions; the median counts
    #[arg(short, long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub(crate) repetitions: usize,
    /// llama.cpp's llama-bench, to run in turns with it on the same file and print ratios; with
    /// flash attention where there is a depth
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) peer: Option<PathBuf>,
    /// llama.cpp's llama-batched-bench, to decode as many sequences in turns with --branches
    #[arg(long, value_name = "PROGRAM", requires = "branches")]
    pub(crate) peer_batched: Option<PathBuf>,
    /// With --draft: the text that is answered without and with drafts, in which special tokens are
    /// read as those
    #[arg(long, value_name = "FILE", requires = "draft")]
    pub(crate) text: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) constrain: ConstrainArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ManualArgs {
    /// The folder
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// The file; -m names it as well
    pub(crate) file: Option<PathBuf>,
}

/// When generation ends.
#[derive(Debug, Args)]
#[command(next_help_heading = "Text")]
pub(crate) struct StopArgs {
    /// Tokens to generate at most; of a search, for each branch
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 256, allow_negative_numbers = true)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) limit: usize,
    /// A stop string, which ends generation and is not printed; may be given several times
    #[arg(long = "stop", value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
}

/// How long the model may think.
#[derive(Debug, Args)]
#[command(next_help_heading = "Conversation")]
pub(crate) struct ReasoningArgs {
    #[arg(long, value_name = "N")]
    #[arg(help = "End a thought of the model (<think>) after N tokens, and let it answer; 0 allows none")]
    pub(crate) reasoning_budget: Option<usize>,
}

/// Which latent, and for how long.
#[derive(Debug, Args)]
#[command(next_help_heading = "Latents (need a plugin)")]
pub(crate) struct SelectArgs {
    /// How the latent of a step is selected: policy (its most probable one), sample or sample:T
    /// (drawn from it, at temperature T), uniform, fixed:Z, script:Z,Z,.. (the last one stays), or
    /// mixture (none: the options' average, weighted by the policy)
    #[arg(long, value_name = "HOW")]
    pub(crate) latent: Option<LatentMode>,
    /// The temperature of --latent sample [default: 1]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(crate) latent_temperature: Option<f32>,
    /// How long a latent is held: token, tokens:N, line (to the end of the line) or all (for all of
    /// the answer) [default: as the plugin was trained, for one token unless its file says
    /// otherwise]
    #[arg(long, value_name = "HOW LONG")]
    pub(crate) hold: Option<Hold>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Latents (need a plugin)")]
pub(crate) struct ShowArgs {
    /// Show the option set of each step, with the M most probable tokens of each option [default M:
    /// 3]
    #[arg(long, value_name = "M", num_args = 0..=1, require_equals = true, default_missing_value = "3")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    pub(crate) show_options: Option<usize>,
}

impl SelectArgs {
    /// The mode, where one is asked for.
    pub(crate) fn mode(&self) -> Option<LatentMode> {
        self.latent.clone().map(|mode| match (mode, self.latent_temperature) {
            (LatentMode::Sample { .. }, Some(temperature)) => LatentMode::Sample { temperature },
            (mode, _) => mode,
        })
    }

    /// The flag that asks for latents, if one does.
    pub(crate) fn flag(&self) -> Option<&'static str> {
        self.latent.as_ref().map(|_| "--latent").or(self.hold.map(|_| "--hold"))
    }
}
